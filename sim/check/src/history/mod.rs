//! What was observed in a run: a compact, append-only log of timed events.
//!
//! Black-box events are what a client could see for itself (sends, pulls, deliveries, commits);
//! white-box events come from inside a broker (appends, the offset table, recovery); operator
//! events say what was done to the system (faults, phases). Names are interned, so an event is a
//! few words.
//!
//! Invariants:
//! - a [`History`] is sorted by (time, node, order of recording);
//! - every send operation ends at most once, as ok, failed (certainly not stored) or unknown;
//! - every delivery finishes at most once, and a member has at most one acknowledgement of it under
//!   way.

mod event;
mod jsonl;
mod line;
mod names;
mod recorder;

pub use event::{
    CallOutcome, Event, FaultKind, How, Order, Outcome, Phase, QueryBy, SendKind, SimTime,
    TransactionState, Value,
};
pub use jsonl::ReadError;
pub use names::{
    BrokerId, DeliveryId, GroupId, Names, NodeId, NodesId, OpId, Queue, QueueRef, TextId, TopicId,
};
pub use recorder::{History, Meta, Record, Recorder};
