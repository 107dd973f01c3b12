//! Pop consumption (`PopMetricsManager`).

use hotfire_metrics::Labels;

use super::gauges::Figure;
use crate::pop_service::ReviveLag;
use crate::state::State;

/// How far pop consumption is at the moment.
pub(super) fn figures(broker: &State) -> Vec<Figure> {
    let lags = broker.revive_lags();
    let of_queues = |value: fn(&ReviveLag) -> i64| {
        let lags = lags.iter();
        let labels = |queue_id: i32| vec![("queue_id", queue_id.to_string())];
        lags.map(|lag| (labels(lag.queue_id), value(lag))).collect()
    };
    let waiting = broker.pop.offsets.lock().waiting() as i64;
    vec![
        (
            "rocketmq_pop_offset_buffer_size",
            "Pops whose offsets wait for their check points to be on disk",
            vec![(Labels::new(), waiting)],
        ),
        (
            "rocketmq_pop_revive_lag",
            "Records of the revive topic that are to be dealt with",
            of_queues(|lag| lag.records),
        ),
        (
            "rocketmq_pop_revive_latency",
            "Milliseconds that the oldest check point is due and not dealt with",
            of_queues(|lag| lag.late_ms),
        ),
    ]
}
