//! Rebalancing: which queues this consumer holds (`RebalancePushImpl`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hotfire_env::defect;
use hotfire_protocol::MessageQueue;
use hotfire_protocol::topic::retry_group;
use tokio::time::{Instant, timeout};

use crate::ClientError;
use crate::consumer::core::Core;
use crate::consumer::rebalance::{Assigned, Plan};
use crate::consumer::share::rebalancing_due;
use crate::consumer::slot::Slot;

/// How long giving up a queue waits for its orderly listener.
const LISTENER_WAIT: Duration = Duration::from_secs(1);
/// How long the lock of a queue is kept that is given up with messages in hand: its listener may
/// have just been called (`UNLOCK_DELAY_TIME_MILLS`).
const UNLOCK_DELAY: Duration = Duration::from_secs(20);

impl Core {
    /// Rebalances whenever something calls for it, and now and then.
    pub(crate) async fn rebalance_loop(self: Arc<Self>) {
        loop {
            rebalancing_due(&self.rebalance).await;
            if self.is_stopped() {
                break;
            }
            if !self.is_paused() {
                self.rebalance_all().await;
            }
        }
    }

    async fn rebalance_all(self: &Arc<Self>) {
        for topic in self.subscriptions.keys() {
            match self.share(topic).await {
                Ok(share) => self.take_share(topic, &share).await,
                // Retry topics come into being with the first message sent back.
                Err(error) if retry_group(topic).is_some() => {
                    tracing::trace!(topic, %error, "no share");
                }
                Err(error) => {
                    let group = &self.config.group;
                    tracing::warn!(group, topic, %error, "the queues stay as they are");
                }
            }
        }
    }

    /// This consumer's share of a topic's queues.
    async fn share(&self, topic: &str) -> Result<Vec<MessageQueue>, ClientError> {
        let (config, strategy) = (&self.config, &*self.config.strategy);
        self.instance
            .share(&config.group, topic, config.model, strategy)
            .await
    }

    async fn take_share(self: &Arc<Self>, topic: &str, share: &[MessageQueue]) {
        let now = Instant::now();
        let assigned: Vec<_> = {
            let slots = self.slots.lock();
            let held = slots.iter().map(|(queue, slot)| Assigned {
                queue: queue.clone(),
                stale: slot.is_stale(now),
            });
            held.collect()
        };
        let plan = Plan::new(&assigned, topic, share);
        let mut changed = false;
        for queue in &plan.revoke {
            let slot = self.slots.lock().get(queue).cloned();
            if let Some(slot) = slot {
                changed |= self.revoke(&slot).await;
            }
        }
        for queue in plan.assign {
            if self.is_stopped() {
                return;
            }
            changed |= self.assign(queue).await;
        }
        if changed {
            let (group, held) = (&self.config.group, self.slots.lock().len());
            tracing::info!(group, topic, share = share.len(), held, "rebalanced");
        }
    }

    /// Whether this slot is the one that is held for its queue.
    pub(crate) fn holds(&self, slot: &Arc<Slot>) -> bool {
        self.slots
            .lock()
            .get(&*slot.queue)
            .is_some_and(|held| Arc::ptr_eq(held, slot))
    }

    /// Gives a queue up: commits its offset and, for an orderly consumer, unlocks it when its
    /// listener is done. False if the listener takes too long; the queue then stays, but nothing
    /// new is started for it, and the next rebalancing tries again.
    pub(crate) async fn revoke(self: &Arc<Self>, slot: &Arc<Slot>) -> bool {
        slot.give_up();
        let queue = &*slot.queue;
        if self.local.is_some() {
            self.persist_all().await;
        } else {
            self.persist(queue).await;
            self.offsets.lock().remove(queue);
        }
        if self.is_orderly() && self.is_clustering() {
            let Ok(_idle) = timeout(LISTENER_WAIT, slot.listening.lock()).await else {
                tracing::warn!(%queue, "its listener is busy: not given up yet");
                return false;
            };
            self.unlock_soon(slot).await;
        }
        {
            let mut slots = self.slots.lock();
            if slots.get(queue).is_some_and(|held| Arc::ptr_eq(held, slot)) {
                slots.remove(queue);
            }
        }
        self.hook.revoked(queue);
        true
    }

    async fn unlock_soon(self: &Arc<Self>, slot: &Arc<Slot>) {
        let now = Instant::now();
        slot.state.lock().set_locked(false, now);
        if slot.state.lock().has_waiting() {
            let queue = slot.queue.clone();
            self.later("unlock", UNLOCK_DELAY, move |core: Arc<Self>| async move {
                // It may have come back to us meanwhile.
                if !core.slots.lock().contains_key(&*queue) {
                    core.unlock(&queue).await;
                }
            });
        } else {
            self.unlock(&slot.queue).await;
        }
    }

    async fn unlock(&self, queue: &MessageQueue) {
        let (group, broker) = (&self.config.group, &queue.broker_name);
        let queues = BTreeSet::from([queue.clone()]);
        if let Err(error) = self
            .instance
            .unlock_queues(group, broker, queues, true)
            .await
        {
            tracing::debug!(%queue, %error, "not unlocked");
        }
    }

    /// Takes a queue: locks it if consumption is orderly, finds out where to begin and pulls. False
    /// if one of these fails; the next rebalancing tries again.
    async fn assign(self: &Arc<Self>, queue: MessageQueue) -> bool {
        let Some(subscription) = self.subscriptions.get(&queue.topic).cloned() else {
            return false;
        };
        let serial = self
            .serials
            .lock()
            .entry(queue.clone())
            .or_default()
            .clone();
        let shown = self.instance.config.unwrap_queue(&queue);
        let slot = Arc::new(Slot::new(
            queue,
            shown,
            subscription,
            serial,
            Instant::now(),
        ));
        let queue = &*slot.queue;
        if self.is_orderly() && self.is_clustering() && !self.lock_queue(&slot).await {
            tracing::debug!(%queue, "somebody else holds its lock");
            return false;
        }
        if self.local.is_none() {
            self.offsets.lock().remove(queue);
        }
        let offset = match self.start_offset(queue).await {
            Ok(offset) => offset,
            Err(error) => {
                tracing::warn!(%queue, %error, "no offset to begin at: not taken");
                return false;
            }
        };
        if self.is_stopped() {
            return false;
        }
        self.slots.lock().insert(queue.clone(), slot.clone());
        self.hook.assigned(queue);
        if defect!(self.env, CommitZero) {
            self.offsets.lock().update(queue, 0, false);
            self.persist(queue).await;
        }
        self.hook.pulling_from(queue, offset);
        slot.state.lock().set_pulled(Instant::now());
        let task = self
            .env
            .spawn("pull", self.clone().pull_queue(slot.clone(), offset));
        slot.set_pulling(task);
        true
    }

    /// Where to begin with a queue (`computePullFromWhere`). Only the broker's word that the group
    /// has no offset there leads to the configured beginning; an error does not.
    async fn start_offset(&self, queue: &MessageQueue) -> Result<i64, ClientError> {
        let committed = if self.local.is_some() {
            self.offsets.lock().get(queue)
        } else {
            self.instance
                .query_offset(&self.config.group, queue)
                .await?
        };
        if let Some(offset) = committed {
            self.offsets.lock().update(queue, offset, false);
            return Ok(offset);
        }
        self.instance.first_position(self.config.from, queue).await
    }
}
