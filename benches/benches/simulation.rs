//! Whole simulations: how fast the testbed is.
//!
//! `simulation/messages` is a run with one fixed scenario and seed: every message is sent, stored,
//! delivered to two groups, consumed, recorded and judged. Its throughput is messages sent per second
//! of wall time, all of a run's fixed costs included: the world is built, clients find their queues,
//! the drain phase waits until nothing is left.
//!
//! `simulation/idle` is a cluster with clients that have nothing to do but to keep in touch: timers,
//! heartbeats, registrations and pulls that wait. An element is a simulated second, so its throughput
//! is how much faster than the clock on the wall a simulation is.
//!
//! Figures are for comparison on one machine, best within one run of the benchmark: that of
//! another commit, or a message here with one of the frame codec, which says how much of a message's
//! way is not encoding.

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use hotfire_world::run::{Outcome, run};
use hotfire_world::scenario::Scenario;

const SEED: u64 = 1;

/// 5,000 messages within ten simulated seconds.
const MESSAGES: &str = r#"
    story = "Two groups consume what is sent at a steady rate; nothing breaks."
    [cluster]
    broker-groups = 2
    [run]
    duration = "10s"
    [topics.orders]
    queues = 4
    [producers.checkout]
    nodes = 2
    topic = "orders"
    load = { shape = "constant", rate = "500/s" }
    [consumers.fulfilment]
    nodes = 2
    topics = "orders"
    [consumers.journal]
    topics = "orders"
"#;

/// A minute in which a single message is sent every ten seconds.
const IDLE: &str = r#"
    story = "Almost nothing is sent."
    [cluster]
    broker-groups = 2
    [run]
    duration = "60s"
    [topics.orders]
    queues = 4
    [producers.checkout]
    topic = "orders"
    load = { shape = "constant", rate = "0.1/s" }
    [consumers.fulfilment]
    nodes = 2
    topics = "orders"
"#;

fn once(scenario: &Scenario) -> Outcome {
    run(black_box(scenario), SEED, &mut |_| {})
}

fn simulations(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("simulation");
    // A run takes a good part of a second: few samples, of one run each.
    group.sample_size(10);
    group.sampling_mode(SamplingMode::Flat);
    group.warm_up_time(Duration::from_secs(1));
    group.measurement_time(Duration::from_secs(10));

    let messages = Scenario::parse("messages", MESSAGES).unwrap();
    let stats = once(&messages).report.stats;
    // A benchmark of a run in which something is lost would measure something else.
    assert!(stats.sent_ok > 4_500, "{stats:?}");
    assert_eq!(stats.delivered, 2 * stats.sent_ok, "{stats:?}");
    group.throughput(Throughput::Elements(stats.sent_ok));
    group.bench_function("messages", |bencher| bencher.iter(|| once(&messages)));

    let idle = Scenario::parse("idle", IDLE).unwrap();
    let simulated = once(&idle).simulated;
    group.throughput(Throughput::Elements(simulated.as_secs()));
    group.bench_function("idle", |bencher| bencher.iter(|| once(&idle)));
    group.finish();
}

criterion_group!(benches, simulations);
criterion_main!(benches);
