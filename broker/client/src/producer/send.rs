//! Attempts at sending, and what they come to (`DefaultMQProducerImpl`, `MQClientAPIImpl`).

use std::sync::Arc;
use std::time::Duration;

use hotfire_env::defect;
use hotfire_protocol::header::send::SendMessageResponseHeader;
use hotfire_protocol::message::compression::CompressionType;
use hotfire_protocol::message::id::UniqueKeys;
use hotfire_protocol::message::property;
use hotfire_protocol::{Message, MessageQueue, RemotingCommand, ResponseCode};
use hotfire_remoting::RpcError;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::instance::{DEFAULT_TOPIC, Instance, malformed, refusal};
use crate::producer::prepare::{Limits, Prepared};
use crate::trace::Tracer;
use crate::trace::record::TraceRecord;
use crate::{
    ClientError, FaultStrategy, PublishInfo, QueueSelector, SendError, SendResult, SendStatus,
};

/// Answers after which another broker is tried (`retryResponseCodes`). Java has SYSTEM_BUSY among
/// them since 5.3; before, a busy broker failed the send although others had room.
const RETRY_CODES: [ResponseCode; 7] = [
    ResponseCode::TOPIC_NOT_EXIST,
    ResponseCode::SERVICE_NOT_AVAILABLE,
    ResponseCode::SYSTEM_ERROR,
    ResponseCode::SYSTEM_BUSY,
    ResponseCode::NO_PERMISSION,
    ResponseCode::NO_BUYER_ID,
    ResponseCode::NOT_IN_CURRENT_UNIT,
];

/// How a producer sends.
#[derive(Debug, Clone)]
pub(crate) struct SendConfig {
    pub(crate) group: String,
    pub(crate) timeout: Duration,
    /// Further attempts of a synchronous send.
    pub(crate) retries: u32,
    /// Further attempts of an asynchronous send.
    pub(crate) async_retries: u32,
    pub(crate) default_topic_queue_nums: i32,
    pub(crate) limits: Limits,
    pub(crate) latency_fault_tolerance: bool,
}

impl Default for SendConfig {
    fn default() -> Self {
        Self {
            group: String::new(),
            timeout: Duration::from_secs(3),
            retries: 2,
            async_retries: 2,
            default_topic_queue_nums: 4,
            limits: Limits {
                max_message_size: 4 << 20,
                compress_over: 4096,
                compression: CompressionType::Zlib,
            },
            latency_fault_tolerance: false,
        }
    }
}

/// Sends on behalf of a producer, or of a consumer that returns messages.
pub(crate) struct Sender {
    pub(crate) instance: Arc<Instance>,
    pub(crate) config: SendConfig,
    pub(crate) tracer: Option<Arc<Tracer>>,
    fault: Mutex<FaultStrategy>,
    keys: Mutex<UniqueKeys>,
}

/// What became of the attempts so far.
#[derive(Default)]
struct Attempts {
    /// How many may have reached a broker.
    reached: u32,
    unknown: bool,
    last: Option<ClientError>,
}

impl Attempts {
    fn failed(&mut self, error: ClientError) {
        self.reached += u32::from(may_have_reached(&error));
        self.unknown |= error.is_unknown();
        self.last = Some(error);
    }

    fn give_up(self) -> SendError {
        SendError {
            source: self.last.unwrap_or(ClientError::CallTimeout),
            attempts: self.reached,
            unknown: self.unknown,
        }
    }

    fn succeed(self, mut result: SendResult) -> SendResult {
        result.attempts = self.reached + 1;
        result
    }
}

/// Whether a failed attempt got as far as a connection.
fn may_have_reached(error: &ClientError) -> bool {
    match error {
        ClientError::Rpc(error) => !error.is_definite(),
        ClientError::Response { .. } | ClientError::Malformed { .. } => true,
        _ => false,
    }
}

impl Sender {
    pub(crate) fn new(
        instance: Arc<Instance>,
        config: SendConfig,
        tracer: Option<Arc<Tracer>>,
    ) -> Self {
        let env = &instance.env;
        let salt = instance.random() as u32;
        let keys = UniqueKeys::new(env.network().local_ip(), env.process_id(), salt);
        Self {
            fault: Mutex::new(FaultStrategy::new(config.latency_fault_tolerance)),
            keys: Mutex::new(keys),
            instance,
            config,
            tracer,
        }
    }

    /// A unique key for a message.
    pub(crate) fn unique_key(&self) -> String {
        let env = &self.instance.env;
        let mut key = self.keys.lock().next(env.now_ms());
        if defect!(env, RepeatIds) {
            // Without the counter, and the time in steps of four seconds.
            key.truncate(key.len() - 7);
            key.push_str("0000000");
        }
        key
    }

    /// Checks, names and encodes a message.
    pub(crate) fn prepare(&self, message: Message) -> Result<Prepared, ClientError> {
        let message = self.in_namespace(message);
        Prepared::message(message, || self.unique_key(), &self.config.limits)
    }

    /// Checks, names and encodes a batch.
    pub(crate) fn prepare_batch(&self, messages: Vec<Message>) -> Result<Prepared, ClientError> {
        let messages = messages
            .into_iter()
            .map(|message| self.in_namespace(message))
            .collect();
        Prepared::batch(messages, || self.unique_key(), &self.config.limits)
    }

    /// The message as brokers know it.
    fn in_namespace(&self, mut message: Message) -> Message {
        let client = &self.instance.config;
        if let Some(namespace) = &client.namespace {
            message.topic = client.wrap(&message.topic);
            let properties = &mut message.properties;
            properties.set(property::INSTANCE_ID, namespace.as_str());
        }
        message
    }

    pub(crate) async fn publish_info(&self, topic: &str) -> Result<Arc<PublishInfo>, ClientError> {
        self.instance
            .publish_info(topic, self.config.default_topic_queue_nums)
            .await
    }

    fn select(&self, info: &PublishInfo, last: Option<&str>) -> Result<MessageQueue, ClientError> {
        let selected = self.fault.lock().select(Instant::now(), info, last);
        selected.ok_or_else(|| ClientError::Invalid("the topic has no queue to send to".to_owned()))
    }

    /// Sends to queues in turn until one takes the message, all attempts are used up, or the time
    /// is.
    ///
    /// As in Java 4.9 the time is shared: an attempt may use all of it, and then there is none left
    /// for another.
    pub(crate) async fn send(&self, message: &Prepared) -> Result<SendResult, SendError> {
        let deadline = Instant::now() + self.config.timeout;
        let info = self.publish_info(&message.topic).await?;
        let mut attempts = Attempts::default();
        let mut last_broker: Option<String> = None;
        for _ in 0..=self.config.retries {
            let queue = match self.select(&info, last_broker.as_deref()) {
                Ok(queue) => queue,
                Err(error) => {
                    attempts.failed(error);
                    break;
                }
            };
            let begin = Instant::now();
            let left = deadline.saturating_duration_since(begin);
            if left.is_zero() {
                break;
            }
            last_broker = Some(queue.broker_name.clone());
            let broker = queue.broker_name.clone();
            let result = self.attempt(message, queue, left).await;
            let now = Instant::now();
            self.fault
                .lock()
                .record(now, &broker, now - begin, result.is_err());
            match result {
                Ok(result) => return Ok(attempts.succeed(result)),
                Err(error) => {
                    tracing::debug!(broker, msg_id = message.msg_id, %error, "send failed");
                    let again = match error.code() {
                        Some(code) => RETRY_CODES.contains(&code),
                        None => true,
                    };
                    attempts.failed(error);
                    if !again {
                        break;
                    }
                }
            }
        }
        Err(attempts.give_up())
    }

    /// Sends to this queue, once.
    pub(crate) async fn send_to(
        &self,
        message: &Prepared,
        queue: MessageQueue,
    ) -> Result<SendResult, SendError> {
        let mut attempts = Attempts::default();
        match self.attempt(message, queue, self.config.timeout).await {
            Ok(result) => Ok(attempts.succeed(result)),
            Err(error) => {
                attempts.failed(error);
                Err(attempts.give_up())
            }
        }
    }

    /// The queue that a selector chooses for a message.
    pub(crate) async fn choose(
        &self,
        message: &Message,
        selector: &(impl QueueSelector + ?Sized),
    ) -> Result<MessageQueue, ClientError> {
        let client = &self.instance.config;
        let info = self.publish_info(&client.wrap(&message.topic)).await?;
        let at = if client.namespace.is_some() {
            let queues = info.queues().iter();
            let shown: Vec<_> = queues.map(|queue| client.unwrap_queue(queue)).collect();
            selector.select(&shown, message)
        } else {
            selector.select(info.queues(), message)
        };
        info.queues().get(at).cloned().ok_or_else(|| {
            let len = info.queues().len();
            ClientError::Invalid(format!("the selector chose queue {at} of {len}"))
        })
    }

    /// One synchronous attempt.
    async fn attempt(
        &self,
        message: &Prepared,
        queue: MessageQueue,
        timeout: Duration,
    ) -> Result<SendResult, ClientError> {
        let deadline = Instant::now() + timeout;
        let addr = self.instance.master_of(&queue).await?;
        let request = self.request(message, &queue);
        let left = deadline.saturating_duration_since(Instant::now());
        let begin_ms = self.instance.env.now_ms();
        let response = self.instance.rpc.invoke(&addr, request, left).await?;
        let result = self.result(message, queue, &addr, response)?;
        self.trace(message, &addr, begin_ms, &result);
        Ok(result)
    }

    fn request(&self, message: &Prepared, queue: &MessageQueue) -> RemotingCommand {
        message.request(
            &self.config.group,
            queue,
            DEFAULT_TOPIC,
            self.config.default_topic_queue_nums,
            self.instance.env.now_ms(),
            self.instance.config.serialize,
        )
    }

    /// Sends as Java's asynchronous sends do: another broker is tried only if there was no answer
    /// at all, and with the request as it was: the queue number of the first choice stays.
    pub(crate) async fn send_async(&self, message: &Prepared) -> Result<SendResult, SendError> {
        let deadline = Instant::now() + self.config.timeout;
        let info = self.publish_info(&message.topic).await?;
        let first = self.select(&info, None)?;
        let request = self.request(message, &first);
        let mut attempts = Attempts::default();
        let mut queue = first;
        for attempt in 0..=self.config.async_retries {
            if attempt > 0 {
                let Ok(other) = self.select(&info, Some(&queue.broker_name)) else {
                    break;
                };
                queue.broker_name = other.broker_name;
            }
            let begin = Instant::now();
            let left = deadline.saturating_duration_since(begin);
            if left.is_zero() {
                break;
            }
            let result = self
                .attempt_async(message, &queue, request.clone(), left)
                .await;
            let now = Instant::now();
            self.fault
                .lock()
                .record(now, &queue.broker_name, now - begin, result.is_err());
            match result {
                Ok(result) => return Ok(attempts.succeed(result)),
                Err(error) => {
                    let again = match &error {
                        ClientError::Rpc(error) => {
                            !matches!(error, RpcError::TooManyRequests { .. })
                        }
                        ClientError::NoBroker(_) => true,
                        _ => false,
                    };
                    attempts.failed(error);
                    if !again {
                        break;
                    }
                }
            }
        }
        Err(attempts.give_up())
    }

    async fn attempt_async(
        &self,
        message: &Prepared,
        queue: &MessageQueue,
        request: RemotingCommand,
        timeout: Duration,
    ) -> Result<SendResult, ClientError> {
        let addr = self.instance.master_of(queue).await?;
        let begin_ms = self.instance.env.now_ms();
        let response = self
            .instance
            .rpc
            .invoke_async(&addr, request, timeout)
            .await?;
        let result = self.result(message, queue.clone(), &addr, response)?;
        self.trace(message, &addr, begin_ms, &result);
        Ok(result)
    }

    /// What an answer says, as the user knows the queue.
    fn result(
        &self,
        message: &Prepared,
        queue: MessageQueue,
        addr: &str,
        response: RemotingCommand,
    ) -> Result<SendResult, ClientError> {
        let mut result = send_result(message, queue, addr, response)?;
        let client = &self.instance.config;
        if client.namespace.is_some() {
            result.queue = client.unwrap_queue(&result.queue);
        }
        Ok(result)
    }

    /// Traces a message that a broker has answered for (`SendMessageTraceHookImpl`).
    fn trace(&self, message: &Prepared, addr: &str, begin_ms: i64, result: &SendResult) {
        if let Some(tracer) = &self.tracer
            && result.trace_on
            && tracer.traces(&message.topic)
        {
            let cost_ms = self.instance.env.now_ms().saturating_sub(begin_ms);
            let sent = message.trace(&self.config.group, addr, begin_ms, cost_ms, result);
            tracer.add(TraceRecord::Publish(sent));
        }
    }

    /// Sends without waiting for an answer, to this queue or to the next in turn.
    pub(crate) async fn send_oneway(
        &self,
        message: &Prepared,
        queue: Option<MessageQueue>,
    ) -> Result<(), SendError> {
        let queue = match queue {
            Some(queue) => queue,
            None => self.select(&*self.publish_info(&message.topic).await?, None)?,
        };
        let addr = self.instance.master_of(&queue).await?;
        let request = self.request(message, &queue);
        let sent = self
            .instance
            .rpc
            .oneway(&addr, request, self.config.timeout)
            .await;
        sent.map_err(|error| {
            let mut attempts = Attempts::default();
            attempts.failed(error.into());
            attempts.give_up()
        })
    }
}

/// What an answer says (`processSendResponse`).
fn send_result(
    message: &Prepared,
    mut queue: MessageQueue,
    addr: &str,
    response: RemotingCommand,
) -> Result<SendResult, ClientError> {
    let Some(status) = SendStatus::of(ResponseCode(response.code)) else {
        return Err(refusal(addr, response));
    };
    let header: SendMessageResponseHeader =
        response.header().map_err(|error| malformed(addr, error))?;
    queue.queue_id = header.queue_id;
    Ok(SendResult {
        status,
        msg_id: message.msg_id.clone(),
        offset_msg_id: header.msg_id,
        queue,
        queue_offset: header.queue_offset,
        transaction_id: header.transaction_id,
        recall_handle: header.recall_handle,
        region_id: header
            .region_id
            .unwrap_or_else(|| "DefaultRegion".to_owned()),
        trace_on: header.trace_on.unwrap_or(true),
        attempts: 1,
    })
}
