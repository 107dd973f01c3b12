//! Which queues a lite pull consumer holds (`RebalanceLitePullImpl`).

use std::sync::Arc;

use hotfire_protocol::MessageQueue;

use super::queues::{Change, Ticket};
use super::{Core, Mode};
use crate::consumer::share::rebalancing_due;

impl Core {
    /// Rebalances whenever something calls for it, and now and then.
    pub(super) async fn rebalance_loop(self: Arc<Self>) {
        loop {
            rebalancing_due(&self.rebalance).await;
            if self.is_stopped() {
                break;
            }
            if *self.mode.lock() == Mode::Subscribe {
                self.rebalance_all().await;
            }
        }
    }

    async fn rebalance_all(self: &Arc<Self>) {
        let topics: Vec<_> = self.subscriptions.lock().keys().cloned().collect();
        for topic in topics {
            let (config, strategy) = (&self.config, &*self.config.strategy);
            let share = self
                .instance
                .share(&config.group, &topic, config.model, strategy)
                .await;
            match share {
                Ok(share) => self.hold(|queue| queue.topic == topic, &share).await,
                Err(error) => {
                    let group = &config.group;
                    tracing::warn!(group, topic, %error, "the queues stay as they are");
                }
            }
        }
    }

    /// Gives up and takes queues so that, of those concerned, exactly the wanted ones are held.
    pub(super) async fn hold(
        self: &Arc<Self>,
        concerned: impl Fn(&MessageQueue) -> bool,
        wanted: &[MessageQueue],
    ) {
        // One change at a time.
        let _turn = self.changing.lock().await;
        let change = Change::new(&self.queues.lock().held(), concerned, wanted);
        for queue in &change.revoke {
            self.stop_pulling(queue);
            if self.queues.lock().revoke(queue) {
                self.settle(queue).await;
                self.hook.revoked(queue);
            }
        }
        for queue in &change.assign {
            if self.local.is_none() {
                self.offsets.lock().remove(queue);
            }
            let ticket = self.queues.lock().assign(queue);
            if let Some(ticket) = ticket {
                self.hook.assigned(queue);
                self.start_pulling(queue, ticket);
            }
        }
        if change != Change::default() {
            let (group, held) = (&self.config.group, self.queues.lock().held().len());
            tracing::info!(group, held, "holds other queues");
        }
    }

    /// Begins a stretch of pulling; an earlier one of the queue ends.
    pub(super) fn start_pulling(self: &Arc<Self>, queue: &MessageQueue, ticket: Ticket) {
        let pulling = self.clone().pull_queue(queue.clone(), ticket);
        let task = self.env.spawn("lite pull", pulling);
        let before = self.pulling.lock().insert(queue.clone(), task);
        if let Some(before) = before {
            before.abort();
        }
    }

    fn stop_pulling(&self, queue: &MessageQueue) {
        if let Some(task) = self.pulling.lock().remove(queue) {
            task.abort();
        }
    }
}
