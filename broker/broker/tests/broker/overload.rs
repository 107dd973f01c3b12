//! Sends that wait for a slow disk.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use hotfire_env::real::{RealDisk, TokioSpawner};
use hotfire_env::{
    BoxFuture, Defects, DirEntry, Disk, DiskUsage, Env, MappedFile, Network, Seams, SeededEntropy,
};
use hotfire_protocol::ResponseCode;
use hotfire_store::FlushDiskType;
use tokio::time::sleep;

use crate::support::{self, Stack, TOPIC, memory, order};

/// How long each flush takes.
const FLUSH: Duration = Duration::from_millis(500);

/// The real disk, with slow flushes.
struct SlowDisk(RealDisk);

struct SlowFile(Arc<dyn MappedFile>);

impl Disk for SlowDisk {
    fn map(&self, path: &str, len: u64) -> io::Result<Arc<dyn MappedFile>> {
        Ok(Arc::new(SlowFile(self.0.map(path, len)?)))
    }
    fn list(&self, dir: &str) -> io::Result<Vec<DirEntry>> {
        self.0.list(dir)
    }
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        self.0.read(path)
    }
    fn write(&self, path: &str, data: &[u8]) -> io::Result<()> {
        self.0.write(path, data)
    }
    fn replace<'a>(&'a self, path: &'a str, data: Vec<u8>) -> BoxFuture<'a, io::Result<()>> {
        self.0.replace(path, data)
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        self.0.exists(path)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, path: &str) -> io::Result<()> {
        self.0.remove(path)
    }
    fn sync_dir<'a>(&'a self, dir: &'a str) -> BoxFuture<'a, io::Result<()>> {
        self.0.sync_dir(dir)
    }
    fn lock(&self, path: &str) -> io::Result<Box<dyn Send + Sync>> {
        self.0.lock(path)
    }
    fn modified_ms(&self, path: &str) -> io::Result<i64> {
        self.0.modified_ms(path)
    }
    fn usage(&self) -> io::Result<DiskUsage> {
        self.0.usage()
    }
}

impl MappedFile for SlowFile {
    fn len(&self) -> u64 {
        self.0.len()
    }
    fn read_into(&self, at: u64, target: &mut [u8]) -> io::Result<()> {
        self.0.read_into(at, target)
    }
    fn write(&self, at: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(at, data)
    }
    fn data_from(&self, at: u64) -> io::Result<Option<Range<u64>>> {
        self.0.data_from(at)
    }
    fn flush(&self, range: Range<u64>) -> BoxFuture<'static, io::Result<()>> {
        let file = self.0.clone();
        Box::pin(async move {
            sleep(FLUSH).await;
            file.flush(range).await
        })
    }
}

/// A broker that flushes synchronously to a slow disk.
async fn stack(slots: usize, capacity: usize) -> Stack {
    let folder = tempfile::tempdir().unwrap();
    let network = memory::MemoryNetwork::default();
    let clock = memory::env(&network, folder.path()).clock().clone();
    let env = Env::new(Seams {
        clock,
        network: Arc::new(network) as Arc<dyn Network>,
        disk: Arc::new(SlowDisk(RealDisk::new(folder.path()))),
        entropy: Arc::new(SeededEntropy::new(1)),
        spawner: Arc::new(TokioSpawner::default()),
        process_id: 1,
        defects: Defects::NONE,
    });
    let mut config = support::config();
    config.store.flush_disk_type = FlushDiskType::Sync;
    config.send_message_thread_pool_nums = slots;
    config.send_thread_pool_queue_capacity = capacity;
    Stack::start_in(env, folder, config, None).await
}

#[tokio::test(start_paused = true)]
async fn a_send_is_answered_when_the_disk_has_it() {
    let stack = stack(1, 1).await;
    let start = tokio::time::Instant::now();
    stack.peer.send_ok(&order("durable")).await;
    assert!(start.elapsed() >= FLUSH);
}

#[tokio::test(start_paused = true)]
async fn a_send_that_need_not_wait_does_not() {
    let stack = stack(1, 1).await;
    let start = tokio::time::Instant::now();
    stack
        .peer
        .send_ok(&order("hasty").with_property("WAIT", "false"))
        .await;
    assert!(start.elapsed() < FLUSH);
}

#[tokio::test(start_paused = true)]
async fn sends_that_queue_for_too_long_are_refused_and_not_stored() {
    let stack = stack(1, 1).await;
    // Makes the connection, so that the three below keep their order.
    stack.peer.commit(0).await;
    let send = |body: &'static str| {
        let peer = &stack.peer;
        async move { peer.send(&order(body)).await }
    };
    let (first, second, third) = tokio::join!(send("runs"), send("queues"), send("too many"));
    assert_eq!(first.code, 0);
    let busy = |response: &hotfire_protocol::RemotingCommand, tag: &str| {
        assert_eq!(response.code, ResponseCode::SYSTEM_BUSY.0);
        let remark = response.remark.as_deref().unwrap();
        assert!(remark.starts_with(tag), "{remark}");
    };
    busy(&second, "[TIMEOUT_CLEAN_QUEUE]broker busy");
    busy(&third, "[OVERLOAD]system busy");
    assert_eq!(
        support::bodies(&stack.peer.pull(TOPIC, 0, "*").await),
        ["runs"]
    );
}

#[tokio::test(start_paused = true)]
async fn sends_that_queue_for_a_moment_run_when_a_slot_is_free() {
    let stack = stack(1, 100).await;
    let message = order("first");
    let first = stack.peer.send(&message);
    let second = async {
        // The slot becomes free 100 ms later.
        sleep(FLUSH - Duration::from_millis(100)).await;
        stack.peer.send(&order("second")).await
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!((first.code, second.code), (0, 0));
}
