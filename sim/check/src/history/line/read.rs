//! Reading an event from a line.

use super::super::event::{Event, Phase};
use super::super::names::{DeliveryId, GroupId, OpId, QueueRef};
use super::super::recorder::Recorder;
use super::{At, GroupAt, LineEvent};

fn read_at(recorder: &mut Recorder, at: &At<'_>) -> QueueRef {
    recorder.queue(&at.topic, &at.broker, at.queue)
}

fn read_group_at(recorder: &mut Recorder, at: &GroupAt<'_>) -> (GroupId, QueueRef) {
    (recorder.group(&at.group), read_at(recorder, &at.at))
}

/// The reverse of [`write_event`](super::write_event).
pub(in super::super) fn read_event(recorder: &mut Recorder, event: LineEvent<'_>) -> Event {
    match event {
        LineEvent::SendInvoked {
            op,
            value,
            topic,
            order,
            kind,
            delay_level,
            bytes,
        } => {
            let topic = recorder.topic(&topic);
            Event::SendInvoked {
                op: OpId(op),
                value,
                topic,
                order,
                kind,
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
        LineEvent::Timed { op, due_ms } => Event::Timed {
            op: OpId(op),
            due_ms,
        },
        LineEvent::RecallInvoked { op } => Event::RecallInvoked { op: OpId(op) },
        LineEvent::RecallEnded { op, outcome } => Event::RecallEnded {
            op: OpId(op),
            outcome,
        },
        LineEvent::Named { op, id } => Event::Named { op: OpId(op), id },
        LineEvent::Unwanted { group, value } => Event::Unwanted {
            group: recorder.group(&group),
            value,
        },
        LineEvent::LocalTransaction { op, value, state } => Event::LocalTransaction {
            op: OpId(op),
            value,
            state,
        },
        LineEvent::TransactionChecked {
            value,
            round,
            state,
        } => Event::TransactionChecked {
            value,
            round,
            state,
        },
        LineEvent::Replied { op, value } => Event::Replied {
            op: OpId(op),
            value,
        },
        LineEvent::Queried {
            by,
            value,
            found,
            strangers,
        } => Event::Queried {
            by,
            value,
            found,
            strangers,
        },
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
        LineEvent::Popped {
            delivery,
            visible_at_ms,
        } => Event::Popped {
            delivery: DeliveryId(delivery),
            visible_at_ms,
        },
        LineEvent::Hidden {
            delivery,
            handle,
            visible_at_ms,
        } => Event::Hidden {
            delivery: DeliveryId(delivery),
            handle,
            visible_at_ms,
        },
        LineEvent::AckInvoked { delivery, handle } => Event::AckInvoked {
            delivery: DeliveryId(delivery),
            handle,
        },
        LineEvent::AckEnded { delivery, outcome } => Event::AckEnded {
            delivery: DeliveryId(delivery),
            outcome,
        },
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
        LineEvent::HalfEnded { at, offset } => Event::HalfEnded {
            queue: read_at(recorder, &at),
            offset,
        },
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
        LineEvent::ClockSet { ahead_us } => Event::ClockSet { ahead_us },
        LineEvent::Load => Event::Phase(Phase::Load),
        LineEvent::Drain => Event::Phase(Phase::Drain),
        LineEvent::Done { drained } => Event::Phase(Phase::Done { drained }),
    }
}
