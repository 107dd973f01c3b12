//! Messages for a time: the timer wheel (`TimerMessageStore`).
//!
//! A message that is to be delivered at a given time is stored in the timer topic. From there it is
//! *taken* onto the wheel: a record of the timer log says which message waits, and is linked into
//! the slot of its time. When the tick of a slot is over, its messages are put into their own
//! topics. A message for a time further away than the wheel shows goes round: it is put into the
//! timer topic once more, halfway.
//!
//! The files have the formats of Apache RocketMQ: `timerlog/`, `timerwheel` and
//! `config/timercheck`. Into the field of a log record that Java reserves goes, when its message was
//! dealt with, where its copy is: so that after a crash, or when the clock goes back, nothing is
//! delivered twice that was not lost.
//!
//! Invariants:
//! - No message is delivered before its time by the clock that [`TimerStore::run`] is told.
//! - A crash of the process loses no timer and repeats none. A power loss loses none whose message
//!   the commit log kept, and may repeat what was delivered since the last
//!   [`TimerStore::flush`].
//! - A delivery that fails is tried again until it succeeds. (Java gives up after three tries,
//!   unless `timerEnableRetryUntilSuccess` is set.) One that never can is told to the
//!   [`TimerOwner`], and holds up nothing.
//!
//! Left out: reading ahead, and all that replicas do.

mod checkpoint;
mod deliver;
mod figures;
mod log;
mod record;
mod recovery;
mod schedule;
mod wheel;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hotfire_env::is_disk_full;
use hotfire_protocol::MessageExt;
use hotfire_protocol::body::{TimerMetric, TimerMetrics};
use parking_lot::{Mutex, RwLock};

use crate::mapped_files::{MappedFiles, sync_dirs};
use crate::{MessageStore, StoreError};
use checkpoint::TimerCheckpointFile;
use recovery::{Recovered, Recovery, Retake};
use schedule::Schedule;

pub use checkpoint::TimerCheckpoint;
pub use figures::{TimerDistribution, TimerPosition, TimerTotals};

/// Slots that are kept free behind the longest wait (`TIMER_BLANK_SLOTS`).
const BLANK_SLOTS: u32 = 60;
/// How far a clock may have been ahead when the checkpoint was written: ten years.
const AHEAD_MAX_MS: i64 = 10 * 366 * 86_400_000;

/// The timers of a message store: a cheap handle, all clones of which are the same timers.
#[derive(Clone)]
pub struct TimerStore {
    inner: Arc<Inner>,
}

/// What the timers ask their owner about messages whose time has come. It is called with locks held,
/// and must not call the timers.
pub trait TimerOwner: Send + Sync {
    /// The queue for a message that was accepted for a queue of a topic, which may have fewer by
    /// now.
    fn queue_for(&self, topic: &str, queue_id: i32) -> i32;

    /// A message, if it can be read, whose record is at an offset of the commit log, can never be
    /// delivered. False if that cannot be noted at the moment: it is then told once more.
    fn set_aside(&self, reason: &'static str, message: Option<MessageExt>, offset: i64) -> bool;
}

struct Inner {
    store: MessageStore,
    owner: RwLock<Option<Arc<dyn TimerOwner>>>,
    schedule: Mutex<Schedule>,
    checkpoint: Mutex<TimerCheckpoint>,
    checkpoint_file: TimerCheckpointFile,
    retake: Retake,
    metrics: Mutex<TimerMetrics>,
    totals: Mutex<BTreeMap<String, TimerTotals>>,
    /// What the disk dropped when a flush failed cannot be known: the checkpoint stands still then.
    flush_failed: AtomicBool,
    /// Held while flushing: one that began later must not be done before an earlier one.
    flushing: tokio::sync::Mutex<()>,
}

impl TimerStore {
    /// Opens the timers of a store that was just opened, or creates them, with the settings of the
    /// store's configuration.
    ///
    /// # Errors
    /// The files do not fit the configuration, or the disk refuses.
    pub async fn open(store: &MessageStore) -> Result<Self, StoreError> {
        let config = &store.inner.config;
        let disk = store.inner.env.disk();
        let check_path = config.path("config/timercheck");
        let (checkpoint_file, mut checkpoint) = TimerCheckpointFile::open(&**disk, &check_path)
            .map_err(StoreError::io("open", check_path))?;
        let log_path = config.path("timerlog");
        let loaded = MappedFiles::load(disk.clone(), log_path.clone(), config.timer_log_file_size);
        let (files, strays, mut log_is_damaged) = match loaded {
            Ok((files, strays)) => (files, strays, false),
            Err(error @ StoreError::FileSize { .. }) => {
                tracing::warn!(%error, "the timer log is built again");
                disk.remove(&log_path)
                    .map_err(StoreError::io("remove", &*log_path))?;
                let (files, strays) =
                    MappedFiles::load(disk.clone(), log_path.clone(), config.timer_log_file_size)?;
                (files, strays, true)
            }
            Err(error) => return Err(error),
        };
        log_is_damaged |= !strays.paths.is_empty();
        if checkpoint.last_read_time_ms > store.inner.env.now_ms().saturating_add(AHEAD_MAX_MS) {
            tracing::warn!("the checkpoint of the timers is damaged: the timer log says all");
            checkpoint = TimerCheckpoint::default();
        }
        for (path, _) in strays.paths.iter().rev() {
            tracing::warn!(path, "giving up a timer log file behind a missing one");
            disk.remove(path)
                .map_err(StoreError::io("remove", &**path))?;
        }
        let (wheel, wheel_is_new) = open_wheel(store)?;
        let Recovered {
            schedule,
            zeroed_to,
            retake,
        } = Recovery {
            store,
            checkpoint,
            files,
            wheel,
            wheel_is_new,
            log_is_damaged,
            precision_ms: config.timer_precision_ms.max(1),
            roll_window_slots: roll_window(
                config.timer_wheel_slots,
                config.timer_roll_window_slots,
            ),
        }
        .run()
        .map_err(StoreError::io("recover", &*log_path))?;
        for dir in [config.path("config"), config.store_path_root_dir.clone()] {
            disk.sync_dir(&dir)
                .await
                .map_err(StoreError::io("sync", dir))?;
        }
        // What was given up must not come back with the next power loss, behind new records.
        let end = schedule.log.end();
        let files = schedule.log.files();
        let synced = files.sync_dirs().await;
        synced.map_err(StoreError::io("sync", &*log_path))?;
        let flushed = files.flush(end, zeroed_to).await;
        flushed.map_err(StoreError::io("flush", log_path))?;
        let known = lowered(checkpoint, schedule.queue_offset, end);
        if known != checkpoint {
            let saved = checkpoint_file.save(&known).await;
            saved.map_err(StoreError::io("save", config.path("config/timercheck")))?;
            checkpoint = known;
        }
        tracing::info!(
            read_ms = schedule.read_ms(),
            queue_offset = schedule.queue_offset,
            log_end = end,
            "the timers are open"
        );
        Ok(Self {
            inner: Arc::new(Inner {
                store: store.clone(),
                owner: RwLock::new(None),
                schedule: Mutex::new(schedule),
                checkpoint: Mutex::new(checkpoint),
                checkpoint_file,
                retake,
                metrics: Mutex::default(),
                totals: Mutex::default(),
                flush_failed: AtomicBool::new(false),
                flushing: tokio::sync::Mutex::new(()),
            }),
        })
    }

    /// Makes log and wheel durable and then, with a checkpoint, how far they are. A flush that is
    /// given up half way leaves its work to the next.
    ///
    /// # Errors
    /// The disk failed now or earlier. The timers go on; after a power loss some may be delivered
    /// twice.
    pub async fn flush(&self) -> io::Result<()> {
        let inner = &self.inner;
        let _alone = inner.flushing.lock().await;
        if inner.flush_failed.load(Ordering::Acquire) {
            return Err(io::Error::other("an earlier flush of the timers failed"));
        }
        let result = self.try_flush().await;
        if let Err(error) = &result
            && is_disk_full(error)
        {
            // Nothing was dropped: what could not be written is tried again.
            tracing::warn!(%error, "the disk is full: the timers' checkpoint stands still");
        } else if let Err(error) = &result {
            inner.flush_failed.store(true, Ordering::Release);
            tracing::error!(%error, "cannot flush the timers: their checkpoint stands still");
        }
        result
    }

    async fn try_flush(&self) -> io::Result<()> {
        let inner = &self.inner;
        let store = &inner.store;
        let (log, files, wheel, read_ms, queue_offset) = {
            let mut schedule = inner.schedule.lock();
            schedule.wheel.write_held()?;
            (
                schedule.log.take_unflushed(),
                schedule.log.files().clone(),
                schedule.wheel.take_unflushed(),
                schedule.settled_before_ms(store.flushed_where()),
                schedule.queue_offset,
            )
        };
        if log.to > log.from {
            files.flush(log.from, log.to).await?;
        }
        sync_dirs(&**store.inner.env.disk(), &log.dirs).await?;
        if let Some((map, range)) = wheel {
            map.flush(range).await?;
        }
        {
            let mut schedule = inner.schedule.lock();
            schedule.log.set_flushed();
            schedule.wheel.set_flushed();
        }
        let before = *inner.checkpoint.lock();
        let mut checkpoint = TimerCheckpoint {
            last_read_time_ms: read_ms,
            last_timer_log_flush_pos: log.to as i64,
            last_timer_queue_offset: queue_offset,
            master_timer_queue_offset: queue_offset,
            ..before
        };
        if checkpoint != before {
            checkpoint.version_timestamp = store.inner.env.now_ms();
            checkpoint.version_counter += 1;
            inner.checkpoint_file.save(&checkpoint).await?;
            *inner.checkpoint.lock() = checkpoint;
        }
        Ok(())
    }

    /// Removes log files all of whose messages have expired.
    pub fn delete_expired(&self) {
        let start = self.inner.store.min_phy_offset();
        match self.inner.schedule.lock().log.delete_expired(start) {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, "deleted old timer log files"),
            Err(error) => tracing::error!(%error, "cannot delete old timer log files"),
        }
    }

    /// Has an owner asked about messages whose time has come.
    pub fn set_owner(&self, owner: Arc<dyn TimerOwner>) {
        *self.inner.owner.write() = Some(owner);
    }

    /// How many messages wait in the slot of a time.
    pub fn waiting_at(&self, time_ms: i64) -> i32 {
        let schedule = self.inner.schedule.lock();
        schedule.wheel.get(time_ms).map_or(0, |slot| slot.count)
    }

    /// How far the timers are, as of the last flush.
    pub fn checkpoint(&self) -> TimerCheckpoint {
        *self.inner.checkpoint.lock()
    }

    /// How many messages wait, by the topics that they are meant for.
    pub fn metrics(&self) -> TimerMetrics {
        self.inner.metrics.lock().clone()
    }

    /// Sets the numbers to what an earlier life has written down, unless all that wait are being
    /// counted anew.
    pub fn restore_metrics(&self, metrics: TimerMetrics) {
        if self.inner.retake.recounts {
            return;
        }
        *self.inner.metrics.lock() = metrics;
    }

    /// Forgets the figures of a topic that is deleted.
    pub fn forget_topic(&self, topic: &str) {
        self.inner.metrics.lock().timing_count.remove(topic);
        self.inner.totals.lock().remove(topic);
    }

    fn count(&self, topic: &str, change: i64, now_ms: i64) {
        let mut metrics = self.inner.metrics.lock();
        let counts = &mut metrics.timing_count;
        if change < 0 && !counts.contains_key(topic) {
            // The topic was deleted meanwhile.
            return;
        }
        if !counts.contains_key(topic) {
            counts.insert(topic.to_owned(), TimerMetric::default());
        }
        if let Some(metric) = counts.get_mut(topic) {
            metric.count += change;
            metric.time_stamp = now_ms;
        }
        metrics.data_version.counter += 1;
        metrics.data_version.timestamp = now_ms;
    }
}

/// What a checkpoint may go on claiming: a power loss may have taken messages that it counts, and
/// the next ones get their places. Believed once more, it would have them passed over.
fn lowered(checkpoint: TimerCheckpoint, queue_offset: i64, log_end: u64) -> TimerCheckpoint {
    TimerCheckpoint {
        last_timer_queue_offset: checkpoint.last_timer_queue_offset.min(queue_offset),
        master_timer_queue_offset: checkpoint.master_timer_queue_offset.min(queue_offset),
        last_timer_log_flush_pos: checkpoint.last_timer_log_flush_pos.min(log_end as i64),
        ..checkpoint
    }
}

/// Opens the wheel's file, or makes it anew if it has another size than the configuration says; the
/// log says what is on it.
fn open_wheel(
    store: &MessageStore,
) -> Result<(Arc<dyn hotfire_env::MappedFile>, bool), StoreError> {
    let config = &store.inner.config;
    let disk = store.inner.env.disk();
    let path = config.path("timerwheel");
    let len = wheel::file_len(config.timer_wheel_slots);
    let entries = disk
        .list(&config.store_path_root_dir)
        .map_err(StoreError::io("list", &*config.store_path_root_dir))?;
    let found = entries.iter().find(|entry| entry.name == "timerwheel");
    let is_new = found.is_none_or(|entry| entry.len != len);
    if is_new && found.is_some() {
        tracing::warn!(
            path,
            len,
            "the timer wheel has another size: making it anew"
        );
        disk.remove(&path)
            .map_err(StoreError::io("remove", &*path))?;
    }
    let map = disk.map(&path, len).map_err(StoreError::io("map", path))?;
    Ok((map, is_new))
}

/// After how many slots a message goes round: as configured, if the wheel has so many.
fn roll_window(wheel_slots: u32, configured: u32) -> u32 {
    let most = wheel_slots.saturating_sub(BLANK_SLOTS).max(2);
    if (2..=most).contains(&configured) {
        configured
    } else {
        most
    }
}
