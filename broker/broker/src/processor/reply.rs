//! Replies to requests: SEND_REPLY_MESSAGE, SEND_REPLY_MESSAGE_V2 (`ReplyMessageProcessor`).
//!
//! A reply is handed to the client that waits for it, on the connection where that client is a
//! producer, and stored in the cluster's reply topic. As in Apache RocketMQ the answer tells
//! whether the client took it; a reply that could not be handed over is stored all the same, and
//! one that could not be stored counts as sent.

use std::sync::Arc;
use std::time::Duration;

use hotfire_protocol::header::Field;
use hotfire_protocol::header::send::{ReplyMessageRequestHeader, SendMessageRequestHeader};
use hotfire_protocol::message::property;
use hotfire_protocol::{Properties, RemotingCommand, RequestCode, ResponseCode};
use hotfire_remoting::{Channel, Handled};
use hotfire_store::{MessageInner, PutMessageStatus, PutResult};

use super::send::{check, inner, put_region, refused};
use super::send_header::SendHeader;
use crate::refusal::Refusal;
use crate::state::State;

/// How long a client may take to acknowledge a reply (`Broker2Client.callClient`).
const PUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// Takes a reply, hands it over, stores it and answers.
pub(super) fn handle(broker: &Arc<State>, channel: &Channel, request: RemotingCommand) -> Handled {
    let (broker, channel) = (broker.clone(), channel.clone());
    Handled::Later(Box::pin(async move {
        let response = match run(&broker, &channel, &request).await {
            Ok(response) => response,
            Err(Refusal { code, remark }) => refused(&broker, &request, code, remark),
        };
        Some(response)
    }))
}

async fn run(
    broker: &Arc<State>,
    channel: &Channel,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let config = broker.config();
    let header = SendHeader::read(request)?;
    let start = config.start_accept_send_request_time_stamp;
    if start > 0 && broker.env.now_ms() < start {
        let remark = format!("broker unable to service, until {start} ms since the epoch");
        return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark));
    }
    let target = check(broker, &config, &header, channel)?;
    let mut message = inner(broker, &header, target, channel, request);
    message.message.properties = property::decode(header.properties);
    let queue_id = message.queue_id;

    let pushed = push(broker, channel, request, &message).await;
    let mut response = match &pushed {
        Ok(()) => request.response(ResponseCode::SUCCESS),
        Err(remark) => request.response_error(ResponseCode::SYSTEM_ERROR, remark.as_str()),
    };
    put_region(&config, &mut response.ext);
    let stored = if config.store_reply_message_enable {
        store(broker, message).await
    } else {
        None
    };
    let ext = &mut response.ext;
    if let Some(append) = stored.and_then(|put| put.append) {
        ext.push("msgId", append.offset_msg_id());
        queue_id.put("queueId", ext);
        append.queue_offset.put("queueOffset", ext);
    } else if pushed.is_ok() {
        // Clients cannot read the answer without these.
        ext.push("msgId", "0");
        queue_id.put("queueId", ext);
        0i64.put("queueOffset", ext);
    }
    Ok(response)
}

/// Hands the reply to the client that waits for it.
async fn push(
    broker: &State,
    channel: &Channel,
    request: &RemotingCommand,
    message: &MessageInner,
) -> Result<(), String> {
    let properties = &message.message.properties;
    let Some(client_id) = properties.get(property::REPLY_TO_CLIENT) else {
        let name = property::REPLY_TO_CLIENT;
        return Err(format!("reply message properties[{name}] is null"));
    };
    let connection = broker.producers.lock().find(client_id);
    let waiting = connection.and_then(|found| broker.channels.lock().get(&found).cloned());
    let Some(waiting) = waiting else {
        return Err(format!(
            "push reply message fail, channel of <{client_id}> not found."
        ));
    };
    let header = push_header(broker, channel, request, properties)?;
    let code = RequestCode::PUSH_REPLY_MESSAGE_TO_CLIENT;
    let push = RemotingCommand::request_with(code, &header).with_body(request.body.clone());
    match waiting.invoke(push, PUSH_TIMEOUT).await {
        Ok(response) if response.is_success() => Ok(()),
        Ok(response) => {
            let remark = response.remark.unwrap_or_default();
            tracing::warn!(client_id, remark, "a client refused a reply");
            Err(format!("push reply message to {client_id}fail."))
        }
        Err(error) => {
            tracing::warn!(client_id, %error, "a client did not take a reply");
            Err(format!("push reply message to {client_id}fail."))
        }
    }
}

fn push_header(
    broker: &State,
    channel: &Channel,
    request: &RemotingCommand,
    properties: &Properties,
) -> Result<ReplyMessageRequestHeader, String> {
    let sent = SendMessageRequestHeader::of(request).map_err(|error| error.to_string())?;
    let now_ms = broker.env.now_ms();
    let mut properties = properties.clone();
    properties.set(property::PUSH_REPLY_TIME, now_ms.to_string());
    Ok(ReplyMessageRequestHeader {
        producer_group: sent.producer_group,
        topic: sent.topic,
        default_topic: sent.default_topic,
        default_topic_queue_nums: sent.default_topic_queue_nums,
        queue_id: sent.queue_id,
        sys_flag: sent.sys_flag,
        born_timestamp: sent.born_timestamp,
        flag: sent.flag,
        properties: Some(property::encode(&properties)),
        reconsume_times: sent.reconsume_times,
        unit_mode: sent.unit_mode,
        born_host: channel.peer().to_string(),
        store_host: broker.address().to_string(),
        store_timestamp: now_ms,
    })
}

/// Stores the reply; `None` if the store did not take it, which the answer does not tell.
async fn store(broker: &State, message: MessageInner) -> Option<PutResult> {
    let topic = message.message.topic.clone();
    let put = broker.store.append(message);
    let put = broker.store.wait_durable(put, broker.sync_flush).await;
    match put.status {
        PutMessageStatus::PutOk
        | PutMessageStatus::FlushDiskTimeout
        | PutMessageStatus::FlushSlaveTimeout
        | PutMessageStatus::SlaveNotAvailable => Some(put),
        refused => {
            tracing::warn!(topic, status = refused.name(), "a reply is not stored");
            None
        }
    }
}
