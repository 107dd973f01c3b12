//! What a consumer counts of its topics (`ConsumerStatsManager`).

use std::collections::BTreeMap;
use std::time::Duration;

use hotfire_protocol::body::{BrokerStatsData, ConsumeStatus};
use hotfire_protocol::stats::StatsItem;

/// Counters by topic. Times are counted from the consumer's start.
#[derive(Debug, Default)]
pub(crate) struct ConsumerStats {
    topics: BTreeMap<String, TopicStats>,
}

#[derive(Debug)]
struct TopicStats {
    pulled: StatsItem,
    pull_time: StatsItem,
    consumed: StatsItem,
    failed: StatsItem,
    consume_time: StatsItem,
}

impl TopicStats {
    fn new(at: Duration) -> Self {
        let item = || StatsItem::new(at);
        Self {
            pulled: item(),
            pull_time: item(),
            consumed: item(),
            failed: item(),
            consume_time: item(),
        }
    }
}

impl ConsumerStats {
    fn topic(&mut self, topic: &str, at: Duration) -> &mut TopicStats {
        self.topics
            .entry(topic.to_owned())
            .or_insert_with(|| TopicStats::new(at))
    }

    /// A pull brought so many messages after `took`.
    pub(crate) fn pulled(&mut self, topic: &str, messages: usize, took: Duration, at: Duration) {
        let stats = self.topic(topic, at);
        stats.pulled.add(messages as u64, at);
        stats.pull_time.add(millis(took), at);
    }

    /// The listener was called for `all` messages, `ok` of which it consumed, and took so long.
    pub(crate) fn consumed(
        &mut self,
        topic: &str,
        (ok, all): (usize, usize),
        took: Duration,
        at: Duration,
    ) {
        let stats = self.topic(topic, at);
        stats.consume_time.add(millis(took), at);
        let failed = all.saturating_sub(ok);
        for (count, item) in [(ok, &mut stats.consumed), (failed, &mut stats.failed)] {
            if count > 0 {
                item.add(count as u64, at);
            }
        }
    }

    /// The figures of a topic (`ConsumerStatsManager.consumeStatus`).
    pub(crate) fn status(&mut self, topic: &str, at: Duration) -> ConsumeStatus {
        let Some(stats) = self.topics.get_mut(topic) else {
            return ConsumeStatus::default();
        };
        let consume_time = stats.consume_time.data(at);
        let failed = stats.failed.data(at);
        ConsumeStatus {
            consume_failed_msgs: failed.stats_hour.sum,
            consume_failed_tps: failed.stats_minute.tps,
            consume_ok_tps: stats.consumed.data(at).stats_minute.tps,
            consume_rt: average(&consume_time),
            pull_rt: stats.pull_time.data(at).stats_minute.avgpt,
            pull_tps: stats.pulled.data(at).stats_minute.tps,
        }
    }
}

/// Of the last minute, or of the last hour if nothing was consumed within the minute.
fn average(data: &BrokerStatsData) -> f64 {
    match data.stats_minute.sum {
        0 => data.stats_hour.avgpt,
        _ => data.stats_minute.avgpt,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn rates_are_those_of_the_last_minute() {
        let mut stats = ConsumerStats::default();
        stats.pulled("t", 60, SECOND / 10, SECOND);
        stats.consumed("t", (2, 3), SECOND / 4, SECOND);
        stats.consumed("t", (28, 30), SECOND / 2, SECOND);
        let status = stats.status("t", SECOND * 61);
        assert_eq!((status.pull_tps, status.pull_rt), (1.0, 100.0));
        assert_eq!((status.consume_ok_tps, status.consume_rt), (0.5, 375.0));
        assert_eq!(status.consume_failed_tps, 0.05);
    }

    #[test]
    fn failures_are_counted_over_an_hour() {
        let mut stats = ConsumerStats::default();
        stats.consumed("t", (0, 3), SECOND, SECOND);
        let status = stats.status("t", SECOND * 600);
        assert_eq!(
            (status.consume_failed_msgs, status.consume_failed_tps),
            (3, 0.0)
        );
        assert_eq!(status.consume_rt, 1_000.0);
    }

    #[test]
    fn a_topic_without_messages_has_zeros() {
        assert_eq!(
            ConsumerStats::default().status("t", SECOND),
            ConsumeStatus::default()
        );
    }
}
