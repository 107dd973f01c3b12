//! Figures for administrators (`AdminBrokerProcessor`). Rates are not measured and answered as 0.

use std::collections::BTreeMap;

use hotfire_protocol::body::{
    ConsumeStats, GroupList, KVTable, OffsetWrapper, TopicOffset, TopicStatsTable,
};
use hotfire_protocol::header::admin::GetConsumeStatsRequestHeader;
use hotfire_protocol::header::topic::{
    GetTopicStatsInfoRequestHeader, QueryTopicConsumeByWhoRequestHeader,
};
use hotfire_protocol::{MessageQueue, RemotingCommand, ResponseCode, topic, version};
use tokio::time::Instant;

use super::{Answer, body, faq};
use crate::refusal::Refusal;
use crate::state::State;

/// GET_TOPIC_STATS_INFO: the offsets of a topic's queues.
pub(super) fn topic(broker: &State, request: &RemotingCommand) -> Answer {
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
pub(super) fn group(broker: &State, request: &RemotingCommand) -> Answer {
    let header: GetConsumeStatsRequestHeader = request.header()?;
    let group = header.consumer_group.as_str();
    let topics: Vec<String> = match header.topic.filter(|topic| !topic.trim().is_empty()) {
        Some(topic) => vec![topic],
        None => {
            let offsets = broker.offsets.lock();
            offsets.topics_of(group).map(str::to_owned).collect()
        }
    };
    let mut stats = ConsumeStats::default();
    for topic in &topics {
        for queue_id in queues(broker, topic).into_iter().flatten() {
            let offsets = progress(broker, group, topic, queue_id);
            stats
                .offset_table
                .insert(queue(broker, topic, queue_id), offsets);
        }
    }
    body(request, stats.to_json())
}

fn progress(broker: &State, group: &str, topic: &str, queue_id: i32) -> OffsetWrapper {
    let committed = broker.offsets.lock().get(group, topic, queue_id);
    let consumer_offset = committed.unwrap_or(0).max(0);
    let last = broker
        .store
        .store_time_of(topic, queue_id, consumer_offset - 1);
    OffsetWrapper {
        broker_offset: broker.store.max_offset_in_queue(topic, queue_id),
        consumer_offset,
        last_timestamp: last.unwrap_or(0),
    }
}

/// QUERY_TOPIC_CONSUME_BY_WHO: the groups that subscribe to a topic or have offsets of it.
pub(super) fn groups_of(broker: &State, request: &RemotingCommand) -> Answer {
    let header: QueryTopicConsumeByWhoRequestHeader = request.header()?;
    let mut groups: Vec<String> = {
        let consumers = broker.consumers.lock();
        let subscribed = consumers
            .groups()
            .filter(|(_, group)| group.subscriptions().contains_key(&header.topic));
        subscribed.map(|(name, _)| name.to_owned()).collect()
    };
    groups.extend(
        broker
            .offsets
            .lock()
            .groups_of(&header.topic)
            .map(str::to_owned),
    );
    groups.sort();
    groups.dedup();
    body(request, GroupList { group_list: groups }.to_json())
}

/// GET_BROKER_RUNTIME_INFO: a table of texts.
pub(super) fn runtime(broker: &State, request: &RemotingCommand) -> Answer {
    let store = &broker.store;
    let mut table = BTreeMap::new();
    let mut put = |name: &str, value: String| table.insert(name.to_owned(), value);
    put("brokerVersion", version::CURRENT.to_string());
    put("brokerVersionDesc", "V4_9_8".to_owned());
    put("bootTimestamp", broker.started_ms.to_string());
    put("commitLogMinOffset", store.min_phy_offset().to_string());
    put("commitLogMaxOffset", store.max_phy_offset().to_string());
    put(
        "dispatchBehindBytes",
        store.dispatch_behind_bytes().to_string(),
    );
    let unflushed = store.max_phy_offset() - store.flushed_where();
    put("remainHowManyDataToFlush", format!("{unflushed} B"));
    {
        let config = broker.config();
        let gate = broker.gate.lock();
        put("sendThreadPoolQueueSize", gate.queued().to_string());
        put(
            "sendThreadPoolQueueCapacity",
            config.send_thread_pool_queue_capacity.to_string(),
        );
        let waited = gate.head_wait(Instant::now()).as_millis();
        put("sendThreadPoolQueueHeadWaitTimeMills", waited.to_string());
    }
    put("pullRequestHoldSize", broker.hold.lock().len().to_string());
    for level in 1..=broker.levels.max_level() {
        let queue_id = crate::delay::queue_of_level(level);
        let max = store.max_offset_in_queue(topic::SCHEDULE_TOPIC, queue_id);
        if max > 0 {
            let at = broker.cursors.lock().get(level);
            put(
                &format!("scheduleMessageOffset_{level}"),
                format!("{at},{max}"),
            );
        }
    }
    body(request, KVTable { table }.to_json())
}
