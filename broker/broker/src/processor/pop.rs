//! POP_MESSAGE (`PopMessageProcessor`), and how it and NOTIFICATION wait.

use std::sync::Arc;
use std::time::Duration;

use hotfire_protocol::body::SubscriptionGroupConfig;
use hotfire_protocol::header::pop::PopMessageRequestHeader;
use hotfire_protocol::pop::{POP_MAX, normal_topic};
use hotfire_protocol::topic::perm;
use hotfire_protocol::{RemotingCommand, RequestCode, ResponseCode, rules};
use hotfire_remoting::{Channel, Handled};
use tokio::time::Instant;

use super::pop_notify::{self, Ahead};
use super::popping::Popping;
use super::{faq, pull};
use crate::filter::PullFilter;
use crate::limits;
use crate::pop::{Parked, QueueKey};
use crate::pop_service::wake_exact;
use crate::refusal::Refusal;
use crate::state::State;
use crate::waiting::Waiting;

/// A request that is late by more than this many milliseconds is not looked at
/// (`PopMessageRequestHeader.isTimeoutTooMuch`).
const TOO_LATE_MS: i64 = 500;
/// The longest wait that a request can ask for; more would only be a way to hoard memory.
const WAIT_MAX_MS: i64 = 24 * 3_600_000;

/// What a request that found nothing waits for.
pub(super) struct Wait {
    pub ahead: Ahead,
    pub parked: Parked<()>,
}

/// How a request was served.
pub(super) enum Served {
    Answer(RemotingCommand),
    /// Nothing was found; this is the answer if it cannot be parked.
    Park(Box<Wait>, RemotingCommand),
}

/// Takes a pop or a notification: serves it, or parks it until there are messages.
pub(super) fn handle(
    broker: &Arc<State>,
    channel: &Channel,
    mut request: RemotingCommand,
) -> Handled {
    // Waiting counts from when the request was made, if it says when.
    let born = request.ext.get("bornTime");
    if born.is_none_or(|born| born == "0") {
        let now = broker.env.now_ms().to_string();
        request.ext.set("bornTime", now);
    }
    match run_again(broker, Waiting::new(channel, request)) {
        Some((_, response)) => Handled::Reply(response),
        None => Handled::None,
    }
}

/// Serves a pop or a notification, and gives it back with its answer; nothing if it waits.
pub(crate) fn run_again(
    broker: &Arc<State>,
    waiting: Waiting,
) -> Option<(Waiting, RemotingCommand)> {
    let Waiting {
        channel, request, ..
    } = &waiting;
    let notification = request.code == RequestCode::NOTIFICATION.0;
    let served = if notification {
        pop_notify::serve(broker, channel, request)
    } else {
        serve(broker, channel, request)
    };
    let (wait, full) = match served {
        Ok(Served::Answer(response)) => return Some((waiting, response)),
        Err(refusal) => {
            let response = refusal.response(request);
            return Some((waiting, response));
        }
        Ok(Served::Park(wait, full)) => (wait, full),
    };
    let Wait { ahead, parked } = *wait;
    let waiting_channel = channel.clone();
    let key = ahead.key.clone();
    let parked = Parked {
        deadline: parked.deadline,
        filter: parked.filter,
        connection: parked.connection,
        request: waiting,
    };
    let polling = if notification {
        &broker.pop.notifications
    } else {
        &broker.pop.polling
    };
    let (channel, connection) = (waiting_channel, parked.connection);
    if let Err(waiting) = polling.lock().park(key.clone(), parked) {
        return Some((waiting, full));
    }
    if !channel.is_open() {
        // It closed meanwhile, and nobody else would drop what is parked now.
        polling.lock().connection_closed(connection);
        return None;
    }
    broker.pop.parked.notify_one();
    if pop_notify::has_messages(broker, &ahead) {
        // The filter ended the look early, or something has arrived since.
        wake_exact(broker, &key);
    }
    None
}

/// When a request that was made at `born_time` and waits for `poll_time` has to be answered;
/// `None` if that is over.
pub(super) fn deadline(broker: &State, born_time: i64, poll_time: i64) -> Option<Instant> {
    let left = born_time
        .saturating_add(poll_time)
        .saturating_sub(broker.env.now_ms())
        .min(poll_time.min(WAIT_MAX_MS));
    let left = u64::try_from(left).ok().filter(|&left| left > 0)?;
    Some(Instant::now() + Duration::from_millis(left))
}

/// Checks the id of an attempt: what an ordered pop has given is kept under it.
fn check_attempt_id(attempt_id: Option<&str>) -> Result<(), Refusal> {
    let length = attempt_id.map_or(0, str::len);
    limits::check("bytes of an attempt's id", length, rules::CLIENT_ID_MAX)?;
    Ok(())
}

fn serve(
    broker: &Arc<State>,
    channel: &Channel,
    request: &RemotingCommand,
) -> Result<Served, Refusal> {
    let header: PopMessageRequestHeader = request.header()?;
    let now_ms = broker.env.now_ms();
    let until = header.born_time.saturating_add(header.poll_time);
    if now_ms.saturating_sub(until) > TOO_LATE_MS {
        let remark = format!("the broker[{}] pop message is timeout too much", ip(broker));
        return Err(Refusal::new(ResponseCode::POLLING_TIMEOUT, remark));
    }
    check_count(broker, header.max_msg_nums)?;
    check_attempt_id(header.attempt_id.as_deref())?;
    let (topic, queue_id) = (header.topic.as_str(), header.queue_id);
    let queues = check(
        broker,
        channel,
        "pop",
        topic,
        queue_id,
        &header.consumer_group,
    )?;
    rules::check_pop(
        normal_topic(topic, &header.consumer_group),
        &header.consumer_group,
    )
    .map_err(|wrong| Refusal::new(ResponseCode::INVALID_PARAMETER, wrong.to_string()))?;
    let filter = filter(broker, &header)?;
    let order = header.order.unwrap_or(false);
    if !order && !broker.ensure_revive_topic() {
        let remark = "there is no topic for check points";
        return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark));
    }
    let mut popping = Popping::new(broker, &header, filter.clone(), now_ms);
    popping.run(queues);
    if !popping.is_empty() {
        if popping.rest > 0 {
            // There is more, for the next one who waits.
            let key = QueueKey::new(topic, &header.consumer_group, queue_id);
            wake_exact(broker, &key);
        }
        let answer = popping.answer(request, ResponseCode::SUCCESS);
        return Ok(Served::Answer(answer));
    }
    if popping.failed {
        let remark = "check points cannot be written";
        return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark));
    }
    let Some(deadline) = deadline(broker, header.born_time, header.poll_time) else {
        let answer = popping.answer(request, ResponseCode::POLLING_TIMEOUT);
        return Ok(Served::Answer(answer));
    };
    let full = popping.answer(request, ResponseCode::POLLING_FULL);
    let wait = Wait {
        ahead: Ahead {
            key: QueueKey::new(topic, &header.consumer_group, queue_id),
            order,
            attempt_id: header.attempt_id.clone(),
            queues,
        },
        parked: Parked {
            deadline,
            filter,
            connection: channel.id(),
            request: (),
        },
    };
    Ok(Served::Park(Box::new(wait), full))
}

/// Java lets a request wait that asks for no message.
fn check_count(broker: &State, max_msg_nums: i32) -> Result<(), Refusal> {
    let wrong = match max_msg_nums {
        1..=POP_MAX => return Ok(()),
        less if less < 1 => "less than 1",
        _ => "greater than 32",
    };
    check_broker(broker, "pop message")?;
    let remark = format!("the broker[{}] pop message's num is {wrong}", ip(broker));
    Err(Refusal::new(ResponseCode::INVALID_PARAMETER, remark))
}

fn ip(broker: &State) -> std::net::IpAddr {
    broker.address().ip()
}

pub(super) fn check_broker(broker: &State, what: &str) -> Result<(), Refusal> {
    if perm::is_readable(broker.config().broker_permission) {
        return Ok(());
    }
    let remark = format!("the broker[{}] {what} is forbidden", ip(broker));
    Err(Refusal::new(ResponseCode::NO_PERMISSION, remark))
}

/// The checks that all these requests have in common, in RocketMQ's order. Returns how many queues
/// the topic has.
pub(super) fn check(
    broker: &State,
    channel: &Channel,
    what: &str,
    topic: &str,
    queue_id: i32,
    group: &str,
) -> Result<i32, Refusal> {
    check_broker(broker, &format!("{what} message"))?;
    let forbidden = |remark: String| Err(Refusal::new(ResponseCode::NO_PERMISSION, remark));
    let queues = {
        let topics = broker.topics.read();
        let Some(known) = topics.get(topic) else {
            let remark = faq(&format!("topic[{topic}] not exist, apply first please!"));
            return Err(Refusal::new(ResponseCode::TOPIC_NOT_EXIST, remark));
        };
        if !perm::is_readable(known.perm) {
            return forbidden(format!("the topic[{topic}] peeking message is forbidden"));
        }
        known.read_queue_nums
    };
    if queue_id >= queues {
        let remark = illegal_queue(channel, topic, queue_id, queues);
        return Err(Refusal::new(ResponseCode::INVALID_PARAMETER, remark));
    }
    let enabled = |group: &SubscriptionGroupConfig| group.consume_enable;
    match broker.with_group(group, enabled) {
        None => {
            let remark = faq(&format!("subscription group [{group}] does not exist,"));
            let code = ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST;
            Err(Refusal::new(code, remark))
        }
        Some(false) => forbidden(format!("subscription group no permission, {group}")),
        Some(true) => Ok(queues),
    }
}

pub(super) fn illegal_queue(channel: &Channel, topic: &str, queue_id: i32, queues: i32) -> String {
    format!(
        "queueId[{queue_id}] is illegal, topic:[{topic}] topicConfig.readQueueNums:[{queues}] \
         consumer:[/{}]",
        channel.peer()
    )
}

/// The filter of a pop: none without an expression.
fn filter(broker: &State, header: &PopMessageRequestHeader) -> Result<Option<PullFilter>, Refusal> {
    let Some(expression) = header.exp.as_deref().filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let (kind, version) = (header.exp_type.as_deref(), header.born_time);
    let config = broker.config();
    pull::filter_of(&config, &header.topic, expression, kind, version).map(Some)
}
