//! A store over the real disk, as a broker uses it.

#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::BytesMut;
use hotfire_env::{Clock, Env, Seams};
use hotfire_protocol::hash::tags_code;
use hotfire_protocol::message::batch::{self, BatchElement};
use hotfire_protocol::message::{property, sys_flag};
use hotfire_protocol::topic::SCHEDULE_TOPIC;
use hotfire_store::{
    Boundary, FlushDiskType, GetMessageStatus, MessageBatch, MessageStore, PutMessageStatus,
    StoreConfig,
};
use parking_lot::Mutex;
use support::{bodies, env, message, pull, small};
use tokio::sync::Notify;

/// A clock that shows what it is told.
struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn what_was_put_is_read_in_order_across_many_files() {
    let dir = tempfile::tempdir().unwrap();
    let store = MessageStore::open(&env(dir.path()), small()).await.unwrap();
    for number in 0..500 {
        let put = store
            .put_message(message("T", 1, &number.to_string()))
            .await;
        assert_eq!(put.status, PutMessageStatus::PutOk);
        assert_eq!(put.append.unwrap().queue_offset, number);
    }
    let expected: Vec<_> = (0..500).map(|number| number.to_string()).collect();
    assert_eq!(bodies(&store, "T", 1, 0), expected);
    assert_eq!(
        pull(&store, "T", 1, 500).status,
        GetMessageStatus::OffsetOverflowOne
    );
}

#[tokio::test]
async fn a_store_that_was_closed_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    for life in 0..3 {
        let store = MessageStore::open(&env(dir.path()), small()).await.unwrap();
        for number in 0..100 {
            let number = life * 100 + number;
            let put = store
                .put_message(message("T", 0, &number.to_string()))
                .await;
            assert_eq!(put.append.unwrap().queue_offset, number);
        }
        store.shutdown().await.unwrap();
        assert!(!dir.path().join("store/abort").exists());
    }
    let store = MessageStore::open(&env(dir.path()), small()).await.unwrap();
    let expected: Vec<_> = (0..300).map(|number| number.to_string()).collect();
    assert_eq!(bodies(&store, "T", 0, 0), expected);
}

#[test]
fn a_store_that_was_not_closed_has_everything_that_was_put() {
    let dir = tempfile::tempdir().unwrap();
    for life in 0..3 {
        support::life(async {
            let store = MessageStore::open(&env(dir.path()), small()).await.unwrap();
            for number in 0..100 {
                let number = life * 100 + number;
                let put = store
                    .put_message(message("T", 0, &number.to_string()))
                    .await;
                assert_eq!(put.append.unwrap().queue_offset, number);
            }
        });
        assert!(dir.path().join("store/abort").exists());
    }
    support::life(async {
        let store = MessageStore::open(&env(dir.path()), small()).await.unwrap();
        let expected: Vec<_> = (0..300).map(|number| number.to_string()).collect();
        assert_eq!(bodies(&store, "T", 0, 0), expected);
    });
}

#[tokio::test]
async fn a_read_says_why_it_found_nothing_and_where_to_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = MessageStore::open(&env(dir.path()), small()).await.unwrap();
    for number in 0..3 {
        store
            .put_message(message("T", 0, &number.to_string()))
            .await;
    }
    let at = |offset| {
        let got = pull(&store, "T", 0, offset);
        (got.status, got.next_begin_offset)
    };
    assert_eq!(at(0), (GetMessageStatus::Found, 3));
    assert_eq!(at(3), (GetMessageStatus::OffsetOverflowOne, 3));
    assert_eq!(at(4), (GetMessageStatus::OffsetOverflowBadly, 3));
    assert_eq!(at(-1), (GetMessageStatus::OffsetTooSmall, 0));
    let nowhere = pull(&store, "U", 0, 7);
    assert_eq!(nowhere.status, GetMessageStatus::NoMatchedLogicQueue);
    assert_eq!(nowhere.next_begin_offset, 0);
    let filtered = store.get_message("T", 0, 0, 32, 1 << 20, &|_| false);
    assert_eq!(filtered.status, GetMessageStatus::NoMatchedMessage);
    assert_eq!(filtered.next_begin_offset, 3);
}

#[tokio::test]
async fn a_read_stops_at_its_limits_but_gives_at_least_one_message() {
    let dir = tempfile::tempdir().unwrap();
    let store = MessageStore::open(&env(dir.path()), small()).await.unwrap();
    for number in 0..50 {
        store
            .put_message(message("T", 0, &number.to_string()))
            .await;
    }
    let read = |count, bytes| store.get_message("T", 0, 0, count, bytes, &|_| true);
    assert_eq!(read(10, 1 << 20).messages.len(), 10);
    assert_eq!(read(100, 1 << 20).messages.len(), 32);
    assert_eq!(read(32, 1).messages.len(), 1);
    let size = read(1, 1).messages[0].len();
    let got = read(32, 3 * size + 1);
    assert_eq!((got.messages.len(), got.next_begin_offset), (3, 3));
}

#[tokio::test]
async fn messages_are_found_by_the_time_at_which_they_were_stored() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock(AtomicI64::new(0)));
    let env = Env::new(Seams {
        clock: clock.clone(),
        ..support::seams(dir.path())
    });
    let store = MessageStore::open(&env, small()).await.unwrap();
    for time in [100, 200, 200, 300] {
        clock.0.store(time, Ordering::Relaxed);
        store.put_message(message("T", 0, "x")).await;
    }
    let found = |time, boundary| store.offset_by_timestamp("T", 0, time, boundary);
    let expected = [
        // time, lower, upper, nearest
        (50, 0, 0, 0),
        (100, 0, 0, 0),
        (149, 1, 0, 0),
        (151, 1, 0, 1),
        (200, 1, 2, 1),
        (250, 3, 2, 2),
        (300, 3, 3, 3),
        (999, 4, 3, 3),
    ];
    for (time, lower, upper, nearest) in expected {
        assert_eq!(found(time, Boundary::Lower), lower, "lower {time}");
        assert_eq!(found(time, Boundary::Upper), upper, "upper {time}");
        assert_eq!(found(time, Boundary::Nearest), nearest, "nearest {time}");
    }
    assert_eq!(store.earliest_message_time("T", 0), Some(100));
}

#[tokio::test]
async fn a_batch_is_stored_whole_with_consecutive_offsets() {
    let dir = tempfile::tempdir().unwrap();
    let store = MessageStore::open(&env(dir.path()), small()).await.unwrap();
    store.put_message(message("T", 0, "first")).await;
    let element = |body: &'static str| BatchElement {
        body: body.into(),
        ..BatchElement::default()
    };
    let mut body = BytesMut::new();
    batch::encode(&[element("a"), element("b"), element("c")], &mut body).unwrap();
    let mut shared = message("T", 0, "");
    shared.message.body = body.freeze();
    let put = store
        .put_messages(MessageBatch {
            shared: shared.clone(),
        })
        .await;
    let append = put.append.unwrap();
    assert_eq!((append.queue_offset, append.count()), (1, 3));
    assert_eq!(append.offset_msg_id().split(',').count(), 3);
    assert_eq!(bodies(&store, "T", 0, 0), ["first", "a", "b", "c"]);

    shared.message.body = shared.message.body.slice(1..);
    let put = store.put_messages(MessageBatch { shared }).await;
    assert_eq!(put.status, PutMessageStatus::MessageIllegal);
    assert_eq!(store.max_offset_in_queue("T", 0), 4);
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_uses_up_no_offset() {
    let dir = tempfile::tempdir().unwrap();
    let store = MessageStore::open(&env(dir.path()), small()).await.unwrap();
    let mut large = message("T", 0, "x");
    large.message.properties.set("large", "x".repeat(40_000));
    let cases = [
        (
            message(&"t".repeat(128), 0, "x"),
            PutMessageStatus::MessageIllegal,
        ),
        (message("a/b", 0, "x"), PutMessageStatus::MessageIllegal),
        (message("T", -1, "x"), PutMessageStatus::MessageIllegal),
        (
            message("T", 0, &"x".repeat(9000)),
            PutMessageStatus::MessageIllegal,
        ),
        (large, PutMessageStatus::PropertiesSizeExceeded),
    ];
    for (refused, status) in cases {
        let put = store.put_message(refused).await;
        assert_eq!((put.status, put.append), (status, None));
    }
    let put = store
        .put_message(message("T", 0, "x"))
        .await
        .append
        .unwrap();
    assert_eq!((put.physical_offset, put.queue_offset), (0, 0));
}

#[tokio::test]
async fn a_half_message_is_in_the_log_and_in_the_index_but_in_no_queue() {
    let dir = tempfile::tempdir().unwrap();
    let store = MessageStore::open(&env(dir.path()), small()).await.unwrap();
    let mut half = message("T", 0, "half");
    half.sys_flag = sys_flag::TRANSACTION_PREPARED;
    let put = store.put_message(half).await.append.unwrap();
    assert_eq!(store.max_offset_in_queue("T", 0), 0);
    assert!(store.look_message_by_offset(put.physical_offset).is_some());
    let found = store.query_message("T", "key-half", 32, 0, i64::MAX);
    assert_eq!(found.records.len(), 1);
}

#[tokio::test]
async fn a_unit_holds_the_tag_or_the_time_at_which_a_delayed_message_is_due() {
    let dir = tempfile::tempdir().unwrap();
    let store = MessageStore::open(&env(dir.path()), small()).await.unwrap();
    store.put_message(message("T", 0, "x")).await;
    let mut delayed = message(SCHEDULE_TOPIC, 2, "x");
    delayed.message.properties.set(property::DELAY, "3");
    let stored = store
        .put_message(delayed)
        .await
        .append
        .unwrap()
        .store_timestamp;
    let code = |topic, queue| store.units(topic, queue, 0, 1)[0].tags_code;
    assert_eq!(code("T", 0), tags_code(Some("TagA")));
    assert_eq!(code(SCHEDULE_TOPIC, 2), stored + 10_000);
}

#[tokio::test]
async fn every_visible_message_is_announced_and_may_be_read_by_then() {
    let dir = tempfile::tempdir().unwrap();
    let store = MessageStore::open(&env(dir.path()), small()).await.unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (listening, log) = (store.clone(), seen.clone());
    store.set_arrival_listener(Arc::new(move |arrival| {
        let newest = arrival.logic_offset - 1;
        let got = pull(&listening, arrival.topic, arrival.queue_id, newest);
        log.lock().push((arrival.logic_offset, got.status));
    }));
    for _ in 0..2 {
        store.put_message(message("T", 5, "x")).await;
    }
    let found = GetMessageStatus::Found;
    assert_eq!(*seen.lock(), [(1, found), (2, found)]);
}

#[tokio::test]
async fn with_synchronous_flush_a_message_that_nobody_waits_for_is_seen_soon() {
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig {
        flush_disk_type: FlushDiskType::Sync,
        ..small()
    };
    let store = MessageStore::open(&env(dir.path()), config).await.unwrap();
    let arrived = Arc::new(Notify::new());
    let tell = arrived.clone();
    store.set_arrival_listener(Arc::new(move |_| tell.notify_one()));
    store.append(message("T", 0, "a"));
    arrived.notified().await;
    assert_eq!(bodies(&store, "T", 0, 0), ["a"]);
}

#[tokio::test]
async fn a_topic_that_was_deleted_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = MessageStore::open(&env(dir.path()), small()).await.unwrap();
    for number in 0..5 {
        store
            .put_message(message("T", 0, &number.to_string()))
            .await;
    }
    assert!(store.delete_topic("T").unwrap());
    assert!(store.queues().is_empty());
    let put = store
        .put_message(message("T", 0, "new"))
        .await
        .append
        .unwrap();
    assert_eq!(put.queue_offset, 0);
    assert_eq!(bodies(&store, "T", 0, 0), ["new"]);
}

#[test]
fn consume_queues_that_are_gone_are_built_again() {
    let dir = tempfile::tempdir().unwrap();
    let expected: Vec<_> = (0..250).map(|number| number.to_string()).collect();
    support::life(async {
        let store = MessageStore::open(&env(dir.path()), small()).await.unwrap();
        for body in &expected {
            store.put_message(message("T", 0, body)).await;
        }
        store.shutdown().await.unwrap();
    });
    let disk = support::seams(dir.path()).disk;
    disk.remove("store/consumequeue").unwrap();
    support::life(async {
        let store = MessageStore::open(&env(dir.path()), small()).await.unwrap();
        assert_eq!(bodies(&store, "T", 0, 0), expected);
    });
}

#[tokio::test]
async fn a_configuration_that_no_store_can_work_with_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig {
        commit_log_file_size: 10,
        ..small()
    };
    let opened = MessageStore::open(&env(dir.path()), config).await;
    assert!(opened.err().unwrap().to_string().contains("1 KiB to 2 GiB"));
}

#[test]
fn a_message_with_zeros_among_its_properties_is_stored_wherever_it_stands_and_survives_a_power_loss()
 {
    let dir = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    support::life(async {
        let store = MessageStore::open(&env(dir.path()), small()).await.unwrap();
        for number in 0..40 {
            let mut odd = message("T", 0, &format!("odd {number}"));
            odd.message
                .properties
                .set("odd", "\0".repeat(900 + number * 37));
            let put = store.put_message(odd).await;
            assert_eq!(put.status, PutMessageStatus::PutOk);
            expected.push(format!("odd {number}"));
            let other = "x".repeat(number * 13);
            store.put_message(message("T", 0, &other)).await;
            expected.push(other);
        }
    });
    // As if the machine had been started anew since: zeros may be sectors that were lost.
    let disk = support::seams(dir.path()).disk;
    disk.write("store/abort", b"").unwrap();
    support::life(async {
        let store = MessageStore::open(&env(dir.path()), small()).await.unwrap();
        assert_eq!(bodies(&store, "T", 0, 0), expected);
        let odd = pull(&store, "T", 0, 0).messages[0].clone();
        let view = hotfire_store::RecordView::parse(&odd).unwrap();
        assert_eq!(view.property("odd"), Some(&*"\0".repeat(900)));
    });
}

#[test]
fn a_message_without_zeros_gets_no_checksum_of_its_properties() {
    let dir = tempfile::tempdir().unwrap();
    support::life(async {
        let store = MessageStore::open(&env(dir.path()), small()).await.unwrap();
        store.put_message(message("T", 0, "usual")).await;
        let record = pull(&store, "T", 0, 0).messages[0].clone();
        let view = hotfire_store::RecordView::parse(&record).unwrap();
        assert_eq!(view.property("__CRC32#"), None);
    });
}
