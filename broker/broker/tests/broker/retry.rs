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
