//! `hotfire admin` against `hotfire serve`, as administrators use it.

#![allow(clippy::unwrap_used, reason = "tests may panic")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests run the command as its users do, with files, processes and sockets"
)]

mod access;
mod commands;
mod options;
mod site;
mod tls;
