//! Sharing the queues of a topic among the members of a group.
//!
//! Every member computes its own share from the sorted list of queues and the sorted list of client
//! ids. Nobody coordinates them: shares are disjoint only as far as all members see the same two
//! lists and use the same strategy.

mod consistent_hash;
mod machine_room;

use std::borrow::Cow;

use hotfire_protocol::{MessageQueue, allocate};

pub use consistent_hash::AllocateConsistentHash;
pub use machine_room::{AllocateByMachineRoom, AllocateMachineRoomNearby, MachineRoomResolver};

/// How queues are shared (`AllocateMessageQueueStrategy`).
pub trait AllocateStrategy: Send + Sync {
    /// The strategy's name in RocketMQ.
    fn name(&self) -> Cow<'static, str>;

    /// The share of the client `client_id`. Both lists are sorted. A client that is not in the list
    /// gets nothing.
    fn allocate(
        &self,
        client_id: &str,
        queues: &[MessageQueue],
        clients: &[String],
    ) -> Vec<MessageQueue>;
}

/// Contiguous ranges; the first members get one more if it does not come out even
/// (`AllocateMessageQueueAveragely`, the default).
#[derive(Debug, Clone, Copy, Default)]
pub struct AllocateAveragely;

impl AllocateStrategy for AllocateAveragely {
    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("AVG")
    }

    fn allocate(
        &self,
        client_id: &str,
        queues: &[MessageQueue],
        clients: &[String],
    ) -> Vec<MessageQueue> {
        allocate::averagely(queues, clients.len(), index_of(client_id, clients))
    }
}

/// In turn, like dealing cards (`AllocateMessageQueueAveragelyByCircle`).
#[derive(Debug, Clone, Copy, Default)]
pub struct AllocateAveragelyByCircle;

impl AllocateStrategy for AllocateAveragelyByCircle {
    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("AVG_BY_CIRCLE")
    }

    fn allocate(
        &self,
        client_id: &str,
        queues: &[MessageQueue],
        clients: &[String],
    ) -> Vec<MessageQueue> {
        allocate::by_circle(queues, clients.len(), index_of(client_id, clients))
    }
}

/// The place of a client in the list; the end for one that is not in it.
fn index_of(client_id: &str, clients: &[String]) -> usize {
    let at = clients.iter().position(|client| client == client_id);
    at.unwrap_or(clients.len())
}

/// The queues that this member is configured with, whoever else there is
/// (`AllocateMessageQueueByConfig`).
#[derive(Debug, Clone, Default)]
pub struct AllocateByConfig {
    queues: Vec<MessageQueue>,
}

impl AllocateByConfig {
    /// These queues, of whatever topics.
    pub fn new(queues: impl IntoIterator<Item = MessageQueue>) -> Self {
        Self {
            queues: queues.into_iter().collect(),
        }
    }
}

impl AllocateStrategy for AllocateByConfig {
    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("CONFIG")
    }

    /// The configured queues of the topic that is shared. Messages that were sent back reach a
    /// member only if queues of the group's retry topic are among them.
    fn allocate(
        &self,
        _client_id: &str,
        queues: &[MessageQueue],
        _clients: &[String],
    ) -> Vec<MessageQueue> {
        let configured = |queue: &&MessageQueue| self.queues.contains(queue);
        queues.iter().filter(configured).cloned().collect()
    }
}

#[cfg(test)]
mod tests;
