//! Connections and RPC over the [`Network`](hotfire_env::Network) seam.
//!
//! A [`Server`] accepts connections and hands requests to a [`RequestHandler`]; a [`Client`] keeps
//! one connection per address and invokes through it. Either side may send requests on a
//! connection: a [`Channel`] is one end of it and looks the same from both.
//!
//! Each connection is driven by one task that reads, dispatches, writes and times out. Senders
//! encode into the connection's buffer and wake the task, which writes whatever has gathered in one
//! go; a handler that answers at once ([`Handled::Reply`]) costs neither a task nor a lock.
//!
//! Connections may be encrypted: a server that has [`ServerTls`] takes plain and encrypted ones on
//! one port, as its mode allows, and a client with a [`TlsConnector`] encrypts all of its own.
//!
//! Invariants:
//!
//! - a request gets at most one response, matched by its opaque on its own connection; a response
//!   that nobody waits for is logged and dropped;
//! - a one-way request is never answered;
//! - every invocation ends: with the response, at its timeout, or when the connection does;
//! - memory is bounded, for one connection ([`Limits`]) and for all of a server together
//!   ([`TotalLimits`]): a peer that does not read, or does not go on with its frame, is cut off;
//! - no connection holds up others: after a millisecond of work it waits for its next turn, and
//!   nothing of a request's body is looked at here;
//! - every connection that our side closes is logged with the reason, unless there are too many.

mod channel;
mod client;
mod connection;
mod credentials;
mod error;
mod handler;
mod hook;
mod limits;
mod pending;
mod server;
mod tls;
mod totals;

pub use channel::{Channel, ConnectionId};
pub use client::{Client, ClientConfig};
pub use credentials::SessionCredentials;
pub use error::RpcError;
pub use handler::{Handled, RequestHandler};
pub use hook::RequestHook;
pub use limits::{Limits, TotalLimits};
pub use server::{Server, ServerConfig};
pub use tls::{
    ClientAuth, ServerTls, Tls, TlsConnector, TlsError, TlsMode, TlsOptions, TlsSettings,
};
