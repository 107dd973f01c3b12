//! Calling back messages that wait for their time, and asking how far the timers are.

use std::time::Duration;

use hotfire_protocol::body::TimerMetrics;
use hotfire_protocol::header::recall::{RecallMessageRequestHeader, RecallMessageResponseHeader};
use hotfire_protocol::message::property;
use hotfire_protocol::message::recall::RecallHandle;
use hotfire_protocol::{Message, RemotingCommand, RequestCode, ResponseCode};
use hotfire_store::TimerCheckpoint;
use tokio::time::sleep;

use crate::support::{self, Stack, TOPIC, bodies, order};

const SECOND: Duration = Duration::from_secs(1);

async fn start() -> Stack {
    let mut config = support::config();
    config.recall_message_enable = true;
    Stack::start_with(config, None).await
}

fn keyed(body: &str, delay: Duration) -> Message {
    order(body)
        .with_property(property::UNIQ_KEY, format!("key-{body}"))
        .with_delay(delay)
}

async fn recall(stack: &Stack, topic: &str, handle: &str) -> RemotingCommand {
    let header = RecallMessageRequestHeader {
        producer_group: Some("writers".to_owned()),
        topic: topic.to_owned(),
        recall_handle: handle.to_owned(),
        broker_name: None,
    };
    stack.peer.ask(RequestCode::RECALL_MESSAGE, &header).await
}

#[tokio::test(start_paused = true)]
async fn a_message_that_was_called_back_is_not_delivered_and_the_others_are() {
    let stack = start().await;
    let mut handles = Vec::new();
    for body in ["one", "two", "three"] {
        let sent = stack.peer.send_ok(&keyed(body, 5 * SECOND)).await;
        handles.push(sent.ext.get("recallHandle").unwrap().to_owned());
    }
    sleep(SECOND).await;
    let response = recall(&stack, TOPIC, &handles[1]).await;
    assert_eq!(response.code, ResponseCode::SUCCESS.0, "{response:?}");
    let header: RecallMessageResponseHeader = response.header().unwrap();
    assert_eq!(header.msg_id, "key-two");
    assert_eq!(response.ext.get("MSG_REGION"), Some("DefaultRegion"));
    sleep(7 * SECOND).await;
    let response = stack.peer.pull(TOPIC, 0, "*").await;
    assert_eq!(bodies(&response), ["one", "three"]);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_goes_round_can_be_called_back_too() {
    let mut config = support::config();
    config.recall_message_enable = true;
    config.store.timer_roll_window_slots = 20;
    let stack = Stack::start_with(config, None).await;
    let sent = stack.peer.send_ok(&keyed("far", 65 * SECOND)).await;
    let handle = sent.ext.get("recallHandle").unwrap().to_owned();
    sleep(33 * SECOND).await;
    assert_eq!(recall(&stack, TOPIC, &handle).await.code, 0);
    sleep(40 * SECOND).await;
    assert_eq!(stack.broker.store().max_offset_in_queue(TOPIC, 0), 0);
}

#[tokio::test(start_paused = true)]
async fn a_recall_survives_a_restart() {
    let mut stack = start().await;
    let sent = stack.peer.send_ok(&keyed("one", 5 * SECOND)).await;
    let handle = sent.ext.get("recallHandle").unwrap().to_owned();
    assert_eq!(recall(&stack, TOPIC, &handle).await.code, 0);
    stack = stack.restart().await;
    sleep(7 * SECOND).await;
    assert_eq!(stack.broker.store().max_offset_in_queue(TOPIC, 0), 0);
}

#[tokio::test(start_paused = true)]
async fn a_handle_is_given_for_what_waits_and_names_its_broker_and_key() {
    let stack = start().await;
    let sent = stack.peer.send_ok(&keyed("later", 5 * SECOND)).await;
    let handle = RecallHandle::decode(sent.ext.get("recallHandle").unwrap()).unwrap();
    assert_eq!(handle.topic, TOPIC);
    assert_eq!(handle.broker_name, "broker-a");
    assert_eq!(handle.message_id, "key-later");
    assert!(handle.timestamp.ends_with("001"), "{}", handle.timestamp);
    for at_once in [order("now"), order("level").with_delay_level(3)] {
        let sent = stack.peer.send_ok(&at_once).await;
        assert_eq!(sent.ext.get("recallHandle"), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_recall_is_refused_with_rocketmqs_codes() {
    let forbidden = Stack::start().await;
    let response = recall(&forbidden, TOPIC, "x").await;
    assert_eq!(response.code, ResponseCode::NO_PERMISSION.0);
    assert_eq!(
        response.remark.unwrap(),
        "recall failed, operation is forbidden"
    );

    let stack = start().await;
    let sent = stack.peer.send_ok(&keyed("later", 2 * SECOND)).await;
    let handle = sent.ext.get("recallHandle").unwrap().to_owned();
    let known = RecallHandle::decode(&handle).unwrap();
    let elsewhere = RecallHandle {
        broker_name: "broker-b".to_owned(),
        ..known.clone()
    };
    let never = RecallHandle {
        timestamp: "never".to_owned(),
        ..known
    };
    stack.peer.send_ok(&Message::new("payments", "x")).await;
    let (gone, illegal) = (
        ResponseCode::TOPIC_NOT_EXIST,
        ResponseCode::ILLEGAL_OPERATION,
    );
    for (topic, handle, code, remark) in [
        (
            "nowhere",
            handle.as_str(),
            gone,
            "recall failed, the topic[nowhere] not exist",
        ),
        (TOPIC, "junk", illegal, "recall handle is invalid"),
        (
            "payments",
            &handle,
            illegal,
            "recall failed, topic not match",
        ),
        (
            TOPIC,
            &elsewhere.encode(),
            illegal,
            "recall failed, broker service not available",
        ),
        (
            TOPIC,
            &never.encode(),
            illegal,
            "recall failed, timestamp invalid",
        ),
    ] {
        let response = recall(&stack, topic, handle).await;
        assert_eq!(response.code, code.0, "{remark}");
        assert_eq!(response.remark.as_deref(), Some(remark));
    }
    sleep(3 * SECOND).await;
    let response = recall(&stack, TOPIC, &handle).await;
    assert_eq!(response.code, illegal.0, "its time has come");
}

#[tokio::test(start_paused = true)]
async fn the_checkpoint_says_how_far_the_timers_are() {
    let stack = start().await;
    for body in ["one", "two"] {
        stack.peer.send_ok(&keyed(body, 60 * SECOND)).await;
    }
    sleep(3 * SECOND).await;
    let request = RemotingCommand::request(RequestCode::GET_TIMER_CHECK_POINT);
    let response = stack.peer.invoke(request).await;
    let bytes: &[u8; 56] = response.body[..].try_into().unwrap();
    let checkpoint = TimerCheckpoint::decode(bytes);
    assert_eq!(checkpoint.last_timer_queue_offset, 2);
    assert_eq!(checkpoint.master_timer_queue_offset, 2);
    assert_eq!(checkpoint.last_timer_log_flush_pos, 104);
    let behind = stack.env.now_ms() - checkpoint.last_read_time_ms;
    assert!((0..3_000).contains(&behind), "{behind}");
    assert!(checkpoint.version_counter > 0);
}

#[tokio::test(start_paused = true)]
async fn the_metrics_say_how_many_messages_wait_also_after_a_restart() {
    let stack = start().await;
    for (body, delay) in [("one", 2), ("two", 60), ("three", 60)] {
        stack.peer.send_ok(&keyed(body, delay * SECOND)).await;
    }
    sleep(4 * SECOND).await;
    let stack = stack.restart().await;
    let request = RemotingCommand::request(RequestCode::GET_TIMER_METRICS);
    let response = stack.peer.invoke(request).await;
    let metrics = TimerMetrics::from_json(&response.body).unwrap();
    assert_eq!(metrics.timing_count[TOPIC].count, 2);
}
