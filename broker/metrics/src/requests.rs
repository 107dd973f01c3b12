//! How long requests take (`RemotingMetricsManager`).

use std::time::Duration;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::Labels;

/// The bounds of the times, in milliseconds.
const BOUNDS: [f64; 9] = [1.0, 3.0, 5.0, 7.0, 10.0, 100.0, 1_000.0, 2_000.0, 3_000.0];

/// The times from requests to their answers. What a server never answers is not among them.
#[derive(Debug, Clone)]
pub struct RequestTimes {
    latency: Family<Labels, Histogram, fn() -> Histogram>,
}

impl Default for RequestTimes {
    fn default() -> Self {
        Self {
            latency: Family::new_with_constructor(|| Histogram::new(BOUNDS)),
        }
    }
}

impl RequestTimes {
    /// A request was answered after this time, in which it waited for messages if `long_polling`.
    /// Codes are given by their names, in capitals; peers may invent codes, and labels must stay
    /// few, so those without a name share one label.
    pub fn answered(
        &self,
        request: Option<&'static str>,
        response: Option<&'static str>,
        long_polling: bool,
        took: Duration,
    ) {
        let name = |name: Option<&str>| name.unwrap_or("unknown").to_ascii_lowercase();
        let labels = vec![
            ("protocol_type", "remoting".to_owned()),
            ("request_code", name(request)),
            ("response_code", name(response)),
            ("is_long_polling", long_polling.to_string()),
            ("result", "success".to_owned()),
        ];
        let took = took.as_secs_f64() * 1_000.0;
        self.latency.get_or_create(&labels).observe(took);
    }

    /// Adds the times to a registry.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Milliseconds to an answer";
        registry.register("rocketmq_rpc_latency", help, self.latency.clone());
    }
}
