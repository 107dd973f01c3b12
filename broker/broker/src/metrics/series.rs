//! Which series there are of topics and groups, so that they can end with them.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;

use hotfire_metrics::prometheus_client::metrics::family::{Family, MetricConstructor};
use parking_lot::Mutex;

use super::Labels;

/// The labels in use, by topic.
#[derive(Debug, Default)]
pub(super) struct Series {
    topics: Mutex<BTreeMap<String, BTreeSet<Labels>>>,
}

fn value<'a>(labels: &'a Labels, wanted: &str) -> &'a str {
    let mut labels = labels.iter();
    labels
        .find(|(name, _)| *name == wanted)
        .map_or("", |(_, value)| value)
}

impl Series {
    /// Notes labels that are about to be used in a family, if they are new there.
    pub fn note<M, C>(&self, family: &Family<Labels, M, C>, labels: &Labels)
    where
        C: MetricConstructor<M>,
        Labels: Hash + Eq,
    {
        if family.get(labels).is_none() {
            let mut topics = self.topics.lock();
            let topic = value(labels, "topic").to_owned();
            topics.entry(topic).or_default().insert(labels.clone());
        }
    }

    /// Takes out the labels of topics and groups that are gone.
    pub fn take(&self, gone: impl Fn(&str, &str) -> bool) -> Vec<Labels> {
        let mut taken = Vec::new();
        self.topics.lock().retain(|topic, all| {
            let of_gone = |labels: &Labels| gone(topic, value(labels, "consumer_group"));
            taken.extend(all.extract_if(.., of_gone));
            !all.is_empty()
        });
        taken
    }
}
