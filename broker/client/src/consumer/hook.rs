use hotfire_protocol::{MessageExt, MessageQueue};

/// Watches what a consumer does with its queues: for metrics, audits, tests. All calls are made
/// synchronously at the moment they name and must not block; the defaults do nothing. Topics are
/// named as brokers know them, with their namespace.
pub trait ConsumerHook: Send + Sync {
    /// Rebalancing gave the queue to this consumer.
    fn assigned(&self, queue: &MessageQueue) {
        let _ = queue;
    }

    /// The consumer gave the queue up.
    fn revoked(&self, queue: &MessageQueue) {
        let _ = queue;
    }

    /// Pulling of a queue that was assigned begins at this offset.
    fn pulling_from(&self, queue: &MessageQueue, offset: i64) {
        let _ = (queue, offset);
    }

    /// A pull from the offset `from` was answered: the next goes from `next`. The messages are as
    /// the broker sent them, before the exact comparison of tags. Not called if there is nothing
    /// new.
    fn pulled(&self, queue: &MessageQueue, from: i64, next: i64, messages: &[MessageExt]) {
        let _ = (queue, from, next, messages);
    }

    /// An offset is about to be committed: periodically, along with a pull, when the queue is given
    /// up, or at shutdown.
    fn committing(&self, queue: &MessageQueue, offset: i64) {
        let _ = (queue, offset);
    }

    /// The broker said that the offset `from` does not exist, and to go on at `to`
    /// (`OFFSET_ILLEGAL`).
    fn offset_corrected(&self, queue: &MessageQueue, from: i64, to: i64) {
        let _ = (queue, from, to);
    }

    /// An administrator's reset takes effect: the queue is put at this offset, given up and, if
    /// rebalancing gives it back, begun anew there.
    fn offset_reset(&self, queue: &MessageQueue, offset: i64) {
        let _ = (queue, offset);
    }

    /// A message that was not consumed has been stored again, to be delivered later or as a dead
    /// letter. A `delay_level` of 0 was left to the broker.
    fn sent_back(&self, queue: &MessageQueue, message: &MessageExt, delay_level: i32) {
        let _ = (queue, message, delay_level);
    }
}

/// Watches nothing.
pub(crate) struct NoHook;

impl ConsumerHook for NoHook {}
