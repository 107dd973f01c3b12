use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use bytes::{Bytes, BytesMut};
use hotfire_env::{Env, TaskHandle, defect};
use hotfire_protocol::MessageExt;
use hotfire_protocol::message::record;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};

use crate::checkpoint::{Checkpoint, CheckpointFile};
use crate::commit_log::{CommitLog, Tail};
use crate::config::StoreConfig;
use crate::cq_unit::CqUnit;
use crate::damage::{Damage, DamageCounts};
use crate::dispatch::{Arrival, Arrived, Dispatcher, Progress};
use crate::group_commit::GroupCommit;
use crate::index::Index;
use crate::queues::Queues;
use crate::repair::{Repair, is_right};
use crate::state::{NotWriteable, State, Trouble};
use crate::{FlushDiskType, StoreObserver};

/// Called for every message that has become visible.
pub type ArrivalListener = Arc<dyn Fn(&Arrival<'_>) + Send + Sync>;

/// A message store: a cheap handle, all clones of which are the same store.
///
/// Nothing is flushed when the last handle is dropped: a store that is not shut down is left as by
/// a crash.
#[derive(Clone)]
pub struct MessageStore {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub env: Env,
    pub config: StoreConfig,
    pub log: CommitLog,
    pub queues: Queues,
    pub index: Option<Index>,
    pub damage: Damage,
    /// The consume queues that are being mended, by topic and queue id.
    pub repairs: Mutex<BTreeMap<(Arc<str>, i32), Repair>>,
    /// Wakes who mends them.
    pub repair_wanted: Notify,
    pub state: State,
    /// Why records could not be appended lately.
    pub append_trouble: Trouble,
    /// Why they could not be dispatched.
    pub dispatch_trouble: Trouble,
    pub observer: Option<Arc<dyn StoreObserver>>,
    /// The append lock.
    pub tail: Mutex<Tail>,
    /// Since when the append lock is held, in milliseconds since the epoch; 0 while it is free.
    pub locked_since: AtomicI64,
    /// The dispatch lock. Taken after the append lock is released, never before.
    pub progress: Mutex<Progress>,
    pub listener: RwLock<Option<ArrivalListener>>,
    /// Buffers to encode into, for reuse.
    pub buffers: Mutex<Vec<BytesMut>>,
    /// Who waits for a flush.
    pub group: Mutex<GroupCommit>,
    /// Wakes the flusher.
    pub flush_wanted: Notify,
    pub checkpoint: Mutex<Checkpoint>,
    pub checkpoint_file: CheckpointFile,
    /// Whether a flush of a consume queue or the index ever failed.
    pub built_flush_failed: AtomicBool,
    pub services: Mutex<Services>,
    /// Tells the services to end.
    pub stop: watch::Sender<bool>,
}

/// What runs while the store is open.
pub(crate) struct Services {
    /// Keeps other processes out.
    pub lock: Option<Box<dyn Send + Sync>>,
    pub tasks: Vec<TaskHandle>,
}

impl Inner {
    /// How far consumers may see: with synchronous flush only what is flushed, unless configured
    /// otherwise.
    fn visible_end(&self) -> u64 {
        match self.config.flush_disk_type {
            FlushDiskType::Sync if !self.config.read_uncommitted => self.log.flushed(),
            _ => self.log.end(),
        }
    }

    /// Dispatches what may be seen. `fresh` are the newest records, if the caller has them at hand.
    pub fn dispatch(&self, fresh: &[u8]) {
        let listener = self.listener.read().clone();
        let mut first = None;
        let mut more = Vec::new();
        let result = {
            let mut progress = self.progress.lock();
            let dispatcher = Dispatcher {
                log: &self.log,
                queues: &self.queues,
                index: self.index.as_ref(),
                damage: &self.damage,
                delay_levels: &self.config.delay_levels,
                refresh: false,
                rewrites: false,
                skips_index: defect!(self.env, SkipIndex),
            };
            let collects = listener.is_some();
            dispatcher.run(
                &mut progress,
                self.visible_end(),
                fresh,
                &mut |arrived: Arrived| match (&first, collects) {
                    (_, false) => {}
                    (None, true) => first = Some(arrived),
                    (Some(_), true) => more.push(arrived),
                },
            )
        };
        if let Some(listener) = listener {
            for arrived in first.iter().chain(&more) {
                listener(&arrived.arrival());
            }
        }
        let changed = self
            .state
            .set(NotWriteable::DispatchFailed, result.is_err());
        match result {
            Err(error) => {
                self.dispatch_trouble.note(&error);
                if changed {
                    tracing::error!(%error,
                        "dispatch failed: no messages are taken until it succeeds");
                }
            }
            Ok(()) => {
                self.dispatch_trouble.clear();
                if changed {
                    tracing::info!("dispatch goes on: messages are taken again");
                }
            }
        }
    }
}

impl MessageStore {
    /// Has a listener called for every message that becomes visible, right after it does. No lock
    /// is held then, so it may use the store; it should be quick.
    pub fn set_arrival_listener(&self, listener: ArrivalListener) {
        *self.inner.listener.write() = Some(listener);
    }

    /// Why no messages are taken; `None` if they are.
    pub fn not_writeable(&self) -> Option<NotWriteable> {
        self.inner.state.reason()
    }

    /// Why no messages are taken, or why the last one could not be stored, for people to read;
    /// `None` if all is well.
    pub fn why_not_writeable(&self) -> Option<String> {
        let inner = &self.inner;
        let Some(reason) = inner.state.reason() else {
            return inner.append_trouble.what();
        };
        let why = match reason {
            NotWriteable::ShutDown => "the store is shut down".to_owned(),
            NotWriteable::FlushFailed => "the disk failed to flush the commit log".to_owned(),
            NotWriteable::DiskFull => "the disk is full".to_owned(),
            NotWriteable::DispatchFailed => format!(
                "a consume queue or index file cannot be written: {}",
                inner.dispatch_trouble.what().unwrap_or_default()
            ),
        };
        Some(why)
    }

    /// What has been found damaged since the store was opened, and in opening it.
    pub fn damage(&self) -> DamageCounts {
        self.inner.damage.counts()
    }

    /// Whether messages are taken.
    pub fn is_writeable(&self) -> bool {
        self.not_writeable().is_none()
    }

    /// The smallest queue offset that is still stored; 0 for a queue that never had a message.
    pub fn min_offset_in_queue(&self, topic: &str, queue_id: i32) -> i64 {
        let queue = self.inner.queues.get(topic, queue_id);
        queue.map_or(0, |queue| queue.min_offset())
    }

    /// The queue offset behind the newest visible message; 0 for a queue that never had one.
    pub fn max_offset_in_queue(&self, topic: &str, queue_id: i32) -> i64 {
        let queue = self.inner.queues.get(topic, queue_id);
        queue.map_or(0, |queue| queue.max_offset())
    }

    /// Whether a message was ever meant for a queue.
    pub fn has_queue(&self, topic: &str, queue_id: i32) -> bool {
        self.inner.queues.get(topic, queue_id).is_some()
    }

    /// For how many milliseconds an append has been going on; 0 if none is (`lockTimeMills`).
    pub fn lock_time_mills(&self) -> i64 {
        match self.inner.locked_since.load(Ordering::Acquire) {
            0 => 0,
            since => self.inner.env.now_ms().saturating_sub(since).max(0),
        }
    }

    /// The commit log offset of the oldest record.
    pub fn min_phy_offset(&self) -> i64 {
        self.inner.log.start() as i64
    }

    /// The commit log offset behind the newest record.
    pub fn max_phy_offset(&self) -> i64 {
        self.inner.log.end() as i64
    }

    /// The commit log offset below which everything is durable.
    pub fn flushed_where(&self) -> i64 {
        self.inner.log.flushed() as i64
    }

    /// How many bytes of the commit log consumers do not see yet.
    pub fn dispatch_behind_bytes(&self) -> i64 {
        let end = self.inner.log.end();
        end.saturating_sub(self.inner.progress.lock().position) as i64
    }

    /// Every queue that a message was ever meant for, in the order of topic and queue id.
    pub fn queues(&self) -> Vec<(Arc<str>, i32)> {
        let queues = self.inner.queues.all();
        queues
            .iter()
            .map(|queue| (queue.topic.clone(), queue.queue_id))
            .collect()
    }

    /// The ids of the queues of a topic that a message was ever meant for, ascending.
    pub fn queue_ids(&self, topic: &str) -> Vec<i32> {
        self.inner.queues.ids(topic)
    }

    /// The record at a commit log offset (`selectOneMessageByOffset`).
    pub fn look_record(&self, commit_log_offset: i64) -> Option<Bytes> {
        let offset = u64::try_from(commit_log_offset).ok()?;
        self.inner.log.record_at(offset)
    }

    /// The message at a commit log offset (`lookMessageByOffset`).
    pub fn look_message_by_offset(&self, commit_log_offset: i64) -> Option<MessageExt> {
        let mut record = self.look_record(commit_log_offset)?;
        record::decode(&mut record, false).ok()
    }

    /// Up to `max` consume queue units from a queue offset on. They end before a unit that does not
    /// lead to its message; it is being mended then.
    pub fn units(&self, topic: &str, queue_id: i32, from: i64, max: usize) -> Vec<CqUnit> {
        let Some(queue) = self.inner.queues.get(topic, queue_id) else {
            return Vec::new();
        };
        let mut units = Vec::new();
        let mut buffer = [CqUnit::NONE; 32];
        while units.len() < max {
            let wanted = (max - units.len()).min(buffer.len());
            let count = queue.read(from + units.len() as i64, &mut buffer[..wanted]);
            if count == 0 {
                break;
            }
            for unit in &buffer[..count] {
                let offset = from + units.len() as i64;
                if is_right(&self.inner.log, &queue, offset, unit) {
                    units.push(*unit);
                } else if self.inner.repair(&queue, offset) {
                    match queue.unit(offset) {
                        Some(unit) => units.push(unit),
                        None => return units,
                    }
                } else {
                    return units;
                }
            }
        }
        units
    }

    /// When the message at a queue offset was stored.
    pub fn store_time_of(&self, topic: &str, queue_id: i32, offset: i64) -> Option<i64> {
        let unit = self.inner.queues.get(topic, queue_id)?.unit(offset)?;
        self.inner
            .log
            .store_timestamp(u64::try_from(unit.offset).ok()?)
    }

    /// When the oldest message of a queue was stored.
    pub fn earliest_message_time(&self, topic: &str, queue_id: i32) -> Option<i64> {
        let min = self.min_offset_in_queue(topic, queue_id);
        self.store_time_of(topic, queue_id, min)
    }
}
