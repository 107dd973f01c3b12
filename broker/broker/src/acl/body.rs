//! What the bodies of requests name, for [`Permission::Body`](super::Permission::Body): a group takes
//! its membership, a topic that is consumed takes SUB.

use std::fmt::Display;

use hotfire_protocol::body::{
    BatchAckMessageRequestBody, HeartbeatData, LockBatchRequestBody, QueryAssignmentRequestBody,
    UnlockBatchRequestBody,
};

use super::perm::Perm;
use super::permission::{Needs, Resource, group};

fn topic(name: String) -> (Resource<'static>, Perm) {
    (name.into(), Perm::SUB)
}

fn member(name: &str) -> (Resource<'static>, Perm) {
    (group(name), Perm::SUB)
}

fn unreadable(error: &impl Display) -> String {
    format!("cannot read the body: {error}")
}

/// The groups of consumers and what they subscribe to.
pub(crate) fn heartbeat(body: &[u8]) -> Needs<'static> {
    let heartbeat = HeartbeatData::from_json(body)
        .map_err(|error| format!("cannot read the heartbeat: {error}"))?;
    let mut needs = Vec::new();
    for consumer in heartbeat.consumer_data_set {
        needs.push(member(&consumer.group_name));
        let subscriptions = consumer.subscription_data_set.into_iter();
        needs.extend(subscriptions.map(|data| topic(data.topic)));
    }
    Ok(needs)
}

/// The group that locks, and the topics of the queues.
pub(crate) fn lock(body: &[u8]) -> Needs<'static> {
    let wish = LockBatchRequestBody::from_json(body).map_err(|error| unreadable(&error))?;
    let mut needs = vec![member(&wish.consumer_group)];
    needs.extend(wish.mq_set.into_iter().map(|queue| topic(queue.topic)));
    Ok(needs)
}

/// The group that unlocks.
pub(crate) fn unlock(body: &[u8]) -> Needs<'static> {
    let wish = UnlockBatchRequestBody::from_json(body).map_err(|error| unreadable(&error))?;
    Ok(vec![member(&wish.consumer_group)])
}

/// The group that asks for queues of a topic.
pub(crate) fn assignment(body: &[u8]) -> Needs<'static> {
    let asked = QueryAssignmentRequestBody::from_json(body).map_err(|error| unreadable(&error))?;
    Ok(vec![member(&asked.consumer_group), topic(asked.topic)])
}

/// The groups and topics whose messages are acknowledged.
pub(crate) fn batch_ack(body: &[u8]) -> Needs<'static> {
    let batch = BatchAckMessageRequestBody::from_json(body).map_err(|error| unreadable(&error))?;
    let acks = batch.acks.into_iter();
    Ok(acks
        .flat_map(|ack| [member(&ack.group), topic(ack.topic)])
        .collect())
}
