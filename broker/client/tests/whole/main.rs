//! Clients against a real name server and real brokers, over a network in memory and in time that
//! can be paused.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod admin;
mod batch;
mod filter;
mod groups;
mod looking_back;
mod messages;
mod namespace;
mod readers;
mod request;
mod retry;
mod sharing;
mod simple;
mod stack;
mod tags;
mod timer;
mod trace;
mod transactions;
