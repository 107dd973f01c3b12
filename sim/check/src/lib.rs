//! History format, invariants and verdicts: what happened in a run, what was promised, and whether the
//! promise was kept.
//!
//! Nothing here knows that a run was simulated: a [`history`] is a list of timed events by named nodes,
//! which anybody can record. All of it is pure and synchronous.

pub mod history;

pub use history::{Event, History, Recorder, SimTime};
