//! The tables of brokers and topics, and what changes them (`RouteInfoManager`).

mod lists;
mod rivals;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use hotfire_env::Shown;
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

/// The most addresses of brokers that are kept. Clients are told of all of them at once, and great
/// clusters have some hundred.
pub const BROKERS_MAX: usize = 10_000;
/// The most addresses that may be registered over one connection: one, but for a container of 5.x.
pub const BROKERS_PER_CONNECTION_MAX: usize = 64;
/// The most topics of all brokers, each counted once for every broker that has it.
pub const TOPICS_MAX: usize = 1_000_000;
/// The bytes that the names of all topics may have, each counted once: the list of them has to fit
/// into a frame.
pub const TOPIC_NAMES_MAX: usize = 8 << 20;

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
    /// Where the connection comes from.
    pub peer: SocketAddr,
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

/// A registration that was taken, but for its topics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Begun {
    /// What the broker learns.
    pub registered: Registered,
    /// The topics that [`RouteInfoManager::set_topics`] is to be given.
    pub topics: Vec<TopicConfig>,
    /// Who is registered under the same address, or under the same name and id, and is there still.
    pub rival: Option<String>,
}

/// Why a registration is refused: there is no room for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FullError {
    /// Too many brokers.
    #[error("{BROKERS_MAX} brokers are registered, no more are taken")]
    Brokers,
    /// Too many brokers over one connection.
    #[error(
        "{BROKERS_PER_CONNECTION_MAX} brokers are registered over this connection, no more are taken"
    )]
    Connection,
    /// Too many topics.
    #[error("{TOPICS_MAX} topics of brokers are registered, no more are taken")]
    Topics,
    /// Too long names of topics.
    #[error("the names of the registered topics have {TOPIC_NAMES_MAX} bytes, no more are taken")]
    TopicNames,
}

/// Who a broker says it is, over which connection.
#[derive(Debug, Clone)]
struct Identity {
    cluster: String,
    broker_name: String,
    broker_id: i64,
    ha_server_addr: String,
    last_update_ms: i64,
    connection: ConnectionId,
    peer: SocketAddr,
}

#[derive(Debug)]
struct Live {
    identity: Identity,
    data_version: DataVersion,
    /// Who was registered under this address before, over connections that are open still. The
    /// newest is the last.
    earlier: Vec<Identity>,
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
    /// The addresses that were registered over a connection.
    by_connection: BTreeMap<ConnectionId, BTreeSet<String>>,
    /// How many entries `topic_queue_table` has for all brokers together.
    topic_count: usize,
    /// How many bytes the names in `topic_queue_table` have.
    topic_bytes: usize,
}

impl RouteInfoManager {
    /// Tables without a broker.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a registration, whether the first or one of many.
    ///
    /// # Errors
    /// There is no room for it; nothing has changed then.
    pub fn register(
        &mut self,
        now_ms: i64,
        registration: Registration,
    ) -> Result<Registered, FullError> {
        let (addr, connection) = (registration.broker_addr.clone(), registration.connection);
        let begun = self.begin(now_ms, registration)?;
        self.set_topics(&addr, connection, &begun.topics);
        Ok(begun.registered)
    }

    /// Takes a registration without its topics, which are to be set next: there may be many of them,
    /// and others have to be answered meanwhile.
    ///
    /// # Errors
    /// There is no room for it; nothing has changed then.
    pub fn begin(&mut self, now_ms: i64, registration: Registration) -> Result<Begun, FullError> {
        self.check_room(&registration)?;
        let rival = self.rival(now_ms, &registration);
        let Registration {
            cluster,
            broker_name,
            broker_id,
            broker_addr,
            ..
        } = &registration;
        // A slave that became the master must not stay a slave, too.
        if let Some(broker) = self.broker_addr_table.get_mut(broker_name) {
            broker
                .broker_addrs
                .retain(|id, addr| addr != broker_addr || id == broker_id);
        }
        let first = self.join(cluster, broker_name, *broker_id, broker_addr);
        let changed = *broker_id == MASTER_ID
            && (first || self.is_changed(broker_addr, &registration.data_version));
        let registered = self.master_of(broker_name, *broker_id);
        let mut registration = registration;
        let topics = std::mem::take(&mut registration.topics);
        self.set_live(now_ms, registration);
        Ok(Begun {
            registered,
            topics: if changed { topics } else { Vec::new() },
            rival,
        })
    }

    fn check_room(&self, registration: &Registration) -> Result<(), FullError> {
        let addr = &registration.broker_addr;
        if self.broker_live_table.len() >= BROKERS_MAX && !self.broker_live_table.contains_key(addr)
        {
            return Err(FullError::Brokers);
        }
        let of_connection = self.by_connection.get(&registration.connection);
        if of_connection
            .is_some_and(|addrs| addrs.len() >= BROKERS_PER_CONNECTION_MAX && !addrs.contains(addr))
        {
            return Err(FullError::Connection);
        }
        let topics = &registration.topics;
        if self.topic_count + topics.len() > TOPICS_MAX {
            let new = topics.iter().filter(|topic| {
                let brokers = self.topic_queue_table.get(&topic.topic_name);
                brokers.is_none_or(|brokers| !brokers.contains_key(&registration.broker_name))
            });
            if self.topic_count + new.count() > TOPICS_MAX {
                return Err(FullError::Topics);
            }
        }
        let bytes: usize = topics.iter().map(|topic| topic.topic_name.len()).sum();
        if self.topic_bytes + bytes > TOPIC_NAMES_MAX {
            let new = topics
                .iter()
                .filter(|topic| !self.topic_queue_table.contains_key(&topic.topic_name));
            let bytes: usize = new.map(|topic| topic.topic_name.len()).sum();
            if self.topic_bytes + bytes > TOPIC_NAMES_MAX {
                return Err(FullError::TopicNames);
            }
        }
        Ok(())
    }

    /// Adds an address to a group and its cluster. True if the group had none under this id.
    fn join(&mut self, cluster: &str, broker_name: &str, broker_id: i64, addr: &str) -> bool {
        self.cluster_addr_table
            .entry(cluster.to_owned())
            .or_default()
            .insert(broker_name.to_owned());
        let broker = self
            .broker_addr_table
            .entry(broker_name.to_owned())
            .or_insert_with(|| BrokerData {
                cluster: cluster.to_owned(),
                broker_name: broker_name.to_owned(),
                ..BrokerData::default()
            });
        broker
            .broker_addrs
            .insert(broker_id, addr.to_owned())
            .is_none()
    }

    /// Sets topics of a registration that has begun. False if it has ended or been replaced since, and
    /// nothing was set.
    pub fn set_topics(
        &mut self,
        broker_addr: &str,
        connection: ConnectionId,
        topics: &[TopicConfig],
    ) -> bool {
        let Some(live) = self.broker_live_table.get(broker_addr) else {
            return false;
        };
        if live.identity.connection != connection {
            return false;
        }
        let broker_name = live.identity.broker_name.clone();
        for topic in topics {
            let queues = QueueData {
                broker_name: broker_name.clone(),
                read_queue_nums: topic.read_queue_nums,
                write_queue_nums: topic.write_queue_nums,
                perm: topic.perm,
                topic_sys_flag: topic.topic_sys_flag,
            };
            self.set_queues(&topic.topic_name, queues);
        }
        true
    }

    fn set_queues(&mut self, topic: &str, queues: QueueData) {
        if !self.topic_queue_table.contains_key(topic) {
            self.topic_bytes += topic.len();
        }
        let brokers = self.topic_queue_table.entry(topic.to_owned()).or_default();
        let replaced = brokers.insert(queues.broker_name.clone(), queues);
        self.topic_count += usize::from(replaced.is_none());
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
            ha_server_addr: Some(live.identity.ha_server_addr.clone()),
            master_addr: Some(addr.clone()),
        })
    }

    fn set_live(&mut self, now_ms: i64, registration: Registration) {
        let Registration {
            broker_addr,
            filter_servers,
            data_version,
            connection,
            ..
        } = registration;
        if filter_servers.is_empty() {
            self.filter_server_table.remove(&broker_addr);
        } else {
            self.filter_server_table
                .insert(broker_addr.clone(), filter_servers);
        }
        self.by_connection
            .entry(connection)
            .or_default()
            .insert(broker_addr.clone());
        let identity = Identity {
            cluster: registration.cluster,
            broker_name: registration.broker_name,
            broker_id: registration.broker_id,
            ha_server_addr: registration.ha_server_addr,
            last_update_ms: now_ms,
            connection,
            peer: registration.peer,
        };
        match self.broker_live_table.get_mut(&broker_addr) {
            Some(live) => {
                live.replace(identity);
                live.data_version = data_version;
            }
            None => {
                let live = Live {
                    identity,
                    data_version,
                    earlier: Vec::new(),
                };
                self.broker_live_table.insert(broker_addr, live);
            }
        }
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
            live.identity.last_update_ms = now_ms;
        }
    }

    /// Takes an unregistration that came over a connection. False if it was ignored, since the
    /// broker has registered over another connection that is still open: what arrives here was sent
    /// by an earlier life of it. (4.9.8 executes it, and a healthy broker is gone until it
    /// registers again.)
    pub fn unregister(&mut self, broker_addr: &str, connection: ConnectionId) -> bool {
        let Some(live) = self.broker_live_table.get_mut(broker_addr) else {
            return true;
        };
        if live.identity.connection != connection {
            live.earlier
                .retain(|earlier| earlier.connection != connection);
            return false;
        }
        // Earlier lives of the same broker go with it, others under its address do not.
        let host = live.identity.peer.ip();
        live.earlier.retain(|earlier| earlier.peer.ip() != host);
        self.fall_back(broker_addr);
        true
    }

    /// Ends the registrations that came over a connection which has ended. Returns the addresses that
    /// nobody is registered under any more. (4.9.8 also removes a broker that is still there, if
    /// somebody else registered under its name or address over the connection.)
    pub fn connection_closed(&mut self, connection: ConnectionId) -> Vec<String> {
        let addrs = self.by_connection.remove(&connection).unwrap_or_default();
        let mut gone = Vec::new();
        for addr in addrs {
            let Some(live) = self.broker_live_table.get_mut(&addr) else {
                continue;
            };
            live.earlier
                .retain(|earlier| earlier.connection != connection);
            if live.identity.connection == connection && !self.fall_back(&addr) {
                gone.push(addr);
            }
        }
        gone
    }

    /// Removes the brokers that have not been heard of for too long. Their connections are to be
    /// closed.
    pub fn scan_not_active_broker(&mut self, now_ms: i64) -> Vec<Expired> {
        let expired: Vec<_> = self
            .broker_live_table
            .iter()
            .filter(|(_, live)| live.identity.is_expired(now_ms))
            .map(|(addr, live)| Expired {
                broker_addr: addr.clone(),
                connection: live.identity.connection,
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
        let names: Vec<_> = self.broker_addr_table.keys().cloned().collect();
        for name in names {
            self.leave(&name, broker_addr);
        }
    }

    /// Takes an address out of a group. Who else is registered under its id takes its place; a group
    /// without an address ends.
    fn leave(&mut self, broker_name: &str, broker_addr: &str) {
        let Some(broker) = self.broker_addr_table.get_mut(broker_name) else {
            return;
        };
        let ids: Vec<_> = broker
            .broker_addrs
            .iter()
            .filter(|(_, addr)| *addr == broker_addr)
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            broker.broker_addrs.remove(&id);
            if let Some((addr, live)) = self
                .broker_live_table
                .iter_mut()
                .filter(|(addr, live)| *addr != broker_addr && live.identity.is(broker_name, id))
                .max_by_key(|(_, live)| live.identity.last_update_ms)
            {
                broker.broker_addrs.insert(id, addr.clone());
                live.forget_topics();
            }
        }
        if broker.broker_addrs.is_empty() {
            self.remove_group(broker_name);
        }
    }

    fn remove_group(&mut self, broker_name: &str) {
        self.broker_addr_table.remove(broker_name);
        self.cluster_addr_table.retain(|_, names| {
            names.remove(broker_name);
            !names.is_empty()
        });
        let (count, bytes) = (&mut self.topic_count, &mut self.topic_bytes);
        self.topic_queue_table.retain(|topic, brokers| {
            *count -= usize::from(brokers.remove(broker_name).is_some());
            if brokers.is_empty() {
                *bytes -= topic.len();
            }
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
        let Some(brokers) = self.topic_queue_table.get_mut(topic) else {
            return;
        };
        let before = brokers.len();
        match cluster {
            Some(cluster) => {
                for name in self.cluster_addr_table.get(cluster).into_iter().flatten() {
                    brokers.remove(name);
                }
            }
            None => brokers.clear(),
        }
        self.topic_count -= before - brokers.len();
        if brokers.is_empty() {
            self.topic_queue_table.remove(topic);
            self.topic_bytes -= topic.len();
        }
    }

    /// Adds queues to a topic from outside of any registration (5.x). Stops at the first queue
    /// whose broker is unknown, as 5.x does.
    ///
    /// # Errors
    /// There is no room for them.
    pub fn register_topic(&mut self, topic: &str, queues: Vec<QueueData>) -> Result<(), FullError> {
        for queue in queues {
            if !self.broker_addr_table.contains_key(&queue.broker_name) {
                tracing::warn!(
                    topic = %Shown(topic), broker = %Shown(&queue.broker_name), "no such broker"
                );
                break;
            }
            if self.topic_count >= TOPICS_MAX {
                return Err(FullError::Topics);
            }
            if self.topic_bytes + topic.len() > TOPIC_NAMES_MAX {
                return Err(FullError::TopicNames);
            }
            self.set_queues(topic, queue);
        }
        Ok(())
    }
}
