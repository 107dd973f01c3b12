//! A broker over a network in memory, in time that can be paused: what its clients see.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod acl;
mod admin;
mod admin_figures;
mod assignment;
mod clients;
#[cfg(feature = "defects")]
mod defects;
mod delay;
mod deletion;
mod filter;
mod golden;
mod golden_admin;
mod hostile_clients;
mod limits;
mod metrics;
mod offsets;
mod overload;
mod pop;
mod pull;
mod recall;
mod registration;
mod reply;
mod resets;
mod retry;
mod rules;
mod send;
mod settings;
mod support;
mod table_files;
mod timer;
mod transactions;
