//! Consuming messages by polling (`DefaultLitePullConsumer`).

mod assign;
mod builder;
mod callbacks;
mod offsets;
mod pull;
pub mod queues;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hotfire_env::{Env, TaskHandle};
use hotfire_protocol::body::{ConsumeType, ConsumerData, SubscriptionData};
use hotfire_protocol::{MessageExt, MessageQueue};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout_at};

pub use builder::LitePullConsumerBuilder;
pub use watch::TopicQueuesListener;

use crate::consumer::filter::Expression;
use crate::consumer::local::LocalOffsets;
use crate::instance::Instance;
use crate::offsets::OffsetTable;
use crate::{AllocateStrategy, ClientError, ConsumeFrom, ConsumerHook, MessageModel};
use queues::{LitePullLimits, LiteQueues};
use watch::Watch;

/// Pulls messages in the background and hands them out when the application polls.
///
/// Either the members of the group share the queues of the topics that they
/// [`subscribe`](Self::subscribe) to, or the application says which queues to
/// [`assign`](Self::assign); one consumer does one of them. What [`poll`](Self::poll) handed out
/// counts as consumed: the next commit covers it. Commits happen by themselves every five seconds
/// of polling, unless that is switched off, and on request. Nothing is retried and nothing becomes a
/// dead letter: a message that cannot be handled is the application's to keep.
///
/// Dropping the consumer ends it like a crash: nothing is committed.
///
/// # Example
///
/// ```no_run
/// # async fn example(env: &hotfire_env::Env) -> Result<(), hotfire_client::ClientError> {
/// use std::time::Duration;
/// use hotfire_client::LitePullConsumer;
///
/// let consumer = LitePullConsumer::builder(env)
///     .namesrv(["ns1:9876"])
///     .group("auditors")
///     .auto_commit(false)
///     .start()
///     .await?;
/// let queues = consumer.fetch_queues("orders").await?;
/// consumer.assign(&queues).await?;
/// for queue in &queues {
///     consumer.seek_to_begin(queue).await?;
/// }
/// loop {
///     let messages = consumer.poll(Duration::from_secs(5)).await?;
///     if messages.is_empty() {
///         break;
///     }
///     // …
///     consumer.commit_sync().await?;
/// }
/// consumer.shutdown().await;
/// # Ok(())
/// # }
/// ```
pub struct LitePullConsumer {
    core: Arc<Core>,
}

/// How a consumer comes to its queues (`SubscriptionType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Undecided,
    Subscribe,
    Assign,
}

/// How a consumer consumes.
struct Config {
    group: String,
    model: MessageModel,
    from: ConsumeFrom,
    limits: LitePullLimits,
    pull_threads: usize,
    auto_commit: bool,
    auto_commit_interval: Duration,
    watch_interval: Duration,
    strategy: Arc<dyn AllocateStrategy>,
}

/// A running consumer.
struct Core {
    env: Env,
    instance: Arc<Instance>,
    config: Config,
    hook: Arc<dyn ConsumerHook>,
    mode: Mutex<Mode>,
    subscriptions: Mutex<BTreeMap<String, Arc<SubscriptionData>>>,
    queues: Mutex<LiteQueues>,
    /// The tasks that pull.
    pulling: Mutex<BTreeMap<MessageQueue, TaskHandle>>,
    /// Held while queues are given up and taken.
    changing: tokio::sync::Mutex<()>,
    /// One for each pull that may be under way.
    turns: Semaphore,
    /// Notified when there is something to poll.
    arrival: Notify,
    offsets: Mutex<OffsetTable>,
    /// Where a broadcasting consumer keeps its offsets.
    local: Option<LocalOffsets>,
    next_auto_commit: Mutex<Option<Instant>>,
    watches: Mutex<BTreeMap<String, Watch>>,
    /// Wakes the rebalancing.
    rebalance: Arc<Notify>,
    started: Instant,
    stopped: AtomicBool,
}

impl Core {
    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// What heartbeats tell of this consumer.
    fn consumer_data(&self) -> ConsumerData {
        let subscriptions = self.subscriptions.lock();
        ConsumerData {
            consume_from_where: self.config.from.wire(),
            consume_type: ConsumeType::Actively,
            group_name: self.config.group.clone(),
            message_model: self.config.model,
            subscription_data_set: subscriptions
                .values()
                .map(|data| (**data).clone())
                .collect(),
            unit_mode: false,
        }
    }

    /// Decides for one way of coming to queues, once and for all (`setSubscriptionType`).
    fn decide(&self, wanted: Mode) -> Result<(), ClientError> {
        let mut mode = self.mode.lock();
        if *mode != Mode::Undecided && *mode != wanted {
            let reason = "subscribing and assigning exclude each other";
            return Err(ClientError::Invalid(reason.to_owned()));
        }
        *mode = wanted;
        Ok(())
    }

    /// Subscribes to a topic that is named as brokers know it.
    fn subscribe(&self, topic: &str, expression: &Expression) -> Result<(), ClientError> {
        let data = expression.checked(topic, self.env.now_ms())?;
        self.decide(Mode::Subscribe)?;
        let data = Arc::new(data);
        self.subscriptions.lock().insert(topic.to_owned(), data);
        self.instance.watch_topic(topic);
        self.instance.set_consumer(self.consumer_data());
        Ok(())
    }

    /// Fetches the route of a subscribed topic.
    async fn find(&self, topic: &str) {
        if let Err(error) = self.instance.update_route(topic).await {
            tracing::debug!(topic, %error, "no route yet");
        }
    }

    /// Has brokers look at the SQL expressions that are subscribed to.
    async fn check_expressions(&self) -> Result<(), ClientError> {
        let subscriptions: Vec<_> = self.subscriptions.lock().values().cloned().collect();
        let (instance, group) = (&self.instance, &self.config.group);
        instance
            .check_expressions(group, subscriptions.iter())
            .await
    }

    /// The queues that a topic can be consumed from, as the application names them.
    async fn fetch_queues(&self, topic: &str) -> Result<Vec<MessageQueue>, ClientError> {
        let queues = self.instance.fetch_subscribe_queues(topic).await?;
        let config = &self.instance.config;
        Ok(queues
            .iter()
            .map(|queue| config.unwrap_queue(queue))
            .collect())
    }

    /// Tells the brokers what is subscribed to, and has the share computed.
    async fn announce(&self) {
        self.instance.heartbeat().await;
        self.rebalance.notify_one();
    }

    fn end(&self) {
        self.stopped.store(true, Ordering::Release);
        for (queue, task) in std::mem::take(&mut *self.pulling.lock()) {
            task.abort();
            if self.queues.lock().revoke(&queue) {
                self.hook.revoked(&queue);
            }
        }
        self.arrival.notify_waiters();
        self.instance.stop();
    }
}

impl LitePullConsumer {
    /// The client id under which brokers know this consumer.
    pub fn client_id(&self) -> &str {
        &self.core.instance.client_id
    }

    fn check_running(&self) -> Result<(), ClientError> {
        match self.core.is_stopped() {
            true => Err(ClientError::ShutDown),
            false => Ok(()),
        }
    }

    /// The queues that a topic can be consumed from, as the name server says now.
    ///
    /// # Errors
    /// The name server does not know the topic, or does not answer.
    pub async fn fetch_queues(&self, topic: &str) -> Result<Vec<MessageQueue>, ClientError> {
        let topic = self.core.instance.config.wrap(topic);
        self.core.fetch_queues(&topic).await
    }

    /// Subscribes to a topic: to messages with one of some tags (`TagA || TagB`), or to all (`*`).
    ///
    /// # Errors
    /// The topic or expression is malformed, or queues were assigned before.
    pub async fn subscribe(&self, topic: &str, expression: &str) -> Result<(), ClientError> {
        let tags = Expression::Tags(expression.to_owned());
        self.subscribe_to(topic, &tags).await
    }

    /// Subscribes to the messages of a topic of whose properties an SQL expression is true; see
    /// [`hotfire_protocol::filter::sql`]. Unlike at the start of the consumer, no broker is asked
    /// now what it makes of the expression: if it is wrong, or the broker does not evaluate
    /// expressions, it is pulling that fails, and nothing comes.
    ///
    /// # Errors
    /// The topic is malformed, the expression empty, or queues were assigned before.
    pub async fn subscribe_sql(&self, topic: &str, expression: &str) -> Result<(), ClientError> {
        let sql = Expression::Sql(expression.to_owned());
        self.subscribe_to(topic, &sql).await
    }

    async fn subscribe_to(&self, topic: &str, expression: &Expression) -> Result<(), ClientError> {
        self.check_running()?;
        let topic = self.core.instance.config.wrap(topic);
        self.core.subscribe(&topic, expression)?;
        self.core.find(&topic).await;
        self.core.announce().await;
        Ok(())
    }

    /// Takes a subscription back and gives the queues of the topic up.
    pub async fn unsubscribe(&self, topic: &str) {
        let core = &self.core;
        let topic = core.instance.config.wrap(topic);
        if core.subscriptions.lock().remove(&topic).is_some() {
            core.instance.set_consumer(core.consumer_data());
            core.hold(|queue| queue.topic == topic, &[]).await;
        }
    }

    /// Pulls exactly these queues from now on, whole topics or not, whatever other members of the
    /// group do. What was assigned before and is again goes on as it was.
    ///
    /// # Errors
    /// A topic was subscribed to before.
    pub async fn assign(&self, queues: &[MessageQueue]) -> Result<(), ClientError> {
        self.check_running()?;
        self.core.decide(Mode::Assign)?;
        let queues: Vec<_> = queues.iter().map(|queue| self.wrap(queue)).collect();
        for queue in &queues {
            self.core.instance.watch_topic(&queue.topic);
        }
        self.core.hold(|_| true, &queues).await;
        Ok(())
    }

    /// The queues that this consumer holds now, sorted.
    pub fn assigned(&self) -> Vec<MessageQueue> {
        let (held, config) = (self.core.queues.lock().held(), &self.core.instance.config);
        held.iter()
            .map(|queue| config.unwrap_queue(queue))
            .collect()
    }

    /// A queue as brokers know it.
    fn wrap(&self, queue: &MessageQueue) -> MessageQueue {
        self.core.instance.config.wrap_queue(queue)
    }

    /// Messages of one queue, in order: those of the oldest pull that nobody has polled yet. Empty
    /// if there are none within `wait`. They count as consumed by the next commit, so commit or
    /// poll again when they are dealt with; the commit that is due by itself is made here first.
    ///
    /// # Errors
    /// The consumer is shut down.
    pub async fn poll(&self, wait: Duration) -> Result<Vec<Arc<MessageExt>>, ClientError> {
        let polled = self.poll_queue(wait).await?;
        Ok(polled.map(|(_, messages)| messages).unwrap_or_default())
    }

    /// Does as [`poll`](Self::poll), and tells which queue the messages are of; `None` if there are
    /// none within `wait`.
    ///
    /// # Errors
    /// The consumer is shut down.
    pub async fn poll_queue(
        &self,
        wait: Duration,
    ) -> Result<Option<(MessageQueue, Vec<Arc<MessageExt>>)>, ClientError> {
        let core = &self.core;
        self.check_running()?;
        if core.config.auto_commit {
            core.auto_commit().await;
        }
        let deadline = Instant::now() + wait;
        loop {
            let arrival = core.arrival.notified();
            let (polled, more) = {
                let mut queues = core.queues.lock();
                (queues.poll(), queues.has_ready())
            };
            if let Some((queue, messages)) = polled {
                if more {
                    core.arrival.notify_one();
                }
                return Ok(Some((core.instance.config.unwrap_queue(&queue), messages)));
            }
            self.check_running()?;
            if timeout_at(deadline, arrival).await.is_err() {
                return Ok(None);
            }
        }
    }

    /// Goes on at another offset of a queue. What was pulled and not polled is forgotten.
    ///
    /// # Errors
    /// The queue is not held, the offset is not within the queue, or the broker does not answer.
    pub async fn seek(&self, queue: &MessageQueue, offset: i64) -> Result<(), ClientError> {
        let (min, max) = (
            self.bound(queue, Bound::Min).await?,
            self.bound(queue, Bound::Max).await?,
        );
        if !(min..=max).contains(&offset) {
            let reason = format!("offset {offset} is not within {min} to {max} of {queue}");
            return Err(ClientError::Invalid(reason));
        }
        self.go_to(queue, offset)
    }

    /// Goes on at the oldest message of a queue.
    ///
    /// # Errors
    /// As [`LitePullConsumer::seek`].
    pub async fn seek_to_begin(&self, queue: &MessageQueue) -> Result<(), ClientError> {
        let offset = self.bound(queue, Bound::Min).await?;
        self.go_to(queue, offset)
    }

    /// Goes on behind the newest message of a queue.
    ///
    /// # Errors
    /// As [`LitePullConsumer::seek`].
    pub async fn seek_to_end(&self, queue: &MessageQueue) -> Result<(), ClientError> {
        let offset = self.bound(queue, Bound::Max).await?;
        self.go_to(queue, offset)
    }

    async fn bound(&self, queue: &MessageQueue, bound: Bound) -> Result<i64, ClientError> {
        self.check_running()?;
        let wrapped = self.wrap(queue);
        if !self.core.queues.lock().holds(&wrapped) {
            return Err(not_held(queue));
        }
        match bound {
            Bound::Min => self.core.instance.min_offset(&wrapped).await,
            Bound::Max => self.core.instance.max_offset(&wrapped).await,
        }
    }

    fn go_to(&self, queue: &MessageQueue, offset: i64) -> Result<(), ClientError> {
        let core = &self.core;
        let wrapped = self.wrap(queue);
        let ticket = core.queues.lock().seek(&wrapped, offset);
        let ticket = ticket.ok_or_else(|| not_held(queue))?;
        core.hook.pulling_from(&wrapped, offset);
        core.start_pulling(&wrapped, ticket);
        Ok(())
    }

    /// Pauses pulling of queues. What was pulled can still be polled.
    pub fn pause(&self, queues: &[MessageQueue]) {
        self.set_paused(queues, true);
    }

    /// Goes on pulling queues, within a second.
    pub fn resume(&self, queues: &[MessageQueue]) {
        self.set_paused(queues, false);
    }

    fn set_paused(&self, queues: &[MessageQueue], paused: bool) {
        let mut held = self.core.queues.lock();
        for queue in queues {
            held.set_paused(&self.wrap(queue), paused);
        }
    }

    /// Commits what was polled. The brokers learn it with the next persisting, within five seconds,
    /// or when the queue is given up; a broadcasting consumer writes it to its file at once.
    pub async fn commit(&self) {
        self.core.commit().await;
    }

    /// Commits what was polled and waits until the brokers have it.
    ///
    /// # Errors
    /// The consumer is shut down, or a broker refused or did not answer; the offsets of other
    /// brokers may be committed.
    pub async fn commit_sync(&self) -> Result<(), ClientError> {
        self.check_running()?;
        self.core.commit_sync().await
    }

    /// The offset of a queue that was committed last, by this consumer or else in its group.
    ///
    /// # Errors
    /// The broker refused or did not answer.
    pub async fn committed(&self, queue: &MessageQueue) -> Result<Option<i64>, ClientError> {
        self.core.committed(&self.wrap(queue)).await
    }

    /// The offset at a time, in milliseconds since the epoch: of the message that was stored
    /// nearest to it.
    ///
    /// # Errors
    /// The broker refused or did not answer.
    pub async fn offset_for_timestamp(
        &self,
        queue: &MessageQueue,
        timestamp_ms: i64,
    ) -> Result<i64, ClientError> {
        let queue = self.wrap(queue);
        self.core.instance.search_offset(&queue, timestamp_ms).await
    }

    /// Ends the consumer: commits are sent, and the brokers told. With automatic commits, what was
    /// polled since the last one is not committed, as with Apache RocketMQ.
    pub async fn shutdown(&self) {
        let core = &self.core;
        if core.stopped.swap(true, Ordering::AcqRel) {
            return;
        }
        core.persist_all().await;
        core.instance.unregister().await;
        core.end();
    }
}

impl Drop for LitePullConsumer {
    fn drop(&mut self) {
        self.core.end();
    }
}

/// An end of a queue.
#[derive(Clone, Copy)]
enum Bound {
    Min,
    Max,
}

fn not_held(queue: &MessageQueue) -> ClientError {
    ClientError::Invalid(format!("{queue} is not assigned to this consumer"))
}
