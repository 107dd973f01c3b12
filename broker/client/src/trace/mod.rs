//! Message traces: what became of every message, sent as messages to a topic of their own
//! (`AsyncTraceDispatcher`).
//!
//! Records are collected and sent in the background by a producer that is not traced itself. They
//! are lost when the collection is full, when they cannot be sent, and in a crash: a trace never
//! holds up what it traces.

pub(crate) mod record;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use hotfire_env::Env;
use hotfire_protocol::message::id::UniqueKeys;
use hotfire_protocol::message::property;
use hotfire_protocol::topic::TRACE_TOPIC;
use hotfire_protocol::{Message, MessageExt};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::{ClientConfig, ClientError, Producer};
use record::{Consumed, Consumption, ContextCode, EndTransaction, TraceRecord};

/// The group that traces are sent by (`TraceConstants.GROUP_NAME`).
const TRACE_GROUP: &str = "_INNER_TRACE_PRODUCER";
/// How many records wait to be sent; more are dropped (`AsyncTraceDispatcher`).
const QUEUE_MAX: usize = 1024;
/// How many records are sent at a time.
const BATCH_MAX: usize = 100;
/// The largest message, in bytes (`maxMsgSize` less 10,000).
const MESSAGE_MAX: usize = 118_000;
/// How long a trace may take to be sent.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client that ends waits for its traces.
const FLUSH_TIME: Duration = Duration::from_millis(500);

/// Whether and where a client traces its messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceOptions {
    /// The topic to trace to. Default: `RMQ_SYS_TRACE_TOPIC`, which brokers have with
    /// `traceTopicEnable`.
    pub topic: Option<String>,
}

/// Collects the records of a client and sends them.
pub(crate) struct Tracer {
    env: Env,
    /// The topic to trace to.
    topic: String,
    /// Unique keys for listener calls.
    keys: Mutex<UniqueKeys>,
    waiting: Mutex<VecDeque<TraceRecord>>,
    more: Notify,
    producer: Producer,
}

impl Tracer {
    /// Starts a tracer with the settings of the client that it traces.
    pub(crate) async fn start(
        env: &Env,
        client: &ClientConfig,
        options: &TraceOptions,
    ) -> Result<Arc<Self>, ClientError> {
        let config = ClientConfig {
            instance_name: None,
            namespace: None,
            ..client.clone()
        };
        let builder = Producer::builder(env)
            .client_config(config)
            .group(TRACE_GROUP)
            .send_timeout(SEND_TIMEOUT)
            .max_message_size(MESSAGE_MAX * 2);
        // A tracer is part of a producer, which has a producer in its tracer: the box ends that.
        let producer = Box::pin(builder.start()).await?;
        let salt = env.next_serial() as u32;
        let keys = UniqueKeys::new(env.network().local_ip(), env.process_id(), salt);
        let tracer = Arc::new(Self {
            env: env.clone(),
            topic: options
                .topic
                .clone()
                .unwrap_or_else(|| TRACE_TOPIC.to_owned()),
            keys: Mutex::new(keys),
            waiting: Mutex::default(),
            more: Notify::new(),
            producer,
        });
        let sending = tracer.clone();
        tracer.producer.keep(env.spawn("trace", async move {
            loop {
                sending.more.notified().await;
                while sending.send_some().await {}
            }
        }));
        Ok(tracer)
    }

    /// Whether messages of a topic are traced: those of traces are not.
    pub(crate) fn traces(&self, topic: &str) -> bool {
        !topic.starts_with(&self.topic)
    }

    /// Takes a record, or drops it if there are too many.
    pub(crate) fn add(&self, record: TraceRecord) {
        let mut waiting = self.waiting.lock();
        if waiting.len() >= QUEUE_MAX {
            tracing::info!(topic = self.topic, "too many traces: one is dropped");
            return;
        }
        waiting.push_back(record);
        drop(waiting);
        self.more.notify_one();
    }

    /// Notes the end of a transaction.
    pub(crate) fn ended(&self, transaction: EndTransaction) {
        self.add(TraceRecord::EndTransaction(transaction));
    }

    /// Notes that a listener is about to be called. The answer is for [`consumed`](Self::consumed);
    /// there is none if no message is to be traced.
    pub(crate) fn consuming(
        &self,
        group: &str,
        messages: &[Arc<MessageExt>],
    ) -> Option<Consumption> {
        let traced = |message: &&Arc<MessageExt>| {
            message.message.properties.get(property::TRACE_ON) != Some("false")
        };
        let begin_ms = self.env.now_ms();
        let mut region_id = None;
        let consumed = |message: &Arc<MessageExt>| {
            let properties = &message.message.properties;
            region_id = properties.get(property::MSG_REGION).map(str::to_owned);
            Consumed {
                topic: message.message.topic.clone(),
                msg_id: message.msg_id(),
                retry_times: message.reconsume_times,
                keys: message.message.keys().map(str::to_owned),
            }
        };
        let messages: Vec<_> = messages.iter().filter(traced).map(consumed).collect();
        if messages.is_empty() {
            return None;
        }
        let call = Consumption {
            begin_ms,
            region_id,
            group: group.to_owned(),
            request_id: self.keys.lock().next(begin_ms),
            messages,
        };
        self.add(TraceRecord::Before(call.clone()));
        Some(call)
    }

    /// Notes how a listener call ended.
    pub(crate) fn consumed(&self, consumption: Consumption, code: ContextCode) {
        let ended_ms = self.env.now_ms();
        let took_ms = ended_ms.saturating_sub(consumption.begin_ms);
        let messages = i64::try_from(consumption.messages.len()).unwrap_or(1);
        self.add(TraceRecord::After {
            cost_ms: took_ms / messages.max(1),
            success: code == ContextCode::Success,
            consumption,
            code,
            ended_ms,
        });
    }

    /// Sends what is there now, as far as one batch goes. False if there was nothing.
    async fn send_some(&self) -> bool {
        let records: Vec<_> = {
            let mut waiting = self.waiting.lock();
            let count = waiting.len().min(BATCH_MAX);
            waiting.drain(..count).collect()
        };
        for message in messages(&self.topic, &records) {
            if let Err(error) = self.producer.send_async(message).await {
                tracing::info!(topic = self.topic, %error, "traces are lost");
            }
        }
        !records.is_empty()
    }

    /// Sends what is left, within half a second, and ends.
    pub(crate) async fn shutdown(&self) {
        let rest = async { while self.send_some().await {} };
        // What is not sent by then is lost.
        let _ = timeout(FLUSH_TIME, rest).await;
        Box::pin(self.producer.shutdown()).await;
    }
}

/// The messages that carry records: those of one topic together, up to the largest size.
fn messages(trace_topic: &str, records: &[TraceRecord]) -> Vec<Message> {
    let mut by_topic: BTreeMap<&str, Vec<&TraceRecord>> = BTreeMap::new();
    for record in records {
        by_topic.entry(record.topic()).or_default().push(record);
    }
    let mut messages = Vec::new();
    for records in by_topic.values() {
        let (mut text, mut keys) = (String::new(), Vec::new());
        for (at, record) in records.iter().enumerate() {
            record.encode(&mut text);
            for key in record.keys() {
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
            if text.len() >= MESSAGE_MAX || at + 1 == records.len() {
                let body = std::mem::take(&mut text);
                messages.push(Message::new(trace_topic, body).with_key(keys.join(" ")));
                keys.clear();
            }
        }
    }
    messages
}
