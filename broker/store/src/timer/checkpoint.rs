//! The timers' checkpoint: how far messages were taken onto the wheel, and how far the wheel was
//! read (`TimerCheckpoint`).

use std::io;
use std::sync::Arc;

use bytes::{Buf, BufMut};
use hotfire_env::{Disk, MappedFile};

use crate::checkpoint::take_space;

/// The length of the file.
const FILE_SIZE: u64 = 4096;
/// The length of what is in it.
const SIZE: usize = 56;

/// How far the timers are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimerCheckpoint {
    /// The slots before this time were dealt with, in milliseconds since the epoch.
    pub last_read_time_ms: i64,
    /// The timer log is durable up to here.
    pub last_timer_log_flush_pos: i64,
    /// The messages of the timer topic's queue below this offset are on the wheel.
    pub last_timer_queue_offset: i64,
    /// The same of the master, for replicas.
    pub master_timer_queue_offset: i64,
    /// The version of the data: of the state machine, ...
    pub state_version: i64,
    /// ... when it last changed, in milliseconds since the epoch, ...
    pub version_timestamp: i64,
    /// ... and how often it changed.
    pub version_counter: i64,
}

impl TimerCheckpoint {
    /// The bytes, as they stand in the file and in the answer to GET_TIMER_CHECK_POINT.
    pub fn encode(&self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        let mut rest = &mut bytes[..];
        for field in [
            self.last_read_time_ms,
            self.last_timer_log_flush_pos,
            self.last_timer_queue_offset,
            self.master_timer_queue_offset,
            self.state_version,
            self.version_timestamp,
            self.version_counter,
        ] {
            rest.put_i64(field);
        }
        bytes
    }

    /// The checkpoint in these bytes. Damaged ones may hold any number, but none below zero.
    pub fn decode(bytes: &[u8; SIZE]) -> Self {
        let mut rest = &bytes[..];
        let mut field = || rest.get_i64().max(0);
        Self {
            last_read_time_ms: field(),
            last_timer_log_flush_pos: field(),
            last_timer_queue_offset: field(),
            master_timer_queue_offset: field(),
            state_version: field(),
            version_timestamp: field(),
            version_counter: field(),
        }
    }
}

/// The file that holds the checkpoint.
pub(crate) struct TimerCheckpointFile {
    map: Arc<dyn MappedFile>,
}

impl TimerCheckpointFile {
    /// Opens the file, or creates it.
    pub fn open(disk: &dyn Disk, path: &str) -> io::Result<(Self, TimerCheckpoint)> {
        let map = disk.map(path, FILE_SIZE)?;
        take_space(&*map)?;
        let mut bytes = [0; SIZE];
        map.read_into(0, &mut bytes)?;
        Ok((Self { map }, TimerCheckpoint::decode(&bytes)))
    }

    /// Writes the checkpoint and makes it durable.
    pub async fn save(&self, checkpoint: &TimerCheckpoint) -> io::Result<()> {
        self.map.write(0, &checkpoint.encode())?;
        self.map.flush(0..FILE_SIZE).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_seven_longs_in_the_order_of_timer_checkpoint() {
        let checkpoint = TimerCheckpoint {
            last_read_time_ms: 1,
            last_timer_log_flush_pos: 2,
            last_timer_queue_offset: 3,
            master_timer_queue_offset: 4,
            state_version: 5,
            version_timestamp: 6,
            version_counter: 7,
        };
        let bytes = checkpoint.encode();
        let longs: Vec<i64> = bytes
            .chunks_exact(8)
            .map(|mut eight| eight.get_i64())
            .collect();
        assert_eq!(longs, [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(TimerCheckpoint::decode(&bytes), checkpoint);
    }
}
