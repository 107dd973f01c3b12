//! Timers against a simple model: a list of messages, each with a time.
//!
//! Random times, recalls, jumps of the clock, crashes, power losses and flushes that are cut off. No
//! message comes before its time by the clock of the moment; none that the commit log kept is lost;
//! and none comes twice, unless a power loss took what says that it came.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and its own tasks do not belong to the process under test"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hotfire_env::Defects;
use hotfire_protocol::message::property;
use hotfire_protocol::{Message, topic};
use hotfire_store::{
    FlushDiskType, MessageInner, MessageStore, PutMessageStatus, RecordView, StoreConfig,
    StoreObserver, TimerStore,
};
use hotfire_world::seams::disk::DiskConfig;
use hotfire_world::seams::net::NetworkConfig;
use hotfire_world::seams::{NodeId, Universe, UniverseConfig};
use proptest::prelude::*;

const EPOCH_MS: i64 = 1_700_000_000_000;
const TOPIC: &str = "orders";

/// One step of a run.
#[derive(Debug, Clone)]
enum Step {
    /// Sends messages that are due after so many milliseconds.
    Send(Vec<i64>),
    /// Calls back the n-th message from the last.
    Recall(usize),
    /// So many seconds pass, with a look at the timers in each.
    Pass(i64),
    /// The clock jumps by so many milliseconds.
    Jump(i64),
    Flush,
    /// A flush begins, and the life of the process ends before it is done.
    CutOffFlush(Fate),
    Reopen(Fate),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Shutdown,
    ProcessCrash,
    PowerLoss,
}

/// A message that was sent.
#[derive(Debug, Clone)]
struct Sent {
    due_ms: i64,
    /// Where its first record begins in the commit log.
    physical: i64,
    /// Where the wish to drop it begins, if it was recalled before its time.
    wish: Option<i64>,
    /// Whether a power loss took the wish: it may have been granted before that.
    wish_lost: bool,
}

/// What the log says was delivered: where, and which message.
#[derive(Default)]
struct Deliveries(Mutex<Vec<(i64, usize)>>);

impl StoreObserver for Deliveries {
    fn appended(&self, record: &RecordView<'_>) {
        if record.topic == TOPIC {
            let number = std::str::from_utf8(record.body).unwrap().parse().unwrap();
            self.0
                .lock()
                .unwrap()
                .push((record.physical_offset, number));
        }
    }
}

struct Run {
    universe: Arc<Universe>,
    node: NodeId,
    config: StoreConfig,
    store: MessageStore,
    timers: TimerStore,
    now_ms: i64,
    sent: BTreeMap<usize, Sent>,
    numbers: usize,
    seen: Arc<Deliveries>,
    /// How many deliveries were looked at.
    checked: usize,
    lost_power: bool,
    jumped: bool,
}

impl Run {
    async fn new(seed: u64, flush: FlushDiskType, roll: u32) -> Self {
        let universe = Universe::new(UniverseConfig {
            seed,
            epoch_ms: EPOCH_MS,
            tick: Duration::from_millis(1),
            network: NetworkConfig::default(),
            defects: Defects::NONE,
        });
        let host = universe.add_host("host");
        let node = universe.add_node("broker", host, DiskConfig::default());
        let config = StoreConfig {
            commit_log_file_size: 64 << 10,
            consume_queue_file_units: 100,
            message_index_enable: false,
            timer_wheel_slots: 120,
            timer_roll_window_slots: roll,
            timer_log_file_size: 1024,
            flush_disk_type: flush,
            ..StoreConfig::default()
        };
        let seen = Arc::new(Deliveries::default());
        let (store, timers) = open(&universe, node, &config, &seen).await;
        Self {
            universe,
            node,
            config,
            store,
            timers,
            now_ms: EPOCH_MS,
            sent: BTreeMap::new(),
            numbers: 0,
            seen,
            checked: 0,
            lost_power: false,
            jumped: false,
        }
    }

    /// Puts what a broker makes of a message for a time, or of a recall.
    async fn put(&self, number: usize, due_ms: i64, wish: bool) -> i64 {
        let out_ms = (due_ms - 1).div_euclid(1000) * 1000;
        let mut message = Message::new(topic::TIMER_TOPIC, number.to_string())
            .with_property(property::UNIQ_KEY, format!("key-{number}"))
            .with_property(property::REAL_TOPIC, TOPIC)
            .with_property(property::REAL_QID, "0")
            .with_property(property::TIMER_OUT_MS, out_ms.to_string());
        if wish {
            let target = format!("{TOPIC}+key-{number}");
            message = message.with_property(property::TIMER_DEL_UNIQKEY, target);
        }
        let message = MessageInner::new(message, 0, "127.0.0.1:10911".parse().unwrap());
        let put = self.store.put_message(message).await;
        assert_eq!(put.status, PutMessageStatus::PutOk);
        put.append.unwrap().physical_offset
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Send(delays) => {
                for delay in delays {
                    let due_ms = self.now_ms + delay;
                    let number = self.numbers;
                    self.numbers += 1;
                    let physical = self.put(number, due_ms, false).await;
                    let sent = Sent {
                        due_ms,
                        physical,
                        wish: None,
                        wish_lost: false,
                    };
                    self.sent.insert(number, sent);
                }
            }
            Step::Recall(back) => {
                let Some((&number, sent)) = self.sent.iter().nth_back(*back) else {
                    return;
                };
                let due_ms = sent.due_ms;
                if due_ms > self.now_ms {
                    let wish = self.put(number, due_ms, true).await;
                    self.sent.get_mut(&number).unwrap().wish = Some(wish);
                }
            }
            Step::Pass(seconds) => {
                for _ in 0..*seconds {
                    self.now_ms += 1000;
                    self.look().await;
                }
            }
            Step::Jump(ms) => {
                self.jumped = true;
                self.now_ms += ms;
                self.look().await;
            }
            Step::Flush => self.timers.flush().await.unwrap(),
            Step::CutOffFlush(fate) => {
                let timers = self.timers.clone();
                let flush = tokio::spawn(async move { timers.flush().await });
                tokio::time::sleep(Duration::from_micros(100)).await;
                self.reopen(*fate).await;
                flush.abort();
            }
            Step::Reopen(fate) => self.reopen(*fate).await,
        }
    }

    /// Runs the timers as the clock stands, and lets the disk do its work.
    async fn look(&mut self) {
        for _ in 0..3 {
            while self.timers.run(self.now_ms, 7) {}
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        let seen = self.seen.0.lock().unwrap().clone();
        for (_, number) in &seen[self.checked..] {
            let due_ms = self.sent[number].due_ms;
            assert!(
                due_ms <= self.now_ms,
                "{number} came {} early",
                due_ms - self.now_ms
            );
        }
        self.checked = seen.len();
    }

    async fn reopen(&mut self, fate: Fate) {
        match fate {
            Fate::Shutdown => {
                self.timers.flush().await.unwrap();
                self.store.shutdown().await.unwrap();
                self.universe.kill(self.node);
            }
            Fate::ProcessCrash => self.universe.kill(self.node),
            Fate::PowerLoss => {
                self.lost_power = true;
                self.universe.cut_power(self.node);
                self.universe.power_on(self.node);
            }
        }
        (self.store, self.timers) = open(&self.universe, self.node, &self.config, &self.seen).await;
        let end = self.store.max_phy_offset();
        self.seen
            .0
            .lock()
            .unwrap()
            .retain(|&(physical, _)| physical < end);
        self.checked = self.seen.0.lock().unwrap().len();
        self.sent.retain(|_, sent| sent.physical < end);
        for sent in self.sent.values_mut() {
            if sent.wish.is_some_and(|wish| wish >= end) {
                sent.wish = None;
                sent.wish_lost = true;
            }
        }
    }

    /// Lets all that waits come, and looks at what came.
    async fn finish(&mut self) {
        let last_ms = self.sent.values().map(|sent| sent.due_ms).max();
        loop {
            self.now_ms += 1000;
            self.look().await;
            if self.now_ms >= last_ms.unwrap_or(0) + 2_000 {
                break;
            }
        }
        let mut times: BTreeMap<usize, usize> = BTreeMap::new();
        for (_, number) in self.seen.0.lock().unwrap().iter() {
            *times.entry(*number).or_default() += 1;
        }
        for (number, sent) in &self.sent {
            let times = times.get(number).copied().unwrap_or(0);
            if sent.wish.is_none() {
                let granted = sent.wish_lost && times == 0;
                assert!(granted || times > 0, "{number} was lost: {sent:?}");
            } else if !self.jumped && !self.lost_power {
                assert_eq!(times, 0, "{number} came although it was recalled: {sent:?}");
            }
            assert!(
                self.lost_power || times <= 1,
                "{number} came {times} times: {sent:?}"
            );
        }
    }
}

async fn open(
    universe: &Universe,
    node: NodeId,
    config: &StoreConfig,
    seen: &Arc<Deliveries>,
) -> (MessageStore, TimerStore) {
    let observer = Some(seen.clone() as Arc<dyn StoreObserver>);
    let env = universe.env(node);
    let store = MessageStore::open_observed(&env, config.clone(), observer)
        .await
        .unwrap();
    let timers = TimerStore::open(&store).await.unwrap();
    (store, timers)
}

fn fates() -> impl Strategy<Value = Fate> {
    prop_oneof![
        1 => Just(Fate::Shutdown),
        2 => Just(Fate::ProcessCrash),
        2 => Just(Fate::PowerLoss),
    ]
}

fn steps(jumps: bool) -> impl Strategy<Value = Vec<Step>> {
    let delays = prop_oneof![3 => 1..8_000i64, 1 => 1..250_000i64];
    let jump = if jumps { 2 } else { 0 };
    let step = prop_oneof![
        6 => prop::collection::vec(delays, 1..12).prop_map(Step::Send),
        1 => (0..8usize).prop_map(Step::Recall),
        6 => (1..6i64).prop_map(Step::Pass),
        jump => (-40_000..40_000i64).prop_map(Step::Jump),
        2 => Just(Step::Flush),
        1 => fates().prop_map(Step::CutOffFlush),
        2 => fates().prop_map(Step::Reopen),
    ];
    prop::collection::vec(step, 1..40)
}

fn with_time<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(test)
}

fn flushes() -> impl Strategy<Value = FlushDiskType> {
    prop_oneof![Just(FlushDiskType::Sync), Just(FlushDiskType::Async)]
}

fn run(seed: u64, flush: FlushDiskType, roll: u32, steps: &[Step]) {
    with_time(async {
        let mut run = Run::new(seed, flush, roll).await;
        for step in steps {
            run.step(step).await;
        }
        run.finish().await;
    });
}

/// Messages that are due with the next tick.
fn soon(number: usize) -> Vec<i64> {
    vec![1; number]
}

// Found by the properties below, with these seeds.

#[test]
fn a_flush_that_a_shutdown_cuts_off_leaves_its_work_to_the_next() {
    use Step::{CutOffFlush, Flush, Pass, Recall, Reopen, Send};
    let steps = [
        Reopen(Fate::Shutdown),
        Send(vec![2001; 6]),
        Pass(1),
        Send(soon(6)),
        Send(soon(7)),
        Flush,
        Send(soon(13)),
        Recall(0),
        Recall(0),
        Pass(1),
        Pass(1),
        Flush,
        Send(vec![1, 81_001]),
        Pass(1),
        Send(soon(1)),
        Reopen(Fate::ProcessCrash),
        CutOffFlush(Fate::Shutdown),
        Send(soon(1)),
        CutOffFlush(Fate::PowerLoss),
    ];
    run(12_835_986_313_960_835_367, FlushDiskType::Async, 60, &steps);
}

#[test]
fn a_file_of_the_timer_log_that_was_given_up_does_not_come_back_with_a_second_power_loss() {
    use Step::{CutOffFlush, Flush, Pass, Reopen, Send};
    let far = |before, after| [soon(before), vec![27_001], soon(after)].concat();
    let steps = [
        Send(soon(4)),
        Pass(1),
        Send(soon(8)),
        Send([soon(6), vec![6001], soon(4)].concat()),
        CutOffFlush(Fate::Shutdown),
        Send(soon(1)),
        Pass(5),
        Reopen(Fate::PowerLoss),
        Pass(1),
        Send(far(3, 6)),
        Send(vec![1, 1, 1, 27_001, 27_001]),
        Flush,
        Pass(1),
        Reopen(Fate::PowerLoss),
        Pass(1),
        Reopen(Fate::PowerLoss),
    ];
    run(4_426_122_623_158_567_423, FlushDiskType::Sync, 20, &steps);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn timers_come_in_time_and_once(
        seed in any::<u64>(),
        flush in flushes(),
        roll in prop_oneof![Just(60u32), Just(20)],
        steps in steps(false),
    ) {
        run(seed, flush, roll, &steps);
    }

    #[test]
    fn timers_come_in_time_and_once_by_a_clock_that_jumps(
        seed in any::<u64>(),
        flush in flushes(),
        roll in prop_oneof![Just(60u32), Just(20)],
        steps in steps(true),
    ) {
        run(seed, flush, roll, &steps);
    }
}
