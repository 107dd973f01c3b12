//! Queue locks: LOCK_BATCH_MQ and UNLOCK_BATCH_MQ (`AdminBrokerProcessor`).

use std::collections::BTreeSet;

use hotfire_env::defect;
use hotfire_protocol::body::{LockBatchRequestBody, LockBatchResponseBody, UnlockBatchRequestBody};
use hotfire_protocol::{MessageQueue, RemotingCommand, ResponseCode, rules};
use tokio::time::Instant;

use super::{Answer, bad_body, body, done};
use crate::limits;
use crate::refusal::Refusal;
use crate::state::State;

/// LOCK_BATCH_MQ: answers the queues that the client holds now. Queues that are not there nobody can
/// hold.
pub(super) fn lock(broker: &State, request: &RemotingCommand) -> Answer {
    limits::check_body("body", request.body.len(), limits::LOCK_BATCH_BYTES)?;
    let wish = LockBatchRequestBody::from_json(&request.body).map_err(|error| bad_body(&error))?;
    rules::check_registered_name("group", &wish.consumer_group)
        .and_then(|()| rules::check_client_id(&wish.client_id))
        .map_err(|error| Refusal::new(ResponseCode::SYSTEM_ERROR, error.to_string()))?;
    let wanted = defect!(broker.env, GrantAnyLock).then(|| wish.mq_set.clone());
    let queues = existing(broker, wish.mq_set);
    let mut locks = broker.locks.lock();
    let locked = locks.lock(
        &wish.consumer_group,
        queues,
        &wish.client_id,
        Instant::now(),
    );
    drop(locks);
    let answer = LockBatchResponseBody {
        lock_ok_mq_set: wanted.unwrap_or_else(|| locked.into_iter().collect()),
    };
    body(request, answer.to_json())
}

/// Those of the queues that this broker has.
fn existing(broker: &State, queues: BTreeSet<MessageQueue>) -> Vec<MessageQueue> {
    let name = broker.config().broker_name.clone();
    let topics = broker.topics.read();
    let exists = |queue: &MessageQueue| {
        let topic = topics.get(&queue.topic);
        let count = topic.map_or(0, |topic| topic.read_queue_nums.max(topic.write_queue_nums));
        queue.broker_name == name && (0..count).contains(&queue.queue_id)
    };
    queues.into_iter().filter(exists).collect()
}

/// UNLOCK_BATCH_MQ: frees what the client holds.
pub(super) fn unlock(broker: &State, request: &RemotingCommand) -> Answer {
    limits::check_body("body", request.body.len(), limits::LOCK_BATCH_BYTES)?;
    let wish =
        UnlockBatchRequestBody::from_json(&request.body).map_err(|error| bad_body(&error))?;
    broker
        .locks
        .lock()
        .unlock(&wish.consumer_group, &wish.mq_set, &wish.client_id);
    done(request)
}
