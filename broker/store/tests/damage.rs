//! A commit log with holes: what can be read is kept, what cannot is set aside and counted.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::path::Path;

use hotfire_env::Disk;
use hotfire_env::real::RealDisk;
use hotfire_store::{DamageCounts, MessageStore, StoreConfig, StoreError};
use support::{bodies, env, life, message, small};

const MESSAGES: i32 = 150;
const LOG: &str = "store/commitlog/00000000000000000000";

fn tiny() -> StoreConfig {
    StoreConfig {
        consume_queue_file_units: 10,
        max_hash_slot_num: 16,
        max_index_num: 32,
        ..small()
    }
}

/// A store with three commit log files and two queues. Returns where the records begin.
fn fill(dir: &Path, closes: bool) -> Vec<u64> {
    life(async {
        let store = MessageStore::open(&env(dir), tiny()).await.unwrap();
        let mut at = Vec::new();
        for number in 0..MESSAGES {
            let put = store
                .put_message(message("T", number % 2, &number.to_string()))
                .await;
            at.push(put.append.unwrap().physical_offset as u64);
        }
        if closes {
            store.shutdown().await.unwrap();
        }
        at
    })
}

/// Overwrites bytes of the commit log.
fn overwrite(dir: &Path, at: u64, with: &[u8]) {
    let disk = RealDisk::new(dir);
    let (mut at, mut with) = (at, with);
    while !with.is_empty() {
        let start = at / 8192 * 8192;
        let path = format!("store/commitlog/{start:020}");
        let mut data = disk.read(&path).unwrap();
        let begin = (at - start) as usize;
        let len = with.len().min(8192 - begin);
        data[begin..begin + len].copy_from_slice(&with[..len]);
        disk.write(&path, &data).unwrap();
        at += len as u64;
        with = &with[len..];
    }
}

/// Opens the store, several times, and returns the numbers of the messages that are lost.
fn lost(dir: &Path) -> (Vec<i32>, DamageCounts) {
    let mut first = None;
    for crash in [false, true, false] {
        let found = life(async {
            let store = MessageStore::open(&env(dir), tiny()).await.unwrap();
            let mut lost = Vec::new();
            for queue in 0..2 {
                assert_eq!(store.max_offset_in_queue("T", queue), 75, "queue {queue}");
                let there = bodies(&store, "T", queue, 0);
                let all: Vec<String> = (0..MESSAGES)
                    .filter(|number| number % 2 == queue)
                    .map(|number| number.to_string())
                    .collect();
                lost.extend(all.iter().filter(|body| !there.contains(body)).cloned());
                assert_eq!(
                    there.len(),
                    all.len() - all.iter().filter(|body| lost.contains(body)).count()
                );
            }
            let counts = store.damage();
            if !crash {
                store.shutdown().await.unwrap();
            }
            let mut lost: Vec<i32> = lost.iter().map(|body| body.parse().unwrap()).collect();
            lost.sort_unstable();
            (lost, counts)
        });
        let first = first.get_or_insert(found.clone());
        assert_eq!(first.0, found.0, "another life finds the same");
    }
    let (lost, counts) = first.unwrap();
    life(async {
        let store = MessageStore::open(&env(dir), tiny()).await.unwrap();
        for queue in 0..2 {
            let put = store.put_message(message("T", queue, "new")).await;
            assert_eq!(put.append.unwrap().queue_offset, 75);
            assert_eq!(bodies(&store, "T", queue, 75), ["new"]);
        }
    });
    (lost, counts)
}

fn set_aside(dir: &Path) -> Vec<String> {
    let entries = RealDisk::new(dir).list("store/damaged").unwrap();
    entries.into_iter().map(|entry| entry.name).collect()
}

#[test]
fn one_flipped_bit_costs_one_message_and_leaves_all_behind_it() {
    for closes in [false, true] {
        // In the files that a scan after a clean stop reads, and in every part of a record.
        for inside in [0, 3, 4, 10, 30, 60, 84, 88, 90, 92] {
            let dir = tempfile::tempdir().unwrap();
            let at = fill(dir.path(), closes);
            let size = at[47] - at[46];
            let mut record = vec![0; size as usize];
            let disk = RealDisk::new(dir.path());
            let data = disk.read(LOG).unwrap();
            record.copy_from_slice(&data[at[46] as usize..at[47] as usize]);
            record[inside] ^= 0x40;
            overwrite(dir.path(), at[46], &record);
            let (lost, counts) = lost(dir.path());
            if inside == 10 || inside == 30 || inside == 60 {
                // Checksum and offset are noticed; a host has no checksum.
                assert!(lost.len() <= 1, "{inside}: {lost:?}");
                continue;
            }
            assert_eq!(lost, [46], "byte {inside}, closed {closes}");
            assert_eq!(counts.log_holes, 1);
            assert_eq!(counts.log_hole_bytes, size);
            let name = format!("commitlog-{:020}-{:020}", at[46], at[47]);
            assert!(
                set_aside(dir.path()).contains(&name),
                "{:?}",
                set_aside(dir.path())
            );
            let copy = disk.read(&format!("store/damaged/{name}")).unwrap();
            assert_eq!(copy, record);
        }
    }
}

#[test]
fn a_damaged_length_of_the_first_record_costs_that_record() {
    for closes in [false, true] {
        for length in [[0; 4], [0xFF; 4], [0x7F, 0, 0, 0], [0, 0, 0, 20]] {
            let dir = tempfile::tempdir().unwrap();
            fill(dir.path(), closes);
            overwrite(dir.path(), 0, &length);
            assert_eq!(lost(dir.path()).0, [0]);
        }
    }
}

#[test]
fn bytes_that_were_overwritten_cost_the_records_that_they_touch() {
    for closes in [false, true] {
        for fill_byte in [0, 0xDA, 0x5A] {
            let dir = tempfile::tempdir().unwrap();
            let at = fill(dir.path(), closes);
            // From the middle of record 20 to that of record 90, across the end of a file.
            let (from, to) = (at[20] + 50, at[90] + 50);
            assert!(from < 8192 && to > 8192);
            overwrite(dir.path(), from, &vec![fill_byte; (to - from) as usize]);
            let (lost, _) = lost(dir.path());
            assert_eq!(lost, (20..=90).collect::<Vec<_>>(), "{fill_byte}");
        }
    }
}

#[test]
fn a_file_of_the_commit_log_that_was_zeroed_costs_its_messages_only() {
    for closes in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let at = fill(dir.path(), closes);
        overwrite(dir.path(), 8192, &vec![0; 8192]);
        let (lost, _) = lost(dir.path());
        let inside = |number: &i32| (8192..16384).contains(&at[*number as usize]);
        assert_eq!(lost, (0..MESSAGES).filter(inside).collect::<Vec<_>>());
    }
}

#[test]
fn the_offsets_of_the_newest_messages_are_not_given_out_again_when_they_are_lost() {
    for closes in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let at = fill(dir.path(), closes);
        overwrite(dir.path(), at[147], &[0; 4000]);
        assert_eq!(lost(dir.path()).0, [147, 148, 149]);
    }
}

#[test]
fn what_is_cut_off_behind_the_last_record_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let at = fill(dir.path(), false);
    let size = at[149] - at[148];
    let end = at[149] + size;
    overwrite(dir.path(), end, b"the beginning of a record");
    let (lost, counts) = lost(dir.path());
    assert!(lost.is_empty());
    assert_eq!(counts.log_cut_bytes, 25);
    let names = set_aside(dir.path());
    let copy = RealDisk::new(dir.path()).read(&format!("store/damaged/{}", names[0]));
    assert_eq!(copy.unwrap(), b"the beginning of a record");
}

#[test]
fn a_missing_commit_log_file_keeps_the_store_closed_and_the_files_behind_it() {
    for closes in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let at = fill(dir.path(), closes);
        let disk = RealDisk::new(dir.path());
        let missing = "store/commitlog/00000000000000008192";
        let content = disk.read(missing).unwrap();
        disk.remove(missing).unwrap();
        let opened = life(MessageStore::open(&env(dir.path()), tiny()));
        let error = opened.err().unwrap();
        assert!(matches!(
            error,
            StoreError::MissingFile { missing: 8192, .. }
        ));
        assert!(
            error.to_string().contains("00000000000000008192"),
            "{error}"
        );
        assert!(disk.exists("store/commitlog/00000000000000016384").unwrap());

        // As the message says: zeros in its place.
        disk.write(missing, &vec![0; 8192]).unwrap();
        let (lost, _) = lost(dir.path());
        let inside = |number: &i32| (8192..16384).contains(&at[*number as usize]);
        assert_eq!(lost, (0..MESSAGES).filter(inside).collect::<Vec<_>>());
        assert_eq!(content.len(), 8192);
    }
}

#[test]
fn a_store_without_the_commit_log_that_its_checkpoint_knows_stays_closed() {
    for closes in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        fill(dir.path(), closes);
        let disk = RealDisk::new(dir.path());
        disk.remove("store/commitlog").unwrap();
        let opened = life(MessageStore::open(&env(dir.path()), tiny()));
        let error = opened.err().unwrap();
        assert!(matches!(error, StoreError::MissingLog { .. }));
        assert!(error.to_string().contains("store/commitlog"), "{error}");
        assert!(disk.exists("store/consumequeue/T/0").unwrap());
    }
}

#[test]
fn a_checkpoint_that_was_damaged_costs_nothing() {
    for closes in [false, true] {
        for content in [vec![], vec![0; 4096], vec![0xFF; 4096], vec![0x7F; 4096]] {
            let dir = tempfile::tempdir().unwrap();
            fill(dir.path(), closes);
            let disk = RealDisk::new(dir.path());
            disk.write("store/checkpoint", &content).unwrap();
            assert!(lost(dir.path()).0.is_empty());
        }
    }
}
