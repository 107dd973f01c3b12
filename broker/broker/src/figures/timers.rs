//! The figures of messages for a time (`DefaultStoreMetricsManager`).

use std::collections::BTreeMap;

use hotfire_protocol::topic::TIMER_TOPIC;
use hotfire_store::{TimerStore, TimerTotals};

use super::gauges::{Figure, Values};
use crate::metrics::labels::stored;
use crate::state::State;
use hotfire_metrics::Labels;

/// By how many seconds the waiting messages are told apart (`TimerMetrics.timerDist`).
const BOUNDS_S: [i64; 8] = [5, 60, 300, 900, 3_600, 14_400, 28_800, 86_400];

/// How far the timers are, and what waits.
pub(super) fn figures(broker: &State) -> Vec<Figure> {
    let Some(timers) = &broker.timers else {
        return Vec::new();
    };
    let (store, now_ms) = (&broker.store, broker.env.now_ms());
    let position = timers.position();
    let lag = store.max_offset_in_queue(TIMER_TOPIC, 0) - position.queue_offset;
    let oldest = store.store_time_of(TIMER_TOPIC, 0, position.queue_offset);
    let enqueue_ms = match oldest.filter(|_| lag > 0) {
        Some(stored) => now_ms - stored,
        None => 0,
    };
    let dequeue_ms = match position.read_ms {
        // It was not looked at yet.
        0 => 0,
        read_ms => now_ms - read_ms,
    };
    let waiting = timers.distribution(now_ms, &BOUNDS_S.map(|seconds| seconds * 1_000));
    let one = |value: i64| vec![(stored(), value.max(0))];
    let within = BOUNDS_S.iter().zip(&waiting.within);
    let within = within.map(|(bound, &count)| {
        let mut labels = stored();
        labels.push(("timer_bound_s", bound.to_string()));
        (labels, count.max(0))
    });
    vec![
        (
            "rocketmq_timer_enqueue_lag",
            "Messages for a time that are not on the wheel yet",
            one(lag),
        ),
        (
            "rocketmq_timer_enqueue_latency",
            "Milliseconds since the oldest of them was stored",
            one(enqueue_ms),
        ),
        (
            "rocketmq_timer_dequeue_lag",
            "Messages on the wheel",
            one(waiting.all),
        ),
        (
            "rocketmq_timer_dequeue_latency",
            "Milliseconds that the wheel is behind the clock",
            one(dequeue_ms),
        ),
        (
            "rocketmq_timing_messages",
            "Messages that wait for their time",
            timing(timers),
        ),
        (
            "rocketmq_timer_message_snapshot",
            "Messages that wait no longer than so many seconds, and longer than the bound before",
            within.collect(),
        ),
    ]
}

fn of_topic(topic: &str) -> Labels {
    let mut labels = stored();
    labels.push(("topic", topic.to_owned()));
    labels
}

/// How many messages wait for their time, by the topic that they are meant for.
fn timing(timers: &TimerStore) -> Values {
    let counts = timers.metrics().timing_count;
    let value = |(topic, metric): (&String, &hotfire_protocol::body::TimerMetric)| {
        (of_topic(topic), metric.count.max(0))
    };
    counts.iter().map(value).collect()
}

/// A figure that only grows: its name, what it is, and its values by their labels.
pub(super) type Total = (&'static str, &'static str, Vec<(Labels, u64)>);

/// How many messages were taken onto the wheel and off it.
pub(super) fn totals(broker: &State) -> Vec<Total> {
    let Some(timers) = &broker.timers else {
        return Vec::new();
    };
    let totals: BTreeMap<String, TimerTotals> = timers.totals();
    let values = |value: fn(&TimerTotals) -> u64| {
        let totals = totals.iter();
        totals
            .map(|(topic, total)| (of_topic(topic), value(total)))
            .collect()
    };
    vec![
        (
            "rocketmq_timer_enqueue",
            "Messages taken onto the wheel",
            values(|totals| totals.enqueued),
        ),
        (
            "rocketmq_timer_dequeue",
            "Messages taken off the wheel",
            values(|totals| totals.dequeued),
        ),
    ]
}
