//! A network in memory and a clock that follows tokio's: an [`Env`] whose time can be paused.
#![allow(dead_code, reason = "each test crate uses its part")]

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use hotfire_env::real::{RealDisk, TokioSpawner};
use hotfire_env::{
    BoxFuture, Clock, Connection, Defects, Env, Listener, Network, Seams, SeededEntropy,
};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// What a socket buffers in each direction.
pub const SOCKET_BUFFER: usize = 64 << 10;

/// An environment on a network, with its files below a folder.
pub fn env(network: &MemoryNetwork, root: &Path) -> Env {
    Env::new(Seams {
        clock: Arc::new(TokioClock {
            start: Instant::now(),
        }),
        network: Arc::new(network.clone()),
        disk: Arc::new(RealDisk::new(root)),
        entropy: Arc::new(SeededEntropy::new(1)),
        spawner: Arc::new(TokioSpawner::default()),
        process_id: 1,
        defects: Defects::NONE,
    })
}

struct TokioClock {
    start: Instant,
}

impl Clock for TokioClock {
    fn now_ms(&self) -> i64 {
        1_700_000_000_000 + self.start.elapsed().as_millis() as i64
    }
}

/// Hosts that all have the address 127.0.0.1. Addresses are compared by their ports.
#[derive(Clone, Default)]
pub struct MemoryNetwork {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    listeners: BTreeMap<u16, mpsc::UnboundedSender<Connection>>,
    last_port: u16,
    connects: usize,
    /// Connects wait forever.
    silent: bool,
}

impl MemoryNetwork {
    /// How many connections were asked for.
    pub fn connects(&self) -> usize {
        self.state.lock().connects
    }

    /// From now on no connect comes to an end, as behind a firewall that drops packets.
    pub fn fall_silent(&self) {
        self.state.lock().silent = true;
    }
}

fn address(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn port_of(address: &str) -> io::Result<u16> {
    let port = address
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok());
    port.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

impl Network for MemoryNetwork {
    fn listen<'a>(&'a self, at: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let port = port_of(at)?;
            let (sender, incoming) = mpsc::unbounded_channel();
            self.state.lock().listeners.insert(port, sender);
            let incoming = tokio::sync::Mutex::new(incoming);
            Ok(Box::new(MemoryListener { port, incoming }) as Box<dyn Listener>)
        })
    }

    fn connect<'a>(&'a self, to: &'a str) -> BoxFuture<'a, io::Result<Connection>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            let port = port_of(to)?;
            let (silent, own_port) = {
                let mut state = self.state.lock();
                state.connects += 1;
                state.last_port = state.last_port.max(40_000) + 1;
                (state.silent, state.last_port)
            };
            if silent {
                std::future::pending::<()>().await;
            }
            let (ours, theirs) = tokio::io::duplex(SOCKET_BUFFER);
            let (local, peer) = (address(own_port), address(port));
            let incoming = Connection {
                stream: Box::new(theirs),
                local: peer,
                peer: local,
            };
            let state = self.state.lock();
            let listener = state
                .listeners
                .get(&port)
                .ok_or(io::ErrorKind::ConnectionRefused)?;
            listener
                .send(incoming)
                .map_err(|_| io::ErrorKind::ConnectionRefused)?;
            Ok(Connection {
                stream: Box::new(ours),
                local,
                peer,
            })
        })
    }

    fn local_ip(&self) -> IpAddr {
        Ipv4Addr::LOCALHOST.into()
    }
}

struct MemoryListener {
    port: u16,
    incoming: tokio::sync::Mutex<mpsc::UnboundedReceiver<Connection>>,
}

impl Listener for MemoryListener {
    fn accept(&self) -> BoxFuture<'_, io::Result<Connection>> {
        Box::pin(async move {
            match self.incoming.lock().await.recv().await {
                Some(connection) => Ok(connection),
                // Replaced by a newer listener on the same port.
                None => std::future::pending().await,
            }
        })
    }

    fn local(&self) -> SocketAddr {
        address(self.port)
    }
}
