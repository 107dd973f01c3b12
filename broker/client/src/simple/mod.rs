//! Consuming messages by popping them: the simple consumer of 5.x, over remoting.

mod builder;
mod calls;
mod popped;
mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hotfire_protocol::body::{BatchAck, SubscriptionData};
use hotfire_protocol::header::pop::PopMessageRequestHeader;
use hotfire_protocol::pop::POP_MAX;
use parking_lot::Mutex;

pub use builder::SimpleConsumerBuilder;
pub use popped::PoppedMessage;

use crate::ClientError;
use crate::instance::Instance;
use turns::Turns;

/// The shortest time that messages can be hidden.
const INVISIBLE_MIN: Duration = Duration::from_secs(10);
/// The longest time that messages can be hidden.
const INVISIBLE_MAX: Duration = Duration::from_secs(12 * 3600);
/// `initMode` of a group that begins with the oldest messages.
const INIT_MIN: i32 = 0;
/// `initMode` of a group that begins with the newest message.
const INIT_MAX: i32 = 1;

/// Why a receipt did not do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReceiptError {
    /// The invisible time is over: the message belongs to whoever gets it next
    /// (`INVALID_RECEIPT_HANDLE`). Nothing was sent.
    #[error("the receipt has expired")]
    Expired,
    /// The call failed.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Receives messages that are then hidden from the other members of the group, until they are
/// acknowledged or their time is up.
///
/// Members own no queues: each receives from all brokers in turn, and the brokers keep the group's
/// progress. A message that is not acknowledged in time is delivered again, to any member; after
/// the greatest number of attempts it goes to the group's dead-letter queue. An acknowledgement
/// that fails may have arrived all the same; repeating it is harmless.
///
/// Messages whose time was up before they arrived, because the process or the network stood still,
/// are left to the others.
///
/// Dropping the consumer ends it like a crash: what it had in hand comes back when its time is up.
///
/// # Example
///
/// ```no_run
/// # async fn example(env: &hotfire_env::Env) -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use hotfire_client::SimpleConsumer;
///
/// let consumer = SimpleConsumer::builder(env)
///     .namesrv(["ns1:9876"])
///     .group("bar")
///     .subscribe("orders", "drinks || snacks")
///     .start()
///     .await?;
/// let invisible = Duration::from_secs(30);
/// for mut message in consumer.receive(16, invisible, Duration::from_secs(15)).await? {
///     // It takes longer than expected.
///     consumer.change_invisible_duration(&mut message, 2 * invisible).await?;
///     // …
///     consumer.ack(&message).await?;
/// }
/// consumer.shutdown().await;
/// # Ok(())
/// # }
/// ```
pub struct SimpleConsumer {
    instance: Arc<Instance>,
    config: Config,
    turns: Mutex<Turns>,
}

/// How a consumer consumes.
struct Config {
    group: String,
    subscriptions: BTreeMap<String, SubscriptionData>,
    order: bool,
    from_first: bool,
    max_attempts: i32,
}

/// Where one call receives from.
type Target = (String, String);

impl SimpleConsumer {
    /// The client id, unique in the group.
    pub fn client_id(&self) -> &str {
        &self.instance.client_id
    }

    /// The consumer group.
    pub fn group(&self) -> String {
        self.instance.config.unwrap(&self.config.group)
    }

    /// Receives up to `max` messages, 1 to 32, and hides them for `invisible`, 10 s to 12 h. Looks
    /// at all brokers of all subscribed topics, in turn; if none has a message, it waits at one of
    /// them for up to `wait`, and returns none if none comes.
    ///
    /// # Errors
    /// A parameter is out of its range, or no broker could be asked. Messages that were on their
    /// way then come back when their time is up.
    pub async fn receive(
        &self,
        max: usize,
        invisible: Duration,
        wait: Duration,
    ) -> Result<Vec<PoppedMessage>, ClientError> {
        check_max(max)?;
        check_invisible(invisible)?;
        let targets = self.targets().await?;
        let mut failed = None;
        let mut waiting = None;
        for target in targets {
            match self
                .receive_from(&target, max, invisible, Duration::ZERO)
                .await
            {
                Ok(messages) if !messages.is_empty() => return Ok(messages),
                Ok(_) => waiting = waiting.or(Some(target)),
                Err(error) => failed = Some(error),
            }
        }
        match (waiting, failed) {
            (Some(_), _) if wait.is_zero() => Ok(Vec::new()),
            (Some(target), _) => self.receive_from(&target, max, invisible, wait).await,
            (None, Some(error)) => Err(error),
            (None, None) => Ok(Vec::new()),
        }
    }

    /// The brokers of the subscribed topics, beginning with the one whose turn it is.
    async fn targets(&self) -> Result<Vec<Target>, ClientError> {
        let mut targets = Vec::new();
        let mut failed = None;
        for topic in self.config.subscriptions.keys() {
            match self.brokers(topic).await {
                Ok(brokers) => {
                    targets.extend(brokers.into_iter().map(|name| (topic.clone(), name)))
                }
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) if targets.is_empty() => Err(error),
            _ => Ok(self.turns.lock().order(targets)),
        }
    }

    async fn brokers(&self, topic: &str) -> Result<Vec<String>, ClientError> {
        let known = || {
            let queues = self.instance.routes.read().subscribe(topic)?;
            let mut names: Vec<_> = queues
                .iter()
                .map(|queue| queue.broker_name.clone())
                .collect();
            names.sort();
            names.dedup();
            (!names.is_empty()).then_some(names)
        };
        if let Some(names) = known() {
            return Ok(names);
        }
        self.instance.update_route(topic).await?;
        known().ok_or_else(|| ClientError::NoRoute {
            topic: topic.to_owned(),
            reason: "its route names no queue that can be read".to_owned(),
        })
    }

    async fn receive_from(
        &self,
        (topic, broker_name): &Target,
        max: usize,
        invisible: Duration,
        wait: Duration,
    ) -> Result<Vec<PoppedMessage>, ClientError> {
        let Some(subscription) = self.config.subscriptions.get(topic) else {
            return Ok(Vec::new());
        };
        let header = PopMessageRequestHeader {
            consumer_group: self.config.group.clone(),
            topic: topic.clone(),
            queue_id: -1,
            max_msg_nums: i32::try_from(max).unwrap_or(POP_MAX),
            invisible_time: millis(invisible),
            poll_time: millis(wait),
            // The broker's clock counts, not ours.
            born_time: 0,
            init_mode: if self.config.from_first {
                INIT_MIN
            } else {
                INIT_MAX
            },
            exp_type: subscription.expression_type.clone(),
            exp: Some(subscription.sub_string.clone()),
            order: Some(self.config.order),
            attempt_id: None,
        };
        let popped = self.instance.pop(broker_name, &header).await?;
        let mut received = Vec::with_capacity(popped.len());
        // In order, nothing may pass a message that nobody wants but that is still there.
        let mut stuck = BTreeSet::new();
        for mut message in popped {
            let queue_id = message.receipt.queue_id;
            if self.config.order && stuck.contains(&queue_id) {
                continue;
            }
            let gone = if !subscription.matches_tag(message.message.tag()) {
                // Its tag has the hash of another one, and nobody in the group wants it.
                self.settle(topic, &message, "is not wanted").await
            } else if message.reconsume_times >= self.config.max_attempts {
                self.dead_letter(topic, &message).await
            } else {
                message.inner.message.topic = self.instance.config.unwrap(topic);
                received.push(message);
                true
            };
            if !gone {
                stuck.insert(queue_id);
            }
        }
        Ok(received)
    }

    /// Acknowledges a message that the application does not get. False if it will come back.
    async fn settle(&self, topic: &str, message: &PoppedMessage, why: &str) -> bool {
        let acked = self.instance.ack(&self.config.group, topic, message).await;
        if let Err(error) = &acked {
            tracing::debug!(topic, why, %error, "a message will come back");
        }
        acked.is_ok()
    }

    /// Moves a message that was delivered too often to the dead-letter queue. False if that fails:
    /// it comes back and is tried again.
    async fn dead_letter(&self, topic: &str, message: &PoppedMessage) -> bool {
        let group = &self.config.group;
        match self.instance.bury(group, topic, message).await {
            Ok(()) => self.settle(topic, message, "is a dead letter").await,
            Err(error) => {
                tracing::warn!(topic, %error, "no dead letter could be made");
                false
            }
        }
    }

    /// Acknowledges a message: it is not delivered again.
    ///
    /// # Errors
    /// The receipt has expired, or the call failed; then the message may come back.
    pub async fn ack(&self, message: &PoppedMessage) -> Result<(), ReceiptError> {
        if message.is_expired() {
            return Err(ReceiptError::Expired);
        }
        let topic = self.topic_of(message);
        let acked = self.instance.ack(&self.config.group, &topic, message).await;
        Ok(acked?)
    }

    /// Acknowledges several messages with one call for each broker. Tells for each message how it
    /// went, as [`ack`](Self::ack) does.
    pub async fn ack_batch(&self, messages: &[PoppedMessage]) -> Vec<Result<(), ReceiptError>> {
        let mut results: Vec<_> = messages
            .iter()
            .map(|_| Err(ReceiptError::Expired))
            .collect();
        let mut calls: BTreeMap<(String, String), Vec<usize>> = BTreeMap::new();
        for (at, message) in messages.iter().enumerate() {
            if !message.is_expired() {
                let call = (message.receipt.broker_name.clone(), self.topic_of(message));
                calls.entry(call).or_default().push(at);
            }
        }
        for ((broker_name, topic), of_call) in calls {
            let chosen = of_call.iter().filter_map(|&at| messages.get(at));
            let acks = batch(&self.config.group, &topic, chosen);
            let acked = self.instance.ack_batch(&broker_name, &topic, acks).await;
            for at in of_call {
                if let Some(result) = results.get_mut(at) {
                    *result = acked.clone().map_err(ReceiptError::Client);
                }
            }
        }
        results
    }

    /// Hides a message for another time from now on, 10 s to 12 h. Its receipt changes: the old one
    /// is worth nothing any more.
    ///
    /// # Errors
    /// The time is out of its range, the receipt has expired, or the call failed; then the message
    /// may have become another receipt that nobody knows, and it comes back after either time.
    pub async fn change_invisible_duration(
        &self,
        message: &mut PoppedMessage,
        invisible: Duration,
    ) -> Result<(), ReceiptError> {
        check_invisible(invisible)?;
        if message.is_expired() {
            return Err(ReceiptError::Expired);
        }
        let topic = self.topic_of(message);
        let changed = self.instance.change_invisible_time(
            &self.config.group,
            &topic,
            message,
            millis(invisible),
        );
        Ok(changed.await?)
    }

    fn topic_of(&self, message: &PoppedMessage) -> String {
        self.instance.config.wrap(&message.message.topic)
    }

    /// Takes leave of the brokers and closes all connections. What was received and not
    /// acknowledged comes back when its time is up.
    pub async fn shutdown(&self) {
        self.instance.unregister().await;
        self.instance.stop();
    }
}

fn check_max(max: usize) -> Result<(), ClientError> {
    let most = usize::try_from(POP_MAX).unwrap_or(usize::MAX);
    if (1..=most).contains(&max) {
        return Ok(());
    }
    let reason = format!("a call receives 1 to {POP_MAX} messages, not {max}");
    Err(ClientError::Invalid(reason))
}

fn check_invisible(invisible: Duration) -> Result<(), ClientError> {
    if (INVISIBLE_MIN..=INVISIBLE_MAX).contains(&invisible) {
        return Ok(());
    }
    let reason = format!("messages are hidden for 10 s to 12 h, not for {invisible:?}");
    Err(ClientError::Invalid(reason))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The acknowledgements of messages, one entry for each check point.
fn batch<'a>(
    group: &str,
    topic: &str,
    messages: impl Iterator<Item = &'a PoppedMessage>,
) -> Vec<BatchAck> {
    let mut points: BTreeMap<_, Vec<i64>> = BTreeMap::new();
    for message in messages {
        let mut point = message.receipt.clone();
        let offset = point.queue_offset.take();
        let distance = offset.map(|offset| offset - point.start_offset);
        points.entry(point).or_default().extend(distance);
    }
    let ack = |(point, distances): (hotfire_protocol::pop::Receipt, Vec<i64>)| BatchAck {
        bits: distances.into_iter().collect(),
        group: group.to_owned(),
        invisible_time: point.invisible_time,
        pop_time: point.pop_time,
        queue_id: point.queue_id,
        retry: point.kind.flag().to_owned(),
        revive_queue: point.revive_queue,
        start_offset: point.start_offset,
        topic: topic.to_owned(),
    };
    points.into_iter().map(ack).collect()
}
