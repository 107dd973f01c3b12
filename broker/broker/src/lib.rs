//! The broker: takes messages, keeps them in a [`hotfire_store::MessageStore`], and hands them out
//! to the members of consumer groups, as Apache RocketMQ 4.9.8 does on the wire.
//!
//! The decisions are plain structs that know no network and no clock: topics and groups, committed
//! offsets, the tables of clients, queue locks, parked pulls, delay levels, retries, the gate
//! before the disk, what becomes of half messages, what pops have hidden, who reads which queues.
//! Around them, request processors and a few periodic tasks move bytes and wait.
//!
//! Invariants:
//! - A send is answered with success only after the message is in the log and, with synchronous
//!   flush, on the disk.
//! - Every table has a lock of its own; no two are held at once, and none while waiting.
//! - Whatever a client sends, the worst that comes of it is an error response.
//!
//! Left out so far: replication, and of 5.x what is not named here: static topics, controllers, and
//! the proxy.

mod access;
mod acl;
mod broker;
mod client_info;
mod config;
mod config_file;
mod consumer_offset;
mod consumers;
mod delay;
mod filter;
mod forget;
mod groups;
mod limits;
mod load_balance;
mod membership;
mod metrics;
mod observer;
mod pop;
mod processor;
mod producers;
mod pull_hold;
mod rebalance_lock;
mod refusal;
mod registration;
mod resets;
mod retry;
mod schedule;
mod send_gate;
mod set_aside;
mod state;
mod stats;
mod table_files;
#[cfg(test)]
mod tests_support;
mod timer;
mod topics;
mod transaction;

pub use acl::AclError;
pub use broker::{Broker, BrokerError};
pub use config::{BrokerConfig, DEFAULT_PORT, PropertyError};
pub use delay::{BadDelay, DelayLevels};
pub use observer::BrokerObserver;
