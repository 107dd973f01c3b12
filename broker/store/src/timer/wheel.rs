//! The wheel: a slot for every tick of the next days, in a file of fixed size (`TimerWheel`).

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use hotfire_env::{MappedFile, is_disk_full};

use super::record::{NOWHERE, SLOT_SIZE, Slot};

/// The wheel. Its file has twice as many slots as times that messages may wait for, so that slots
/// that are being read and slots that are being filled never meet.
pub(crate) struct TimerWheel {
    map: Arc<dyn MappedFile>,
    /// The number of slots in the file.
    slots: u64,
    precision_ms: i64,
    /// Slots for which the disk has no room: what they hold is not in the file. The log has it.
    held: BTreeMap<u64, [u8; SLOT_SIZE as usize]>,
    /// The first and last slot that changed since the last flush began.
    dirty: Option<(u64, u64)>,
    /// Those that a flush has in hand, until it is done: it may fail, or be given up half way.
    in_hand: Option<(u64, u64)>,
}

/// The length of the file of a wheel with so many slots.
pub(crate) fn file_len(slots: u32) -> u64 {
    u64::from(slots) * 2 * SLOT_SIZE
}

impl TimerWheel {
    pub fn new(map: Arc<dyn MappedFile>, precision_ms: i64) -> Self {
        let slots = map.len() / SLOT_SIZE;
        Self {
            slots,
            map,
            precision_ms,
            held: BTreeMap::new(),
            // A life before may have died with slots that only the page cache has.
            dirty: Some((0, slots.saturating_sub(1))),
            in_hand: None,
        }
    }

    pub fn precision_ms(&self) -> i64 {
        self.precision_ms
    }

    /// The number of slots in the file.
    pub fn slots(&self) -> u64 {
        self.slots
    }

    /// A time, rounded down to a tick.
    pub fn floor(&self, time_ms: i64) -> i64 {
        time_ms.div_euclid(self.precision_ms) * self.precision_ms
    }

    fn tick(&self, time_ms: i64) -> i64 {
        time_ms.div_euclid(self.precision_ms)
    }

    fn index(&self, time_ms: i64) -> u64 {
        self.tick(time_ms).rem_euclid(self.slots as i64) as u64
    }

    /// What stands in the place of a time, be it its slot or another's. A wheel that cannot be read
    /// is an empty one.
    fn raw(&self, index: u64) -> Option<Slot> {
        let mut bytes = [0; SLOT_SIZE as usize];
        match self.held.get(&index) {
            Some(held) => bytes = *held,
            None => self.map.read_into(index * SLOT_SIZE, &mut bytes).ok()?,
        }
        let slot = Slot::decode(&bytes);
        // Of a file that is new, every byte is zero.
        (slot.tick > 0 && slot.last >= 0).then_some(slot)
    }

    /// The slot of a time, if anything was ever put into it.
    pub fn get(&self, time_ms: i64) -> Option<Slot> {
        let slot = self.raw(self.index(time_ms))?;
        (slot.tick == self.tick(time_ms)).then_some(slot)
    }

    /// The time whose slot stands in the place of another time's.
    pub fn occupant_ms(&self, time_ms: i64) -> Option<i64> {
        let slot = self.raw(self.index(time_ms))?;
        let occupant = slot.tick.saturating_mul(self.precision_ms);
        (occupant != self.floor(time_ms)).then_some(occupant)
    }

    /// The position of a slot's last record.
    pub fn last(&self, time_ms: i64) -> i64 {
        self.get(time_ms).map_or(NOWHERE, |slot| slot.last)
    }

    /// Makes a record the last one of a slot; `change` is what it adds to the count.
    pub fn put(&mut self, time_ms: i64, position: u64, change: i32) -> io::Result<()> {
        let known = self.get(time_ms);
        let position = position as i64;
        let slot = Slot {
            tick: self.tick(time_ms),
            first: known.map_or(position, |slot| slot.first),
            last: position,
            count: known.map_or(0, |slot| slot.count).saturating_add(change),
            magic: known.map_or(0, |slot| slot.magic),
        };
        self.write(self.index(time_ms), &slot.encode())
    }

    /// Empties a slot by its number.
    pub fn clear(&mut self, index: u64) -> io::Result<()> {
        self.write(index, &[0; SLOT_SIZE as usize])
    }

    fn write(&mut self, index: u64, bytes: &[u8; SLOT_SIZE as usize]) -> io::Result<()> {
        match self.map.write(index * SLOT_SIZE, bytes) {
            // A slot that could not be written half way would have to be undone in the log.
            Err(error) if is_disk_full(&error) => {
                if self.held.is_empty() {
                    tracing::error!(%error, "the disk is full: the timer wheel is kept in memory");
                }
                self.held.insert(index, *bytes);
            }
            other => {
                other?;
                self.held.remove(&index);
            }
        }
        self.dirty = union(self.dirty, Some((index, index)));
        Ok(())
    }

    /// Writes the slots for which there was no room.
    ///
    /// # Errors
    /// There still is none; those that are left are kept.
    pub fn write_held(&mut self) -> io::Result<()> {
        while let Some(entry) = self.held.first_entry() {
            self.map.write(entry.key() * SLOT_SIZE, entry.get())?;
            entry.remove();
        }
        Ok(())
    }

    /// Every slot that is in use, with its number and time.
    pub fn used(&self) -> impl Iterator<Item = (u64, i64, Slot)> + '_ {
        (0..self.slots).filter_map(|index| {
            let slot = self.raw(index)?;
            Some((index, slot.tick.saturating_mul(self.precision_ms), slot))
        })
    }

    /// The map, and the range of its bytes that is to be made durable: also what an earlier flush did
    /// not bring to its end.
    pub fn take_unflushed(&mut self) -> Option<(Arc<dyn MappedFile>, std::ops::Range<u64>)> {
        self.in_hand = union(self.in_hand, self.dirty.take());
        let (first, last) = self.in_hand?;
        Some((self.map.clone(), first * SLOT_SIZE..(last + 1) * SLOT_SIZE))
    }

    /// Notes that what was taken last has become durable.
    pub fn set_flushed(&mut self) {
        self.in_hand = None;
    }
}

/// The smallest range with both in it.
fn union(one: Option<(u64, u64)>, other: Option<(u64, u64)>) -> Option<(u64, u64)> {
    match (one, other) {
        (Some(one), Some(other)) => Some((one.0.min(other.0), one.1.max(other.1))),
        (one, other) => one.or(other),
    }
}
