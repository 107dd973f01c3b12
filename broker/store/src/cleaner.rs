//! Making room: which commit log files may go, and what goes with them (`CleanCommitLogService`,
//! `CleanConsumeQueueService`).
//!
//! Files go from the oldest on and one at a time, the newest never; each removal is made durable
//! before the next, so that a crash leaves no gap.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::StoreConfig;
use crate::flush::pause;
use crate::open::QUEUE_FACTS;
use crate::state::NotWriteable;
use crate::store::{Inner, MessageStore};

/// Why files are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clean {
    /// Those that have expired.
    Expired,
    /// The oldest, expired or not: the disk is nearly full.
    Forcibly,
}

/// What the cleaner decides by.
#[derive(Debug, Clone)]
struct CleanPolicy {
    delete_when: Vec<u32>,
    may_force: bool,
    max_used: f64,
    forcibly: f64,
    warning: f64,
    reserved_ms: i64,
}

impl CleanPolicy {
    fn of(config: &StoreConfig) -> Self {
        Self {
            delete_when: config.delete_when.clone(),
            may_force: config.clean_file_forcibly_enable,
            max_used: config.disk_max_used_space_ratio.min(0.95),
            // The caps of `getDiskSpaceCleanForciblyRatio` and `getDiskSpaceWarningLevelRatio`.
            forcibly: config.disk_space_clean_forcibly_ratio.min(0.85),
            warning: config.disk_space_warning_level_ratio.min(0.90),
            reserved_ms: i64::try_from(config.file_reserved_time.as_millis()).unwrap_or(i64::MAX),
        }
    }

    /// Whether the disk is too full to store anything.
    fn is_full(&self, used: f64) -> bool {
        used > self.warning
    }

    /// What to delete now, with `used` of the disk in use.
    fn decide(&self, now_ms: i64, used: f64) -> Option<Clean> {
        let hour = now_ms.div_euclid(3_600_000).rem_euclid(24);
        let is_time = self.delete_when.iter().any(|&when| i64::from(when) == hour);
        if used > self.forcibly && self.may_force {
            Some(Clean::Forcibly)
        } else if is_time || used > self.max_used {
            Some(Clean::Expired)
        } else {
            None
        }
    }

    /// Whether a file that was last changed at `modified_ms` may go.
    fn may_go(&self, clean: Clean, now_ms: i64, modified_ms: i64) -> bool {
        clean == Clean::Forcibly || now_ms.saturating_sub(modified_ms) >= self.reserved_ms
    }
}

impl MessageStore {
    /// Deletes what has expired, at whatever hour (`executeDeleteFilesManually`), and returns the
    /// number of commit log files that went.
    ///
    /// # Errors
    /// The disk refused.
    pub async fn delete_expired_files(&self) -> io::Result<usize> {
        self.inner.clean(Clean::Expired).await
    }

    /// Removes the files of consume queues and indexes that point at nothing but deleted records.
    ///
    /// # Errors
    /// The disk refused.
    pub fn clean_expired_consume_queues(&self) -> io::Result<()> {
        self.inner.clean_built()
    }

    /// Forgets a topic: its consume queues are removed. Its records stay in the commit log until
    /// they expire; if the topic comes back, its queue offsets begin at 0 again. As in RocketMQ the
    /// removal is not synced, and a rebuild of the consume queues brings the records back.
    ///
    /// # Errors
    /// The disk refused.
    pub fn delete_topic(&self, topic: &str) -> io::Result<bool> {
        // No append may be between taking a queue offset and using it.
        let _tail = self.inner.tail.lock();
        let _progress = self.inner.progress.lock();
        self.inner.forget_queue_facts()?;
        self.inner.queues.remove_topic(topic)
    }

    /// Removes all files of a store that was shut down.
    ///
    /// # Errors
    /// The store is not shut down, or the disk refused.
    pub fn destroy(&self) -> io::Result<()> {
        let inner = &self.inner;
        if !inner.state.has(NotWriteable::ShutDown) {
            return Err(io::Error::other("the store is not shut down"));
        }
        inner.log.files.destroy()?;
        inner.queues.destroy()?;
        if let Some(index) = &inner.index {
            index.destroy()?;
        }
        let disk = inner.env.disk();
        for name in ["checkpoint", "abort"] {
            disk.remove(&inner.config.path(name))?;
        }
        Ok(())
    }
}

impl Inner {
    async fn clean(&self, clean: Clean) -> io::Result<usize> {
        let policy = CleanPolicy::of(&self.config);
        let disk = self.env.disk();
        let log = &self.log.files;
        let mut removed = 0;
        let files = log.all();
        // The last one stays.
        for file in files.split_last().map_or(&[][..], |(_, older)| older) {
            let modified = disk.modified_ms(&file.path)?;
            if removed == self.config.delete_file_batch_max
                || !policy.may_go(clean, self.env.now_ms(), modified)
            {
                break;
            }
            if removed > 0 {
                tokio::time::sleep(self.config.delete_files_interval).await;
            }
            tracing::info!(path = file.path, ?clean, "deleting a commit log file");
            if !log.remove_first()? {
                break;
            }
            disk.sync_dir(log.dir()).await?;
            removed += 1;
        }
        if removed > 0 {
            self.clean_built()?;
        }
        Ok(removed)
    }

    /// Deletes what points at nothing but deleted records.
    fn clean_built(&self) -> io::Result<()> {
        // No unit is written meanwhile.
        let _progress = self.progress.lock();
        let log_start = self.log.start() as i64;
        for queue in self.queues.all() {
            if queue.delete_expired(log_start)? > 0 {
                self.queues.note_changed(&queue);
                self.forget_queue_facts()?;
            }
        }
        match &self.index {
            Some(index) if index.delete_expired(log_start)? > 0 => self.forget_queue_facts(),
            _ => Ok(()),
        }
    }

    /// Removes the file that says where the consume queues began: it would not be true any more.
    fn forget_queue_facts(&self) -> io::Result<()> {
        self.env.disk().remove(&self.config.path(QUEUE_FACTS))
    }

    fn used_ratio(&self) -> Option<f64> {
        match self.env.disk().usage() {
            Ok(usage) => Some(usage.used_ratio()),
            Err(error) => {
                tracing::error!(%error, "cannot ask the disk for its free space");
                None
            }
        }
    }
}

/// Deletes what may go, every so often.
pub(crate) async fn clean_in_background(inner: Arc<Inner>, mut stop: watch::Receiver<bool>) {
    let policy = CleanPolicy::of(&inner.config);
    let mut wait = inner.config.clean_resource_delay;
    while pause(&mut stop, wait).await {
        wait = inner.config.clean_resource_interval;
        let used = inner.used_ratio().unwrap_or(0.0);
        let Some(clean) = policy.decide(inner.env.now_ms(), used) else {
            continue;
        };
        if let Err(error) = inner.clean(clean).await {
            tracing::error!(%error, "cannot delete old files");
        }
    }
}

/// Watches how full the disk is. A task of its own, because deleting may take long.
pub(crate) async fn watch_disk(inner: Arc<Inner>, mut stop: watch::Receiver<bool>) {
    const FIRST: Duration = Duration::from_secs(1);
    let policy = CleanPolicy::of(&inner.config);
    let mut wait = FIRST;
    while pause(&mut stop, wait).await {
        wait = inner.config.clean_resource_interval;
        if let Some(used) = inner.used_ratio() {
            let full = policy.is_full(used);
            if inner.state.set(NotWriteable::DiskFull, full) {
                tracing::warn!(
                    used,
                    full,
                    "the disk's free space crossed the warning level"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn policy() -> CleanPolicy {
        CleanPolicy::of(&StoreConfig::default())
    }

    #[test]
    fn expired_files_go_at_the_configured_hour() {
        assert_eq!(policy().decide(4 * HOUR, 0.1), Some(Clean::Expired));
        assert_eq!(policy().decide(5 * HOUR - 1, 0.1), Some(Clean::Expired));
        assert_eq!(policy().decide(5 * HOUR, 0.1), None);
    }

    #[test]
    fn a_disk_that_fills_up_is_cleaned_at_any_hour_and_then_forcibly() {
        assert_eq!(policy().decide(0, 0.75), None);
        assert_eq!(policy().decide(0, 0.76), Some(Clean::Expired));
        assert_eq!(policy().decide(0, 0.86), Some(Clean::Forcibly));
        let gentle = CleanPolicy {
            may_force: false,
            ..policy()
        };
        assert_eq!(gentle.decide(0, 0.86), Some(Clean::Expired));
    }

    #[test]
    fn a_disk_above_the_warning_level_counts_as_full() {
        assert!(!policy().is_full(0.90));
        assert!(policy().is_full(0.91));
    }

    #[test]
    fn a_file_goes_before_its_time_only_by_force() {
        let three_days = 72 * HOUR;
        assert!(!policy().may_go(Clean::Expired, three_days, 1));
        assert!(policy().may_go(Clean::Expired, three_days, 0));
        assert!(policy().may_go(Clean::Forcibly, 1, 0));
    }
}
