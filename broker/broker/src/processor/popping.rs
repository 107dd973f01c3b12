//! One pop: from which queues it takes what, and what it answers (`PopMessageProcessor`).

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use hotfire_env::defect;
use hotfire_protocol::header::pop::{PopMessageRequestHeader, PopMessageResponseHeader};
use hotfire_protocol::message::record::position;
use hotfire_protocol::message::{property, record};
use hotfire_protocol::pop::{MessageOffsets, OrderCounts, Receipt, StartOffsets, TopicKind};
use hotfire_protocol::{RemotingCommand, ResponseCode};
use hotfire_store::{GetMessageResult, GetMessageStatus};
use tokio::time::Instant;

use super::RESPONSE_BODY_MAX;
use crate::filter::PullFilter;
use crate::pop::{Popped, QueueKey, retry_topics_to_read};
use crate::pop_service::{check_point, commit_safe, set_alarm};
use crate::state::State;

/// How many of a hundred pops look into the retry topic first (`popFromRetryProbability`).
const RETRY_FIRST_PERCENT: i32 = 20;
/// `initMode`: a group without offset begins with the oldest message.
pub(super) const INIT_MIN: i32 = 0;

/// A pop that is being served.
pub(super) struct Popping<'a> {
    broker: &'a Arc<State>,
    header: &'a PopMessageRequestHeader,
    order: bool,
    filter: Option<PullFilter>,
    pop_time: i64,
    revive_queue: i32,
    records: Vec<Bytes>,
    /// Their bytes.
    bytes: usize,
    /// Whether the next messages would be too many for one response.
    response_full: bool,
    starts: StartOffsets,
    offsets: MessageOffsets,
    counts: OrderCounts,
    /// Messages that were left in the queues.
    pub rest: i64,
    /// Whether a check point could not be written.
    pub failed: bool,
}

impl<'a> Popping<'a> {
    pub fn new(
        broker: &'a Arc<State>,
        header: &'a PopMessageRequestHeader,
        filter: Option<PullFilter>,
        pop_time: i64,
    ) -> Self {
        let order = header.order.unwrap_or(false);
        Self {
            broker,
            header,
            order,
            filter,
            pop_time,
            revive_queue: broker.pop.next_revive_queue(order),
            records: Vec::new(),
            bytes: 0,
            response_full: false,
            starts: StartOffsets::default(),
            offsets: MessageOffsets::default(),
            counts: OrderCounts::default(),
            rest: 0,
            failed: false,
        }
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Looks into the topic and into the group's retry topic, sometimes there first.
    pub fn run(&mut self, queues: i32) {
        let random = self.broker.random_below(100);
        let retry_first = random < RETRY_FIRST_PERCENT;
        if retry_first && !self.order {
            self.retries(random);
        }
        let topic = self.header.topic.as_str();
        if self.header.queue_id < 0 {
            self.topic(topic, TopicKind::of(topic), queues, random);
        } else {
            self.queue(topic, TopicKind::of(topic), self.header.queue_id);
        }
        if !retry_first && !self.order && !self.is_full() {
            self.retries(random);
        }
    }

    /// The group's retry topics of the topic, in either order: who is full after the first does not
    /// see the second.
    fn retries(&mut self, random: i32) {
        let (topic, group) = (&self.header.topic, &self.header.consumer_group);
        let mut retries = retry_topics_to_read(&self.broker.config(), topic, group);
        if random % 2 == 1 {
            retries.reverse();
        }
        for retry in retries {
            let known = self
                .broker
                .topics
                .read()
                .get(&retry)
                .map(|topic| topic.read_queue_nums);
            if let Some(queues) = known {
                self.topic(&retry, TopicKind::of(&retry), queues, random);
            }
        }
    }

    fn topic(&mut self, topic: &str, kind: TopicKind, queues: i32, random: i32) {
        for at in 0..queues {
            self.queue(topic, kind, (random + at) % queues);
        }
    }

    fn is_full(&self) -> bool {
        let max = usize::try_from(self.header.max_msg_nums).unwrap_or(0);
        self.records.len() >= max || self.response_full
    }

    fn queue(&mut self, topic: &str, kind: TopicKind, queue_id: i32) {
        let broker = self.broker;
        let key = QueueKey::new(topic, &self.header.consumer_group, queue_id);
        let _popping = broker.pop.lock(&key);
        self.obey_reset(&key);
        let from = begin(broker, &key, self.header.init_mode, true);
        if self.order {
            let attempt = self.header.attempt_id.as_deref();
            let invisible = self.header.invisible_time;
            let orders = broker.pop.orders.lock();
            if orders.is_blocked(&key, attempt, invisible, self.pop_time) {
                return;
            }
        }
        let max = broker.store.max_offset_in_queue(topic, queue_id);
        if self.is_full() {
            self.rest += (max - from).max(0);
            return;
        }
        let (from, found) = self.read(&key, from);
        if !self.records.is_empty() && self.bytes + found.bytes > RESPONSE_BODY_MAX {
            // They stay in their queue, for the next pop.
            self.response_full = true;
            self.rest += (found.max_offset - from).max(0);
            return;
        }
        self.rest += (found.max_offset - found.next_begin_offset).max(0);
        self.count(topic, kind, &found);
        if found.messages.is_empty() {
            self.pass_over(&key, from, &found);
            return;
        }
        let offset = |record: &Bytes| queue_offset(record).unwrap_or(from);
        let offsets: Vec<i64> = found.messages.iter().map(offset).collect();
        if !self.hide(&key, kind, from, &offsets, found.next_begin_offset) {
            self.failed = true;
            return;
        }
        self.bytes += found.bytes;
        let records = found.messages.into_iter();
        if kind == TopicKind::of(&self.header.topic) {
            self.records.extend(records);
        } else {
            let receipt = self.receipt(kind, queue_id, from);
            let renamed = records.map(|record| self.rename(record, &receipt));
            let renamed: Vec<_> = renamed.collect();
            self.records.extend(renamed);
        }
        self.starts.0.push((kind, queue_id, from));
        self.offsets.0.push((kind, queue_id, offsets));
    }

    /// Counts what was read. The metrics name the topic that was asked for, and say whether it was
    /// its retry topic.
    fn count(&self, topic: &str, kind: TopicKind, found: &GetMessageResult) {
        let group = &self.header.consumer_group;
        let (messages, bytes) = (found.messages.len() as u64, found.bytes as u64);
        let mut stats = self.broker.stats.lock();
        stats.got(group, topic, messages, bytes, Instant::now());
        drop(stats);
        if let Some(metrics) = &self.broker.metrics
            && messages > 0
        {
            let topic = &self.header.topic;
            let retried = kind != TopicKind::of(topic);
            metrics.gave(group, topic, retried, (messages, bytes));
        }
    }

    /// Goes where an administrator has put the group.
    fn obey_reset(&self, key: &QueueKey) {
        let (group, topic, queue_id) = (&key.group, &key.topic, key.queue_id);
        let reset = self.broker.resets.lock().take(group, topic, queue_id);
        if let Some(offset) = reset {
            self.broker.pop.orders.lock().clear(key);
            self.broker.pop.offsets.lock().forget(key);
            self.broker.commit_offset(group, topic, queue_id, offset);
        }
    }

    /// Reads a queue; from where it can be read, if not from the offset.
    fn read(&self, key: &QueueKey, from: i64) -> (i64, GetMessageResult) {
        use GetMessageStatus::{OffsetFoundNull, OffsetOverflowBadly, OffsetTooSmall};
        let max = usize::try_from(self.header.max_msg_nums).unwrap_or(0);
        let left = max - self.records.len();
        let get = |from| {
            let (store, topic) = (&self.broker.store, &key.topic);
            match &self.filter {
                None => store.get_message(topic, key.queue_id, from, left, usize::MAX, &|_| true),
                Some(filter) => {
                    store.get_message_filtered(topic, key.queue_id, from, left, usize::MAX, filter)
                }
            }
        };
        let found = get(from);
        let lost = matches!(
            found.status,
            OffsetTooSmall | OffsetOverflowBadly | OffsetFoundNull
        );
        if !lost || !found.messages.is_empty() {
            return (from, found);
        }
        let begin = found.next_begin_offset;
        tracing::warn!(
            ?key,
            from,
            begin,
            "a pop began where the queue cannot be read"
        );
        self.broker.pop.offsets.lock().forget(key);
        self.broker
            .commit_offset(&key.group, &key.topic, key.queue_id, begin);
        (begin, get(begin))
    }

    /// Moves on behind messages that the filter stopped.
    fn pass_over(&self, key: &QueueKey, from: i64, found: &GetMessageResult) {
        use GetMessageStatus::{MessageWasRemoving, NoMatchedMessage, OffsetFoundNull};
        let next = found.next_begin_offset;
        let passed = matches!(
            found.status,
            NoMatchedMessage | OffsetFoundNull | MessageWasRemoving
        );
        if !passed || next <= from {
            return;
        }
        if self.order {
            self.broker
                .commit_offset(&key.group, &key.topic, key.queue_id, next);
        } else {
            self.move_on(key, next, 0);
        }
    }

    fn move_on(&self, key: &QueueKey, next: i64, durable_at: i64) {
        self.broker
            .pop
            .offsets
            .lock()
            .advance(key, next, durable_at);
        commit_safe(self.broker, self.broker.store.flushed_where());
    }

    /// Notes what is given away. False if that fails, and nothing may be given away.
    fn hide(
        &mut self,
        key: &QueueKey,
        kind: TopicKind,
        from: i64,
        offsets: &[i64],
        next: i64,
    ) -> bool {
        let broker = self.broker;
        let times = (self.pop_time, self.header.invisible_time);
        if self.order {
            let popped = Popped {
                attempt_id: self.header.attempt_id.as_deref(),
                pop_time: times.0,
                invisible_time: times.1,
                offsets,
            };
            let told = broker.pop.orders.lock().update(key, popped, self.pop_time);
            let told = told.into_iter();
            self.counts
                .0
                .extend(told.map(|(what, count)| (kind, what, count)));
            let from = if defect!(broker.env, PassUnacked) {
                next
            } else {
                from
            };
            broker.commit_offset(&key.group, &key.topic, key.queue_id, from);
            set_alarm(broker, key);
            return true;
        }
        let name = broker.config().broker_name.clone();
        let point = check_point(&name, key, times, from, offsets);
        let put = broker.append_check_point(&point, self.revive_queue);
        let Some(append) = put.append else {
            let status = put.status.name();
            tracing::error!(status, "cannot write a check point: nothing is popped");
            return false;
        };
        let end = append.physical_offset + append.bytes as i64;
        self.move_on(key, next, end);
        true
    }

    fn receipt(&self, kind: TopicKind, queue_id: i32, start_offset: i64) -> Receipt {
        Receipt {
            start_offset,
            pop_time: self.pop_time,
            invisible_time: self.header.invisible_time,
            revive_queue: self.revive_queue,
            kind,
            broker_name: self.broker.config().broker_name.clone(),
            queue_id,
            queue_offset: None,
        }
    }

    /// A message of the retry topic, as one of the topic that was asked for: its receipt tells
    /// where it really is. One whose properties leave no room for that goes without what else the
    /// broker has noted in it or, if that is not enough, as it is, under the name of the retry topic,
    /// from which a client finds the receipt in the tables of the response.
    fn rename(&self, record: Bytes, receipt: &Receipt) -> Bytes {
        let Ok(mut message) = record::decode(&mut record.clone(), false) else {
            return record;
        };
        let receipt = Receipt {
            queue_offset: Some(message.queue_offset),
            ..receipt.clone()
        };
        let properties = &mut message.message.properties;
        if !properties.contains(property::POP_CK) {
            properties.set(property::POP_CK, receipt.to_string());
        }
        for name in [property::FIRST_POP_TIME, property::CLUSTER] {
            if property::encoded_len(properties) > record::PROPERTIES_MAX {
                properties.remove(name);
            }
        }
        message.message.topic.clone_from(&self.header.topic);
        let mut renamed = BytesMut::new();
        match record::encode(&message, &mut renamed) {
            Ok(_) => renamed.freeze(),
            Err(error) => {
                tracing::debug!(%error, "the receipt does not fit a message");
                record
            }
        }
    }

    pub fn answer(&self, request: &RemotingCommand, code: ResponseCode) -> RemotingCommand {
        let header = PopMessageResponseHeader {
            pop_time: self.pop_time,
            invisible_time: self.header.invisible_time,
            revive_qid: self.revive_queue,
            rest_num: self.rest,
            start_offset_info: Some(self.starts.to_string()),
            msg_offset_info: Some(self.offsets.to_string()),
            order_count_info: self.order.then(|| self.counts.to_string()),
        };
        let mut response = request.response_with(code, &header);
        let status = if self.records.is_empty() {
            GetMessageStatus::NoMessageInQueue
        } else {
            GetMessageStatus::Found
        };
        response.remark = Some(status.name().to_owned());
        let body: BytesMut = self
            .records
            .iter()
            .flat_map(|record| record.iter())
            .collect();
        response.body = body.freeze();
        response
    }
}

/// The queue offset of a record.
pub(crate) fn queue_offset(record: &[u8]) -> Option<i64> {
    let at = position::QUEUE_OFFSET;
    let field = record.get(at..at + 8)?.try_into().ok()?;
    Some(i64::from_be_bytes(field))
}

/// Where the next pop of a queue begins. The first one of a group begins with the oldest message or
/// with the newest, as it asks for; `commits` makes that the group's offset.
pub(super) fn begin(broker: &State, key: &QueueKey, init_mode: i32, commits: bool) -> i64 {
    let (topic, group, queue_id) = (&key.topic, &key.group, key.queue_id);
    let committed = broker.offsets.lock().get(group, topic, queue_id);
    let committed = committed.filter(|&offset| offset >= 0).unwrap_or_else(|| {
        let min = broker.store.min_offset_in_queue(topic, queue_id);
        let retries = TopicKind::of(topic) != TopicKind::Normal;
        // Whatever is stored counts as in memory, and a young topic is read from its beginning
        // (`initPopOffsetByCheckMsgInMem`).
        let begin = if init_mode == INIT_MIN || retries || min <= 0 {
            min
        } else {
            let max = broker.store.max_offset_in_queue(topic, queue_id);
            (max - 1).max(0)
        };
        if commits {
            broker.commit_offset(group, topic, queue_id, begin);
        }
        begin
    });
    let ahead = broker.pop.offsets.lock().next(key);
    ahead.map_or(committed, |ahead| ahead.max(committed))
}
