//! Index files that were damaged: they are built again from the commit log.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::path::Path;

use hotfire_env::Disk;
use hotfire_env::real::RealDisk;
use hotfire_store::{MessageStore, StoreConfig};
use support::{env, life, message, small};

const MESSAGES: i32 = 150;

/// Index files of 31 keys.
fn tiny() -> StoreConfig {
    StoreConfig {
        max_hash_slot_num: 16,
        max_index_num: 32,
        ..small()
    }
}

fn fill(dir: &Path, closes: bool) {
    life(async {
        let store = MessageStore::open(&env(dir), tiny()).await.unwrap();
        for number in 0..MESSAGES {
            let put = message("T", 0, &number.to_string());
            assert!(store.put_message(put).await.is_stored());
        }
        if closes {
            store.shutdown().await.unwrap();
        }
    });
}

#[test]
fn keys_are_found_whatever_was_done_to_an_index_file() {
    let damages = [
        "removed",
        "emptied",
        "cut",
        "zeroed",
        "zero header",
        "random",
        "random header",
    ];
    for closes in [true, false] {
        for file in [0, 2, 4] {
            for how in damages {
                let dir = tempfile::tempdir().unwrap();
                fill(dir.path(), closes);
                let disk = RealDisk::new(dir.path());
                let files = disk.list("store/index").unwrap();
                assert_eq!(files.len(), 5);
                let path = format!("store/index/{}", files[file].name);
                let mut data = disk.read(&path).unwrap();
                let len = data.len();
                let random = |(at, byte): (usize, &mut u8)| *byte = (at * 151 + 77) as u8;
                match how {
                    "removed" => {}
                    "emptied" => data.clear(),
                    "cut" => data.truncate(len / 2),
                    "zeroed" => data.fill(0),
                    "zero header" => data[..40].fill(0),
                    "random" => data.iter_mut().enumerate().for_each(random),
                    _ => data[..40].iter_mut().enumerate().for_each(random),
                }
                if how == "removed" {
                    disk.remove(&path).unwrap();
                } else {
                    disk.write(&path, &data).unwrap();
                }
                life(async {
                    let store = MessageStore::open(&env(dir.path()), tiny()).await.unwrap();
                    for number in 0..MESSAGES {
                        let key = format!("key-{number}");
                        let found = store.query_message("T", &key, 32, 0, i64::MAX);
                        assert_eq!(
                            found.records.len(),
                            1,
                            "{key}: {how} {file}, closed {closes}"
                        );
                    }
                    if closes {
                        assert!(store.damage().rebuilt_index_files > 0, "{how} {file}");
                    }
                });
            }
        }
    }
}
