//! The brokers' commit logs over time: what was appended, and what a recovery cut off.

use rustc_hash::FxHashSet;

use crate::history::{BrokerId, How, QueueRef, SimTime};

use super::NONE;
use super::csr::Csr;
use super::trouble::Outage;

/// A message that a broker appended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Append {
    pub(crate) at: SimTime,
    pub(crate) offset: i64,
    pub(crate) physical: i64,
    pub(crate) queue: QueueRef,
    pub(crate) broker: BrokerId,
    /// The message, or [`NONE`].
    pub(crate) value: u32,
    pub(crate) record: u32,
    /// The recovery that cut it off, or [`NONE`].
    pub(crate) cut: u32,
    /// The outage before that recovery, a place in the broker's list, or [`NONE`].
    pub(crate) outage: u32,
    pub(crate) reconsume: u16,
}

impl Append {
    pub(crate) fn is_lost(&self) -> bool {
        self.cut != NONE
    }
}

/// What a recovery did to an append.
enum Cut {
    Gone,
    Keep,
    /// It survived, and so did everything before it.
    Stop,
}

/// All appends, and the outages of the broker groups.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) appends: Vec<Append>,
    /// By message: its appends, in order of time.
    pub(crate) of_value: Csr,
    /// Offsets of messages that recoveries cut off, to be given out again.
    pub(crate) freed: FxHashSet<(QueueRef, i64)>,
    /// By broker group: its appends, in order of time.
    by_broker: Vec<Vec<u32>>,
    /// By broker group: the outages of its nodes.
    pub(crate) outages: Vec<Vec<Outage>>,
}

impl Log {
    pub(crate) fn with_brokers(brokers: usize) -> Self {
        let mut log = Self::default();
        log.by_broker.resize_with(brokers, Vec::new);
        log.outages.resize_with(brokers, Vec::new);
        log
    }

    /// Whether appends were recorded at all.
    pub(crate) fn is_known(&self) -> bool {
        !self.appends.is_empty()
    }

    pub(crate) fn append(&mut self, append: Append) {
        if let Some(list) = self.by_broker.get_mut(append.broker.index()) {
            list.push(u32::try_from(self.appends.len()).unwrap_or(NONE));
        }
        self.appends.push(append);
    }

    /// The node of a broker group went down.
    pub(crate) fn down(&mut self, broker: BrokerId, outage: Outage) {
        if let Some(list) = self.outages.get_mut(broker.index()) {
            list.push(outage);
        }
    }

    /// A broker recovered: what it held at or past `max_physical` is gone.
    pub(crate) fn recovered(&mut self, broker: BrokerId, max_physical: i64, record: u32) {
        // Behind the last outage the log grows by address, so the first survivor ends the search.
        self.cut(broker, record, |append| {
            match append.physical >= max_physical {
                true => Cut::Gone,
                false => Cut::Stop,
            }
        });
    }

    /// After recovery a queue ends at `max`: what it held at or past that is gone.
    pub(crate) fn queue_max(&mut self, broker: BrokerId, queue: QueueRef, max: i64, record: u32) {
        let outages = self.outages.get(broker.index());
        let down = outages
            .and_then(|list| list.last())
            .map_or(SimTime(0), |outage| outage.down);
        self.cut(broker, record, |append| {
            if append.queue != queue || append.at > down {
                Cut::Keep
            } else if append.offset >= max {
                Cut::Gone
            } else {
                Cut::Stop
            }
        });
    }

    fn cut(&mut self, broker: BrokerId, record: u32, judge: impl Fn(&Append) -> Cut) {
        let outages = self.outages.get(broker.index()).map_or(0, Vec::len);
        let outage = outages
            .checked_sub(1)
            .and_then(|at| u32::try_from(at).ok())
            .unwrap_or(NONE);
        let Some(list) = self.by_broker.get(broker.index()) else {
            return;
        };
        for &at in list.iter().rev() {
            let Some(append) = self.appends.get_mut(at as usize) else {
                continue;
            };
            if append.is_lost() {
                continue;
            }
            match judge(append) {
                Cut::Gone => {
                    (append.cut, append.outage) = (record, outage);
                    self.freed.insert((append.queue, append.offset));
                }
                Cut::Keep => {}
                Cut::Stop => break,
            }
        }
    }

    pub(crate) fn group_by_value(&mut self, values: usize) {
        let appends = &self.appends;
        let pairs = (0u32..).zip(appends).map(|(at, append)| (append.value, at));
        self.of_value = Csr::build(values, pairs);
    }

    /// A message's appends, in order of time.
    pub(crate) fn of(&self, message: u32) -> impl DoubleEndedIterator<Item = &Append> + Clone {
        self.of_value
            .of(message)
            .iter()
            .filter_map(|&at| self.appends.get(at as usize))
    }

    /// The outage that cut an append off.
    pub(crate) fn outage_of(&self, append: &Append) -> Option<&Outage> {
        self.outages
            .get(append.broker.index())?
            .get(append.outage as usize)
    }

    /// When the broker's log had grown this far, as seen from an append before its outage; `None`
    /// if it did not grow so far before it went down.
    pub(crate) fn grown_to(
        &self,
        append: &Append,
        physical: i64,
        down: SimTime,
    ) -> Option<SimTime> {
        let list = self.by_broker.get(append.broker.index())?;
        let at = |i: &u32| self.appends.get(*i as usize);
        let from = list.partition_point(|i| at(i).is_some_and(|a| a.record < append.record));
        let to = list.partition_point(|i| at(i).is_some_and(|a| a.at <= down));
        let between = list.get(from..to).unwrap_or_default();
        let next = between.partition_point(|i| at(i).is_some_and(|a| a.physical < physical));
        between.get(next).and_then(at).map(|append| append.at)
    }
}

/// Whether a node's going down may take unflushed data with it.
pub(crate) fn takes_unflushed(outage: &Outage) -> bool {
    outage.how == How::PowerLoss
}
