//! A consumer node: listens as the scenario says, and writes down what it gets and does.

use std::sync::Arc;

use hotfire_check::history::{DeliveryId, Event, GroupId, Outcome, QueueRef, Value};
use hotfire_client::{
    ClientError, ConcurrentListener, ConsumeConcurrentlyStatus, ConsumeFrom, ConsumeOrderlyStatus,
    ConsumerHook, Delivery, MessageModel, OrderlyListener, Producer, PushConsumer,
};
use hotfire_env::{BoxFuture, Env, defect};
use hotfire_protocol::{MessageExt, MessageQueue};

use super::behaviour::Temper;
use super::body::{self, Content};
use super::client_config;
use super::ledger::Ledger;
use super::request;
use crate::journal::Pen;
use crate::scenario::{Consumers, Listener, Model, Start};

/// A member of a consumer group, over all lives of its process.
pub struct ConsumerNode {
    /// What the scenario says of the group.
    pub spec: Arc<Consumers>,
    /// The group's name.
    pub group: String,
    /// The node's name: what a broadcasting member is known by over its lives.
    pub name: String,
    /// How its listener behaves.
    pub temper: Temper,
    /// The group's books, if it is idempotent.
    pub ledger: Option<Arc<Ledger>>,
    /// The name servers, as `host:port`.
    pub namesrv: Vec<String>,
    /// What the node writes with.
    pub pen: Pen,
}

impl ConsumerNode {
    /// Starts the consumer in a process of the node.
    ///
    /// # Errors
    /// What the client says of the configuration.
    pub async fn start(self: &Arc<Self>, env: &Env) -> Result<PushConsumer, ClientError> {
        let spec = &self.spec;
        let mut watcher = self.watcher(env);
        if spec.replies {
            let producer = Producer::builder(env)
                .client_config(client_config(&self.namesrv, spec.credentials.as_ref()))
                .group(&self.group);
            watcher.replier = Some(producer.start().await?);
        }
        let watcher = Arc::new(watcher);
        let mut builder = PushConsumer::builder(env)
            .client_config(client_config(&self.namesrv, spec.credentials.as_ref()))
            .group(&self.group)
            .message_model(self.model())
            .consume_from(self.from())
            .consume_batch(spec.batch_size as usize)
            .pull_batch(i32::try_from(spec.pull_batch_size).unwrap_or(i32::MAX))
            .consume_threads(spec.threads as usize)
            .hook(watcher.clone());
        if let Some(most) = spec.max_reconsume {
            builder = builder.max_reconsume_times(i32::try_from(most).unwrap_or(i32::MAX));
        }
        if spec.model == Model::Broadcasting {
            // Its offset file is found by the client id, which must survive a restart.
            builder = builder.instance_name(&self.name);
        }
        for (topic, expression) in &spec.topics {
            builder = match spec.sql.get(topic) {
                Some(sql) => builder.subscribe_sql(topic, sql),
                None => builder.subscribe(topic, expression),
            };
        }
        self.write_subscriptions(&watcher);
        match spec.listener {
            Listener::Orderly => builder.orderly(Orderly(watcher)),
            // Who pops or polls is started otherwise.
            _ => builder.concurrent(Concurrent(watcher)),
        }
        .start()
        .await
    }

    /// Who gets a message.
    pub(super) fn model(&self) -> MessageModel {
        match self.spec.model {
            Model::Clustering => MessageModel::Clustering,
            Model::Broadcasting => MessageModel::Broadcasting,
        }
    }

    /// Where the group starts.
    pub(super) fn from(&self) -> ConsumeFrom {
        match self.spec.start {
            Start::Last => ConsumeFrom::Last,
            Start::First => ConsumeFrom::First,
        }
    }

    /// What writes down what a member does in a process of the node.
    pub(super) fn watcher(self: &Arc<Self>, env: &Env) -> Watcher {
        let group = self.pen.intern(|recorder| recorder.group(&self.group));
        Watcher {
            node: self.clone(),
            env: env.clone(),
            // After the end of the run nothing is written, whatever the id.
            group: group.unwrap_or(GroupId(u32::MAX)),
            replier: None,
        }
    }

    /// Writes down what the member subscribes to.
    pub(super) fn write_subscriptions(&self, watcher: &Watcher) {
        for topic in self.spec.topics.keys() {
            self.pen.write(|recorder| Event::Subscribed {
                group: watcher.group,
                topic: recorder.topic(topic),
            });
        }
    }
}

/// Writes down what the consumer of one process does.
pub(super) struct Watcher {
    node: Arc<ConsumerNode>,
    env: Env,
    group: GroupId,
    /// What replies are sent with, if messages are replied to.
    replier: Option<Producer>,
}

/// A listener call for one message. If it is dropped before it ends, the process died: the outcome
/// is lost.
pub(super) struct Call<'a> {
    pen: &'a Pen,
    delivery: DeliveryId,
    content: Option<Content>,
    reconsume: u32,
    ended: bool,
}

impl Call<'_> {
    /// Its number.
    pub(super) fn delivery(&self) -> DeliveryId {
        self.delivery
    }

    /// The number in the message; 0 if it has none.
    pub(super) fn value(&self) -> u64 {
        self.content.map_or(0, |content| content.value)
    }

    /// How often the message was delivered before.
    pub(super) fn reconsume(&self) -> u32 {
        self.reconsume
    }

    pub(super) fn end(mut self, outcome: Outcome) {
        self.write(outcome);
    }

    fn write(&mut self, outcome: Outcome) {
        self.ended = true;
        let delivery = self.delivery;
        self.pen.write(|_| Event::Finished { delivery, outcome });
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.write(Outcome::Lost);
        }
    }
}

impl Watcher {
    /// Lives through one listener call: true if all messages were consumed.
    async fn consume(&self, messages: &Delivery, failure: Outcome) -> bool {
        let node = &self.node;
        let mut calls = Vec::with_capacity(messages.len());
        for message in messages.iter() {
            let Some(call) = self.delivered(messages.queue(), message) else {
                return false;
            };
            calls.push(call);
        }
        let takes = node.temper.takes();
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        let fails = |call: &Call<'_>| node.temper.fails(call.value(), call.reconsume);
        // As most applications do with a batch: one failure fails the whole of it.
        let failed = calls.iter().any(fails);
        if let Some(replier) = self.replier.as_ref().filter(|_| !failed) {
            for message in messages.iter() {
                request::reply(replier, message).await;
            }
        }
        for call in calls {
            if failed {
                call.end(failure);
            } else {
                self.consumed(call);
            }
        }
        !failed
    }

    /// The node that it writes for.
    pub(super) fn node(&self) -> &ConsumerNode {
        &self.node
    }

    /// A message was consumed.
    pub(super) fn consumed(&self, call: Call<'_>) {
        if let Some(content) = call.content {
            self.book(content);
        }
        call.end(Outcome::Consumed);
    }

    /// A message was handed to a listener call.
    pub(super) fn delivered(&self, queue: &MessageQueue, message: &MessageExt) -> Option<Call<'_>> {
        let pen = &self.node.pen;
        let delivery = pen.intern(|recorder| recorder.next_delivery())?;
        let received = body::decode(&message.message.body);
        let reconsume = u32::try_from(message.reconsume_times).unwrap_or(0);
        pen.write(|recorder| Event::Delivered {
            delivery,
            group: self.group,
            queue: reference(recorder, queue),
            offset: message.queue_offset,
            value: Value(received.map_or(u64::MAX, |received| received.content.value)),
            intact: received.is_some_and(|received| received.intact),
            reconsume,
        });
        Some(Call {
            pen,
            delivery,
            content: received.map(|received| received.content),
            reconsume,
            ended: false,
        })
    }

    /// Writes the business effect into the books of the group.
    fn book(&self, content: Content) {
        let Some(ledger) = &self.node.ledger else {
            return;
        };
        let Content { value, amount, .. } = content;
        let applied = ledger.apply(value, amount) || defect!(self.env, BookTwice);
        self.node.pen.write(|_| Event::Effect {
            group: self.group,
            value: Value(value),
            applied,
            amount: if applied { amount } else { 0 },
        });
    }

    fn write(&self, queue: &MessageQueue, make: impl FnOnce(GroupId, QueueRef) -> Event) {
        self.node
            .pen
            .write(|recorder| make(self.group, reference(recorder, queue)));
    }
}

/// The queue as the history knows it.
pub(super) fn reference(recorder: &mut hotfire_check::Recorder, queue: &MessageQueue) -> QueueRef {
    recorder.queue(&queue.topic, &queue.broker_name, queue.queue_id)
}

struct Concurrent(Arc<Watcher>);

impl ConcurrentListener for Concurrent {
    fn consume(&self, messages: Delivery) -> BoxFuture<'_, ConsumeConcurrentlyStatus> {
        Box::pin(async move {
            if self.0.consume(&messages, Outcome::Later).await {
                ConsumeConcurrentlyStatus::Success
            } else {
                ConsumeConcurrentlyStatus::ReconsumeLater
            }
        })
    }
}

struct Orderly(Arc<Watcher>);

impl OrderlyListener for Orderly {
    fn consume(&self, messages: Delivery) -> BoxFuture<'_, ConsumeOrderlyStatus> {
        Box::pin(async move {
            if self.0.consume(&messages, Outcome::Suspended).await {
                ConsumeOrderlyStatus::Success
            } else {
                ConsumeOrderlyStatus::SuspendCurrentQueueAMoment
            }
        })
    }
}

impl ConsumerHook for Watcher {
    fn assigned(&self, queue: &MessageQueue) {
        self.write(queue, |group, queue| Event::Assigned {
            group,
            queue,
            from: None,
        });
    }

    fn revoked(&self, queue: &MessageQueue) {
        self.write(queue, |group, queue| Event::Revoked { group, queue });
    }

    fn pulling_from(&self, queue: &MessageQueue, offset: i64) {
        self.write(queue, |group, queue| Event::Assigned {
            group,
            queue,
            from: Some(offset),
        });
    }

    fn pulled(&self, queue: &MessageQueue, from: i64, next: i64, messages: &[MessageExt]) {
        let got = u32::try_from(messages.len()).unwrap_or(u32::MAX);
        self.write(queue, |group, queue| Event::Pulled {
            group,
            queue,
            got,
            from,
            next,
        });
    }

    fn offset_corrected(&self, queue: &MessageQueue, from: i64, to: i64) {
        self.write(queue, |group, queue| Event::Corrected {
            group,
            queue,
            from,
            to,
        });
    }

    fn offset_reset(&self, queue: &MessageQueue, offset: i64) {
        self.write(queue, |group, queue| Event::OffsetReset {
            group,
            queue,
            offset,
        });
    }

    fn committing(&self, queue: &MessageQueue, offset: i64) {
        self.write(queue, |group, queue| Event::Committed {
            group,
            queue,
            offset,
        });
    }
}
