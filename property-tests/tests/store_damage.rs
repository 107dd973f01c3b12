//! Stores whose files were damaged behind their back: what the commit log still has is delivered.
//!
//! Random contents, a clean stop or a crash of the process, and then files are removed, cut, zeroed or
//! overwritten. Whatever was acknowledged and whose record is intact must come from its queue, at its
//! offset; what does not come is counted; and new messages get new offsets.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and its own tasks do not belong to the process under test"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hotfire_env::{Defects, Disk};
use hotfire_protocol::Message;
use hotfire_store::{GetMessageStatus, MessageInner, MessageStore, RecordView, StoreConfig};
use hotfire_world::seams::disk::DiskConfig;
use hotfire_world::seams::net::NetworkConfig;
use hotfire_world::seams::{Universe, UniverseConfig};
use proptest::prelude::*;

const TOPICS: [&str; 2] = ["orders", "payments"];
const LOG_FILE: u64 = 8192;

/// What is done to a file. Positions and lengths are shares of the file, in 1/65,536.
#[derive(Debug, Clone)]
enum Damage {
    Zero(u16, u16),
    Random(u16, u16, u64),
    Cut(u16),
    Remove,
}

/// A message that was acknowledged, and its record.
#[derive(Debug)]
struct Stored {
    topic: usize,
    queue: i32,
    offset: i64,
    at: u64,
    record: Vec<u8>,
}

fn config() -> StoreConfig {
    StoreConfig {
        commit_log_file_size: LOG_FILE,
        consume_queue_file_units: 10,
        max_hash_slot_num: 16,
        max_index_num: 32,
        ..StoreConfig::default()
    }
}

fn files(disk: &dyn Disk, dir: &str, all: &mut Vec<String>) {
    for entry in disk.list(dir).unwrap() {
        let path = format!("{dir}/{}", entry.name);
        match (entry.is_dir, &*entry.name) {
            (true, _) => files(disk, &path, all),
            // What was known of the queues and a queue: that is one damage too many.
            (false, "lock" | "abort" | "queuefacts") => {}
            _ => all.push(path),
        }
    }
}

fn apply(disk: &dyn Disk, path: &str, damage: &Damage) {
    let is_log = path.starts_with("store/commitlog");
    let Ok(mut data) = disk.read(path) else {
        return;
    };
    let share = |share: u16| data.len() * usize::from(share) / 65_536;
    let range = |from: u16, len: u16| {
        // So wide that no field without a checksum is changed alone.
        let end = (share(from) + share(len).max(64)).min(data.len());
        share(from)..end
    };
    match *damage {
        Damage::Zero(from, len) => {
            let range = range(from, len / 4);
            data[range].fill(0);
        }
        Damage::Random(from, len, seed) => {
            let range = range(from, len / 4);
            let mut state = seed | 1;
            for byte in &mut data[range] {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                *byte = (state >> 56) as u8;
            }
        }
        // A commit log that lacks a file, or is shorter, keeps the store closed.
        Damage::Cut(_) | Damage::Remove if is_log => return,
        Damage::Cut(len) => {
            let len = share(len);
            data.truncate(len);
        }
        Damage::Remove => return disk.remove(path).unwrap(),
    }
    disk.write(path, &data).unwrap();
}

/// The bytes of the commit log from a position on.
fn log_bytes(disk: &dyn Disk, at: u64, len: usize) -> Vec<u8> {
    let start = at / LOG_FILE * LOG_FILE;
    let data = disk
        .read(&format!("store/commitlog/{start:020}"))
        .unwrap_or_default();
    let from = (at - start) as usize;
    data.get(from..from + len).unwrap_or_default().to_vec()
}

async fn check(seed: u64, sizes: &[usize], closes: bool, damages: &[(usize, Damage)]) {
    let universe = Universe::new(UniverseConfig {
        seed,
        epoch_ms: 1_700_000_000_000,
        tick: Duration::from_millis(1),
        network: NetworkConfig::default(),
        defects: Defects::NONE,
    });
    let host = universe.add_host("host");
    let node = universe.add_node("broker", host, DiskConfig::default());
    let store = MessageStore::open(&universe.env(node), config())
        .await
        .unwrap();
    let mut stored = Vec::new();
    for (number, &size) in sizes.iter().enumerate() {
        let (topic, queue) = (number % 2, (number / 2 % 2) as i32);
        let mut body = format!("message {number} ").into_bytes();
        body.resize(body.len() + size, b'x');
        let message = Message::new(TOPICS[topic], body).with_key(format!("key-{number}"));
        let message = MessageInner::new(message, queue, ([127, 0, 0, 1], 10911).into());
        let put = store.put_message(message).await.append.unwrap();
        let record = store.look_record(put.physical_offset).unwrap().to_vec();
        stored.push(Stored {
            topic,
            queue,
            offset: put.queue_offset,
            at: put.physical_offset as u64,
            record,
        });
        if size % 7 == 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    if closes {
        store.shutdown().await.unwrap();
    }
    universe.kill(node);
    let env = universe.env(node);
    let mut paths = Vec::new();
    files(&**env.disk(), "store", &mut paths);
    for (file, damage) in damages {
        apply(&**env.disk(), &paths[file % paths.len()], damage);
    }
    let is_intact = |one: &Stored| log_bytes(&**env.disk(), one.at, one.record.len()) == one.record;
    let intact: Vec<bool> = stored.iter().map(is_intact).collect();

    let store = MessageStore::open(&env, config()).await.unwrap();
    let mut next = BTreeMap::new();
    for (one, &intact) in stored.iter().zip(&intact) {
        let mut tries = 0;
        let found = loop {
            let found = store.get_message(
                TOPICS[one.topic],
                one.queue,
                one.offset,
                1,
                1 << 20,
                &|_| true,
            );
            if found.status != GetMessageStatus::OffsetFoundNull || tries > 100 {
                break found;
            }
            tries += 1;
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        if !intact {
            // That it was looked for is enough.
            continue;
        }
        assert_eq!(found.status, GetMessageStatus::Found, "{one:?}");
        assert_eq!(found.messages[0], one.record);
        next.insert((one.topic, one.queue), one.offset + 1);
    }
    let counts = store.damage();
    let lost = stored.iter().zip(&intact).filter(|(one, intact)| {
        !**intact
            && !store.look_record(one.at as i64).is_some_and(|record| {
                RecordView::parse(&record).is_ok_and(|view| view.topic == TOPICS[one.topic])
            })
    });
    if lost.count() > 0 {
        let told = counts.log_hole_bytes + counts.log_cut_bytes + counts.lost_messages;
        assert!(told > 0, "{counts:?}");
    }
    for ((topic, queue), least) in next {
        let message = Message::new(TOPICS[topic], "new");
        let message = MessageInner::new(message, queue, ([127, 0, 0, 1], 10911).into());
        let put = store.put_message(message).await.append.unwrap();
        assert!(put.queue_offset >= least, "{topic} {queue}");
        let found = store.get_message(TOPICS[topic], queue, put.queue_offset, 1, 1 << 20, &|_| {
            true
        });
        assert_eq!(found.status, GetMessageStatus::Found);
    }
    let _: Arc<Universe> = universe;
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        3 => any::<(u16, u16)>().prop_map(|(from, len)| Damage::Zero(from, len)),
        3 => any::<(u16, u16, u64)>().prop_map(|(from, len, seed)| Damage::Random(from, len, seed)),
        1 => any::<u16>().prop_map(Damage::Cut),
        2 => Just(Damage::Remove),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_the_commit_log_still_has_is_delivered_whatever_was_done_to_the_files(
        seed: u64,
        sizes in prop::collection::vec(0..300usize, 20..150),
        closes: bool,
        damages in prop::collection::vec((0..1000usize, damage()), 1..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(check(seed, &sizes, closes, &damages));
    }
}
