//! Clients: heartbeats, goodbyes, and who is connected (`ClientManageProcessor`).

use std::collections::BTreeMap;
use std::sync::Arc;

use hotfire_protocol::body::{
    CheckClientRequestBody, Connection, ConsumerConnection, ConsumerData,
    GetConsumerListByGroupResponseBody, HeartbeatData, ProducerConnection,
};
use hotfire_protocol::filter::SQL92;
use hotfire_protocol::filter::sql::Sql;
use hotfire_protocol::header::client::{
    GetConsumerConnectionListRequestHeader, GetConsumerListByGroupRequestHeader,
    GetProducerConnectionListRequestHeader, UnregisterClientRequestHeader,
};
use hotfire_protocol::topic::NameError;
use hotfire_protocol::{RemotingCommand, ResponseCode, rules};
use hotfire_remoting::{Channel, ConnectionId};
use tokio::time::Instant;

use super::{Answer, bad_body, body, done};
use crate::client_info::ClientInfo;
use crate::filter;
use crate::limits;
use crate::refusal::Refusal;
use crate::state::State;

/// HEART_BEAT: enters or refreshes the client in its groups. A heartbeat that is refused changes
/// nothing.
pub(super) fn heartbeat(
    broker: &Arc<State>,
    channel: &Channel,
    request: &RemotingCommand,
) -> Answer {
    limits::check_body("heartbeat", request.body.len(), limits::HEARTBEAT_BYTES)?;
    let heartbeat = HeartbeatData::from_json(&request.body).map_err(|error| bad_body(&error))?;
    check_names(&heartbeat).map_err(|error| {
        let remark = format!("the heartbeat is refused: {error}");
        Refusal::new(ResponseCode::SYSTEM_ERROR, remark)
    })?;
    let client = ClientInfo {
        client_id: heartbeat.client_id.into(),
        address: channel.peer(),
        language: request.language,
        version: request.version,
        last_heartbeat: Instant::now(),
    };
    let (connection, consumers) = (channel.id(), heartbeat.consumer_data_set);
    let producers = heartbeat.producer_data_set;
    let names = producers.iter().map(|producer| &*producer.group_name);
    broker.consumers.lock().check(&consumers, connection)?;
    let room = broker.producers.lock().check(names, connection, &client);
    room?;
    if !consumers.is_empty() {
        consumers_heartbeat(broker, connection, &client, consumers)?;
    }
    let mut table = broker.producers.lock();
    for producer in producers {
        table.register(&producer.group_name, connection, client.clone());
    }
    drop(table);
    if !channel.is_open() {
        // It closed meanwhile, and what is entered now nobody would take out again.
        broker.leave_groups(connection);
    }
    done(request)
}

/// Names need only be such as can be shown and kept: a group that must not be created is entered all
/// the same, as in Java, and its pulls are refused.
fn check_names(heartbeat: &HeartbeatData) -> Result<(), NameError> {
    rules::check_client_id(&heartbeat.client_id)?;
    for consumer in &heartbeat.consumer_data_set {
        rules::check_registered_name("group", &consumer.group_name)?;
        for subscription in &consumer.subscription_data_set {
            rules::check_registered_name("topic", &subscription.topic)?;
        }
    }
    for producer in &heartbeat.producer_data_set {
        rules::check_registered_name("group", &producer.group_name)?;
    }
    Ok(())
}

fn consumers_heartbeat(
    broker: &Arc<State>,
    connection: ConnectionId,
    client: &ClientInfo,
    consumers: Vec<ConsumerData>,
) -> Result<(), Refusal> {
    if broker.config().enable_property_filter {
        filter::register(&broker.filters, &consumers, broker.env.now_ms())?;
    }
    let wanted = consumers
        .iter()
        .map(|consumer| (consumer.group_name.as_str(), consumer.unit_mode));
    let notifies = broker.enter_groups(&wanted.collect::<Vec<_>>());
    let (mut changes, mut told, mut untold) = (Vec::new(), 0, 0);
    let mut table = broker.consumers.lock();
    for (consumer, notifies) in consumers.into_iter().zip(notifies) {
        let notifies = notifies && told < limits::NOTIFICATIONS;
        match table.register(consumer, connection, client.clone(), notifies) {
            Some(changed) => {
                told += changed.connections.len();
                changes.push(changed);
            }
            None if told >= limits::NOTIFICATIONS => untold += 1,
            None => {}
        }
    }
    drop(table);
    if untold > 0 {
        tracing::warn!(untold, "too many members to tell those of all groups");
    }
    for changed in changes {
        tracing::info!(
            group = changed.group,
            members = changed.connections.len(),
            "a consumer group changed"
        );
        broker.notify_members(&changed);
    }
    Ok(())
}

/// UNREGISTER_CLIENT: a client leaves its groups.
pub(super) fn unregister(broker: &State, channel: &Channel, request: &RemotingCommand) -> Answer {
    let header: UnregisterClientRequestHeader = request.header()?;
    if let Some(group) = &header.producer_group {
        broker.producers.lock().unregister(group, channel.id());
    }
    if let Some(group) = &header.consumer_group {
        let notifies = broker
            .groups
            .read()
            .get(group)
            .is_none_or(|group| group.notify_consumer_ids_changed_enable);
        let changed = broker
            .consumers
            .lock()
            .unregister(group, channel.id(), notifies);
        if let Some(changed) = changed {
            broker.notify_members(&changed);
        }
    }
    done(request)
}

/// CHECK_CLIENT_CONFIG: whether a subscription can be served. Of an expression that cannot be read
/// the remark says where and why.
pub(super) fn check_config(broker: &State, request: &RemotingCommand) -> Answer {
    limits::check_body("body", request.body.len(), limits::SMALL_BODY_BYTES)?;
    let check =
        CheckClientRequestBody::from_json(&request.body).map_err(|error| bad_body(&error))?;
    let subscription = check.subscription_data;
    if subscription.is_tag() {
        return done(request);
    }
    let kind = subscription.expression_type.as_deref();
    filter::check_enabled(&broker.config(), kind)?;
    let refused = |remark| Refusal::new(ResponseCode::SUBSCRIPTION_PARSE_FAILED, remark);
    if kind != Some(SQL92) {
        let kind = kind.unwrap_or_default();
        return Err(refused(format!("there is no filter of type {kind}")));
    }
    match Sql::parse(&subscription.sub_string) {
        Ok(_) => done(request),
        Err(error) => {
            let (client, group) = (check.client_id, check.group);
            tracing::warn!(client, group, %error, "a client's expression cannot be read");
            Err(refused(error.remark()))
        }
    }
}

/// GET_CONSUMER_LIST_BY_GROUP: the ids of a group's members.
pub(super) fn members(broker: &State, request: &RemotingCommand) -> Answer {
    let header: GetConsumerListByGroupRequestHeader = request.header()?;
    let consumers = broker.consumers.lock();
    let Some(group) = consumers.group(&header.consumer_group) else {
        let remark = format!("no consumer for this group, {}", header.consumer_group);
        return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark));
    };
    let ids = group
        .members()
        .values()
        .map(|client| client.client_id.to_string());
    let list = GetConsumerListByGroupResponseBody {
        consumer_id_list: ids.collect(),
    };
    body(request, list.to_json())
}

fn connections(members: &BTreeMap<ConnectionId, ClientInfo>) -> Vec<Connection> {
    let connection = |client: &ClientInfo| Connection {
        client_addr: client.address.to_string(),
        client_id: client.client_id.to_string(),
        language: client.language.name().to_owned(),
        version: client.version,
    };
    members.values().map(connection).collect()
}

/// GET_CONSUMER_CONNECTION_LIST: a consumer group's members and subscriptions.
pub(super) fn consumers(broker: &State, request: &RemotingCommand) -> Answer {
    let header: GetConsumerConnectionListRequestHeader = request.header()?;
    let consumers = broker.consumers.lock();
    let Some(group) = consumers.group(&header.consumer_group) else {
        let remark = format!("the consumer group[{}] not online", header.consumer_group);
        return Err(Refusal::new(ResponseCode::CONSUMER_NOT_ONLINE, remark));
    };
    let subscriptions = group.subscriptions().iter();
    let list = ConsumerConnection {
        connection_set: connections(group.members()),
        consume_from_where: group.consume_from_where,
        consume_type: group.consume_type,
        message_model: group.message_model,
        subscription_table: subscriptions
            .map(|(topic, data)| (topic.clone(), (**data).clone()))
            .collect(),
    };
    body(request, list.to_json())
}

/// GET_PRODUCER_CONNECTION_LIST: a producer group's members.
pub(super) fn producers(broker: &State, request: &RemotingCommand) -> Answer {
    let header: GetProducerConnectionListRequestHeader = request.header()?;
    let producers = broker.producers.lock();
    let Some(members) = producers.members(&header.producer_group) else {
        let remark = format!("the producer group[{}] not exist", header.producer_group);
        return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark));
    };
    let list = ProducerConnection {
        connection_set: connections(members),
    };
    body(request, list.to_json())
}
