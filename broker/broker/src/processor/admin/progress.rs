//! How far groups are with topics.

use std::collections::{BTreeMap, BTreeSet};

use hotfire_protocol::body::{
    ConsumeStats, ConsumeStatsList, OffsetWrapper, QueryConsumeTimeSpanBody,
    QueryCorrectionOffsetBody, QueueTimeSpan, TopicConfig, TopicOffset, TopicStatsTable,
};
use hotfire_protocol::header::admin::{
    GetConsumeStatsInBrokerHeader, GetConsumeStatsRequestHeader, QueryCorrectionOffsetHeader,
};
use hotfire_protocol::header::topic::{
    GetTopicStatsInfoRequestHeader, QueryConsumeTimeSpanRequestHeader,
};
use hotfire_protocol::{MessageQueue, RemotingCommand, ResponseCode, date};
use tokio::time::Instant;

use crate::processor::{Answer, body, faq};
use crate::refusal::Refusal;
use crate::state::State;

/// GET_TOPIC_STATS_INFO: the offsets of a topic's queues.
pub(in crate::processor) fn topic(broker: &State, request: &RemotingCommand) -> Answer {
    let header: GetTopicStatsInfoRequestHeader = request.header()?;
    let topic = header.topic;
    let Some(queues) = queues(broker, &topic) else {
        let remark = faq(&format!("topic[{topic}] not exist"));
        return Err(Refusal::new(ResponseCode::TOPIC_NOT_EXIST, remark));
    };
    let store = &broker.store;
    let offsets = queues.map(|queue_id| {
        let max_offset = store.max_offset_in_queue(&topic, queue_id);
        let newest = store.store_time_of(&topic, queue_id, max_offset - 1);
        let offset = TopicOffset {
            last_update_timestamp: newest.unwrap_or(0),
            max_offset,
            min_offset: store.min_offset_in_queue(&topic, queue_id),
        };
        (queue(broker, &topic, queue_id), offset)
    });
    let offset_table = offsets.collect();
    body(request, TopicStatsTable { offset_table }.to_json())
}

/// The queue ids of a topic, those to read or to write.
fn queues(broker: &State, topic: &str) -> Option<std::ops::Range<i32>> {
    let topics = broker.topics.read();
    let topic = topics.get(topic)?;
    Some(0..topic.read_queue_nums.max(topic.write_queue_nums))
}

fn queue(broker: &State, topic: &str, queue_id: i32) -> MessageQueue {
    MessageQueue::new(topic, broker.config().broker_name.as_str(), queue_id)
}

/// GET_CONSUME_STATS: how far a group is with its topics, or with one of them.
pub(in crate::processor) fn group(broker: &State, request: &RemotingCommand) -> Answer {
    let header: GetConsumeStatsRequestHeader = request.header()?;
    let group = header.consumer_group.as_str();
    let topics = match header.topic.filter(|topic| !topic.trim().is_empty()) {
        Some(topic) => vec![topic],
        None => topics_of(broker, group),
    };
    let mut stats = ConsumeStats::default();
    for topic in topics {
        let known = broker.topics.read().get(&topic).cloned();
        if let Some(known) = known.filter(|_| !is_left(broker, group, &topic)) {
            add(broker, group, &topic, known.read_queue_nums, &mut stats);
        }
    }
    body(request, stats.to_json())
}

/// The topics that a group has offsets of.
fn topics_of(broker: &State, group: &str) -> Vec<String> {
    let offsets = broker.offsets.lock();
    offsets.topics_of(group).map(str::to_owned).collect()
}

/// Whether the members of a group subscribe to other topics, but not to this one any more: then its
/// offsets tell of the past.
fn is_left(broker: &State, group: &str, topic: &str) -> bool {
    let consumers = broker.consumers.lock();
    consumers.group(group).is_some_and(|group| {
        let subscriptions = group.subscriptions();
        !subscriptions.is_empty() && !subscriptions.contains_key(topic)
    })
}

/// Adds a group's offsets and rate in a topic.
fn add(broker: &State, group: &str, topic: &str, queues: i32, stats: &mut ConsumeStats) {
    for queue_id in 0..queues {
        let offsets = progress(broker, group, topic, queue_id);
        stats
            .offset_table
            .insert(queue(broker, topic, queue_id), offsets);
    }
    let mut counted = broker.stats.lock();
    stats.consume_tps += counted.broker.group_get_tps(group, topic, Instant::now());
}

fn progress(broker: &State, group: &str, topic: &str, queue_id: i32) -> OffsetWrapper {
    let consumer_offset = committed(broker, group, topic, queue_id);
    let last = broker
        .store
        .store_time_of(topic, queue_id, consumer_offset - 1);
    OffsetWrapper {
        broker_offset: broker.store.max_offset_in_queue(topic, queue_id),
        consumer_offset,
        last_timestamp: last.unwrap_or(0),
    }
}

/// The offset that a group has committed; 0 if none.
fn committed(broker: &State, group: &str, topic: &str, queue_id: i32) -> i64 {
    let committed = broker.offsets.lock().get(group, topic, queue_id);
    committed.unwrap_or(0).max(0)
}

/// GET_BROKER_CONSUME_STATS: how far all groups are with all their topics, or with the ordered
/// ones.
pub(in crate::processor) fn all_groups(broker: &State, request: &RemotingCommand) -> Answer {
    let header: GetConsumeStatsInBrokerHeader = request.header()?;
    let groups: Vec<String> = broker.groups.read().all().keys().cloned().collect();
    let mut list = ConsumeStatsList {
        broker_addr: broker.address().to_string(),
        ..ConsumeStatsList::default()
    };
    for group in groups {
        let mut of_group = Vec::new();
        for topic in topics_of(broker, &group) {
            let known = broker.topics.read().get(&topic).cloned();
            let wanted = |known: &TopicConfig| {
                (known.order || !header.is_order) && !is_left(broker, &group, &topic)
            };
            if let Some(known) = known.filter(wanted) {
                let mut stats = ConsumeStats::default();
                add(broker, &group, &topic, known.write_queue_nums, &mut stats);
                let lags = stats.offset_table.values();
                list.total_diff += lags
                    .map(|offsets| offsets.broker_offset - offsets.consumer_offset)
                    .sum::<i64>();
                of_group.push(stats);
            }
        }
        list.consume_stats_list
            .push(BTreeMap::from([(group, of_group)]));
    }
    body(request, list.to_json())
}

/// QUERY_CONSUME_TIME_SPAN: how far a group is with a topic, in time.
pub(in crate::processor) fn time_span(broker: &State, request: &RemotingCommand) -> Answer {
    let header: QueryConsumeTimeSpanRequestHeader = request.header()?;
    let (topic, group) = (&header.topic, &header.group);
    let queues = broker
        .topics
        .read()
        .get(topic)
        .map(|topic| topic.write_queue_nums);
    let Some(queues) = queues else {
        let remark = format!("topic[{topic}] not exist");
        return Err(Refusal::new(ResponseCode::TOPIC_NOT_EXIST, remark));
    };
    let spans = (0..queues).map(|queue_id| span(broker, group, topic, queue_id));
    let spans = QueryConsumeTimeSpanBody {
        consume_time_span_set: spans.collect(),
    };
    body(request, spans.to_json())
}

fn span(broker: &State, group: &str, topic: &str, queue_id: i32) -> QueueTimeSpan {
    let store = &broker.store;
    let time_of = |offset| store.store_time_of(topic, queue_id, offset).unwrap_or(-1);
    let min = store.earliest_message_time(topic, queue_id).unwrap_or(-1);
    let end = store.max_offset_in_queue(topic, queue_id);
    let max = time_of(end - 1);
    let offset = committed(broker, group, topic, queue_id);
    let consumed = if offset > 0 { time_of(offset - 1) } else { min };
    let delay_time = if offset < end {
        broker.env.now_ms() - time_of(offset)
    } else {
        0
    };
    QueueTimeSpan {
        consume_time_stamp: consumed,
        consume_time_stamp_str: Some(date::text(consumed)),
        delay_time,
        max_time_stamp: max,
        max_time_stamp_str: Some(date::text(max)),
        message_queue: queue(broker, topic, queue_id),
        min_time_stamp: min,
        min_time_stamp_str: Some(date::text(min)),
    }
}

/// QUERY_CORRECTION_OFFSET: the smallest offset of each queue that any group has committed, the
/// largest number where the compared group is behind it. (Java's also deletes the offsets of the
/// groups that are to be left out; this one only leaves them out.)
pub(in crate::processor) fn corrections(broker: &State, request: &RemotingCommand) -> Answer {
    let header: QueryCorrectionOffsetHeader = request.header()?;
    let topic = &header.topic;
    let left_out = header.filter_groups.unwrap_or_default();
    let left_out: BTreeSet<_> = left_out.split(',').collect();
    let offsets = broker.offsets.lock();
    let mut correction_offsets = BTreeMap::new();
    for group in offsets.groups_of(topic) {
        let queues = offsets.queues(group, topic).into_iter().flatten();
        if left_out.contains(group) {
            continue;
        }
        for (&queue_id, &offset) in queues {
            if offset >= broker.store.min_offset_in_queue(topic, queue_id) {
                let smallest = correction_offsets.entry(queue_id).or_insert(offset);
                *smallest = offset.min(*smallest);
            }
        }
    }
    for (&queue_id, &compared) in offsets
        .queues(&header.compare_group, topic)
        .into_iter()
        .flatten()
    {
        if let Some(smallest) = correction_offsets.get_mut(&queue_id)
            && *smallest > compared
        {
            *smallest = i64::MAX;
        }
    }
    drop(offsets);
    body(
        request,
        QueryCorrectionOffsetBody { correction_offsets }.to_json(),
    )
}
