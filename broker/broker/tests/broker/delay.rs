//! Delay levels: messages that are delivered later.

use std::time::Duration;

use hotfire_protocol::ResponseCode;
use hotfire_store::FlushDiskType;
use tokio::time::{Instant, sleep};

use crate::support::{self, Stack, TOPIC, bodies, messages, order};

#[tokio::test(start_paused = true)]
async fn a_delayed_message_arrives_after_its_delay_and_not_before() {
    let stack = Stack::start().await;
    stack.peer.send_ok(&order("at once")).await;
    let start = Instant::now();
    stack
        .peer
        .send_ok(&order("later").with_delay_level(2).with_tag("TagA"))
        .await;
    let response = stack.peer.long_poll(TOPIC, 1, "TagA").await;
    let waited = start.elapsed().as_secs_f64();
    assert!((5.0..5.3).contains(&waited), "{waited}");
    let delivered = &messages(&response)[0];
    assert_eq!(delivered.message.body, "later");
    assert_eq!(delivered.queue_offset, 1);
    assert_eq!(delivered.message.properties.get("REAL_TOPIC"), Some(TOPIC));
    assert_eq!(delivered.message.properties.get("REAL_QID"), Some("0"));
    // Apache RocketMQ 4.9 leaves it in the record, too.
    assert_eq!(delivered.message.properties.get("DELAY"), Some("2"));
}

#[tokio::test(start_paused = true)]
async fn messages_of_one_level_keep_their_order() {
    let stack = Stack::start().await;
    for body in ["one", "two", "three"] {
        stack.peer.send_ok(&order(body).with_delay_level(1)).await;
    }
    sleep(Duration::from_secs(3)).await;
    assert_eq!(
        bodies(&stack.peer.pull(TOPIC, 0, "*").await),
        ["one", "two", "three"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_level_beyond_the_longest_gets_the_longest_delay() {
    let mut config = support::config();
    config.store.delay_levels = vec![1_000, 5_000];
    let stack = Stack::start_with(config, None).await;
    stack.peer.send_ok(&order("at once")).await;
    let start = Instant::now();
    stack
        .peer
        .send_ok(&order("later").with_delay_level(99))
        .await;
    assert_eq!(
        bodies(&stack.peer.long_poll(TOPIC, 1, "*").await),
        ["later"]
    );
    assert_eq!(start.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_fails_is_tried_again_and_skips_nothing() {
    let stack = Stack::start().await;
    for body in ["one", "two"] {
        stack.peer.send_ok(&order(body).with_delay_level(1)).await;
    }
    // Nothing can be put when both are due; the restarted broker goes on where it was.
    stack.broker.store().shutdown().await.unwrap();
    sleep(Duration::from_secs(3)).await;
    assert_eq!(
        stack.peer.pull(TOPIC, 0, "*").await.code,
        ResponseCode::PULL_NOT_FOUND.0
    );
    let stack = stack.restart().await;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(
        bodies(&stack.peer.pull(TOPIC, 0, "*").await),
        ["one", "two"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_backlog_of_due_messages_is_delivered_in_one_go() {
    let stack = Stack::start().await;
    for at in 0..200 {
        stack
            .peer
            .send_ok(&order(&at.to_string()).with_delay_level(1))
            .await;
    }
    sleep(Duration::from_millis(1_200)).await;
    let response = stack.peer.pull(TOPIC, 199, "*").await;
    assert_eq!(bodies(&response), ["199"]);
}

#[tokio::test(start_paused = true)]
async fn with_synchronous_flush_a_delayed_message_is_delivered_although_nothing_else_is_sent() {
    let mut config = support::config();
    config.store.flush_disk_type = FlushDiskType::Sync;
    let stack = Stack::start_with(config, None).await;
    stack
        .peer
        .send_ok(&order("later").with_delay_level(1))
        .await;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(bodies(&stack.peer.pull(TOPIC, 0, "*").await), ["later"]);
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_properties_leave_no_room_does_not_block_its_level() {
    let stack = Stack::start().await;
    // With its real topic and queue noted, these are the most that fit.
    let noted = "REAL_TOPIC\u{1}orders\u{2}REAL_QID\u{1}0\u{2}DELAY\u{1}1\u{2}big\u{1}\u{2}".len()
        + "CLUSTER\u{1}DefaultCluster\u{2}".len();
    let big = "x".repeat(32_767 - noted);
    stack
        .peer
        .send_ok(&order("big").with_delay_level(1).with_property("big", big))
        .await;
    stack.peer.send_ok(&order("next").with_delay_level(1)).await;
    sleep(Duration::from_secs(3)).await;
    let response = stack.peer.pull(TOPIC, 0, "*").await;
    assert_eq!(bodies(&response), ["big", "next"]);
    let properties = &messages(&response)[1].message.properties;
    assert_eq!(properties.get("WAIT"), None, "Apache RocketMQ adds none");
}
