use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use hotfire_env::{BoxFuture, Connection, Listener, Network};
use indexmap::IndexMap;
use parking_lot::Mutex;
use rustc_hash::{FxBuildHasher, FxHashMap};

use super::connect::{self, Handshakes};
use super::filters::Filters;
use super::link::{Link, NetworkConfig};
use super::listener;
use crate::seams::node::{Node, NodeId};
use crate::seams::spawner::Process;
use crate::seams::trace::Trace;

/// The first port of the turmoil hosts that listeners are bound to. What a node listens on is a port
/// of its own address; several nodes of one host may use the same.
const FIRST_BOUND_PORT: u16 = 1024;

/// What all nodes share: addresses, links, listeners, filters.
pub(crate) struct Fabric {
    pub(crate) seed: u64,
    pub(crate) config: NetworkConfig,
    pub(crate) trace: Arc<Trace>,
    pub(crate) filters: Arc<Filters>,
    pub(crate) handshakes: Handshakes,
    pub(crate) nodes: Mutex<IndexMap<IpAddr, Arc<Node>, FxBuildHasher>>,
    links: Mutex<FxHashMap<(NodeId, NodeId), Arc<Link>>>,
    /// Where a node's listener is bound on its turmoil host.
    listeners: Mutex<BTreeMap<SocketAddr, SocketAddr>>,
    next_bound_port: AtomicU16,
}

impl Fabric {
    pub(crate) fn new(seed: u64, config: NetworkConfig, trace: Arc<Trace>) -> Self {
        Self {
            seed,
            config,
            trace,
            filters: Arc::default(),
            handshakes: Handshakes::default(),
            nodes: Mutex::default(),
            links: Mutex::default(),
            listeners: Mutex::default(),
            next_bound_port: AtomicU16::new(FIRST_BOUND_PORT),
        }
    }

    pub(crate) fn link(&self, from: &Node, to: &Node) -> Arc<Link> {
        let mut links = self.links.lock();
        let link = links
            .entry((from.id, to.id))
            .or_insert_with(|| Arc::new(Link::new(self.seed, &from.name, &to.name, self.config)));
        link.clone()
    }

    pub(crate) fn node_at(&self, ip: IpAddr) -> Option<Arc<Node>> {
        self.nodes.lock().get(&ip).cloned()
    }

    pub(crate) fn listener_at(&self, address: SocketAddr) -> Option<SocketAddr> {
        self.listeners.lock().get(&address).copied()
    }

    pub(crate) fn bind(&self, address: SocketAddr, bound: SocketAddr) {
        self.listeners.lock().insert(address, bound);
    }

    /// Forgets a listener, unless another has taken its address meanwhile.
    pub(crate) fn unbind(&self, address: SocketAddr, bound: SocketAddr) {
        let mut listeners = self.listeners.lock();
        if listeners.get(&address) == Some(&bound) {
            listeners.remove(&address);
        }
    }

    /// Forgets all listeners of a node.
    pub(crate) fn unbind_all(&self, ip: IpAddr) {
        self.listeners
            .lock()
            .retain(|address, _| address.ip() != ip);
    }

    pub(crate) fn next_bound_port(&self) -> u16 {
        let port = self.next_bound_port.fetch_add(1, Ordering::Relaxed);
        // Below the range that turmoil gives to outgoing connections.
        if port >= 49_000 {
            self.next_bound_port
                .store(FIRST_BOUND_PORT, Ordering::Relaxed);
        }
        port
    }
}

/// The network as one process sees it.
pub(crate) struct SimNetwork {
    fabric: Arc<Fabric>,
    node: Arc<Node>,
    process: Arc<Process>,
}

impl SimNetwork {
    pub(crate) fn new(fabric: Arc<Fabric>, node: Arc<Node>, process: Arc<Process>) -> Self {
        Self {
            fabric,
            node,
            process,
        }
    }

    /// Resolves `host:port`, where the host is an address or the name of a node.
    fn resolve(&self, address: &str) -> io::Result<SocketAddr> {
        if let Ok(address) = address.parse::<SocketAddr>() {
            return Ok(match address.ip() {
                ip if ip.is_loopback() || ip.is_unspecified() => {
                    SocketAddr::new(self.node.ip, address.port())
                }
                _ => address,
            });
        }
        let invalid = |what: &str| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("`{address}`: {what}"))
        };
        let (host, port) = address.rsplit_once(':').ok_or_else(|| invalid("no port"))?;
        let port = port.parse().map_err(|_| invalid("no such port"))?;
        let nodes = self.fabric.nodes.lock();
        let ip = match host {
            "localhost" => Some(self.node.ip),
            _ => nodes
                .values()
                .find(|node| node.name == host)
                .map(|node| node.ip),
        };
        let ip = ip.ok_or_else(|| invalid("no such host"))?;
        Ok(SocketAddr::new(ip, port))
    }
}

impl Network for SimNetwork {
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let address = self.resolve(address)?;
            if address.ip() != self.node.ip {
                return Err(io::ErrorKind::AddrNotAvailable.into());
            }
            listener::listen(
                self.fabric.clone(),
                self.node.clone(),
                &self.process,
                address,
            )
            .await
        })
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Connection>> {
        Box::pin(async move {
            let address = self.resolve(address)?;
            connect::connect(&self.fabric, &self.node, address).await
        })
    }

    fn local_ip(&self) -> IpAddr {
        self.node.ip
    }
}
