//! Hashes whose exact values are part of the formats.

/// `java.lang.String.hashCode`: 31-polynomial over UTF-16 code units.
pub fn java_string_hash(text: &str) -> i32 {
    java_string_hash_on(0, text)
}

/// The hash of a string that ends in `text` and whose part before has the hash `hash`.
pub fn java_string_hash_on(hash: i32, text: &str) -> i32 {
    text.encode_utf16().fold(hash, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    })
}

/// The tags code of a consume queue unit: the hash of the tag, or 0 without one
/// (`MessageExtBrokerInner.tagsString2tagsCode`).
pub fn tags_code(tag: Option<&str>) -> i64 {
    tag.map_or(0, |tag| i64::from(java_string_hash(tag)))
}

/// The body checksum of a commit log record: CRC-32 with the sign bit cleared (`UtilAll.crc32`).
pub fn body_crc(body: &[u8]) -> i32 {
    (crc32fast::hash(body) & 0x7FFF_FFFF) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_hashes_have_their_known_values() {
        for (text, hash) in [("TagA", 2_598_919), ("a", 97), ("中文", 646_394), ("", 0)] {
            assert_eq!(java_string_hash(text), hash, "{text}");
        }
        assert_eq!(java_string_hash("polygenelubricants"), i32::MIN);
        assert_eq!(java_string_hash("TopicTest#KEY1"), -1_656_969_516);
    }

    #[test]
    fn a_body_checksum_is_never_negative() {
        assert_eq!(body_crc(b"Hello RocketMQ"), 1_774_740_973);
    }
}
