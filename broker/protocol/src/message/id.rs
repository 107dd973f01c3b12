//! Message ids: the offset id, which says where a message is stored, and the unique key, which its
//! client gives it (`MessageDecoder.createMessageId`, `MessageClientIDSetter`).

use std::net::{IpAddr, SocketAddr};

use crate::date::civil_day;

/// The offset id: address, port and commit log offset as upper-case hexadecimal digits; 32 of them
/// for IPv4, 56 for IPv6.
pub fn offset_msg_id(store_host: SocketAddr, commit_log_offset: i64) -> String {
    let mut bytes = Vec::with_capacity(28);
    push_ip(&mut bytes, store_host.ip());
    bytes.extend_from_slice(&i32::from(store_host.port()).to_be_bytes());
    bytes.extend_from_slice(&commit_log_offset.to_be_bytes());
    hex(&bytes)
}

/// The address and commit log offset that an offset id names; `None` if it is not one.
pub fn parse_offset_msg_id(id: &str) -> Option<(SocketAddr, i64)> {
    let bytes = unhex(id)?;
    let (ip, rest): (IpAddr, &[u8]) = match bytes.len() {
        16 => (<[u8; 4]>::try_from(&bytes[..4]).ok()?.into(), &bytes[4..]),
        28 => (
            <[u8; 16]>::try_from(&bytes[..16]).ok()?.into(),
            &bytes[16..],
        ),
        _ => return None,
    };
    let (port, offset) = rest.split_at(4);
    let port = i32::from_be_bytes(port.try_into().ok()?);
    let offset = i64::from_be_bytes(offset.try_into().ok()?);
    Some((SocketAddr::new(ip, u16::try_from(port).ok()?), offset))
}

/// Makes the unique keys of one client process: address, process id, a number that tells apart what
/// shares both, milliseconds since the start of the month, and a counter.
#[derive(Debug)]
pub struct UniqueKeys {
    prefix: String,
    counter: u16,
}

impl UniqueKeys {
    /// Keys of the process at `ip` with `process_id`. `salt` stands where Java puts the hash of a
    /// class loader.
    pub fn new(ip: IpAddr, process_id: u32, salt: u32) -> Self {
        let mut bytes = Vec::with_capacity(22);
        push_ip(&mut bytes, ip);
        bytes.extend_from_slice(&(process_id as u16).to_be_bytes());
        bytes.extend_from_slice(&salt.to_be_bytes());
        Self {
            prefix: hex(&bytes),
            counter: 0,
        }
    }

    /// The next key, at `now_ms` milliseconds since the epoch. After 65,536 keys within one
    /// millisecond they repeat, as Java's do.
    pub fn next(&mut self, now_ms: i64) -> String {
        let since_month = (now_ms - month_start_ms(now_ms)) as u32;
        let counter = self.counter;
        self.counter = self.counter.wrapping_add(1);
        let mut key = String::with_capacity(self.prefix.len() + 12);
        key.push_str(&self.prefix);
        push_hex(&mut key, &since_month.to_be_bytes());
        push_hex(&mut key, &counter.to_be_bytes());
        key
    }
}

/// The first millisecond (UTC) of the month that `now_ms` lies in. Java uses its local time zone;
/// the value is only ever read back as a rough time.
fn month_start_ms(now_ms: i64) -> i64 {
    const DAY_MS: i64 = 86_400_000;
    let days = now_ms.div_euclid(DAY_MS);
    let (_, _, day) = civil_day(days);
    (days - (day - 1)) * DAY_MS
}

fn push_ip(bytes: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => bytes.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => bytes.extend_from_slice(&ip.octets()),
    }
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    push_hex(&mut text, bytes);
    text
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || text.len() > 56 {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    text.as_bytes()
        .chunks_exact(2)
        .map(|pair| Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_id_names_address_and_offset() {
        let host = "192.168.1.10:10911".parse().unwrap();
        let id = offset_msg_id(host, 123_456);
        assert_eq!(id, "C0A8010A00002A9F000000000001E240");
        assert_eq!(parse_offset_msg_id(&id), Some((host, 123_456)));
    }

    #[test]
    fn an_offset_id_of_ipv6_has_56_digits() {
        let host = "[::1]:10911".parse().unwrap();
        let id = offset_msg_id(host, 7);
        assert_eq!(id.len(), 56);
        assert_eq!(parse_offset_msg_id(&id), Some((host, 7)));
    }

    #[test]
    fn what_is_not_an_offset_id_is_refused() {
        for id in ["", "C0", "zz", "C0A8010A00012A9F000000000001E24", "日本"] {
            assert_eq!(parse_offset_msg_id(id), None, "{id}");
        }
    }

    #[test]
    fn unique_keys_differ_and_count_from_the_start_of_the_month() {
        let mut keys = UniqueKeys::new([127, 0, 0, 1].into(), 0x1_1234, 0xCAFE);
        // 2026-11-22T08:00:00Z is 21 days and 8 hours into its month.
        let now = 1_795_334_400_000;
        let first = keys.next(now);
        assert_eq!(
            first,
            format!("7F00000112340000CAFE{:08X}0000", (21 * 24 + 8) * 3_600_000)
        );
        assert_ne!(keys.next(now), first);
    }

    #[test]
    fn a_month_starts_at_its_first_midnight() {
        for (now, start) in [
            (0, 0),
            (951_782_400_000, 949_363_200_000),     // 2000-02-29
            (1_709_164_800_000, 1_706_745_600_000), // 2024-02-29
            (1_735_689_599_999, 1_733_011_200_000), // the last millisecond of 2024
        ] {
            assert_eq!(month_start_ms(now), start, "{now}");
        }
    }
}
