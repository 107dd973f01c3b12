//! The store against a simple model: a list of the records that were appended.
//!
//! Random appends, waits, crashes, power losses and flush errors on a simulated disk. After a crash
//! of the process every record must be there; after a power loss a prefix of them that holds at
//! least those that were promised to be durable. Whatever is there must be found at its queue
//! offset, at its commit log offset and by its key, and nothing else.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and its own tasks do not belong to the process under test"
)]

use std::sync::Arc;
use std::time::Duration;

use hotfire_env::Defects;
use hotfire_protocol::Message;
use hotfire_protocol::message::property;
use hotfire_store::{
    FlushDiskType, MessageInner, MessageStore, PutMessageStatus, RecordView, StoreConfig,
    StoreObserver,
};
use hotfire_world::seams::disk::{DiskConfig, DiskDisturbance, SimDisk};
use hotfire_world::seams::net::NetworkConfig;
use hotfire_world::seams::{NodeId, Universe, UniverseConfig};
use proptest::prelude::*;
use std::sync::Mutex;

const TOPICS: [&str; 2] = ["orders", "payments"];
const QUEUES: i32 = 2;

/// One step of a run.
#[derive(Debug, Clone)]
enum Step {
    /// Puts a message and waits for the answer.
    Put(Put),
    /// Puts several at once and waits for all answers.
    Burst(Vec<Put>),
    /// Puts several at once; then something happens before they are answered.
    Interrupted(Vec<Put>, Fate),
    /// Lets time pass, in milliseconds.
    Wait(u64),
    /// The disk fails to flush while time passes.
    FlushErrors(u64),
    /// The life of the store ends, and another begins.
    Reopen(Fate),
}

#[derive(Debug, Clone)]
struct Put {
    topic: usize,
    queue: i32,
    size: usize,
    waits: bool,
}

/// How a life of the store ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Shutdown,
    ProcessCrash,
    PowerLoss,
}

/// A record that was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Appended {
    topic: String,
    queue: i32,
    queue_offset: i64,
    physical: i64,
    size: usize,
    body: Vec<u8>,
    key: String,
}

/// All records of the log, in order.
#[derive(Default)]
struct Model {
    records: Mutex<Vec<Appended>>,
}

impl StoreObserver for Model {
    fn appended(&self, record: &RecordView<'_>) {
        self.records.lock().unwrap().push(Appended {
            topic: record.topic.to_owned(),
            queue: record.queue_id,
            queue_offset: record.queue_offset,
            physical: record.physical_offset,
            size: record.size,
            body: record.body.to_vec(),
            key: record.property(property::KEYS).unwrap().to_owned(),
        });
    }
}

impl Model {
    fn records(&self) -> Vec<Appended> {
        self.records.lock().unwrap().clone()
    }

    /// Keeps the records that lie before the end of the log.
    fn cut(&self, end: i64) {
        let mut records = self.records.lock().unwrap();
        records.retain(|record| record.physical < end);
    }

    fn queue(&self, topic: &str, queue: i32) -> Vec<Appended> {
        let mut records = self.records();
        records.retain(|record| record.topic == topic && record.queue == queue);
        records
    }
}

struct Run {
    universe: Arc<Universe>,
    node: NodeId,
    disk: Arc<SimDisk>,
    config: StoreConfig,
    model: Arc<Model>,
    store: MessageStore,
    /// The log must never again end before this offset.
    durable: i64,
    /// Whether the disk failed a flush in this life.
    failed: bool,
    puts: usize,
}

impl Run {
    async fn new(seed: u64, flush: FlushDiskType) -> Self {
        let universe = Universe::new(UniverseConfig {
            seed,
            epoch_ms: 1_700_000_000_000,
            tick: Duration::from_millis(1),
            network: NetworkConfig::default(),
            defects: Defects::NONE,
        });
        let host = universe.add_host("host");
        let node = universe.add_node("broker", host, DiskConfig::default());
        let config = StoreConfig {
            commit_log_file_size: 16 << 10,
            consume_queue_file_units: 10,
            max_hash_slot_num: 16,
            max_index_num: 24,
            flush_disk_type: flush,
            ..StoreConfig::default()
        };
        let model = Arc::new(Model::default());
        let env = universe.env(node);
        let store = MessageStore::open_observed(&env, config.clone(), Some(model.clone()))
            .await
            .unwrap();
        Self {
            disk: universe.disk(node),
            universe,
            node,
            config,
            model,
            store,
            durable: 0,
            failed: false,
            puts: 0,
        }
    }

    fn message(&mut self, put: &Put) -> MessageInner {
        self.puts += 1;
        let mut body = format!("message {} ", self.puts).into_bytes();
        body.resize(body.len().max(put.size), b'x');
        let message = Message::new(TOPICS[put.topic], body)
            .with_key(format!("key-{}", self.puts))
            .with_property(property::WAIT, put.waits.to_string());
        MessageInner::new(message, put.queue, "127.0.0.1:10911".parse().unwrap())
    }

    /// Starts puts, each as a task of its own.
    fn start(
        &mut self,
        puts: &[Put],
    ) -> Vec<tokio::task::JoinHandle<(bool, PutMessageStatus, i64)>> {
        let mut tasks = Vec::new();
        for put in puts {
            let (store, message, waits) = (self.store.clone(), self.message(put), put.waits);
            tasks.push(tokio::spawn(async move {
                let put = store.put_message(message).await;
                let end = put
                    .append
                    .map_or(0, |append| append.physical_offset + append.bytes as i64);
                (waits, put.status, end)
            }));
        }
        tasks
    }

    async fn put(&mut self, puts: &[Put]) {
        for task in self.start(puts) {
            let (waits, status, end) = task.await.unwrap();
            match status {
                PutMessageStatus::PutOk => {
                    assert!(end > 0);
                    if waits && self.config.flush_disk_type == FlushDiskType::Sync {
                        self.durable = self.durable.max(end);
                    }
                }
                status => assert!(self.failed, "{status:?} although the disk is sound"),
            }
        }
        self.durable = self.durable.max(self.store.flushed_where());
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Put(put) => self.put(std::slice::from_ref(put)).await,
            Step::Burst(puts) => self.put(puts).await,
            Step::Interrupted(puts, fate) => {
                let tasks = self.start(puts);
                tokio::task::yield_now().await;
                self.reopen(*fate).await;
                for task in tasks {
                    task.abort();
                }
            }
            Step::Wait(ms) => tokio::time::sleep(Duration::from_millis(*ms)).await,
            Step::FlushErrors(ms) => {
                self.failed = true;
                self.disk.disturb(1, DiskDisturbance::FlushErrors);
                let put = Put {
                    topic: 0,
                    queue: 0,
                    size: 9000,
                    waits: true,
                };
                self.put(&[put]).await;
                tokio::time::sleep(Duration::from_millis(*ms)).await;
                self.disk.relieve(1);
            }
            Step::Reopen(fate) => self.reopen(*fate).await,
        }
        self.durable = self.durable.max(self.store.flushed_where());
        if !self.failed {
            self.check_visible();
        }
    }

    async fn reopen(&mut self, fate: Fate) {
        let before = self.model.records();
        self.durable = self.durable.max(self.store.flushed_where());
        match fate {
            Fate::Shutdown => {
                let closed = self.store.shutdown().await;
                assert!(closed.is_ok() || self.failed, "{closed:?}");
                self.universe.kill(self.node);
            }
            Fate::ProcessCrash => self.universe.kill(self.node),
            Fate::PowerLoss => {
                self.universe.cut_power(self.node);
                self.universe.power_on(self.node);
            }
        }
        let env = self.universe.env(self.node);
        let observer = Some(self.model.clone() as Arc<dyn StoreObserver>);
        self.store = MessageStore::open_observed(&env, self.config.clone(), observer)
            .await
            .unwrap();
        self.failed = false;
        let end = self.store.max_phy_offset();
        assert!(
            end >= self.durable,
            "the log ends at {end}, {} was durable",
            self.durable
        );
        self.model.cut(end);
        let after = self.model.records();
        if fate != Fate::PowerLoss {
            assert_eq!(
                before.len(),
                after.len(),
                "a record is gone without a power loss"
            );
        }
        // What recovery has found is durable, whatever it was before.
        self.durable = end;
        self.check_all();
    }

    /// What consumers may see is what was appended; with asynchronous flush all of it.
    fn check_visible(&self) {
        for topic in TOPICS {
            for queue in 0..QUEUES {
                let expected = self.model.queue(topic, queue);
                let max = self.store.max_offset_in_queue(topic, queue);
                assert!(max as usize <= expected.len());
                let visible = match self.config.flush_disk_type {
                    FlushDiskType::Async => expected.len(),
                    FlushDiskType::Sync => {
                        let flushed = self.store.flushed_where();
                        let is_flushed = |record: &&Appended| record.physical < flushed;
                        expected.iter().filter(is_flushed).count()
                    }
                };
                assert_eq!(max as usize, visible, "{topic} {queue}");
            }
        }
    }

    /// Everything is found in every way, and nothing else.
    fn check_all(&self) {
        for topic in TOPICS {
            for queue in 0..QUEUES {
                self.check_queue(topic, queue);
            }
        }
        for record in self.model.records() {
            let found = self.store.look_message_by_offset(record.physical).unwrap();
            assert_eq!(found.message.body, record.body);
            let by_key = self
                .store
                .query_message(&record.topic, &record.key, 64, 0, i64::MAX);
            let offsets: Vec<_> = by_key
                .records
                .iter()
                .map(|bytes| RecordView::parse(bytes).unwrap().physical_offset)
                .collect();
            assert_eq!(offsets, [record.physical], "{}", record.key);
        }
    }

    fn check_queue(&self, topic: &str, queue: i32) {
        let expected = self.model.queue(topic, queue);
        let offsets: Vec<_> = expected.iter().map(|record| record.queue_offset).collect();
        let consecutive: Vec<_> = (0..expected.len() as i64).collect();
        assert_eq!(offsets, consecutive, "queue offsets without gaps");
        let units = self.store.units(topic, queue, 0, usize::MAX);
        let pointed: Vec<_> = units
            .iter()
            .map(|unit| (unit.offset, unit.size as usize))
            .collect();
        let stored: Vec<_> = expected
            .iter()
            .map(|record| (record.physical, record.size))
            .collect();
        assert_eq!(pointed, stored, "{topic} {queue}");
        let mut next = 0;
        for record in expected {
            let got = self
                .store
                .get_message(topic, queue, next, 1, 1 << 20, &|_| true);
            let view = RecordView::parse(&got.messages[0]).unwrap();
            assert_eq!(view.body, record.body);
            next = got.next_begin_offset;
        }
    }
}

fn put() -> impl Strategy<Value = Put> {
    let size = prop_oneof![8 => 0..200usize, 2 => 200..5000usize];
    (0..TOPICS.len(), 0..QUEUES, size, prop::bool::weighted(0.8)).prop_map(
        |(topic, queue, size, waits)| Put {
            topic,
            queue,
            size,
            waits,
        },
    )
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        2 => Just(Fate::Shutdown),
        3 => Just(Fate::ProcessCrash),
        5 => Just(Fate::PowerLoss),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => put().prop_map(Step::Put),
        10 => prop::collection::vec(put(), 1..20).prop_map(Step::Burst),
        2 => (prop::collection::vec(put(), 1..10), fate())
            .prop_map(|(puts, fate)| Step::Interrupted(puts, fate)),
        4 => prop_oneof![0..50u64, 50..2_000u64, 2_000..70_000u64].prop_map(Step::Wait),
        1 => (0..70_000u64).prop_map(Step::FlushErrors),
        4 => fate().prop_map(Step::Reopen),
    ]
}

fn run(seed: u64, flush: FlushDiskType, steps: &[Step]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut run = Run::new(seed, flush).await;
        for step in steps {
            run.step(step).await;
        }
        run.reopen(Fate::ProcessCrash).await;
    });
}

/// Small messages for one queue.
fn small(number: usize) -> Vec<Put> {
    let put = Put {
        topic: 0,
        queue: 0,
        size: 0,
        waits: false,
    };
    vec![put; number]
}

// Found by the properties below.

#[test]
fn units_that_were_never_written_are_given_up_with_a_log_that_is_lost() {
    let steps = [
        Step::Burst(small(30)),
        Step::FlushErrors(60_003),
        Step::Reopen(Fate::PowerLoss),
    ];
    run(0, FlushDiskType::Async, &steps);
}

#[test]
fn a_message_is_found_in_the_place_of_one_that_was_indexed_and_lost() {
    let steps = [
        Step::Burst(small(23)),
        Step::Wait(1),
        Step::Burst(small(22)),
        Step::FlushErrors(20_751),
        Step::Wait(39_274),
        Step::Interrupted(small(1), Fate::PowerLoss),
        Step::Interrupted(small(1), Fate::Shutdown),
    ];
    run(0, FlushDiskType::Async, &steps);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn with_synchronous_flush_nothing_that_was_acknowledged_is_lost(
        seed: u64,
        steps in prop::collection::vec(step(), 1..40),
    ) {
        run(seed, FlushDiskType::Sync, &steps);
    }

    #[test]
    fn with_asynchronous_flush_only_a_power_loss_takes_what_was_not_flushed(
        seed: u64,
        steps in prop::collection::vec(step(), 1..40),
    ) {
        run(seed, FlushDiskType::Async, &steps);
    }
}
