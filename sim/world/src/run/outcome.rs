use std::time::Duration;

use hotfire_check::History;
use hotfire_check::history::Phase;
use hotfire_check::report::Report;

/// What a run leaves.
#[derive(Debug)]
pub struct Outcome {
    /// The verdict, with the scenario's own expectations applied.
    pub report: Report,
    /// What happened.
    pub history: History,
    /// The hash over everything that happened.
    pub trace_hash: u64,
    /// How long it was, in simulated time.
    pub simulated: Duration,
}

/// How far a run is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// What it is doing.
    pub phase: Phase,
    /// How far it is, in simulated time.
    pub simulated: Duration,
    /// How long it takes at most: the load phase, or that and the drain budget.
    pub of: Duration,
    /// Messages whose sending has ended.
    pub sent: u64,
    /// Messages that reached a listener.
    pub delivered: u64,
}
