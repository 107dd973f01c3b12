//! Interned names: every node, topic, group, broker group, queue and text has a dense number.

use indexmap::IndexSet;
use rustc_hash::FxBuildHasher;

macro_rules! ids {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        $($(#[$doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u32);

        impl $name {
            /// The number as an index into a dense vector.
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        })+
    };
}

ids! {
    /// A logical node: a broker, a name server, a producer, one member of a consumer group, the
    /// operator.
    NodeId,
    /// A topic.
    TopicId,
    /// A consumer group.
    GroupId,
    /// A broker group, which RocketMQ calls broker name.
    BrokerId,
    /// A queue of a topic on a broker group; see [`Queue`].
    QueueRef,
    /// A short free text, such as the reason of a failure.
    TextId,
    /// A set of nodes, such as the targets of a fault.
    NodesId,
    /// One `send` call of a producer, with all the attempts it makes.
    OpId,
    /// One call of a listener for one message.
    DeliveryId,
}

/// What a [`QueueRef`] stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Queue {
    /// The topic.
    pub topic: TopicId,
    /// The broker group that holds the queue.
    pub broker: BrokerId,
    /// The queue's number in its topic on that broker.
    pub queue_id: i32,
}

type Table<T> = IndexSet<T, FxBuildHasher>;

/// The tables behind the interned names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    nodes: Table<String>,
    serves: Vec<Option<BrokerId>>,
    topics: Table<String>,
    groups: Table<String>,
    brokers: Table<String>,
    texts: Table<String>,
    queues: Table<Queue>,
    node_sets: Table<Vec<NodeId>>,
}

fn intern(table: &mut Table<String>, name: &str) -> u32 {
    let at = match table.get_index_of(name) {
        Some(at) => at,
        None => table.insert_full(name.to_owned()).0,
    };
    dense(at)
}

fn dense(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn resolve(table: &Table<String>, at: u32) -> &str {
    table.get_index(at as usize).map_or("?", String::as_str)
}

impl Names {
    /// The number of a node.
    pub fn node(&mut self, name: &str) -> NodeId {
        let id = NodeId(intern(&mut self.nodes, name));
        self.serves.resize(self.nodes.len(), None);
        id
    }

    /// The number of a node that is a broker of the given broker group.
    pub fn broker_node(&mut self, name: &str, broker: &str) -> NodeId {
        let node = self.node(name);
        let broker = self.broker(broker);
        if let Some(serves) = self.serves.get_mut(node.index()) {
            *serves = Some(broker);
        }
        node
    }

    /// The number of a topic.
    pub fn topic(&mut self, name: &str) -> TopicId {
        TopicId(intern(&mut self.topics, name))
    }

    /// The number of a consumer group.
    pub fn group(&mut self, name: &str) -> GroupId {
        GroupId(intern(&mut self.groups, name))
    }

    /// The number of a broker group.
    pub fn broker(&mut self, name: &str) -> BrokerId {
        BrokerId(intern(&mut self.brokers, name))
    }

    /// The number of a text.
    pub fn text(&mut self, text: &str) -> TextId {
        TextId(intern(&mut self.texts, text))
    }

    /// The number of a queue.
    pub fn queue(&mut self, topic: &str, broker: &str, queue_id: i32) -> QueueRef {
        let queue = Queue {
            topic: self.topic(topic),
            broker: self.broker(broker),
            queue_id,
        };
        QueueRef(dense(self.queues.insert_full(queue).0))
    }

    /// The number of a set of nodes.
    pub fn nodes(&mut self, nodes: &[NodeId]) -> NodesId {
        let mut nodes = nodes.to_vec();
        nodes.sort_unstable();
        nodes.dedup();
        NodesId(dense(self.node_sets.insert_full(nodes).0))
    }

    /// A node's name.
    pub fn node_name(&self, id: NodeId) -> &str {
        resolve(&self.nodes, id.0)
    }

    /// The broker group that a node serves, if it is a broker.
    pub fn serves(&self, id: NodeId) -> Option<BrokerId> {
        self.serves.get(id.index()).copied().flatten()
    }

    /// A topic's name.
    pub fn topic_name(&self, id: TopicId) -> &str {
        resolve(&self.topics, id.0)
    }

    /// A consumer group's name.
    pub fn group_name(&self, id: GroupId) -> &str {
        resolve(&self.groups, id.0)
    }

    /// A broker group's name.
    pub fn broker_name(&self, id: BrokerId) -> &str {
        resolve(&self.brokers, id.0)
    }

    /// A text.
    pub fn text_of(&self, id: TextId) -> &str {
        resolve(&self.texts, id.0)
    }

    /// What a queue number stands for; `None` for a number that was never given out.
    pub fn queue_of(&self, id: QueueRef) -> Option<Queue> {
        self.queues.get_index(id.index()).copied()
    }

    /// A queue as people write it: `topic@broker-a#3`.
    pub fn queue_name(&self, id: QueueRef) -> String {
        match self.queue_of(id) {
            Some(queue) => format!(
                "{}@{}#{}",
                self.topic_name(queue.topic),
                self.broker_name(queue.broker),
                queue.queue_id
            ),
            None => "?".to_owned(),
        }
    }

    /// The nodes of a set, in order of their numbers.
    pub fn nodes_of(&self, id: NodesId) -> &[NodeId] {
        self.node_sets
            .get_index(id.index())
            .map_or(&[], Vec::as_slice)
    }

    /// The number of a topic, if there is a topic of this name.
    pub fn find_topic(&self, name: &str) -> Option<TopicId> {
        self.topics.get_index_of(name).map(|at| TopicId(dense(at)))
    }

    /// The number of a group, if there is a group of this name.
    pub fn find_group(&self, name: &str) -> Option<GroupId> {
        self.groups.get_index_of(name).map(|at| GroupId(dense(at)))
    }

    /// How many nodes there are.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// How many topics there are.
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// How many consumer groups there are.
    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// How many broker groups there are.
    pub fn broker_count(&self) -> usize {
        self.brokers.len()
    }

    /// How many queues there are.
    pub fn queue_count(&self) -> usize {
        self.queues.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_has_the_same_number() {
        let mut names = Names::default();
        let a = names.topic("a");
        let b = names.topic("b");
        assert_ne!(a, b);
        assert_eq!(names.topic("a"), a);
        assert_eq!(names.topic_name(b), "b");
        assert_eq!(names.find_topic("a"), Some(a));
        assert_eq!(names.find_topic("c"), None);
    }

    #[test]
    fn a_queue_is_known_by_topic_broker_and_number() {
        let mut names = Names::default();
        let q = names.queue("orders", "broker-a", 3);
        assert_eq!(names.queue("orders", "broker-a", 3), q);
        assert_ne!(names.queue("orders", "broker-b", 3), q);
        assert_eq!(names.queue_name(q), "orders@broker-a#3");
    }

    #[test]
    fn a_broker_node_serves_its_broker_group() {
        let mut names = Names::default();
        let node = names.broker_node("broker-a-0", "broker-a");
        let other = names.node("producer-1");
        assert_eq!(names.serves(node), Some(names.broker("broker-a")));
        assert_eq!(names.serves(other), None);
    }

    #[test]
    fn a_set_of_nodes_ignores_order_and_repetition() {
        let mut names = Names::default();
        let (a, b) = (names.node("a"), names.node("b"));
        assert_eq!(names.nodes(&[a, b]), names.nodes(&[b, a, b]));
    }
}
