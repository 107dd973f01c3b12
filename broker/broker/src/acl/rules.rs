//! Who may do what (`PlainPermissionManager`).

use std::fmt;
use std::net::IpAddr;

use hotfire_protocol::acl::{self, ACCESS_KEY, SIGNATURE};
use hotfire_protocol::{RemotingCommand, ResponseCode, topic, version};
use rustc_hash::FxHashMap;

use super::address::AddressPattern;
use super::perm::Perm;
use super::permission::{Permission, is_group};
use crate::refusal::Refusal;

/// The field that tells a query by unique key from one by key (`MixAll.UNIQUE_MSG_QUERY_FLAG`).
const UNIQUE_KEY_QUERY: &str = "_UNIQUE_KEY_QUERY";

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Denied(pub String);

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// In 4.9 access control throws in front of the processor, and what is thrown there becomes a
/// SYSTEM_ERROR with the name of the exception.
impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        let remark = format!("org.apache.rocketmq.acl.common.AclException: {denied}");
        Self::new(ResponseCode::SYSTEM_ERROR, remark)
    }
}

/// An account.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub secret_key: String,
    /// From here it need not sign, and may do everything.
    pub addresses: AddressPattern,
    pub admin: bool,
    pub default_topic_perm: Perm,
    pub default_group_perm: Perm,
    /// By topics and the retry topics of groups. `None` if the account lists none at all, which
    /// makes a difference for administrators.
    pub perms: Option<FxHashMap<String, Perm>>,
}

/// The secret stays out of logs.
impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("admin", &self.admin)
            .field("perms", &self.perms)
            .finish_non_exhaustive()
    }
}

impl Account {
    /// Sets what it may do with a resource. Of several entries for one the last counts.
    pub fn grant(&mut self, resource: String, perm: Perm) {
        self.perms.get_or_insert_default().insert(resource, perm);
    }

    /// Whether the request is signed with the account's secret.
    fn signed(&self, request: &RemotingCommand) -> bool {
        // Clients up to 4.9.3 add this field after they have signed.
        let without: &[&str] = if request.version < version::V4_9_4 {
            &[UNIQUE_KEY_QUERY]
        } else {
            &[]
        };
        let claimed = request.ext.get(SIGNATURE).unwrap_or_default();
        acl::verify(
            claimed,
            &self.secret_key,
            &request.ext,
            &request.body,
            without,
        )
    }

    fn perm(&self, resource: &str) -> Perm {
        let listed = self.perms.as_ref().and_then(|perms| perms.get(resource));
        let default = if is_group(resource) {
            self.default_group_perm
        } else if topic::is_internal_topic(resource) {
            // What passes through there is of all topics: only a list that names it opens it.
            Perm::DENY
        } else {
            self.default_topic_perm
        };
        listed.copied().unwrap_or(default)
    }

    /// Whether it may do what takes `needed` of a resource.
    ///
    /// # Errors
    /// It may not.
    fn check(&self, resource: &str, needed: Perm) -> Result<(), Denied> {
        // Whoever may do anything may say what it did.
        let traces = resource == topic::TRACE_TOPIC && needed == Perm::PUB;
        if traces || (self.admin && self.perms.is_none()) || self.perm(resource).allows(needed) {
            return Ok(());
        }
        Err(Denied(no_permission(resource, needed)))
    }
}

/// What all files say together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    /// From here nobody need sign.
    pub addresses: Vec<AddressPattern>,
    /// By access key.
    pub accounts: FxHashMap<String, Account>,
}

impl Rules {
    /// Whether a request from an address may be served. The order of the checks: an address of the
    /// global white list, an access key, one that is known, an address of the account's own white
    /// list, the signature, and then what the account may do. Before the signature is found right
    /// nothing but the header is read. `trust_signatures` is for a planted defect.
    ///
    /// A key that is not known is refused as a wrong signature is: which keys there are is nobody's
    /// business. (4.9 says so, and reads what a request takes before it looks at the key.)
    ///
    /// # Errors
    /// It may not.
    pub fn check(
        &self,
        address: IpAddr,
        request: &RemotingCommand,
        permission: &Permission,
        trust_signatures: bool,
    ) -> Result<(), Denied> {
        if self.is_white(address) {
            return Ok(());
        }
        let key = key(request)?;
        let wrong_signature = || Denied(format!("Check signature failed for accessKey={key}"));
        let account = self.accounts.get(key).ok_or_else(wrong_signature)?;
        if account.addresses.matches(address) {
            return Ok(());
        }
        if !account.signed(request) && !trust_signatures {
            return Err(wrong_signature());
        }
        if matches!(permission, Permission::Administrator) && !account.admin {
            return Err(Denied(format!(
                "Need admin permission for request code={}, but accessKey={key} is not",
                request.code
            )));
        }
        for (resource, needed) in permission.needs(request).map_err(Denied)? {
            account.check(&resource, needed)?;
        }
        Ok(())
    }

    /// Whether the sender of a request that has been admitted may do what takes `needed` of a topic
    /// that came to light only afterwards: that of a message which the request names by its place.
    ///
    /// # Errors
    /// It may not.
    pub fn check_topic(
        &self,
        address: IpAddr,
        request: &RemotingCommand,
        topic: &str,
        needed: Perm,
    ) -> Result<(), Denied> {
        if self.is_white(address) {
            return Ok(());
        }
        match self.accounts.get(key(request)?) {
            Some(account) if account.addresses.matches(address) => Ok(()),
            Some(account) => account.check(topic, needed),
            // It was there a moment ago.
            None => Err(Denied(no_permission(topic, needed))),
        }
    }

    fn is_white(&self, address: IpAddr) -> bool {
        let mut patterns = self.addresses.iter();
        patterns.any(|pattern| pattern.matches(address))
    }
}

/// The access key of a request. C++ clients without credentials send empty fields.
fn key(request: &RemotingCommand) -> Result<&str, Denied> {
    let key = request.ext.get(ACCESS_KEY).unwrap_or_default();
    if key.is_empty() {
        return Err(Denied("No accessKey is configured".to_owned()));
    }
    Ok(key)
}

fn no_permission(resource: &str, needed: Perm) -> String {
    match topic::retry_group(resource) {
        Some(group) => format!("No default permission for group:{group}, {needed} is needed"),
        None => format!("No default permission for topic:{resource}, {needed} is needed"),
    }
}

#[cfg(test)]
mod tests {
    use hotfire_protocol::RequestCode;
    use hotfire_protocol::body::{ConsumerData, HeartbeatData, SubscriptionData};
    use hotfire_protocol::header::send::SendMessageRequestHeader;
    use hotfire_protocol::header::topic::CreateTopicRequestHeader;

    use super::*;
    use crate::acl::file::{PlainAccessData, account};

    const FILE: &str = "
globalWhiteRemoteAddresses: [10.0.0.*]
accounts:
- {accessKey: producer, secretKey: secret-1, topicPerms: [orders=PUB, refunds=PUB|SUB]}
- accessKey: consumer
  secretKey: secret-2
  whiteRemoteAddress: 10.9.9.9
  defaultTopicPerm: SUB
  groupPerms: [bar=SUB, baz=DENY]
- {accessKey: operator, secretKey: secret-3, admin: true}
- {accessKey: limited, secretKey: secret-4, admin: true, topicPerms: [orders=SUB]}
";
    const ELSEWHERE: &str = "192.168.7.7";

    fn rules() -> Rules {
        let data = PlainAccessData::from_yaml(FILE.as_bytes()).unwrap();
        Rules {
            addresses: data
                .addresses()
                .map(|text| AddressPattern::parse(text).unwrap())
                .collect(),
            accounts: data
                .accounts()
                .map(|config| account(config).unwrap())
                .collect(),
        }
    }

    /// What the table of request codes says.
    fn permission(code: i32) -> &'static Permission {
        &crate::processor::table::entry(code).unwrap().permission
    }

    fn send(topic: &str) -> RemotingCommand {
        let header = SendMessageRequestHeader {
            topic: topic.to_owned(),
            ..SendMessageRequestHeader::default()
        };
        RemotingCommand::request_with(RequestCode::SEND_MESSAGE, &header).with_body("hello")
    }

    fn fields(code: RequestCode, fields: &[(&'static str, &str)]) -> RemotingCommand {
        let mut request = RemotingCommand::request(code);
        request.ext = fields.iter().copied().collect();
        request
    }

    fn signed(mut request: RemotingCommand, key: &str) -> RemotingCommand {
        let secret = match key {
            "producer" => "secret-1",
            "consumer" => "secret-2",
            "operator" => "secret-3",
            "limited" => "secret-4",
            _ => "nobody's",
        };
        acl::sign(&mut request, key, secret, None);
        request
    }

    fn check_from(address: &str, request: &RemotingCommand) -> Result<(), String> {
        let address = address.parse().unwrap();
        let permission = permission(request.code);
        let checked = rules().check(address, request, permission, false);
        checked.map_err(|denied| denied.0)
    }

    fn check(request: &RemotingCommand) -> Result<(), String> {
        check_from(ELSEWHERE, request)
    }

    fn denied(why: &str) -> Result<(), String> {
        Err(why.to_owned())
    }

    #[test]
    fn a_global_white_address_need_not_sign() {
        assert_eq!(check_from("10.0.0.255", &send("orders")), Ok(()));
        let refused = denied("No accessKey is configured");
        assert_eq!(check_from("10.0.1.1", &send("orders")), refused);
    }

    #[test]
    fn a_request_without_an_access_key_is_refused() {
        let refused = denied("No accessKey is configured");
        assert_eq!(check(&send("orders")), refused);
        // As C++ clients send it.
        let mut empty = send("orders");
        for field in [ACCESS_KEY, SIGNATURE, "OnsChannel"] {
            empty.ext.set(field, "");
        }
        assert_eq!(check(&empty), refused);
    }

    #[test]
    fn an_unknown_access_key_is_refused_like_a_wrong_signature() {
        let request = signed(send("orders"), "stranger");
        let refused = denied("Check signature failed for accessKey=stranger");
        assert_eq!(check(&request), refused);
    }

    #[test]
    fn an_accounts_white_address_need_not_sign_and_may_do_everything() {
        let request = fields(
            RequestCode::UPDATE_BROKER_CONFIG,
            &[(ACCESS_KEY, "consumer")],
        );
        assert_eq!(check_from("10.9.9.9", &request), Ok(()));
        let refused = denied("Check signature failed for accessKey=consumer");
        assert_eq!(check(&request), refused);
    }

    #[test]
    fn a_wrong_signature_is_refused() {
        let refused = denied("Check signature failed for accessKey=producer");
        let mut request = send("orders");
        acl::sign(&mut request, "producer", "secret-2", None);
        assert_eq!(check(&request), refused);
        let mut changed = signed(send("orders"), "producer");
        changed.ext.set("queueId", "7");
        assert_eq!(check(&changed), refused);
        let mut body = signed(send("orders"), "producer");
        body.body = "hello!".into();
        assert_eq!(check(&body), refused);
        let mut extended = signed(send("orders"), "producer");
        extended.ext.set("unknownField", "x");
        assert_eq!(check(&extended), refused);
        let mut unsigned = signed(send("orders"), "producer");
        unsigned.ext.remove(SIGNATURE);
        assert_eq!(check(&unsigned), refused);
    }

    #[test]
    fn a_signature_counts_before_permissions() {
        let mut request = send("secrets");
        acl::sign(&mut request, "producer", "wrong", None);
        let refused = denied("Check signature failed for accessKey=producer");
        assert_eq!(check(&request), refused);
    }

    #[test]
    fn old_clients_do_not_sign_the_unique_key_flag() {
        let query = || {
            fields(
                RequestCode::QUERY_MESSAGE,
                &[("topic", "refunds"), ("key", "k")],
            )
        };
        let mut old = query();
        old.version = version::V4_1_0_SNAPSHOT;
        let mut old = signed(old, "producer");
        old.ext.set(UNIQUE_KEY_QUERY, "true");
        assert_eq!(check(&old), Ok(()));
        let mut new = query();
        new.ext.set(UNIQUE_KEY_QUERY, "true");
        assert_eq!(check(&signed(new, "producer")), Ok(()));
        let mut tampered = signed(query(), "producer");
        tampered.ext.set(UNIQUE_KEY_QUERY, "true");
        assert!(check(&tampered).is_err());
    }

    #[test]
    fn sending_takes_the_topic() {
        assert_eq!(check(&signed(send("orders"), "producer")), Ok(()));
        let refused = denied("No default permission for topic:secrets, PUB is needed");
        assert_eq!(check(&signed(send("secrets"), "producer")), refused);
        let short = fields(
            RequestCode::SEND_MESSAGE_V2,
            &[("a", "pg"), ("b", "secrets")],
        );
        assert_eq!(check(&signed(short, "producer")), refused);
        let batch = fields(
            RequestCode::SEND_BATCH_MESSAGE,
            &[("a", "pg"), ("b", "secrets")],
        );
        assert_eq!(check(&signed(batch, "producer")), refused);
    }

    #[test]
    fn sending_to_a_retry_topic_takes_the_group() {
        assert_eq!(check(&signed(send("%RETRY%bar"), "consumer")), Ok(()));
        let refused = denied("No default permission for group:bar, SUB is needed");
        assert_eq!(check(&signed(send("%RETRY%bar"), "producer")), refused);
    }

    #[test]
    fn consuming_takes_the_topic_and_the_group() {
        for code in [
            RequestCode::PULL_MESSAGE,
            RequestCode::LITE_PULL_MESSAGE,
            RequestCode::UPDATE_CONSUMER_OFFSET,
            RequestCode::POP_MESSAGE,
            RequestCode::ACK_MESSAGE,
        ] {
            let request = |topic, group| {
                let request = fields(code, &[("topic", topic), ("consumerGroup", group)]);
                signed(request, "consumer")
            };
            assert_eq!(check(&request("orders", "bar")), Ok(()), "{code}");
            let refused = denied("No default permission for group:baz, SUB is needed");
            assert_eq!(check(&request("orders", "baz")), refused, "{code}");
        }
        let other = fields(
            RequestCode::PULL_MESSAGE,
            &[("topic", "orders"), ("consumerGroup", "g")],
        );
        let refused = denied("No default permission for topic:orders, SUB is needed");
        assert_eq!(check(&signed(other, "producer")), refused);
    }

    #[test]
    fn what_only_names_a_group_takes_the_group() {
        let unregister = RequestCode::UNREGISTER_CLIENT;
        let members = RequestCode::GET_CONSUMER_LIST_BY_GROUP;
        for (code, field) in [
            (unregister, "consumerGroup"),
            (members, "consumerGroup"),
            (RequestCode::CONSUMER_SEND_MSG_BACK, "group"),
        ] {
            assert_eq!(
                check(&signed(fields(code, &[(field, "bar")]), "consumer")),
                Ok(())
            );
            assert!(check(&signed(fields(code, &[(field, "baz")]), "consumer")).is_err());
        }
        // A producer takes its leave without a consumer group.
        let leave = fields(unregister, &[("producerGroup", "pg")]);
        assert_eq!(check(&signed(leave, "producer")), Ok(()));
    }

    #[test]
    fn a_heartbeat_takes_all_that_it_names() {
        let heartbeat = |group: &str, topic: &str| {
            let data = HeartbeatData {
                consumer_data_set: vec![ConsumerData {
                    group_name: group.to_owned(),
                    subscription_data_set: vec![SubscriptionData {
                        topic: topic.to_owned(),
                        ..SubscriptionData::default()
                    }],
                    ..ConsumerData::default()
                }],
                ..HeartbeatData::default()
            };
            RemotingCommand::request(RequestCode::HEART_BEAT).with_body(data.to_json())
        };
        assert_eq!(
            check(&signed(heartbeat("bar", "orders"), "consumer")),
            Ok(())
        );
        assert!(check(&signed(heartbeat("baz", "orders"), "consumer")).is_err());
        assert!(check(&signed(heartbeat("bar", "orders"), "producer")).is_err());
        let garbage = RemotingCommand::request(RequestCode::HEART_BEAT).with_body("{");
        assert!(check(&signed(garbage, "operator")).is_err());
    }

    #[test]
    fn administration_takes_an_administrator() {
        let header = CreateTopicRequestHeader::default();
        let create = RemotingCommand::request_with(RequestCode::UPDATE_AND_CREATE_TOPIC, &header);
        assert_eq!(check(&signed(create.clone(), "operator")), Ok(()));
        let refused =
            denied("Need admin permission for request code=17, but accessKey=producer is not");
        assert_eq!(check(&signed(create, "producer")), refused);
        for code in [25, 215, 200, 207, 50, 51, 53, 54] {
            let request = RemotingCommand::request(RequestCode(code));
            assert_eq!(
                check(&signed(request.clone(), "operator")),
                Ok(()),
                "{code}"
            );
            assert!(check(&signed(request, "consumer")).is_err(), "{code}");
        }
    }

    #[test]
    fn an_administrator_with_a_list_is_bound_by_it() {
        assert_eq!(check(&signed(send("secrets"), "operator")), Ok(()));
        assert!(check(&signed(send("orders"), "limited")).is_err());
    }

    #[test]
    fn everybody_may_send_traces() {
        assert_eq!(check(&signed(send(topic::TRACE_TOPIC), "consumer")), Ok(()));
    }

    #[test]
    fn the_planted_defect_lets_wrong_signatures_pass_and_nothing_else() {
        let mut request = send("orders");
        acl::sign(&mut request, "producer", "wrong", None);
        let address = ELSEWHERE.parse().unwrap();
        let permission = permission(request.code);
        assert_eq!(rules().check(address, &request, permission, true), Ok(()));
        let stranger = signed(send("orders"), "stranger");
        let checked = rules().check(address, &stranger, permission, true);
        assert!(checked.is_err());
    }

    #[test]
    fn a_refusal_looks_like_that_of_4_9() {
        let refusal = Refusal::from(Denied("No accessKey is configured".to_owned()));
        assert_eq!(refusal.code, ResponseCode::SYSTEM_ERROR);
        assert_eq!(
            refusal.remark,
            "org.apache.rocketmq.acl.common.AclException: No accessKey is configured"
        );
    }

    /// A request that names the topic `t` and the group `g` wherever a code looks for them.
    fn naming(code: RequestCode) -> RemotingCommand {
        let mut request = RemotingCommand::request(code).with_body(
            r#"{"clientID":"c","consumerDataSet":[{"groupName":"g","subscriptionDataSet":[]}],
                "clientId":"c","consumerGroup":"g","topic":"t",
                "mqSet":[{"brokerName":"b","queueId":0,"topic":"t"}],
                "acks":[{"c":"g","t":"t"}]}"#,
        );
        let fields = [
            ("topic", "t"),
            ("b", "t"),
            ("group", "g"),
            ("consumerGroup", "g"),
        ];
        request.ext = fields.into_iter().collect();
        request
    }

    #[test]
    fn an_account_that_may_do_nothing_is_told_of_the_broker_and_no_more() {
        let account = |topics, groups| Account {
            secret_key: "the-secret".to_owned(),
            addresses: AddressPattern::parse("").unwrap(),
            admin: false,
            default_topic_perm: topics,
            default_group_perm: groups,
            perms: None,
        };
        let mut rules = Rules::default();
        let denied = account(Perm::DENY, Perm::DENY);
        rules.accounts.insert("denied".to_owned(), denied);
        let address = "192.168.7.7".parse().unwrap();
        for entry in crate::processor::table::TABLE {
            let unsigned = naming(entry.code);
            let check = |request| rules.check(address, request, &entry.permission, false);
            assert!(check(&unsigned).is_err(), "{}", entry.code);
            let mut signed = naming(entry.code);
            acl::sign(&mut signed, "denied", "the-secret", None);
            let tells = matches!(entry.permission, Permission::Signed);
            assert_eq!(check(&signed).is_ok(), tells, "{}", entry.code);
            let mut forged = naming(entry.code);
            acl::sign(&mut forged, "denied", "another-secret", None);
            assert!(check(&forged).is_err(), "{}", entry.code);
        }
    }
}
