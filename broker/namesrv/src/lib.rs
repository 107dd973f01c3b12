//! The name server: which brokers there are, and which queues of which topics they have.
//!
//! Brokers register with every name server and repeat it every 30 seconds; clients ask for the
//! route of a topic. Name servers keep all of that in memory and know nothing of each other. Only
//! the key and value configuration is on disk.
//!
//! The behaviour is that of Apache RocketMQ 4.9.8 (`RouteInfoManager`, `DefaultRequestProcessor`,
//! `KVConfigManager`); fields that only 5.x sends are accepted and ignored. Where it departs from
//! 4.9.8, the item in question says so. Requests may be signed; nobody looks, as in 4.9, unless
//! `authenticationEnabled` says so, as in 5.x. Left out: the cluster-test mode that forwards unknown
//! topics to a product environment, and zones, acting masters and static topics of 5.x.
//!
//! - [`RouteInfoManager`] decides; it is a plain struct that is given the time and what happened.
//! - [`KvConfigManager`] holds the key and value configuration.
//! - [`NameServer`] carries requests to them over connections.
//!
//! Invariants:
//!
//! - a broker group is in the cluster table exactly if it has an address, and has queues only then;
//! - a registration ends by an unregistration, by the end of its connection or by expiry, whichever
//!   comes first, and none of them ends a newer registration of the same broker;
//! - who comes and goes under the name or address of a broker that is there takes nothing along;
//! - what is answered with success is on the disk;
//! - tables have limits, and what lists them fits into a frame;
//! - a request with an unknown code is never answered.

mod config;
mod kv;
mod metrics;
mod processor;
mod route;
mod server;

pub use config::NamesrvConfig;
pub use kv::{KV_CONFIG_MAX, KvConfigManager, KvFullError, NAMESPACE_ORDER_TOPIC_CONFIG};
pub use route::{
    BROKER_CHANNEL_EXPIRED_TIME, BROKERS_MAX, BROKERS_PER_CONNECTION_MAX, Begun, Expired,
    FullError, Registered, Registration, RouteInfoManager, TOPIC_NAMES_MAX, TOPICS_MAX,
};
pub use server::{NameServer, NamesrvError};
