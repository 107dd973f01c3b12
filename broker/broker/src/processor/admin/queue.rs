//! A look into a consume queue.

use hotfire_protocol::body::{ConsumeQueueData, QueryConsumeQueueResponseBody};
use hotfire_protocol::header::query::QueryConsumeQueueRequestHeader;
use hotfire_protocol::{RemotingCommand, ResponseCode};

use super::error;
use crate::processor::Answer;
use crate::state::State;

/// The most units that are answered at once; a frame must hold them.
const UNITS_MAX: usize = 10_000;

/// QUERY_CONSUME_QUEUE: units of a queue, and whether a group's filter lets them through.
pub(in crate::processor) fn units(broker: &State, request: &RemotingCommand) -> Answer {
    let header: QueryConsumeQueueRequestHeader = request.header()?;
    let (topic, queue_id, index) = (&header.topic, header.queue_id, header.index);
    if !broker.store.has_queue(topic, queue_id) {
        return Err(error(format!("{queue_id}@{topic} is not exist!")));
    }
    let mut answer = QueryConsumeQueueResponseBody {
        max_queue_index: broker.store.max_offset_in_queue(topic, queue_id),
        min_queue_index: broker.store.min_offset_in_queue(topic, queue_id),
        ..QueryConsumeQueueResponseBody::default()
    };
    if let Some(group) = &header.consumer_group {
        let consumers = broker.consumers.lock();
        let group_info = consumers.group(group);
        answer.subscription_data = group_info
            .and_then(|group| group.subscriptions().get(topic))
            .map(|data| (**data).clone());
        if answer.subscription_data.is_none() {
            answer.filter_data = Some(format!("{group}@{topic} is not online!"));
        }
    }
    let filter = answer.subscription_data.as_ref();
    let count = usize::try_from(header.count).unwrap_or(0).min(UNITS_MAX);
    let units = broker.store.units(topic, queue_id, index, count);
    let mut remark = None;
    if units.is_empty() {
        remark = Some(format!("Index {index} of {queue_id}@{topic} is not exist!"));
    }
    let unit = |unit: &hotfire_store::CqUnit| ConsumeQueueData {
        eval: filter.is_some_and(|filter| filter.matches_tags_code(unit.tags_code)),
        physic_offset: unit.offset,
        physic_size: unit.size,
        tags_code: unit.tags_code,
        ..ConsumeQueueData::default()
    };
    answer.queue_data = units.iter().map(unit).collect();
    let mut response = request
        .response(ResponseCode::SUCCESS)
        .with_body(answer.to_json());
    response.remark = remark;
    Ok(response)
}
