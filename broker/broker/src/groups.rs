//! The broker's consumer groups (`SubscriptionGroupManager`).
//!
//! Every change counts up the data version and is to be written to `config/subscriptionGroup.json`.

use std::collections::BTreeMap;

use hotfire_protocol::body::{DataVersion, SubscriptionGroupConfig, SubscriptionGroupWrapper};
use hotfire_protocol::{rules, topic};
use serde::Serialize;

use crate::limits;
use crate::topics::new_version;

/// The groups that are always there.
const SYSTEM_GROUPS: [&str; 7] = [
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
];

/// Begins the names of groups that are created even if others are not
/// (`MixAll.isSysConsumerGroup`).
const SYSTEM_GROUP_PREFIX: &str = "CID_RMQ_SYS_";

/// The groups and their version. As JSON, it is the content of the file.
#[derive(Debug, Clone, Serialize)]
pub struct Groups {
    #[serde(rename = "dataVersion")]
    version: DataVersion,
    #[serde(rename = "subscriptionGroupTable")]
    groups: BTreeMap<String, SubscriptionGroupConfig>,
}

/// A group with RocketMQ's defaults.
pub fn group_config(name: &str) -> SubscriptionGroupConfig {
    SubscriptionGroupConfig {
        group_name: name.to_owned(),
        ..SubscriptionGroupConfig::default()
    }
}

impl Groups {
    /// The system groups.
    pub fn new(now_ms: i64) -> Self {
        let group = |name: &str| (name.to_owned(), group_config(name));
        Self {
            groups: SYSTEM_GROUPS.into_iter().map(group).collect(),
            version: new_version(now_ms),
        }
    }

    /// Adds what the file held; its version goes on from there. What would be refused today stays,
    /// so that its offsets mean something, and is reported.
    pub fn restore(&mut self, file: SubscriptionGroupWrapper) {
        self.version = file.data_version;
        for group in file.subscription_group_table.values() {
            if let Err(wrong) = rules::check_group_config(group) {
                let group = &group.group_name;
                tracing::warn!(group, %wrong, "kept a group that would be refused today");
            }
        }
        self.groups.extend(file.subscription_group_table);
    }

    /// A group.
    pub fn get(&self, name: &str) -> Option<&SubscriptionGroupConfig> {
        self.groups.get(name)
    }

    /// All groups, by name.
    pub fn all(&self) -> &BTreeMap<String, SubscriptionGroupConfig> {
        &self.groups
    }

    /// The version of the table.
    pub fn version(&self) -> &DataVersion {
        &self.version
    }

    /// Creates a group that showed up, if its name is valid and `auto_create` or it is one of the
    /// system's own (`findSubscriptionGroupConfig`). True if it was created.
    pub fn create_if_missing(&mut self, name: &str, auto_create: bool, now_ms: i64) -> bool {
        let is_system = name.starts_with(SYSTEM_GROUP_PREFIX);
        let mut create = !self.groups.contains_key(name)
            && (auto_create || is_system)
            && topic::check_group(name).is_ok();
        if create && !is_system && self.groups.len() >= limits::GROUPS {
            tracing::warn!(group = name, "there are too many groups to create one more");
            create = false;
        }
        if create {
            self.put(group_config(name), now_ms);
        }
        create
    }

    /// Creates or replaces a group.
    pub fn put(&mut self, group: SubscriptionGroupConfig, now_ms: i64) {
        self.groups.insert(group.group_name.clone(), group);
        self.version = self.version.next(now_ms);
    }

    /// Deletes a group. True if it was there.
    pub fn delete(&mut self, name: &str, now_ms: i64) -> bool {
        let deleted = self.groups.remove(name).is_some();
        if deleted {
            self.version = self.version.next(now_ms);
        }
        deleted
    }
}

#[cfg(test)]
mod tests {
    use hotfire_protocol::body::fastjson;

    use super::*;

    #[test]
    fn a_group_that_shows_up_is_created_with_rocketmqs_defaults() {
        let mut groups = Groups::new(0);
        assert!(groups.create_if_missing("orders", true, 5));
        assert!(!groups.create_if_missing("orders", true, 6));
        let group = groups.get("orders").unwrap();
        assert_eq!((group.retry_queue_nums, group.retry_max_times), (1, 16));
        assert_eq!(
            (groups.version().counter, groups.version().timestamp),
            (1, 5)
        );
    }

    #[test]
    fn without_automatic_creation_only_the_systems_own_groups_are_created() {
        let mut groups = Groups::new(0);
        assert!(!groups.create_if_missing("orders", false, 0));
        assert!(groups.create_if_missing("CID_RMQ_SYS_TRANS", false, 0));
    }

    #[test]
    fn a_group_without_a_valid_name_is_not_created() {
        let mut groups = Groups::new(0);
        for name in ["", "a b", "a@b"] {
            assert!(!groups.create_if_missing(name, true, 0), "{name}");
        }
    }

    #[test]
    fn the_file_is_what_apache_rocketmq_writes() {
        let golden = include_str!("../tests/fixtures/subscriptionGroup.json");
        let mut groups = Groups::new(0);
        groups.restore(fastjson::from_slice(golden.as_bytes()).unwrap());
        assert_eq!(groups.version().counter, 6);
        let json = String::from_utf8(fastjson::to_pretty_vec(&groups).unwrap()).unwrap();
        assert_eq!(json.len(), golden.len());
        assert!(
            groups
                .all()
                .values()
                .all(|group| json.contains(&group.group_name))
        );
        assert!(groups.delete("Golden_group", 0) && !groups.delete("Golden_group", 0));
    }

    #[test]
    fn groups_that_show_up_without_end_are_not_created_without_end() {
        let mut groups = Groups::new(0);
        for at in 0..limits::GROUPS {
            groups.create_if_missing(&format!("g{at}"), true, 0);
        }
        assert_eq!(groups.all().len(), limits::GROUPS);
        assert!(!groups.create_if_missing("one-more", true, 0));
        assert!(groups.create_if_missing("CID_RMQ_SYS_TRANS", true, 0));
        groups.put(group_config("of-an-administrator"), 0);
        assert!(groups.get("of-an-administrator").is_some());
    }
}
