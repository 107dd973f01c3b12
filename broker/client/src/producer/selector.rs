//! Choosing the queue of a message by the message (`MessageQueueSelector`).

use hotfire_protocol::hash::java_string_hash;
use hotfire_protocol::{Message, MessageQueue};

/// Chooses the queue that a message goes to. Closures `Fn(&[MessageQueue], &Message) -> usize` are
/// selectors; an index past the end refuses the message.
///
/// The queues come sorted by broker name and queue id, so the same key goes to the same queue as
/// long as the topic keeps its queues.
pub trait QueueSelector: Send + Sync {
    /// The index of the chosen queue.
    fn select(&self, queues: &[MessageQueue], message: &Message) -> usize;
}

impl<F> QueueSelector for F
where
    F: Fn(&[MessageQueue], &Message) -> usize + Send + Sync,
{
    fn select(&self, queues: &[MessageQueue], message: &Message) -> usize {
        self(queues, message)
    }
}

/// By the hash of a key, so that messages with equal keys stay in order (`SelectMessageQueueByHash`
/// with a string as its argument).
#[derive(Debug, Clone, Copy)]
pub struct SelectByHash<'a>(pub &'a str);

impl QueueSelector for SelectByHash<'_> {
    fn select(&self, queues: &[MessageQueue], _message: &Message) -> usize {
        // Java: hashCode() % size, and Math.abs of that.
        match i32::try_from(queues.len()) {
            Ok(len) if len > 0 => (java_string_hash(self.0) % len).unsigned_abs() as usize,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(count: i32) -> Vec<MessageQueue> {
        (0..count)
            .map(|id| MessageQueue::new("t", "b", id))
            .collect()
    }

    #[test]
    fn equal_keys_go_to_the_queue_that_java_would_choose() {
        let message = Message::new("t", "x");
        let queues = queues(4);
        assert_eq!(
            SelectByHash("TagA").select(&queues, &message),
            2_598_919 % 4
        );
        assert_eq!(
            SelectByHash("TopicTest#KEY1").select(&queues, &message),
            1_656_969_516 % 4
        );
        // Integer.MIN_VALUE has no absolute value, its remainder has.
        assert_eq!(
            SelectByHash("polygenelubricants").select(&queues, &message),
            0
        );
    }

    #[test]
    fn a_closure_is_a_selector() {
        let by_length =
            |queues: &[MessageQueue], message: &Message| message.body.len() % queues.len();
        assert_eq!(by_length.select(&queues(4), &Message::new("t", "12345")), 1);
    }
}
