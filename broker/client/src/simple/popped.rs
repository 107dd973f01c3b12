//! Popped messages, and how they are read out of a broker's answer (`MQClientAPIImpl`'s
//! `processPopResponse`).

use std::ops::Deref;
use std::time::Duration;

use hotfire_protocol::MessageExt;
use hotfire_protocol::header::pop::PopMessageResponseHeader;
use hotfire_protocol::message::property;
use hotfire_protocol::pop::{OrderCounts, PopTextError, Receipt, StartOffsets, TopicKind};
use tokio::time::Instant;

/// A message that is hidden from the other members of the group until its time is up.
#[derive(Debug, Clone)]
pub struct PoppedMessage {
    pub(super) inner: MessageExt,
    pub(super) receipt: Receipt,
    /// When the receipt expires, as far as the client can tell.
    pub(super) expires: Instant,
}

impl PoppedMessage {
    /// What entitles to acknowledge it. Changing the invisible time changes it.
    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    /// How often it was delivered before: 0 for the first time.
    pub fn delivered_before(&self) -> i32 {
        self.inner.reconsume_times
    }

    /// How long the receipt is still valid.
    pub fn time_left(&self) -> Duration {
        self.expires.saturating_duration_since(Instant::now())
    }

    /// Whether the time is up: others may get the message now, and acknowledging it is too late.
    pub fn is_expired(&self) -> bool {
        self.time_left().is_zero()
    }
}

/// The message itself.
impl Deref for PoppedMessage {
    type Target = MessageExt;

    fn deref(&self) -> &MessageExt {
        &self.inner
    }
}

/// Gives each message of an answer its receipt. A message whose check point the answer does not
/// name has none, and is left out: the broker will revive it.
pub(super) fn with_receipts(
    header: &PopMessageResponseHeader,
    broker_name: &str,
    messages: Vec<MessageExt>,
    popped_at: Instant,
) -> Result<Vec<PoppedMessage>, PopTextError> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let starts: StartOffsets = text(&header.start_offset_info).parse()?;
    let counts: OrderCounts = text(&header.order_count_info).parse()?;
    let expires = popped_at + Duration::from_millis(header.invisible_time.max(0).unsigned_abs());
    let mut popped = Vec::with_capacity(messages.len());
    for mut message in messages {
        let own = message.message.properties.remove(property::POP_CK);
        let receipt = match own {
            // It comes from the retry topic, and the broker has written the receipt.
            Some(receipt) => receipt.parse()?,
            None => {
                let kind = TopicKind::of(&message.message.topic);
                let Some(start_offset) = starts.of(kind, message.queue_id) else {
                    tracing::warn!(broker_name, "a popped message has no check point");
                    continue;
                };
                let before = counts.of(kind, message.queue_id, message.queue_offset);
                if let Some(before) = before.filter(|&before| before > 0) {
                    message.reconsume_times = before;
                }
                Receipt {
                    start_offset,
                    pop_time: header.pop_time,
                    invisible_time: header.invisible_time,
                    revive_queue: header.revive_qid,
                    kind,
                    broker_name: broker_name.to_owned(),
                    queue_id: message.queue_id,
                    queue_offset: Some(message.queue_offset),
                }
            }
        };
        let properties = &mut message.message.properties;
        properties.set(property::POP_CK, receipt.to_string());
        if !properties.contains(property::FIRST_POP_TIME) {
            properties.set(property::FIRST_POP_TIME, header.pop_time.to_string());
        }
        popped.push(PoppedMessage {
            inner: message,
            receipt,
            expires,
        });
    }
    Ok(popped)
}

#[cfg(test)]
mod tests {
    use hotfire_protocol::Message;

    use super::*;

    fn stored(topic: &str, queue_offset: i64) -> MessageExt {
        let host = "192.0.2.1:10911".parse().unwrap();
        MessageExt {
            message: Message::new(topic, "body"),
            queue_id: 1,
            queue_offset,
            commit_log_offset: 0,
            store_size: 0,
            sys_flag: 0,
            born_timestamp: 0,
            born_host: host,
            store_timestamp: 0,
            store_host: host,
            body_crc: 0,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
        }
    }

    fn header() -> PopMessageResponseHeader {
        PopMessageResponseHeader {
            pop_time: 1_000,
            invisible_time: 30_000,
            revive_qid: 3,
            start_offset_info: Some("0 1 5".to_owned()),
            ..PopMessageResponseHeader::default()
        }
    }

    fn popped(header: &PopMessageResponseHeader, message: MessageExt) -> Vec<PoppedMessage> {
        with_receipts(header, "broker-a", vec![message], Instant::now()).unwrap()
    }

    #[test]
    fn a_receipt_is_made_of_what_the_answer_tells() {
        let message = &popped(&header(), stored("orders", 7))[0];
        let text = "5 1000 30000 3 0 broker-a 1 7";
        assert_eq!(message.receipt().to_string(), text);
        assert_eq!(message.message.properties.get("POP_CK"), Some(text));
        let first = message.message.properties.get("1ST_POP_TIME");
        assert_eq!(first, Some("1000"));
    }

    #[test]
    fn a_message_from_the_retry_topic_brings_its_receipt() {
        let mut message = stored("orders", 2);
        let text = "2 1000 30000 3 1 broker-a 0 2";
        message.message.properties.set(property::POP_CK, text);
        assert_eq!(popped(&header(), message)[0].receipt().to_string(), text);
    }

    #[test]
    fn an_ordered_message_is_counted_by_the_broker() {
        let header = PopMessageResponseHeader {
            order_count_info: Some("0 qo1%7 2;0 1 0".to_owned()),
            ..header()
        };
        assert_eq!(
            popped(&header, stored("orders", 7))[0].delivered_before(),
            2
        );
        assert_eq!(
            popped(&header, stored("orders", 8))[0].delivered_before(),
            0
        );
    }

    #[test]
    fn a_message_without_check_point_is_left_out() {
        assert!(popped(&header(), stored("%RETRY%g_orders", 7)).is_empty());
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_an_error() {
        let header = PopMessageResponseHeader {
            start_offset_info: Some("no table".to_owned()),
            ..header()
        };
        let message = stored("orders", 7);
        assert!(with_receipts(&header, "broker-a", vec![message], Instant::now()).is_err());
    }
}
