//! The figures of pop consumption (`PopMetricsManager`).
//!
//! Java's figures of the buffer that merges check points with their acknowledgements are not here,
//! because that buffer is not. What is put into the revive topic includes the acknowledgements by
//! which the broker notes that it has revived messages; Java writes none.

use hotfire_metrics::prometheus_client::registry::Registry;
use hotfire_store::PutMessageStatus;

use super::series::Series;
use super::{Counters, Labels};
use crate::pop::{CheckPointKey, ReviveRecord};

/// What is in the revive topic (`PopReviveMessageType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PopRecord {
    CheckPoint,
    Ack,
}

impl PopRecord {
    fn name(self) -> &'static str {
        match self {
            Self::CheckPoint => "CK",
            Self::Ack => "ACK",
        }
    }
}

/// What is counted of the revive topic.
#[derive(Default)]
pub(crate) struct PopCounters {
    put: Counters,
    got: Counters,
    revived: Counters,
    series: Series,
}

impl PopCounters {
    /// A record was put into the revive topic, or could not be.
    pub fn put(&self, group: &str, topic: &str, record: PopRecord, status: PutMessageStatus) {
        let mut labels = of(group, topic);
        labels.push(("revive_message_type", record.name().to_owned()));
        labels.push(("put_status", status.name().to_owned()));
        self.series.note(&self.put, &labels);
        self.put.get_or_create(&labels).inc();
    }

    /// A record was read from the revive topic.
    pub fn got(&self, record: &ReviveRecord, queue_id: i32) {
        let (key, kind) = match record {
            ReviveRecord::CheckPoint(key, _) => (key, PopRecord::CheckPoint),
            ReviveRecord::Acks(key, _) => (key, PopRecord::Ack),
            ReviveRecord::Unknown => return,
        };
        let mut labels = of(&key.group, &key.topic);
        labels.push(("queue_id", queue_id.to_string()));
        labels.push(("revive_message_type", kind.name().to_owned()));
        self.series.note(&self.got, &labels);
        self.got.get_or_create(&labels).inc();
    }

    /// A message of a check point was put into a retry topic, or could not be.
    pub fn revived(&self, key: &CheckPointKey, status: PutMessageStatus) {
        let mut labels = of(&key.group, &key.topic);
        labels.push(("put_status", status.name().to_owned()));
        self.series.note(&self.revived, &labels);
        self.revived.get_or_create(&labels).inc();
    }

    /// Ends the series of topics and groups that are gone.
    pub(super) fn forget(&self, gone: impl Fn(&str, &str) -> bool) {
        for labels in self.series.take(gone) {
            for counters in [&self.put, &self.got, &self.revived] {
                counters.remove(&labels);
            }
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "rocketmq_pop_revive_in_message",
            "Check points and acknowledgements put into the revive topic",
            self.put.clone(),
        );
        registry.register(
            "rocketmq_pop_revive_out_message",
            "Check points and acknowledgements read from the revive topic",
            self.got.clone(),
        );
        registry.register(
            "rocketmq_pop_revive_retry_messages",
            "Messages put into retry topics because nobody acknowledged them in time",
            self.revived.clone(),
        );
    }
}

fn of(group: &str, topic: &str) -> Labels {
    vec![
        ("consumer_group", group.to_owned()),
        ("topic", topic.to_owned()),
    ]
}
