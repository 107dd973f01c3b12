//! Pure codecs of Apache RocketMQ's remoting protocol and message formats.
//!
//! Nothing here does I/O, waits or keeps state: bytes and values in, values and bytes out. Input
//! may be hostile; every decoder returns an error instead of panicking, and needs memory in
//! proportion to its input or to the caller's limit.
//!
//! - [`frame`]: commands to bytes and back.
//! - [`code`]: request and response codes.
//! - [`mod@header`]: typed custom headers, carried in a command's [`ExtFields`].
//! - [`body`]: typed bodies in fastjson's dialect of JSON.
//! - [`message`]: messages, their properties, ids, the commit log record, batches, compression.
//! - [`acl`]: signatures of requests.
//! - [`allocate`]: how queues are shared.
//! - [`pop`]: receipts and the other texts of popped messages.
//! - [`java_properties`]: configuration as text.
//! - [`filter`], [`topic`]: what subscriptions and names mean.
//! - [`rules`]: what names and settings may be.
//! - [`date`]: times as texts.
//! - [`stats`]: how brokers count over time.

pub mod acl;
pub mod allocate;
pub mod body;
pub mod code;
pub mod command;
pub mod date;
pub mod fields;
pub mod filter;
pub mod frame;
pub mod hash;
pub mod header;
pub mod java_properties;
mod json;
pub mod message;
pub mod namespace;
pub mod pop;
pub mod rules;
pub mod stats;
pub mod topic;
pub mod version;

pub use code::{RequestCode, ResponseCode};
pub use command::{Language, RemotingCommand, SerializeType};
pub use fields::{ExtFields, Fields, Properties};
pub use header::{Header, HeaderError};
pub use message::{Message, MessageExt, MessageQueue};
