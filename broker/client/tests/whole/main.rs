//! Clients against a real name server and real brokers, over a network in memory and in time that
//! can be paused.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod admin;
mod batch;
mod filter;
mod looking_back;
mod namespace;
mod request;
mod simple;
mod stack;
mod timer;
mod trace;
mod transactions;
