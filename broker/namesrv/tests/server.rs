//! A name server over a network in memory: what a peer sees of it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../remoting/tests/memory/mod.rs"]
mod memory;

use std::time::Duration;

use bytes::BytesMut;
use hotfire_env::Env;
use hotfire_namesrv::{NameServer, NamesrvConfig};
use hotfire_protocol::body::{
    DataVersion, RegisterBrokerBody, TopicConfig, TopicList, TopicRouteData,
};
use hotfire_protocol::header::namesrv::{
    GetRouteInfoRequestHeader, PutKVConfigRequestHeader, RegisterBrokerRequestHeader,
};
use hotfire_protocol::{RemotingCommand, RequestCode, ResponseCode, frame, version};
use hotfire_remoting::{Client, ClientConfig, RpcError, SessionCredentials};
use memory::MemoryNetwork;
use tempfile::TempDir;
use tokio::time::sleep;

const ADDRESS: &str = "127.0.0.1:9876";
const BROKER: &str = "10.0.0.1:10911";
const SECOND: Duration = Duration::from_secs(1);

struct World {
    env: Env,
    server: NameServer,
    client: Client,
    _folder: TempDir,
}

impl World {
    async fn new() -> Self {
        Self::with(NamesrvConfig::default()).await
    }

    async fn with(config: NamesrvConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let env = memory::env(&MemoryNetwork::default(), folder.path());
        let server = NameServer::start(&env, config).await.unwrap();
        let client = Client::new(&env, ClientConfig::default(), None);
        Self {
            env,
            server,
            client,
            _folder: folder,
        }
    }

    async fn ask(&self, request: RemotingCommand) -> RemotingCommand {
        self.client.invoke(ADDRESS, request, SECOND).await.unwrap()
    }

    async fn route(&self, topic: &str) -> RemotingCommand {
        self.ask(route_request(topic)).await
    }

    async fn put_kv(&self, namespace: &str, key: &str, value: &str) {
        let answer = self.try_put_kv(namespace, key, value).await;
        assert!(answer.is_success(), "{answer:?}");
    }

    async fn try_put_kv(&self, namespace: &str, key: &str, value: &str) -> RemotingCommand {
        let [namespace, key, value] = [namespace, key, value].map(str::to_owned);
        let header = PutKVConfigRequestHeader {
            namespace,
            key,
            value,
        };
        let request = RemotingCommand::request_with(RequestCode::PUT_KV_CONFIG, &header);
        self.ask(request).await
    }

    async fn get_kv(&self, namespace: &str, key: &str) -> Option<String> {
        let mut request = RemotingCommand::request(RequestCode::GET_KV_CONFIG);
        request.ext = [("namespace", namespace), ("key", key)]
            .into_iter()
            .collect();
        self.ask(request).await.ext.get("value").map(str::to_owned)
    }

    /// Another peer of the same name server.
    fn another_client(&self) -> Client {
        Client::new(&self.env, ClientConfig::default(), None)
    }
}

async fn start(env: &Env) -> NameServer {
    NameServer::start(env, NamesrvConfig::default())
        .await
        .unwrap()
}

fn route_request(topic: &str) -> RemotingCommand {
    let header = GetRouteInfoRequestHeader {
        topic: topic.to_owned(),
        ..Default::default()
    };
    RemotingCommand::request_with(RequestCode::GET_ROUTEINFO_BY_TOPIC, &header)
}

fn registration(topic: &str) -> RemotingCommand {
    let mut body = RegisterBrokerBody::default();
    let wrapper = &mut body.topic_config_serialize_wrapper;
    wrapper.data_version = DataVersion::default().next(1);
    wrapper
        .topic_config_table
        .insert(topic.to_owned(), TopicConfig::new(topic, 4, 4, 6));
    let header = RegisterBrokerRequestHeader {
        broker_name: "broker-a".to_owned(),
        broker_addr: BROKER.to_owned(),
        cluster_name: "c".to_owned(),
        ha_server_addr: "10.0.0.1:10912".to_owned(),
        ..Default::default()
    };
    RemotingCommand::request_with(RequestCode::REGISTER_BROKER, &header)
        .with_body(body.encode(false).unwrap())
}

/// A captured frame by its label.
fn golden(label: &str) -> RemotingCommand {
    let frames = include_str!("fixtures/frames.txt");
    let hex = frames
        .lines()
        .find_map(|line| line.strip_prefix(label)?.strip_prefix(' '))
        .unwrap();
    let bytes: Vec<u8> = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect();
    frame::decode(&mut BytesMut::from(&bytes[..]))
        .unwrap()
        .unwrap()
}

/// Asks what Apache's name server was asked and expects what it answered.
async fn answers_as_apache(world: &World, request: &str, expected: &str) {
    let (mut answer, expected) = (world.ask(golden(request)).await, golden(expected));
    answer.opaque = expected.opaque;
    assert_eq!(answer.body, expected.body, "{request}");
    assert_eq!(answer, expected, "{request}");
}

#[tokio::test(start_paused = true)]
async fn routes_and_clusters_are_answered_as_apache_does() {
    let world = World::new().await;
    answers_as_apache(&world, "register", "registered").await;
    answers_as_apache(&world, "route", "routed").await;
    answers_as_apache(&world, "cluster", "cluster-info").await;
    answers_as_apache(&world, "delete-topic", "topic-deleted").await;
    answers_as_apache(&world, "unregister", "unregistered").await;
    assert_eq!(
        world.ask(golden("route")).await.code,
        ResponseCode::TOPIC_NOT_EXIST.0
    );
}

#[tokio::test(start_paused = true)]
async fn a_missing_route_is_answered_as_apache_does() {
    let world = World::new().await;
    let answer = world.route("%RETRY%Golden_group").await;
    let expected = golden("no-route");
    assert_eq!(
        (answer.code, answer.remark),
        (expected.code, expected.remark)
    );
}

#[tokio::test(start_paused = true)]
async fn keys_and_values_are_answered_as_apache_does() {
    let world = World::new().await;
    answers_as_apache(&world, "put-kv", "put").await;
    answers_as_apache(&world, "get-kv", "got").await;
    answers_as_apache(&world, "list-kv", "listed").await;
    answers_as_apache(&world, "delete-kv", "deleted").await;
    answers_as_apache(&world, "get-kv", "no-kv").await;
}

#[tokio::test(start_paused = true)]
async fn a_compressed_registration_counts_like_a_plain_one() {
    let world = World::new().await;
    assert!(world.ask(golden("register-compressed")).await.is_success());
    let answer = world.route("TBW102").await;
    assert_eq!(answer.body, golden("routed").body);
}

#[tokio::test(start_paused = true)]
async fn binary_requests_are_answered_in_binary() {
    let world = World::new().await;
    let request = golden("route-binary");
    let serialize = request.serialize;
    assert_eq!(world.ask(request).await.serialize, serialize);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_code_is_never_answered() {
    let world = World::new().await;
    let asked = world
        .client
        .invoke(ADDRESS, golden("unknown-code"), 60 * SECOND)
        .await;
    assert!(matches!(asked.unwrap_err(), RpcError::Timeout { .. }));
}

#[tokio::test(start_paused = true)]
async fn old_clients_get_bare_numbers_for_keys_and_new_ones_strict_json() {
    let world = World::new().await;
    world.ask(registration("t")).await;
    let bare = br#""brokerAddrs":{0:"10.0.0.1:10911"}"#;
    let strict = br#""brokerAddrs":{"0":"10.0.0.1:10911"}"#;
    let has = |answer: &RemotingCommand, part: &[u8]| {
        answer.body.windows(part.len()).any(|window| window == part)
    };
    let mut request = route_request("t");
    assert!(has(&world.ask(request.clone()).await, strict));
    request.version = version::V4_9_4 - 1;
    assert!(has(&world.ask(request.clone()).await, bare));
    request.ext.set("acceptStandardJsonOnly", "true");
    assert!(has(&world.ask(request).await, strict));
}

#[tokio::test(start_paused = true)]
async fn a_route_query_without_fields_finds_no_topic() {
    let world = World::new().await;
    let answer = world
        .ask(RemotingCommand::request(
            RequestCode::GET_ROUTEINFO_BY_TOPIC,
        ))
        .await;
    assert_eq!(answer.code, ResponseCode::TOPIC_NOT_EXIST.0);
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_required_field_is_an_error() {
    let world = World::new().await;
    let answer = world
        .ask(RemotingCommand::request(RequestCode::REGISTER_BROKER))
        .await;
    assert_eq!(answer.code, ResponseCode::SYSTEM_ERROR.0);
    assert_eq!(
        answer.remark.as_deref(),
        Some("the custom field <brokerName> is null")
    );
}

#[tokio::test(start_paused = true)]
async fn a_registration_with_a_wrong_checksum_is_refused() {
    let world = World::new().await;
    let mut request = registration("t");
    request.ext.set("bodyCrc32", "12345");
    let answer = world.ask(request).await;
    assert_eq!(answer.code, ResponseCode::SYSTEM_ERROR.0);
    assert_eq!(answer.remark.as_deref(), Some("crc32 not match"));
    assert_eq!(world.route("t").await.code, ResponseCode::TOPIC_NOT_EXIST.0);
}

#[tokio::test(start_paused = true)]
async fn a_broker_is_gone_as_soon_as_its_connection_closes() {
    let world = World::new().await;
    let broker = world.another_client();
    broker
        .invoke(ADDRESS, registration("t"), SECOND)
        .await
        .unwrap();
    assert!(world.route("t").await.is_success());
    broker.shutdown();
    sleep(Duration::from_millis(1)).await;
    assert_eq!(world.route("t").await.code, ResponseCode::TOPIC_NOT_EXIST.0);
}

#[tokio::test(start_paused = true)]
async fn a_silent_broker_expires_and_its_connection_is_closed() {
    let world = World::new().await;
    let broker = world.another_client();
    broker
        .invoke(ADDRESS, registration("t"), SECOND)
        .await
        .unwrap();
    // Keeps the connection busy, so that it is not idleness that closes it.
    for _ in 0..12 {
        broker
            .invoke(ADDRESS, route_request("t"), SECOND)
            .await
            .unwrap();
        sleep(10 * SECOND).await;
    }
    assert!(world.route("t").await.is_success());
    sleep(10 * SECOND).await;
    assert_eq!(world.route("t").await.code, ResponseCode::TOPIC_NOT_EXIST.0);
    assert!(broker.connected(ADDRESS).is_none());
}

#[tokio::test(start_paused = true)]
async fn keys_and_values_survive_a_restart() {
    let world = World::new().await;
    world.put_kv("ns", "key", "value").await;
    world.server.shutdown().await;
    let _server = start(&world.env).await;
    assert_eq!(world.get_kv("ns", "key").await.as_deref(), Some("value"));
}

#[tokio::test(start_paused = true)]
async fn the_order_of_topics_is_told_to_brokers_and_to_clients_only_if_enabled() {
    let world = World::new().await;
    world.put_kv("ORDER_TOPIC_CONFIG", "t", "broker-a:4").await;
    let answer = world.ask(registration("t")).await;
    assert_eq!(answer.body, br#"{"table":{"t":"broker-a:4"}}"#[..]);
    let order = |answer: RemotingCommand| {
        TopicRouteData::from_json(&answer.body)
            .unwrap()
            .order_topic_conf
    };
    assert_eq!(order(world.route("t").await), None);
    let enable = RemotingCommand::request(RequestCode::UPDATE_NAMESRV_CONFIG);
    assert!(
        world
            .ask(enable.with_body("orderMessageEnable=true\n"))
            .await
            .is_success()
    );
    assert_eq!(order(world.route("t").await).as_deref(), Some("broker-a:4"));
}

#[tokio::test(start_paused = true)]
async fn the_configuration_is_shown_and_its_paths_cannot_be_changed() {
    let world = World::new().await;
    let shown = world
        .ask(RemotingCommand::request(RequestCode::GET_NAMESRV_CONFIG))
        .await;
    let shown = String::from_utf8(shown.body.to_vec()).unwrap();
    assert!(shown.contains("orderMessageEnable=false\n"), "{shown}");
    let change = RemotingCommand::request(RequestCode::UPDATE_NAMESRV_CONFIG);
    let answer = world
        .ask(change.with_body("kvConfigPath=/etc/passwd\n"))
        .await;
    assert_eq!(answer.code, ResponseCode::NO_PERMISSION.0);
}

#[tokio::test(start_paused = true)]
async fn an_update_of_the_configuration_is_written_to_its_file() {
    let world = World::new().await;
    let change = RemotingCommand::request(RequestCode::UPDATE_NAMESRV_CONFIG);
    world
        .ask(change.with_body("orderMessageEnable=true\n"))
        .await;
    let file = world.env.disk().read("namesrv/namesrv.properties").unwrap();
    let config = NamesrvConfig::from_properties(&String::from_utf8(file).unwrap()).unwrap();
    assert!(config.order_message_enable);
}

/// Has every write of the name server fail from now on.
fn break_disk(env: &Env) {
    env.disk().remove("namesrv").unwrap();
    env.disk().write("namesrv", b"not a folder").unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_value_that_cannot_be_written_is_refused_and_does_not_count() {
    let world = World::new().await;
    world.put_kv("ns", "key", "before").await;
    break_disk(&world.env);
    let answer = world.try_put_kv("ns", "key", "after").await;
    assert_eq!(answer.code, ResponseCode::SYSTEM_ERROR.0);
    assert!(answer.remark.unwrap().contains("cannot be written"));
    assert_eq!(world.get_kv("ns", "key").await.as_deref(), Some("before"));
}

#[tokio::test(start_paused = true)]
async fn a_configuration_that_cannot_be_written_is_refused_and_does_not_count() {
    let world = World::new().await;
    break_disk(&world.env);
    let change = RemotingCommand::request(RequestCode::UPDATE_NAMESRV_CONFIG);
    let answer = world
        .ask(change.with_body("orderMessageEnable=true\n"))
        .await;
    assert_eq!(answer.code, ResponseCode::SYSTEM_ERROR.0);
    let shown = RemotingCommand::request(RequestCode::GET_NAMESRV_CONFIG);
    let shown = String::from_utf8(world.ask(shown).await.body.to_vec()).unwrap();
    assert!(shown.contains("orderMessageEnable=false\n"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn values_that_are_set_at_once_are_all_there_after_a_restart() {
    let world = World::new().await;
    let keys: Vec<_> = (0..50).map(|at| format!("key-{at}")).collect();
    let puts = keys.iter().map(|key| world.put_kv("ns", key, key));
    futures_util::future::join_all(puts).await;
    world.server.shutdown().await;
    let _server = start(&world.env).await;
    for key in &keys {
        assert_eq!(world.get_kv("ns", key).await.as_ref(), Some(key));
    }
}

#[tokio::test(start_paused = true)]
async fn values_beyond_the_limit_are_refused() {
    let world = World::new().await;
    let value = "v".repeat(3 << 20);
    world.put_kv("ns", "first", &value).await;
    let answer = world.try_put_kv("ns", "second", &value).await;
    assert_eq!(answer.code, ResponseCode::SYSTEM_ERROR.0);
    assert_eq!(world.get_kv("ns", "second").await, None);
    assert_eq!(world.get_kv("ns", "first").await, Some(value));
}

#[tokio::test(start_paused = true)]
async fn what_only_a_start_may_set_is_refused_at_run_time_with_that_reason() {
    let world = World::new().await;
    for (change, code, reason) in [
        ("listenPort=1", ResponseCode::NO_PERMISSION, "only a start"),
        (
            "serverChannelMaxIdleTimeSeconds=1",
            ResponseCode::NO_PERMISSION,
            "only a start",
        ),
        (
            "scanNotActiveBrokerInterval=18446744073709551615",
            ResponseCode::SYSTEM_ERROR,
            "not a number from 1 to 3600000",
        ),
    ] {
        let request = RemotingCommand::request(RequestCode::UPDATE_NAMESRV_CONFIG);
        let answer = world.ask(request.with_body(change)).await;
        assert_eq!(answer.code, code.0, "{change}");
        assert!(answer.remark.unwrap().contains(reason), "{change}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_registration_with_names_beyond_reason_is_refused() {
    let world = World::new().await;
    for field in ["brokerName", "clusterName", "brokerAddr", "haServerAddr"] {
        for name in ["x".repeat(300), "two\nlines".to_owned()] {
            let mut request = registration("t");
            request.ext.set(field, name);
            let answer = world.ask(request).await;
            assert_eq!(answer.code, ResponseCode::SYSTEM_ERROR.0, "{field}");
        }
    }
    assert_eq!(world.route("t").await.code, ResponseCode::TOPIC_NOT_EXIST.0);
}

#[tokio::test(start_paused = true)]
async fn topics_that_make_no_sense_are_left_out_of_a_registration() {
    let world = World::new().await;
    let mut body = RegisterBrokerBody::default();
    let wrapper = &mut body.topic_config_serialize_wrapper;
    wrapper.data_version = DataVersion::default().next(1);
    for (topic, queues, perm) in [
        ("good", 4, 6),
        ("queues", 2_000_000_000, 6),
        ("fewer", -1, 6),
        ("perm", 4, 99),
    ] {
        let config = TopicConfig::new(topic, queues, queues, perm);
        wrapper.topic_config_table.insert(topic.to_owned(), config);
    }
    let long = "n".repeat(1_000);
    let config = TopicConfig::new(&*long, 4, 4, 6);
    wrapper.topic_config_table.insert(long, config);
    let request = registration("t").with_body(body.encode(false).unwrap());
    assert!(world.ask(request).await.is_success());
    let list = RemotingCommand::request(RequestCode::GET_ALL_TOPIC_LIST_FROM_NAMESERVER);
    let list = TopicList::from_json(&world.ask(list).await.body).unwrap();
    assert_eq!(list.topic_list, ["good"]);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_closes_takes_no_other_broker_along() {
    let world = World::new().await;
    assert!(world.ask(registration("t")).await.is_success());
    let stranger = world.another_client();
    let mut fake = registration("t");
    fake.ext.set("brokerAddr", "10.6.6.6:10911");
    for request in [registration("t"), fake] {
        let answer = stranger.invoke(ADDRESS, request, SECOND).await.unwrap();
        assert!(answer.is_success());
    }
    stranger.shutdown();
    sleep(SECOND).await;
    let route = TopicRouteData::from_json(&world.route("t").await.body).unwrap();
    assert_eq!(route.broker_datas[0].broker_addrs[&0], BROKER);
}

#[tokio::test(start_paused = true)]
async fn with_authentication_only_who_signs_registers_and_administers() {
    let text = concat!(
        "authenticationEnabled=true\n",
        r#"innerClientAuthenticationCredentials={"accessKey":"inner","secretKey":"12345678"}"#,
    );
    let world = World::with(NamesrvConfig::from_properties(text).unwrap()).await;
    let client = |secret: &str| {
        let credentials = SessionCredentials {
            access_key: "inner".to_owned(),
            secret_key: secret.to_owned(),
            security_token: None,
        };
        let config = ClientConfig {
            hook: Some(credentials.hook()),
            ..ClientConfig::default()
        };
        Client::new(&world.env, config, None)
    };
    let changes = [
        registration("t"),
        RemotingCommand::request(RequestCode::UNREGISTER_BROKER),
        RemotingCommand::request(RequestCode::PUT_KV_CONFIG),
        RemotingCommand::request(RequestCode::DELETE_KV_CONFIG),
        RemotingCommand::request(RequestCode::WIPE_WRITE_PERM_OF_BROKER),
        RemotingCommand::request(RequestCode::ADD_WRITE_PERM_OF_BROKER),
        RemotingCommand::request(RequestCode::DELETE_TOPIC_IN_NAMESRV),
        RemotingCommand::request(RequestCode::REGISTER_TOPIC_IN_NAMESRV),
        RemotingCommand::request(RequestCode::UPDATE_NAMESRV_CONFIG),
        RemotingCommand::request(RequestCode::QUERY_DATA_VERSION),
        RemotingCommand::request(RequestCode::BROKER_HEARTBEAT),
    ];
    for request in changes {
        for client in [&world.client, &client("wrong")] {
            let answer = client
                .invoke(ADDRESS, request.clone(), SECOND)
                .await
                .unwrap();
            assert_eq!(answer.code, ResponseCode::NO_PERMISSION.0, "{request:?}");
        }
    }
    let broker = client("12345678");
    let answer = broker
        .invoke(ADDRESS, registration("t"), SECOND)
        .await
        .unwrap();
    assert!(answer.is_success(), "{answer:?}");
    assert!(
        world.route("t").await.is_success(),
        "routes are for everybody"
    );
}
