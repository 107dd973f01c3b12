//! Group commit: who waits for which part of the log to become durable (`GroupCommitService`).

use std::time::Duration;

use tokio::sync::oneshot;

/// Those who wait. One flush answers all whose records lie before its end.
#[derive(Default)]
pub(crate) struct GroupCommit {
    waiting: Vec<Waiter>,
    failed: bool,
}

struct Waiter {
    /// The offset behind the records that it waits for.
    until: u64,
    done: oneshot::Sender<bool>,
}

impl GroupCommit {
    /// Adds one who waits for what lies below `until`. It is told whether that became durable.
    pub fn wait(&mut self, until: u64, flushed: u64) -> oneshot::Receiver<bool> {
        let (done, told) = oneshot::channel();
        if self.failed || until <= flushed {
            // The other end is at hand, so sending cannot fail.
            let _ = done.send(until <= flushed);
        } else {
            self.waiting.push(Waiter { until, done });
        }
        told
    }

    /// Tells those whose records lie below `flushed`.
    pub fn complete(&mut self, flushed: u64) {
        for waiter in self
            .waiting
            .extract_if(.., |waiter| waiter.until <= flushed)
        {
            // Whoever has stopped waiting does not want to know.
            let _ = waiter.done.send(true);
        }
    }

    /// Tells everyone, now and from now on, that the flush failed.
    pub fn fail(&mut self) {
        self.failed = true;
        for waiter in self.waiting.drain(..) {
            let _ = waiter.done.send(false);
        }
    }
}

/// When something that is flushed in the background is due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FlushPolicy {
    /// The number of dirty pages that are worth a flush.
    pub least_pages: u64,
    /// After this time anything is.
    pub thorough_interval: Duration,
    /// When everything was flushed last, since some fixed point in time.
    last_thorough: Duration,
}

impl FlushPolicy {
    /// A policy whose first thorough flush is due one interval after `now`.
    pub fn new(least_pages: u64, thorough_interval: Duration, now: Duration) -> Self {
        Self {
            least_pages,
            thorough_interval,
            last_thorough: now,
        }
    }

    /// The number of dirty pages that are worth a flush at `now`; 0 means anything is.
    pub fn pages_due(&mut self, now: Duration) -> u64 {
        if now.saturating_sub(self.last_thorough) >= self.thorough_interval {
            self.last_thorough = now;
            return 0;
        }
        self.least_pages
    }
}
