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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_answers_those_whose_records_lie_before_its_end() {
        let mut group = GroupCommit::default();
        let mut first = group.wait(100, 0);
        let mut second = group.wait(200, 0);
        group.complete(150);
        assert_eq!(first.try_recv(), Ok(true));
        assert!(second.try_recv().is_err());
        group.complete(200);
        assert_eq!(second.try_recv(), Ok(true));
    }

    #[test]
    fn who_comes_after_the_flush_is_answered_at_once() {
        let mut group = GroupCommit::default();
        assert_eq!(group.wait(100, 100).try_recv(), Ok(true));
    }

    #[test]
    fn a_failed_flush_answers_everyone_now_and_later() {
        let mut group = GroupCommit::default();
        let mut waiting = group.wait(100, 0);
        group.fail();
        assert_eq!(waiting.try_recv(), Ok(false));
        assert_eq!(group.wait(200, 0).try_recv(), Ok(false));
        assert_eq!(group.wait(50, 50).try_recv(), Ok(true));
    }

    #[test]
    fn anything_is_worth_a_flush_once_in_the_thorough_interval() {
        let second = Duration::from_secs(1);
        let mut policy = FlushPolicy::new(4, 10 * second, Duration::ZERO);
        assert_eq!(policy.pages_due(9 * second), 4);
        assert_eq!(policy.pages_due(10 * second), 0);
        assert_eq!(policy.pages_due(11 * second), 4);
        assert_eq!(policy.pages_due(20 * second), 0);
    }
}
