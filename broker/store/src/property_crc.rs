//! A checksum for records whose properties hold zeros.
//!
//! A record's own checksum covers the body only. After a power loss a sector of zeros among the
//! properties says that the disk has lost it, because text has none: but a client may send zeros. Such
//! a record, and no other, gets the property with which RocketMQ 5 can check whole records
//! (`enabledAppendPropCRC`): the last one, of fixed length, with the checksum of all before it.

use hotfire_protocol::Properties;
use hotfire_protocol::hash::body_crc;

use crate::record_view::RecordView;

/// `MessageConst.PROPERTY_CRC32`.
const NAME: &str = "__CRC32#";
const DIGITS: usize = 10;
/// The length of the property, with the separator behind it.
const LEN: usize = NAME.len() + 1 + DIGITS + 1;

/// The most by which the property makes properties longer; 0 if they do not need it.
pub(crate) fn room_for(properties: &Properties) -> usize {
    let has_zero = |text: &str| text.as_bytes().contains(&0);
    let mut texts = properties.iter();
    if texts.any(|(name, value)| has_zero(name) || has_zero(value)) {
        LEN + 1
    } else {
        0
    }
}

/// The same of two texts that are put together.
pub(crate) fn room_in(text: &str, more: &str) -> usize {
    if is_needed(text) || is_needed(more) {
        LEN + 1
    } else {
        0
    }
}

/// Whether properties, as text, need the checksum.
fn is_needed(properties: &str) -> bool {
    properties.as_bytes().contains(&0)
}

/// Appends the property with a checksum that is yet to be filled in, if it is needed.
pub(crate) fn append(properties: &mut String) {
    if !is_needed(properties) {
        return;
    }
    if !properties.ends_with('\u{2}') {
        properties.push('\u{2}');
    }
    properties.push_str(NAME);
    properties.push('\u{1}');
    properties.push_str("0000000000");
    properties.push('\u{2}');
}

/// Fills the checksum of a record in, if it has the property.
pub(crate) fn fill_in(record: &mut [u8]) {
    let has = RecordView::parse(record).is_ok_and(|view| stated(view.properties).is_some());
    let Some(covered) = record.len().checked_sub(LEN).filter(|_| has) else {
        return;
    };
    let digits = digits(body_crc(&record[..covered]));
    let at = covered + NAME.len() + 1;
    record[at..at + DIGITS].copy_from_slice(&digits);
}

/// Whether a record has the checksum that it states; `None` if it states none.
pub(crate) fn holds(record: &[u8], properties: &[u8]) -> Option<bool> {
    let stated = stated(properties)?;
    let covered = record.len().checked_sub(LEN)?;
    Some(stated == digits(body_crc(&record[..covered])))
}

fn stated(properties: &[u8]) -> Option<&[u8]> {
    let last = properties.get(properties.len().checked_sub(LEN)?..)?;
    let digits = last.strip_prefix(NAME.as_bytes())?.strip_prefix(&[1])?;
    properties
        .contains(&0)
        .then_some(digits.strip_suffix(&[2])?)
}

/// The digits, the last first, as RocketMQ writes them.
fn digits(crc: i32) -> [u8; DIGITS] {
    let mut rest = crc.unsigned_abs();
    [(); DIGITS].map(|()| {
        let digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        digit
    })
}
