//! Consume queues that were damaged: the commit log has all that was in them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::path::Path;

use hotfire_env::Disk;
use hotfire_env::real::RealDisk;
use hotfire_store::{GetMessageStatus, MessageStore, StoreConfig};
use support::{bodies, env, life, message, pull, small};

const MESSAGES: i32 = 150;
/// What is done to a file.
const DAMAGES: [&str; 6] = ["remove", "zero", "random", "empty", "halve", "zero half"];

/// Every queue has eight files.
fn tiny() -> StoreConfig {
    StoreConfig {
        consume_queue_file_units: 10,
        max_hash_slot_num: 16,
        max_index_num: 32,
        ..small()
    }
}

fn fill(dir: &Path, closes: bool) {
    life(async {
        let store = MessageStore::open(&env(dir), tiny()).await.unwrap();
        for number in 0..MESSAGES {
            let put = message("T", number % 2, &number.to_string());
            assert!(store.put_message(put).await.is_stored());
        }
        if closes {
            store.shutdown().await.unwrap();
        }
    });
}

fn damage(dir: &Path, path: &str, how: &str) {
    let disk = RealDisk::new(dir);
    let mut data = disk.read(path).unwrap();
    let half = data.len() / 2;
    match how {
        "remove" => return disk.remove(path).unwrap(),
        "zero" => data.fill(0),
        "zero half" => data[half / 20 * 20 + 20..].fill(0),
        "random" => {
            let mut state = 1u64;
            for byte in &mut data {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                *byte = (state >> 56) as u8;
            }
        }
        "empty" => data.clear(),
        _ => data.truncate(half),
    }
    disk.write(path, &data).unwrap();
}

fn expected(queue: i32) -> Vec<String> {
    let numbers = (0..MESSAGES).filter(|number| number % 2 == queue);
    numbers.map(|number| number.to_string()).collect()
}

/// Everything is there, and offsets go on; in this life and the next.
fn check(dir: &Path, told: &str) {
    for again in ["", "new"] {
        life(async {
            let store = MessageStore::open(&env(dir), tiny()).await.unwrap();
            for queue in 0..2 {
                let mut all = expected(queue);
                if !again.is_empty() {
                    all.push("new".to_owned());
                }
                assert_eq!(bodies(&store, "T", queue, 0), all, "{told}, queue {queue}");
                if again.is_empty() {
                    let put = store.put_message(message("T", queue, "new")).await;
                    assert_eq!(
                        put.append.unwrap().queue_offset,
                        75,
                        "{told}, queue {queue}"
                    );
                }
            }
            assert_eq!(store.damage().lost_messages, 0, "{told}");
            store.shutdown().await.unwrap();
        });
    }
}

#[test]
fn a_damaged_consume_queue_file_is_built_again_from_the_commit_log() {
    for closes in [true, false] {
        for file in [0, 3, 7] {
            for how in DAMAGES {
                let dir = tempfile::tempdir().unwrap();
                fill(dir.path(), closes);
                damage(
                    dir.path(),
                    &format!("store/consumequeue/T/0/{:020}", file * 200),
                    how,
                );
                check(dir.path(), &format!("{how} file {file}, closed {closes}"));
            }
        }
    }
}

#[test]
fn a_queue_a_topic_or_all_that_are_missing_are_built_again() {
    for closes in [true, false] {
        for path in [
            "store/consumequeue",
            "store/consumequeue/T",
            "store/consumequeue/T/0",
        ] {
            let dir = tempfile::tempdir().unwrap();
            fill(dir.path(), closes);
            RealDisk::new(dir.path()).remove(path).unwrap();
            check(dir.path(), &format!("{path} removed, closed {closes}"));
        }
    }
}

#[test]
fn what_another_broker_closed_without_a_word_is_checked_as_far_as_can_be() {
    for how in DAMAGES {
        for file in [3, 7] {
            let dir = tempfile::tempdir().unwrap();
            fill(dir.path(), true);
            RealDisk::new(dir.path())
                .remove("store/queuefacts")
                .unwrap();
            damage(
                dir.path(),
                &format!("store/consumequeue/T/1/{:020}", file * 200),
                how,
            );
            check(dir.path(), &format!("{how} file {file}"));
        }
    }
}

#[test]
fn a_damaged_unit_is_noticed_when_it_is_read_and_no_message_is_passed_over() {
    // The first, a middle and the last unit of a file that no look at the ends sees.
    for unit in [30, 34, 39] {
        for how in ["zero", "elsewhere", "another's"] {
            let dir = tempfile::tempdir().unwrap();
            fill(dir.path(), true);
            let disk = RealDisk::new(dir.path());
            let path = format!("store/consumequeue/T/0/{:020}", 600);
            let mut data = disk.read(&path).unwrap();
            let at = (unit - 30) * 20;
            let next: Vec<u8> = match how {
                "zero" => vec![0; 20],
                "elsewhere" => [&[0x11; 8][..], &data[at + 8..at + 20]].concat(),
                _ => data[(unit - 29) % 10 * 20..][..20].to_vec(),
            };
            data[at..at + 20].copy_from_slice(&next);
            disk.write(&path, &data).unwrap();
            check(dir.path(), &format!("{how} unit {unit}"));
        }
    }
}

#[tokio::test]
async fn a_queue_with_much_log_is_mended_in_pieces_and_readers_wait() {
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig {
        commit_log_file_size: 1 << 20,
        consume_queue_file_units: 100,
        ..StoreConfig::default()
    };
    let large = "x".repeat(10_000);
    let store = MessageStore::open(&env(dir.path()), config.clone())
        .await
        .unwrap();
    for number in 0..1000 {
        store
            .put_message(message("T", 0, &number.to_string()))
            .await;
        store.put_message(message("U", 0, &large)).await;
    }
    store.shutdown().await.unwrap();
    for file in 3..7 {
        damage(
            dir.path(),
            &format!("store/consumequeue/T/0/{:020}", file * 2000),
            "zero",
        );
    }
    let store = MessageStore::open(&env(dir.path()), config).await.unwrap();
    let waits = pull(&store, "T", 0, 500);
    assert_eq!(waits.status, GetMessageStatus::OffsetFoundNull);
    assert_eq!(waits.next_begin_offset, 500);
    assert_eq!(
        pull(&store, "U", 0, 0).status,
        GetMessageStatus::Found,
        "others go on"
    );
    let mut there = bodies(&store, "T", 0, 0);
    while there.len() < 1000 {
        tokio::task::yield_now().await;
        there.extend(bodies(&store, "T", 0, there.len() as i64));
    }
    assert_eq!(
        there,
        (0..1000)
            .map(|number| number.to_string())
            .collect::<Vec<_>>()
    );
    assert!(store.damage().rebuilt_queues > 0);
}

#[tokio::test]
async fn a_topic_that_was_deleted_does_not_come_back_with_what_was_known_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = MessageStore::open(&env(dir.path()), tiny()).await.unwrap();
    assert!(store.put_message(message("T", 0, "one")).await.is_stored());
    store.shutdown().await.unwrap();
    drop(store);
    let store = MessageStore::open(&env(dir.path()), tiny()).await.unwrap();
    store.delete_topic("T").unwrap();
    store.shutdown().await.unwrap();
    drop(store);
    let store = MessageStore::open(&env(dir.path()), tiny()).await.unwrap();
    assert!(!store.has_queue("T", 0));
}
