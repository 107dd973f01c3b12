//! A store with very many queues.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that counts what its process takes of the operating system"
)]

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use hotfire_env::Env;
use hotfire_env::real::RealDisk;
use hotfire_store::{MessageStore, StoreConfig};
use support::{bodies, life, message, seams};

const QUEUES: i32 = 1_000;
/// The most descriptors that may be kept for them.
const OPEN: usize = 64;

fn env(dir: &Path) -> Env {
    let mut seams = seams(dir);
    seams.disk = Arc::new(RealDisk::keeping_open(dir, OPEN));
    Env::new(seams)
}

/// The descriptors and maps that this process has of files below a folder.
fn taken(dir: &Path) -> (usize, usize) {
    let open = fs::read_dir("/proc/self/fd").unwrap();
    let descriptors = open
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target.starts_with(dir))
        .count();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let name = dir.to_str().unwrap();
    let maps = maps.lines().filter(|line| line.contains(name)).count();
    (descriptors, maps)
}

fn assert_few_taken(dir: &Path) {
    let (descriptors, maps) = taken(dir);
    // One more is the lock.
    assert!(descriptors <= OPEN + 1, "{descriptors}");
    assert_eq!(maps, 0);
}

fn assert_all_there(store: &MessageStore, expected: &[&str]) {
    for queue_id in 0..QUEUES {
        assert_eq!(bodies(store, "many", queue_id, 0), expected, "{queue_id}");
    }
}

#[test]
fn any_number_of_queues_takes_few_descriptors_and_no_maps() {
    let dir = tempfile::tempdir().unwrap();
    life(async {
        let store = MessageStore::open(&env(dir.path()), StoreConfig::default()).await;
        let store = store.unwrap();
        for queue_id in 0..QUEUES {
            let put = store.put_message(message("many", queue_id, "first")).await;
            assert!(put.is_stored(), "{queue_id}: {:?}", put.status);
        }
        assert_few_taken(dir.path());
        assert_all_there(&store, &["first"]);
        store.shutdown().await.unwrap();
    });
    life(async {
        let store = MessageStore::open(&env(dir.path()), StoreConfig::default()).await;
        let store = store.unwrap();
        assert_all_there(&store, &["first"]);
        for queue_id in 0..QUEUES {
            let put = store.put_message(message("many", queue_id, "second")).await;
            assert_eq!(put.append.unwrap().queue_offset, 1);
        }
        assert_few_taken(dir.path());
        // This life ends as by a crash.
    });
    life(async {
        let store = MessageStore::open(&env(dir.path()), StoreConfig::default()).await;
        assert_all_there(&store.unwrap(), &["first", "second"]);
        assert_few_taken(dir.path());
    });
}
