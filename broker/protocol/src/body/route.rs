//! Where topics are: the name server's answers.

use std::collections::{BTreeMap, BTreeSet};

use super::{JsonError, body, fastjson, json_methods, written};
use crate::MessageQueue;
use crate::topic::perm;

body! {
    /// The brokers and queues of a topic.
    #[derive(Default, Eq)]
    pub struct TopicRouteData {
        /// The broker groups.
        broker_datas: Vec<BrokerData> = "brokerDatas",
        /// Filter servers by broker address; empty since class filters are gone.
        filter_server_table: BTreeMap<String, Vec<String>> = "filterServerTable",
        /// The order of queues of an ordered topic: `broker:queues;…`.
        order_topic_conf: Option<String> = "orderTopicConf",
        /// The queues.
        queue_datas: Vec<QueueData> = "queueDatas",
    }

    /// A broker group.
    #[derive(Default, Eq)]
    pub struct BrokerData {
        /// Addresses by broker id; 0 is the master.
        broker_addrs: BTreeMap<i64, String> = "brokerAddrs",
        /// The name of the group.
        broker_name: String = "brokerName",
        /// The cluster.
        cluster: String = "cluster",
    }

    /// The queues that a topic has on a broker group.
    #[derive(Default, Eq)]
    pub struct QueueData {
        /// The name of the group.
        broker_name: String = "brokerName",
        /// See [`perm`].
        perm: i32 = "perm",
        /// The number of queues to read from.
        read_queue_nums: i32 = "readQueueNums",
        /// Bit 0: of a unit, bit 1: with a subscription of a unit.
        #[serde(alias = "topicSynFlag")]
        topic_sys_flag: i32 = "topicSysFlag",
        /// The number of queues to write to.
        write_queue_nums: i32 = "writeQueueNums",
    }

    /// All broker groups and clusters.
    #[derive(Default, Eq)]
    pub struct ClusterInfo {
        /// Broker groups by name.
        broker_addr_table: BTreeMap<String, BrokerData> = "brokerAddrTable",
        /// Names of broker groups by cluster.
        cluster_addr_table: BTreeMap<String, BTreeSet<String>> = "clusterAddrTable",
    }

    /// A list of topics.
    #[derive(Default, Eq)]
    pub struct TopicList {
        /// Some broker's address, in lists of system topics.
        broker_addr: Option<String> = "brokerAddr",
        /// The topics.
        topic_list: Vec<String> = "topicList",
    }

    /// A table of texts.
    #[derive(Default, Eq)]
    pub struct KVTable {
        /// The entries.
        table: BTreeMap<String, String> = "table",
    }

    /// The name server's configuration entries (`kvConfig.json`).
    #[derive(Default, Eq)]
    pub struct KVConfigSerializeWrapper {
        /// Entries by namespace.
        config_table: BTreeMap<String, BTreeMap<String, String>> = "configTable",
    }
}

json_methods!(
    BrokerData,
    QueueData,
    ClusterInfo,
    TopicList,
    KVTable,
    KVConfigSerializeWrapper,
);

impl TopicRouteData {
    /// The bytes that travel: standard JSON if `strict`, else with bare numbers for keys, which
    /// clients before 4.9.4 and the Go client expect.
    pub fn to_json(&self, strict: bool) -> Vec<u8> {
        written(if strict {
            fastjson::to_strict_vec(self)
        } else {
            fastjson::to_vec(self)
        })
    }

    /// Reads the bytes that travelled, in either form.
    ///
    /// # Errors
    /// They are no route.
    pub fn from_json(bytes: &[u8]) -> Result<Self, JsonError> {
        fastjson::from_slice(bytes)
    }

    /// The queues that may be read, also where only slaves are left, in the order of the route
    /// (`topicRouteData2TopicSubscribeInfo`).
    pub fn subscribe_queues(&self, topic: &str) -> Vec<MessageQueue> {
        let queues = self.queue_datas.iter();
        queues
            .filter(|data| perm::is_readable(data.perm))
            .flat_map(|data| {
                MessageQueue::of_broker(topic, &data.broker_name, data.read_queue_nums)
            })
            .collect()
    }
}

impl BrokerData {
    /// The address to read from: the master's, else that of the slave with the smallest id. (Java
    /// chooses among slaves at random.)
    pub fn select_broker_addr(&self) -> Option<&str> {
        self.broker_addrs.values().next().map(String::as_str)
    }
}
