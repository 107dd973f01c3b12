//! A member of a group that pops: it receives, processes, hides for longer, acknowledges, and
//! forgets to, as the scenario says.

use std::sync::Arc;
use std::time::Duration;

use hotfire_check::history::{CallOutcome, DeliveryId, Event, Outcome};
use hotfire_client::{ClientError, PoppedMessage, ReceiptError, SimpleConsumer};
use hotfire_env::Env;
use hotfire_protocol::MessageQueue;
use indexmap::IndexMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::client_config;
use super::consumer::{Call, ConsumerNode, Watcher};
use crate::journal::Pen;
use crate::scenario::{Pops, Start};

/// How long to wait after a call that failed.
const PAUSE: Duration = Duration::from_secs(1);
/// The most that one call receives.
const RECEIVE_MAX: usize = 32;

/// A running member.
pub struct Popper {
    watcher: Watcher,
    consumer: SimpleConsumer,
    pops: Pops,
    /// One for each listener call that may run.
    slots: Arc<Semaphore>,
}

/// A message in hand.
struct InHand<'a> {
    message: PoppedMessage,
    delivery: DeliveryId,
    call: Option<Call<'a>>,
    /// The number of the receipt; `None` if nobody knows whether it is still the newest.
    handle: Option<u16>,
}

impl ConsumerNode {
    /// Starts a member that pops, in a process of the node.
    ///
    /// # Errors
    /// What the client says of the configuration.
    pub async fn start_popping(self: &Arc<Self>, env: &Env) -> Result<Arc<Popper>, ClientError> {
        let spec = &self.spec;
        let watcher = self.watcher(env);
        let mut builder = SimpleConsumer::builder(env)
            .client_config(client_config(&self.namesrv, spec.credentials.as_ref()))
            .group(&self.group)
            .from_first(spec.start == Start::First)
            .order(spec.pops.in_order);
        if let Some(most) = spec.max_reconsume {
            builder = builder.max_attempts(most.saturating_add(1));
        }
        for (topic, expression) in &spec.topics {
            builder = builder.subscribe(topic, expression);
        }
        self.write_subscriptions(&watcher);
        Ok(Arc::new(Popper {
            watcher,
            consumer: builder.start().await?,
            pops: spec.pops.clone(),
            slots: Arc::new(Semaphore::new(spec.threads as usize)),
        }))
    }
}

impl Popper {
    /// Receives messages and hands them to listener calls, until it is dropped.
    pub async fn run(self: &Arc<Self>, env: &Env) {
        let spec = &self.watcher.node().spec;
        // In order, a call works through all of a queue.
        let batch = if self.pops.in_order {
            RECEIVE_MAX
        } else {
            (spec.batch_size as usize).max(1)
        };
        loop {
            let Ok(slot) = self.slots.clone().acquire_owned().await else {
                return;
            };
            let free = self.slots.available_permits() + 1;
            let most = RECEIVE_MAX.min(spec.pull_batch_size as usize);
            let most = most.min(free.saturating_mul(batch)).max(1);
            let received = self
                .consumer
                .receive(most, self.pops.invisible, self.pops.wait);
            match received.await {
                Ok(messages) => self.hand_out(env, self.calls(messages, batch), slot),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// What each listener call gets of what was received.
    fn calls(&self, messages: Vec<PoppedMessage>, batch: usize) -> Vec<Vec<PoppedMessage>> {
        if self.pops.in_order {
            let mut queues: IndexMap<_, Vec<_>> = IndexMap::new();
            for message in messages {
                let receipt = message.receipt();
                let topic = message.message.topic.clone();
                let queue = (topic, receipt.broker_name.clone(), receipt.queue_id);
                queues.entry(queue).or_default().push(message);
            }
            return queues.into_values().collect();
        }
        let mut messages = messages.into_iter().peekable();
        let mut calls = Vec::new();
        while messages.peek().is_some() {
            calls.push(messages.by_ref().take(batch).collect());
        }
        calls
    }

    fn hand_out(
        self: &Arc<Self>,
        env: &Env,
        calls: Vec<Vec<PoppedMessage>>,
        first: OwnedSemaphorePermit,
    ) {
        let mut slot = Some(first);
        for of_call in calls {
            let permit = slot
                .take()
                .or_else(|| self.slots.clone().try_acquire_owned().ok());
            let popper = self.clone();
            env.spawn("simple listener", async move {
                if popper.pops.in_order {
                    popper.consume_in_order(of_call).await;
                } else {
                    popper.consume(of_call).await;
                }
                drop(permit);
            });
        }
    }

    /// Lives through the messages of a queue, one after the other, for as long as they are its own:
    /// one that failed, was not acknowledged in time, or expired ends it.
    async fn consume_in_order(&self, messages: Vec<PoppedMessage>) {
        for message in messages {
            if message.is_expired() || !self.consume(vec![message]).await {
                return;
            }
        }
    }

    /// Waits until all listener calls have ended, and leaves the group.
    pub async fn shutdown(&self) {
        let all = self.watcher.node().spec.threads;
        // Never closed, and nobody takes more than there are.
        let _all = self.slots.acquire_many(all).await;
        self.consumer.shutdown().await;
    }

    /// Lives through one listener call. True if it consumed its messages, and none of them is known
    /// to come again, or forgotten to be acknowledged.
    async fn consume(&self, messages: Vec<PoppedMessage>) -> bool {
        let node = self.watcher.node();
        let mut all = Vec::with_capacity(messages.len());
        for message in messages {
            let Some(in_hand) = self.take(message) else {
                return false;
            };
            all.push(in_hand);
        }
        let takes = node.temper.takes();
        if node.temper.chance(self.pops.extend) {
            tokio::time::sleep(takes / 2).await;
            for in_hand in &mut all {
                self.extend(in_hand).await;
            }
            tokio::time::sleep(takes - takes / 2).await;
        } else if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        let failed = all
            .iter()
            .filter_map(|in_hand| in_hand.call.as_ref())
            .any(|call| node.temper.fails(call.value(), call.reconsume()));
        for call in all.iter_mut().filter_map(|in_hand| in_hand.call.take()) {
            if failed {
                call.end(Outcome::Later);
            } else {
                self.watcher.consumed(call);
            }
        }
        if failed {
            return false;
        }
        let sure = all.iter().all(|in_hand| in_hand.handle.is_some());
        all.retain(|in_hand| in_hand.handle.is_some() && !node.temper.chance(self.pops.lose_acks));
        self.acknowledge(all).await && sure
    }

    fn pen(&self) -> &Pen {
        &self.watcher.node().pen
    }

    fn take(&self, message: PoppedMessage) -> Option<InHand<'_>> {
        let receipt = message.receipt();
        let topic = receipt
            .kind
            .real_topic(&message.message.topic, &self.watcher.node().group);
        let queue = MessageQueue::new(topic, receipt.broker_name.clone(), receipt.queue_id);
        let call = self.watcher.delivered(&queue, &message)?;
        let delivery = call.delivery();
        let (popped_at_ms, visible_at_ms) = (receipt.pop_time, receipt.visible_at());
        self.pen().write(|_| Event::Popped {
            delivery,
            popped_at_ms,
            visible_at_ms,
        });
        Some(InHand {
            message,
            delivery,
            call: Some(call),
            handle: Some(0),
        })
    }

    /// Hides a message for as long again.
    async fn extend(&self, in_hand: &mut InHand<'_>) {
        let Some(handle) = in_hand.handle else {
            return;
        };
        let delivery = in_hand.delivery;
        self.pen().write(|_| Event::HideInvoked { delivery });
        let changed = self
            .consumer
            .change_invisible_duration(&mut in_hand.message, self.pops.invisible);
        if changed.await.is_err() {
            // It may have a receipt that never arrived: better to get it again.
            in_hand.handle = None;
            return;
        }
        let handle = handle.saturating_add(1);
        in_hand.handle = Some(handle);
        let visible_at_ms = in_hand.message.receipt().visible_at();
        self.pen().write(|_| Event::Hidden {
            delivery,
            handle,
            visible_at_ms,
        });
    }

    /// Acknowledges messages, again and again until it is known how that went. False if one was
    /// refused.
    async fn acknowledge(&self, mut all: Vec<InHand<'_>>) -> bool {
        let mut taken = true;
        while !all.is_empty() {
            for in_hand in &all {
                let (delivery, handle) = (in_hand.delivery, in_hand.handle.unwrap_or_default());
                let invoked = Event::AckInvoked { delivery, handle };
                self.pen().write(|_| invoked);
            }
            let results = match &all[..] {
                [one] => vec![self.consumer.ack(&one.message).await],
                several => {
                    let messages: Vec<_> = several
                        .iter()
                        .map(|in_hand| in_hand.message.clone())
                        .collect();
                    self.consumer.ack_batch(&messages).await
                }
            };
            let mut unknown = Vec::new();
            for (in_hand, result) in all.into_iter().zip(results) {
                let outcome = outcome(&result);
                let delivery = in_hand.delivery;
                self.pen().write(|_| Event::AckEnded { delivery, outcome });
                taken &= outcome != CallOutcome::Refused;
                if outcome == CallOutcome::Unknown {
                    unknown.push(in_hand);
                }
            }
            all = unknown;
            if !all.is_empty() {
                tokio::time::sleep(PAUSE).await;
            }
        }
        taken
    }
}

fn outcome(result: &Result<(), ReceiptError>) -> CallOutcome {
    match result {
        Ok(()) => CallOutcome::Ok,
        Err(ReceiptError::Expired) => CallOutcome::Refused,
        Err(ReceiptError::Client(error)) => match error.code() {
            Some(_) if !error.is_unknown() => CallOutcome::Refused,
            // Nobody answered, or the broker could not be reached: no route names one that the name
            // server has dropped, until it registers again. The message is still ours.
            _ => CallOutcome::Unknown,
        },
    }
}
