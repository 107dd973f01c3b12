//! Faults, outages and changes of membership: the times at which duplicates and delays are to be
//! expected.

use crate::contract::Contract;
use crate::history::{Event, FaultKind, GroupId, History, How, NodeId, SimTime};

/// For how long a fault that is over may still show (a commit under way, a persist tick, a late
/// timer).
pub(crate) const AFTERMATH_US: u64 = 5_000_000;

/// For how long members of a group may disagree about who has a queue after a fault: a broker may
/// have dropped a member, or know none since it started, until the member's next heartbeat (30 s), and
/// the others look again at their next rebalancing (20 s).
const CONVERGENCE_US: u64 = 55_000_000;

/// A fault, from its begin to its end.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) number: u32,
    pub(crate) kind: FaultKind,
    pub(crate) from: SimTime,
    pub(crate) to: SimTime,
    pub(crate) nodes: Vec<NodeId>,
}

/// A node that was down.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outage {
    pub(crate) node: NodeId,
    pub(crate) how: How,
    pub(crate) down: SimTime,
    /// The time at which it came up again; the end of time if it did not.
    pub(crate) up: SimTime,
    /// The event.
    pub(crate) record: u32,
}

/// When the run was not calm.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    pub(crate) faults: Vec<Fault>,
    pub(crate) outages: Vec<Outage>,
    /// Disjoint and sorted: some fault was active, or had its aftermath.
    disturbed: Vec<(SimTime, SimTime)>,
    /// By group: when members came, went, gained or lost queues.
    changes: Vec<Vec<SimTime>>,
}

impl Trouble {
    pub(crate) fn note(&mut self, history: &History, at: SimTime, record: u32) {
        let Some(r) = history.records().get(record as usize) else {
            return;
        };
        match r.event {
            Event::FaultBegan {
                fault, kind, nodes, ..
            } => self.faults.push(Fault {
                number: fault,
                kind,
                from: at,
                to: SimTime(u64::MAX),
                nodes: history.names().nodes_of(nodes).to_vec(),
            }),
            Event::FaultEnded { fault } => {
                let open = |f: &&mut Fault| f.number == fault && f.to.0 == u64::MAX;
                if let Some(fault) = self.faults.iter_mut().rev().find(open) {
                    fault.to = at;
                }
            }
            Event::NodeDown { how } => {
                let up = SimTime(u64::MAX);
                self.outages.push(Outage {
                    node: r.node,
                    how,
                    down: at,
                    up,
                    record,
                });
            }
            Event::NodeUp => {
                let open = |o: &&mut Outage| o.node == r.node && o.up.0 == u64::MAX;
                if let Some(outage) = self.outages.iter_mut().rev().find(open) {
                    outage.up = at;
                }
            }
            _ => {}
        }
    }

    pub(crate) fn note_change(&mut self, group: GroupId, at: SimTime) {
        if self.changes.len() <= group.index() {
            self.changes.resize_with(group.index() + 1, Vec::new);
        }
        if let Some(times) = self.changes.get_mut(group.index())
            && times.last() != Some(&at)
        {
            times.push(at);
        }
    }

    pub(crate) fn finish(&mut self) {
        let faults = self.faults.iter().map(|fault| (fault.from, fault.to));
        let outages = self.outages.iter().map(|outage| (outage.down, outage.up));
        let mut spans: Vec<_> = faults
            .chain(outages)
            .map(|(from, to)| (from, SimTime(to.0.saturating_add(AFTERMATH_US))))
            .collect();
        spans.sort_unstable();
        for (from, to) in spans {
            match self.disturbed.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => self.disturbed.push((from, to)),
            }
        }
    }

    /// Whether some fault was active, or had its aftermath, between two times.
    pub(crate) fn disturbed(&self, from: SimTime, to: SimTime) -> bool {
        let next = self.disturbed.partition_point(|span| span.1 < from);
        self.disturbed.get(next).is_some_and(|span| span.0 <= to)
    }

    /// A deadline that is put off by every disturbance between two times, which gives as much time
    /// anew from its end on.
    pub(crate) fn put_off(&self, from: SimTime, deadline: SimTime, anew_us: u64) -> SimTime {
        let first = self.disturbed.partition_point(|span| span.1 < from);
        let mut deadline = deadline;
        for span in self.disturbed.get(first..).unwrap_or_default() {
            if span.0 > deadline {
                break;
            }
            deadline = deadline.max(SimTime(span.1.0.saturating_add(anew_us)));
        }
        deadline
    }

    /// When some fault was active, or had its aftermath: disjoint and sorted.
    pub(crate) fn disturbances(&self) -> &[(SimTime, SimTime)] {
        &self.disturbed
    }

    /// When the last disturbance before a time was over, or that time while it lasts; 0 if there
    /// was none.
    pub(crate) fn last_before(&self, at: SimTime) -> SimTime {
        let next = self.disturbed.partition_point(|span| span.0 <= at);
        let last = next
            .checked_sub(1)
            .and_then(|last| self.disturbed.get(last));
        last.map_or(SimTime(0), |span| span.1.min(at))
    }

    /// Whether a group's members or their queues changed between two times.
    pub(crate) fn changed(&self, group: GroupId, from: SimTime, to: SimTime) -> bool {
        let Some(times) = self.changes.get(group.index()) else {
            return false;
        };
        let next = times.partition_point(|&at| at < from);
        times.get(next).is_some_and(|&at| at <= to)
    }

    /// Whether nothing happened between two times, or shortly before, that explains a duplicate.
    pub(crate) fn calm(&self, group: GroupId, from: SimTime, to: SimTime) -> bool {
        let before = SimTime(from.0.saturating_sub(AFTERMATH_US));
        !self.disturbed(from, to) && !self.changed(group, before, to)
    }

    /// Whether the last fault is so long ago that the members of every group agree about its queues.
    pub(crate) fn converged(&self, at: SimTime) -> bool {
        let since = CONVERGENCE_US - AFTERMATH_US;
        !self.disturbed(SimTime(at.0.saturating_sub(since)), at)
    }

    /// Whether a fault of one of these kinds was active between two times.
    pub(crate) fn any_fault(&self, kinds: &[FaultKind], from: SimTime, to: SimTime) -> bool {
        self.faults
            .iter()
            .any(|f| kinds.contains(&f.kind) && f.from <= to && f.to >= from)
    }

    /// For how long faults of these kinds struck a node between two times, in microseconds, at
    /// most.
    pub(crate) fn struck_us(
        &self,
        node: NodeId,
        kinds: &[FaultKind],
        (from, to): (SimTime, SimTime),
    ) -> u64 {
        let strikes = |fault: &&Fault| {
            kinds.contains(&fault.kind) && (fault.nodes.is_empty() || fault.nodes.contains(&node))
        };
        let overlap = |fault: &Fault| fault.to.min(to).since(fault.from.max(from));
        self.faults.iter().filter(strikes).map(overlap).sum()
    }

    /// The tolerance of timers against wall clocks, in microseconds; without end if clocks were
    /// struck.
    pub(crate) fn clock_tolerance_us(&self, contract: &Contract) -> u64 {
        if self
            .faults
            .iter()
            .any(|fault| fault.kind == FaultKind::Clock)
        {
            return u64::MAX;
        }
        contract.clock_tolerance_ms.max(1) * 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> SimTime {
        SimTime::from_secs(secs)
    }

    #[test]
    fn a_fault_disturbs_until_its_aftermath_is_over() {
        let mut trouble = Trouble::default();
        let fault = Fault {
            number: 0,
            kind: FaultKind::Flash,
            from: at(10),
            to: at(12),
            nodes: Vec::new(),
        };
        trouble.faults.push(fault);
        trouble.finish();
        assert!(!trouble.disturbed(at(0), at(9)));
        assert!(trouble.disturbed(at(0), at(10)));
        assert!(trouble.disturbed(at(16), at(20)));
        assert!(!trouble.disturbed(at(18), at(20)));
        assert_eq!(
            trouble.struck_us(NodeId(3), &[FaultKind::Flash], (at(11), at(20))),
            1_000_000
        );
    }

    #[test]
    fn a_change_of_one_group_leaves_others_calm() {
        let mut trouble = Trouble::default();
        trouble.note_change(GroupId(1), at(10));
        trouble.finish();
        assert!(trouble.calm(GroupId(0), at(9), at(11)));
        assert!(!trouble.calm(GroupId(1), at(9), at(11)));
        assert!(!trouble.calm(GroupId(1), at(13), at(14)), "shortly after");
        assert!(trouble.calm(GroupId(1), at(16), at(20)));
    }
}
