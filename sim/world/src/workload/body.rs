//! The body of a message: what it is about, and a filler that shows any damage.
//!
//! | bytes | field |
//! | --- | --- |
//! | 8 | value: the unique number of the message |
//! | 4 | order id, or `u32::MAX` for none |
//! | 4 | sequence within the order, from 0 |
//! | 8 | amount in cents, for the ledger |
//! | 8 | checksum over all of the above and the length |
//! | rest | filler: pseudo-random bytes that follow from the value |

use bytes::{BufMut, Bytes, BytesMut};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The least size of a body.
pub const MIN_SIZE: u32 = 32;

/// The checksum covers the bytes before it.
const CHECKED: usize = 24;

/// What stands for "belongs to no order".
const NO_ORDER: u32 = u32::MAX;

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// The unique number of the message.
    pub value: u64,
    /// The order it belongs to, and its sequence number within it, from 0.
    pub order: Option<(u32, u32)>,
    /// What it moves in the ledger, in cents.
    pub amount: i64,
}

/// A body that was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// What it says.
    pub content: Content,
    /// Whether it is byte by byte what was sent.
    pub intact: bool,
}

/// Writes a body of `size` bytes, or of [`MIN_SIZE`] if that is more.
pub fn encode(content: &Content, size: u32) -> Bytes {
    let size = size.max(MIN_SIZE) as usize;
    let mut body = BytesMut::with_capacity(size);
    let (order, sequence) = content.order.unwrap_or((NO_ORDER, 0));
    body.put_u64(content.value);
    body.put_u32(order);
    body.put_u32(sequence);
    body.put_i64(content.amount);
    let checksum = checksum(&body, size);
    body.put_u64(checksum);
    let mut filler = Filler(content.value);
    while body.len() + 8 <= size {
        body.put_slice(&filler.next());
    }
    let last = filler.next();
    body.put_slice(&last[..size - body.len()]);
    body.freeze()
}

/// Reads a body; `None` if it is too short to say anything.
pub fn decode(body: &[u8]) -> Option<Received> {
    let (head, filler) = body.split_at_checked(MIN_SIZE as usize)?;
    let content = Content {
        value: u64::from_be_bytes(head.first_chunk().copied()?),
        order: match u32::from_be_bytes(head[8..].first_chunk().copied()?) {
            NO_ORDER => None,
            order => Some((
                order,
                u32::from_be_bytes(head[12..].first_chunk().copied()?),
            )),
        },
        amount: i64::from_be_bytes(head[16..].first_chunk().copied()?),
    };
    let said = u64::from_be_bytes(head[CHECKED..].first_chunk().copied()?);
    let intact = said == checksum(&head[..CHECKED], body.len()) && filled(content.value, filler);
    Some(Received { content, intact })
}

fn checksum(head: &[u8], size: usize) -> u64 {
    xxh3_64_with_seed(head, size as u64)
}

fn filled(value: u64, filler: &[u8]) -> bool {
    let mut expected = Filler(value);
    filler
        .chunks(8)
        .all(|chunk| chunk == &expected.next()[..chunk.len()])
}

/// SplitMix64: eight bytes at a time, each step a few multiplications.
struct Filler(u64);

impl Filler {
    fn next(&mut self) -> [u8; 8] {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn contents() -> impl Strategy<Value = Content> {
        let order = prop::option::of((0..NO_ORDER, any::<u32>()));
        (any::<u64>(), order, any::<i64>()).prop_map(|(value, order, amount)| Content {
            value,
            order,
            amount,
        })
    }

    #[test]
    fn a_body_too_short_says_nothing() {
        assert_eq!(decode(&[0; 31]), None);
        assert!(!decode(&[0; 32]).unwrap().intact);
    }

    proptest! {
        #[test]
        fn a_body_reads_back(content in contents(), size in 0u32..5000) {
            let body = encode(&content, size);
            prop_assert_eq!(body.len(), size.max(MIN_SIZE) as usize);
            prop_assert_eq!(decode(&body), Some(Received { content, intact: true }));
        }

        #[test]
        fn any_damage_shows(
            content in contents(),
            size in 32u32..600,
            at: prop::sample::Index,
            bit in 0u8..8,
        ) {
            let mut body = encode(&content, size).to_vec();
            let at = at.index(body.len());
            body[at] ^= 1 << bit;
            prop_assert!(!decode(&body).unwrap().intact);
        }

        #[test]
        fn a_cut_body_is_not_intact(content in contents(), size in 34u32..600) {
            let body = encode(&content, size);
            prop_assert!(!decode(&body[..body.len() - 1]).unwrap().intact);
        }

        #[test]
        fn arbitrary_bytes_never_panic(body: Vec<u8>) {
            let _ = decode(&body);
        }
    }
}
