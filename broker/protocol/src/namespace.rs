//! Namespaces of topics and groups (`NamespaceUtil`).
//!
//! A name within a namespace is `namespace%name` to name servers and brokers, which know nothing of
//! it; clients put the namespace in front of what they send and take it off what they hand out. In
//! the names of retry and dead-letter topics it stands behind the prefix. The system's own topics
//! and groups lie in no namespace.

use crate::topic::{DLQ_PREFIX, RETRY_PREFIX, is_system_topic};

/// Stands between a namespace and a name.
pub const SEPARATOR: char = '%';
/// Begins the names of the system's consumer groups (`CID_RMQ_SYS_PREFIX`).
const SYSTEM_GROUP_PREFIX: &str = "CID_RMQ_SYS_";

fn is_system(name: &str) -> bool {
    is_system_topic(name) || name.starts_with(SYSTEM_GROUP_PREFIX)
}

/// The prefix of a retry or dead-letter topic, and what follows it.
fn split_prefix(name: &str) -> (&str, &str) {
    for prefix in [RETRY_PREFIX, DLQ_PREFIX] {
        if let Some(rest) = name.strip_prefix(prefix) {
            return (prefix, rest);
        }
    }
    ("", name)
}

/// What follows the namespace in a name without prefix, if that is its namespace.
fn strip<'a>(namespace: &str, name: &'a str) -> Option<&'a str> {
    name.strip_prefix(namespace)?.strip_prefix(SEPARATOR)
}

/// A topic or group within a namespace. A name that lies in it already stays as it is, and so does
/// every name if the namespace is empty.
pub fn wrap(namespace: &str, name: &str) -> String {
    let (prefix, rest) = split_prefix(name);
    let stays = namespace.is_empty() || name.is_empty() || is_system(name);
    if stays || strip(namespace, rest).is_some() {
        return name.to_owned();
    }
    format!("{prefix}{namespace}{SEPARATOR}{rest}")
}

/// A topic or group without the namespace. A name of another namespace, or of none, stays as it is.
pub fn unwrap(namespace: &str, name: &str) -> String {
    let (prefix, rest) = split_prefix(name);
    match strip(namespace, rest) {
        Some(bare) if !namespace.is_empty() => format!("{prefix}{bare}"),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_namespace_stands_in_front_of_a_name_and_behind_its_prefix() {
        assert_eq!(wrap("ns", "orders"), "ns%orders");
        assert_eq!(wrap("ns", "%RETRY%readers"), "%RETRY%ns%readers");
        assert_eq!(unwrap("ns", "%DLQ%ns%readers"), "%DLQ%readers");
    }

    #[test]
    fn what_lies_in_the_namespace_already_stays() {
        assert_eq!(wrap("ns", "ns%orders"), "ns%orders");
        assert_eq!(wrap("ns", "%RETRY%ns%readers"), "%RETRY%ns%readers");
    }

    #[test]
    fn another_namespace_is_part_of_the_name() {
        assert_eq!(wrap("ns", "other%orders"), "ns%other%orders");
        assert_eq!(unwrap("ns", "other%orders"), "other%orders");
        assert_eq!(unwrap("ns", "nsx%orders"), "nsx%orders");
    }

    #[test]
    fn the_systems_own_names_lie_in_no_namespace() {
        for name in ["TBW102", "RMQ_SYS_TRACE_TOPIC", "CID_RMQ_SYS_TRANS"] {
            assert_eq!(wrap("ns", name), name);
        }
    }

    #[test]
    fn without_a_namespace_every_name_stays() {
        assert_eq!(wrap("", "orders"), "orders");
        assert_eq!(unwrap("", "%orders"), "%orders");
    }

    proptest! {
        #[test]
        fn what_is_wrapped_unwraps_to_itself(
            namespace in "[a-zA-Z][a-zA-Z0-9_-]{0,10}",
            prefix in prop::sample::select(vec!["", RETRY_PREFIX, DLQ_PREFIX]),
            name in "[a-zA-Z][a-zA-Z0-9_-]{0,20}",
        ) {
            let name = format!("{prefix}{name}");
            prop_assert_eq!(unwrap(&namespace, &wrap(&namespace, &name)), name);
        }
    }
}
