//! Writing JSON by hand: what the header encoder and the fastjson writer share.

use bytes::BufMut;

/// Appends an integer in decimal.
pub(crate) fn put_int(out: &mut impl BufMut, value: i64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    out.put_slice(&digits[at..]);
}

/// Appends a string with its quotes, escaping only what JSON demands.
pub(crate) fn put_string(out: &mut impl BufMut, text: &str) {
    out.put_u8(b'"');
    let bytes = text.as_bytes();
    let mut start = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if !ESCAPED[usize::from(byte)] {
            continue;
        }
        out.put_slice(&bytes[start..at]);
        start = at + 1;
        put_escape(out, byte);
    }
    out.put_slice(&bytes[start..]);
    out.put_u8(b'"');
}

/// Appends a string with its quotes, escaping all that is not ASCII as UTF-16 units too.
pub(crate) fn put_string_ascii(out: &mut Vec<u8>, text: &str) {
    let mut escaped = Vec::new();
    put_string(&mut escaped, text);
    for c in String::from_utf8_lossy(&escaped).chars() {
        if c.is_ascii() {
            out.push(c as u8);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.extend_from_slice(format!("\\u{unit:04X}").as_bytes());
            }
        }
    }
}

/// Which bytes JSON demands to be escaped. A table is the fastest way to ask.
const ESCAPED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table
};

/// One write per escape: texts of properties are full of them.
fn put_escape(out: &mut impl BufMut, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let short = match byte {
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0C => b'f',
        b'"' | b'\\' => byte,
        _ => {
            let high = HEX[usize::from(byte >> 4)];
            let low = HEX[usize::from(byte & 0xF)];
            out.put_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            return;
        }
    };
    out.put_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_any_size_are_written_in_decimal() {
        for value in [0, 7, -1, 10, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            put_int(&mut out, value);
            assert_eq!(out, value.to_string().into_bytes());
        }
    }

    #[test]
    fn strings_are_escaped_as_any_json_reader_expects() {
        let text: String = (0..200)
            .filter_map(char::from_u32)
            .chain(['中', '🚀'])
            .collect();
        let mut out = Vec::new();
        put_string(&mut out, &text);
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
    }
}
