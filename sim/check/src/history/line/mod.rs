//! An event as it stands in a JSON line: names written out, and the way there and back.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::event::{
    CallOutcome, FaultKind, How, Order, Outcome, QueryBy, SendKind, TransactionState, Value,
};

mod read;
mod write;

pub(super) use read::read_event;
pub(super) use write::write_event;

pub(super) type Text<'a> = Cow<'a, str>;

/// A queue, written out.
#[derive(Serialize, Deserialize)]
pub(super) struct At<'a> {
    topic: Text<'a>,
    broker: Text<'a>,
    queue: i32,
}

/// A group's business with a queue.
#[derive(Serialize, Deserialize)]
pub(super) struct GroupAt<'a> {
    group: Text<'a>,
    #[serde(flatten)]
    at: At<'a>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(super) enum LineEvent<'a> {
    SendInvoked {
        op: u32,
        value: Value,
        topic: Text<'a>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        order: Option<Order>,
        #[serde(default, skip_serializing_if = "SendKind::is_normal")]
        kind: SendKind,
        delay_level: u8,
        bytes: u32,
    },
    SendOk {
        op: u32,
        #[serde(flatten)]
        at: At<'a>,
        offset: i64,
        durable: bool,
        attempts: u8,
    },
    SendFailed {
        op: u32,
        reason: Text<'a>,
        attempts: u8,
    },
    SendUnknown {
        op: u32,
        reason: Text<'a>,
        attempts: u8,
    },
    Timed {
        op: u32,
        due_ms: i64,
    },
    RecallInvoked {
        op: u32,
    },
    RecallEnded {
        op: u32,
        outcome: CallOutcome,
    },
    Named {
        op: u32,
        id: u64,
    },
    Unwanted {
        group: Text<'a>,
        value: Value,
    },
    LocalTransaction {
        op: u32,
        value: Value,
        state: TransactionState,
    },
    TransactionChecked {
        value: Value,
        round: u16,
        state: TransactionState,
    },
    Replied {
        op: u32,
        value: Value,
    },
    Queried {
        by: QueryBy,
        value: Value,
        found: bool,
        strangers: u16,
    },
    Subscribed {
        group: Text<'a>,
        topic: Text<'a>,
    },
    Assigned {
        #[serde(flatten)]
        at: GroupAt<'a>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<i64>,
    },
    Revoked {
        #[serde(flatten)]
        at: GroupAt<'a>,
    },
    Pulled {
        #[serde(flatten)]
        at: GroupAt<'a>,
        from: i64,
        next: i64,
        got: u32,
    },
    Corrected {
        #[serde(flatten)]
        at: GroupAt<'a>,
        from: i64,
        to: i64,
    },
    Delivered {
        delivery: u32,
        #[serde(flatten)]
        at: GroupAt<'a>,
        offset: i64,
        value: Value,
        intact: bool,
        reconsume: u32,
    },
    Popped {
        delivery: u32,
        visible_at_ms: i64,
    },
    Hidden {
        delivery: u32,
        handle: u16,
        visible_at_ms: i64,
    },
    AckInvoked {
        delivery: u32,
        handle: u16,
    },
    AckEnded {
        delivery: u32,
        outcome: CallOutcome,
    },
    Finished {
        delivery: u32,
        outcome: Outcome,
    },
    Committed {
        #[serde(flatten)]
        at: GroupAt<'a>,
        offset: i64,
    },
    Effect {
        group: Text<'a>,
        value: Value,
        applied: bool,
        amount: i64,
    },
    Appended {
        #[serde(flatten)]
        at: At<'a>,
        offset: i64,
        physical: i64,
        reconsume: u16,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<Value>,
    },
    HalfEnded {
        #[serde(flatten)]
        at: At<'a>,
        offset: i64,
    },
    OffsetSet {
        #[serde(flatten)]
        at: GroupAt<'a>,
        offset: i64,
    },
    OffsetReset {
        #[serde(flatten)]
        at: GroupAt<'a>,
        offset: i64,
    },
    Recovered {
        max_physical: i64,
        truncated_bytes: i64,
    },
    QueueMax {
        #[serde(flatten)]
        at: At<'a>,
        offset: i64,
    },
    FaultBegan {
        fault: u32,
        kind: FaultKind,
        text: Text<'a>,
        nodes: Vec<Text<'a>>,
    },
    FaultEnded {
        fault: u32,
    },
    NodeDown {
        how: How,
    },
    NodeUp,
    ClockSet {
        ahead_us: i64,
    },
    Load,
    Drain,
    Done {
        drained: bool,
    },
}
