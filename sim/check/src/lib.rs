//! History format, invariants and verdicts: what happened in a run, what was promised, and whether
//! the promise was kept.
//!
//! Nothing here knows that a run was simulated: a [`history`] is a list of timed events by named
//! nodes, which anybody can record; a [`contract`] says what the run was configured to promise;
//! [`check`] turns both into a [`Report`]. All of it is pure and synchronous.

pub mod contract;
mod facts;
pub mod history;
pub mod invariant;
pub mod report;
mod stats;
#[cfg(test)]
mod story;
mod verdict;

pub use contract::Contract;
pub use history::{Event, History, Recorder, SimTime};
pub use invariant::InvariantId;
pub use report::{Report, Status, Verdict};
pub use verdict::check;
