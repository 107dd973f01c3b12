//! Pulls: PULL_MESSAGE and LITE_PULL_MESSAGE (`PullMessageProcessor`).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hotfire_env::defect;
use hotfire_protocol::body::{SubscriptionData, SubscriptionGroupConfig};
use hotfire_protocol::filter::{SQL92, is_tag_type};
use hotfire_protocol::header::pull::{PullMessageResponseHeader, sys_flag};
use hotfire_protocol::topic::{self, perm};
use hotfire_protocol::{
    ExtFields, Header, HeaderError, RemotingCommand, RequestCode, ResponseCode,
};
use hotfire_remoting::{Channel, Handled};
use hotfire_store::{Arrival, GetMessageResult, GetMessageStatus};
use tokio::time::Instant;

use super::{faq, field, text};
use crate::config::BrokerConfig;
use crate::filter::{self, PullFilter};
use crate::limits;
use crate::pull_hold::Parked;
use crate::refusal::Refusal;
use crate::state::State;
use crate::waiting::Waiting;

/// What a parked pull usually takes, in bytes; only what is beyond counts as its size.
const USUAL_BYTES: usize = 4 << 10;
/// What a filter takes in memory, times the length of its expression.
const FILTER_FACTOR: usize = 10;
/// How many woken pulls are run before others have their turn.
const WOKEN_PIECE: usize = 64;
/// The master's number, as the broker to pull from.
const MASTER_ID: i64 = 0;

/// The header of a pull, borrowed.
struct PullHeader<'a> {
    group: &'a str,
    topic: &'a str,
    queue_id: i32,
    queue_offset: i64,
    max_msg_nums: i32,
    sys_flag: i32,
    commit_offset: i64,
    suspend_timeout_ms: i64,
    subscription: &'a str,
    sub_version: i64,
    expression_type: Option<&'a str>,
    max_msg_bytes: Option<i32>,
}

impl<'a> PullHeader<'a> {
    fn read(ext: &'a ExtFields) -> Result<Self, HeaderError> {
        Ok(Self {
            group: text(ext, "consumerGroup")?,
            topic: text(ext, "topic")?,
            queue_id: field(ext, "queueId")?,
            queue_offset: field(ext, "queueOffset")?,
            max_msg_nums: field(ext, "maxMsgNums")?,
            sys_flag: field(ext, "sysFlag")?,
            commit_offset: field(ext, "commitOffset")?,
            suspend_timeout_ms: field(ext, "suspendTimeoutMillis")?,
            subscription: ext.get("subscription").unwrap_or_default(),
            sub_version: field(ext, "subVersion")?,
            expression_type: ext.get("expressionType"),
            max_msg_bytes: field(ext, "maxMsgBytes")?,
        })
    }

    fn has(&self, flag: i32) -> bool {
        self.sys_flag & flag != 0
    }
}

/// Serves a pull, or parks it until messages arrive.
pub(super) fn handle(broker: &State, channel: &Channel, mut request: RemotingCommand) -> Handled {
    let parked = match serve(broker, channel, &request, true) {
        Ok(Served::Answer(response)) => return Handled::Reply(response),
        Err(refusal) => return Handled::Reply(refusal.response(&request)),
        Ok(Served::Park(parked)) => parked,
    };
    let Some((topic, queue_id)) = request
        .ext
        .get("topic")
        .map(str::to_owned)
        .zip(field(&request.ext, "queueId").ok())
    else {
        return Handled::None;
    };
    let pull_from = parked.pull_from;
    request.body = Bytes::new();
    let waiting = Waiting::new(channel, request);
    let parking = broker
        .hold
        .lock()
        .park(&topic, queue_id, parked.map(waiting));
    if let Err((waiting, full)) = parking {
        // As when Java's pool of threads for pulls is full: the client asks again in a while.
        let remark = format!("[OVERLOAD]system busy, start flow control for a while: {full}");
        let refusal = Refusal::new(ResponseCode::SYSTEM_BUSY, remark);
        return Handled::Reply(refusal.response(&waiting.request));
    }
    if !channel.is_open() {
        // It closed meanwhile, and nobody else would drop what is parked now.
        broker.hold.lock().connection_closed(channel.id());
        return Handled::None;
    }
    let max_offset = broker.store.max_offset_in_queue(&topic, queue_id);
    if max_offset > pull_from {
        // Something arrived between the look and the parking; on one thread it cannot.
        let (mut woken, now) = (Vec::new(), Instant::now());
        let mut hold = broker.hold.lock();
        hold.on_arrival(&topic, queue_id, max_offset, &mut |_| true, now, &mut woken);
        drop(hold);
        wake(broker, woken);
    }
    Handled::None
}

/// Runs the parked pulls again that were woken.
pub(crate) async fn run_woken(broker: &State) {
    // What is woken meanwhile notifies again.
    let mut left = broker.woken.lock().len();
    while left > 0 {
        let piece = left.min(WOKEN_PIECE);
        run_piece(broker, piece);
        left -= piece;
        if left > 0 {
            tokio::task::yield_now().await;
        }
    }
}

fn run_piece(broker: &State, count: usize) {
    for _ in 0..count {
        let Some(waiting) = broker.woken.lock().pop_front() else {
            return;
        };
        let Waiting {
            channel, request, ..
        } = &waiting;
        if !channel.is_open() {
            continue;
        }
        let response = match serve(broker, channel, request, false) {
            Ok(Served::Answer(response)) => response,
            Err(refusal) => refusal.response(request),
            Ok(Served::Park(_)) => continue,
        };
        broker.answer_late(&waiting, response, true);
    }
}

/// A message became visible: wakes those who wait for it.
pub(crate) fn on_arrival(broker: &State, arrival: &Arrival<'_>) {
    let now = Instant::now();
    broker
        .stats
        .lock()
        .store
        .arrived(now, arrival.store_timestamp);
    let mut hold = broker.hold.lock();
    if hold.is_empty() || defect!(broker.env, WakeNobody) {
        return;
    }
    let mut woken = Vec::new();
    let (topic, queue_id) = (arrival.topic, arrival.queue_id);
    let mut matches = filter::for_arrival(&broker.store, arrival);
    hold.on_arrival(
        topic,
        queue_id,
        arrival.logic_offset,
        &mut matches,
        now,
        &mut woken,
    );
    drop(hold);
    wake(broker, woken);
}

/// Wakes every parked pull that has something to say, a piece of them at a time.
pub(crate) async fn wake_all(broker: &State) {
    let max_offset = |topic: &str, queue_id| broker.store.max_offset_in_queue(topic, queue_id);
    let mut from = None;
    loop {
        let now = Instant::now();
        let (woken, next) = broker.hold.lock().tick(from.as_ref(), now, max_offset);
        wake(broker, woken);
        from = next;
        if from.is_none() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

fn wake(broker: &State, woken: Vec<Waiting>) {
    if !woken.is_empty() {
        broker.woken.lock().extend(woken);
        broker.wake.notify_one();
    }
}

/// How a pull was served.
enum Served {
    Answer(RemotingCommand),
    Park(Parked<()>),
}

impl Parked<()> {
    fn map<R>(self, request: R) -> Parked<R> {
        Parked {
            pull_from: self.pull_from,
            deadline: self.deadline,
            filter: self.filter,
            connection: self.connection,
            bytes: self.bytes,
            request,
        }
    }
}

/// What of a group's settings a pull needs.
#[derive(Clone, Copy)]
struct Group {
    consume_enable: bool,
    consume_broadcast_enable: bool,
    broker_id: i64,
}

impl Group {
    fn of(group: &SubscriptionGroupConfig) -> Self {
        Self {
            consume_enable: group.consume_enable,
            consume_broadcast_enable: group.consume_broadcast_enable,
            broker_id: group.broker_id,
        }
    }
}

/// Looks for messages. On the first pass an empty result may park the request, and the offset that
/// comes along is committed.
fn serve(
    broker: &State,
    channel: &Channel,
    request: &RemotingCommand,
    first_pass: bool,
) -> Result<Served, Refusal> {
    let config = broker.config();
    let header = PullHeader::read(&request.ext)?;
    let group = check(broker, &config, &header, request, channel)?;
    let filter = filter(broker, &config, &header, group)?;
    if let Some(reset) = take_reset(broker, &header) {
        return Ok(Served::Answer(reset_answer(
            broker, request, &header, reset,
        )));
    }
    let found = broker.store.get_message_filtered(
        header.topic,
        header.queue_id,
        header.queue_offset,
        usize::try_from(header.max_msg_nums).unwrap_or(0),
        header
            .max_msg_bytes
            .map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(0)),
        &filter,
    );
    let (messages, bytes) = (found.messages.len() as u64, found.bytes as u64);
    let now = Instant::now();
    broker
        .stats
        .lock()
        .got(header.group, header.topic, messages, bytes, now);
    if let Some(metrics) = &broker.metrics {
        let (group, topic, next) = (header.group, header.topic, found.next_begin_offset);
        metrics.got(group, topic, header.queue_id, next, (messages, bytes));
    }
    let code = response_code(found.status, header.queue_offset);
    let parks = code == ResponseCode::PULL_NOT_FOUND && first_pass && header.has(sys_flag::SUSPEND);
    let served = if parks {
        let suspend = if config.long_polling_enable {
            let ms = header.suspend_timeout_ms.clamp(0, limits::SUSPEND_MS);
            Duration::from_millis(ms.unsigned_abs())
        } else {
            config.short_polling_time
        };
        Served::Park(Parked {
            pull_from: header.queue_offset,
            deadline: Instant::now() + suspend,
            filter,
            connection: channel.id(),
            bytes: bytes_of(request, &header).saturating_sub(USUAL_BYTES),
            request: (),
        })
    } else {
        let suggested = if config.slave_read_enable {
            group.broker_id
        } else {
            MASTER_ID
        };
        Served::Answer(answer(broker, request, code, found, suggested))
    };
    if first_pass && header.has(sys_flag::COMMIT_OFFSET) {
        let (group, topic, queue_id) = (header.group, header.topic, header.queue_id);
        if let Err(full) = broker.commit_of_client(group, topic, queue_id, header.commit_offset) {
            tracing::warn!(group, topic, %full, "an offset is not committed");
        }
    }
    Ok(served)
}

/// What a parked pull takes, in bytes.
fn bytes_of(request: &RemotingCommand, header: &PullHeader<'_>) -> usize {
    let fields = Waiting::bytes(request) - request.body.len();
    fields + FILTER_FACTOR * header.subscription.len()
}

/// Where the group was put since it pulled this queue last; it is told once.
fn take_reset(broker: &State, header: &PullHeader<'_>) -> Option<i64> {
    let mut resets = broker.resets.lock();
    resets.take(header.group, header.topic, header.queue_id)
}

/// Sends a group to the offset that it was reset to (`OFFSET_RESET`).
fn reset_answer(
    broker: &State,
    request: &RemotingCommand,
    header: &PullHeader<'_>,
    offset: i64,
) -> RemotingCommand {
    let (store, topic, queue_id) = (&broker.store, header.topic, header.queue_id);
    let header = PullMessageResponseHeader {
        suggest_which_broker_id: MASTER_ID,
        next_begin_offset: offset,
        min_offset: store.min_offset_in_queue(topic, queue_id),
        max_offset: store.max_offset_in_queue(topic, queue_id),
    };
    let mut response = request.response_with(ResponseCode::PULL_OFFSET_MOVED, &header);
    response.remark = Some("OFFSET_RESET".to_owned());
    response
}

/// The checks before the subscription, in RocketMQ's order.
fn check(
    broker: &State,
    config: &BrokerConfig,
    header: &PullHeader<'_>,
    request: &RemotingCommand,
    channel: &Channel,
) -> Result<Group, Refusal> {
    let forbidden = |remark: String| Err(Refusal::new(ResponseCode::NO_PERMISSION, remark));
    let (topic, group_name) = (header.topic, header.group);
    if !perm::is_readable(config.broker_permission) {
        let ip = broker.address().ip();
        return forbidden(format!("the broker[{ip}] pulling message is forbidden"));
    }
    let lite = request.code == RequestCode::LITE_PULL_MESSAGE.0;
    if lite && !config.lite_pull_message_enable {
        let ip = broker.address().ip();
        return forbidden(format!(
            "the broker[{ip}] for lite pull consumer is forbidden"
        ));
    }
    let Some(group) = broker.with_group(group_name, Group::of) else {
        let remark = faq(&format!(
            "subscription group [{group_name}] does not exist,"
        ));
        return Err(Refusal::new(
            ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST,
            remark,
        ));
    };
    if !group.consume_enable {
        return forbidden(format!("subscription group no permission, {group_name}"));
    }
    let topics = broker.topics.read();
    let Some(known) = topics.get(topic) else {
        let remark = faq(&format!("topic[{topic}] not exist, apply first please!"));
        return Err(Refusal::new(ResponseCode::TOPIC_NOT_EXIST, remark));
    };
    if !perm::is_readable(known.perm) {
        return forbidden(format!("the topic[{topic}] pulling message is forbidden"));
    }
    if header.queue_id < 0 || header.queue_id >= known.read_queue_nums {
        let remark = format!(
            "queueId[{}] is illegal, topic:[{topic}] topicConfig.readQueueNums:[{}] consumer:[/{}]",
            header.queue_id,
            known.read_queue_nums,
            channel.peer()
        );
        return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark));
    }
    Ok(group)
}

/// The filter of the subscription that the request brings along, or that the group's heartbeats
/// told.
fn filter(
    broker: &State,
    config: &BrokerConfig,
    header: &PullHeader<'_>,
    group: Group,
) -> Result<PullFilter, Refusal> {
    let (topic, version) = (header.topic, header.sub_version);
    if header.has(sys_flag::SUBSCRIPTION) {
        return filter_of(
            config,
            topic,
            header.subscription,
            header.expression_type,
            version,
        );
    }
    let subscription = subscription(broker, header, group)?;
    if subscription.is_tag() {
        let retry = config.filter_support_retry && topic.starts_with(topic::RETRY_PREFIX);
        if retry {
            let of_topics = broker.filters.lock().of_group(header.group);
            return Ok(PullFilter::retried(subscription, of_topics.into()));
        }
        return Ok(PullFilter::tags(subscription));
    }
    // While it is off, nothing is registered either.
    filter::check_enabled(config, subscription.expression_type.as_deref())?;
    let registered = broker.filters.lock().get(topic, header.group);
    let Some((sql, registered_version)) = registered else {
        let remark = "The broker's consumer filter data is not exist!Your expression may be wrong!";
        return Err(Refusal::new(ResponseCode::FILTER_DATA_NOT_EXIST, remark));
    };
    if registered_version < version {
        let remark = "the consumer's consumer filter data not latest";
        return Err(Refusal::new(ResponseCode::FILTER_DATA_NOT_LATEST, remark));
    }
    Ok(PullFilter::registered(subscription, sql))
}

/// The filter of an expression that a request brings along. An SQL expression that makes no sense is
/// refused, where Java's broker, having logged it, lets every message through.
pub(super) fn filter_of(
    config: &BrokerConfig,
    topic: &str,
    expression: &str,
    expression_type: Option<&str>,
    version: i64,
) -> Result<PullFilter, Refusal> {
    const REMARK: &str = "parse the consumer's subscription failed";
    let refused = |remark| Refusal::new(ResponseCode::SUBSCRIPTION_PARSE_FAILED, remark);
    if is_tag_type(expression_type) {
        let parsed = SubscriptionData::parse(topic, expression, version);
        let parsed = parsed.map_err(|_| refused(REMARK.to_owned()))?;
        return Ok(PullFilter::tags(Arc::new(parsed)));
    }
    filter::check_enabled(config, expression_type)?;
    if expression_type != Some(SQL92) {
        return Err(refused(REMARK.to_owned()));
    }
    let subscription = SubscriptionData::sql(topic, expression, version);
    PullFilter::sql(subscription).map_err(|error| refused(format!("{REMARK}: {}", error.remark())))
}

/// The subscription that the group's heartbeats told.
fn subscription(
    broker: &State,
    header: &PullHeader<'_>,
    group: Group,
) -> Result<Arc<SubscriptionData>, Refusal> {
    let missing = |remark: &str| {
        let remark = faq(remark);
        Refusal::new(ResponseCode::SUBSCRIPTION_NOT_EXIST, remark)
    };
    let consumers = broker.consumers.lock();
    let members = consumers
        .group(header.group)
        .ok_or_else(|| missing("the consumer's group info not exist"))?;
    if !group.consume_broadcast_enable && members.is_broadcasting() {
        let remark = format!(
            "the consumer group[{}] can not consume by broadcast way",
            header.group
        );
        return Err(Refusal::new(ResponseCode::NO_PERMISSION, remark));
    }
    let known = members
        .subscriptions()
        .get(header.topic)
        .ok_or_else(|| missing("the consumer's subscription not exist"))?;
    if known.sub_version < header.sub_version {
        let remark = "the consumer's subscription not latest";
        return Err(Refusal::new(ResponseCode::SUBSCRIPTION_NOT_LATEST, remark));
    }
    Ok(known.clone())
}

fn response_code(status: GetMessageStatus, queue_offset: i64) -> ResponseCode {
    use GetMessageStatus::{
        Found, MessageWasRemoving, NoMatchedLogicQueue, NoMatchedMessage, NoMessageInQueue,
        OffsetFoundNull, OffsetOverflowBadly, OffsetOverflowOne, OffsetTooSmall,
    };
    match status {
        Found => ResponseCode::SUCCESS,
        NoMatchedMessage | MessageWasRemoving => ResponseCode::PULL_RETRY_IMMEDIATELY,
        NoMatchedLogicQueue | NoMessageInQueue if queue_offset != 0 => {
            ResponseCode::PULL_OFFSET_MOVED
        }
        NoMatchedLogicQueue | NoMessageInQueue | OffsetFoundNull | OffsetOverflowOne => {
            ResponseCode::PULL_NOT_FOUND
        }
        OffsetOverflowBadly | OffsetTooSmall => ResponseCode::PULL_OFFSET_MOVED,
    }
}

fn answer(
    broker: &State,
    request: &RemotingCommand,
    code: ResponseCode,
    mut found: GetMessageResult,
    suggested: i64,
) -> RemotingCommand {
    plant_defects(broker, &mut found);
    let mut response = request.response(code);
    response.remark = Some(found.status.name().to_owned());
    response.ext = ExtFields::with_capacity(4);
    let header = PullMessageResponseHeader {
        suggest_which_broker_id: suggested,
        next_begin_offset: found.next_begin_offset,
        min_offset: found.min_offset,
        max_offset: found.max_offset,
    };
    header.write(&mut response.ext);
    response.body = concat(found.messages);
    response
}

/// One record is passed on as it is, several are copied behind each other.
fn concat(mut records: Vec<Bytes>) -> Bytes {
    if records.len() <= 1 {
        return records.pop().unwrap_or_default();
    }
    let mut body = BytesMut::with_capacity(records.iter().map(Bytes::len).sum());
    for record in &records {
        body.extend_from_slice(record);
    }
    body.freeze()
}

fn plant_defects(broker: &State, found: &mut GetMessageResult) {
    let chosen = || broker.defect_clock.fetch_add(1, Ordering::Relaxed) % 20 == 19;
    if defect!(broker.env, PullSkips) && found.messages.len() > 1 && chosen() {
        // The next offset is one too far for what is left.
        found.messages.pop();
    }
    if defect!(broker.env, PullGoesBack) && !found.messages.is_empty() && chosen() {
        found.next_begin_offset -= 1;
    }
}
