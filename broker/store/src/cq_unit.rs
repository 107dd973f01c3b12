/// The size of a unit in bytes.
pub(crate) const UNIT_SIZE: u64 = 20;
/// The size that a hole states (`ConsumeQueue.fillPreBlank`).
const HOLE_SIZE: i32 = i32::MAX;

/// One unit of a consume queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CqUnit {
    /// The commit log offset of the record.
    pub offset: i64,
    /// The size of the record.
    pub size: i32,
    /// The code of the tag, or the time at which a delayed message is due.
    pub tags_code: i64,
}

impl CqUnit {
    /// What stands where no unit was ever written.
    pub(crate) const NONE: Self = Self {
        offset: 0,
        size: 0,
        tags_code: 0,
    };

    /// A position without a message. It keeps the order of offsets: nothing before it is behind
    /// `offset`.
    pub(crate) const fn hole(offset: i64) -> Self {
        Self {
            offset,
            size: HOLE_SIZE,
            tags_code: 0,
        }
    }

    /// Whether there is no message at this position.
    pub const fn is_hole(&self) -> bool {
        self.size == HOLE_SIZE
    }

    /// The commit log offset behind the record.
    pub(crate) fn end(&self) -> i64 {
        if self.is_hole() {
            self.offset
        } else {
            self.offset.saturating_add(i64::from(self.size))
        }
    }

    /// Whether a unit was written here at all (as recovery asks).
    pub(crate) fn is_written(&self) -> bool {
        self.offset >= 0 && self.size > 0
    }

    pub(crate) fn encode(&self) -> [u8; UNIT_SIZE as usize] {
        let mut bytes = [0; UNIT_SIZE as usize];
        bytes[..8].copy_from_slice(&self.offset.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.size.to_be_bytes());
        bytes[12..].copy_from_slice(&self.tags_code.to_be_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; UNIT_SIZE as usize]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t] = *bytes;
        Self {
            offset: i64::from_be_bytes([a, b, c, d, e, f, g, h]),
            size: i32::from_be_bytes([i, j, k, l]),
            tags_code: i64::from_be_bytes([m, n, o, p, q, r, s, t]),
        }
    }
}
