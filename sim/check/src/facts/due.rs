//! When messages that wait for a time are due.

use crate::history::{NodeId, SendKind, SimTime};

use super::{Append, Facts, Op, Timer, TopicKind};

/// A message that waits at a broker for its time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Due {
    /// The broker's node.
    pub(crate) node: NodeId,
    /// By the broker's wall clock, in milliseconds since 1970.
    pub(crate) wall_ms: i64,
    /// For how long messages that were stored before it may hold it up, in milliseconds: a delay
    /// level is first in first out, and they were stored when the clock was so much further ahead.
    pub(crate) held_ms: i64,
    /// Since when it waits.
    pub(crate) since: SimTime,
    pub(crate) record: u32,
}

impl Facts<'_> {
    /// Whether a message is one that waits for a time.
    pub(crate) fn is_timed(&self, message: u32) -> bool {
        let timed = |op: &Op| op.delay_level > 0 || op.kind == SendKind::Timed;
        self.ops_of(message).any(timed)
    }

    /// What a call asked for, if it was for an arbitrary time.
    pub(crate) fn timer(&self, op: &Op) -> Option<&Timer> {
        let Some(crate::history::Event::SendInvoked { op, .. }) =
            self.record(op.record).map(|record| record.event)
        else {
            return None;
        };
        self.features.timers.get(&self.op_number(op)?)
    }

    /// The timers of a message, one for each call that sent it for an arbitrary time.
    pub(crate) fn timers(&self, message: u32) -> impl Iterator<Item = &Timer> + Clone {
        self.ops_of(message).filter_map(|op| self.timer(op))
    }

    /// The delay of a level, in milliseconds; a level too high counts as the highest.
    pub(crate) fn level_ms(&self, level: u8) -> i64 {
        let levels = &self.contract.delay_levels_ms;
        let at = usize::from(level).min(levels.len()).checked_sub(1);
        let ms = at.and_then(|at| levels.get(at)).copied().unwrap_or(0);
        i64::try_from(ms).unwrap_or(i64::MAX)
    }

    /// Where brokers can be watched: the copies of a message that wait, or waited, and are kept.
    pub(crate) fn dues(&self, message: u32) -> impl Iterator<Item = Due> + '_ {
        let waits = |append: &&Append| !append.is_lost() && append.reconsume == 0;
        self.log
            .of(message)
            .filter(waits)
            .filter_map(move |append| {
                let node = self.node_of(append.record)?;
                let (wall_ms, held_ms) = match self.topic_kind(append.queue) {
                    TopicKind::Schedule => {
                        let level = self.ops_of(message).map(|op| op.delay_level).max()?;
                        let stored_ms = self.wall_us(node, append.at) / 1000;
                        let held_ms = self.features.set_back_us(node, append.at) / 1000;
                        (stored_ms + self.level_ms(level), held_ms)
                    }
                    TopicKind::Timer => (self.timers(message).map(|timer| timer.due_ms).min()?, 0),
                    _ => return None,
                };
                Some(Due {
                    node,
                    wall_ms,
                    held_ms,
                    since: append.at,
                    record: append.record,
                })
            })
    }
}
