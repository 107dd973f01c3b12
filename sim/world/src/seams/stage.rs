//! A small world for the tests of the seams.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use hotfire_env::{Connection, Defects, Env};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::disk::DiskConfig;
use super::net::NetworkConfig;
use super::{NodeId, Universe, UniverseConfig};

/// What happened, with the milliseconds at which it did.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<(u64, String)>>>);

impl Log {
    fn push(&self, at: Duration, what: &dyn Display) {
        self.0
            .lock()
            .push((at.as_millis() as u64, what.to_string()));
    }

    pub(crate) fn lines(&self) -> Vec<(u64, String)> {
        self.0.lock().clone()
    }

    /// When something happened first.
    pub(crate) fn when(&self, what: &str) -> Option<u64> {
        let log = self.0.lock();
        log.iter().find(|(_, line)| line == what).map(|(at, _)| *at)
    }
}

/// A process of a test: its seams, and the log it writes into.
#[derive(Clone)]
pub(crate) struct Actor {
    pub(crate) env: Env,
    universe: Arc<Universe>,
    node: NodeId,
    log: Log,
}

impl Actor {
    pub(crate) fn say(&self, what: impl Display) {
        self.log.push(self.universe.node_now(self.node), &what);
    }

    pub(crate) async fn sleep(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    pub(crate) async fn connect(&self, address: &str) -> Connection {
        self.env.network().connect(address).await.unwrap()
    }

    /// Accepts connections on a port and answers every byte with itself.
    pub(crate) async fn echo(self, port: u16) {
        let listener = self
            .env
            .network()
            .listen(&format!("0.0.0.0:{port}"))
            .await
            .unwrap();
        loop {
            let mut stream = listener.accept().await.unwrap().stream;
            self.env.spawn("echo", async move {
                let mut buffer = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    if stream.write_all(&buffer[..read]).await.is_err() {
                        return;
                    }
                }
            });
        }
    }

    /// Sends a line and waits for the echo of it.
    pub(crate) async fn exchange(&self, connection: &mut Connection, text: &str) {
        let written = connection.stream.write_all(text.as_bytes()).await;
        if let Err(error) = written {
            self.say(format!("write: {}", error.kind()));
            return;
        }
        let mut back = vec![0; text.len()];
        match connection.stream.read_exact(&mut back).await {
            Ok(_) => self.say(String::from_utf8_lossy(&back)),
            Err(error) => self.say(format!("read: {}", error.kind())),
        }
    }
}

/// Two machines, `client` and `server`, on hosts of their own, and two that share one, `first` and
/// `second`; one millisecond apart.
pub(crate) struct Stage {
    pub(crate) universe: Arc<Universe>,
    pub(crate) sim: turmoil::Sim<'static>,
    pub(crate) client: NodeId,
    pub(crate) server: NodeId,
    pub(crate) crowd: [NodeId; 2],
    pub(crate) log: Log,
}

/// An empty world.
pub(crate) fn universe(seed: u64, network: NetworkConfig) -> Arc<Universe> {
    Universe::new(UniverseConfig {
        seed,
        epoch_ms: 1_700_000_000_000,
        tick: Duration::from_millis(1),
        network,
        defects: Defects::NONE,
    })
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::with(1, NetworkConfig::default())
    }

    pub(crate) fn with(seed: u64, network: NetworkConfig) -> Self {
        let universe = universe(seed, network);
        let clients = universe.add_host("clients");
        let servers = universe.add_host("servers");
        let shared = universe.add_host("shared");
        let client = universe.add_node("client", clients, DiskConfig::default());
        let server = universe.add_node("server", servers, DiskConfig::default());
        let crowd =
            ["first", "second"].map(|name| universe.add_node(name, shared, DiskConfig::default()));
        Self {
            crowd,
            sim: universe.simulation(),
            universe,
            client,
            server,
            log: Log::default(),
        }
    }

    /// Starts a process.
    pub(crate) fn boot<F>(&self, node: NodeId, main: impl FnOnce(Actor) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (universe, log) = (self.universe.clone(), self.log.clone());
        self.universe.boot(node, move |env| {
            main(Actor {
                env,
                universe,
                node,
                log,
            })
        });
    }

    /// Runs until a time, in milliseconds since the start.
    pub(crate) fn run_until(&mut self, ms: u64) {
        while self.universe.now() < Duration::from_millis(ms) {
            self.universe.step(&mut self.sim).unwrap();
        }
    }
}
