//! Protocol versions: the ordinals of Apache RocketMQ's `MQVersion`.

/// 3.0.7 snapshot: a client below it is not told to reset its offsets.
pub const V3_0_7_SNAPSHOT: i32 = 28;
/// 3.0.11: from here on a registration body carries filter servers and topics.
pub const V3_0_11: i32 = 37;
/// 3.1.8 snapshot: a client below it does not tell what it is doing.
pub const V3_1_8_SNAPSHOT: i32 = 62;
/// 3.4.9: from here on `maxReconsumeTimes` of a send-back is honoured.
pub const V3_4_9: i32 = 121;
/// 4.1.0 snapshot: a broker below it is not asked for SQL filters.
pub const V4_1_0_SNAPSHOT: i32 = 232;
/// 4.9.4: from here on a client reads strict JSON in route answers.
pub const V4_9_4: i32 = 401;
/// 4.9.8: the version whose behaviour Hotfire follows, and the one it declares.
pub const V4_9_8: i32 = 409;
/// 5.0.0: from here on a compressed registration ends with queue mappings.
pub const V5_0_0: i32 = 413;
/// What our own commands declare.
pub const CURRENT: i32 = V4_9_8;

/// The name of a version from 4.0.0 on, such as `V4_9_8` or `V5_0_0_SNAPSHOT`; Java's table of
/// names, `MQVersion.Version`, has two for each release: of its snapshots and of itself.
pub fn name(version: i32) -> String {
    /// The first ordinals of the lines 4 and 5; each minor release has twenty.
    const LINES: [(i32, i32); 2] = [(5, 413), (4, 213)];
    for (major, first) in LINES {
        // The snapshots of x.0.0 come before.
        if version >= first - 1 && version < first + 200 {
            let ordinal = version + 1 - first;
            let (minor, patch) = (ordinal / 20, ordinal % 20 / 2);
            let snapshot = if ordinal % 2 == 0 { "_SNAPSHOT" } else { "" };
            return format!("V{major}_{minor}_{patch}{snapshot}");
        }
    }
    version.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_the_names_of_mq_version() {
        for (version, text) in [
            (409, "V4_9_8"),
            (413, "V5_0_0"),
            (412, "V5_0_0_SNAPSHOT"),
            (213, "V4_0_0"),
            (232, "V4_1_0_SNAPSHOT"),
            (317, "V4_5_2"),
            (479, "V5_3_3"),
            (37, "37"),
        ] {
            assert_eq!(name(version), text);
        }
    }
}
