use hotfire_check::InvariantId;
use hotfire_check::report::{Evidence, InvariantReport, Latency, Status, Verdict};
use serde::Serialize;

use super::Run;

/// A run as one JSON object.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunJson {
    /// The scenario's short name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// `pass`, `fail` or `unknown`.
    pub verdict: Verdict,
    /// The hash over everything that happened, in hexadecimal: JSON numbers have fewer bits.
    pub trace_hash: String,
    /// How long the run was, in simulated seconds.
    pub simulated_seconds: f64,
    /// How long it took, in seconds.
    pub wall_seconds: f64,
    /// Send calls that ended ok.
    pub sent_ok: u64,
    /// Send calls that certainly did not store the message.
    pub sent_failed: u64,
    /// Send calls that may or may not have stored it.
    pub sent_unknown: u64,
    /// Listener calls for a message.
    pub delivered: u64,
    /// Those that the same group had seen before.
    pub duplicates: u64,
    /// From the call of send to the end of the first delivery.
    pub latency_ms: Latency,
    /// Every invariant.
    pub invariants: Vec<InvariantJson>,
}

/// One invariant of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InvariantJson {
    /// Its id.
    pub id: InvariantId,
    /// `holds`, `violated` or `not-exercised`.
    pub status: Status,
    /// How often the situation was met.
    pub exercised: u64,
    /// What shows a violation, the shortest first.
    pub evidence: Vec<Evidence>,
}

impl Run {
    /// The run as programs read it.
    pub fn json(&self) -> RunJson {
        let stats = &self.report.stats;
        RunJson {
            scenario: self.scenario.clone(),
            seed: self.seed,
            verdict: self.report.verdict,
            trace_hash: self.hash_text(),
            simulated_seconds: self.simulated.as_secs_f64(),
            wall_seconds: self.wall.as_secs_f64(),
            sent_ok: stats.sent_ok,
            sent_failed: stats.sent_failed,
            sent_unknown: stats.sent_unknown,
            delivered: stats.delivered,
            duplicates: stats.duplicates,
            latency_ms: stats.latency_ms,
            invariants: self
                .report
                .invariants
                .iter()
                .map(InvariantJson::from)
                .collect(),
        }
    }
}

impl From<&InvariantReport> for InvariantJson {
    fn from(report: &InvariantReport) -> Self {
        let status = match report.status {
            // A run that ended too early did not put the invariant to the test to the end.
            Status::Unknown => Status::NotExercised,
            status => status,
        };
        Self {
            id: report.id,
            status,
            exercised: report.exercised,
            evidence: report.evidence.clone(),
        }
    }
}
