//! What was found damaged, and where what cannot be read is set aside.

use std::io;
use std::sync::Arc;

use hotfire_env::Disk;
use parking_lot::Mutex;

use crate::mapped_files::MappedFiles;

/// How much is copied in one life of the store. What is beyond is only told.
const SET_ASIDE_MAX: u64 = 64 << 20;
/// How many files the folder may hold.
const FILES_MAX: usize = 1000;
const CHUNK: u64 = 1 << 20;

/// What a store has found damaged since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DamageCounts {
    /// Ranges of the commit log with valid records behind them that could not be read.
    pub log_holes: u64,
    /// The bytes of these ranges.
    pub log_hole_bytes: u64,
    /// Bytes that were cut off behind the last valid record of the commit log.
    pub log_cut_bytes: u64,
    /// How often a part of a consume queue was built again from the commit log.
    pub rebuilt_queues: u64,
    /// Positions of consume queues whose messages the commit log does not have.
    pub lost_messages: u64,
    /// Index files that were built again.
    pub rebuilt_index_files: u64,
}

/// The counts, and the folder `damaged` of the store.
pub(crate) struct Damage {
    disk: Arc<dyn Disk>,
    dir: String,
    counts: Mutex<DamageCounts>,
    /// How much has been copied.
    copied: Mutex<u64>,
}

impl Damage {
    pub fn new(disk: Arc<dyn Disk>, dir: String) -> Self {
        Self {
            disk,
            dir,
            counts: Mutex::default(),
            copied: Mutex::new(0),
        }
    }

    pub fn counts(&self) -> DamageCounts {
        *self.counts.lock()
    }

    pub fn count(&self, change: impl FnOnce(&mut DamageCounts)) {
        change(&mut self.counts.lock());
    }

    /// Copies a range of a log, without the zeros that it ends with, into a durable file named
    /// after what it is and where it stood, and returns how that went, for the log.
    ///
    /// A disk that has no room for the copy does not keep the store from opening.
    pub async fn set_aside(&self, files: &MappedFiles, what: &str, from: u64, to: u64) -> String {
        match self.try_set_aside(files, what, from, to).await {
            Ok(told) => told,
            Err(error) => format!("it could not be set aside: {error}"),
        }
    }

    async fn try_set_aside(
        &self,
        files: &MappedFiles,
        what: &str,
        from: u64,
        to: u64,
    ) -> io::Result<String> {
        let to = used_end(files, from, to)?;
        if to <= from {
            return Ok("it holds nothing but zeros".to_owned());
        }
        let len = to - from;
        {
            let mut copied = self.copied.lock();
            if copied.saturating_add(len) > SET_ASIDE_MAX {
                return Ok(format!("it is not set aside: {len} bytes are too many"));
            }
            *copied += len;
        }
        let there = self.disk.list(&self.dir)?;
        if there.len() >= FILES_MAX {
            return Ok(format!("it is not set aside: `{}` is full", self.dir));
        }
        let name = format!("{what}-{from:020}-{to:020}");
        let mut free = name.clone();
        for number in 2..=FILES_MAX {
            if !there.iter().any(|entry| entry.name == free) {
                break;
            }
            free = format!("{name}.{number}");
        }
        let path = format!("{}/{free}", self.dir);
        let copy = self.disk.map(&path, len)?;
        let mut buffer = vec![0; len.min(CHUNK) as usize];
        for at in (from..to).step_by(CHUNK as usize) {
            let part = &mut buffer[..(to - at).min(CHUNK) as usize];
            read_across(files, at, part);
            copy.write(at - from, part)?;
        }
        copy.flush(0..len).await?;
        let parent = self.dir.rsplit_once('/').map_or("", |(parent, _)| parent);
        for dir in [&*self.dir, parent] {
            self.disk.sync_dir(dir).await?;
        }
        Ok(format!("it is set aside in `{path}`"))
    }
}

/// Reads a range that may span files. What there is no file for, or cannot be read, is zeros.
fn read_across(files: &MappedFiles, from: u64, target: &mut [u8]) {
    let mut done = 0;
    while done < target.len() {
        let at = from + done as u64;
        let in_file = files.file_size() - at % files.file_size();
        let len = (target.len() - done).min(in_file as usize);
        let part = &mut target[done..done + len];
        if files.read_into(at, part).is_err() {
            part.fill(0);
        }
        done += len;
    }
}

/// The position behind the last byte of a range that is not zero.
fn used_end(files: &MappedFiles, from: u64, to: u64) -> io::Result<u64> {
    let mut buffer = vec![0; (to.saturating_sub(from)).min(CHUNK) as usize];
    let mut end = to;
    while end > from {
        let len = (end - from).min(CHUNK);
        let part = &mut buffer[..len as usize];
        read_across(files, end - len, part);
        if let Some(last) = part.iter().rposition(|&byte| byte != 0) {
            return Ok(end - len + last as u64 + 1);
        }
        end -= len;
    }
    Ok(from)
}
