//! Sharing by where brokers and members stand.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use hotfire_protocol::MessageQueue;

use super::{AllocateAveragely, AllocateStrategy};

/// Only the queues of brokers in some rooms, contiguous ranges of them, and what is left over one by
/// one to the first members (`AllocateMessageQueueByMachineRoom`). A broker named `room@name`
/// stands in that room; one with another name stands nowhere, and its queues are nobody's.
#[derive(Debug, Clone, Default)]
pub struct AllocateByMachineRoom {
    rooms: BTreeSet<String>,
}

impl AllocateByMachineRoom {
    /// Shares the queues in these rooms.
    pub fn new<S: Into<String>>(rooms: impl IntoIterator<Item = S>) -> Self {
        Self {
            rooms: rooms.into_iter().map(Into::into).collect(),
        }
    }

    fn holds(&self, queue: &MessageQueue) -> bool {
        queue
            .broker_name
            .split_once('@')
            .is_some_and(|(room, name)| {
                !name.is_empty() && !name.contains('@') && self.rooms.contains(room)
            })
    }
}

impl AllocateStrategy for AllocateByMachineRoom {
    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("MACHINE_ROOM")
    }

    fn allocate(
        &self,
        client_id: &str,
        queues: &[MessageQueue],
        clients: &[String],
    ) -> Vec<MessageQueue> {
        let Some(index) = clients.iter().position(|client| client == client_id) else {
            return Vec::new();
        };
        let held: Vec<_> = queues.iter().filter(|queue| self.holds(queue)).collect();
        let (share, extra) = (held.len() / clients.len(), held.len() % clients.len());
        let range = index * share..(index + 1) * share;
        let extra = (index < extra).then_some(clients.len() * share + index);
        range
            .chain(extra)
            .filter_map(|at| held.get(at).copied().cloned())
            .collect()
    }
}

/// Knows where brokers and members stand (`MachineRoomResolver`).
pub trait MachineRoomResolver: Send + Sync {
    /// The room of the broker that holds a queue.
    fn broker_room(&self, queue: &MessageQueue) -> String;

    /// The room of a member, by its client id.
    fn client_room(&self, client_id: &str) -> String;
}

/// The queues in a room are for the members in it; those in a room without any are for all
/// (`AllocateMachineRoomNearby`). Another strategy shares each room's.
#[derive(Debug, Clone)]
pub struct AllocateMachineRoomNearby<R, S = AllocateAveragely> {
    resolver: R,
    strategy: S,
}

impl<R: MachineRoomResolver, S: AllocateStrategy> AllocateMachineRoomNearby<R, S> {
    /// Shares the queues of each room by `strategy`.
    pub fn new(resolver: R, strategy: S) -> Self {
        Self { resolver, strategy }
    }
}

impl<R: MachineRoomResolver, S: AllocateStrategy> AllocateStrategy
    for AllocateMachineRoomNearby<R, S>
{
    fn name(&self) -> Cow<'static, str> {
        Cow::Owned(format!("MACHINE_ROOM_NEARBY-{}", self.strategy.name()))
    }

    fn allocate(
        &self,
        client_id: &str,
        queues: &[MessageQueue],
        clients: &[String],
    ) -> Vec<MessageQueue> {
        if !clients.iter().any(|client| client == client_id) {
            return Vec::new();
        }
        let mut rooms: BTreeMap<String, Vec<MessageQueue>> = BTreeMap::new();
        for queue in queues {
            let room = self.resolver.broker_room(queue);
            rooms.entry(room).or_default().push(queue.clone());
        }
        let mut members: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for client in clients {
            let room = self.resolver.client_room(client);
            members.entry(room).or_default().push(client.clone());
        }
        let own = self.resolver.client_room(client_id);
        let mut share = Vec::new();
        if let (Some(queues), Some(neighbours)) = (rooms.remove(&own), members.get(&own)) {
            share = self.strategy.allocate(client_id, &queues, neighbours);
        }
        for (room, queues) in &rooms {
            if !members.contains_key(room) {
                share.extend(self.strategy.allocate(client_id, queues, clients));
            }
        }
        share
    }
}
