//! What a broker tells of itself to Prometheus, under the names of Apache RocketMQ 5
//! (`BrokerMetricsManager`, `DefaultStoreMetricsManager`, `RemotingMetricsManager`).
//!
//! Counters and histograms are moved as things happen; gauges are looked up when somebody asks
//! ([`crate::figures`]). Without an exporter there is nothing of this.
//!
//! Left out of what Java has: latencies of creating topics and groups, RocksDB, the cold-data and
//! the pop buffer's own figures, and push through OpenTelemetry. Latencies are in milliseconds, as
//! Java says of all of them, though it tells that of the timer wheel in seconds.

pub(crate) mod labels;
mod pop;
mod series;

use std::time::Duration;

use hotfire_metrics::prometheus_client::metrics::counter::Counter;
use hotfire_metrics::prometheus_client::metrics::family::Family;
use hotfire_metrics::prometheus_client::metrics::histogram::Histogram;
use hotfire_metrics::prometheus_client::registry::Registry;
use hotfire_metrics::{Labels, RequestTimes};
use hotfire_protocol::{RequestCode, ResponseCode};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use hotfire_protocol::topic::retry_group;
pub(crate) use labels::MessageType;
pub(crate) use pop::{PopCounters, PopRecord};
use series::Series;

type Counters = Family<Labels, Counter>;
type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// Where a group stands in the queues that it has pulled.
type Pulled = FxHashMap<(String, String, i32), i64>;

/// The figures that are moved as things happen.
pub(crate) struct Metrics {
    messages_in: Counters,
    throughput_in: Counters,
    message_size: Histograms,
    messages_out: Counters,
    throughput_out: Counters,
    sent_to_dlq: Counters,
    committed: Counters,
    rolled_back: Counters,
    finish_latency: Histograms,
    wait: Histograms,
    pub pop: PopCounters,
    requests: RequestTimes,
    /// The next offset that a group has not been given yet.
    pulled: Mutex<Pulled>,
    series: Series,
}

/// Sizes in bytes (`BrokerMetricsManager.initMetricsView`).
fn sizes() -> Histogram {
    const KIB: f64 = 1024.0;
    Histogram::new([
        KIB,
        4.0 * KIB,
        512.0 * KIB,
        1024.0 * KIB,
        2048.0 * KIB,
        4096.0 * KIB,
    ])
}

/// Times between a half message and its end, in milliseconds.
fn transaction_times() -> Histogram {
    const MINUTE: f64 = 60_000.0;
    Histogram::new([
        5_000.0,
        MINUTE,
        10.0 * MINUTE,
        60.0 * MINUTE,
        720.0 * MINUTE,
        1440.0 * MINUTE,
    ])
}

/// How long messages are to wait for their time, in seconds
/// (`DefaultStoreMetricsManager.getMetricsView`).
fn waits() -> Histogram {
    const HOUR: f64 = 3_600.0;
    Histogram::new([60.0, 600.0, HOUR, 12.0 * HOUR, 24.0 * HOUR, 72.0 * HOUR])
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        Self {
            messages_in: Counters::default(),
            throughput_in: Counters::default(),
            message_size: Histograms::new_with_constructor(sizes),
            messages_out: Counters::default(),
            throughput_out: Counters::default(),
            sent_to_dlq: Counters::default(),
            committed: Counters::default(),
            rolled_back: Counters::default(),
            finish_latency: Histograms::new_with_constructor(transaction_times),
            wait: Histograms::new_with_constructor(waits),
            pop: PopCounters::default(),
            requests: RequestTimes::default(),
            pulled: Mutex::default(),
            series: Series::default(),
        }
    }

    /// A producer's messages were stored.
    pub fn put(&self, topic: &str, kind: MessageType, messages: u64, bytes: u64) {
        let labels = labels::sent(topic, kind);
        self.series.note(&self.messages_in, &labels);
        self.messages_in.get_or_create(&labels).inc_by(messages);
        self.series.note(&self.throughput_in, &labels);
        self.throughput_in.get_or_create(&labels).inc_by(bytes);
        let size = bytes / messages.max(1);
        let labels = labels::sized(topic, kind);
        self.series.note(&self.message_size, &labels);
        self.message_size
            .get_or_create(&labels)
            .observe(size as f64);
    }

    /// A group was given messages of a queue, and may go on at `next`.
    pub fn got(
        &self,
        group: &str,
        topic: &str,
        queue_id: i32,
        next: i64,
        (messages, bytes): (u64, u64),
    ) {
        let key = (group.to_owned(), topic.to_owned(), queue_id);
        self.pulled.lock().insert(key, next);
        if messages > 0 {
            let retried = retry_group(topic).is_some();
            self.gave(group, topic, retried, (messages, bytes));
        }
    }

    /// A group was given messages of a topic, or of its retry topic for it.
    pub fn gave(&self, group: &str, topic: &str, retried: bool, (messages, bytes): (u64, u64)) {
        let labels = labels::received(group, topic, retried);
        self.series.note(&self.messages_out, &labels);
        self.messages_out.get_or_create(&labels).inc_by(messages);
        self.series.note(&self.throughput_out, &labels);
        self.throughput_out.get_or_create(&labels).inc_by(bytes);
    }

    /// A message of this topic is to wait for its time, for so long from when it was made.
    pub fn timed(&self, topic: &str, wait_ms: i64) {
        let mut labels = labels::stored();
        labels.push(("topic", topic.to_owned()));
        let seconds = (wait_ms / 1_000) as f64;
        self.series.note(&self.wait, &labels);
        self.wait.get_or_create(&labels).observe(seconds);
    }

    /// A group's message became a dead letter.
    pub fn dead_letter(&self, group: &str, topic: &str) {
        let labels = labels::received(group, topic, retry_group(topic).is_some());
        self.series.note(&self.sent_to_dlq, &labels);
        self.sent_to_dlq.get_or_create(&labels).inc();
    }

    /// A transaction of a message of this topic ended, so long after its half message was stored.
    pub fn transaction_ended(&self, topic: &str, committed: bool, took: Duration) {
        let labels = vec![("topic", topic.to_owned())];
        let counters = if committed {
            let took = took.as_millis() as f64;
            self.series.note(&self.finish_latency, &labels);
            self.finish_latency.get_or_create(&labels).observe(took);
            &self.committed
        } else {
            &self.rolled_back
        };
        self.series.note(counters, &labels);
        counters.get_or_create(&labels).inc();
    }

    /// A request was answered; if `long_polling`, after it had waited for messages.
    pub fn answered(&self, request: i32, response: i32, long_polling: bool, took: Duration) {
        let (request, response) = (RequestCode(request), ResponseCode(response));
        self.requests
            .answered(request.name(), response.name(), long_polling, took);
    }

    /// Ends the series of topics and groups that are gone.
    pub fn forget(&self, gone: impl Fn(&str, &str) -> bool) {
        for labels in self.series.take(&gone) {
            for counters in [
                &self.messages_in,
                &self.throughput_in,
                &self.messages_out,
                &self.throughput_out,
                &self.sent_to_dlq,
                &self.committed,
                &self.rolled_back,
            ] {
                counters.remove(&labels);
            }
            for histograms in [&self.message_size, &self.finish_latency, &self.wait] {
                histograms.remove(&labels);
            }
        }
        self.pop.forget(&gone);
        self.pulled
            .lock()
            .retain(|(group, topic, _), _| !gone(topic, group));
    }

    /// The next offset that a group has not been given yet.
    pub fn pulled(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        let key = (group.to_owned(), topic.to_owned(), queue_id);
        self.pulled.lock().get(&key).copied()
    }

    /// Has a registry hand them out.
    pub fn register(&self, registry: &mut Registry) {
        let counters = [
            ("rocketmq_messages_in", "Messages stored", &self.messages_in),
            (
                "rocketmq_throughput_in",
                "Bytes of messages stored",
                &self.throughput_in,
            ),
            (
                "rocketmq_messages_out",
                "Messages given to groups",
                &self.messages_out,
            ),
            (
                "rocketmq_throughput_out",
                "Bytes given to groups",
                &self.throughput_out,
            ),
            (
                "rocketmq_send_to_dlq_messages",
                "Dead letters",
                &self.sent_to_dlq,
            ),
            (
                "rocketmq_commit_messages",
                "Transactions committed",
                &self.committed,
            ),
            (
                "rocketmq_rollback_messages",
                "Transactions rolled back",
                &self.rolled_back,
            ),
        ];
        for (name, help, family) in counters {
            registry.register(name, help, family.clone());
        }
        let histograms = [
            (
                "rocketmq_message_size",
                "Bytes of one message",
                &self.message_size,
            ),
            (
                "rocketmq_finish_message_latency",
                "Milliseconds from a half message to its commit",
                &self.finish_latency,
            ),
            (
                "rocketmq_delay_message_latency",
                "Seconds that messages are to wait for their time",
                &self.wait,
            ),
        ];
        for (name, help, family) in histograms {
            registry.register(name, help, family.clone());
        }
        self.pop.register(registry);
        self.requests.register(registry);
    }
}
