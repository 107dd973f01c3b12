//! What the broker counts for its administrators: how much was put and got, by topic and group
//! (`BrokerStatsManager`), and how long puts took (`StoreStatsService`, `BrokerStats`).

mod store_stats;
mod table;

use tokio::time::Instant;

pub use store_stats::StoreStats;
pub use table::BrokerStats;

/// Everything that is counted.
#[derive(Debug)]
pub struct Stats {
    /// By topic and group.
    pub broker: BrokerStats,
    /// Of the store as a whole.
    pub store: StoreStats,
}

impl Stats {
    /// Nothing counted yet.
    pub fn new(now: Instant, now_ms: i64) -> Self {
        Self {
            broker: BrokerStats::new(now),
            store: StoreStats::new(now, now_ms),
        }
    }

    /// A group asked for messages of a topic and got so many, or none.
    pub fn got(&mut self, group: &str, topic: &str, messages: u64, bytes: u64, now: Instant) {
        self.store.got(messages, now);
        if messages > 0 {
            self.broker.got(group, topic, messages, bytes, now);
        }
    }
}
