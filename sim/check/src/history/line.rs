//! An event as it stands in a JSON line: names written out, and the way there and back.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::event::{Event, FaultKind, How, Order, Outcome, Phase, Value};
use super::names::{DeliveryId, GroupId, Names, OpId, QueueRef};
use super::recorder::Recorder;

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
    Load,
    Drain,
    Done {
        drained: bool,
    },
}

fn write_at(names: &Names, queue: QueueRef) -> At<'_> {
    match names.queue_of(queue) {
        Some(queue) => At {
            topic: names.topic_name(queue.topic).into(),
            broker: names.broker_name(queue.broker).into(),
            queue: queue.queue_id,
        },
        None => At {
            topic: "?".into(),
            broker: "?".into(),
            queue: -1,
        },
    }
}

fn read_at(recorder: &mut Recorder, at: &At<'_>) -> QueueRef {
    recorder.queue(&at.topic, &at.broker, at.queue)
}

fn read_group_at(recorder: &mut Recorder, at: &GroupAt<'_>) -> (GroupId, QueueRef) {
    (recorder.group(&at.group), read_at(recorder, &at.at))
}

/// Long because there are many kinds of events, not because anything happens here.
pub(super) fn write_event(names: &Names, event: Event) -> LineEvent<'_> {
    let group_at = |group: GroupId, queue: QueueRef| GroupAt {
        group: names.group_name(group).into(),
        at: write_at(names, queue),
    };
    let text = |id| Text::from(names.text_of(id));
    let topic_name = |id| Text::from(names.topic_name(id));
    match event {
        Event::SendInvoked {
            op,
            value,
            topic,
            order,
            delay_level,
            bytes,
        } => {
            let topic = topic_name(topic);
            LineEvent::SendInvoked {
                op: op.0,
                value,
                topic,
                order,
                delay_level,
                bytes,
            }
        }
        Event::SendOk {
            op,
            queue,
            offset,
            durable,
            attempts,
        } => LineEvent::SendOk {
            op: op.0,
            at: write_at(names, queue),
            offset,
            durable,
            attempts,
        },
        Event::SendFailed {
            op,
            reason,
            attempts,
        } => LineEvent::SendFailed {
            op: op.0,
            reason: text(reason),
            attempts,
        },
        Event::SendUnknown {
            op,
            reason,
            attempts,
        } => LineEvent::SendUnknown {
            op: op.0,
            reason: text(reason),
            attempts,
        },
        Event::Subscribed { group, topic } => LineEvent::Subscribed {
            group: names.group_name(group).into(),
            topic: topic_name(topic),
        },
        Event::Assigned { group, queue, from } => LineEvent::Assigned {
            at: group_at(group, queue),
            from,
        },
        Event::Revoked { group, queue } => LineEvent::Revoked {
            at: group_at(group, queue),
        },
        Event::Pulled {
            group,
            queue,
            got,
            from,
            next,
        } => LineEvent::Pulled {
            at: group_at(group, queue),
            from,
            next,
            got,
        },
        Event::Corrected {
            group,
            queue,
            from,
            to,
        } => LineEvent::Corrected {
            at: group_at(group, queue),
            from,
            to,
        },
        Event::Delivered {
            delivery,
            group,
            queue,
            offset,
            value,
            intact,
            reconsume,
        } => {
            let (delivery, at) = (delivery.0, group_at(group, queue));
            LineEvent::Delivered {
                delivery,
                at,
                offset,
                value,
                intact,
                reconsume,
            }
        }
        Event::Finished { delivery, outcome } => LineEvent::Finished {
            delivery: delivery.0,
            outcome,
        },
        Event::Committed {
            group,
            queue,
            offset,
        } => LineEvent::Committed {
            at: group_at(group, queue),
            offset,
        },
        Event::Effect {
            group,
            value,
            applied,
            amount,
        } => LineEvent::Effect {
            group: names.group_name(group).into(),
            value,
            applied,
            amount,
        },
        Event::Appended {
            queue,
            reconsume,
            offset,
            physical,
            value,
        } => {
            let at = write_at(names, queue);
            LineEvent::Appended {
                at,
                offset,
                physical,
                reconsume,
                value,
            }
        }
        Event::OffsetSet {
            group,
            queue,
            offset,
        } => LineEvent::OffsetSet {
            at: group_at(group, queue),
            offset,
        },
        Event::OffsetReset {
            group,
            queue,
            offset,
        } => LineEvent::OffsetReset {
            at: group_at(group, queue),
            offset,
        },
        Event::Recovered {
            max_physical,
            truncated_bytes,
        } => LineEvent::Recovered {
            max_physical,
            truncated_bytes,
        },
        Event::QueueMax { queue, offset } => LineEvent::QueueMax {
            at: write_at(names, queue),
            offset,
        },
        Event::FaultBegan {
            fault,
            kind,
            text: description,
            nodes,
        } => {
            let nodes = names.nodes_of(nodes).iter();
            let nodes = nodes.map(|&node| names.node_name(node).into()).collect();
            LineEvent::FaultBegan {
                fault,
                kind,
                text: text(description),
                nodes,
            }
        }
        Event::FaultEnded { fault } => LineEvent::FaultEnded { fault },
        Event::NodeDown { how } => LineEvent::NodeDown { how },
        Event::NodeUp => LineEvent::NodeUp,
        Event::Phase(Phase::Load) => LineEvent::Load,
        Event::Phase(Phase::Drain) => LineEvent::Drain,
        Event::Phase(Phase::Done { drained }) => LineEvent::Done { drained },
    }
}

/// The reverse of [`write_event`].
pub(super) fn read_event(recorder: &mut Recorder, event: LineEvent<'_>) -> Event {
    match event {
        LineEvent::SendInvoked {
            op,
            value,
            topic,
            order,
            delay_level,
            bytes,
        } => {
            let topic = recorder.topic(&topic);
            Event::SendInvoked {
                op: OpId(op),
                value,
                topic,
                order,
                delay_level,
                bytes,
            }
        }
        LineEvent::SendOk {
            op,
            at,
            offset,
            durable,
            attempts,
        } => {
            let queue = read_at(recorder, &at);
            Event::SendOk {
                op: OpId(op),
                queue,
                offset,
                durable,
                attempts,
            }
        }
        LineEvent::SendFailed {
            op,
            reason,
            attempts,
        } => Event::SendFailed {
            op: OpId(op),
            reason: recorder.text(&reason),
            attempts,
        },
        LineEvent::SendUnknown {
            op,
            reason,
            attempts,
        } => Event::SendUnknown {
            op: OpId(op),
            reason: recorder.text(&reason),
            attempts,
        },
        LineEvent::Subscribed { group, topic } => Event::Subscribed {
            group: recorder.group(&group),
            topic: recorder.topic(&topic),
        },
        LineEvent::Assigned { at, from } => {
            let (group, queue) = read_group_at(recorder, &at);
            Event::Assigned { group, queue, from }
        }
        LineEvent::Revoked { at } => {
            let (group, queue) = read_group_at(recorder, &at);
            Event::Revoked { group, queue }
        }
        LineEvent::Pulled {
            at,
            from,
            next,
            got,
        } => {
            let (group, queue) = read_group_at(recorder, &at);
            Event::Pulled {
                group,
                queue,
                got,
                from,
                next,
            }
        }
        LineEvent::Corrected { at, from, to } => {
            let (group, queue) = read_group_at(recorder, &at);
            Event::Corrected {
                group,
                queue,
                from,
                to,
            }
        }
        LineEvent::Delivered {
            delivery,
            at,
            offset,
            value,
            intact,
            reconsume,
        } => {
            let (group, queue) = read_group_at(recorder, &at);
            let delivery = DeliveryId(delivery);
            Event::Delivered {
                delivery,
                group,
                queue,
                offset,
                value,
                intact,
                reconsume,
            }
        }
        LineEvent::Finished { delivery, outcome } => Event::Finished {
            delivery: DeliveryId(delivery),
            outcome,
        },
        LineEvent::Committed { at, offset } => {
            let (group, queue) = read_group_at(recorder, &at);
            Event::Committed {
                group,
                queue,
                offset,
            }
        }
        LineEvent::Effect {
            group,
            value,
            applied,
            amount,
        } => Event::Effect {
            group: recorder.group(&group),
            value,
            applied,
            amount,
        },
        LineEvent::Appended {
            at,
            offset,
            physical,
            reconsume,
            value,
        } => {
            let queue = read_at(recorder, &at);
            Event::Appended {
                queue,
                reconsume,
                offset,
                physical,
                value,
            }
        }
        LineEvent::OffsetSet { at, offset } => {
            let (group, queue) = read_group_at(recorder, &at);
            Event::OffsetSet {
                group,
                queue,
                offset,
            }
        }
        LineEvent::OffsetReset { at, offset } => {
            let (group, queue) = read_group_at(recorder, &at);
            Event::OffsetReset {
                group,
                queue,
                offset,
            }
        }
        LineEvent::Recovered {
            max_physical,
            truncated_bytes,
        } => Event::Recovered {
            max_physical,
            truncated_bytes,
        },
        LineEvent::QueueMax { at, offset } => Event::QueueMax {
            queue: read_at(recorder, &at),
            offset,
        },
        LineEvent::FaultBegan {
            fault,
            kind,
            text,
            nodes,
        } => {
            let nodes: Vec<_> = nodes.iter().map(|name| recorder.node(name)).collect();
            let nodes = recorder.nodes(&nodes);
            Event::FaultBegan {
                fault,
                kind,
                text: recorder.text(&text),
                nodes,
            }
        }
        LineEvent::FaultEnded { fault } => Event::FaultEnded { fault },
        LineEvent::NodeDown { how } => Event::NodeDown { how },
        LineEvent::NodeUp => Event::NodeUp,
        LineEvent::Load => Event::Phase(Phase::Load),
        LineEvent::Drain => Event::Phase(Phase::Drain),
        LineEvent::Done { drained } => Event::Phase(Phase::Done { drained }),
    }
}
