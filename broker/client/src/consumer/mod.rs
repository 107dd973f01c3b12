//! Consuming messages by listener (`DefaultMQPushConsumer`).

pub mod allocate;
pub(crate) mod asked;
mod assign;
mod callbacks;
mod concurrent;
mod core;
pub(crate) mod filter;
pub(crate) mod hook;
mod inspect;
pub(crate) mod listener;
pub(crate) mod local;
pub mod offsets;
mod orderly;
pub mod process_queue;
mod pull;
pub mod rebalance;
pub mod retry;
pub(crate) mod setup;
pub(crate) mod share;
mod slot;
mod stats;
mod traced;
mod work;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use hotfire_env::{Env, TaskHandle};
use hotfire_protocol::MessageQueue;
use hotfire_protocol::body::{ConsumeFromWhere, SubscriptionData};
use hotfire_protocol::filter::SUBSCRIBE_ALL;
use hotfire_protocol::topic::{DEFAULT_CONSUMER_GROUP, retry_topic};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

pub use hotfire_protocol::body::MessageModel;

use crate::config::{check_own_group, client_setters};
use crate::instance::{INNER_PRODUCER_GROUP, Instance};
use crate::producer::send::{SendConfig, Sender};
use crate::trace::Tracer;
use crate::{
    AllocateAveragely, ClientConfig, ClientError, ConcurrentListener, ConsumerHook,
    OrderlyListener, TraceOptions,
};
use callbacks::Callbacks;
use core::{ConsumerConfig, Core, Listener};
use filter::{Expression, FilterMessageHook};
use hook::NoHook;
use local::LocalOffsets;
use process_queue::Thresholds;
use setup::{Wanted, consumer_setters, sharing_setters, wrap_names};

/// Where a group begins with a queue of which it has committed no offset.
///
/// A broker that still has the first message of a queue in memory answers 0 instead of "none", so
/// on young topics all of these begin at the beginning, as with Apache RocketMQ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ConsumeFrom {
    /// At the end: what was sent before is skipped.
    #[default]
    Last,
    /// At the beginning.
    First,
    /// At the messages stored at this time, in milliseconds since the epoch.
    Timestamp(i64),
}

impl ConsumeFrom {
    pub(crate) fn wire(self) -> ConsumeFromWhere {
        match self {
            Self::Last => ConsumeFromWhere::LastOffset,
            Self::First => ConsumeFromWhere::FirstOffset,
            Self::Timestamp(_) => ConsumeFromWhere::Timestamp,
        }
    }
}

/// Calls a listener for messages, at least once for each.
///
/// The consumers of a group share the queues of its topics (or, when broadcasting, each gets all).
/// What is pulled is handed to the listener; what the listener consumed is committed every five
/// seconds, along with pulls, and at [`shutdown`](Self::shutdown). After a crash, or when a queue
/// changes hands, messages behind the last committed offset are delivered again.
///
/// Dropping the consumer ends it like a crash: nothing is committed.
///
/// # Example
///
/// ```no_run
/// # async fn example(env: &hotfire_env::Env) -> Result<(), Box<dyn std::error::Error>> {
/// use hotfire_client::{ConsumeFrom, ConsumeOrderlyStatus, Delivery, PushConsumer};
///
/// let consumer = PushConsumer::builder(env)
///     .namesrv(["ns1:9876"])
///     .group("fulfilment")
///     .subscribe("orders", "*")
///     .consume_from(ConsumeFrom::First)
///     .orderly(|messages: Delivery| async move {
///         match ship(&messages).await {
///             Ok(()) => ConsumeOrderlyStatus::Success,
///             Err(_) => ConsumeOrderlyStatus::SuspendCurrentQueueAMoment,
///         }
///     })
///     .start()
///     .await?;
/// # consumer.shutdown().await;
/// # Ok(())
/// # }
/// # async fn ship(_: &hotfire_client::Delivery) -> Result<(), ()> { Ok(()) }
/// ```
pub struct PushConsumer {
    core: Arc<Core>,
    workers: Mutex<Workers>,
}

/// The tasks that call the listener.
struct Workers {
    tasks: Vec<TaskHandle>,
    /// Closes when the last of them has ended.
    ended: Option<mpsc::Receiver<()>>,
}

impl Workers {
    fn start(core: &Arc<Core>) -> Self {
        let (running, ended) = mpsc::channel(1);
        let start = |_| {
            let (core, running) = (core.clone(), running.clone());
            let env = core.env.clone();
            env.spawn("consume", async move {
                core.worker().await;
                drop(running);
            })
        };
        Self {
            tasks: (0..core.config.consume_threads).map(start).collect(),
            ended: Some(ended),
        }
    }
}

impl PushConsumer {
    /// Begins to configure a consumer.
    pub fn builder(env: &Env) -> PushConsumerBuilder {
        PushConsumerBuilder {
            env: env.clone(),
            client: ClientConfig::default(),
            subscriptions: Vec::new(),
            filters: Vec::new(),
            listener: None,
            hook: Arc::new(NoHook),
            trace: None,
            config: ConsumerConfig {
                group: String::new(),
                model: MessageModel::Clustering,
                from: ConsumeFrom::Last,
                consume_threads: 20,
                consume_batch: 1,
                pull_batch: 32,
                thresholds: Thresholds::default(),
                max_reconsume_times: -1,
                suspend_time: Duration::from_secs(1),
                consume_timeout: Duration::from_secs(15 * 60),
                await_termination: Duration::ZERO,
                strategy: Arc::new(AllocateAveragely),
            },
        }
    }

    /// The client id under which brokers know this consumer.
    pub fn client_id(&self) -> &str {
        &self.core.instance.client_id
    }

    /// The queues that are assigned to this consumer now, sorted.
    pub fn assigned(&self) -> Vec<MessageQueue> {
        let slots = self.core.slots.lock();
        slots.values().map(|slot| (*slot.shown).clone()).collect()
    }

    /// Pauses pulling and rebalancing; what was pulled is still consumed.
    pub fn suspend(&self) {
        self.core.set_paused(true);
    }

    /// Ends the pause.
    pub fn resume(&self) {
        self.core.set_paused(false);
    }

    /// Ends the consumer: no listener is called any more, offsets are committed, locks given back,
    /// and the brokers told. Listener calls that are still running after the configured time are
    /// dropped where they wait; their messages will be delivered again.
    pub async fn shutdown(&self) {
        let core = &self.core;
        if core.stopped.swap(true, Ordering::AcqRel) {
            return;
        }
        core.work.close();
        let ended = self.workers.lock().ended.take();
        if let Some(mut ended) = ended {
            // Whatever still runs after that is aborted.
            let _ = timeout(core.config.await_termination, ended.recv()).await;
        }
        self.abort_workers();
        core.persist_all().await;
        if core.is_orderly() && core.is_clustering() {
            core.unlock_all().await;
        }
        if let Some(tracer) = &core.tracer {
            tracer.shutdown().await;
        }
        core.instance.unregister().await;
        self.end();
    }

    fn abort_workers(&self) {
        for worker in std::mem::take(&mut self.workers.lock().tasks) {
            worker.abort();
        }
    }

    /// Ends all tasks.
    fn end(&self) {
        self.core.stopped.store(true, Ordering::Release);
        self.abort_workers();
        for (queue, slot) in std::mem::take(&mut *self.core.slots.lock()) {
            slot.give_up();
            self.core.hook.revoked(&queue);
        }
        self.core.instance.stop();
    }
}

impl Drop for PushConsumer {
    fn drop(&mut self) {
        self.end();
    }
}

impl Core {
    fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Release);
        if !paused {
            self.rebalance.notify_one();
        }
    }
}

/// Configures a [`PushConsumer`].
#[must_use = "a builder does nothing until started"]
pub struct PushConsumerBuilder {
    env: Env,
    client: ClientConfig,
    subscriptions: Wanted,
    filters: Vec<Arc<dyn FilterMessageHook>>,
    listener: Option<Listener>,
    hook: Arc<dyn ConsumerHook>,
    config: ConsumerConfig,
    trace: Option<TraceOptions>,
}

client_setters!(PushConsumerBuilder);
consumer_setters!(PushConsumerBuilder);
sharing_setters!(PushConsumerBuilder);

impl PushConsumerBuilder {
    /// Drops messages on this side that the filter does not keep. Several filters must all keep a
    /// message.
    pub fn filter(mut self, filter: impl FilterMessageHook) -> Self {
        self.filters.push(Arc::new(filter));
        self
    }

    /// Consumes in any order.
    pub fn concurrent(mut self, listener: impl ConcurrentListener) -> Self {
        self.listener = Some(Listener::Concurrent(Arc::new(listener)));
        self
    }

    /// Consumes each queue in order.
    pub fn orderly(mut self, listener: impl OrderlyListener) -> Self {
        self.listener = Some(Listener::Orderly(Arc::new(listener)));
        self
    }

    /// How often a message is delivered again before it becomes a dead letter; -1, the default,
    /// means 16 times with a concurrent listener and without end with an orderly one.
    pub fn max_reconsume_times(mut self, times: i32) -> Self {
        self.config.max_reconsume_times = times;
        self
    }

    /// How many calls of the listener may run at a time. Default: 20.
    pub fn consume_threads(mut self, threads: usize) -> Self {
        self.config.consume_threads = threads;
        self
    }

    /// How many messages the listener gets at most per call. Default: 1.
    pub fn consume_batch(mut self, messages: usize) -> Self {
        self.config.consume_batch = messages;
        self
    }

    /// How many messages are pulled at most at a time. Default: 32.
    pub fn pull_batch(mut self, messages: i32) -> Self {
        self.config.pull_batch = messages;
        self
    }

    /// When pulling pauses because too much is in hand.
    pub fn thresholds(mut self, thresholds: Thresholds) -> Self {
        self.config.thresholds = thresholds;
        self
    }

    /// How long an orderly listener that suspends its queue is left alone. Default: 1 s.
    pub fn suspend_time(mut self, time: Duration) -> Self {
        self.config.suspend_time = time;
        self
    }

    /// After how long a concurrent listener that has not returned is given up on, and its message
    /// sent back. Looked at as often. Default: 15 minutes.
    pub fn consume_timeout(mut self, timeout: Duration) -> Self {
        self.config.consume_timeout = timeout;
        self
    }

    /// How long [`PushConsumer::shutdown`] waits for running calls of the listener. Default: not at
    /// all.
    pub fn await_termination(mut self, time: Duration) -> Self {
        self.config.await_termination = time;
        self
    }

    /// Traces every message that is consumed. Default: none is.
    pub fn trace(mut self, options: TraceOptions) -> Self {
        self.trace = Some(options);
        self
    }

    /// Starts the consumer. No server need be reachable yet.
    ///
    /// # Errors
    /// Group, name servers, subscriptions or listener are missing or malformed, the offset file of
    /// a broadcasting consumer is damaged, or a broker does not accept an SQL expression (it says
    /// what is wrong with it) or cannot be asked whether it does.
    pub async fn start(mut self) -> Result<PushConsumer, ClientError> {
        wrap_names(
            &self.client,
            &mut self.config.group,
            &mut self.subscriptions,
        );
        let tracer = match &self.trace {
            Some(options) => Some(Tracer::start(&self.env, &self.client, options).await?),
            None => None,
        };
        let core = self.build(tracer)?;
        core.instance.set_consumer(core.consumer_data());
        for topic in core.subscriptions.keys() {
            core.instance.watch_topic(topic);
        }
        core.instance.start();
        let workers = Mutex::new(Workers::start(&core));
        let consumer = PushConsumer {
            core: core.clone(),
            workers,
        };
        start_periodic(&core);
        let instance = &core.instance;
        join_all(core.subscriptions.keys().map(|topic| async move {
            if let Err(error) = instance.update_route(topic).await {
                tracing::debug!(topic, %error, "no route yet");
            }
        }))
        .await;
        let expressions = core.subscriptions.values();
        instance
            .check_expressions(&core.config.group, expressions)
            .await?;
        core.instance.heartbeat().await;
        core.rebalance.notify_one();
        core.instance
            .keep(core.env.spawn("rebalance", core.clone().rebalance_loop()));
        Ok(consumer)
    }

    fn build(self, tracer: Option<Arc<Tracer>>) -> Result<Arc<Core>, ClientError> {
        let subscriptions = self.check_subscriptions()?;
        let (env, config) = (self.env, self.config);
        check_config(&config)?;
        let listener = self.listener.ok_or_else(|| invalid("no listener is set"))?;
        let callbacks = Arc::new(Callbacks::default());
        let broadcasting = config.model == MessageModel::Broadcasting;
        let instance = Instance::new(&env, self.client, Some(callbacks.clone()), broadcasting)?;
        let (offsets, local) = LocalOffsets::open(&instance, &config.group, config.model)?;
        let group = INNER_PRODUCER_GROUP.to_owned();
        let sender = Sender::new(
            instance.clone(),
            SendConfig {
                group,
                ..SendConfig::default()
            },
            None,
        );
        let core = Arc::new(Core {
            env,
            instance,
            retry_topic: retry_topic(&config.group),
            config,
            listener,
            hook: self.hook,
            filters: self.filters,
            tracer,
            subscriptions,
            slots: Mutex::default(),
            serials: Mutex::default(),
            offsets: Mutex::new(offsets),
            local,
            work: work::WorkQueue::default(),
            sender,
            rebalance: callbacks.rebalance.clone(),
            stats: Mutex::default(),
            started: Instant::now(),
            resetting: tokio::sync::Mutex::default(),
            paused: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        });
        callbacks.serve(&core);
        Ok(core)
    }

    /// The subscriptions by topic, with the group's retry topic unless broadcasting.
    fn check_subscriptions(&self) -> Result<BTreeMap<String, Arc<SubscriptionData>>, ClientError> {
        check_own_group(&self.config.group, DEFAULT_CONSUMER_GROUP)?;
        if self.subscriptions.is_empty() {
            return Err(invalid("no topic is subscribed to"));
        }
        let everything = Expression::Tags(SUBSCRIBE_ALL.to_owned());
        let retry = Some((retry_topic(&self.config.group), everything))
            .filter(|_| self.config.model == MessageModel::Clustering);
        let mut parsed = BTreeMap::new();
        for (topic, expression) in &self.subscriptions {
            let data = expression.checked(topic, self.env.now_ms())?;
            parsed.insert(topic.clone(), Arc::new(data));
        }
        if let Some((topic, expression)) = retry {
            let data = expression.subscription(&topic, self.env.now_ms())?;
            parsed.insert(topic, Arc::new(data));
        }
        Ok(parsed)
    }
}

/// The ranges that the Java client checks (`checkConfig`).
fn check_config(config: &ConsumerConfig) -> Result<(), ClientError> {
    let in_range = |value: usize, max: usize| (1..=max).contains(&value);
    if !in_range(config.consume_threads, 1000) {
        return Err(invalid("consume_threads is not within 1 to 1000"));
    }
    if !in_range(config.consume_batch, 1024) {
        return Err(invalid("consume_batch is not within 1 to 1024"));
    }
    if !in_range(config.pull_batch.try_into().unwrap_or(0), 1024) {
        return Err(invalid("pull_batch is not within 1 to 1024"));
    }
    Ok(())
}

fn invalid(reason: &str) -> ClientError {
    ClientError::Invalid(reason.to_owned())
}

/// Starts what a consumer does periodically, beyond what every client does.
fn start_periodic(core: &Arc<Core>) {
    /// Before offsets are committed first.
    const FIRST_PERSIST: Duration = Duration::from_secs(10);
    /// Before locks are confirmed first, and how often then (`REBALANCE_LOCK_INTERVAL`).
    const FIRST_LOCK: Duration = Duration::from_secs(1);
    const LOCK_INTERVAL: Duration = Duration::from_secs(20);

    let instance = &core.instance;
    let persist = instance.config.persist_consumer_offset_interval;
    instance.every(
        "persist offsets",
        FIRST_PERSIST,
        persist,
        core,
        |core| async move {
            core.persist_all().await;
        },
    );
    if !core.is_orderly() {
        let timeout = core.config.consume_timeout;
        instance.every("clean overdue", timeout, timeout, core, |core| async move {
            core.clean_overdue().await;
        });
    } else if core.is_clustering() {
        instance.every(
            "lock queues",
            FIRST_LOCK,
            LOCK_INTERVAL,
            core,
            |core| async move {
                core.lock_all().await;
            },
        );
    }
}
