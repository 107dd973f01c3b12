//! A consume queue: where the messages of one queue are in the commit log (`ConsumeQueue`).
//!
//! Invariants: the unit at position n is that of the message with queue offset n; units point at
//! ascending commit log offsets; a position without a message (its record was lost or never
//! seen) holds a hole.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use hotfire_env::Disk;

use crate::StoreError;
use crate::cq_unit::{CqUnit, UNIT_SIZE};
use crate::mapped_files::{MappedFiles, PAGE};
use crate::resync::RECORD_MIN;

/// How many zeros in a row say that nothing stale is left behind the end.
const ZERO_RUN: u64 = 128 << 10;

/// What became of a unit that was offered to a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Indexed {
    /// It was written.
    Written,
    /// The queue had it, or something newer at its place.
    Known,
    /// It was written behind holes: records before it are missing.
    BehindGap,
    /// Its offset cannot be right.
    Refused,
}

/// Whether a folder has a file of this length.
fn has_file_of(disk: &dyn Disk, dir: &str, len: u64) -> Result<bool, StoreError> {
    let entries = disk.list(dir).map_err(StoreError::io("list", dir))?;
    Ok(entries
        .iter()
        .any(|entry| !entry.is_dir && entry.len == len))
}

/// The units of one queue.
pub(crate) struct ConsumeQueue {
    pub topic: Arc<str>,
    pub queue_id: i32,
    files: MappedFiles,
    /// The queue offset that the next appended message gets; guarded by the append lock.
    assigned: AtomicI64,
    /// The bytes below are gone or point at deleted records.
    start: AtomicU64,
    /// Where the next unit goes, in bytes.
    end: AtomicU64,
    /// The bytes below are durable.
    flushed: AtomicU64,
    /// The bytes up to here were overwritten with zeros, which are not durable yet.
    zeroed: AtomicU64,
    /// The commit log offset behind the newest record that is indexed here.
    indexed_to: AtomicI64,
    /// Whether it is among the queues that a flush looks at.
    pub listed: AtomicBool,
    /// The queue offset from which on files were found missing or cut off when it was opened; the
    /// greatest there is if that is where the files end.
    gap: Option<i64>,
}

impl ConsumeQueue {
    /// A queue without units.
    pub fn new(
        disk: Arc<dyn Disk>,
        topic: Arc<str>,
        queue_id: i32,
        root: &str,
        file_size: u64,
    ) -> Self {
        let dir = format!("{root}/{topic}/{queue_id}");
        Self::over(MappedFiles::empty(disk, dir, file_size), topic, queue_id)
    }

    /// The queue in the files of a folder, not yet recovered.
    pub fn load(
        disk: Arc<dyn Disk>,
        topic: Arc<str>,
        queue_id: i32,
        root: &str,
        file_size: u64,
    ) -> Result<Self, StoreError> {
        let dir = format!("{root}/{topic}/{queue_id}");
        let mut is_cut = false;
        let (files, strays) = loop {
            match MappedFiles::load(disk.clone(), dir.clone(), file_size) {
                Ok(loaded) => break loaded,
                // If no file is as long as is configured, the configuration is another.
                Err(StoreError::FileSize {
                    path,
                    found,
                    expected,
                }) if found < expected && has_file_of(&*disk, &dir, expected)? => {
                    tracing::warn!(
                        path,
                        found,
                        expected,
                        "removing a consume queue file that is cut off"
                    );
                    disk.remove(&path).map_err(StoreError::io("remove", path))?;
                    is_cut = true;
                }
                Err(error) => return Err(error),
            }
        };
        for (path, _) in &strays.paths {
            // Whatever they held is indexed again from the commit log.
            tracing::warn!(path, "removing a consume queue file behind a gap");
            disk.remove(path)
                .map_err(StoreError::io("remove", &**path))?;
        }
        let mut queue = Self::over(files, topic, queue_id);
        queue.gap = if is_cut {
            Some(0)
        } else {
            (!strays.paths.is_empty()).then_some(i64::MAX)
        };
        Ok(queue)
    }

    fn over(files: MappedFiles, topic: Arc<str>, queue_id: i32) -> Self {
        let start = files.start().unwrap_or(0);
        Self {
            topic,
            queue_id,
            files,
            assigned: AtomicI64::new(0),
            start: AtomicU64::new(start),
            end: AtomicU64::new(start),
            flushed: AtomicU64::new(start),
            zeroed: AtomicU64::new(0),
            indexed_to: AtomicI64::new(0),
            listed: AtomicBool::new(false),
            gap: None,
        }
    }

    /// The smallest queue offset that is still there.
    pub fn min_offset(&self) -> i64 {
        (self.start.load(Ordering::Acquire) / UNIT_SIZE) as i64
    }

    /// The queue offset behind the newest unit.
    pub fn max_offset(&self) -> i64 {
        (self.end.load(Ordering::Acquire) / UNIT_SIZE) as i64
    }

    /// The queue offset that the next appended message gets.
    pub fn next_assigned(&self) -> i64 {
        self.assigned.load(Ordering::Acquire)
    }

    /// Notes that a record with an offset before `next` is in the log: where dispatch goes on after a
    /// recovery that found the disk full, nobody has told yet.
    pub fn raise_assigned(&self, next: i64) {
        self.assigned.fetch_max(next, Ordering::AcqRel);
    }

    /// Notes that offsets up to `next` have been given out. Call it with the append lock held.
    pub fn set_assigned(&self, next: i64) {
        self.assigned.store(next, Ordering::Release);
    }

    /// The queue offset from which on files were missing or cut off when it was opened.
    pub fn gap(&self) -> Option<i64> {
        self.gap.map(|gap| gap.min(self.max_offset()))
    }

    /// The first queue offset that its files have room for; `None` if there is no file.
    pub fn first_in_files(&self) -> Option<i64> {
        Some((self.files.start()? / UNIT_SIZE) as i64)
    }

    /// Whether there are files behind the one that it ends in.
    pub fn has_files_behind_end(&self) -> bool {
        let end = self.end.load(Ordering::Acquire);
        self.files.last().is_some_and(|last| last.start > end)
    }

    /// The queue offsets that can be looked at to see whether the files belong together: the first
    /// and the last of the first two and the last two files.
    pub fn samples(&self) -> Vec<i64> {
        let files = self.files.all();
        let end = self.end.load(Ordering::Acquire);
        let last = files.len().saturating_sub(2);
        let mut samples = Vec::new();
        for (number, file) in files.iter().enumerate() {
            if (number < 2 || number >= last) && file.start < end {
                samples.push((file.start / UNIT_SIZE) as i64);
                samples.push((file.end().min(end) / UNIT_SIZE) as i64 - 1);
            }
        }
        samples
    }

    /// The commit log offset behind the newest record that is indexed here.
    pub fn indexed_to(&self) -> i64 {
        self.indexed_to.load(Ordering::Acquire)
    }

    /// The first queue offset of the file behind the one that holds `offset`.
    pub fn next_file(&self, offset: i64) -> i64 {
        let units = (self.files.file_size() / UNIT_SIZE) as i64;
        (offset / units + 1).saturating_mul(units)
    }

    /// The unit at a queue offset below the maximum.
    pub fn unit(&self, offset: i64) -> Option<CqUnit> {
        let mut bytes = [0; UNIT_SIZE as usize];
        let at = u64::try_from(offset).ok()?.checked_mul(UNIT_SIZE)?;
        if at < self.start.load(Ordering::Acquire) || at >= self.end.load(Ordering::Acquire) {
            return None;
        }
        self.files.read_into(at, &mut bytes).ok()?;
        Some(CqUnit::decode(&bytes))
    }

    /// The unit at a queue offset that the files have room for, also before the smallest offset.
    pub fn unit_in_files(&self, offset: i64) -> Option<CqUnit> {
        self.unit_at(u64::try_from(offset).ok()?.checked_mul(UNIT_SIZE)?)
    }

    /// Reads up to `units.len()` units from a queue offset on, to the end of the file at most, and
    /// returns their number.
    pub fn read(&self, offset: i64, units: &mut [CqUnit]) -> usize {
        const CHUNK: usize = 256;
        let Some(at) = u64::try_from(offset)
            .ok()
            .and_then(|offset| offset.checked_mul(UNIT_SIZE))
        else {
            return 0;
        };
        let end = self.end.load(Ordering::Acquire);
        let Some(segment) = self.files.find(at) else {
            return 0;
        };
        let there = end.min(segment.end()).saturating_sub(at) / UNIT_SIZE;
        let count = units.len().min(there as usize);
        let mut bytes = [0; CHUNK * UNIT_SIZE as usize];
        for (index, chunk) in units[..count].chunks_mut(CHUNK).enumerate() {
            let part = &mut bytes[..chunk.len() * UNIT_SIZE as usize];
            let from = at - segment.start + (index * CHUNK) as u64 * UNIT_SIZE;
            if segment.map.read_into(from, part).is_err() {
                return index * CHUNK;
            }
            let (encoded, _) = part.as_chunks();
            for (unit, bytes) in chunk.iter_mut().zip(encoded) {
                *unit = CqUnit::decode(bytes);
            }
        }
        count
    }

    /// Writes the unit of the message with the given queue offset. The caller orders the calls by
    /// commit log offset. `log_start` is the offset of the oldest record.
    ///
    /// # Errors
    /// The disk has no room; the same call may succeed later.
    pub fn index(&self, unit: CqUnit, queue_offset: i64, log_start: i64) -> io::Result<Indexed> {
        if unit.end() <= self.indexed_to() {
            return Ok(Indexed::Known);
        }
        let at = u64::try_from(queue_offset)
            .ok()
            .and_then(|offset| offset.checked_mul(UNIT_SIZE))
            .filter(|&at| at <= i64::MAX as u64 - 2 * self.files.file_size());
        let Some(at) = at else {
            return Ok(Indexed::Refused);
        };
        let end = self.end.load(Ordering::Acquire);
        let mut outcome = Indexed::Written;
        if at < end {
            // The record is newer than what the queue has at its place: the topic was deleted and
            // created again, or the record of the old unit is gone.
            tracing::warn!(topic = %self.topic, queue = self.queue_id, queue_offset,
                "a newer record has the queue offset of an older one: the queue goes on from it");
            self.truncate(at)?;
        } else if at > end && !self.fill_gap((end, at), unit.offset, log_start)? {
            return Ok(Indexed::Refused);
        } else if at > end {
            outcome = Indexed::BehindGap;
        }
        self.write_unit(at, unit)?;
        self.end.store(at + UNIT_SIZE, Ordering::Release);
        self.indexed_to.store(unit.end(), Ordering::Release);
        Ok(outcome)
    }

    /// Writes the unit of a record that the queue already knows once more, in recovery: a hole or a
    /// damaged unit is healed and, if it `rewrites`, an intact one is certain to be flushed, even if
    /// the disk lost it when an earlier flush failed. A newer record at this place stays.
    pub fn refresh(&self, unit: CqUnit, queue_offset: i64, rewrites: bool) -> io::Result<()> {
        match self.unit(queue_offset) {
            Some(known) if known == unit && !rewrites => Ok(()),
            Some(known) if known.offset <= unit.offset || known.is_hole() => {
                let at = queue_offset as u64 * UNIT_SIZE;
                self.flushed.fetch_min(at, Ordering::AcqRel);
                self.write_unit(at, unit)
            }
            _ => Ok(()),
        }
    }

    /// Overwrites a unit that was found to be wrong.
    pub fn mend(&self, queue_offset: i64, unit: CqUnit) -> io::Result<()> {
        let at = queue_offset as u64 * UNIT_SIZE;
        self.flushed.fetch_min(at, Ordering::AcqRel);
        self.write_unit(at, unit)
    }

    /// Gives up the units from a queue offset on, to be built again.
    pub fn give_up_from(&self, queue_offset: i64) -> io::Result<()> {
        let at = queue_offset.max(0) as u64 * UNIT_SIZE;
        if at > self.files.start().unwrap_or(0) {
            self.truncate(at)?;
            return self.truncate_log(i64::MAX);
        }
        self.files.remove_from(0)?;
        for field in [&self.start, &self.end, &self.flushed] {
            field.store(0, Ordering::Release);
        }
        self.indexed_to.store(0, Ordering::Release);
        Ok(())
    }

    fn write_unit(&self, at: u64, unit: CqUnit) -> io::Result<()> {
        let segment = self.files.find_or_create(at)?;
        segment.map.write(at - segment.start, &unit.encode())
    }

    /// Makes `at` the position of the next unit, whose record is at `log_offset`, although units
    /// before it are missing. False if the gap is too wide to be believed: wider than a file, and the
    /// log has no room for so many records before that one.
    fn fill_gap(&self, (end, at): (u64, u64), log_offset: i64, log_start: i64) -> io::Result<bool> {
        let file_start = at - at % self.files.file_size();
        let indexed_to = self.indexed_to();
        let gone = self.start.load(Ordering::Acquire) == end || indexed_to <= log_start;
        let room = log_offset.saturating_sub(indexed_to).max(0) as u64;
        let fits = |gap: u64| gap / UNIT_SIZE <= room / RECORD_MIN;
        let from = if gone && file_start > end {
            // Whatever the queue held is deleted: it begins anew within the file of `at`, as the
            // queue of a broker that joined late.
            self.files.remove_from(0)?;
            file_start
        } else if gone || at - end <= self.files.file_size() || fits(at - end) {
            end
        } else {
            return Ok(false);
        };
        let is_first = self.files.start().is_none_or(|first| first == from);
        let hole = CqUnit::hole(if is_first { 0 } else { indexed_to });
        for position in (from..at).step_by(UNIT_SIZE as usize) {
            self.write_unit(position, hole)?;
        }
        if gone {
            self.start.store(at, Ordering::Release);
        }
        Ok(true)
    }

    /// Gives up all units at and behind a byte position, and zeros what was there.
    fn truncate(&self, at: u64) -> io::Result<()> {
        let file_size = self.files.file_size();
        self.end.store(at, Ordering::Release);
        // A file that begins here is kept for what will be written again: a full disk may have no
        // room for a new one.
        self.files
            .remove_from((at + 1).next_multiple_of(file_size))?;
        let stale = self.files.zero_behind(at, ZERO_RUN)?;
        if stale > 0 {
            self.zeroed.fetch_max(at + stale, Ordering::AcqRel);
        }
        self.flushed.fetch_min(at, Ordering::AcqRel);
        self.start.fetch_min(at, Ordering::AcqRel);
        Ok(())
    }

    /// Finds the end: scans the last three files to the first position that was never written or
    /// breaks the order, and gives up what stands behind. After a crash nothing counts as durable.
    pub fn recover(&self, crashed: bool) -> io::Result<()> {
        let files = self.files.all();
        let from = files.len().saturating_sub(3);
        let mut end = self.files.start().unwrap_or(0);
        let mut indexed_to = 0;
        let mut buffer = [CqUnit::NONE; 256];
        'files: for file in &files[from..] {
            end = file.start;
            self.end.store(file.end(), Ordering::Release);
            while end < file.end() {
                let count = self.read((end / UNIT_SIZE) as i64, &mut buffer);
                if count == 0 {
                    break 'files;
                }
                for unit in &buffer[..count] {
                    if !unit.is_written() || unit.offset < indexed_to {
                        break 'files;
                    }
                    indexed_to = unit.end();
                    end += UNIT_SIZE;
                }
            }
        }
        self.end.store(end, Ordering::Release);
        self.indexed_to.store(indexed_to, Ordering::Release);
        if crashed {
            return self.truncate(end);
        }
        self.files.set_dir_durable();
        self.flushed.store(end, Ordering::Release);
        Ok(())
    }

    /// Gives up the units of records at or behind a commit log offset, and those before them that
    /// were never written: a power loss may have kept later files only.
    pub fn truncate_log(&self, log_end: i64) -> io::Result<()> {
        let mut end = self.end.load(Ordering::Acquire);
        let first = self.files.start().unwrap_or(0);
        let cut_before = end;
        while end > first {
            match self.unit_at(end - UNIT_SIZE) {
                Some(unit) if unit.is_written() && !unit.is_hole() && unit.end() <= log_end => {
                    break;
                }
                _ => end -= UNIT_SIZE,
            }
        }
        if end < cut_before {
            self.truncate(end)?;
        }
        let indexed_to = match end.checked_sub(UNIT_SIZE).and_then(|at| self.unit_at(at)) {
            Some(unit) if end > first => unit.end(),
            _ => 0,
        };
        self.indexed_to.store(indexed_to, Ordering::Release);
        Ok(())
    }

    /// Whether the newest message is lost.
    pub fn ends_in_hole(&self) -> bool {
        let end = self.end.load(Ordering::Acquire);
        let last = end.checked_sub(UNIT_SIZE).and_then(|at| self.unit_at(at));
        last.is_some_and(|unit| unit.is_hole())
    }

    /// The queue offset behind the last unit whose record lies, or lay, before a commit log offset.
    pub fn offset_behind(&self, log_offset: i64) -> i64 {
        let first = self.files.start().unwrap_or(0);
        let mut end = self.end.load(Ordering::Acquire);
        while end > first {
            match self.unit_at(end - UNIT_SIZE) {
                Some(unit) if unit.is_hole() && unit.offset <= log_offset => break,
                Some(unit) if unit.is_written() && unit.offset < log_offset => break,
                _ => end -= UNIT_SIZE,
            }
        }
        (end / UNIT_SIZE) as i64
    }

    /// Makes holes of the units of records that lie in one of these ranges of the commit log, which
    /// ascend, and returns their number.
    pub fn mark_lost(&self, ranges: &[(u64, u64)]) -> io::Result<u64> {
        let first = self.files.start().unwrap_or(0) / UNIT_SIZE;
        let end = self.end.load(Ordering::Acquire) / UNIT_SIZE;
        let mut lost = 0;
        for &(from, to) in ranges {
            let (mut low, mut high) = (first, end);
            while low < high {
                let middle = low + (high - low) / 2;
                let unit = self.unit_at(middle * UNIT_SIZE);
                if unit.is_none_or(|unit| unit.offset >= from as i64) {
                    high = middle;
                } else {
                    low = middle + 1;
                }
            }
            while low < end
                && let Some(unit) = self.unit_at(low * UNIT_SIZE)
                && unit.offset < to as i64
            {
                if unit.is_written() && !unit.is_hole() {
                    self.write_hole(low * UNIT_SIZE, unit.offset)?;
                    lost += 1;
                }
                low += 1;
            }
        }
        Ok(lost)
    }

    fn write_hole(&self, at: u64, log_offset: i64) -> io::Result<()> {
        self.flushed.fetch_min(at, Ordering::AcqRel);
        self.write_unit(at, CqUnit::hole(log_offset))
    }

    /// Makes `next` the next queue offset at least, with holes before it: the messages that had these
    /// offsets are lost, and no other message may get them. Returns the number of holes.
    pub fn reserve(&self, next: i64, log_end: i64) -> io::Result<u64> {
        let end = self.end.load(Ordering::Acquire);
        let Some(to) = u64::try_from(next)
            .ok()
            .and_then(|next| next.checked_mul(UNIT_SIZE))
        else {
            return Ok(0);
        };
        if to <= end {
            return Ok(0);
        }
        let mut from = end;
        if self.files.start().is_none() {
            // Nothing is left of the queue: it begins within the file of its next unit.
            from = to - to % self.files.file_size();
            self.start.store(to, Ordering::Release);
        }
        for at in (from..to).step_by(UNIT_SIZE as usize) {
            self.write_hole(at, log_end)?;
        }
        self.end.store(to, Ordering::Release);
        Ok((to - from) / UNIT_SIZE)
    }

    fn unit_at(&self, at: u64) -> Option<CqUnit> {
        let mut bytes = [0; UNIT_SIZE as usize];
        self.files.read_into(at, &mut bytes).ok()?;
        Some(CqUnit::decode(&bytes))
    }

    /// Moves the minimum up to the first unit whose record is not deleted.
    pub fn correct_min(&self, log_start: i64) {
        let first = self.files.start().unwrap_or(0) / UNIT_SIZE;
        let mut low = first.max(self.start.load(Ordering::Acquire) / UNIT_SIZE);
        let mut high = self.end.load(Ordering::Acquire) / UNIT_SIZE;
        // Offsets ascend, holes included, so the wanted unit can be searched by halves; only the
        // holes that a queue may begin with have no place in the order.
        while low < high {
            let middle = low + (high - low) / 2;
            // A unit that was damaged says nothing: the next one does.
            let mut told = (middle..high.min(middle + 64))
                .map(|at| self.unit_at(at * UNIT_SIZE))
                .filter(|unit| unit.is_none_or(|unit| unit.is_written()));
            let kept = told.next().flatten().is_none_or(|unit| {
                unit.offset >= log_start && !(unit.is_hole() && unit.offset == 0)
            });
            if kept {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        self.start.store(low * UNIT_SIZE, Ordering::Release);
    }

    /// Removes the files all of whose units point below `log_start`, but never the last, and
    /// corrects the minimum. Returns the number of removed files.
    pub fn delete_expired(&self, log_start: i64) -> io::Result<usize> {
        let mut removed = 0;
        while let Some(start) = self.files.start() {
            let last_unit = start + self.files.file_size() - UNIT_SIZE;
            match self.unit_at(last_unit) {
                Some(unit) if unit.is_written() && unit.end() <= log_start => {}
                _ => break,
            }
            if last_unit >= self.end.load(Ordering::Acquire) || !self.files.remove_first()? {
                break;
            }
            removed += 1;
        }
        self.correct_min(log_start);
        Ok(removed)
    }

    /// What is worth a flush: everything if `least_pages` is 0, else nothing below so many pages.
    pub fn dirty(&self, least_pages: u64) -> Option<(u64, u64)> {
        let from = self.flushed.load(Ordering::Acquire);
        let to = self.end.load(Ordering::Acquire);
        let worth = if least_pages == 0 {
            to > from || self.zeroed.load(Ordering::Acquire) > 0
        } else {
            (to / PAGE).saturating_sub(from / PAGE) >= least_pages
        };
        worth.then_some((from, to))
    }

    /// Makes a range durable that [`ConsumeQueue::dirty`] gave.
    pub async fn flush(&self, (from, to): (u64, u64)) -> io::Result<()> {
        let zeroed = self.zeroed.swap(0, Ordering::AcqRel);
        self.files.flush(from, to.max(zeroed)).await?;
        self.flushed.fetch_max(to, Ordering::AcqRel);
        Ok(())
    }

    /// See [`MappedFiles::take_dirty_dirs`].
    pub fn take_dirty_dirs(&self, dirs: &mut BTreeSet<String>) {
        self.files.take_dirty_dirs(dirs);
    }
}
