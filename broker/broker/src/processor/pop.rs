//! POP_MESSAGE and PEEK_MESSAGE (`PopMessageProcessor`, `PeekMessageProcessor`).

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hotfire_protocol::body::SubscriptionGroupConfig;
use hotfire_protocol::header::pop::{
    PeekMessageRequestHeader, PopMessageRequestHeader, PopMessageResponseHeader,
};
use hotfire_protocol::message::record::position;
use hotfire_protocol::message::{property, record};
use hotfire_protocol::pop::{
    MessageOffsets, OrderCounts, POP_MAX, Receipt, StartOffsets, TopicKind, retry_topic,
    retry_topic_v2,
};
use hotfire_protocol::topic::perm;
use hotfire_protocol::{RemotingCommand, RequestCode, ResponseCode};
use hotfire_remoting::{Channel, Handled};
use hotfire_store::{GetMessageResult, GetMessageStatus};
use tokio::time::Instant;

use super::pop_notify::{self, Ahead};
use super::{Answer, faq, pull};
use crate::filter::PullFilter;
use crate::pop::{Parked, Popped, QueueKey, check_point, commit_safe, set_alarm, wake_exact};
use crate::refusal::Refusal;
use crate::state::{State, Waiting};

/// How many of a hundred pops look into the retry topic first (`popFromRetryProbability`).
const RETRY_FIRST_PERCENT: i32 = 20;
/// A request that is late by more than this many milliseconds is not looked at
/// (`PopMessageRequestHeader.isTimeoutTooMuch`).
const TOO_LATE_MS: i64 = 500;
/// The longest wait that a request can ask for; more would only be a way to hoard memory.
const WAIT_MAX_MS: i64 = 24 * 3_600_000;
/// `initMode`: a group without offset begins with the oldest message.
const INIT_MIN: i32 = 0;

/// What a request that found nothing waits for.
pub(super) struct Wait {
    pub ahead: Ahead,
    pub parked: Parked<()>,
}

/// How a request was served.
pub(super) enum Served {
    Answer(RemotingCommand),
    /// Nothing was found; this is the answer if it cannot be parked.
    Park(Box<Wait>, RemotingCommand),
}

/// Takes a pop or a notification: serves it, or parks it until there are messages.
pub(super) fn handle(
    broker: &Arc<State>,
    channel: &Channel,
    mut request: RemotingCommand,
) -> Handled {
    // Waiting counts from when the request was made, if it says when.
    let born = request.ext.get("bornTime");
    if born.is_none_or(|born| born == "0") {
        let now = broker.env.now_ms().to_string();
        request.ext.set("bornTime", now);
    }
    match run_again(broker, channel, request) {
        Some(response) => Handled::Reply(response),
        None => Handled::None,
    }
}

/// Serves a pop or a notification; nothing if it waits.
pub(crate) fn run_again(
    broker: &Arc<State>,
    channel: &Channel,
    request: RemotingCommand,
) -> Option<RemotingCommand> {
    let notification = request.code == RequestCode::NOTIFICATION.0;
    let served = if notification {
        pop_notify::serve(broker, channel, &request)
    } else {
        serve(broker, channel, &request)
    };
    let (wait, full) = match served {
        Ok(Served::Answer(response)) => return Some(response),
        Err(refusal) => return Some(refusal.response(&request)),
        Ok(Served::Park(wait, full)) => (wait, full),
    };
    let Wait { ahead, parked } = *wait;
    let key = ahead.key.clone();
    let parked = Parked {
        deadline: parked.deadline,
        filter: parked.filter,
        request: Waiting {
            channel: channel.clone(),
            request,
        },
    };
    let polling = if notification {
        &broker.pop.notifications
    } else {
        &broker.pop.polling
    };
    if polling.lock().park(key.clone(), parked).is_err() {
        return Some(full);
    }
    broker.pop.parked.notify_one();
    if pop_notify::has_messages(broker, &ahead) {
        // The filter ended the look early, or something has arrived since.
        wake_exact(broker, &key);
    }
    None
}

/// When a request that was made at `born_time` and waits for `poll_time` has to be answered;
/// `None` if that is over.
pub(super) fn deadline(broker: &State, born_time: i64, poll_time: i64) -> Option<Instant> {
    let left = born_time
        .saturating_add(poll_time)
        .saturating_sub(broker.env.now_ms())
        .min(poll_time.min(WAIT_MAX_MS));
    let left = u64::try_from(left).ok().filter(|&left| left > 0)?;
    Some(Instant::now() + Duration::from_millis(left))
}

fn serve(
    broker: &Arc<State>,
    channel: &Channel,
    request: &RemotingCommand,
) -> Result<Served, Refusal> {
    let header: PopMessageRequestHeader = request.header()?;
    let now_ms = broker.env.now_ms();
    let until = header.born_time.saturating_add(header.poll_time);
    if now_ms.saturating_sub(until) > TOO_LATE_MS {
        let remark = format!("the broker[{}] pop message is timeout too much", ip(broker));
        return Err(Refusal::new(ResponseCode::POLLING_TIMEOUT, remark));
    }
    let (topic, queue_id) = (header.topic.as_str(), header.queue_id);
    if header.max_msg_nums > POP_MAX {
        check_broker(broker, "pop message")?;
        let remark = format!(
            "the broker[{}] pop message's num is greater than {POP_MAX}",
            ip(broker)
        );
        return Err(Refusal::new(ResponseCode::INVALID_PARAMETER, remark));
    }
    let queues = check(
        broker,
        channel,
        "pop",
        topic,
        queue_id,
        &header.consumer_group,
    )?;
    let filter = filter(broker, &header)?;
    let order = header.order.unwrap_or(false);
    if !order && !broker.ensure_revive_topic() {
        let remark = "there is no topic for check points";
        return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark));
    }
    let mut popping = Popping {
        broker,
        header: &header,
        order,
        filter: filter.clone(),
        pop_time: now_ms,
        revive_queue: broker.pop.next_revive_queue(order),
        records: Vec::new(),
        starts: StartOffsets::default(),
        offsets: MessageOffsets::default(),
        counts: OrderCounts::default(),
        rest: 0,
        failed: false,
    };
    popping.run(queues);
    if !popping.records.is_empty() {
        if popping.rest > 0 {
            // There is more, for the next one who waits.
            let key = QueueKey::new(topic, &header.consumer_group, queue_id);
            wake_exact(broker, &key);
        }
        let answer = popping.answer(request, ResponseCode::SUCCESS);
        return Ok(Served::Answer(answer));
    }
    if popping.failed {
        let remark = "check points cannot be written";
        return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark));
    }
    let Some(deadline) = deadline(broker, header.born_time, header.poll_time) else {
        let answer = popping.answer(request, ResponseCode::POLLING_TIMEOUT);
        return Ok(Served::Answer(answer));
    };
    let full = popping.answer(request, ResponseCode::POLLING_FULL);
    let wait = Wait {
        ahead: Ahead {
            key: QueueKey::new(topic, &header.consumer_group, queue_id),
            order,
            attempt_id: header.attempt_id.clone(),
            queues,
        },
        parked: Parked {
            deadline,
            filter,
            request: (),
        },
    };
    Ok(Served::Park(Box::new(wait), full))
}

fn ip(broker: &State) -> std::net::IpAddr {
    broker.address().ip()
}

pub(super) fn check_broker(broker: &State, what: &str) -> Result<(), Refusal> {
    if perm::is_readable(broker.config().broker_permission) {
        return Ok(());
    }
    let remark = format!("the broker[{}] {what} is forbidden", ip(broker));
    Err(Refusal::new(ResponseCode::NO_PERMISSION, remark))
}

/// The checks that all these requests have in common, in RocketMQ's order. Returns how many queues
/// the topic has.
pub(super) fn check(
    broker: &State,
    channel: &Channel,
    what: &str,
    topic: &str,
    queue_id: i32,
    group: &str,
) -> Result<i32, Refusal> {
    check_broker(broker, &format!("{what} message"))?;
    let forbidden = |remark: String| Err(Refusal::new(ResponseCode::NO_PERMISSION, remark));
    let queues = {
        let topics = broker.topics.read();
        let Some(known) = topics.get(topic) else {
            let remark = faq(&format!("topic[{topic}] not exist, apply first please!"));
            return Err(Refusal::new(ResponseCode::TOPIC_NOT_EXIST, remark));
        };
        if !perm::is_readable(known.perm) {
            return forbidden(format!("the topic[{topic}] peeking message is forbidden"));
        }
        known.read_queue_nums
    };
    if queue_id >= queues {
        let remark = illegal_queue(channel, topic, queue_id, queues);
        return Err(Refusal::new(ResponseCode::INVALID_PARAMETER, remark));
    }
    let enabled = |group: &SubscriptionGroupConfig| group.consume_enable;
    match broker.with_group(group, enabled) {
        None => {
            let remark = faq(&format!("subscription group [{group}] does not exist,"));
            let code = ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST;
            Err(Refusal::new(code, remark))
        }
        Some(false) => forbidden(format!("subscription group no permission, {group}")),
        Some(true) => Ok(queues),
    }
}

pub(super) fn illegal_queue(channel: &Channel, topic: &str, queue_id: i32, queues: i32) -> String {
    format!(
        "queueId[{queue_id}] is illegal, topic:[{topic}] topicConfig.readQueueNums:[{queues}] \
         consumer:[/{}]",
        channel.peer()
    )
}

/// The filter of a pop: none without an expression.
fn filter(broker: &State, header: &PopMessageRequestHeader) -> Result<Option<PullFilter>, Refusal> {
    let Some(expression) = header.exp.as_deref().filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let (kind, version) = (header.exp_type.as_deref(), header.born_time);
    let config = broker.config();
    pull::filter_of(&config, &header.topic, expression, kind, version).map(Some)
}

/// A pop that is being served.
struct Popping<'a> {
    broker: &'a Arc<State>,
    header: &'a PopMessageRequestHeader,
    order: bool,
    filter: Option<PullFilter>,
    pop_time: i64,
    revive_queue: i32,
    records: Vec<Bytes>,
    starts: StartOffsets,
    offsets: MessageOffsets,
    counts: OrderCounts,
    /// Messages that were left in the queues.
    rest: i64,
    /// Whether a check point could not be written.
    failed: bool,
}

impl Popping<'_> {
    /// Looks into the topic and into the group's retry topic, sometimes there first.
    fn run(&mut self, queues: i32) {
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

    /// The group's retry topics of the topic: the usual one, and one that brokers of Apache
    /// RocketMQ with the other naming have left.
    fn retries(&mut self, random: i32) {
        let (topic, group) = (&self.header.topic, &self.header.consumer_group);
        for retry in [retry_topic(topic, group), retry_topic_v2(topic, group)] {
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
        self.records.len() >= max
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
        self.rest += (found.max_offset - found.next_begin_offset).max(0);
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
    /// where it really is.
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
        message.message.topic.clone_from(&self.header.topic);
        let mut renamed = BytesMut::new();
        match record::encode(&message, &mut renamed) {
            Ok(_) => renamed.freeze(),
            Err(error) => {
                tracing::warn!(%error, "the receipt does not fit a message");
                record
            }
        }
    }

    fn answer(&self, request: &RemotingCommand, code: ResponseCode) -> RemotingCommand {
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

/// PEEK_MESSAGE: what the next pop would find, without taking it.
pub(super) fn peek(broker: &Arc<State>, channel: &Channel, request: &RemotingCommand) -> Answer {
    let header: PeekMessageRequestHeader = request.header()?;
    let (topic, group) = (header.topic.as_str(), header.consumer_group.as_str());
    let queues = check(broker, channel, "peeking", topic, header.queue_id, group)?;
    let random = broker.random_below(100);
    let retry = retry_topic(topic, group);
    let retry_queues = broker
        .topics
        .read()
        .get(&retry)
        .map_or(0, |topic| topic.read_queue_nums);
    let retries = (0..retry_queues).map(|at| (retry.as_str(), (random + at) % retry_queues));
    let own = match header.queue_id {
        negative if negative < 0 => (0..queues).map(|at| (random + at) % queues).collect(),
        queue_id => vec![queue_id],
    };
    let own = own.into_iter().map(|queue_id| (topic, queue_id));
    let order: Vec<_> = if random % 5 == 0 {
        retries.chain(own).collect()
    } else {
        own.chain(retries).collect()
    };
    let max = usize::try_from(header.max_msg_nums).unwrap_or(0);
    let (mut records, mut rest) = (Vec::new(), 0);
    for (topic, queue_id) in order {
        let key = QueueKey::new(topic, group, queue_id);
        let mut from = begin(broker, &key, INIT_MIN, false);
        rest += (broker.store.max_offset_in_queue(topic, queue_id) - from).max(0);
        if records.len() >= max {
            continue;
        }
        from = from.max(broker.store.min_offset_in_queue(topic, queue_id));
        let left = max - records.len();
        let found = broker
            .store
            .get_message(topic, queue_id, from, left, usize::MAX, &|_| true);
        records.extend(found.messages);
    }
    let (code, status) = if records.is_empty() {
        let status = GetMessageStatus::NoMessageInQueue;
        (ResponseCode::PULL_NOT_FOUND, status)
    } else {
        (ResponseCode::SUCCESS, GetMessageStatus::Found)
    };
    let mut response = request.response(code);
    // Only the number of messages is told; the other fields are at Java's zero.
    for name in ["popTime", "invisibleTime", "reviveQid"] {
        response.ext.push(name, "0");
    }
    response.ext.push("restNum", rest.to_string());
    response.remark = Some(status.name().to_owned());
    response.body = records.concat().into();
    Ok(response)
}
