//! Where topics and brokers are, as the name server last said.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hotfire_protocol::MessageQueue;
use hotfire_protocol::body::{BrokerData, TopicRouteData};

use crate::PublishInfo;

/// The broker id of masters.
pub const MASTER_ID: i64 = 0;
/// The permission bit of writing (`PermName`).
const PERM_WRITE: i32 = 2;

/// The routes of the topics in use, and the addresses of the brokers that they name.
#[derive(Debug, Default)]
pub struct RouteTable {
    topics: BTreeMap<String, TopicRoute>,
    brokers: BTreeMap<String, BTreeMap<i64, String>>,
}

#[derive(Debug)]
struct TopicRoute {
    route: TopicRouteData,
    publish: Arc<PublishInfo>,
    subscribe: Arc<Vec<MessageQueue>>,
}

/// An address of a broker group, and whether it is a slave's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerAddr {
    /// `host:port`.
    pub addr: String,
    /// Whether it is not the master.
    pub slave: bool,
}

impl RouteTable {
    /// Takes a route; true if it differs from the last one. `start` begins the turns of sending.
    pub fn update(&mut self, topic: &str, route: TopicRouteData, start: u32) -> bool {
        let route = sorted(route);
        if self
            .topics
            .get(topic)
            .is_some_and(|known| known.route == route)
        {
            return false;
        }
        for broker in &route.broker_datas {
            self.brokers
                .insert(broker.broker_name.clone(), broker.broker_addrs.clone());
        }
        let publish = Arc::new(PublishInfo::new(publish_queues(topic, &route), start));
        let subscribe = Arc::new(route.subscribe_queues(topic));
        self.topics.insert(
            topic.to_owned(),
            TopicRoute {
                route,
                publish,
                subscribe,
            },
        );
        true
    }

    /// The queues to send to, sorted by broker name and queue id.
    pub fn publish(&self, topic: &str) -> Option<Arc<PublishInfo>> {
        self.topics.get(topic).map(|known| known.publish.clone())
    }

    /// The queues to consume from, sorted.
    pub fn subscribe(&self, topic: &str) -> Option<Arc<Vec<MessageQueue>>> {
        self.topics.get(topic).map(|known| known.subscribe.clone())
    }

    /// The master of a broker group.
    pub fn master(&self, broker_name: &str) -> Option<String> {
        self.brokers.get(broker_name)?.get(&MASTER_ID).cloned()
    }

    /// Any member of a broker group, the master if it is known.
    pub fn any(&self, broker_name: &str) -> Option<BrokerAddr> {
        self.member(broker_name, MASTER_ID)
    }

    /// The member with this id or, for a slave's, the next one; else any
    /// (`findBrokerAddressInSubscribe`).
    pub fn member(&self, broker_name: &str, id: i64) -> Option<BrokerAddr> {
        let members = self.brokers.get(broker_name)?;
        let slave = id != MASTER_ID;
        let exact = members
            .get(&id)
            .or_else(|| members.get(&id.wrapping_add(1)).filter(|_| slave));
        if let Some(addr) = exact {
            return Some(BrokerAddr {
                addr: addr.clone(),
                slave,
            });
        }
        let (&id, addr) = members.first_key_value()?;
        Some(BrokerAddr {
            addr: addr.clone(),
            slave: id != MASTER_ID,
        })
    }

    /// One of the brokers that have the topic, by a random number (`findBrokerAddrByTopic`).
    pub fn broker_of(&self, topic: &str, random: u64) -> Option<String> {
        let brokers = &self.topics.get(topic)?.route.broker_datas;
        let at = random.checked_rem(brokers.len() as u64)? as usize;
        select_addr(brokers.get(at)?, random)
    }

    /// The addresses of all brokers that have the topic, one of each group.
    pub fn brokers_of(&self, topic: &str) -> Vec<String> {
        let brokers = self
            .topics
            .get(topic)
            .map(|known| known.route.broker_datas.as_slice());
        brokers
            .unwrap_or_default()
            .iter()
            .filter_map(|broker| select_addr(broker, 0))
            .collect()
    }

    /// Forgets addresses that no route names any more (`cleanOfflineBroker`).
    pub fn clean_offline(&mut self) {
        let known: BTreeSet<&String> = self
            .topics
            .values()
            .flat_map(|topic| &topic.route.broker_datas)
            .flat_map(|broker| broker.broker_addrs.values())
            .collect();
        for members in self.brokers.values_mut() {
            members.retain(|_, addr| known.contains(addr));
        }
        self.brokers.retain(|_, members| !members.is_empty());
    }

    /// All addresses, with their broker ids.
    pub fn all_brokers(&self) -> Vec<(i64, String)> {
        let members = self.brokers.values().flatten();
        members.map(|(&id, addr)| (id, addr.clone())).collect()
    }
}

/// The same route in one order, whatever order the name server lists things in: sending by hash and
/// sharing queues rely on it.
fn sorted(mut route: TopicRouteData) -> TopicRouteData {
    route
        .queue_datas
        .sort_by(|a, b| a.broker_name.cmp(&b.broker_name));
    route
        .broker_datas
        .sort_by(|a, b| a.broker_name.cmp(&b.broker_name));
    route
}

/// The master's address, or a random member's (`BrokerData.selectBrokerAddr`).
fn select_addr(broker: &BrokerData, random: u64) -> Option<String> {
    let members = &broker.broker_addrs;
    members.get(&MASTER_ID).cloned().or_else(|| {
        let at = (random >> 32).checked_rem(members.len() as u64)? as usize;
        members.values().nth(at).cloned()
    })
}

/// The queues that may be written and whose master is there; or exactly those that an order
/// configuration (`broker-a:8;broker-b:8`) lists (`topicRouteData2TopicPublishInfo`).
fn publish_queues(topic: &str, route: &TopicRouteData) -> Vec<MessageQueue> {
    if let Some(order) = route
        .order_topic_conf
        .as_deref()
        .filter(|order| !order.is_empty())
    {
        return ordered_queues(topic, order);
    }
    let has_master = |name: &str| {
        let mut brokers = route.broker_datas.iter();
        brokers.any(|broker| {
            broker.broker_name == name && broker.broker_addrs.contains_key(&MASTER_ID)
        })
    };
    let writable = route
        .queue_datas
        .iter()
        .filter(|data| data.perm & PERM_WRITE != 0 && has_master(&data.broker_name));
    writable
        .flat_map(|data| MessageQueue::of_broker(topic, &data.broker_name, data.write_queue_nums))
        .collect()
}

fn ordered_queues(topic: &str, order: &str) -> Vec<MessageQueue> {
    order
        .split(';')
        .filter_map(|entry| entry.split_once(':'))
        .filter_map(|(broker, count)| Some((broker, count.trim().parse().ok()?)))
        .flat_map(|(broker, count)| MessageQueue::of_broker(topic, broker, count))
        .collect()
}

#[cfg(test)]
mod tests {
    use hotfire_protocol::body::QueueData;

    use super::*;

    fn queue_data(broker: &str, perm: i32) -> QueueData {
        QueueData {
            broker_name: broker.to_owned(),
            read_queue_nums: 2,
            write_queue_nums: 1,
            perm,
            topic_sys_flag: 0,
        }
    }

    fn broker_data(name: &str, members: &[(i64, &str)]) -> BrokerData {
        BrokerData {
            cluster: "c".to_owned(),
            broker_name: name.to_owned(),
            broker_addrs: members
                .iter()
                .map(|&(id, addr)| (id, addr.to_owned()))
                .collect(),
        }
    }

    fn route(queues: Vec<QueueData>, brokers: Vec<BrokerData>) -> TopicRouteData {
        TopicRouteData {
            queue_datas: queues,
            broker_datas: brokers,
            ..TopicRouteData::default()
        }
    }

    fn two_brokers() -> TopicRouteData {
        route(
            vec![queue_data("b", 6), queue_data("a", 6)],
            vec![
                broker_data("b", &[(0, "b0"), (1, "b1")]),
                broker_data("a", &[(0, "a0")]),
            ],
        )
    }

    fn table(route: TopicRouteData) -> RouteTable {
        let mut table = RouteTable::default();
        assert!(table.update("t", route, 0));
        table
    }

    fn published(table: &RouteTable) -> Vec<String> {
        let info = table.publish("t").unwrap();
        info.queues().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_broker_may_suggest_any_number() {
        let table = table(two_brokers());
        for suggested in [i64::MAX, i64::MIN, -7] {
            assert_eq!(table.member("b", suggested).unwrap().addr, "b0");
        }
    }

    #[test]
    fn queues_are_sorted_whatever_order_the_name_server_lists_them_in() {
        let mut table = table(two_brokers());
        assert_eq!(published(&table), ["t@a:0", "t@b:0"]);
        let mut shuffled = two_brokers();
        shuffled.queue_datas.reverse();
        shuffled.broker_datas.reverse();
        assert!(!table.update("t", shuffled, 0), "it is the same route");
    }

    #[test]
    fn only_writable_queues_of_masters_are_sent_to_but_slaves_are_read_from() {
        let table = table(route(
            vec![queue_data("a", 4), queue_data("b", 6), queue_data("c", 2)],
            vec![
                broker_data("a", &[(0, "a0")]),
                broker_data("b", &[(1, "b1")]),
                broker_data("c", &[(0, "c0")]),
            ],
        ));
        assert_eq!(published(&table), ["t@c:0"]);
        let read: Vec<_> = table
            .subscribe("t")
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(read, ["t@a:0", "t@a:1", "t@b:0", "t@b:1"]);
    }

    #[test]
    fn an_order_configuration_says_exactly_which_queues_are_sent_to() {
        let mut ordered = two_brokers();
        ordered.order_topic_conf = Some("b:2;a:1".to_owned());
        assert_eq!(published(&table(ordered)), ["t@b:0", "t@b:1", "t@a:0"]);
    }

    #[test]
    fn a_member_is_found_by_id_or_else_its_neighbour_or_anyone() {
        let table = table(route(
            Vec::new(),
            vec![
                broker_data("a", &[(0, "a0"), (2, "a2")]),
                broker_data("b", &[(1, "b1")]),
            ],
        ));
        let found = |name, id| {
            table
                .member(name, id)
                .map(|found| (found.addr, found.slave))
        };
        assert_eq!(found("a", 0), Some(("a0".to_owned(), false)));
        assert_eq!(found("a", 1), Some(("a2".to_owned(), true)));
        assert_eq!(found("a", 5), Some(("a0".to_owned(), false)));
        assert_eq!(found("b", 0), Some(("b1".to_owned(), true)));
        assert_eq!(found("c", 0), None);
        assert_eq!(table.master("b"), None);
    }

    #[test]
    fn addresses_that_no_route_names_are_forgotten() {
        let mut table = table(two_brokers());
        let moved = route(
            vec![queue_data("a", 6)],
            vec![broker_data("a", &[(0, "a9")])],
        );
        table.update("t", moved, 0);
        table.clean_offline();
        assert_eq!(table.all_brokers(), [(0, "a9".to_owned())]);
    }

    #[test]
    fn a_broker_of_a_topic_is_drawn_by_number() {
        let table = table(two_brokers());
        assert_eq!(table.broker_of("t", 0).as_deref(), Some("a0"));
        assert_eq!(table.broker_of("t", 1).as_deref(), Some("b0"));
        assert_eq!(table.broker_of("unknown", 1), None);
        assert_eq!(table.brokers_of("t"), ["a0", "b0"]);
    }
}
