//! Resetting and copying the offsets of groups, and asking what their members hold
//! (`Broker2Client`, `AdminBrokerProcessor`).
//!
//! As in 4.9, a reset is told to the members of the group, who set the offsets themselves: whoever
//! would set them here while members run would see them overwritten by the next commit. A group
//! without members is refused, and the administrator commits the offsets in its stead. With
//! `useServerSideResetOffset`, the way of 5.x, the broker puts the offsets down, and the next pull
//! of each queue is answered with the new one; members need not be there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hotfire_protocol::body::{
    GetConsumerStatusBody, MessageQueueForC, ResetOffsetBody, ResetOffsetBodyForC,
};
use hotfire_protocol::header::admin::CloneGroupOffsetRequestHeader;
use hotfire_protocol::header::client::{GetConsumerStatusRequestHeader, ResetOffsetRequestHeader};
use hotfire_protocol::topic;
use hotfire_protocol::{
    Language, MessageQueue, RemotingCommand, RequestCode, ResponseCode, version,
};
use hotfire_remoting::{Channel, Handled};
use hotfire_store::Boundary;

use super::{Answer, body, done};
use crate::client_info::ClientInfo;
use crate::refusal::Refusal;
use crate::resets::reset_offset;
use crate::state::State;

/// How long a member may take to say what it holds.
const STATUS_TIMEOUT: Duration = Duration::from_secs(5);

fn error(remark: impl Into<String>) -> Refusal {
    Refusal::new(ResponseCode::SYSTEM_ERROR, remark)
}

/// INVOKE_BROKER_TO_RESET_OFFSET: sets the offsets of a group to a time, to the end, or, with the
/// fields that 5.x has for it, those of one queue to an offset.
pub(super) fn reset(broker: &State, request: &RemotingCommand) -> Answer {
    let header: ResetOffsetRequestHeader = request.header()?;
    let (topic, group) = (&header.topic, &header.group);
    tracing::info!(
        topic,
        group,
        timestamp = header.timestamp,
        "resetting offsets"
    );
    if broker.config().use_server_side_reset_offset {
        return reset_here(broker, request, &header);
    }
    let Some(queues) = broker
        .topics
        .read()
        .get(topic)
        .map(|topic| topic.write_queue_nums)
    else {
        let remark = "[reset-offset] reset offset failed, no topic in this broker. topic=";
        return Err(error(format!("{remark}{topic}")));
    };
    let force = header.is_force.unwrap_or(false);
    let mut offsets = BTreeMap::new();
    for queue_id in queue_ids(&header, queues) {
        let committed = broker.offsets.lock().get(group, topic, queue_id);
        let committed =
            committed.ok_or_else(|| error(format!("THe consumer group <{group}> not exist")))?;
        let target = target(broker, &header, queue_id, Boundary::Nearest)?;
        let offset = reset_offset(committed, target, force);
        offsets.insert(queue(broker, topic, queue_id), offset);
    }
    tell_members(broker, request, &header, &offsets)?;
    let answer = ResetOffsetBody {
        offset_table: offsets,
    };
    body(request, answer.to_json())
}

fn queue(broker: &State, topic: &str, queue_id: i32) -> MessageQueue {
    MessageQueue::new(topic, broker.config().broker_name.clone(), queue_id)
}

/// All queues, or the one that is named.
fn queue_ids(header: &ResetOffsetRequestHeader, queues: i32) -> std::ops::Range<i32> {
    match header.queue_id.filter(|&id| id >= 0) {
        Some(id) => id.min(queues)..id.saturating_add(1).min(queues),
        None => 0..queues,
    }
}

/// Where a queue is to be set: to an offset, to the end, or to a time.
fn target(
    broker: &State,
    header: &ResetOffsetRequestHeader,
    queue_id: i32,
    boundary: Boundary,
) -> Result<i64, Refusal> {
    let (store, topic) = (&broker.store, &header.topic);
    let offset = header.offset.filter(|&offset| offset != -1);
    let one_queue = header.queue_id.is_some_and(|id| id >= 0);
    if let Some(offset) = offset.filter(|_| one_queue) {
        let min = store.min_offset_in_queue(topic, queue_id);
        let max = store.max_offset_in_queue(topic, queue_id);
        return if (min..=max).contains(&offset) {
            Ok(offset)
        } else {
            let range = format!("consume queue range [{min}-{max}]");
            Err(error(format!("Target offset {offset} not in {range}")))
        };
    }
    Ok(match header.timestamp {
        -1 => store.max_offset_in_queue(topic, queue_id),
        timestamp => store.offset_by_timestamp(topic, queue_id, timestamp, boundary),
    })
}

/// Tells every member of the group (RESET_CONSUMER_CLIENT_OFFSET). A C++ member gets the offsets as
/// a list, because it cannot read maps keyed by objects; so do all, as in RocketMQ, if a C++
/// administrator asks.
fn tell_members(
    broker: &State,
    request: &RemotingCommand,
    header: &ResetOffsetRequestHeader,
    offsets: &BTreeMap<MessageQueue, i64>,
) -> Result<(), Refusal> {
    let ResetOffsetRequestHeader {
        topic,
        group,
        timestamp,
        ..
    } = header;
    let members = members(broker, group);
    if members.is_empty() {
        let group = format!("Group: {group} Topic: {topic} Timestamp: {timestamp}");
        let remark = format!("Consumer not online, so can not reset offset, {group}");
        return Err(Refusal::new(ResponseCode::CONSUMER_NOT_ONLINE, remark));
    }
    let push = ResetOffsetRequestHeader {
        topic: topic.clone(),
        group: group.clone(),
        timestamp: *timestamp,
        is_force: Some(false),
        ..ResetOffsetRequestHeader::default()
    };
    let push = RemotingCommand::request_with(RequestCode::RESET_CONSUMER_CLIENT_OFFSET, &push);
    let table = ResetOffsetBody {
        offset_table: offsets.clone(),
    };
    // Shared by the requests to all members.
    let (table, list) = (table.to_json(), list_for_c(offsets).to_json());
    let (table, list) = (Bytes::from(table), Bytes::from(list));
    for (member, channel) in members {
        check_version(&member)?;
        let as_list = [request.language, member.language].contains(&Language::CPP);
        let offsets = if as_list { &list } else { &table };
        if let Err(error) = channel.oneway(push.clone().with_body(offsets.clone())) {
            tracing::error!(group, client = &*member.client_id, %error, "cannot tell a member");
        }
    }
    Ok(())
}

fn list_for_c(offsets: &BTreeMap<MessageQueue, i64>) -> ResetOffsetBodyForC {
    let entry = |(queue, &offset): (&MessageQueue, &i64)| MessageQueueForC {
        broker_name: queue.broker_name.clone(),
        offset,
        queue_id: queue.queue_id,
        topic: queue.topic.clone(),
    };
    ResetOffsetBodyForC {
        offset_table: offsets.iter().map(entry).collect(),
    }
}

/// The members of a group, with their connections.
fn members(broker: &State, group: &str) -> Vec<(ClientInfo, Channel)> {
    let members = {
        let consumers = broker.consumers.lock();
        let group = consumers.group(group);
        group.map(|group| group.members().clone())
    };
    let channels = broker.channels.lock();
    members
        .into_iter()
        .flatten()
        .filter_map(|(connection, client)| Some((client, channels.get(&connection)?.clone())))
        .collect()
}

fn check_version(member: &ClientInfo) -> Result<(), Refusal> {
    if member.version >= version::V3_0_7_SNAPSHOT {
        return Ok(());
    }
    Err(error(format!(
        "the client does not support this feature. version={}",
        member.version
    )))
}

/// The reset of 5.x (`AdminBrokerProcessor.resetOffsetInner`): moves forward as well as back.
fn reset_here(
    broker: &State,
    request: &RemotingCommand,
    header: &ResetOffsetRequestHeader,
) -> Answer {
    let (topic, group) = (&header.topic, &header.group);
    let Some(queues) = broker
        .topics
        .read()
        .get(topic)
        .map(|topic| topic.read_queue_nums)
    else {
        let remark = format!("Topic {topic} does not exist");
        return Err(Refusal::new(ResponseCode::TOPIC_NOT_EXIST, remark));
    };
    if broker.groups.read().get(group).is_none() {
        let code = ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST;
        return Err(Refusal::new(code, format!("Group {group} does not exist")));
    }
    let mut offsets = BTreeMap::new();
    for queue_id in queue_ids(header, queues) {
        let offset = target(broker, header, queue_id, Boundary::Lower)?;
        offsets.insert(queue_id, offset);
    }
    if offsets.is_empty() {
        return Err(error("No queues to reset."));
    }
    for (&queue_id, &offset) in &offsets {
        broker.commit_offset(group, topic, queue_id, offset);
        broker.resets.lock().put(group, topic, queue_id, offset);
    }
    let offsets = offsets.into_iter();
    let answer = ResetOffsetBody {
        offset_table: offsets
            .map(|(queue_id, offset)| (queue(broker, topic, queue_id), offset))
            .collect(),
    };
    body(request, answer.to_json())
}

/// INVOKE_BROKER_TO_GET_CONSUMER_STATUS: asks the members of a group, or one of them, for the
/// offsets that they hold. Who does not answer is left out.
pub(super) fn status(broker: &Arc<State>, request: RemotingCommand) -> Handled {
    let asked = match whom_to_ask(broker, &request) {
        Ok(asked) => asked,
        Err(refusal) => return Handled::Reply(refusal.response(&request)),
    };
    Handled::Later(Box::pin(async move {
        let mut held = BTreeMap::new();
        for (client_id, channel) in asked.members {
            let answer = channel.invoke(asked.question.clone(), STATUS_TIMEOUT).await;
            match answer.map(|answer| GetConsumerStatusBody::from_json(&answer.body)) {
                Ok(Ok(body)) => {
                    held.insert(client_id, body.message_queue_table);
                }
                Ok(Err(error)) => tracing::warn!(client_id, %error, "what it holds is not known"),
                Err(error) => tracing::warn!(client_id, %error, "what it holds is not known"),
            }
        }
        let answer = GetConsumerStatusBody {
            consumer_table: held,
            ..GetConsumerStatusBody::default()
        };
        let answer = body(&request, answer.to_json());
        Some(answer.unwrap_or_else(|refusal| refusal.response(&request)))
    }))
}

struct Asked {
    question: RemotingCommand,
    members: Vec<(String, Channel)>,
}

fn whom_to_ask(broker: &State, request: &RemotingCommand) -> Result<Asked, Refusal> {
    let header: GetConsumerStatusRequestHeader = request.header()?;
    let members = members(broker, &header.group);
    if members.is_empty() {
        let group = &header.group;
        let remark = "No Any Consumer online in the consumer group:";
        return Err(error(format!("{remark} [{group}]")));
    }
    let only = header
        .client_addr
        .filter(|client| !client.trim().is_empty());
    let mut asked = Vec::new();
    for (member, channel) in members {
        check_version(&member)?;
        if only.as_ref().is_none_or(|only| **only == *member.client_id) {
            asked.push((member.client_id.to_string(), channel));
        }
    }
    let question = GetConsumerStatusRequestHeader {
        topic: header.topic,
        group: header.group,
        client_addr: None,
    };
    let code = RequestCode::GET_CONSUMER_STATUS_FROM_CLIENT;
    Ok(Asked {
        question: RemotingCommand::request_with(code, &question),
        members: asked,
    })
}

/// CLONE_GROUP_OFFSET: one group's offsets become another's, of one topic or of all. While members
/// of the first group are there, only of topics that it subscribes to, unless `offline` is set.
pub(super) fn clone(broker: &State, request: &RemotingCommand) -> Answer {
    let header: CloneGroupOffsetRequestHeader = request.header()?;
    let (from, to) = (&header.src_group, &header.dest_group);
    topic::check_group(to).map_err(|wrong| error(wrong.to_string()))?;
    let topics: Vec<String> = match header.topic.filter(|topic| !topic.trim().is_empty()) {
        Some(topic) => vec![topic],
        None => {
            let offsets = broker.offsets.lock();
            offsets.topics_of(from).map(str::to_owned).collect()
        }
    };
    for topic in topics {
        if broker.topics.read().get(&topic).is_none() {
            tracing::warn!(
                topic,
                "offsets of a topic that does not exist are not cloned"
            );
            continue;
        }
        if !header.offline.unwrap_or(false) && !may_clone(broker, from, &topic) {
            tracing::warn!(
                topic,
                from,
                "offsets of an unsubscribed topic are not cloned"
            );
            continue;
        }
        let queues = broker.offsets.lock().queues(from, &topic).cloned();
        for (queue_id, offset) in queues.into_iter().flatten() {
            broker.commit_of_client(to, &topic, queue_id, offset)?;
        }
    }
    done(request)
}

fn may_clone(broker: &State, group: &str, topic: &str) -> bool {
    let consumers = broker.consumers.lock();
    consumers.group(group).is_none_or(|group| {
        let subscriptions = group.subscriptions();
        subscriptions.is_empty() || subscriptions.contains_key(topic)
    })
}
