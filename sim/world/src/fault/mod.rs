//! Faults at work: what a scenario says goes wrong, done to a [`Universe`](crate::seams::Universe).
//!
//! The vocabulary is [`scenario::fault`](crate::scenario::fault). The [`Nemesis`] is told the time
//! between two steps of the simulation, does what is due, and reports every [`Incident`], so that the
//! history records what happened and whoever runs the processes starts and stops them.
//!
//! Invariants: faults are data, so that taking one away changes nothing about the others; whatever was
//! begun is ended, at its time or by [`Nemesis::heal`].

mod frames;
mod nemesis;

pub use nemesis::{Incident, Nemesis, kind, nodes};
