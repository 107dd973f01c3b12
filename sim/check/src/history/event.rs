//! The events of a history.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::names::{DeliveryId, GroupId, NodesId, OpId, QueueRef, TextId, TopicId};

/// Simulated time in microseconds since the start of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct SimTime(pub u64);

impl SimTime {
    /// A time in whole milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1000)
    }

    /// A time in whole seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs * 1_000_000)
    }

    /// The time in seconds.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// The microseconds from an earlier time to this one; 0 if it is not earlier.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for SimTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// The unique number that the workload puts in every message's body. The same message sent again
/// has the same value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Value(pub u64);

/// A message's place among the messages that must be consumed in the order they were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Order {
    /// The order id (sharding key), unique over the run.
    pub id: u32,
    /// The message's number within the order id, from 0.
    pub seq: u32,
}

/// How a listener call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Success: the message is done with.
    Consumed,
    /// A concurrent listener asked for it again later (`RECONSUME_LATER`).
    Later,
    /// An orderly listener asked to wait a moment (`SUSPEND_CURRENT_QUEUE_A_MOMENT`).
    Suspended,
    /// The member died or was dropped before the call ended.
    Lost,
}

/// How a node went down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// The process was killed; the page cache survives.
    Kill,
    /// The machine lost power; what was not flushed may be gone.
    PowerLoss,
    /// The process was asked to stop and did so cleanly.
    Stop,
}

/// The kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// Links are down for a moment.
    Flash,
    /// Nodes cannot reach each other, in one or both directions.
    Partition,
    /// Links are slower.
    Latency,
    /// Links lose segments.
    Loss,
    /// A process is killed.
    ProcessCrash,
    /// A machine loses power.
    PowerLoss,
    /// A process stands still.
    Freeze,
    /// An acknowledged consumption, a send-back or a commit never reaches the broker.
    LostAck,
    /// A response is lost after the broker has done the work.
    LostResponse,
    /// A process is restarted cleanly.
    Restart,
    /// A disk is slow, full or returns errors.
    Disk,
    /// A wall clock jumps or drifts.
    Clock,
}

/// The phases of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Producers send and faults happen.
    Load,
    /// Everything is healed and producers are quiet; consumers catch up.
    Drain,
    /// The run is over.
    Done {
        /// Whether consumers caught up before the budget of the drain phase was used up.
        drained: bool,
    },
}

/// Something that happened at a node. The node and the time are in [`Record`](super::Record).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// A producer called `send`.
    SendInvoked {
        /// The call.
        op: OpId,
        /// The message.
        value: Value,
        /// The topic it is sent to.
        topic: TopicId,
        /// Its place in an order, if it has one.
        order: Option<Order>,
        /// The delay level asked for; 0 for none.
        delay_level: u8,
        /// The length of the body.
        bytes: u32,
    },
    /// The call returned with a send result: the message is stored.
    SendOk {
        /// The call.
        op: OpId,
        /// The queue of the send result.
        queue: QueueRef,
        /// The queue offset of the send result. A delayed message's is that of the schedule topic.
        offset: i64,
        /// `true` for `SEND_OK`, `false` for `FLUSH_DISK_TIMEOUT`, `FLUSH_SLAVE_TIMEOUT` and
        /// `SLAVE_NOT_AVAILABLE`: stored, durability unknown.
        durable: bool,
        /// How many attempts the call made, 1 without a retry; 0 if the client does not say.
        attempts: u8,
    },
    /// The call failed, and the message is certainly not stored by any attempt.
    SendFailed {
        /// The call.
        op: OpId,
        /// Why.
        reason: TextId,
        /// How many attempts the call made; 0 if the client does not say.
        attempts: u8,
    },
    /// The call ended without saying whether the message is stored: it may be, once per attempt.
    SendUnknown {
        /// The call.
        op: OpId,
        /// Why.
        reason: TextId,
        /// How many attempts the call made; 0 if the client does not say.
        attempts: u8,
    },
    /// A member of a group started to consume a topic.
    Subscribed {
        /// The group.
        group: GroupId,
        /// The topic.
        topic: TopicId,
    },
    /// A member gained a queue.
    Assigned {
        /// The group.
        group: GroupId,
        /// The queue.
        queue: QueueRef,
        /// The first offset that it will pull, if known at this time.
        from: Option<i64>,
    },
    /// A member lost a queue, gave it up, or dropped what it had buffered of it.
    Revoked {
        /// The group.
        group: GroupId,
        /// The queue.
        queue: QueueRef,
    },
    /// A member got an answer to a pull.
    Pulled {
        /// The group.
        group: GroupId,
        /// The queue.
        queue: QueueRef,
        /// How many messages came, after the broker's filter.
        got: u32,
        /// The offset that was asked for.
        from: i64,
        /// Where the broker says to go on.
        next: i64,
    },
    /// The broker refused a member's position as illegal (`PULL_OFFSET_MOVED`) and moved it.
    Corrected {
        /// The group.
        group: GroupId,
        /// The queue.
        queue: QueueRef,
        /// The position that was asked for.
        from: i64,
        /// The position given instead.
        to: i64,
    },
    /// A message was handed to a listener.
    Delivered {
        /// This listener call for this message.
        delivery: DeliveryId,
        /// The group.
        group: GroupId,
        /// The physical queue it came from, which may be one of `%RETRY%group`.
        queue: QueueRef,
        /// Its offset there.
        offset: i64,
        /// The number found in the body.
        value: Value,
        /// Whether the body matches the value's checksum.
        intact: bool,
        /// The message's reconsume times.
        reconsume: u32,
    },
    /// A listener call ended.
    Finished {
        /// The call.
        delivery: DeliveryId,
        /// How.
        outcome: Outcome,
    },
    /// A member sent this offset to the broker as its group's progress.
    Committed {
        /// The group.
        group: GroupId,
        /// The queue.
        queue: QueueRef,
        /// The next offset to consume.
        offset: i64,
    },
    /// A consumer met a message's business effect.
    Effect {
        /// The group.
        group: GroupId,
        /// The message.
        value: Value,
        /// `true` if the effect was applied, `false` if the ledger knew the message already.
        applied: bool,
        /// What the ledger gained by it; 0 if not applied.
        amount: i64,
    },
    /// A broker appended a message to its commit log.
    Appended {
        /// The queue it went to, which may belong to the schedule, a retry or a dead-letter topic.
        queue: QueueRef,
        /// The message's reconsume times.
        reconsume: u16,
        /// Its offset in the queue.
        offset: i64,
        /// Its physical offset in the commit log.
        physical: i64,
        /// The number in its body, if it is a message of the workload.
        value: Option<Value>,
    },
    /// A commit changed the broker's offset table.
    OffsetSet {
        /// The group.
        group: GroupId,
        /// The queue.
        queue: QueueRef,
        /// The next offset to consume.
        offset: i64,
    },
    /// An administrator set a group's offset.
    OffsetReset {
        /// The group.
        group: GroupId,
        /// The queue.
        queue: QueueRef,
        /// The next offset to consume.
        offset: i64,
    },
    /// A broker recovered its store. Whatever it held at or past `max_physical` is gone.
    Recovered {
        /// Where the commit log ends now.
        max_physical: i64,
        /// How many bytes were cut off.
        truncated_bytes: i64,
    },
    /// After recovery: where a queue ends now.
    QueueMax {
        /// The queue.
        queue: QueueRef,
        /// The next offset that will be given out.
        offset: i64,
    },
    /// A fault began.
    FaultBegan {
        /// The fault's number in its scenario.
        fault: u32,
        /// Its kind.
        kind: FaultKind,
        /// Its description.
        text: TextId,
        /// The nodes it strikes.
        nodes: NodesId,
    },
    /// A fault ended.
    FaultEnded {
        /// The fault's number in its scenario.
        fault: u32,
    },
    /// The node went down.
    NodeDown {
        /// How.
        how: How,
    },
    /// The node is up (again).
    NodeUp,
    /// A phase of the run began.
    Phase(Phase),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_stays_small() {
        assert!(size_of::<Event>() <= 40, "{}", size_of::<Event>());
    }

    #[test]
    fn a_time_prints_as_seconds() {
        assert_eq!(SimTime(12_345_678).to_string(), "12.345678s");
        assert_eq!(SimTime::from_millis(1500), SimTime(1_500_000));
    }
}
