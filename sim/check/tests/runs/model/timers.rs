//! Messages with a delay level, messages for a time, and calling those back.

use hotfire_check::history::*;

use super::*;

pub(super) const PRECISION_MS: i64 = 200;
/// How often the broker persists the progress of delay levels and of its timer, in microseconds.
const LEVELS_PERSIST_US: u64 = 10_000_000;
const TIMER_PERSIST_US: u64 = 1_000_000;

/// A message that waits at the broker for its time.
#[derive(Clone, Copy)]
struct Waiting {
    /// By the broker's wall clock.
    due_us: i64,
    /// The delay of its level; `None` for an arbitrary time.
    delay_us: Option<i64>,
    /// Its place in the log.
    at: usize,
    to: usize,
    value: u64,
    reconsume: u32,
    /// Where in the log it says that the message was recalled.
    recalled: Option<usize>,
}

/// A message for a time whose producer could call it back.
struct Callable {
    op: OpId,
    at: usize,
    due_us: i64,
}

#[derive(Default)]
pub(super) struct Timers {
    waiting: Vec<Waiting>,
    /// What was due, and when that was.
    delivered: Vec<(u64, Waiting)>,
    callable: Vec<Callable>,
    /// The latest time that the wheel has come to.
    reached_us: i64,
}

impl Timers {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl World {
    /// Stores a message in the schedule topic, to be stored somewhere else after its delay.
    pub(super) fn delay(&mut self, queue: usize, (to, value, reconsume): (usize, u64, u32)) {
        let wall_us = self.wall_us();
        let (_, at) = self.append(queue, value, reconsume);
        self.wait_for_level(queue, at, wall_us, (to, value, reconsume));
    }

    fn wait_for_level(
        &mut self,
        queue: usize,
        at: usize,
        stored_us: i64,
        (to, value, reconsume): (usize, u64, u32),
    ) {
        let delay_ms = match queue {
            LONG_SCHEDULE => LONG_DELAY_MS,
            _ => DELAY_MS,
        };
        let delay_us = delay_ms as i64 * 1000;
        self.timers.waiting.push(Waiting {
            due_us: stored_us + delay_us,
            delay_us: Some(delay_us),
            at,
            to,
            value,
            reconsume,
            recalled: None,
        });
    }

    pub(super) fn send_delayed(&mut self) {
        let (value, to) = (self.new_value(), self.rng.below(QUEUES));
        let op = self.invoke(self.producer, value, (SendKind::Normal, LONG_LEVEL), None);
        let wall_us = self.wall_us();
        let sent = self.attempt(op, LONG_SCHEDULE, value);
        for (_, at) in sent.copies {
            self.wait_for_level(LONG_SCHEDULE, at, wall_us, (to, value, 0));
        }
    }

    pub(super) fn send_timed(&mut self) {
        let (value, to) = (self.new_value(), self.rng.below(QUEUES));
        let op = self.invoke(self.producer, value, (SendKind::Timed, 0), None);
        let due_ms = self.now as i64 / 1000 + self.rng.below(8000) as i64 - 200;
        self.note(self.producer, Event::Timed { op, due_ms });
        if due_ms * 1000 <= self.wall_us() {
            // It need not wait.
            self.attempt(op, to, value);
            return;
        }
        // Times are rounded, but never down.
        let due_us = (due_ms + PRECISION_MS - 1) / PRECISION_MS * PRECISION_MS * 1000;
        let sent = self.attempt(op, TIMER, value);
        for &(_, at) in &sent.copies {
            self.timers.waiting.push(Waiting {
                due_us,
                delay_us: None,
                at,
                to,
                value,
                reconsume: 0,
                recalled: None,
            });
        }
        if let Some(&(_, at)) = sent.copies.last().filter(|_| sent.is_ok) {
            let op = sent.op;
            self.timers.callable.push(Callable { op, at, due_us });
        }
    }

    /// The producer takes a message back, or tries to.
    pub(super) fn recall(&mut self) {
        if self.timers.callable.is_empty() {
            return;
        }
        let chosen = self.rng.below(self.timers.callable.len());
        let Callable { op, at, due_us } = self.timers.callable.swap_remove(chosen);
        self.note(self.producer, Event::RecallInvoked { op });
        let is_late = due_us <= self.wall_us();
        let arrives = !self.loses(6);
        if arrives && !is_late {
            let (_, marker) = self.append(TIMER, 0, 0);
            // Within the precision the message is already on its way.
            let in_time = self.wall_us() + PRECISION_MS * 1000 < due_us;
            let waiting = self.timers.waiting.iter_mut();
            for waiting in waiting.filter(|waiting| waiting.at == at && in_time) {
                waiting.recalled = Some(marker);
            }
        }
        let outcome = match (arrives && !self.loses(6), is_late) {
            (false, _) => CallOutcome::Unknown,
            (true, true) => CallOutcome::Refused,
            (true, false) => CallOutcome::Ok,
        };
        self.note(self.producer, Event::RecallEnded { op, outcome });
    }

    /// Stores what is due in its own topic.
    pub(super) fn deliver_due(&mut self) {
        let wall_us = self.wall_us();
        self.timers.reached_us = self.timers.reached_us.max(wall_us);
        let reached_us = self.timers.reached_us;
        let is_due = |waiting: &Waiting| match waiting.delay_us {
            // What seems further away than its delay is due at once.
            Some(delay_us) => waiting.due_us <= wall_us || waiting.due_us > wall_us + delay_us,
            None => waiting.due_us <= reached_us,
        };
        let waiting = std::mem::take(&mut self.timers.waiting);
        let (due, later) = waiting.into_iter().partition(is_due);
        self.timers.waiting = later;
        let due: Vec<Waiting> = due;
        for waiting in due {
            if waiting.recalled.is_none() {
                self.append(waiting.to, waiting.value, waiting.reconsume);
                self.timers.delivered.push((self.now, waiting));
            }
        }
    }

    /// What is left of the log goes up to a place. Progress that was not persisted is forgotten.
    pub(super) fn timers_after_crash(&mut self, left: usize) {
        let timers = &mut self.timers;
        let mut forgotten = Vec::new();
        for (at, waiting) in std::mem::take(&mut timers.delivered) {
            let persist_us = match waiting.delay_us {
                Some(_) => LEVELS_PERSIST_US,
                None => TIMER_PERSIST_US,
            };
            if at + persist_us > self.now && self.rng.one_in(2) {
                forgotten.push(waiting);
            }
        }
        timers.waiting.extend(forgotten);
        timers.waiting.retain(|waiting| waiting.at < left);
        timers.callable.retain(|callable| callable.at < left);
        for waiting in &mut timers.waiting {
            waiting.recalled = waiting.recalled.filter(|&marker| marker < left);
        }
    }
}
