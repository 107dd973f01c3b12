//! Hostile frames against a served name server, beside a client that behaves.
//!
//! Whatever arrives, nothing panics, the good client is answered every time, what a hostile
//! connection registered ends with it, and the tables stay within their limits. Four seeds are
//! always the same; a fifth one differs from run to run, and a failure names it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use hotfire_env::{ByteStream, Entropy, EntropyExt, Env, SeededEntropy, real};
use hotfire_namesrv::{NameServer, NamesrvConfig, TOPICS_MAX};
use hotfire_protocol::body::{
    ClusterInfo, DataVersion, RegisterBrokerBody, TopicConfig, TopicList,
};
use hotfire_protocol::header::namesrv::{GetRouteInfoRequestHeader, RegisterBrokerRequestHeader};
use hotfire_protocol::{RemotingCommand, RequestCode, SerializeType, frame};
use hotfire_remoting::{Client, ClientConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// Hostile connections of one seed, and frames of one connection.
const CONNECTIONS: usize = 150;
const FRAMES: usize = 50;
/// Only a server that stands still takes so long.
const STANDSTILL: Duration = Duration::from_secs(60);
/// How long a hostile client listens: it does not care for its answers.
const GLANCE: Duration = Duration::from_millis(1);

/// Fields that requests have.
const FIELDS: [&str; 16] = [
    "topic",
    "brokerName",
    "brokerAddr",
    "clusterName",
    "brokerId",
    "haServerAddr",
    "compressed",
    "bodyCrc32",
    "namespace",
    "key",
    "value",
    "cluster",
    "acceptStandardJsonOnly",
    "AccessKey",
    "Signature",
    "dataVersion",
];

struct Hostile {
    entropy: Arc<dyn Entropy>,
}

impl Hostile {
    fn below(&self, limit: usize) -> usize {
        self.entropy.below(limit as u64) as usize
    }

    fn one_of<'a, T>(&self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    fn junk(&self, longest: usize) -> Vec<u8> {
        let len = self.below(longest + 1);
        (0..len).map(|_| self.below(256) as u8).collect()
    }

    fn text(&self) -> String {
        match self.below(12) {
            0 => String::new(),
            1 => "-1".to_owned(),
            2 => i64::MAX.to_string(),
            3 => "true".to_owned(),
            4 => "x".repeat(self.below(100_000)),
            5 => "\u{1}\u{2}\n\"\\\u{0}".repeat(self.below(100)),
            6 => String::from_utf8_lossy(&self.junk(50)).into_owned(),
            7 => "broker-good".to_owned(),
            8 => "10.0.0.1:10911".to_owned(),
            9 => self.below(10).to_string(),
            _ => format!("name-{}", self.below(1_000)),
        }
    }

    fn body(&self) -> Vec<u8> {
        let deep = |open: &str| open.repeat(self.below(200_000)).into_bytes();
        match self.below(10) {
            0 => Vec::new(),
            1 => self.junk(1_000),
            2 => deep("["),
            3 => deep("{\"a\":"),
            4 => [b"{\"a\":[".as_slice(), &deep("{},"), b"{}]}"].concat(),
            5 => b"orderMessageEnable=perhaps\nlistenPort=-1\n".to_vec(),
            6 => b"{\"counter\":1e999,\"timestamp\":\"x\"}".to_vec(),
            _ => self.registration_body(),
        }
    }

    fn registration_body(&self) -> Vec<u8> {
        let mut body = RegisterBrokerBody::default();
        let wrapper = &mut body.topic_config_serialize_wrapper;
        wrapper.data_version = DataVersion::default().next(self.below(5) as i64);
        for _ in 0..self.below(200) {
            let topic = self.text();
            let queues = *self.one_of(&[4, 0, -1, i32::MAX, 65_536]);
            let perm = *self.one_of(&[6, 0, 99, -1]);
            let config = TopicConfig::new(topic.clone(), queues, queues, perm);
            wrapper.topic_config_table.insert(topic, config);
        }
        body.encode(self.below(2) == 0).unwrap().to_vec()
    }

    fn command(&self) -> RemotingCommand {
        let code = match self.below(8) {
            0 => RequestCode(self.below(70_000) as i32 - 2_000),
            1 => RequestCode(i32::MIN),
            2 | 3 => RequestCode::REGISTER_BROKER,
            _ => RequestCode(100 + self.below(20) as i32 + 100 * self.below(3) as i32),
        };
        let mut command = if code == RequestCode::REGISTER_BROKER {
            let header = RegisterBrokerRequestHeader {
                broker_name: self.text(),
                broker_addr: self.text(),
                cluster_name: self.text(),
                ha_server_addr: self.text(),
                ..Default::default()
            };
            RemotingCommand::request_with(code, &header)
        } else {
            RemotingCommand::request(code)
        };
        for _ in 0..self.below(6) {
            command.ext.set(*self.one_of(&FIELDS), self.text());
        }
        command.version = *self.one_of(&[0, 1, 251, 409, 477, -1]);
        command.opaque = self.below(10) as i32;
        command.flag = *self.one_of(&[0, 0, 0, 0, 1, 2, 3, -1]);
        if self.below(4) == 0 {
            command.serialize = SerializeType::RocketMq;
        }
        command.with_body(self.body())
    }

    /// A frame, mostly one that can be read.
    fn frame(&self) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        if frame::encode(&self.command(), &mut bytes).is_err() {
            bytes.put_slice(&self.junk(100));
        }
        let mut bytes = bytes.to_vec();
        match self.below(12) {
            // A damaged byte, mostly in the header.
            0 if !bytes.is_empty() => {
                let at = self.below(bytes.len().min(300));
                bytes[at] = self.below(256) as u8;
            }
            // Less than it says.
            1 => bytes.truncate(self.below(bytes.len() + 1)),
            2 => bytes = self.junk(200),
            3 => bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            // A header that is all nesting, or all fields.
            4 => {
                let header = match self.below(2) {
                    0 => b"{\"extFields\":{\"a\":".repeat(1 + self.below(30_000)),
                    _ => {
                        let fields = b"\"f\":1,".repeat(self.below(3_000));
                        [b"{\"code\":105,\"extFields\":{".as_slice(), &fields, b"}}"].concat()
                    }
                };
                let mut frame = BytesMut::new();
                frame.put_u32(header.len() as u32 + 4);
                frame.put_u32(header.len() as u32);
                frame.put_slice(&header);
                bytes = frame.to_vec();
            }
            _ => {}
        }
        bytes
    }

    /// Sends frames in pieces until it or the server has enough.
    async fn attack(&self, env: &Env, address: &str) {
        let mut stream: Box<dyn ByteStream> = env.network().connect(address).await.unwrap().stream;
        let mut answers = vec![0; 64 << 10];
        for _ in 0..FRAMES {
            let bytes = self.frame();
            let cut = self.below(bytes.len() + 1);
            for part in [&bytes[..cut], &bytes[cut..]] {
                // Who sends and never reads is not waited for.
                match timeout(Duration::from_secs(1), stream.write_all(part)).await {
                    Ok(Ok(())) => {}
                    _ => return,
                }
            }
            if self.below(4) == 0 {
                let _ = timeout(GLANCE, stream.read(&mut answers)).await;
            }
        }
    }
}

async fn ask(client: &Client, address: &str, request: RemotingCommand) -> RemotingCommand {
    client.invoke(address, request, STANDSTILL).await.unwrap()
}

/// What the good broker registers.
fn good_registration() -> RemotingCommand {
    let mut body = RegisterBrokerBody::default();
    let wrapper = &mut body.topic_config_serialize_wrapper;
    wrapper.data_version = DataVersion::default().next(1);
    let topic = TopicConfig::new("good", 4, 4, 6);
    wrapper.topic_config_table.insert("good".to_owned(), topic);
    let header = RegisterBrokerRequestHeader {
        broker_name: "broker-good".to_owned(),
        broker_addr: "10.0.0.1:10911".to_owned(),
        cluster_name: "cluster".to_owned(),
        ..Default::default()
    };
    RemotingCommand::request_with(RequestCode::REGISTER_BROKER, &header)
        .with_body(body.encode(false).unwrap())
}

async fn survives(seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    let env = real::env(folder.path(), None);
    let config = NamesrvConfig {
        listen: "127.0.0.1:0".to_owned(),
        ..NamesrvConfig::default()
    };
    let server = NameServer::start(&env, config).await.unwrap();
    let address = server.local().to_string();
    let good = Client::new(&env, ClientConfig::default(), None);
    assert!(ask(&good, &address, good_registration()).await.is_success());
    let connection = good.connected(&address).unwrap();
    let hostile = Hostile {
        entropy: Arc::new(SeededEntropy::new(seed)),
    };
    let route = GetRouteInfoRequestHeader {
        topic: "good".to_owned(),
        ..Default::default()
    };
    let route = RemotingCommand::request_with(RequestCode::GET_ROUTEINFO_BY_TOPIC, &route);
    for _ in 0..CONNECTIONS {
        hostile.attack(&env, &address).await;
        let answer = ask(&good, &address, route.clone()).await;
        assert!(
            answer
                .remark
                .is_none_or(|remark| remark.starts_with("No topic")),
            "seed {seed}"
        );
    }
    assert!(connection.is_open(), "seed {seed}");
    let list = RemotingCommand::request(RequestCode::GET_ALL_TOPIC_LIST_FROM_NAMESERVER);
    let list = TopicList::from_json(&ask(&good, &address, list).await.body).unwrap();
    assert!(list.topic_list.len() <= TOPICS_MAX, "seed {seed}");
    // The good broker registers again, as every thirty seconds; the others end with their
    // connections.
    assert!(ask(&good, &address, good_registration()).await.is_success());
    let mut looks = 0;
    loop {
        looks += 1;
        assert!(
            looks < 10_000,
            "brokers outlive their connections, seed {seed}"
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
        let info = RemotingCommand::request(RequestCode::GET_BROKER_CLUSTER_INFO);
        let info = ClusterInfo::from_json(&ask(&good, &address, info).await.body).unwrap();
        if info.broker_addr_table.len() == 1 {
            assert!(info.broker_addr_table.contains_key("broker-good"));
            break;
        }
    }
    server.shutdown().await;
}

#[test]
fn a_name_server_survives_hostile_frames_and_answers_everybody_else() {
    let panics = Arc::new(AtomicUsize::new(0));
    let (counted, hook) = (panics.clone(), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        counted.fetch_add(1, Ordering::Relaxed);
        hook(panic);
    }));
    let random = real::env("/nonexistent", None).entropy("seed").next_u64();
    for seed in [1, 2, 3, 4, random] {
        real::runtime().unwrap().block_on(survives(seed));
        assert_eq!(panics.load(Ordering::Relaxed), 0, "seed {seed}");
    }
}
