//! Sending messages (`DefaultMQProducer`).

mod callbacks;
pub(crate) mod fault;
pub(crate) mod prepare;
pub(crate) mod publish;
pub(crate) mod recall;
pub(crate) mod request;
pub(crate) mod result;
pub(crate) mod selector;
pub(crate) mod send;
pub(crate) mod split;

use std::sync::Arc;
use std::time::Duration;

use hotfire_env::{Env, TaskHandle};
use hotfire_protocol::message::compression::CompressionType;
use hotfire_protocol::topic::DEFAULT_PRODUCER_GROUP;
use hotfire_protocol::{Message, MessageQueue};

use crate::config::{check_own_group, client_setters};
use crate::instance::Instance;
use crate::trace::Tracer;
use crate::transaction::checks::Checks;
use crate::{ClientConfig, ClientError, QueueSelector, SendError, SendResult, TraceOptions};
use callbacks::Callbacks;
use request::PendingRequests;
use send::{SendConfig, Sender};
use split::{SplitError, split_batches};

/// Sends messages. Cheap to clone; all methods may be called in parallel.
///
/// - [`send`](Self::send) is RocketMQ's synchronous send: up to three attempts on different brokers
///   within three seconds altogether. As in Java 4.9 the first attempt may use up all the time: if
///   a broker accepts the message and then says nothing, the send fails with a timeout although
///   other brokers are healthy.
/// - [`send_async`](Self::send_async) is its asynchronous send: it differs in when it tries again,
///   not in waiting, for every method here is a future. To have many sends under way, join or spawn
///   them.
/// - [`send_oneway`](Self::send_oneway) does not wait for an answer.
/// - [`send_to`](Self::send_to) and [`send_select`](Self::send_select) choose the queue, and make
///   one attempt.
///
/// A failed send may have stored the message all the same, see [`SendError::is_unknown`].
///
/// # Example
///
/// ```no_run
/// # async fn example(env: &hotfire_env::Env) -> Result<(), Box<dyn std::error::Error>> {
/// use hotfire_client::{Producer, SelectByHash};
/// use hotfire_protocol::Message;
///
/// let producer = Producer::builder(env).namesrv(["ns1:9876"]).group("shop").start().await?;
/// let paid = Message::new("orders", "paid").with_key("order-17");
/// producer.send_select(paid, SelectByHash("order-17")).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Producer {
    inner: Arc<Inner>,
}

struct Inner {
    sender: Sender,
    requests: Arc<PendingRequests>,
}

/// Ends the tasks when the last handle goes.
impl Drop for Inner {
    fn drop(&mut self) {
        self.sender.instance.stop();
    }
}

/// Configures a [`Producer`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until started"]
pub struct ProducerBuilder {
    env: Env,
    client: ClientConfig,
    send: SendConfig,
    trace: Option<TraceOptions>,
}

impl Producer {
    /// Begins to configure a producer.
    pub fn builder(env: &Env) -> ProducerBuilder {
        ProducerBuilder {
            env: env.clone(),
            client: ClientConfig::default(),
            send: SendConfig::default(),
            trace: None,
        }
    }

    /// Sends a message to the queue whose turn it is.
    ///
    /// # Errors
    /// No attempt succeeded, or there was none because of the message or the route.
    pub async fn send(&self, message: Message) -> Result<SendResult, SendError> {
        let message = self.inner.sender.prepare(message)?;
        self.inner.sender.send(&message).await
    }

    /// Sends a message with the retries of RocketMQ's asynchronous send: only if no broker
    /// answered, be it with a refusal, another is tried.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_async(&self, message: Message) -> Result<SendResult, SendError> {
        let message = self.inner.sender.prepare(message)?;
        self.inner.sender.send_async(&message).await
    }

    /// Sends a message to this queue, in one attempt.
    ///
    /// # Errors
    /// The attempt failed.
    pub async fn send_to(
        &self,
        message: Message,
        queue: &MessageQueue,
    ) -> Result<SendResult, SendError> {
        if message.topic != queue.topic {
            let (own, other) = (&message.topic, &queue.topic);
            let reason = format!("a message of topic {own} cannot go to a queue of topic {other}");
            return Err(ClientError::Invalid(reason).into());
        }
        let message = self.inner.sender.prepare(message)?;
        let queue = self.inner.sender.instance.config.wrap_queue(queue);
        self.inner.sender.send_to(&message, queue).await
    }

    /// Sends a message to the queue that the selector chooses, in one attempt.
    ///
    /// # Errors
    /// The attempt failed, or the selector chose no queue.
    pub async fn send_select(
        &self,
        message: Message,
        selector: impl QueueSelector,
    ) -> Result<SendResult, SendError> {
        let queue = self.inner.sender.choose(&message, &selector).await?;
        let message = self.inner.sender.prepare(message)?;
        self.inner.sender.send_to(&message, queue).await
    }

    /// Sends messages of one topic as a batch: they get consecutive offsets in one queue, or none
    /// is stored.
    ///
    /// # Errors
    /// As [`send`](Self::send); or the messages cannot be a batch.
    pub async fn send_batch(&self, messages: Vec<Message>) -> Result<SendResult, SendError> {
        let batch = self.inner.sender.prepare_batch(messages)?;
        self.inner.sender.send(&batch).await
    }

    /// Sends messages of one topic as as many batches as their size asks for, one after the other.
    /// Each batch goes to the queue whose turn it is, and is stored as a whole or not at all.
    ///
    /// # Errors
    /// A batch was not sent, or perhaps not: those before it were, and those behind it were not
    /// tried.
    pub async fn send_batches(
        &self,
        messages: Vec<Message>,
    ) -> Result<Vec<SendResult>, SplitError> {
        let mut sent = Vec::new();
        for batch in split_batches(messages, self.inner.sender.config.limits.max_message_size) {
            match self.send_batch(batch).await {
                Ok(result) => sent.push(result),
                Err(source) => return Err(SplitError { sent, source }),
            }
        }
        Ok(sent)
    }

    /// Sends a message to the queue whose turn it is, and does not wait for an answer. Nobody tells
    /// what became of it.
    ///
    /// # Errors
    /// There is no connection to send it on.
    pub async fn send_oneway(&self, message: Message) -> Result<(), SendError> {
        let message = self.inner.sender.prepare(message)?;
        self.inner.sender.send_oneway(&message, None).await
    }

    /// [`send_oneway`](Self::send_oneway) to this queue.
    ///
    /// # Errors
    /// There is no connection to send it on.
    pub async fn send_oneway_to(
        &self,
        message: Message,
        queue: &MessageQueue,
    ) -> Result<(), SendError> {
        let message = self.inner.sender.prepare(message)?;
        let queue = self.inner.sender.instance.config.wrap_queue(queue);
        self.inner.sender.send_oneway(&message, Some(queue)).await
    }

    /// [`send_oneway`](Self::send_oneway) to the queue that the selector chooses.
    ///
    /// # Errors
    /// There is no connection to send it on, or the selector chose no queue.
    pub async fn send_oneway_select(
        &self,
        message: Message,
        selector: impl QueueSelector,
    ) -> Result<(), SendError> {
        let queue = self.inner.sender.choose(&message, &selector).await?;
        let message = self.inner.sender.prepare(message)?;
        self.inner.sender.send_oneway(&message, Some(queue)).await
    }

    /// Calls back a message that waits for its time, by the handle that its [`SendResult`] has. The
    /// broker must allow it (`recallMessageEnable`). The result is the message's unique key: the
    /// message is not delivered then, unless its time came first.
    ///
    /// # Errors
    /// The handle is none, its time has passed, or the broker refused or did not answer.
    pub async fn recall(&self, topic: &str, handle: &str) -> Result<String, ClientError> {
        self.inner.sender.recall(topic, handle).await
    }

    /// The queues that messages of a topic can be sent to, as the name server says now.
    ///
    /// # Errors
    /// The name server does not know the topic, or does not answer.
    pub async fn fetch_publish_queues(
        &self,
        topic: &str,
    ) -> Result<Vec<MessageQueue>, ClientError> {
        let instance = &self.inner.sender.instance;
        let topic = instance.config.wrap(topic);
        let queues = instance.fetch_publish_queues(&topic).await?;
        let unwrap = |queue| instance.config.unwrap_queue(queue);
        Ok(queues.iter().map(unwrap).collect())
    }

    /// Creates a topic with so many queues on every broker that has the default topic.
    ///
    /// # Errors
    /// A broker refused or did not answer; others may have created the topic.
    pub async fn create_topic(&self, topic: &str, queues: i32) -> Result<(), ClientError> {
        let instance = &self.inner.sender.instance;
        let topic = instance.config.wrap(topic);
        instance.create_topic(&topic, queues).await
    }

    pub(crate) fn sender(&self) -> &Sender {
        &self.inner.sender
    }

    /// Ties a task's life to the producer's.
    pub(crate) fn keep(&self, task: TaskHandle) {
        self.inner.sender.instance.keep(task);
    }

    /// The client id under which brokers know this producer.
    pub fn client_id(&self) -> &str {
        &self.inner.sender.instance.client_id
    }

    /// Takes leave of the brokers and ends. Sends that are under way fail.
    pub async fn shutdown(&self) {
        if let Some(tracer) = &self.inner.sender.tracer {
            tracer.shutdown().await;
        }
        self.inner.sender.instance.unregister().await;
        self.inner.sender.instance.stop();
    }
}

client_setters!(ProducerBuilder);

impl ProducerBuilder {
    /// The producer group.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.send.group = group.into();
        self
    }

    /// How long a send may take, all attempts together. Default: 3 s.
    pub fn send_timeout(mut self, timeout: Duration) -> Self {
        self.send.timeout = timeout;
        self
    }

    /// How many further attempts a failed [`send`](Producer::send) makes. Default: 2.
    pub fn retries(mut self, retries: u32) -> Self {
        self.send.retries = retries;
        self
    }

    /// How many further attempts a failed [`send_async`](Producer::send_async) makes. Default: 2.
    pub fn async_retries(mut self, retries: u32) -> Self {
        self.send.async_retries = retries;
        self
    }

    /// Bodies of so many bytes and more are compressed. Default: 4096.
    pub fn compress_over(mut self, bytes: usize) -> Self {
        self.send.limits.compress_over = bytes;
        self
    }

    /// How bodies are compressed. Brokers and consumers before 5.0 know ZLIB only. Default: ZLIB.
    pub fn compression(mut self, compression: CompressionType) -> Self {
        self.send.limits.compression = compression;
        self
    }

    /// The largest body, in bytes. Default: 4 MiB.
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.send.limits.max_message_size = bytes;
        self
    }

    /// Whether to keep away from brokers that were slow or failed. Default: no.
    pub fn latency_fault_tolerance(mut self, enabled: bool) -> Self {
        self.send.latency_fault_tolerance = enabled;
        self
    }

    /// How many queues a topic gets that is created by sending to it. Default: 4.
    pub fn default_topic_queue_nums(mut self, queues: i32) -> Self {
        self.send.default_topic_queue_nums = queues;
        self
    }

    /// Traces every message that is sent. Default: none is.
    pub fn trace(mut self, options: TraceOptions) -> Self {
        self.trace = Some(options);
        self
    }

    /// Starts the producer. No server need be reachable yet.
    ///
    /// # Errors
    /// The group or the name servers are missing or malformed.
    pub async fn start(self) -> Result<Producer, ClientError> {
        self.start_with(None).await
    }

    /// Starts the producer, with what answers questions about its transactions.
    pub(crate) async fn start_with(
        mut self,
        checks: Option<Arc<Checks>>,
    ) -> Result<Producer, ClientError> {
        self.send.group = self.client.wrap(&self.send.group);
        check_own_group(&self.send.group, DEFAULT_PRODUCER_GROUP)?;
        let tracer = match &self.trace {
            Some(options) => Some(Tracer::start(&self.env, &self.client, options).await?),
            None => None,
        };
        let requests = Arc::new(PendingRequests::new(&self.env));
        let callbacks = Arc::new(Callbacks {
            requests: requests.clone(),
            checks: checks.clone(),
        });
        let instance = Instance::new(&self.env, self.client, Some(callbacks), false)?;
        if let Some(checks) = checks {
            checks.set_producer(&instance, &self.send.group, tracer.clone());
        }
        instance.set_producer(&self.send.group);
        instance.start();
        let sender = Sender::new(instance, self.send, tracer);
        // Java's start() ends with a heartbeat to whatever brokers are known.
        sender.instance.heartbeat().await;
        Ok(Producer {
            inner: Arc::new(Inner { sender, requests }),
        })
    }
}
