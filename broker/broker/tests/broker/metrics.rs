//! What the broker tells Prometheus.

use std::time::Duration;

use hotfire_broker::BrokerConfig;
use hotfire_metrics::{MetricsExporterType, MetricsOptions};
use hotfire_protocol::body::{ConsumeType, ConsumerData, HeartbeatData, SubscriptionData};
use hotfire_protocol::header::pop::{AckMessageRequestHeader, PopMessageRequestHeader};
use hotfire_protocol::pop::{Receipt, TopicKind};
use hotfire_protocol::{RemotingCommand, RequestCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

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
pub async fn metrics(stack: &Stack) -> Vec<String> {
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
        let labels = "{topic=\"orders\",consumer_group=\"readers\"";
        let name = format!("rocketmq_consumer_{what}{labels}");
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
        let request = RemotingCommand::request(RequestCode(code));
        stack.peer.invoke(request).await;
    }
    let lines = metrics(&stack).await;
    let answered = "rocketmq_rpc_latency_count{protocol_type=\"remoting\",request_code=\"unknown\"";
    assert_eq!(value(&lines, answered), 10.0);
}

/// Pops from all queues, and acknowledges the first message.
async fn pop_and_acknowledge_one(stack: &Stack) {
    let header = PopMessageRequestHeader {
        consumer_group: GROUP.to_owned(),
        topic: TOPIC.to_owned(),
        queue_id: -1,
        max_msg_nums: 32,
        invisible_time: 10_000,
        ..PopMessageRequestHeader::default()
    };
    let popped = stack.peer.ask(RequestCode::POP_MESSAGE, &header).await;
    let message = &messages(&popped)[0];
    let receipt = Receipt {
        start_offset: 0,
        pop_time: number(&popped, "popTime"),
        invisible_time: 10_000,
        revive_queue: number(&popped, "reviveQid") as i32,
        kind: TopicKind::Normal,
        broker_name: "broker-a".to_owned(),
        queue_id: message.queue_id,
        queue_offset: Some(message.queue_offset),
    };
    let header = AckMessageRequestHeader {
        consumer_group: GROUP.to_owned(),
        topic: TOPIC.to_owned(),
        queue_id: message.queue_id,
        extra_info: receipt.to_string(),
        offset: message.queue_offset,
    };
    let acked = stack.peer.ask(RequestCode::ACK_MESSAGE, &header).await;
    assert_eq!(acked.code, 0, "{acked:?}");
}

/// Enters a consumer that pops.
async fn pops(stack: &Stack) {
    let heartbeat = HeartbeatData {
        client_id: "reader@1".to_owned(),
        consumer_data_set: vec![ConsumerData {
            group_name: GROUP.to_owned(),
            consume_type: ConsumeType::Pop,
            subscription_data_set: vec![SubscriptionData::parse(TOPIC, "*", 1).unwrap()],
            ..ConsumerData::default()
        }],
        producer_data_set: Vec::new(),
    };
    let request = RemotingCommand::request(RequestCode::HEART_BEAT);
    let response = stack
        .peer
        .invoke(request.with_body(heartbeat.to_json()))
        .await;
    assert_eq!(response.code, 0, "{response:?}");
}

#[tokio::test(start_paused = true)]
async fn what_goes_through_the_revive_topic_is_counted() {
    let stack = measured().await;
    for body in ["one", "two", "three"] {
        stack.peer.send_ok(&order(body)).await;
    }
    pop_and_acknowledge_one(&stack).await;
    let lines = metrics(&stack).await;
    let put = |lines: &[String], kind: &str| {
        let labels = format!(
            "{{consumer_group=\"readers\",topic=\"orders\",revive_message_type=\"{kind}\",\
             put_status=\"PUT_OK\"}}"
        );
        value(
            lines,
            &format!("rocketmq_pop_revive_in_message_total{labels}"),
        )
    };
    assert_eq!((put(&lines, "CK"), put(&lines, "ACK")), (1.0, 1.0));
    assert_eq!(
        value(&lines, "rocketmq_pop_revive_lag{queue_id=\"0\"}"),
        2.0
    );
    sleep(Duration::from_secs(13)).await;
    let lines = metrics(&stack).await;
    // The broker's own acknowledgement of what it has revived is another one.
    assert_eq!((put(&lines, "CK"), put(&lines, "ACK")), (1.0, 2.0));
    let got = "rocketmq_pop_revive_out_message_total{consumer_group=\"readers\",\
               topic=\"orders\",queue_id=\"0\",revive_message_type=\"ACK\"}";
    assert_eq!(value(&lines, got), 2.0);
    let revived = "rocketmq_pop_revive_retry_messages_total{consumer_group=\"readers\",\
                   topic=\"orders\",put_status=\"PUT_OK\"}";
    assert_eq!(value(&lines, revived), 2.0);
    for figure in ["lag", "latency"] {
        let name = format!("rocketmq_pop_revive_{figure}{{queue_id=\"0\"}}");
        assert_eq!(value(&lines, &name), 0.0, "{figure}");
    }
    assert_eq!(value(&lines, "rocketmq_pop_offset_buffer_size"), 0.0);
}

#[tokio::test(start_paused = true)]
async fn of_a_group_that_pops_what_is_hidden_is_in_flight() {
    let stack = measured().await;
    pops(&stack).await;
    for body in ["one", "two", "three"] {
        stack.peer.send_ok(&order(body)).await;
    }
    pop_and_acknowledge_one(&stack).await;
    stack.peer.send_ok(&order("four")).await;
    sleep(Duration::from_secs(2)).await;
    let of = |lines: &[String], what: &str, retry: bool| {
        let labels = format!(
            "{{topic=\"orders\",consumer_group=\"readers\",is_retry=\"{retry}\",\
             is_system=\"false\"}}"
        );
        value(lines, &format!("rocketmq_{what}{labels}"))
    };
    let lines = metrics(&stack).await;
    assert_eq!(of(&lines, "consumer_lag_messages", false), 3.0);
    assert_eq!(of(&lines, "consumer_inflight_messages", false), 2.0);
    assert_eq!(of(&lines, "consumer_ready_messages", false), 1.0);
    assert!(of(&lines, "consumer_lag_latency", false) >= 2_000.0);
    assert_eq!(of(&lines, "messages_out_total", false), 3.0);
    sleep(Duration::from_secs(13)).await;
    let lines = metrics(&stack).await;
    assert_eq!(of(&lines, "consumer_inflight_messages", false), 0.0);
    assert_eq!(of(&lines, "consumer_ready_messages", true), 2.0);
    pop_and_acknowledge_one(&stack).await;
    let lines = metrics(&stack).await;
    assert_eq!(of(&lines, "messages_out_total", true), 2.0);
}

#[tokio::test(start_paused = true)]
async fn messages_for_a_time_are_counted_onto_the_wheel_and_off_it() {
    let stack = measured().await;
    for seconds in [3, 40, 50, 1_000] {
        let message = order("later").with_delay(Duration::from_secs(seconds));
        stack.peer.send_ok(&message).await;
    }
    sleep(Duration::from_secs(1)).await;
    let stored = "storage_type=\"local\",storage_medium=\"disk\"";
    let of = |lines: &[String], name: &str| value(lines, &format!("rocketmq_{name}{{{stored}"));
    let lines = metrics(&stack).await;
    assert_eq!(of(&lines, "timer_enqueue_total"), 4.0);
    assert_eq!(of(&lines, "timer_enqueue_lag"), 0.0);
    assert_eq!(of(&lines, "timer_enqueue_latency"), 0.0);
    assert_eq!(of(&lines, "timer_dequeue_lag"), 4.0);
    assert_eq!(of(&lines, "timing_messages"), 4.0);
    assert_eq!(of(&lines, "delay_message_latency_count"), 4.0);
    let within = |lines: &[String], bound: &str| {
        let name = format!("timer_message_snapshot{{{stored},timer_bound_s=\"{bound}\"}}");
        value(lines, &format!("rocketmq_{name}"))
    };
    let snapshot = ["5", "60", "300", "900", "3600"].map(|bound| within(&lines, bound));
    assert_eq!(snapshot, [1.0, 2.0, 0.0, 0.0, 1.0]);
    sleep(Duration::from_secs(60)).await;
    let lines = metrics(&stack).await;
    assert_eq!(of(&lines, "timer_dequeue_total"), 3.0);
    assert_eq!(of(&lines, "timer_dequeue_lag"), 1.0);
    assert!(of(&lines, "timer_dequeue_latency") <= 1_100.0);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waited_for_messages_is_measured_when_it_is_answered() {
    let stack = measured().await;
    stack.peer.send_ok(&order("one")).await;
    let sends = async {
        sleep(Duration::from_secs(2)).await;
        stack.another_peer().send_ok(&order("two")).await;
    };
    let (pulled, ()) = tokio::join!(stack.peer.long_poll(TOPIC, 1, "*"), sends);
    assert_eq!(messages(&pulled).len(), 1);
    let header = PopMessageRequestHeader {
        consumer_group: "poppers".to_owned(),
        topic: TOPIC.to_owned(),
        queue_id: -1,
        max_msg_nums: 1,
        poll_time: 2_500,
        exp: Some("NoSuchTag".to_owned()),
        ..PopMessageRequestHeader::default()
    };
    stack.peer.ask(RequestCode::POP_MESSAGE, &header).await;
    let lines = metrics(&stack).await;
    for (request, response) in [
        ("pull_message", "success"),
        ("pop_message", "polling_timeout"),
    ] {
        let labels = format!(
            "{{protocol_type=\"remoting\",request_code=\"{request}\",\
             response_code=\"{response}\",is_long_polling=\"true\",result=\"success\"}}"
        );
        let of = |what: &str| value(&lines, &format!("rocketmq_rpc_latency_{what}{labels}"));
        assert_eq!(of("count"), 1.0, "{request}");
        assert!((2_000.0..2_600.0).contains(&of("sum")), "{request}");
    }
}

#[tokio::test]
async fn without_an_exporter_nothing_is_listened_on() {
    let stack = Stack::start().await;
    assert_eq!(stack.broker.metrics_address(), None);
}
