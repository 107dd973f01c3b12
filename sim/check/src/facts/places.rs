//! Where messages are: where consumers find them, whether a group had a right to leave them there,
//! and when the half of a transaction was done with.

use crate::contract::Flush;
use crate::history::{GroupId, QueueRef, SimTime};

use super::{Append, Correction, Facts, Op};

impl Facts<'_> {
    /// Where consumers find the message of a call: its copies in its topic that are still there.
    /// Where brokers cannot be watched, or kept no copy, it is the place that the send result
    /// names, which for a message that waits is not known.
    pub(crate) fn places(&self, op: &Op) -> Vec<(QueueRef, i64)> {
        let copies = self.own_copies(op.value).filter(|copy| !copy.is_lost());
        let mut places: Vec<_> = copies.map(|copy| (copy.queue, copy.offset)).collect();
        if places.is_empty() && !op.waits() {
            places.push((op.queue, op.offset));
        }
        places
    }

    /// Whether a power loss may have made a group pass a message over without anybody being wrong:
    /// the log lost its end, and the group's position was ahead of it. Then the group either never
    /// looks at what is stored at the freed offsets, or its position is corrected to the log's end,
    /// and what its member had buffered below is dropped.
    pub(crate) fn may_be_passed_over(&self, group: GroupId, op: &Op) -> bool {
        if !self.log.is_known() {
            return self.broker_power_lost(op.queue, SimTime(0), self.end());
        }
        // What tells which popped messages are to come again may be lost as well, if it was not
        // flushed before they were given away.
        let unflushed = self.group(group).pop && self.contract.flush != Flush::Sync;
        if unflushed && self.broker_power_lost(op.queue, op.invoked, self.end()) {
            return true;
        }
        let passed = |&(queue, offset): &(QueueRef, i64)| {
            let past = |c: &Correction| (c.group, c.queue) == (group, queue) && c.to > offset;
            self.broker_power_lost(queue, SimTime(0), self.end())
                && (self.log.freed.contains(&(queue, offset)) || self.corrections.iter().any(past))
        };
        let places = self.places(op);
        !places.is_empty() && places.iter().all(passed)
    }

    /// When a broker noted that it is done with a copy of a half message, and the record. What was
    /// noted after a recovery cut the copy off is about another one, at the same offset.
    pub(crate) fn end_of_half(&self, half: &Append) -> Option<(SimTime, u32)> {
        let ends = self.features.half_ends.get(&(half.queue, half.offset))?;
        let of_it = |end: &&(SimTime, u32)| end.1 > half.record && end.1 < half.cut;
        ends.iter().find(of_it).copied()
    }

    /// Whether an administrator set a group's offset behind a message.
    pub(crate) fn was_skipped(&self, group: GroupId, op: &Op) -> bool {
        let behind = |&(queue, offset): &(QueueRef, i64)| {
            let sets = self.offsets.line(group, queue).map(|line| line.sets.iter());
            sets.is_some_and(|mut sets| sets.any(|set| set.reset && set.offset > offset))
        };
        let places = self.places(op);
        !places.is_empty() && places.iter().all(behind)
    }
}
