//! What a finished run looks like: for programs ([`Run::json`]) and for people ([`summary`],
//! [`details`]).
//!
//! Nothing here prints, colours or measures; a run that is given is a text that comes out.

mod expectations;
mod json;
#[cfg(test)]
mod tests;
mod text;

use std::time::Duration;

pub use expectations::{apply, not_drained};
pub use json::RunJson;
pub use text::{details, summary, thousands};

/// A finished run of one scenario with one seed.
#[derive(Debug, Clone)]
pub struct Run {
    /// The scenario's file, as the user named it.
    pub path: String,
    /// The scenario's short name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// The invariants whose violations are only counted.
    pub counted: Vec<hotfire_check::InvariantId>,
    /// What the check says, with the scenario's own expectations applied.
    pub report: hotfire_check::report::Report,
    /// The hash over everything that happened.
    pub trace_hash: u64,
    /// How long the run was, in simulated time.
    pub simulated: Duration,
    /// How long it took.
    pub wall: Duration,
}

impl Run {
    /// The command that runs it again.
    pub fn replay(&self) -> String {
        replay(&self.path, self.seed)
    }

    /// The hash as it is shown: sixteen hexadecimal digits.
    pub fn hash_text(&self) -> String {
        format!("{:016x}", self.trace_hash)
    }
}

/// The command that runs a scenario with a seed.
pub fn replay(path: &str, seed: u64) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c);
    if !path.is_empty() && path.chars().all(plain) {
        format!("hotfire run {path} --seed {seed}")
    } else {
        format!(
            "hotfire run '{}' --seed {seed}",
            path.replace('\'', "'\\''")
        )
    }
}
