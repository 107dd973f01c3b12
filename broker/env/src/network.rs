use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::BoxFuture;

/// A byte stream with both directions.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// An established connection.
pub struct Connection {
    /// The bytes.
    pub stream: Box<dyn ByteStream>,
    /// This side's address.
    pub local: SocketAddr,
    /// The other side's address.
    pub peer: SocketAddr,
}

/// A listening socket. Dropping it stops listening.
pub trait Listener: Send + Sync {
    /// Waits for the next connection.
    ///
    /// # Errors
    /// What the operating system says; an error about one connection does not end the listener.
    fn accept(&self) -> BoxFuture<'_, io::Result<Connection>>;

    /// The address that is listened on, with the port that was chosen if 0 was asked for.
    fn local(&self) -> SocketAddr;
}

/// Connections by `host:port` strings.
pub trait Network: Send + Sync {
    /// Listens on `host:port`; port 0 picks a free one.
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>>;

    /// Connects to `host:port`. There is no timeout here beyond the operating system's own: callers
    /// bring theirs.
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Connection>>;

    /// How many connections one listener may have open at a time, so that files can be opened beside
    /// them.
    fn connections_max(&self) -> usize {
        usize::MAX
    }

    /// The address under which others reach this process, as goes into client ids and route data.
    fn local_ip(&self) -> std::net::IpAddr;
}
