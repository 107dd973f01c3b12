//! Appending to, reading from and querying a store over the real disk.

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hotfire_env::real;
use hotfire_protocol::Message;
use hotfire_store::{MessageInner, MessageStore, StoreConfig};
use tokio::runtime::Runtime;

const TOPIC: &str = "orders";
const QUEUES: i32 = 16;

struct Bench {
    runtime: Runtime,
    store: MessageStore,
    next: u64,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let env = real::env(dir.path(), Some([127, 0, 0, 1].into()));
        let config = StoreConfig::default();
        let store = runtime.block_on(MessageStore::open(&env, config)).unwrap();
        Self {
            runtime,
            store,
            next: 0,
            _dir: dir,
        }
    }

    /// A message as a producer sends it: a tag, a key, a unique key, a body.
    fn message(&mut self, body: usize) -> MessageInner {
        self.next += 1;
        let message = Message::new(TOPIC, vec![b'x'; body])
            .with_tag("TagA")
            .with_key(format!("order-{}", self.next))
            .with_property("UNIQ_KEY", format!("7F0000010001{:020X}", self.next));
        let queue = (self.next % QUEUES as u64) as i32;
        MessageInner::new(message, queue, ([127, 0, 0, 1], 10911).into())
    }

    fn put(&mut self, body: usize) {
        let message = self.message(body);
        let put = self.runtime.block_on(self.store.put_message(message));
        assert!(put.is_stored());
    }
}

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("store/append");
    for body in [128, 1024] {
        let mut bench = Bench::new();
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::from_parameter(body), |bencher| {
            bencher.iter(|| bench.put(body));
        });
    }
    group.finish();
}

fn read(criterion: &mut Criterion) {
    let mut bench = Bench::new();
    for _ in 0..100_000 {
        bench.put(128);
    }
    let store = bench.store.clone();
    let per_queue = store.max_offset_in_queue(TOPIC, 0);
    let mut group = criterion.benchmark_group("store/read");
    group.throughput(Throughput::Elements(32));
    group.bench_function("queue, 32 messages", |bencher| {
        let mut offset = 0;
        bencher.iter(|| {
            offset = (offset + 32) % (per_queue - 32);
            let got = store.get_message(TOPIC, 0, offset, 32, 256 << 10, &|_| true);
            assert_eq!(got.messages.len(), 32);
            black_box(got)
        });
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("by key", |bencher| {
        let mut number = 0;
        bencher.iter(|| {
            number = number % 100_000 + 1;
            let key = format!("order-{number}");
            let found = store.query_message(TOPIC, &key, 32, 0, i64::MAX);
            assert_eq!(found.records.len(), 1);
            black_box(found)
        });
    });
    group.finish();
}

criterion_group!(benches, append, read);
criterion_main!(benches);
