//! What becomes of messages after the listener returned: finished, sent back, dropped.

use hotfire_protocol::message::property;
use hotfire_protocol::topic::retry_topic;
use hotfire_protocol::{Message, MessageExt};

use crate::{ConsumeConcurrentlyStatus, MessageModel};

/// The first delay level of a retry; each further retry adds one
/// (`3 + reconsumeTimes` in `DefaultMQPushConsumerImpl.sendMessageBack`).
const FIRST_RETRY_LEVEL: i32 = 3;

/// What to do with a batch that a concurrent listener has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// So many messages from the start are consumed; the rest failed.
    pub consumed: usize,
    /// The delay level of the failed ones: 0 leaves it to the broker, a negative one sends them to
    /// the dead-letter queue at once.
    pub delay_level: i32,
    /// Whether the failed ones are sent back. A broadcasting consumer drops them.
    pub send_back: bool,
}

impl Verdict {
    /// Judges a batch of `len` messages.
    pub fn new(status: ConsumeConcurrentlyStatus, len: usize, model: MessageModel) -> Self {
        let (consumed, delay_level) = match status {
            ConsumeConcurrentlyStatus::Success => (len, 0),
            ConsumeConcurrentlyStatus::SuccessOfFirst(count) => (count.min(len), 0),
            ConsumeConcurrentlyStatus::ReconsumeLater => (0, 0),
            ConsumeConcurrentlyStatus::ReconsumeAtLevel(level) => (0, level),
        };
        Self {
            consumed,
            delay_level,
            send_back: model == MessageModel::Clustering,
        }
    }
}

/// The copy of a failed message that the client itself sends to the retry topic of its group, when
/// the broker does not take the message back or the orderly consumer has run out of retries. The
/// broker moves it to the dead-letter queue if `reconsume_times` has reached `max_reconsume_times`.
pub fn retry_copy(
    group: &str,
    failed: &MessageExt,
    reconsume_times: i32,
    max_reconsume_times: i32,
) -> Message {
    let mut properties = failed.message.properties.clone();
    if !properties.contains(property::ORIGIN_MESSAGE_ID) {
        properties.set(property::ORIGIN_MESSAGE_ID, failed.msg_id());
    }
    properties.set(property::RETRY_TOPIC, failed.message.topic.as_str());
    properties.set(property::RECONSUME_TIME, reconsume_times.to_string());
    properties.set(
        property::MAX_RECONSUME_TIMES,
        max_reconsume_times.to_string(),
    );
    properties.remove(property::TRAN_MSG);
    let level = FIRST_RETRY_LEVEL.saturating_add(failed.reconsume_times);
    properties.set(property::DELAY, level.to_string());
    Message {
        topic: retry_topic(group),
        flag: failed.message.flag,
        properties,
        body: failed.message.body.clone(),
    }
}

/// Gives a message from the retry topic its own topic back (`resetRetryAndNamespace`).
pub fn restore_topic(message: &mut MessageExt, retry_topic: &str) {
    if message.message.topic == retry_topic
        && let Some(topic) = message.message.properties.get(property::RETRY_TOPIC)
    {
        message.message.topic = topic.to_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consumer::process_queue::tests::message;

    #[test]
    fn a_failed_batch_is_sent_back_whole_and_a_partly_consumed_one_in_part() {
        use ConsumeConcurrentlyStatus::{
            ReconsumeAtLevel, ReconsumeLater, Success, SuccessOfFirst,
        };
        for (status, consumed, delay_level) in [
            (Success, 4, 0),
            (SuccessOfFirst(1), 1, 0),
            (SuccessOfFirst(9), 4, 0),
            (ReconsumeLater, 0, 0),
            (ReconsumeAtLevel(5), 0, 5),
        ] {
            let verdict = Verdict::new(status, 4, MessageModel::Clustering);
            assert_eq!(
                verdict,
                Verdict {
                    consumed,
                    delay_level,
                    send_back: true
                }
            );
        }
    }

    #[test]
    fn broadcasting_drops_what_failed() {
        let status = ConsumeConcurrentlyStatus::ReconsumeLater;
        assert!(!Verdict::new(status, 1, MessageModel::Broadcasting).send_back);
    }

    #[test]
    fn a_retry_copy_keeps_the_message_and_says_where_it_came_from() {
        let mut failed = (*message(7, "body")).clone();
        failed.reconsume_times = 2;
        failed.message = failed.message.with_tag("TagA").with_property("mine", "1");
        let copy = retry_copy("g", &failed, 3, 16);
        assert_eq!(
            (copy.topic.as_str(), &copy.body[..]),
            ("%RETRY%g", &b"body"[..])
        );
        assert_eq!((copy.tag(), copy.delay_level()), (Some("TagA"), 5));
        for (name, value) in [
            ("RETRY_TOPIC", "t"),
            ("RECONSUME_TIME", "3"),
            ("MAX_RECONSUME_TIMES", "16"),
            ("mine", "1"),
        ] {
            assert_eq!(copy.properties.get(name), Some(value), "{name}");
        }
        assert_eq!(
            copy.properties.get("ORIGIN_MESSAGE_ID"),
            Some(failed.offset_msg_id().as_str())
        );
    }

    #[test]
    fn a_message_from_the_retry_topic_gets_its_topic_back() {
        let mut retried = (*message(0, "x")).clone();
        retried.message.topic = "%RETRY%g".to_owned();
        retried
            .message
            .properties
            .set(property::RETRY_TOPIC, "orders");
        restore_topic(&mut retried, "%RETRY%g");
        assert_eq!(retried.message.topic, "orders");
    }
}
