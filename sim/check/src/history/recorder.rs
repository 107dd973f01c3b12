//! Collecting events, and the finished history.

use super::event::{Event, SimTime};
use super::names::{DeliveryId, GroupId, Names, NodeId, NodesId, OpId, QueueRef, TextId, TopicId};

/// What happened, when, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Record {
    /// When.
    pub at: SimTime,
    /// Where.
    pub node: NodeId,
    /// What.
    pub event: Event,
}

/// Which run a history is of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meta {
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
}

/// Collects events in order of occurrence.
#[derive(Debug, Default)]
pub struct Recorder {
    names: Names,
    records: Vec<Record>,
    ops: u32,
    deliveries: u32,
}

impl Recorder {
    /// An empty recorder.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of a node.
    pub fn node(&mut self, name: &str) -> NodeId {
        self.names.node(name)
    }

    /// The number of a node that is a broker of the given broker group.
    pub fn broker_node(&mut self, name: &str, broker: &str) -> NodeId {
        self.names.broker_node(name, broker)
    }

    /// The number of a topic.
    pub fn topic(&mut self, name: &str) -> TopicId {
        self.names.topic(name)
    }

    /// The number of a consumer group.
    pub fn group(&mut self, name: &str) -> GroupId {
        self.names.group(name)
    }

    /// The number of a queue.
    pub fn queue(&mut self, topic: &str, broker: &str, queue_id: i32) -> QueueRef {
        self.names.queue(topic, broker, queue_id)
    }

    /// The number of a text.
    pub fn text(&mut self, text: &str) -> TextId {
        self.names.text(text)
    }

    /// The number of a set of nodes.
    pub fn nodes(&mut self, nodes: &[NodeId]) -> NodesId {
        self.names.nodes(nodes)
    }

    /// The names given out so far.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// A number for a new send call.
    pub fn next_op(&mut self) -> OpId {
        self.ops += 1;
        OpId(self.ops - 1)
    }

    /// A number for a new listener call.
    pub fn next_delivery(&mut self) -> DeliveryId {
        self.deliveries += 1;
        DeliveryId(self.deliveries - 1)
    }

    /// Notes an event.
    pub fn record(&mut self, at: SimTime, node: NodeId, event: Event) {
        self.records.push(Record { at, node, event });
    }

    /// How many events were noted.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether nothing was noted yet.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The history of what was noted.
    pub fn finish(self, meta: Meta) -> History {
        let Self {
            names, mut records, ..
        } = self;
        // Stable, so that what one node noted at one time stays in order.
        records.sort_by_key(|record| (record.at, record.node));
        History {
            meta,
            names,
            records,
        }
    }
}

/// All that was observed in a run, sorted by (time, node, order of recording).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    meta: Meta,
    names: Names,
    records: Vec<Record>,
}

impl History {
    /// Which run this is.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The names behind the numbers.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The events in order.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The time of the last event.
    pub fn end(&self) -> SimTime {
        self.records.last().map_or(SimTime(0), |record| record.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_is_sorted_by_time_and_node_and_keeps_the_order_of_recording() {
        let mut recorder = Recorder::new();
        let (a, b) = (recorder.node("a"), recorder.node("b"));
        let (down, up) = (
            Event::NodeDown {
                how: super::super::How::Kill,
            },
            Event::NodeUp,
        );
        recorder.record(SimTime(5), b, up);
        recorder.record(SimTime(5), a, down);
        recorder.record(SimTime(5), a, up);
        recorder.record(SimTime(4), b, down);
        let history = recorder.finish(Meta::default());
        let order: Vec<_> = history
            .records()
            .iter()
            .map(|r| (r.at.0, r.node, r.event))
            .collect();
        assert_eq!(order, [(4, b, down), (5, a, down), (5, a, up), (5, b, up)]);
        assert_eq!(history.end(), SimTime(5));
    }

    #[test]
    fn calls_and_deliveries_are_numbered_from_zero() {
        let mut recorder = Recorder::new();
        assert_eq!((recorder.next_op(), recorder.next_op()), (OpId(0), OpId(1)));
        assert_eq!(recorder.next_delivery(), DeliveryId(0));
    }

    #[test]
    fn a_record_fits_in_56_bytes() {
        assert!(size_of::<Record>() <= 56, "{}", size_of::<Record>());
    }
}
