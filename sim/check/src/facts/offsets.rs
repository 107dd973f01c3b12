//! The brokers' offset tables over time, as far as they must be known.

use rustc_hash::FxHashMap;

use crate::history::{GroupId, How, QueueRef, SimTime};

use super::trouble::Outage;

/// One change of a broker's offset table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Set {
    pub(crate) at: SimTime,
    pub(crate) offset: i64,
    /// Whether an administrator did it.
    pub(crate) reset: bool,
    /// The event.
    pub(crate) record: u32,
}

/// The changes of one group's offset of one queue.
#[derive(Debug, Clone)]
pub(crate) struct OffsetLine {
    pub(crate) group: GroupId,
    pub(crate) queue: QueueRef,
    pub(crate) sets: Vec<Set>,
    /// From when on the table may hold an offset as low as this; [`UNKNOWN`] if it may hold
    /// anything.
    lows: Vec<(SimTime, i64)>,
}

/// Lower than any offset: the broker may know none.
const UNKNOWN: i64 = i64::MIN;

/// How long a broker may be up without having written its offsets: the first write is 10 s after the
/// start (`BrokerController.initialize`), and takes a moment.
const FIRST_WRITE_US: u64 = 11_000_000;

/// All changes, by group and queue.
#[derive(Debug, Default)]
pub(crate) struct OffsetTables {
    index: FxHashMap<(GroupId, QueueRef), usize>,
    pub(crate) lines: Vec<OffsetLine>,
}

impl OffsetTables {
    pub(crate) fn note(&mut self, group: GroupId, queue: QueueRef, set: Set) {
        let at = *self.index.entry((group, queue)).or_insert_with(|| {
            self.lines.push(OffsetLine {
                group,
                queue,
                sets: Vec::new(),
                lows: Vec::new(),
            });
            self.lines.len() - 1
        });
        if let Some(line) = self.lines.get_mut(at) {
            line.sets.push(set);
        }
    }

    pub(crate) fn line(&self, group: GroupId, queue: QueueRef) -> Option<&OffsetLine> {
        self.index
            .get(&(group, queue))
            .and_then(|&at| self.lines.get(at))
    }
}

impl OffsetLine {
    /// The last change at or before a time.
    pub(crate) fn last_at(&self, at: SimTime) -> Option<&Set> {
        let next = self.sets.partition_point(|set| set.at <= at);
        next.checked_sub(1).and_then(|last| self.sets.get(last))
    }

    /// Works out what outages may have made the broker forget. A killed broker comes back with what
    /// it held at some time in the last `persist_us`, or since it came up if it had not written yet.
    pub(crate) fn settle(&mut self, outages: &[Outage], persist_us: u64) {
        self.lows = vec![(SimTime(0), UNKNOWN)];
        let mut booted = SimTime(0);
        let mut outages = outages.iter().peekable();
        for set in &self.sets {
            while let Some(outage) = outages.next_if(|outage| outage.down <= set.at) {
                Self::forget(&mut self.lows, outage, booted, persist_us);
                booted = outage.up;
            }
            self.lows.push((set.at, set.offset));
        }
        for outage in outages {
            Self::forget(&mut self.lows, outage, booted, persist_us);
            booted = outage.up;
        }
    }

    fn forget(lows: &mut Vec<(SimTime, i64)>, outage: &Outage, booted: SimTime, persist_us: u64) {
        let low = match outage.how {
            How::Stop => return,
            How::PowerLoss => UNKNOWN,
            How::Kill => {
                let young = outage.down.since(booted) < FIRST_WRITE_US;
                let persisted = if young {
                    booted
                } else {
                    SimTime(outage.down.0.saturating_sub(persist_us))
                };
                least(lows, persisted, outage.down)
            }
        };
        lows.push((outage.down, low));
    }

    /// The least offset that a correct broker may have answered at any time from `from` to `to`;
    /// `None` if it may have known none at all.
    pub(crate) fn floor(&self, from: SimTime, to: SimTime) -> Option<i64> {
        Some(least(&self.lows, from, to)).filter(|&low| low != UNKNOWN)
    }

    /// Whether outages between two successive changes may have made the broker forget so much that
    /// it held at most `offset`.
    pub(crate) fn may_have_forgotten(&self, before: &Set, after: &Set) -> bool {
        let between = |low: &&(SimTime, i64)| low.0 >= before.at && low.0 <= after.at;
        self.lows
            .iter()
            .filter(between)
            .any(|low| low.1 <= after.offset && low.0 != after.at)
    }
}

/// The least value that was in effect at some time from `from` to `to`.
fn least(lows: &[(SimTime, i64)], from: SimTime, to: SimTime) -> i64 {
    let next = lows.partition_point(|low| low.0 <= from);
    let since = lows.get(next.saturating_sub(1)..).unwrap_or_default();
    let until = since.iter().take_while(|low| low.0 <= to);
    until.map(|low| low.1).min().unwrap_or(UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::NodeId;

    fn line(sets: &[(u64, i64)]) -> OffsetLine {
        let set = |&(secs, offset): &(u64, i64)| Set {
            at: SimTime::from_secs(secs),
            offset,
            reset: false,
            record: 0,
        };
        let sets = sets.iter().map(set).collect();
        OffsetLine {
            group: GroupId(0),
            queue: QueueRef(0),
            sets,
            lows: Vec::new(),
        }
    }

    fn outage(how: How, down: u64) -> Outage {
        let (down, up) = (SimTime::from_secs(down), SimTime::from_secs(down + 1));
        Outage {
            node: NodeId(0),
            how,
            down,
            up,
            record: 0,
        }
    }

    const PERSIST: u64 = 6_000_000;

    fn floor(line: &OffsetLine, from: u64, to: u64, outages: &[Outage]) -> Option<i64> {
        let mut line = line.clone();
        line.settle(outages, PERSIST);
        line.floor(SimTime::from_secs(from), SimTime::from_secs(to))
    }

    #[test]
    fn without_outages_the_floor_is_the_least_offset_in_the_window() {
        let line = line(&[(10, 100), (20, 200), (30, 300)]);
        assert_eq!(floor(&line, 5, 25, &[]), None, "nothing was known at first");
        assert_eq!(floor(&line, 15, 35, &[]), Some(100));
        assert_eq!(floor(&line, 25, 26, &[]), Some(200));
    }

    #[test]
    fn a_killed_broker_forgets_what_was_not_persisted_yet() {
        let line = line(&[(10, 100), (20, 200), (30, 300)]);
        assert_eq!(floor(&line, 40, 41, &[outage(How::Kill, 33)]), Some(200));
        assert_eq!(floor(&line, 50, 51, &[outage(How::Kill, 40)]), Some(300));
    }

    #[test]
    fn a_broker_killed_in_its_first_seconds_has_written_nothing() {
        let line = line(&[(10, 100), (30, 300), (32, 310), (38, 380)]);
        let outages = [outage(How::Kill, 25), outage(How::Kill, 36)];
        assert_eq!(floor(&line, 39, 40, &outages), Some(380));
        let [first, _] = outages;
        let outages = [first, outage(How::Kill, 35)];
        assert_eq!(floor(&line, 36, 37, &outages), Some(100));
    }

    #[test]
    fn a_broker_killed_twice_may_still_hold_what_it_came_back_with() {
        let line = line(&[(10, 100), (20, 200)]);
        let outages = [outage(How::Kill, 21), outage(How::Kill, 60)];
        assert_eq!(floor(&line, 70, 71, &outages), Some(100));
    }

    #[test]
    fn a_stopped_broker_forgets_nothing_and_a_power_loss_may_take_all() {
        let line = line(&[(10, 100), (30, 300)]);
        assert_eq!(floor(&line, 40, 41, &[outage(How::Stop, 31)]), Some(300));
        assert_eq!(floor(&line, 40, 41, &[outage(How::PowerLoss, 39)]), None);
    }
}
