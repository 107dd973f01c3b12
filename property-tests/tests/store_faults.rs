//! The store on a simulated disk that is slow, full or failing.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and its own tasks do not belong to the process under test"
)]

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hotfire_env::Defects;
use hotfire_protocol::Message;
use hotfire_protocol::message::property;
use hotfire_store::{
    FlushDiskType, GetMessageStatus, MessageInner, MessageStore, NotWriteable, PutMessageStatus,
    StoreConfig, TimerStore,
};
use hotfire_world::seams::disk::{DiskConfig, DiskDisturbance, SimDisk};
use hotfire_world::seams::net::NetworkConfig;
use hotfire_world::seams::{NodeId, Universe, UniverseConfig};
use tokio::time::Instant;

struct Machine {
    universe: Arc<Universe>,
    node: NodeId,
    disk: Arc<SimDisk>,
}

impl Machine {
    fn new() -> Self {
        let universe = Universe::new(UniverseConfig {
            seed: 1,
            epoch_ms: 1_700_000_000_000,
            tick: Duration::from_millis(1),
            network: NetworkConfig::default(),
            defects: Defects::NONE,
        });
        let host = universe.add_host("host");
        let node = universe.add_node("broker", host, DiskConfig::default());
        Self {
            disk: universe.disk(node),
            universe,
            node,
        }
    }

    async fn open(&self, flush_disk_type: FlushDiskType) -> MessageStore {
        let config = StoreConfig {
            flush_disk_type,
            commit_log_file_size: 16 << 10,
            file_reserved_time: Duration::from_secs(600),
            ..StoreConfig::default()
        };
        let env = self.universe.env(self.node);
        MessageStore::open(&env, config).await.unwrap()
    }
}

fn with_time<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(test)
}

fn message(size: usize) -> MessageInner {
    let message = Message::new("T", vec![b'x'; size]);
    MessageInner::new(message, 0, ([127, 0, 0, 1], 10911).into())
}

fn unwaiting(size: usize) -> MessageInner {
    let mut message = message(size);
    message.message.properties.set(property::WAIT, "false");
    message
}

fn status(store: &MessageStore, offset: i64) -> GetMessageStatus {
    store
        .get_message("T", 0, offset, 32, 1 << 20, &|_| true)
        .status
}

#[test]
fn one_flush_answers_all_who_wait() {
    with_time(async {
        let machine = Machine::new();
        let store = machine.open(FlushDiskType::Sync).await;
        let slow = DiskDisturbance::Slow(Duration::from_millis(100));
        machine.disk.disturb(1, slow);
        let began = Instant::now();
        let puts: Vec<_> = (0..50)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move { store.put_message(message(10)).await.status })
            })
            .collect();
        for put in puts {
            assert_eq!(put.await.unwrap(), PutMessageStatus::PutOk);
        }
        // A flush and the sync of the new file's folders, not fifty of them.
        assert!(began.elapsed() < Duration::from_secs(1));
    });
}

#[test]
fn a_flush_that_takes_too_long_is_reported_and_only_to_those_who_wait() {
    with_time(async {
        let machine = Machine::new();
        let store = machine.open(FlushDiskType::Sync).await;
        machine.disk.disturb(1, DiskDisturbance::Stuck);
        let began = Instant::now();
        let put = store.put_message(unwaiting(10)).await;
        assert_eq!(put.status, PutMessageStatus::PutOk);
        assert_eq!(began.elapsed(), Duration::ZERO);
        let put = store.put_message(message(10)).await;
        assert_eq!(put.status, PutMessageStatus::FlushDiskTimeout);
        assert!(put.is_stored());
        assert_eq!(began.elapsed(), Duration::from_secs(5));
        machine.disk.relieve(1);
        let put = store.put_message(message(10)).await;
        assert_eq!(put.status, PutMessageStatus::PutOk);
    });
}

#[test]
fn a_message_is_not_seen_before_it_is_flushed() {
    with_time(async {
        let machine = Machine::new();
        let store = machine.open(FlushDiskType::Sync).await;
        machine.disk.disturb(1, DiskDisturbance::Stuck);
        store.put_message(unwaiting(10)).await;
        assert_eq!(status(&store, 0), GetMessageStatus::NoMessageInQueue);
        machine.disk.relieve(1);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(status(&store, 0), GetMessageStatus::Found);
    });
}

#[test]
fn after_a_failed_flush_nothing_is_stored_until_the_store_is_opened_again() {
    with_time(async {
        for flush in [FlushDiskType::Sync, FlushDiskType::Async] {
            let machine = Machine::new();
            let store = machine.open(flush).await;
            machine.disk.disturb(1, DiskDisturbance::FlushErrors);
            let expected = match flush {
                FlushDiskType::Sync => PutMessageStatus::FlushDiskTimeout,
                FlushDiskType::Async => PutMessageStatus::PutOk,
            };
            assert_eq!(store.put_message(message(10)).await.status, expected);
            tokio::time::sleep(Duration::from_secs(11)).await;
            machine.disk.relieve(1);
            assert_eq!(store.not_writeable(), Some(NotWriteable::FlushFailed));
            let refused = store.put_message(message(10)).await;
            assert_eq!(refused.status, PutMessageStatus::ServiceNotAvailable);
            assert!(store.shutdown().await.is_err());

            machine.universe.kill(machine.node);
            let store = machine.open(flush).await;
            assert_eq!(store.max_offset_in_queue("T", 0), 1);
            assert_eq!(
                store.put_message(message(10)).await.status,
                PutMessageStatus::PutOk
            );
        }
    });
}

#[test]
fn a_message_for_which_there_is_no_room_uses_up_no_offset() {
    with_time(async {
        let machine = Machine::new();
        let store = machine.open(FlushDiskType::Async).await;
        store.put_message(message(10)).await;
        machine.disk.disturb(1, DiskDisturbance::Full);
        let mut refused = 0;
        for _ in 0..20 {
            let put = store.put_message(message(4000)).await;
            refused += i64::from(put.append.is_none());
        }
        assert!(refused > 0);
        machine.disk.relieve(1);
        let put = store.put_message(message(10)).await.append.unwrap();
        assert_eq!(put.queue_offset, 21 - refused);
        assert_eq!(status(&store, put.queue_offset), GetMessageStatus::Found);
    });
}

#[test]
fn a_full_disk_makes_the_store_read_only_and_room_makes_it_writeable_again() {
    with_time(async {
        let machine = Machine::new();
        let store = machine.open(FlushDiskType::Async).await;
        machine.disk.disturb(1, DiskDisturbance::Full);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(store.not_writeable(), Some(NotWriteable::DiskFull));
        machine.disk.relieve(1);
        tokio::time::sleep(Duration::from_secs(11)).await;
        assert!(store.is_writeable());
    });
}

#[test]
fn expired_files_go_from_the_oldest_on_and_slices_of_them_stay_readable() {
    with_time(async {
        let machine = Machine::new();
        let store = machine.open(FlushDiskType::Async).await;
        for _ in 0..20 {
            store.put_message(message(4000)).await;
        }
        let held = store.look_record(0).unwrap();
        assert_eq!(store.delete_expired_files().await.unwrap(), 0);
        tokio::time::sleep(Duration::from_secs(601)).await;
        store.put_message(message(4000)).await;
        let removed = store.delete_expired_files().await.unwrap();
        assert!(removed > 0);
        let start = store.min_phy_offset();
        assert_eq!(start, removed as i64 * (16 << 10));
        assert_eq!(held.len(), 4000 + 92);
        let min = store.min_offset_in_queue("T", 0);
        assert!(min > 0);
        assert_eq!(status(&store, 0), GetMessageStatus::OffsetTooSmall);
        assert_eq!(status(&store, min), GetMessageStatus::Found);
        assert!(store.look_record(0).is_none());

        machine.universe.kill(machine.node);
        let store = machine.open(FlushDiskType::Async).await;
        assert_eq!(store.min_offset_in_queue("T", 0), min);
        assert_eq!(store.max_offset_in_queue("T", 0), 21);
    });
}

fn message_for(queue_id: i32, size: usize) -> MessageInner {
    let message = Message::new("T", vec![b'x'; size]).with_key("K");
    MessageInner::new(message, queue_id, ([127, 0, 0, 1], 10911).into())
}

/// Puts messages until one is refused for want of space, and returns how many were stored.
async fn fill(store: &MessageStore, size: usize) -> i64 {
    for stored in 0..1000 {
        let put = store.put_message(message(size)).await;
        if !put.is_stored() {
            assert_eq!(put.status, PutMessageStatus::ServiceNotAvailable);
            return stored;
        }
    }
    panic!("the disk was never full");
}

fn count(store: &MessageStore, queue_id: i32) -> i64 {
    let mut next = store.min_offset_in_queue("T", queue_id);
    loop {
        let got = store.get_message("T", queue_id, next, 32, 1 << 20, &|_| true);
        if got.messages.is_empty() {
            return next;
        }
        next = got.next_begin_offset;
    }
}

#[test]
fn on_a_full_disk_all_that_is_stored_can_be_read_and_room_is_all_that_writing_needs() {
    with_time(async {
        for flush in [FlushDiskType::Sync, FlushDiskType::Async] {
            let machine = Machine::new();
            let store = machine.open(flush).await;
            machine.disk.disturb(1, DiskDisturbance::Full);
            assert_eq!(fill(&store, 4000).await, 0);
            let why = store.why_not_writeable().unwrap();
            assert!(why.contains("cannot create the next file"), "{why}");
            machine.disk.relieve(1);
            store.put_message(message(4000)).await;
            machine.disk.disturb(1, DiskDisturbance::Full);
            let mut stored = 1 + fill(&store, 4000).await;
            assert!(stored > 1);
            let why = store.why_not_writeable().unwrap();
            assert!(why.contains("no storage space"), "{why}");
            for _ in 0..40 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                assert!(!store.put_message(message(4000)).await.is_stored());
                assert_eq!(count(&store, 0), stored);
            }
            machine.disk.relieve(1);
            tokio::time::sleep(Duration::from_secs(11)).await;
            assert!(store.is_writeable());
            for _ in 0..10 {
                let put = store.put_message(message(4000)).await;
                assert_eq!(put.append.unwrap().queue_offset, stored);
                stored += 1;
            }
            assert_eq!(store.why_not_writeable(), None);
            assert_eq!(count(&store, 0), stored);
            store.flush().await.unwrap();
            machine.universe.kill(machine.node);
            machine.disk.lose_power();
            let store = machine.open(flush).await;
            assert_eq!(count(&store, 0), stored);
        }
    });
}

#[test]
fn a_message_that_a_full_disk_keeps_from_its_queue_gets_there_when_there_is_space() {
    with_time(async {
        let machine = Machine::new();
        let store = machine.open(FlushDiskType::Async).await;
        store.put_message(message_for(0, 10)).await;
        machine.disk.disturb(1, DiskDisturbance::Full);
        // The log has room, a file for the queue has not.
        assert!(store.put_message(message_for(1, 10)).await.is_stored());
        assert_eq!(store.not_writeable(), Some(NotWriteable::DispatchFailed));
        let why = store.why_not_writeable().unwrap();
        assert!(why.contains("consume queue or index"), "{why}");
        let refused = store.put_message(message_for(0, 10)).await;
        assert_eq!(refused.status, PutMessageStatus::ServiceNotAvailable);
        assert_eq!((count(&store, 0), count(&store, 1)), (1, 0));
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!((count(&store, 0), count(&store, 1)), (1, 0));
        machine.disk.relieve(1);
        tokio::time::sleep(Duration::from_secs(11)).await;
        assert_eq!((count(&store, 0), count(&store, 1)), (1, 1));
        let put = store.put_message(message_for(1, 10)).await;
        assert_eq!(put.append.unwrap().queue_offset, 1);
        store.shutdown().await.unwrap();
    });
}

#[test]
fn a_store_is_opened_on_a_full_disk_to_be_read_and_goes_on_when_there_is_space() {
    with_time(async {
        for crash in [false, true] {
            let machine = Machine::new();
            let store = machine.open(FlushDiskType::Async).await;
            TimerStore::open(&store).await.unwrap();
            for _ in 0..30 {
                store.put_message(message_for(0, 1000)).await;
            }
            store.flush().await.unwrap();
            machine.disk.disturb(1, DiskDisturbance::Full);
            // The log's chunk has room for this one, and its queue has no file.
            assert!(store.put_message(message_for(1, 10)).await.is_stored());
            if !crash {
                store.shutdown().await.unwrap();
            }
            machine.universe.kill(machine.node);

            let store = machine.open(FlushDiskType::Async).await;
            let timers = TimerStore::open(&store).await.unwrap();
            timers.run(1_700_000_100_000, 10);
            assert_eq!((count(&store, 0), count(&store, 1)), (30, 0));
            assert!(!store.put_message(message_for(1, 10)).await.is_stored());
            tokio::time::sleep(Duration::from_secs(30)).await;
            assert_eq!((count(&store, 0), count(&store, 1)), (30, 0));
            machine.disk.relieve(1);
            tokio::time::sleep(Duration::from_secs(11)).await;
            assert_eq!((count(&store, 0), count(&store, 1)), (30, 1));
            for queue_id in [0, 1] {
                let put = store.put_message(message_for(queue_id, 10)).await;
                let expected = [30, 1][queue_id as usize];
                assert_eq!(put.append.unwrap().queue_offset, expected, "{crash}");
            }
            let found = store.query_message("T", "K", 64, 0, i64::MAX);
            assert_eq!(found.records.len(), 33);
            timers.flush().await.unwrap();
            store.shutdown().await.unwrap();
        }
    });
}
