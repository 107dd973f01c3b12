//! Messages for a time: calling them back (RECALL_MESSAGE, `RecallMessageProcessor`), and how far
//! they are (GET_TIMER_CHECK_POINT, GET_TIMER_METRICS).

use std::sync::Arc;

use hotfire_protocol::header::recall::{RecallMessageRequestHeader, RecallMessageResponseHeader};
use hotfire_protocol::message::property;
use hotfire_protocol::message::recall::RecallHandle;
use hotfire_protocol::topic::perm;
use hotfire_protocol::{Message, RemotingCommand, ResponseCode};
use hotfire_remoting::{Channel, Handled};
use hotfire_store::{MessageInner, TimerStore};

use super::Answer;
use crate::refusal::Refusal;
use crate::state::State;

/// The tag of the message that drops another one.
const RECALL_TAG: &str = "_RECALL_TAG_";

/// RECALL_MESSAGE: has a message dropped that waits for its time. That is a message itself, which is
/// put onto the wheel beside the other one.
pub(super) fn recall(broker: &Arc<State>, channel: &Channel, request: RemotingCommand) -> Handled {
    let (broker, channel) = (broker.clone(), channel.clone());
    Handled::Later(Box::pin(async move {
        let answer = try_recall(&broker, &channel, &request).await;
        let mut response = answer.unwrap_or_else(|refusal| refusal.response(&request));
        let region = broker.config().region_id.clone();
        response.ext.push(property::MSG_REGION, region);
        Some(response)
    }))
}

async fn try_recall(broker: &Arc<State>, channel: &Channel, request: &RemotingCommand) -> Answer {
    let header: RecallMessageRequestHeader = request.header()?;
    let handle = check(broker, &header)?;
    let mut wish = MessageInner::new(wish(&header, &handle), 0, broker.address());
    wish.born_timestamp = broker.env.now_ms();
    wish.born_host = channel.peer();
    let failed = || Refusal::new(ResponseCode::SYSTEM_ERROR, "recall failed, execute error");
    broker.divert_timed(&mut wish).map_err(|_| failed())?;
    let put = broker.store.put_message(wish).await;
    if !put.is_stored() {
        return Err(failed());
    }
    let header = RecallMessageResponseHeader {
        msg_id: handle.message_id,
    };
    Ok(request.response_with(ResponseCode::SUCCESS, &header))
}

/// Which message is to be dropped, if that may be.
fn check(broker: &State, header: &RecallMessageRequestHeader) -> Result<RecallHandle, Refusal> {
    let config = broker.config();
    let refuse = |code, why: &str| Err(Refusal::new(code, format!("recall failed, {why}")));
    if !config.recall_message_enable {
        return refuse(ResponseCode::NO_PERMISSION, "operation is forbidden");
    }
    let is_ready = broker.env.now_ms() >= config.start_accept_send_request_time_stamp;
    let is_open = perm::is_writeable(config.broker_permission)
        || config.allow_recall_when_broker_not_writeable;
    if !is_ready || !is_open {
        let why = "broker service not available";
        return refuse(ResponseCode::SERVICE_NOT_AVAILABLE, why);
    }
    if broker.topics.read().get(&header.topic).is_none() {
        let why = format!("the topic[{}] not exist", header.topic);
        return refuse(ResponseCode::TOPIC_NOT_EXIST, &why);
    }
    let illegal = ResponseCode::ILLEGAL_OPERATION;
    let handle = RecallHandle::decode(&header.recall_handle)
        .map_err(|bad| Refusal::new(illegal, bad.to_string()))?;
    if handle.message_id.chars().any(char::is_control) {
        // It becomes part of properties, which such characters separate.
        return refuse(illegal, "handle is invalid");
    }
    if header.topic != handle.topic {
        return refuse(illegal, "topic not match");
    }
    if config.broker_name != handle.broker_name {
        return refuse(illegal, "broker service not available");
    }
    let time_ms: i64 = handle.timestamp.parse().unwrap_or(-1);
    let left_ms = time_ms.saturating_sub(broker.env.now_ms());
    let max_ms = i64::try_from(config.store.timer_max_delay.as_millis()).unwrap_or(i64::MAX);
    if left_ms <= 0 || left_ms >= max_ms {
        return refuse(illegal, "timestamp invalid");
    }
    Ok(handle)
}

/// The message that drops another one.
fn wish(header: &RecallMessageRequestHeader, handle: &RecallHandle) -> Message {
    let target = format!("{}+{}", handle.topic, handle.message_id);
    let mut wish = Message::new(handle.topic.as_str(), "0")
        .with_tag(RECALL_TAG)
        .with_property(property::TIMER_DEL_UNIQKEY, target)
        .with_property(property::UNIQ_KEY, handle.message_id.as_str())
        .with_property(property::TIMER_DELIVER_MS, handle.timestamp.as_str());
    if let Some(group) = &header.producer_group {
        wish = wish.with_property(property::PGROUP, group.as_str());
    }
    wish
}

fn timers(broker: &State) -> Result<&TimerStore, Refusal> {
    let none = || {
        Refusal::new(
            ResponseCode::SYSTEM_ERROR,
            "The timer message store is null",
        )
    };
    broker.timers.as_ref().ok_or_else(none)
}

/// GET_TIMER_CHECK_POINT: how far the timers are, for replicas.
pub(super) fn check_point(broker: &State, request: &RemotingCommand) -> Answer {
    let checkpoint = timers(broker)?.checkpoint();
    let response = request.response(ResponseCode::SUCCESS);
    Ok(response.with_body(checkpoint.encode().to_vec()))
}

/// GET_TIMER_METRICS: how many messages wait for their time.
pub(super) fn metrics(broker: &State, request: &RemotingCommand) -> Answer {
    let metrics = timers(broker)?.metrics();
    super::body(request, metrics.to_json())
}
