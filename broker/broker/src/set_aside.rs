//! Messages that were accepted and can never be delivered.
//!
//! Every service that works through a line of messages - the delay levels, the timer wheel, the
//! check of half messages, the revival of popped messages - tells what can never succeed from what
//! may succeed later. What may succeed later is tried again. What never can would hold up all that
//! is behind it, so it is *set aside*: a copy goes to the topic
//! [`SET_ASIDE_TOPIC`](hotfire_protocol::topic::SET_ASIDE_TOPIC), with the line and the reason among its properties, it
//! is counted and logged, and the line goes on. An administrator finds the copies by pulling that
//! topic, and the original at the offset that is noted, as long as the commit log has it.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// How many lines are logged in [`LOG_WINDOW_MS`].
const LOGGED_MAX: u32 = 20;
/// In which time only [`LOGGED_MAX`] lines are logged, in milliseconds.
const LOG_WINDOW_MS: i64 = 10_000;

/// Where a message waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Line {
    /// For the time of its delay level.
    DelayLevel,
    /// For a time of its own.
    Timer,
    /// For the end of its transaction.
    Transaction,
    /// For its acknowledgement, popped.
    Pop,
}

impl Line {
    /// How figures and properties call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DelayLevel => "delayLevel",
            Self::Timer => "timer",
            Self::Transaction => "transaction",
            Self::Pop => "pop",
        }
    }
}

/// How many messages were set aside since the start, and how many of them were logged lately.
#[derive(Debug, Default)]
pub(crate) struct SetAside {
    counts: Mutex<BTreeMap<(Line, &'static str), u64>>,
    limit: Mutex<LogLimit>,
}

/// Keeps a log readable when the same happens very often.
#[derive(Debug, Default)]
struct LogLimit {
    since_ms: i64,
    logged: u32,
    suppressed: u64,
}

impl LogLimit {
    /// How many lines were left out before the next one, which is due; `None` if it is left out too.
    fn admit(&mut self, now_ms: i64) -> Option<u64> {
        let age_ms = now_ms.saturating_sub(self.since_ms);
        if !(0..LOG_WINDOW_MS).contains(&age_ms) {
            self.since_ms = now_ms;
            self.logged = 0;
        }
        if self.logged >= LOGGED_MAX {
            self.suppressed += 1;
            return None;
        }
        self.logged += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

impl SetAside {
    /// How many messages were set aside since the start, by line and reason.
    pub fn counts(&self) -> Vec<(Line, &'static str, u64)> {
        let counts = self.counts.lock();
        let count =
            |(&(line, reason), &count): (&(Line, &'static str), &u64)| (line, reason, count);
        counts.iter().map(count).collect()
    }

    /// Counts a message.
    pub fn count(&self, line: Line, reason: &'static str) {
        let mut counts = self.counts.lock();
        *counts.entry((line, reason)).or_default() += 1;
    }

    /// Whether something about a line may be logged now, and how many lines were left out before.
    pub fn may_log(&self, now_ms: i64) -> Option<u64> {
        self.limit.lock().admit(now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_logged_in_part_and_the_rest_is_counted() {
        let mut limit = LogLimit::default();
        let logged = (0..100).filter_map(|_| limit.admit(1_000_000)).count();
        assert_eq!(logged, LOGGED_MAX as usize);
        assert_eq!(limit.admit(1_000_000 + LOG_WINDOW_MS), Some(80));
        assert_eq!(limit.admit(1_000_000 + LOG_WINDOW_MS), Some(0));
    }

    #[test]
    fn a_clock_that_goes_back_silences_nothing() {
        let mut limit = LogLimit::default();
        let logged = (0..50).filter_map(|_| limit.admit(1_000_000)).count();
        assert_eq!(logged, LOGGED_MAX as usize);
        assert!(limit.admit(1).is_some());
    }
}
