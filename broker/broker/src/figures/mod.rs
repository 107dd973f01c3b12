//! What is looked up when somebody asks for the broker's metrics.

mod gauges;
mod pop;
mod progress;
mod timers;

use std::sync::Arc;

use hotfire_metrics::prometheus_client::registry::Registry;

use crate::metrics::Metrics;
use crate::state::State;

/// The registry of a broker that has metrics.
pub(crate) fn registry(broker: &Arc<State>, metrics: &Metrics) -> Registry {
    let config = broker.config();
    let labels = [
        ("cluster", config.broker_cluster_name.clone()),
        ("node_type", "broker".to_owned()),
        ("node_id", config.broker_name.clone()),
    ];
    let labels = labels.map(|(name, value)| (name.into(), value.into()));
    let mut registry = Registry::with_labels(labels.into_iter());
    metrics.register(&mut registry);
    registry.register_collector(Box::new(gauges::Gauges::of(broker)));
    registry
}
