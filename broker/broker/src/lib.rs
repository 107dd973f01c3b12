//! The broker: takes messages, keeps them in a [`hotfire_store::MessageStore`], and hands them out
//! to the members of consumer groups, as Apache RocketMQ 4.9.8 does on the wire.
//!
//! The decisions are plain structs that know no network and no clock: topics and groups, committed
//! offsets, the tables of clients, queue locks, parked pulls, delay levels, retries, the gate
//! before the disk, what becomes of half messages, what pops have hidden, who reads which queues.
//! Around them, request processors and a few periodic tasks move bytes and wait.
//!
//! What is below knows nothing of what is above, in these layers:
//!
//! 1. tables: plain structs behind locks of their own, that know no network and no clock;
//! 2. `State`: names the tables, and what all of them share;
//! 3. services, which act on it: lines that are worked off, files that are written, registration,
//!    access, figures for metrics;
//! 4. request processors, and the one table of request codes;
//! 5. `Broker`: start and stop.
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
mod figures;
mod filter;
mod forget;
mod groups;
#[cfg(test)]
mod layers;
mod limits;
mod load_balance;
mod membership;
mod metrics;
mod observer;
mod pop;
mod pop_service;
mod processor;
mod producers;
mod pull_hold;
mod rebalance_lock;
mod refusal;
mod registration;
mod resets;
mod retry;
mod route_refresh;
mod schedule;
mod send_gate;
mod set_aside;
mod setting_aside;
mod state;
mod stats;
mod table_files;
mod table_writer;
#[cfg(test)]
mod tests_support;
mod timer;
mod topics;
mod transaction;
mod waiting;

pub use acl::AclError;
pub use broker::{Broker, BrokerError};
pub use config::{BrokerConfig, DEFAULT_PORT, PropertyError};
pub use delay::{BadDelay, DelayLevels};
pub use observer::BrokerObserver;
