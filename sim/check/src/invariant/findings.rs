//! What a check finds while it goes through a history.

use indexmap::IndexMap;
use rustc_hash::FxBuildHasher;

use crate::report::{Evidence, InvariantReport, Legal, Status};

use super::InvariantId;

/// How many violations are reported with their evidence; the others are counted.
const KEPT: usize = 5;
/// Of how many violations the evidence is looked at, to find the shortest.
const CONSIDERED: u64 = 200;

/// Counts and evidence of one invariant.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    exercised: u64,
    violations: u64,
    evidence: Vec<Evidence>,
    legal: IndexMap<&'static str, (u64, Evidence), FxBuildHasher>,
    unknown: Option<String>,
}

impl Findings {
    /// The situation was met.
    pub(crate) fn exercise(&mut self) {
        self.exercised += 1;
    }

    /// The invariant is broken. `evidence` is called only while it may be wanted.
    pub(crate) fn violation(&mut self, evidence: impl FnOnce() -> Evidence) {
        self.violations += 1;
        if self.violations <= CONSIDERED {
            self.evidence.push(evidence());
        }
    }

    /// Something odd that is legal. `what` says why.
    pub(crate) fn legal(&mut self, what: &'static str, evidence: impl FnOnce() -> Evidence) {
        self.legal.entry(what).or_insert_with(|| (0, evidence())).0 += 1;
    }

    /// The run ended too early to tell.
    pub(crate) fn unknown(&mut self, why: String) {
        self.unknown = Some(why);
    }

    pub(crate) fn into_report(mut self, id: InvariantId) -> InvariantReport {
        self.evidence.sort_by(|a, b| {
            a.lines
                .len()
                .cmp(&b.lines.len())
                .then(a.at.total_cmp(&b.at))
        });
        self.evidence.truncate(KEPT);
        let status = match (self.violations, &self.unknown, self.exercised) {
            (1.., _, _) => Status::Violated,
            (0, Some(_), _) => Status::Unknown,
            (0, None, 0) => Status::NotExercised,
            (0, None, 1..) => Status::Holds,
        };
        let legal = self
            .legal
            .into_iter()
            .map(|(what, (count, example))| Legal {
                what: what.to_owned(),
                count,
                example,
            });
        InvariantReport {
            id,
            status,
            exercised: self.exercised,
            violations: self.violations,
            evidence: self.evidence,
            legal: legal.collect(),
            unknown: self.unknown,
        }
    }
}
