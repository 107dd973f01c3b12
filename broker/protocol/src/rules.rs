//! What topics, groups, clients and brokers may be called, and what their settings may be.
//!
//! Whoever lets a name or a setting in asks here: requests of administrators, topics and groups that
//! are created when somebody uses them, heartbeats, configuration files, registrations and the
//! command line. So what one door refuses, no other lets in, and what is let in can be stored,
//! delivered again and registered. The names of topics and groups themselves are in
//! [`crate::topic`].

use crate::body::{SubscriptionGroupConfig, TopicConfig, TopicFilterType};
use crate::pop::{retry_topic, retry_topic_v2};
use crate::topic::{self, DERIVED_TOPIC_MAX, NameError, TOPIC_MAX, perm};

/// The most queues that a topic may have, and the most retry queues of a group. Clients and figures
/// list every one of them, so that a slip of an administrator's hand would take all their memory;
/// Apache RocketMQ does not mind.
pub const QUEUES_MAX: i32 = 65_536;
/// The longest client id, in bytes. Java's are made of an address, an instance name and a unit name;
/// Apache RocketMQ does not look at the length.
pub const CLIENT_ID_MAX: usize = 1_024;
/// The longest name of a broker, in bytes: a topic is named like it.
pub const BROKER_NAME_MAX: usize = TOPIC_MAX;
/// The longest name of a cluster, in bytes: `rmq_sys_REVIVE_LOG_` in front of it is a topic.
pub const CLUSTER_NAME_MAX: usize = TOPIC_MAX - "rmq_sys_REVIVE_LOG_".len();
/// The longest name that a name server takes from a broker, in bytes: that of a retry topic.
pub const REGISTERED_NAME_MAX: usize = DERIVED_TOPIC_MAX;

/// Bits that the system flag of a topic may have: of a unit, with a subscription of a unit
/// (`TopicSysFlag`).
const TOPIC_SYS_FLAGS: i32 = 0b11;

/// Why a topic, a group or one of their settings is refused. Its text is the remark of the answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The permission has bits that no topic can have.
    #[error("The specified perm[{0}] is illegal, allowing only 0 to 7: 4 read, 2 write, 1 inherit")]
    Perm(i64),
    /// A number is out of its range.
    #[error("The specified {name}[{value}] is illegal, allowing only {min} to {max}")]
    Range {
        /// What the number is, by RocketMQ's name.
        name: &'static str,
        /// The number.
        value: i64,
        /// The least that is allowed.
        min: i64,
        /// The most that is allowed.
        max: i64,
    },
    /// The filter type is none of RocketMQ's.
    #[error(
        "The specified topicFilterType[{0}] is illegal, allowing only SINGLE_TAG and MULTI_TAG"
    )]
    FilterType(String),
    /// The retry topic of a group that pops a topic would have too long a name.
    #[error(
        "The group[{group}] cannot pop the topic[{topic}]: the name of their retry topic would have \
         {len} characters, {DERIVED_TOPIC_MAX} at most are stored"
    )]
    PopRetryTopic {
        /// The topic.
        topic: String,
        /// The group.
        group: String,
        /// How long the name would be, in bytes.
        len: usize,
    },
}

/// Checks that a number is in its range.
///
/// # Errors
/// It is not.
pub fn check_range(
    name: &'static str,
    value: impl Into<i64>,
    min: impl Into<i64>,
    max: impl Into<i64>,
) -> Result<(), RuleError> {
    let (value, min, max) = (value.into(), min.into(), max.into());
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(RuleError::Range {
        name,
        value,
        min,
        max,
    })
}

/// Checks a permission (`PermName.isValid`).
///
/// # Errors
/// It has other bits than read, write and inherit.
pub fn check_perm(perm: i32) -> Result<(), RuleError> {
    let bits = perm::READ | perm::WRITE | perm::INHERIT;
    if perm & !bits == 0 {
        return Ok(());
    }
    Err(RuleError::Perm(perm.into()))
}

/// Checks how many queues a topic is to have for reading or writing: `name` says which.
///
/// # Errors
/// It is less than one or more than [`QUEUES_MAX`].
pub fn check_queue_nums(name: &'static str, nums: i32) -> Result<(), RuleError> {
    check_range(name, nums, 1, QUEUES_MAX)
}

/// Checks a topic that is to be created or changed.
///
/// # Errors
/// Its name or one of its settings cannot be.
pub fn check_topic_config(topic: &TopicConfig) -> Result<(), RuleError> {
    topic::check_topic(&topic.topic_name)?;
    check_queue_nums("readQueueNums", topic.read_queue_nums)?;
    check_queue_nums("writeQueueNums", topic.write_queue_nums)?;
    check_perm(topic.perm)?;
    check_range("topicSysFlag", topic.topic_sys_flag, 0, TOPIC_SYS_FLAGS)
}

/// Checks a topic that a broker finds in its file. It may have been made by the broker itself, for
/// a cluster called like a host, or for pops: with a `+` in its name, and with no queues.
///
/// # Errors
/// One of its settings cannot be.
pub fn check_stored_topic(topic: &TopicConfig) -> Result<(), RuleError> {
    check_registered_name("topic", &topic.topic_name)?;
    check_range("readQueueNums", topic.read_queue_nums, 0, QUEUES_MAX)?;
    check_range("writeQueueNums", topic.write_queue_nums, 0, QUEUES_MAX)?;
    check_perm(topic.perm)
}

/// Reads the filter type of a topic (`TopicFilterType.valueOf`); none stands for the usual one.
///
/// # Errors
/// There is none of this name.
pub fn filter_type(name: &str) -> Result<TopicFilterType, RuleError> {
    if name.is_empty() {
        return Ok(TopicFilterType::default());
    }
    TopicFilterType::from_name(name).ok_or_else(|| RuleError::FilterType(name.to_owned()))
}

/// Checks a group that is to be created or changed. Without retry queues, what its members fail is
/// dropped; with -1 or 0 retries it is a dead letter at once.
///
/// # Errors
/// Its name or one of its settings cannot be.
pub fn check_group_config(group: &SubscriptionGroupConfig) -> Result<(), RuleError> {
    topic::check_group(&group.group_name)?;
    check_range("retryQueueNums", group.retry_queue_nums, 0, QUEUES_MAX)?;
    check_range("retryMaxTimes", group.retry_max_times, -1, i32::MAX)?;
    check_range("brokerId", group.broker_id, 0, i64::MAX)?;
    check_range(
        "whichBrokerWhenConsumeSlowly",
        group.which_broker_when_consume_slowly,
        0,
        i64::MAX,
    )
}

/// Checks that what a group pops of a topic can be delivered again: that the names of their retry
/// topics, of version 1 and 2, can be stored.
///
/// # Errors
/// They would be too long.
pub fn check_pop(topic: &str, group: &str) -> Result<(), RuleError> {
    let names = [retry_topic(topic, group), retry_topic_v2(topic, group)];
    let len = names.iter().map(String::len).max().unwrap_or_default();
    if len <= DERIVED_TOPIC_MAX {
        return Ok(());
    }
    Err(RuleError::PopRetryTopic {
        topic: topic.to_owned(),
        group: group.to_owned(),
        len,
    })
}

/// Checks the id that a client gives itself.
///
/// # Errors
/// It is longer than [`CLIENT_ID_MAX`] or has control characters.
pub fn check_client_id(client_id: &str) -> Result<(), NameError> {
    check_printable("clientId", client_id, CLIENT_ID_MAX)
}

/// Checks the name of a broker that is to be started.
///
/// # Errors
/// It is blank, longer than [`BROKER_NAME_MAX`] or has an illegal character.
pub fn check_broker_name(name: &str) -> Result<(), NameError> {
    check_host_like("brokerName", name, BROKER_NAME_MAX)
}

/// Checks the name of a cluster that a broker is to be started in.
///
/// # Errors
/// It is blank, longer than [`CLUSTER_NAME_MAX`] or has an illegal character.
pub fn check_cluster_name(name: &str) -> Result<(), NameError> {
    check_host_like("brokerClusterName", name, CLUSTER_NAME_MAX)
}

/// Checks a name that a broker registers, `kind`: another implementation may have let in what none
/// of the rules here would, so that this asks for no more than that it can be shown and kept.
///
/// # Errors
/// It is blank, longer than [`REGISTERED_NAME_MAX`] or has control characters.
pub fn check_registered_name(kind: &'static str, name: &str) -> Result<(), NameError> {
    if name.trim().is_empty() {
        return Err(NameError::Blank(kind));
    }
    check_printable(kind, name, REGISTERED_NAME_MAX)
}

fn check_printable(kind: &'static str, name: &str, max: usize) -> Result<(), NameError> {
    if name.len() > max {
        return Err(NameError::TooLong { kind, max });
    }
    if name.chars().any(char::is_control) {
        return Err(NameError::Control(kind));
    }
    Ok(())
}

/// What names of topics have, and dots: a broker of 5.x that is given no name is called like its
/// host. But not only dots, because folders are named like topics.
fn check_host_like(kind: &'static str, name: &str, max: usize) -> Result<(), NameError> {
    let bare: String = name.chars().filter(|&char| char != '.').collect();
    match topic::check_name(kind, &bare, max) {
        Err(NameError::Illegal { .. }) => Err(NameError::Illegal {
            kind,
            name: name.chars().take(max).collect(),
        }),
        _ if name.len() > max => Err(NameError::TooLong { kind, max }),
        checked => checked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(perm: i32, queues: i32) -> TopicConfig {
        TopicConfig::new("orders", queues, queues, perm)
    }

    #[test]
    fn a_permission_is_made_of_read_write_and_inherit() {
        for perm in 0..=7 {
            assert_eq!(check_topic_config(&topic(perm, 8)), Ok(()), "{perm}");
        }
        for perm in [-1, 8, 15, 99, i32::MIN, i32::MAX] {
            assert!(
                matches!(check_topic_config(&topic(perm, 8)), Err(RuleError::Perm(_))),
                "{perm}"
            );
        }
    }

    #[test]
    fn a_topic_has_queues_but_not_more_than_anybody_can_list() {
        for queues in [1, 8, QUEUES_MAX] {
            assert_eq!(check_topic_config(&topic(6, queues)), Ok(()), "{queues}");
        }
        for queues in [0, -1, i32::MIN, QUEUES_MAX + 1, i32::MAX] {
            for (read, write) in [(queues, 8), (8, queues)] {
                let topic = TopicConfig {
                    read_queue_nums: read,
                    write_queue_nums: write,
                    ..topic(6, 8)
                };
                assert!(check_topic_config(&topic).is_err(), "{read} {write}");
            }
        }
    }

    #[test]
    fn a_topic_has_only_the_flags_and_filter_types_that_there_are() {
        for (flag, right) in [(0, true), (3, true), (4, false), (-1, false)] {
            let topic = TopicConfig {
                topic_sys_flag: flag,
                ..topic(6, 8)
            };
            assert_eq!(check_topic_config(&topic).is_ok(), right, "{flag}");
        }
        assert_eq!(filter_type("MULTI_TAG"), Ok(TopicFilterType::MultiTag));
        assert!(filter_type("ALL").is_err());
    }

    fn group(change: impl FnOnce(&mut SubscriptionGroupConfig)) -> Result<(), RuleError> {
        let mut group = SubscriptionGroupConfig {
            group_name: "readers".to_owned(),
            ..SubscriptionGroupConfig::default()
        };
        change(&mut group);
        check_group_config(&group)
    }

    #[test]
    fn a_group_may_be_without_retries_but_not_have_millions_of_retry_queues() {
        assert_eq!(group(|_| {}), Ok(()));
        assert_eq!(group(|group| group.retry_queue_nums = 0), Ok(()));
        assert_eq!(group(|group| group.retry_max_times = -1), Ok(()));
        assert!(group(|group| group.retry_queue_nums = 2_000_000_000).is_err());
        assert!(group(|group| group.retry_queue_nums = -1).is_err());
        assert!(group(|group| group.retry_max_times = -2).is_err());
        assert!(group(|group| group.broker_id = -1).is_err());
        assert!(group(|group| group.which_broker_when_consume_slowly = -1).is_err());
    }

    #[test]
    fn a_group_pops_only_topics_with_which_it_can_have_a_retry_topic() {
        assert_eq!(check_pop(&"t".repeat(120), &"g".repeat(127)), Ok(()));
        assert!(check_pop(&"t".repeat(120), &"g".repeat(128)).is_err());
    }

    #[test]
    fn brokers_and_clusters_have_names_that_topics_and_folders_can_have() {
        for name in ["broker-a", "host.example", "a%b"] {
            assert_eq!(check_broker_name(name), Ok(()), "{name}");
        }
        for name in ["", " ", ".", "..", "a/b", "a\nb", "a b", &"n".repeat(128)] {
            assert!(check_broker_name(name).is_err(), "{name}");
            assert!(check_cluster_name(name).is_err(), "{name}");
        }
        assert_eq!(check_cluster_name(&"c".repeat(CLUSTER_NAME_MAX)), Ok(()));
        assert!(check_cluster_name(&"c".repeat(CLUSTER_NAME_MAX + 1)).is_err());
    }

    #[test]
    fn a_client_id_has_a_length_and_no_control_characters() {
        assert_eq!(check_client_id("192.168.0.7@4711#93"), Ok(()));
        assert!(check_client_id(&"c".repeat(CLIENT_ID_MAX + 1)).is_err());
        assert!(check_client_id("c\n").is_err());
    }

    #[test]
    fn registered_names_are_shown_in_one_line() {
        assert_eq!(check_registered_name("topic", "%RETRY%g+t"), Ok(()));
        for name in ["", "a\nb", &"n".repeat(REGISTERED_NAME_MAX + 1)] {
            assert!(check_registered_name("topic", name).is_err(), "{name}");
        }
    }
}
