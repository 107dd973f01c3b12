//! Patterns of addresses (`RemoteAddressStrategyFactory`).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// Which addresses are meant.
///
/// | text | meaning |
/// | --- | --- |
/// | empty | none |
/// | `*`, `*.*.*.*`, `*:*:*:*:*:*:*:*` | all |
/// | `10.0.0.7`, `fe80::1` | one |
/// | `10.0.0.7,10.0.0.9` | a list |
/// | `10.0.0.{7,9}`, `fe80::{1,2}` | a list that differs in the last part |
/// | `10.0.3-5.*`, `10.0.*.*`, `fe80::1-ff:*` | a range in one part |
///
/// As in RocketMQ the first part cannot be a range, and what follows the first range does not
/// count: `10.0.3-5.7` means the same as `10.0.3-5.*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AddressPattern {
    None,
    All,
    OneOf(BTreeSet<IpAddr>),
    /// Parts (octets, or groups of 16 bits), and what the part behind them must lie in.
    Range {
        v6: bool,
        head: Vec<u16>,
        next: RangeInclusive<u16>,
    },
}

impl AddressPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        match text {
            "" => return Ok(Self::None),
            "*" | "*.*.*.*" | "*:*:*:*:*:*:*:*" => return Ok(Self::All),
            _ => {}
        }
        let bad = |why: &str| format!("`{text}` is not a pattern of addresses: {why}");
        let pattern = if let Some(listed) = text.strip_suffix('}') {
            braces(listed)
        } else if text.contains(',') {
            one_of(text.split(',').map(|item| item.trim().to_owned()))
        } else if text.contains(['*', '-']) {
            range(text)
        } else {
            one_of([text.to_owned()])
        };
        pattern.map_err(|why| bad(&why))
    }

    /// Whether an address is meant.
    pub fn matches(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        match self {
            Self::None => false,
            Self::All => true,
            Self::OneOf(addresses) => addresses.contains(&address),
            Self::Range { v6, head, next } => {
                let parts = parts(address);
                *v6 == address.is_ipv6()
                    && parts.starts_with(head)
                    && parts
                        .get(head.len())
                        .is_some_and(|part| next.contains(part))
            }
        }
    }
}

/// The octets of an IPv4 address, the groups of an IPv6 address.
fn parts(address: IpAddr) -> Vec<u16> {
    match address {
        IpAddr::V4(address) => address.octets().map(u16::from).to_vec(),
        IpAddr::V6(address) => address.segments().to_vec(),
    }
}

fn one_of(texts: impl IntoIterator<Item = String>) -> Result<AddressPattern, String> {
    let addresses = texts.into_iter().map(|text| {
        let address = text.parse::<IpAddr>();
        address.map_err(|_| format!("`{text}` is not an address"))
    });
    let addresses = addresses.map(|address| address.map(|address| address.to_canonical()));
    addresses
        .collect::<Result<_, _>>()
        .map(AddressPattern::OneOf)
}

/// `10.0.0.{7,9`, the closing brace gone.
fn braces(text: &str) -> Result<AddressPattern, String> {
    let (head, items) = text.split_once('{').ok_or("a brace is not opened")?;
    if !head.ends_with(['.', ':']) || (head.ends_with('.') && head.matches('.').count() != 3) {
        return Err("braces can only stand for the last part".to_owned());
    }
    one_of(
        items
            .split(',')
            .map(|item| format!("{head}{}", item.trim())),
    )
}

fn range(text: &str) -> Result<AddressPattern, String> {
    let v6 = text.contains(':');
    let parts = if v6 {
        if text.find('*').is_some_and(|at| at + 1 != text.len()) {
            return Err("a `*` can only be the end".to_owned());
        }
        groups(text)?
    } else {
        let parts: Vec<_> = text.split('.').map(str::to_owned).collect();
        if parts.len() != 4 {
            return Err("an IPv4 address has four parts".to_owned());
        }
        parts
    };
    let number = |text: &str| {
        let number = if v6 {
            u16::from_str_radix(text, 16).ok()
        } else {
            text.parse::<u8>().ok().map(u16::from)
        };
        number.ok_or_else(|| format!("`{text}` is not a part of an address"))
    };
    let mut head = Vec::new();
    for part in &parts {
        let part = part.trim();
        let next = if part == "*" {
            0..=u16::MAX
        } else if let Some((first, last)) = part.split_once('-') {
            let (first, last) = (number(first.trim())?, number(last.trim())?);
            if first > last {
                return Err(format!("the range `{part}` is empty"));
            }
            first..=last
        } else {
            head.push(number(part)?);
            continue;
        };
        if head.is_empty() {
            return Err("the first part cannot be a range".to_owned());
        }
        return Ok(AddressPattern::Range { v6, head, next });
    }
    Err("there is no range in it".to_owned())
}

/// The groups of an IPv6 pattern, with those that `::` leaves out.
fn groups(text: &str) -> Result<Vec<String>, String> {
    let split = |text: &str| -> Vec<String> {
        let groups = text.split(':').filter(|group| !group.is_empty());
        groups.map(str::to_owned).collect()
    };
    let Some((before, after)) = text.split_once("::") else {
        return Ok(split(text));
    };
    let (mut groups, after) = (split(before), split(after));
    let left_out = 8usize
        .checked_sub(groups.len() + after.len())
        .ok_or("an IPv6 address has eight parts")?;
    groups.extend(std::iter::repeat_n("0".to_owned(), left_out));
    groups.extend(after);
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(pattern: &str, inside: &[&str], outside: &[&str]) {
        let parsed = AddressPattern::parse(pattern).unwrap();
        for address in inside {
            assert!(
                parsed.matches(address.parse().unwrap()),
                "{pattern} {address}"
            );
        }
        for address in outside {
            assert!(
                !parsed.matches(address.parse().unwrap()),
                "{pattern} {address}"
            );
        }
    }

    #[test]
    fn an_empty_pattern_means_nobody() {
        check(" ", &[], &["127.0.0.1", "::1"]);
    }

    #[test]
    fn asterisks_alone_mean_everybody() {
        for pattern in ["*", "*.*.*.*", "*:*:*:*:*:*:*:*"] {
            check(pattern, &["127.0.0.1", "::1"], &[]);
        }
    }

    #[test]
    fn an_address_means_itself() {
        check(
            "10.0.0.7",
            &["10.0.0.7", "::ffff:10.0.0.7"],
            &["10.0.0.70", "::1"],
        );
        check("fe80:0:0::1", &["FE80::1"], &["fe80::2", "10.0.0.7"]);
    }

    #[test]
    fn a_list_means_its_addresses() {
        check(
            "10.0.0.7, 10.1.0.9",
            &["10.0.0.7", "10.1.0.9"],
            &["10.0.0.9"],
        );
        check("10.0.0.{7,9}", &["10.0.0.7", "10.0.0.9"], &["10.0.0.8"]);
        check("fe80::{1,a}", &["fe80::1", "fe80::a"], &["fe80::2"]);
    }

    #[test]
    fn a_range_means_what_lies_in_it() {
        check(
            "10.0.3-5.*",
            &["10.0.3.1", "10.0.5.255"],
            &["10.0.6.1", "10.1.4.1"],
        );
        check("10.0.0.3-5", &["10.0.0.3"], &["10.0.0.30", "10.0.0.2"]);
        check(
            "10.0.*.*",
            &["10.0.0.0", "10.0.255.255"],
            &["10.1.0.0", "a00::"],
        );
        check("10.*.*.*", &["10.255.3.4"], &["110.0.0.1"]);
        check("fe80::1-ff:*", &["fe80::ff:1"], &["fe80::100:1", "fe80::1"]);
        check("fe80:1:*", &["fe80:1:2::3"], &["fe80:2::"]);
    }

    #[test]
    fn what_follows_a_range_does_not_count() {
        check("10.0.3-5.7", &["10.0.4.7", "10.0.4.8"], &[]);
    }

    #[test]
    fn a_pattern_that_makes_no_sense_is_refused() {
        for (text, why) in [
            ("10.0.0", "`10.0.0` is not an address"),
            ("10.0.*", "an IPv4 address has four parts"),
            ("*.0.0.1", "the first part cannot be a range"),
            ("10.0.5-3.*", "the range `5-3` is empty"),
            ("10.0.0-256.*", "`256` is not a part of an address"),
            ("10.0.{1,2}.3", "`10.0.{1` is not an address"),
            ("10.0.{1,2}", "braces can only stand for the last part"),
            ("10.0.0.1}", "a brace is not opened"),
            ("fe80:*:1", "a `*` can only be the end"),
            ("1:2:3:4:5:6:7:8::1-2", "an IPv6 address has eight parts"),
        ] {
            let error = AddressPattern::parse(text).unwrap_err();
            assert_eq!(
                error,
                format!("`{text}` is not a pattern of addresses: {why}")
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_pattern_or_an_error(text in "[0-9a-f.:,*{}-]{0,24}", octets: [u8; 4]) {
            if let Ok(pattern) = AddressPattern::parse(&text) {
                pattern.matches(IpAddr::from(octets));
            }
        }

        #[test]
        fn a_range_of_octets_holds_what_lies_in_it(
            octets: [u8; 4], at in 1usize..4, first: u8, last: u8,
        ) {
            let (first, last) = (first.min(last), first.max(last));
            let mut parts: Vec<_> = octets.iter().map(u8::to_string).collect();
            parts[at] = format!("{first}-{last}");
            for part in &mut parts[at + 1..] {
                *part = "*".to_owned();
            }
            let pattern = AddressPattern::parse(&parts.join(".")).unwrap();
            let inside = (first..=last).contains(&octets[at]);
            prop_assert_eq!(pattern.matches(IpAddr::from(octets)), inside);
        }
    }
}
