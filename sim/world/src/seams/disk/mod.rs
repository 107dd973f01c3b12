//! The simulated disk: a page cache over a platter, decided page by page.
//!
//! A file's live image is what processes see. A page that was written and not flushed since is
//! *dirty*, and its durable content is kept beside it, so that payloads are held once. Flushing takes
//! simulated time; only what was written before it began is certainly durable when it ends.
//!
//! - A process that dies ([`SimDisk::kill`]) leaves everything as it is: the page cache is the
//!   kernel's. Flushes under way are undecided, and mappings of the dead process refuse to be used.
//! - A machine that loses power ([`SimDisk::lose_power`]) keeps every dirty page or not by a seeded
//!   draw; at most one page of a file is torn between two sectors.
//! - The kernel writes back by itself what has been dirty for 30 seconds, and commits the journal of
//!   names every 5 seconds, with it files that were overwritten as a whole (ext4's `auto_da_alloc`).
//! - Faults ([`DiskDisturbance`]): flushes that fail and lose the dirty mark, as on Linux; a full
//!   device; reads that fail; a slow or stuck device; flipped bits ([`SimDisk::flip_bit`]).

mod file;
mod image;
#[cfg(test)]
mod tests;
mod tree;
mod view;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hotfire_env::{Clock, DiskUsage};
use parking_lot::Mutex;
use tokio::sync::Notify;

use self::file::File;
use self::image::Image;
pub use self::image::{Losses, PAGE, SECTOR};
use self::tree::Tree;
use super::net::FaultId;
use super::net::tcp::draw;
use super::time::{HostTime, NodeClock};
use super::trace::{Trace, TraceKind};

/// After how long the kernel writes dirty pages back by itself (`vm.dirty_expire_centisecs`).
pub const WRITE_BACK_AFTER: Duration = Duration::from_secs(30);

/// How often the journal of names is committed (`commit` of ext4).
pub const JOURNAL_INTERVAL: Duration = Duration::from_secs(5);

/// What a disk is like while no fault touches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskConfig {
    /// Its size in bytes.
    pub capacity: u64,
    /// How long a flush takes at least.
    pub flush_latency: Duration,
    /// What every MiB of dirty pages adds to a flush.
    pub flush_per_mib: Duration,
    /// Up to this much is added to every flush, drawn uniformly.
    pub flush_jitter: Duration,
}

impl Default for DiskConfig {
    fn default() -> Self {
        Self {
            capacity: 1 << 40,
            flush_latency: Duration::from_millis(1),
            flush_per_mib: Duration::from_millis(1),
            flush_jitter: Duration::from_millis(1),
        }
    }
}

/// What a fault does to a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskDisturbance {
    /// Every flush takes this much longer.
    Slow(Duration),
    /// Flushes do not come to an end before the fault does.
    Stuck,
    /// Flushes fail, and their pages count as clean nevertheless.
    FlushErrors,
    /// Files whose path begins so cannot be read.
    ReadErrors(String),
    /// Nothing more can be allocated.
    Full,
}

/// The disk of one logical node, through all incarnations of its process.
pub struct SimDisk {
    node: u64,
    key: u64,
    config: DiskConfig,
    time: Arc<HostTime>,
    clock: Arc<NodeClock>,
    trace: Arc<Trace>,
    tree: Mutex<Tree>,
    locks: Mutex<BTreeMap<String, u64>>,
    disturbances: Mutex<Vec<(FaultId, DiskDisturbance)>>,
    relieved: Notify,
    incarnation: AtomicU64,
    /// How often the machine has lost power.
    power_losses: AtomicU64,
    files: AtomicU64,
    flushes: AtomicU64,
    draws: AtomicU64,
    used: AtomicU64,
}

/// What the trace distinguishes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Operation {
    Write = 1,
    Flush = 2,
    Replace = 3,
    Names = 4,
    PowerLoss = 5,
}

impl SimDisk {
    pub(crate) fn new(
        node: u32,
        key: u64,
        config: DiskConfig,
        (time, clock): (Arc<HostTime>, Arc<NodeClock>),
        trace: Arc<Trace>,
    ) -> Self {
        Self {
            node: u64::from(node),
            key,
            config,
            time,
            clock,
            trace,
            tree: Mutex::default(),
            locks: Mutex::default(),
            disturbances: Mutex::default(),
            relieved: Notify::new(),
            incarnation: AtomicU64::new(0),
            power_losses: AtomicU64::new(0),
            files: AtomicU64::new(0),
            flushes: AtomicU64::new(0),
            draws: AtomicU64::new(0),
            used: AtomicU64::new(0),
        }
    }

    /// The process is dead: its locks are free, its mappings unusable. The page cache lives on.
    pub fn kill(&self) {
        self.incarnation.fetch_add(1, Ordering::Relaxed);
        self.locks.lock().clear();
    }

    /// The machine has lost power, after [`SimDisk::kill`]. Returns what became of unflushed pages.
    pub fn lose_power(&self) -> Losses {
        self.power_losses.fetch_add(1, Ordering::Relaxed);
        let now = self.now();
        let mut tree = self.tree.lock();
        tree.commit_before(now.saturating_sub(JOURNAL_INTERVAL));
        tree.lose_power(|bound| self.draw(bound));
        let mut total = Losses::default();
        for (_, file) in tree.files() {
            let mut image = file.image.lock();
            self.write_back_if_due(&mut image, now);
            let losses = image.lose_power(|bound| self.draw(bound));
            self.note(Operation::PowerLoss, file, losses.lost, losses.survived);
            total.survived += losses.survived;
            total.lost += losses.lost;
            total.torn += losses.torn;
        }
        self.recount(&tree);
        total
    }

    /// Disturbs the disk until [`SimDisk::relieve`].
    pub fn disturb(&self, fault: FaultId, disturbance: DiskDisturbance) {
        self.disturbances.lock().push((fault, disturbance));
    }

    /// Ends what a fault does.
    pub fn relieve(&self, fault: FaultId) {
        self.disturbances.lock().retain(|(id, _)| *id != fault);
        self.relieved.notify_waiters();
    }

    /// Flips one bit of a file, on the platter and in the page cache. False if there is no such file.
    pub fn flip_bit(&self, path: &str, bit: u64) -> bool {
        let tree = self.tree.lock();
        let file = tree.file(path);
        file.is_some_and(|file| {
            file.image.lock().flip(bit);
            true
        })
    }

    /// The size of the disk and what is free of it.
    pub fn usage(&self) -> DiskUsage {
        let used = self.used.load(Ordering::Relaxed);
        let full = self.is_disturbed(|disturbance| *disturbance == DiskDisturbance::Full);
        DiskUsage {
            total: self.config.capacity,
            free: if full {
                0
            } else {
                self.config.capacity.saturating_sub(used)
            },
        }
    }

    fn now(&self) -> Duration {
        self.time.now()
    }

    fn wall_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    fn draw(&self, bound: u64) -> u64 {
        let index = self.draws.fetch_add(1, Ordering::Relaxed);
        ((u128::from(draw(self.key, index)) * u128::from(bound)) >> 64) as u64
    }

    fn note(&self, operation: Operation, file: &File, at: u64, len: u64) {
        let what = (self.node << 40) ^ (file.id << 8) ^ operation as u64;
        self.trace
            .note(TraceKind::Disk, what, at.rotate_left(24) ^ len);
    }

    fn check_alive(&self, incarnation: u64) -> io::Result<()> {
        if self.incarnation.load(Ordering::Relaxed) == incarnation {
            Ok(())
        } else {
            Err(io::Error::other("the process that opened this is dead"))
        }
    }

    fn is_disturbed(&self, how: impl Fn(&DiskDisturbance) -> bool) -> bool {
        self.disturbances
            .lock()
            .iter()
            .any(|(_, disturbance)| how(disturbance))
    }

    fn check_read(&self, path: &str) -> io::Result<()> {
        let unreadable = |disturbance: &DiskDisturbance| match disturbance {
            DiskDisturbance::ReadErrors(prefix) => path.starts_with(prefix),
            _ => false,
        };
        if self.is_disturbed(unreadable) {
            return Err(io::Error::other(format!(
                "`{path}` cannot be read: input/output error"
            )));
        }
        Ok(())
    }

    /// Takes space for a file that grows.
    fn allocate(&self, bytes: u64) -> io::Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        if self.usage().free < bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.used.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn recount(&self, tree: &Tree) {
        let used = tree
            .files()
            .map(|(_, file)| file.image.lock().allocated())
            .sum();
        self.used.store(used, Ordering::Relaxed);
    }

    fn write_back_if_due(&self, image: &mut Image, now: Duration) {
        let limit = if image.is_replaced() {
            JOURNAL_INTERVAL
        } else {
            WRITE_BACK_AFTER
        };
        if image
            .dirty_since()
            .is_some_and(|since| now >= since + limit)
        {
            image.write_back();
        }
    }

    /// The device's part of a flush of so many dirty bytes.
    async fn work(&self, dirty: u64) -> io::Result<()> {
        let index = self.flushes.fetch_add(1, Ordering::Relaxed);
        let jitter = draw(self.key ^ 1, index) as f64 / u64::MAX as f64;
        let mut takes = self.config.flush_latency
            + self
                .config
                .flush_per_mib
                .mul_f64(dirty as f64 / (1 << 20) as f64)
            + self.config.flush_jitter.mul_f64(jitter);
        for (_, disturbance) in &*self.disturbances.lock() {
            if let DiskDisturbance::Slow(adds) = disturbance {
                takes += *adds;
            }
        }
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        while self.is_disturbed(|disturbance| *disturbance == DiskDisturbance::Stuck) {
            self.relieved.notified().await;
        }
        if self.is_disturbed(|disturbance| *disturbance == DiskDisturbance::FlushErrors) {
            return Err(io::Error::other("the flush failed: input/output error"));
        }
        Ok(())
    }
}
