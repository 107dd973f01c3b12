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
use hotfire_protocol::{RemotingCommand, ResponseCode};
use hotfire_remoting::{Channel, ConnectionId};
use tokio::time::Instant;

use super::{Answer, bad_body, body, done};
use crate::client_info::ClientInfo;
use crate::filter;
use crate::refusal::Refusal;
use crate::state::State;

/// HEART_BEAT: enters or refreshes the client in its groups.
pub(super) fn heartbeat(
    broker: &Arc<State>,
    channel: &Channel,
    request: &RemotingCommand,
) -> Answer {
    let heartbeat = HeartbeatData::from_json(&request.body).map_err(|error| bad_body(&error))?;
    let client = ClientInfo {
        client_id: heartbeat.client_id,
        address: channel.peer(),
        language: request.language,
        version: request.version,
        last_heartbeat: Instant::now(),
    };
    for consumer in heartbeat.consumer_data_set {
        consumer_heartbeat(broker, channel.id(), client.clone(), consumer);
    }
    let mut producers = broker.producers.lock();
    for producer in heartbeat.producer_data_set {
        producers.register(&producer.group_name, channel.id(), client.clone());
    }
    drop(producers);
    done(request)
}

fn consumer_heartbeat(
    broker: &Arc<State>,
    connection: ConnectionId,
    client: ClientInfo,
    consumer: ConsumerData,
) {
    // A group that must not be created is entered all the same: its pulls are refused.
    let group = broker.group_config(&consumer.group_name);
    let notifies = group
        .as_ref()
        .is_none_or(|group| group.notify_consumer_ids_changed_enable);
    if let Some(group) = &group {
        broker.ensure_retry_topic(group, consumer.unit_mode);
    }
    broker.filters.lock().register(
        &consumer.group_name,
        consumer.subscription_data_set.iter(),
        broker.env.now_ms(),
    );
    let changed = broker
        .consumers
        .lock()
        .register(consumer, connection, client, notifies);
    if let Some(changed) = changed {
        tracing::info!(
            group = changed.group,
            members = changed.connections.len(),
            "a consumer group changed"
        );
        broker.notify_members(&changed);
    }
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
        .map(|client| client.client_id.clone());
    let list = GetConsumerListByGroupResponseBody {
        consumer_id_list: ids.collect(),
    };
    body(request, list.to_json())
}

fn connections(members: &BTreeMap<ConnectionId, ClientInfo>) -> Vec<Connection> {
    let connection = |client: &ClientInfo| Connection {
        client_addr: client.address.to_string(),
        client_id: client.client_id.clone(),
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
