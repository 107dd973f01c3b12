//! How many messages wait for their time.

use std::collections::BTreeMap;

use super::{DataVersion, body, json_methods};

body! {
    /// The messages for a time that wait at a broker (`TimerMetricsSerializeWrapper`,
    /// `timermetrics`).
    #[derive(Default, Eq)]
    pub struct TimerMetrics {
        /// Their version.
        data_version: DataVersion = "dataVersion",
        /// Their numbers, by the topics that they are meant for.
        timing_count: BTreeMap<String, TimerMetric> = "timingCount",
    }

    /// The messages that wait for one topic (`TimerMetrics.Metric`).
    #[derive(Default, Eq, Copy)]
    pub struct TimerMetric {
        /// The number of messages; wishes to drop one count as one less.
        count: i64 = "count",
        /// When it last changed, in milliseconds since the epoch.
        time_stamp: i64 = "timeStamp",
    }
}

json_methods!(TimerMetrics);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_is_that_of_the_java_class() {
        let json = br#"{"dataVersion":{"counter":2,"timestamp":7},"timingCount":{"orders":{"count":3,"timeStamp":9}}}"#;
        let metrics = TimerMetrics::from_json(json).unwrap();
        assert_eq!(metrics.timing_count["orders"].count, 3);
        assert_eq!(metrics.to_json(), json);
    }
}
