//! Metrics in Prometheus text format, on a port of their own.
//!
//! Whoever has figures registers them with a `prometheus_client` registry: counters and histograms
//! that are moved as things happen, and collectors that look when somebody asks. An [`Exporter`]
//! hands the registry out over HTTP, at any path, to whoever connects, as Java's exporter does:
//! whoever may not see the figures must not reach the port.
//!
//! Nothing here knows of brokers. Names and labels are those of Apache RocketMQ 5
//! (`BrokerMetricsConstant`, `DefaultStoreMetricsConstant`, `RemotingMetricsConstant`) where it has
//! them; each crate keeps its own.

mod exporter;
mod options;
mod requests;

pub use exporter::Exporter;
pub use options::{MetricsExporterType, MetricsOptions};
pub use prometheus_client;
pub use requests::RequestTimes;

/// Names and values that tell figures of one name apart.
pub type Labels = Vec<(&'static str, String)>;
