//! What a consumer holds of one queue between pulling and having consumed (`ProcessQueue`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hotfire_protocol::MessageExt;
use hotfire_protocol::body::ProcessQueueInfo;
use tokio::time::Instant;

/// How long the lock of a queue is trusted after the broker last confirmed it
/// (`REBALANCE_LOCK_MAX_LIVE_TIME`); the broker itself keeps it for 60 s.
pub const LOCK_MAX_LIVE: Duration = Duration::from_secs(30);
/// A queue that was not pulled for so long is given up and taken anew (`PULL_MAX_IDLE_TIME`).
pub const PULL_MAX_IDLE: Duration = Duration::from_secs(120);

/// When a queue is full and pulling pauses. The limits may be reached, not exceeded.
#[derive(Debug, Clone, Copy)]
pub struct Thresholds {
    /// Messages per queue (`pullThresholdForQueue`).
    pub messages: usize,
    /// Whole MiB of bodies per queue (`pullThresholdSizeForQueue`).
    pub mebibytes: usize,
    /// Distance between the first and the last offset; for concurrent consumption only
    /// (`consumeConcurrentlyMaxSpan`).
    pub span: i64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            messages: 1000,
            mebibytes: 100,
            span: 2000,
        }
    }
}

/// Messages that were pulled and not yet consumed, of one queue.
///
/// Concurrent consumption leaves messages in place until they are finished: [`put`](Self::put),
/// [`finish`](Self::finish). Orderly consumption takes them out of the front, and either commits
/// what was taken or puts it back: [`take`](Self::take), [`commit`](Self::commit),
/// [`put_back`](Self::put_back).
///
/// Invariant: no offset that it gives out for committing is larger than the offset of a message
/// that was put in and is not finished.
#[derive(Debug)]
pub struct ProcessQueue {
    /// Not finished (concurrent) or not taken (orderly), by offset.
    waiting: BTreeMap<i64, Cached>,
    /// Taken by the orderly listener.
    taken: BTreeMap<i64, Cached>,
    max_offset: i64,
    bytes: usize,
    /// An orderly run is scheduled or running.
    running: bool,
    dropped: bool,
    locked: bool,
    last_lock: Instant,
    last_pull: Instant,
    last_consume: Instant,
}

#[derive(Debug)]
struct Cached {
    message: Arc<MessageExt>,
    /// When it was handed to the listener.
    started: Option<Instant>,
}

impl ProcessQueue {
    /// An empty queue, just assigned.
    pub fn new(now: Instant) -> Self {
        Self {
            waiting: BTreeMap::new(),
            taken: BTreeMap::new(),
            max_offset: 0,
            bytes: 0,
            running: false,
            dropped: false,
            locked: false,
            last_lock: now,
            last_pull: now,
            last_consume: now,
        }
    }

    /// Adds what was pulled. True if an orderly run must be scheduled, because none is.
    pub fn put(&mut self, messages: &[Arc<MessageExt>]) -> bool {
        for message in messages {
            let offset = message.queue_offset;
            let cached = Cached {
                message: message.clone(),
                started: None,
            };
            if self.waiting.insert(offset, cached).is_none() {
                self.max_offset = offset;
                self.bytes += message.message.body.len();
            }
        }
        let start = !self.waiting.is_empty() && !self.running;
        self.running |= start;
        start
    }

    /// Removes messages that were consumed or sent back, and returns the offset that may be
    /// committed now: the smallest that is not finished, or the one behind the last that was put
    /// in. `None` if there was nothing to remove from.
    pub fn finish(&mut self, offsets: impl IntoIterator<Item = i64>) -> Option<i64> {
        if self.waiting.is_empty() {
            return None;
        }
        for offset in offsets {
            if let Some(cached) = self.waiting.remove(&offset) {
                self.bytes = self.bytes.saturating_sub(cached.message.message.body.len());
            }
        }
        Some(
            self.waiting
                .first_key_value()
                .map_or(self.max_offset + 1, |(&offset, _)| offset),
        )
    }

    /// Whether a message is still held; it is not if it took too long and was sent back.
    pub fn contains(&self, offset: i64) -> bool {
        self.waiting.contains_key(&offset)
    }

    /// Notes that the listener gets a message now.
    pub fn start(&mut self, offset: i64, now: Instant) {
        if let Some(cached) = self.waiting.get_mut(&offset) {
            cached.started = Some(now);
        }
    }

    /// The first message, if its listener has been busy with it for longer than `timeout`.
    pub fn first_overdue(&self, now: Instant, timeout: Duration) -> Option<Arc<MessageExt>> {
        let (_, cached) = self.waiting.first_key_value()?;
        let overdue = now.saturating_duration_since(cached.started?) > timeout;
        overdue.then(|| cached.message.clone())
    }

    /// Takes up to `max` messages from the front. When there are none, the run is over: the next
    /// [`put`](Self::put) asks for a new one.
    pub fn take(&mut self, max: usize) -> Vec<Arc<MessageExt>> {
        let mut messages = Vec::with_capacity(max.min(self.waiting.len()));
        while messages.len() < max
            && let Some((offset, cached)) = self.waiting.pop_first()
        {
            messages.push(cached.message.clone());
            self.taken.insert(offset, cached);
        }
        if messages.is_empty() {
            self.running = false;
        }
        messages
    }

    /// Forgets what was taken and returns the offset behind it; `None` if nothing was taken.
    pub fn commit(&mut self) -> Option<i64> {
        let last = *self.taken.last_key_value()?.0;
        for (_, cached) in std::mem::take(&mut self.taken) {
            self.bytes = self.bytes.saturating_sub(cached.message.message.body.len());
        }
        Some(last + 1)
    }

    /// Puts taken messages back to the front, changed or not, to be taken again
    /// (`makeMessageToConsumeAgain`).
    pub fn put_back(&mut self, messages: Vec<Arc<MessageExt>>) {
        for message in messages {
            if let Some(mut cached) = self.taken.remove(&message.queue_offset) {
                cached.message = message;
                self.waiting.insert(cached.message.queue_offset, cached);
            }
        }
    }

    /// How many messages are held, taken ones included.
    pub fn len(&self) -> usize {
        self.waiting.len() + self.taken.len()
    }

    /// Whether nothing is held. A message that the orderly listener is busy with still counts (else
    /// an empty pull in the meantime would commit past it).
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.taken.is_empty()
    }

    /// Whether messages wait to be taken.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Bytes of all bodies held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Distance between the first and the last offset that wait.
    pub fn span(&self) -> i64 {
        match (
            self.waiting.first_key_value(),
            self.waiting.last_key_value(),
        ) {
            (Some((first, _)), Some((last, _))) => last - first,
            _ => 0,
        }
    }

    /// Whether pulling has to pause until more is consumed.
    pub fn is_full(&self, limits: &Thresholds, orderly: bool) -> bool {
        self.len() > limits.messages
            || self.bytes >> 20 > limits.mebibytes
            || (!orderly && self.span() > limits.span)
    }

    /// Gives the queue up: no listener is called for it any more, and what running calls come to
    /// changes no offset.
    pub fn set_dropped(&mut self) {
        self.dropped = true;
    }

    /// Whether the queue was given up.
    pub fn is_dropped(&self) -> bool {
        self.dropped
    }

    /// The broker gave or confirmed the lock of this queue, or refused it.
    pub fn set_locked(&mut self, locked: bool, now: Instant) {
        self.locked = locked;
        if locked {
            self.last_lock = now;
        }
    }

    /// Whether the broker gave us the lock; it may have expired since.
    pub fn is_locked(&self) -> bool {
        self.locked
    }

    /// Whether the lock is ours and confirmed recently enough to rely on it.
    pub fn holds_lock(&self, now: Instant) -> bool {
        self.locked && now.saturating_duration_since(self.last_lock) <= LOCK_MAX_LIVE
    }

    /// Notes that the queue is pulled now.
    pub fn set_pulled(&mut self, now: Instant) {
        self.last_pull = now;
    }

    /// Notes that the listener has consumed messages now.
    pub fn set_consumed(&mut self, now: Instant) {
        self.last_consume = now;
    }

    /// What is held, for administrators; `now` is the time `now_ms` in milliseconds since the
    /// epoch, and `commit_offset` what may be committed.
    pub fn info(&self, now: Instant, now_ms: i64, commit_offset: i64) -> ProcessQueueInfo {
        let first = |held: &BTreeMap<i64, Cached>| held.keys().next().copied().unwrap_or(0);
        let last = |held: &BTreeMap<i64, Cached>| held.keys().next_back().copied().unwrap_or(0);
        let ms_of = |at: Instant| {
            let ago = now.saturating_duration_since(at).as_millis();
            now_ms.saturating_sub(i64::try_from(ago).unwrap_or(i64::MAX))
        };
        ProcessQueueInfo {
            cached_msg_count: self.waiting.len() as i64,
            cached_msg_max_offset: last(&self.waiting),
            cached_msg_min_offset: first(&self.waiting),
            cached_msg_size_in_mib: (self.bytes >> 20) as i64,
            commit_offset,
            droped: self.dropped,
            last_consume_timestamp: ms_of(self.last_consume),
            last_lock_timestamp: ms_of(self.last_lock),
            last_pull_timestamp: ms_of(self.last_pull),
            locked: self.locked,
            transaction_msg_count: self.taken.len() as i64,
            transaction_msg_max_offset: last(&self.taken),
            transaction_msg_min_offset: first(&self.taken),
            try_unlock_times: 0,
        }
    }

    /// Whether pulling seems to have died.
    pub fn is_pull_expired(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last_pull) > PULL_MAX_IDLE
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;

    use hotfire_protocol::Message;
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn message(offset: i64, body: &str) -> Arc<MessageExt> {
        let host = "127.0.0.1:10911".parse().unwrap();
        Arc::new(MessageExt {
            message: Message::new("t", body.to_owned()),
            queue_id: 0,
            queue_offset: offset,
            commit_log_offset: offset * 100,
            store_size: 100,
            sys_flag: 0,
            born_timestamp: 0,
            born_host: host,
            store_timestamp: 0,
            store_host: host,
            body_crc: 0,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
        })
    }

    fn filled(offsets: impl IntoIterator<Item = i64>) -> ProcessQueue {
        let mut queue = ProcessQueue::new(Instant::now());
        let messages: Vec<_> = offsets
            .into_iter()
            .map(|offset| message(offset, "x"))
            .collect();
        queue.put(&messages);
        queue
    }

    fn offsets(messages: &[Arc<MessageExt>]) -> Vec<i64> {
        messages
            .iter()
            .map(|message| message.queue_offset)
            .collect()
    }

    #[test]
    fn the_smallest_unfinished_offset_may_be_committed() {
        let mut queue = filled(10..15);
        assert_eq!(queue.finish([12]), Some(10));
        assert_eq!(queue.finish([10]), Some(11));
        assert_eq!(queue.finish([11]), Some(13));
    }

    #[test]
    fn administrators_see_what_waits_and_what_is_being_consumed() {
        let start = Instant::now();
        let mut queue = filled(10..15);
        queue.take(2);
        queue.set_pulled(start + Duration::from_secs(3));
        let info = queue.info(start + Duration::from_secs(5), 100_000, 7);
        assert_eq!((info.cached_msg_count, info.commit_offset), (3, 7));
        assert_eq!(
            (info.cached_msg_min_offset, info.cached_msg_max_offset),
            (12, 14)
        );
        assert_eq!(info.transaction_msg_count, 2);
        assert_eq!(info.last_pull_timestamp, 98_000);
    }

    #[test]
    fn when_all_is_finished_the_offset_behind_the_last_may_be_committed() {
        let mut queue = filled([3, 7]);
        assert_eq!(queue.finish([3, 7]), Some(8));
        assert_eq!(queue.finish([3]), None);
    }

    #[test]
    fn a_message_that_is_put_twice_counts_once() {
        let mut queue = filled([1, 2]);
        queue.put(&[message(2, "x")]);
        assert_eq!((queue.len(), queue.bytes()), (2, 2));
    }

    #[test]
    fn pulling_pauses_only_above_a_threshold() {
        let limits = Thresholds {
            messages: 3,
            mebibytes: 1,
            span: 10,
        };
        assert!(!filled(0..3).is_full(&limits, false));
        assert!(filled(0..4).is_full(&limits, false));
        assert!(!filled([0, 10]).is_full(&limits, false));
        assert!(filled([0, 11]).is_full(&limits, false));
        assert!(!filled([0, 11]).is_full(&limits, true));

        let mut queue = ProcessQueue::new(Instant::now());
        queue.put(&[message(0, &"x".repeat(2 << 20))]);
        assert!(queue.is_full(&limits, true));
        queue.finish([0]);
        assert!(!queue.is_full(&limits, true));
    }

    #[test]
    fn an_orderly_run_is_asked_for_once_until_it_finds_nothing() {
        let mut queue = ProcessQueue::new(Instant::now());
        assert!(queue.put(&[message(0, "x")]));
        assert!(!queue.put(&[message(1, "x")]));
        queue.take(5);
        queue.commit();
        assert!(!queue.put(&[message(2, "x")]));
        queue.take(5);
        assert!(queue.take(5).is_empty());
        assert!(queue.put(&[message(3, "x")]));
    }

    #[test]
    fn orderly_consumption_commits_behind_what_it_took() {
        let mut queue = filled(5..9);
        assert_eq!(offsets(&queue.take(2)), [5, 6]);
        assert_eq!(queue.commit(), Some(7));
        assert_eq!(queue.commit(), None);
        assert_eq!(queue.len(), 2);
    }

    #[test]
    fn suspended_messages_are_taken_again_before_the_others() {
        let mut queue = filled(5..9);
        let mut taken = queue.take(2);
        Arc::make_mut(&mut taken[0]).reconsume_times += 1;
        queue.put_back(taken);
        let again = queue.take(2);
        assert_eq!(offsets(&again), [5, 6]);
        assert_eq!(again[0].reconsume_times, 1);
        assert_eq!(queue.bytes(), 4);
    }

    #[test]
    fn a_queue_whose_messages_are_all_taken_is_not_empty() {
        let mut queue = filled([1]);
        queue.take(1);
        assert!(!queue.is_empty() && !queue.has_waiting());
    }

    #[test]
    fn a_lock_is_relied_on_for_thirty_seconds() {
        let now = Instant::now();
        let mut queue = ProcessQueue::new(now);
        assert!(!queue.holds_lock(now));
        queue.set_locked(true, now);
        assert!(queue.holds_lock(now + LOCK_MAX_LIVE));
        assert!(!queue.holds_lock(now + LOCK_MAX_LIVE + Duration::from_millis(1)));
        queue.set_locked(false, now);
        assert!(!queue.holds_lock(now));
    }

    #[test]
    fn a_queue_that_is_not_pulled_for_two_minutes_is_expired() {
        let now = Instant::now();
        let mut queue = ProcessQueue::new(now);
        let later = now + PULL_MAX_IDLE + Duration::from_millis(1);
        assert!(queue.is_pull_expired(later));
        queue.set_pulled(later);
        assert!(!queue.is_pull_expired(later));
    }

    #[test]
    fn only_a_first_message_that_was_started_can_be_overdue() {
        let (now, timeout) = (Instant::now(), Duration::from_secs(900));
        let mut queue = filled([1, 2]);
        let later = now + timeout + Duration::from_secs(1);
        assert!(queue.first_overdue(later, timeout).is_none());
        queue.start(2, now);
        assert!(queue.first_overdue(later, timeout).is_none());
        queue.start(1, now);
        assert_eq!(queue.first_overdue(later, timeout).unwrap().queue_offset, 1);
        assert!(queue.first_overdue(now + timeout, timeout).is_none());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Pull(u8),
        Finish(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (1u8..20).prop_map(Step::Pull),
            any::<usize>().prop_map(Step::Finish)
        ]
    }

    proptest! {
        #[test]
        fn no_committed_offset_passes_an_unfinished_message(
            steps in proptest::collection::vec(step(), 1..200)
        ) {
            let mut queue = ProcessQueue::new(Instant::now());
            let (mut next, mut unfinished, mut last) = (0i64, BTreeSet::new(), 0);
            for step in steps {
                match step {
                    Step::Pull(count) => {
                        // Gaps are messages that the tag filter removed.
                        let pulled: Vec<_> =
                            (0..i64::from(count)).map(|at| message(next + at * 2, "x")).collect();
                        next += i64::from(count) * 2;
                        unfinished.extend(pulled.iter().map(|message| message.queue_offset));
                        queue.put(&pulled);
                    }
                    Step::Finish(which) => {
                        let Some(&offset) = unfinished.iter().nth(which % unfinished.len().max(1))
                        else { continue };
                        unfinished.remove(&offset);
                        let commit = queue.finish([offset]).unwrap();
                        prop_assert!(unfinished.iter().all(|&offset| commit <= offset));
                        prop_assert!(commit >= last, "only ever forward");
                        last = commit;
                    }
                }
            }
            prop_assert_eq!(queue.len(), unfinished.len());
        }
    }
}
