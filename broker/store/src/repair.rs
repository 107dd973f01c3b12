//! Units of a consume queue that are noticed to be wrong when they are read, and built again from
//! the commit log while the store is in use.
//!
//! A reader that meets such a unit passes over no message: it ends before it and is told to come
//! again. The log is read from the last right unit on, in pieces, so that nobody waits for long; the
//! queue's units are written where they belong, up to the first one behind the damage that was
//! right.

use std::io;
use std::sync::Arc;

use tokio::sync::watch;

use crate::commit_log::{CommitLog, Entry};
use crate::consume_queue::ConsumeQueue;
use crate::cq_unit::CqUnit;
use crate::record_view::RecordView;
use crate::resync::next_entry;
use crate::store::Inner;

/// How much of the log is read in one go.
const PIECE: u64 = 1 << 20;

/// A consume queue that is being mended.
pub(crate) struct Repair {
    queue: Arc<ConsumeQueue>,
    /// The unit that was noticed.
    noticed: i64,
    /// The queue offset whose unit is looked for.
    next: i64,
    /// How far the log has been read.
    position: u64,
    written: u64,
    lost: u64,
}

/// Whether a unit leads to the message of its queue offset. Deleted messages are not looked for.
pub(crate) fn is_right(log: &CommitLog, queue: &ConsumeQueue, offset: i64, unit: &CqUnit) -> bool {
    unit.is_hole()
        || unit.is_written()
            && (unit.end() <= log.start() as i64 || log.is_of(unit, queue.queue_id, offset))
}

impl Repair {
    fn new(log: &CommitLog, queue: Arc<ConsumeQueue>, noticed: i64) -> Self {
        let min = queue.min_offset();
        let (mut next, mut position) = (min, log.start());
        let mut back = 1;
        while noticed - back >= min {
            let at = noticed - back;
            if let Some(unit) = queue.unit(at)
                && !unit.is_hole()
                && is_right(log, &queue, at, &unit)
            {
                next = at + 1;
                position = (unit.end() as u64).max(log.start());
                break;
            }
            back *= 2;
        }
        Self {
            queue,
            noticed,
            next,
            position,
            written: 0,
            lost: 0,
        }
    }

    /// Reads on in the log, up to a piece; true if that was all.
    fn run(&mut self, inner: &Inner) -> io::Result<bool> {
        let log = &inner.log;
        let dispatched = inner.progress.lock().position;
        let until = self.position.saturating_add(PIECE);
        while self.position < until {
            let max = self.queue.max_offset();
            if self.position >= dispatched || self.next >= max {
                self.lose(max)?;
                return Ok(true);
            }
            match log.entry(self.position) {
                Entry::Record(size) => {
                    if self.record(inner, size)? {
                        return Ok(true);
                    }
                    self.position += size;
                }
                Entry::Blank(next) => self.position = next,
                Entry::Nothing => {
                    let next = next_entry(&log.files, self.position, 0)?;
                    self.position = next.unwrap_or(dispatched);
                }
            }
        }
        Ok(false)
    }

    /// Looks at a record; true if its unit is right and lies behind the damage.
    fn record(&mut self, inner: &Inner, size: u64) -> io::Result<bool> {
        let Some(bytes) = inner.log.record(self.position, size) else {
            return Ok(false);
        };
        let Ok(record) = RecordView::parse(&bytes) else {
            return Ok(false);
        };
        let is_its = record.is_consumable()
            && record.queue_id == self.queue.queue_id
            && record.topic == &*self.queue.topic
            && record.physical_offset == self.position as i64;
        let offset = record.queue_offset;
        if !is_its || offset < self.next || offset >= self.queue.max_offset() {
            return Ok(false);
        }
        self.lose(offset)?;
        let unit = CqUnit {
            offset: record.physical_offset,
            size: i32::try_from(record.size).unwrap_or(i32::MAX - 1),
            tags_code: record.unit_code(&inner.config.delay_levels),
        };
        self.next = offset + 1;
        if self.queue.unit(offset) == Some(unit) {
            return Ok(offset > self.noticed);
        }
        self.queue.mend(offset, unit)?;
        self.written += 1;
        Ok(false)
    }

    /// Makes holes of the wrong units before an offset: the log does not have their messages.
    fn lose(&mut self, before: i64) -> io::Result<()> {
        while self.next < before {
            if self
                .queue
                .unit(self.next)
                .is_some_and(|unit| !unit.is_hole())
            {
                let hole = CqUnit::hole(self.position as i64);
                self.queue.mend(self.next, hole)?;
                self.lost += 1;
            }
            self.next += 1;
        }
        Ok(())
    }
}

impl Inner {
    /// Notes that a unit is wrong, and mends it if that is done with one look at the log; true if it
    /// is. Else it goes on in the background.
    pub fn repair(&self, queue: &Arc<ConsumeQueue>, offset: i64) -> bool {
        let key = (queue.topic.clone(), queue.queue_id);
        let mut repairs = self.repairs.lock();
        if repairs.contains_key(&key) {
            return false;
        }
        tracing::error!(
            topic = %queue.topic,
            queue = queue.queue_id,
            offset,
            "a consume queue does not lead to its message: building it again from the commit log"
        );
        let mut repair = Repair::new(&self.log, queue.clone(), offset);
        if self.go_on(&mut repair) {
            return true;
        }
        repairs.insert(key, repair);
        drop(repairs);
        self.repair_wanted.notify_one();
        false
    }

    /// Reads on for a queue; true if that is done, or cannot be.
    fn go_on(&self, repair: &mut Repair) -> bool {
        match repair.run(self) {
            Ok(false) => false,
            Ok(true) => {
                let Repair {
                    queue,
                    written,
                    lost,
                    ..
                } = repair;
                tracing::warn!(topic = %queue.topic, queue = queue.queue_id, written, lost,
                    "a consume queue was built again where it was damaged");
                self.damage.count(|counts| {
                    counts.rebuilt_queues += 1;
                    counts.lost_messages += *lost;
                });
                true
            }
            Err(error) => {
                tracing::error!(%error, topic = %repair.queue.topic, "cannot mend a consume queue");
                true
            }
        }
    }

    /// Reads on for one of the queues that are being mended; false if there is none.
    fn repair_piece(&self) -> bool {
        let Some((key, mut repair)) = self.repairs.lock().pop_first() else {
            return false;
        };
        if !self.go_on(&mut repair) {
            self.repairs.lock().insert(key, repair);
        }
        true
    }
}

/// Mends queues as they are noticed to be damaged.
pub(crate) async fn repair_in_background(inner: Arc<Inner>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            biased;
            _ = stop.changed() => return,
            () = inner.repair_wanted.notified() => {}
        }
        while !*stop.borrow() && inner.repair_piece() {
            tokio::task::yield_now().await;
        }
    }
}
