//! The message store of a broker: commit log, consume queues and recovery, in the file formats of
//! Apache RocketMQ 4.9 and 5.
//!
//! All messages of all topics go into one commit log, in the order of arrival. Behind the append,
//! *dispatch* builds from it a consume queue for every queue: a row of small units that say where
//! its messages are. Consumers read through the consume queues, so they see what is dispatched.
//!
//! Invariants:
//! - The commit log is the truth; everything else can be rebuilt from it, and comes out the same.
//! - The queue offsets of a queue have no gaps: an offset is used up only when its append succeeds.
//! - A message that was reported stored survives what its flush mode promises: with synchronous
//!   flush a power loss, else a crash of the process.
//! - With synchronous flush consumers see only what is flushed (see
//!   [`StoreConfig::read_uncommitted`]), so a power loss takes nothing back that was consumed.
//! - Whatever the files hold, opening them does not panic: it recovers what is valid, or says why
//!   not.

mod batch;
mod checkpoint;
mod cleaner;
mod commit_log;
mod config;
mod consume_queue;
mod cq_unit;
mod damage;
mod defects;
mod dispatch;
mod error;
mod flush;
mod get;
mod group_commit;
mod hole;
mod index;
mod mapped_files;
mod message;
mod observer;
mod open;
mod property_crc;
mod put;
mod query;
mod queue_facts;
mod queues;
mod record_view;
mod recovery;
mod repair;
mod resync;
mod state;
mod store;
mod timer;

pub use batch::IllegalBatch;
pub use checkpoint::Checkpoint;
pub use config::{FlushDiskType, StoreConfig};
pub use cq_unit::CqUnit;
pub use damage::DamageCounts;
pub use dispatch::Arrival;
pub use error::StoreError;
pub use get::{GetMessageResult, GetMessageStatus, MessageFilter};
pub use message::{AppendResult, MessageBatch, MessageInner, PutMessageStatus, PutResult};
pub use observer::StoreObserver;
pub use query::{Boundary, QueryResult};
pub use record_view::RecordView;
pub use state::NotWriteable;
pub use store::{ArrivalListener, MessageStore};
pub use timer::{
    TimerCheckpoint, TimerDistribution, TimerOwner, TimerPosition, TimerStore, TimerTotals,
};
