//! Stores that Apache RocketMQ 4.9.8 wrote: they open, everything in them is found, and the same
//! messages written here give the same bytes.
//!
//! `json` has files of the default sizes, `small` has small ones that were rolled. The fixtures hold
//! the used beginning of each file, index files gzipped; `manifest.json` says what is in them.

#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod support;

use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::BytesMut;
use hotfire_env::real::RealDisk;
use hotfire_env::{Clock, Disk, Env};
use hotfire_protocol::Message;
use hotfire_protocol::message::batch::{self, BatchElement};
use hotfire_protocol::message::id::parse_offset_msg_id;
use hotfire_protocol::message::property;
use hotfire_store::{
    GetMessageStatus, MessageBatch, MessageInner, MessageStore, RecordView, StoreConfig,
};
use serde_json::Value;
use tempfile::TempDir;

fn fixtures(name: &str) -> RealDisk {
    RealDisk::new(format!(
        "{}/tests/fixtures/{name}",
        env!("CARGO_MANIFEST_DIR")
    ))
}

fn manifest(name: &str) -> Value {
    serde_json::from_slice(&fixtures(name).read("manifest.json").unwrap()).unwrap()
}

fn config(name: &str) -> StoreConfig {
    let default = StoreConfig {
        store_path_root_dir: String::new(),
        ..StoreConfig::default()
    };
    match name {
        "small" => StoreConfig {
            commit_log_file_size: 8192,
            consume_queue_file_units: 100,
            max_hash_slot_num: 500,
            max_index_num: 2000,
            ..default
        },
        _ => default,
    }
}

/// The used part of a file as Apache RocketMQ left it.
fn original(name: &str, file: &Value) -> Vec<u8> {
    let path = file["path"].as_str().unwrap();
    let fixtures = fixtures(name);
    match fixtures.read(path) {
        Ok(data) => data,
        Err(_) => {
            let zipped = fixtures.read(&format!("{path}.gz")).unwrap();
            let mut data = Vec::new();
            let mut unzip = flate2::read::GzDecoder::new(&zipped[..]);
            unzip.read_to_end(&mut data).unwrap();
            data
        }
    }
}

/// The store as Apache RocketMQ left it, every file in its original size.
fn restore(name: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(dir.path());
    for file in manifest(name)["files"].as_array().unwrap() {
        let path = file["path"].as_str().unwrap();
        disk.write(path, &original(name, file)).unwrap();
        let size = file["original_size"].as_u64().unwrap();
        disk.map(path, size).unwrap();
    }
    dir
}

async fn open(name: &str, dir: &Path) -> MessageStore {
    MessageStore::open(&support::env(dir), config(name))
        .await
        .unwrap()
}

/// The messages in the commit log, without the fillers.
fn records(manifest: &Value) -> Vec<&Value> {
    let all = manifest["commitlog_records"].as_array().unwrap().iter();
    all.filter(|record| record["topic"].is_string()).collect()
}

fn hex(text: &Value) -> Vec<u8> {
    let (pairs, _) = text.as_str().unwrap().as_bytes().as_chunks::<2>();
    let pair = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    pairs.iter().map(pair).collect()
}

fn text<'a>(record: &'a Value, field: &str) -> &'a str {
    record[field].as_str().unwrap()
}

fn int(record: &Value, field: &str) -> i64 {
    record[field].as_i64().unwrap()
}

#[tokio::test]
async fn every_record_is_found_at_its_commit_log_offset() {
    for name in ["json", "small"] {
        let dir = restore(name);
        let store = open(name, dir.path()).await;
        let manifest = manifest(name);
        for record in records(&manifest) {
            let found = store.look_message_by_offset(int(record, "phy")).unwrap();
            assert_eq!(found.message.topic, text(record, "topic"));
            assert_eq!(found.message.body[..], hex(&record["body_hex"]));
            assert_eq!(i64::from(found.queue_id), int(record, "queueId"));
            assert_eq!(found.queue_offset, int(record, "queueOffset"));
            assert_eq!(i64::from(found.store_size), int(record, "size"));
            assert_eq!(found.store_timestamp, int(record, "storeTimestamp"));
            assert_eq!(found.born_host.to_string(), text(record, "bornHost"));
            for (name, value) in record["properties"].as_object().unwrap() {
                assert_eq!(found.message.properties.get(name), value.as_str());
            }
        }
    }
}

#[tokio::test]
async fn every_message_is_read_at_its_queue_offset() {
    for name in ["json", "small"] {
        let dir = restore(name);
        let store = open(name, dir.path()).await;
        let manifest = manifest(name);
        for record in records(&manifest) {
            let (topic, queue) = (text(record, "topic"), int(record, "queueId") as i32);
            let offset = int(record, "queueOffset");
            let got = store.get_message(topic, queue, offset, 1, 1 << 20, &|_| true);
            assert_eq!(
                got.status,
                GetMessageStatus::Found,
                "{topic} {queue} {offset}"
            );
            let found = RecordView::parse(&got.messages[0]).unwrap();
            assert_eq!(found.physical_offset, int(record, "phy"));
            assert!(found.checksum_holds());
        }
    }
}

#[tokio::test]
async fn every_message_is_found_by_its_keys() {
    for name in ["json", "small"] {
        let dir = restore(name);
        let store = open(name, dir.path()).await;
        let manifest = manifest(name);
        for record in records(&manifest) {
            let properties = &record["properties"];
            let keys = properties["KEYS"].as_str().unwrap_or_default().split(' ');
            for key in keys.chain(properties["UNIQ_KEY"].as_str()) {
                if key.is_empty() {
                    continue;
                }
                let found = store.query_message(text(record, "topic"), key, 64, 0, i64::MAX);
                let is_it = |found: &bytes::Bytes| {
                    RecordView::parse(found).unwrap().physical_offset == int(record, "phy")
                };
                assert!(found.records.iter().any(is_it), "{name}: {key}");
            }
        }
    }
}

#[tokio::test]
async fn every_message_that_was_sent_is_found_by_the_id_that_its_sender_got() {
    for name in ["json", "small"] {
        let dir = restore(name);
        let store = open(name, dir.path()).await;
        let manifest = manifest(name);
        let mut found_by_id = 0;
        for sent in manifest["sent"].as_array().unwrap() {
            let Some(ids) = sent["offsetMsgId"].as_str() else {
                continue;
            };
            let keys = text(sent, "msgId").split(',');
            for (index, (id, key)) in ids.split(',').zip(keys).enumerate() {
                let (_, offset) = parse_offset_msg_id(id).unwrap();
                let message = store.look_message_by_offset(offset).unwrap();
                assert_eq!(message.message.unique_key(), Some(key));
                assert_eq!(message.offset_msg_id(), id);
                assert_eq!(
                    message.queue_offset,
                    int(sent, "queueOffset") + index as i64
                );
                found_by_id += 1;
            }
        }
        assert!(found_by_id > 20);
    }
}

#[tokio::test]
async fn consume_queues_have_the_units_that_the_manifest_lists() {
    for name in ["json", "small"] {
        let dir = restore(name);
        let store = open(name, dir.path()).await;
        let manifest = manifest(name);
        for (path, units) in manifest["consumequeue"].as_object().unwrap() {
            let mut parts = path.split('/');
            let topic = parts.next().unwrap();
            let queue: i32 = parts.next().unwrap().parse().unwrap();
            let found = store.units(topic, queue, 0, 1000);
            let found: Vec<_> = found
                .iter()
                .map(|unit| (unit.offset, i64::from(unit.size), unit.tags_code))
                .collect();
            let expected: Vec<_> = units
                .as_array()
                .unwrap()
                .iter()
                .map(|unit| {
                    (
                        int(unit, "offset"),
                        int(unit, "size"),
                        int(unit, "tagsCode"),
                    )
                })
                .collect();
            assert_eq!(found, expected, "{path}");
        }
    }
}

#[tokio::test]
async fn the_checkpoint_is_read_and_written_in_place() {
    for name in ["json", "small"] {
        let dir = restore(name);
        let store = open(name, dir.path()).await;
        let manifest = manifest(name);
        let files = manifest["files"].as_array().unwrap();
        let file = files
            .iter()
            .find(|file| file["path"] == "checkpoint")
            .unwrap();
        store.shutdown().await.unwrap();
        let written = RealDisk::new(dir.path()).read("checkpoint").unwrap();
        assert_eq!(written, original(name, file), "{name}");
    }
}

#[tokio::test]
async fn a_crashed_store_is_recovered_to_the_same_state() {
    for name in ["json", "small"] {
        let dir = restore(name);
        let disk = RealDisk::new(dir.path());
        disk.write("abort", b"").unwrap();
        // Everything that can be built from the log is built from it.
        disk.remove("consumequeue").unwrap();
        disk.remove("checkpoint").unwrap();
        let store = open(name, dir.path()).await;
        store.shutdown().await.unwrap();
        assert_same_bytes(name, &disk);
    }
}

/// A clock that shows what it is told.
struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn host(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The message of a record as a batch of one, whose properties are stored as they are. Where it came
/// in a batch, what the broker appended to its properties are the batch's.
fn as_batch(record: &Value) -> MessageBatch {
    let properties = String::from_utf8(hex(&record["properties_raw_hex"])).unwrap();
    let (own, of_batch) = match text(record, "topic") {
        "GoldenBatch" => properties.split_at(properties.find("\u{2}CLUSTER\u{1}").unwrap()),
        _ => (&properties[..], ""),
    };
    let mut message = Message::new(text(record, "topic"), "");
    message.properties = property::decode(of_batch);
    let element = BatchElement {
        flag: int(record, "flag") as i32,
        body: hex(&record["body_hex"]).into(),
        properties: own.to_owned(),
    };
    let mut body = BytesMut::new();
    batch::encode([&element], &mut body).unwrap();
    message.body = body.freeze();
    MessageBatch {
        shared: MessageInner {
            message,
            queue_id: int(record, "queueId") as i32,
            sys_flag: int(record, "sysFlag") as i32,
            born_timestamp: int(record, "bornTimestamp"),
            born_host: host(text(record, "bornHost")),
            store_host: host(text(record, "storeHost")),
            reconsume_times: int(record, "reconsumeTimes") as i32,
            prepared_transaction_offset: int(record, "preparedTransactionOffset"),
        },
    }
}

/// Compares every file of a store with the one that Apache RocketMQ wrote.
fn assert_same_bytes(name: &str, disk: &RealDisk) {
    for file in manifest(name)["files"].as_array().unwrap() {
        let path = file["path"].as_str().unwrap();
        if !path.contains('/') {
            continue;
        }
        // An index file is named after the time of its creation.
        let written = match path.strip_prefix("index/") {
            Some(_) => format!("index/{}", disk.list("index").unwrap()[0].name),
            None => path.to_owned(),
        };
        let expected = original(name, file);
        let map = disk
            .map(&written, file["original_size"].as_u64().unwrap())
            .unwrap();
        let mut found = vec![0; expected.len()];
        map.read_into(0, &mut found).unwrap();
        assert!(found == expected, "{name}: {path} differs");
    }
}

#[tokio::test]
async fn the_same_messages_give_the_same_bytes() {
    for name in ["json", "small"] {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(SetClock(AtomicI64::new(0)));
        let env = Env::new(hotfire_env::Seams {
            clock: clock.clone(),
            ..support::seams(dir.path())
        });
        let store = MessageStore::open(&env, config(name)).await.unwrap();
        let manifest = manifest(name);
        for record in records(&manifest) {
            clock
                .0
                .store(int(record, "storeTimestamp"), Ordering::Relaxed);
            let put = store.put_messages(as_batch(record)).await;
            let append = put.append.unwrap();
            assert_eq!(append.physical_offset, int(record, "phy"));
            assert_eq!(append.queue_offset, int(record, "queueOffset"));
        }
        store.shutdown().await.unwrap();
        assert_same_bytes(name, &RealDisk::new(dir.path()));
    }
}
