//! What the store's tests share.

#![allow(dead_code, reason = "every test file uses another part")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use std::path::Path;
use std::sync::Arc;

use hotfire_env::real::{RealDisk, RealNetwork, SystemClock, TokioSpawner};
use hotfire_env::{Defects, Env, Seams, SeededEntropy};
use hotfire_protocol::Message;
use hotfire_store::{GetMessageResult, MessageInner, MessageStore, StoreConfig};

/// The address of the broker under test.
pub const BROKER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 10911);

/// The seams of a process over a folder of the real disk.
pub fn seams(dir: &Path) -> Seams {
    Seams {
        clock: Arc::new(SystemClock),
        network: Arc::new(RealNetwork::new(Some(Ipv4Addr::LOCALHOST.into()))),
        disk: Arc::new(RealDisk::new(dir)),
        entropy: Arc::new(SeededEntropy::new(1)),
        spawner: Arc::new(TokioSpawner::default()),
        process_id: 1,
        defects: Defects::NONE,
    }
}

/// An environment over a folder of the real disk.
pub fn env(dir: &Path) -> Env {
    Env::new(seams(dir))
}

/// Runs one life of a process: whatever it started is gone when it ends.
pub fn life<T>(life: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(life)
}

/// Files small enough to be rolled often.
pub fn small() -> StoreConfig {
    StoreConfig {
        commit_log_file_size: 8192,
        consume_queue_file_units: 100,
        max_hash_slot_num: 500,
        max_index_num: 2000,
        ..StoreConfig::default()
    }
}

/// A message with a tag and a key for a queue of `topic`.
pub fn message(topic: &str, queue_id: i32, body: &str) -> MessageInner {
    let message = Message::new(topic, body.to_owned())
        .with_tag("TagA")
        .with_key(format!("key-{body}"));
    MessageInner::new(message, queue_id, BROKER)
}

/// Everything in a queue from an offset on, as bodies.
pub fn bodies(store: &MessageStore, topic: &str, queue_id: i32, from: i64) -> Vec<String> {
    let mut bodies = Vec::new();
    let mut next = from;
    loop {
        let got = pull(store, topic, queue_id, next);
        if got.messages.is_empty() && got.next_begin_offset == next {
            return bodies;
        }
        next = got.next_begin_offset;
        for record in got.messages {
            let view = hotfire_store::RecordView::parse(&record).unwrap();
            bodies.push(String::from_utf8(view.body.to_vec()).unwrap());
        }
    }
}

/// One read with the limits of a usual pull.
pub fn pull(store: &MessageStore, topic: &str, queue_id: i32, offset: i64) -> GetMessageResult {
    store.get_message(topic, queue_id, offset, 32, 256 << 10, &|_| true)
}
