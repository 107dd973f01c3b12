//! Headers of the name server.

use crate::header;

header! {
    /// Asks where a topic is.
    pub struct GetRouteInfoRequestHeader {
        /// The topic.
        topic: String = "topic",
        /// Whether the answer must be standard JSON.
        accept_standard_json_only: Option<bool> = "acceptStandardJsonOnly",
    }

    /// A broker registers itself and its topics.
    pub struct RegisterBrokerRequestHeader {
        /// The name of the broker group.
        broker_name: String = "brokerName",
        /// The address that clients reach the broker at.
        broker_addr: String = "brokerAddr",
        /// The cluster.
        cluster_name: String = "clusterName",
        /// The address that slaves replicate from.
        ha_server_addr: String = "haServerAddr",
        /// 0 for the master, else a slave.
        broker_id: i64 = "brokerId",
        /// How long the registration lives, in milliseconds (5.x).
        heartbeat_timeout_millis: Option<i64> = "heartbeatTimeoutMillis",
        /// Whether a slave may stand in for the master (5.x).
        enable_acting_master: Option<bool> = "enableActingMaster",
        /// Whether the body is compressed; false if missing.
        compressed: Option<bool> = "compressed",
        /// The checksum of the body; not checked if 0 or missing.
        body_crc32: Option<i32> = "bodyCrc32",
    }

    /// What a slave needs to know of its master.
    pub struct RegisterBrokerResponseHeader {
        /// The address that slaves replicate from.
        ha_server_addr: Option<String> = "haServerAddr",
        /// The master's address.
        master_addr: Option<String> = "masterAddr",
    }

    /// A broker leaves.
    pub struct UnRegisterBrokerRequestHeader {
        /// The name of the broker group.
        broker_name: String = "brokerName",
        /// The address that clients reach the broker at.
        broker_addr: String = "brokerAddr",
        /// The cluster.
        cluster_name: String = "clusterName",
        /// 0 for the master, else a slave.
        broker_id: i64 = "brokerId",
    }

    /// Asks whether the name server knows the broker's topics as they are now.
    pub struct QueryDataVersionRequestHeader {
        /// The name of the broker group.
        broker_name: String = "brokerName",
        /// The address that clients reach the broker at.
        broker_addr: String = "brokerAddr",
        /// The cluster.
        cluster_name: String = "clusterName",
        /// 0 for the master, else a slave.
        broker_id: i64 = "brokerId",
    }

    /// Whether the broker has to register again.
    pub struct QueryDataVersionResponseHeader {
        /// Whether the name server knows another version.
        changed: bool = "changed",
    }

    /// Sets an entry.
    pub struct PutKVConfigRequestHeader {
        /// The namespace of the entry.
        namespace: String = "namespace",
        /// The key.
        key: String = "key",
        /// The value.
        value: String = "value",
    }

    /// Asks for an entry.
    pub struct GetKVConfigRequestHeader {
        /// The namespace of the entry.
        namespace: String = "namespace",
        /// The key.
        key: String = "key",
    }

    /// The value of an entry.
    pub struct GetKVConfigResponseHeader {
        /// The value.
        value: Option<String> = "value",
    }

    /// Removes an entry.
    pub struct DeleteKVConfigRequestHeader {
        /// The namespace of the entry.
        namespace: String = "namespace",
        /// The key.
        key: String = "key",
    }

    /// Asks for all entries of a namespace.
    pub struct GetKVListByNamespaceRequestHeader {
        /// The namespace of the entry.
        namespace: String = "namespace",
    }

    /// Has clients stop sending to a broker group.
    pub struct WipeWritePermOfBrokerRequestHeader {
        /// The name of the broker group.
        broker_name: String = "brokerName",
    }

    /// How many topics that concerns.
    pub struct WipeWritePermOfBrokerResponseHeader {
        /// The number of topics.
        wipe_topic_count: i32 = "wipeTopicCount",
    }

    /// Has clients send to a broker group again.
    pub struct AddWritePermOfBrokerRequestHeader {
        /// The name of the broker group.
        broker_name: String = "brokerName",
    }

    /// How many topics that concerns.
    pub struct AddWritePermOfBrokerResponseHeader {
        /// The number of topics.
        add_topic_count: i32 = "addTopicCount",
    }

    /// A broker says that it is alive (5.x).
    pub struct BrokerHeartbeatRequestHeader {
        /// The cluster.
        cluster_name: String = "clusterName",
        /// The address that clients reach the broker at.
        broker_addr: String = "brokerAddr",
        /// The name of the broker group.
        broker_name: String = "brokerName",
        /// 0 for the master, else a slave.
        broker_id: Option<i64> = "brokerId",
        /// The master's epoch.
        epoch: Option<i32> = "epoch",
        /// The end of the commit log.
        max_offset: Option<i64> = "maxOffset",
        /// The confirmed end of the commit log.
        confirm_offset: Option<i64> = "confirmOffset",
        /// How long the heartbeat lasts, in milliseconds.
        heartbeat_timeout_mills: Option<i64> = "heartbeatTimeoutMills",
    }
}
