//! Messages that consumers send back: CONSUMER_SEND_MSG_BACK
//! (`AbstractSendMessageProcessor.consumerSendMsgBack`).

use std::sync::Arc;

use hotfire_env::defect;
use hotfire_protocol::body::SubscriptionGroupConfig;
use hotfire_protocol::header::send::ConsumerSendMsgBackRequestHeader;
use hotfire_protocol::message::property;
use hotfire_protocol::topic::{self, perm};
use hotfire_protocol::{MessageExt, RemotingCommand, ResponseCode, version};
use hotfire_remoting::Channel;
use hotfire_store::{MessageInner, PutMessageStatus};
use tokio::time::Instant;

use super::{Answer, done, faq};
use crate::access;
use crate::acl::Perm;
use crate::refusal::Refusal;
use crate::retry::{self, Retry};
use crate::state::State;
use crate::timer;

/// CONSUMER_SEND_MSG_BACK: stores a message again, for another try or as a dead letter. The copy is
/// appended without waiting for the disk: it says `WAIT=false`.
pub(super) fn send_back(
    broker: &Arc<State>,
    channel: &Channel,
    request: &RemotingCommand,
) -> Answer {
    let header: ConsumerSendMsgBackRequestHeader = request.header()?;
    access::admit_to_message(broker, channel, request, header.offset, Perm::SUB)?;
    let Some(group) = broker.group_config(&header.group) else {
        let remark = faq(&format!("subscription group not exist, {}", header.group));
        return Err(Refusal::new(
            ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST,
            remark,
        ));
    };
    let forbidden = |remark: String| Err(Refusal::new(ResponseCode::NO_PERMISSION, remark));
    if !perm::is_writeable(broker.config().broker_permission) {
        let ip = broker.address().ip();
        return forbidden(format!("the broker[{ip}] sending message is forbidden"));
    }
    if group.retry_queue_nums <= 0 {
        // A group without retry queues wants its failed messages dropped.
        return done(request);
    }
    // A group from earlier days may have a longer name than can be retried.
    topic::check_group(&group.group_name)
        .map_err(|wrong| Refusal::new(ResponseCode::SYSTEM_ERROR, wrong.to_string()))?;
    let name = topic::retry_topic(&group.group_name);
    let unit = header.unit_mode.unwrap_or(false);
    let retry_topic = broker.ensure_retry_topic(&group, unit);
    let Some(retry_topic) = retry_topic else {
        let remark = format!("topic[{name}] not exist");
        return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark));
    };
    if !perm::is_writeable(retry_topic.perm) {
        let topic = retry_topic.topic_name;
        return forbidden(format!("the topic[{topic}] sending message is forbidden"));
    }
    let original = broker.store.look_message_by_offset(header.offset);
    // What the broker keeps for itself was never given to a consumer.
    let original = original.filter(|found| !topic::is_internal_topic(&found.message.topic));
    let Some(original) = original else {
        let remark = format!("look message by offset failed, {}", header.offset);
        return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark));
    };
    let max = header
        .max_reconsume_times
        .filter(|_| request.version >= version::V3_4_9)
        .unwrap_or(group.retry_max_times);
    let retry = retry::decide(original.reconsume_times, max, header.delay_level);
    if retry == Retry::DeadLetter && defect!(broker.env, DropExhausted) {
        return done(request);
    }
    let origin = original.message.properties.get(property::RETRY_TOPIC);
    let origin = origin.unwrap_or(&original.message.topic).to_owned();
    // A group chooses among its queues, of which the topic may have more; and nobody reads those
    // that the topic has not.
    let queues = retry_topic
        .read_queue_nums
        .min(retry_topic.write_queue_nums)
        .min(group.retry_queue_nums);
    let to = match retry {
        Retry::Again { .. } => Destination {
            queue_id: broker.random_below(queues),
            topic: name,
            delay_level: match retry {
                Retry::Again { delay_level } if !defect!(broker.env, RetryAtOnce) => delay_level,
                _ => 0,
            },
        },
        Retry::DeadLetter => dead_letters(broker, &group)?,
    };
    let again = copy(broker, original, &to)
        .map_err(|status| Refusal::new(ResponseCode::SYSTEM_ERROR, status.name()))?;
    match broker.store.append_accepted(again).status {
        PutMessageStatus::PutOk => {
            let mut stats = broker.stats.lock();
            stats
                .broker
                .sent_back(&header.group, &origin, Instant::now());
            drop(stats);
            if let (Some(metrics), Retry::DeadLetter) = (&broker.metrics, retry) {
                metrics.dead_letter(&header.group, &origin);
            }
            done(request)
        }
        status => Err(Refusal::new(ResponseCode::SYSTEM_ERROR, status.name())),
    }
}

/// Where a message that is sent back goes.
struct Destination {
    topic: String,
    queue_id: i32,
    /// The level of the delay before, 0 for none.
    delay_level: i32,
}

/// The group's dead-letter queue.
fn dead_letters(
    broker: &Arc<State>,
    group: &SubscriptionGroupConfig,
) -> Result<Destination, Refusal> {
    let topic = topic::dlq_topic(&group.group_name);
    if broker.ensure_topic(&topic, 1, false).is_none() {
        let remark = format!("topic[{topic}] not exist");
        return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark));
    }
    Ok(Destination {
        topic,
        queue_id: 0,
        delay_level: 0,
    })
}

/// What is noted in a message that is sent back, and left out if there is no room for it. The first
/// is missed least.
const NOTES: [&str; 4] = [
    property::WAIT,
    property::ORIGIN_MESSAGE_ID,
    property::DELAY,
    property::RETRY_TOPIC,
];

/// The message once more, one retry later, with its first origin noted, on its way to where it goes.
/// A message that leaves no room for the notes goes without some of them rather than being kept by
/// its consumer for ever; the last that it goes without is the delay.
fn copy(
    broker: &State,
    original: MessageExt,
    to: &Destination,
) -> Result<MessageInner, PutMessageStatus> {
    let mut refused = PutMessageStatus::PropertiesSizeExceeded;
    for left_out in 0..=NOTES.len() {
        let again = copy_without(broker, original.clone(), to, &NOTES[..left_out]);
        let topic = again.message.topic.clone();
        let form = broker
            .store
            .check_form(&again, &topic)
            .and_then(|()| broker.store.check_form(&again, &to.topic));
        match form {
            Ok(()) => return Ok(again),
            Err(status) => refused = status,
        }
    }
    Err(refused)
}

fn copy_without(
    broker: &State,
    original: MessageExt,
    to: &Destination,
    left_out: &[&str],
) -> MessageInner {
    let offset_id = original.offset_msg_id();
    let mut again = MessageInner::from(original);
    again.store_host = broker.address();
    // A client may have sent it with any number.
    again.reconsume_times = again.reconsume_times.saturating_add(1);
    let topic = std::mem::replace(&mut again.message.topic, to.topic.clone());
    again.queue_id = to.queue_id;
    let properties = &mut again.message.properties;
    let noted = |name| !left_out.contains(&name);
    if noted(property::RETRY_TOPIC) && !properties.contains(property::RETRY_TOPIC) {
        properties.set(property::RETRY_TOPIC, topic);
    }
    let is_first = properties
        .get(property::ORIGIN_MESSAGE_ID)
        .is_none_or(str::is_empty);
    if noted(property::ORIGIN_MESSAGE_ID) && is_first {
        properties.set(property::ORIGIN_MESSAGE_ID, offset_id);
    }
    if noted(property::WAIT) {
        properties.set(property::WAIT, "false");
    }
    if to.delay_level > 0 && noted(property::DELAY) {
        // A level counts for more than a time of its own.
        timer::forget_times(properties);
        properties.set(property::DELAY, to.delay_level.to_string());
        broker.divert_delayed(&mut again);
    } else {
        properties.remove(property::DELAY);
    }
    again
}
