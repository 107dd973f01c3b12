//! Offsets: those that groups committed and those that queues have (`ConsumerManageProcessor`,
//! `AdminBrokerProcessor`).

use hotfire_protocol::header::offset::{
    GetEarliestMsgStoretimeRequestHeader, GetEarliestMsgStoretimeResponseHeader,
    GetMaxOffsetRequestHeader, GetMaxOffsetResponseHeader, GetMinOffsetRequestHeader,
    GetMinOffsetResponseHeader, QueryConsumerOffsetRequestHeader,
    QueryConsumerOffsetResponseHeader, SearchOffsetRequestHeader, SearchOffsetResponseHeader,
    UpdateConsumerOffsetRequestHeader,
};
use hotfire_protocol::{RemotingCommand, ResponseCode, rules, topic};
use hotfire_store::Boundary;

use super::{Answer, done};
use crate::consumer_offset::{QueueOffsets, start_position};
use crate::refusal::Refusal;
use crate::state::State;

/// QUERY_CONSUMER_OFFSET: where a group goes on reading a queue.
pub(super) fn query(broker: &State, request: &RemotingCommand) -> Answer {
    let header: QueryConsumerOffsetRequestHeader = request.header()?;
    let (topic, queue_id) = (header.topic.as_str(), header.queue_id);
    let group = &header.consumer_group;
    let reset = broker.resets.lock().get(group, topic, queue_id);
    let committed = reset.or_else(|| broker.offsets.lock().get(group, topic, queue_id));
    let min_offset = broker.store.min_offset_in_queue(topic, queue_id);
    // Whatever is stored counts as in memory: how much of it the page cache holds is not known.
    let zero_if_not_found = header.set_zero_if_not_found.unwrap_or(true);
    match start_position(committed, min_offset, true, zero_if_not_found) {
        Some(offset) => {
            let header = QueryConsumerOffsetResponseHeader { offset };
            Ok(request.response_with(ResponseCode::SUCCESS, &header))
        }
        None => Err(Refusal::new(
            ResponseCode::QUERY_NOT_FOUND,
            "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first",
        )),
    }
}

/// UPDATE_CONSUMER_OFFSET: a commit. Group and topic need not exist, as in 4.9, if they would be
/// created when somebody uses them; else the answer is that of 5.x. A group that was reset and does
/// not know it yet commits in vain.
pub(super) fn update(broker: &State, request: &RemotingCommand) -> Answer {
    let header: UpdateConsumerOffsetRequestHeader = request.header()?;
    let (group, topic) = (&header.consumer_group, &header.topic);
    let reset = broker.resets.lock().get(group, topic, header.queue_id);
    if reset.is_some() {
        let mut response = done(request)?;
        response.remark = Some("Offset has been previously reset".to_owned());
        return Ok(response);
    }
    check_commit(broker, group, topic, header.queue_id)?;
    broker.commit_of_client(group, topic, header.queue_id, header.commit_offset)?;
    done(request)
}

/// Whether there can be something to commit.
fn check_commit(broker: &State, group: &str, topic: &str, queue_id: i32) -> Result<(), Refusal> {
    let config = broker.config();
    let creatable = config.auto_create_subscription_group && topic::check_group(group).is_ok();
    if !creatable && broker.groups.read().get(group).is_none() {
        let group: String = group.chars().take(topic::DERIVED_TOPIC_MAX).collect();
        let remark = format!("Group {group} not exist!");
        let code = ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST;
        return Err(Refusal::new(code, remark));
    }
    let known = broker.topics.read().get(topic).map(|known| {
        let count = known.read_queue_nums.max(known.write_queue_nums);
        // A queue that was taken away may still be read to its end.
        count.max(1 + broker.offsets.lock().queues(group, topic).map_or(-1, last))
    });
    let creatable = config.auto_create_topic_enable && topic::check_topic(topic).is_ok();
    let Some(count) = known.or(creatable.then_some(rules::QUEUES_MAX)) else {
        let topic: String = topic.chars().take(topic::DERIVED_TOPIC_MAX).collect();
        let remark = format!("Topic {topic} not exist!");
        return Err(Refusal::new(ResponseCode::TOPIC_NOT_EXIST, remark));
    };
    if (0..count).contains(&queue_id) {
        return Ok(());
    }
    let remark = format!("queueId[{queue_id}] is illegal, topic:[{topic}] has {count} queues");
    Err(Refusal::new(ResponseCode::INVALID_PARAMETER, remark))
}

fn last(queues: &QueueOffsets) -> i32 {
    queues
        .last_key_value()
        .map_or(-1, |(&queue_id, _)| queue_id)
}

/// SEARCH_OFFSET_BY_TIMESTAMP: the message stored at a time, or next to it.
pub(super) fn search(broker: &State, request: &RemotingCommand) -> Answer {
    let header: SearchOffsetRequestHeader = request.header()?;
    let boundary = match header.boundary_type.as_deref() {
        None => Boundary::Nearest,
        Some(upper) if upper.eq_ignore_ascii_case("upper") => Boundary::Upper,
        Some(_) => Boundary::Lower,
    };
    let (topic, queue_id) = (header.topic.as_str(), header.queue_id);
    let offset = broker
        .store
        .offset_by_timestamp(topic, queue_id, header.timestamp, boundary);
    let header = SearchOffsetResponseHeader { offset };
    Ok(request.response_with(ResponseCode::SUCCESS, &header))
}

/// GET_MAX_OFFSET: the offset of the queue's next message.
pub(super) fn max(broker: &State, request: &RemotingCommand) -> Answer {
    let header: GetMaxOffsetRequestHeader = request.header()?;
    let offset = broker
        .store
        .max_offset_in_queue(&header.topic, header.queue_id);
    let header = GetMaxOffsetResponseHeader { offset };
    Ok(request.response_with(ResponseCode::SUCCESS, &header))
}

/// GET_MIN_OFFSET: the offset of the queue's oldest message.
pub(super) fn min(broker: &State, request: &RemotingCommand) -> Answer {
    let header: GetMinOffsetRequestHeader = request.header()?;
    let offset = broker
        .store
        .min_offset_in_queue(&header.topic, header.queue_id);
    let header = GetMinOffsetResponseHeader { offset };
    Ok(request.response_with(ResponseCode::SUCCESS, &header))
}

/// GET_EARLIEST_MSG_STORETIME: when the queue's oldest message was stored, or -1.
pub(super) fn earliest_time(broker: &State, request: &RemotingCommand) -> Answer {
    let header: GetEarliestMsgStoretimeRequestHeader = request.header()?;
    let stored = broker
        .store
        .earliest_message_time(&header.topic, header.queue_id);
    let timestamp = stored.unwrap_or(-1);
    let header = GetEarliestMsgStoretimeResponseHeader { timestamp };
    Ok(request.response_with(ResponseCode::SUCCESS, &header))
}
