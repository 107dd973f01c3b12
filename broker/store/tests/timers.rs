//! Timers over the real disk: their files, and what becomes of damaged ones.

#![allow(clippy::unwrap_used, reason = "tests may panic")]
#![allow(
    clippy::disallowed_methods,
    reason = "files are damaged behind the store's back"
)]

mod support;

use std::path::Path;

use hotfire_protocol::message::property;
use hotfire_protocol::{Message, topic};
use hotfire_store::{MessageInner, MessageStore, StoreConfig, TimerStore};
use support::{BROKER, bodies, env, life};

const NOW: i64 = 1_700_000_000_000;
const TOPIC: &str = "orders";

fn config() -> StoreConfig {
    StoreConfig {
        timer_wheel_slots: 120,
        timer_roll_window_slots: 60,
        timer_log_file_size: 1024,
        ..support::small()
    }
}

async fn open(dir: &Path) -> (MessageStore, TimerStore) {
    let store = MessageStore::open(&env(dir), config()).await.unwrap();
    let timers = TimerStore::open(&store).await.unwrap();
    (store, timers)
}

/// Puts what a broker makes of a message that is due after `tick` seconds.
async fn put(store: &MessageStore, body: &str, tick: i64) {
    let message = Message::new(topic::TIMER_TOPIC, body.to_owned())
        .with_property(property::UNIQ_KEY, format!("key-{body}"))
        .with_property(property::REAL_TOPIC, TOPIC)
        .with_property(property::REAL_QID, "0")
        .with_property(property::TIMER_OUT_MS, (NOW + tick * 1000).to_string());
    let put = store
        .put_message(MessageInner::new(message, 0, BROKER))
        .await;
    assert!(put.is_stored());
}

/// Lets the clock go on by seconds from `from` to `to`.
fn pass(timers: &TimerStore, from: i64, to: i64) {
    for second in from..=to {
        while timers.run(NOW + second * 1000, 10) {}
    }
}

fn delivered(store: &MessageStore) -> Vec<String> {
    bodies(store, TOPIC, 0, 0)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn the_files_have_rocketmqs_formats() {
    let dir = tempfile::tempdir().unwrap();
    let (store, timers) = open(dir.path()).await;
    put(&store, "one", 5).await;
    put(&store, "two", 5).await;
    pass(&timers, 0, 0);
    timers.flush().await.unwrap();
    let read = |name: &str| std::fs::read(dir.path().join("store").join(name)).unwrap();

    let log = read("timerlog/00000000000000000000");
    assert_eq!(log.len(), 1024);
    let size = store.units(topic::TIMER_TOPIC, 0, 0, 1)[0].size;
    let topic_hash = hotfire_protocol::hash::java_string_hash(TOPIC);
    let record = |prev: i64, offset: i32| {
        format!(
            "00000034{prev:016x}00000001{NOW:016x}00001388{offset:016x}{size:08x}{topic_hash:08x}\
             0000000000000000"
        )
    };
    assert_eq!(hex(&log[..52]), record(-1, 0));
    assert_eq!(hex(&log[52..104]), record(0, size));
    assert_eq!(log[104..], [0; 920]);

    let wheel = read("timerwheel");
    assert_eq!(wheel.len(), 2 * 120 * 32);
    let tick = NOW / 1000 + 5;
    let slot = (tick % 240) as usize * 32;
    let expected = format!("{tick:016x}{:016x}{:016x}0000000200000000", 0, 52);
    assert_eq!(hex(&wheel[slot..slot + 32]), expected);
    assert_eq!(wheel.iter().filter(|&&byte| byte != 0).count(), 6);

    let check = read("config/timercheck");
    assert_eq!(check.len(), 4096);
    assert_eq!(
        hex(&check[..32]),
        format!("{NOW:016x}{:016x}{:016x}{:016x}", 104, 2, 2)
    );
}

#[tokio::test]
async fn a_slot_is_due_when_its_tick_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let (store, timers) = open(dir.path()).await;
    put(&store, "one", 5).await;
    pass(&timers, 0, 5);
    timers.run(NOW + 5_999, 10);
    assert!(delivered(&store).is_empty());
    timers.run(NOW + 6_000, 10);
    assert_eq!(delivered(&store), ["one"]);
}

#[tokio::test]
async fn the_wheel_turns_back_with_the_clock_and_delivers_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (store, timers) = open(dir.path()).await;
    put(&store, "one", 20).await;
    pass(&timers, 0, 30);
    assert_eq!(delivered(&store), ["one"]);
    // Due before the farthest time that the wheel has seen, and yet to come.
    put(&store, "two", 25).await;
    pass(&timers, 10, 25);
    assert_eq!(delivered(&store), ["one"]);
    pass(&timers, 26, 27);
    assert_eq!(delivered(&store), ["one", "two"]);
}

#[test]
fn a_crash_loses_and_repeats_nothing_wherever_it_strikes() {
    let dir = tempfile::tempdir().unwrap();
    for second in 0..12 {
        life(async {
            let (store, timers) = open(dir.path()).await;
            put(&store, &second.to_string(), second + 4).await;
            if second % 3 == 0 {
                timers.flush().await.unwrap();
            }
            pass(&timers, second, second);
        });
    }
    life(async {
        let (store, timers) = open(dir.path()).await;
        pass(&timers, 12, 30);
        let expected: Vec<_> = (0..12).map(|second| second.to_string()).collect();
        assert_eq!(delivered(&store), expected);
    });
}

#[test]
fn a_wheel_that_is_lost_or_damaged_is_mended_from_the_log() {
    for damage in ["lost", "shorter", "garbage", "newer"] {
        let dir = tempfile::tempdir().unwrap();
        life(async {
            let (store, timers) = open(dir.path()).await;
            for number in 0..60 {
                put(&store, &number.to_string(), number % 20 + 2).await;
            }
            pass(&timers, 0, 5);
            timers.flush().await.unwrap();
        });
        let wheel = dir.path().join("store/timerwheel");
        match damage {
            "lost" => std::fs::remove_file(&wheel).unwrap(),
            "shorter" => std::fs::write(&wheel, [0; 320]).unwrap(),
            "garbage" => std::fs::write(&wheel, [7; 240 * 32]).unwrap(),
            _ => {
                // Every slot leads behind the end of the log, as if later records were lost.
                let mut bytes = std::fs::read(&wheel).unwrap();
                for slot in bytes.chunks_exact_mut(32).filter(|slot| slot[7] != 0) {
                    slot[16..24].copy_from_slice(&1_000_000i64.to_be_bytes());
                }
                std::fs::write(&wheel, bytes).unwrap();
            }
        }
        life(async {
            let (store, timers) = open(dir.path()).await;
            pass(&timers, 6, 30);
            let mut numbers: Vec<i32> = delivered(&store)
                .iter()
                .map(|body| body.parse().unwrap())
                .collect();
            numbers.sort_unstable();
            assert_eq!(numbers, (0..60).collect::<Vec<_>>(), "{damage}");
        });
    }
}

#[test]
fn what_a_torn_log_lost_is_taken_from_the_queue_again() {
    for cut in [0, 52, 60, 104, 140] {
        let dir = tempfile::tempdir().unwrap();
        life(async {
            let (store, timers) = open(dir.path()).await;
            for number in 0..4 {
                put(&store, &number.to_string(), 10).await;
            }
            // Nothing was flushed: any part of the log may be gone.
            pass(&timers, 0, 0);
        });
        let log = dir.path().join("store/timerlog/00000000000000000000");
        let mut bytes = std::fs::read(&log).unwrap();
        bytes[cut..].fill(0);
        std::fs::write(&log, bytes).unwrap();
        life(async {
            let (store, timers) = open(dir.path()).await;
            pass(&timers, 1, 12);
            assert_eq!(delivered(&store), ["0", "1", "2", "3"], "{cut}");
        });
    }
}

#[test]
fn a_record_with_a_time_beyond_all_times_keeps_nothing_else_from_its_time() {
    let dir = tempfile::tempdir().unwrap();
    life(async {
        let (store, timers) = open(dir.path()).await;
        for number in 0..4 {
            put(&store, &number.to_string(), 10).await;
        }
        pass(&timers, 0, 0);
    });
    let log = dir.path().join("store/timerlog/00000000000000000000");
    let mut bytes = std::fs::read(&log).unwrap();
    // The time at which the last record was written.
    bytes[156 + 16..156 + 24].copy_from_slice(&i64::MAX.to_be_bytes());
    std::fs::write(&log, bytes).unwrap();
    std::fs::remove_file(dir.path().join("store/timerwheel")).unwrap();
    life(async {
        let (store, timers) = open(dir.path()).await;
        pass(&timers, 1, 12);
        assert_eq!(delivered(&store)[..3], ["0", "1", "2"]);
    });
}

#[tokio::test]
async fn the_log_goes_on_in_further_files_and_the_old_ones_go_with_their_messages() {
    let dir = tempfile::tempdir().unwrap();
    let (store, timers) = open(dir.path()).await;
    for number in 0..60 {
        put(&store, &number.to_string(), 3).await;
    }
    pass(&timers, 0, 5);
    assert_eq!(delivered(&store).len(), 60);
    timers.flush().await.unwrap();
    let files = || {
        let files = std::fs::read_dir(dir.path().join("store/timerlog")).unwrap();
        files.count()
    };
    // 19 records of 52 bytes and a filler.
    assert_eq!(files(), 4);
    timers.delete_expired();
    assert_eq!(files(), 4, "no message has expired");
}

#[tokio::test]
async fn what_anybody_sends_to_the_timer_topic_itself_blocks_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, timers) = open(dir.path()).await;
    for property in ["", "soon", "-5"] {
        let message = Message::new(topic::TIMER_TOPIC, "odd")
            .with_property(property::REAL_TOPIC, TOPIC)
            .with_property(property::TIMER_OUT_MS, property);
        store
            .put_message(MessageInner::new(message, 0, BROKER))
            .await;
    }
    put(&store, "one", 2).await;
    pass(&timers, 0, 4);
    assert_eq!(delivered(&store), ["one"]);
}

/// What is done to the files of the timers.
fn spoil(dir: &Path, file: &str, how: &str) {
    let path = dir.join("store").join(file);
    let paths = if path.is_dir() {
        if how == "removed" {
            return std::fs::remove_dir_all(path).unwrap();
        }
        let entries = std::fs::read_dir(path).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    } else {
        vec![path]
    };
    for (number, path) in paths.iter().enumerate() {
        let mut bytes = std::fs::read(path).unwrap();
        let len = bytes.len();
        match how {
            "removed" | "second file removed" => {
                if how == "removed" || number == 1 {
                    std::fs::remove_file(path).unwrap();
                }
                continue;
            }
            "first file removed" => {
                if number == 0 {
                    std::fs::remove_file(path).unwrap();
                }
                continue;
            }
            "zeroed" => bytes.fill(0),
            "zeroed in the middle" => bytes[len / 4..len / 2].fill(0),
            "random" => {
                for (at, byte) in bytes.iter_mut().enumerate() {
                    *byte = (at * 7919 + 31).wrapping_mul(104_729).to_le_bytes()[1];
                }
            }
            "emptied" => bytes.clear(),
            _ => bytes.truncate(len / 3),
        }
        std::fs::write(path, bytes).unwrap();
    }
}

#[test]
fn whatever_is_done_to_the_timers_files_every_message_that_waits_comes_and_none_twice() {
    let files = ["timerlog", "timerwheel", "config/timercheck"];
    let damages = [
        "removed",
        "first file removed",
        "second file removed",
        "zeroed",
        "zeroed in the middle",
        "random",
        "emptied",
        "cut",
    ];
    for closes in [true, false] {
        for file in files {
            for how in damages {
                let dir = tempfile::tempdir().unwrap();
                let metrics = life(async {
                    let (store, timers) = open(dir.path()).await;
                    for number in 0..60 {
                        put(&store, &number.to_string(), number % 20 + 2).await;
                    }
                    pass(&timers, 0, 10);
                    timers.flush().await.unwrap();
                    if closes {
                        store.shutdown().await.unwrap();
                    }
                    timers.metrics()
                });
                assert_eq!(metrics.timing_count[TOPIC].count, 36);
                spoil(dir.path(), file, how);
                life(async {
                    let (store, timers) = open(dir.path()).await;
                    timers.restore_metrics(metrics);
                    pass(&timers, 11, 30);
                    let mut numbers: Vec<i32> = delivered(&store)
                        .iter()
                        .map(|body| body.parse().unwrap())
                        .collect();
                    numbers.sort_unstable();
                    let told = format!("{file} {how}, closed {closes}");
                    assert_eq!(numbers, (0..60).collect::<Vec<_>>(), "{told}");
                    assert_eq!(timers.metrics().timing_count[TOPIC].count, 0, "{told}");
                });
            }
        }
    }
}
