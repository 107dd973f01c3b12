//! What the route tables do with registrations, silence and goodbyes.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use hotfire_namesrv::{
    BROKERS_MAX, BROKERS_PER_CONNECTION_MAX, Expired, FullError, Registered, Registration,
    RouteInfoManager, TOPIC_NAMES_MAX,
};
use hotfire_protocol::body::{DataVersion, QueueData, TopicConfig};
use hotfire_remoting::ConnectionId;

const MASTER: &str = "10.0.0.1:10911";
const SLAVE: &str = "10.0.0.2:10911";
const FIRST: ConnectionId = ConnectionId(1);
const SECOND: ConnectionId = ConnectionId(2);

/// Where a broker connects from.
fn peer(host: u8) -> std::net::SocketAddr {
    ([10, 0, 0, host], 40_000).into()
}

fn version(counter: i64) -> DataVersion {
    DataVersion {
        counter,
        ..DataVersion::default()
    }
}

/// A registration of broker-a's master with topics of four queues each.
fn master(counter: i64, topics: &[&str]) -> Registration {
    Registration {
        cluster: "c".to_owned(),
        broker_name: "broker-a".to_owned(),
        broker_id: 0,
        broker_addr: MASTER.to_owned(),
        ha_server_addr: "10.0.0.1:10912".to_owned(),
        data_version: version(counter),
        topics: topics
            .iter()
            .map(|topic| TopicConfig::new(*topic, 4, 4, 6))
            .collect(),
        filter_servers: Vec::new(),
        connection: FIRST,
        peer: peer(1),
    }
}

fn slave(counter: i64, topics: &[&str]) -> Registration {
    Registration {
        broker_id: 1,
        broker_addr: SLAVE.to_owned(),
        ha_server_addr: "10.0.0.2:10912".to_owned(),
        connection: SECOND,
        peer: peer(2),
        ..master(counter, topics)
    }
}

fn registered(registrations: impl IntoIterator<Item = Registration>) -> RouteInfoManager {
    let mut routes = RouteInfoManager::new();
    for registration in registrations {
        routes.register(0, registration).unwrap();
    }
    routes
}

fn topics(routes: &RouteInfoManager) -> Vec<String> {
    routes.all_topics().topic_list
}

/// The addresses of a topic's brokers.
fn addresses(routes: &RouteInfoManager, topic: &str) -> Vec<String> {
    let route = routes.pickup_topic_route_data(topic).unwrap_or_default();
    let brokers = route.broker_datas.into_iter();
    brokers
        .flat_map(|broker| broker.broker_addrs.into_values())
        .collect()
}

fn perm(routes: &RouteInfoManager, topic: &str) -> i32 {
    routes.pickup_topic_route_data(topic).unwrap().queue_datas[0].perm
}

#[test]
fn a_registered_topic_has_a_route() {
    let routes = registered([master(1, &["t"])]);
    let route = routes.pickup_topic_route_data("t").unwrap();
    assert_eq!(addresses(&routes, "t"), [MASTER]);
    let queues = &route.queue_datas[0];
    assert_eq!(
        (queues.read_queue_nums, queues.write_queue_nums, queues.perm),
        (4, 4, 6)
    );
    assert_eq!(route.broker_datas[0].cluster, "c");
}

#[test]
fn a_topic_that_nobody_has_has_no_route() {
    assert_eq!(
        registered([master(1, &["t"])]).pickup_topic_route_data("u"),
        None
    );
}

#[test]
fn a_topic_is_routed_to_every_group_that_has_it() {
    let other = Registration {
        broker_name: "broker-b".to_owned(),
        broker_addr: SLAVE.to_owned(),
        ..master(1, &["t", "u"])
    };
    let routes = registered([master(1, &["t"]), other]);
    assert_eq!(addresses(&routes, "t"), [MASTER, SLAVE]);
    assert_eq!(addresses(&routes, "u"), [SLAVE]);
}

#[test]
fn a_known_data_version_changes_no_topics() {
    let routes = registered([master(1, &["t"]), master(1, &["t", "u"])]);
    assert_eq!(topics(&routes), ["t"]);
}

#[test]
fn a_new_data_version_adds_topics_and_removes_none() {
    let routes = registered([master(1, &["t"]), master(2, &["u"])]);
    assert_eq!(topics(&routes), ["t", "u"]);
}

#[test]
fn a_data_version_that_goes_back_is_a_new_one_too() {
    let routes = registered([master(2, &["t"]), master(1, &["u"])]);
    assert_eq!(topics(&routes), ["t", "u"]);
}

#[test]
fn a_single_topic_registered_first_hides_the_others_until_the_next_change() {
    let mut routes = registered([master(7, &["new"]), master(7, &["old", "new"])]);
    assert_eq!(topics(&routes), ["new"]);
    routes.register(0, master(8, &["old", "new"])).unwrap();
    assert_eq!(topics(&routes), ["new", "old"]);
}

#[test]
fn a_slave_brings_no_topics() {
    assert_eq!(topics(&registered([slave(1, &["t"])])), [""; 0]);
}

#[test]
fn a_slave_learns_of_its_master() {
    let mut routes = registered([master(1, &["t"])]);
    let expected = Registered {
        ha_server_addr: Some("10.0.0.1:10912".to_owned()),
        master_addr: Some(MASTER.to_owned()),
    };
    assert_eq!(routes.register(0, slave(1, &[])), Ok(expected));
    assert_eq!(
        routes.register(0, master(1, &["t"])),
        Ok(Registered::default())
    );
}

#[test]
fn a_slave_without_a_master_learns_nothing() {
    assert_eq!(
        RouteInfoManager::new().register(0, slave(1, &[])),
        Ok(Registered::default())
    );
}

#[test]
fn a_slave_that_becomes_the_master_is_no_slave_any_more() {
    let promoted = Registration {
        broker_id: 0,
        ..slave(1, &["t"])
    };
    let routes = registered([slave(1, &["t"]), promoted]);
    let route = routes.pickup_topic_route_data("t").unwrap();
    assert_eq!(
        route.broker_datas[0].broker_addrs,
        [(0, SLAVE.to_owned())].into()
    );
}

#[test]
fn a_topic_whose_master_is_gone_stays_readable_and_writeable_at_its_slave() {
    let mut routes = registered([master(1, &["t"]), slave(1, &[])]);
    routes.unregister(MASTER, FIRST);
    assert_eq!(addresses(&routes, "t"), [SLAVE]);
    assert_eq!(perm(&routes, "t"), 6);
}

#[test]
fn the_last_broker_of_a_group_takes_its_topics_along() {
    let mut routes = registered([master(1, &["t"]), slave(1, &[])]);
    routes.unregister(MASTER, FIRST);
    routes.unregister(SLAVE, SECOND);
    assert_eq!(routes.pickup_topic_route_data("t"), None);
    assert_eq!(topics(&routes), [""; 0]);
    assert_eq!(routes.cluster_info(), Default::default());
}

#[test]
fn a_broker_goes_with_its_connection() {
    let mut routes = registered([master(1, &["t"]), slave(1, &[])]);
    assert_eq!(routes.connection_closed(FIRST), [MASTER]);
    assert_eq!(addresses(&routes, "t"), [SLAVE]);
}

#[test]
fn the_end_of_an_old_connection_leaves_a_newer_registration_alone() {
    let again = Registration {
        connection: SECOND,
        peer: peer(2),
        ..master(1, &["t"])
    };
    let mut routes = registered([master(1, &["t"]), again]);
    assert_eq!(routes.connection_closed(FIRST), [""; 0]);
    assert_eq!(addresses(&routes, "t"), [MASTER]);
}

#[test]
fn an_unregistration_over_an_old_connection_leaves_a_newer_registration_alone() {
    let again = Registration {
        connection: SECOND,
        peer: peer(2),
        ..master(1, &["t"])
    };
    let mut routes = registered([master(1, &["t"]), again]);
    assert!(!routes.unregister(MASTER, FIRST));
    assert_eq!(addresses(&routes, "t"), [MASTER]);
    assert!(routes.unregister(MASTER, SECOND));
    assert_eq!(addresses(&routes, "t"), [""; 0]);
}

#[test]
fn an_unregistration_of_a_replaced_address_leaves_its_successor_alone() {
    let moved = Registration {
        broker_addr: SLAVE.to_owned(),
        ..master(1, &["t"])
    };
    let mut routes = registered([master(1, &["t"]), moved]);
    routes.unregister(MASTER, FIRST);
    assert_eq!(addresses(&routes, "t"), [SLAVE]);
}

#[test]
fn a_broker_expires_after_two_minutes_of_silence() {
    let mut routes = registered([master(1, &["t"]), slave(1, &[])]);
    routes.heartbeat(1, SLAVE);
    assert_eq!(routes.scan_not_active_broker(120_000), []);
    let expired = Expired {
        broker_addr: MASTER.to_owned(),
        connection: FIRST,
    };
    assert_eq!(routes.scan_not_active_broker(120_001), [expired]);
    assert_eq!(addresses(&routes, "t"), [SLAVE]);
}

#[test]
fn a_registration_renews_the_life_of_a_broker() {
    let mut routes = registered([master(1, &["t"])]);
    routes.register(100_000, master(1, &["t"])).unwrap();
    assert_eq!(routes.scan_not_active_broker(220_000), []);
    assert_eq!(routes.scan_not_active_broker(220_001).len(), 1);
}

#[test]
fn asking_for_the_data_version_renews_the_life_of_a_broker() {
    let mut routes = registered([master(3, &["t"])]);
    let answer = routes.query_data_version(100_000, MASTER, &version(3));
    assert_eq!(answer, (false, Some(version(3))));
    assert_eq!(routes.scan_not_active_broker(200_000), []);
}

#[test]
fn a_data_version_is_changed_unless_it_is_the_known_one() {
    let mut routes = registered([master(3, &["t"])]);
    assert_eq!(
        routes.query_data_version(0, MASTER, &version(4)),
        (true, Some(version(3)))
    );
    assert_eq!(
        routes.query_data_version(0, SLAVE, &version(3)),
        (true, None)
    );
}

#[test]
fn wiping_the_write_permission_lasts_until_the_topics_change() {
    let mut routes = registered([master(1, &["t", "u"])]);
    assert_eq!(routes.wipe_write_perm_of_broker("broker-a"), 2);
    routes.register(0, master(1, &["t", "u"])).unwrap();
    assert_eq!(perm(&routes, "t"), 4);
    routes.register(0, master(2, &["t", "u"])).unwrap();
    assert_eq!(perm(&routes, "t"), 6);
}

#[test]
fn adding_the_write_permission_makes_topics_readable_too() {
    let mut registration = master(1, &["t"]);
    registration.topics[0].perm = 0;
    let mut routes = registered([registration]);
    assert_eq!(routes.add_write_perm_of_broker("broker-a"), 1);
    assert_eq!(perm(&routes, "t"), 6);
    assert_eq!(routes.add_write_perm_of_broker("broker-z"), 0);
}

#[test]
fn a_deleted_topic_comes_back_with_the_next_change() {
    let mut routes = registered([master(1, &["t"])]);
    routes.delete_topic("t", None);
    routes.register(0, master(1, &["t"])).unwrap();
    assert_eq!(routes.pickup_topic_route_data("t"), None);
    routes.register(0, master(2, &["t"])).unwrap();
    assert_eq!(addresses(&routes, "t"), [MASTER]);
}

#[test]
fn a_topic_is_deleted_in_the_named_cluster_only() {
    let other = Registration {
        cluster: "d".to_owned(),
        broker_name: "broker-b".to_owned(),
        broker_addr: SLAVE.to_owned(),
        ..master(1, &["t"])
    };
    let mut routes = registered([master(1, &["t"]), other]);
    routes.delete_topic("t", Some("c"));
    assert_eq!(addresses(&routes, "t"), [SLAVE]);
    routes.delete_topic("t", Some("d"));
    assert_eq!(topics(&routes), [""; 0]);
}

#[test]
fn queues_from_outside_are_taken_for_known_brokers_only() {
    let queue = |name: &str| QueueData {
        broker_name: name.to_owned(),
        ..QueueData::default()
    };
    let mut routes = registered([master(1, &[])]);
    let mut set = |topic, queues| routes.register_topic(topic, queues).unwrap();
    set("t", vec![queue("broker-a"), queue("broker-z")]);
    set("u", vec![queue("broker-z"), queue("broker-a")]);
    assert_eq!(topics(&routes), ["t"]);
    assert_eq!(addresses(&routes, "t"), [MASTER]);
}

#[test]
fn filter_servers_are_in_the_route_as_long_as_they_are_registered() {
    let filter = Registration {
        filter_servers: vec!["f:1".to_owned()],
        ..master(1, &["t"])
    };
    let mut routes = registered([filter]);
    let servers = |routes: &RouteInfoManager| {
        routes
            .pickup_topic_route_data("t")
            .unwrap()
            .filter_server_table
    };
    assert_eq!(
        servers(&routes),
        [(MASTER.to_owned(), vec!["f:1".to_owned()])].into()
    );
    routes.register(0, master(1, &["t"])).unwrap();
    assert!(servers(&routes).is_empty());
}

#[test]
fn topics_are_listed_by_cluster_and_by_unit() {
    let mut registration = master(1, &["plain", "unit", "sub", "both"]);
    for (topic, flag) in registration.topics.iter_mut().zip([0, 1, 2, 3]) {
        topic.topic_sys_flag = flag;
    }
    let routes = registered([registration]);
    assert_eq!(
        routes.topics_by_cluster("c").topic_list,
        ["both", "plain", "sub", "unit"]
    );
    assert_eq!(routes.topics_by_cluster("d").topic_list, [""; 0]);
    assert_eq!(routes.unit_topics().topic_list, ["both", "unit"]);
    assert_eq!(routes.has_unit_sub_topics().topic_list, ["both", "sub"]);
    assert_eq!(routes.has_unit_sub_ununit_topics().topic_list, ["sub"]);
}

#[test]
fn the_system_topics_are_named_after_clusters_and_brokers() {
    let system = registered([master(1, &["t"])]).system_topics();
    assert_eq!(system.topic_list, ["c", "broker-a"]);
    assert_eq!(system.broker_addr.as_deref(), Some(MASTER));
}

/// Somebody else, over a connection of its own, with topics of a single queue.
fn stranger(registration: Registration) -> Registration {
    let mut topics = registration.topics.clone();
    for topic in &mut topics {
        topic.read_queue_nums = 1;
    }
    Registration {
        topics,
        connection: ConnectionId(666),
        peer: peer(66),
        ..registration
    }
}

#[test]
fn who_comes_and_goes_under_the_name_of_a_broker_takes_no_route_along() {
    let mut routes = registered([master(1, &["t", "u"])]);
    let mut fake = stranger(master(9, &["t"]));
    fake.broker_addr = "10.0.0.66:10911".to_owned();
    let begun = routes.begin(0, fake).unwrap();
    assert!(begun.rival.is_some_and(|rival| rival.contains(MASTER)));
    assert_eq!(
        routes.connection_closed(ConnectionId(666)),
        ["10.0.0.66:10911"]
    );
    assert_eq!(addresses(&routes, "t"), [MASTER]);
    assert_eq!(topics(&routes), ["t", "u"]);
}

#[test]
fn who_comes_and_goes_under_the_address_of_a_broker_takes_no_route_along() {
    let mut routes = registered([master(1, &["t", "u"])]);
    routes.register(0, stranger(master(9, &["t"]))).unwrap();
    assert_eq!(routes.connection_closed(ConnectionId(666)), [""; 0]);
    assert_eq!(addresses(&routes, "u"), [MASTER]);
    // What the stranger said of topics holds until the broker says it again, in the version of before.
    routes.register(0, master(1, &["t", "u"])).unwrap();
    let route = routes.pickup_topic_route_data("t").unwrap();
    assert_eq!(route.queue_datas[0].read_queue_nums, 4);
}

#[test]
fn who_registers_the_address_of_a_broker_under_another_name_gives_it_back() {
    let mut routes = registered([master(1, &["t"])]);
    let fake = Registration {
        broker_name: "broker-b".to_owned(),
        ..stranger(master(9, &["x"]))
    };
    routes.register(0, fake).unwrap();
    routes.connection_closed(ConnectionId(666));
    assert_eq!(topics(&routes), ["t"]);
    let info = routes.cluster_info();
    assert_eq!(info.broker_addr_table.len(), 1);
    assert_eq!(info.broker_addr_table["broker-a"].broker_addrs[&0], MASTER);
}

#[test]
fn a_broker_that_leaves_over_its_newest_connection_leaves_with_the_older_ones() {
    let mut routes = registered([master(1, &["t"])]);
    let again = Registration {
        connection: SECOND,
        ..master(1, &["t"])
    };
    routes.register(1, again).unwrap();
    assert!(routes.unregister(MASTER, SECOND));
    assert_eq!(topics(&routes), [""; 0]);
    // The older connection ends later and changes nothing.
    assert_eq!(routes.connection_closed(FIRST), [""; 0]);
}

#[test]
fn a_broker_whose_older_connection_ends_stays() {
    let mut routes = registered([master(1, &["t"])]);
    let again = Registration {
        connection: SECOND,
        ..master(1, &["t"])
    };
    routes.register(1, again).unwrap();
    assert_eq!(routes.connection_closed(FIRST), [""; 0]);
    assert_eq!(addresses(&routes, "t"), [MASTER]);
    assert_eq!(routes.connection_closed(SECOND), [MASTER]);
    assert_eq!(topics(&routes), [""; 0]);
}

#[test]
fn a_broker_that_is_expired_is_nobodys_rival() {
    let mut routes = registered([master(1, &["t"])]);
    let begun = routes.begin(120_001, stranger(master(1, &["t"]))).unwrap();
    assert_eq!(begun.rival, None);
}

#[test]
fn one_connection_registers_a_few_brokers_and_all_of_them_not_too_many() {
    let mut routes = RouteInfoManager::new();
    let broker = |at: usize, connection| Registration {
        broker_name: format!("broker-{at}"),
        broker_addr: format!("10.0.0.1:{at}"),
        connection: ConnectionId(connection),
        ..master(1, &[])
    };
    for at in 0..BROKERS_PER_CONNECTION_MAX {
        routes.register(0, broker(at, 1)).unwrap();
    }
    let refused = routes.register(0, broker(BROKERS_PER_CONNECTION_MAX, 1));
    assert_eq!(refused, Err(FullError::Connection));
    assert!(
        routes.register(0, broker(0, 1)).is_ok(),
        "it is there already"
    );
    for at in BROKERS_PER_CONNECTION_MAX..BROKERS_MAX {
        routes.register(0, broker(at, 2 + at as u64 / 64)).unwrap();
    }
    let refused = routes.register(0, broker(BROKERS_MAX, 1_000));
    assert_eq!(refused, Err(FullError::Brokers));
    routes.connection_closed(ConnectionId(1));
    assert!(routes.register(0, broker(BROKERS_MAX, 1_000)).is_ok());
}

#[test]
fn the_names_of_all_topics_fit_into_a_frame() {
    let mut routes = RouteInfoManager::new();
    let names = |of: &str, count: usize| -> Vec<String> {
        let name = |at| format!("{of}-{at:0>200}");
        (0..count).map(name).collect()
    };
    let half = TOPIC_NAMES_MAX / 2 / 202;
    let broker = |names: &[String], id: u64| {
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        Registration {
            broker_name: format!("broker-{id}"),
            broker_addr: format!("10.0.0.1:{id}"),
            connection: ConnectionId(id),
            ..master(1, &names)
        }
    };
    let (a, b) = (names("a", half), names("b", half + 10));
    routes.register(0, broker(&a, 1)).unwrap();
    assert_eq!(
        routes.register(0, broker(&b, 2)),
        Err(FullError::TopicNames)
    );
    routes.register(0, broker(&b[..half - 10], 2)).unwrap();
    // Names that are known already need no room.
    routes.register(0, broker(&a, 3)).unwrap();
    routes.connection_closed(ConnectionId(1));
    routes.connection_closed(ConnectionId(3));
    routes.register(0, broker(&b, 4)).unwrap();
    for id in [2, 4] {
        routes.connection_closed(ConnectionId(id));
    }
    assert!(routes.register(0, broker(&a, 1)).is_ok());
}
