//! Messages that consumers send back: CONSUMER_SEND_MSG_BACK
//! (`AbstractSendMessageProcessor.consumerSendMsgBack`).

use std::sync::Arc;

use hotfire_env::defect;
use hotfire_protocol::body::SubscriptionGroupConfig;
use hotfire_protocol::header::send::ConsumerSendMsgBackRequestHeader;
use hotfire_protocol::message::property;
use hotfire_protocol::topic::{self, perm};
use hotfire_protocol::{MessageExt, RemotingCommand, ResponseCode, version};
use hotfire_store::{MessageInner, PutMessageStatus};
use tokio::time::Instant;

use super::{Answer, done, faq};
use crate::refusal::Refusal;
use crate::retry::{self, Retry};
use crate::state::State;

/// CONSUMER_SEND_MSG_BACK: stores a message again, for another try or as a dead letter. The copy is
/// appended without waiting for the disk: it says `WAIT=false`.
pub(super) fn send_back(broker: &Arc<State>, request: &RemotingCommand) -> Answer {
    let header: ConsumerSendMsgBackRequestHeader = request.header()?;
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
    let unit = header.unit_mode.unwrap_or(false);
    let retry_topic = broker.ensure_retry_topic(&group, unit);
    let Some(retry_topic) = retry_topic else {
        let remark = format!("topic[{}] not exist", topic::retry_topic(&group.group_name));
        return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark));
    };
    if !perm::is_writeable(retry_topic.perm) {
        let topic = retry_topic.topic_name;
        return forbidden(format!("the topic[{topic}] sending message is forbidden"));
    }
    let Some(original) = broker.store.look_message_by_offset(header.offset) else {
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
    let mut again = copy(broker, original);
    let origin = again.message.properties.get(property::RETRY_TOPIC);
    let origin = origin.unwrap_or_default().to_owned();
    // A group chooses among its queues, of which the topic may have more; and nobody reads those
    // that the topic has not.
    let queues = retry_topic
        .read_queue_nums
        .min(retry_topic.write_queue_nums)
        .min(group.retry_queue_nums);
    redirect(broker, &group, queues, retry, &mut again)?;
    broker
        .divert(&mut again)
        .map_err(|why| why.refusal(&broker.config()))?;
    match broker.store.append(again).status {
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

/// The message once more, one retry later, with its first origin noted.
fn copy(broker: &State, original: MessageExt) -> MessageInner {
    let offset_id = original.offset_msg_id();
    let mut again = MessageInner::from(original);
    again.store_host = broker.address();
    // A client may have sent it with any number.
    again.reconsume_times = again.reconsume_times.saturating_add(1);
    let topic = again.message.topic.clone();
    let properties = &mut again.message.properties;
    if !properties.contains(property::RETRY_TOPIC) {
        properties.set(property::RETRY_TOPIC, topic);
    }
    if properties
        .get(property::ORIGIN_MESSAGE_ID)
        .is_none_or(str::is_empty)
    {
        properties.set(property::ORIGIN_MESSAGE_ID, offset_id);
    }
    properties.set(property::WAIT, "false");
    again
}

/// Sends the copy to one of so many queues of the group's retry topic, or to its dead-letter topic.
fn redirect(
    broker: &Arc<State>,
    group: &SubscriptionGroupConfig,
    queues: i32,
    retry: Retry,
    again: &mut MessageInner,
) -> Result<(), Refusal> {
    let properties = &mut again.message.properties;
    match retry {
        Retry::Again { delay_level } => {
            let delay_level = if defect!(broker.env, RetryAtOnce) {
                0
            } else {
                delay_level
            };
            properties.set(property::DELAY, delay_level.to_string());
            again.message.topic = topic::retry_topic(&group.group_name);
            again.queue_id = broker.random_below(queues);
        }
        Retry::DeadLetter => {
            let dead_letters = topic::dlq_topic(&group.group_name);
            if broker.ensure_topic(&dead_letters, 1, false).is_none() {
                let remark = format!("topic[{dead_letters}] not exist");
                return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark));
            }
            properties.remove(property::DELAY);
            again.message.topic = dead_letters;
            again.queue_id = 0;
        }
    }
    Ok(())
}
