//! The records of the timer log and the slots of the wheel, byte by byte.

use bytes::{Buf, BufMut};

/// The length of a record (`TimerLog.UNIT_SIZE`).
pub const RECORD_SIZE: u64 = 52;
/// The length of a slot (`Slot.SIZE`).
pub const SLOT_SIZE: u64 = 32;
/// Where no record comes before or after.
pub const NOWHERE: i64 = -1;

/// What a record is about; bits of its magic number.
pub mod magic {
    /// A message that is to be delivered (`MAGIC_DEFAULT`).
    pub const DEFAULT: i32 = 1;
    /// A message whose time is too far away for the wheel: it goes round once more (`MAGIC_ROLL`).
    pub const ROLL: i32 = 1 << 1;
    /// Not a message but the wish that one be dropped (`MAGIC_DELETE`).
    pub const DELETE: i32 = 1 << 2;
    const ALL: i32 = 0xF;

    /// Whether a record can have it. Java lets zero pass, too, which is what a record has that was
    /// never written.
    pub const fn is_valid(magic: i32) -> bool {
        magic != 0 && magic & !ALL == 0
    }
}

/// One record of the timer log: a message that waits for a slot's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerRecord {
    /// The position of the record before it in its slot, or [`NOWHERE`].
    pub prev: i64,
    /// See [`magic`].
    pub magic: i32,
    /// The time of the wheel when it was written, in milliseconds since the epoch.
    pub write_time_ms: i64,
    /// The time of its slot, in milliseconds behind `write_time_ms`.
    pub delay_ms: i32,
    /// The commit log offset of the message.
    pub offset: i64,
    /// The size of the message's record.
    pub size: i32,
    /// The hash of the topic that it is meant for.
    pub topic_hash: i32,
    /// What Java reserves: here, once the message was dealt with, 1 and the commit log offset of
    /// what was put in its place.
    pub settled: i64,
}

impl TimerRecord {
    /// The time of its slot.
    pub fn slot_ms(&self) -> i64 {
        self.write_time_ms.saturating_add(i64::from(self.delay_ms))
    }

    /// Whether it has this bit of [`magic`].
    pub fn is(&self, bit: i32) -> bool {
        self.magic & bit != 0
    }

    /// Whether it only drops another one when its slot is due. (A wish that is rolled is first put
    /// round again, as its message was.)
    pub fn deletes(&self) -> bool {
        self.is(magic::DELETE) && !self.is(magic::ROLL)
    }

    /// The commit log offset of what was put in its place, if it was dealt with.
    pub fn settled_at(&self) -> Option<i64> {
        (self.settled > 0).then(|| self.settled - 1)
    }

    /// The bytes.
    pub fn encode(&self) -> [u8; RECORD_SIZE as usize] {
        let mut bytes = [0; RECORD_SIZE as usize];
        let mut rest = &mut bytes[..];
        rest.put_i32(RECORD_SIZE as i32);
        rest.put_i64(self.prev);
        rest.put_i32(self.magic);
        rest.put_i64(self.write_time_ms);
        rest.put_i32(self.delay_ms);
        rest.put_i64(self.offset);
        rest.put_i32(self.size);
        rest.put_i32(self.topic_hash);
        rest.put_i64(self.settled);
        bytes
    }

    /// The record in these bytes, if there is one.
    pub fn decode(bytes: &[u8; RECORD_SIZE as usize]) -> Option<Self> {
        let mut rest = &bytes[..];
        let size = rest.get_i32();
        let record = Self {
            prev: rest.get_i64(),
            magic: rest.get_i32(),
            write_time_ms: rest.get_i64(),
            delay_ms: rest.get_i32(),
            offset: rest.get_i64(),
            size: rest.get_i32(),
            topic_hash: rest.get_i32(),
            settled: rest.get_i64(),
        };
        let is_whole = size == RECORD_SIZE as i32
            && magic::is_valid(record.magic)
            && record.offset >= 0
            && record.size > 0
            && record.prev >= NOWHERE;
        is_whole.then_some(record)
    }
}

/// A slot of the wheel: the records that are due at one time, as a chain through the timer log from
/// the last to the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Its time, counted in the wheel's precision.
    pub tick: i64,
    /// The position of its first record.
    pub first: i64,
    /// The position of its last record.
    pub last: i64,
    /// How many messages wait in it; less one for every wish to drop one.
    pub count: i32,
    /// Unused.
    pub magic: i32,
}

impl Slot {
    /// The bytes.
    pub fn encode(&self) -> [u8; SLOT_SIZE as usize] {
        let mut bytes = [0; SLOT_SIZE as usize];
        let mut rest = &mut bytes[..];
        rest.put_i64(self.tick);
        rest.put_i64(self.first);
        rest.put_i64(self.last);
        rest.put_i32(self.count);
        rest.put_i32(self.magic);
        bytes
    }

    /// The slot in these bytes.
    pub fn decode(bytes: &[u8; SLOT_SIZE as usize]) -> Self {
        let mut rest = &bytes[..];
        Self {
            tick: rest.get_i64(),
            first: rest.get_i64(),
            last: rest.get_i64(),
            count: rest.get_i32(),
            magic: rest.get_i32(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> TimerRecord {
        TimerRecord {
            prev: 52,
            magic: magic::DEFAULT,
            write_time_ms: 1_700_000_000_000,
            delay_ms: 5_000,
            offset: 1_000,
            size: 112,
            topic_hash: -1,
            settled: 0,
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_record_has_52_bytes_in_the_order_of_timer_log() {
        assert_eq!(
            hex(&record().encode()),
            "00000034\
             0000000000000034\
             00000001\
             0000018bcfe56800\
             00001388\
             00000000000003e8\
             00000070\
             ffffffff\
             0000000000000000"
        );
        assert_eq!(TimerRecord::decode(&record().encode()), Some(record()));
    }

    #[test]
    fn a_record_that_was_never_written_or_is_torn_is_none() {
        assert_eq!(TimerRecord::decode(&[0; 52]), None);
        let whole = record().encode();
        // The checksum-less tail of a record, from its topic hash on, is all that may be missing.
        for kept in 0..40 {
            let mut torn = [0; 52];
            torn[..kept].copy_from_slice(&whole[..kept]);
            if kept < 36 {
                assert_eq!(TimerRecord::decode(&torn), None, "{kept}");
            }
            let mut head_lost = whole;
            head_lost[..4].fill(0);
            assert_eq!(TimerRecord::decode(&head_lost), None);
        }
    }

    #[test]
    fn a_slot_has_32_bytes_in_the_order_of_timer_wheel() {
        let slot = Slot {
            tick: 1_700_000_000,
            first: 0,
            last: 104,
            count: 3,
            magic: 0,
        };
        assert_eq!(
            hex(&slot.encode()),
            "000000006553f100\
             0000000000000000\
             0000000000000068\
             00000003\
             00000000"
        );
        assert_eq!(Slot::decode(&slot.encode()), slot);
    }
}
