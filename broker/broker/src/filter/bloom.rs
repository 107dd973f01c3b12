//! The bits of a bloom filter that belong to a group's subscription (`BloomFilter`).

use serde::{Deserialize, Serialize};

/// How many bits there are: for 32 consumers and 20 false hits in a hundred
/// (`expectConsumerNumUseFilter`, `maxErrorRateOfBloomFilter`), in whole bytes.
const BITS: i32 = 112;
/// How many of them a subscription has.
const HASHES: i32 = 3;

/// The bits of a subscription (`BloomFilterData`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BloomFilterData {
    bit_num: i32,
    bit_pos: Vec<i32>,
}

impl BloomFilterData {
    /// The bits of a group's subscription to a topic.
    pub fn of(group: &str, topic: &str) -> Self {
        let hash = murmur3_128(format!("{group}#{topic}").as_bytes());
        let (first, second) = (hash as i32, (hash >> 32) as i32);
        let position = |times: i32| {
            let combined = first.wrapping_add(times.wrapping_mul(second));
            (if combined < 0 { !combined } else { combined }) % BITS
        };
        Self {
            bit_num: BITS,
            bit_pos: (1..=HASHES).map(position).collect(),
        }
    }
}

/// The lower half of MurmurHash3 for 64-bit machines, 128 bits, with seed 0.
fn murmur3_128(bytes: &[u8]) -> u64 {
    const C1: u64 = 0x87c3_7b91_1142_53d5;
    const C2: u64 = 0x4cf5_ad43_2745_937f;
    let mix1 = |k: u64| k.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2);
    let mix2 = |k: u64| k.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1);
    let (mut h1, mut h2) = (0_u64, 0_u64);
    let mut blocks = bytes.chunks_exact(16);
    for block in &mut blocks {
        let (low, high) = block.split_at(8);
        h1 = (h1 ^ mix1(little_endian(low))).rotate_left(27);
        h1 = h1
            .wrapping_add(h2)
            .wrapping_mul(5)
            .wrapping_add(0x52dc_e729);
        h2 = (h2 ^ mix2(little_endian(high))).rotate_left(31);
        h2 = h2
            .wrapping_add(h1)
            .wrapping_mul(5)
            .wrapping_add(0x3849_5ab5);
    }
    let tail = blocks.remainder();
    let (low, high) = tail.split_at(tail.len().min(8));
    h1 ^= mix1(little_endian(low));
    h2 ^= mix2(little_endian(high));
    h1 ^= bytes.len() as u64;
    h2 ^= bytes.len() as u64;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    finish(h1).wrapping_add(finish(h2))
}

/// Up to 8 bytes as a number.
fn little_endian(bytes: &[u8]) -> u64 {
    let digits = bytes.iter().rev();
    digits.fold(0, |number, &byte| number << 8 | u64::from(byte))
}

fn finish(mut k: u64) -> u64 {
    k = (k ^ k >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    k = (k ^ k >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    k ^ k >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_has_the_bits_that_apache_rocketmq_gives_it() {
        // As 4.9.8 wrote it to its file.
        let bits = BloomFilterData::of("Golden_sgroup", "GoldenSql");
        assert_eq!(bits.bit_num, 112);
        assert_eq!(bits.bit_pos, [6, 111, 39]);
    }
}
