//! Headers of topics.

use crate::header;

header! {
    /// Creates or changes a topic on a broker (`UPDATE_AND_CREATE_TOPIC`).
    pub struct CreateTopicRequestHeader {
        /// The topic.
        topic: String = "topic",
        /// A topic to take missing values from; brokers do not look at it.
        default_topic: String = "defaultTopic",
        /// The number of queues to read from.
        read_queue_nums: i32 = "readQueueNums",
        /// The number of queues to write to.
        write_queue_nums: i32 = "writeQueueNums",
        /// Permission bits: 4 read, 2 write, 1 inherit.
        perm: i32 = "perm",
        /// `SINGLE_TAG` or `MULTI_TAG`.
        topic_filter_type: String = "topicFilterType",
        /// The system flag of the topic.
        topic_sys_flag: Option<i32> = "topicSysFlag",
        /// Whether the topic is of ordered messages.
        order: bool = "order",
        /// Changes of attributes: `+name=value,-name` (5.x).
        attributes: Option<String> = "attributes",
    }

    /// Deletes a topic from a broker.
    pub struct DeleteTopicRequestHeader {
        /// The topic.
        topic: String = "topic",
    }

    /// Deletes a topic's routes.
    pub struct DeleteTopicFromNamesrvRequestHeader {
        /// The topic.
        topic: String = "topic",
        /// Only those of this cluster.
        cluster_name: Option<String> = "clusterName",
    }

    /// Registers a topic's route (5.x).
    pub struct RegisterTopicRequestHeader {
        /// The topic.
        topic: String = "topic",
    }

    /// Asks for the offsets of a topic's queues.
    pub struct GetTopicStatsInfoRequestHeader {
        /// The topic.
        topic: String = "topic",
    }

    /// Asks for the topics of a cluster.
    pub struct GetTopicsByClusterRequestHeader {
        /// The cluster.
        cluster: String = "cluster",
    }

    /// Asks which groups consume a topic.
    pub struct QueryTopicConsumeByWhoRequestHeader {
        /// The topic.
        topic: String = "topic",
    }

    /// Asks how far a group is in a topic.
    pub struct QueryConsumeTimeSpanRequestHeader {
        /// The topic.
        topic: String = "topic",
        /// The consumer group.
        group: String = "group",
    }
}
