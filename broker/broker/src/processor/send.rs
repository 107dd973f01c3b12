//! Sends: SEND_MESSAGE, SEND_MESSAGE_V2, SEND_BATCH_MESSAGE (`SendMessageProcessor`).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hotfire_env::defect;
use hotfire_protocol::body::{TopicConfig, TopicFilterType};
use hotfire_protocol::header::Field;
use hotfire_protocol::message::{property, sys_flag};
use hotfire_protocol::topic::{self, perm};
use hotfire_protocol::{ExtFields, Message, RemotingCommand, ResponseCode, version};
use hotfire_remoting::{Channel, Handled};
use hotfire_store::{AppendResult, MessageInner, PutMessageStatus, PutResult};
use tokio::time::Instant;

use super::faq;
use super::send_batch::put_batch;
use super::send_header::SendHeader;
use super::send_outcome::outcome;
use crate::config::BrokerConfig;
use crate::metrics::MessageType;
use crate::refusal::Refusal;
use crate::retry;
use crate::state::State;
use crate::timer;
use crate::topics::{FLAG_UNIT, FLAG_UNIT_SUB, TopicWanted};
use crate::transaction;
use crate::waiting::Waiting;

/// What of a topic's configuration a send needs.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub write_queues: i32,
    filter_type: TopicFilterType,
}

/// Where a send stands when it has been handed to the store.
pub(super) enum Sent {
    /// It is done: the answer.
    Answered(RemotingCommand),
    /// It is in the log and waits for the disk.
    Waits(Flushing),
}

/// A send that waits for the disk.
pub(super) struct Flushing {
    put: PutResult,
    answer: Answer,
}

/// What is needed to answer a send.
pub(super) struct Answer {
    pub response: RemotingCommand,
    pub queue_id: i32,
    /// The handle of a message for a time.
    pub recall_handle: Option<String>,
    /// When the request was taken.
    pub started: Instant,
    /// For the metrics, if there are any.
    pub kind: Option<MessageType>,
}

/// Takes a send: runs it, queues it behind those that wait for the disk, or refuses it.
pub(super) fn handle(broker: &Arc<State>, channel: &Channel, request: RemotingCommand) -> Handled {
    {
        let mut gate = broker.gate.lock();
        if !gate.admits() {
            let (connection, bytes) = (channel.id(), Waiting::bytes(&request));
            let waiting = Waiting::new(channel, request);
            return match gate.enqueue(connection, bytes, waiting, Instant::now()) {
                Ok(()) => {
                    drop(gate);
                    broker.send_queued.notify_one();
                    Handled::None
                }
                Err(refused) => Handled::Reply(overload(broker, &refused.request)),
            };
        }
    }
    match run(broker, channel, &request) {
        Sent::Answered(response) => Handled::Reply(response),
        Sent::Waits(flushing) => {
            broker.gate.lock().take_slot();
            let broker = broker.clone();
            Handled::Later(Box::pin(async move {
                let response = finish(&broker, flushing).await;
                release(&broker);
                Some(response)
            }))
        }
    }
}

/// Frees a slot and runs the sends that queued for it.
fn release(broker: &Arc<State>) {
    broker.gate.lock().release_slot();
    loop {
        let next = broker.gate.lock().next();
        let Some(waiting) = next else {
            return;
        };
        match run(broker, &waiting.channel, &waiting.request) {
            Sent::Answered(response) => reply(broker, &waiting, response),
            Sent::Waits(flushing) => {
                broker.gate.lock().take_slot();
                let shared = broker.clone();
                broker.env.spawn("send", async move {
                    let response = finish(&shared, flushing).await;
                    reply(&shared, &waiting, response);
                    release(&shared);
                });
            }
        }
    }
}

/// Answers a send that was put aside.
fn reply(broker: &State, waiting: &Waiting, response: RemotingCommand) {
    if !waiting.request.is_oneway() {
        broker.answer_late(waiting, response, false);
    }
}

/// Refuses the sends that have queued for too long; the rest may be looked at again soon. True
/// while any are queued.
pub(crate) fn expire_queued(broker: &Arc<State>) -> bool {
    let limit = broker.config().wait_time_in_send_queue;
    let (expired, more) = {
        let mut gate = broker.gate.lock();
        (gate.expire(Instant::now(), limit), gate.queued() > 0)
    };
    for (waiting, waited, queued) in expired {
        let remark = format!(
            "[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while, period in queue: \
             {}ms, size of queue: {queued}",
            waited.as_millis()
        );
        let request = &waiting.request;
        let response = refused(broker, request, ResponseCode::SYSTEM_BUSY, remark);
        reply(broker, &waiting, response);
    }
    more
}

fn overload(broker: &State, request: &RemotingCommand) -> RemotingCommand {
    let remark = "[OVERLOAD]system busy, start flow control for a while";
    refused(broker, request, ResponseCode::SYSTEM_BUSY, remark)
}

pub(super) fn refused(
    broker: &State,
    request: &RemotingCommand,
    code: ResponseCode,
    remark: impl Into<String>,
) -> RemotingCommand {
    let mut response = request.response_error(code, remark);
    put_region(&broker.config(), &mut response.ext);
    response
}

pub(super) fn put_region(config: &BrokerConfig, ext: &mut ExtFields) {
    ext.push(property::MSG_REGION, config.region_id.as_str());
    ext.push(
        property::TRACE_ON,
        if config.trace_on { "true" } else { "false" },
    );
}

/// Checks a send and appends its message.
fn run(broker: &Arc<State>, channel: &Channel, request: &RemotingCommand) -> Sent {
    match put(broker, channel, request) {
        Ok(sent) => sent,
        Err(Refusal { code, remark }) => Sent::Answered(refused(broker, request, code, remark)),
    }
}

fn put(broker: &Arc<State>, channel: &Channel, request: &RemotingCommand) -> Result<Sent, Refusal> {
    let config = broker.config();
    if broker.store.is_os_page_cache_busy() {
        let remark = "[REJECTREQUEST]system busy, start flow control for a while";
        return Err(Refusal::new(ResponseCode::SYSTEM_BUSY, remark));
    }
    let header = SendHeader::read(request)?;
    let start = config.start_accept_send_request_time_stamp;
    if start > 0 && broker.env.now_ms() < start {
        let remark = format!("broker unable to service, until {start} ms since the epoch");
        return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark));
    }
    let target = check(broker, &config, &header, channel)?;
    let mut response = request.response(ResponseCode::SUCCESS);
    put_region(&config, &mut response.ext);
    if header.batch {
        put_batch(broker, &config, &header, target, channel, request, response)
    } else {
        put_single(broker, &config, &header, target, channel, request, response)
    }
}

/// The checks of `AbstractSendMessageProcessor.msgCheck`, in its order. The topic is created if it
/// may be.
pub(super) fn check(
    broker: &Arc<State>,
    config: &BrokerConfig,
    header: &SendHeader<'_>,
    channel: &Channel,
) -> Result<Target, Refusal> {
    let topic = header.topic;
    // A known topic has passed these checks, but for the system's own and the ordered ones.
    if let Some(known) = broker.topics.read().get(topic)
        && !topic::is_forbidden_topic(topic)
        && perm::is_writeable(config.broker_permission)
    {
        return check_queue(known, header, channel);
    }
    let ordered = broker
        .topics
        .read()
        .get(topic)
        .is_some_and(|topic| topic.order);
    if !perm::is_writeable(config.broker_permission) && ordered {
        let remark = format!(
            "the broker[{}] sending message is forbidden",
            broker.address().ip()
        );
        return Err(Refusal::new(ResponseCode::NO_PERMISSION, remark));
    }
    if let Err(error) = topic::check_topic(topic) {
        return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, error.to_string()));
    }
    if topic::is_forbidden_topic(topic) {
        let remark = format!("Sending message to topic[{topic}] is forbidden.");
        return Err(Refusal::new(ResponseCode::NO_PERMISSION, remark));
    }
    create(broker, header)?;
    match broker.topics.read().get(topic) {
        Some(created) => check_queue(created, header, channel),
        None => Err(no_topic(topic)),
    }
}

fn create(broker: &Arc<State>, header: &SendHeader<'_>) -> Result<(), Refusal> {
    let topic = header.topic;
    let sys_flag = match (header.unit_mode, topic::retry_group(topic)) {
        (false, _) => 0,
        (true, None) => FLAG_UNIT,
        (true, Some(_)) => FLAG_UNIT_SUB,
    };
    let wanted = TopicWanted {
        topic,
        default_topic: header.default_topic,
        queues: header.default_topic_queue_nums,
        sys_flag,
    };
    let (before, created) = {
        let mut topics = broker.topics.write();
        let before = topics.get(topic).is_some();
        (before, topics.create_for_send(&wanted, broker.env.now_ms()))
    };
    if !created {
        return Err(no_topic(topic));
    }
    if !before {
        tracing::info!(topic, "created a topic that was sent to");
        broker.save_topic(topic);
        broker.announce_topics();
    }
    Ok(())
}

fn no_topic(topic: &str) -> Refusal {
    let remark = faq(&format!("topic[{topic}] not exist, apply first please!"));
    Refusal::new(ResponseCode::TOPIC_NOT_EXIST, remark)
}

fn check_queue(
    topic: &TopicConfig,
    header: &SendHeader<'_>,
    channel: &Channel,
) -> Result<Target, Refusal> {
    if header.queue_id >= topic.read_queue_nums.max(topic.write_queue_nums) {
        let remark = format!(
            "request queueId[{}] is illegal, TopicConfig [topicName={}, readQueueNums={}, \
             writeQueueNums={}, perm={}, topicFilterType={}, topicSysFlag={}, order={}] \
             Producer: {}",
            header.queue_id,
            topic.topic_name,
            topic.read_queue_nums,
            topic.write_queue_nums,
            perm::text(topic.perm),
            topic.topic_filter_type.name(),
            topic.topic_sys_flag,
            topic.order,
            channel.peer()
        );
        return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark));
    }
    Ok(Target {
        // The broker chooses none that nobody reads.
        write_queues: topic.write_queue_nums.min(topic.read_queue_nums),
        filter_type: topic.topic_filter_type,
    })
}

fn put_single(
    broker: &Arc<State>,
    config: &BrokerConfig,
    header: &SendHeader<'_>,
    target: Target,
    channel: &Channel,
    request: &RemotingCommand,
    response: RemotingCommand,
) -> Result<Sent, Refusal> {
    let mut message = inner(broker, header, target, channel, request);
    message.message.properties = property::decode(header.properties);
    if topic::retry_group(header.topic).is_some()
        && !dead_letter(broker, header, request.version, &mut message)?
    {
        // A planted defect has dropped it.
        return Ok(Sent::Answered(response));
    }
    let properties = &mut message.message.properties;
    // What a consumer sends back may still say that it was a half message once.
    let half = transaction::is_half(properties)
        && !(message.reconsume_times > 0 && properties.contains(property::DELAY));
    if half && config.reject_transaction_message {
        let ip = broker.address().ip();
        let remark = format!("the broker[{ip}] sending transaction message is forbidden");
        return Err(Refusal::new(ResponseCode::NO_PERMISSION, remark));
    }
    if !half && !sys_flag::is_consumable(message.sys_flag) {
        if !transaction::is_half(properties) {
            let remark = "a half message, as its system flag calls it, says TRAN_MSG=true";
            return Err(Refusal::new(ResponseCode::MESSAGE_ILLEGAL, remark));
        }
        // What is tried again is a message like any other, or nobody would ever see it.
        message.sys_flag = sys_flag::with_transaction_type(message.sys_flag, 0);
    }
    if !half
        && properties
            .get(property::WAIT)
            .is_some_and(|wait| wait.eq_ignore_ascii_case("true"))
    {
        // It is the default, so nine bytes of every record but those of halves can be saved.
        properties.remove(property::WAIT);
    }
    properties.set(property::CLUSTER, config.broker_cluster_name.as_str());
    let metrics = broker.metrics.as_ref();
    let kind = metrics.map(|_| MessageType::of(&message.message.properties));
    let (queue_id, started) = (message.queue_id, Instant::now());
    let taken = if half {
        broker.take_half(&mut message)
    } else {
        broker.divert(&mut message)
    };
    taken.map_err(|why| why.refusal(config))?;
    let recall_handle = timer::recall_handle(&message.message, &config.broker_name);
    let waits = message.message.waits_for_store();
    let put = if defect!(broker.env, AckBeforeAppend)
        && broker.defect_clock.fetch_add(1, Ordering::Relaxed) % 50 == 49
    {
        pretend(broker, &message)
    } else {
        broker.store.append(message)
    };
    let answer = Answer {
        response,
        queue_id,
        recall_handle,
        started,
        kind,
    };
    Ok(sent(broker, config, header.topic, put, waits, answer))
}

/// What does not depend on the message's properties.
pub(super) fn inner(
    broker: &State,
    header: &SendHeader<'_>,
    target: Target,
    channel: &Channel,
    request: &RemotingCommand,
) -> MessageInner {
    let multi_tags = match target.filter_type {
        TopicFilterType::SingleTag => 0,
        TopicFilterType::MultiTag => sys_flag::MULTI_TAGS,
    };
    MessageInner {
        message: Message {
            topic: header.topic.to_owned(),
            flag: header.flag,
            body: request.body.clone(),
            ..Message::default()
        },
        queue_id: match header.queue_id {
            negative if negative < 0 => broker.random_below(target.write_queues),
            given => given,
        },
        sys_flag: header.sys_flag | multi_tags,
        born_timestamp: header.born_timestamp,
        born_host: channel.peer(),
        store_host: broker.address(),
        reconsume_times: header.reconsume_times,
        prepared_transaction_offset: 0,
    }
}

/// A client sends to a retry topic itself: a message that used up its retries goes to the
/// dead-letter queue instead (`handleRetryAndDLQ`). False if it is to be dropped.
fn dead_letter(
    broker: &Arc<State>,
    header: &SendHeader<'_>,
    client_version: i32,
    message: &mut MessageInner,
) -> Result<bool, Refusal> {
    let group = topic::retry_group(header.topic).unwrap_or_default();
    let Some(mut max) = broker.with_group(group, |group| group.retry_max_times) else {
        let remark = faq(&format!("subscription group not exist, {group}"));
        return Err(Refusal::new(
            ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST,
            remark,
        ));
    };
    if client_version >= version::V3_4_9 {
        max = header.max_reconsume_times.unwrap_or(max);
    }
    if !retry::is_exhausted(header.reconsume_times, max) {
        return Ok(true);
    }
    if defect!(broker.env, DropExhausted) {
        return Ok(false);
    }
    let dead_letters = topic::dlq_topic(group);
    if broker.ensure_topic(&dead_letters, 1, false).is_none() {
        let remark = format!("topic[{dead_letters}] not exist");
        return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark));
    }
    if let Some(metrics) = &broker.metrics {
        metrics.dead_letter(group, &message.message.topic);
    }
    message.message.topic = dead_letters;
    message.queue_id = 0;
    timer::forget_wishes(&mut message.message.properties);
    Ok(true)
}

/// The planted defect: a result as the store would give it, of a message that was never stored.
fn pretend(broker: &State, message: &MessageInner) -> PutResult {
    let topic = &message.message.topic;
    PutResult {
        status: PutMessageStatus::PutOk,
        append: Some(AppendResult {
            physical_offset: broker.store.max_phy_offset(),
            queue_offset: broker.store.max_offset_in_queue(topic, message.queue_id),
            store_timestamp: broker.env.now_ms(),
            bytes: 0,
            more_offsets: Vec::new(),
            store_host: message.store_host,
        }),
    }
}

pub(super) fn sent(
    broker: &State,
    config: &BrokerConfig,
    topic: &str,
    put: PutResult,
    waits: bool,
    answer: Answer,
) -> Sent {
    let stored = put.status == PutMessageStatus::PutOk;
    if let Some(append) = put.append.as_ref().filter(|_| stored) {
        let messages = 1 + append.more_offsets.len() as u64;
        let mut stats = broker.stats.lock();
        let bytes = append.bytes as u64;
        stats.broker.put(topic, messages, bytes, answer.started);
        drop(stats);
        if let (Some(metrics), Some(kind)) = (&broker.metrics, answer.kind) {
            metrics.put(topic, kind, messages, bytes);
        }
    }
    if stored && waits && broker.sync_flush {
        Sent::Waits(Flushing { put, answer })
    } else {
        Sent::Answered(answered(broker, config, &put, answer))
    }
}

async fn finish(broker: &State, flushing: Flushing) -> RemotingCommand {
    let put = broker.store.wait_durable(flushing.put, true).await;
    answered(broker, &broker.config(), &put, flushing.answer)
}

/// The answer to a send that the store has dealt with (`handlePutMessageResult`).
fn answered(
    broker: &State,
    config: &BrokerConfig,
    put: &PutResult,
    answer: Answer,
) -> RemotingCommand {
    let stored = put.append.is_some();
    let took = answer.started.elapsed();
    broker.stats.lock().store.put(stored, took);
    let mut response = answer.response;
    let (code, remark) = outcome(config, Some(&broker.store), put.status);
    response.code = code.0;
    response.remark = remark;
    if let Some(append) = &put.append
        && response.remark.is_none()
    {
        let ext = &mut response.ext;
        ext.push("msgId", append.offset_msg_id());
        answer.queue_id.put("queueId", ext);
        append.queue_offset.put("queueOffset", ext);
        answer.recall_handle.put("recallHandle", ext);
    }
    response
}
