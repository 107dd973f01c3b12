//! Topics.

use std::collections::BTreeSet;
use std::sync::Arc;

use hotfire_protocol::body::{CreateTopicListRequestBody, TopicConfig, TopicList};
use hotfire_protocol::header::admin::GetTopicConfigRequestHeader;
use hotfire_protocol::header::topic::{CreateTopicRequestHeader, DeleteTopicRequestHeader};
use hotfire_protocol::pop::{retry_topic, retry_topic_v2};
use hotfire_protocol::{RemotingCommand, ResponseCode, rules, topic};
use hotfire_remoting::Handled;

use super::error;
use crate::processor::{Answer, bad_body, body, done};
use crate::refusal::Refusal;
use crate::state::State;
use crate::topics::READ_WRITE;

/// UPDATE_AND_CREATE_TOPIC: answered when the name servers know, or had their time.
pub(in crate::processor) fn update(broker: &Arc<State>, request: RemotingCommand) -> Handled {
    let topics = wanted(broker, &request).map(|topic| vec![topic]);
    put(broker, request, topics)
}

/// UPDATE_AND_CREATE_TOPIC_LIST (5.x): all of them, or none if one cannot be created.
pub(in crate::processor) fn update_list(broker: &Arc<State>, request: RemotingCommand) -> Handled {
    let topics = CreateTopicListRequestBody::from_json(&request.body)
        .map_err(|wrong| bad_body(&wrong))
        .and_then(|body| {
            let topics = body.topic_config_list;
            topics.iter().try_for_each(|topic| check(broker, topic))?;
            Ok(topics)
        });
    put(broker, request, topics)
}

fn put(
    broker: &Arc<State>,
    request: RemotingCommand,
    topics: Result<Vec<TopicConfig>, Refusal>,
) -> Handled {
    let topics = match topics {
        Ok(topics) => topics,
        Err(refusal) => return Handled::Reply(refusal.response(&request)),
    };
    let names: Vec<_> = topics
        .iter()
        .map(|topic| topic.topic_name.clone())
        .collect();
    tracing::info!(?names, "an administrator creates or changes topics");
    for topic in topics {
        let (read, write) = (topic.read_queue_nums, topic.write_queue_nums);
        if read < write {
            let topic = &topic.topic_name;
            tracing::warn!(
                topic,
                read,
                write,
                "nobody reads the last queues that are written"
            );
        }
        broker.topics.write().put(topic, broker.env.now_ms());
    }
    broker.save_topics();
    let broker = broker.clone();
    Handled::Later(Box::pin(async move {
        match &names[..] {
            [name] => broker.register_topic(name).await,
            _ => broker.register().await,
        }
        Some(request.response(ResponseCode::SUCCESS))
    }))
}

fn wanted(broker: &State, request: &RemotingCommand) -> Result<TopicConfig, Refusal> {
    let header: CreateTopicRequestHeader = request.header()?;
    let topics = broker.topics.read();
    let known_order = topics.get(&header.topic).is_some_and(|topic| topic.order);
    drop(topics);
    let topic = TopicConfig {
        order: header.order || known_order,
        perm: header.perm,
        read_queue_nums: header.read_queue_nums,
        topic_filter_type: rules::filter_type(&header.topic_filter_type)
            .map_err(|wrong| error(wrong.to_string()))?,
        topic_name: header.topic,
        topic_sys_flag: header.topic_sys_flag.unwrap_or(0),
        write_queue_nums: header.write_queue_nums,
    };
    check(broker, &topic)?;
    Ok(topic)
}

fn check(broker: &State, topic: &TopicConfig) -> Result<(), Refusal> {
    let name = &topic.topic_name;
    rules::check_topic_config(topic).map_err(|wrong| error(wrong.to_string()))?;
    if is_system_topic(broker, name) {
        return Err(error(format!(
            "The topic[{name}] is conflict with system topic."
        )));
    }
    Ok(())
}

fn is_system_topic(broker: &State, name: &str) -> bool {
    let config = broker.config();
    topic::is_system_topic(name)
        || name == config.broker_cluster_name
        || name == config.broker_name
        || name == topic::reply_topic(&config.broker_cluster_name)
}

/// DELETE_TOPIC_IN_BROKER, with the retry topics of those who popped it: its messages stay in the
/// log until they expire, but cannot be found. The
/// name servers are not told, as in RocketMQ: that is a request of its own.
pub(in crate::processor) fn delete(broker: &State, request: &RemotingCommand) -> Answer {
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
    let mut topics = Vec::new();
    if broker.config().clear_retry_topic_when_delete_topic {
        let mut groups: BTreeSet<String> = broker.groups.read().all().keys().cloned().collect();
        let offsets = broker.offsets.lock();
        groups.extend(offsets.groups_of(&topic).map(str::to_owned));
        drop(offsets);
        for group in &groups {
            topics.extend(pop_retry_topics(broker, &topic, group));
        }
    }
    topics.push(topic);
    for topic in topics {
        delete_one(broker, &topic)?;
    }
    done(request)
}

/// The retry topics of a group that pops a topic, of those that there are. One that is named like
/// the retry topic of another group is that one's.
pub(super) fn pop_retry_topics(broker: &State, topic: &str, group: &str) -> Vec<String> {
    let mut names = vec![retry_topic_v2(topic, group)];
    if broker
        .groups
        .read()
        .get(&format!("{group}_{topic}"))
        .is_none()
    {
        names.push(retry_topic(topic, group));
    }
    names.retain(|retry| broker.topics.read().get(retry).is_some());
    names
}

pub(super) fn delete_one(broker: &State, topic: &str) -> Result<(), Refusal> {
    if broker.forget_topic(topic) {
        tracing::info!(topic, "an administrator deletes a topic");
    }
    let deleted = broker.store.delete_topic(topic);
    deleted
        .map(drop)
        .map_err(|failed| error(format!("cannot delete the queues of {topic}: {failed}")))
}

/// GET_ALL_TOPIC_CONFIG: all topics.
pub(in crate::processor) fn all(broker: &State, request: &RemotingCommand) -> Answer {
    body(
        request,
        broker.topics.read().to_announce(READ_WRITE).to_json(),
    )
}

/// GET_TOPIC_CONFIG (5.x): one topic.
pub(in crate::processor) fn one(broker: &State, request: &RemotingCommand) -> Answer {
    let header: GetTopicConfigRequestHeader = request.header()?;
    match broker.topics.read().get(&header.topic) {
        Some(topic) => body(request, topic.to_json()),
        None => {
            let remark = format!("No topic in this broker. topic: {}", header.topic);
            Err(Refusal::new(ResponseCode::TOPIC_NOT_EXIST, remark))
        }
    }
}

/// GET_SYSTEM_TOPIC_LIST_FROM_BROKER: the topics that belong to the system.
pub(in crate::processor) fn system(broker: &State, request: &RemotingCommand) -> Answer {
    let config = broker.config();
    let cluster = config.broker_cluster_name.as_str();
    let mut names: Vec<_> = topic::SYSTEM_TOPICS.map(str::to_owned).into();
    names.extend([
        cluster.to_owned(),
        config.broker_name.clone(),
        topic::reply_topic(cluster),
    ]);
    names.sort();
    let list = TopicList {
        topic_list: names,
        ..TopicList::default()
    };
    body(request, list.to_json())
}
