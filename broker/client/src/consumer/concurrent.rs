//! Concurrent consumption (`ConsumeMessageConcurrentlyService`).

use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use hotfire_protocol::header::send::ConsumerSendMsgBackRequestHeader;
use hotfire_protocol::{MessageExt, MessageQueue, RequestCode};
use tokio::time::Instant;

use crate::consumer::core::{Core, Listener};
use crate::consumer::retry::{Verdict, retry_copy};
use crate::consumer::slot::Slot;
use crate::consumer::work::Batch;
use crate::{ClientError, ConsumeConcurrentlyStatus, Delivery};

/// How long sending a message back may take.
const SEND_BACK_TIMEOUT: Duration = Duration::from_secs(5);
/// When a message is handed to the listener again that could not be sent back.
const LOCAL_RETRY_DELAY: Duration = Duration::from_secs(5);

impl Core {
    /// Calls the concurrent listener once and does as it says.
    pub(crate) async fn consume(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        batch: &Batch,
        range: Range<usize>,
    ) {
        let Listener::Concurrent(listener) = &self.listener else {
            return;
        };
        let delivery = Delivery::new(slot.shown.clone(), batch.clone(), range);
        {
            let mut state = slot.state.lock();
            if state.is_dropped() {
                return;
            }
            let now = Instant::now();
            for message in delivery.iter() {
                state.start(message.queue_offset, now);
            }
        }
        let begin = Instant::now();
        let call = AssertUnwindSafe(listener.consume(delivery.clone())).catch_unwind();
        let result = self.traced(&delivery, call, ConsumeConcurrentlyStatus::is_success);
        let status = result.await.unwrap_or_else(|_| {
            tracing::error!(queue = %slot.queue, "the listener panicked: consuming again later");
            ConsumeConcurrentlyStatus::ReconsumeLater
        });
        let consumed = match status {
            ConsumeConcurrentlyStatus::Success => delivery.len(),
            ConsumeConcurrentlyStatus::SuccessOfFirst(count) => count.min(delivery.len()),
            _ => 0,
        };
        self.count(&slot.queue.topic, (consumed, delivery.len()), begin);
        if status == ConsumeConcurrentlyStatus::Success {
            self.finish(slot, &delivery);
        } else {
            self.judge(slot, &delivery, status).await;
        }
    }

    /// Counts a call of the listener that began at `begin`: consumed messages and all.
    pub(crate) fn count(&self, topic: &str, messages: (usize, usize), begin: Instant) {
        let (took, at) = (begin.elapsed(), self.uptime());
        self.stats.lock().consumed(topic, messages, took, at);
    }

    /// Notes that messages are consumed, and which offset may be committed now. The result of a
    /// call for a queue that was given up changes nothing.
    fn finish(&self, slot: &Slot, messages: &[Arc<MessageExt>]) {
        let mut state = slot.state.lock();
        if state.is_dropped() {
            return;
        }
        state.set_consumed(Instant::now());
        if let Some(offset) = state.finish(messages.iter().map(|message| message.queue_offset)) {
            self.offsets.lock().update(&slot.queue, offset, true);
        }
    }

    /// Sends back what failed, and keeps what can neither be consumed nor sent back.
    async fn judge(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        delivery: &Delivery,
        status: ConsumeConcurrentlyStatus,
    ) {
        if slot.is_dropped() {
            return;
        }
        let verdict = Verdict::new(status, delivery.len(), self.config.model);
        let (consumed, failed) = delivery.split_at(verdict.consumed);
        let (mut done, mut again) = (consumed.to_vec(), Vec::new());
        for message in failed {
            let offset = message.queue_offset;
            if !verdict.send_back {
                tracing::warn!(queue = %slot.queue, offset, "not consumed: dropped");
                done.push(message.clone());
            } else if !slot.state.lock().contains(offset) {
                tracing::info!(queue = %slot.queue, offset, "not consumed, but gone already");
            } else if self
                .send_back(&slot.queue, message, verdict.delay_level)
                .await
            {
                done.push(message.clone());
            } else {
                again.push(message.clone());
            }
        }
        if !again.is_empty() {
            self.consume_again(slot, again);
        }
        self.finish(slot, &done);
    }

    /// Hands messages to the listener again in a while. They stay unfinished, so nothing beyond
    /// them is committed.
    fn consume_again(self: &Arc<Self>, slot: &Arc<Slot>, mut messages: Vec<Arc<MessageExt>>) {
        for message in &mut messages {
            Arc::make_mut(message).reconsume_times += 1;
        }
        let slot = slot.clone();
        self.later(
            "consume again",
            LOCAL_RETRY_DELAY,
            move |core: Arc<Self>| async move {
                core.work.push_batch(slot, messages.into());
            },
        );
    }

    /// Has a message delivered again later: the broker that holds it makes a copy in the retry
    /// topic or, if it does not, a copy is sent there. False if neither works.
    pub(crate) async fn send_back(
        &self,
        queue: &MessageQueue,
        message: &MessageExt,
        delay_level: i32,
    ) -> bool {
        let sent = match self.ask_to_take_back(queue, message, delay_level).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%queue, offset = message.queue_offset, %error, "not taken back");
                self.send_retry_copy(message, message.reconsume_times.saturating_add(1))
                    .await
            }
        };
        if sent {
            self.hook.sent_back(queue, message, delay_level);
        }
        sent
    }

    async fn ask_to_take_back(
        &self,
        queue: &MessageQueue,
        message: &MessageExt,
        delay_level: i32,
    ) -> Result<(), ClientError> {
        let addr = self.instance.master_of(queue).await?;
        let header = ConsumerSendMsgBackRequestHeader {
            offset: message.commit_log_offset,
            group: self.config.group.clone(),
            delay_level,
            origin_msg_id: Some(message.msg_id()),
            origin_topic: Some(message.message.topic.clone()),
            unit_mode: Some(false),
            max_reconsume_times: Some(self.max_reconsume_times()),
            broker_name: Some(queue.broker_name.clone()),
        };
        let request = self
            .instance
            .request(RequestCode::CONSUMER_SEND_MSG_BACK, &header);
        self.instance
            .call(&addr, request, SEND_BACK_TIMEOUT)
            .await
            .map(drop)
    }

    /// Sends a copy of a message to the group's retry topic, from where the broker moves it to the
    /// dead letters if its retries are used up.
    pub(crate) async fn send_retry_copy(&self, message: &MessageExt, reconsume_times: i32) -> bool {
        let max = self.max_reconsume_times();
        let copy = retry_copy(&self.config.group, message, reconsume_times, max);
        let sent = match self.sender.prepare(copy) {
            Ok(copy) => self.sender.send(&copy).await.map(drop),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = &sent {
            let (group, msg_id) = (&self.config.group, message.msg_id());
            tracing::warn!(group, msg_id, %error, "no copy in the retry topic");
        }
        sent.is_ok()
    }
}
