//! Lite pull consumers: assigned and shared queues, polling, seeking, committing.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod cluster;

use std::sync::Arc;
use std::time::Duration;

use cluster::*;
use hotfire_client::process_queue::Thresholds;
use hotfire_client::{
    ConsumeFrom, LitePullConsumer, LitePullConsumerBuilder, LitePullLimits, MessageModel,
};
use hotfire_protocol::body::{ConsumeType, HeartbeatData};
use hotfire_protocol::header::pull::{PullMessageRequestHeader, sys_flag};
use hotfire_protocol::{Message, MessageExt, MessageQueue, RequestCode, ResponseCode};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

const GROUP: &str = "lite";
const PULL: RequestCode = RequestCode::LITE_PULL_MESSAGE;

fn builder(cluster: &Cluster) -> LitePullConsumerBuilder {
    LitePullConsumer::builder(&cluster.env)
        .namesrv([NAMESRV])
        .group(GROUP)
        .consume_from(ConsumeFrom::First)
}

fn queue(id: i32) -> MessageQueue {
    MessageQueue::new(TOPIC, "broker-a", id)
}

/// A consumer to which queue 0 of [`TOPIC`] is assigned.
async fn assigned(builder: LitePullConsumerBuilder) -> LitePullConsumer {
    let consumer = builder.start().await.unwrap();
    consumer.assign(&[queue(0)]).await.unwrap();
    consumer
}

fn bodies(messages: &[Arc<MessageExt>]) -> Vec<String> {
    let body = |m: &Arc<MessageExt>| String::from_utf8(m.message.body.to_vec()).unwrap();
    messages.iter().map(body).collect()
}

/// What one poll gets.
async fn poll(consumer: &LitePullConsumer) -> Vec<String> {
    bodies(&consumer.poll(SECOND).await.unwrap())
}

/// Polls until nothing comes.
async fn poll_all(consumer: &LitePullConsumer) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let polled = poll(consumer).await;
        if polled.is_empty() {
            return all;
        }
        all.extend(polled);
    }
}

#[tokio::test(start_paused = true)]
async fn assigned_queues_are_pulled_and_polled_in_order() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["a", "b", "c"]);
    let consumer = assigned(builder(&cluster)).await;
    assert_eq!(poll(&consumer).await, ["a", "b", "c"]);
    let began = Instant::now();
    assert!(poll(&consumer).await.is_empty());
    assert_eq!(began.elapsed(), SECOND, "the poll waited");
    cluster.store(&["d"]);
    assert_eq!(poll(&consumer).await, ["d"]);
}

#[tokio::test(start_paused = true)]
async fn pulls_are_those_of_a_lite_pull_consumer() {
    let cluster = Cluster::start(1, 1).await;
    let consumer = assigned(builder(&cluster)).await;
    consumer.poll(2 * SECOND).await.unwrap();
    let (_, request) = &cluster.requests(PULL)[0];
    let header: PullMessageRequestHeader = request.header().unwrap();
    let flag = sys_flag::SUSPEND | sys_flag::SUBSCRIPTION | sys_flag::LITE_PULL;
    assert_eq!((header.sys_flag, header.max_msg_nums), (flag, 10));
    assert_eq!(header.suspend_timeout_millis, 20_000);
    assert_eq!(header.subscription.as_deref(), Some("*"));
    assert_eq!(cluster.count(RequestCode::PULL_MESSAGE), 0);
    let (_, heartbeat) = &cluster.requests(RequestCode::HEART_BEAT)[0];
    let data = HeartbeatData::from_json(&heartbeat.body).unwrap();
    let consumer = &data.consumer_data_set[0];
    assert_eq!(consumer.consume_type, ConsumeType::Actively);
    assert!(consumer.subscription_data_set.is_empty());
}

#[tokio::test(start_paused = true)]
async fn polling_commits_what_was_polled_before() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["a", "b"]);
    let consumer = assigned(builder(&cluster)).await;
    assert_eq!(poll(&consumer).await, ["a", "b"]);
    sleep(Duration::from_secs(12)).await;
    // The position at the start is all that has been committed so far.
    assert_eq!(cluster.offset(GROUP), None);
    poll(&consumer).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(cluster.offset(GROUP), Some(2));
}

#[tokio::test(start_paused = true)]
async fn without_automatic_commits_only_the_application_commits() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["a", "b"]);
    let consumer = assigned(builder(&cluster).auto_commit(false)).await;
    for _ in 0..20 {
        poll(&consumer).await;
    }
    assert_eq!(cluster.offset(GROUP), None);
    consumer.commit_sync().await.unwrap();
    assert_eq!(cluster.offset(GROUP), Some(2));
    assert_eq!(consumer.committed(&queue(0)).await.unwrap(), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_commit_reaches_the_broker_with_the_next_persisting_or_at_the_end() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["a", "b"]);
    let consumer = assigned(builder(&cluster).auto_commit(false)).await;
    poll(&consumer).await;
    consumer.commit().await;
    assert_eq!(cluster.offset(GROUP), None);
    consumer.shutdown().await;
    sleep(SECOND).await;
    assert_eq!(cluster.offset(GROUP), Some(2));
    assert_eq!(cluster.count(RequestCode::UNREGISTER_CLIENT), 1);
    assert!(consumer.poll(SECOND).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_synchronous_commit_tells_of_a_refusal() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["a"]);
    let consumer = assigned(builder(&cluster).auto_commit(false)).await;
    poll(&consumer).await;
    let refusal = Fault::Answer(ResponseCode::SYSTEM_ERROR);
    cluster.fail("broker-a", RequestCode::UPDATE_CONSUMER_OFFSET, &[refusal]);
    let error = consumer.commit_sync().await.unwrap_err();
    assert_eq!(error.code(), Some(ResponseCode::SYSTEM_ERROR));
}

#[tokio::test(start_paused = true)]
async fn seeking_goes_back_and_forth() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["a", "b", "c", "d"]);
    let consumer = assigned(builder(&cluster).auto_commit(false)).await;
    assert_eq!(poll(&consumer).await, ["a", "b", "c", "d"]);
    consumer.seek(&queue(0), 2).await.unwrap();
    assert_eq!(poll(&consumer).await, ["c", "d"]);
    consumer.seek_to_begin(&queue(0)).await.unwrap();
    assert_eq!(poll(&consumer).await, ["a", "b", "c", "d"]);
    consumer.seek_to_end(&queue(0)).await.unwrap();
    assert!(poll(&consumer).await.is_empty());
    cluster.store(&["e"]);
    assert_eq!(poll(&consumer).await, ["e"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_pulled_before_a_seek_is_not_polled_after_it() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["a", "b", "c", "d"]);
    let consumer = assigned(builder(&cluster)).await;
    sleep(SECOND).await;
    consumer.seek(&queue(0), 3).await.unwrap();
    assert_eq!(poll_all(&consumer).await, ["d"]);
}

#[tokio::test(start_paused = true)]
async fn seeking_outside_of_a_queue_or_elsewhere_is_refused() {
    let cluster = Cluster::start(1, 2).await;
    cluster.store(&["a", "b"]);
    cluster.expire(1);
    let consumer = assigned(builder(&cluster)).await;
    for offset in [0, 3] {
        let error = consumer.seek(&queue(0), offset).await.unwrap_err();
        let expected = format!("offset {offset} is not within 1 to 2 of {TOPIC}@broker-a:0");
        assert_eq!(error.to_string(), expected);
    }
    assert!(consumer.seek(&queue(1), 0).await.is_err(), "not assigned");
    assert_eq!(poll_all(&consumer).await, ["b"]);
}

#[tokio::test(start_paused = true)]
async fn an_offset_at_a_time_can_be_sought() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["a", "b", "c"]);
    let consumer = assigned(builder(&cluster)).await;
    let offset = consumer
        .offset_for_timestamp(&queue(0), 1001)
        .await
        .unwrap();
    consumer.seek(&queue(0), offset).await.unwrap();
    assert_eq!(poll_all(&consumer).await, ["b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_paused_queue_rests_until_it_is_resumed() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["a"]);
    let consumer = assigned(builder(&cluster)).await;
    assert_eq!(poll(&consumer).await, ["a"]);
    consumer.pause(&[queue(0)]);
    // The pull that waits at the broker is still answered.
    cluster.store(&["b"]);
    assert_eq!(poll(&consumer).await, ["b"]);
    cluster.store(&["c"]);
    assert!(
        consumer
            .poll(Duration::from_secs(60))
            .await
            .unwrap()
            .is_empty()
    );
    consumer.resume(&[queue(0)]);
    assert_eq!(bodies(&consumer.poll(2 * SECOND).await.unwrap()), ["c"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_assigned_again_goes_on_and_what_is_not_is_given_up() {
    let cluster = Cluster::start(1, 2).await;
    cluster.store(&["a"]);
    cluster.store_message("broker-a", 1, Message::new(TOPIC, "other"));
    let consumer = assigned(builder(&cluster)).await;
    assert_eq!(poll_all(&consumer).await, ["a"]);
    consumer.assign(&[queue(0), queue(1)]).await.unwrap();
    assert_eq!(poll_all(&consumer).await, ["other"]);
    consumer.assign(&[queue(1)]).await.unwrap();
    assert_eq!(consumer.assigned(), [queue(1)]);
    cluster.store(&["b"]);
    assert!(poll_all(&consumer).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn subscribers_share_the_queues_of_a_topic() {
    let cluster = Cluster::start(1, 4).await;
    let first = builder(&cluster)
        .subscribe(TOPIC, "*")
        .start()
        .await
        .unwrap();
    sleep(2 * SECOND).await;
    assert_eq!(first.assigned().len(), 4);
    let second = builder(&cluster).start().await.unwrap();
    second.subscribe(TOPIC, "*").await.unwrap();
    sleep(25 * SECOND).await;
    let mut all = [first.assigned(), second.assigned()].concat();
    all.sort();
    assert_eq!(all, (0..4).map(queue).collect::<Vec<_>>());
    assert_eq!(second.assigned().len(), 2);
    second.unsubscribe(TOPIC).await;
    assert!(second.assigned().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_changes_hands_goes_on_where_it_was_committed() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["a", "b", "c"]);
    let consumer = builder(&cluster).subscribe(TOPIC, "*").auto_commit(false);
    let first = consumer.start().await.unwrap();
    assert_eq!(poll_all(&first).await, ["a", "b", "c"]);
    sleep(SECOND).await;
    first.commit().await;
    first.unsubscribe(TOPIC).await;
    cluster.store(&["d"]);
    first.shutdown().await;
    let second = builder(&cluster)
        .subscribe(TOPIC, "*")
        .start()
        .await
        .unwrap();
    assert_eq!(poll_all(&second).await, ["d"]);
}

#[tokio::test(start_paused = true)]
async fn tags_are_compared_exactly() {
    let cluster = Cluster::start(1, 1).await;
    // The same hash.
    for tag in ["Aa", "BB"] {
        let message = Message::new(TOPIC, tag).with_tag(tag);
        cluster.store_message("broker-a", 0, message);
    }
    let consumer = builder(&cluster)
        .subscribe(TOPIC, "BB")
        .start()
        .await
        .unwrap();
    assert_eq!(poll_all(&consumer).await, ["BB"]);
}

#[tokio::test(start_paused = true)]
async fn subscribing_and_assigning_exclude_each_other() {
    let cluster = Cluster::start(1, 1).await;
    let consumer = assigned(builder(&cluster)).await;
    assert!(consumer.subscribe(TOPIC, "*").await.is_err());
    let consumer = builder(&cluster)
        .subscribe(TOPIC, "*")
        .start()
        .await
        .unwrap();
    assert!(consumer.assign(&[queue(0)]).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_failed_offset_query_is_tried_again_and_is_not_an_offset() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["a", "b", "c"]);
    cluster.set_offset(GROUP, 2);
    let query = RequestCode::QUERY_CONSUMER_OFFSET;
    let refusal = Fault::Answer(ResponseCode::SYSTEM_ERROR);
    cluster.fail("broker-a", query, &[refusal, Fault::Close]);
    let consumer = assigned(builder(&cluster)).await;
    let polled = consumer.poll(Duration::from_secs(20)).await.unwrap();
    assert_eq!(bodies(&polled), ["c"]);
}

#[tokio::test(start_paused = true)]
async fn an_offset_that_does_not_exist_is_corrected() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["a", "b", "c"]);
    cluster.expire(2);
    let consumer = assigned(builder(&cluster)).await;
    assert_eq!(poll_all(&consumer).await, ["c"]);
}

#[tokio::test(start_paused = true)]
async fn a_pull_that_fails_is_tried_again_after_a_second() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["a"]);
    cluster.fail(
        "broker-a",
        PULL,
        &[Fault::Answer(ResponseCode::SYSTEM_BUSY)],
    );
    let began = Instant::now();
    let consumer = assigned(builder(&cluster)).await;
    let polled = consumer.poll(Duration::from_secs(5)).await.unwrap();
    assert_eq!(bodies(&polled), ["a"]);
    assert!((SECOND..2 * SECOND).contains(&began.elapsed()));
}

#[tokio::test(start_paused = true)]
async fn pulling_stops_when_enough_waits_to_be_polled() {
    let cluster = Cluster::start(1, 1).await;
    let many: Vec<_> = (0..100).map(|at| at.to_string()).collect();
    cluster.store(&many.iter().map(String::as_str).collect::<Vec<_>>());
    let limits = LitePullLimits {
        queue: Thresholds {
            messages: 25,
            ..Thresholds::default()
        },
        ..LitePullLimits::default()
    };
    let consumer = assigned(builder(&cluster).limits(limits)).await;
    sleep(5 * SECOND).await;
    assert_eq!(cluster.count(PULL), 3);
    assert_eq!(poll_all(&consumer).await, many);
}

#[tokio::test(start_paused = true)]
async fn more_queues_than_pull_threads_take_turns() {
    let cluster = Cluster::start(1, 2).await;
    let consumer = builder(&cluster).pull_threads(1).start().await.unwrap();
    consumer.assign(&[queue(0), queue(1)]).await.unwrap();
    sleep(SECOND).await;
    assert_eq!(cluster.count(PULL), 1, "it waits at the broker for 20 s");
    sleep(20 * SECOND).await;
    assert_eq!(cluster.count(PULL), 2);
}

#[tokio::test(start_paused = true)]
async fn broadcasting_keeps_offsets_in_a_file() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["a", "b"]);
    let consumer = || {
        builder(&cluster)
            .subscribe(TOPIC, "*")
            .message_model(MessageModel::Broadcasting)
            .start()
    };
    let first = consumer().await.unwrap();
    assert_eq!(poll_all(&first).await, ["a", "b"]);
    first.commit_sync().await.unwrap();
    first.shutdown().await;
    cluster.store(&["c"]);
    let second = consumer().await.unwrap();
    assert_eq!(poll_all(&second).await, ["c"]);
    assert_eq!(cluster.offset(GROUP), None);
}

#[tokio::test(start_paused = true)]
async fn new_queues_of_a_topic_are_reported() {
    let cluster = Cluster::start(1, 2).await;
    let consumer = builder(&cluster).start().await.unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = seen.clone();
    let listener = move |topic: &str, queues: &[MessageQueue]| {
        noted.lock().push((topic.to_owned(), queues.len()));
    };
    consumer.listen_to_queues(TOPIC, listener).await.unwrap();
    sleep(60 * SECOND).await;
    assert!(seen.lock().is_empty());
    cluster.add_topic(TOPIC, 3);
    sleep(31 * SECOND).await;
    assert_eq!(*seen.lock(), [(TOPIC.to_owned(), 3)]);
}

#[tokio::test(start_paused = true)]
async fn settings_that_make_no_sense_are_refused() {
    let cluster = Cluster::start(1, 1).await;
    let batch = |batch| LitePullLimits {
        batch,
        ..LitePullLimits::default()
    };
    for wrong in [
        builder(&cluster).group("no group!"),
        builder(&cluster).limits(batch(0)),
        builder(&cluster).limits(batch(1025)),
        builder(&cluster).pull_threads(0),
        builder(&cluster).auto_commit_interval(Duration::from_millis(999)),
        builder(&cluster).subscribe("no topic!", "*"),
        builder(&cluster).subscribe(TOPIC, "||"),
    ] {
        assert!(wrong.start().await.is_err());
    }
}
