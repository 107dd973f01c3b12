//! What is known of the consume queues when a store is closed, in a file of our own, `queuefacts`:
//! where each begins and ends, and the files of the index. RocketMQ ignores it.
//!
//! At the next start a queue that begins later or ends earlier has lost files, or parts of them,
//! which the files that are left cannot tell. What it says is a lower bound for the end, whoever has
//! used the store since. When the first files of queues are removed, or a topic is, the file is removed
//! with them.

use std::collections::BTreeMap;
use std::io;

use bytes::{Buf, BufMut, BytesMut};
use hotfire_env::Disk;
use hotfire_protocol::hash::body_crc;

use crate::index::IndexFact;
use crate::queues::{Queues, is_topic};

const MAGIC: u32 = 0x4846_5131;

/// Where a queue begins and ends, as queue offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueueFact {
    /// That of the first unit in its first file.
    pub first: i64,
    /// That behind the newest unit.
    pub max: i64,
}

/// What is known of all queues.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct QueueFacts {
    /// The records below this commit log offset were dispatched: a topic that was deleted since does
    /// not come back.
    pub dispatched: u64,
    /// The files of the index, the oldest first.
    pub index: Vec<IndexFact>,
    /// By topic and queue id.
    pub queues: BTreeMap<(String, i32), QueueFact>,
}

/// The facts that an earlier life has left; none if there is no file, or it is damaged.
pub(crate) fn read(disk: &dyn Disk, path: &str) -> QueueFacts {
    let bytes = match disk.read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return QueueFacts::default(),
        Err(error) => {
            tracing::warn!(path, %error, "cannot read what was known of the consume queues");
            return QueueFacts::default();
        }
    };
    decode(&bytes).unwrap_or_else(|| {
        tracing::warn!(
            path,
            "what was known of the consume queues is damaged: it is not used"
        );
        QueueFacts::default()
    })
}

fn decode(bytes: &[u8]) -> Option<QueueFacts> {
    let (content, mut crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
    if crc.try_get_i32().ok()? != body_crc(content) {
        return None;
    }
    let mut rest = content;
    if rest.try_get_u32().ok()? != MAGIC {
        return None;
    }
    let mut facts = QueueFacts {
        dispatched: rest.try_get_u64().ok()?,
        ..QueueFacts::default()
    };
    for _ in 0..rest.try_get_u32().ok()? {
        let name = rest.try_get_u64().ok()?;
        let end = rest.try_get_i64().ok()?;
        facts.index.push(IndexFact { name, end });
    }
    while !rest.is_empty() {
        let len = usize::from(rest.try_get_u8().ok()?);
        let (topic, behind) = rest.split_at_checked(len)?;
        rest = behind;
        let topic = std::str::from_utf8(topic)
            .ok()
            .filter(|topic| is_topic(topic))?;
        let id = rest.try_get_i32().ok().filter(|id| *id >= 0)?;
        let first = rest.try_get_i64().ok()?;
        let max = rest.try_get_i64().ok()?;
        facts
            .queues
            .insert((topic.to_owned(), id), QueueFact { first, max });
    }
    Some(facts)
}

/// Writes down what is known now, durably.
pub(crate) async fn write(
    disk: &dyn Disk,
    path: &str,
    queues: &Queues,
    index: &[IndexFact],
    dispatched: u64,
) -> io::Result<()> {
    let mut bytes = BytesMut::new();
    bytes.put_u32(MAGIC);
    bytes.put_u64(dispatched);
    bytes.put_u32(u32::try_from(index.len()).map_err(io::Error::other)?);
    for fact in index {
        bytes.put_u64(fact.name);
        bytes.put_i64(fact.end);
    }
    for queue in queues.all() {
        let Some(first) = queue.first_in_files() else {
            continue;
        };
        bytes.put_u8(u8::try_from(queue.topic.len()).map_err(io::Error::other)?);
        bytes.put_slice(queue.topic.as_bytes());
        bytes.put_i32(queue.queue_id);
        bytes.put_i64(first);
        bytes.put_i64(queue.max_offset());
    }
    bytes.put_i32(body_crc(&bytes));
    disk.replace(path, bytes.to_vec()).await
}
