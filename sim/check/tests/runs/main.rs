//! The check against whole runs of a little queue system: correct runs break nothing, and runs with one
//! thing wrong break what they should.

mod model;
mod mutations;
mod soundness;
