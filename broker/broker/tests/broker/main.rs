//! A broker over a network in memory, in time that can be paused: what its clients see.

mod admin;
mod clients;
mod delay;
mod golden;
mod offsets;
mod overload;
mod pull;
mod registration;
mod retry;
mod send;
mod support;
