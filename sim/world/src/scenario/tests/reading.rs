use std::time::Duration;

use insta::assert_snapshot;

use super::*;
use crate::workload::load::Rate;

#[test]
fn what_is_left_out_has_its_default() {
    let scenario = parse(LEAST);
    assert_eq!(scenario.name, "test/this");
    assert_eq!(scenario.run.tick, Duration::from_millis(1));
    assert_eq!(scenario.cluster.flush, Flush::Async);
    assert_eq!(scenario.cluster.delay_levels.len(), 18);
    assert_eq!(scenario.cluster.delay_levels[17], Duration::from_secs(7200));
    let checkout = &scenario.producers["checkout"];
    assert_eq!(checkout.timeout, Duration::from_secs(3));
    assert_eq!((checkout.retries, checkout.send), (2, Send::Sync));
    assert_eq!(checkout.load.rate(Duration::ZERO), Rate::per_second(10));
    assert_eq!(checkout.sizes.from, 256);
}

#[test]
fn a_whole_scenario_reads_as_it_is_written() {
    let scenario = parse(WHOLE);
    let nodes: Vec<String> = scenario.nodes().into_iter().map(|node| node.name).collect();
    assert_eq!(
        nodes.join(" "),
        "name-server-1 name-server-2 broker-a broker-b broker-c checkout-1 checkout-2 \
         fulfilment-1 fulfilment-2"
    );
    let checkout = &scenario.producers["checkout"];
    assert_eq!(checkout.load.due(Duration::from_secs(30)), 10_000);
    assert_eq!(checkout.select, Select::ByOrder);
    let fulfilment = &scenario.consumers["fulfilment"];
    assert_eq!(fulfilment.topics["orders"], "created || paid");
    assert_eq!(fulfilment.behaviour.takes_to, Duration::from_millis(5));
    let faults: Vec<&str> = scenario.faults.iter().map(|f| f.text.as_str()).collect();
    assert_snapshot!(faults.join("\n"), @r"
    network-flash between producers and brokers for 800ms
    partition between broker-a+broker-b and name-servers (one way) for 5s
    clock-jump of fulfilment-1 by -5000ms
    restart of fulfilment, back after 1s
    process-crash of name-server-1, back in the drain phase
    power-loss of broker-b, back after 20s
    ");
    assert_eq!(scenario.expect.at_least.len(), 2);
}

#[test]
fn faults_are_sorted_and_name_nodes_one_by_one() {
    let scenario = parse(WHOLE);
    assert!(scenario.faults.is_sorted_by_key(|fault| fault.at));
    let Action::NetworkFlash { links, .. } = &scenario.faults[0].action else {
        panic!("{:?}", scenario.faults[0]);
    };
    assert_eq!(links.from, ["checkout-1", "checkout-2"]);
    assert_eq!(links.to, ["broker-a", "broker-b", "broker-c"]);
}

const WHOLE: &str = r#"
story = """
Midnight of Double-11.
"""
defects = ["skip-flush"]

[run]
tick = "2ms"
duration = "90s"
drain = "10m"

[cluster]
name-servers = 2
broker-groups = 3
flush = "sync"
commit-log-file-size = "1MiB"

[network]
latency = "2ms"
jitter = "500us"
bandwidth = "100MiB/s"

[topics.orders]
queues = 16

[producers.checkout]
nodes = 2
topic = "orders"
orders = { count = 40_000, spread = "zipf" }
select = "by-order"
size = { from = "200B", to = "8KiB", spread = "by-magnitude" }
tags = ["created", "paid"]

[producers.checkout.load]
shape = "double-11"
quiet = "200/s"
wall = "20000/s"
at = "30s"

[consumers.fulfilment]
nodes = 2
topics = { orders = ["created", "paid"] }
listener = "orderly"
takes = { from = "1ms", to = "5ms" }
fail-rate = 0.01

[[faults]]
at = "41s"
power-loss = { node = "broker-b", restart-after = "20s" }

[[faults]]
at = "31s"
network-flash = { between = ["producers", "brokers"], lasts = "800ms" }

[[faults]]
at = "32s"
partition = { between = [["broker-a", "broker-b"], "name-servers"], direction = "one-way", lasts = "5s" }

[[faults]]
at = "33s"
clock-jump = { node = "fulfilment-1", by = "-5s" }

[[faults]]
at = "34s"
restart = { node = "fulfilment" }

[[faults]]
at = "35s"
process-crash = { node = "name-server-1" }

[expect]
holds = ["INV-LOSS", "INV-ORDER"]
counts = ["INV-STEADYDUP"]
at-least = { sent-ok = 200_000, INV-ORDER = 100 }
"#;
