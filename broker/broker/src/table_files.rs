//! When the broker's tables are written to their files.
//!
//! One task writes: whoever changes a table only says so. Many changes become one write, which holds
//! all that was changed when it began. Whoever has to answer for a change waits for the write that
//! has it; changes that nobody waits for are collected for a while. A write that fails is tried again
//! until it succeeds, and those who wait are told that it failed.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long changes that nobody waits for are collected.
const COLLECTED: Duration = Duration::from_millis(200);
/// How long after a write that failed it is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// A table that has a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    Topics,
    Groups,
    Offsets,
    Filters,
    Orders,
    Cursors,
    Modes,
    TimerMetrics,
    Settings,
}

impl Table {
    pub const ALL: [Self; 9] = [
        Self::Topics,
        Self::Groups,
        Self::Offsets,
        Self::Filters,
        Self::Orders,
        Self::Cursors,
        Self::Modes,
        Self::TimerMetrics,
        Self::Settings,
    ];

    /// The name of the file, in the folder `config`.
    pub const fn file(self) -> &'static str {
        match self {
            Self::Topics => "topics.json",
            Self::Groups => "subscriptionGroup.json",
            Self::Offsets => "consumerOffset.json",
            Self::Filters => "consumerFilter.json",
            Self::Orders => "consumerOrderInfo.json",
            Self::Cursors => "delayOffset.json",
            Self::Modes => "messageRequestMode.json",
            Self::TimerMetrics => "timermetrics",
            Self::Settings => "broker.properties",
        }
    }
}

/// Says which change of a table is meant; a later one has a greater number.
type Change = u64;

/// How far a table is written.
#[derive(Debug, Default, Clone)]
struct Progress {
    /// The newest change.
    changed: Change,
    /// The newest change that is in the file.
    written: Change,
    /// The newest change that could not be written, and why.
    failed: Option<(Change, Arc<str>)>,
    /// Whether somebody waits for what is not written.
    awaited: bool,
    /// When it may be written at the earliest, if nobody waits.
    due: Option<Instant>,
    /// A hash of what the file and its backup hold, if that is known to be the same.
    settled: Option<u64>,
}

/// What of the tables is written, and what is to be.
#[derive(Default)]
pub(crate) struct TableFiles {
    tables: Mutex<[Progress; Table::ALL.len()]>,
    /// Whether offsets were committed since their table was last said to have changed.
    committed: AtomicBool,
    /// Topics that are not in the file yet, with the change that made them.
    new_topics: Mutex<BTreeMap<String, Change>>,
    has_new_topics: AtomicBool,
    /// Wakes the task that writes.
    pub changed: Notify,
    /// Wakes those who wait.
    written: Notify,
}

impl TableFiles {
    /// Says that a table was changed: it will be written.
    pub fn change(&self, table: Table) -> Change {
        let change = {
            let mut tables = self.tables.lock();
            let progress = &mut tables[table as usize];
            progress.changed += 1;
            progress
                .due
                .get_or_insert_with(|| Instant::now() + COLLECTED);
            progress.changed
        };
        self.changed.notify_one();
        change
    }

    /// Notes that an offset was committed: that is too frequent to say each time that the table changed.
    pub fn note_commit(&self) {
        self.committed.store(true, Ordering::Relaxed);
    }

    /// Says that the table of offsets was changed, if one was committed since the last call.
    pub fn change_if_committed(&self) {
        if self.committed.swap(false, Ordering::Relaxed) {
            self.change(Table::Offsets);
        }
    }

    /// Says that a topic was created: it will be written, and whoever sends to it waits for that.
    pub fn create_topic(&self, topic: &str) {
        let mut new_topics = self.new_topics.lock();
        let change = self.change(Table::Topics);
        new_topics.insert(topic.to_owned(), change);
        self.has_new_topics.store(true, Ordering::Release);
    }

    /// The hash of what a table's file and its backup are known to hold, if they hold the same.
    pub fn settled(&self, table: Table) -> Option<u64> {
        self.tables.lock()[table as usize].settled
    }

    /// Takes note of what a table's file and its backup hold.
    pub fn settle(&self, table: Table, hash: Option<u64>) {
        self.tables.lock()[table as usize].settled = hash;
    }

    /// The newest change of a table.
    pub fn newest(&self, table: Table) -> Change {
        self.tables.lock()[table as usize].changed
    }

    /// Whether there may be topics that are not in the file yet: a quick look.
    pub fn has_new_topics(&self) -> bool {
        self.has_new_topics.load(Ordering::Acquire)
    }

    /// Waits until a topic is in the file, if it is new.
    ///
    /// # Errors
    /// It could not be written: the text names the file and what the disk said.
    pub async fn topic_written(&self, topic: &str) -> Result<(), Arc<str>> {
        let change = self.new_topics.lock().get(topic).copied();
        match change {
            Some(change) => self.change_written(Table::Topics, change).await,
            None => Ok(()),
        }
    }

    /// Waits until all changes of a table until now are in its file.
    ///
    /// # Errors
    /// They could not be written: the text names the file and what the disk said.
    pub async fn written(&self, table: Table) -> Result<(), Arc<str>> {
        self.change_written(table, self.newest(table)).await
    }

    async fn change_written(&self, table: Table, change: Change) -> Result<(), Arc<str>> {
        loop {
            let mut written = pin!(self.written.notified());
            written.as_mut().enable();
            {
                let mut tables = self.tables.lock();
                let progress = &mut tables[table as usize];
                if progress.written >= change {
                    return Ok(());
                }
                match &progress.failed {
                    Some((failed, why)) if *failed >= change => return Err(why.clone()),
                    _ => progress.awaited = true,
                }
            }
            self.changed.notify_one();
            written.await;
        }
    }

    /// What is to be written next: now, or at a time; nothing if all is written.
    pub fn next(&self, now: Instant) -> Next {
        let tables = self.tables.lock();
        let mut soonest: Option<Instant> = None;
        for (table, progress) in Table::ALL.into_iter().zip(tables.iter()) {
            if progress.written >= progress.changed {
                continue;
            }
            let due = progress.due.unwrap_or(now);
            if progress.awaited || due <= now {
                return Next::Write(table, progress.changed);
            }
            soonest = Some(soonest.map_or(due, |soonest| soonest.min(due)));
        }
        soonest.map_or(Next::Nothing, Next::At)
    }

    /// Notes how the write of a table ended that held everything up to a change.
    pub fn ended(&self, table: Table, change: Change, ended: Result<(), Arc<str>>) {
        let mut tables = self.tables.lock();
        let progress = &mut tables[table as usize];
        progress.awaited = false;
        match ended {
            Ok(()) => {
                progress.written = change;
                progress.failed = None;
                progress.due = (progress.changed > change).then(|| Instant::now() + COLLECTED);
            }
            Err(why) => {
                progress.failed = Some((change, why));
                progress.due = Some(Instant::now() + AGAIN);
            }
        }
        let written = progress.written;
        drop(tables);
        if table == Table::Topics {
            let mut new_topics = self.new_topics.lock();
            new_topics.retain(|_, &mut change| change > written);
            self.has_new_topics
                .store(!new_topics.is_empty(), Ordering::Release);
        }
        self.written.notify_waiters();
    }
}

/// What is to be done next.
pub(crate) enum Next {
    Write(Table, Change),
    At(Instant),
    Nothing,
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep_until;

    use super::*;

    fn write_next(files: &TableFiles, ended: Result<(), Arc<str>>) -> Option<Table> {
        match files.next(Instant::now()) {
            Next::Write(table, change) => {
                files.ended(table, change, ended);
                Some(table)
            }
            _ => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn changes_that_nobody_waits_for_are_collected() {
        let files = TableFiles::default();
        for _ in 0..1_000 {
            files.change(Table::Topics);
        }
        assert_eq!(write_next(&files, Ok(())), None);
        sleep_until(Instant::now() + COLLECTED).await;
        assert_eq!(write_next(&files, Ok(())), Some(Table::Topics));
        assert_eq!(write_next(&files, Ok(())), None);
    }

    #[tokio::test(start_paused = true)]
    async fn one_write_answers_all_that_wait_for_it_and_no_later_change() {
        let files = Arc::new(TableFiles::default());
        let waiter = |files: &Arc<TableFiles>| {
            files.change(Table::Groups);
            let files = files.clone();
            async move { files.written(Table::Groups).await }
        };
        let (first, second) = (waiter(&files), waiter(&files));
        let (mut first, mut second) = (pin!(first), pin!(second));
        let waits = tokio::time::timeout(Duration::ZERO, first.as_mut()).await;
        assert!(waits.is_err());
        let Next::Write(table, change) = files.next(Instant::now()) else {
            panic!("somebody waits");
        };
        let late = waiter(&files);
        let mut late = pin!(late);
        assert!(
            tokio::time::timeout(Duration::ZERO, late.as_mut())
                .await
                .is_err()
        );
        files.ended(table, change, Ok(()));
        assert_eq!(first.await, Ok(()));
        // Not polled before: it asks for the newest change, which is the third.
        assert!(
            tokio::time::timeout(Duration::ZERO, second.as_mut())
                .await
                .is_err()
        );
        assert!(
            tokio::time::timeout(Duration::ZERO, late.as_mut())
                .await
                .is_err()
        );
        assert_eq!(write_next(&files, Ok(())), Some(Table::Groups));
        assert_eq!((second.await, late.await), (Ok(()), Ok(())));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_learns_that_the_disk_failed_and_the_write_is_tried_again() {
        let files = TableFiles::default();
        files.create_topic("orders");
        let mut waits = pin!(files.topic_written("orders"));
        assert!(
            tokio::time::timeout(Duration::ZERO, waits.as_mut())
                .await
                .is_err()
        );
        write_next(&files, Err("topics.json: full".into()));
        assert_eq!(waits.await, Err("topics.json: full".into()));
        assert!(files.has_new_topics());
        assert_eq!(write_next(&files, Ok(())), None);
        sleep_until(Instant::now() + AGAIN).await;
        assert_eq!(write_next(&files, Ok(())), Some(Table::Topics));
        assert!(!files.has_new_topics());
        assert_eq!(files.topic_written("orders").await, Ok(()));
    }
}
