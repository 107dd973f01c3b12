//! Access control, from the wire to the file.

use std::time::Duration;

use hotfire_broker::{Broker, BrokerConfig};
use hotfire_client::{ConsumeConcurrentlyStatus, ConsumeFrom, Credentials, Delivery};
use hotfire_client::{Producer, PushConsumer, TlsOptions};
use hotfire_env::{Env, real};
use hotfire_namesrv::{NameServer, NamesrvConfig};
use hotfire_protocol::body::{AclConfig, PlainAccessConfig};
use hotfire_protocol::header::acl::{
    CreateAccessConfigRequestHeader, DeleteAccessConfigRequestHeader,
    GetBrokerAclConfigResponseHeader, UpdateGlobalWhiteAddrsConfigRequestHeader,
};
use hotfire_protocol::message::id;
use hotfire_protocol::{Header, Message, RemotingCommand, RequestCode, acl, topic};
use hotfire_remoting::{Tls, TlsMode, TlsSettings};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::support::{Stack, config, memory, order, pull_header, send_request};

const FILE: &str = "conf/plain_acl.yml";
const ACCOUNTS: &str = "\
globalWhiteRemoteAddresses: [10.11.12.*]
accounts:
- {accessKey: shop-key, secretKey: shop-secret, topicPerms: [orders=PUB]}
- {accessKey: operator, secretKey: operator-secret, admin: true}
";

async fn stack() -> Stack {
    stack_with(&[(FILE, ACCOUNTS)]).await
}

async fn stack_with(files: &[(&str, &str)]) -> Stack {
    let folder = tempfile::tempdir().unwrap();
    let env = memory::env(&memory::MemoryNetwork::default(), folder.path());
    for (path, content) in files {
        env.disk().write(path, content.as_bytes()).unwrap();
    }
    let config = BrokerConfig {
        acl_enable: true,
        ..config()
    };
    Stack::start_in(env, folder, config, None).await
}

fn signed(mut request: RemotingCommand, key: &str, secret: &str) -> RemotingCommand {
    acl::sign(&mut request, key, secret, None);
    request
}

/// Sends an order as somebody; the code of the answer.
async fn send(stack: &Stack, key: &str, secret: &str) -> i32 {
    let request = signed(send_request(&order("hello"), 0), key, secret);
    stack.peer.invoke(request).await.code
}

async fn operate<H: Header>(stack: &Stack, code: RequestCode, header: &H) -> RemotingCommand {
    let request = RemotingCommand::request_with(code, header);
    let request = signed(request, "operator", "operator-secret");
    stack.peer.invoke(request).await
}

fn account(key: &str, secret: &str, perm: &str) -> CreateAccessConfigRequestHeader {
    CreateAccessConfigRequestHeader {
        access_key: key.to_owned(),
        secret_key: Some(secret.to_owned()),
        topic_perms: Some(format!("orders={perm},refunds=SUB")),
        ..CreateAccessConfigRequestHeader::default()
    }
}

/// Until the broker looks at its files again.
async fn a_look() {
    sleep(Duration::from_millis(600)).await;
}

#[tokio::test(start_paused = true)]
async fn only_what_is_signed_and_permitted_is_served() {
    let stack = stack().await;
    assert_eq!(send(&stack, "shop-key", "shop-secret").await, 0);
    let refused = stack.peer.invoke(send_request(&order("hello"), 0)).await;
    assert_eq!(refused.code, 1);
    assert_eq!(
        refused.remark.as_deref(),
        Some("org.apache.rocketmq.acl.common.AclException: No accessKey is configured")
    );
    assert_eq!(send(&stack, "shop-key", "guessed").await, 1);
    assert_eq!(send(&stack, "stranger", "shop-secret").await, 1);
    // One message is stored, not four.
    assert_eq!(stack.broker.store().max_offset_in_queue("orders", 0), 1);
}

#[tokio::test(start_paused = true)]
async fn the_files_that_change_are_taken_up_if_they_make_sense() {
    let stack = stack().await;
    let write = |path: &str, text: &str| stack.env.disk().write(path, text.as_bytes()).unwrap();
    write(FILE, &ACCOUNTS.replace("shop-secret", "new-secret"));
    a_look().await;
    assert_eq!(send(&stack, "shop-key", "shop-secret").await, 1);
    assert_eq!(send(&stack, "shop-key", "new-secret").await, 0);
    for bad in [
        "",
        "accounts: [",
        "accounts:\n- {accessKey: short, secretKey: x}\n",
    ] {
        write(FILE, bad);
        a_look().await;
        assert_eq!(send(&stack, "shop-key", "new-secret").await, 0, "{bad:?}");
    }
    write(FILE, ACCOUNTS);
    a_look().await;
    assert_eq!(send(&stack, "shop-key", "shop-secret").await, 0);
    // A file that comes, is bad, and goes.
    let guests =
        "accounts:\n- {accessKey: guest-key, secretKey: guest-secret, defaultTopicPerm: PUB}\n";
    write("conf/acl/guests.yml", guests);
    a_look().await;
    assert_eq!(send(&stack, "guest-key", "guest-secret").await, 0);
    stack.env.disk().remove("conf/acl/guests.yml").unwrap();
    a_look().await;
    assert_eq!(send(&stack, "guest-key", "guest-secret").await, 1);
    // All files gone: that is no configuration.
    stack.env.disk().remove(FILE).unwrap();
    a_look().await;
    assert_eq!(send(&stack, "shop-key", "shop-secret").await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_broker_does_not_start_with_files_that_make_no_sense() {
    let start = async |files: &[(&str, &str)]| {
        let folder = tempfile::tempdir().unwrap();
        let env = memory::env(&memory::MemoryNetwork::default(), folder.path());
        for (path, content) in files {
            env.disk().write(path, content.as_bytes()).unwrap();
        }
        let config = BrokerConfig {
            acl_enable: true,
            ..config()
        };
        match Broker::start(&env, config, None).await {
            Ok(_) => "started".to_owned(),
            Err(error) => error.to_string(),
        }
    };
    assert_eq!(
        start(&[]).await,
        "access control is on, but there is neither conf/plain_acl.yml nor a file in conf/acl"
    );
    assert_eq!(
        start(&[(FILE, "accounts:\n- {accessKey: short}\n")]).await,
        "conf/plain_acl.yml: the accessKey `short` must have more than 6 characters"
    );
    let bad = (
        "conf/acl/more.yml",
        "globalWhiteRemoteAddresses: [everywhere]\n",
    );
    assert_eq!(
        start(&[(FILE, ACCOUNTS), bad]).await,
        "conf/acl/more.yml: `everywhere` is not a pattern of addresses: `everywhere` is not an \
         address"
    );
}

#[tokio::test(start_paused = true)]
async fn an_operator_creates_changes_and_deletes_accounts_for_good() {
    let stack = stack().await;
    let update = RequestCode::UPDATE_AND_CREATE_ACL_CONFIG;
    let created = operate(&stack, update, &account("guest-key", "guest-secret", "PUB")).await;
    assert_eq!((created.code, created.remark), (0, None));
    assert_eq!(send(&stack, "guest-key", "guest-secret").await, 0);
    let changed = operate(&stack, update, &account("guest-key", "other-secret", "PUB")).await;
    assert_eq!(changed.code, 0);
    assert_eq!(send(&stack, "guest-key", "guest-secret").await, 1);
    let stack = stack.restart().await;
    assert_eq!(send(&stack, "guest-key", "other-secret").await, 0);
    let header = DeleteAccessConfigRequestHeader {
        access_key: "guest-key".to_owned(),
    };
    let delete = RequestCode::DELETE_ACL_CONFIG;
    assert_eq!(operate(&stack, delete, &header).await.code, 0);
    assert_eq!(send(&stack, "guest-key", "other-secret").await, 1);
    let again = operate(&stack, delete, &header).await;
    assert_eq!(again.code, 210);
    assert_eq!(
        again.remark.as_deref(),
        Some("there is no account `guest-key`")
    );
    // What was there before is there still.
    assert_eq!(send(&stack, "shop-key", "shop-secret").await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_makes_no_sense_changes_nothing() {
    let stack = stack().await;
    let before = stack.env.disk().read(FILE).unwrap();
    let update = RequestCode::UPDATE_AND_CREATE_ACL_CONFIG;
    for (header, why) in [
        (
            account("short", "guest-secret", "PUB"),
            "conf/plain_acl.yml: the accessKey `short` must have more than 6 characters",
        ),
        (
            account("guest-key", "guest-secret", "EVERYTHING"),
            "`EVERYTHING` is not a permission: DENY, PUB, SUB and PUB|SUB are",
        ),
    ] {
        let refused = operate(&stack, update, &header).await;
        assert_eq!(refused.code, 209);
        assert_eq!(refused.remark.as_deref(), Some(why));
    }
    let header = UpdateGlobalWhiteAddrsConfigRequestHeader {
        global_white_addrs: "10.0.0.1,nowhere".to_owned(),
        acl_file_full_path: None,
    };
    let addresses = RequestCode::UPDATE_GLOBAL_WHITE_ADDRS_CONFIG;
    assert_eq!(operate(&stack, addresses, &header).await.code, 211);
    assert_eq!(stack.env.disk().read(FILE).unwrap(), before);
}

#[tokio::test(start_paused = true)]
async fn addresses_on_the_white_list_need_not_sign() {
    let stack = stack().await;
    let own = stack.broker.local().ip();
    let header = UpdateGlobalWhiteAddrsConfigRequestHeader {
        global_white_addrs: format!("10.11.12.*,{own}"),
        acl_file_full_path: Some("/opt/rocketmq/conf/plain_acl.yml".to_owned()),
    };
    let code = RequestCode::UPDATE_GLOBAL_WHITE_ADDRS_CONFIG;
    assert_eq!(operate(&stack, code, &header).await.code, 0);
    let unsigned = stack.peer.invoke(send_request(&order("hello"), 0)).await;
    assert_eq!(unsigned.code, 0);
}

#[tokio::test(start_paused = true)]
async fn an_operator_sees_what_is_in_force() {
    let stack = stack().await;
    let ask = async |code| {
        let request = RemotingCommand::request(code);
        let request = signed(request, "operator", "operator-secret");
        stack.peer.invoke(request).await
    };
    let info: GetBrokerAclConfigResponseHeader = ask(RequestCode::GET_BROKER_CLUSTER_ACL_INFO)
        .await
        .header()
        .unwrap();
    assert_eq!(info.version, r#"{"counter":0,"timestamp":0}"#);
    assert_eq!(info.cluster_name, "DefaultCluster");
    let update = RequestCode::UPDATE_AND_CREATE_ACL_CONFIG;
    operate(&stack, update, &account("guest-key", "guest-secret", "PUB")).await;
    let info: GetBrokerAclConfigResponseHeader = ask(RequestCode::GET_BROKER_CLUSTER_ACL_INFO)
        .await
        .header()
        .unwrap();
    assert!(
        info.version.starts_with(r#"{"counter":1,"#),
        "{}",
        info.version
    );
    let all = info.all_acl_file_version.unwrap();
    assert!(
        all.starts_with(r#"{"conf/plain_acl.yml":{"counter":1,"#),
        "{all}"
    );
    let config = ask(RequestCode::GET_BROKER_CLUSTER_ACL_CONFIG).await;
    let config = AclConfig::from_json(&config.body).unwrap();
    assert_eq!(config.global_white_addrs, ["10.11.12.*"]);
    let last = config.plain_access_configs.last().unwrap();
    assert_eq!(
        *last,
        PlainAccessConfig {
            access_key: Some("guest-key".to_owned()),
            secret_key: Some("guest-secret".to_owned()),
            topic_perms: Some(vec!["orders=PUB".to_owned(), "refunds=SUB".to_owned()]),
            ..PlainAccessConfig::default()
        }
    );
}

#[tokio::test(start_paused = true)]
async fn without_access_control_there_is_nothing_to_administer() {
    let stack = Stack::start().await;
    let header = account("guest-key", "guest-secret", "PUB");
    let code = RequestCode::UPDATE_AND_CREATE_ACL_CONFIG;
    assert_eq!(operate(&stack, code, &header).await.code, 209);
    let ask = RemotingCommand::request(RequestCode::GET_BROKER_CLUSTER_ACL_CONFIG);
    assert_eq!(stack.peer.invoke(ask).await.code, 1);
}

/// As the file of [`ACCOUNTS`], with an account that may consume what no list forbids it.
const READER: &str = "\
accounts:
- {accessKey: shop-key, secretKey: shop-secret, topicPerms: [orders=PUB]}
- accessKey: reader-key
  secretKey: reader-secret
  defaultTopicPerm: PUB|SUB
  defaultGroupPerm: SUB
  topicPerms: [secret=DENY]
- {accessKey: operator, secretKey: operator-secret, admin: true}
";

/// What the reader is answered: the code and the remark.
async fn read(stack: &Stack, request: RemotingCommand) -> (i32, String) {
    let request = signed(request, "reader-key", "reader-secret");
    let answer = stack.peer.invoke(request).await;
    (answer.code, answer.remark.unwrap_or_default())
}

fn fields(code: RequestCode, fields: &[(&'static str, &str)]) -> RemotingCommand {
    let mut request = RemotingCommand::request(code);
    request.ext = fields.iter().copied().collect();
    request
}

/// Has the operator store a message; its place in the log.
async fn store(stack: &Stack, message: &Message) -> i64 {
    let request = signed(send_request(message, 0), "operator", "operator-secret");
    let answer = stack.peer.invoke(request).await;
    assert_eq!(answer.code, 0, "{:?}", answer.remark);
    let (_, offset) = id::parse_offset_msg_id(answer.ext.get("msgId").unwrap()).unwrap();
    offset
}

fn secret(properties: &[(&'static str, &str)]) -> Message {
    let mut message = Message::new("secret", "for the operator");
    for (name, value) in properties {
        message.properties.set(*name, *value);
    }
    message
}

#[track_caller]
fn assert_denied((code, remark): (i32, String), why: &str) {
    assert_eq!(code, 1, "{remark}");
    assert!(
        remark.contains("AclException") && remark.contains(why),
        "{remark}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_body_of_an_unsigned_request_is_not_looked_at() {
    let stack = stack().await;
    for code in [
        RequestCode::HEART_BEAT,
        RequestCode::LOCK_BATCH_MQ,
        RequestCode::BATCH_ACK_MESSAGE,
    ] {
        for body in [vec![b'{'; 10], vec![b'{'; 1 << 20]] {
            let request = RemotingCommand::request(code).with_body(body);
            let refused = stack.peer.invoke(request).await;
            let remark = refused.remark.unwrap_or_default();
            assert_denied((refused.code, remark), "No accessKey is configured");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn lists_of_topics_and_groups_take_an_administrator_as_single_ones_do() {
    let stack = stack_with(&[(FILE, READER)]).await;
    let topics = r#"{"topicConfigList":[{"topicName":"planted","readQueueNums":1,"writeQueueNums":1,"perm":6}]}"#;
    let groups = r#"{"groupConfigList":[{"groupName":"planted","consumeEnable":false}]}"#;
    for (code, body) in [
        (RequestCode::UPDATE_AND_CREATE_TOPIC_LIST, topics),
        (
            RequestCode::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST,
            groups,
        ),
    ] {
        let request = RemotingCommand::request(code).with_body(body);
        assert_denied(read(&stack, request).await, "Need admin permission");
    }
    let known = fields(RequestCode::GET_TOPIC_CONFIG, &[("topic", "planted")]);
    assert_eq!(read(&stack, known).await.0, 17);
}

#[tokio::test(start_paused = true)]
async fn a_signed_request_that_is_sent_under_another_code_deletes_nothing() {
    let stack = stack().await;
    assert_eq!(send(&stack, "shop-key", "shop-secret").await, 0);
    let mut captured = fields(
        RequestCode::GET_MAX_OFFSET,
        &[("topic", "orders"), ("queueId", "0")],
    );
    captured = signed(captured, "shop-key", "shop-secret");
    captured.code = RequestCode::DELETE_TOPIC_IN_BROKER.0;
    let refused = stack.peer.invoke(captured).await;
    assert_denied(
        (refused.code, refused.remark.unwrap()),
        "Need admin permission",
    );
    assert_eq!(stack.broker.store().max_offset_in_queue("orders", 0), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reply_is_no_way_into_other_topics() {
    let stack = stack_with(&[(FILE, READER)]).await;
    for code in [
        RequestCode::SEND_REPLY_MESSAGE,
        RequestCode::SEND_REPLY_MESSAGE_V2,
    ] {
        let mut forged = send_request(&secret(&[]), 0);
        forged.code = code.0;
        forged.ext.set("topic", "secret");
        forged.ext.set("b", "secret");
        let refused = "No default permission for topic:secret, PUB is needed";
        assert_denied(read(&stack, forged).await, refused);
    }
    assert_eq!(stack.broker.store().max_offset_in_queue("secret", 0), 0);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_named_by_its_place_takes_what_its_topic_takes() {
    let stack = stack_with(&[(FILE, READER)]).await;
    let refused = "No default permission for topic:secret, SUB is needed";
    let plain = store(&stack, &secret(&[])).await;
    let delayed = store(&stack, &secret(&[("DELAY", "18")])).await;
    let timed = store(&stack, &secret(&[("TIMER_DELAY_SEC", "3600")])).await;
    for place in [plain, delayed, timed] {
        let place = place.to_string();
        let view = fields(RequestCode::VIEW_MESSAGE_BY_ID, &[("offset", &place)]);
        assert_denied(read(&stack, view).await, refused);
        let back = [
            ("offset", place.as_str()),
            ("group", "readers"),
            ("delayLevel", "0"),
        ];
        let back = fields(RequestCode::CONSUMER_SEND_MSG_BACK, &back);
        assert_denied(read(&stack, back).await, refused);
    }
    let open = store(&stack, &order("for everybody")).await.to_string();
    let view = fields(RequestCode::VIEW_MESSAGE_BY_ID, &[("offset", &open)]);
    assert_eq!(read(&stack, view).await.0, 0);
}

#[tokio::test(start_paused = true)]
async fn what_waits_in_the_brokers_own_topics_is_not_for_everybody() {
    let stack = stack_with(&[(FILE, READER)]).await;
    store(&stack, &secret(&[("DELAY", "18")])).await;
    for topic in [
        topic::SCHEDULE_TOPIC,
        topic::TIMER_TOPIC,
        topic::TRANS_HALF_TOPIC,
        topic::TRANS_OP_HALF_TOPIC,
        topic::SET_ASIDE_TOPIC,
        "rmq_sys_REVIVE_LOG_DefaultCluster",
    ] {
        let why = format!("No default permission for topic:{topic}, SUB is needed");
        let pull =
            RemotingCommand::request_with(RequestCode::PULL_MESSAGE, &pull_header(topic, 0, "*"));
        assert_denied(read(&stack, pull).await, &why);
        let peek = [("topic", topic), ("consumerGroup", "readers")];
        assert_denied(
            read(&stack, fields(RequestCode::PEEK_MESSAGE, &peek)).await,
            &why,
        );
        let query = [("topic", topic), ("key", "k")];
        assert_denied(
            read(&stack, fields(RequestCode::QUERY_MESSAGE, &query)).await,
            &why,
        );
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_sends_to_the_topics_that_only_the_broker_writes() {
    let stack = Stack::start().await;
    for topic in [
        topic::SCHEDULE_TOPIC,
        topic::TIMER_TOPIC,
        topic::TRANS_HALF_TOPIC,
        topic::TRANS_OP_HALF_TOPIC,
        topic::SET_ASIDE_TOPIC,
        "rmq_sys_REVIVE_LOG_DefaultCluster",
    ] {
        let mut forged = secret(&[
            ("TIMER_OUT_MS", "1"),
            ("REAL_TOPIC", "secret"),
            ("REAL_QID", "0"),
        ]);
        forged.topic = topic.to_owned();
        let refused = stack.peer.invoke(send_request(&forged, 0)).await;
        assert_ne!(refused.code, 0, "{topic}");
    }
    sleep(Duration::from_secs(5)).await;
    assert_eq!(stack.broker.store().max_offset_in_queue("secret", 0), 0);
}

#[tokio::test(start_paused = true)]
async fn only_who_may_send_to_its_topic_ends_a_transaction() {
    let stack = stack_with(&[(FILE, READER)]).await;
    let half = secret(&[("TRAN_MSG", "true"), ("PGROUP", "shops"), ("UNIQ_KEY", "k")]);
    let mut request = send_request(&half, 0);
    request.ext.set("sysFlag", "4");
    request.ext.set("producerGroup", "shops");
    let answer = stack
        .peer
        .invoke(signed(request, "operator", "operator-secret"))
        .await;
    let (_, offset) = id::parse_offset_msg_id(answer.ext.get("msgId").unwrap()).unwrap();
    let offset = offset.to_string();
    for decision in ["8", "12"] {
        let end = [
            ("producerGroup", "shops"),
            ("tranStateTableOffset", "0"),
            ("commitLogOffset", offset.as_str()),
            ("commitOrRollback", decision),
            ("fromTransactionCheck", "false"),
            ("msgId", "k"),
        ];
        let refused = "No default permission for topic:secret, PUB is needed";
        assert_denied(
            read(&stack, fields(RequestCode::END_TRANSACTION, &end)).await,
            refused,
        );
    }
    assert_eq!(stack.broker.store().max_offset_in_queue("secret", 0), 0);
}

/// Name server and broker on loopback that take encrypted connections only, from known clients.
struct Fortress {
    env: Env,
    namesrv: NameServer,
    broker: Broker,
    _folder: TempDir,
}

impl Fortress {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let env = real::env(folder.path(), Some([127, 0, 0, 1].into()));
        let accounts = "accounts:\n- {accessKey: shop-key, secretKey: shop-secret, \
                        defaultTopicPerm: PUB|SUB, defaultGroupPerm: SUB}\n";
        env.disk().write(FILE, accounts.as_bytes()).unwrap();
        let settings = TlsSettings {
            mode: TlsMode::Enforcing,
            enable: true,
            ..TlsSettings::default()
        };
        let tls = Tls::load(&env, env.disk(), &settings).unwrap();
        let namesrv_config = NamesrvConfig {
            listen: "127.0.0.1:0".to_owned(),
            tls: tls.clone(),
            ..NamesrvConfig::default()
        };
        let namesrv = NameServer::start(&env, namesrv_config).await.unwrap();
        let config = BrokerConfig {
            listen: "127.0.0.1:0".to_owned(),
            namesrv_addrs: vec![namesrv.local().to_string()],
            acl_enable: true,
            tls,
            ..config()
        };
        let broker = Broker::start(&env, config, None).await.unwrap();
        Self {
            env,
            namesrv,
            broker,
            _folder: folder,
        }
    }
}

#[tokio::test]
async fn clients_with_credentials_work_over_encrypted_connections() {
    let fortress = Fortress::start().await;
    let (env, namesrv) = (&fortress.env, fortress.namesrv.local().to_string());
    let credentials = Credentials::new("shop-key", "shop-secret");
    let producer = Producer::builder(env)
        .namesrv([&namesrv])
        .group("shop")
        .credentials(credentials.clone())
        .tls(TlsOptions::default());
    let producer = producer.start().await.unwrap();
    producer
        .send(Message::new("orders", "espresso"))
        .await
        .unwrap();

    let (heard, mut hears) = mpsc::unbounded_channel();
    let consumer = PushConsumer::builder(env)
        .namesrv([&namesrv])
        .group("bar")
        .credentials(credentials)
        .tls(TlsOptions::default())
        .subscribe("orders", "*")
        .consume_from(ConsumeFrom::First)
        .concurrent(move |messages: Delivery| {
            let heard = heard.clone();
            async move {
                for message in messages.iter() {
                    let _ = heard.send(message.message.body.clone());
                }
                ConsumeConcurrentlyStatus::Success
            }
        });
    let consumer = consumer.start().await.unwrap();
    let first = timeout(Duration::from_secs(60), hears.recv())
        .await
        .unwrap();
    assert_eq!(first.as_deref(), Some(&b"espresso"[..]));

    let thief = Producer::builder(env)
        .namesrv([&namesrv])
        .group("thieves")
        .credentials(Credentials::new("shop-key", "guessed-secret"))
        .tls(TlsOptions::default());
    let thief = thief.start().await.unwrap();
    let refused = thief
        .send(Message::new("orders", "gratis"))
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("AclException"), "{refused}");
    assert!(!refused.is_unknown());

    let plain = Producer::builder(env).namesrv([&namesrv]).group("plain");
    let plain = plain.start().await.unwrap();
    let refused = plain
        .send(Message::new("orders", "gratis"))
        .await
        .unwrap_err();
    assert!(!refused.is_unknown(), "{refused}");

    consumer.shutdown().await;
    for producer in [producer, thief, plain] {
        producer.shutdown().await;
    }
    fortress.broker.shutdown().await;
    fortress.namesrv.shutdown().await;
}
