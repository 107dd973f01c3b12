//! The result of a check, as people and programs read it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::invariant::InvariantId;

/// The verdict on a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Everything that had to hold was put to the test and held.
    Pass,
    /// Nothing is known to be violated, but something that had to hold was not put to the test, or
    /// the run ended too early to tell.
    Unknown,
    /// An invariant is violated.
    Fail,
}

impl Verdict {
    /// `pass`, `unknown` or `fail`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Unknown => "unknown",
            Self::Fail => "fail",
        }
    }

    /// The exit code of a command with this verdict: 0, 2 or 1.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Unknown => 2,
            Self::Fail => 1,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What became of one invariant in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The situation was met, and the invariant held every time.
    Holds,
    /// It was broken at least once.
    Violated,
    /// The run never met the situation.
    NotExercised,
    /// The run ended too early to tell.
    Unknown,
}

impl Status {
    /// `holds`, `violated`, `not-exercised` or `unknown`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Violated => "violated",
            Self::NotExercised => "not-exercised",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One finding, with the events that show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// What happened, in one sentence.
    pub summary: String,
    /// The message in question.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub value: Option<u64>,
    /// When it showed, in seconds since the start of the run.
    pub at: f64,
    /// The events that prove it, one readable line each, in order of time.
    pub lines: Vec<String>,
}

/// Something odd that was never promised: counted, not a violation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Legal {
    /// What it is and why it is legal.
    pub what: String,
    /// How often it was met.
    pub count: u64,
    /// The first one.
    pub example: Evidence,
}

/// What the check says of one invariant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InvariantReport {
    /// The invariant.
    pub id: InvariantId,
    /// What became of it.
    pub status: Status,
    /// How often the situation was met; 0 means that nothing was put to the test.
    pub exercised: u64,
    /// How often it was broken.
    pub violations: u64,
    /// The shortest evidence of a few violations.
    pub evidence: Vec<Evidence>,
    /// What is odd but legal under the contract.
    pub legal: Vec<Legal>,
    /// Why the status is unknown.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unknown: Option<String>,
}

/// Latencies in milliseconds, from the call of `send` to the end of the first delivery.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Latency {
    /// Half are faster.
    pub p50: f64,
    /// 99 of 100 are faster.
    pub p99: f64,
    /// 999 of 1000 are faster.
    pub p999: f64,
    /// The slowest.
    pub max: f64,
}

/// Figures of a run.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Stats {
    /// Send calls that ended ok.
    pub sent_ok: u64,
    /// Send calls that certainly did not store the message.
    pub sent_failed: u64,
    /// Send calls that may or may not have stored it, calls that never ended included.
    pub sent_unknown: u64,
    /// Listener calls for a message.
    pub delivered: u64,
    /// Listener calls for a message that the same group (or broadcasting member) had seen before.
    pub duplicates: u64,
    /// Of the duplicates, those that followed a failed consumption: the retries that were asked
    /// for.
    pub retries: u64,
    /// Messages of unknown fate that were delivered after all.
    pub recovered: u64,
    /// Acknowledged messages that are gone, as the contract allows.
    pub lost_legal: u64,
    /// From `send` to the end of the first delivery.
    pub latency_ms: Latency,
}

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The verdict.
    pub verdict: Verdict,
    /// Why the verdict is not a pass, one reason per line; empty on a pass.
    pub reasons: Vec<String>,
    /// Every invariant, in the order of their list.
    pub invariants: Vec<InvariantReport>,
    /// Figures.
    pub stats: Stats,
}

impl Report {
    /// What the check says of one invariant.
    pub fn invariant(&self, id: InvariantId) -> Option<&InvariantReport> {
        self.invariants.iter().find(|report| report.id == id)
    }

    /// The shortest evidence of the first violated invariant that decides the verdict.
    pub fn first_evidence(&self) -> Option<(InvariantId, &Evidence)> {
        self.invariants
            .iter()
            .filter(|report| report.status == Status::Violated)
            .find_map(|report| {
                report
                    .evidence
                    .first()
                    .map(|evidence| (report.id, evidence))
            })
    }
}
