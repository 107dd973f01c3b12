//! What administrators ask of a consumer: what it is doing, and to consume a single message
//! (`DefaultMQPushConsumerImpl.consumerRunningInfo`, `consumeMessageDirectly`).

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use hotfire_protocol::body::{
    ConsumeMessageDirectlyResult, ConsumeResult, ConsumeType, ConsumerRunningInfo,
};
use hotfire_protocol::header::client::ConsumeMessageDirectlyResultRequestHeader;
use hotfire_protocol::{MessageQueue, RemotingCommand};
use tokio::time::Instant;

use crate::consumer::asked::settings;
use crate::consumer::core::{Core, Listener};
use crate::consumer::retry::restore_topic;
use crate::instance::decode_messages;
use crate::{ClientError, ConsumeConcurrentlyStatus, ConsumeOrderlyStatus, Delivery};

impl Core {
    /// How long the consumer has been running.
    pub(crate) fn uptime(&self) -> std::time::Duration {
        self.started.elapsed()
    }

    /// What the consumer is doing. There are no threads whose stacks could be shown.
    pub(crate) fn inspect(&self) -> ConsumerRunningInfo {
        let (now, now_ms) = (Instant::now(), self.env.now_ms());
        let slots: Vec<_> = self.slots.lock().values().cloned().collect();
        let queue = |slot: &crate::consumer::slot::Slot| {
            let committed = self.offsets.lock().get(&slot.queue).unwrap_or(0);
            let info = slot.state.lock().info(now, now_ms, committed);
            ((*slot.queue).clone(), info)
        };
        let uptime = self.uptime();
        let mut stats = self.stats.lock();
        let topics = self.subscriptions.keys();
        let status_table = topics
            .map(|topic| (topic.clone(), stats.status(topic, uptime)))
            .collect();
        drop(stats);
        ConsumerRunningInfo {
            jstack: None,
            mq_table: slots.iter().map(|slot| queue(slot)).collect(),
            properties: self.settings(),
            status_table,
            subscription_set: self
                .subscriptions
                .values()
                .map(|subscription| (**subscription).clone())
                .collect(),
        }
    }

    fn settings(&self) -> BTreeMap<String, String> {
        let config = &self.config;
        let threads = config.consume_threads.to_string();
        let thresholds = &config.thresholds;
        let millis = |time: std::time::Duration| time.as_millis().to_string();
        let timeout = config.consume_timeout.as_secs() / 60;
        let wait = millis(config.await_termination);
        let own = [
            ("consumerGroup", config.group.clone()),
            ("consumeThreadMin", threads.clone()),
            ("consumeThreadMax", threads.clone()),
            (
                "consumeMessageBatchMaxSize",
                config.consume_batch.to_string(),
            ),
            ("pullBatchSize", config.pull_batch.to_string()),
            ("pullThresholdForQueue", thresholds.messages.to_string()),
            (
                "pullThresholdSizeForQueue",
                thresholds.mebibytes.to_string(),
            ),
            ("consumeConcurrentlyMaxSpan", thresholds.span.to_string()),
            ("maxReconsumeTimes", config.max_reconsume_times.to_string()),
            ("suspendCurrentQueueTimeMillis", millis(config.suspend_time)),
            ("consumeTimeout", timeout.to_string()),
            ("awaitTerminationMillisWhenShutdown", wait),
            ("PROP_THREADPOOL_CORE_SIZE", threads),
            ("PROP_CONSUMEORDERLY", self.is_orderly().to_string()),
        ];
        let kind = ConsumeType::Passively;
        let common = (config.model, config.from);
        settings(&self.instance, self.started, kind, common, own)
    }

    /// Calls the listener with one message, whatever queue and offset it has; nothing is committed
    /// and nothing sent back.
    ///
    /// # Errors
    /// The request has no message that can be read.
    pub(crate) async fn consume_directly(
        &self,
        request: RemotingCommand,
    ) -> Result<ConsumeMessageDirectlyResult, ClientError> {
        let header = request
            .header::<ConsumeMessageDirectlyResultRequestHeader>()
            .map_err(|error| ClientError::Invalid(error.to_string()))?;
        let mut messages = decode_messages("the broker", request)?;
        for message in &mut messages {
            restore_topic(message, &self.retry_topic);
        }
        let message = messages
            .into_iter()
            .next()
            .ok_or_else(|| ClientError::Invalid("the request has no message".to_owned()))?;
        let broker = header.broker_name.unwrap_or_default();
        let queue = MessageQueue::new(message.message.topic.as_str(), broker, message.queue_id);
        let delivery = Delivery::new(Arc::new(queue), [Arc::new(message)].into(), 0..1);
        let begin = Instant::now();
        let outcome = self.listen_once(delivery).await;
        let panicked = outcome.is_none();
        Ok(ConsumeMessageDirectlyResult {
            auto_commit: true,
            consume_result: outcome.unwrap_or(ConsumeResult::ThrowException),
            order: self.is_orderly(),
            remark: panicked.then(|| "the listener panicked".to_owned()),
            spent_time_mills: i64::try_from(begin.elapsed().as_millis()).unwrap_or(i64::MAX),
        })
    }

    /// What the listener makes of some messages; `None` if it panics.
    async fn listen_once(&self, delivery: Delivery) -> Option<ConsumeResult> {
        match &self.listener {
            Listener::Concurrent(listener) => {
                let call = AssertUnwindSafe(listener.consume(delivery)).catch_unwind();
                let status = call.await.ok()?;
                let consumed = matches!(
                    status,
                    ConsumeConcurrentlyStatus::Success
                        | ConsumeConcurrentlyStatus::SuccessOfFirst(1..)
                );
                Some(result(consumed))
            }
            Listener::Orderly(listener) => {
                let call = AssertUnwindSafe(listener.consume(delivery)).catch_unwind();
                let status = call.await.ok()?;
                Some(result(status == ConsumeOrderlyStatus::Success))
            }
        }
    }
}

fn result(consumed: bool) -> ConsumeResult {
    if consumed {
        ConsumeResult::Success
    } else {
        ConsumeResult::Later
    }
}
