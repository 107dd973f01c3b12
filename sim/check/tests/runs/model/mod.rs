//! A little queue system that is correct, with crashes, retries and rebalances, and records its
//! history. It does what Apache RocketMQ may do, the ugly parts included: what is legal must not be
//! called wrong.

use std::collections::BTreeMap;

use hotfire_check::contract::{
    Contract, Flush, FlushWindow, GroupContract, TopicContract, TransactionContract,
};
use hotfire_check::history::*;

use asking::Asking;
use broker::{Entry, Queues};
use consume::Group;
use popping::Popping;
use timers::Timers;
use transactions::Transactions;

mod asking;
mod broker;
mod consume;
mod members;
mod popping;
mod sends;
mod timers;
mod transactions;

/// The queues of the topic; those of other topics follow.
const QUEUES: usize = 3;
const RETRY: usize = QUEUES;
const DLQ: usize = QUEUES + 1;
const SCHEDULE: usize = QUEUES + 2;
const LONG_SCHEDULE: usize = QUEUES + 3;
const TIMER: usize = QUEUES + 4;
const HALF: usize = QUEUES + 5;
const OPS: usize = QUEUES + 6;
const DISCARDED: usize = QUEUES + 7;
const REVIVE: usize = QUEUES + 8;
const POP_RETRY: usize = QUEUES + 9;

const MAX_RECONSUME: u32 = 2;
const MEMBERS: usize = 3;
/// The groups that pull: a concurrent one, an orderly one, one that filters.
const GROUPS: usize = 3;
const CONCURRENT: usize = 0;
const FILTERING: usize = 2;
const DELAY_MS: u64 = 400;
/// The delay level of [`LONG_SCHEDULE`], and its delay.
const LONG_LEVEL: u8 = 5;
const LONG_DELAY_MS: u64 = 1500;

/// Noted events that can be changed before they become a history.
pub struct Run {
    pub recorder: Recorder,
    pub events: Vec<(SimTime, NodeId, Event)>,
    pub contract: Contract,
}

impl Run {
    /// The history of the events, in order of time.
    pub fn history(self) -> (History, Contract) {
        let mut recorder = self.recorder;
        for (at, node, event) in self.events {
            recorder.record(at, node, event);
        }
        (recorder.finish(Meta::default()), self.contract)
    }
}

/// What may go wrong in a run.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    pub rebalances: bool,
    pub crashes: bool,
    pub power: bool,
    pub failures: bool,
    pub retried_sends: bool,
    /// The broker's wall clock jumps.
    pub clocks: bool,
    /// Answers and one-way requests get lost, or come late.
    pub lost: bool,
}

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

pub struct World {
    run: Run,
    rng: Rng,
    weather: Weather,
    now: u64,
    /// By how much the broker's wall clock is ahead of true time, in microseconds.
    ahead_us: i64,
    producer: NodeId,
    outsider: NodeId,
    broker: NodeId,
    operator: NodeId,
    queues: Queues,
    topic: TopicId,
    log: Vec<Entry>,
    flushed: usize,
    /// By group and queue.
    offsets: BTreeMap<(usize, usize), i64>,
    persisted: BTreeMap<(usize, usize), i64>,
    last_tick: u64,
    last_persist: u64,
    groups: Vec<Group>,
    timers: Timers,
    transactions: Transactions,
    popping: Popping,
    asking: Asking,
    next_value: u64,
    next_seq: BTreeMap<u32, u32>,
    faults: u32,
}

impl World {
    /// A run of `steps` random steps from a seed, drained at the end.
    pub fn run(seed: u64, steps: usize, weather: Weather) -> Run {
        let mut world = Self::new(seed, weather);
        for _ in 0..steps {
            world.step(true);
        }
        world.note(world.operator, Event::Phase(Phase::Drain));
        let mut idle = 0;
        while idle < 3 {
            for _ in 0..200 {
                world.step(false);
            }
            idle = if world.is_drained() { idle + 1 } else { 0 };
        }
        world.now += 200_000_000;
        world.note(world.operator, Event::Phase(Phase::Done { drained: true }));
        world.run
    }

    fn new(seed: u64, weather: Weather) -> Self {
        let mut r = Recorder::new();
        let producer = r.node("producer");
        let broker = r.broker_node("broker", "b");
        let operator = r.node("operator");
        let queues = Queues::new(&mut r);
        let topic = r.topic("t");
        let groups = [("c", false), ("o", true), ("f", false)];
        let groups = groups.map(|(name, orderly)| Group::new(&mut r, name, orderly));
        let mut world = Self {
            rng: Rng(seed | 1),
            weather,
            now: 0,
            ahead_us: 0,
            producer,
            outsider: r.node("outsider"),
            broker,
            operator,
            queues,
            topic,
            log: Vec::new(),
            flushed: 0,
            offsets: BTreeMap::new(),
            persisted: BTreeMap::new(),
            last_tick: 0,
            last_persist: 0,
            groups: groups.into(),
            timers: Timers::default(),
            transactions: Transactions::new(r.group("payers")),
            popping: Popping::new(&mut r),
            asking: Asking::default(),
            next_value: 1000,
            next_seq: BTreeMap::new(),
            faults: 0,
            run: Run {
                recorder: r,
                events: Vec::new(),
                contract: contract(),
            },
        };
        for group in 0..GROUPS {
            for member in 0..MEMBERS {
                world.join(group, member);
            }
            for queue in world.queues_of(group) {
                world.assign(group, queue, queue % MEMBERS);
            }
        }
        world.join_popping();
        world.now += 10_000_000;
        world
    }

    fn note(&mut self, node: NodeId, event: Event) {
        self.run.events.push((SimTime(self.now), node, event));
        self.now += 100;
    }

    fn step(&mut self, load: bool) {
        self.now += 1000 + self.rng.below(40_000) as u64;
        self.tick();
        for _ in 0..2 {
            let group = self.rng.below(GROUPS);
            match self.rng.below(85) {
                0..20 => self.pull(group),
                20..45 => self.hand_out(group),
                45..75 => self.finish(group),
                _ => self.commit_some(group),
            }
        }
        match self.rng.below(4) {
            0 => self.receive(),
            1 | 2 => self.work(),
            _ => {}
        }
        if load {
            self.send_something();
            self.something_happens();
        }
    }

    fn send_something(&mut self) {
        match self.rng.below(100) {
            0..11 => self.send(),
            11..13 => self.send_timed(),
            13..15 => self.send_delayed(),
            15..17 => self.send_half(),
            17..19 => self.request(),
            19 => self.send_uninvited(),
            20 => self.recall(),
            21..23 => self.look_up(),
            _ => {}
        }
    }

    fn something_happens(&mut self) {
        let group = self.rng.below(GROUPS);
        let weather = self.weather;
        match self.rng.below(300) {
            0..3 if weather.rebalances => self.rebalance(group),
            3 if weather.crashes => self.member_dies(group),
            4 if weather.crashes => self.popping_member_dies(),
            5 if weather.crashes => self.broker_dies(),
            6 if weather.clocks => self.clock_jumps(),
            _ => {}
        }
    }

    fn is_drained(&self) -> bool {
        let done = |g: usize, q: usize| self.has_consumed(g, q);
        self.timers.is_empty()
            && self.transactions.is_empty()
            && self.has_popped_all()
            && (0..GROUPS).all(|g| self.queues_of(g).all(|q| done(g, q)))
    }

    /// Whether a response or a one-way request gets lost, in one of `n` cases.
    fn loses(&mut self, n: usize) -> bool {
        self.weather.lost && self.rng.one_in(n)
    }
}

fn contract() -> Contract {
    let concurrent = GroupContract {
        max_reconsume: MAX_RECONSUME as i32,
        idempotent: true,
        ..GroupContract::concurrent("c", &["t"])
    };
    let filtering = GroupContract {
        filtered: true,
        judged: true,
        ..GroupContract::concurrent("f", &["t"])
    };
    let popping = GroupContract {
        pop: true,
        ..GroupContract::concurrent("p", &["t"])
    };
    let mut delay_levels_ms = vec![DELAY_MS; 18];
    delay_levels_ms[usize::from(LONG_LEVEL) - 1] = LONG_DELAY_MS;
    Contract {
        flush: Flush::Async(FlushWindow::default()),
        groups: vec![
            concurrent,
            GroupContract::orderly("o", &["t"]),
            filtering,
            popping,
        ],
        topics: vec![TopicContract {
            topic: "t".to_owned(),
            queues: QUEUES as u32,
            brokers: vec!["b".to_owned()],
        }],
        refused: vec!["outsider".to_owned()],
        transactions: TransactionContract {
            timeout_ms: transactions::TIMEOUT_US / 1000,
            interval_ms: transactions::INTERVAL_US / 1000,
            max_checks: transactions::MAX_CHECKS.into(),
            debtors: vec!["payers".to_owned()],
        },
        timer_precision_ms: timers::PRECISION_MS as u64,
        // Members pull when chance has it.
        wake_ms: 20_000,
        delay_levels_ms,
        ..Contract::default()
    }
}
