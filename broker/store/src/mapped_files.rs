//! One long byte space over a row of files of one size, each named by the offset of its
//! first byte, as commit logs and consume queues are kept (`MappedFileQueue`).
//!
//! Invariants: the files are in order and without gaps; all have the same length. What was never
//! written reads as zeros and takes no space: every write may find the disk full.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hotfire_env::{BoxFuture, Disk, MappedFile};
use parking_lot::RwLock;

use crate::StoreError;

/// The size of a page of memory, the granularity in which dirtiness is counted.
pub(crate) const PAGE: u64 = 4096;

/// One file of the row.
pub(crate) struct Segment {
    /// The offset of its first byte.
    pub start: u64,
    /// Its path.
    pub path: String,
    /// Its bytes.
    pub map: Arc<dyn MappedFile>,
}

impl Segment {
    /// The offset behind its last byte.
    pub fn end(&self) -> u64 {
        self.start + self.map.len()
    }
}

/// The row of files.
pub(crate) struct MappedFiles {
    disk: Arc<dyn Disk>,
    dir: String,
    file_size: u64,
    files: RwLock<VecDeque<Arc<Segment>>>,
    /// Whether a file was created or removed since the folder was last made durable.
    dir_dirty: AtomicBool,
}

/// Files of a folder that do not join the row, found by [`MappedFiles::load`].
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Strays {
    /// Their paths and start offsets, ascending.
    pub paths: Vec<(String, u64)>,
    /// Where the first missing file would begin.
    pub missing: u64,
}

impl MappedFiles {
    /// A row without files. Nothing is created before the first write.
    pub fn empty(disk: Arc<dyn Disk>, dir: String, file_size: u64) -> Self {
        Self {
            disk,
            dir,
            file_size,
            files: RwLock::new(VecDeque::new()),
            dir_dirty: AtomicBool::new(false),
        }
    }

    /// Notes that the life that made the files made their names durable.
    pub fn set_dir_durable(&self) {
        self.dir_dirty.store(false, Ordering::Release);
    }

    /// Opens the files of a folder. What is not named by 20 digits is left alone. The files behind
    /// a gap are not opened but returned.
    ///
    /// # Errors
    /// A file that does not have the configured length, except that the last may be shorter: its
    /// creation was cut off, and it is extended with zeros.
    pub fn load(
        disk: Arc<dyn Disk>,
        dir: String,
        file_size: u64,
    ) -> Result<(Self, Strays), StoreError> {
        let entries = disk.list(&dir).map_err(StoreError::io("list", &*dir))?;
        let named: Vec<(u64, u64, String)> = entries
            .into_iter()
            .filter(|entry| !entry.is_dir)
            .filter_map(|entry| Some((parse_name(&entry.name)?, entry.len, entry.name)))
            .collect();
        let mut row = Self::empty(disk, dir, file_size);
        // The life that created the files may have died before it made their names durable.
        row.dir_dirty = AtomicBool::new(!named.is_empty());
        let mut strays = Strays::default();
        let mut next = None;
        let last = named.len().saturating_sub(1);
        for (index, (start, len, name)) in named.into_iter().enumerate() {
            let path = format!("{}/{name}", row.dir);
            let cut_off = index == last && len < file_size;
            if len != file_size && !cut_off {
                return Err(StoreError::FileSize {
                    path,
                    found: len,
                    expected: file_size,
                });
            }
            if next.is_some_and(|next| next != start) || start % file_size != 0 {
                if strays.paths.is_empty() {
                    strays.missing = next.unwrap_or(0);
                }
                strays.paths.push((path, start));
            } else if strays.paths.is_empty() {
                let segment = row.map(start).map_err(StoreError::io("map", path))?;
                row.files.write().push_back(segment);
                next = Some(start + file_size);
            } else {
                strays.paths.push((path, start));
            }
        }
        Ok((row, strays))
    }

    fn map(&self, start: u64) -> io::Result<Arc<Segment>> {
        let path = format!("{}/{start:020}", self.dir);
        let map = self.disk.map(&path, self.file_size)?;
        Ok(Arc::new(Segment { start, path, map }))
    }

    /// The length of every file.
    pub fn file_size(&self) -> u64 {
        self.file_size
    }

    /// The folder of the files.
    pub fn dir(&self) -> &str {
        &self.dir
    }

    /// The first offset that there is a file for.
    pub fn start(&self) -> Option<u64> {
        self.files.read().front().map(|file| file.start)
    }

    /// The last file.
    pub fn last(&self) -> Option<Arc<Segment>> {
        self.files.read().back().cloned()
    }

    /// All files, in order.
    pub fn all(&self) -> Vec<Arc<Segment>> {
        self.files.read().iter().cloned().collect()
    }

    /// The file that an offset lies in.
    pub fn find(&self, offset: u64) -> Option<Arc<Segment>> {
        let files = self.files.read();
        let first = files.front()?.start;
        let index = offset.checked_sub(first)? / self.file_size;
        files.get(usize::try_from(index).ok()?).cloned()
    }

    /// The file that an offset lies in, created if it is the next of the row or the row is empty.
    pub fn find_or_create(&self, offset: u64) -> io::Result<Arc<Segment>> {
        if let Some(segment) = self.find(offset) {
            return Ok(segment);
        }
        let start = offset - offset % self.file_size;
        // Offsets are signed 64-bit numbers in every format.
        if start.saturating_add(self.file_size) > i64::MAX as u64 {
            return Err(io::Error::other(format!(
                "offset {offset} is beyond every file"
            )));
        }
        if let Some(last) = self.last()
            && last.end() != start
        {
            return Err(io::Error::other(format!(
                "offset {offset} is not in the file behind {}",
                last.path
            )));
        }
        let segment = self.map(start)?;
        self.files.write().push_back(segment.clone());
        self.dir_dirty.store(true, Ordering::Release);
        Ok(segment)
    }

    /// A copy of a range within one file.
    pub fn slice(&self, offset: u64, len: u64) -> Option<Bytes> {
        let segment = self.find(offset)?;
        let at = offset - segment.start;
        segment.map.slice(at..at.checked_add(len)?).ok()
    }

    /// Copies a range within one file.
    pub fn read_into(&self, offset: u64, target: &mut [u8]) -> io::Result<()> {
        match self.find(offset) {
            Some(segment) => segment.map.read_into(offset - segment.start, target),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Writes within one file.
    pub fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        match self.find(offset) {
            Some(segment) => segment.map.write(offset - segment.start, data),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Removes the files that begin at or behind an offset, the last one first, so that a crash
    /// leaves no gap.
    pub fn remove_from(&self, offset: u64) -> io::Result<()> {
        loop {
            let mut files = self.files.write();
            match files.back() {
                Some(last) if last.start >= offset => {
                    self.disk.remove(&last.path)?;
                    files.pop_back();
                    self.dir_dirty.store(true, Ordering::Release);
                }
                _ => return Ok(()),
            }
        }
    }

    /// Removes the first file, unless it is the only one.
    pub fn remove_first(&self) -> io::Result<bool> {
        let mut files = self.files.write();
        match files.front() {
            Some(first) if files.len() > 1 => {
                self.disk.remove(&first.path)?;
                files.pop_front();
                self.dir_dirty.store(true, Ordering::Release);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Removes every file and the folder.
    pub fn destroy(&self) -> io::Result<()> {
        self.files.write().clear();
        self.disk.remove(&self.dir)
    }

    /// Makes a range durable, which may span files.
    pub async fn flush(&self, from: u64, to: u64) -> io::Result<()> {
        let touched: Vec<_> = {
            let files = self.files.read();
            let overlaps = |file: &&Arc<Segment>| file.start < to && file.end() > from;
            files.iter().filter(overlaps).cloned().collect()
        };
        for segment in touched {
            let start = from.max(segment.start) - segment.start;
            let end = to.min(segment.end()) - segment.start;
            segment.map.flush(start..end).await?;
        }
        Ok(())
    }

    /// Makes it durable which files there are.
    ///
    /// # Errors
    /// The disk refuses.
    pub async fn sync_dirs(&self) -> io::Result<()> {
        let mut dirs = BTreeSet::new();
        self.take_dirty_dirs(&mut dirs);
        sync_dirs(&*self.disk, &dirs).await
    }

    /// Adds the folders whose entries have changed since the last call: this one and, since it may
    /// be new itself, those it lies in.
    pub fn take_dirty_dirs(&self, dirs: &mut BTreeSet<String>) {
        if !self.dir_dirty.swap(false, Ordering::AcqRel) {
            return;
        }
        let mut dir = self.dir.as_str();
        loop {
            dirs.insert(dir.to_owned());
            if dir.is_empty() {
                return;
            }
            dir = dir.rsplit_once('/').map_or("", |(parent, _)| parent);
        }
    }

    /// Overwrites what stands behind `from` in its file with zeros: what an earlier life of the
    /// store left there must never be read as data again. Returns the number of bytes up to the
    /// last one that was not zero.
    ///
    /// Only what takes space on the disk is read; on a disk that does not tell what does, the search
    /// stops after `give_up` zeros in a row, so that a large, mostly empty file is not read whole.
    pub fn zero_behind(&self, from: u64, give_up: u64) -> io::Result<u64> {
        const CHUNK: u64 = 64 << 10;
        let Some(segment) = self.find(from) else {
            return Ok(0);
        };
        let begin = from - segment.start;
        let (mut at, mut stale, mut zeros_read) = (begin, 0, 0);
        let (mut chunk, mut zeros) = (Vec::new(), Vec::new());
        while zeros_read < give_up
            && let Some(data) = segment.map.data_from(at)?
        {
            let len = (data.end - data.start).min(CHUNK);
            chunk.resize(len as usize, 0);
            segment.map.read_into(data.start, &mut chunk)?;
            if let Some(last) = chunk.iter().rposition(|&byte| byte != 0) {
                zeros.resize(zeros.len().max(last + 1), 0);
                segment.map.write(data.start, &zeros[..=last])?;
                stale = data.start + last as u64 + 1 - begin;
                zeros_read = len - (last as u64 + 1);
            } else {
                zeros_read += len;
            }
            at = data.start + len;
        }
        Ok(stale)
    }
}

/// The start offset that a file name states: exactly 20 digits.
fn parse_name(name: &str) -> Option<u64> {
    (name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| name.parse().ok())
        .flatten()
        .filter(|&start: &u64| start <= i64::MAX as u64)
}

/// Makes the entries of folders durable.
pub(crate) async fn sync_dirs(disk: &dyn Disk, dirs: &BTreeSet<String>) -> io::Result<()> {
    let mut syncs: Vec<BoxFuture<'_, io::Result<()>>> = Vec::with_capacity(dirs.len());
    for dir in dirs {
        syncs.push(Box::pin(async move {
            match disk.sync_dir(dir).await {
                // It was removed meanwhile, with what was in it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other,
            }
        }));
    }
    wait_for_all(syncs).await
}

/// Waits for flushes: a few one after the other, so that they do not compete with the commit log for
/// the disk; of very many, which would take minutes, several at once.
pub(crate) async fn wait_for_all(flushes: Vec<BoxFuture<'_, io::Result<()>>>) -> io::Result<()> {
    const FEW: usize = 64;
    const AT_ONCE: usize = 32;
    let at_once = if flushes.len() <= FEW { 1 } else { AT_ONCE };
    let mut running = FuturesUnordered::new();
    for flush in flushes {
        running.push(flush);
        if running.len() >= at_once
            && let Some(done) = running.next().await
        {
            done?;
        }
    }
    while let Some(done) = running.next().await {
        done?;
    }
    Ok(())
}
