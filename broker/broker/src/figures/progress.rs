//! How far groups are (`ConsumerLagCalculator`).

use std::slice::from_ref;

use hotfire_metrics::Labels;
use hotfire_protocol::body::ConsumeType;
use hotfire_protocol::topic::{RETRY_PREFIX, perm, retry_group};

use super::gauges::{Figure, Values};
use crate::metrics::labels;
use crate::pop::{Hidden, QueueKey, retry_topics_to_read};
use crate::state::State;

/// Where a group stands in a topic.
#[derive(Default)]
struct Standing {
    labels: Labels,
    /// Messages that are not committed or, by a group that pops, not acknowledged.
    lag: i64,
    /// Milliseconds since the oldest of them was stored.
    lag_ms: i64,
    /// Messages that were given out and are not committed, or not acknowledged.
    in_flight: i64,
    /// Messages that were not given out.
    ready: i64,
    /// Milliseconds since the oldest of them was stored.
    ready_ms: i64,
}

/// Where each connected group stands in each topic that it subscribes to. A group that pops stands
/// in its retry topics as well.
pub(super) fn figures(broker: &State) -> Vec<Figure> {
    let standings = standings(broker);
    let values = |value: fn(&Standing) -> i64| -> Values {
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

fn standings(broker: &State) -> Vec<Standing> {
    let subscribed: Vec<(String, String, bool)> = {
        let consumers = broker.consumers.lock();
        let groups = consumers.groups();
        groups
            .flat_map(|(name, group)| {
                let pops = group.consume_type == ConsumeType::Pop;
                let topics = group.subscriptions().keys();
                topics.map(move |topic| (name.to_owned(), topic.clone(), pops))
            })
            .collect()
    };
    let hidden = broker.hidden();
    let config = broker.config();
    let mut standings = Vec::new();
    for (group, topic, pops) in &subscribed {
        let of = |retried, topics: &[String]| {
            let mut standing = Standing {
                labels: labels::received(group, topic, retried),
                ..Standing::default()
            };
            let mut known = false;
            for topic in topics {
                known |= add_topic(broker, &mut standing, group, topic, pops.then_some(&hidden));
            }
            known.then_some(standing)
        };
        if !pops {
            standings.extend(of(retry_group(topic).is_some(), from_ref(topic)));
        } else if !topic.starts_with(RETRY_PREFIX)
            && let Some(standing) = of(false, from_ref(topic))
        {
            let retries = retry_topics_to_read(&config, topic, group);
            standings.push(standing);
            standings.extend(of(true, &retries));
        }
    }
    standings
}

/// Adds where a group stands in a topic, with what is hidden if it pops. False if nobody can use the
/// topic.
fn add_topic(
    broker: &State,
    standing: &mut Standing,
    group: &str,
    topic: &str,
    hidden: Option<&Hidden>,
) -> bool {
    let queues = {
        let topics = broker.topics.read();
        let config = topics.get(topic);
        let usable = config
            .filter(|config| perm::is_readable(config.perm) || perm::is_writeable(config.perm));
        usable.map(|config| config.write_queue_nums)
    };
    let Some(queues) = queues else {
        return false;
    };
    for queue_id in 0..queues {
        add_queue(
            broker,
            standing,
            &QueueKey::new(topic, group, queue_id),
            hidden,
        );
    }
    true
}

fn add_queue(broker: &State, standing: &mut Standing, key: &QueueKey, hidden: Option<&Hidden>) {
    let (store, now_ms) = (&broker.store, broker.env.now_ms());
    let (topic, group, queue_id) = (key.topic.as_str(), key.group.as_str(), key.queue_id);
    let end = store.max_offset_in_queue(topic, queue_id);
    let committed = broker.offsets.lock().get(group, topic, queue_id);
    let committed = committed.unwrap_or(end).clamp(0, end);
    let given = match hidden {
        Some(_) => broker.pop.offsets.lock().next(key),
        None => {
            let metrics = broker.metrics.as_ref();
            metrics.and_then(|metrics| metrics.pulled(group, topic, queue_id))
        }
    };
    let given = given.unwrap_or(committed).clamp(committed, end);
    let age = |offset| {
        let stored = store.store_time_of(topic, queue_id, offset);
        stored.map_or(0, |stored| (now_ms - stored).max(0))
    };
    // What a pop has given out is as good as committed: it is hidden, or done.
    let hidden = hidden.map(|hidden| hidden.get(key).copied().unwrap_or(0));
    let unfinished = hidden.map_or(committed, |hidden| (given - hidden).max(0));
    standing.lag += end - unfinished;
    standing.in_flight += given - unfinished;
    standing.ready += end - given;
    standing.lag_ms = standing.lag_ms.max(age(unfinished));
    standing.ready_ms = standing.ready_ms.max(age(given));
}
