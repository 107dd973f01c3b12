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

/// What kind of message a send is for.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum SendKind {
    /// A plain message, possibly with a delay level.
    #[default]
    Normal,
    /// A message for an arbitrary time; [`Event::Timed`] says which.
    Timed,
    /// The half of a transaction: invisible until it is committed.
    Transaction,
    /// A request that waits for a reply.
    Request,
}

impl SendKind {
    /// Whether this is a plain message.
    pub fn is_normal(&self) -> bool {
        *self == Self::Normal
    }
}

/// What a local transaction, or a check of it, says (`LocalTransactionState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TransactionState {
    /// `COMMIT_MESSAGE`.
    Commit,
    /// `ROLLBACK_MESSAGE`.
    Rollback,
    /// `UNKNOW`: the broker is to ask later.
    Unknown,
}

/// How a call ended that asks a broker to do something with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallOutcome {
    /// The broker says that it did.
    Ok,
    /// The broker says that it did not.
    Refused,
    /// Nobody said: the broker may have done it or not.
    Unknown,
}

/// What a message was looked up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueryBy {
    /// One of its keys.
    Key,
    /// The unique id that the producer gave it.
    UniqueKey,
    /// The id that names its broker and physical offset.
    OffsetId,
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
        /// What kind of message it is.
        kind: SendKind,
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
        /// The queue offset of the send result. That of a delayed message is its offset in the
        /// schedule topic, that of a timed one in the timer topic, that of a half message in the
        /// half topic.
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
    /// Right after [`SendInvoked`](Self::SendInvoked): when a message for an arbitrary time is due.
    Timed {
        /// The call.
        op: OpId,
        /// The wall-clock time asked for, in milliseconds since 1970.
        due_ms: i64,
    },
    /// A producer asked to take a timed message back before it is due.
    RecallInvoked {
        /// The call that sent the message.
        op: OpId,
    },
    /// The recall ended.
    RecallEnded {
        /// The call that sent the message.
        op: OpId,
        /// How.
        outcome: CallOutcome,
    },
    /// After [`SendOk`](Self::SendOk): the unique id of the send result.
    Named {
        /// The call.
        op: OpId,
        /// A 64-bit hash of the id, the same for the same id.
        id: u64,
    },
    /// Right after [`SendInvoked`](Self::SendInvoked): the subscription of a group that filters must
    /// not let this message through. Who writes this judges by an interpretation of their own.
    Unwanted {
        /// The group.
        group: GroupId,
        /// The message.
        value: Value,
    },
    /// A local transaction ended: the producer tells the broker this about the half message.
    LocalTransaction {
        /// The call that sent the half message.
        op: OpId,
        /// The message.
        value: Value,
        /// What became of it.
        state: TransactionState,
    },
    /// A broker asked a producer what became of a transaction, and the producer answered.
    TransactionChecked {
        /// The message.
        value: Value,
        /// Which check of this message it was, from 1; 0 if the broker did not say.
        round: u16,
        /// The answer.
        state: TransactionState,
    },
    /// The reply to a request arrived at the one who asked.
    Replied {
        /// The call that sent the request.
        op: OpId,
        /// The number found in the reply, which should be that of the request.
        value: Value,
    },
    /// An acknowledged message that should still be there was looked up.
    Queried {
        /// By what.
        by: QueryBy,
        /// The message.
        value: Value,
        /// Whether it was found, with its own body.
        found: bool,
        /// How many messages were found besides that do not have what was asked for.
        strangers: u16,
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
    /// Right after [`Delivered`](Self::Delivered): the message was popped, and is hidden from the
    /// group for a while. It came with handle 0.
    Popped {
        /// The delivery.
        delivery: DeliveryId,
        /// When the broker gave it away, by its clock, in milliseconds since 1970. It may have
        /// waited for long in the hands of the member, behind others.
        popped_at_ms: i64,
        /// Until when, by the broker's clock, in milliseconds since 1970.
        visible_at_ms: i64,
    },
    /// A member asks to change the time for which a popped message is hidden. Unless
    /// [`Hidden`](Self::Hidden) follows, the broker may have done it or not, or may do it later.
    HideInvoked {
        /// The delivery.
        delivery: DeliveryId,
    },
    /// A member changed the time for which a popped message is hidden, and got a new handle.
    Hidden {
        /// The delivery.
        delivery: DeliveryId,
        /// The number of the new handle: 1 after the first change.
        handle: u16,
        /// Until when, by the broker's clock, in milliseconds since 1970.
        visible_at_ms: i64,
    },
    /// A member acknowledges a popped message.
    AckInvoked {
        /// The delivery.
        delivery: DeliveryId,
        /// The number of the handle that it uses.
        handle: u16,
    },
    /// The acknowledgement ended. It is what a commit is to other consumers.
    AckEnded {
        /// The delivery.
        delivery: DeliveryId,
        /// How.
        outcome: CallOutcome,
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
    /// A broker noted that it is done with a half message: committed, rolled back or discarded.
    HalfEnded {
        /// The queue of the half topic.
        queue: QueueRef,
        /// The half message's offset there.
        offset: i64,
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
    /// The node's wall clock was set. It is right until then.
    ClockSet {
        /// By how much it is ahead of true time from now on, in microseconds.
        ahead_us: i64,
    },
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
