//! Writing an event as a line.

use super::super::event::{Event, Phase};
use super::super::names::{GroupId, Names, QueueRef};
use super::{At, GroupAt, LineEvent, Text};

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

/// Long because there are many kinds of events, not because anything happens here.
pub(in super::super) fn write_event(names: &Names, event: Event) -> LineEvent<'_> {
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
            kind,
            delay_level,
            bytes,
        } => {
            let topic = topic_name(topic);
            LineEvent::SendInvoked {
                op: op.0,
                value,
                topic,
                order,
                kind,
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
        Event::Timed { op, due_ms } => LineEvent::Timed { op: op.0, due_ms },
        Event::RecallInvoked { op } => LineEvent::RecallInvoked { op: op.0 },
        Event::RecallEnded { op, outcome } => LineEvent::RecallEnded { op: op.0, outcome },
        Event::Named { op, id } => LineEvent::Named { op: op.0, id },
        Event::Unwanted { group, value } => LineEvent::Unwanted {
            group: names.group_name(group).into(),
            value,
        },
        Event::LocalTransaction { op, value, state } => LineEvent::LocalTransaction {
            op: op.0,
            value,
            state,
        },
        Event::TransactionChecked {
            value,
            round,
            state,
        } => LineEvent::TransactionChecked {
            value,
            round,
            state,
        },
        Event::Replied { op, value } => LineEvent::Replied { op: op.0, value },
        Event::Queried {
            by,
            value,
            found,
            strangers,
        } => LineEvent::Queried {
            by,
            value,
            found,
            strangers,
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
        Event::Popped {
            delivery,
            visible_at_ms,
        } => LineEvent::Popped {
            delivery: delivery.0,
            visible_at_ms,
        },
        Event::Hidden {
            delivery,
            handle,
            visible_at_ms,
        } => LineEvent::Hidden {
            delivery: delivery.0,
            handle,
            visible_at_ms,
        },
        Event::AckInvoked { delivery, handle } => LineEvent::AckInvoked {
            delivery: delivery.0,
            handle,
        },
        Event::AckEnded { delivery, outcome } => LineEvent::AckEnded {
            delivery: delivery.0,
            outcome,
        },
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
        Event::HalfEnded { queue, offset } => LineEvent::HalfEnded {
            at: write_at(names, queue),
            offset,
        },
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
        Event::ClockSet { ahead_us } => LineEvent::ClockSet { ahead_us },
        Event::Phase(Phase::Load) => LineEvent::Load,
        Event::Phase(Phase::Drain) => LineEvent::Drain,
        Event::Phase(Phase::Done { drained }) => LineEvent::Done { drained },
    }
}
