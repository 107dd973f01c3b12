//! Brokers that check access.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::site::{Site, words};

const ACCOUNTS: &str = "\
accounts:
- {accessKey: operator, secretKey: operator-secret, admin: true}
- {accessKey: shop-key, secretKey: shop-secret, topicPerms: [orders=PUB]}
";
const OPERATOR: &str = "--access-key operator --secret-key operator-secret";
const SHOP: &str = "--access-key shop-key --secret-key shop-secret";
const AUDITOR: &str = "--access-key auditor --secret-key auditor-secret";

fn site() -> Site {
    let files = [("data/conf/plain_acl.yml", ACCOUNTS)];
    Site::start_with("aclEnable=true\n", &files)
}

impl Site {
    /// A command that somebody signs and that must succeed.
    fn done_by(&self, who: &str, line: &str) -> String {
        self.text(&words(&format!("{line} {who}")))
    }

    fn json_for(&self, who: &str, line: &str) -> Value {
        self.json(&words(&format!("{line} {who}")))
    }

    /// A command that somebody signs and that must be refused.
    fn refused_to(&self, who: &str, line: &str) -> String {
        self.refused(&words(&format!("{line} {who}")))
    }
}

#[test]
fn who_may_not_is_told_why_and_what_may_help() {
    let site = site();
    let create = "updateTopic -t orders -c DefaultCluster";
    assert_snapshot!(site.refused_to("", create), @r"
    BROKER answered SYSTEM_ERROR(1): org.apache.rocketmq.acl.common.AclException: No accessKey is configured
    The server checks access: `--access-key` and `--secret-key` say who you are.
    ");
    let wrong = "--access-key operator --secret-key guessed";
    assert_snapshot!(site.refused_to(wrong, create), @r"
    BROKER answered SYSTEM_ERROR(1): org.apache.rocketmq.acl.common.AclException: Check signature failed for accessKey=operator
    There is no account of the name that `--access-key` gave, or `--secret-key` is not its secret.
    ");
    let stranger = "--access-key stranger --secret-key guessed";
    assert_snapshot!(site.refused_to(stranger, create), @r"
    BROKER answered SYSTEM_ERROR(1): org.apache.rocketmq.acl.common.AclException: Check signature failed for accessKey=stranger
    There is no account of the name that `--access-key` gave, or `--secret-key` is not its secret.
    ");
    assert_snapshot!(site.refused_to(SHOP, create), @r"
    BROKER answered SYSTEM_ERROR(1): org.apache.rocketmq.acl.common.AclException: Need admin permission for request code=17, but accessKey=shop-key is not
    Only administrators may do this: accounts with `admin: true`.
    ");
    site.done_by(OPERATOR, create);
    site.done_by(SHOP, "sendMessage -t orders -p hello");
    let read = "consumeMessage -t orders -g readers";
    assert_snapshot!(site.refused_to(SHOP, read), @r"
    BROKER answered SYSTEM_ERROR(1): org.apache.rocketmq.acl.common.AclException: No default permission for topic:orders, SUB is needed
    The account may not do this; `updateAclConfig` changes what it may.
    ");
}

#[test]
fn who_may_gets_an_answer() {
    let site = site();
    site.done_by(
        OPERATOR,
        "updateTopic -t orders -c DefaultCluster -r 1 -w 1",
    );
    let sent = site.json_for(SHOP, "sendMessage -t orders -p hello -k k1");
    assert_eq!(sent["sendResult"], "SEND_OK");
    let found = site.json_for(OPERATOR, "queryMsgByKey -t orders -k k1");
    assert_eq!(found[0]["body"], "hello");
    let printed = site.json_for(OPERATOR, "printMsg -t orders");
    assert_eq!(printed[0]["body"], "hello");
    let refused = site.refused_to(SHOP, "sendMessage -t refunds -p hello");
    assert!(
        refused.contains("topic:refunds, PUB is needed"),
        "{refused}"
    );
}

#[test]
fn an_account_is_made_shown_changed_and_deleted() {
    let site = site();
    site.done_by(
        OPERATOR,
        "updateTopic -t orders -c DefaultCluster -r 1 -w 1",
    );
    site.done_by(SHOP, "sendMessage -t orders -p hello");
    let read = "consumeMessage -t orders -g audit";
    site.refused_to(AUDITOR, read);
    let make = "updateAclConfig -c DefaultCluster -a auditor -s auditor-secret \
                -t orders=SUB,refunds=DENY -g audit=SUB -i DENY -u DENY -w 10.1.1.1";
    let made = site.done_by(OPERATOR, make);
    assert_snapshot!(made, @"account auditor is up to date on BROKER");
    site.done_by(AUDITOR, read);
    let shown = site.json_for(OPERATOR, "getAclConfig -c DefaultCluster");
    let auditor = json!({
        "brokerAddr": "BROKER",
        "accessKey": "auditor",
        "secretKey": "auditor-secret",
        "admin": false,
        "whiteRemoteAddress": "10.1.1.1",
        "defaultTopicPerm": "DENY",
        "defaultGroupPerm": "DENY",
        "topicPerms": ["orders=SUB", "refunds=DENY"],
        "groupPerms": ["audit=SUB"],
    });
    assert_eq!(shown["accounts"][2], auditor);
    let change = format!(
        "updateAclConfig -b {} -a auditor -s new-secret -m true",
        site.broker
    );
    site.done_by(OPERATOR, &change);
    site.refused_to(AUDITOR, read);
    let promoted = "--access-key auditor --secret-key new-secret";
    let version = site.json_for(promoted, "clusterAclConfigVersion -c DefaultCluster");
    assert_eq!(
        (&version[0]["aclFile"], &version[0]["version"]),
        (&json!("conf/plain_acl.yml"), &json!(2))
    );
    let delete = "deleteAccessConfig -c DefaultCluster -a auditor";
    let deleted = site.done_by(promoted, delete);
    assert_snapshot!(deleted, @"account auditor is deleted from BROKER");
    let gone = site.refused_to(OPERATOR, delete);
    assert_snapshot!(gone, @"BROKER answered DELETE_ACL_CONFIG_FAILED(210): there is no account `auditor`");
}

#[test]
fn an_account_that_makes_no_sense_changes_nothing() {
    let site = site();
    let short = "updateAclConfig -c DefaultCluster -a me -s auditor-secret";
    assert_snapshot!(site.refused_to(OPERATOR, short), @"BROKER answered UPDATE_AND_CREATE_ACL_CONFIG_FAILED(209): conf/plain_acl.yml: the accessKey `me` must have more than 6 characters");
    let perm = "updateAclConfig -c DefaultCluster -a auditor -s auditor-secret -t orders=READ";
    assert_snapshot!(site.refused_to(OPERATOR, perm), @"BROKER answered UPDATE_AND_CREATE_ACL_CONFIG_FAILED(209): `READ` is not a permission: DENY, PUB, SUB and PUB|SUB are");
    site.refused_to(
        SHOP,
        "updateAclConfig -c DefaultCluster -a shop-key -s shop-secret -m true",
    );
    site.refused_to(SHOP, "getAclConfig -c DefaultCluster");
    let shown = site.json_for(OPERATOR, "getAclConfig -c DefaultCluster");
    assert_eq!(shown["accounts"].as_array().map(Vec::len), Some(2));
    assert_eq!(shown["accounts"][1]["admin"], false);
}

#[test]
fn from_a_white_address_nobody_need_sign() {
    let site = site();
    let addresses = "updateGlobalWhiteAddr -c DefaultCluster -g 10.0.3.*,127.0.0.1";
    site.refused_to(SHOP, addresses);
    let set = site.done_by(OPERATOR, addresses);
    assert_snapshot!(set, @"nobody need sign from 10.0.3.*, 127.0.0.1 on BROKER");
    site.done_by("", "updateTopic -t orders -c DefaultCluster");
    let file = "updateGlobalWhiteAddr -c DefaultCluster -g 10.0.3.* -p data/conf/none.yml";
    assert_snapshot!(site.refused_to("", file), @"BROKER answered UPDATE_GLOBAL_WHITE_ADDRS_CONFIG_FAILED(211): there is no file `data/conf/none.yml`");
    let file = site.path("data/conf/plain_acl.yml");
    let back = format!("updateGlobalWhiteAddr -c DefaultCluster -g 10.0.3.* -p {file}");
    site.done_by("", &back);
    site.refused_to("", "updateTopic -t orders -c DefaultCluster");
}

#[test]
fn without_access_control_there_are_no_accounts() {
    let site = Site::start();
    let make = "updateAclConfig -c DefaultCluster -a auditor -s auditor-secret";
    assert_snapshot!(site.refused_to("", make), @"BROKER answered UPDATE_AND_CREATE_ACL_CONFIG_FAILED(209): access control is off: aclEnable is not set");
    let shown = site.refused_to("", "getAclConfig -c DefaultCluster");
    assert!(shown.contains("access control is off"), "{shown}");
}

#[test]
fn a_name_server_that_authenticates_takes_the_broker_beside_it_and_no_strangers() {
    let settings = concat!(
        "authenticationEnabled=true\n",
        r#"innerClientAuthenticationCredentials={"accessKey":"inner","secretKey":"inner-secret"}"#,
        "\n",
    );
    let site = Site::start_with(settings, &[]);
    let route = site.json(&words("topicRoute -t TBW102"));
    assert_eq!(route[0]["brokerName"], "broker-a");
    let wipe = "wipeWritePerm -b broker-a";
    let refused = site.refused_to("", wipe);
    assert!(refused.contains("NO_PERMISSION(16)"), "{refused}");
    site.done_by("--access-key inner --secret-key inner-secret", wipe);
}
