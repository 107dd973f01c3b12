//! Which messages the planted defects hit: always the same ones for the same messages.

use bytes::{Bytes, BytesMut};
use hotfire_protocol::hash::body_crc;

/// About one message in 64, chosen by its commit log offset.
pub(crate) fn is_chosen(physical_offset: i64) -> bool {
    chosen(physical_offset as u64)
}

/// Changes about one body in 64: the last digit in it becomes another, as if it were the body of
/// another message; without any digit, the last byte is changed.
pub(crate) fn garble(body: &mut Bytes) {
    if body.is_empty() || !chosen(body_crc(body) as u64) {
        return;
    }
    let mut changed = BytesMut::from(&body[..]);
    match changed.iter().rposition(u8::is_ascii_digit) {
        Some(at) => changed[at] = b'0' + (changed[at] - b'0' + 1) % 10,
        None => *changed.last_mut().unwrap_or(&mut 0) ^= 1,
    }
    *body = changed.freeze();
}

/// Whether the timer wheel stands still at a slot: at about one in 8, for a minute.
pub(crate) fn is_stalled(slot_ms: i64, now_ms: i64) -> bool {
    let is_slow = (slot_ms as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 61 == 0;
    is_slow && now_ms - slot_ms < 60_000
}

fn chosen(value: u64) -> bool {
    // Fibonacci hashing: the top bits of a product with 2^64 / phi.
    value.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58 == 0
}
