//! The calls of brokers that a simple consumer makes.

use std::time::Duration;

use hotfire_protocol::body::{BatchAck, BatchAckMessageRequestBody};
use hotfire_protocol::header::pop::{
    AckMessageRequestHeader, ChangeInvisibleTimeRequestHeader, ChangeInvisibleTimeResponseHeader,
    PopMessageRequestHeader, PopMessageResponseHeader,
};
use hotfire_protocol::header::send::ConsumerSendMsgBackRequestHeader;
use hotfire_protocol::{MessageQueue, RequestCode, ResponseCode};
use tokio::time::Instant;

use super::popped::{PoppedMessage, with_receipts};
use crate::ClientError;
use crate::instance::{Instance, decode_messages, malformed, read, refusal};

/// How long an answer may take beyond the time that the broker may wait for messages.
const GRACE: Duration = Duration::from_secs(3);
/// The offset that a receipt without one stands for: no queue has it.
const NO_OFFSET: i64 = -1;

impl Instance {
    /// Pops messages from a broker group; none if there were none in time.
    pub(super) async fn pop(
        &self,
        broker_name: &str,
        header: &PopMessageRequestHeader,
    ) -> Result<Vec<PoppedMessage>, ClientError> {
        let addr = self.master(&header.topic, broker_name).await?;
        let request = self.request(RequestCode::POP_MESSAGE, header);
        let wait = Duration::from_millis(header.poll_time.max(0).unsigned_abs());
        let sent = Instant::now();
        let response = self.rpc.invoke_async(&addr, request, wait + GRACE).await?;
        match ResponseCode(response.code) {
            ResponseCode::SUCCESS => {}
            ResponseCode::POLLING_FULL
            | ResponseCode::POLLING_TIMEOUT
            | ResponseCode::PULL_NOT_FOUND => return Ok(Vec::new()),
            _ => return Err(refusal(&addr, response)),
        }
        let header: PopMessageResponseHeader = read(&addr, &response)?;
        let messages = decode_messages(&addr, response)?;
        // What took longer than the broker may wait was on its way meanwhile.
        let popped = Instant::now().min(sent + wait);
        let mut messages = with_receipts(&header, broker_name, messages, popped)
            .map_err(|error| malformed(&addr, error))?;
        let invisible = header.invisible_time.max(0).unsigned_abs();
        if sent.elapsed() >= Duration::from_millis(invisible) {
            // It may be others' by now. Clocks that disagree only cost another round.
            let now_ms = self.env.now_ms();
            messages.retain(|message| message.receipt.visible_at() > now_ms);
        }
        Ok(messages)
    }

    async fn master(&self, topic: &str, broker_name: &str) -> Result<String, ClientError> {
        self.master_of(&MessageQueue::new(topic, broker_name, 0))
            .await
    }

    /// Acknowledges a message.
    pub(super) async fn ack(
        &self,
        group: &str,
        topic: &str,
        message: &PoppedMessage,
    ) -> Result<(), ClientError> {
        let receipt = &message.receipt;
        let addr = self.master(topic, &receipt.broker_name).await?;
        let header = AckMessageRequestHeader {
            consumer_group: group.to_owned(),
            topic: receipt.kind.real_topic(topic, group),
            queue_id: receipt.queue_id,
            extra_info: receipt.to_string(),
            offset: receipt.queue_offset.unwrap_or(NO_OFFSET),
        };
        let request = self.request(RequestCode::ACK_MESSAGE, &header);
        self.call(&addr, request, self.config.api_timeout)
            .await
            .map(drop)
    }

    /// Acknowledges messages of one broker group.
    pub(super) async fn ack_batch(
        &self,
        broker_name: &str,
        topic: &str,
        acks: Vec<BatchAck>,
    ) -> Result<(), ClientError> {
        let addr = self.master(topic, broker_name).await?;
        let body = BatchAckMessageRequestBody {
            acks,
            broker_name: Some(broker_name.to_owned()),
        };
        let request = self
            .plain_request(RequestCode::BATCH_ACK_MESSAGE)
            .with_body(body.to_json());
        self.call(&addr, request, self.config.api_timeout)
            .await
            .map(drop)
    }

    /// Hides a message for another time, and gives it its new receipt.
    pub(super) async fn change_invisible_time(
        &self,
        group: &str,
        topic: &str,
        message: &mut PoppedMessage,
        invisible_ms: i64,
    ) -> Result<(), ClientError> {
        let receipt = &mut message.receipt;
        let addr = self.master(topic, &receipt.broker_name).await?;
        let offset = receipt.queue_offset.unwrap_or(NO_OFFSET);
        let header = ChangeInvisibleTimeRequestHeader {
            consumer_group: group.to_owned(),
            topic: receipt.kind.real_topic(topic, group),
            queue_id: receipt.queue_id,
            extra_info: receipt.to_string(),
            offset,
            invisible_time: invisible_ms,
        };
        let request = self.request(RequestCode::CHANGE_MESSAGE_INVISIBLETIME, &header);
        let response = self.call(&addr, request, self.config.api_timeout).await?;
        let answer: ChangeInvisibleTimeResponseHeader = read(&addr, &response)?;
        message.expires = Instant::now() + Duration::from_millis(invisible_ms.unsigned_abs());
        if !receipt.is_order() {
            // The message has a check point of its own from now on.
            receipt.start_offset = offset;
            receipt.pop_time = answer.pop_time;
        }
        if answer.pop_time > 0 {
            receipt.invisible_time = answer.invisible_time;
        }
        Ok(())
    }

    /// Has the broker move a message to the group's dead-letter queue.
    pub(super) async fn bury(
        &self,
        group: &str,
        topic: &str,
        message: &PoppedMessage,
    ) -> Result<(), ClientError> {
        let receipt = &message.receipt;
        let addr = self.master(topic, &receipt.broker_name).await?;
        let header = ConsumerSendMsgBackRequestHeader {
            offset: message.commit_log_offset,
            group: group.to_owned(),
            delay_level: -1,
            origin_msg_id: Some(message.msg_id()),
            origin_topic: Some(receipt.kind.real_topic(topic, group)),
            unit_mode: Some(false),
            max_reconsume_times: Some(0),
            broker_name: Some(receipt.broker_name.clone()),
        };
        let request = self.request(RequestCode::CONSUMER_SEND_MSG_BACK, &header);
        self.call(&addr, request, self.config.api_timeout)
            .await
            .map(drop)
    }
}
