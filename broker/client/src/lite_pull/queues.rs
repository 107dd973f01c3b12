//! What a lite pull consumer holds of its queues (`AssignedMessageQueue`, `PullTaskImpl`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use hotfire_protocol::{MessageExt, MessageQueue};
use tokio::time::Instant;

use crate::process_queue::{ProcessQueue, Thresholds};

/// Pause while too much is in hand (`PULL_TIME_DELAY_MILLS_WHEN_CACHE_FLOW_CONTROL`).
pub const PAUSE_WHEN_FULL: Duration = Duration::from_millis(50);
/// Pause of a queue that is paused (`PULL_TIME_DELAY_MILLS_WHEN_PAUSE`).
pub const PAUSE_WHEN_PAUSED: Duration = Duration::from_secs(1);

/// When pulling pauses until more is polled. The limits may be reached, not exceeded.
#[derive(Debug, Clone, Copy)]
pub struct LitePullLimits {
    /// Of each queue.
    pub queue: Thresholds,
    /// Messages of all queues together (`pullThresholdForAll`), where every pull that waits to be
    /// polled counts as a full one.
    pub all: usize,
    /// Messages per pull (`pullBatchSize`).
    pub batch: usize,
}

impl Default for LitePullLimits {
    fn default() -> Self {
        Self {
            queue: Thresholds::default(),
            all: 10_000,
            batch: 10,
        }
    }
}

/// Names one stretch of pulling a queue, from being assigned or sought to being given up or sought
/// again. What an earlier stretch still had under way counts no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(u64);

/// What whoever pulls a queue is to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// End: the queue was given up, or another stretch has begun.
    Stop,
    /// Wait, then ask again.
    Wait(Duration),
    /// Find out where to begin, and tell by [`LiteQueues::begin`].
    Locate,
    /// Pull from this offset, and tell by [`LiteQueues::pulled`].
    Pull(i64),
}

/// The queues of a lite pull consumer, and the messages that wait to be polled.
///
/// Invariant: the offset to commit of a queue is never larger than that of a message which waits to
/// be polled.
#[derive(Debug)]
pub struct LiteQueues {
    queues: BTreeMap<MessageQueue, LiteQueue>,
    ready: VecDeque<Ready>,
    limits: LitePullLimits,
    tickets: u64,
}

#[derive(Debug)]
struct LiteQueue {
    ticket: Ticket,
    process: ProcessQueue,
    paused: bool,
    /// Where the next pull begins, once that is known.
    pull_offset: Option<i64>,
    /// Behind what was polled: what a commit commits.
    consumed: Option<i64>,
    /// The member of the broker group that wants to be asked next.
    broker: i64,
}

impl LiteQueue {
    fn new(ticket: Ticket) -> Self {
        Self {
            ticket,
            process: ProcessQueue::new(Instant::now()),
            paused: false,
            pull_offset: None,
            consumed: None,
            broker: 0,
        }
    }
}

/// The messages of one pull.
#[derive(Debug)]
struct Ready {
    queue: MessageQueue,
    messages: Vec<Arc<MessageExt>>,
}

impl LiteQueues {
    /// Without queues.
    pub fn new(limits: LitePullLimits) -> Self {
        Self {
            queues: BTreeMap::new(),
            ready: VecDeque::new(),
            limits,
            tickets: 0,
        }
    }

    /// The queues that are held, sorted.
    pub fn held(&self) -> Vec<MessageQueue> {
        self.queues.keys().cloned().collect()
    }

    /// Whether a queue is held.
    pub fn holds(&self, queue: &MessageQueue) -> bool {
        self.queues.contains_key(queue)
    }

    /// Takes a queue. `None` if it is held already.
    pub fn assign(&mut self, queue: &MessageQueue) -> Option<Ticket> {
        if self.holds(queue) {
            return None;
        }
        let ticket = self.ticket();
        self.queues.insert(queue.clone(), LiteQueue::new(ticket));
        Some(ticket)
    }

    /// Gives a queue up, with the messages that wait to be polled. False if it is not held.
    pub fn revoke(&mut self, queue: &MessageQueue) -> bool {
        self.ready.retain(|ready| ready.queue != *queue);
        self.queues.remove(queue).is_some()
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    fn current(&mut self, queue: &MessageQueue, ticket: Ticket) -> Option<&mut LiteQueue> {
        self.queues
            .get_mut(queue)
            .filter(|held| held.ticket == ticket)
    }

    /// Goes on at another offset: what waits to be polled is forgotten, and what is being pulled
    /// will be. `None` if the queue is not held.
    pub fn seek(&mut self, queue: &MessageQueue, offset: i64) -> Option<Ticket> {
        let ticket = self.ticket();
        let held = self.queues.get_mut(queue)?;
        self.ready.retain(|ready| ready.queue != *queue);
        held.ticket = ticket;
        held.process = ProcessQueue::new(Instant::now());
        held.pull_offset = Some(offset);
        held.consumed = Some(offset);
        Some(ticket)
    }

    /// Pauses or resumes pulling of a queue; what was pulled can still be polled.
    pub fn set_paused(&mut self, queue: &MessageQueue, paused: bool) {
        if let Some(held) = self.queues.get_mut(queue) {
            held.paused = paused;
        }
    }

    /// What to do next for a queue, in the order of the checks of `PullTaskImpl`.
    pub fn step(&mut self, queue: &MessageQueue, ticket: Ticket) -> Step {
        let limits = self.limits;
        let waiting = self.ready.len().saturating_mul(limits.batch);
        let Some(held) = self.current(queue, ticket) else {
            return Step::Stop;
        };
        if held.paused {
            return Step::Wait(PAUSE_WHEN_PAUSED);
        }
        if waiting > limits.all || held.process.is_full(&limits.queue, false) {
            return Step::Wait(PAUSE_WHEN_FULL);
        }
        held.pull_offset.map_or(Step::Locate, Step::Pull)
    }

    /// Says where to begin. False if that is of no use any more.
    pub fn begin(&mut self, queue: &MessageQueue, ticket: Ticket, offset: i64) -> bool {
        let held = self.current(queue, ticket);
        held.map(|held| held.pull_offset = Some(offset)).is_some()
    }

    /// A pull was answered: these messages passed the filter, and the next pull begins at `next`.
    /// False if that is of no use any more.
    pub fn pulled(
        &mut self,
        queue: &MessageQueue,
        ticket: Ticket,
        next: i64,
        messages: Vec<Arc<MessageExt>>,
    ) -> bool {
        let Some(held) = self.current(queue, ticket) else {
            return false;
        };
        held.pull_offset = Some(next);
        held.process.put(&messages);
        if !messages.is_empty() {
            let queue = queue.clone();
            self.ready.push_back(Ready { queue, messages });
        }
        true
    }

    /// The messages of the oldest pull that waits, and their queue. They count as consumed from here
    /// on: the next commit covers them.
    pub fn poll(&mut self) -> Option<(MessageQueue, Vec<Arc<MessageExt>>)> {
        let Ready { queue, messages } = self.ready.pop_front()?;
        if let Some(held) = self.queues.get_mut(&queue) {
            let offsets = messages.iter().map(|message| message.queue_offset);
            held.consumed = held.process.finish(offsets).or(held.consumed);
        }
        Some((queue, messages))
    }

    /// Whether messages wait to be polled.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Behind what was polled of each queue, where anything was.
    pub fn consumed(&self) -> Vec<(MessageQueue, i64)> {
        let consumed = |(queue, held): (&MessageQueue, &LiteQueue)| {
            held.consumed.map(|offset| (queue.clone(), offset))
        };
        self.queues.iter().filter_map(consumed).collect()
    }

    /// The member of the broker group to pull from; 0 is the master.
    pub fn broker(&self, queue: &MessageQueue) -> i64 {
        self.queues.get(queue).map_or(0, |held| held.broker)
    }

    /// Notes the member of the broker group to pull from next.
    pub fn suggest_broker(&mut self, queue: &MessageQueue, id: i64) {
        if let Some(held) = self.queues.get_mut(queue) {
            held.broker = id;
        }
    }
}

/// What changes when other queues are to be held.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// To give up.
    pub revoke: Vec<MessageQueue>,
    /// To take.
    pub assign: Vec<MessageQueue>,
}

impl Change {
    /// From what is held, as far as `concerned` says that it is concerned, to what is wanted.
    pub fn new(
        held: &[MessageQueue],
        concerned: impl Fn(&MessageQueue) -> bool,
        wanted: &[MessageQueue],
    ) -> Self {
        let held: BTreeSet<_> = held.iter().filter(|queue| concerned(queue)).collect();
        let wanted: BTreeSet<_> = wanted.iter().collect();
        let difference = |a: &BTreeSet<&MessageQueue>, b: &BTreeSet<&MessageQueue>| {
            a.difference(b).map(|queue| (*queue).clone()).collect()
        };
        Self {
            revoke: difference(&held, &wanted),
            assign: difference(&wanted, &held),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::consumer::process_queue::tests::message;

    fn queue(id: i32) -> MessageQueue {
        MessageQueue::new("t", "b", id)
    }

    fn one_queue() -> (LiteQueues, MessageQueue, Ticket) {
        let mut queues = LiteQueues::new(LitePullLimits::default());
        let ticket = queues.assign(&queue(0)).unwrap();
        (queues, queue(0), ticket)
    }

    fn messages(offsets: std::ops::Range<i64>) -> Vec<Arc<MessageExt>> {
        offsets.map(|offset| message(offset, "x")).collect()
    }

    fn polled(queues: &mut LiteQueues) -> Vec<i64> {
        let polled = queues.poll();
        let messages = polled.iter().flat_map(|(_, messages)| messages);
        messages.map(|message| message.queue_offset).collect()
    }

    #[test]
    fn a_queue_is_located_before_it_is_pulled() {
        let (mut queues, queue, ticket) = one_queue();
        assert_eq!(queues.step(&queue, ticket), Step::Locate);
        assert!(queues.begin(&queue, ticket, 7));
        assert_eq!(queues.step(&queue, ticket), Step::Pull(7));
        queues.pulled(&queue, ticket, 9, messages(7..9));
        assert_eq!(queues.step(&queue, ticket), Step::Pull(9));
    }

    #[test]
    fn only_what_was_polled_can_be_committed() {
        let (mut queues, queue, ticket) = one_queue();
        queues.pulled(&queue, ticket, 3, messages(0..3));
        queues.pulled(&queue, ticket, 5, messages(3..5));
        assert_eq!(queues.consumed(), []);
        assert_eq!(polled(&mut queues), [0, 1, 2]);
        assert_eq!(queues.consumed(), [(queue.clone(), 3)]);
        assert_eq!(polled(&mut queues), [3, 4]);
        assert_eq!(queues.consumed(), [(queue, 5)]);
        assert!(queues.poll().is_none());
    }

    #[test]
    fn a_paused_queue_is_not_pulled_but_can_be_polled() {
        let (mut queues, queue, ticket) = one_queue();
        queues.pulled(&queue, ticket, 1, messages(0..1));
        queues.set_paused(&queue, true);
        assert_eq!(queues.step(&queue, ticket), Step::Wait(PAUSE_WHEN_PAUSED));
        assert_eq!(polled(&mut queues), [0]);
        queues.set_paused(&queue, false);
        assert_eq!(queues.step(&queue, ticket), Step::Pull(1));
    }

    #[test]
    fn seeking_forgets_what_waits_and_what_is_under_way() {
        let (mut queues, queue, before) = one_queue();
        queues.pulled(&queue, before, 3, messages(0..3));
        let ticket = queues.seek(&queue, 1).unwrap();
        assert!(queues.poll().is_none());
        assert_eq!(queues.step(&queue, before), Step::Stop);
        assert!(!queues.pulled(&queue, before, 5, messages(3..5)));
        assert_eq!(queues.step(&queue, ticket), Step::Pull(1));
        assert_eq!(queues.consumed(), [(queue, 1)]);
    }

    #[test]
    fn an_answer_for_a_queue_that_was_lost_and_regained_changes_nothing() {
        let (mut queues, queue, before) = one_queue();
        queues.begin(&queue, before, 0);
        assert!(queues.revoke(&queue));
        let ticket = queues.assign(&queue).unwrap();
        assert!(!queues.pulled(&queue, before, 3, messages(0..3)));
        assert_eq!(queues.step(&queue, ticket), Step::Locate);
        assert!(queues.poll().is_none());
    }

    #[test]
    fn a_queue_that_is_given_up_takes_its_messages_along() {
        let (mut queues, queue, ticket) = one_queue();
        queues.pulled(&queue, ticket, 3, messages(0..3));
        assert!(queues.revoke(&queue));
        assert!(!queues.revoke(&queue));
        assert!(queues.poll().is_none());
        assert_eq!(queues.step(&queue, ticket), Step::Stop);
        assert!(queues.seek(&queue, 0).is_none());
    }

    #[test]
    fn pulling_pauses_while_too_much_waits() {
        let limits = LitePullLimits {
            queue: Thresholds {
                messages: 5,
                ..Thresholds::default()
            },
            all: 20,
            batch: 10,
        };
        let mut queues = LiteQueues::new(limits);
        let tickets: Vec<_> = (0..4)
            .map(|id| queues.assign(&queue(id)).unwrap())
            .collect();
        queues.pulled(&queue(0), tickets[0], 6, messages(0..6));
        let full = Step::Wait(PAUSE_WHEN_FULL);
        assert_eq!(queues.step(&queue(0), tickets[0]), full, "of one queue");
        assert_eq!(queues.step(&queue(1), tickets[1]), Step::Locate);
        for id in 1..3 {
            queues.pulled(&queue(id), tickets[id as usize], 1, messages(0..1));
        }
        assert_eq!(queues.step(&queue(3), tickets[3]), full, "of all queues");
        queues.poll();
        assert_eq!(queues.step(&queue(3), tickets[3]), Step::Locate);
    }

    #[test]
    fn a_pull_without_messages_moves_on_and_commits_nothing() {
        let (mut queues, queue, ticket) = one_queue();
        queues.pulled(&queue, ticket, 50, Vec::new());
        assert_eq!(queues.step(&queue, ticket), Step::Pull(50));
        assert_eq!(queues.consumed(), []);
    }

    #[test]
    fn a_change_of_one_topic_leaves_the_others_alone() {
        let other = MessageQueue::new("u", "b", 0);
        let held = [queue(0), queue(1), other];
        let change = Change::new(&held, |queue| queue.topic == "t", &[queue(1), queue(2)]);
        assert_eq!(change.revoke, [queue(0)]);
        assert_eq!(change.assign, [queue(2)]);
    }

    #[derive(Debug, Clone)]
    enum Act {
        Pull(u8),
        Poll,
        Seek(i64),
        Regain,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => (0u8..12).prop_map(Act::Pull),
            4 => Just(Act::Poll),
            1 => (0i64..100).prop_map(Act::Seek),
            1 => Just(Act::Regain),
        ]
    }

    proptest! {
        #[test]
        fn polls_follow_each_other_without_gap_and_commits_stay_behind_them(
            acts in proptest::collection::vec(act(), 1..100)
        ) {
            let (mut queues, queue, mut ticket) = one_queue();
            queues.begin(&queue, ticket, 0);
            let mut expected = 0;
            for act in acts {
                match act {
                    Act::Pull(count) => {
                        if let Step::Pull(from) = queues.step(&queue, ticket) {
                            let next = from + i64::from(count);
                            queues.pulled(&queue, ticket, next, messages(from..next));
                        }
                    }
                    Act::Poll => for offset in polled(&mut queues) {
                        prop_assert_eq!(offset, expected);
                        expected += 1;
                    },
                    Act::Seek(to) => {
                        ticket = queues.seek(&queue, to).unwrap();
                        expected = to;
                    }
                    Act::Regain => {
                        queues.revoke(&queue);
                        ticket = queues.assign(&queue).unwrap();
                        queues.begin(&queue, ticket, expected);
                    }
                }
                for (_, offset) in queues.consumed() {
                    prop_assert_eq!(offset, expected);
                }
            }
        }
    }
}
