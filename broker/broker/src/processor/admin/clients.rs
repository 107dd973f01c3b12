//! Connected clients: who they are, and what administrators ask of them.

use std::sync::Arc;
use std::time::Duration;

use hotfire_protocol::body::{ProducerInfo, ProducerTableInfo};
use hotfire_protocol::header::client::{
    ConsumeMessageDirectlyResultRequestHeader, GetConsumerRunningInfoRequestHeader,
};
use hotfire_protocol::message::id;
use hotfire_protocol::{HeaderError, RemotingCommand, RequestCode, ResponseCode, version};
use hotfire_remoting::{Channel, Handled, RpcError};
use tokio::time::Instant;

use super::error;
use crate::access;
use crate::acl::Perm;
use crate::client_info::ClientInfo;
use crate::processor::{Answer, body};
use crate::refusal::Refusal;
use crate::state::State;

/// How long a client may take for an administrator's request (`Broker2Client.callClient`).
const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);

/// GET_ALL_PRODUCER_INFO: all producers by group.
pub(in crate::processor) fn producers(broker: &State, request: &RemotingCommand) -> Answer {
    let (now, now_ms) = (Instant::now(), broker.env.now_ms());
    let info = |client: &ClientInfo| {
        let silent = now.saturating_duration_since(client.last_heartbeat);
        ProducerInfo {
            client_id: client.client_id.to_string(),
            language: client.language.name().to_owned(),
            last_update_timestamp: now_ms - i64::try_from(silent.as_millis()).unwrap_or(now_ms),
            remote_ip: format!("/{}", client.address),
            version: client.version,
        }
    };
    let producers = broker.producers.lock();
    let groups = producers
        .groups()
        .map(|(group, members)| (group.to_owned(), members.values().map(info).collect()));
    let data = groups.collect();
    drop(producers);
    body(request, ProducerTableInfo { data }.to_json())
}

/// GET_CONSUMER_RUNNING_INFO: asks a consumer what it is doing.
pub(in crate::processor) fn running_info(broker: &Arc<State>, request: RemotingCommand) -> Handled {
    let header = request.header::<GetConsumerRunningInfoRequestHeader>();
    let asked = header
        .map_err(Refusal::from)
        .and_then(|header| consumer(broker, header.consumer_group, header.client_id));
    match asked {
        Ok(consumer) => {
            let relayed = relayed(&request);
            consumer.ask(relayed, request)
        }
        Err(refusal) => Handled::Reply(refusal.response(&request)),
    }
}

/// CONSUME_MESSAGE_DIRECTLY: hands a consumer one message of this broker, whatever its offset, and
/// tells what it made of it.
pub(in crate::processor) fn consume_directly(
    broker: &Arc<State>,
    channel: &Channel,
    request: RemotingCommand,
) -> Handled {
    match directly(broker, channel, &request) {
        Ok((consumer, relayed)) => consumer.ask(relayed, request),
        Err(refusal) => Handled::Reply(refusal.response(&request)),
    }
}

fn directly(
    broker: &State,
    channel: &Channel,
    request: &RemotingCommand,
) -> Result<(Consumer, RemotingCommand), Refusal> {
    let header: ConsumeMessageDirectlyResultRequestHeader = request.header()?;
    let msg_id = header.msg_id.ok_or(HeaderError::Missing("msgId"))?;
    let client_id = header.client_id.ok_or(HeaderError::Missing("clientId"))?;
    let (_, offset) = id::parse_offset_msg_id(&msg_id)
        .ok_or_else(|| error(format!("`{msg_id}` is not an offset message id")))?;
    access::admit_to_message(broker, channel, request, offset, Perm::SUB)?;
    let record = broker
        .store
        .look_record(offset)
        .ok_or_else(|| error(format!("can not find message by the offset, {offset}")))?;
    let consumer = consumer(broker, header.consumer_group, client_id)?;
    let mut relayed = relayed(request).with_body(record);
    relayed
        .ext
        .set("brokerName", broker.config().broker_name.as_str());
    Ok((consumer, relayed))
}

/// A request to a client with the fields of another.
fn relayed(request: &RemotingCommand) -> RemotingCommand {
    let mut relayed = RemotingCommand::request(RequestCode(request.code));
    relayed.ext = request.ext.clone();
    relayed
}

/// A connected consumer.
struct Consumer {
    group: String,
    client_id: String,
    channel: Channel,
}

/// Finds a consumer that understands what it is asked.
fn consumer(broker: &State, group: String, client_id: String) -> Result<Consumer, Refusal> {
    let found = {
        let consumers = broker.consumers.lock();
        let members = consumers.group(&group).map(|group| group.members());
        let mut members = members.into_iter().flatten();
        members
            .find(|(_, client)| *client.client_id == *client_id)
            .map(|(connection, client)| (*connection, client.version))
    };
    let offline = || error(format!("The Consumer <{group}> <{client_id}> not online"));
    let (connection, client_version) = found.ok_or_else(offline)?;
    if client_version < version::V3_1_8_SNAPSHOT {
        return Err(error(format!(
            "The Consumer <{client_id}> Version <{client_version}> too low to finish, please \
             upgrade it to V3_1_8_SNAPSHOT"
        )));
    }
    let channel = broker.channels.lock().get(&connection).cloned();
    let channel = channel.ok_or_else(offline)?;
    Ok(Consumer {
        group,
        client_id,
        channel,
    })
}

impl Consumer {
    /// Asks the client, and passes on its answer (`callConsumer`).
    fn ask(self, relayed: RemotingCommand, request: RemotingCommand) -> Handled {
        Handled::Later(Box::pin(async move {
            let Self {
                group,
                client_id,
                channel,
            } = self;
            let mut response = request.response(ResponseCode::SUCCESS);
            match channel.invoke(relayed, CLIENT_TIMEOUT).await {
                Ok(answer) => {
                    response.code = answer.code;
                    response.remark = answer.remark;
                    response.ext = answer.ext;
                    response.body = answer.body;
                }
                Err(timeout @ RpcError::Timeout { .. }) => {
                    let remark = format!("consumer <{group}> <{client_id}> Timeout: {timeout}");
                    let code = ResponseCode::CONSUME_MSG_TIMEOUT;
                    response = request.response_error(code, remark);
                }
                Err(failed) => {
                    let remark =
                        format!("invoke consumer <{group}> <{client_id}> Exception: {failed}");
                    let code = ResponseCode::SYSTEM_ERROR;
                    response = request.response_error(code, remark);
                }
            }
            Some(response)
        }))
    }
}
