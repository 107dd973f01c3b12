use super::Scenario;

/// A logical node: a server process, or one producer or consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name, unique in the scenario: `broker-a`, `name-server-1`, `checkout-3`.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// The producer or consumer group; for a broker its broker name; for a name server its own
    /// name.
    pub group: String,
    /// Its number within the group, from 0.
    pub index: u32,
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// A name server.
    NameServer,
    /// A broker.
    Broker,
    /// A member of a producer group.
    Producer,
    /// A member of a consumer group.
    Consumer,
}

/// Names that stand for several nodes, and what they stand for.
pub const ROLES: &[(&str, &[Role])] = &[
    ("name-servers", &[Role::NameServer]),
    ("brokers", &[Role::Broker]),
    ("producers", &[Role::Producer]),
    ("consumers", &[Role::Consumer]),
    ("clients", &[Role::Producer, Role::Consumer]),
    ("servers", &[Role::NameServer, Role::Broker]),
    (
        "all",
        &[
            Role::NameServer,
            Role::Broker,
            Role::Producer,
            Role::Consumer,
        ],
    ),
];

/// The name of a broker group: `broker-a`, `broker-b`, … `broker-z`, `broker-27`, …
pub fn broker_name(index: u32) -> String {
    match u8::try_from(index) {
        Ok(index @ 0..26) => format!("broker-{}", char::from(b'a' + index)),
        _ => format!("broker-{}", u64::from(index) + 1),
    }
}

/// The name of a name server: `name-server-1`, …
pub fn name_server_name(index: u32) -> String {
    format!("name-server-{}", u64::from(index) + 1)
}

/// The name of a member of a client group: `checkout-1`, …
pub fn member_name(group: &str, index: u32) -> String {
    format!("{group}-{}", u64::from(index) + 1)
}

impl Scenario {
    /// All logical nodes: name servers, brokers, producers, consumers, in the order of the file.
    pub fn nodes(&self) -> Vec<Node> {
        let server = |role, name: String, index| Node {
            group: name.clone(),
            name,
            role,
            index,
        };
        let name_servers = (0..self.cluster.name_servers)
            .map(|index| server(Role::NameServer, name_server_name(index), index));
        let brokers = (0..self.cluster.broker_groups)
            .map(|index| server(Role::Broker, broker_name(index), index));
        let producers = self
            .producers
            .iter()
            .map(|(name, group)| (name, group.nodes));
        let consumers = self
            .consumers
            .iter()
            .map(|(name, group)| (name, group.nodes));
        name_servers
            .chain(brokers)
            .chain(producers.flat_map(|(group, nodes)| members(Role::Producer, group, nodes)))
            .chain(consumers.flat_map(|(group, nodes)| members(Role::Consumer, group, nodes)))
            .collect()
    }
}

fn members(role: Role, group: &str, nodes: u32) -> impl Iterator<Item = Node> {
    (0..nodes).map(move |index| Node {
        name: member_name(group, index),
        role,
        group: group.to_owned(),
        index,
    })
}
