//! Commands about access control, by the rules of 4.9.

use clap::Args;
use hotfire_client::{Admin, ClientError};
use hotfire_protocol::body::PlainAccessConfig;
use serde_json::json;

use super::failure::Failure;
use super::report::{Columns, Content, Report};
use super::target::Target;
use super::topic::time;

/// `updateAclConfig`
#[derive(Debug, Args)]
pub struct UpdateAclConfig {
    #[command(flatten)]
    target: Target,
    /// The name of the account, of more than 6 characters.
    // Not `access_key`: by that name goes the account of whoever asks.
    #[arg(short = 'a', long = "accessKey", value_name = "KEY")]
    account: String,
    /// Its secret, of more than 6 characters.
    #[arg(short = 's', long = "secretKey", value_name = "SECRET")]
    secret: String,
    /// The address pattern from which it need not sign.
    #[arg(short = 'w', long = "whiteRemoteAddress", value_name = "ADDRESS")]
    white_remote_address: Option<String>,
    /// What it may do with topics that are not listed: DENY, PUB, SUB or PUB|SUB.
    #[arg(short = 'i', long = "defaultTopicPerm", value_name = "PERM")]
    default_topic_perm: Option<String>,
    /// What it may do with groups that are not listed: DENY or SUB.
    #[arg(short = 'u', long = "defaultGroupPerm", value_name = "PERM")]
    default_group_perm: Option<String>,
    /// What it may do with topics: topicA=PUB,topicB=PUB|SUB.
    #[arg(
        short = 't',
        long = "topicPerms",
        value_name = "PERMS",
        value_delimiter = ','
    )]
    topic_perms: Option<Vec<String>>,
    /// What it may do with groups: groupA=SUB,groupB=DENY.
    #[arg(
        short = 'g',
        long = "groupPerms",
        value_name = "PERMS",
        value_delimiter = ','
    )]
    group_perms: Option<Vec<String>>,
    /// Whether it is an administrator. Default: it is none, whatever it was before.
    #[arg(short = 'm', long = "admin", value_name = "BOOL")]
    admin: Option<bool>,
}

impl UpdateAclConfig {
    pub async fn run(self, admin: &Admin) -> Result<Report, Failure> {
        let account = PlainAccessConfig {
            access_key: Some(self.account.clone()),
            admin: self.admin.unwrap_or(false),
            default_group_perm: self.default_group_perm,
            default_topic_perm: self.default_topic_perm,
            group_perms: self.group_perms,
            secret_key: Some(self.secret),
            topic_perms: self.topic_perms,
            white_remote_address: self.white_remote_address,
        };
        let addrs = self.target.addrs_with_slaves(admin).await?;
        for addr in &addrs {
            let updated = admin.update_acl_account(addr, &account);
            updated.await.map_err(named)?;
        }
        let (key, addrs) = (self.account, addrs.join(", "));
        Ok(Report::done(format!(
            "account {key} is up to date on {addrs}"
        )))
    }
}

/// `deleteAccessConfig`
#[derive(Debug, Args)]
pub struct DeleteAccessConfig {
    #[command(flatten)]
    target: Target,
    /// The name of the account.
    #[arg(short = 'a', long = "accessKey", value_name = "KEY")]
    account: String,
}

impl DeleteAccessConfig {
    pub async fn run(self, admin: &Admin) -> Result<Report, Failure> {
        let addrs = self.target.addrs_with_slaves(admin).await?;
        for addr in &addrs {
            let deleted = admin.delete_acl_account(addr, &self.account);
            deleted.await.map_err(named)?;
        }
        let (key, addrs) = (self.account, addrs.join(", "));
        Ok(Report::done(format!(
            "account {key} is deleted from {addrs}"
        )))
    }
}

/// `updateGlobalWhiteAddr`
#[derive(Debug, Args)]
pub struct UpdateGlobalWhiteAddr {
    #[command(flatten)]
    target: Target,
    /// All address patterns from which nobody need sign: 10.10.103.*,192.168.0.*.
    #[arg(
        short = 'g',
        long = "globalWhiteRemoteAddresses",
        value_name = "ADDRESSES",
        value_delimiter = ',',
        required = true
    )]
    addresses: Vec<String>,
    /// The file to change, by its path as clusterAclConfigVersion shows it. Default:
    /// conf/plain_acl.yml.
    #[arg(short = 'p', long = "aclFileFullPath", value_name = "PATH")]
    file: Option<String>,
}

impl UpdateGlobalWhiteAddr {
    pub async fn run(self, admin: &Admin) -> Result<Report, Failure> {
        let (patterns, file) = (&self.addresses, self.file.as_deref());
        let addrs = self.target.addrs_with_slaves(admin).await?;
        for addr in &addrs {
            let updated = admin.update_global_white_addrs(addr, patterns, file);
            updated.await.map_err(named)?;
        }
        let (patterns, addrs) = (patterns.join(", "), addrs.join(", "));
        Ok(Report::done(format!(
            "nobody need sign from {patterns} on {addrs}"
        )))
    }
}

const VERSIONS: Columns = &[
    ("Cluster Name", "clusterName"),
    ("Broker Name", "brokerName"),
    ("Broker Addr", "brokerAddr"),
    ("Acl File", "aclFile"),
    ("Version Num", "version"),
    ("Last Update Time", "lastUpdateTime"),
];

/// `clusterAclConfigVersion`
pub async fn versions(target: Target, admin: &Admin) -> Result<Report, Failure> {
    let mut rows = Vec::new();
    for addr in target.addrs(admin).await? {
        let versions = admin.acl_versions(&addr).await?;
        for (file, version) in versions.files {
            rows.push(vec![
                json!(versions.cluster_name),
                json!(versions.broker_name),
                json!(versions.broker_addr),
                json!(file),
                json!(version.counter),
                time(version.timestamp),
            ]);
        }
    }
    Ok(Report::rows(VERSIONS, rows))
}

const ADDRESSES: Columns = &[("Broker Addr", "brokerAddr"), ("Address", "address")];
const ACCOUNTS: Columns = &[
    ("Broker Addr", "brokerAddr"),
    ("Access Key", "accessKey"),
    ("Secret Key", "secretKey"),
    ("Admin", "admin"),
    ("White Address", "whiteRemoteAddress"),
    ("Default Topic Perm", "defaultTopicPerm"),
    ("Default Group Perm", "defaultGroupPerm"),
    ("Topic Perms", "topicPerms"),
    ("Group Perms", "groupPerms"),
];

/// `getAclConfig`
pub async fn config(target: Target, admin: &Admin) -> Result<Report, Failure> {
    let (mut addresses, mut accounts) = (Vec::new(), Vec::new());
    for addr in target.addrs(admin).await? {
        let config = admin.acl_config(&addr).await?;
        let patterns = config.global_white_addrs.iter();
        addresses.extend(patterns.map(|pattern| vec![json!(addr), json!(pattern)]));
        accounts.extend(config.plain_access_configs.into_iter().map(|account| {
            vec![
                json!(addr),
                json!(account.access_key),
                json!(account.secret_key),
                json!(account.admin),
                json!(account.white_remote_address),
                json!(account.default_topic_perm),
                json!(account.default_group_perm),
                json!(account.topic_perms),
                json!(account.group_perms),
            ]
        }));
    }
    Ok(Report::default()
        .with(
            "globalWhiteRemoteAddresses",
            Content::Rows(ADDRESSES, addresses),
        )
        .with("accounts", Content::Rows(ACCOUNTS, accounts)))
}

/// Why a change was refused: what the numbers mean that these requests are answered with, and have
/// another meaning since 5.0 (`ResponseCode` of 4.9).
fn named(error: ClientError) -> Failure {
    let ClientError::Response { addr, code, remark } = &error else {
        return error.into();
    };
    let name = match code.0 {
        209 => "UPDATE_AND_CREATE_ACL_CONFIG_FAILED",
        210 => "DELETE_ACL_CONFIG_FAILED",
        211 => "UPDATE_GLOBAL_WHITE_ADDRS_CONFIG_FAILED",
        _ => return error.into(),
    };
    Failure::Refused(format!("{addr} answered {name}({}): {remark}", code.0))
}
