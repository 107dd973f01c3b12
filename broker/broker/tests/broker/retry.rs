//! Messages that consumers send back: retries with growing delays, then the dead-letter queue.

use std::time::Duration;

use hotfire_broker::BrokerConfig;
use hotfire_protocol::body::SubscriptionGroupConfig;
use hotfire_protocol::header::send::ConsumerSendMsgBackRequestHeader;
use hotfire_protocol::{MessageExt, RemotingCommand, RequestCode, ResponseCode};
use tokio::time::{Instant, sleep};

use crate::support::{self, GROUP, Stack, TOPIC, messages, order, send_request};

const RETRY_TOPIC: &str = "%RETRY%readers";
const DLQ_TOPIC: &str = "%DLQ%readers";

async fn failed_once() -> (Stack, MessageExt) {
    failed_once_with(support::config()).await
}

async fn failed_once_with(config: BrokerConfig) -> (Stack, MessageExt) {
    let stack = Stack::start_with(config, None).await;
    stack
        .peer
        .send_ok(&order("poison").with_tag("TagA").with_key("k"))
        .await;
    let message = stack.peer.read(TOPIC, 0).await.remove(0);
    (stack, message)
}

/// Waits for the message at an offset of the retry topic.
async fn redelivered(stack: &Stack, offset: i64) -> MessageExt {
    for _poll in 0..50 {
        let response = stack.peer.long_poll(RETRY_TOPIC, offset, "*").await;
        if let Some(message) = messages(&response).pop() {
            return message;
        }
    }
    panic!("no message at offset {offset} of {RETRY_TOPIC} after 50 polls");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_was_sent_back_comes_again_after_ten_seconds() {
    let (stack, failed) = failed_once().await;
    let start = Instant::now();
    assert_eq!(stack.peer.send_back(&failed, 0).await.code, 0);
    let again = redelivered(&stack, 0).await;
    let waited = start.elapsed().as_secs_f64();
    assert!((10.0..10.3).contains(&waited), "{waited}");
    assert_eq!(again.message.body, "poison");
    assert_eq!(
        (again.message.tag(), again.message.keys()),
        (Some("TagA"), Some("k"))
    );
    assert_eq!(again.reconsume_times, 1);
    let property = |name| again.message.properties.get(name);
    assert_eq!(property("RETRY_TOPIC"), Some(TOPIC));
    assert_eq!(property("REAL_TOPIC"), Some(RETRY_TOPIC));
    assert_eq!(
        property("ORIGIN_MESSAGE_ID"),
        Some(failed.offset_msg_id().as_str())
    );
    assert_eq!(again.born_timestamp, failed.born_timestamp);
}

#[tokio::test(start_paused = true)]
async fn each_retry_takes_longer_and_the_last_is_followed_by_the_dead_letter_queue() {
    // Eighteen levels, as many as RocketMQ has, but of one to eighteen seconds.
    let mut config = support::config();
    config.store.delay_levels = (1..=18).map(|level| level * 1_000).collect();
    let (stack, first) = failed_once_with(config).await;
    let mut message = first.clone();
    for (times, delay_s) in (3..=18).enumerate() {
        let start = Instant::now();
        assert_eq!(stack.peer.send_back(&message, 0).await.code, 0);
        message = redelivered(&stack, times as i64).await;
        let waited = start.elapsed().as_secs();
        assert_eq!(waited, delay_s, "retry {times}");
        assert_eq!(message.reconsume_times, times as i32 + 1);
    }
    assert_eq!(stack.peer.send_back(&message, 0).await.code, 0);
    let dead = stack.peer.read(DLQ_TOPIC, 0).await;
    assert_eq!(dead.len(), 1, "at once, without a delay");
    assert_eq!(dead[0].reconsume_times, 17);
    let property = |name| dead[0].message.properties.get(name);
    assert_eq!(property("RETRY_TOPIC"), Some(TOPIC));
    assert_eq!(
        property("ORIGIN_MESSAGE_ID"),
        Some(first.offset_msg_id().as_str())
    );
}

#[tokio::test(start_paused = true)]
async fn a_consumer_may_give_up_at_once() {
    let (stack, failed) = failed_once().await;
    stack.peer.send_back(&failed, -1).await;
    assert_eq!(stack.peer.read(DLQ_TOPIC, 0).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_may_choose_the_delay() {
    let (stack, failed) = failed_once().await;
    let start = Instant::now();
    stack.peer.send_back(&failed, 1).await;
    redelivered(&stack, 0).await;
    assert_eq!(start.elapsed().as_secs(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_may_bring_its_own_limit() {
    let (stack, failed) = failed_once().await;
    let header = ConsumerSendMsgBackRequestHeader {
        offset: failed.commit_log_offset,
        group: GROUP.to_owned(),
        max_reconsume_times: Some(0),
        ..ConsumerSendMsgBackRequestHeader::default()
    };
    let mut old = RemotingCommand::request_with(RequestCode::CONSUMER_SEND_MSG_BACK, &header);
    old.version = 100;
    stack.peer.invoke(old).await;
    assert!(
        stack.peer.read(DLQ_TOPIC, 0).await.is_empty(),
        "old clients' limits do not count"
    );
    stack
        .peer
        .ask(RequestCode::CONSUMER_SEND_MSG_BACK, &header)
        .await;
    assert_eq!(stack.peer.read(DLQ_TOPIC, 0).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_waits_survives_a_restart() {
    let (stack, failed) = failed_once().await;
    stack.peer.send_back(&failed, 0).await;
    sleep(Duration::from_secs(5)).await;
    let stack = stack.restart().await;
    assert_eq!(redelivered(&stack, 0).await.reconsume_times, 1);
    sleep(Duration::from_secs(60)).await;
    let stack = stack.restart().await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(
        stack.peer.read(RETRY_TOPIC, 0).await.len(),
        1,
        "it is delivered once"
    );
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_not_there_cannot_be_sent_back() {
    let (stack, mut failed) = failed_once().await;
    failed.commit_log_offset = 999_999;
    let response = stack.peer.send_back(&failed, 0).await;
    assert_eq!(response.code, ResponseCode::SYSTEM_ERROR.0);
    assert_eq!(
        response.remark.as_deref(),
        Some("look message by offset failed, 999999")
    );
}

#[tokio::test(start_paused = true)]
async fn a_group_that_must_not_be_created_cannot_send_back() {
    let mut config = support::config();
    config.auto_create_subscription_group = false;
    let stack = Stack::start_with(config, None).await;
    stack.peer.send_ok(&order("x")).await;
    let header = ConsumerSendMsgBackRequestHeader {
        group: GROUP.to_owned(),
        ..ConsumerSendMsgBackRequestHeader::default()
    };
    let response = stack
        .peer
        .ask(RequestCode::CONSUMER_SEND_MSG_BACK, &header)
        .await;
    assert_eq!(response.code, ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST.0);
}

#[tokio::test(start_paused = true)]
async fn a_group_without_retry_queues_drops_what_is_sent_back() {
    let (stack, failed) = failed_once().await;
    let group = SubscriptionGroupConfig {
        group_name: GROUP.to_owned(),
        retry_queue_nums: 0,
        ..SubscriptionGroupConfig::default()
    };
    let request = RemotingCommand::request(RequestCode::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP);
    stack.peer.invoke(request.with_body(group.to_json())).await;
    assert_eq!(stack.peer.send_back(&failed, 0).await.code, 0);
    sleep(Duration::from_secs(60)).await;
    assert!(stack.peer.read(RETRY_TOPIC, 0).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_resends_by_itself_reaches_the_dead_letter_queue_after_the_last_retry() {
    let (stack, failed) = failed_once().await;
    let mut again = failed.message.clone().with_delay_level(1);
    again.topic = RETRY_TOPIC.to_owned();
    for (times, max, dead) in [("15", None, 0), ("16", None, 1), ("2", Some("2"), 2)] {
        let mut request = send_request(&again, 0);
        request.ext.set("j", times);
        if let Some(max) = max {
            request.ext.set("l", max);
        }
        assert_eq!(stack.peer.invoke(request).await.code, 0);
        assert_eq!(
            stack.peer.read(DLQ_TOPIC, 0).await.len(),
            dead,
            "{times} of {max:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_with_the_greatest_number_of_retries_can_be_sent_back() {
    let stack = Stack::start().await;
    let mut request = send_request(&order("poison"), 0);
    request.ext.push("j", i32::MAX.to_string());
    assert_eq!(stack.peer.invoke(request).await.code, 0);
    let failed = stack.peer.read(TOPIC, 0).await.remove(0);
    assert_eq!(failed.reconsume_times, i32::MAX);
    assert_eq!(stack.peer.send_back(&failed, 0).await.code, 0);
    let dead = stack.peer.read(DLQ_TOPIC, 0).await.remove(0);
    assert_eq!(dead.reconsume_times, i32::MAX);
}

#[tokio::test(start_paused = true)]
async fn retries_go_to_queues_that_the_retry_topic_has() {
    let (stack, failed) = failed_once().await;
    assert_eq!(stack.peer.send_back(&failed, 1).await.code, 0);
    let group = SubscriptionGroupConfig {
        group_name: GROUP.to_owned(),
        retry_queue_nums: 4,
        ..SubscriptionGroupConfig::default()
    };
    let request = RemotingCommand::request(RequestCode::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP);
    stack.peer.invoke(request.with_body(group.to_json())).await;
    for _ in 0..40 {
        assert_eq!(stack.peer.send_back(&failed, 1).await.code, 0);
    }
    sleep(Duration::from_secs(3)).await;
    let mut read = 0;
    for queue_id in 0..4 {
        // What cannot be pulled is answered with an error, and with no messages.
        let mut header = support::pull_header(RETRY_TOPIC, 0, "*");
        header.queue_id = queue_id;
        loop {
            let response = stack.peer.ask(RequestCode::PULL_MESSAGE, &header).await;
            let found = support::messages(&response).len();
            read += found;
            header.queue_offset += found as i64;
            if found == 0 {
                break;
            }
        }
    }
    assert_eq!(read, 41);
}

#[tokio::test(start_paused = true)]
async fn a_message_at_the_limit_of_properties_can_be_sent_back() {
    let stack = Stack::start().await;
    // As much as is stored with the name of the cluster, and less.
    let room = 32_767 - "CLUSTER\u{1}DefaultCluster\u{2}big\u{1}".len();
    for (at, less) in (0..200).step_by(9).enumerate() {
        let big = order("big").with_property("big", "x".repeat(room - less));
        stack.peer.send_ok(&big).await;
        let failed = stack.peer.read(TOPIC, at as i64).await.remove(0);
        assert_eq!(stack.peer.send_back(&failed, 1).await.code, 0, "{less}");
        sleep(Duration::from_secs(2)).await;
        let again = stack.peer.read(RETRY_TOPIC, at as i64).await;
        assert_eq!(again.len(), 1, "{less}");
        assert_eq!(again[0].reconsume_times, 1);
        let property = |name| again[0].message.properties.get(name);
        assert_eq!(property("big").map(str::len), Some(room - less));
        // What is told of it first is where it comes from, as soon as there is room for it.
        assert_eq!(property("RETRY_TOPIC").is_some(), less >= 19, "{less}");
        assert_eq!(property("DELAY").is_some(), less >= 19 + 46, "{less}");
        assert_eq!(stack.peer.send_back(&again[0], -1).await.code, 0, "{less}");
        let dead = stack.peer.read(DLQ_TOPIC, at as i64).await;
        assert_eq!(dead[0].message.body, "big", "{less}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_broker_keeps_for_itself_cannot_be_sent_back() {
    let stack = Stack::start().await;
    let half = order("half").with_property("TRAN_MSG", "true");
    let later = order("later").with_delay_level(18);
    let timed = order("timed").with_delay(Duration::from_secs(600));
    for kept in [half, later, timed] {
        let sent = stack.peer.send_ok(&kept).await;
        let id = sent.ext.get("msgId").unwrap();
        let (_, offset) = hotfire_protocol::message::id::parse_offset_msg_id(id).unwrap();
        let header = ConsumerSendMsgBackRequestHeader {
            offset,
            group: GROUP.to_owned(),
            delay_level: -1,
            ..ConsumerSendMsgBackRequestHeader::default()
        };
        let code = RequestCode::CONSUMER_SEND_MSG_BACK;
        let response = stack.peer.ask(code, &header).await;
        assert_eq!(response.code, ResponseCode::SYSTEM_ERROR.0, "{kept:?}");
    }
    assert!(stack.peer.read(DLQ_TOPIC, 0).await.is_empty());
}
