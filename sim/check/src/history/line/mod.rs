//! An event as it stands in a JSON line: names written out, and the way there and back.

mod field;

use serde::{Deserialize, Serialize};

use self::field::{Field, Written};
use super::event::{
    CallOutcome, Event, FaultKind, How, Order, Outcome, Phase, QueryBy, SendKind, TransactionState,
    Value,
};
use super::names::{DeliveryId, GroupId, Names, NodesId, OpId, QueueRef, TextId, TopicId};
use super::recorder::Recorder;

pub(super) use self::field::Text;

/// Declares the lines of events, field by field in the order in which they are written, and both
/// ways between events and lines. Only phases, which are lines of their own kind each, are not of
/// this form.
macro_rules! lines {
    ($($name:ident { $($(#[$attr:meta])* $field:ident: $type:ty,)* })+) => {
        #[derive(Serialize, Deserialize)]
        #[serde(tag = "event", rename_all = "kebab-case")]
        pub(super) enum LineEvent<'a> {
            $($name { $($(#[$attr])* $field: Written<'a, $type>,)* },)+
            Load {},
            Drain {},
            Done { drained: bool },
        }

        pub(super) fn write_event(names: &Names, event: Event) -> LineEvent<'_> {
            match event {
                $(Event::$name { $($field,)* } => LineEvent::$name {
                    $($field: $field.write(names),)*
                },)+
                Event::Phase(Phase::Load) => LineEvent::Load {},
                Event::Phase(Phase::Drain) => LineEvent::Drain {},
                Event::Phase(Phase::Done { drained }) => LineEvent::Done { drained },
            }
        }

        /// The reverse of [`write_event`].
        pub(super) fn read_event(recorder: &mut Recorder, event: LineEvent<'_>) -> Event {
            match event {
                $(LineEvent::$name { $($field,)* } => Event::$name {
                    $($field: Field::read($field, recorder),)*
                },)+
                LineEvent::Load {} => Event::Phase(Phase::Load),
                LineEvent::Drain {} => Event::Phase(Phase::Drain),
                LineEvent::Done { drained } => Event::Phase(Phase::Done { drained }),
            }
        }
    };
}

lines! {
    SendInvoked {
        op: OpId,
        value: Value,
        topic: TopicId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        order: Option<Order>,
        #[serde(default, skip_serializing_if = "SendKind::is_normal")]
        kind: SendKind,
        delay_level: u8,
        bytes: u32,
    }
    SendOk {
        op: OpId,
        #[serde(flatten)]
        queue: QueueRef,
        offset: i64,
        durable: bool,
        attempts: u8,
    }
    SendFailed { op: OpId, reason: TextId, attempts: u8, }
    SendUnknown { op: OpId, reason: TextId, attempts: u8, }
    Timed { op: OpId, due_ms: i64, }
    RecallInvoked { op: OpId, }
    RecallEnded { op: OpId, outcome: CallOutcome, }
    Named { op: OpId, id: u64, }
    Unwanted { group: GroupId, value: Value, }
    LocalTransaction { op: OpId, value: Value, state: TransactionState, }
    TransactionChecked { value: Value, round: u16, state: TransactionState, }
    Replied { op: OpId, value: Value, }
    Queried { by: QueryBy, value: Value, found: bool, strangers: u16, }
    Subscribed { group: GroupId, topic: TopicId, }
    Assigned {
        group: GroupId,
        #[serde(flatten)]
        queue: QueueRef,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<i64>,
    }
    Revoked {
        group: GroupId,
        #[serde(flatten)]
        queue: QueueRef,
    }
    Pulled {
        group: GroupId,
        #[serde(flatten)]
        queue: QueueRef,
        from: i64,
        next: i64,
        got: u32,
    }
    Corrected {
        group: GroupId,
        #[serde(flatten)]
        queue: QueueRef,
        from: i64,
        to: i64,
    }
    Delivered {
        delivery: DeliveryId,
        group: GroupId,
        #[serde(flatten)]
        queue: QueueRef,
        offset: i64,
        value: Value,
        intact: bool,
        reconsume: u32,
    }
    Popped { delivery: DeliveryId, popped_at_ms: i64, visible_at_ms: i64, }
    HideInvoked { delivery: DeliveryId, }
    Hidden { delivery: DeliveryId, handle: u16, visible_at_ms: i64, }
    AckInvoked { delivery: DeliveryId, handle: u16, }
    AckEnded { delivery: DeliveryId, outcome: CallOutcome, }
    Finished { delivery: DeliveryId, outcome: Outcome, }
    Committed {
        group: GroupId,
        #[serde(flatten)]
        queue: QueueRef,
        offset: i64,
    }
    Effect { group: GroupId, value: Value, applied: bool, amount: i64, }
    Appended {
        #[serde(flatten)]
        queue: QueueRef,
        offset: i64,
        physical: i64,
        reconsume: u16,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<Value>,
    }
    HalfEnded {
        #[serde(flatten)]
        queue: QueueRef,
        offset: i64,
    }
    OffsetSet {
        group: GroupId,
        #[serde(flatten)]
        queue: QueueRef,
        offset: i64,
    }
    OffsetReset {
        group: GroupId,
        #[serde(flatten)]
        queue: QueueRef,
        offset: i64,
    }
    Recovered { max_physical: i64, truncated_bytes: i64, }
    QueueMax {
        #[serde(flatten)]
        queue: QueueRef,
        offset: i64,
    }
    FaultBegan { fault: u32, kind: FaultKind, text: TextId, nodes: NodesId, }
    FaultEnded { fault: u32, }
    NodeDown { how: How, }
    NodeUp {}
    ClockSet { ahead_us: i64, }
}
