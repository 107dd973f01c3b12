//! Stores with damaged files: opening them recovers what is valid or says why not, and never
//! panics.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::path::Path;

use hotfire_env::Disk;
use hotfire_env::real::RealDisk;
use hotfire_store::{MessageStore, StoreConfig, StoreError};
use proptest::prelude::*;
use support::{bodies, env, life, message, small};

/// What is done to a file.
#[derive(Debug, Clone)]
enum Damage {
    /// Bytes are overwritten.
    Overwrite { at: usize, with: Vec<u8> },
    /// The file is cut.
    Cut { len: usize },
    /// The file is gone.
    Remove,
}

fn damage() -> impl Strategy<Value = (usize, Damage)> {
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..64),
        (1..64usize).prop_map(|len| vec![0xFF; len]),
        (1..64usize).prop_map(|len| vec![0; len]),
    ];
    let damage = prop_oneof![
        6 => (0..9000usize, bytes).prop_map(|(at, with)| Damage::Overwrite { at, with }),
        1 => (0..9000usize).prop_map(|len| Damage::Cut { len }),
        1 => Just(Damage::Remove),
    ];
    (0..1000usize, damage)
}

fn files(disk: &RealDisk, dir: &str, all: &mut Vec<String>) {
    for entry in disk.list(dir).unwrap() {
        let path = format!("{dir}/{}", entry.name);
        if entry.is_dir {
            files(disk, &path, all);
        } else {
            all.push(path);
        }
    }
}

fn apply(disk: &RealDisk, path: &str, damage: &Damage) {
    let Ok(mut data) = disk.read(path) else {
        return;
    };
    match damage {
        Damage::Overwrite { at, with } => {
            let at = at % data.len().max(1);
            for (byte, new) in data.iter_mut().skip(at).zip(with) {
                *byte = *new;
            }
        }
        Damage::Cut { len } => data.truncate(*len),
        Damage::Remove => return disk.remove(path).unwrap(),
    }
    disk.write(path, &data).unwrap();
}

fn tiny() -> StoreConfig {
    StoreConfig {
        consume_queue_file_units: 10,
        max_hash_slot_num: 16,
        max_index_num: 32,
        ..small()
    }
}

/// A store with three commit log files and two queues.
fn fill(dir: &Path, closes: bool) {
    life(async {
        let store = MessageStore::open(&env(dir), tiny()).await.unwrap();
        for number in 0..150 {
            store
                .put_message(message("T", number % 2, &number.to_string()))
                .await;
        }
        if closes {
            store.shutdown().await.unwrap();
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_store_opens_or_says_why_not(
        closes: bool,
        damages in prop::collection::vec(damage(), 1..6),
    ) {
        let dir = tempfile::tempdir().unwrap();
        fill(dir.path(), closes);
        let disk = RealDisk::new(dir.path());
        let mut paths = Vec::new();
        files(&disk, "store", &mut paths);
        for (file, damage) in &damages {
            apply(&disk, &paths[file % paths.len()], damage);
        }
        life(async {
            let Ok(store) = MessageStore::open(&env(dir.path()), tiny()).await else {
                return Ok(());
            };
            for queue in 0..2 {
                bodies(&store, "T", queue, store.min_offset_in_queue("T", queue));
                store.query_message("T", "key-1", 32, 0, i64::MAX);
            }
            let before = store.max_offset_in_queue("T", 0);
            let put = store.put_message(message("T", 0, "new")).await;
            prop_assert_eq!(put.append.unwrap().queue_offset, before);
            prop_assert_eq!(bodies(&store, "T", 0, before), ["new"]);
            Ok(())
        })?;
    }
}

#[test]
fn a_commit_log_file_of_another_size_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), true);
    let config = StoreConfig {
        commit_log_file_size: 4096,
        ..tiny()
    };
    let opened = life(MessageStore::open(&env(dir.path()), config));
    let error = opened.err().unwrap();
    assert!(error.to_string().contains("is 8192 bytes long"), "{error}");
}

#[test]
fn a_second_process_is_kept_out() {
    let dir = tempfile::tempdir().unwrap();
    life(async {
        let store = MessageStore::open(&env(dir.path()), tiny()).await.unwrap();
        let second = MessageStore::open(&env(dir.path()), tiny()).await;
        assert!(matches!(second.err(), Some(StoreError::Locked { .. })));
        store.shutdown().await.unwrap();
        assert!(MessageStore::open(&env(dir.path()), tiny()).await.is_ok());
    });
}
