//! A run is a function of the scenario and the seed: nothing of other runs, before or beside it, and
//! nothing of the machine gets in.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use hotfire_world::run::run;
use hotfire_world::scenario::Scenario;

const EVENTFUL: &str = r#"
    story = "Links flash, a broker crashes, another loses power, a consumer stands still."
    [cluster]
    broker-groups = 2
    [run]
    duration = "12s"
    drain = "90s"
    [network]
    latency = "2ms"
    jitter = "3ms"
    [topics.orders]
    queues = 4
    [producers.checkout]
    nodes = 2
    topic = "orders"
    load = { shape = "constant", rate = "100/s" }
    [consumers.fulfilment]
    nodes = 2
    topics = "orders"
    [[faults]]
    at = "2s"
    network-flash = { between = ["clients", "brokers"], lasts = "700ms" }
    [[faults]]
    at = "3s"
    lost-response = { node = "producers", share = 0.2, lasts = "1s" }
    [[faults]]
    at = "4s"
    process-crash = { node = "broker-a", restart-after = "2s" }
    [[faults]]
    at = "5s"
    freeze = { node = "fulfilment-2", lasts = "1500ms" }
    [[faults]]
    at = "8s"
    power-loss = { node = "broker-b", restart-after = "2s" }
"#;

fn hash(seed: u64) -> u64 {
    let scenario = Scenario::parse("eventful", EVENTFUL).unwrap();
    let outcome = run(&scenario, seed, &mut |_| {});
    assert!(
        outcome.report.stats.delivered > 500,
        "{:?}",
        outcome.report.stats
    );
    outcome.trace_hash
}

#[test]
fn a_seed_gives_the_same_run_alone_after_others_and_beside_others() {
    let alone = [hash(1), hash(2)];
    assert_ne!(alone[0], alone[1]);
    assert_eq!(hash(1), alone[0], "after another seed");
    #[allow(
        clippy::disallowed_methods,
        reason = "runs beside each other must not touch"
    )]
    let beside = std::thread::scope(|scope| {
        let runs = [1, 2].map(|seed| scope.spawn(move || hash(seed)));
        runs.map(|run| run.join().unwrap())
    });
    assert_eq!(beside, alone);
}
