//! The check against whole runs of a little queue system: correct runs break nothing, and runs with
//! one thing wrong break what they should.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

mod model;
mod mutations;
mod soundness;
