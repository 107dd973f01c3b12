//! The checkpoint: up to when everything is known to be durable, from which recovery after a crash
//! finds where to begin (`StoreCheckpoint`).

use std::io;
use std::sync::Arc;

use hotfire_env::{Disk, MappedFile, is_disk_full};

/// The length of the file.
const FILE_SIZE: u64 = 4096;
/// Recovery begins this much before the checkpoint (`getMinTimestamp`).
const MARGIN_MS: i64 = 3000;

/// How far a clock may have been ahead when the checkpoint was written: ten years.
const AHEAD_MAX_MS: i64 = 10 * 366 * 86_400_000;

/// The store timestamps up to which things are durable; 0 says that nothing is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// The commit log.
    pub physic_msg_timestamp: i64,
    /// The consume queues.
    pub logics_msg_timestamp: i64,
    /// The index files.
    pub index_msg_timestamp: i64,
}

impl Checkpoint {
    /// Records stored before this time need not be dispatched again.
    pub(crate) fn safe_before(&self) -> i64 {
        let safe = self.physic_msg_timestamp.min(self.logics_msg_timestamp);
        safe.saturating_sub(MARGIN_MS).max(0)
    }

    /// Records stored before this time are on the disk.
    pub(crate) fn durable_before(&self) -> i64 {
        self.physic_msg_timestamp.saturating_sub(MARGIN_MS).max(0)
    }

    fn newest(&self) -> i64 {
        let built = self.logics_msg_timestamp.max(self.index_msg_timestamp);
        built.max(self.physic_msg_timestamp)
    }

    fn encode(&self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.physic_msg_timestamp.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.logics_msg_timestamp.to_be_bytes());
        bytes[16..].copy_from_slice(&self.index_msg_timestamp.to_be_bytes());
        bytes
    }

    fn decode(bytes: [u8; 24]) -> Self {
        let [physic, logics, index] = [0, 8, 16].map(|at| {
            let field = bytes[at..].first_chunk().copied().unwrap_or_default();
            i64::from_be_bytes(field).max(0)
        });
        Self {
            physic_msg_timestamp: physic,
            logics_msg_timestamp: logics,
            index_msg_timestamp: index,
        }
    }
}

/// Has a small file take the space on the disk that it will need, so that it can be written later
/// when the disk is full. One that has no space now is tried again when it is written.
///
/// # Errors
/// The disk refuses for another reason.
pub(crate) fn take_space(file: &dyn MappedFile) -> io::Result<()> {
    if file.data_from(0)?.is_some() {
        return Ok(());
    }
    match file.write(0, &vec![0; file.len() as usize]) {
        Err(error) if is_disk_full(&error) => Ok(()),
        other => other,
    }
}

/// The file that holds the checkpoint.
pub(crate) struct CheckpointFile {
    map: Arc<dyn MappedFile>,
}

impl CheckpointFile {
    /// Opens the file, or creates it. A checkpoint with a time far behind `now_ms` is damaged and
    /// says nothing.
    pub fn open(disk: &dyn Disk, path: &str, now_ms: i64) -> io::Result<(Self, Checkpoint)> {
        let map = disk.map(path, FILE_SIZE)?;
        take_space(&*map)?;
        let mut bytes = [0; 24];
        map.read_into(0, &mut bytes)?;
        let mut checkpoint = Checkpoint::decode(bytes);
        if checkpoint.newest() > now_ms.saturating_add(AHEAD_MAX_MS) {
            checkpoint = Checkpoint::default();
        }
        Ok((Self { map }, checkpoint))
    }

    /// Writes the checkpoint and makes it durable.
    pub async fn save(&self, checkpoint: &Checkpoint) -> io::Result<()> {
        self.map.write(0, &checkpoint.encode())?;
        self.map.flush(0..FILE_SIZE).await
    }
}
