//! A name server over a network in memory: what a peer sees of it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../remoting/tests/memory/mod.rs"]
mod memory;

use std::time::Duration;

use bytes::BytesMut;
use hotfire_env::Env;
use hotfire_namesrv::{NameServer, NamesrvConfig};
use hotfire_protocol::body::{DataVersion, RegisterBrokerBody, TopicConfig, TopicRouteData};
use hotfire_protocol::header::namesrv::{
    GetRouteInfoRequestHeader, PutKVConfigRequestHeader, RegisterBrokerRequestHeader,
};
use hotfire_protocol::{RemotingCommand, RequestCode, ResponseCode, frame, version};
use hotfire_remoting::{Client, ClientConfig, RpcError};
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
        let folder = tempfile::tempdir().unwrap();
        let env = memory::env(&MemoryNetwork::default(), folder.path());
        let server = start(&env).await;
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
        let [namespace, key, value] = [namespace, key, value].map(str::to_owned);
        let header = PutKVConfigRequestHeader {
            namespace,
            key,
            value,
        };
        let request = RemotingCommand::request_with(RequestCode::PUT_KV_CONFIG, &header);
        assert!(self.ask(request).await.is_success());
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
    let mut request = RemotingCommand::request(RequestCode::GET_KV_CONFIG);
    request.ext = [("namespace", "ns"), ("key", "key")].into_iter().collect();
    assert_eq!(world.ask(request).await.ext.get("value"), Some("value"));
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
