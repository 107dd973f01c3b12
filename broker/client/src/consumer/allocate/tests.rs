use std::collections::BTreeSet;

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::*;

fn queues(count: usize) -> Vec<MessageQueue> {
    (0..count)
        .map(|id| MessageQueue::new("t", "b", id as i32))
        .collect()
}

fn clients(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("c{at:03}")).collect()
}

fn shares_of(
    strategy: &dyn AllocateStrategy,
    queues: &[MessageQueue],
    clients: &[String],
) -> Vec<Vec<MessageQueue>> {
    clients
        .iter()
        .map(|client| strategy.allocate(client, queues, clients))
        .collect()
}

fn shares(strategy: &dyn AllocateStrategy, queue_count: usize, count: usize) -> Vec<Vec<i32>> {
    shares_of(strategy, &queues(queue_count), &clients(count))
        .iter()
        .map(|share| share.iter().map(|queue| queue.queue_id).collect())
        .collect()
}

/// The room is what stands before the first `@`, for brokers, and before the `-`, for members.
#[derive(Debug, Clone, Copy)]
struct Rooms;

impl MachineRoomResolver for Rooms {
    fn broker_room(&self, queue: &MessageQueue) -> String {
        let room = queue.broker_name.split('@').next();
        room.unwrap_or_default().to_owned()
    }

    fn client_room(&self, client_id: &str) -> String {
        client_id.split('-').next().unwrap_or_default().to_owned()
    }
}

fn nearby() -> AllocateMachineRoomNearby<Rooms> {
    AllocateMachineRoomNearby::new(Rooms, AllocateAveragely)
}

#[test]
fn averagely_gives_ranges_and_the_rest_to_the_first() {
    assert_eq!(
        shares(&AllocateAveragely, 8, 3),
        [vec![0, 1, 2], vec![3, 4, 5], vec![6, 7]]
    );
}

#[test]
fn by_circle_deals_queues_out_in_turn() {
    assert_eq!(
        shares(&AllocateAveragelyByCircle, 8, 3),
        [vec![0, 3, 6], vec![1, 4, 7], vec![2, 5]]
    );
}

#[test]
fn members_beyond_the_number_of_queues_idle() {
    assert_eq!(shares(&AllocateAveragely, 1, 3), [vec![0], vec![], vec![]]);
    assert_eq!(shares(&AllocateAveragelyByCircle, 1, 2), [vec![0], vec![]]);
}

#[test]
fn by_config_everybody_gets_what_is_configured() {
    let strategy = AllocateByConfig::new([
        MessageQueue::new("t", "b", 2),
        MessageQueue::new("other", "b", 0),
    ]);
    assert_eq!(shares(&strategy, 4, 2), [vec![2], vec![2]]);
}

#[test]
fn by_machine_room_only_the_queues_of_the_rooms_are_shared() {
    let queues: Vec<_> = ["east@a", "west@a", "nowhere", "east@b@c"]
        .into_iter()
        .flat_map(|broker| (0..5).map(move |id| MessageQueue::new("t", broker, id)))
        .collect();
    let strategy = AllocateByMachineRoom::new(["east", "nowhere"]);
    let shares = shares_of(&strategy, &queues, &clients(3));
    let ids: Vec<Vec<_>> = shares
        .iter()
        .map(|share| share.iter().map(|queue| queue.queue_id).collect())
        .collect();
    // One each, and what is left over goes round again from the first.
    assert_eq!(ids, [vec![0, 3], vec![1, 4], vec![2]]);
    assert!(
        shares
            .concat()
            .iter()
            .all(|queue| queue.broker_name == "east@a")
    );
}

#[test]
fn nearby_a_room_without_members_is_shared_by_all() {
    let queues: Vec<_> = ["east@a", "north@a", "west@a"]
        .into_iter()
        .flat_map(|broker| (0..2).map(move |id| MessageQueue::new("t", broker, id)))
        .collect();
    let clients = ["east-1", "west-1", "west-2"].map(str::to_owned);
    let shares: Vec<Vec<_>> = shares_of(&nearby(), &queues, &clients)
        .iter()
        .map(|share| {
            let text = |queue: &MessageQueue| format!("{} {}", queue.broker_name, queue.queue_id);
            share.iter().map(text).collect()
        })
        .collect();
    assert_eq!(
        shares,
        [
            vec!["east@a 0", "east@a 1", "north@a 0"],
            vec!["west@a 0", "north@a 1"],
            vec!["west@a 1"],
        ]
    );
}

#[test]
fn a_ring_is_walked_to_the_next_member() {
    // Computed apart from this code, from the description of the ring and the MD5 of each text.
    let expected: [&[i32]; 3] = [&[0, 3, 5, 8], &[1, 6, 7, 9, 11], &[2, 4, 10]];
    let clients = [
        "172.16.0.1@DEFAULT",
        "172.16.0.2@DEFAULT",
        "172.16.0.3@DEFAULT",
    ]
    .map(str::to_owned);
    let queues: Vec<_> = (0..12)
        .map(|id| MessageQueue::new("orders", "broker-a", id))
        .collect();
    let shares: Vec<Vec<_>> = shares_of(&AllocateConsistentHash::default(), &queues, &clients)
        .iter()
        .map(|share| share.iter().map(|queue| queue.queue_id).collect())
        .collect();
    assert_eq!(shares, expected);
}

#[test]
fn on_a_ring_only_the_queues_of_a_member_that_leaves_move() {
    let (queues, mut clients) = (queues(64), clients(8));
    let strategy = AllocateConsistentHash::default();
    let before = shares_of(&strategy, &queues, &clients);
    clients.remove(3);
    let after = shares_of(&strategy, &queues, &clients);
    let stayed = before.iter().enumerate().filter(|(at, _)| *at != 3);
    for ((_, before), after) in stayed.zip(&after) {
        assert!(before.iter().all(|queue| after.contains(queue)));
    }
}

#[test]
fn strategies_have_the_names_of_rocketmq() {
    let nearby = nearby();
    let strategies: [(&dyn AllocateStrategy, _); 6] = [
        (&AllocateAveragely, "AVG"),
        (&AllocateAveragelyByCircle, "AVG_BY_CIRCLE"),
        (&AllocateByConfig::default(), "CONFIG"),
        (&AllocateByMachineRoom::default(), "MACHINE_ROOM"),
        (&nearby, "MACHINE_ROOM_NEARBY-AVG"),
        (&AllocateConsistentHash::default(), "CONSISTENT_HASH"),
    ];
    for (strategy, name) in strategies {
        assert_eq!(strategy.name(), name);
    }
}

#[test]
fn a_client_that_is_not_listed_gets_nothing() {
    let nearby = nearby();
    let strategies: [&dyn AllocateStrategy; 5] = [
        &AllocateAveragely,
        &AllocateAveragelyByCircle,
        &AllocateByMachineRoom::new(["b"]),
        &nearby,
        &AllocateConsistentHash::default(),
    ];
    for strategy in strategies {
        let share = strategy.allocate("stranger", &queues(4), &clients(2));
        assert!(share.is_empty(), "{}", strategy.name());
    }
}

/// Queues of some brokers, sorted.
fn any_queues() -> impl Strategy<Value = Vec<MessageQueue>> {
    let brokers = btree_set("(east|west|north)@[ab]", 0..5);
    (brokers, 0..20_i32).prop_map(|(brokers, each)| {
        let of = |broker: &String| {
            let broker = broker.clone();
            (0..each).map(move |id| MessageQueue::new("t", broker.clone(), id))
        };
        brokers.iter().flat_map(of).collect()
    })
}

/// Different client ids, sorted.
fn any_clients() -> impl Strategy<Value = Vec<String>> {
    btree_set("(east|west|south)-[0-9]{1,3}", 1..30)
        .prop_map(|clients| clients.into_iter().collect())
}

/// Every queue once.
fn partition(
    strategy: &dyn AllocateStrategy,
    queues: &[MessageQueue],
    clients: &[String],
) -> Result<Vec<Vec<MessageQueue>>, TestCaseError> {
    let shares = shares_of(strategy, queues, clients);
    let mut all = shares.concat();
    all.sort();
    prop_assert_eq!(&all, queues, "{}", strategy.name());
    Ok(shares)
}

proptest! {
    #[test]
    fn every_queue_is_assigned_exactly_once(queues in any_queues(), clients in any_clients()) {
        let averagely: &dyn AllocateStrategy = &AllocateAveragely;
        for strategy in [averagely, &AllocateAveragelyByCircle] {
            let shares = partition(strategy, &queues, &clients)?;
            let sizes: Vec<_> = shares.iter().map(Vec::len).collect();
            let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
            prop_assert!(most - least <= 1);
        }
        for nodes in [1, 10, 50] {
            partition(&AllocateConsistentHash::new(nodes), &queues, &clients)?;
        }
        let rooms = ["east", "west", "north"];
        partition(&AllocateByMachineRoom::new(rooms), &queues, &clients)?;
        partition(&nearby(), &queues, &clients)?;
        let by_ring = AllocateMachineRoomNearby::new(Rooms, AllocateConsistentHash::default());
        partition(&by_ring, &queues, &clients)?;
    }

    #[test]
    fn by_machine_room_every_queue_of_the_rooms_and_no_other_is_assigned_once(
        queues in any_queues(),
        clients in any_clients(),
        rooms in btree_set("east|west|north|south", 0..4),
    ) {
        let strategy = AllocateByMachineRoom::new(rooms.clone());
        let in_rooms = |queue: &&MessageQueue| rooms.contains(&Rooms.broker_room(queue));
        let expected: Vec<_> = queues.iter().filter(in_rooms).cloned().collect();
        let mut all = shares_of(&strategy, &queues, &clients).concat();
        all.sort();
        prop_assert_eq!(all, expected);
    }

    #[test]
    fn by_config_every_queue_is_its_owners_if_the_configurations_are_a_partition(
        queues in any_queues(),
        clients in any_clients(),
        owners in vec(any::<prop::sample::Index>(), 100),
    ) {
        let mut configured = vec![Vec::new(); clients.len()];
        for (queue, owner) in queues.iter().zip(&owners) {
            configured[owner.index(clients.len())].push(queue.clone());
        }
        let mut all = Vec::new();
        for (client, queues_of) in clients.iter().zip(configured) {
            let strategy = AllocateByConfig::new(queues_of.clone());
            let share = strategy.allocate(client, &queues, &clients);
            prop_assert_eq!(&share, &queues_of);
            all.extend(share);
        }
        let all: BTreeSet<_> = all.into_iter().collect();
        prop_assert_eq!(all.len(), queues.len());
    }
}
