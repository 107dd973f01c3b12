//! Events in words, for evidence.

use crate::history::{
    CallOutcome, Event, Outcome, Phase, QueryBy, QueueRef, Record, SendKind, SimTime,
    TransactionState,
};
use crate::report::Evidence;

use super::{Facts, NONE};

impl Facts<'_> {
    /// Evidence of something about a message, or [`NONE`], shown by some records.
    pub(crate) fn evidence(
        &self,
        summary: String,
        message: u32,
        at: SimTime,
        records: &[u32],
    ) -> Evidence {
        let mut records: Vec<_> = records.iter().copied().filter(|&at| at != NONE).collect();
        records.sort_unstable();
        records.dedup();
        Evidence {
            summary,
            value: self.values.get(message as usize).map(|value| value.0),
            at: at.as_secs_f64(),
            lines: records
                .iter()
                .filter_map(|&at| self.record(at))
                .map(|r| self.line(r))
                .collect(),
        }
    }

    /// Evidence of something about a message that was to wait, with the calls that sent it and the
    /// time that they asked for.
    pub(crate) fn evidence_of_timed(
        &self,
        message: u32,
        at: SimTime,
        what: &str,
        records: &[u32],
    ) -> Evidence {
        let mut records = records.to_vec();
        records.extend(
            self.ops_of(message)
                .flat_map(|op| [op.record, op.end_record]),
        );
        records.extend(self.timers(message).map(|timer| timer.record));
        let name = self.message_name(message);
        self.evidence(format!("{name} {what}"), message, at, &records)
    }

    /// A message as people name it.
    pub(crate) fn message_name(&self, message: u32) -> String {
        let Some(value) = self.values.get(message as usize) else {
            return "a message that nobody sent".to_owned();
        };
        let order = self.ops_of(message).find_map(|op| op.order);
        match order {
            Some(order) => {
                format!(
                    "message {} (number {} of order {})",
                    value.0, order.seq, order.id
                )
            }
            None => format!("message {}", value.0),
        }
    }

    pub(crate) fn queue_name(&self, queue: QueueRef) -> String {
        self.names().queue_name(queue)
    }

    fn line(&self, record: &Record) -> String {
        let node = self.names().node_name(record.node);
        format!(
            "{:>14}  {node}: {}",
            record.at.to_string(),
            self.words(record.event)
        )
    }

    fn words(&self, event: Event) -> String {
        let names = self.names();
        let queue_name = |queue| names.queue_name(queue);
        let message = |op| format!("message {}", self.value_of_op(op));
        match event {
            Event::SendInvoked {
                value,
                topic,
                order,
                kind,
                delay_level,
                ..
            } => {
                let order = order.map_or(String::new(), |order| {
                    format!(", number {} of order {}", order.seq, order.id)
                });
                let delay = match delay_level {
                    0 => String::new(),
                    level => format!(", delay level {level}"),
                };
                let kind = match kind {
                    SendKind::Normal | SendKind::Timed => "",
                    SendKind::Transaction => ", as the half of a transaction",
                    SendKind::Request => ", as a request",
                };
                format!(
                    "sends message {} to {}{kind}{order}{delay}",
                    value.0,
                    names.topic_name(topic)
                )
            }
            Event::SendOk {
                op,
                queue,
                offset,
                durable,
                attempts,
            } => {
                let flushed = if durable { "" } else { ", durability unknown" };
                let tries = if attempts > 1 {
                    format!(", {attempts} attempts")
                } else {
                    String::new()
                };
                let (message, queue) = (message(op.0), queue_name(queue));
                format!("{message} acknowledged at {queue} offset {offset}{flushed}{tries}")
            }
            Event::SendFailed { op, reason, .. } => {
                format!("{} refused: {}", message(op.0), names.text_of(reason))
            }
            Event::SendUnknown { op, reason, .. } => {
                format!(
                    "fate of {} unknown: {}",
                    message(op.0),
                    names.text_of(reason)
                )
            }
            Event::Subscribed { group, topic } => {
                let topic = names.topic_name(topic);
                format!(
                    "consumes {topic} as a member of {}",
                    names.group_name(group)
                )
            }
            Event::Assigned { queue, from, .. } => match from {
                Some(from) => format!("gains {}, from offset {from}", queue_name(queue)),
                None => format!("gains {}", queue_name(queue)),
            },
            Event::Revoked { queue, .. } => format!("gives up {}", queue_name(queue)),
            Event::Pulled {
                queue,
                got,
                from,
                next,
                ..
            } => {
                let queue = queue_name(queue);
                format!("pulls {queue} from {from}: {got} messages, go on at {next}")
            }
            Event::Corrected {
                queue, from, to, ..
            } => {
                format!(
                    "is moved on {} from illegal offset {from} to {to}",
                    queue_name(queue)
                )
            }
            Event::Delivered {
                group,
                queue,
                offset,
                value,
                intact,
                reconsume,
                ..
            } => {
                let broken = if intact { "" } else { ", broken" };
                let (group, queue) = (names.group_name(group), queue_name(queue));
                let value = value.0;
                format!(
                    "{group} is handed message {value}{broken} from {queue} offset {offset}, \
                     reconsume times {reconsume}"
                )
            }
            Event::Finished { delivery, outcome } => {
                let how = match outcome {
                    Outcome::Consumed => "is consumed",
                    Outcome::Later => "is to come again later",
                    Outcome::Suspended => "is suspended",
                    Outcome::Lost => "is dropped with the member",
                };
                format!("message {} {how}", self.value_of_delivery(delivery.0))
            }
            Event::Committed {
                group,
                queue,
                offset,
            } => {
                format!(
                    "commits {} up to {offset} for {}",
                    queue_name(queue),
                    names.group_name(group)
                )
            }
            Event::Effect {
                value,
                applied,
                amount,
                ..
            } => match applied {
                true => format!("applies the effect of message {}: {amount}", value.0),
                false => format!("knows message {} already", value.0),
            },
            _ => self.feature_words(event),
        }
    }

    /// What clients do besides sending and consuming.
    fn feature_words(&self, event: Event) -> String {
        let names = self.names();
        let message = |op| format!("message {}", self.value_of_op(op));
        let popped = |delivery| format!("message {}", self.value_of_delivery(delivery));
        match event {
            Event::Timed { op, due_ms } => {
                format!("{} is to be delivered at {due_ms} ms", message(op.0))
            }
            Event::RecallInvoked { op } => format!("recalls {}", message(op.0)),
            Event::RecallEnded { op, outcome } => {
                format!("recall of {}: {}", message(op.0), call_words(outcome))
            }
            Event::Named { op, id } => format!("{} has the unique id {id:016x}", message(op.0)),
            Event::Unwanted { group, value } => {
                let group = names.group_name(group);
                format!(
                    "the filter of {group} must not let message {} through",
                    value.0
                )
            }
            Event::LocalTransaction { value, state, .. } => {
                let state = state_words(state);
                format!("the local transaction of message {} ends: {state}", value.0)
            }
            Event::TransactionChecked {
                value,
                round,
                state,
            } => {
                let state = state_words(state);
                format!(
                    "is asked about message {} (check {round}) and says: {state}",
                    value.0
                )
            }
            Event::Replied { op, value } => {
                format!(
                    "gets a reply to {}, which is about message {}",
                    message(op.0),
                    value.0
                )
            }
            Event::Queried {
                by,
                value,
                found,
                strangers,
            } => {
                let by = match by {
                    QueryBy::Key => "key",
                    QueryBy::UniqueKey => "unique id",
                    QueryBy::OffsetId => "offset id",
                };
                let found = if found {
                    "finds it"
                } else {
                    "does not find it"
                };
                let others = match strangers {
                    0 => String::new(),
                    n => format!(", and {n} that it did not ask for"),
                };
                format!("looks for message {} by its {by}: {found}{others}", value.0)
            }
            Event::Popped {
                delivery,
                visible_at_ms,
                ..
            } => format!("{} is hidden until {visible_at_ms} ms", popped(delivery.0)),
            Event::HideInvoked { delivery } => {
                format!("asks to hide {} for longer", popped(delivery.0))
            }
            Event::Hidden {
                delivery,
                handle,
                visible_at_ms,
            } => format!(
                "{} stays hidden until {visible_at_ms} ms, handle {handle}",
                popped(delivery.0)
            ),
            Event::AckInvoked { delivery, handle } => {
                format!("acknowledges {} with handle {handle}", popped(delivery.0))
            }
            Event::AckEnded { delivery, outcome } => {
                let outcome = call_words(outcome);
                format!("acknowledgement of {}: {outcome}", popped(delivery.0))
            }
            _ => self.broker_words(event),
        }
    }

    fn broker_words(&self, event: Event) -> String {
        let names = self.names();
        let queue_name = |queue| names.queue_name(queue);
        match event {
            Event::Appended {
                queue,
                reconsume,
                offset,
                physical,
                value,
            } => {
                let queue = queue_name(queue);
                let value = value.map_or("a message".to_owned(), |v| format!("message {}", v.0));
                let again = match reconsume {
                    0 => String::new(),
                    times => format!(", reconsume times {times}"),
                };
                format!("appends {value} to {queue} offset {offset}, physical {physical}{again}")
            }
            Event::HalfEnded { queue, offset } => {
                format!("is done with {} offset {offset}", queue_name(queue))
            }
            Event::OffsetSet {
                group,
                queue,
                offset,
            } => {
                let group = names.group_name(group);
                format!(
                    "sets the offset of {group} on {} to {offset}",
                    queue_name(queue)
                )
            }
            Event::OffsetReset {
                group,
                queue,
                offset,
            } => {
                let group = names.group_name(group);
                format!(
                    "resets the offset of {group} on {} to {offset}",
                    queue_name(queue)
                )
            }
            Event::Recovered {
                max_physical,
                truncated_bytes,
            } => {
                format!("recovers: the log ends at {max_physical}, {truncated_bytes} bytes cut off")
            }
            Event::QueueMax { queue, offset } => {
                format!("recovers: {} ends at {offset}", queue_name(queue))
            }
            Event::FaultBegan { text, .. } => format!("fault: {}", names.text_of(text)),
            Event::FaultEnded { fault } => format!("fault {fault} is over"),
            Event::NodeDown { how } => format!("goes down: {how:?}"),
            Event::NodeUp => "is up".to_owned(),
            Event::ClockSet { ahead_us } => {
                let ahead = ahead_us as f64 / 1e6;
                format!("its wall clock is {ahead:+.3}s ahead of true time from now on")
            }
            Event::Phase(Phase::Done { drained: true }) => {
                "the run is over, all drained".to_owned()
            }
            Event::Phase(Phase::Done { drained: false }) => {
                "the run is over, the drain budget is used up".to_owned()
            }
            Event::Phase(phase) => format!("phase {phase:?}"),
            // The client's events are put in words by the caller.
            _ => String::new(),
        }
    }

    fn value_of_op(&self, op: u32) -> String {
        let op = self
            .op_index
            .get(u64::from(op))
            .and_then(|at| self.ops.get(at as usize));
        self.value_name(op.map_or(NONE, |op| op.value))
    }

    fn value_of_delivery(&self, delivery: u32) -> String {
        let at = self.delivery_index.get(u64::from(delivery));
        let delivery = at.and_then(|at| self.deliveries.get(at as usize));
        self.value_name(delivery.map_or(NONE, |delivery| delivery.value))
    }

    fn value_name(&self, message: u32) -> String {
        self.values
            .get(message as usize)
            .map_or("?".to_owned(), |value| value.0.to_string())
    }
}

fn call_words(outcome: CallOutcome) -> &'static str {
    match outcome {
        CallOutcome::Ok => "done",
        CallOutcome::Refused => "refused",
        CallOutcome::Unknown => "no answer",
    }
}

fn state_words(state: TransactionState) -> &'static str {
    match state {
        TransactionState::Commit => "commit",
        TransactionState::Rollback => "roll back",
        TransactionState::Unknown => "unknown",
    }
}
