//! What holds of the route tables whatever happens to them.

use std::collections::BTreeSet;

use hotfire_namesrv::{Registration, RouteInfoManager};
use hotfire_protocol::body::{DataVersion, TopicConfig};
use hotfire_remoting::ConnectionId;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Event {
    Register {
        cluster: u8,
        name: u8,
        id: i64,
        addr: u8,
        version: i64,
        topics: BTreeSet<u8>,
        connection: u64,
    },
    Unregister(u8, u64),
    Closed(u64),
    Scan,
    DeleteTopic(u8, Option<u8>),
    Sleep(i64),
}

fn event() -> impl Strategy<Value = Event> {
    let topics = prop::collection::btree_set(0..4u8, 0..4);
    let register = (0..2u8, 0..3u8, 0..3i64, 0..4u8, 0..3i64, topics, 0..4u64).prop_map(
        |(cluster, name, id, addr, version, topics, connection)| Event::Register {
            cluster,
            name,
            id,
            addr,
            version,
            topics,
            connection,
        },
    );
    prop_oneof![
        6 => register,
        2 => (0..4u8, 0..4u64).prop_map(|(addr, connection)| Event::Unregister(addr, connection)),
        1 => (0..4u64).prop_map(Event::Closed),
        1 => Just(Event::Scan),
        1 => (0..4u8, prop::option::of(0..2u8)).prop_map(|(t, c)| Event::DeleteTopic(t, c)),
        2 => (0..100_000i64).prop_map(Event::Sleep),
    ]
}

fn apply(routes: &mut RouteInfoManager, now_ms: &mut i64, event: Event) {
    match event {
        Event::Register {
            cluster,
            name,
            id,
            addr,
            version,
            topics,
            connection,
        } => {
            let topics = topics
                .iter()
                .map(|topic| TopicConfig::new(topic.to_string(), 4, 4, 6));
            let registration = Registration {
                cluster: cluster.to_string(),
                broker_name: name.to_string(),
                broker_id: id,
                broker_addr: addr.to_string(),
                ha_server_addr: String::new(),
                data_version: DataVersion {
                    counter: version,
                    ..DataVersion::default()
                },
                topics: topics.collect(),
                filter_servers: Vec::new(),
                connection: ConnectionId(connection),
                peer: ([10, 0, 0, connection as u8], 1).into(),
            };
            let registered = routes.register(*now_ms, registration);
            assert!(registered.is_ok(), "{registered:?}");
        }
        Event::Unregister(addr, connection) => {
            routes.unregister(&addr.to_string(), ConnectionId(connection));
        }
        Event::Closed(connection) => {
            routes.connection_closed(ConnectionId(connection));
        }
        Event::Scan => {
            routes.scan_not_active_broker(*now_ms);
        }
        Event::DeleteTopic(topic, cluster) => {
            let cluster = cluster.map(|cluster| cluster.to_string());
            routes.delete_topic(&topic.to_string(), cluster.as_deref());
        }
        Event::Sleep(millis) => *now_ms += millis,
    }
}

/// Groups, clusters and topics speak of the same brokers.
fn check(routes: &RouteInfoManager) {
    let info = routes.cluster_info();
    let groups: BTreeSet<_> = info.broker_addr_table.keys().collect();
    let in_clusters: BTreeSet<_> = info.cluster_addr_table.values().flatten().collect();
    assert_eq!(groups, in_clusters);
    assert!(
        info.broker_addr_table
            .values()
            .all(|group| !group.broker_addrs.is_empty())
    );
    for topic in routes.all_topics().topic_list {
        let route = routes.pickup_topic_route_data(&topic);
        assert!(route.is_some_and(|route| route.queue_datas.len() == route.broker_datas.len()));
    }
}

proptest! {
    #[test]
    fn the_tables_never_contradict_each_other(events in prop::collection::vec(event(), 0..60)) {
        let (mut routes, mut now_ms) = (RouteInfoManager::new(), 0);
        for event in events {
            apply(&mut routes, &mut now_ms, event);
            check(&routes);
        }
    }

    #[test]
    fn two_minutes_of_silence_leave_nothing(events in prop::collection::vec(event(), 0..60)) {
        let (mut routes, mut now_ms) = (RouteInfoManager::new(), 0);
        for event in events {
            apply(&mut routes, &mut now_ms, event);
        }
        routes.scan_not_active_broker(now_ms + 120_001);
        prop_assert_eq!(routes.cluster_info(), Default::default());
        prop_assert_eq!(routes.all_topics(), Default::default());
    }
}
