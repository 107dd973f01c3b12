use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hotfire_env::{Connection, Env, Listener, TaskHandle};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::connection::{self, Owner, Parts};
use crate::totals::Totals;
use crate::{Channel, ConnectionId, Limits, RequestHandler, ServerTls, TotalLimits};

/// A pause after a failed accept: out of file descriptors, most often.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// How a [`Server`] runs.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// What one connection may take.
    pub limits: Limits,
    /// What all connections together may take.
    pub totals: TotalLimits,
    /// How long [`Server::shutdown`] waits for running requests.
    pub shutdown_timeout: Duration,
    /// How connections are encrypted. Without it they are plain.
    pub tls: Option<Arc<ServerTls>>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            totals: TotalLimits::default(),
            shutdown_timeout: Duration::from_secs(3),
            tls: None,
        }
    }
}

/// Accepts connections and serves their requests until it is shut down. Dropping it stops nothing.
pub struct Server {
    inner: Arc<Inner>,
    accepting: Mutex<Option<TaskHandle>>,
}

struct Inner {
    env: Env,
    config: ServerConfig,
    handler: Arc<dyn RequestHandler>,
    local: SocketAddr,
    totals: Arc<Totals>,
    channels: Mutex<Channels>,
    shutting_down: AtomicBool,
    /// Notified when a connection has ended.
    ended: Notify,
}

#[derive(Default)]
struct Channels {
    open: BTreeMap<ConnectionId, Channel>,
    by_address: BTreeMap<IpAddr, usize>,
    count: u32,
}

impl Channels {
    /// Why no further connection from an address is taken.
    fn full(&self, limits: &TotalLimits, address: IpAddr) -> Option<String> {
        let open = self.open.len();
        let of_address = self.by_address.get(&address).copied().unwrap_or(0);
        if open >= limits.connections {
            Some(format!("there are {open} connections"))
        } else if of_address >= limits.connections_per_address {
            Some(format!("there are {of_address} connections from {address}"))
        } else {
            None
        }
    }

    fn add(&mut self, channel: &Channel) {
        self.open.insert(channel.id(), channel.clone());
        *self.by_address.entry(channel.peer().ip()).or_default() += 1;
    }

    fn remove(&mut self, channel: &Channel) {
        if self.open.remove(&channel.id()).is_none() {
            return;
        }
        let address = channel.peer().ip();
        if let Some(count) = self.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

impl Server {
    /// Listens on `host:port` and serves from now on; port 0 picks a free one.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn bind(
        env: &Env,
        address: &str,
        config: ServerConfig,
        handler: Arc<dyn RequestHandler>,
    ) -> io::Result<Self> {
        let listener = env.network().listen(address).await?;
        let totals = TotalLimits {
            connections: config
                .totals
                .connections
                .min(env.network().connections_max()),
            ..config.totals.clone()
        };
        let inner = Arc::new(Inner {
            env: env.clone(),
            totals: Totals::new(totals),
            config,
            handler,
            local: listener.local(),
            channels: Mutex::default(),
            shutting_down: AtomicBool::new(false),
            ended: Notify::new(),
        });
        let accepting = env.spawn("accept", inner.clone().accept(listener));
        Ok(Self {
            inner,
            accepting: Mutex::new(Some(accepting)),
        })
    }

    /// The address that is listened on.
    pub fn local(&self) -> SocketAddr {
        self.inner.local
    }

    /// The connections that are open, in the order in which they came.
    pub fn channels(&self) -> Vec<Channel> {
        self.inner.channels.lock().open.values().cloned().collect()
    }

    /// Stops listening, lets running requests finish and their answers be written, and closes every
    /// connection. Takes at most [`ServerConfig::shutdown_timeout`].
    pub async fn shutdown(&self) {
        self.inner.shutting_down.store(true, Ordering::Release);
        let accepting = self.accepting.lock().take();
        if let Some(accepting) = accepting {
            accepting.abort();
            accepting.join().await;
        }
        let deadline = Instant::now() + self.inner.config.shutdown_timeout;
        for channel in self.channels() {
            channel.drain("the server shuts down", deadline);
        }
        loop {
            let ended = self.inner.ended.notified();
            if self.inner.channels.lock().open.is_empty() {
                return;
            }
            if tokio::time::timeout_at(deadline, ended).await.is_err() {
                return;
            }
        }
    }
}

impl Inner {
    async fn accept(self: Arc<Self>, listener: Box<dyn Listener>) {
        loop {
            match listener.accept().await {
                Ok(connection) => self.open(connection),
                Err(error) => {
                    tracing::warn!(local = %self.local, %error, "accept failed");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    fn open(self: &Arc<Self>, connection: Connection) {
        let Connection {
            stream,
            local,
            peer,
        } = connection;
        let channel = {
            let mut channels = self.channels.lock();
            if let Some(reason) = channels.full(&self.totals.limits, peer.ip()) {
                drop(channels);
                if let Some(left_out) = self.totals.refused_log.admit() {
                    tracing::warn!(%peer, reason, left_out, "refused a connection");
                }
                return;
            }
            channels.count = channels.count.wrapping_add(1);
            let id = u64::from(self.local.port()) << 32 | u64::from(channels.count);
            let limits = self.config.limits.clone();
            let channel = Channel::new(ConnectionId(id), peer.to_string(), (local, peer), limits);
            channels.add(&channel);
            channel
        };
        let stream = match &self.config.tls {
            Some(tls) => tls.wrap(stream),
            None => stream,
        };
        tracing::debug!(connection = %channel.id(), %peer, "accepted a connection");
        if self.shutting_down.load(Ordering::Acquire) {
            channel.close("the server shuts down");
        }
        self.env.spawn(
            "connection",
            connection::run(Parts {
                env: self.env.clone(),
                channel,
                stream,
                handler: Some(self.handler.clone()),
                owner: self.clone(),
                totals: self.totals.clone(),
            }),
        );
    }
}

impl Owner for Inner {
    fn ended(&self, channel: &Channel) {
        self.channels.lock().remove(channel);
        self.ended.notify_one();
    }
}
