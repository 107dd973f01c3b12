//! The fate of every message in the brokers' logs: is it still there, and if not, was it allowed to
//! go?

use crate::contract::{Flush, FlushWindow};
use crate::history::{FaultKind, How, SendKind, SimTime};

use super::{Append, End, Facts, Op, TopicKind, log::takes_unflushed};

/// A page of memory and disk, in bytes.
const PAGE: i64 = 4096;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// No send of it was acknowledged.
    Unacked,
    /// It is in a log, as far as anybody can tell.
    Stored,
    /// It was acknowledged and is gone, as the contract allows.
    LostLegally,
    /// It was acknowledged with full success and never was in a log.
    NeverStored,
    /// It was acknowledged with full success and is gone although it was safe under the contract.
    Lost,
    /// It was acknowledged with full success and nobody ever saw it; there is no view into the
    /// brokers.
    Vanished,
}

impl Fate {
    /// Whether it need not be looked for any more.
    pub(crate) fn is_gone(self) -> bool {
        !matches!(self, Self::Unacked | Self::Stored)
    }
}

impl Facts<'_> {
    /// Works out the fate of every message.
    pub(super) fn fates(&self) -> Vec<Fate> {
        (0u32..)
            .zip(&self.messages)
            .map(|(message, _)| self.fate_of(message))
            .collect()
    }

    /// What became of a message.
    pub(crate) fn fate(&self, message: u32) -> Fate {
        self.fates
            .get(message as usize)
            .copied()
            .unwrap_or(Fate::Unacked)
    }

    fn fate_of(&self, message: u32) -> Fate {
        let Some(op) = self.ok_op(message) else {
            return Fate::Unacked;
        };
        if self.log.is_known() {
            self.fate_in_log(message, op)
        } else {
            self.fate_outside(message)
        }
    }

    /// By what the brokers appended and what their recoveries cut off.
    fn fate_in_log(&self, message: u32, op: &Op) -> Fate {
        let durable = self
            .ops_of(message)
            .any(|op| op.end == End::Ok && op.durable);
        let waits = |a: &&Append| match self.topic_kind(a.queue) {
            TopicKind::Schedule | TopicKind::Timer => a.reconsume == 0,
            TopicKind::Half => true,
            _ => false,
        };
        let own = |a: &&Append| self.topic_of(a.queue) == Some(op.topic);
        let mut copies = self.log.of(message).filter(own);
        if copies.clone().any(|append| !append.is_lost()) {
            return Fate::Stored;
        }
        let mut waiting = self.log.of(message).filter(waits);
        if waiting.clone().any(|append| !append.is_lost()) {
            // The copy that is stored when a message need not wait any longer is not waited for in
            // any mode. A half message whose last copy is gone is checked again.
            if op.kind == SendKind::Transaction {
                return Fate::Stored;
            }
            return match copies.next_back() {
                None => Fate::Stored,
                Some(last) if self.in_window(last, &FlushWindow::default()) => Fate::LostLegally,
                Some(_) => Fate::Lost,
            };
        }
        let acked = |a: &&Append| (a.queue, a.offset) == (op.queue, op.offset);
        let lost = copies
            .clone()
            .find(acked)
            .or_else(|| waiting.next_back())
            .or(copies.next_back());
        match lost {
            Some(append) if self.is_legally_lost(append, durable) => Fate::LostLegally,
            Some(_) if durable => Fate::Lost,
            Some(_) => Fate::LostLegally,
            None if self.was_delivered(message) => Fate::Stored,
            None if durable => Fate::NeverStored,
            None => Fate::LostLegally,
        }
    }

    fn is_legally_lost(&self, append: &Append, durable: bool) -> bool {
        let Some(outage) = self.log.outage_of(append) else {
            return false;
        };
        match &self.contract.flush {
            _ if !takes_unflushed(outage) => false,
            _ if !durable => true,
            Flush::Sync => false,
            Flush::Async(window) => self.in_window(append, window),
        }
    }

    /// Whether an append may have been unflushed when its broker lost power: the flusher looks
    /// every tick, and flushes when enough pages are dirty or the thorough interval is over.
    fn in_window(&self, append: &Append, window: &FlushWindow) -> bool {
        let Some(outage) = self.log.outage_of(append) else {
            return false;
        };
        if !takes_unflushed(outage) {
            return false;
        }
        let thorough = append.at.0 + (window.thorough_ms + window.tick_ms) * 1000;
        let pages = i64::try_from(window.least_pages).unwrap_or(i64::MAX / PAGE);
        let enough = (append.physical / PAGE + pages).saturating_mul(PAGE);
        let by_pages = self.log.grown_to(append, enough, outage.down);
        let by_pages = by_pages.map_or(u64::MAX, |at| at.0 + window.tick_ms * 1000);
        let slow = [FaultKind::Freeze, FaultKind::Disk];
        let slowed = self
            .trouble
            .struck_us(outage.node, &slow, (append.at, outage.down));
        let latest = thorough.min(by_pages) + window.slack_ms * 1000 + slowed;
        outage.down <= SimTime(latest)
    }

    /// By what clients saw alone: a message that nobody saw after a complete drain is gone.
    fn fate_outside(&self, message: u32) -> Fate {
        let drained = self.done.is_some_and(|(_, drained)| drained);
        let ok = |op: &&Op| op.end == End::Ok;
        let Some(op) = self.ops_of(message).find(|op| ok(op) && op.durable) else {
            return if self.was_delivered(message) {
                Fate::Stored
            } else {
                Fate::LostLegally
            };
        };
        let audience = self
            .groups
            .iter()
            .any(|g| g.topics.contains(&op.topic) && !g.filtered);
        if !drained || !audience || self.was_delivered(message) {
            return Fate::Stored;
        }
        let window = match &self.contract.flush {
            Flush::Sync => return Fate::Vanished,
            Flush::Async(window) => window.thorough_ms + window.tick_ms + window.slack_ms,
        };
        let until = SimTime(op.ended.0 + window * 1000);
        match self.broker_down(op.queue, &[How::PowerLoss], op.invoked, until) {
            true => Fate::LostLegally,
            false => Fate::Vanished,
        }
    }

    fn was_delivered(&self, message: u32) -> bool {
        !self.deliveries_of.of(message).is_empty()
    }
}
