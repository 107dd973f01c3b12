//! The work that waits for a consumer's workers.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hotfire_protocol::MessageExt;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::consumer::slot::Slot;

/// Messages of one pull, or of one retry.
pub(crate) type Batch = Arc<[Arc<MessageExt>]>;

/// Something that occupies a worker.
pub(crate) enum Work {
    /// Calls the concurrent listener with a part of a batch.
    Consume(Arc<Slot>, Batch, Range<usize>),
    /// Consumes a queue in order, until it is empty or the listener suspends it.
    Run(Arc<Slot>),
}

/// What is queued: batches are cut into calls of the listener only when a worker takes them.
enum Entry {
    Batch {
        slot: Arc<Slot>,
        batch: Batch,
        next: usize,
    },
    Run(Arc<Slot>),
}

/// A queue that any number of workers take from, first come first served.
#[derive(Default)]
pub(crate) struct WorkQueue {
    entries: Mutex<VecDeque<Entry>>,
    ready: Notify,
    closed: AtomicBool,
}

impl WorkQueue {
    /// Queues messages for the concurrent listener.
    pub(crate) fn push_batch(&self, slot: Arc<Slot>, batch: Batch) {
        if !batch.is_empty() {
            self.push(Entry::Batch {
                slot,
                batch,
                next: 0,
            });
        }
    }

    /// Queues an orderly run.
    pub(crate) fn push_run(&self, slot: Arc<Slot>) {
        self.push(Entry::Run(slot));
    }

    fn push(&self, entry: Entry) {
        self.entries.lock().push_back(entry);
        self.ready.notify_one();
    }

    /// Lets the workers go: there is no more work, whatever is queued.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.ready.notify_waiters();
    }

    /// Waits for work; `None` when the queue is closed. One waiting worker is woken at a time, and
    /// wakes the next if there is more: quick listeners keep one worker busy, slow ones get all of
    /// them.
    pub(crate) async fn take(&self, batch_max: usize) -> Option<Work> {
        loop {
            // Before looking: what is announced while we look must not be missed.
            let ready = self.ready.notified();
            if self.closed.load(Ordering::Acquire) {
                return None;
            }
            if let Some((work, more)) = self.try_take(batch_max) {
                if more {
                    self.ready.notify_one();
                }
                return Some(work);
            }
            ready.await;
        }
    }

    /// The next work, and whether there is more.
    fn try_take(&self, batch_max: usize) -> Option<(Work, bool)> {
        let mut entries = self.entries.lock();
        let work = match entries.front_mut()? {
            Entry::Batch { slot, batch, next } => {
                let range = *next..(*next + batch_max.max(1)).min(batch.len());
                *next = range.end;
                let work = Work::Consume(slot.clone(), batch.clone(), range);
                if *next == batch.len() {
                    entries.pop_front();
                }
                work
            }
            Entry::Run(slot) => {
                let work = Work::Run(slot.clone());
                entries.pop_front();
                work
            }
        };
        Some((work, !entries.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consumer::process_queue::tests::message;
    use crate::consumer::slot::tests::slot;

    #[test]
    fn a_batch_is_cut_into_calls_of_the_listener() {
        let work = WorkQueue::default();
        work.push_batch(slot(), (0..5).map(|offset| message(offset, "x")).collect());
        work.push_run(slot());
        let mut cut = Vec::new();
        while let Some((Work::Consume(_, _, range), more)) = work.try_take(2) {
            assert!(more);
            cut.push(range);
        }
        assert_eq!(cut, [0..2, 2..4, 4..5]);
        assert!(
            work.try_take(2).is_none(),
            "the run was taken by the loop's last step"
        );
    }

    #[test]
    fn an_empty_batch_is_no_work() {
        let work = WorkQueue::default();
        work.push_batch(slot(), Arc::new([]));
        assert!(work.try_take(1).is_none());
    }
}
