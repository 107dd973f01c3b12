//! The figures that are looked up when somebody asks.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};

use hotfire_metrics::Labels;
use hotfire_metrics::prometheus_client::collector::Collector;
use hotfire_metrics::prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use hotfire_metrics::prometheus_client::metrics::counter::ConstCounter;
use hotfire_metrics::prometheus_client::metrics::gauge::ConstGauge;
use hotfire_protocol::body::ConsumeType;
use hotfire_protocol::topic::{TRANS_CONSUMER_GROUP, TRANS_HALF_TOPIC};
use hotfire_protocol::version;

use super::{pop, progress, timers};
use crate::client_info::ClientInfo;
use crate::metrics::labels::{flag, is_system, stored};
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
pub(super) type Values = Vec<(Labels, i64)>;
/// A figure: its name, what it is, and its values.
pub(super) type Figure = (&'static str, &'static str, Values);

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
            let values = values.into_iter();
            let gauges = values.map(|(labels, value)| (labels, ConstGauge::new(value)));
            family(&mut encoder, name, help, gauges)
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
        let moving = [progress::figures, pop::figures, timers::figures];
        for (name, help, values) in moving.iter().flat_map(|figures| figures(&broker)) {
            gauge(name, help, values)?;
        }
        let set_aside = broker.set_aside.counts().into_iter();
        let set_aside = set_aside.map(|(line, reason, count)| {
            let labels = vec![
                ("line", line.name().to_owned()),
                ("reason", reason.to_owned()),
            ];
            (labels, ConstCounter::new(count))
        });
        family(
            &mut encoder,
            "rocketmq_set_aside_messages",
            "Messages that could never be delivered and were set aside",
            set_aside,
        )?;
        for (name, help, values) in timers::totals(&broker) {
            let values = values.into_iter();
            let counters = values.map(|(labels, value)| (labels, ConstCounter::new(value)));
            family(&mut encoder, name, help, counters)?;
        }
        Ok(())
    }
}

/// Writes one figure with all its values; one without values is left out.
fn family<M: EncodeMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (Labels, M)>,
) -> fmt::Result {
    let mut first = None;
    for (labels, metric) in values {
        if first.is_none() {
            first = Some(encoder.encode_descriptor(name, help, None, metric.metric_type())?);
        }
        if let Some(family) = &mut first {
            metric.encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
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
    figures
}

/// The figures of the store.
fn storage(broker: &State) -> Vec<Figure> {
    let store = &broker.store;
    let medium = |value| vec![(stored(), value)];
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
