//! Offsets: those that groups committed and those that queues have (`ConsumerManageProcessor`,
//! `AdminBrokerProcessor`).

use hotfire_protocol::header::offset::{
    GetEarliestMsgStoretimeRequestHeader, GetEarliestMsgStoretimeResponseHeader,
    GetMaxOffsetRequestHeader, GetMaxOffsetResponseHeader, GetMinOffsetRequestHeader,
    GetMinOffsetResponseHeader, QueryConsumerOffsetRequestHeader,
    QueryConsumerOffsetResponseHeader, SearchOffsetRequestHeader, SearchOffsetResponseHeader,
    UpdateConsumerOffsetRequestHeader,
};
use hotfire_protocol::{RemotingCommand, ResponseCode};
use hotfire_store::Boundary;

use super::{Answer, done};
use crate::consumer_offset::start_position;
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

/// UPDATE_CONSUMER_OFFSET: a commit. Neither group nor topic need exist, as in 4.9. A group that was
/// reset and does not know it yet commits in vain.
pub(super) fn update(broker: &State, request: &RemotingCommand) -> Answer {
    let header: UpdateConsumerOffsetRequestHeader = request.header()?;
    let (group, topic) = (&header.consumer_group, &header.topic);
    let reset = broker.resets.lock().get(group, topic, header.queue_id);
    if reset.is_some() {
        let mut response = done(request)?;
        response.remark = Some("Offset has been previously reset".to_owned());
        return Ok(response);
    }
    broker.commit_offset(
        &header.consumer_group,
        &header.topic,
        header.queue_id,
        header.commit_offset,
    );
    done(request)
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
