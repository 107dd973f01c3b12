//! What a request takes (`PlainAccessResource`).
//!
//! Kinds that are not named here take a valid signature and nothing more, as in 4.9: queue locks,
//! queries of offsets, the end of a transaction, lookups by id.

use std::borrow::Cow;

use hotfire_protocol::body::HeartbeatData;
use hotfire_protocol::topic::retry_topic;
use hotfire_protocol::{RemotingCommand, RequestCode};

use super::perm::Perm;

/// A topic, or the retry topic of a group, which stands for the group.
pub(super) type Resource<'a> = Cow<'a, str>;

/// The resources that a request touches, each with the permission that it takes.
///
/// # Errors
/// The body of a heartbeat cannot be read.
pub(super) fn needs(request: &RemotingCommand) -> Result<Vec<(Resource<'_>, Perm)>, String> {
    let mut needs = Vec::new();
    match RequestCode(request.code) {
        RequestCode::SEND_MESSAGE | RequestCode::RECALL_MESSAGE => {
            needs.extend(sending(request, "topic"));
        }
        RequestCode::SEND_MESSAGE_V2 | RequestCode::SEND_BATCH_MESSAGE => {
            needs.extend(sending(request, "b"));
        }
        RequestCode::CONSUMER_SEND_MSG_BACK => needs.extend(group(request, "group")),
        RequestCode::PULL_MESSAGE
        | RequestCode::LITE_PULL_MESSAGE
        | RequestCode::UPDATE_CONSUMER_OFFSET
        | RequestCode::POP_MESSAGE
        | RequestCode::ACK_MESSAGE
        | RequestCode::CHANGE_MESSAGE_INVISIBLETIME
        | RequestCode::NOTIFICATION
        | RequestCode::PEEK_MESSAGE => {
            needs.extend(consuming(request));
            needs.extend(group(request, "consumerGroup"));
        }
        RequestCode::QUERY_MESSAGE => needs.extend(consuming(request)),
        RequestCode::UNREGISTER_CLIENT | RequestCode::GET_CONSUMER_LIST_BY_GROUP => {
            needs.extend(group(request, "consumerGroup"));
        }
        RequestCode::HEART_BEAT => {
            let heartbeat = HeartbeatData::from_json(&request.body)
                .map_err(|error| format!("cannot read the heartbeat: {error}"))?;
            for consumer in heartbeat.consumer_data_set {
                let group = Cow::Owned(retry_topic(&consumer.group_name));
                needs.push((group, Perm::SUB));
                let topics = consumer.subscription_data_set.into_iter();
                needs.extend(topics.map(|data| (Cow::Owned(data.topic), Perm::SUB)));
            }
        }
        _ => {}
    }
    Ok(needs)
}

/// Sending takes the topic, but to a retry topic it takes the group: that is what consumers do with
/// messages that they failed.
fn sending<'a>(request: &'a RemotingCommand, field: &str) -> Option<(Resource<'a>, Perm)> {
    let topic = request.ext.get(field)?;
    let needed = if is_group(topic) {
        Perm::SUB
    } else {
        Perm::PUB
    };
    Some((Cow::Borrowed(topic), needed))
}

fn consuming(request: &RemotingCommand) -> Option<(Resource<'_>, Perm)> {
    let topic = request.ext.get("topic")?;
    Some((Cow::Borrowed(topic), Perm::SUB))
}

fn group<'a>(request: &'a RemotingCommand, field: &str) -> Option<(Resource<'a>, Perm)> {
    let group = request.ext.get(field)?;
    Some((Cow::Owned(retry_topic(group)), Perm::SUB))
}

/// Whether a resource is a group.
pub(super) fn is_group(resource: &str) -> bool {
    hotfire_protocol::topic::retry_group(resource).is_some()
}

/// Whether only administrators may ask for this. 4.9 does not have access control's own requests
/// among them, so that every account can make itself an administrator; here they are.
pub(super) fn needs_admin(code: RequestCode) -> bool {
    matches!(
        code,
        RequestCode::UPDATE_AND_CREATE_TOPIC
            | RequestCode::UPDATE_BROKER_CONFIG
            | RequestCode::DELETE_TOPIC_IN_BROKER
            | RequestCode::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP
            | RequestCode::DELETE_SUBSCRIPTIONGROUP
            | RequestCode::UPDATE_AND_CREATE_ACL_CONFIG
            | RequestCode::DELETE_ACL_CONFIG
            | RequestCode::UPDATE_GLOBAL_WHITE_ADDRS_CONFIG
            | RequestCode::GET_BROKER_CLUSTER_ACL_CONFIG
    )
}
