//! Scenario files: TOML in, a validated [`Scenario`] or every problem of the file out.
//!
//! A file is read in one pass that never stops at the first mistake: a value that is wrong is
//! reported and read as absent. What the values mean together (a consumer of a topic that nobody
//! declared, a fault aimed at a node that does not exist) is checked wherever its parts were
//! readable. Every problem has a place, what is wrong, and what was probably meant.
//!
//! Invariants: no text makes the reader panic; a scenario that was read is consistent, so nobody
//! behind it checks again; every key is described in one place, with the default that the reader
//! uses.

mod accounts;
mod actions;
mod deliver;
mod expect;
pub mod fault;
mod faults;
mod filters;
mod groups;
mod keys;
mod kinds;
mod load;
mod model;
mod names;
mod problem;
mod read;
mod reference;
mod sheet;
#[cfg(test)]
mod tests;
mod topology;
mod units;

pub use fault::{Action, Fault, Links};
pub use model::*;
pub use problem::{Located, Problem, Refused};
pub use reference::reference;
pub use topology::{Node, ROLES, Role, broker_name, member_name, name_server_name};
pub use units::show as show_duration;

impl Scenario {
    /// Reads a scenario. `path` is where the text came from; it goes into messages and gives the
    /// scenario its name.
    ///
    /// # Errors
    /// Everything that is wrong with the file.
    pub fn parse(path: &str, text: &str) -> Result<Self, Refused> {
        read::scenario(path, text).map_err(|problems| Refused::new(path, text, problems))
    }
}
