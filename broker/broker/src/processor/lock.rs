//! Queue locks: LOCK_BATCH_MQ and UNLOCK_BATCH_MQ (`AdminBrokerProcessor`).

use hotfire_env::defect;
use hotfire_protocol::RemotingCommand;
use hotfire_protocol::body::{LockBatchRequestBody, LockBatchResponseBody, UnlockBatchRequestBody};
use tokio::time::Instant;

use super::{Answer, bad_body, body, done};
use crate::state::State;

/// LOCK_BATCH_MQ: answers the queues that the client holds now.
pub(super) fn lock(broker: &State, request: &RemotingCommand) -> Answer {
    let wish = LockBatchRequestBody::from_json(&request.body).map_err(|error| bad_body(&error))?;
    let wanted = defect!(broker.env, GrantAnyLock).then(|| wish.mq_set.clone());
    let mut locks = broker.locks.lock();
    let locked = locks.lock(
        &wish.consumer_group,
        wish.mq_set,
        &wish.client_id,
        Instant::now(),
    );
    drop(locks);
    let answer = LockBatchResponseBody {
        lock_ok_mq_set: wanted.unwrap_or_else(|| locked.into_iter().collect()),
    };
    body(request, answer.to_json())
}

/// UNLOCK_BATCH_MQ: frees what the client holds.
pub(super) fn unlock(broker: &State, request: &RemotingCommand) -> Answer {
    let wish =
        UnlockBatchRequestBody::from_json(&request.body).map_err(|error| bad_body(&error))?;
    broker
        .locks
        .lock()
        .unlock(&wish.consumer_group, &wish.mq_set, &wish.client_id);
    done(request)
}
