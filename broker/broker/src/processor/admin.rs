//! Administration: topics, groups, offsets of all, the configuration (`AdminBrokerProcessor`).

use std::sync::Arc;

use hotfire_protocol::body::{
    SubscriptionGroupConfig, SubscriptionGroupWrapper, TopicConfig, TopicFilterType, fastjson,
};
use hotfire_protocol::header::admin::{
    DeleteSubscriptionGroupRequestHeader, GetBrokerConfigResponseHeader,
};
use hotfire_protocol::header::topic::{CreateTopicRequestHeader, DeleteTopicRequestHeader};
use hotfire_protocol::{RemotingCommand, ResponseCode, topic};
use hotfire_remoting::Handled;
use serde::Serialize;

use super::{Answer, bad_body, body, done};
use crate::refusal::Refusal;
use crate::state::State;
use crate::topics::READ_WRITE;

/// The most queues that a topic may be given. Clients and figures list every one of them, so that a
/// slip of the administrator's hand would take all their memory; Apache RocketMQ does not mind.
const QUEUES_MAX: i32 = 65_536;

fn error(remark: impl Into<String>) -> Refusal {
    Refusal::new(ResponseCode::SYSTEM_ERROR, remark)
}

/// UPDATE_AND_CREATE_TOPIC: answered when the name servers know, or had their time.
pub(super) fn update_topic(broker: &Arc<State>, request: RemotingCommand) -> Handled {
    let topic = match new_topic(broker, &request) {
        Ok(topic) => topic,
        Err(refusal) => return Handled::Reply(refusal.response(&request)),
    };
    let name = topic.topic_name.clone();
    tracing::info!(topic = name, "an administrator creates or changes a topic");
    broker.topics.write().put(topic, broker.env.now_ms());
    broker.save_topics();
    let broker = broker.clone();
    Handled::Later(Box::pin(async move {
        broker.register_topic(&name).await;
        Some(request.response(ResponseCode::SUCCESS))
    }))
}

fn new_topic(broker: &State, request: &RemotingCommand) -> Result<TopicConfig, Refusal> {
    let header: CreateTopicRequestHeader = request.header()?;
    topic::check_topic(&header.topic).map_err(|wrong| error(wrong.to_string()))?;
    if is_system_topic(broker, &header.topic) {
        let topic = &header.topic;
        return Err(error(format!(
            "The topic[{topic}] is conflict with system topic."
        )));
    }
    if header.read_queue_nums.max(header.write_queue_nums) > QUEUES_MAX {
        return Err(error(format!(
            "a topic may have {QUEUES_MAX} queues at most"
        )));
    }
    let known = broker
        .topics
        .read()
        .get(&header.topic)
        .map(|topic| topic.order);
    Ok(TopicConfig {
        order: header.order || known.unwrap_or(false),
        perm: header.perm,
        read_queue_nums: header.read_queue_nums,
        topic_filter_type: TopicFilterType::from_name(&header.topic_filter_type)
            .unwrap_or_default(),
        topic_name: header.topic,
        topic_sys_flag: header.topic_sys_flag.unwrap_or(0),
        write_queue_nums: header.write_queue_nums,
    })
}

fn is_system_topic(broker: &State, name: &str) -> bool {
    let config = broker.config();
    topic::is_system_topic(name)
        || name == config.broker_cluster_name
        || name == config.broker_name
        || name == topic::reply_topic(&config.broker_cluster_name)
}

/// DELETE_TOPIC_IN_BROKER: its messages stay in the log until they expire, but cannot be found. The
/// name servers are not told, as in RocketMQ: that is a request of its own.
pub(super) fn delete_topic(broker: &State, request: &RemotingCommand) -> Answer {
    let header: DeleteTopicRequestHeader = request.header()?;
    let topic = header.topic;
    if topic.trim().is_empty() {
        return Err(error("The specified topic is blank."));
    }
    if is_system_topic(broker, &topic) {
        return Err(error(format!(
            "The topic[{topic}] is conflict with system topic."
        )));
    }
    if broker.topics.write().delete(&topic, broker.env.now_ms()) {
        tracing::info!(topic, "an administrator deletes a topic");
        broker.save_topics();
        broker.offsets.lock().remove_topic(&topic);
    }
    if let Err(failed) = broker.store.delete_topic(&topic) {
        return Err(error(format!(
            "cannot delete the queues of {topic}: {failed}"
        )));
    }
    done(request)
}

/// GET_ALL_TOPIC_CONFIG: all topics.
pub(super) fn topics(broker: &State, request: &RemotingCommand) -> Answer {
    body(
        request,
        broker.topics.read().to_announce(READ_WRITE).to_json(),
    )
}

/// UPDATE_AND_CREATE_SUBSCRIPTIONGROUP: creates or replaces a group.
pub(super) fn update_group(broker: &State, request: &RemotingCommand) -> Answer {
    let group =
        SubscriptionGroupConfig::from_json(&request.body).map_err(|wrong| bad_body(&wrong))?;
    topic::check_group(&group.group_name).map_err(|wrong| error(wrong.to_string()))?;
    tracing::info!(
        group = group.group_name,
        "an administrator creates or changes a group"
    );
    broker.groups.write().put(group, broker.env.now_ms());
    broker.save_groups();
    done(request)
}

/// GET_ALL_SUBSCRIPTIONGROUP_CONFIG: all groups.
pub(super) fn groups(broker: &State, request: &RemotingCommand) -> Answer {
    let groups = broker.groups.read();
    let wrapper = SubscriptionGroupWrapper {
        data_version: *groups.version(),
        subscription_group_table: groups.all().clone(),
    };
    drop(groups);
    body(request, wrapper.to_json())
}

/// DELETE_SUBSCRIPTIONGROUP: deletes a group, and its offsets if asked to.
pub(super) fn delete_group(broker: &State, request: &RemotingCommand) -> Answer {
    let header: DeleteSubscriptionGroupRequestHeader = request.header()?;
    let group = header.group_name;
    if broker.groups.write().delete(&group, broker.env.now_ms()) {
        tracing::info!(group, "an administrator deletes a group");
        broker.save_groups();
    }
    // 4.9 calls it removeOffset, 5.x cleanOffset.
    if header
        .remove_offset
        .or(header.clean_offset)
        .unwrap_or(false)
    {
        broker.offsets.lock().remove_group(&group);
    }
    done(request)
}

fn json(request: &RemotingCommand, table: &impl Serialize) -> Answer {
    let json = fastjson::to_vec(table).map_err(|wrong| error(wrong.to_string()))?;
    body(request, json)
}

/// GET_ALL_CONSUMER_OFFSET: the table of committed offsets.
pub(super) fn all_offsets(broker: &State, request: &RemotingCommand) -> Answer {
    json(request, &*broker.offsets.lock())
}

/// GET_ALL_DELAY_OFFSET: the cursors of the delay levels.
pub(super) fn all_cursors(broker: &State, request: &RemotingCommand) -> Answer {
    json(request, &*broker.cursors.lock())
}

/// GET_BROKER_CONFIG: all settings, as properties.
pub(super) fn config(broker: &State, request: &RemotingCommand) -> Answer {
    let version = crate::topics::new_version(broker.started_ms).to_json();
    let header = GetBrokerConfigResponseHeader {
        version: String::from_utf8_lossy(&version).into_owned(),
    };
    let response = request.response_with(ResponseCode::SUCCESS, &header);
    Ok(response.with_body(broker.config().to_properties()))
}

/// UPDATE_BROKER_CONFIG: changes settings until the broker stops. What is read at the start only -
/// addresses, the store, intervals - does not change with it.
pub(super) fn update_config(broker: &State, request: &RemotingCommand) -> Answer {
    let text = std::str::from_utf8(&request.body).map_err(|wrong| bad_body(&wrong))?;
    let mut config = (*broker.config()).clone();
    config
        .update(text)
        .map_err(|wrong| error(wrong.to_string()))?;
    tracing::info!(changes = text, "an administrator changes the configuration");
    *broker.config.write() = Arc::new(config);
    done(request)
}
