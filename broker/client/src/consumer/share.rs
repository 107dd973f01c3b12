//! What kinds of consumers have in common: when they rebalance, their share of a topic's queues,
//! where to begin with a queue, whom to pull it from, and how they commit.

use std::time::Duration;

use hotfire_env::defect;
use hotfire_protocol::MessageQueue;
use hotfire_protocol::body::SubscriptionData;
use hotfire_protocol::topic::retry_group;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::instance::Instance;
use crate::instance::route::BrokerAddr;
use crate::{AllocateStrategy, ClientError, ConsumeFrom, ConsumerHook, MessageModel};

/// How often the share is computed anew when nothing calls for it (`waitInterval`).
const REBALANCE_INTERVAL: Duration = Duration::from_secs(20);

/// Waits until something calls for a rebalancing, or one is due.
pub(crate) async fn rebalancing_due(called: &Notify) {
    // Either is a reason.
    let _ = timeout(REBALANCE_INTERVAL, called.notified()).await;
}

impl Instance {
    /// This client's share of a topic's queues; all of them when broadcasting.
    pub(crate) async fn share(
        &self,
        group: &str,
        topic: &str,
        model: MessageModel,
        strategy: &dyn AllocateStrategy,
    ) -> Result<Vec<MessageQueue>, ClientError> {
        let queues = self.routes.read().subscribe(topic);
        let queues = queues.ok_or_else(|| ClientError::NoRoute {
            topic: topic.to_owned(),
            reason: "it is not known yet".to_owned(),
        })?;
        let mut queues = queues.to_vec();
        if model == MessageModel::Broadcasting {
            return Ok(queues);
        }
        let mut clients = self.consumer_ids(topic, group).await?;
        queues.sort();
        clients.sort();
        if defect!(self.env, OrphanQueue) && queues.len() > 1 {
            queues.pop();
        }
        if defect!(self.env, TakeEveryQueue) {
            return Ok(queues);
        }
        Ok(strategy.allocate(&self.client_id, &queues, &clients))
    }

    /// Where to begin with a queue of which the group has committed no offset.
    pub(crate) async fn first_position(
        &self,
        from: ConsumeFrom,
        queue: &MessageQueue,
    ) -> Result<i64, ClientError> {
        match from {
            // Messages that were sent back are never to be skipped.
            _ if retry_group(&queue.topic).is_some() => Ok(0),
            ConsumeFrom::First => Ok(0),
            ConsumeFrom::Last => self.max_offset(queue).await,
            ConsumeFrom::Timestamp(ms) => self.search_offset(queue, ms).await,
        }
    }

    /// Has a broker of each topic look at the SQL expression for it (`checkClientInBroker`).
    pub(crate) async fn check_expressions(
        &self,
        group: &str,
        subscriptions: impl Iterator<Item = impl AsRef<SubscriptionData> + Send> + Send,
    ) -> Result<(), ClientError> {
        for subscription in subscriptions {
            if !subscription.as_ref().is_tag() {
                self.check_subscription(group, subscription.as_ref())
                    .await?;
            }
        }
        Ok(())
    }

    /// Commits an offset of a group, one-way, under the eyes of a hook.
    pub(crate) async fn commit_seen(
        &self,
        hook: &dyn ConsumerHook,
        group: &str,
        (queue, offset): (&MessageQueue, i64),
    ) {
        hook.committing(queue, offset);
        if let Err(error) = self.commit_offset(group, queue, offset).await {
            tracing::warn!(group, %queue, offset, %error, "the offset is not committed");
        }
    }

    /// The broker to pull a queue from: the one that the last answer suggested, if it is known.
    pub(crate) async fn broker_to_pull(
        &self,
        queue: &MessageQueue,
        suggested: i64,
    ) -> Result<BrokerAddr, ClientError> {
        let known = || self.routes.read().member(&queue.broker_name, suggested);
        if let Some(found) = known() {
            return Ok(found);
        }
        self.update_route(&queue.topic).await?;
        known().ok_or_else(|| ClientError::NoBroker(queue.broker_name.clone()))
    }
}
