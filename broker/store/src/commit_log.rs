//! The commit log: every record of every queue, in the order of arrival (`CommitLog`).
//!
//! Invariants: records follow each other without gaps, except for the filler at the end of a file;
//! every record states its own offset; the bytes behind the last record are zero; only what is
//! below [`CommitLog::end`] is ever handed out, and it is never written again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Buf, Bytes};
use hotfire_protocol::message::record::{MAGIC_BLANK, position};
use hotfire_protocol::message::sys_flag;

use crate::cq_unit::CqUnit;
use crate::mapped_files::{MappedFiles, Segment};
use crate::record_view::{is_message, size_and_magic};

/// The size of the filler's header, for which every file keeps room.
pub(crate) const BLANK_SIZE: u64 = 8;

/// The files and how far they are written and flushed.
pub(crate) struct CommitLog {
    pub files: MappedFiles,
    end: AtomicU64,
    flushed: AtomicU64,
}

/// Why records could not be appended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppendError {
    /// The store stopped taking messages meanwhile.
    #[error("the store takes no more messages")]
    Closed,
    /// They do not fit a file at all.
    #[error("the records do not fit a file")]
    TooLarge,
    /// The next file could not be created.
    #[error("cannot create the next file: {0}")]
    NoFile(io::Error),
    /// The disk refused the bytes.
    #[error("cannot write: {0}")]
    Write(io::Error),
}

/// Where the next record goes. There is one, behind the lock that orders appends.
pub(crate) struct Tail {
    segment: Option<Arc<Segment>>,
    /// When the newest record was stored.
    pub last_store_timestamp: i64,
}

/// What stands at an offset of the log.
pub(crate) enum Entry {
    /// A record of this size.
    Record(u64),
    /// A filler: the log goes on at this offset.
    Blank(u64),
    /// Nothing that the log could go on with.
    Nothing,
}

impl CommitLog {
    /// A log over files that are written up to `end` and durable up to `flushed`.
    pub fn new(files: MappedFiles, end: u64, flushed: u64) -> Self {
        Self {
            files,
            end: AtomicU64::new(end),
            flushed: AtomicU64::new(flushed),
        }
    }

    /// The offset of the next record.
    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// What lies below is durable.
    pub fn flushed(&self) -> u64 {
        self.flushed.load(Ordering::Acquire)
    }

    /// Notes what has become durable.
    pub fn set_flushed(&self, to: u64) {
        self.flushed.fetch_max(to, Ordering::AcqRel);
    }

    /// The offset of the oldest record, or of the next one if there is none.
    pub fn start(&self) -> u64 {
        self.files.start().unwrap_or_else(|| self.end())
    }

    /// The appender's state for the log as it is.
    pub fn tail(&self, last_store_timestamp: i64) -> Tail {
        Tail {
            segment: self.files.find(self.end()),
            last_store_timestamp,
        }
    }

    /// Where records of `len` bytes in all will go: at the end, or in the next file, which is
    /// created then. Nothing is written into the log yet.
    pub fn place(&self, tail: &mut Tail, len: u64) -> Result<u64, AppendError> {
        let end = self.end();
        let file_size = self.files.file_size();
        let needed = len + BLANK_SIZE;
        if needed > file_size {
            return Err(AppendError::TooLarge);
        }
        let left = match &tail.segment {
            Some(segment) => segment.end() - end,
            None => 0,
        };
        if needed <= left {
            return Ok(end);
        }
        let next = end.next_multiple_of(file_size);
        self.files
            .find_or_create(next)
            .map_err(AppendError::NoFile)?;
        Ok(next)
    }

    /// Writes records at the offset that [`CommitLog::place`] gave, behind a filler if it is in
    /// the next file.
    pub fn write(&self, tail: &mut Tail, at: u64, records: &[u8]) -> Result<(), AppendError> {
        let stays = tail.segment.as_ref().is_some_and(|file| file.end() > at);
        if !stays {
            self.roll(tail, at)?;
        }
        let segment = tail.segment.as_ref();
        let segment = segment.ok_or_else(|| AppendError::NoFile(io::ErrorKind::NotFound.into()))?;
        segment
            .map
            .write(at - segment.start, records)
            .map_err(AppendError::Write)?;
        self.end.store(at + records.len() as u64, Ordering::Release);
        Ok(())
    }

    /// Ends the current file with a filler and goes on with the one that begins at `next`.
    fn roll(&self, tail: &mut Tail, next: u64) -> Result<(), AppendError> {
        let end = self.end();
        if let Some(full) = &tail.segment
            && end < full.end()
        {
            let filler = blank(full.end() - end);
            let at = end - full.start;
            full.map.write(at, &filler).map_err(AppendError::Write)?;
        }
        tail.segment = self.files.find(next);
        self.end.store(next, Ordering::Release);
        Ok(())
    }

    /// What stands at an offset below the end.
    pub fn entry(&self, offset: u64) -> Entry {
        entry(&self.files, offset)
    }

    /// The record at an offset, if one of exactly this size begins there.
    pub fn record(&self, offset: u64, size: u64) -> Option<Bytes> {
        if size < BLANK_SIZE || offset.checked_add(size)? > self.end() {
            return None;
        }
        let record = self.files.slice(offset, size)?;
        let (stated, magic) = size_and_magic(record.get(..8)?.try_into().ok()?);
        (is_message(magic) && u64::try_from(stated) == Ok(size)).then_some(record)
    }

    /// Whether the record of a unit says that it has this place in a queue with this id.
    pub fn is_of(&self, unit: &CqUnit, queue_id: i32, queue_offset: i64) -> bool {
        let (Ok(at), Ok(size)) = (u64::try_from(unit.offset), u64::try_from(unit.size)) else {
            return false;
        };
        let mut head = [0; position::PHYSICAL_OFFSET + 8];
        if at.saturating_add(size) > self.end() || self.files.read_into(at, &mut head).is_err() {
            return false;
        }
        let mut fields = &head[..];
        let (stated, magic) = (fields.get_i32(), fields.get_i32());
        let (_crc, queue, _flag) = (fields.get_i32(), fields.get_i32(), fields.get_i32());
        let (offset, physical) = (fields.get_i64(), fields.get_i64());
        is_message(magic)
            && stated == unit.size
            && queue == queue_id
            && offset == queue_offset
            && physical == unit.offset
    }

    /// The record that begins at an offset. An offset within a record is not noticed unless what
    /// stands there cannot begin one.
    pub fn record_at(&self, offset: u64) -> Option<Bytes> {
        if offset >= self.end() {
            return None;
        }
        match self.entry(offset) {
            Entry::Record(size) => self.record(offset, size),
            Entry::Blank(_) | Entry::Nothing => None,
        }
    }

    /// When the record at an offset was stored.
    pub fn store_timestamp(&self, offset: u64) -> Option<i64> {
        store_timestamp(&self.files, offset)
    }
}

/// What stands at an offset, by its first eight bytes.
pub(crate) fn entry(files: &MappedFiles, offset: u64) -> Entry {
    let mut head = [0; 8];
    let Some(segment) = files.find(offset) else {
        return Entry::Nothing;
    };
    if segment
        .map
        .read_into(offset - segment.start, &mut head)
        .is_err()
    {
        return Entry::Nothing;
    }
    let left = segment.end() - offset;
    match size_and_magic(head) {
        (_, MAGIC_BLANK) => Entry::Blank(segment.end()),
        (size, magic) if is_message(magic) => match u64::try_from(size) {
            Ok(size) if size <= left => Entry::Record(size),
            _ => Entry::Nothing,
        },
        _ => Entry::Nothing,
    }
}

/// When the record at an offset was stored, if one begins there.
pub(crate) fn store_timestamp(files: &MappedFiles, offset: u64) -> Option<i64> {
    let Entry::Record(_) = entry(files, offset) else {
        return None;
    };
    let mut flags = [0; 4];
    let at = offset + position::SYS_FLAG as u64;
    files.read_into(at, &mut flags).ok()?;
    let mut timestamp = [0; 8];
    let at = offset + store_timestamp_position(i32::from_be_bytes(flags)) as u64;
    files.read_into(at, &mut timestamp).ok()?;
    Some(i64::from_be_bytes(timestamp))
}

/// Where the store timestamp stands in a record: behind the born host.
fn store_timestamp_position(flags: i32) -> usize {
    let host = if flags & sys_flag::BORN_HOST_V6 != 0 {
        20
    } else {
        8
    };
    position::BORN_TIMESTAMP + 8 + host
}

/// Fills in what only the appender knows.
pub(crate) fn stamp(record: &mut [u8], queue_offset: i64, physical: i64, store_timestamp: i64) {
    let mut put = |at: usize, value: i64| {
        if let Some(field) = record.get_mut(at..at + 8) {
            field.copy_from_slice(&value.to_be_bytes());
        }
    };
    put(position::QUEUE_OFFSET, queue_offset);
    put(position::PHYSICAL_OFFSET, physical);
    let flags = record.get(position::SYS_FLAG..position::SYS_FLAG + 4);
    let flags = flags.and_then(|flags| flags.try_into().ok());
    let at = store_timestamp_position(i32::from_be_bytes(flags.unwrap_or_default()));
    if let Some(field) = record.get_mut(at..at + 8) {
        field.copy_from_slice(&store_timestamp.to_be_bytes());
    }
}

/// The header of the filler over the last `len` bytes of a file.
pub(crate) fn blank(len: u64) -> [u8; 8] {
    let mut filler = [0; 8];
    filler[..4].copy_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
    filler[4..].copy_from_slice(&MAGIC_BLANK.to_be_bytes());
    filler
}
