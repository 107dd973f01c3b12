//! Headers of the administration of access control (4.9).

use crate::{ResponseCode, header};

/// The answer to an account that could not be changed. From 5.0 on the number means another thing.
pub const UPDATE_AND_CREATE_ACL_CONFIG_FAILED: ResponseCode = ResponseCode(209);
/// The answer to an account that could not be deleted.
pub const DELETE_ACL_CONFIG_FAILED: ResponseCode = ResponseCode(210);
/// The answer to addresses that could not be changed.
pub const UPDATE_GLOBAL_WHITE_ADDRS_CONFIG_FAILED: ResponseCode = ResponseCode(211);

header! {
    /// Creates an account, or changes what is given of it.
    pub struct CreateAccessConfigRequestHeader {
        /// The name of the account.
        access_key: String = "accessKey",
        /// Its secret.
        secret_key: Option<String> = "secretKey",
        /// The addresses from which it need not sign.
        white_remote_address: Option<String> = "whiteRemoteAddress",
        /// Whether it is an administrator.
        admin: bool = "admin",
        /// What it may do with topics that are not listed.
        default_topic_perm: Option<String> = "defaultTopicPerm",
        /// What it may do with groups that are not listed.
        default_group_perm: Option<String> = "defaultGroupPerm",
        /// What it may do with topics: `topic=PUB|SUB`, separated by commas.
        topic_perms: Option<String> = "topicPerms",
        /// What it may do with groups: `group=SUB`, separated by commas.
        group_perms: Option<String> = "groupPerms",
    }

    /// Deletes an account.
    pub struct DeleteAccessConfigRequestHeader {
        /// The name of the account.
        access_key: String = "accessKey",
    }

    /// Replaces the addresses from which nobody need sign.
    pub struct UpdateGlobalWhiteAddrsConfigRequestHeader {
        /// Address patterns, separated by commas.
        global_white_addrs: String = "globalWhiteAddrs",
        /// The file to change, if there are several.
        acl_file_full_path: Option<String> = "aclFileFullPath",
    }

    /// The versions of a broker's access control files.
    pub struct GetBrokerAclConfigResponseHeader {
        /// The version of the default file: a data version, as JSON.
        version: String = "version",
        /// The versions of all files, by their paths, as JSON.
        all_acl_file_version: Option<String> = "allAclFileVersion",
        /// The name of the broker group.
        broker_name: String = "brokerName",
        /// The broker's address.
        broker_addr: String = "brokerAddr",
        /// The name of its cluster.
        cluster_name: String = "clusterName",
    }
}
