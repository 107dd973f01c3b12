//! Accounts of access control.

use super::{body, json_methods};

body! {
    /// What a broker's access control files say.
    #[derive(Default, Eq)]
    pub struct AclConfig {
        /// Addresses from which nobody need sign.
        global_white_addrs: Vec<String> = "globalWhiteAddrs",
        /// The accounts.
        plain_access_configs: Vec<PlainAccessConfig> = "plainAccessConfigs",
    }

    /// An account, in a file as well as on the wire.
    #[derive(Default, Eq)]
    pub struct PlainAccessConfig {
        /// Its name.
        #[serde(skip_serializing_if = "Option::is_none")]
        access_key: Option<String> = "accessKey",
        /// Whether it is an administrator.
        admin: bool = "admin",
        /// What it may do with groups that are not listed: `DENY`, `PUB`, `SUB` or `PUB|SUB`.
        #[serde(skip_serializing_if = "Option::is_none")]
        default_group_perm: Option<String> = "defaultGroupPerm",
        /// What it may do with topics that are not listed.
        #[serde(skip_serializing_if = "Option::is_none")]
        default_topic_perm: Option<String> = "defaultTopicPerm",
        /// What it may do with groups: `group=SUB`.
        #[serde(skip_serializing_if = "Option::is_none")]
        group_perms: Option<Vec<String>> = "groupPerms",
        /// Its secret.
        #[serde(skip_serializing_if = "Option::is_none")]
        secret_key: Option<String> = "secretKey",
        /// What it may do with topics: `topic=PUB|SUB`.
        #[serde(skip_serializing_if = "Option::is_none")]
        topic_perms: Option<Vec<String>> = "topicPerms",
        /// The addresses from which it need not sign.
        #[serde(skip_serializing_if = "Option::is_none")]
        white_remote_address: Option<String> = "whiteRemoteAddress",
    }
}

json_methods!(AclConfig);
