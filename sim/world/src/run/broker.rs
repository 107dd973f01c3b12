use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use hotfire_broker::{Broker, BrokerConfig, BrokerObserver};
use hotfire_check::history::{Event, Value};
use hotfire_env::{BoxFuture, Disk, Env};
use hotfire_protocol::body::{
    PlainAccessConfig, TopicConfig, TopicConfigSerializeWrapper, fastjson,
};
use hotfire_protocol::message::{compression, property};
use hotfire_protocol::pop::revive_topic;
use hotfire_protocol::topic::{self, perm};
use hotfire_store::{FlushDiskType, RecordView, StoreConfig, StoreObserver};

use super::resident::Resident;
use super::stop::Stop;
use crate::journal::{HiddenRecord, Pen};
use crate::scenario::{Cluster, Flush, Scenario};
use crate::workload::body;

/// Bodies of the workload are never larger, compressed or not.
const BODY_MAX: usize = 8 << 20;

/// Hash slots and entries of an index file. RocketMQ's files hold twenty million entries and are
/// mapped whole; a short run needs no such file on each of its brokers.
const INDEX_SLOTS: u32 = 50_000;
const INDEX_ENTRIES: u32 = 200_000;

/// Ticks that the timer wheel shows, and the length of a timer log file. RocketMQ's wheel is 38 MB
/// large, to show a week of seconds; what waits longer than this one shows goes round.
const TIMER_SLOTS: u32 = 7_200;
const TIMER_LOG_FILE: u64 = 1 << 20;

/// A broker, over all lives of its process.
pub(super) struct BrokerNode {
    config: BrokerConfig,
    topics: Vec<TopicConfig>,
    /// `plain_acl.yml`, if access control is on.
    accounts: Option<Vec<u8>>,
    /// Whether its topics were set up.
    is_set_up: AtomicBool,
    pen: Pen,
}

impl BrokerNode {
    pub fn new(name: &str, scenario: &Scenario, namesrv: Vec<String>, pen: Pen) -> Self {
        let topics = scenario.topics.iter().map(|(name, topic)| {
            let queues = i32::try_from(topic.queues).unwrap_or(i32::MAX);
            TopicConfig::new(name, queues, queues, perm::READ | perm::WRITE)
        });
        Self {
            config: BrokerConfig {
                broker_name: name.to_owned(),
                namesrv_addrs: namesrv,
                enable_property_filter: scenario
                    .consumers
                    .values()
                    .any(|group| !group.sql.is_empty()),
                acl_enable: !scenario.accounts.is_empty(),
                auto_create_topic_enable: scenario.cluster.auto_create_topics,
                recall_message_enable: scenario.producers.values().any(|p| p.recall > 0.0),
                store: store_config(&scenario.cluster),
                transaction_timeout: scenario.cluster.transactions.timeout,
                transaction_check_interval: scenario.cluster.transactions.interval,
                transaction_check_max: i32::try_from(scenario.cluster.transactions.max_checks)
                    .unwrap_or(i32::MAX),
                ..BrokerConfig::default()
            },
            topics: topics.collect(),
            accounts: plain_acl(scenario),
            is_set_up: AtomicBool::new(false),
            pen,
        }
    }

    /// Puts the scenario's topics onto the disk before the broker first starts, as an operator who
    /// rolls out a cluster does, and waits until they are safe there.
    async fn set_up(&self, disk: &dyn Disk) -> std::io::Result<()> {
        let mut table = TopicConfigSerializeWrapper::default();
        for topic in &self.topics {
            table
                .topic_config_table
                .insert(topic.topic_name.clone(), topic.clone());
        }
        let json = fastjson::to_pretty_vec(&table).map_err(std::io::Error::other)?;
        let folder = format!("{}/config", self.config.store.store_path_root_dir);
        put(disk, &folder, "topics.json", &json).await?;
        if let Some(accounts) = &self.accounts {
            put(disk, "conf", "plain_acl.yml", accounts).await?;
        }
        Ok(())
    }
}

/// Writes a file and waits until it is safe.
async fn put(disk: &dyn Disk, folder: &str, name: &str, content: &[u8]) -> std::io::Result<()> {
    let len = content.len() as u64;
    let file = disk.map(&format!("{folder}/{name}"), len)?;
    file.write(0, content)?;
    file.flush(0..len).await?;
    disk.sync_dir(folder).await
}

/// The accounts as `plain_acl.yml` has them: JSON is YAML too.
fn plain_acl(scenario: &Scenario) -> Option<Vec<u8>> {
    if scenario.accounts.is_empty() {
        return None;
    }
    let accounts: Vec<_> = scenario
        .accounts
        .iter()
        .map(|(key, account)| PlainAccessConfig {
            access_key: Some(key.clone()),
            secret_key: Some(account.secret.clone()),
            white_remote_address: None,
            admin: account.admin,
            default_topic_perm: Some(account.default_topic.clone()),
            default_group_perm: Some(account.default_group.clone()),
            topic_perms: Some(account.topics.clone()).filter(|topics| !topics.is_empty()),
            group_perms: Some(account.groups.clone()).filter(|groups| !groups.is_empty()),
        })
        .collect();
    let file = BTreeMap::from([("accounts", accounts)]);
    fastjson::to_pretty_vec(&file).ok()
}

fn store_config(cluster: &Cluster) -> StoreConfig {
    StoreConfig {
        flush_disk_type: match cluster.flush {
            Flush::Async => FlushDiskType::Async,
            Flush::Sync => FlushDiskType::Sync,
        },
        flush_interval_commit_log: cluster.flush_interval,
        commit_log_file_size: cluster.commit_log_file_size,
        consume_queue_file_units: cluster.consume_queue_file_entries,
        max_hash_slot_num: INDEX_SLOTS,
        max_index_num: INDEX_ENTRIES,
        timer_wheel_slots: TIMER_SLOTS,
        timer_log_file_size: TIMER_LOG_FILE,
        delay_levels: cluster
            .delay_levels
            .iter()
            .map(|level| i64::try_from(level.as_millis()).unwrap_or(i64::MAX))
            .collect(),
        ..StoreConfig::default()
    }
}

impl Resident for BrokerNode {
    fn live(self: Arc<Self>, env: Env, stop: Stop) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let name = &self.config.broker_name;
            if !self.is_set_up.load(Ordering::Relaxed) {
                if let Err(error) = self.set_up(&**env.disk()).await {
                    panic!("the topics of {name} could not be set up: {error}");
                }
                self.is_set_up.store(true, Ordering::Relaxed);
            }
            let observer = Arc::new(Observer {
                pen: self.pen.clone(),
                revive: revive_topic(&self.config.broker_cluster_name),
            });
            let broker = match Broker::start(&env, self.config.clone(), Some(observer)).await {
                Ok(broker) => broker,
                Err(error) => panic!("{name} did not start: {error}"),
            };
            stop.asked().await;
            broker.shutdown().await;
        })
    }
}

/// Writes down what a broker's store and offset table do.
struct Observer {
    pen: Pen,
    /// The topic that knows what was popped.
    revive: String,
}

impl Observer {
    fn broker(&self) -> &str {
        self.pen.name()
    }
}

impl StoreObserver for Observer {
    fn appended(&self, record: &RecordView<'_>) {
        // A reply says what its request says, but is another message.
        let reply = record.topic.ends_with(topic::REPLY_POSTFIX);
        let value = value_of(record).filter(|_| !reply);
        self.pen.write(|recorder| Event::Appended {
            queue: recorder.queue(record.topic, self.broker(), record.queue_id),
            reconsume: u16::try_from(record.reconsume_times).unwrap_or(u16::MAX),
            offset: record.queue_offset,
            physical: record.physical_offset,
            value,
        });
        if record.topic == self.revive {
            let tag = record.property(property::TAGS);
            if let Some(hidden) = HiddenRecord::read(tag, record.body) {
                self.pen.note_hidden(hidden, |recorder| {
                    let queue = recorder.queue(record.topic, self.broker(), record.queue_id);
                    (queue, record.queue_offset)
                });
            }
        }
        if let Some(offset) = ended_half(record) {
            self.pen.write(|recorder| Event::HalfEnded {
                queue: recorder.queue(topic::TRANS_HALF_TOPIC, self.broker(), record.queue_id),
                offset,
            });
        }
    }

    fn recovered(&self, max_physical: i64, truncated_bytes: u64) {
        self.pen.write(|_| Event::Recovered {
            max_physical,
            truncated_bytes: i64::try_from(truncated_bytes).unwrap_or(i64::MAX),
        });
    }

    fn queue_recovered(&self, topic: &str, queue_id: i32, max_offset: i64) {
        self.pen.write(|recorder| Event::QueueMax {
            queue: recorder.queue(topic, self.broker(), queue_id),
            offset: max_offset,
        });
    }
}

impl BrokerObserver for Observer {
    fn offset_committed(&self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        self.pen.write(|recorder| Event::OffsetSet {
            group: recorder.group(group),
            queue: recorder.queue(topic, self.broker(), queue_id),
            offset,
        });
    }
}

/// The half message that an op message says is decided, by its queue offset; `None` for other
/// messages.
fn ended_half(record: &RecordView<'_>) -> Option<i64> {
    if record.topic != topic::TRANS_OP_HALF_TOPIC {
        return None;
    }
    str::from_utf8(record.body).ok()?.parse().ok()
}

/// The number in the body of a record, if it is a message of the workload.
fn value_of(record: &RecordView<'_>) -> Option<Value> {
    let compressed = record.sys_flag & hotfire_protocol::message::sys_flag::COMPRESSED != 0;
    let received = if compressed {
        let stored = Bytes::copy_from_slice(record.body);
        let plain = compression::decompress(&stored, record.sys_flag, BODY_MAX).ok()?;
        body::decode(&plain)
    } else {
        body::decode(record.body)
    };
    received
        .filter(|received| received.intact)
        .map(|received| Value(received.content.value))
}
