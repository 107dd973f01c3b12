//! Making room by hand.

use std::collections::BTreeSet;
use std::sync::Arc;

use hotfire_protocol::{RemotingCommand, topic};

use super::error;
use crate::processor::{Answer, done};
use crate::state::State;

/// CLEAN_EXPIRED_CONSUMEQUEUE: removes the files of consume queues that point at nothing but
/// deleted messages. Unlike Java's, a queue that loses all its files goes on counting where it was:
/// the offsets that groups have committed stay true.
pub(in crate::processor) fn consume_queues(broker: &State, request: &RemotingCommand) -> Answer {
    tracing::info!("an administrator cleans expired consume queues");
    broker
        .store
        .clean_expired_consume_queues()
        .map_err(|failed| error(failed.to_string()))?;
    done(request)
}

/// CLEAN_UNUSED_TOPIC: removes the consume queues of topics that are not there any more.
pub(in crate::processor) fn unused_topics(broker: &State, request: &RemotingCommand) -> Answer {
    let stored: BTreeSet<_> = broker
        .store
        .queues()
        .into_iter()
        .map(|(topic, _)| topic)
        .collect();
    let topics = broker.topics.read();
    let unused: Vec<_> = stored
        .into_iter()
        .filter(|stored| topics.get(stored).is_none() && !topic::is_system_topic(stored))
        .collect();
    drop(topics);
    for topic in unused {
        tracing::info!(topic = &*topic, "an administrator cleans an unused topic");
        broker
            .store
            .delete_topic(&topic)
            .map_err(|failed| error(format!("cannot delete the queues of {topic}: {failed}")))?;
    }
    done(request)
}

/// DELETE_EXPIRED_COMMITLOG: deletes commit log files that have expired, now instead of at the
/// configured hour. The answer does not wait for it.
pub(in crate::processor) fn commit_log(broker: &Arc<State>, request: &RemotingCommand) -> Answer {
    tracing::info!("an administrator deletes expired files");
    let shared = broker.clone();
    broker.env.spawn("delete-expired", async move {
        if let Err(failed) = shared.store.delete_expired_files().await {
            tracing::error!(%failed, "cannot delete expired files");
        }
    });
    done(request)
}
