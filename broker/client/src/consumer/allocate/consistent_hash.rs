//! Sharing by a ring of hashes.

use std::borrow::Cow;
use std::collections::BTreeMap;

use hotfire_protocol::MessageQueue;
use md5::{Digest, Md5};

use super::AllocateStrategy;

/// Members stand at many places of a ring, and a queue is the next member's
/// (`AllocateMessageQueueConsistentHash`): when a member comes or goes, only its queues move. Shares
/// are uneven.
#[derive(Debug, Clone, Copy)]
pub struct AllocateConsistentHash {
    virtual_nodes: usize,
}

impl Default for AllocateConsistentHash {
    /// Ten places for each member.
    fn default() -> Self {
        Self { virtual_nodes: 10 }
    }
}

impl AllocateConsistentHash {
    /// So many places for each member; with none, all queues are nobody's.
    pub fn new(virtual_nodes: usize) -> Self {
        Self { virtual_nodes }
    }

    /// Who stands where. Of two at one place the later counts.
    fn ring<'c>(&self, clients: &'c [String]) -> BTreeMap<u32, &'c str> {
        let mut ring = BTreeMap::new();
        for client in clients {
            for node in 0..self.virtual_nodes {
                ring.insert(place(&format!("{client}-{node}")), client.as_str());
            }
        }
        ring
    }
}

impl AllocateStrategy for AllocateConsistentHash {
    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("CONSISTENT_HASH")
    }

    fn allocate(
        &self,
        client_id: &str,
        queues: &[MessageQueue],
        clients: &[String],
    ) -> Vec<MessageQueue> {
        let ring = self.ring(clients);
        let is_ours = |queue: &&MessageQueue| {
            // The text of Java's `MessageQueue`.
            let place = place(&format!(
                "MessageQueue [topic={}, brokerName={}, queueId={}]",
                queue.topic, queue.broker_name, queue.queue_id
            ));
            let next = ring.range(place..).next().or_else(|| ring.iter().next());
            next.is_some_and(|(_, client)| *client == client_id)
        };
        queues.iter().filter(is_ours).cloned().collect()
    }
}

/// A place on the ring: the first four bytes of the MD5 hash (`ConsistentHashRouter.MD5Hash`).
fn place(key: &str) -> u32 {
    let digest = Md5::digest(key.as_bytes());
    digest
        .iter()
        .take(4)
        .fold(0, |place, &byte| place << 8 | u32::from(byte))
}
