//! Consumer groups, and what they have to do with topics.

use std::sync::Arc;

use hotfire_protocol::body::{
    GroupList, QuerySubscriptionResponseBody, SubscriptionGroupConfig, SubscriptionGroupList,
    SubscriptionGroupWrapper, TopicList,
};
use hotfire_protocol::header::admin::{
    DeleteSubscriptionGroupRequestHeader, GetSubscriptionGroupConfigRequestHeader,
    QuerySubscriptionByConsumerRequestHeader, QueryTopicsByConsumerRequestHeader,
};
use hotfire_protocol::header::topic::QueryTopicConsumeByWhoRequestHeader;
use hotfire_protocol::{RemotingCommand, ResponseCode, rules, topic};

use super::{error, topics};
use crate::processor::{Answer, bad_body, body, done};
use crate::refusal::Refusal;
use crate::state::State;

/// UPDATE_AND_CREATE_SUBSCRIPTIONGROUP: creates or replaces a group.
pub(in crate::processor) fn update(broker: &Arc<State>, request: &RemotingCommand) -> Answer {
    let group =
        SubscriptionGroupConfig::from_json(&request.body).map_err(|wrong| bad_body(&wrong))?;
    put(broker, vec![group])?;
    done(request)
}

/// UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST (5.x): creates or replaces groups.
pub(in crate::processor) fn update_list(broker: &Arc<State>, request: &RemotingCommand) -> Answer {
    let list = SubscriptionGroupList::from_json(&request.body).map_err(|wrong| bad_body(&wrong))?;
    put(broker, list.group_config_list)?;
    done(request)
}

fn put(broker: &Arc<State>, groups: Vec<SubscriptionGroupConfig>) -> Result<(), Refusal> {
    for group in &groups {
        rules::check_group_config(group).map_err(|wrong| error(wrong.to_string()))?;
    }
    for group in groups {
        let name = group.group_name.as_str();
        tracing::info!(group = name, "an administrator creates or changes a group");
        if broker
            .topics
            .read()
            .get(&topic::retry_topic(name))
            .is_some()
        {
            // Members that are there learn of more queues before anything is put into them.
            broker.ensure_retry_topic(&group, false);
        }
        broker.groups.write().put(group, broker.env.now_ms());
    }
    broker.save_groups();
    Ok(())
}

/// GET_ALL_SUBSCRIPTIONGROUP_CONFIG: all groups.
pub(in crate::processor) fn all(broker: &State, request: &RemotingCommand) -> Answer {
    let groups = broker.groups.read();
    let wrapper = SubscriptionGroupWrapper {
        data_version: *groups.version(),
        subscription_group_table: groups.all().clone(),
    };
    drop(groups);
    body(request, wrapper.to_json())
}

/// GET_SUBSCRIPTIONGROUP_CONFIG (5.x): one group.
pub(in crate::processor) fn one(broker: &State, request: &RemotingCommand) -> Answer {
    let header: GetSubscriptionGroupConfigRequestHeader = request.header()?;
    match broker.groups.read().get(&header.group) {
        Some(group) => body(request, group.to_json()),
        None => {
            let remark = format!("No group in this broker. group: {}", header.group);
            let code = ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST;
            Err(Refusal::new(code, remark))
        }
    }
}

/// DELETE_SUBSCRIPTIONGROUP: deletes a group; if asked to, with its offsets and with what it popped
/// and failed. Its own retry and dead-letter topics are requests of their own, which RocketMQ's tools
/// make.
pub(in crate::processor) fn delete(broker: &State, request: &RemotingCommand) -> Answer {
    let header: DeleteSubscriptionGroupRequestHeader = request.header()?;
    let group = header.group_name;
    // 4.9 calls it removeOffset, 5.x cleanOffset.
    let clean_offset = header.remove_offset.or(header.clean_offset);
    let clean_offset = clean_offset.unwrap_or(false);
    let popped: Vec<String> = broker
        .offsets
        .lock()
        .topics_of(&group)
        .map(str::to_owned)
        .collect();
    if broker.forget_group(&group, clean_offset) {
        tracing::info!(group, "an administrator deletes a group");
    }
    if clean_offset {
        for topic in popped {
            for retry in topics::pop_retry_topics(broker, &topic, &group) {
                topics::delete_one(broker, &retry)?;
            }
        }
    }
    done(request)
}

/// QUERY_TOPIC_CONSUME_BY_WHO: the groups that subscribe to a topic or have offsets of it.
pub(in crate::processor) fn of_topic(broker: &State, request: &RemotingCommand) -> Answer {
    let header: QueryTopicConsumeByWhoRequestHeader = request.header()?;
    let mut groups: Vec<String> = {
        let consumers = broker.consumers.lock();
        let subscribed = consumers
            .groups()
            .filter(|(_, group)| group.subscriptions().contains_key(&header.topic));
        subscribed.map(|(name, _)| name.to_owned()).collect()
    };
    groups.extend(
        broker
            .offsets
            .lock()
            .groups_of(&header.topic)
            .map(str::to_owned),
    );
    groups.sort();
    groups.dedup();
    body(request, GroupList { group_list: groups }.to_json())
}

/// QUERY_TOPICS_BY_CONSUMER: the topics that a group has offsets of.
pub(in crate::processor) fn topics_of(broker: &State, request: &RemotingCommand) -> Answer {
    let header: QueryTopicsByConsumerRequestHeader = request.header()?;
    let offsets = broker.offsets.lock();
    let topic_list = offsets
        .topics_of(&header.group)
        .map(str::to_owned)
        .collect();
    drop(offsets);
    let list = TopicList {
        broker_addr: Some(broker.address().to_string()),
        topic_list,
    };
    body(request, list.to_json())
}

/// QUERY_SUBSCRIPTION_BY_CONSUMER: what the members of a group subscribe to in a topic, if there
/// are any.
pub(in crate::processor) fn subscription(broker: &State, request: &RemotingCommand) -> Answer {
    let header: QuerySubscriptionByConsumerRequestHeader = request.header()?;
    let consumers = broker.consumers.lock();
    let subscription_data = consumers
        .group(&header.group)
        .and_then(|group| group.subscriptions().get(&header.topic))
        .map(|data| (**data).clone());
    drop(consumers);
    let answer = QuerySubscriptionResponseBody {
        group: header.group,
        subscription_data,
        topic: header.topic,
    };
    body(request, answer.to_json())
}
