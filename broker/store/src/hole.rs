//! What stands in the commit log in place of bytes that cannot be read.
//!
//! A later life, a reader, dispatch, and Apache RocketMQ too must find the records behind a hole, and
//! all of them go from record to record by the sizes that those state. So a hole is made a record
//! of its size: a valid one, rolled back, which no consume queue and no index knows, of a topic of
//! the broker's own. Up to the end of a file it is the filler that every file ends with. What was
//! between the beginning and the end of the hole stays where it is, as the record's body.

use std::io;

use bytes::{BufMut, BytesMut};
use hotfire_protocol::hash::body_crc;
use hotfire_protocol::message::record::MAGIC_V1;
use hotfire_protocol::message::sys_flag;

use crate::commit_log::blank;
use crate::mapped_files::MappedFiles;
use crate::resync::RECORD_MIN;

/// The topic of the records that stand in place of what was lost.
const TOPIC: &[u8] = b"rmq_sys_DAMAGED";
/// The bytes of a record that are not its body, without its topic.
const FIXED: usize = 91;
/// The longest of these records: readers take a record into memory whole.
const RECORD_MAX: u64 = 1 << 20;

/// Makes records of `from..to`, as if they had been stored at `store_timestamp`. It must have room
/// for one, or reach to the end of a file.
pub(crate) fn fill(
    files: &MappedFiles,
    from: u64,
    to: u64,
    store_timestamp: i64,
) -> io::Result<()> {
    let mut at = from;
    while at < to {
        let segment = files
            .find(at)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        if to >= segment.end() {
            let filler = blank(segment.end() - at);
            let room = (segment.end() - at).min(filler.len() as u64) as usize;
            files.write(at, &filler[..room])?;
            at = segment.end();
            continue;
        }
        let left = to - at;
        // Whatever is left over must be a record as well.
        let size = match left {
            0..=RECORD_MAX => left,
            _ if left - RECORD_MAX < RECORD_MIN => left / 2,
            _ => RECORD_MAX,
        };
        write_record(files, at, size, store_timestamp)?;
        at += size;
    }
    Ok(())
}

fn write_record(files: &MappedFiles, at: u64, size: u64, store_timestamp: i64) -> io::Result<()> {
    let size = usize::try_from(size).map_err(io::Error::other)?;
    let room = size
        .checked_sub(FIXED)
        .ok_or_else(|| io::Error::other("a hole in the commit log has no room for a record"))?;
    let topic = &TOPIC[..room.min(TOPIC.len())];
    let mut body = vec![0; room - topic.len()];
    let mut head = BytesMut::with_capacity(FIXED);
    head.put_i32(size as i32);
    head.put_i32(MAGIC_V1);
    let body_at = at + (FIXED - 3) as u64;
    files.read_into(body_at, &mut body)?;
    head.put_i32(body_crc(&body));
    head.put_bytes(0, 4 + 4 + 8);
    head.put_i64(at as i64);
    head.put_i32(sys_flag::TRANSACTION_ROLLBACK);
    head.put_i64(store_timestamp);
    head.put_bytes(0, 8);
    head.put_i64(store_timestamp);
    head.put_bytes(0, 8 + 4 + 8);
    head.put_i32(body.len() as i32);
    files.write(at, &head)?;
    let mut tail = BytesMut::with_capacity(topic.len() + 3);
    tail.put_u8(topic.len() as u8);
    tail.put_slice(topic);
    tail.put_i16(0);
    files.write(body_at + body.len() as u64, &tail)
}
