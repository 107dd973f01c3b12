//! Counters over the last minute, hour and day, as brokers and consumers keep them (`StatsItem`).
//!
//! Java takes samples of its counters with timers. Here the samples that a timer would have taken
//! are filled in whenever a counter is touched or read, so the figures are the same, and an idle
//! program does nothing.

mod item;
mod samples;

pub use item::StatsItem;
pub use samples::Samples;
