//! The figures that are looked up when somebody asks.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};

use hotfire_metrics::Labels;
use hotfire_metrics::prometheus_client::collector::Collector;
use hotfire_metrics::prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use hotfire_metrics::prometheus_client::metrics::gauge::ConstGauge;
use hotfire_protocol::body::ConsumeType;
use hotfire_protocol::topic::{
    TIMER_TOPIC, TRANS_CONSUMER_GROUP, TRANS_HALF_TOPIC, perm, retry_group,
};
use hotfire_protocol::version;

use super::labels::{flag, is_system};
use crate::client_info::ClientInfo;
use crate::state::State;

/// Looks the broker's figures up.
pub(super) struct Gauges {
    broker: Weak<State>,
}

impl fmt::Debug for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gauges").finish_non_exhaustive()
    }
}

/// Values of one figure, by their labels.
type Values = Vec<(Labels, i64)>;

impl Gauges {
    pub fn of(broker: &Arc<State>) -> Self {
        Self {
            broker: Arc::downgrade(broker),
        }
    }
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(broker) = self.broker.upgrade() else {
            return Ok(());
        };
        let mut gauge = |name: &str, help: &str, values: Values| {
            let mut first = None;
            for (labels, value) in &values {
                let metric = ConstGauge::new(*value);
                if first.is_none() {
                    first =
                        Some(encoder.encode_descriptor(name, help, None, metric.metric_type())?);
                }
                if let Some(family) = &mut first {
                    metric.encode(family.encode_family(labels)?)?;
                }
            }
            Ok::<_, fmt::Error>(())
        };
        for (name, help, value) in whole(&broker) {
            gauge(name, help, vec![(Labels::new(), value)])?;
        }
        for (name, help, values) in storage(&broker) {
            gauge(name, help, values)?;
        }
        gauge(
            "rocketmq_producer_connections",
            "Connections of producers",
            producers(&broker),
        )?;
        gauge(
            "rocketmq_consumer_connections",
            "Connections of consumers",
            consumers(&broker),
        )?;
        let waiting = broker.gate.lock().queued() as i64;
        let send = vec![("processor", "send".to_owned())];
        let pull = vec![("processor", "pull".to_owned())];
        let parked = broker.hold.lock().len() as i64;
        gauge(
            "rocketmq_processor_watermark",
            "Requests that wait: sends for the disk, pulls for messages",
            vec![(send, waiting), (pull, parked)],
        )?;
        for (name, help, values) in progress(&broker) {
            gauge(name, help, values)?;
        }
        gauge(
            "rocketmq_timing_messages",
            "Messages that wait for their time",
            timing(&broker),
        )
    }
}

/// The figures of the broker as a whole.
fn whole(broker: &State) -> Vec<(&'static str, &'static str, i64)> {
    let store = &broker.store;
    let half = store.max_offset_in_queue(TRANS_HALF_TOPIC, 0);
    let decided = broker
        .offsets
        .lock()
        .get(TRANS_CONSUMER_GROUP, TRANS_HALF_TOPIC, 0)
        .unwrap_or(0);
    let mut figures = vec![
        (
            "rocketmq_broker_permission",
            "What the broker permits: 4 to read, 2 to write",
            i64::from(broker.config().broker_permission),
        ),
        (
            "rocketmq_topic_number",
            "Topics",
            broker.topics.read().len() as i64,
        ),
        (
            "rocketmq_consumer_group_number",
            "Consumer groups",
            broker.groups.read().all().len() as i64,
        ),
        (
            "rocketmq_half_messages",
            "Half messages that the check has not passed yet",
            (half - decided).max(0),
        ),
        (
            "rocketmq_connections",
            "Connections of clients",
            broker.channels.lock().len() as i64,
        ),
    ];
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        let tasks = runtime.metrics().num_alive_tasks() as i64;
        figures.push(("rocketmq_tasks", "Tasks of the process", tasks));
    }
    if let Some(timers) = &broker.timers {
        let checkpoint = timers.checkpoint();
        let late = broker
            .env
            .now_ms()
            .saturating_sub(checkpoint.last_read_time_ms);
        let read = checkpoint.last_timer_queue_offset;
        let end = store.max_offset_in_queue(TIMER_TOPIC, 0);
        figures.push((
            "rocketmq_timer_enqueue_lag",
            "Messages for a time that are not on the wheel yet, as of its last flush",
            (end - read).max(0),
        ));
        figures.push((
            "rocketmq_timer_dequeue_latency",
            "Milliseconds that the wheel is behind, as of its last flush",
            late.max(0),
        ));
    }
    figures
}

/// The figures of the store.
fn storage(broker: &State) -> Vec<(&'static str, &'static str, Values)> {
    let store = &broker.store;
    let medium = |value| {
        let labels = vec![
            ("storage_type", "local".to_owned()),
            ("storage_medium", "disk".to_owned()),
        ];
        vec![(labels, value)]
    };
    let (start, end) = (store.min_phy_offset(), store.max_phy_offset());
    let earliest = store
        .look_message_by_offset(start)
        .map_or(0, |message| broker.env.now_ms() - message.store_timestamp);
    vec![
        (
            "rocketmq_storage_size",
            "Bytes of the commit log",
            medium(end - start),
        ),
        (
            "rocketmq_storage_flush_behind_bytes",
            "Bytes that are not on the disk yet",
            medium((end - store.flushed_where()).max(0)),
        ),
        (
            "rocketmq_storage_dispatch_behind_bytes",
            "Bytes that no consume queue has yet",
            medium(store.dispatch_behind_bytes()),
        ),
        (
            "rocketmq_storage_message_reserve_time",
            "Milliseconds since the oldest message was stored",
            medium(earliest.max(0)),
        ),
    ]
}

/// Counts clients by their language, their version and what else tells them apart.
fn count<'a>(clients: impl Iterator<Item = (Labels, &'a ClientInfo)>) -> Values {
    let mut counts: BTreeMap<Labels, i64> = BTreeMap::new();
    for (mut labels, client) in clients {
        let language = client.language.name().to_ascii_lowercase();
        labels.push(("language", language));
        labels.push(("version", version::name(client.version)));
        labels.push(("protocol_type", "remoting".to_owned()));
        *counts.entry(labels).or_default() += 1;
    }
    counts.into_iter().collect()
}

fn producers(broker: &State) -> Values {
    let producers = broker.producers.lock();
    let clients = producers.groups().flat_map(|(group, members)| {
        let labels = vec![("producer_group", group.to_owned())];
        members.values().map(move |client| (labels.clone(), client))
    });
    count(clients)
}

fn consumers(broker: &State) -> Values {
    let consumers = broker.consumers.lock();
    let clients = consumers.groups().flat_map(|(name, group)| {
        let mode = match group.consume_type {
            ConsumeType::Actively => "pull",
            ConsumeType::Passively => "push",
            ConsumeType::Pop => "pop",
        };
        let labels = vec![
            ("consumer_group", name.to_owned()),
            ("consume_mode", mode.to_owned()),
            ("is_system", flag(is_system("", name))),
        ];
        let members = group.members().values();
        members.map(move |client| (labels.clone(), client))
    });
    count(clients)
}

/// Where a group stands in a topic.
struct Standing {
    labels: Labels,
    /// Messages that are not committed.
    lag: i64,
    /// Milliseconds since the oldest of them was stored.
    lag_ms: i64,
    /// Messages that were given out and are not committed.
    in_flight: i64,
    /// Messages that were not given out.
    ready: i64,
    /// Milliseconds since the oldest of them was stored.
    ready_ms: i64,
}

/// Where each connected group stands in each topic that it subscribes to
/// (`ConsumerLagCalculator`).
fn progress(broker: &State) -> Vec<(&'static str, &'static str, Values)> {
    let subscribed: Vec<(String, String)> = {
        let consumers = broker.consumers.lock();
        let groups = consumers.groups();
        groups
            .flat_map(|(name, group)| {
                let topics = group.subscriptions().keys();
                topics.map(|topic| (name.to_owned(), topic.clone()))
            })
            .collect()
    };
    let standings: Vec<Standing> = subscribed
        .iter()
        .filter_map(|(group, topic)| standing(broker, group, topic))
        .collect();
    let values = |value: fn(&Standing) -> i64| {
        let of = |standing: &Standing| (standing.labels.clone(), value(standing));
        standings.iter().map(of).collect()
    };
    vec![
        (
            "rocketmq_consumer_lag_messages",
            "Messages that are not committed",
            values(|standing| standing.lag),
        ),
        (
            "rocketmq_consumer_lag_latency",
            "Milliseconds since the oldest message that is not committed was stored",
            values(|standing| standing.lag_ms),
        ),
        (
            "rocketmq_consumer_inflight_messages",
            "Messages that were given out and are not committed",
            values(|standing| standing.in_flight),
        ),
        (
            "rocketmq_consumer_ready_messages",
            "Messages that were not given out",
            values(|standing| standing.ready),
        ),
        (
            "rocketmq_consumer_queueing_latency",
            "Milliseconds since the oldest message that was not given out was stored",
            values(|standing| standing.ready_ms),
        ),
    ]
}

fn standing(broker: &State, group: &str, topic: &str) -> Option<Standing> {
    let queues = {
        let topics = broker.topics.read();
        let config = topics.get(topic)?;
        let usable = perm::is_readable(config.perm) || perm::is_writeable(config.perm);
        usable.then_some(config.write_queue_nums)?
    };
    let metrics = broker.metrics.as_ref()?;
    let (store, now_ms) = (&broker.store, broker.env.now_ms());
    let mut standing = Standing {
        labels: vec![
            ("consumer_group", group.to_owned()),
            ("topic", topic.to_owned()),
            ("is_retry", flag(retry_group(topic).is_some())),
            ("is_system", flag(is_system(topic, group))),
        ],
        lag: 0,
        lag_ms: 0,
        in_flight: 0,
        ready: 0,
        ready_ms: 0,
    };
    for queue_id in 0..queues {
        let end = store.max_offset_in_queue(topic, queue_id);
        let committed = broker.offsets.lock().get(group, topic, queue_id);
        let committed = committed.unwrap_or(end).clamp(0, end);
        let pulled = metrics.pulled(group, topic, queue_id);
        let pulled = pulled.unwrap_or(committed).clamp(committed, end);
        let age = |offset| {
            let stored = store.store_time_of(topic, queue_id, offset);
            stored.map_or(0, |stored| (now_ms - stored).max(0))
        };
        standing.lag += end - committed;
        standing.in_flight += pulled - committed;
        standing.ready += end - pulled;
        standing.lag_ms = standing.lag_ms.max(age(committed));
        standing.ready_ms = standing.ready_ms.max(age(pulled));
    }
    Some(standing)
}

/// How many messages wait for their time, by the topic that they are meant for.
fn timing(broker: &State) -> Values {
    let Some(timers) = &broker.timers else {
        return Values::new();
    };
    let counts = timers.metrics().timing_count;
    let value = |(topic, metric): (&String, &hotfire_protocol::body::TimerMetric)| {
        (vec![("topic", topic.clone())], metric.count.max(0))
    };
    counts.iter().map(value).collect()
}
