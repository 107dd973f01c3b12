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
#[derive(Debug)]
pub(crate) struct OffsetLine {
    pub(crate) group: GroupId,
    pub(crate) queue: QueueRef,
    pub(crate) sets: Vec<Set>,
}

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

    /// The least offset that a correct broker may have answered at any time from `from` to `to`, given
    /// what its outages may have made it forget; `None` if it may have known none at all.
    pub(crate) fn floor(
        &self,
        (from, to): (SimTime, SimTime),
        outages: &[Outage],
        persist_us: u64,
    ) -> Option<i64> {
        let first = self.last_at(from)?;
        let mut floor = first.offset;
        let next = self.sets.partition_point(|set| set.at <= from);
        let later = self.sets.get(next..).unwrap_or_default();
        for set in later.iter().take_while(|set| set.at <= to) {
            floor = floor.min(set.offset);
        }
        for outage in outages
            .iter()
            .filter(|o| o.down >= first.at && o.down <= to)
        {
            floor = floor.min(self.survivor(outage, persist_us)?);
        }
        Some(floor)
    }

    /// The least offset that the table may hold after an outage.
    pub(crate) fn survivor(&self, outage: &Outage, persist_us: u64) -> Option<i64> {
        let persisted = match outage.how {
            How::Stop => return self.last_at(outage.down).map(|set| set.offset),
            How::PowerLoss => return None,
            How::Kill => SimTime(outage.down.0.saturating_sub(persist_us)),
        };
        let mut least = self.last_at(persisted)?.offset;
        let next = self.sets.partition_point(|set| set.at <= persisted);
        for set in self.sets.get(next..).unwrap_or_default() {
            if set.at > outage.down {
                break;
            }
            least = least.min(set.offset);
        }
        Some(least)
    }
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
        OffsetLine {
            group: GroupId(0),
            queue: QueueRef(0),
            sets: sets.iter().map(set).collect(),
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
        line.floor(
            (SimTime::from_secs(from), SimTime::from_secs(to)),
            outages,
            PERSIST,
        )
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
    fn a_stopped_broker_forgets_nothing_and_a_power_loss_may_take_all() {
        let line = line(&[(10, 100), (30, 300)]);
        assert_eq!(floor(&line, 40, 41, &[outage(How::Stop, 31)]), Some(300));
        assert_eq!(floor(&line, 40, 41, &[outage(How::PowerLoss, 39)]), None);
    }
}
