//! What a run was configured to promise. The same event can be a violation under one contract and
//! legal under another: a loss after a power failure, for example, is judged by the flush mode.

use serde::{Deserialize, Serialize};

use crate::invariant::InvariantId;

/// When a broker calls a message stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flush {
    /// After it was flushed (`SYNC_FLUSH`): a power failure loses nothing that was acknowledged.
    Sync,
    /// Before (`ASYNC_FLUSH`): a power failure may lose what lies within the window.
    Async(FlushWindow),
}

/// How long a message may stay unflushed under asynchronous flush (`FlushRealTimeService`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FlushWindow {
    /// How often the flusher looks, in milliseconds (`flushIntervalCommitLog`).
    pub tick_ms: u64,
    /// How many dirty pages of 4 KiB make it flush (`flushCommitLogLeastPages`).
    pub least_pages: u64,
    /// How often it flushes whatever is dirty, in milliseconds (`flushCommitLogThoroughInterval`).
    pub thorough_ms: u64,
    /// How long one flush may take, in milliseconds.
    pub slack_ms: u64,
}

impl Default for FlushWindow {
    fn default() -> Self {
        Self {
            tick_ms: 500,
            least_pages: 4,
            thorough_ms: 10_000,
            slack_ms: 1000,
        }
    }
}

/// The kind of a group's listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Listener {
    /// Messages of a queue are consumed side by side.
    Concurrent,
    /// One after the other, in the order of the queue.
    Orderly,
}

/// What one consumer group is configured to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct GroupContract {
    /// The group's name.
    pub group: String,
    /// Its listener.
    pub listener: Listener,
    /// Whether every member gets every message.
    pub broadcasting: bool,
    /// The topics it subscribes to.
    pub topics: Vec<String>,
    /// How often a message is consumed again before it goes to the dead-letter queue; negative for
    /// the default: 16 with a concurrent listener, without end with an orderly one.
    pub max_reconsume: i32,
    /// Whether its effects go through a de-duplicating ledger, so that `Effect` events are
    /// recorded.
    pub idempotent: bool,
    /// Whether it subscribes to a part of its topics only, by tag or by SQL.
    pub filtered: bool,
    /// For a group that filters: whether every message that it must not get is recorded as
    /// `Unwanted`, so that the others are known to be wanted.
    pub judged: bool,
    /// Whether its members pop messages instead of pulling them: they have no positions, and
    /// acknowledge each message by itself.
    pub pop: bool,
}

impl Default for GroupContract {
    fn default() -> Self {
        Self {
            group: String::new(),
            listener: Listener::Concurrent,
            broadcasting: false,
            topics: Vec::new(),
            max_reconsume: -1,
            idempotent: false,
            filtered: false,
            judged: false,
            pop: false,
        }
    }
}

impl GroupContract {
    /// A clustering group with a concurrent listener and the defaults.
    pub fn concurrent(group: &str, topics: &[&str]) -> Self {
        Self {
            group: group.to_owned(),
            topics: topics.iter().map(|&topic| topic.to_owned()).collect(),
            ..Self::default()
        }
    }

    /// A clustering group with an orderly listener and the defaults.
    pub fn orderly(group: &str, topics: &[&str]) -> Self {
        Self {
            listener: Listener::Orderly,
            ..Self::concurrent(group, topics)
        }
    }
}

/// A topic that exists from the beginning on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct TopicContract {
    /// The topic's name.
    pub topic: String,
    /// How many queues it has on each broker group, numbered from 0.
    pub queues: u32,
    /// The broker groups that hold it.
    pub brokers: Vec<String>,
}

/// When brokers ask producers what became of their transactions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct TransactionContract {
    /// How old a half message is at its first check at least, in milliseconds
    /// (`transactionTimeOut`).
    pub timeout_ms: u64,
    /// The time between two rounds of checks, in milliseconds (`transactionCheckInterval`).
    pub interval_ms: u64,
    /// After how many checks a half message is discarded (`transactionCheckMax`).
    pub max_checks: u32,
    /// The producer groups whose local transactions debit an account: their `Effect` events are
    /// recorded, with negative amounts.
    pub debtors: Vec<String>,
}

impl Default for TransactionContract {
    fn default() -> Self {
        Self {
            timeout_ms: 6000,
            interval_ms: 30_000,
            max_checks: 15,
            debtors: Vec::new(),
        }
    }
}

/// What the run was configured to promise, and what its scenario expects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Contract {
    /// The brokers' flush mode.
    pub flush: Flush,
    /// The consumer groups.
    pub groups: Vec<GroupContract>,
    /// The topics, as far as they are known. Of others it is not judged who has their queues.
    pub topics: Vec<TopicContract>,
    /// The nodes that access control must refuse, whatever they ask for.
    pub refused: Vec<String>,
    /// The checks of transactions.
    pub transactions: TransactionContract,
    /// The wall-clock time at the start of the run, in milliseconds since 1970.
    pub epoch_ms: i64,
    /// The precision of messages for an arbitrary time, in milliseconds (`timerPrecisionMs`).
    pub timer_precision_ms: u64,
    /// How late a delayed or timed message may be stored in its topic while nothing is wrong, in
    /// milliseconds, on top of the precision.
    pub late_ms: u64,
    /// How long after its arrival a message may reach a member whose pull waits for it while
    /// nothing is wrong, in milliseconds; 0 if that is not to be judged.
    pub wake_ms: u64,
    /// The delays of the delay levels, level 1 first, in milliseconds.
    pub delay_levels_ms: Vec<u64>,
    /// The most attempts that one send call makes: one more than its retries.
    pub send_attempts: u8,
    /// How often a broker persists consumer offsets, in milliseconds
    /// (`flushConsumerOffsetInterval`): a killed broker may forget that much.
    pub offset_persist_ms: u64,
    /// How far brokers' wall clocks may be apart or jump, in milliseconds. Never below 1: store
    /// timestamps are whole milliseconds.
    pub clock_tolerance_ms: u64,
    /// After how long without any progress a healthy system counts as stuck, in milliseconds.
    pub stuck_after_ms: u64,
    /// The invariants that must hold and must have been exercised for the run to pass.
    pub holds: Vec<InvariantId>,
    /// The invariants whose violations are only counted.
    pub counts: Vec<InvariantId>,
}

impl Default for Contract {
    fn default() -> Self {
        Self {
            flush: Flush::Async(FlushWindow::default()),
            groups: Vec::new(),
            topics: Vec::new(),
            refused: Vec::new(),
            transactions: TransactionContract::default(),
            epoch_ms: 0,
            timer_precision_ms: 1000,
            late_ms: 2000,
            wake_ms: 1000,
            delay_levels_ms: DELAY_LEVELS_MS.to_vec(),
            send_attempts: 3,
            offset_persist_ms: 5000,
            clock_tolerance_ms: 2,
            stuck_after_ms: 60_000,
            holds: Vec::new(),
            counts: Vec::new(),
        }
    }
}

/// The default delay levels (`messageDelayLevel`): 1s 5s 10s 30s, 1 to 10 minutes, 20m 30m 1h 2h.
pub const DELAY_LEVELS_MS: [u64; 18] = [
    1_000, 5_000, 10_000, 30_000, 60_000, 120_000, 180_000, 240_000, 300_000, 360_000, 420_000,
    480_000, 540_000, 600_000, 1_200_000, 1_800_000, 3_600_000, 7_200_000,
];

impl Contract {
    /// The delay before the redelivery with the given reconsume times (from 1), in microseconds:
    /// level 3 for the first, one level more for each further one, and the highest level in the
    /// end.
    pub fn retry_delay_us(&self, reconsume: u32) -> u64 {
        let level = (reconsume as usize + 2).min(self.delay_levels_ms.len());
        level
            .checked_sub(1)
            .and_then(|at| self.delay_levels_ms.get(at))
            .map_or(0, |ms| ms * 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_redelivery_waits_for_level_three() {
        let contract = Contract::default();
        assert_eq!(contract.retry_delay_us(1), 10_000_000);
        assert_eq!(contract.retry_delay_us(2), 30_000_000);
        assert_eq!(contract.retry_delay_us(16), 7_200_000_000);
        assert_eq!(contract.retry_delay_us(40), 7_200_000_000);
    }

    #[test]
    fn without_delay_levels_there_is_no_delay() {
        let contract = Contract {
            delay_levels_ms: Vec::new(),
            ..Contract::default()
        };
        assert_eq!(contract.retry_delay_us(1), 0);
    }
}
