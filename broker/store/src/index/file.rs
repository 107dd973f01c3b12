use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hotfire_env::MappedFile;
use parking_lot::Mutex;

/// The size of the header.
const HEADER_SIZE: u64 = 40;
/// The size of a hash slot.
const SLOT_SIZE: u64 = 4;
/// The size of an entry.
const ENTRY_SIZE: u64 = 20;

/// The header of an index file (`IndexHeader`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Header {
    /// When the first indexed message was stored.
    pub begin_timestamp: i64,
    /// When the last one was.
    pub end_timestamp: i64,
    /// The commit log offset of the first one.
    pub begin_phy_offset: i64,
    /// That of the last one.
    pub end_phy_offset: i64,
    /// The number of slots in use.
    pub slot_count: i32,
    /// The number of entries, counting the unused entry 0.
    pub index_count: i32,
}

impl Header {
    fn encode(&self) -> [u8; HEADER_SIZE as usize] {
        let mut bytes = [0; HEADER_SIZE as usize];
        let longs = [
            self.begin_timestamp,
            self.end_timestamp,
            self.begin_phy_offset,
            self.end_phy_offset,
        ];
        for (field, value) in bytes.chunks_exact_mut(8).zip(longs) {
            field.copy_from_slice(&value.to_be_bytes());
        }
        bytes[32..36].copy_from_slice(&self.slot_count.to_be_bytes());
        bytes[36..].copy_from_slice(&self.index_count.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8; HEADER_SIZE as usize]) -> Self {
        let long =
            |at: usize| i64::from_be_bytes(bytes[at..].first_chunk().copied().unwrap_or_default());
        let int =
            |at: usize| i32::from_be_bytes(bytes[at..].first_chunk().copied().unwrap_or_default());
        Self {
            begin_timestamp: long(0),
            end_timestamp: long(8),
            begin_phy_offset: long(16),
            end_phy_offset: long(24),
            slot_count: int(32),
            // Entry 0 is never used, as 0 says "none".
            index_count: int(36).max(1),
        }
    }
}

/// An entry: one key of one message (`IndexFile.putKey`).
struct Entry {
    key_hash: i32,
    phy_offset: i64,
    /// Seconds since the header's begin timestamp.
    seconds: i32,
    /// The entry of the same slot that was put before, or 0.
    previous: i32,
}

impl Entry {
    fn encode(&self) -> [u8; ENTRY_SIZE as usize] {
        let mut bytes = [0; ENTRY_SIZE as usize];
        bytes[..4].copy_from_slice(&self.key_hash.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.phy_offset.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.seconds.to_be_bytes());
        bytes[16..].copy_from_slice(&self.previous.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8; ENTRY_SIZE as usize]) -> Self {
        let int =
            |at: usize| i32::from_be_bytes(bytes[at..].first_chunk().copied().unwrap_or_default());
        Self {
            key_hash: int(0),
            phy_offset: i64::from_be_bytes(bytes[4..].first_chunk().copied().unwrap_or_default()),
            seconds: int(12),
            previous: int(16),
        }
    }
}

/// What a look-up asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lookup {
    pub key_hash: i32,
    /// The range of store timestamps, both ends included.
    pub begin: i64,
    pub end: i64,
    /// The most offsets that are collected.
    pub max: usize,
}

/// The sizes of an index file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// The number of hash slots.
    pub slots: u32,
    /// The number of entries.
    pub entries: u32,
}

impl Shape {
    /// The length of the file.
    pub fn file_size(self) -> u64 {
        HEADER_SIZE + u64::from(self.slots) * SLOT_SIZE + u64::from(self.entries) * ENTRY_SIZE
    }

    fn slot_at(self, key_hash: i32) -> u64 {
        HEADER_SIZE + u64::from(key_hash.unsigned_abs() % self.slots) * SLOT_SIZE
    }

    fn entry_at(self, number: i32) -> u64 {
        let entries = HEADER_SIZE + u64::from(self.slots) * SLOT_SIZE;
        entries + u64::from(number.unsigned_abs()) * ENTRY_SIZE
    }
}

/// One index file: a hash table on the disk, with chains of entries from the newest to the oldest.
pub(crate) struct IndexFile {
    pub path: String,
    /// The file's name as a number.
    pub name: u64,
    map: Arc<dyn MappedFile>,
    shape: Shape,
    header: Mutex<Header>,
    /// Whether something was put since the last flush.
    dirty: AtomicBool,
}

impl IndexFile {
    /// The index in a mapped file.
    pub fn open(
        path: String,
        name: u64,
        map: Arc<dyn MappedFile>,
        shape: Shape,
    ) -> io::Result<Self> {
        let mut bytes = [0; HEADER_SIZE as usize];
        map.read_into(0, &mut bytes)?;
        Ok(Self {
            path,
            name,
            map,
            shape,
            header: Mutex::new(Header::decode(&bytes)),
            dirty: AtomicBool::new(false),
        })
    }

    /// A copy of the header.
    pub fn header(&self) -> Header {
        *self.header.lock()
    }

    /// Whether the header can be that of an index file of this shape.
    pub fn is_sane(&self) -> bool {
        let header = self.header();
        // A file is made for an entry, so there is one, and the newest is what the header says.
        header.index_count > 1
            && header.index_count as u32 <= self.shape.entries
            && header.begin_phy_offset >= 0
            && header.begin_phy_offset <= header.end_phy_offset
            && self.phy_offset_of(1) == Some(header.begin_phy_offset)
            && self.phy_offset_of(header.index_count - 1) == Some(header.end_phy_offset)
    }

    fn phy_offset_of(&self, number: i32) -> Option<i64> {
        let mut bytes = [0; ENTRY_SIZE as usize];
        let at = self.shape.entry_at(number);
        self.map.read_into(at, &mut bytes).ok()?;
        Some(Entry::decode(&bytes).phy_offset)
    }

    /// Whether it takes no more entries.
    pub fn is_full(&self) -> bool {
        self.header().index_count as u32 >= self.shape.entries
    }

    /// Puts keys of one message, given by their hashes, until the file is full. Returns their
    /// number.
    pub fn put(&self, hashes: &[i32], phy_offset: i64, store_timestamp: i64) -> io::Result<usize> {
        let mut header = self.header.lock();
        let mut put = 0;
        for &key_hash in hashes {
            if header.index_count as u32 >= self.shape.entries {
                break;
            }
            self.put_one(&mut header, key_hash, phy_offset, store_timestamp)?;
            put += 1;
        }
        if put > 0 {
            self.map.write(0, &header.encode())?;
            self.dirty.store(true, Ordering::Release);
        }
        Ok(put)
    }

    fn put_one(
        &self,
        header: &mut Header,
        key_hash: i32,
        phy_offset: i64,
        store_timestamp: i64,
    ) -> io::Result<()> {
        let number = header.index_count;
        let slot_at = self.shape.slot_at(key_hash);
        let previous = self.valid(self.slot(slot_at)?, number);
        let seconds = if header.begin_timestamp > 0 {
            (store_timestamp.saturating_sub(header.begin_timestamp) / 1000)
                .clamp(0, i64::from(i32::MAX)) as i32
        } else {
            0
        };
        let entry = Entry {
            key_hash,
            phy_offset,
            seconds,
            previous,
        };
        self.map
            .write(self.shape.entry_at(number), &entry.encode())?;
        self.map.write(slot_at, &number.to_be_bytes())?;
        if number <= 1 {
            header.begin_phy_offset = phy_offset;
            header.begin_timestamp = store_timestamp;
        }
        if previous == 0 {
            header.slot_count = header.slot_count.saturating_add(1);
        }
        header.index_count += 1;
        header.end_phy_offset = phy_offset;
        header.end_timestamp = store_timestamp;
        Ok(())
    }

    fn slot(&self, at: u64) -> io::Result<i32> {
        let mut bytes = [0; SLOT_SIZE as usize];
        self.map.read_into(at, &mut bytes)?;
        Ok(i32::from_be_bytes(bytes))
    }

    /// The number of an entry if it can be one before `next`, else 0.
    fn valid(&self, number: i32, next: i32) -> i32 {
        if number > 0 && number < next {
            number
        } else {
            0
        }
    }

    /// Whether the file may hold messages of a time range (`isTimeMatched`).
    pub fn overlaps(&self, begin: i64, end: i64) -> bool {
        let header = self.header();
        begin <= header.end_timestamp && end >= header.begin_timestamp
    }

    /// Collects the commit log offsets of a key, newest first, until there are `max` of them.
    pub fn look_up(&self, lookup: &Lookup, offsets: &mut Vec<i64>) -> io::Result<()> {
        let header = self.header();
        let slot = self.slot(self.shape.slot_at(lookup.key_hash))?;
        let mut number = self.valid(slot, header.index_count);
        while number > 0 && offsets.len() < lookup.max {
            let mut bytes = [0; ENTRY_SIZE as usize];
            self.map
                .read_into(self.shape.entry_at(number), &mut bytes)?;
            let entry = Entry::decode(&bytes);
            if entry.seconds < 0 {
                return Ok(());
            }
            // Whole seconds after a time in milliseconds: the true time is up to a second later.
            let stored = header
                .begin_timestamp
                .saturating_add(i64::from(entry.seconds) * 1000);
            let in_range = stored.saturating_add(999) >= lookup.begin && stored <= lookup.end;
            if entry.key_hash == lookup.key_hash && in_range {
                offsets.push(entry.phy_offset);
            }
            if stored.saturating_add(999) < lookup.begin {
                return Ok(());
            }
            // Chains lead to ever older entries, so that a damaged one cannot go round in circles.
            number = self.valid(entry.previous, number);
        }
        Ok(())
    }

    /// Makes the file durable if anything was put into it since.
    pub async fn flush(&self) -> io::Result<()> {
        if self.dirty.swap(false, Ordering::AcqRel) {
            self.map.flush(0..self.map.len()).await?;
        }
        Ok(())
    }
}
