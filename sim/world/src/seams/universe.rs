use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use hotfire_env::{Defects, Env, Seams, SeededEntropy};
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::disk::{DiskConfig, SimDisk};
use super::host::Host;
use super::net::{
    Disturbance, Fabric, FaultId, FrameFilter, NetworkConfig, SimNetwork, process_id,
};
use super::node::{Node, NodeId, NodeParts};
use super::spawner::{Process, ProcessSpawner};
use super::time::{HostTime, NodeClock, OuterTime};
use super::trace::Trace;

/// Longer than any run: the run decides itself when it is over.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Segments that turmoil may hold for one socket, and connections that may be half open. The link
/// layer has limits of its own; turmoil's would end the run.
const TURMOIL_CAPACITY: usize = 1 << 20;

/// What a run starts from.
#[derive(Debug, Clone)]
pub struct UniverseConfig {
    /// Everything random depends on it.
    pub seed: u64,
    /// Wall-clock time at the start, in milliseconds since the Unix epoch.
    pub epoch_ms: i64,
    /// One step: whole milliseconds, no longer than the network's latency.
    pub tick: Duration,
    /// The sound network.
    pub network: NetworkConfig,
    /// Planted defects that are switched on.
    pub defects: Defects,
}

/// A turmoil host: its place in the order in which hosts were added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostId(usize);

/// One run's world: hosts, logical nodes, the network between them, and the trace of what happens.
///
/// It is built before the run (hosts, then nodes), put into a turmoil simulation with
/// [`Universe::simulation`], and from then on advanced with [`Universe::step`]. Between two steps,
/// and only there, faults are applied.
pub struct Universe {
    config: UniverseConfig,
    trace: Arc<Trace>,
    fabric: Arc<Fabric>,
    outer: Arc<OuterTime>,
    hosts: Mutex<Vec<Arc<Host>>>,
    nodes: Mutex<Vec<Arc<Node>>>,
}

impl Universe {
    /// An empty world.
    pub fn new(config: UniverseConfig) -> Arc<Self> {
        let trace = Arc::new(Trace::default());
        Arc::new(Self {
            fabric: Arc::new(Fabric::new(config.seed, config.network, trace.clone())),
            trace,
            outer: Arc::default(),
            hosts: Mutex::default(),
            nodes: Mutex::default(),
            config,
        })
    }

    /// Adds a turmoil host. turmoil's work grows with the cube of their number.
    pub fn add_host(&self, name: &str) -> HostId {
        let mut hosts = self.hosts.lock();
        let time = Arc::new(HostTime::new(self.outer.clone()));
        hosts.push(Arc::new(Host::new(name.to_owned(), time)));
        HostId(hosts.len() - 1)
    }

    /// Adds a logical node on a host, with an address and a disk of its own.
    ///
    /// # Panics
    /// If the host is not one of this universe.
    pub fn add_node(&self, name: &str, host: HostId, disk: DiskConfig) -> NodeId {
        let host = self.hosts.lock()[host.0].clone();
        let mut nodes = self.nodes.lock();
        let number = nodes.len() as u32;
        let [_, high, middle, low] = (number + 1).to_be_bytes();
        let ip = IpAddr::V4(Ipv4Addr::new(10, high, middle, low));
        let key = self.key(&format!("disk {name}"));
        let skew_ms = Arc::default();
        let clock = self.clock(&host.time, &skew_ms);
        let times = (host.time.clone(), Arc::new(clock));
        let disk = SimDisk::new(number, key, disk, times, self.trace.clone());
        let node = Arc::new(Node::new(NodeParts {
            id: NodeId(number),
            name: name.to_owned(),
            ip,
            host: host.name.clone(),
            time: host.time.clone(),
            disk: Arc::new(disk),
            skew_ms,
            process: Process::new(number, self.trace.clone()),
        }));
        self.fabric.nodes.lock().insert(ip, node.clone());
        nodes.push(node);
        NodeId(number)
    }

    /// The turmoil simulation of this world, with all hosts that were added.
    pub fn simulation(&self) -> turmoil::Sim<'static> {
        let epoch = u64::try_from(self.config.epoch_ms).unwrap_or(0);
        let mut sim = turmoil::Builder::new()
            .rng_seed(self.key("turmoil"))
            .epoch(UNIX_EPOCH + Duration::from_millis(epoch))
            .simulation_duration(FOREVER)
            .tick_duration(self.config.tick)
            .min_message_latency(self.config.tick)
            .max_message_latency(self.config.tick)
            .tcp_capacity(TURMOIL_CAPACITY)
            .build();
        for host in self.hosts.lock().iter() {
            host.join(&mut sim);
        }
        sim
    }

    /// Advances the simulation by one tick.
    ///
    /// # Errors
    /// A panic of a task, as text.
    pub fn step(&self, sim: &mut turmoil::Sim<'_>) -> Result<(), String> {
        self.outer.leave();
        let result = sim.step();
        self.outer.enter(sim.elapsed());
        result.map(drop).map_err(|error| error.to_string())
    }

    /// Simulated time since the start of the run, as of the last step; within a step, as the host
    /// that runs sees it, use [`Universe::node_now`].
    pub fn now(&self) -> Duration {
        self.outer.get()
    }

    /// Simulated time as a node sees it.
    pub fn node_now(&self, node: NodeId) -> Duration {
        self.nodes.lock()[node.0 as usize].now()
    }

    /// The hash over everything that happened so far.
    pub fn trace(&self) -> &Arc<Trace> {
        &self.trace
    }

    /// A node by its name.
    pub fn find(&self, name: &str) -> Option<NodeId> {
        let nodes = self.nodes.lock();
        nodes
            .iter()
            .find(|node| node.name == name)
            .map(|node| node.id)
    }

    /// The name of a node.
    pub fn name(&self, node: NodeId) -> String {
        self.node(node).name.clone()
    }

    /// The address of a node.
    pub fn ip(&self, node: NodeId) -> IpAddr {
        self.node(node).ip
    }

    /// The disk of a node.
    pub fn disk(&self, node: NodeId) -> Arc<SimDisk> {
        self.node(node).disk.clone()
    }

    /// The seams as the current process of a node sees them.
    pub fn env(&self, node: NodeId) -> Env {
        let node = self.node(node);
        let process = node.process();
        let incarnation = node.incarnation();
        let key = self.key(&format!("process {}/{incarnation}", node.name));
        let network = SimNetwork::new(self.fabric.clone(), node.clone(), process.clone());
        Env::new(Seams {
            clock: Arc::new(self.clock(&node.time, &node.skew_ms)),
            network: Arc::new(network),
            disk: node.disk.process_view(),
            entropy: Arc::new(SeededEntropy::new(key)),
            spawner: Arc::new(ProcessSpawner(process)),
            process_id: process_id(key),
            defects: self.config.defects,
        })
    }

    /// Starts a node's process: `main` gets the process's seams and runs as its first task.
    pub fn boot<M, F>(&self, node: NodeId, main: M)
    where
        M: FnOnce(Env) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let env = self.env(node);
        let host = self.node(node).host.clone();
        let hosts = self.hosts.lock();
        let Some(host) = hosts.iter().find(|known| known.name == host) else {
            return;
        };
        host.boot(Box::new(move || {
            let main = main(env.clone());
            env.spawn("main", main);
        }));
    }

    /// Kills a node's process, as `kill -9` does: its sockets are closed by its kernel, what it wrote
    /// stays in the page cache. A new process can be booted at once.
    pub fn kill(&self, node: NodeId) {
        let node = self.node(node);
        node.process().kill();
        self.fabric.unbind_all(node.ip);
        node.disk.kill();
        node.renew(Process::new(node.id.0, self.trace.clone()));
    }

    /// Cuts the power of a node's machine: its peers hear nothing, and its disk keeps what was
    /// flushed and by chance some of what was not. It stays off until [`Universe::power_on`].
    pub fn cut_power(&self, node: NodeId) {
        let id = node;
        let node = self.node(node);
        let now = self.now();
        node.set_power(false, now);
        for wire in node.wires() {
            wire.lose_power(id, now);
        }
        self.kill(id);
        node.disk.lose_power();
    }

    /// Gives a machine its power back. Connections from before are reset when they are next used.
    pub fn power_on(&self, node: NodeId) {
        let node = self.node(node);
        node.set_power(true, self.now());
        for wire in node.wires() {
            wire.wake();
        }
    }

    /// Stops the process of a node without ending it, as SIGSTOP or a long garbage collection does.
    pub fn freeze(&self, node: NodeId) {
        self.node(node).process().freeze();
    }

    /// Lets a frozen process go on.
    pub fn thaw(&self, node: NodeId) {
        self.node(node).process().thaw();
    }

    /// How many tasks the process of a node has.
    pub fn task_count(&self, node: NodeId) -> usize {
        self.node(node).process().task_count()
    }

    /// Moves a node's wall clock; durations are not affected. Returns by how much it is ahead of
    /// true time now, in milliseconds.
    pub fn jump_clock(&self, node: NodeId, by_ms: i64) -> i64 {
        let before = self.node(node).skew_ms.fetch_add(by_ms, Ordering::Relaxed);
        before.wrapping_add(by_ms)
    }

    /// Disturbs one direction between two nodes until [`Universe::relieve`].
    pub fn disturb(&self, from: NodeId, to: NodeId, fault: FaultId, disturbance: Disturbance) {
        let link = self.fabric.link(&self.node(from), &self.node(to));
        link.disturb(fault, disturbance, self.now());
    }

    /// Ends what a fault does to one direction between two nodes.
    pub fn relieve(&self, from: NodeId, to: NodeId, fault: FaultId) {
        let link = self.fabric.link(&self.node(from), &self.node(to));
        link.relieve(fault, self.now());
    }

    /// Lets a filter judge every frame of the network until [`Universe::remove_filter`].
    pub fn add_filter(&self, fault: FaultId, filter: Arc<dyn FrameFilter>) {
        self.fabric.filters.add(fault, filter);
    }

    /// Ends the judgement of a filter.
    pub fn remove_filter(&self, fault: FaultId) {
        self.fabric.filters.remove(fault);
    }

    /// Resets the connections between two nodes, as a firewall or a broken middlebox does.
    pub fn reset_connections(&self, a: NodeId, b: NodeId) {
        let now = self.now();
        for wire in self.node(a).wires() {
            if wire.joins(a, b) {
                wire.reset(now);
            }
        }
    }

    /// A number derived from the seed for one purpose.
    fn key(&self, purpose: &str) -> u64 {
        xxh3_64_with_seed(purpose.as_bytes(), self.config.seed)
    }

    fn clock(&self, time: &Arc<HostTime>, skew_ms: &Arc<AtomicI64>) -> NodeClock {
        NodeClock::new(self.config.epoch_ms, time.clone(), skew_ms.clone())
    }

    fn node(&self, node: NodeId) -> Arc<Node> {
        self.nodes.lock()[node.0 as usize].clone()
    }
}
