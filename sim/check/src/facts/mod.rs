//! What the invariants need to know of a history, worked out once: calls with their ends,
//! deliveries with their outcomes, sessions, offset tables, outages. Everything is in dense vectors
//! by small numbers.

use rustc_hash::FxHashMap;

use crate::contract::Contract;
use crate::history::{
    DeliveryId, Event, FaultKind, GroupId, History, How, Names, NodeId, OpId, Order, Outcome,
    Phase, QueueRef, Record, SendKind, SimTime, TopicId, Value,
};

pub(crate) use csr::Csr;
pub(crate) use due::Due;
pub(crate) use fate::Fate;
pub(crate) use features::{Ack, Answer, Features, Hiding, Name, Pop, Query, Reply, Timer};
pub(crate) use groups::{Group, TopicKind};
pub(crate) use log::{Append, Log};
pub(crate) use offsets::{OffsetLine, OffsetTables, Set};
pub(crate) use sessions::Session;
pub(crate) use trouble::{Fault, Outage, Trouble};

use numbers::Numbers;
use sessions::SessionBuilder;

mod build;
mod csr;
mod describe;
mod due;
mod fate;
mod features;
mod groups;
mod log;
mod numbers;
mod offsets;
mod places;
mod sessions;
mod trouble;

/// No such thing: a value that was never sent, a record that does not exist.
pub(crate) const NONE: u32 = u32::MAX;

/// How long a member may take from asking for its start offset to owning the queue, in
/// microseconds: the time limit of the request (`queryConsumerOffset`, 5 s) and what comes after.
pub(crate) const QUERY_US: u64 = 6_000_000;

/// How a send call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Ok,
    Failed,
    /// Or it never ended.
    Unknown,
}

/// One send call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Op {
    pub(crate) invoked: SimTime,
    pub(crate) ended: SimTime,
    /// Offset and queue of the send result.
    pub(crate) offset: i64,
    pub(crate) queue: QueueRef,
    pub(crate) value: u32,
    pub(crate) node: NodeId,
    pub(crate) topic: TopicId,
    pub(crate) order: Option<Order>,
    pub(crate) record: u32,
    pub(crate) end_record: u32,
    /// The next call for the same message.
    pub(crate) next: u32,
    pub(crate) end: End,
    pub(crate) kind: SendKind,
    pub(crate) delay_level: u8,
    pub(crate) durable: bool,
    pub(crate) attempts: u8,
}

impl Op {
    /// Whether the message first waits somewhere else: for its time, or for the end of its
    /// transaction. Its send result names that place, not the one in its topic.
    pub(crate) fn waits(&self) -> bool {
        self.delay_level > 0 || matches!(self.kind, SendKind::Timed | SendKind::Transaction)
    }
}

/// One message of the workload: the numbers of its calls are chained from the first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message {
    pub(crate) first_op: u32,
    pub(crate) last_op: u32,
}

/// One listener call for one message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delivery {
    pub(crate) at: SimTime,
    /// The end of time while it is not finished.
    pub(crate) finished: SimTime,
    pub(crate) offset: i64,
    pub(crate) record: u32,
    pub(crate) finish_record: u32,
    pub(crate) node: NodeId,
    pub(crate) group: GroupId,
    pub(crate) queue: QueueRef,
    /// The message, or [`NONE`] if nobody sent the number found in the body.
    pub(crate) value: u32,
    pub(crate) session: u32,
    /// Who must see each message once: the group, or the member of a broadcasting group.
    pub(crate) audience: u32,
    pub(crate) reconsume: u32,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) intact: bool,
}

/// Who must see each message of a topic: a clustering group, or one member of a broadcasting one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Audience {
    pub(crate) group: GroupId,
    pub(crate) member: Option<NodeId>,
}

/// A position that a broker refused and moved.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Correction {
    pub(crate) at: SimTime,
    pub(crate) group: GroupId,
    pub(crate) queue: QueueRef,
    pub(crate) to: i64,
}

/// A member that started to consume.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Joined {
    pub(crate) group: GroupId,
    pub(crate) node: NodeId,
    pub(crate) at: SimTime,
    pub(crate) record: u32,
}

/// Everything the invariants need.
pub(crate) struct Facts<'a> {
    pub(crate) history: &'a History,
    pub(crate) contract: &'a Contract,
    pub(crate) topics: Vec<TopicKind>,
    pub(crate) groups: Vec<Group>,
    pub(crate) audiences: Vec<Audience>,
    pub(crate) ops: Vec<Op>,
    pub(crate) messages: Vec<Message>,
    pub(crate) values: Vec<Value>,
    pub(crate) deliveries: Vec<Delivery>,
    value_index: Numbers,
    op_index: Numbers,
    delivery_index: Numbers,
    /// By message: its deliveries, by audience, then in order of time.
    pub(crate) deliveries_of: Csr,
    pub(crate) log: Log,
    pub(crate) sessions: Vec<Session>,
    /// By session: its events, in order.
    pub(crate) session_records: Csr,
    pub(crate) offsets: OffsetTables,
    pub(crate) features: Features,
    pub(crate) trouble: Trouble,
    pub(crate) corrections: Vec<Correction>,
    /// Members that started to consume; once for each topic.
    pub(crate) joined: Vec<Joined>,
    pub(crate) fates: Vec<Fate>,
    /// When the drain phase began.
    pub(crate) drain: Option<SimTime>,
    /// When the run was over, and whether consumers had caught up.
    pub(crate) done: Option<(SimTime, bool)>,
}

impl<'a> Facts<'a> {
    /// Works out the facts of a history.
    pub(crate) fn new(history: &'a History, contract: &'a Contract) -> Self {
        build::build(history, contract)
    }

    pub(crate) fn names(&self) -> &'a Names {
        self.history.names()
    }

    pub(crate) fn record(&self, at: u32) -> Option<&'a Record> {
        self.history.records().get(at as usize)
    }

    pub(crate) fn topic_of(&self, queue: QueueRef) -> Option<TopicId> {
        self.names().queue_of(queue).map(|queue| queue.topic)
    }

    pub(crate) fn topic_kind(&self, queue: QueueRef) -> TopicKind {
        let topic = self.topic_of(queue);
        topic
            .and_then(|t| self.topics.get(t.index()).copied())
            .unwrap_or(TopicKind::Normal)
    }

    pub(crate) fn group(&self, group: GroupId) -> &Group {
        static NOBODY: Group = Group::nobody();
        self.groups.get(group.index()).unwrap_or(&NOBODY)
    }

    /// The calls that sent a message.
    pub(crate) fn ops_of(&self, message: u32) -> impl Iterator<Item = &Op> + Clone {
        let first = self.messages.get(message as usize);
        let first = first.and_then(|message| self.ops.get(message.first_op as usize));
        std::iter::successors(first, |op| self.ops.get(op.next as usize))
    }

    /// The call that sent a message with success, if there was one; the first of them.
    pub(crate) fn ok_op(&self, message: u32) -> Option<&Op> {
        self.ops_of(message).find(|op| op.end == End::Ok)
    }

    /// A message that was sent by one call with one attempt, and acknowledged: it is stored once.
    pub(crate) fn sent_once(&self, message: u32) -> Option<&Op> {
        let mut ops = self.ops_of(message);
        let op = ops.next()?;
        let plain = op.end == End::Ok && self.attempts(op) == 1 && ops.next().is_none();
        plain.then_some(op)
    }

    /// How many attempts a call may have made.
    pub(crate) fn attempts(&self, op: &Op) -> u64 {
        match op.attempts {
            0 => u64::from(self.contract.send_attempts.max(1)),
            attempts => u64::from(attempts),
        }
    }

    /// The message's deliveries, one slice per audience, in order of time.
    pub(crate) fn by_audience(&self, message: u32) -> impl Iterator<Item = &[u32]> + '_ {
        let audience = |&at: &u32| self.deliveries.get(at as usize).map(|d| d.audience);
        self.deliveries_of
            .of(message)
            .chunk_by(move |a, b| audience(a) == audience(b))
    }

    /// The message's deliveries to one audience, in order of time.
    pub(crate) fn delivered_to(&self, message: u32, audience: u32) -> &[u32] {
        let list = self.deliveries_of.of(message);
        let of = |&at: &u32| {
            self.deliveries
                .get(at as usize)
                .map_or(NONE, |d| d.audience)
        };
        let from = list.partition_point(|at| of(at) < audience);
        let to = list.partition_point(|at| of(at) <= audience);
        list.get(from..to).unwrap_or_default()
    }

    /// The deliveries behind a list of numbers.
    pub(crate) fn each<'b>(
        &'b self,
        list: &'b [u32],
    ) -> impl Iterator<Item = &'b Delivery> + Clone {
        list.iter()
            .filter_map(|&at| self.deliveries.get(at as usize))
    }

    /// The outages of the brokers that hold a queue.
    pub(crate) fn broker_outages(&self, queue: QueueRef) -> &[Outage] {
        let broker = self.names().queue_of(queue).map(|queue| queue.broker);
        broker
            .and_then(|b| self.log.outages.get(b.index()))
            .map_or(&[], Vec::as_slice)
    }

    /// Whether a broker that holds the queue went down in some way between two times.
    pub(crate) fn broker_down(
        &self,
        queue: QueueRef,
        hows: &[How],
        from: SimTime,
        to: SimTime,
    ) -> bool {
        let within = |o: &Outage| hows.contains(&o.how) && o.down >= from && o.down <= to;
        self.broker_outages(queue).iter().any(within)
    }

    /// Whether a broker that holds the queue lost power between two times.
    pub(crate) fn broker_power_lost(&self, queue: QueueRef, from: SimTime, to: SimTime) -> bool {
        self.broker_down(queue, &[How::PowerLoss], from, to)
    }

    /// The message with this number in its body, or [`NONE`].
    pub(crate) fn message(&self, value: Value) -> u32 {
        self.value_index.get(value.0).unwrap_or(NONE)
    }

    /// A delivery by its number.
    pub(crate) fn delivery(&self, id: DeliveryId) -> Option<&Delivery> {
        let at = self.delivery_index.get(u64::from(id.0))?;
        self.deliveries.get(at as usize)
    }

    /// The first delivery of an offset in a session.
    pub(crate) fn handed_out(&self, session: u32, offset: i64) -> Option<&Delivery> {
        let mut events = self.session_records.of(session).iter();
        events.find_map(|&at| match self.record(at)?.event {
            Event::Delivered {
                delivery,
                offset: there,
                ..
            } if there == offset => self.delivery(delivery),
            _ => None,
        })
    }

    /// The earliest time at which a session's member may have been told its start offset.
    pub(crate) fn asked(&self, session: &Session) -> SimTime {
        let asked = SimTime(session.opened.0.saturating_sub(QUERY_US));
        let frozen = [FaultKind::Freeze];
        let frozen = self
            .trouble
            .struck_us(session.node, &frozen, (SimTime(0), session.opened));
        SimTime(asked.0.saturating_sub(frozen))
    }

    /// For how long before a kill an offset may have been set and still be forgotten, in
    /// microseconds.
    pub(crate) fn persist_us(&self) -> u64 {
        (self.contract.offset_persist_ms + 1000) * 1000
    }

    /// The number of a call, an index into the calls.
    pub(crate) fn op_number(&self, op: OpId) -> Option<u32> {
        self.op_index.get(u64::from(op.0))
    }

    /// What a node's wall clock shows, in microseconds since 1970.
    pub(crate) fn wall_us(&self, node: NodeId, at: SimTime) -> i64 {
        let true_us = i64::try_from(at.0).unwrap_or(i64::MAX);
        let epoch_us = self.contract.epoch_ms.saturating_mul(1000);
        let ahead_us = self.features.ahead_us(node, at);
        epoch_us.saturating_add(true_us).saturating_add(ahead_us)
    }

    /// The last time up to another one at which a node's wall clock showed this; that other time if
    /// it never did.
    pub(crate) fn last_shown(&self, node: NodeId, wall_ms: i64, until: SimTime) -> SimTime {
        let wall_us = wall_ms
            .saturating_sub(self.contract.epoch_ms)
            .saturating_mul(1000);
        let settings = self.features.settings(node).iter().rev().copied();
        let mut until_next = until;
        for (from, ahead_us) in settings.chain([(SimTime(0), 0)]) {
            let shown = u64::try_from(wall_us.saturating_sub(ahead_us)).map(SimTime);
            if let Ok(shown) = shown
                && (from..=until_next).contains(&shown)
            {
                return shown;
            }
            until_next = until_next.min(from);
        }
        until
    }

    /// The time from which on a node's wall clock never shows less than this again.
    pub(crate) fn when_shown(&self, node: NodeId, wall_ms: i64) -> SimTime {
        let since_start = wall_ms.saturating_sub(self.contract.epoch_ms);
        let shown = |ahead_us: i64| {
            let at = since_start.saturating_mul(1000).saturating_sub(ahead_us);
            SimTime(u64::try_from(at).unwrap_or(0))
        };
        let mut since: Option<SimTime> = None;
        let (mut from, mut ahead) = (SimTime(0), 0);
        for &(until, next) in self.features.settings(node) {
            let reached = shown(ahead);
            since = match since {
                _ if reached >= until => None,
                Some(since) if reached <= from => Some(since),
                _ => Some(reached.max(from)),
            };
            (from, ahead) = (until, next);
        }
        let reached = shown(ahead);
        since
            .filter(|_| reached <= from)
            .unwrap_or(reached.max(from))
    }

    /// The members of a group that live at a time.
    pub(crate) fn members(&self, group: GroupId, at: SimTime) -> Vec<NodeId> {
        let joined = self.joined.iter();
        let joined = joined.filter(|joined| joined.group == group && joined.at <= at);
        // A node that is restarted may go down and come back at one time.
        let lives = |joined: &&Joined| {
            let mut outages = self.trouble.outages.iter();
            !outages.any(|o| o.node == joined.node && o.record > joined.record && o.down <= at)
        };
        let mut members: Vec<NodeId> = joined.filter(lives).map(|joined| joined.node).collect();
        members.sort_unstable();
        members.dedup();
        members
    }

    /// The node of the broker that holds a queue; the first, if there are several.
    pub(crate) fn broker_of(&self, queue: QueueRef) -> Option<NodeId> {
        let broker = self.names().queue_of(queue)?.broker;
        let nodes = 0..u32::try_from(self.names().node_count()).unwrap_or(NONE);
        let mut nodes = nodes.map(NodeId);
        nodes.find(|&node| self.names().serves(node) == Some(broker))
    }

    /// The node that noted an event.
    pub(crate) fn node_of(&self, record: u32) -> Option<NodeId> {
        self.record(record).map(|record| record.node)
    }

    /// The copies of a message in its own topic, in order of time.
    pub(crate) fn own_copies(
        &self,
        message: u32,
    ) -> impl DoubleEndedIterator<Item = &Append> + Clone {
        let topic = self.ops_of(message).next().map(|op| op.topic);
        let own = move |append: &&Append| topic.is_some() && self.topic_of(append.queue) == topic;
        self.log.of(message).filter(own)
    }

    /// The copies of a message in topics of a kind, in order of time.
    pub(crate) fn copies_in(
        &self,
        message: u32,
        kind: TopicKind,
    ) -> impl DoubleEndedIterator<Item = &Append> + Clone {
        let there = move |append: &&Append| self.topic_kind(append.queue) == kind;
        self.log.of(message).filter(there)
    }

    /// The time at which the run was over.
    pub(crate) fn end(&self) -> SimTime {
        self.done.map_or(self.history.end(), |(at, _)| at)
    }
}
