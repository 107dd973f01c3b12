//! NOTIFICATION and POLLING_INFO (`NotificationProcessor`, `PollingInfoProcessor`).

use std::sync::Arc;

use hotfire_protocol::header::pop::{
    NotificationRequestHeader, NotificationResponseHeader, PollingInfoRequestHeader,
    PollingInfoResponseHeader,
};
use hotfire_protocol::pop::{retry_topic, retry_topic_v2};
use hotfire_protocol::{RemotingCommand, ResponseCode};
use hotfire_remoting::Channel;

use super::Answer;
use super::pop::{Served, Wait, begin, check, deadline};
use crate::pop::{Parked, QueueKey};
use crate::refusal::Refusal;
use crate::state::State;

/// The way of asking that changes nothing: the oldest message of a group without offset.
const INIT_MIN: i32 = 0;

/// What a request asks for.
pub(super) struct Ahead {
    /// The queue, -1 for all.
    pub key: QueueKey,
    pub order: bool,
    pub attempt_id: Option<String>,
    /// How many queues the topic has.
    pub queues: i32,
}

/// NOTIFICATION: tells when there is something to pop.
pub(super) fn serve(
    broker: &Arc<State>,
    channel: &Channel,
    request: &RemotingCommand,
) -> Result<Served, Refusal> {
    let header: NotificationRequestHeader = request.header()?;
    let (topic, group) = (header.topic.as_str(), header.consumer_group.as_str());
    let queues = check(broker, channel, "peeking", topic, header.queue_id, group)?;
    let ahead = Ahead {
        key: QueueKey::new(topic, group, header.queue_id),
        order: header.order.unwrap_or(false),
        attempt_id: header.attempt_id,
        queues,
    };
    let has_msg = has_messages(broker, &ahead);
    let answer = |polling_full| {
        let header = NotificationResponseHeader {
            has_msg,
            polling_full: Some(polling_full),
        };
        request.response_with(ResponseCode::SUCCESS, &header)
    };
    let deadline = deadline(broker, header.born_time, header.poll_time);
    Ok(match deadline.filter(|_| !has_msg) {
        None => Served::Answer(answer(false)),
        Some(deadline) => {
            let parked = Parked {
                deadline,
                filter: None,
                request: (),
            };
            Served::Park(Box::new(Wait { ahead, parked }), answer(true))
        }
    })
}

/// Whether there is something to pop, or to be tried again.
pub(super) fn has_messages(broker: &State, ahead: &Ahead) -> bool {
    let QueueKey {
        topic,
        group,
        queue_id,
    } = &ahead.key;
    let has = |topic: &str, queue_id| {
        let key = QueueKey::new(topic, group, queue_id);
        let blocked = ahead.order && {
            let attempt = ahead.attempt_id.as_deref();
            let orders = broker.pop.orders.lock();
            orders.is_blocked(&key, attempt, 0, broker.env.now_ms())
        };
        let max = broker.store.max_offset_in_queue(topic, queue_id);
        !blocked && max > begin(broker, &key, INIT_MIN, false)
    };
    let own = match *queue_id {
        negative if negative < 0 => (0..ahead.queues).any(|queue_id| has(topic, queue_id)),
        queue_id => has(topic, queue_id),
    };
    let retries = |retry: String| {
        let known = broker
            .topics
            .read()
            .get(&retry)
            .map(|topic| topic.read_queue_nums);
        (0..known.unwrap_or(0)).any(|queue_id| has(&retry, queue_id))
    };
    own || (!ahead.order
        && (retries(retry_topic(topic, group)) || retries(retry_topic_v2(topic, group))))
}

/// POLLING_INFO: how many pops wait for a queue.
pub(super) fn polling_info(broker: &State, channel: &Channel, request: &RemotingCommand) -> Answer {
    let header: PollingInfoRequestHeader = request.header()?;
    let (topic, group) = (header.topic.as_str(), header.consumer_group.as_str());
    check(broker, channel, "peeking", topic, header.queue_id, group)?;
    let key = QueueKey::new(topic, group, header.queue_id);
    let waiting = broker.pop.polling.lock().waiting(&key);
    let header = PollingInfoResponseHeader {
        polling_num: i32::try_from(waiting).unwrap_or(i32::MAX),
    };
    Ok(request.response_with(ResponseCode::SUCCESS, &header))
}
