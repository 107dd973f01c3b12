//! What the broker tells Prometheus.

use hotfire_broker::BrokerConfig;
use hotfire_metrics::{MetricsExporterType, MetricsOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::*;

async fn measured() -> Stack {
    let metrics = MetricsOptions {
        exporter: MetricsExporterType::Prom,
        host: "127.0.0.1".to_owned(),
        port: 5557,
    };
    Stack::start_with(
        BrokerConfig {
            metrics,
            ..config()
        },
        None,
    )
    .await
}

/// The lines of the answer, without what is the same in all: the labels of the node.
async fn metrics(stack: &Stack) -> Vec<String> {
    let address = stack.broker.metrics_address().unwrap().to_string();
    let mut connection = stack.env.network().connect(&address).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    connection.stream.write_all(request).await.unwrap();
    let mut text = String::new();
    connection.stream.read_to_string(&mut text).await.unwrap();
    let node = "cluster=\"DefaultCluster\",node_type=\"broker\",node_id=\"broker-a\"";
    let bare = |line: &str| line.replace(&format!("{node},"), "").replace(node, "");
    text.lines().map(bare).collect()
}

fn value(lines: &[String], name: &str) -> f64 {
    let line = lines.iter().find(|line| line.starts_with(name));
    let line = line.unwrap_or_else(|| panic!("no {name} in\n{}", lines.join("\n")));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn messages_are_counted_in_and_out() {
    let stack = measured().await;
    for body in ["one", "two", "three"] {
        stack.peer.send_ok(&order(body)).await;
    }
    stack
        .peer
        .send_ok(&order("later").with_delay_level(1))
        .await;
    stack
        .peer
        .subscribe("reader@1", GROUP, &[(TOPIC, "*")])
        .await;
    assert_eq!(stack.peer.read(TOPIC, 0).await.len(), 3);
    let lines = metrics(&stack).await;
    let of = |kind: &str| {
        let labels = format!("{{topic=\"orders\",message_type=\"{kind}\",is_system=\"false\"}}");
        value(&lines, &format!("rocketmq_messages_in_total{labels}"))
    };
    assert_eq!((of("normal"), of("delay")), (3.0, 1.0));
    let labels =
        "{topic=\"orders\",consumer_group=\"readers\",is_retry=\"false\",is_system=\"false\"}";
    let out = value(&lines, &format!("rocketmq_messages_out_total{labels}"));
    assert_eq!(out, 3.0);
    let normal = "rocketmq_throughput_in_total{topic=\"orders\",message_type=\"normal\"";
    assert!(value(&lines, normal) > 300.0);
    let sized = "rocketmq_message_size_count{topic=\"orders\",message_type=\"normal\"}";
    assert_eq!(value(&lines, sized), 3.0);
}

#[tokio::test(start_paused = true)]
async fn lag_is_what_is_not_committed_and_ready_what_was_not_given_out() {
    let stack = measured().await;
    stack
        .peer
        .subscribe("reader@1", GROUP, &[(TOPIC, "*")])
        .await;
    for body in ["one", "two", "three"] {
        stack.peer.send_ok(&order(body)).await;
    }
    stack.peer.commit(1).await;
    stack.peer.read(TOPIC, 0).await;
    stack.peer.send_ok(&order("four")).await;
    let lines = metrics(&stack).await;
    let of = |what: &str| {
        let name = format!("rocketmq_consumer_{what}{{consumer_group=\"readers\",topic=\"orders\"");
        value(&lines, &name)
    };
    assert_eq!(of("lag_messages"), 3.0);
    assert_eq!(of("inflight_messages"), 2.0);
    assert_eq!(of("ready_messages"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn connections_sizes_and_answers_are_told() {
    let stack = measured().await;
    stack
        .peer
        .subscribe("reader@1", GROUP, &[(TOPIC, "*")])
        .await;
    stack.peer.send_ok(&order("one")).await;
    let lines = metrics(&stack).await;
    let name = "rocketmq_consumer_connections{consumer_group=\"readers\",consume_mode=\"push\"";
    assert_eq!(value(&lines, name), 1.0);
    assert_eq!(
        value(
            &lines,
            "rocketmq_producer_connections{producer_group=\"writers\""
        ),
        1.0
    );
    assert!(value(&lines, "rocketmq_storage_size{") > 100.0);
    assert_eq!(value(&lines, "rocketmq_half_messages"), 0.0);
    let answered = "rocketmq_rpc_latency_count{protocol_type=\"remoting\",\
                    request_code=\"send_message_v2\",response_code=\"success\"";
    assert_eq!(value(&lines, answered), 1.0);
}

#[tokio::test(start_paused = true)]
async fn request_codes_that_nobody_knows_share_one_label() {
    let stack = measured().await;
    for code in 70_000..70_010 {
        let request =
            hotfire_protocol::RemotingCommand::request(hotfire_protocol::RequestCode(code));
        stack.peer.invoke(request).await;
    }
    let lines = metrics(&stack).await;
    let answered = "rocketmq_rpc_latency_count{protocol_type=\"remoting\",request_code=\"unknown\"";
    assert_eq!(value(&lines, answered), 10.0);
}

#[tokio::test]
async fn without_an_exporter_nothing_is_listened_on() {
    let stack = Stack::start().await;
    assert_eq!(stack.broker.metrics_address(), None);
}
