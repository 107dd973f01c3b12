//! A name server and brokers, with their files in a temporary folder.
#![allow(dead_code, reason = "each test uses its part")]

#[path = "../../../remoting/tests/memory/mod.rs"]
pub mod memory;

use std::time::Duration;

use hotfire_broker::{Broker, BrokerConfig};
use hotfire_client::{Admin, Producer};
use hotfire_env::Env;
use hotfire_env::real::{RealDisk, TokioSpawner};
use hotfire_env::{Defects, Seams};
use hotfire_namesrv::{NameServer, NamesrvConfig};
use std::sync::Arc;
use tempfile::TempDir;

pub const NAMESRV: &str = "127.0.0.1:9876";
pub const TOPIC: &str = "orders";
pub const SECOND: Duration = Duration::from_secs(1);

/// A cluster and an environment for its clients.
pub struct Stack {
    pub env: Env,
    pub brokers: Vec<Broker>,
    configs: Vec<BrokerConfig>,
    _namesrv: NameServer,
    folder: TempDir,
}

/// The configuration of broker number `at` from 0: `broker-a`, `broker-b`, … with small files.
pub fn config(at: usize) -> BrokerConfig {
    let letter = char::from(b'a' + at as u8);
    let mut config = BrokerConfig {
        broker_name: format!("broker-{letter}"),
        listen: format!("127.0.0.1:{}", 10_911 + at * 10),
        namesrv_addrs: vec![NAMESRV.to_owned()],
        ..BrokerConfig::default()
    };
    config.store.store_path_root_dir = format!("store-{letter}");
    config.store.commit_log_file_size = 1 << 20;
    config.store.consume_queue_file_units = 1_000;
    config.store.max_hash_slot_num = 100;
    config.store.max_index_num = 400;
    config.store.timer_wheel_slots = 3_600;
    config.store.timer_log_file_size = 4_096;
    config
}

impl Stack {
    /// A name server and so many brokers, with [`TOPIC`] in two queues on each.
    pub async fn start(brokers: usize) -> Self {
        Self::start_with((0..brokers).map(config).collect()).await
    }

    /// A name server and these brokers.
    pub async fn start_with(configs: Vec<BrokerConfig>) -> Self {
        Self::start_in(configs, Defects::NONE).await
    }

    /// The same, with planted defects in all that runs in it.
    pub async fn start_in(configs: Vec<BrokerConfig>, defects: Defects) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let base = memory::env(&memory::MemoryNetwork::default(), folder.path());
        let env = Env::new(Seams {
            clock: base.clock().clone(),
            network: base.network().clone(),
            disk: Arc::new(RealDisk::new(folder.path())),
            entropy: base.entropy("stack"),
            spawner: Arc::new(TokioSpawner::default()),
            process_id: 1,
            defects,
        });
        let namesrv = NamesrvConfig {
            listen: NAMESRV.to_owned(),
            ..NamesrvConfig::default()
        };
        let namesrv = NameServer::start(&env, namesrv).await.unwrap();
        let mut stack = Self {
            env,
            brokers: Vec::new(),
            configs,
            _namesrv: namesrv,
            folder,
        };
        for at in 0..stack.configs.len() {
            let broker = Broker::start(&stack.env, stack.configs[at].clone(), None).await;
            stack.brokers.push(broker.unwrap());
        }
        stack.create_topic(TOPIC, 2).await;
        stack
    }

    /// Creates a topic with so many queues on every broker.
    pub async fn create_topic(&self, topic: &str, queues: i32) {
        let producer = self.producer("creators").await;
        producer.create_topic(topic, queues).await.unwrap();
        producer.shutdown().await;
    }

    /// Stops broker number `at` cleanly and starts it again.
    pub async fn restart(&mut self, at: usize) {
        self.brokers[at].shutdown().await;
        let broker = Broker::start(&self.env, self.configs[at].clone(), None).await;
        self.brokers[at] = broker.unwrap();
    }

    pub async fn producer(&self, group: &str) -> Producer {
        let builder = Producer::builder(&self.env).namesrv([NAMESRV]).group(group);
        builder.start().await.unwrap()
    }

    pub fn admin(&self) -> Admin {
        let builder = Admin::builder(&self.env).namesrv([NAMESRV]);
        builder.start().unwrap()
    }
}
