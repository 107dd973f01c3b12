use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hotfire_check::history::{Event, How};
use hotfire_env::{Defects, Entropy, SeededEntropy};
use parking_lot::Mutex;

use super::broker::BrokerNode;
use super::resident::{NameServerNode, Resident};
use super::stop::Stop;
use crate::fault::{Incident, kind, nodes};
use crate::journal::{Journal, Lag, Pen};
use crate::scenario::{Node, Role, Scenario, Send};
use crate::seams::disk::DiskConfig;
use crate::seams::net::NetworkConfig;
use crate::seams::{HostId, NodeId, Universe, UniverseConfig};
use crate::workload::album::Album;
use crate::workload::behaviour::Temper;
use crate::workload::consumer::ConsumerNode;
use crate::workload::ledger::Ledger;
use crate::workload::operator::{self, OPERATOR, OperatorNode};
use crate::workload::plan::Plan;
use crate::workload::producer::ProducerNode;
use crate::workload::transaction::Accounts;
use crate::workload::wants::Wants;

/// Wall-clock time at the start of a run: 10 November 2025, 16:00 UTC, which is midnight of
/// Double-11 in Hangzhou.
pub(super) const EPOCH_MS: i64 = 1_762_790_400_000;

/// The port of name servers (`NettyServerConfig`).
const NAMESRV_PORT: u16 = 9876;

/// Everybody and everything of a run, ready to be stepped.
pub(super) struct Stage {
    pub universe: Arc<Universe>,
    pub journal: Arc<Journal>,
    scenario: Arc<Scenario>,
    operator: hotfire_check::history::NodeId,
    players: BTreeMap<NodeId, Player>,
    /// Who looks back, if anybody does.
    busy: Option<Arc<OperatorNode>>,
}

/// A node and what runs on it.
struct Player {
    role: Role,
    resident: Arc<dyn Resident>,
    pen: Pen,
    stop: Stop,
}

impl Stage {
    /// Builds the world of a scenario. The load phase is from `load.0` to `load.1`.
    pub fn build(scenario: &Arc<Scenario>, seed: u64, load: (Duration, Duration)) -> Self {
        let network = &scenario.network;
        let universe = Universe::new(UniverseConfig {
            seed,
            epoch_ms: EPOCH_MS,
            tick: scenario.run.tick,
            network: NetworkConfig {
                latency: network.latency,
                jitter: network.jitter,
                bandwidth: network.bandwidth,
                ..NetworkConfig::default()
            },
            defects: scenario.defects.iter().copied().collect::<Defects>(),
        });
        let lag = |recorder: &mut _| Lag::new(scenario, recorder);
        let journal = Journal::new(universe.trace().clone(), lag);
        let places = place(&universe, scenario);
        let mut stage = Self {
            operator: journal.operator(),
            universe,
            journal,
            scenario: scenario.clone(),
            players: BTreeMap::new(),
            busy: None,
        };
        stage.cast(&places, &SeededEntropy::new(seed), load);
        stage
    }

    /// Gives every node its resident.
    fn cast(
        &mut self,
        places: &[(Node, NodeId)],
        seed: &SeededEntropy,
        load: (Duration, Duration),
    ) {
        let scenario = self.scenario.clone();
        let name_servers = places
            .iter()
            .filter(|(node, _)| node.role == Role::NameServer);
        let namesrv: Vec<String> = name_servers
            .map(|(_, place)| format!("{}:{NAMESRV_PORT}", self.universe.ip(*place)))
            .collect();
        let album = operator::needs_album(&scenario).then(Arc::<Album>::default);
        let mut ledgers: BTreeMap<&str, Arc<Ledger>> = BTreeMap::new();
        let mut accounts: BTreeMap<&str, Arc<Accounts>> = BTreeMap::new();
        for (node, place) in places {
            let broker = (node.role == Role::Broker).then_some(node.name.as_str());
            let pen = Pen::new(&self.journal, &self.universe, *place, broker);
            let resident: Arc<dyn Resident> = match node.role {
                _ if node.name == OPERATOR => {
                    let operator = Arc::new(OperatorNode {
                        operations: scenario.actions.clone(),
                        load_begins: load.0,
                        album: album.clone().unwrap_or_default(),
                        entropy: seed.stream("operator"),
                        client: operator::client(&scenario, &namesrv),
                        pen: pen.clone(),
                        is_done: AtomicBool::new(false),
                    });
                    self.busy = Some(operator.clone());
                    operator
                }
                Role::NameServer => Arc::new(NameServerNode),
                Role::Broker => {
                    let (name, pen) = (&node.name, pen.clone());
                    Arc::new(BrokerNode::new(name, &scenario, namesrv.clone(), pen))
                }
                Role::Producer => {
                    let Some((number, _, spec)) = scenario.producers.get_full(&node.group) else {
                        continue;
                    };
                    let entropy = seed.stream(&format!("plan {}", node.name));
                    let number = u16::try_from(number).unwrap_or(u16::MAX);
                    let salt = || seed.stream(&format!("accounts {}", node.group)).next_u64();
                    let accounts = (spec.send == Send::Transaction).then(|| {
                        let new = || Arc::new(Accounts::new(spec.transactions, salt()));
                        accounts.entry(&node.group).or_insert_with(new).clone()
                    });
                    Arc::new(ProducerNode {
                        accounts,
                        spec: Arc::new(spec.clone()),
                        group: node.group.clone(),
                        index: node.index,
                        plan: Mutex::new(Plan::new(spec, number, node.index, entropy)),
                        wants: Wants::of_topic(&scenario, &spec.topic),
                        load,
                        namesrv: namesrv.clone(),
                        pen: pen.clone(),
                        album: album.clone(),
                    })
                }
                Role::Consumer => {
                    let Some(spec) = scenario.consumers.get(&node.group) else {
                        continue;
                    };
                    let entropy = seed.stream(&format!("listener {}", node.name));
                    let poison = seed.stream(&format!("poison {}", node.group));
                    let temper = Temper::new(spec.behaviour.clone(), poison.next_u64(), entropy);
                    let ledger = spec
                        .idempotent
                        .then(|| ledgers.entry(node.group.as_str()).or_default().clone());
                    Arc::new(ConsumerNode {
                        spec: Arc::new(spec.clone()),
                        group: node.group.clone(),
                        name: node.name.clone(),
                        temper,
                        ledger,
                        namesrv: namesrv.clone(),
                        pen: pen.clone(),
                    })
                }
            };
            let player = Player {
                role: node.role,
                resident,
                pen,
                stop: Stop::default(),
            };
            self.players.insert(*place, player);
        }
    }

    /// Starts the processes of all nodes of some roles.
    pub fn enter(&mut self, roles: &[Role]) {
        let entering: Vec<NodeId> = self
            .players
            .iter()
            .filter(|(_, player)| roles.contains(&player.role))
            .map(|(place, _)| *place)
            .collect();
        for place in entering {
            self.boot(place);
        }
    }

    fn boot(&mut self, place: NodeId) {
        let Some(player) = self.players.get_mut(&place) else {
            return;
        };
        player.stop = Stop::default();
        player.pen.write(|_| Event::NodeUp);
        let (resident, stop) = (player.resident.clone(), player.stop.clone());
        self.universe
            .boot(place, move |env| resident.live(env, stop));
    }

    /// Writes down what a nemesis did, and starts and stops processes as it says.
    pub fn take(&mut self, incident: Incident) {
        match incident {
            Incident::Began(number) => self.began(number),
            Incident::Ended(fault) => self.note(|_| Event::FaultEnded { fault }),
            Incident::Stopping(place) => {
                if let Some(player) = self.players.get(&place) {
                    player.stop.ask();
                }
            }
            Incident::Down(place, how) => self.down(place, how),
            Incident::Up(place) => self.boot(place),
            Incident::ClockSet(place, ahead_ms) => self.clock_set(place, ahead_ms),
        }
    }

    fn began(&self, number: u32) {
        let Some(fault) = self.scenario.faults.get(number as usize) else {
            return;
        };
        self.note(|recorder| {
            let names = nodes(&fault.action);
            let struck: Vec<_> = names.into_iter().map(|name| recorder.node(name)).collect();
            Event::FaultBegan {
                fault: number,
                kind: kind(&fault.action),
                text: recorder.text(&fault.text),
                nodes: recorder.nodes(&struck),
            }
        });
    }

    fn down(&self, place: NodeId, how: How) {
        if let Some(player) = self.players.get(&place) {
            player.pen.write(|_| Event::NodeDown { how });
        }
    }

    fn clock_set(&self, place: NodeId, ahead_ms: i64) {
        if let Some(player) = self.players.get(&place) {
            let ahead_us = ahead_ms.saturating_mul(1000);
            player.pen.write(|_| Event::ClockSet { ahead_us });
        }
    }

    /// Whether the operator has something left to do.
    pub fn is_operator_busy(&self) -> bool {
        let busy = |operator: &Arc<OperatorNode>| !operator.is_done.load(Ordering::Relaxed);
        self.busy.as_ref().is_some_and(busy)
    }

    /// Writes an event of the operator, who stands outside of the world.
    pub fn note(&self, make: impl FnOnce(&mut hotfire_check::Recorder) -> Event) {
        self.journal.write(self.universe.now(), self.operator, make);
    }
}

/// Places the nodes: servers on turmoil hosts of their own, clients packed onto two, because the
/// cost of a step grows with the cube of the hosts.
fn place(universe: &Universe, scenario: &Scenario) -> Vec<(Node, NodeId)> {
    let mut shared: BTreeMap<Role, HostId> = BTreeMap::new();
    let mut places = Vec::new();
    for node in scenario.nodes() {
        let host = match node.role {
            Role::NameServer | Role::Broker => universe.add_host(&node.name),
            Role::Producer => *shared
                .entry(node.role)
                .or_insert_with(|| universe.add_host("all-producers")),
            Role::Consumer => *shared
                .entry(node.role)
                .or_insert_with(|| universe.add_host("all-consumers")),
        };
        let disk = DiskConfig {
            flush_latency: scenario.disk.flush_latency,
            ..DiskConfig::default()
        };
        let place = universe.add_node(&node.name, host, disk);
        places.push((node, place));
    }
    if let Some(host) = shared
        .get(&Role::Producer)
        .filter(|_| !scenario.actions.is_empty())
    {
        let place = universe.add_node(OPERATOR, *host, DiskConfig::default());
        let node = Node {
            name: OPERATOR.to_owned(),
            role: Role::Producer,
            group: String::new(),
            index: 0,
        };
        places.push((node, place));
    }
    places
}
