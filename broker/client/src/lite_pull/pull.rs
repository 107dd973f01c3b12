//! Pulling: one task per queue, one request at a time (`PullTaskImpl`).

use std::sync::Arc;
use std::time::Duration;

use hotfire_protocol::MessageQueue;
use hotfire_protocol::body::SubscriptionData;
use hotfire_protocol::filter::{SUBSCRIBE_ALL, is_tag_type};
use hotfire_protocol::header::pull::{PullMessageRequestHeader, sys_flag};
use tokio::time::sleep;

use super::Core;
use super::queues::{Step, Ticket};
use crate::{ClientError, PullStatus};

/// How long the broker may wait for messages (`brokerSuspendMaxTimeMillis`).
pub(super) const SUSPEND: Duration = Duration::from_secs(20);
/// How long the client waits for the broker (`consumerTimeoutMillisWhenSuspend`).
pub(super) const PULL_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after a pull that failed (`pullTimeDelayMillsWhenException`).
pub(super) const PAUSE_ON_ERROR: Duration = Duration::from_secs(1);
/// Pause after the start position could not be found (`PULL_TIME_DELAY_MILLS_ON_EXCEPTION`).
const PAUSE_WITHOUT_START: Duration = Duration::from_secs(3);

impl Core {
    /// Pulls a queue until its stretch is over.
    pub(super) async fn pull_queue(self: Arc<Self>, queue: MessageQueue, ticket: Ticket) {
        while !self.is_stopped() {
            let step = self.queues.lock().step(&queue, ticket);
            let (done, pause) = match step {
                Step::Stop => break,
                Step::Wait(pause) => {
                    sleep(pause).await;
                    continue;
                }
                Step::Locate => (self.locate(&queue, ticket).await, PAUSE_WITHOUT_START),
                Step::Pull(offset) => (self.pull(&queue, ticket, offset).await, PAUSE_ON_ERROR),
            };
            if let Err(error) = done {
                tracing::debug!(%queue, %error, "pull failed");
                sleep(pause).await;
            }
        }
    }

    /// Finds out where to begin (`computePullFromWhereWithException`).
    async fn locate(&self, queue: &MessageQueue, ticket: Ticket) -> Result<(), ClientError> {
        let offset = match self.committed(queue).await? {
            Some(offset) => {
                self.offsets.lock().update(queue, offset, false);
                offset
            }
            None => {
                self.instance
                    .first_position(self.config.from, queue)
                    .await?
            }
        };
        if self.queues.lock().begin(queue, ticket, offset) {
            self.hook.pulling_from(queue, offset);
        }
        Ok(())
    }

    async fn pull(
        &self,
        queue: &MessageQueue,
        ticket: Ticket,
        offset: i64,
    ) -> Result<(), ClientError> {
        // As many pulls at a time as Java has threads for them.
        let Ok(_turn) = self.turns.acquire().await else {
            return Err(ClientError::ShutDown);
        };
        let subscription = self.subscription(&queue.topic);
        let suggested = self.queues.lock().broker(queue);
        let broker = self.instance.broker_to_pull(queue, suggested).await?;
        let header = self.pull_header(queue, offset, &subscription);
        let result = self
            .instance
            .pull(&broker.addr, &header, PULL_TIMEOUT)
            .await?;
        let next = result.next_begin_offset;
        let (messages, corrected) = (&result.messages, result.status == PullStatus::OffsetIllegal);
        let wanted = messages
            .iter()
            // The broker compares hashes; equal hashes are not equal tags.
            .filter(|message| subscription.matches_tag(message.message.tag()))
            .map(|message| {
                let mut message = message.clone();
                // From here on it is the application's, which knows of no namespace.
                message.message.topic = self.instance.config.unwrap(&message.message.topic);
                Arc::new(message)
            })
            .collect();
        let mut queues = self.queues.lock();
        queues.suggest_broker(queue, result.suggested_broker_id);
        if !queues.pulled(queue, ticket, next, wanted) {
            return Ok(());
        }
        if corrected {
            tracing::warn!(%queue, from = offset, to = next, "the offset does not exist");
            self.hook.offset_corrected(queue, offset, next);
            self.hook.pulling_from(queue, next);
        } else if next != offset {
            self.hook.pulled(queue, offset, next, messages);
        }
        drop(queues);
        self.arrival.notify_one();
        Ok(())
    }

    /// What was subscribed to of a topic; everything of queues that were assigned by hand.
    fn subscription(&self, topic: &str) -> Arc<SubscriptionData> {
        let known = self.subscriptions.lock().get(topic).cloned();
        known.unwrap_or_else(|| {
            Arc::new(SubscriptionData {
                topic: topic.to_owned(),
                sub_string: SUBSCRIBE_ALL.to_owned(),
                ..SubscriptionData::default()
            })
        })
    }

    fn pull_header(
        &self,
        queue: &MessageQueue,
        offset: i64,
        subscription: &SubscriptionData,
    ) -> PullMessageRequestHeader {
        let kind = subscription.expression_type.clone();
        let is_tag = is_tag_type(kind.as_deref());
        PullMessageRequestHeader {
            consumer_group: self.config.group.clone(),
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
            queue_offset: offset,
            max_msg_nums: i32::try_from(self.config.limits.batch).unwrap_or(i32::MAX),
            sys_flag: sys_flag::build(false, true, true) | sys_flag::LITE_PULL,
            commit_offset: 0,
            suspend_timeout_millis: SUSPEND.as_millis() as i64,
            subscription: Some(subscription.sub_string.clone()),
            sub_version: if is_tag { 0 } else { subscription.sub_version },
            expression_type: kind,
            max_msg_bytes: None,
            broker_name: Some(queue.broker_name.clone()),
        }
    }
}
