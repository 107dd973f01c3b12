use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::BoxFuture;

/// Files below one root, named by `/`-separated relative paths.
///
/// Two kinds of access, as RocketMQ has them: files of fixed size for logs and indexes
/// ([`Disk::map`]), and small whole files for configuration ([`Disk::read`], [`Disk::replace`]).
///
/// A disk without room answers with an error for which [`is_disk_full`] holds: never with a signal,
/// and never later than when something is written. There may be any number of files; those that are
/// not in use take no resource of which a process has a limited number.
///
/// A path that is absolute or contains `..` is refused with `InvalidInput`.
pub trait Disk: Send + Sync {
    /// Opens a file of exactly `len` bytes, creating it (and its folders) filled with zeros if it
    /// does not exist, and extending or cutting it to `len` if it does.
    fn map(&self, path: &str, len: u64) -> io::Result<Arc<dyn MappedFile>>;

    /// The entries of a folder, sorted by name; empty if the folder does not exist.
    fn list(&self, dir: &str) -> io::Result<Vec<DirEntry>>;

    /// A whole file, or `NotFound`.
    fn read(&self, path: &str) -> io::Result<Vec<u8>>;

    /// Truncates (or creates, with its folders) a file and writes it whole. Not atomic and not
    /// synced: a crash may leave any part of it.
    fn write(&self, path: &str, data: &[u8]) -> io::Result<()>;

    /// Replaces (or creates, with its folders) a whole file, durably and in one step: after a crash
    /// at any point it is the old one or the new one, whole, and once this has returned it is the
    /// new one. If it fails, the old one is untouched. The event loop is not blocked meanwhile.
    ///
    /// Replacements happen one after the other, in the order in which they were first polled. One
    /// that is dropped may happen or not. The new content is written beside the file first, under
    /// its name and `.tmp`.
    fn replace<'a>(&'a self, path: &'a str, data: Vec<u8>) -> BoxFuture<'a, io::Result<()>>;

    /// Whether there is such a file or folder.
    fn exists(&self, path: &str) -> io::Result<bool>;

    /// Renames a file, replacing the target.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file, or a folder with all that is in it. Removing what is not there is fine.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Makes a folder's entries (creations, renames, removals) durable.
    fn sync_dir<'a>(&'a self, dir: &'a str) -> BoxFuture<'a, io::Result<()>>;

    /// Takes an exclusive lock on a file for the lifetime of the returned guard, or fails with
    /// `WouldBlock` if another process holds it.
    fn lock(&self, path: &str) -> io::Result<Box<dyn Send + Sync>>;

    /// When a file was last modified, in milliseconds since the Unix epoch.
    fn modified_ms(&self, path: &str) -> io::Result<i64>;

    /// Names the present life of the machine: while it is the same, no power was lost, so whatever
    /// any process has written can be read. `None` if that cannot be known.
    fn boot_id(&self) -> Option<String> {
        None
    }

    /// Size and free space of the file system.
    fn usage(&self) -> io::Result<DiskUsage>;
}

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The name, without the folder.
    pub name: String,
    /// Length in bytes; 0 for a folder.
    pub len: u64,
    /// Whether it is a folder.
    pub is_dir: bool,
}

/// Size and free space of a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskUsage {
    /// All of it.
    pub total: u64,
    /// What is still free for this process.
    pub free: u64,
}

impl DiskUsage {
    /// The used share, 0 to 1.
    pub fn used_ratio(&self) -> f64 {
        if self.total == 0 {
            return 0.0;
        }
        1.0 - self.free as f64 / self.total as f64
    }
}

/// Whether something failed for want of space: the disk or the quota is used up, or the process may
/// not write files of this size (`ulimit -f`). The same may succeed when there is space again.
///
/// It never holds for an error of [`MappedFile::flush`]: what was to be written then is lost.
pub fn is_disk_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// A file of fixed size, called what RocketMQ calls it. Writes are visible to reads at once and
/// survive the process; only [`MappedFile::flush`] makes them survive the machine. Nothing is flushed
/// on drop.
///
/// Every range is checked: one that reaches past the end fails with `InvalidInput`. What was never
/// written reads as zeros and takes no space on the disk. Several threads may use one file; where
/// one writes what another reads, either sees any mixture of old and new bytes, and nothing worse.
/// A file that was removed may go on being readable, or fail with `NotFound`.
pub trait MappedFile: Send + Sync {
    /// The length in bytes.
    fn len(&self) -> u64;

    /// Whether the file has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A copy of a range.
    fn slice(&self, range: Range<u64>) -> io::Result<Bytes> {
        // Nothing is allocated for a range that cannot be read.
        if range.start > range.end || range.end > self.len() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{range:?} is no range of a file of {} bytes", self.len()),
            ));
        }
        let len = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
        let mut copy = vec![0; len];
        self.read_into(range.start, &mut copy)?;
        Ok(copy.into())
    }

    /// Copies a range that starts at `at` into `target`.
    fn read_into(&self, at: u64, target: &mut [u8]) -> io::Result<()>;

    /// Writes at a position. If it fails, any part may have been written.
    fn write(&self, at: u64, data: &[u8]) -> io::Result<()>;

    /// The first range at or behind `at` that may hold anything but zeros, or none. It may hold
    /// zeros; what lies before it and behind `at` does.
    fn data_from(&self, at: u64) -> io::Result<Option<Range<u64>>>;

    /// Makes a range durable, and perhaps more than that. The event loop is not blocked meanwhile.
    /// After a failure it is not known what the disk has of the range, and another flush does not
    /// tell.
    fn flush(&self, range: Range<u64>) -> BoxFuture<'static, io::Result<()>>;
}
