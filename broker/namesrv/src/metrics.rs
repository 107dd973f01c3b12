//! What a name server tells of itself to Prometheus. Apache RocketMQ's name server has no metrics;
//! these are named as its broker would name them.

use std::fmt;
use std::sync::{Arc, Weak};

use hotfire_metrics::RequestTimes;
use hotfire_metrics::prometheus_client::collector::Collector;
use hotfire_metrics::prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use hotfire_metrics::prometheus_client::metrics::gauge::ConstGauge;
use hotfire_metrics::prometheus_client::registry::Registry;

use crate::processor::Processor;

/// How much a name server knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) clusters: i64,
    pub(crate) brokers: i64,
    pub(crate) topics: i64,
    pub(crate) connections: i64,
}

struct Gauges(Weak<Processor>);

impl fmt::Debug for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gauges").finish_non_exhaustive()
    }
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(server) = self.0.upgrade() else {
            return Ok(());
        };
        let figures = server.figures();
        for (name, help, value) in [
            ("rocketmq_cluster_number", "Clusters", figures.clusters),
            (
                "rocketmq_broker_number",
                "Addresses of brokers",
                figures.brokers,
            ),
            (
                "rocketmq_topic_number",
                "Topics with a route",
                figures.topics,
            ),
            ("rocketmq_connections", "Connections", figures.connections),
        ] {
            let gauge = ConstGauge::new(value);
            let encoder = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(encoder)?;
        }
        Ok(())
    }
}

/// The registry of a name server.
pub(crate) fn registry(server: &Arc<Processor>, requests: &RequestTimes) -> Registry {
    let labels = [("node_type".into(), "nameserver".into())];
    let mut registry = Registry::with_labels(labels.into_iter());
    requests.register(&mut registry);
    registry.register_collector(Box::new(Gauges(Arc::downgrade(server))));
    registry
}
