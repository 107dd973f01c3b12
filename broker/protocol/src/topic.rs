//! The names of topics and groups: rules, prefixes and the system's own (`TopicValidator`,
//! `Validators`, `MixAll`), and topic permissions (`PermName`).

/// Begins the name of a group's retry topic.
pub const RETRY_PREFIX: &str = "%RETRY%";
/// Begins the name of a group's dead letter topic.
pub const DLQ_PREFIX: &str = "%DLQ%";
/// Begins the names of further system topics.
pub const SYSTEM_PREFIX: &str = "rmq_sys_";
/// Ends the name of a cluster's reply topic.
pub const REPLY_POSTFIX: &str = "REPLY_TOPIC";

/// The topic that new topics take their configuration from.
pub const AUTO_CREATE_TOPIC: &str = "TBW102";
/// Holds messages that are to be delivered later.
pub const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";
/// Holds messages that are to be delivered at an arbitrary time.
pub const TIMER_TOPIC: &str = "rmq_sys_wheel_timer";
/// For benchmarks.
pub const BENCHMARK_TOPIC: &str = "BenchmarkTest";
/// Holds half messages.
pub const TRANS_HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
/// Holds what became of half messages.
pub const TRANS_OP_HALF_TOPIC: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
/// Holds half messages that were checked too often.
pub const TRANS_CHECK_MAX_TIME_TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
/// Holds message traces.
pub const TRACE_TOPIC: &str = "RMQ_SYS_TRACE_TOPIC";
/// For brokers to test themselves.
pub const SELF_TEST_TOPIC: &str = "SELF_TEST_TOPIC";
/// Tells of consumers whose offsets were moved.
pub const OFFSET_MOVED_EVENT: &str = "OFFSET_MOVED_EVENT";

/// Holds messages that the broker had accepted and could never deliver, each with the reason: for
/// an administrator to look at. Apache RocketMQ has nothing like it, and drops or retries them.
pub const SET_ASIDE_TOPIC: &str = "rmq_sys_SET_ASIDE";
/// Begins the name of the topic of pops' check points and acknowledgements; the cluster follows.
pub const REVIVE_PREFIX: &str = "rmq_sys_REVIVE_LOG_";

/// The topics that belong to the system everywhere.
pub const SYSTEM_TOPICS: [&str; 9] = [
    AUTO_CREATE_TOPIC,
    SCHEDULE_TOPIC,
    BENCHMARK_TOPIC,
    TRANS_HALF_TOPIC,
    TRACE_TOPIC,
    TRANS_OP_HALF_TOPIC,
    TRANS_CHECK_MAX_TIME_TOPIC,
    SELF_TEST_TOPIC,
    OFFSET_MOVED_EVENT,
];

/// The system topics that clients may not send to.
pub const FORBIDDEN_TOPICS: [&str; 7] = [
    SCHEDULE_TOPIC,
    TRANS_HALF_TOPIC,
    TRANS_OP_HALF_TOPIC,
    TRANS_CHECK_MAX_TIME_TOPIC,
    SELF_TEST_TOPIC,
    OFFSET_MOVED_EVENT,
    SET_ASIDE_TOPIC,
];

/// The producer group of clients themselves: sends back what could not be consumed.
pub const CLIENT_INNER_PRODUCER: &str = "CLIENT_INNER_PRODUCER";
/// The group that reads half messages.
pub const TRANS_CONSUMER_GROUP: &str = "CID_RMQ_SYS_TRANS";

/// The longest topic, in bytes.
pub const TOPIC_MAX: usize = 127;
/// The longest topic that is named after another name, in bytes: retry and dead letter topics
/// (`RETRY_OR_DLQ_TOPIC_MAX_LENGTH` of 5.x). It is what a record of version 2 holds.
pub const DERIVED_TOPIC_MAX: usize = 255;
/// The longest consumer group, in bytes: its retry topic must fit (5.x allows 120, 4.9 allows 255
/// and cannot retry what the longest groups fail).
pub const GROUP_MAX: usize = DERIVED_TOPIC_MAX - RETRY_PREFIX.len();
/// The longest producer group, in bytes (`Validators.CHARACTER_MAX_LENGTH`): no topic is named after
/// it.
pub const PRODUCER_GROUP_MAX: usize = 255;

/// Why a name is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing but whitespace.
    #[error("The specified {0} is blank")]
    Blank(&'static str),
    /// A character that names may not have.
    #[error(
        "The specified {kind}[{name}] contains illegal characters, \
         allowing only ^[%|a-zA-Z0-9_-]+$"
    )]
    Illegal {
        /// Topic or group.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// Too long.
    #[error("The specified {kind} is longer than {kind} max length {max}")]
    TooLong {
        /// Topic or group.
        kind: &'static str,
        /// The limit in bytes.
        max: usize,
    },
    /// A control character, which names that may have most characters may not have.
    #[error("The specified {0} contains control characters")]
    Control(&'static str),
}

/// Checks the name of a topic. Retry and dead letter topics may be longer than others.
///
/// # Errors
/// It is blank, too long or has an illegal character.
pub fn check_topic(topic: &str) -> Result<(), NameError> {
    let is_derived = retry_group(topic).or(dlq_group(topic)).is_some();
    let max = if is_derived {
        DERIVED_TOPIC_MAX
    } else {
        TOPIC_MAX
    };
    check_name("topic", topic, max)
}

/// The group of Java producers that name none (`MixAll.DEFAULT_PRODUCER_GROUP`).
pub const DEFAULT_PRODUCER_GROUP: &str = "DEFAULT_PRODUCER";
/// The group of Java consumers that name none (`MixAll.DEFAULT_CONSUMER_GROUP`).
pub const DEFAULT_CONSUMER_GROUP: &str = "DEFAULT_CONSUMER";

/// Checks the name of a consumer group.
///
/// # Errors
/// It is blank, too long for a retry topic or has an illegal character.
pub fn check_group(group: &str) -> Result<(), NameError> {
    check_name("group", group, GROUP_MAX)
}

/// Checks the name of a producer group.
///
/// # Errors
/// It is blank, too long or has an illegal character.
pub fn check_producer_group(group: &str) -> Result<(), NameError> {
    check_name("group", group, PRODUCER_GROUP_MAX)
}

pub(crate) fn check_name(kind: &'static str, name: &str, max: usize) -> Result<(), NameError> {
    if name.trim().is_empty() {
        return Err(NameError::Blank(kind));
    }
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"%|_-".contains(&byte);
    if !name.bytes().all(legal) {
        return Err(NameError::Illegal {
            kind,
            // Whoever is answered knows it; the answer must not become as long as a frame.
            name: name.chars().take(max).collect(),
        });
    }
    if name.len() > max {
        return Err(NameError::TooLong { kind, max });
    }
    Ok(())
}

/// Whether a topic belongs to the system. (A broker also counts the topics named like itself and
/// its cluster.)
pub fn is_system_topic(topic: &str) -> bool {
    SYSTEM_TOPICS.contains(&topic) || topic.starts_with(SYSTEM_PREFIX)
}

/// Whether clients may not send to a topic. (Apache RocketMQ takes what is sent to the topics of
/// timers and of pops' check points, and then delivers wherever such a message says.)
pub fn is_forbidden_topic(topic: &str) -> bool {
    FORBIDDEN_TOPICS.contains(&topic) || is_internal_topic(topic)
}

/// Whether a topic holds what only the broker itself works off: nothing is ever delivered into it,
/// or out of it, because a message says so.
pub fn is_internal_topic(topic: &str) -> bool {
    const INTERNAL: [&str; 6] = [
        SCHEDULE_TOPIC,
        TIMER_TOPIC,
        TRANS_HALF_TOPIC,
        TRANS_OP_HALF_TOPIC,
        TRANS_CHECK_MAX_TIME_TOPIC,
        SET_ASIDE_TOPIC,
    ];
    INTERNAL.contains(&topic) || topic.starts_with(REVIVE_PREFIX)
}

/// The retry topic of a group.
pub fn retry_topic(group: &str) -> String {
    format!("{RETRY_PREFIX}{group}")
}

/// The dead letter topic of a group.
pub fn dlq_topic(group: &str) -> String {
    format!("{DLQ_PREFIX}{group}")
}

/// The reply topic of a cluster.
pub fn reply_topic(cluster: &str) -> String {
    format!("{cluster}_{REPLY_POSTFIX}")
}

/// The group of a retry topic; `None` for another topic.
pub fn retry_group(topic: &str) -> Option<&str> {
    topic.strip_prefix(RETRY_PREFIX)
}

/// The group of a dead letter topic; `None` for another topic.
pub fn dlq_group(topic: &str) -> Option<&str> {
    topic.strip_prefix(DLQ_PREFIX)
}

/// The bits of a topic's permission.
pub mod perm {
    /// New topics may take their configuration from it.
    pub const INHERIT: i32 = 0x1;
    /// It may be written.
    pub const WRITE: i32 = 0x2;
    /// It may be read.
    pub const READ: i32 = 0x4;

    /// Whether it may be read.
    pub const fn is_readable(perm: i32) -> bool {
        perm & READ != 0
    }

    /// Whether it may be written.
    pub const fn is_writeable(perm: i32) -> bool {
        perm & WRITE != 0
    }

    /// Whether new topics may take their configuration from it.
    pub const fn is_inherited(perm: i32) -> bool {
        perm & INHERIT != 0
    }

    /// The permission as remarks show it: `RWX`, with dashes for what is not allowed.
    pub fn text(perm: i32) -> String {
        let bit = |allowed, letter| if allowed { letter } else { '-' };
        [
            bit(is_readable(perm), 'R'),
            bit(is_writeable(perm), 'W'),
            bit(is_inherited(perm), 'X'),
        ]
        .into_iter()
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_letters_digits_and_four_signs() {
        assert_eq!(check_topic("%RETRY%a|B_0-z"), Ok(()));
        assert_eq!(check_topic(" "), Err(NameError::Blank("topic")));
        for name in ["a b", "a.b", "a@b", "主题", "a/b"] {
            assert!(
                matches!(check_topic(name), Err(NameError::Illegal { .. })),
                "{name}"
            );
        }
    }

    #[test]
    fn names_have_a_largest_length() {
        assert_eq!(check_topic(&"t".repeat(127)), Ok(()));
        assert!(matches!(
            check_topic(&"t".repeat(128)),
            Err(NameError::TooLong { max: 127, .. })
        ));
        let derived = |len: usize| format!("{RETRY_PREFIX}{}", "g".repeat(len));
        assert_eq!(check_topic(&derived(GROUP_MAX)), Ok(()));
        assert!(check_topic(&derived(GROUP_MAX + 1)).is_err());
        assert_eq!(check_producer_group(&"g".repeat(255)), Ok(()));
        assert!(check_producer_group(&"g".repeat(256)).is_err());
    }

    #[test]
    fn the_longest_group_still_has_a_retry_and_a_dead_letter_topic() {
        let longest = "g".repeat(GROUP_MAX);
        assert_eq!(check_group(&longest), Ok(()));
        for topic in [retry_topic(&longest), dlq_topic(&longest)] {
            assert_eq!(check_topic(&topic), Ok(()));
        }
        assert!(check_group(&format!("{longest}g")).is_err());
    }

    #[test]
    fn retry_and_dead_letter_topics_belong_to_a_group() {
        assert_eq!(retry_group(&retry_topic("g")), Some("g"));
        assert_eq!(dlq_group(&dlq_topic("g")), Some("g"));
        assert_eq!(retry_group("g"), None);
    }

    #[test]
    fn system_topics_are_known_by_name_or_prefix() {
        assert!(is_system_topic("TBW102") && is_system_topic("rmq_sys_x"));
        assert!(!is_system_topic("T") && !is_forbidden_topic("TBW102"));
        assert!(is_forbidden_topic("SELF_TEST_TOPIC"));
        assert!(is_internal_topic("rmq_sys_REVIVE_LOG_c") && !is_internal_topic("rmq_sys_x"));
    }

    #[test]
    fn permissions_are_shown_as_letters() {
        assert_eq!(
            [perm::text(6), perm::text(7), perm::text(4)],
            ["RW-", "RWX", "R--"]
        );
    }
}
