use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicI64, AtomicU16, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::disk::SimDisk;
use super::net::link::attach;
use super::net::wire::Wire;
use super::spawner::Process;
use super::time::HostTime;

/// A logical node: its place in the order in which nodes were added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// The first port that the kernel gives to an outgoing connection (`ip_local_port_range` of Linux).
const FIRST_EPHEMERAL_PORT: u16 = 32_768;

/// One logical node: a machine and the process that runs on it.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) name: String,
    pub(crate) ip: IpAddr,
    /// The name of its turmoil host.
    pub(crate) host: String,
    pub(crate) time: Arc<HostTime>,
    pub(crate) disk: Arc<SimDisk>,
    pub(crate) skew_ms: Arc<AtomicI64>,
    machine: Mutex<Machine>,
    next_port: AtomicU16,
}

struct Machine {
    powered: bool,
    /// Since when it has, or has not, power.
    since: Duration,
    /// How many processes were started on it.
    incarnation: u64,
    process: Arc<Process>,
    wires: Vec<Weak<Wire>>,
}

/// What a new node consists of.
pub(crate) struct NodeParts {
    pub(crate) id: NodeId,
    pub(crate) name: String,
    pub(crate) ip: IpAddr,
    /// The name of its turmoil host.
    pub(crate) host: String,
    pub(crate) time: Arc<HostTime>,
    pub(crate) disk: Arc<SimDisk>,
    pub(crate) skew_ms: Arc<AtomicI64>,
    pub(crate) process: Arc<Process>,
}

impl Node {
    pub(crate) fn new(parts: NodeParts) -> Self {
        Self {
            id: parts.id,
            name: parts.name,
            ip: parts.ip,
            host: parts.host,
            time: parts.time,
            disk: parts.disk,
            skew_ms: parts.skew_ms,
            machine: Mutex::new(Machine {
                powered: true,
                since: Duration::ZERO,
                incarnation: 0,
                process: parts.process,
                wires: Vec::new(),
            }),
            next_port: AtomicU16::new(FIRST_EPHEMERAL_PORT),
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.time.now()
    }

    pub(crate) fn process(&self) -> Arc<Process> {
        self.machine.lock().process.clone()
    }

    pub(crate) fn incarnation(&self) -> u64 {
        self.machine.lock().incarnation
    }

    /// Replaces the process by one that was not started yet.
    pub(crate) fn renew(&self, process: Arc<Process>) {
        let mut machine = self.machine.lock();
        machine.incarnation += 1;
        machine.process = process;
    }

    pub(crate) fn is_powered(&self) -> bool {
        self.machine.lock().powered
    }

    pub(crate) fn set_power(&self, powered: bool, now: Duration) {
        let mut machine = self.machine.lock();
        if machine.powered != powered {
            machine.powered = powered;
            machine.since = now;
        }
    }

    /// Since when the machine runs again after it lost power at `lost`.
    pub(crate) fn back_since(&self, lost: Duration) -> Option<Duration> {
        let machine = self.machine.lock();
        (machine.powered && machine.since >= lost).then_some(machine.since)
    }

    pub(crate) fn attach(&self, wire: &Weak<Wire>) {
        attach(&mut self.machine.lock().wires, wire);
    }

    /// The connections of this node that still exist.
    pub(crate) fn wires(&self) -> Vec<Arc<Wire>> {
        let machine = self.machine.lock();
        machine.wires.iter().filter_map(Weak::upgrade).collect()
    }

    /// An address for an outgoing connection.
    pub(crate) fn ephemeral(&self) -> SocketAddr {
        let port = self.next_port.fetch_add(1, Ordering::Relaxed);
        if port == u16::MAX {
            self.next_port
                .store(FIRST_EPHEMERAL_PORT, Ordering::Relaxed);
        }
        SocketAddr::new(self.ip, port)
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
