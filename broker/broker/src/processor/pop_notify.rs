//! Looking without taking: NOTIFICATION, POLLING_INFO and PEEK_MESSAGE (`NotificationProcessor`,
//! `PollingInfoProcessor`, `PeekMessageProcessor`).

use std::sync::Arc;

use hotfire_protocol::header::pop::{
    NotificationRequestHeader, NotificationResponseHeader, PeekMessageRequestHeader,
    PollingInfoRequestHeader, PollingInfoResponseHeader,
};
use hotfire_protocol::{RemotingCommand, ResponseCode};
use hotfire_remoting::Channel;
use hotfire_store::GetMessageStatus;

use super::pop::{Served, Wait, check, deadline};
use super::popping::{INIT_MIN, begin};
use super::{Answer, RESPONSE_BODY_MAX};
use crate::pop::{Parked, QueueKey, retry_topics_to_read};
use crate::refusal::Refusal;
use crate::state::State;

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
                connection: channel.id(),
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
    let config = broker.config();
    let mut topics = retry_topics_to_read(&config, topic, group).into_iter();
    own || (!ahead.order && topics.any(retries))
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

/// PEEK_MESSAGE: what the next pop would find, without taking it.
pub(super) fn peek(broker: &Arc<State>, channel: &Channel, request: &RemotingCommand) -> Answer {
    let header: PeekMessageRequestHeader = request.header()?;
    let (topic, group) = (header.topic.as_str(), header.consumer_group.as_str());
    let queues = check(broker, channel, "peeking", topic, header.queue_id, group)?;
    let random = broker.random_below(100);
    let retry_topics = retry_topics_to_read(&broker.config(), topic, group);
    let retries = retry_topics.iter().flat_map(|retry| {
        let known = broker
            .topics
            .read()
            .get(retry)
            .map(|topic| topic.read_queue_nums);
        let queues = known.unwrap_or(0);
        (0..queues).map(move |at| (retry.as_str(), (random + at) % queues))
    });
    let own = match header.queue_id {
        negative if negative < 0 => (0..queues).map(|at| (random + at) % queues).collect(),
        queue_id => vec![queue_id],
    };
    let own = own.into_iter().map(|queue_id| (topic, queue_id));
    let order: Vec<_> = if random % 5 == 0 {
        retries.chain(own).collect()
    } else {
        own.chain(retries).collect()
    };
    let max = usize::try_from(header.max_msg_nums).unwrap_or(0);
    let (mut records, mut bytes, mut rest) = (Vec::new(), 0, 0);
    for (topic, queue_id) in order {
        let key = QueueKey::new(topic, group, queue_id);
        let mut from = begin(broker, &key, INIT_MIN, false);
        rest += (broker.store.max_offset_in_queue(topic, queue_id) - from).max(0);
        if records.len() >= max || bytes >= RESPONSE_BODY_MAX {
            continue;
        }
        from = from.max(broker.store.min_offset_in_queue(topic, queue_id));
        let left = max - records.len();
        let found = broker
            .store
            .get_message(topic, queue_id, from, left, usize::MAX, &|_| true);
        if !records.is_empty() && bytes + found.bytes > RESPONSE_BODY_MAX {
            bytes = RESPONSE_BODY_MAX;
            continue;
        }
        bytes += found.bytes;
        records.extend(found.messages);
    }
    let (code, status) = if records.is_empty() {
        let status = GetMessageStatus::NoMessageInQueue;
        (ResponseCode::PULL_NOT_FOUND, status)
    } else {
        (ResponseCode::SUCCESS, GetMessageStatus::Found)
    };
    let mut response = request.response(code);
    // Only the number of messages is told; the other fields are at Java's zero.
    for name in ["popTime", "invisibleTime", "reviveQid"] {
        response.ext.push(name, "0");
    }
    response.ext.push("restNum", rest.to_string());
    response.remark = Some(status.name().to_owned());
    response.body = records.concat().into();
    Ok(response)
}
