//! The tables of brokers and topics, and what changes them (`RouteInfoManager`).

mod lists;

use std::collections::{BTreeMap, BTreeSet};

use hotfire_protocol::body::{
    BrokerData, ClusterInfo, DataVersion, QueueData, TopicConfig, TopicRouteData,
};
use hotfire_protocol::topic::perm;
use hotfire_remoting::ConnectionId;

/// A broker that has not registered for longer than this is gone, in milliseconds: two minutes
/// (`RouteInfoManager.BROKER_CHANNEL_EXPIRED_TIME`).
pub const BROKER_CHANNEL_EXPIRED_TIME: i64 = 120_000;

/// The id of a group's master (`MixAll.MASTER_ID`).
const MASTER_ID: i64 = 0;

/// What a broker says of itself.
#[derive(Debug, Clone)]
pub struct Registration {
    /// The cluster.
    pub cluster: String,
    /// The broker group.
    pub broker_name: String,
    /// 0 for the master, else a slave.
    pub broker_id: i64,
    /// The address that clients reach the broker at.
    pub broker_addr: String,
    /// The address that slaves replicate from.
    pub ha_server_addr: String,
    /// The version of the broker's topics.
    pub data_version: DataVersion,
    /// The topics: all of them, or only those that changed.
    pub topics: Vec<TopicConfig>,
    /// The broker's filter servers.
    pub filter_servers: Vec<String>,
    /// The connection that the registration came over, and that it lives as long as.
    pub connection: ConnectionId,
}

/// What a registered broker learns: of its master, if it is a slave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registered {
    /// The address to replicate from.
    pub ha_server_addr: Option<String>,
    /// The master's address.
    pub master_addr: Option<String>,
}

/// A broker that did not register in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expired {
    /// Its address.
    pub broker_addr: String,
    /// Its connection, which is to be closed.
    pub connection: ConnectionId,
}

#[derive(Debug)]
struct Live {
    last_update_ms: i64,
    data_version: DataVersion,
    connection: ConnectionId,
    ha_server_addr: String,
}

/// The route tables.
///
/// Known for its surprises, all of them Apache RocketMQ's:
///
/// - topics that are missing from a later registration are not removed;
/// - a registration whose data version is known already changes no topics. So if a broker's first
///   registration after a restart of the name server carries a single new topic, the full one that
///   follows with the same version is not looked at, and the other topics stay unknown until the
///   next change (4.9; 5.x refuses the first one);
/// - a change of write permission lives in memory only, and any change of topics undoes it;
/// - when a master goes and a slave stays, the topics stay writeable, and clients find no master to
///   write to.
#[derive(Debug, Default)]
pub struct RouteInfoManager {
    /// Topic, then broker name.
    topic_queue_table: BTreeMap<String, BTreeMap<String, QueueData>>,
    broker_addr_table: BTreeMap<String, BrokerData>,
    cluster_addr_table: BTreeMap<String, BTreeSet<String>>,
    broker_live_table: BTreeMap<String, Live>,
    filter_server_table: BTreeMap<String, Vec<String>>,
}

impl RouteInfoManager {
    /// Tables without a broker.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a registration, whether the first or one of many.
    pub fn register(&mut self, now_ms: i64, registration: Registration) -> Registered {
        let Registration {
            cluster,
            broker_name,
            broker_id,
            broker_addr,
            ..
        } = &registration;
        self.cluster_addr_table
            .entry(cluster.clone())
            .or_default()
            .insert(broker_name.clone());
        let broker = self
            .broker_addr_table
            .entry(broker_name.clone())
            .or_insert_with(|| BrokerData {
                cluster: cluster.clone(),
                broker_name: broker_name.clone(),
                ..BrokerData::default()
            });
        // A slave that became the master must not stay a slave, too.
        broker
            .broker_addrs
            .retain(|id, addr| addr != broker_addr || id == broker_id);
        let first = broker
            .broker_addrs
            .insert(*broker_id, broker_addr.clone())
            .is_none();
        if *broker_id == MASTER_ID
            && (first || self.is_changed(broker_addr, &registration.data_version))
        {
            for topic in &registration.topics {
                self.set_queues(broker_name, topic);
            }
        }
        let answer = self.master_of(broker_name, *broker_id);
        self.set_live(now_ms, registration);
        answer
    }

    fn set_queues(&mut self, broker_name: &str, topic: &TopicConfig) {
        let queues = QueueData {
            broker_name: broker_name.to_owned(),
            read_queue_nums: topic.read_queue_nums,
            write_queue_nums: topic.write_queue_nums,
            perm: topic.perm,
            topic_sys_flag: topic.topic_sys_flag,
        };
        let brokers = self
            .topic_queue_table
            .entry(topic.topic_name.clone())
            .or_default();
        brokers.insert(broker_name.to_owned(), queues);
    }

    /// What a slave learns of its master.
    fn master_of(&self, broker_name: &str, broker_id: i64) -> Registered {
        if broker_id == MASTER_ID {
            return Registered::default();
        }
        let master = self
            .broker_addr_table
            .get(broker_name)
            .and_then(|broker| broker.broker_addrs.get(&MASTER_ID))
            .and_then(|addr| Some((addr, self.broker_live_table.get(addr)?)));
        master.map_or_else(Registered::default, |(addr, live)| Registered {
            ha_server_addr: Some(live.ha_server_addr.clone()),
            master_addr: Some(addr.clone()),
        })
    }

    fn set_live(&mut self, now_ms: i64, registration: Registration) {
        let Registration {
            broker_addr,
            filter_servers,
            ..
        } = registration;
        if filter_servers.is_empty() {
            self.filter_server_table.remove(&broker_addr);
        } else {
            self.filter_server_table
                .insert(broker_addr.clone(), filter_servers);
        }
        let live = Live {
            last_update_ms: now_ms,
            data_version: registration.data_version,
            connection: registration.connection,
            ha_server_addr: registration.ha_server_addr,
        };
        self.broker_live_table.insert(broker_addr, live);
    }

    /// Whether another version of a broker's topics is known, or none.
    fn is_changed(&self, broker_addr: &str, version: &DataVersion) -> bool {
        self.broker_live_table
            .get(broker_addr)
            .is_none_or(|live| live.data_version != *version)
    }

    /// Whether a broker has to register again, given the version of its topics, and the version
    /// that is known. Counts as a sign of life.
    pub fn query_data_version(
        &mut self,
        now_ms: i64,
        broker_addr: &str,
        version: &DataVersion,
    ) -> (bool, Option<DataVersion>) {
        let changed = self.is_changed(broker_addr, version);
        self.heartbeat(now_ms, broker_addr);
        let known = self.broker_live_table.get(broker_addr);
        (changed, known.map(|live| live.data_version))
    }

    /// Takes a sign of life. That of an unknown broker is ignored.
    pub fn heartbeat(&mut self, now_ms: i64, broker_addr: &str) {
        if let Some(live) = self.broker_live_table.get_mut(broker_addr) {
            live.last_update_ms = now_ms;
        }
    }

    /// Takes an unregistration that came over a connection. False if it was ignored, since the
    /// broker has registered over another connection that is still open: what arrives here was sent
    /// by an earlier life of it. (4.9.8 executes it, and a healthy broker is gone until it
    /// registers again.)
    pub fn unregister(&mut self, broker_addr: &str, connection: ConnectionId) -> bool {
        let stale = self
            .broker_live_table
            .get(broker_addr)
            .is_some_and(|live| live.connection != connection);
        if !stale {
            self.remove(broker_addr);
        }
        !stale
    }

    /// Removes the brokers whose latest registration came over a connection that has ended. Returns
    /// their addresses.
    pub fn connection_closed(&mut self, connection: ConnectionId) -> Vec<String> {
        let gone: Vec<_> = self
            .broker_live_table
            .iter()
            .filter(|(_, live)| live.connection == connection)
            .map(|(addr, _)| addr.clone())
            .collect();
        for addr in &gone {
            self.remove(addr);
        }
        gone
    }

    /// Removes the brokers that have not been heard of for too long. Their connections are to be
    /// closed.
    pub fn scan_not_active_broker(&mut self, now_ms: i64) -> Vec<Expired> {
        let expired: Vec<_> = self
            .broker_live_table
            .iter()
            .filter(|(_, live)| live.last_update_ms + BROKER_CHANNEL_EXPIRED_TIME < now_ms)
            .map(|(addr, live)| Expired {
                broker_addr: addr.clone(),
                connection: live.connection,
            })
            .collect();
        for Expired { broker_addr, .. } in &expired {
            self.remove(broker_addr);
        }
        expired
    }

    /// Removes an address, and its group and the group's queues if it was the last one.
    fn remove(&mut self, broker_addr: &str) {
        self.broker_live_table.remove(broker_addr);
        self.filter_server_table.remove(broker_addr);
        let mut empty = Vec::new();
        for (name, broker) in &mut self.broker_addr_table {
            broker.broker_addrs.retain(|_, addr| addr != broker_addr);
            if broker.broker_addrs.is_empty() {
                empty.push(name.clone());
            }
        }
        for name in empty {
            self.remove_group(&name);
        }
    }

    fn remove_group(&mut self, broker_name: &str) {
        self.broker_addr_table.remove(broker_name);
        self.cluster_addr_table.retain(|_, names| {
            names.remove(broker_name);
            !names.is_empty()
        });
        self.topic_queue_table.retain(|_, brokers| {
            brokers.remove(broker_name);
            !brokers.is_empty()
        });
    }

    /// Where a topic is, without the configuration of ordered topics. `None` if no broker that is
    /// there has it.
    pub fn pickup_topic_route_data(&self, topic: &str) -> Option<TopicRouteData> {
        let queues = self.topic_queue_table.get(topic)?;
        let brokers: Vec<_> = queues
            .keys()
            .filter_map(|name| self.broker_addr_table.get(name))
            .cloned()
            .collect();
        if brokers.is_empty() {
            return None;
        }
        let mut route = TopicRouteData::default();
        for addr in brokers
            .iter()
            .flat_map(|broker| broker.broker_addrs.values())
        {
            if let Some(servers) = self.filter_server_table.get(addr) {
                route
                    .filter_server_table
                    .insert(addr.clone(), servers.clone());
            }
        }
        route.queue_datas = queues.values().cloned().collect();
        route.broker_datas = brokers;
        Some(route)
    }

    /// All brokers by cluster.
    pub fn cluster_info(&self) -> ClusterInfo {
        ClusterInfo {
            broker_addr_table: self.broker_addr_table.clone(),
            cluster_addr_table: self.cluster_addr_table.clone(),
        }
    }

    /// Has clients no longer send to a broker group. Returns the number of topics concerned.
    pub fn wipe_write_perm_of_broker(&mut self, broker_name: &str) -> i32 {
        self.change_perm(broker_name, |perm| perm & !perm::WRITE)
    }

    /// Makes all topics of a broker group readable and writeable, even those that were not before.
    /// Returns their number.
    pub fn add_write_perm_of_broker(&mut self, broker_name: &str) -> i32 {
        self.change_perm(broker_name, |_| perm::READ | perm::WRITE)
    }

    fn change_perm(&mut self, broker_name: &str, change: impl Fn(i32) -> i32) -> i32 {
        let mut topics = 0;
        for queues in self
            .topic_queue_table
            .values_mut()
            .filter_map(|q| q.get_mut(broker_name))
        {
            queues.perm = change(queues.perm);
            topics += 1;
        }
        topics
    }

    /// Forgets a topic, in one cluster or everywhere. It comes back with the next registration that
    /// carries it and has a new data version.
    pub fn delete_topic(&mut self, topic: &str, cluster: Option<&str>) {
        let Some(cluster) = cluster else {
            self.topic_queue_table.remove(topic);
            return;
        };
        let Some(brokers) = self.topic_queue_table.get_mut(topic) else {
            return;
        };
        for name in self.cluster_addr_table.get(cluster).into_iter().flatten() {
            brokers.remove(name);
        }
        if brokers.is_empty() {
            self.topic_queue_table.remove(topic);
        }
    }

    /// Adds queues to a topic from outside of any registration (5.x). Stops at the first queue
    /// whose broker is unknown, as 5.x does.
    pub fn register_topic(&mut self, topic: &str, queues: Vec<QueueData>) {
        for queue in queues {
            if !self.broker_addr_table.contains_key(&queue.broker_name) {
                tracing::warn!(topic, broker = queue.broker_name, "no such broker");
                return;
            }
            let brokers = self.topic_queue_table.entry(topic.to_owned()).or_default();
            brokers.insert(queue.broker_name.clone(), queue);
        }
    }
}
