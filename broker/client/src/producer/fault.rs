use std::collections::BTreeMap;
use std::time::Duration;

use hotfire_protocol::MessageQueue;
use tokio::time::Instant;

use crate::PublishInfo;

/// From this latency on (milliseconds) … (`MQFaultStrategy.latencyMax` of 4.9).
const LATENCY_MS: [u64; 7] = [50, 100, 550, 1_000, 2_000, 3_000, 15_000];
/// … a broker is left alone for this long (`MQFaultStrategy.notAvailableDuration`).
const UNAVAILABLE_MS: [u64; 7] = [0, 0, 30_000, 60_000, 120_000, 180_000, 600_000];
/// A failed send counts as one that took this long.
const FAILURE_LATENCY: Duration = Duration::from_secs(30);

/// Keeps away from brokers that were slow or failed (`MQFaultStrategy`,
/// `LatencyFaultToleranceImpl`). Switched off, as is the default, it only avoids the broker of the
/// attempt before.
#[derive(Debug, Default)]
pub struct FaultStrategy {
    enabled: bool,
    brokers: BTreeMap<String, Record>,
    worst_turn: usize,
}

#[derive(Debug)]
struct Record {
    latency: Duration,
    available_from: Instant,
}

impl FaultStrategy {
    /// A strategy that looks at latencies only if `enabled`.
    pub fn new(enabled: bool) -> Self {
        Self {
            enabled,
            ..Self::default()
        }
    }

    /// Notes how long a send to a broker took, or that it failed.
    pub fn record(&mut self, now: Instant, broker_name: &str, latency: Duration, failed: bool) {
        if !self.enabled {
            return;
        }
        let counted = if failed { FAILURE_LATENCY } else { latency };
        let record = Record {
            latency,
            available_from: now + unavailable_for(counted),
        };
        self.brokers.insert(broker_name.to_owned(), record);
    }

    /// Whether nothing speaks against a broker.
    pub fn is_available(&self, now: Instant, broker_name: &str) -> bool {
        self.brokers
            .get(broker_name)
            .is_none_or(|record| record.available_from <= now)
    }

    /// The queue for the next attempt; `last_broker` is where the attempt before failed.
    pub fn select(
        &mut self,
        now: Instant,
        info: &PublishInfo,
        last_broker: Option<&str>,
    ) -> Option<MessageQueue> {
        if !self.enabled {
            return info.select(last_broker).cloned();
        }
        let turn = info.turn();
        for step in 0..info.queues().len() {
            let queue = info.at(turn + step)?;
            if self.is_available(now, &queue.broker_name) {
                return Some(queue.clone());
            }
        }
        let Some(broker) = self.least_bad(now) else {
            return info.select(last_broker).cloned();
        };
        match info.queues_of(&broker) {
            0 => {
                self.brokers.remove(&broker);
                info.select(last_broker).cloned()
            }
            queues => {
                let mut queue = info.select(None)?.clone();
                queue.broker_name = broker;
                queue.queue_id = (info.turn() % queues) as i32;
                Some(queue)
            }
        }
    }

    /// One of the better half of the brokers that are on record, in turn.
    fn least_bad(&mut self, now: Instant) -> Option<String> {
        let mut ranked: Vec<_> = self.brokers.iter().collect();
        ranked.sort_by_key(|(_, record)| {
            (
                record.available_from > now,
                record.latency,
                record.available_from,
            )
        });
        self.worst_turn = self.worst_turn.wrapping_add(1);
        let half = (ranked.len() / 2).max(1);
        ranked
            .get(self.worst_turn % half)
            .map(|(name, _)| (*name).clone())
    }
}

fn unavailable_for(latency: Duration) -> Duration {
    let step = LATENCY_MS
        .iter()
        .rposition(|&ms| latency >= Duration::from_millis(ms));
    Duration::from_millis(step.map_or(0, |step| UNAVAILABLE_MS[step]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> PublishInfo {
        let queues = ["a", "b"]
            .iter()
            .flat_map(|broker| (0..2).map(|id| MessageQueue::new("t", *broker, id)))
            .collect();
        PublishInfo::new(queues, 0)
    }

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_penalty_grows_with_the_latency_as_in_4_9() {
        for (latency, penalty) in [
            (49, 0),
            (100, 0),
            (550, 30_000),
            (999, 30_000),
            (1_000, 60_000),
            (2_999, 120_000),
            (3_000, 180_000),
            (15_000, 600_000),
        ] {
            assert_eq!(unavailable_for(ms(latency)), ms(penalty), "{latency}");
        }
    }

    #[test]
    fn a_failed_broker_is_left_alone_for_ten_minutes() {
        let (mut strategy, now) = (FaultStrategy::new(true), Instant::now());
        strategy.record(now, "a", ms(3), true);
        let info = info();
        for _ in 0..8 {
            assert_eq!(strategy.select(now, &info, None).unwrap().broker_name, "b");
        }
        assert!(!strategy.is_available(now + ms(599_999), "a"));
        assert!(strategy.is_available(now + ms(600_000), "a"));
    }

    #[test]
    fn when_all_are_slow_the_fastest_is_used() {
        let (mut strategy, now) = (FaultStrategy::new(true), Instant::now());
        strategy.record(now, "a", ms(2_000), false);
        strategy.record(now, "b", ms(600), false);
        let info = info();
        for _ in 0..8 {
            assert_eq!(strategy.select(now, &info, None).unwrap().broker_name, "b");
        }
    }

    #[test]
    fn switched_off_it_only_avoids_the_last_broker() {
        let (mut strategy, now) = (FaultStrategy::new(false), Instant::now());
        strategy.record(now, "a", ms(20_000), true);
        let info = info();
        let used: Vec<_> = (0..4)
            .map(|_| strategy.select(now, &info, None).unwrap().broker_name)
            .collect();
        assert!(used.iter().any(|broker| broker == "a"));
        assert_eq!(
            strategy.select(now, &info, Some("b")).unwrap().broker_name,
            "a"
        );
    }
}
