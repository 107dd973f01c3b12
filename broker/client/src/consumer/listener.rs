//! What an application does with messages.

use std::future::Future;
use std::ops::{Deref, Range};
use std::sync::Arc;
use std::time::Duration;

use hotfire_env::BoxFuture;
use hotfire_protocol::{MessageExt, MessageQueue};

/// Messages of one queue, in the order of their offsets, for one call of a listener. Cheap to
/// clone.
#[derive(Debug, Clone)]
pub struct Delivery {
    queue: Arc<MessageQueue>,
    messages: Arc<[Arc<MessageExt>]>,
    range: Range<usize>,
}

impl Delivery {
    /// The part `range` of what was pulled.
    pub(crate) fn new(
        queue: Arc<MessageQueue>,
        messages: Arc<[Arc<MessageExt>]>,
        range: Range<usize>,
    ) -> Self {
        Self {
            queue,
            messages,
            range,
        }
    }

    /// The queue that the messages were pulled from. Of a message that is delivered again it is a
    /// queue of the group's retry topic, whereas the message has its own topic.
    pub fn queue(&self) -> &MessageQueue {
        &self.queue
    }
}

impl Deref for Delivery {
    type Target = [Arc<MessageExt>];

    fn deref(&self) -> &Self::Target {
        self.messages.get(self.range.clone()).unwrap_or_default()
    }
}

/// What a concurrent listener came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsumeConcurrentlyStatus {
    /// All messages are consumed.
    Success,
    /// So many from the start are consumed, the others not (`setAckIndex`).
    SuccessOfFirst(usize),
    /// None is consumed: deliver them again later, with a delay that grows each time.
    ReconsumeLater,
    /// None is consumed: deliver them again after the delay of this level. A negative level makes
    /// them dead letters at once.
    ReconsumeAtLevel(i32),
}

impl ConsumeConcurrentlyStatus {
    /// Whether anything is consumed: for Java, `CONSUME_SUCCESS` with whatever ack index.
    pub(crate) fn is_success(&self) -> bool {
        matches!(self, Self::Success | Self::SuccessOfFirst(_))
    }
}

/// What an orderly listener came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsumeOrderlyStatus {
    /// The messages are consumed.
    Success,
    /// They are not: call again with the same messages after the consumer's suspend time; later
    /// messages of the queue wait.
    SuspendCurrentQueueAMoment,
    /// The same, after this time, which is brought into the range of 10 ms to 30 s.
    SuspendFor(Duration),
}

/// Consumes messages in any order, up to `consume_threads` calls at a time.
///
/// Closures `Fn(Delivery) -> impl Future<Output = ConsumeConcurrentlyStatus>` are listeners. A
/// panic counts as [`ConsumeConcurrentlyStatus::ReconsumeLater`].
pub trait ConcurrentListener: Send + Sync + 'static {
    /// Consumes a batch: by default one message.
    fn consume(&self, messages: Delivery) -> BoxFuture<'_, ConsumeConcurrentlyStatus>;
}

impl<F, Fut> ConcurrentListener for F
where
    F: Fn(Delivery) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ConsumeConcurrentlyStatus> + Send + 'static,
{
    fn consume(&self, messages: Delivery) -> BoxFuture<'_, ConsumeConcurrentlyStatus> {
        Box::pin(self(messages))
    }
}

/// Consumes the messages of each queue in order, one call at a time per queue in the whole group.
///
/// Closures `Fn(Delivery) -> impl Future<Output = ConsumeOrderlyStatus>` are listeners. A panic
/// counts as [`ConsumeOrderlyStatus::SuspendCurrentQueueAMoment`].
pub trait OrderlyListener: Send + Sync + 'static {
    /// Consumes a batch: by default one message.
    fn consume(&self, messages: Delivery) -> BoxFuture<'_, ConsumeOrderlyStatus>;
}

impl<F, Fut> OrderlyListener for F
where
    F: Fn(Delivery) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ConsumeOrderlyStatus> + Send + 'static,
{
    fn consume(&self, messages: Delivery) -> BoxFuture<'_, ConsumeOrderlyStatus> {
        Box::pin(self(messages))
    }
}
