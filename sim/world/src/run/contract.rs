use hotfire_check::contract::{
    Contract, Flush, FlushWindow, GroupContract, Listener, TopicContract, TransactionContract,
};

use super::stage::EPOCH_MS;
use crate::scenario::{self, Action, Consumers, Role, Scenario};

/// What a scenario's configuration promises, as the check reads it.
pub fn contract(scenario: &Scenario) -> Contract {
    let cluster = &scenario.cluster;
    let millis =
        |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let window = FlushWindow::default();
    let attempts = scenario
        .producers
        .values()
        .map(|group| group.retries.saturating_add(1))
        .max();
    let default = Contract::default();
    let farthest = scenario.network.latency + scenario.network.jitter;
    Contract {
        flush: match cluster.flush {
            scenario::Flush::Sync => Flush::Sync,
            scenario::Flush::Async => Flush::Async(FlushWindow {
                tick_ms: millis(cluster.flush_interval),
                slack_ms: window.slack_ms + millis(slowest_disk(scenario)),
                ..window
            }),
        },
        groups: scenario
            .consumers
            .iter()
            .map(|(name, spec)| group(name, spec))
            .collect(),
        topics: topics(scenario),
        refused: refused(scenario),
        epoch_ms: EPOCH_MS,
        // On a narrow link messages queue for longer than anybody can tell from outside.
        wake_ms: match scenario.network.bandwidth {
            Some(_) => 0,
            None => default.wake_ms + 4 * millis(farthest),
        },
        delay_levels_ms: cluster
            .delay_levels
            .iter()
            .map(|level| millis(*level))
            .collect(),
        transactions: TransactionContract {
            timeout_ms: millis(cluster.transactions.timeout),
            interval_ms: millis(cluster.transactions.interval),
            max_checks: cluster.transactions.max_checks,
            debtors: debtors(scenario),
        },
        send_attempts: attempts.map_or(1, |most| u8::try_from(most).unwrap_or(u8::MAX)),
        clock_tolerance_ms: default.clock_tolerance_ms + clock_jumps(scenario),
        holds: scenario.expect.holds.clone(),
        counts: scenario.expect.counts.clone(),
        ..default
    }
}

/// The declared topics, which every broker has.
fn topics(scenario: &Scenario) -> Vec<TopicContract> {
    let nodes = scenario.nodes();
    let brokers = nodes.iter().filter(|node| node.role == Role::Broker);
    let brokers: Vec<String> = brokers.map(|node| node.name.clone()).collect();
    let topics = scenario.topics.iter().map(|(name, topic)| TopicContract {
        topic: name.clone(),
        queues: topic.queues,
        brokers: brokers.clone(),
    });
    topics.collect()
}

/// The nodes that access control must refuse.
fn refused(scenario: &Scenario) -> Vec<String> {
    let nodes = scenario.nodes().into_iter();
    let refused = nodes.filter(|node| {
        let group = scenario.producers.get(&node.group);
        node.role == Role::Producer && group.is_some_and(|group| group.refused)
    });
    refused.map(|node| node.name).collect()
}

/// The producer groups whose local transactions debit accounts.
fn debtors(scenario: &Scenario) -> Vec<String> {
    let groups = scenario.producers.iter();
    groups
        .filter(|(_, spec)| spec.send == scenario::Send::Transaction)
        .map(|(name, _)| name.clone())
        .collect()
}

fn group(name: &str, spec: &Consumers) -> GroupContract {
    let simple = spec.listener == scenario::Listener::Simple;
    let filtered = !spec.sql.is_empty() || spec.topics.values().any(|expression| expression != "*");
    // Members that pop try 16 times in all, in order or not.
    let default_retries = if simple { 15 } else { -1 };
    GroupContract {
        group: name.to_owned(),
        listener: match spec.listener {
            scenario::Listener::Orderly => Listener::Orderly,
            scenario::Listener::Simple if spec.pops.in_order => Listener::Orderly,
            _ => Listener::Concurrent,
        },
        broadcasting: spec.model == scenario::Model::Broadcasting,
        topics: spec.topics.keys().cloned().collect(),
        max_reconsume: spec.max_reconsume.map_or(default_retries, |most| {
            i32::try_from(most).unwrap_or(i32::MAX)
        }),
        idempotent: spec.idempotent,
        pop: simple,
        filtered,
        // The producers say of every message which groups must not get it.
        judged: filtered && !simple,
    }
}

/// By how much all jumps together may put two clocks apart.
fn clock_jumps(scenario: &Scenario) -> u64 {
    let jumps = scenario.faults.iter().map(|fault| match &fault.action {
        Action::ClockJump { by_ms, .. } => by_ms.unsigned_abs(),
        _ => 0,
    });
    jumps.sum()
}

/// How much longer faults make a flush take, at most.
fn slowest_disk(scenario: &Scenario) -> std::time::Duration {
    let slow = scenario.faults.iter().map(|fault| match &fault.action {
        Action::SlowDisk { adds, .. } => *adds,
        _ => std::time::Duration::ZERO,
    });
    scenario.disk.flush_latency + slow.sum::<std::time::Duration>()
}
