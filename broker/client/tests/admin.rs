//! Single calls.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod cluster;

use std::time::Duration;

use cluster::*;
use hotfire_client::{Admin, PullStatus};
use hotfire_protocol::{MessageQueue, RequestCode, ResponseCode};
use tokio::time::Instant;

fn admin(cluster: &Cluster) -> (Admin, MessageQueue) {
    let admin = Admin::builder(&cluster.env)
        .namesrv([NAMESRV])
        .start()
        .unwrap();
    (admin, MessageQueue::new(TOPIC, "broker-a", 0))
}

#[tokio::test(start_paused = true)]
async fn messages_are_pulled_from_an_offset_on() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["a", "b", "c"]);
    let (admin, queue) = admin(&cluster);
    let pulled = admin.pull("g", &queue, "*", 1, 32, None).await.unwrap();
    assert_eq!(
        (pulled.status, pulled.next_begin_offset),
        (PullStatus::Found, 3)
    );
    let offsets: Vec<_> = pulled
        .messages
        .iter()
        .map(|message| message.queue_offset)
        .collect();
    assert_eq!(offsets, [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_pull_waits_at_the_broker_only_if_asked_to() {
    let cluster = Cluster::start(1, 1).await;
    let (admin, queue) = admin(&cluster);
    for wait in [0, 20] {
        let begin = Instant::now();
        let asked = Some(Duration::from_secs(wait)).filter(|wait| !wait.is_zero());
        let pulled = admin.pull("g", &queue, "*", 0, 32, asked).await.unwrap();
        assert_eq!(
            (pulled.status, begin.elapsed().as_secs()),
            (PullStatus::NoNewMessage, wait)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn no_offset_and_an_error_are_different_answers() {
    let cluster = Cluster::start(1, 1).await;
    let (admin, queue) = admin(&cluster);
    assert_eq!(admin.query_offset("g", &queue).await.unwrap(), None);
    admin.update_offset("g", &queue, 7).await.unwrap();
    assert_eq!(admin.query_offset("g", &queue).await.unwrap(), Some(7));
    let query = RequestCode::QUERY_CONSUMER_OFFSET;
    cluster.fail(
        "broker-a",
        query,
        &[Fault::Answer(ResponseCode::SYSTEM_ERROR)],
    );
    let error = admin.query_offset("g", &queue).await.unwrap_err();
    assert_eq!(error.code(), Some(ResponseCode::SYSTEM_ERROR));
}

#[tokio::test(start_paused = true)]
async fn the_queues_of_a_topic_are_listed_in_order() {
    let cluster = Cluster::start(2, 2).await;
    let (admin, _) = admin(&cluster);
    let queues = admin.fetch_subscribe_queues(TOPIC).await.unwrap();
    let names: Vec<_> = queues.iter().map(ToString::to_string).collect();
    assert_eq!(
        names,
        [
            "orders@broker-a:0",
            "orders@broker-a:1",
            "orders@broker-b:0",
            "orders@broker-b:1"
        ]
    );
    assert_eq!(admin.fetch_publish_queues(TOPIC).await.unwrap(), queues);
    assert!(admin.fetch_publish_queues("nowhere").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_is_not_an_offset_id_is_not_looked_for() {
    let cluster = Cluster::start(1, 1).await;
    let (admin, _) = admin(&cluster);
    assert!(admin.view_message("nonsense").await.is_err());
    assert_eq!(cluster.count(RequestCode::VIEW_MESSAGE_BY_ID), 0);
}
