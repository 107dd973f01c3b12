//! The planted defects of the client do what they say.

#![cfg(feature = "defects")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod cluster;

use std::sync::Arc;
use std::time::Duration;

use cluster::*;
use hotfire_client::{
    ConsumeConcurrentlyStatus, ConsumeFrom, ConsumeOrderlyStatus, Delivery, PushConsumer,
};
use hotfire_env::Defect;
use parking_lot::Mutex;
use tokio::time::sleep;

/// Runs a consumer for 20 seconds on ten messages of which it likes none but the first; it begins
/// at offset 1. Returns the queue offsets that its listener saw, and the offset committed last.
async fn run(defect: Option<Defect>, orderly: bool) -> (Vec<i64>, Option<i64>) {
    let cluster = Cluster::start_with(1, 2, defect.into_iter().collect()).await;
    cluster.store(&["x"; 10]);
    cluster.set_offset("g", 1);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = seen.clone();
    let note = move |messages: &Delivery| noted.lock().push(messages[0].queue_offset);
    let builder = PushConsumer::builder(&cluster.env)
        .namesrv([NAMESRV])
        .group("g")
        .subscribe(TOPIC, "*")
        .consume_from(ConsumeFrom::First);
    let builder = if orderly {
        builder.orderly(move |messages: Delivery| {
            note(&messages);
            async { ConsumeOrderlyStatus::SuspendFor(Duration::from_secs(30)) }
        })
    } else {
        builder.concurrent(move |messages: Delivery| {
            note(&messages);
            async {
                sleep(Duration::from_secs(100)).await;
                ConsumeConcurrentlyStatus::Success
            }
        })
    };
    let consumer = builder.start().await.unwrap();
    sleep(Duration::from_secs(20)).await;
    let queues = consumer.assigned().len() as i64;
    drop(consumer);
    let mut seen = seen.lock().clone();
    seen.push(-queues);
    (seen, cluster.offset("g"))
}

#[tokio::test(start_paused = true)]
async fn without_defects_all_is_well() {
    let (seen, committed) = run(None, false).await;
    assert_eq!(seen, [1, 2, 3, 4, 5, 6, 7, 8, 9, -2]);
    assert_eq!(committed, Some(1));
    assert_eq!(run(None, true).await, (vec![1, -2], Some(1)));
}

#[tokio::test(start_paused = true)]
async fn skip_suspended_goes_on_with_the_next_message() {
    let (seen, _) = run(Some(Defect::SkipSuspended), true).await;
    assert_eq!(seen, [1, 2, 3, 4, 5, 6, 7, 8, 9, -2]);
}

#[tokio::test(start_paused = true)]
async fn commit_before_consume_commits_what_was_pulled() {
    let (_, committed) = run(Some(Defect::CommitBeforeConsume), false).await;
    assert_eq!(committed, Some(10));
}

#[tokio::test(start_paused = true)]
async fn commit_zero_rewinds_the_group() {
    let (_, committed) = run(Some(Defect::CommitZero), false).await;
    assert_eq!(committed, Some(0));
}

#[tokio::test(start_paused = true)]
async fn consume_twice_hands_some_messages_out_twice() {
    let (seen, _) = run(Some(Defect::ConsumeTwice), false).await;
    assert_eq!(seen, [1, 2, 3, 4, 5, 6, 7, 7, 8, 9, -2]);
}

#[tokio::test(start_paused = true)]
async fn orphan_queue_leaves_the_last_queue_alone() {
    let (seen, _) = run(Some(Defect::OrphanQueue), false).await;
    assert_eq!(seen.last(), Some(&-1));
}
