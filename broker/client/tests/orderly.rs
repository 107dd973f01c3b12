//! Orderly consumers: one message after the other, under the broker's lock.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod cluster;

use std::sync::Arc;
use std::time::Duration;

use cluster::*;
use hotfire_client::ConsumeOrderlyStatus::{Success, SuspendCurrentQueueAMoment, SuspendFor};
use hotfire_client::{
    ConsumeFrom, ConsumeOrderlyStatus, Delivery, PushConsumer, PushConsumerBuilder,
};
use hotfire_protocol::header::send::SendMessageRequestHeader;
use hotfire_protocol::{MessageQueue, RemotingCommand, RequestCode, ResponseCode};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

const GROUP: &str = "og";

fn builder(cluster: &Cluster) -> PushConsumerBuilder {
    PushConsumer::builder(&cluster.env)
        .namesrv([NAMESRV])
        .group(GROUP)
        .subscribe(TOPIC, "*")
        .consume_from(ConsumeFrom::First)
}

/// Bodies with their retry counts and the second they came in.
type Calls = Arc<Mutex<Vec<(String, i32, u64)>>>;

/// A consumer whose listener does as `status` says of each body and its retry count.
async fn consumer(
    builder: PushConsumerBuilder,
    status: impl Fn(&str, i32) -> ConsumeOrderlyStatus + Clone + Send + Sync + 'static,
) -> (PushConsumer, Calls) {
    let calls = Calls::default();
    let (noted, begin) = (calls.clone(), Instant::now());
    let listener = move |messages: Delivery| {
        let message = &messages[0];
        let body = String::from_utf8(message.message.body.to_vec()).unwrap();
        let times = message.reconsume_times;
        let status = status(&body, times);
        noted.lock().push((body, times, begin.elapsed().as_secs()));
        async move { status }
    };
    (builder.orderly(listener).start().await.unwrap(), calls)
}

fn bodies(calls: &Calls) -> Vec<String> {
    calls.lock().iter().map(|(body, ..)| body.clone()).collect()
}

async fn seconds(count: u64) {
    sleep(Duration::from_secs(count)).await;
}

#[tokio::test(start_paused = true)]
async fn a_suspended_message_comes_again_before_the_others() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["a", "b", "c"]);
    let suspend_b = |body: &str, times| {
        if body == "b" && times < 2 {
            SuspendCurrentQueueAMoment
        } else {
            Success
        }
    };
    let (consumer, calls) = consumer(builder(&cluster), suspend_b).await;
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(cluster.count(RequestCode::CONSUMER_SEND_MSG_BACK), 0);
    assert_eq!(bodies(&calls), ["a", "b", "b"]);
    seconds(2).await;
    let expected = [
        ("a", 0, 0),
        ("b", 0, 0),
        ("b", 1, 1),
        ("b", 2, 2),
        ("c", 0, 2),
    ];
    let expected = expected.map(|(body, times, at)| (body.to_owned(), times, at));
    assert_eq!(*calls.lock(), expected);
    consumer.shutdown().await;
    assert_eq!(cluster.offset(GROUP), Some(3));
}

#[tokio::test(start_paused = true)]
async fn a_suspended_queue_commits_nothing_beyond_the_message() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["a", "b", "c"]);
    let suspend = |body: &str, _| {
        if body == "b" {
            SuspendFor(SECOND * 7)
        } else {
            Success
        }
    };
    let (consumer, calls) = consumer(builder(&cluster), suspend).await;
    seconds(30).await;
    assert_eq!(cluster.offset(GROUP), Some(1));
    consumer.shutdown().await;
    assert_eq!(cluster.offset(GROUP), Some(1));
    assert!(!bodies(&calls).contains(&"c".to_owned()));
    assert_eq!(
        calls.lock().iter().map(|call| call.2).collect::<Vec<_>>(),
        [0, 0, 7, 14, 21, 28]
    );
}

#[tokio::test(start_paused = true)]
async fn a_message_that_exhausted_its_tries_goes_the_way_to_the_dead_letters() {
    let cluster = Cluster::start(1, 1).await;
    cluster.add_topic("%RETRY%og", 1);
    cluster.store(&["bad", "b"]);
    let builder = builder(&cluster).max_reconsume_times(2);
    let suspend = |body: &str, _| {
        if body == "bad" {
            SuspendCurrentQueueAMoment
        } else {
            Success
        }
    };
    let (consumer, calls) = consumer(builder, suspend).await;
    seconds(5).await;
    assert_eq!(bodies(&calls)[..4], ["bad", "bad", "bad", "b"]);
    let sends = cluster.requests(RequestCode::SEND_MESSAGE_V2);
    let header = SendMessageRequestHeader::of(&sends[0].1).unwrap();
    assert_eq!(header.topic, "%RETRY%og");
    assert_eq!(cluster.stored("%DLQ%og").len(), 1);
    assert_eq!(
        (header.reconsume_times, header.max_reconsume_times),
        (Some(2), Some(2))
    );
    consumer.shutdown().await;
    assert_eq!(cluster.offset(GROUP), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_somebody_else_has_locked_is_not_consumed() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["a"]);
    cluster.lock_for(Some("somebody else"));
    let (consumer, calls) = consumer(builder(&cluster), |_, _| Success).await;
    seconds(10).await;
    assert!(consumer.assigned().is_empty() && calls.lock().is_empty());
    cluster.lock_for(None);
    seconds(15).await;
    assert_eq!(bodies(&calls), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn locks_are_confirmed_every_twenty_seconds_and_given_back_at_shutdown() {
    let cluster = Cluster::start(1, 2).await;
    let (consumer, _calls) = consumer(builder(&cluster), |_, _| Success).await;
    seconds(2).await;
    assert_eq!(cluster.locks().len(), 2);
    let before = cluster.count(RequestCode::LOCK_BATCH_MQ);
    seconds(40).await;
    assert_eq!(cluster.count(RequestCode::LOCK_BATCH_MQ) - before, 2);
    consumer.shutdown().await;
    assert!(cluster.locks().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_loses_its_lock_stops_consuming() {
    let cluster = Cluster::start(1, 1).await;
    let (_consumer, calls) = consumer(builder(&cluster), |_, _| Success).await;
    cluster.store(&["a"]);
    seconds(2).await;
    cluster.lock_for(Some("somebody else"));
    seconds(21).await;
    cluster.store(&["b"]);
    seconds(20).await;
    assert_eq!(bodies(&calls), ["a"]);
    cluster.lock_for(None);
    seconds(25).await;
    assert_eq!(bodies(&calls), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_not_confirmed_expires_after_thirty_seconds() {
    let cluster = Cluster::start(1, 1).await;
    let (_consumer, calls) = consumer(builder(&cluster), |_, _| Success).await;
    seconds(2).await;
    let unanswered = [Fault::Answer(ResponseCode::SYSTEM_ERROR); 100];
    cluster.fail("broker-a", RequestCode::LOCK_BATCH_MQ, &unanswered);
    seconds(25).await;
    cluster.store(&["a"]);
    seconds(1).await;
    assert_eq!(bodies(&calls), ["a"]);
    seconds(10).await;
    cluster.store(&["b"]);
    seconds(20).await;
    assert_eq!(bodies(&calls), ["a"]);
    cluster.fail("broker-a", RequestCode::LOCK_BATCH_MQ, &[]);
    seconds(5).await;
    assert_eq!(bodies(&calls), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_queue_is_handed_over_only_when_its_listener_is_done() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["slow", "b"]);
    let listener = |_: Delivery| async {
        seconds(30).await;
        Success
    };
    let one = builder(&cluster)
        .instance_name("one")
        .orderly(listener)
        .start()
        .await
        .unwrap();
    seconds(2).await;
    // A member with a smaller id takes the only queue over.
    let (two, calls) = consumer(builder(&cluster).instance_name("a-first"), |_, _| Success).await;
    cluster.push(&RemotingCommand::request(
        RequestCode::NOTIFY_CONSUMER_IDS_CHANGED,
    ));
    seconds(20).await;
    assert!(calls.lock().is_empty());
    assert_eq!(one.assigned(), [MessageQueue::new(TOPIC, "broker-a", 0)]);
    // The lock stays another 20 s, because messages were in hand.
    seconds(90).await;
    assert_eq!(
        bodies(&calls),
        ["slow", "b"],
        "the old owner's result does not count any more"
    );
    assert!(one.assigned().is_empty());
    assert_eq!(two.assigned().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_queue_whose_listener_was_busy_when_its_offset_was_corrected_is_taken_anew() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["a", "b", "c"]);
    let seen = Calls::default();
    let noted = seen.clone();
    let listener = move |messages: Delivery| {
        let body = String::from_utf8(messages[0].message.body.to_vec()).unwrap();
        let first = noted.lock().is_empty();
        noted.lock().push((body, 0, 0));
        async move {
            if first {
                seconds(60).await;
            }
            Success
        }
    };
    let consumer = builder(&cluster).orderly(listener).start().await.unwrap();
    seconds(5).await;
    assert_eq!(bodies(&seen), ["a"]);
    // The next pull learns that its offset does not exist.
    cluster.expire(4);
    cluster.store(&["d", "e"]);
    seconds(180).await;
    assert_eq!(bodies(&seen), ["a", "e"]);
    consumer.shutdown().await;
}
