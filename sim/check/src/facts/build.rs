//! Working out the facts in one walk over the history.

use super::*;

/// The walk's state.
struct Builder<'a> {
    facts: Facts<'a>,
    sessions: SessionBuilder,
    session_records: Vec<(u32, u32)>,
    members: FxHashMap<(GroupId, NodeId), u32>,
}

pub(super) fn build<'a>(history: &'a History, contract: &'a Contract) -> Facts<'a> {
    let mut builder = Builder::new(history, contract);
    for (at, record) in (0u32..).zip(history.records()) {
        builder.note(at, record);
    }
    builder.finish()
}

impl<'a> Builder<'a> {
    fn new(history: &'a History, contract: &'a Contract) -> Self {
        let names = history.names();
        let ids = |count: usize| 0..u32::try_from(count).unwrap_or(NONE);
        let groups: Vec<_> = ids(names.group_count())
            .map(|at| Group::of(GroupId(at), names, contract))
            .collect();
        let audiences = ids(groups.len())
            .map(|at| Audience {
                group: GroupId(at),
                member: None,
            })
            .collect();
        let topics = ids(names.topic_count())
            .map(|at| TopicKind::of(names.topic_name(TopicId(at)), names))
            .collect();
        let (mut sends, mut delivered) = (0, 0);
        for record in history.records() {
            match record.event {
                Event::SendInvoked { .. } => sends += 1,
                Event::Delivered { .. } => delivered += 1,
                _ => {}
            }
        }
        let facts = Facts {
            history,
            contract,
            topics,
            groups,
            audiences,
            ops: Vec::with_capacity(sends),
            messages: Vec::with_capacity(sends),
            values: Vec::with_capacity(sends),
            deliveries: Vec::with_capacity(delivered),
            value_index: Numbers::new(sends),
            op_index: Numbers::new(sends),
            delivery_index: Numbers::new(delivered),
            deliveries_of: Csr::default(),
            log: Log::with_brokers(names.broker_count()),
            sessions: Vec::new(),
            session_records: Csr::default(),
            offsets: OffsetTables::default(),
            features: Features::default(),
            trouble: Trouble::default(),
            corrections: Vec::new(),
            joined: Vec::new(),
            fates: Vec::new(),
            drain: None,
            done: None,
        };
        Self {
            facts,
            sessions: SessionBuilder::default(),
            session_records: Vec::new(),
            members: FxHashMap::default(),
        }
    }

    fn note(&mut self, at: u32, record: &Record) {
        match record.event {
            Event::SendInvoked { .. } => self.invoked(at, record),
            Event::SendOk {
                op,
                queue,
                offset,
                durable,
                attempts,
            } => {
                let Some(op) = self.ended(op.0, at, record, End::Ok, attempts) else {
                    return;
                };
                (op.queue, op.offset, op.durable) = (queue, offset, durable);
            }
            Event::SendFailed { op, attempts, .. } => {
                self.ended(op.0, at, record, End::Failed, attempts);
            }
            Event::SendUnknown { op, attempts, .. } => {
                self.ended(op.0, at, record, End::Unknown, attempts);
            }
            Event::Subscribed { .. }
            | Event::Assigned { .. }
            | Event::Revoked { .. }
            | Event::Pulled { .. }
            | Event::Corrected { .. }
            | Event::Committed { .. } => self.member(at, record),
            Event::Delivered { .. } => self.delivered(at, record),
            Event::Finished { delivery, outcome } => self.finished(delivery.0, at, record, outcome),
            // Read by the invariants that are about them.
            Event::Effect { .. } => {}
            Event::Named { .. } | Event::Replied { .. } | Event::Queried { .. } => {
                self.seen_by_clients(at, record);
            }
            Event::Timed { .. }
            | Event::RecallInvoked { .. }
            | Event::RecallEnded { .. }
            | Event::Unwanted { .. }
            | Event::LocalTransaction { .. }
            | Event::TransactionChecked { .. }
            | Event::HalfEnded { .. }
            | Event::ClockSet { .. } => self.waiting(at, record),
            Event::Popped { .. }
            | Event::HideInvoked { .. }
            | Event::Hidden { .. }
            | Event::AckInvoked { .. }
            | Event::AckEnded { .. } => self.popped(at, record),
            Event::FaultBegan { .. }
            | Event::FaultEnded { .. }
            | Event::NodeDown { .. }
            | Event::NodeUp => self.trouble(at, record),
            Event::Phase(Phase::Load) => {}
            Event::Phase(Phase::Drain) => self.facts.drain = Some(record.at),
            Event::Phase(Phase::Done { drained }) => self.facts.done = Some((record.at, drained)),
            Event::Appended { .. }
            | Event::OffsetSet { .. }
            | Event::OffsetReset { .. }
            | Event::Recovered { .. }
            | Event::QueueMax { .. } => self.broker(at, record),
        }
    }

    fn invoked(&mut self, at: u32, record: &Record) {
        let Event::SendInvoked {
            op,
            value,
            topic,
            order,
            kind,
            delay_level,
            ..
        } = record.event
        else {
            return;
        };
        let facts = &mut self.facts;
        let index = u32::try_from(facts.ops.len()).unwrap_or(NONE);
        let message = match facts.value_index.get(value.0) {
            Some(message) => message,
            None => {
                let message = u32::try_from(facts.messages.len()).unwrap_or(NONE);
                facts.messages.push(Message {
                    first_op: index,
                    last_op: index,
                });
                facts.values.push(value);
                facts.value_index.insert(value.0, message);
                message
            }
        };
        if let Some(message) = facts.messages.get_mut(message as usize)
            && message.last_op != index
        {
            if let Some(last) = facts.ops.get_mut(message.last_op as usize) {
                last.next = index;
            }
            message.last_op = index;
        }
        facts.op_index.insert(u64::from(op.0), index);
        facts.ops.push(Op {
            invoked: record.at,
            ended: SimTime(u64::MAX),
            offset: -1,
            queue: QueueRef(NONE),
            value: message,
            node: record.node,
            topic,
            order,
            record: at,
            end_record: NONE,
            next: NONE,
            end: End::Unknown,
            kind,
            delay_level,
            durable: false,
            attempts: 0,
        });
    }

    fn ended(
        &mut self,
        op: u32,
        at: u32,
        record: &Record,
        end: End,
        attempts: u8,
    ) -> Option<&mut Op> {
        let index = self.facts.op_index.get(u64::from(op))?;
        let op = self.facts.ops.get_mut(index as usize)?;
        (op.end, op.ended, op.end_record, op.attempts) = (end, record.at, at, attempts);
        Some(op)
    }

    fn member(&mut self, at: u32, record: &Record) {
        let now = record.at;
        let owner = |group, queue| (record.node, group, queue);
        let session = match record.event {
            Event::Subscribed { group, topic } => {
                if let Some(group) = self.facts.groups.get_mut(group.index()) {
                    group.subscribe(topic);
                }
                self.audience(group, record.node);
                self.facts.trouble.note_change(group, now);
                let joined = Joined {
                    group,
                    node: record.node,
                    at: now,
                    record: at,
                };
                self.facts.joined.push(joined);
                return;
            }
            Event::Assigned { group, queue, .. } => {
                self.facts.trouble.note_change(group, now);
                self.sessions.assigned(owner(group, queue), now)
            }
            Event::Revoked { group, queue } => {
                self.facts.trouble.note_change(group, now);
                self.sessions.revoked(owner(group, queue), now);
                return;
            }
            Event::Corrected {
                group, queue, to, ..
            } => {
                self.facts.corrections.push(Correction {
                    at: now,
                    group,
                    queue,
                    to,
                });
                self.facts.trouble.note_change(group, now);
                self.sessions.corrected(owner(group, queue), now)
            }
            Event::Pulled {
                group, queue, from, ..
            } => {
                let session = self.sessions.of(owner(group, queue), now);
                self.sessions.pulled(session, from, now);
                session
            }
            Event::Committed { group, queue, .. } => self.sessions.of(owner(group, queue), now),
            _ => return,
        };
        self.session_records.push((session, at));
    }

    fn delivered(&mut self, at: u32, record: &Record) {
        let Event::Delivered {
            delivery,
            group,
            queue,
            offset,
            value,
            intact,
            reconsume,
        } = record.event
        else {
            return;
        };
        let session = self.sessions.of((record.node, group, queue), record.at);
        self.session_records.push((session, at));
        let audience = self.audience(group, record.node);
        let index = u32::try_from(self.facts.deliveries.len()).unwrap_or(NONE);
        self.facts
            .delivery_index
            .insert(u64::from(delivery.0), index);
        self.facts.deliveries.push(Delivery {
            at: record.at,
            finished: SimTime(u64::MAX),
            offset,
            record: at,
            finish_record: NONE,
            node: record.node,
            group,
            queue,
            value: self.facts.message(value),
            session,
            audience,
            reconsume,
            outcome: None,
            intact,
        });
    }

    fn finished(&mut self, delivery: u32, at: u32, record: &Record, outcome: Outcome) {
        let Some(index) = self.facts.delivery_index.get(u64::from(delivery)) else {
            return;
        };
        let Some(delivery) = self.facts.deliveries.get_mut(index as usize) else {
            return;
        };
        delivery.outcome = Some(outcome);
        (delivery.finished, delivery.finish_record) = (record.at, at);
        self.session_records.push((delivery.session, at));
    }

    fn audience(&mut self, group: GroupId, node: NodeId) -> u32 {
        if !self.facts.group(group).broadcasting {
            return group.0;
        }
        let audiences = &mut self.facts.audiences;
        *self.members.entry((group, node)).or_insert_with(|| {
            audiences.push(Audience {
                group,
                member: Some(node),
            });
            u32::try_from(audiences.len() - 1).unwrap_or(NONE)
        })
    }

    fn trouble(&mut self, at: u32, record: &Record) {
        self.facts.trouble.note(self.facts.history, record.at, at);
        let serves = self.facts.names().serves(record.node);
        match (record.event, serves) {
            (Event::NodeDown { how }, Some(broker)) => {
                let up = SimTime(u64::MAX);
                let outage = Outage {
                    node: record.node,
                    how,
                    down: record.at,
                    up,
                    record: at,
                };
                self.facts.log.down(broker, outage);
            }
            (Event::NodeUp, Some(broker)) => {
                let outages = self.facts.log.outages.get_mut(broker.index());
                if let Some(last) = outages.and_then(|list| list.last_mut()) {
                    last.up = last.up.min(record.at);
                }
            }
            (Event::NodeDown { .. }, None) => {
                let trouble = &mut self.facts.trouble;
                let each = |group| trouble.note_change(group, record.at);
                self.sessions.node_down(record.node, record.at, each);
            }
            _ => {}
        }
    }

    fn broker(&mut self, at: u32, record: &Record) {
        let facts = &mut self.facts;
        let names = facts.history.names();
        match record.event {
            Event::Appended {
                queue,
                reconsume,
                offset,
                physical,
                value,
            } => {
                let Some(broker) = names.queue_of(queue).map(|queue| queue.broker) else {
                    return;
                };
                let append = Append {
                    at: record.at,
                    offset,
                    physical,
                    queue,
                    broker,
                    value: value.map_or(NONE, |value| facts.message(value)),
                    record: at,
                    cut: NONE,
                    outage: NONE,
                    reconsume,
                };
                facts.log.append(append);
            }
            Event::OffsetSet {
                group,
                queue,
                offset,
            } => {
                let set = Set {
                    at: record.at,
                    offset,
                    reset: false,
                    record: at,
                };
                facts.offsets.note(group, queue, set);
            }
            Event::OffsetReset {
                group,
                queue,
                offset,
            } => {
                let set = Set {
                    at: record.at,
                    offset,
                    reset: true,
                    record: at,
                };
                facts.trouble.note_change(group, record.at);
                facts.offsets.note(group, queue, set);
            }
            Event::Recovered { max_physical, .. } => {
                if let Some(broker) = names.serves(record.node) {
                    facts.log.recovered(broker, max_physical, at);
                }
            }
            Event::QueueMax { queue, offset } => {
                if let Some(queue_of) = names.queue_of(queue) {
                    facts.log.queue_max(queue_of.broker, queue, offset, at);
                }
            }
            _ => {}
        }
    }

    /// Timers, transactions, filters and clocks.
    fn waiting(&mut self, at: u32, record: &Record) {
        let op_of = |op: OpId| self.facts.op_index.get(u64::from(op.0)).unwrap_or(NONE);
        let answer = |value, state, check| Answer {
            at: record.at,
            message: self.facts.message(value),
            record: at,
            state,
            check,
        };
        match record.event {
            Event::Timed { op, due_ms } => {
                let timer = Timer {
                    due_ms,
                    record: at,
                    recall: None,
                };
                self.facts.features.timers.insert(op_of(op), timer);
            }
            Event::RecallInvoked { op } => self.facts.features.recall(op_of(op), at),
            Event::RecallEnded { op, outcome } => {
                let op = op_of(op);
                self.facts.features.recalled(op, record.at, at, outcome);
            }
            Event::Unwanted { group, value } => {
                let message = self.facts.message(value);
                self.facts.features.unwanted.insert((group, message), at);
            }
            Event::LocalTransaction { value, state, .. } => {
                let answer = answer(value, state, None);
                self.facts.features.answers.push(answer);
            }
            Event::TransactionChecked {
                value,
                round,
                state,
            } => {
                let answer = answer(value, state, Some(round));
                self.facts.features.answers.push(answer);
            }
            Event::HalfEnded { queue, offset } => {
                let ends = &mut self.facts.features.half_ends;
                ends.entry((queue, offset))
                    .or_default()
                    .push((record.at, at));
            }
            Event::ClockSet { ahead_us } => {
                self.facts
                    .features
                    .set_clock(record.node, record.at, ahead_us);
            }
            _ => {}
        }
    }

    fn seen_by_clients(&mut self, at: u32, record: &Record) {
        let facts = &mut self.facts;
        let op_of = |op: OpId| facts.op_index.get(u64::from(op.0)).unwrap_or(NONE);
        match record.event {
            Event::Named { op, id } => {
                let op = op_of(op);
                let name = Name {
                    id,
                    op,
                    at: record.at,
                    record: at,
                };
                facts.features.ids.push(name);
            }
            Event::Replied { op, value } => {
                let op = op_of(op);
                let reply = Reply {
                    op,
                    value,
                    at: record.at,
                    record: at,
                };
                facts.features.replies.push(reply);
            }
            Event::Queried {
                by,
                value,
                found,
                strangers,
            } => {
                let message = facts.message(value);
                let query = Query {
                    by,
                    message,
                    found,
                    strangers,
                    at: record.at,
                    record: at,
                };
                facts.features.queries.push(query);
            }
            _ => {}
        }
    }

    fn popped(&mut self, at: u32, record: &Record) {
        let of = |id: DeliveryId| {
            self.facts
                .delivery_index
                .get(u64::from(id.0))
                .unwrap_or(NONE)
        };
        let hiding = |handle, visible_at_ms| Hiding {
            at: record.at,
            handle,
            visible_at_ms,
            record: at,
        };
        match record.event {
            Event::Popped {
                delivery,
                popped_at_ms,
                visible_at_ms,
            } => {
                let delivery = of(delivery);
                let hiding = hiding(0, visible_at_ms);
                self.facts.features.pop(delivery, popped_at_ms, hiding);
            }
            Event::HideInvoked { delivery } => {
                self.facts.features.change(of(delivery), at);
            }
            Event::Hidden {
                delivery,
                handle,
                visible_at_ms,
            } => {
                let delivery = of(delivery);
                self.facts
                    .features
                    .hide(delivery, hiding(handle, visible_at_ms));
            }
            Event::AckInvoked { delivery, handle } => {
                let delivery = of(delivery);
                self.facts.features.ack(delivery, record.at, at, handle);
            }
            Event::AckEnded { delivery, outcome } => {
                let delivery = of(delivery);
                self.facts.features.acked(delivery, record.at, at, outcome);
            }
            _ => {}
        }
    }

    fn finish(self) -> Facts<'a> {
        let Self {
            mut facts,
            sessions,
            session_records,
            ..
        } = self;
        facts.trouble.finish();
        facts.features.finish(facts.messages.len());
        facts.sessions = sessions.sessions;
        let pairs = session_records.iter().copied();
        facts.session_records = Csr::build(facts.sessions.len(), pairs);
        drop(session_records);
        let mut offsets = std::mem::take(&mut facts.offsets);
        for line in &mut offsets.lines {
            line.settle(facts.broker_outages(line.queue), facts.persist_us());
        }
        facts.offsets = offsets;
        facts.log.group_by_value(facts.messages.len());
        let deliveries = &facts.deliveries;
        let pairs = (0u32..)
            .zip(deliveries)
            .map(|(at, delivery)| (delivery.value, at));
        let mut deliveries_of = Csr::build(facts.messages.len(), pairs);
        deliveries_of.sort_lists_by(|at| deliveries.get(at as usize).map_or(NONE, |d| d.audience));
        facts.deliveries_of = deliveries_of;
        facts.fates = facts.fates();
        facts
    }
}
