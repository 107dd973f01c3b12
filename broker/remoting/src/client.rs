use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hotfire_env::{Connection, Env};
use hotfire_protocol::RemotingCommand;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use crate::connection::{self, Owner, Parts};
use crate::totals::Totals;
use crate::{
    Channel, ConnectionId, Limits, RequestHandler, RequestHook, RpcError, TlsConnector, TotalLimits,
};

/// How a [`Client`] runs.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// What one connection may take.
    pub limits: Limits,
    /// How long a connection may take to come about: 3 s (`connectTimeoutMillis`).
    pub connect_timeout: Duration,
    /// Whether a synchronous invocation that times out closes its connection, as Java does by
    /// default (`clientCloseSocketIfTimeout`).
    pub close_on_timeout: bool,
    /// What is done to every request before it is sent, such as signing it.
    pub hook: Option<Arc<dyn RequestHook>>,
    /// How connections are encrypted. Without it they are plain.
    pub tls: Option<TlsConnector>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            connect_timeout: Duration::from_secs(3),
            close_on_timeout: true,
            hook: None,
            tls: None,
        }
    }
}

/// Sends requests to any number of addresses over one connection each; cheap to clone.
///
/// A connection is made when the first request for its address comes and is used until it ends;
/// requests that come while it is being made wait for the same attempt. Dropping the client stops
/// nothing: [`Client::shutdown`] does.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    env: Env,
    config: ClientConfig,
    handler: Option<Arc<dyn RequestHandler>>,
    totals: Arc<Totals>,
    peers: Mutex<Peers>,
}

#[derive(Default)]
struct Peers {
    by_address: BTreeMap<String, Peer>,
    connections: u32,
    shut_down: bool,
}

enum Peer {
    /// Everybody who waits for the attempt under way.
    Connecting(Vec<oneshot::Sender<Result<Channel, RpcError>>>),
    Connected(Channel),
}

impl Client {
    /// A client without connections. Requests that come from the other side go to the handler;
    /// without one they are answered with REQUEST_CODE_NOT_SUPPORTED.
    pub fn new(env: &Env, config: ClientConfig, handler: Option<Arc<dyn RequestHandler>>) -> Self {
        let (env, peers) = (env.clone(), Mutex::default());
        Self {
            inner: Arc::new(Inner {
                env,
                config,
                handler,
                totals: Totals::new(TotalLimits::UNLIMITED),
                peers,
            }),
        }
    }

    /// Sends a request and waits for the response, as Java's synchronous invocation does: the
    /// timeout covers connecting too, and when no response came in time the connection is closed.
    /// Other requests that wait on that connection fail with [`RpcError::Closed`].
    ///
    /// # Errors
    /// There is no response, for any of the reasons of [`RpcError`].
    pub async fn invoke(
        &self,
        address: &str,
        request: RemotingCommand,
        timeout: Duration,
    ) -> Result<RemotingCommand, RpcError> {
        let (channel, result) = self.exchange(address, request, timeout).await?;
        if let Err(error @ RpcError::Timeout { .. }) = &result
            && self.inner.config.close_on_timeout
        {
            channel.close(error.to_string());
        }
        result
    }

    /// The same, but the connection survives a timeout: Java's asynchronous invocation, of which
    /// its pulls and its asynchronous sends are made.
    ///
    /// # Errors
    /// As [`Client::invoke`].
    pub async fn invoke_async(
        &self,
        address: &str,
        request: RemotingCommand,
        timeout: Duration,
    ) -> Result<RemotingCommand, RpcError> {
        self.exchange(address, request, timeout).await?.1
    }

    async fn exchange(
        &self,
        address: &str,
        mut request: RemotingCommand,
        timeout: Duration,
    ) -> Result<(Channel, Result<RemotingCommand, RpcError>), RpcError> {
        let deadline = Instant::now() + timeout;
        let channel = match self.connected(address) {
            Some(channel) => channel,
            None => self.connect(address, deadline).await?,
        };
        self.apply_hook(address, &mut request);
        let left = deadline.saturating_duration_since(Instant::now());
        let result = channel.invoke(request, left).await;
        Ok((channel, result))
    }

    /// Sends a request that wants no response. It is queued when this returns; the timeout is for
    /// connecting.
    ///
    /// # Errors
    /// There is no connection, or it takes no more.
    pub async fn oneway(
        &self,
        address: &str,
        mut request: RemotingCommand,
        timeout: Duration,
    ) -> Result<(), RpcError> {
        let channel = match self.connected(address) {
            Some(channel) => channel,
            None => self.connect(address, Instant::now() + timeout).await?,
        };
        self.apply_hook(address, &mut request);
        channel.oneway(request)
    }

    fn apply_hook(&self, address: &str, request: &mut RemotingCommand) {
        if let Some(hook) = &self.inner.config.hook {
            hook.before_request(address, request);
        }
    }

    /// The open connection to an address, if there is one.
    pub fn connected(&self, address: &str) -> Option<Channel> {
        match self.inner.peers.lock().by_address.get(address) {
            Some(Peer::Connected(channel)) if channel.is_open() => Some(channel.clone()),
            _ => None,
        }
    }

    /// The connection to an address, made if need be.
    ///
    /// # Errors
    /// None came about by the deadline or within the connect timeout.
    pub async fn connect(&self, address: &str, deadline: Instant) -> Result<Channel, RpcError> {
        let (sender, result) = oneshot::channel();
        {
            let mut peers = self.inner.peers.lock();
            if peers.shut_down {
                return Err(RpcError::ShutDown);
            }
            match peers.by_address.get_mut(address) {
                Some(Peer::Connected(channel)) if channel.is_open() => return Ok(channel.clone()),
                Some(Peer::Connecting(waiters)) => waiters.push(sender),
                _ => {
                    peers
                        .by_address
                        .insert(address.to_owned(), Peer::Connecting(vec![sender]));
                    self.inner
                        .env
                        .spawn("connect", self.inner.clone().attempt(address.to_owned()));
                }
            }
        }
        match timeout_at(deadline, result).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(connect_error(address, io::ErrorKind::Interrupted.into())),
            Err(_) => Err(connect_error(address, io::ErrorKind::TimedOut.into())),
        }
    }

    /// Closes the connection to an address, if there is one.
    pub fn close(&self, address: &str, reason: impl Into<String>) {
        if let Some(channel) = self.connected(address) {
            channel.close(reason);
        }
    }

    /// Closes every connection. Requests fail from now on.
    pub fn shutdown(&self) {
        let peers = {
            let mut peers = self.inner.peers.lock();
            peers.shut_down = true;
            std::mem::take(&mut peers.by_address)
        };
        for peer in peers.into_values() {
            match peer {
                Peer::Connected(channel) => channel.close("the client shuts down"),
                Peer::Connecting(waiters) => {
                    for waiter in waiters {
                        let _ = waiter.send(Err(RpcError::ShutDown));
                    }
                }
            }
        }
    }
}

impl Inner {
    /// Makes one attempt to connect, and tells everybody who waits for it.
    async fn attempt(self: Arc<Self>, address: String) {
        let connecting = self.connection(&address);
        let result = match timeout(self.config.connect_timeout, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(connect_error(&address, error)),
            Err(_) => Err(connect_error(&address, io::ErrorKind::TimedOut.into())),
        };
        let mut peers = self.peers.lock();
        if peers.shut_down {
            return;
        }
        let waiters = match peers.by_address.remove(&address) {
            Some(Peer::Connecting(waiters)) => waiters,
            _ => Vec::new(),
        };
        let result = result.map(|connection| self.open(&mut peers, address, connection));
        drop(peers);
        if let Err(error) = &result {
            tracing::debug!(%error, "no connection");
        }
        for waiter in waiters {
            // An error means that the caller no longer waits.
            let _ = waiter.send(result.clone());
        }
    }

    async fn connection(&self, address: &str) -> io::Result<Connection> {
        let connection = self.env.network().connect(address).await?;
        match &self.config.tls {
            Some(tls) => tls.encrypt(connection, address).await,
            None => Ok(connection),
        }
    }

    fn open(
        self: &Arc<Self>,
        peers: &mut Peers,
        address: String,
        connection: Connection,
    ) -> Channel {
        let Connection {
            stream,
            local,
            peer,
        } = connection;
        peers.connections = peers.connections.wrapping_add(1);
        let id = ConnectionId(u64::from(peers.connections));
        let limits = self.config.limits.clone();
        let channel = Channel::new(id, address.clone(), (local, peer), limits);
        tracing::debug!(connection = %id, %peer, address, "connected");
        peers
            .by_address
            .insert(address, Peer::Connected(channel.clone()));
        self.env.spawn(
            "connection",
            connection::run(Parts {
                env: self.env.clone(),
                channel: channel.clone(),
                stream,
                handler: self.handler.clone(),
                owner: self.clone(),
                totals: self.totals.clone(),
            }),
        );
        channel
    }
}

impl Owner for Inner {
    fn ended(&self, channel: &Channel) {
        let mut peers = self.peers.lock();
        // The address may have a newer connection by now.
        if let Some(Peer::Connected(current)) = peers.by_address.get(channel.name())
            && current == channel
        {
            peers.by_address.remove(channel.name());
        }
    }
}

fn connect_error(address: &str, source: io::Error) -> RpcError {
    RpcError::Connect {
        addr: address.to_owned(),
        source: Arc::new(source),
    }
}
