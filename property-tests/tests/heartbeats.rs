//! Hostile bodies against a broker beside a good client: whatever they say, the broker answers, keeps
//! a limited amount of it, and serves the good client.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../broker/remoting/tests/memory/mod.rs"]
mod memory;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hotfire_broker::{Broker, BrokerConfig};
use hotfire_protocol::body::{ConsumerData, HeartbeatData, ProducerData, SubscriptionData};
use hotfire_protocol::header::pull::{PullMessageRequestHeader, sys_flag};
use hotfire_protocol::header::send::{SendMessageRequestHeader, SendMessageRequestHeaderV2};
use hotfire_protocol::{ExtFields, Header, RemotingCommand, RequestCode, ResponseCode, topic};
use hotfire_remoting::{Channel, Client, ClientConfig, Handled, RequestHandler};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRng, TestRunner};

/// How many hostile requests there are.
const REQUESTS: usize = 1_500;
/// How many of them one connection sends.
const OF_ONE_CONNECTION: usize = 50;
/// The longest body that is sent, in bytes: longer than the broker takes of any kind but one.
const BODY_MAX: usize = 4 << 20;
/// The most bytes that the list of all producers may have afterwards: one connection at the most.
const LEFT_MAX: usize = 1_000;

/// The requests with bodies that clients send.
const CODES: [RequestCode; 9] = [
    RequestCode::HEART_BEAT,
    RequestCode::HEART_BEAT,
    RequestCode::HEART_BEAT,
    RequestCode::LOCK_BATCH_MQ,
    RequestCode::UNLOCK_BATCH_MQ,
    RequestCode::CHECK_CLIENT_CONFIG,
    RequestCode::QUERY_ASSIGNMENT,
    RequestCode::SET_MESSAGE_REQUEST_MODE,
    RequestCode::BATCH_ACK_MESSAGE,
];

/// The names that these bodies have fields of.
const FIELDS: [&str; 28] = [
    "clientID",
    "clientId",
    "consumerDataSet",
    "producerDataSet",
    "groupName",
    "group",
    "subscriptionDataSet",
    "subscriptionData",
    "classFilterMode",
    "codeSet",
    "tagsSet",
    "expressionType",
    "subString",
    "subVersion",
    "topic",
    "consumerGroup",
    "mqSet",
    "brokerName",
    "queueId",
    "strategyName",
    "messageModel",
    "mode",
    "popShareQueueNum",
    "acks",
    "b",
    "c",
    "r",
    "unknown",
];

/// Some value, of any depth.
fn value() -> impl Strategy<Value = String> {
    let text = prop_oneof![
        Just(String::new()),
        Just("orders".to_owned()),
        Just("readers".to_owned()),
        Just("SQL92".to_owned()),
        Just("a > 5 AND b IN ('x')".to_owned()),
        "[a-z%_ ]{0,20}",
        "\\PC{0,10}",
        (1..200_000usize).prop_map(|length| "x".repeat(length)),
        (1..2_000usize).prop_map(|times| "(".repeat(times)),
    ];
    let leaf = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| number.to_string()),
        any::<bool>().prop_map(|truth| truth.to_string()),
        Just("null".to_owned()),
        Just("{}".to_owned()),
        Just("[]".to_owned()),
        text.prop_map(|text| format!("{:?}", text)),
    ];
    leaf.prop_recursive(6, 60, 8, |inner| {
        let many = prop_oneof![9 => Just(1usize), 1 => 1..5_000usize];
        let list = (prop::collection::vec(inner.clone(), 0..6), many).prop_map(|(list, times)| {
            let list = list.join(",");
            let times = times.min(1 + BODY_MAX / (list.len() + 1));
            format!("[{}]", vec![list; times].join(","))
        });
        let field = (prop::sample::select(&FIELDS[..]), inner.clone());
        let entries = prop::collection::vec(field, 0..8);
        let object = entries.prop_map(|fields| {
            let field = |(name, value): &(&str, String)| format!("\"{name}\":{value}");
            format!(
                "{{{}}}",
                fields.iter().map(field).collect::<Vec<_>>().join(",")
            )
        });
        let nested = (inner, 1..300usize, any::<bool>()).prop_map(|(value, depth, list)| {
            let (open, close) = if list { ("[", "]") } else { ("{\"a\":", "}") };
            format!("{}{value}{}", open.repeat(depth), close.repeat(depth))
        });
        prop_oneof![3 => object, 3 => list, 1 => nested]
    })
}

/// A heartbeat of the right shape, with too much of everything.
fn heartbeat() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        4 => "[a-z]{1,10}",
        1 => "\\PC{0,300}",
        1 => (1..3_000usize).prop_map(|length| "g".repeat(length)),
    ];
    let count = || prop_oneof![3 => 0..3usize, 1 => 0..6_000usize];
    let shape = (
        name.clone(),
        name,
        count(),
        count(),
        count(),
        any::<bool>(),
        any::<i64>(),
    );
    shape.prop_map(
        |(client_id, name, producers, consumers, topics, sql, version)| {
            let subscription = |at: usize| {
                let topic = format!("{name}{at}");
                match sql {
                    true => SubscriptionData::sql(&topic, "a > 5", version),
                    false => SubscriptionData::parse(&topic, "a || b", version).unwrap(),
                }
            };
            let consumer = |at: usize| ConsumerData {
                group_name: format!("{name}{at}"),
                subscription_data_set: (0..topics / (consumers + 1)).map(subscription).collect(),
                ..ConsumerData::default()
            };
            let producer = |at: usize| ProducerData {
                group_name: format!("{name}{at}"),
            };
            let heartbeat = HeartbeatData {
                client_id,
                consumer_data_set: (0..consumers).map(consumer).collect(),
                producer_data_set: (0..producers).map(producer).collect(),
            };
            String::from_utf8_lossy(&heartbeat.to_json()).into_owned()
        },
    )
}

/// What a hostile client sends.
fn request() -> impl Strategy<Value = (RequestCode, Vec<u8>)> {
    let body = prop_oneof![2 => value(), 1 => heartbeat()];
    let damage = prop_oneof![
        3 => Just(None),
        1 => any::<(prop::sample::Index, u8)>().prop_map(Some),
    ];
    let cut = prop_oneof![3 => Just(None), 1 => any::<prop::sample::Index>().prop_map(Some)];
    let code = prop::sample::select(&CODES[..]);
    (code, body, damage, cut).prop_map(|(code, body, damage, cut)| {
        let mut body = body.into_bytes();
        body.truncate(BODY_MAX);
        if let Some((at, byte)) = damage.filter(|_| !body.is_empty()) {
            let at = at.index(body.len());
            body[at] = byte;
        }
        if let Some(at) = cut.filter(|_| !body.is_empty()) {
            body.truncate(at.index(body.len()));
        }
        (code, body)
    })
}

struct Quiet;

impl RequestHandler for Quiet {
    fn handle(&self, _: &Channel, _: RemotingCommand) -> Handled {
        Handled::None
    }
}

struct Peer {
    client: Client,
    address: String,
}

impl Peer {
    fn new(env: &hotfire_env::Env, broker: &Broker) -> Self {
        Self {
            client: Client::new(env, ClientConfig::default(), Some(Arc::new(Quiet))),
            address: broker.local().to_string(),
        }
    }

    async fn ask(&self, request: RemotingCommand) -> RemotingCommand {
        let timeout = Duration::from_secs(60);
        let answer = self.client.invoke(&self.address, request, timeout).await;
        answer.unwrap()
    }

    async fn ask_with<H: Header>(
        &self,
        code: RequestCode,
        header: &H,
        body: &str,
    ) -> RemotingCommand {
        let request = RemotingCommand::request_with(code, header);
        self.ask(request.with_body(body.to_owned())).await
    }

    /// A heartbeat, a message sent, and the same message pulled.
    async fn works(&self, number: usize) {
        let heartbeat = HeartbeatData {
            client_id: "good".to_owned(),
            consumer_data_set: vec![ConsumerData {
                group_name: "readers".to_owned(),
                subscription_data_set: vec![SubscriptionData::parse("orders", "*", 1).unwrap()],
                ..ConsumerData::default()
            }],
            producer_data_set: vec![ProducerData {
                group_name: "writers".to_owned(),
            }],
        };
        let request = RemotingCommand::request(RequestCode::HEART_BEAT);
        let answer = self.ask(request.with_body(heartbeat.to_json())).await;
        assert_eq!(answer.code, ResponseCode::SUCCESS.0, "{answer:?}");
        let header = SendMessageRequestHeaderV2(SendMessageRequestHeader {
            producer_group: "writers".to_owned(),
            topic: "orders".to_owned(),
            default_topic: topic::AUTO_CREATE_TOPIC.to_owned(),
            default_topic_queue_nums: 4,
            ..SendMessageRequestHeader::default()
        });
        let text = format!("message {number}");
        let sent = self
            .ask_with(RequestCode::SEND_MESSAGE_V2, &header, &text)
            .await;
        assert_eq!(sent.code, ResponseCode::SUCCESS.0, "{sent:?}");
        let header = PullMessageRequestHeader {
            consumer_group: "readers".to_owned(),
            topic: "orders".to_owned(),
            queue_offset: number as i64,
            max_msg_nums: 1,
            sys_flag: sys_flag::SUBSCRIPTION,
            subscription: Some("*".to_owned()),
            ..PullMessageRequestHeader::default()
        };
        let pulled = self.ask_with(RequestCode::PULL_MESSAGE, &header, "").await;
        assert_eq!(pulled.code, ResponseCode::SUCCESS.0, "{pulled:?}");
        let found = pulled
            .body
            .windows(text.len())
            .any(|bytes| bytes == text.as_bytes());
        assert!(found, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_hostile_bodies_say_the_broker_answers_and_serves_a_good_client() {
    let folder = tempfile::tempdir().unwrap();
    let env = memory::env(&memory::MemoryNetwork::default(), folder.path());
    let mut config = BrokerConfig {
        listen: "127.0.0.1:10911".to_owned(),
        enable_property_filter: true,
        ..BrokerConfig::default()
    };
    config.store.commit_log_file_size = 1 << 20;
    config.store.consume_queue_file_units = 1_000;
    config.store.max_hash_slot_num = 100;
    config.store.max_index_num = 400;
    config.store.timer_wheel_slots = 3_600;
    config.store.timer_log_file_size = 4_096;
    let broker = Broker::start(&env, config, None).await.unwrap();
    let good = Peer::new(&env, &broker);
    let rng = TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = request();
    for (round, _) in (0..REQUESTS).step_by(OF_ONE_CONNECTION).enumerate() {
        let hostile = Peer::new(&env, &broker);
        for _ in 0..OF_ONE_CONNECTION {
            let (code, body) = strategy.new_tree(&mut runner).unwrap().current();
            let mut request = RemotingCommand::request(code);
            request.ext = ExtFields::default();
            let answer = hostile.ask(request.with_body(Bytes::from(body))).await;
            assert!(answer.remark.unwrap_or_default().len() < 70_000);
        }
        good.works(round).await;
        hostile.client.shutdown();
        tokio::time::sleep(Duration::from_millis(10)).await;
        let request = RemotingCommand::request(RequestCode::GET_ALL_PRODUCER_INFO);
        let left = good.ask(request).await;
        assert!(
            left.body.len() < LEFT_MAX,
            "{} bytes are left",
            left.body.len()
        );
    }
    broker.shutdown().await;
}
