//! Concurrent consumers: what is handed out, sent back and committed.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod cluster;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cluster::*;
use hotfire_client::ConsumeConcurrentlyStatus::{ReconsumeLater, Success, SuccessOfFirst};
use hotfire_client::{
    ConsumeFrom, ConsumerHook, Delivery, MessageModel, PushConsumer, PushConsumerBuilder,
};
use hotfire_protocol::body::ResetOffsetBody;
use hotfire_protocol::header::client::ResetOffsetRequestHeader;
use hotfire_protocol::header::pull::PullMessageRequestHeader;
use hotfire_protocol::header::send::{ConsumerSendMsgBackRequestHeader, SendMessageRequestHeader};
use hotfire_protocol::message::property;
use hotfire_protocol::{
    Message, MessageExt, MessageQueue, RemotingCommand, RequestCode, ResponseCode,
};
use parking_lot::Mutex;
use tokio::time::sleep;

const GROUP: &str = "cg";
const BACK: RequestCode = RequestCode::CONSUMER_SEND_MSG_BACK;

fn builder(cluster: &Cluster) -> PushConsumerBuilder {
    PushConsumer::builder(&cluster.env)
        .namesrv([NAMESRV])
        .group(GROUP)
        .subscribe(TOPIC, "*")
        .consume_from(ConsumeFrom::First)
}

/// What a listener has been called with.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<MessageExt>>>);

impl Seen {
    fn note(&self, messages: &Delivery) {
        self.0
            .lock()
            .extend(messages.iter().map(|message| (**message).clone()));
    }

    fn bodies(&self) -> Vec<String> {
        let body = |m: &MessageExt| String::from_utf8(m.message.body.to_vec()).unwrap();
        self.0.lock().iter().map(body).collect()
    }

    fn messages(&self) -> Vec<MessageExt> {
        self.0.lock().clone()
    }
}

/// A consumer that is content with everything.
async fn content(builder: PushConsumerBuilder) -> (PushConsumer, Seen) {
    let seen = Seen::default();
    let noted = seen.clone();
    let listener = move |messages: Delivery| {
        noted.note(&messages);
        async { Success }
    };
    (builder.concurrent(listener).start().await.unwrap(), seen)
}

/// A consumer that fails with the bodies `bad`.
async fn failing(builder: PushConsumerBuilder, bad: &'static str) -> (PushConsumer, Seen) {
    let seen = Seen::default();
    let noted = seen.clone();
    let listener = move |messages: Delivery| {
        noted.note(&messages);
        let failed = messages
            .iter()
            .any(|message| &message.message.body[..] == bad.as_bytes());
        async move { if failed { ReconsumeLater } else { Success } }
    };
    (builder.concurrent(listener).start().await.unwrap(), seen)
}

async fn seconds(count: u64) {
    sleep(Duration::from_secs(count)).await;
}

#[tokio::test(start_paused = true)]
async fn everything_is_consumed_and_committed_at_shutdown() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["a", "b", "c"]);
    let (consumer, seen) = content(builder(&cluster)).await;
    seconds(1).await;
    cluster.store(&["d"]);
    seconds(1).await;
    assert_eq!(seen.bodies(), ["a", "b", "c", "d"]);
    consumer.shutdown().await;
    assert_eq!(cluster.offset(GROUP), Some(4));
    assert_eq!(cluster.count(RequestCode::UNREGISTER_CLIENT), 1);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_begins_where_its_group_left_off() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["a", "b", "c"]);
    cluster.set_offset(GROUP, 2);
    let (_consumer, seen) = content(builder(&cluster)).await;
    seconds(1).await;
    assert_eq!(seen.bodies(), ["c"]);
}

#[tokio::test(start_paused = true)]
async fn a_new_group_skips_what_is_there_unless_told_otherwise() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["old"]);
    let (_consumer, seen) = content(builder(&cluster).consume_from(ConsumeFrom::Last)).await;
    seconds(1).await;
    cluster.store(&["new"]);
    seconds(1).await;
    assert_eq!(seen.bodies(), ["new"]);
}

#[tokio::test(start_paused = true)]
async fn the_retry_topic_is_consumed_from_its_start_and_gives_topics_back() {
    let cluster = Cluster::start(1, 1).await;
    cluster.add_topic("%RETRY%cg", 1);
    let retried = Message::new("%RETRY%cg", "again").with_property(property::RETRY_TOPIC, TOPIC);
    cluster.store_message("broker-a", 0, retried);
    let (_consumer, seen) = content(builder(&cluster).consume_from(ConsumeFrom::Last)).await;
    seconds(1).await;
    assert_eq!(seen.messages()[0].message.topic, TOPIC);
}

#[tokio::test(start_paused = true)]
async fn a_failed_offset_query_is_not_an_offset() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["a", "b", "c"]);
    cluster.set_offset(GROUP, 2);
    let query = RequestCode::QUERY_CONSUMER_OFFSET;
    cluster.fail(
        "broker-a",
        query,
        &[Fault::Answer(ResponseCode::SYSTEM_ERROR), Fault::Close],
    );
    let (consumer, seen) = content(builder(&cluster)).await;
    seconds(15).await;
    assert!(consumer.assigned().is_empty(), "the round is skipped");
    assert_eq!(
        (
            cluster.count(RequestCode::UPDATE_CONSUMER_OFFSET),
            seen.bodies().len()
        ),
        (0, 0)
    );
    seconds(30).await;
    assert_eq!(seen.bodies(), ["c"]);
    consumer.shutdown().await;
    assert_eq!(cluster.offset(GROUP), Some(3));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_fails_is_sent_back_and_does_not_hold_up_the_others() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["a", "bad", "c"]);
    let (consumer, seen) = failing(builder(&cluster), "bad").await;
    seconds(1).await;
    assert_eq!(seen.bodies(), ["a", "bad", "c"]);
    let back: ConsumerSendMsgBackRequestHeader = cluster.requests(BACK)[0].1.header().unwrap();
    assert_eq!((back.offset, back.delay_level), (2000, 0));
    assert_eq!(
        (back.group.as_str(), back.max_reconsume_times),
        (GROUP, Some(16))
    );
    assert_eq!(back.origin_topic.as_deref(), Some(TOPIC));
    consumer.shutdown().await;
    assert_eq!(cluster.offset(GROUP), Some(3));
}

#[tokio::test(start_paused = true)]
async fn what_the_broker_does_not_take_back_is_sent_to_the_retry_topic() {
    let cluster = Cluster::start(1, 1).await;
    cluster.add_topic("%RETRY%cg", 1);
    cluster.store(&["bad"]);
    cluster.fail(
        "broker-a",
        BACK,
        &[Fault::Answer(ResponseCode::SYSTEM_ERROR)],
    );
    let (consumer, _seen) = failing(builder(&cluster), "bad").await;
    seconds(1).await;
    let sends = cluster.requests(RequestCode::SEND_MESSAGE_V2);
    let header = SendMessageRequestHeader::of(&sends[0].1).unwrap();
    assert_eq!(
        (header.topic.as_str(), header.reconsume_times),
        ("%RETRY%cg", Some(1))
    );
    assert_eq!(header.max_reconsume_times, Some(16));
    let copy = &cluster.stored("%RETRY%cg")[0].message;
    assert_eq!(
        (copy.properties.get("RETRY_TOPIC"), copy.delay_level()),
        (Some(TOPIC), 3)
    );
    consumer.shutdown().await;
    assert_eq!(cluster.offset(GROUP), Some(1));
}

#[tokio::test(start_paused = true)]
async fn what_can_neither_be_consumed_nor_sent_back_is_not_committed() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["bad", "b"]);
    cluster.fail(
        "broker-a",
        BACK,
        &[Fault::Answer(ResponseCode::SYSTEM_ERROR); 2],
    );
    // The retry topic has no route, so there is no way for a copy either.
    let (consumer, seen) = failing(builder(&cluster), "bad").await;
    seconds(4).await;
    assert_eq!(seen.bodies(), ["bad", "b"]);
    seconds(3).await;
    assert_eq!(
        seen.bodies(),
        ["bad", "b", "bad"],
        "it is tried again after 5 s"
    );
    assert_eq!(seen.messages()[2].reconsume_times, 1);
    seconds(4).await;
    assert_eq!(
        cluster.offset(GROUP),
        Some(0),
        "nothing beyond it is committed"
    );
    seconds(4).await;
    consumer.shutdown().await;
    assert_eq!(
        cluster.offset(GROUP),
        Some(2),
        "the third time it was taken back"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stuck_message_holds_up_the_committed_offset_but_not_the_others() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["a", "stuck", "c", "d"]);
    let seen = Seen::default();
    let noted = seen.clone();
    let consumer = builder(&cluster).concurrent(move |messages: Delivery| {
        noted.note(&messages);
        let stuck = &messages[0].message.body[..] == b"stuck";
        async move {
            if stuck {
                seconds(100).await;
            }
            Success
        }
    });
    let consumer = consumer.start().await.unwrap();
    seconds(20).await;
    assert_eq!(seen.bodies().len(), 4);
    assert_eq!(cluster.offset(GROUP), Some(1));
    consumer.shutdown().await;
    assert_eq!(cluster.offset(GROUP), Some(1));
}

#[tokio::test(start_paused = true)]
async fn twenty_calls_of_the_listener_run_at_a_time() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["x"; 100]);
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counters = (running.clone(), most.clone());
    let listener = move |_: Delivery| {
        let (running, most) = counters.clone();
        async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            seconds(1).await;
            running.fetch_sub(1, Ordering::SeqCst);
            Success
        }
    };
    let consumer = builder(&cluster)
        .concurrent(listener)
        .start()
        .await
        .unwrap();
    sleep(Duration::from_millis(5500)).await;
    assert_eq!(most.load(Ordering::SeqCst), 20);
    consumer.shutdown().await;
    assert_eq!(cluster.offset(GROUP), Some(100));
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_running_calls_if_asked_to() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["x"]);
    let slow = |_: Delivery| async {
        seconds(5).await;
        Success
    };
    let builder = builder(&cluster).await_termination(Duration::from_secs(10));
    let consumer = builder.concurrent(slow).start().await.unwrap();
    seconds(1).await;
    consumer.shutdown().await;
    assert_eq!(cluster.offset(GROUP), Some(1));
}

#[tokio::test(start_paused = true)]
async fn pulling_pauses_while_too_much_is_in_hand() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["x"; 2000]);
    let never = |_: Delivery| async {
        seconds(100_000).await;
        Success
    };
    let _consumer = builder(&cluster).concurrent(never).start().await.unwrap();
    seconds(5).await;
    // 32 at a time until there are more than 1000.
    assert_eq!(cluster.count(RequestCode::PULL_MESSAGE), 32);
}

#[tokio::test(start_paused = true)]
async fn a_tag_with_the_same_hash_is_not_the_same_tag() {
    let cluster = Cluster::start(1, 1).await;
    // "Aa" and "BB" have one hash in Java, so a real broker sends both.
    for tag in ["Aa", "BB"] {
        cluster.store_message(
            "broker-a",
            0,
            Message::new(TOPIC, tag.to_owned()).with_tag(tag),
        );
    }
    let (consumer, seen) = content(builder(&cluster).subscribe(TOPIC, "Aa || C")).await;
    seconds(1).await;
    assert_eq!(seen.bodies(), ["Aa"]);
    cluster.store_message("broker-a", 0, Message::new(TOPIC, "x").with_tag("BB"));
    seconds(20).await;
    consumer.shutdown().await;
    assert_eq!(
        cluster.offset(GROUP),
        Some(3),
        "what is filtered out is done with"
    );
}

#[tokio::test(start_paused = true)]
async fn messages_tell_the_offsets_that_their_queue_had_when_they_were_pulled() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["a", "b", "c", "d"]);
    cluster.expire(1);
    cluster.set_offset(GROUP, 2);
    let (_consumer, seen) = content(builder(&cluster)).await;
    seconds(1).await;
    let messages = seen.messages();
    assert_eq!(messages.len(), 2);
    for message in messages {
        let property = |name| message.message.properties.get(name).map(str::to_owned);
        assert_eq!(property(property::MIN_OFFSET).as_deref(), Some("1"));
        assert_eq!(property(property::MAX_OFFSET).as_deref(), Some("4"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_filter_of_the_application_drops_messages_for_good() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["a", "drop", "b", "drop too"]);
    let not =
        |word: &'static str| move |m: &MessageExt| !m.message.body.starts_with(word.as_bytes());
    let filtered = builder(&cluster).filter(not("drop")).filter(not("b"));
    let (consumer, seen) = content(filtered).await;
    seconds(20).await;
    assert_eq!(seen.bodies(), ["a"]);
    consumer.shutdown().await;
    assert_eq!(cluster.offset(GROUP), Some(4));
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_too_old_for_sql_is_not_pulled() {
    let old = Fault::Version(231);
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["a"]);
    cluster.fail("broker-a", RequestCode::HEART_BEAT, &[old, old]);
    let (_consumer, seen) = content(builder(&cluster).subscribe_sql(TOPIC, "a > 1")).await;
    seconds(29).await;
    assert_eq!(seen.bodies(), [""; 0]);
    let pulls_of_topic = || {
        let pulls = cluster.requests(RequestCode::PULL_MESSAGE);
        let of_topic =
            |(_, request): &&(_, RemotingCommand)| request.ext.get("topic") == Some(TOPIC);
        pulls.iter().filter(of_topic).count()
    };
    assert_eq!(pulls_of_topic(), 0);
    // Its next heartbeat is answered by the version that came with an upgrade.
    seconds(10).await;
    assert_eq!(seen.bodies(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_new_group_can_begin_at_a_time() {
    let cluster = Cluster::start(1, 1).await;
    // Stored at seconds 1, 2 and 3.
    cluster.store(&["a", "b", "c"]);
    let from = ConsumeFrom::Timestamp(1001);
    let (_consumer, seen) = content(builder(&cluster).consume_from(from)).await;
    seconds(1).await;
    assert_eq!(seen.bodies(), ["b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_listener_gets_as_many_messages_at_a_time_as_configured() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["a", "b", "c", "d", "e"]);
    let sizes: Arc<Mutex<Vec<usize>>> = Arc::default();
    let noted = sizes.clone();
    let builder = builder(&cluster).consume_batch(2).consume_threads(1);
    let listener = move |messages: Delivery| {
        noted.lock().push(messages.len());
        async { Success }
    };
    let _consumer = builder.concurrent(listener).start().await.unwrap();
    seconds(1).await;
    assert_eq!(*sizes.lock(), [2, 2, 1]);
}

#[tokio::test(start_paused = true)]
async fn of_a_batch_only_the_messages_behind_the_consumed_ones_are_sent_back() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["a", "b", "c"]);
    let listener = |messages: Delivery| async move { SuccessOfFirst(messages.len() - 1) };
    let batches = builder(&cluster).consume_batch(3);
    let _consumer = batches.concurrent(listener).start().await.unwrap();
    seconds(1).await;
    let back = cluster.requests(BACK);
    assert_eq!(back.len(), 1);
    let header = back[0]
        .1
        .header::<ConsumerSendMsgBackRequestHeader>()
        .unwrap();
    assert_eq!(header.offset, 3000, "the third message");
}

#[tokio::test(start_paused = true)]
async fn offsets_travel_along_with_pulls_and_every_five_seconds() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["a"]);
    let (_consumer, _seen) = content(builder(&cluster)).await;
    seconds(1).await;
    assert_eq!(
        cluster.offset(GROUP),
        None,
        "the next pull left before the message was consumed"
    );
    cluster.store(&["b"]);
    seconds(1).await;
    assert_eq!(cluster.offset(GROUP), Some(1));
    let pull = cluster.requests(RequestCode::PULL_MESSAGE).pop().unwrap().1;
    assert_eq!(
        pull.header::<PullMessageRequestHeader>().unwrap().sys_flag,
        0b11
    );
    seconds(9).await;
    assert_eq!(cluster.offset(GROUP), Some(2));
    assert!(
        cluster.requests(RequestCode::UPDATE_CONSUMER_OFFSET)[0]
            .1
            .is_oneway()
    );
    seconds(10).await;
    assert_eq!(cluster.count(RequestCode::UPDATE_CONSUMER_OFFSET), 3);
}

#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl ConsumerHook for Notes {
    fn assigned(&self, queue: &MessageQueue) {
        self.0.lock().push(format!("assigned {queue}"));
    }

    fn revoked(&self, queue: &MessageQueue) {
        self.0.lock().push(format!("revoked {queue}"));
    }

    fn pulling_from(&self, _: &MessageQueue, offset: i64) {
        self.0.lock().push(format!("pulling from {offset}"));
    }

    fn pulled(&self, _: &MessageQueue, from: i64, next: i64, messages: &[MessageExt]) {
        self.0
            .lock()
            .push(format!("pulled {from}..{next}: {}", messages.len()));
    }

    fn committing(&self, _: &MessageQueue, offset: i64) {
        self.0.lock().push(format!("committing {offset}"));
    }

    fn offset_corrected(&self, _: &MessageQueue, from: i64, to: i64) {
        self.0.lock().push(format!("corrected {from} to {to}"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_offset_that_does_not_exist_is_corrected_after_ten_seconds() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["a", "b", "c"]);
    cluster.expire(2);
    let notes = Arc::new(Notes::default());
    let (consumer, seen) = content(builder(&cluster).hook(notes.clone())).await;
    seconds(9).await;
    assert!(seen.bodies().is_empty());
    seconds(21).await;
    assert_eq!(seen.bodies(), ["c"]);
    consumer.shutdown().await;
    let notes = notes.0.lock();
    let start = [
        "assigned orders@broker-a:0",
        "pulling from 0",
        "corrected 0 to 2",
        "committing 2",
        "revoked orders@broker-a:0",
        "assigned orders@broker-a:0",
        "pulling from 2",
    ];
    assert_eq!(notes[..7], start);
    assert!(notes.contains(&"pulled 2..3: 1".to_owned()));
    assert_eq!(
        notes[notes.len() - 2..],
        ["committing 3", "revoked orders@broker-a:0"]
    );
}

#[tokio::test(start_paused = true)]
async fn members_share_the_queues_when_told_of_each_other() {
    let cluster = Cluster::start(2, 4).await;
    let (one, _) = content(builder(&cluster)).await;
    seconds(1).await;
    assert_eq!(one.assigned().len(), 8);
    let (two, _) = content(builder(&cluster)).await;
    seconds(1).await;
    cluster.push(&RemotingCommand::request(
        RequestCode::NOTIFY_CONSUMER_IDS_CHANGED,
    ));
    seconds(1).await;
    let mut all = [one.assigned(), two.assigned()].concat();
    assert_eq!((one.assigned().len(), all.len()), (4, 8));
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 8);
    two.shutdown().await;
    seconds(20).await;
    assert_eq!(one.assigned().len(), 8);
}

#[tokio::test(start_paused = true)]
async fn broadcasting_drops_failures_and_keeps_its_offsets_in_a_file() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["a", "bad"]);
    let broadcasting = || builder(&cluster).message_model(MessageModel::Broadcasting);
    let (consumer, seen) = failing(broadcasting(), "bad").await;
    seconds(1).await;
    assert_eq!(seen.bodies(), ["a", "bad"]);
    consumer.shutdown().await;
    for code in [
        BACK,
        RequestCode::UPDATE_CONSUMER_OFFSET,
        RequestCode::QUERY_CONSUMER_OFFSET,
    ] {
        assert_eq!(cluster.count(code), 0, "{code}");
    }
    cluster.store(&["c"]);
    let (_consumer, seen) = content(broadcasting()).await;
    seconds(1).await;
    assert_eq!(seen.bodies(), ["c"]);
}

#[tokio::test(start_paused = true)]
async fn broadcasting_groups_keep_their_offsets_apart() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["a", "b"]);
    let of_group = |group: &str| {
        let builder = builder(&cluster).group(group);
        builder.message_model(MessageModel::Broadcasting)
    };
    let (consumer, _) = content(of_group("first")).await;
    seconds(1).await;
    consumer.shutdown().await;
    cluster.store(&["c"]);
    for (group, bodies) in [("first", &["c"][..]), ("second", &["a", "b", "c"])] {
        let (consumer, seen) = content(of_group(group)).await;
        seconds(1).await;
        assert_eq!(seen.bodies(), bodies, "{group}");
        consumer.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn offsets_are_reset_on_the_brokers_demand() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["a", "b", "c"]);
    let (consumer, seen) = content(builder(&cluster)).await;
    seconds(1).await;
    let queue = MessageQueue::new(TOPIC, "broker-a", 0);
    let body = ResetOffsetBody {
        offset_table: [(queue, 1)].into(),
    };
    let header = ResetOffsetRequestHeader {
        topic: TOPIC.to_owned(),
        group: GROUP.to_owned(),
        ..ResetOffsetRequestHeader::default()
    };
    let code = RequestCode::RESET_CONSUMER_CLIENT_OFFSET;
    cluster.push(&RemotingCommand::request_with(code, &header).with_body(body.to_json()));
    seconds(11).await;
    assert_eq!(seen.bodies(), ["a", "b", "c", "b", "c"]);
    consumer.shutdown().await;
    assert_eq!(cluster.offset(GROUP), Some(3));
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_listener_is_a_failed_message() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["a", "b"]);
    let panicking = |messages: Delivery| async move {
        assert_ne!(&messages[0].message.body[..], b"a");
        Success
    };
    let consumer = builder(&cluster)
        .concurrent(panicking)
        .start()
        .await
        .unwrap();
    seconds(1).await;
    assert_eq!(cluster.count(BACK), 1);
    consumer.shutdown().await;
    assert_eq!(cluster.offset(GROUP), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_takes_too_long_is_sent_back_meanwhile() {
    let cluster = Cluster::start(1, 1).await;
    cluster.store(&["slow", "b"]);
    let slow = |messages: Delivery| async move {
        if &messages[0].message.body[..] == b"slow" {
            seconds(3600).await;
        }
        Success
    };
    let _consumer = builder(&cluster).concurrent(slow).start().await.unwrap();
    seconds(31 * 60).await;
    let back: ConsumerSendMsgBackRequestHeader = cluster.requests(BACK)[0].1.header().unwrap();
    assert_eq!((cluster.count(BACK), back.delay_level), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn a_consumer_without_group_topic_or_listener_does_not_start() {
    let cluster = Cluster::start(1, 1).await;
    let listener = |_: Delivery| async { Success };
    let empty = || PushConsumer::builder(&cluster.env).namesrv([NAMESRV]);
    assert!(
        empty()
            .group(GROUP)
            .concurrent(listener)
            .start()
            .await
            .is_err()
    );
    assert!(
        empty()
            .subscribe(TOPIC, "*")
            .concurrent(listener)
            .start()
            .await
            .is_err()
    );
    assert!(
        empty()
            .group(GROUP)
            .subscribe(TOPIC, "*")
            .start()
            .await
            .is_err()
    );
    assert!(
        builder(&cluster)
            .concurrent(listener)
            .consume_batch(0)
            .start()
            .await
            .is_err()
    );
    assert!(
        builder(&cluster)
            .subscribe(TOPIC, "||")
            .concurrent(listener)
            .start()
            .await
            .is_err()
    );
}
