//! Finding the next record of the commit log behind bytes that are none.
//!
//! A record can be told from chance: it begins with a magic number, states its own offset and the
//! checksum of its body, and all its lengths fit.

use std::io;

use hotfire_protocol::message::record::{MAGIC_BLANK, MAGIC_V1, MAGIC_V2, position};

use crate::commit_log::{Entry, entry};
use crate::mapped_files::{MappedFiles, Segment};
use crate::record_view::{FIXED_MIN, RecordView, size_and_magic};

/// The smallest record there can be: one of a topic of one byte, with nothing in it.
pub(crate) const RECORD_MIN: u64 = FIXED_MIN as u64 + 1;
/// How much is read at once.
const CHUNK: usize = 64 << 10;
/// How many zeros in a row say that nothing stands behind in the last file.
const ZERO_RUN: u64 = 16 << 20;
/// How many bytes are read in all to find that what looked like a record is none. A sender could
/// fill a body with beginnings of records; behind so many only the starts of files are looked at.
const FALSE_STARTS_MAX: u64 = 256 << 20;

/// The first position behind `from` at which the log can go on: that of a valid record, or of a
/// filler at the end of a file. `None` if there is none. The last file is read to the first 16 MiB
/// of zeros behind `proven`, up to which there is known to be something.
pub(crate) fn next_entry(files: &MappedFiles, from: u64, proven: u64) -> io::Result<Option<u64>> {
    // What the damaged record itself states comes first: its body may hold records, too.
    if let Entry::Record(size) = entry(files, from)
        && states_its_offset(files, from)
        && continues_at(files, from + size)
    {
        return Ok(Some(from + size));
    }
    let mut search = Search {
        files,
        proven,
        left: FALSE_STARTS_MAX,
    };
    let all = files.all();
    let last = all.len().saturating_sub(1);
    for (number, segment) in all.iter().enumerate() {
        if segment.end() <= from {
            continue;
        }
        if segment.start > from && continues_at(files, segment.start) {
            return Ok(Some(segment.start));
        }
        // The hole must have room for the record that will stand in its place.
        let begin = (from + RECORD_MIN).max(segment.start + RECORD_MIN);
        if let Some(found) = search.in_file(segment, begin, number == last)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Whether the log can go on at a position.
fn continues_at(files: &MappedFiles, at: u64) -> bool {
    match entry(files, at) {
        Entry::Record(size) => is_valid(files, at, size),
        Entry::Blank(next) => is_filler(files, at, next),
        Entry::Nothing => false,
    }
}

fn is_valid(files: &MappedFiles, at: u64, size: u64) -> bool {
    states_its_offset(files, at)
        && files.slice(at, size).is_some_and(|bytes| {
            RecordView::parse(&bytes).is_ok_and(|record| record.checksum_holds())
        })
}

/// Whether a filler states that it reaches to the end of its file.
fn is_filler(files: &MappedFiles, at: u64, file_end: u64) -> bool {
    let mut head = [0; 8];
    let read = files.read_into(at, &mut head);
    read.is_ok() && u64::try_from(size_and_magic(head).0) == Ok(file_end - at)
}

fn states_its_offset(files: &MappedFiles, at: u64) -> bool {
    let mut stated = [0; 8];
    let read = files.read_into(at + position::PHYSICAL_OFFSET as u64, &mut stated);
    read.is_ok() && u64::try_from(i64::from_be_bytes(stated)) == Ok(at)
}

struct Search<'a> {
    files: &'a MappedFiles,
    proven: u64,
    left: u64,
}

impl Search<'_> {
    fn in_file(&mut self, segment: &Segment, from: u64, is_last: bool) -> io::Result<Option<u64>> {
        let zeros = vec![0; CHUNK];
        let mut chunk = vec![0; CHUNK];
        let (mut at, mut zero_run) = (from, 0);
        // Chunks overlap, so that no head is cut in two.
        while at + 8 <= segment.end() {
            let len = (segment.end() - at).min(CHUNK as u64) as usize;
            let part = &mut chunk[..len];
            segment.map.read_into(at - segment.start, part)?;
            if part[..] == zeros[..len] {
                zero_run += len as u64;
                if is_last && zero_run >= ZERO_RUN && at >= self.proven {
                    return Ok(None);
                }
            } else {
                zero_run = 0;
                if let Some(found) = self.in_chunk(part, at) {
                    return Ok(Some(found));
                }
            }
            if at + len as u64 == segment.end() {
                break;
            }
            at += len as u64 - 7;
        }
        Ok(None)
    }

    fn in_chunk(&mut self, chunk: &[u8], at: u64) -> Option<u64> {
        let magics = [MAGIC_V1, MAGIC_V2, MAGIC_BLANK].map(i32::to_be_bytes);
        let heads = chunk.windows(8).enumerate();
        for (index, head) in heads.filter(|(_, head)| matches!(head[4], 0xDA | 0xCB)) {
            if !magics.iter().any(|magic| head[4..] == *magic) || self.left == 0 {
                continue;
            }
            let position = at + index as u64;
            if let Entry::Record(size) = entry(self.files, position)
                && states_its_offset(self.files, position)
            {
                self.left = self.left.saturating_sub(size);
            }
            if continues_at(self.files, position) {
                return Some(position);
            }
        }
        None
    }
}
