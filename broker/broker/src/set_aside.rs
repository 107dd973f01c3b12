//! Messages that were accepted and can never be delivered.
//!
//! Every service that works through a line of messages - the delay levels, the timer wheel, the
//! check of half messages, the revival of popped messages - tells what can never succeed from what
//! may succeed later. What may succeed later is tried again. What never can would hold up all that
//! is behind it, so it is *set aside*: a copy goes to the topic
//! [`SET_ASIDE_TOPIC`](topic::SET_ASIDE_TOPIC), with the line and the reason among its properties, it
//! is counted and logged, and the line goes on. An administrator finds the copies by pulling that
//! topic, and the original at the offset that is noted, as long as the commit log has it.

use std::collections::BTreeMap;
use std::sync::Arc;

use hotfire_protocol::message::{property, sys_flag};
use hotfire_protocol::{MessageExt, Properties, topic};
use hotfire_store::MessageInner;
use parking_lot::Mutex;

use crate::state::State;

/// The property that says which line a message was taken from.
const LINE: &str = "SET_ASIDE_LINE";
/// The property that says why.
const REASON: &str = "SET_ASIDE_REASON";
/// The property with the topic of the record that could not be dealt with.
const TOPIC: &str = "SET_ASIDE_TOPIC";
/// The property with that record's offset in the commit log.
const OFFSET: &str = "SET_ASIDE_OFFSET";
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

    /// Whether something about a line may be logged now, and how many lines were left out before.
    pub fn may_log(&self, now_ms: i64) -> Option<u64> {
        self.limit.lock().admit(now_ms)
    }
}

impl State {
    /// Sets aside what can never be delivered: the message, if it can be read, and where its record
    /// is in the commit log. False if the store takes nothing at the moment: then nothing has
    /// happened, and it is to be tried again.
    pub(crate) fn set_aside(
        self: &Arc<Self>,
        line: Line,
        reason: &'static str,
        message: Option<MessageExt>,
        offset: i64,
    ) -> bool {
        let (origin, id) = match &message {
            Some(message) => (message.message.topic.clone(), message.msg_id()),
            None => (String::new(), String::new()),
        };
        let stored = match message {
            Some(message) => self.store_set_aside(line, reason, message, offset),
            None => Some(None),
        };
        let Some(stored_at) = stored else {
            return false;
        };
        let mut counts = self.set_aside.counts.lock();
        *counts.entry((line, reason)).or_default() += 1;
        drop(counts);
        if let Some(suppressed) = self.set_aside.may_log(self.env.now_ms()) {
            let line = line.name();
            tracing::error!(
                line,
                reason,
                origin,
                id,
                offset,
                stored_at,
                suppressed,
                "a message can never be delivered: it is set aside"
            );
        }
        true
    }

    /// Stores the copy, with as much of the message as fits; where it is, if it could be stored at
    /// all. `None` if the store takes nothing at the moment.
    fn store_set_aside(
        self: &Arc<Self>,
        line: Line,
        reason: &'static str,
        message: MessageExt,
        offset: i64,
    ) -> Option<Option<i64>> {
        let topic = topic::SET_ASIDE_TOPIC;
        if self.ensure_topic(topic, 1, false).is_none() {
            tracing::error!(topic, "the topic cannot be created");
            return Some(None);
        }
        let notes = [
            (LINE, line.name().to_owned()),
            (REASON, reason.to_owned()),
            (TOPIC, message.message.topic.clone()),
            (OFFSET, offset.to_string()),
        ];
        let mut copy = MessageInner::from(message);
        copy.message.topic = topic.to_owned();
        copy.queue_id = 0;
        copy.sys_flag = sys_flag::with_transaction_type(copy.sys_flag, 0);
        copy.prepared_transaction_offset = 0;
        let whole = copy.message.properties.clone();
        let note = |properties: &mut Properties| {
            for (name, value) in &notes {
                properties.set(*name, value.as_str());
            }
        };
        note(&mut copy.message.properties);
        // First with all that is in it, then without its properties, then without its body.
        let mut noted = Properties::new();
        if let Some(key) = whole.get(property::UNIQ_KEY).filter(|key| key.len() < 256) {
            noted.set(property::UNIQ_KEY, key);
        }
        note(&mut noted);
        let mut bare = copy.clone();
        bare.message.properties = noted;
        let mut empty = bare.clone();
        empty.message.body = bytes::Bytes::new();
        for form in [copy, bare, empty] {
            let put = self.store.append_accepted(form);
            match put.append {
                Some(append) => return Some(Some(append.physical_offset)),
                None if put.status.is_final() => {}
                None => return None,
            }
        }
        Some(None)
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
