//! The timer log: one record for every message that was taken onto the wheel, in the order of the
//! timer topic's queue (`TimerLog`).

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use hotfire_protocol::message::record::MAGIC_BLANK;

use super::record::{RECORD_SIZE, TimerRecord};
use crate::mapped_files::MappedFiles;

/// The length of the filler's header: the size of the filler, 8 zeros and its magic number.
const BLANK_SIZE: u64 = 16;
/// How many zeros in a row say that nothing stale is left behind the end.
const ZERO_RUN: u64 = 1 << 20;

/// The log.
///
/// Invariants: records follow each other without gaps, except for the filler at the end of a file;
/// the bytes behind the end are zero.
pub(crate) struct TimerLog {
    files: Arc<MappedFiles>,
    /// Where the next record goes.
    end: u64,
    /// What lies below is durable, but for what was settled since.
    flushed: u64,
    /// The oldest record that was settled since the last flush began.
    settled_from: u64,
    /// What a flush has in hand, until it is done: it may fail, or be given up half way.
    in_hand: Unflushed,
}

/// What is to be made durable.
#[derive(Clone)]
pub(crate) struct Unflushed {
    pub from: u64,
    pub to: u64,
    pub dirs: BTreeSet<String>,
}

impl TimerLog {
    /// The log in these files, which ends at `end`.
    pub fn new(files: MappedFiles, end: u64, flushed: u64) -> Self {
        Self {
            // A life before may have died with marks that only the page cache has.
            settled_from: files.start().unwrap_or(end),
            files: Arc::new(files),
            end,
            flushed,
            in_hand: Unflushed {
                from: u64::MAX,
                to: 0,
                dirs: BTreeSet::new(),
            },
        }
    }

    pub fn end(&self) -> u64 {
        self.end
    }

    pub fn files(&self) -> &Arc<MappedFiles> {
        &self.files
    }

    /// Appends a record and returns its position.
    ///
    /// # Errors
    /// There is no room for another file.
    pub fn append(&mut self, record: &TimerRecord) -> io::Result<u64> {
        let at = normal(&self.files, self.end);
        // The file first: without room for it nothing has changed.
        self.files.find_or_create(at)?;
        if at > self.end {
            let filler = blank(at - self.end);
            let room = (at - self.end).min(BLANK_SIZE) as usize;
            self.files.write(self.end, &filler[..room])?;
        }
        self.files.write(at, &record.encode())?;
        self.end = at + RECORD_SIZE;
        Ok(at)
    }

    /// The record at a position below the end, if one begins there.
    pub fn get(&self, at: i64) -> Option<TimerRecord> {
        let at = u64::try_from(at).ok()?;
        (at < self.end).then(|| read(&self.files, at)).flatten()
    }

    /// Notes that the message of a record was dealt with: what was put in its place is at `offset`.
    pub fn settle(&mut self, at: u64, offset: i64) -> io::Result<()> {
        const SETTLED: u64 = RECORD_SIZE - 8;
        self.files
            .write(at + SETTLED, &(offset + 1).to_be_bytes())?;
        self.settled_from = self.settled_from.min(at);
        Ok(())
    }

    /// What is to be made durable now: also what an earlier flush did not bring to its end.
    pub fn take_unflushed(&mut self) -> Unflushed {
        let settled_from = std::mem::replace(&mut self.settled_from, u64::MAX);
        let in_hand = &mut self.in_hand;
        in_hand.from = in_hand.from.min(self.flushed).min(settled_from);
        in_hand.to = self.end;
        self.files.take_dirty_dirs(&mut in_hand.dirs);
        in_hand.clone()
    }

    /// Notes that what was taken last has become durable.
    pub fn set_flushed(&mut self) {
        self.flushed = self.flushed.max(self.in_hand.to);
        self.in_hand.from = u64::MAX;
        self.in_hand.dirs.clear();
    }

    /// Removes the files all of whose messages lie below the start of the commit log, but never the
    /// last.
    pub fn delete_expired(&self, commit_log_start: i64) -> io::Result<usize> {
        let mut removed = 0;
        while let Some(start) = self.files.start() {
            let file_size = self.files.file_size();
            let last = start + last_in_file(file_size);
            let expired = start + file_size <= self.end
                && read(&self.files, last).is_none_or(|record| record.offset < commit_log_start);
            if !expired || !self.files.remove_first()? {
                break;
            }
            removed += 1;
        }
        Ok(removed)
    }
}

/// The position of the last record that a file has room for (`getOffsetForLastUnit`).
pub(crate) fn last_in_file(file_size: u64) -> u64 {
    (file_size - BLANK_SIZE) / RECORD_SIZE * RECORD_SIZE - RECORD_SIZE
}

/// The record at a position, if one begins there.
pub(crate) fn read(files: &MappedFiles, at: u64) -> Option<TimerRecord> {
    if !(at % files.file_size()).is_multiple_of(RECORD_SIZE) {
        return None;
    }
    let mut bytes = [0; RECORD_SIZE as usize];
    files.read_into(at, &mut bytes).ok()?;
    TimerRecord::decode(&bytes)
}

/// The end of the row of whole records that begins at `start`.
pub(crate) fn whole_until(files: &MappedFiles, start: u64) -> io::Result<u64> {
    const RECORDS: u64 = 1024;
    let mut buffer = vec![0; (RECORDS * RECORD_SIZE) as usize];
    let mut end = start;
    loop {
        let at = normal(files, end);
        if files.find(at).is_none() {
            return Ok(end);
        }
        let in_file = at % files.file_size();
        let behind_last = last_in_file(files.file_size()) + RECORD_SIZE;
        let len = behind_last
            .saturating_sub(in_file)
            .min(RECORDS * RECORD_SIZE);
        let part = &mut buffer[..(len / RECORD_SIZE * RECORD_SIZE) as usize];
        if part.is_empty() {
            return Ok(end);
        }
        files.read_into(at, part)?;
        let (records, _) = part.as_chunks::<{ RECORD_SIZE as usize }>();
        let whole = records
            .iter()
            .take_while(|bytes| TimerRecord::decode(bytes).is_some())
            .count();
        if whole > 0 {
            end = at + whole as u64 * RECORD_SIZE;
        }
        if whole < records.len() {
            return Ok(end);
        }
    }
}

/// Every position from `from` on at which a record may begin, up to the end of the files, or to
/// where for a long stretch there is none.
pub(crate) fn grid(files: &MappedFiles, from: u64) -> impl Iterator<Item = u64> + '_ {
    let end = files.last().map_or(0, |last| last.end());
    let mut at = normal(files, from);
    let mut empty = 0;
    std::iter::from_fn(move || {
        if at >= end || empty > ZERO_RUN / RECORD_SIZE {
            return None;
        }
        let this = at;
        empty = if read(files, at).is_some() {
            0
        } else {
            empty + 1
        };
        at = normal(files, at + RECORD_SIZE);
        Some(this)
    })
}

/// Where the next record goes if the log ends at a position: there, or behind a filler.
pub(crate) fn normal(files: &MappedFiles, end: u64) -> u64 {
    let file_size = files.file_size();
    if file_size - end % file_size < RECORD_SIZE + BLANK_SIZE {
        end.next_multiple_of(file_size)
    } else {
        end
    }
}

/// Gives up everything behind `end`. Returns the position up to which zeros were written.
pub(crate) fn truncate(files: &MappedFiles, end: u64) -> io::Result<u64> {
    files.remove_from(end.next_multiple_of(files.file_size()))?;
    Ok(end + files.zero_behind(end, ZERO_RUN)?)
}

/// The header of the filler over the last `len` bytes of a file.
fn blank(len: u64) -> [u8; BLANK_SIZE as usize] {
    let mut filler = [0; BLANK_SIZE as usize];
    filler[..4].copy_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
    filler[12..].copy_from_slice(&MAGIC_BLANK.to_be_bytes());
    filler
}
