//! The administration of access control, by the rules of 4.9: accounts in files of every broker.

use std::collections::BTreeMap;

use hotfire_protocol::RequestCode;
use hotfire_protocol::body::{AclConfig, DataVersion, PlainAccessConfig, fastjson};
use hotfire_protocol::header::acl::{
    CreateAccessConfigRequestHeader, DeleteAccessConfigRequestHeader,
    GetBrokerAclConfigResponseHeader, UpdateGlobalWhiteAddrsConfigRequestHeader,
};

use crate::instance::malformed;
use crate::{Admin, ClientError};

/// The file that brokers before 4.9.3 mean: they have no other, and do not name it.
const ONLY_FILE: &str = "plain_acl.yml";

/// Which versions of its access control files a broker has (`ClusterAclVersionInfo`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AclVersions {
    /// The name of its cluster.
    pub cluster_name: String,
    /// The name of its broker group.
    pub broker_name: String,
    /// Its address.
    pub broker_addr: String,
    /// The versions of the files, by their paths.
    pub files: BTreeMap<String, DataVersion>,
}

impl Admin {
    /// Creates an account on a broker, or changes what is given of it; whether it is an
    /// administrator is always given (`UPDATE_AND_CREATE_ACL_CONFIG`).
    ///
    /// # Errors
    /// The account makes no sense to the broker, or it has no access control, refused or did not
    /// answer.
    pub async fn update_acl_account(
        &self,
        addr: &str,
        account: &PlainAccessConfig,
    ) -> Result<(), ClientError> {
        let joined = |perms: &Option<Vec<String>>| perms.as_ref().map(|perms| perms.join(","));
        let header = CreateAccessConfigRequestHeader {
            access_key: account.access_key.clone().unwrap_or_default(),
            secret_key: account.secret_key.clone(),
            white_remote_address: account.white_remote_address.clone(),
            admin: account.admin,
            default_topic_perm: account.default_topic_perm.clone(),
            default_group_perm: account.default_group_perm.clone(),
            topic_perms: joined(&account.topic_perms),
            group_perms: joined(&account.group_perms),
        };
        self.ask(addr, RequestCode::UPDATE_AND_CREATE_ACL_CONFIG, &header)
            .await
            .map(drop)
    }

    /// Deletes an account from a broker (`DELETE_ACL_CONFIG`).
    ///
    /// # Errors
    /// There is no such account, or the broker has no access control, refused or did not answer.
    pub async fn delete_acl_account(
        &self,
        addr: &str,
        access_key: &str,
    ) -> Result<(), ClientError> {
        let header = DeleteAccessConfigRequestHeader {
            access_key: access_key.to_owned(),
        };
        self.ask(addr, RequestCode::DELETE_ACL_CONFIG, &header)
            .await
            .map(drop)
    }

    /// Replaces the addresses from which nobody need sign, in one of a broker's files: the one
    /// named by its full path, or the default one (`UPDATE_GLOBAL_WHITE_ADDRS_CONFIG`).
    ///
    /// # Errors
    /// An address or the file makes no sense to the broker, or it has no access control, refused
    /// or did not answer.
    pub async fn update_global_white_addrs(
        &self,
        addr: &str,
        patterns: &[String],
        file: Option<&str>,
    ) -> Result<(), ClientError> {
        let header = UpdateGlobalWhiteAddrsConfigRequestHeader {
            global_white_addrs: patterns.join(","),
            acl_file_full_path: file.map(str::to_owned),
        };
        self.ask(addr, RequestCode::UPDATE_GLOBAL_WHITE_ADDRS_CONFIG, &header)
            .await
            .map(drop)
    }

    /// The versions of a broker's access control files (`GET_BROKER_CLUSTER_ACL_INFO`).
    ///
    /// # Errors
    /// The broker has no access control, refused or did not answer.
    pub async fn acl_versions(&self, addr: &str) -> Result<AclVersions, ClientError> {
        let code = RequestCode::GET_BROKER_CLUSTER_ACL_INFO;
        let response = self.ask_with(addr, code, Vec::new()).await?;
        let header: GetBrokerAclConfigResponseHeader = Self::header(addr, &response)?;
        let wrong = |error| malformed(addr, error);
        let files = match &header.all_acl_file_version {
            Some(text) => fastjson::from_slice(text.as_bytes()).map_err(wrong)?,
            None => {
                let version = DataVersion::from_json(header.version.as_bytes()).map_err(wrong)?;
                BTreeMap::from([(ONLY_FILE.to_owned(), version)])
            }
        };
        Ok(AclVersions {
            cluster_name: header.cluster_name,
            broker_name: header.broker_name,
            broker_addr: header.broker_addr,
            files,
        })
    }

    /// All accounts and addresses of a broker, secrets included (`GET_BROKER_CLUSTER_ACL_CONFIG`).
    /// Apache RocketMQ has this request from 4.6 to 4.9.7 and from 5.0 to 5.1.
    ///
    /// # Errors
    /// The broker does not have the request or no access control, refused or did not answer.
    pub async fn acl_config(&self, addr: &str) -> Result<AclConfig, ClientError> {
        let code = RequestCode::GET_BROKER_CLUSTER_ACL_CONFIG;
        self.get_plain(addr, code, AclConfig::from_json).await
    }
}
