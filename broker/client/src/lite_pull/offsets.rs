//! Committing what was polled.

use std::collections::BTreeSet;

use futures_util::future::{join_all, try_join_all};
use hotfire_protocol::MessageQueue;
use tokio::time::Instant;

use super::Core;
use crate::ClientError;

impl Core {
    /// Notes what was polled as consumed, to be sent with the next persisting
    /// (`DefaultLitePullConsumerImpl.commitAll`). A broadcasting consumer writes its file at once.
    pub(super) async fn commit(&self) {
        let consumed = self.queues.lock().consumed();
        {
            let mut offsets = self.offsets.lock();
            for (queue, offset) in &consumed {
                offsets.update(queue, *offset, false);
            }
        }
        if self.local.is_some() {
            self.persist_all().await;
        }
    }

    /// Commits if the time for it has come (`maybeAutoCommit`).
    pub(super) async fn auto_commit(&self) {
        let now = Instant::now();
        {
            let mut next = self.next_auto_commit.lock();
            if next.is_some_and(|next| now < next) {
                return;
            }
            *next = Some(now + self.config.auto_commit_interval);
        }
        self.commit().await;
    }

    /// Commits and waits for the brokers' word.
    pub(super) async fn commit_sync(&self) -> Result<(), ClientError> {
        self.commit().await;
        if self.local.is_some() {
            return Ok(());
        }
        let offsets = self.to_persist();
        let commits = offsets.iter().map(|(queue, offset)| {
            self.hook.committing(queue, *offset);
            self.instance
                .update_offset(&self.config.group, queue, *offset)
        });
        try_join_all(commits).await.map(drop)
    }

    /// What is to be sent of the queues that are held.
    fn to_persist(&self) -> Vec<(MessageQueue, i64)> {
        let held: BTreeSet<_> = self.queues.lock().held().into_iter().collect();
        self.offsets.lock().retain(&held)
    }

    /// Sends what was committed, one-way; a broadcasting consumer writes its file.
    pub(super) async fn persist_all(&self) {
        if let Some(local) = &self.local {
            let offsets = self.offsets.lock().all();
            local.commit(&*self.hook, offsets);
            return;
        }
        // All at once: while one broker keeps a commit waiting, the application may commit more.
        let offsets = self.to_persist();
        let commits = offsets.iter();
        join_all(commits.map(|(queue, offset)| self.persist(queue, *offset))).await;
    }

    async fn persist(&self, queue: &MessageQueue, offset: i64) {
        let (instance, group) = (&self.instance, &self.config.group);
        let committed = instance.commit_seen(&*self.hook, group, (queue, offset));
        committed.await;
    }

    /// Sends and forgets the offset of a queue that is given up.
    pub(super) async fn settle(&self, queue: &MessageQueue) {
        if self.local.is_some() {
            return;
        }
        let offset = self.offsets.lock().get(queue);
        if let Some(offset) = offset {
            self.persist(queue, offset).await;
        }
        self.offsets.lock().remove(queue);
    }

    /// The offset that was committed last: in memory, else at the broker.
    pub(super) async fn committed(&self, queue: &MessageQueue) -> Result<Option<i64>, ClientError> {
        let known = self.offsets.lock().get(queue);
        match known {
            Some(offset) => Ok(Some(offset)),
            None if self.local.is_some() => Ok(None),
            None => self.instance.query_offset(&self.config.group, queue).await,
        }
    }
}
