//! Making the store durable: the commit log, on demand or in the background, and what is built
//! from it.
//!
//! A flush that fails is not tried again: the kernel has then dropped the pages that it could not
//! write, and would report the next flush as a success (the lesson of PostgreSQL's "fsyncgate").
//! After a failed flush of the commit log the store takes no more messages until it is opened
//! again, when recovery writes the doubtful part of the log anew. After a failed flush of a consume
//! queue or the index, which can be rebuilt, only the checkpoint stands still.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hotfire_env::{BoxFuture, defect};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::group_commit::FlushPolicy;
use crate::mapped_files::{PAGE, sync_dirs, wait_for_all};
use crate::message::{PutMessageStatus, PutResult};
use crate::state::NotWriteable;
use crate::store::{Inner, MessageStore};

impl MessageStore {
    /// Waits until appended messages are as durable as the store promises: with synchronous flush
    /// and `waits`, until the disk has them or the time is up.
    pub async fn wait_durable(&self, put: PutResult, waits: bool) -> PutResult {
        let inner = &self.inner;
        let Some(append) = &put.append else {
            return put;
        };
        if !inner.flushes_synchronously() {
            return put;
        }
        let until = append.physical_offset as u64 + append.bytes as u64;
        // The append has asked for the flush already.
        let told = waits.then(|| inner.group.lock().wait(until, inner.log.flushed()));
        let durable = match told {
            None => true,
            Some(told) => {
                let told = tokio::time::timeout(inner.config.sync_flush_timeout, told).await;
                matches!(told, Ok(Ok(true)))
            }
        };
        PutResult {
            status: if durable {
                PutMessageStatus::PutOk
            } else {
                PutMessageStatus::FlushDiskTimeout
            },
            ..put
        }
    }

    /// Makes everything that was appended before the call durable.
    ///
    /// # Errors
    /// The disk failed now or earlier; see [`NotWriteable::FlushFailed`].
    pub async fn flush(&self) -> io::Result<()> {
        self.inner.flush_log().await
    }
}

impl Inner {
    /// Flushes the commit log up to its end, dispatches what that makes visible, and tells those
    /// who wait.
    pub async fn flush_log(&self) -> io::Result<()> {
        if self.state.has(NotWriteable::FlushFailed) {
            return Err(io::Error::other(
                "an earlier flush of the commit log failed",
            ));
        }
        let (end, store_timestamp) = {
            let tail = self.tail.lock();
            (self.log.end(), tail.last_store_timestamp)
        };
        let skips = defect!(self.env, SkipFlush) && self.flushes_synchronously();
        if !skips && let Err(error) = self.flush_log_files(end).await {
            tracing::error!(%error, "cannot flush the commit log: no more messages are taken");
            self.state.set(NotWriteable::FlushFailed, true);
            self.group.lock().fail();
            return Err(error);
        }
        self.log.set_flushed(end);
        if store_timestamp > 0 {
            self.checkpoint.lock().physic_msg_timestamp = store_timestamp;
        }
        self.dispatch(&[]);
        self.group.lock().complete(end);
        Ok(())
    }

    async fn flush_log_files(&self, end: u64) -> io::Result<()> {
        let mut dirs = BTreeSet::new();
        self.log.files.take_dirty_dirs(&mut dirs);
        self.log.files.flush(self.log.flushed(), end).await?;
        sync_dirs(&**self.env.disk(), &dirs).await
    }

    /// Flushes what is built from the log where at least `least_pages` pages are dirty. With 0 it
    /// flushes everything and moves the checkpoint up.
    pub async fn flush_built(&self, least_pages: u64) -> io::Result<()> {
        let dispatched = self.progress.lock().store_timestamp;
        let result = self.flush_built_files(least_pages).await;
        if let Err(error) = &result
            && !self.built_flush_failed.swap(true, Ordering::AcqRel)
        {
            tracing::error!(%error, "cannot flush a consume queue: the checkpoint stands still");
        }
        let index_full = result?;
        if least_pages > 0 {
            return Ok(());
        }
        if self.built_flush_failed.load(Ordering::Acquire) {
            return Err(io::Error::other(
                "an earlier flush of a consume queue failed",
            ));
        }
        let checkpoint = {
            let mut checkpoint = self.checkpoint.lock();
            if dispatched > 0 {
                checkpoint.logics_msg_timestamp = dispatched;
            }
            if let Some(full) = index_full {
                checkpoint.index_msg_timestamp = full;
            }
            *checkpoint
        };
        self.checkpoint_file.save(&checkpoint).await
    }

    async fn flush_built_files(&self, least_pages: u64) -> io::Result<Option<i64>> {
        let mut dirs = BTreeSet::new();
        let changed = self.queues.take_changed(least_pages);
        let mut flushes: Vec<BoxFuture<'_, io::Result<()>>> = Vec::new();
        for queue in &changed {
            if let Some(range) = queue.dirty(least_pages) {
                flushes.push(Box::pin(queue.flush(range)));
            }
        }
        wait_for_all(flushes).await?;
        for queue in &changed {
            queue.take_dirty_dirs(&mut dirs);
        }
        let index_full = match &self.index {
            Some(index) if least_pages == 0 => index.flush(&mut dirs).await?,
            _ => None,
        };
        sync_dirs(&**self.env.disk(), &dirs).await?;
        Ok(index_full)
    }
}

/// Flushes whenever something was appended. While one flush runs, the next senders gather.
pub(crate) async fn flush_on_demand(inner: Arc<Inner>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            biased;
            _ = stop.changed() => return,
            () = inner.flush_wanted.notified() => {}
        }
        // A failure has been noted, and everyone told.
        if inner.flush_log().await.is_err() {
            return;
        }
    }
}

/// Flushes the commit log every so often (`FlushRealTimeService`).
pub(crate) async fn flush_in_background(inner: Arc<Inner>, mut stop: watch::Receiver<bool>) {
    let config = &inner.config;
    let started = Instant::now();
    let mut policy = FlushPolicy::new(
        config.flush_commit_log_least_pages,
        config.flush_commit_log_thorough_interval,
        Duration::ZERO,
    );
    while pause(&mut stop, config.flush_interval_commit_log).await {
        let pages = policy.pages_due(started.elapsed());
        let (from, to) = (inner.log.flushed(), inner.log.end());
        if to > from && to / PAGE - from / PAGE >= pages && inner.flush_log().await.is_err() {
            return;
        }
    }
}

/// Flushes consume queues, index and checkpoint every so often (`FlushConsumeQueueService`), and
/// tries dispatch again where it failed.
pub(crate) async fn flush_built_in_background(inner: Arc<Inner>, mut stop: watch::Receiver<bool>) {
    let config = &inner.config;
    let started = Instant::now();
    let mut policy = FlushPolicy::new(
        config.flush_consume_queue_least_pages,
        config.flush_consume_queue_thorough_interval,
        Duration::ZERO,
    );
    while pause(&mut stop, config.flush_interval_consume_queue).await {
        if inner.state.has(NotWriteable::DispatchFailed) {
            inner.dispatch(&[]);
        }
        // A failure has been noted; what can be flushed later still is.
        let _ = inner.flush_built(policy.pages_due(started.elapsed())).await;
    }
}

/// Waits; false if the store stops meanwhile.
pub(crate) async fn pause(stop: &mut watch::Receiver<bool>, time: Duration) -> bool {
    tokio::select! {
        biased;
        _ = stop.changed() => false,
        () = tokio::time::sleep(time) => true,
    }
}
