//! The index: where the messages with a key are in the commit log (`IndexService`).
//!
//! It is a row of files, each of which takes a number of keys. After a crash the files that may not
//! be on the disk are built again. Keys are found by a 31-bit hash, so whoever asks must compare.

mod file;

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hotfire_env::{Clock, Disk};
use hotfire_protocol::date::Civil;
use hotfire_protocol::hash::java_string_hash_on;
use hotfire_protocol::message::{property, sys_flag};
use parking_lot::RwLock;

pub(crate) use self::file::Lookup;
use self::file::{IndexFile, Shape};
use crate::mapped_files::sync_dirs;
use crate::record_view::RecordView;
use crate::{StoreConfig, StoreError};

/// The files of the index, the oldest first.
pub(crate) struct Index {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    dir: String,
    shape: Shape,
    files: RwLock<Vec<Arc<IndexFile>>>,
    dir_dirty: AtomicBool,
}

/// What is known of an index file when a store is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexFact {
    /// Its name as a number.
    pub name: u64,
    /// The commit log offset of the newest message in it.
    pub end: i64,
}

/// What a query found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Commit log offsets.
    pub offsets: Vec<i64>,
    /// When the newest indexed message was stored.
    pub last_update_timestamp: i64,
    /// The commit log offset of the newest indexed message.
    pub last_update_phy_offset: i64,
}

impl Index {
    /// Opens the files of the index. With `safe_until`, files that may not be whole - those that are
    /// not full, or have messages stored at or after that time - are removed; so are files that
    /// cannot be right, or differ from what is `known` of them, and all that follow a wrong or
    /// missing one. The number of these files is returned, and the commit log offset from which the
    /// index is to be built again, if that is known to be necessary.
    pub fn load(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        config: &StoreConfig,
        safe_until: Option<i64>,
        known: &[IndexFact],
    ) -> Result<(Self, Option<u64>, u64), StoreError> {
        let dir = config.path("index");
        let shape = Shape {
            slots: config.max_hash_slot_num,
            entries: config.max_index_num,
        };
        let is_safe = |file: &IndexFile| {
            let in_time = |safe| file.is_full() && file.header().end_timestamp < safe;
            file.is_sane() && safe_until.is_none_or(in_time)
        };
        let mut files: Vec<Arc<IndexFile>> = Vec::new();
        let mut incomplete = safe_until.is_some();
        let mut removing = false;
        let listed = Self::list(&*disk, &dir, shape)?;
        // Names may not be durable yet, and removals are not.
        let dir_dirty = AtomicBool::new(!listed.is_empty());
        let mut removed = 0;
        let mut known = known.iter().peekable();
        for (path, name, has_its_length) in listed {
            let fact = known.next_if(|fact| fact.name == name);
            let is_missing = known.next_if(|fact| fact.name < name).is_some();
            let file = disk
                .map(&path, shape.file_size())
                .and_then(|map| IndexFile::open(path.clone(), name, map, shape))
                .map_err(StoreError::io("map", &*path))?;
            let differs = fact.is_some_and(|fact| fact.end != file.header().end_phy_offset);
            removing |= is_missing || differs || !has_its_length || !is_safe(&file);
            if removing {
                tracing::warn!(path, "building an index file again");
                disk.remove(&path).map_err(StoreError::io("remove", path))?;
                incomplete = true;
                removed += 1;
            } else {
                files.push(Arc::new(file));
            }
        }
        if !removing && let Some(fact) = known.next() {
            tracing::warn!(
                name = fact.name,
                "an index file is missing: building it again"
            );
            incomplete = true;
            removed += 1;
        }
        let end = end_of(&files);
        let index = Self {
            disk,
            clock,
            dir,
            shape,
            files: RwLock::new(files),
            dir_dirty,
        };
        Ok((index, incomplete.then_some(end), removed))
    }

    /// What is known of its files, for the next life.
    pub fn facts(&self) -> Vec<IndexFact> {
        let files = self.files.read();
        let fact = |file: &Arc<IndexFile>| IndexFact {
            name: file.name,
            end: file.header().end_phy_offset,
        };
        files.iter().map(fact).collect()
    }

    /// The commit log offset of the newest message that is indexed.
    pub fn end(&self) -> u64 {
        end_of(&self.files.read())
    }

    /// The files in the folder, with their names as numbers, and whether they have the length that is
    /// configured. One that is shorter is damaged, or its creation was cut off, unless all are.
    fn list(
        disk: &dyn Disk,
        dir: &str,
        shape: Shape,
    ) -> Result<Vec<(String, u64, bool)>, StoreError> {
        let entries = disk.list(dir).map_err(StoreError::io("list", dir))?;
        let named: Vec<_> = entries
            .into_iter()
            .filter(|entry| !entry.is_dir)
            .filter_map(|entry| Some((parse_name(&entry.name)?, entry)))
            .collect();
        let expected = shape.file_size();
        let is_configured = named.len() < 2 || named.iter().any(|(_, entry)| entry.len == expected);
        let mut files = Vec::with_capacity(named.len());
        for (name, entry) in named {
            let path = format!("{dir}/{}", entry.name);
            let is_cut_off = is_configured && entry.len < expected;
            if entry.len != expected && !is_cut_off {
                return Err(StoreError::FileSize {
                    path,
                    found: entry.len,
                    expected: shape.file_size(),
                });
            }
            files.push((path, name, entry.len == expected));
        }
        Ok(files)
    }

    /// Indexes a record under its unique key and its keys. Half messages are indexed, roll-backs
    /// are not. What is older than the newest indexed record is known.
    ///
    /// # Errors
    /// There is no room for another file. Calling again is fine; a key may then be there twice.
    pub fn put(&self, record: &RecordView<'_>) -> io::Result<()> {
        if sys_flag::transaction_type(record.sys_flag) == sys_flag::TRANSACTION_ROLLBACK {
            return Ok(());
        }
        let mut keys = KeyHashes::new(record.topic);
        if let Some(key) = record.property(property::UNIQ_KEY) {
            keys.push(key);
        }
        if let Some(text) = record.property(property::KEYS) {
            let several = text.split(property::KEY_SEPARATOR);
            several
                .filter(|key| !key.is_empty())
                .for_each(|key| keys.push(key));
        }
        let mut left = keys.as_slice();
        if left.is_empty() {
            return Ok(());
        }
        let newest = self.files.read().last().cloned();
        if let Some(newest) = &newest
            && record.physical_offset < newest.header().end_phy_offset
        {
            return Ok(());
        }
        let mut current = newest.filter(|file| !file.is_full());
        while !left.is_empty() {
            let file = match current.take() {
                Some(file) => file,
                None => self.create()?,
            };
            let put = file.put(left, record.physical_offset, record.store_timestamp)?;
            left = &left[put..];
        }
        Ok(())
    }

    fn create(&self) -> io::Result<Arc<IndexFile>> {
        let mut files = self.files.write();
        // The name is the time of creation; two files of one millisecond must not share it.
        let after = files.last().map_or(0, |last| last.name + 1);
        let name = name_at(self.clock.now_ms()).max(after);
        let path = format!("{}/{name:017}", self.dir);
        let map = self.disk.map(&path, self.shape.file_size())?;
        let file = Arc::new(IndexFile::open(path, name, map, self.shape)?);
        files.push(file.clone());
        self.dir_dirty.store(true, Ordering::Release);
        Ok(file)
    }

    /// The offsets of messages that may have a key, the newest files first.
    pub fn query(&self, lookup: &Lookup) -> io::Result<Found> {
        let files: Vec<_> = self.files.read().clone();
        let mut found = Found::default();
        if let Some(newest) = files.last() {
            let header = newest.header();
            found.last_update_timestamp = header.end_timestamp;
            found.last_update_phy_offset = header.end_phy_offset;
        }
        for file in files.iter().rev() {
            if file.overlaps(lookup.begin, lookup.end) {
                file.look_up(lookup, &mut found.offsets)?;
            }
            if file.header().begin_timestamp < lookup.begin || found.offsets.len() >= lookup.max {
                break;
            }
        }
        Ok(found)
    }

    /// Makes the index durable. Returns the store timestamp of the last message in a file that is
    /// full: files up to it need not be built again.
    pub async fn flush(&self, dirs: &mut BTreeSet<String>) -> io::Result<Option<i64>> {
        let files: Vec<_> = self.files.read().clone();
        for file in &files {
            file.flush().await?;
        }
        self.take_dirty_dirs(dirs);
        let full = files.iter().rev().find(|file| file.is_full());
        Ok(full.map(|file| file.header().end_timestamp))
    }

    fn take_dirty_dirs(&self, dirs: &mut BTreeSet<String>) {
        if self.dir_dirty.swap(false, Ordering::AcqRel) {
            dirs.insert(self.dir.clone());
            let parent = self.dir.rsplit_once('/').map_or("", |(parent, _)| parent);
            dirs.insert(parent.to_owned());
        }
    }

    /// Makes it durable which files there are: one that was removed must not come back with the next
    /// power loss, beside newer messages.
    pub async fn sync_dirs(&self) -> io::Result<()> {
        let mut dirs = BTreeSet::new();
        self.take_dirty_dirs(&mut dirs);
        sync_dirs(&*self.disk, &dirs).await
    }

    /// Removes the files all of whose messages lie before a commit log offset, but never the last.
    pub fn delete_expired(&self, log_start: i64) -> io::Result<usize> {
        let mut files = self.files.write();
        let mut removed = 0;
        while files.len() > 1 && files[0].header().end_phy_offset < log_start {
            self.disk.remove(&files[0].path)?;
            files.remove(0);
            self.dir_dirty.store(true, Ordering::Release);
            removed += 1;
        }
        Ok(removed)
    }

    /// Gives up the files that know messages at or behind a commit log offset: the disk may have kept
    /// them and lost the messages. If there were any, the commit log offset is returned from which
    /// the index is to be built again.
    pub fn truncate_log(&self, log_end: i64) -> io::Result<Option<u64>> {
        let mut files = self.files.write();
        let mut build_from = None;
        while let Some(last) = files.pop_if(|file| file.header().end_phy_offset >= log_end) {
            tracing::warn!(
                path = last.path,
                "an index file knows messages that are lost"
            );
            self.disk.remove(&last.path)?;
            self.dir_dirty.store(true, Ordering::Release);
            build_from = Some(end_of(&files));
        }
        Ok(build_from)
    }

    /// Removes everything.
    pub fn destroy(&self) -> io::Result<()> {
        self.files.write().clear();
        self.dir_dirty.store(false, Ordering::Release);
        self.disk.remove(&self.dir)
    }
}

/// The commit log offset of the newest message in a row of files.
fn end_of(files: &[Arc<IndexFile>]) -> u64 {
    let newest = files.last().map(|last| last.header().end_phy_offset);
    newest.map_or(0, i64::unsigned_abs)
}

/// The hash under which a key of a topic is found: that of `topic#key`, never negative
/// (`IndexFile.indexKeyHashMethod`).
pub(crate) fn key_hash(topic: &str, key: &str) -> i32 {
    KeyHashes::new(topic).hash(key)
}

/// The hashes of one message's keys.
struct KeyHashes {
    topic_hash: i32,
    first: [i32; 4],
    count: usize,
    /// All of them, if there are more than the first few.
    many: Vec<i32>,
}

impl KeyHashes {
    fn new(topic: &str) -> Self {
        Self {
            topic_hash: java_string_hash_on(java_string_hash_on(0, topic), "#"),
            first: [0; 4],
            count: 0,
            many: Vec::new(),
        }
    }

    fn hash(&self, key: &str) -> i32 {
        let hash = java_string_hash_on(self.topic_hash, key);
        hash.checked_abs().unwrap_or(0)
    }

    fn push(&mut self, key: &str) {
        let hash = self.hash(key);
        match self.first.get_mut(self.count) {
            Some(slot) => *slot = hash,
            None => {
                if self.many.is_empty() {
                    self.many.extend_from_slice(&self.first);
                }
                self.many.push(hash);
            }
        }
        self.count += 1;
    }

    fn as_slice(&self) -> &[i32] {
        self.first.get(..self.count).unwrap_or(&self.many)
    }
}

/// The time that a file's name states, as one number: exactly 17 digits.
fn parse_name(name: &str) -> Option<u64> {
    (name.len() == 17 && name.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| name.parse().ok())
        .flatten()
}

/// A time as the number that `yyyyMMddHHmmssSSS` reads as, in UTC.
fn name_at(now_ms: i64) -> u64 {
    let at = Civil::of(now_ms.max(0));
    let date = (at.year * 100 + at.month) * 100 + at.day;
    let time = (at.hour * 100 + at.minute) * 100 + at.second;
    ((date * 1_000_000 + time) * 1_000 + at.milli).unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_after_the_time_of_its_creation() {
        for (ms, name) in [
            (0, 19_700_101_000_000_000),
            (1_795_331_740_739, 20_261_122_071_540_739),
            (951_782_399_999, 20_000_228_235_959_999),
            (951_782_400_000, 20_000_229_000_000_000),
        ] {
            assert_eq!(name_at(ms), name);
        }
    }

    #[test]
    fn a_key_has_the_hash_that_java_gives_it() {
        assert_eq!(key_hash("TopicTest", "KEY1"), 1_656_969_516);
        let mut smallest = KeyHashes::new("");
        smallest.topic_hash = 0;
        assert_eq!(
            smallest.hash("polygenelubricants"),
            0,
            "i32::MIN has no absolute value"
        );
    }

    #[test]
    fn a_message_may_have_more_keys_than_usual() {
        let mut keys = KeyHashes::new("T");
        let names: Vec<String> = (0..9).map(|number| number.to_string()).collect();
        names.iter().for_each(|key| keys.push(key));
        let expected: Vec<i32> = names.iter().map(|key| key_hash("T", key)).collect();
        assert_eq!(keys.as_slice(), expected);
    }
}
