//! The simulated seams: what a process of the stack sees instead of an operating system.
//!
//! [`Universe`] is one run's shared state. turmoil owns the hosts, their clocks and the network that
//! carries bytes between them; on top of it stand a link layer that gives TCP what turmoil leaves out
//! ([`net`]), a disk that decides page by page what a power loss keeps ([`disk`]), and a spawner that
//! can freeze and kill the tasks of one process.
//!
//! A *logical node* is a process on a machine of its own: it has a name, an address, a wall clock, a
//! stream of randomness, a disk and faults. Several logical nodes may share one turmoil host; nothing
//! in the stack can tell.
//!
//! Invariants: there are no statics, so that runs cannot touch each other; every random draw depends
//! on the seed and on names and sequence numbers of what is drawn for, never on other draws; whatever
//! happens goes into the [`Trace`].

pub mod disk;
mod host;
pub mod net;
mod node;
mod spawner;
#[cfg(test)]
pub(crate) mod stage;
#[cfg(test)]
mod tests;
mod time;
mod trace;
mod universe;

pub use node::NodeId;
pub use trace::{Trace, TraceKind};
pub use universe::{HostId, Universe, UniverseConfig};
