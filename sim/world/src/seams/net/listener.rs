use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hotfire_env::{BoxFuture, Connection, Listener};
use tokio::io::AsyncReadExt;
use tokio::sync::{Mutex, mpsc};
use tokio::task::AbortHandle;

use super::network::Fabric;
use super::stream::SimStream;
use super::tcp::BACKLOG;
use crate::seams::node::Node;
use crate::seams::spawner::Process;

/// Listens on an address of a node. The kernel completes connections by itself, as many as the
/// backlog holds, whether or not the process gets to accept them.
pub(crate) async fn listen(
    fabric: Arc<Fabric>,
    node: Arc<Node>,
    process: &Arc<Process>,
    mut address: SocketAddr,
) -> io::Result<Box<dyn Listener>> {
    if address.port() == 0 {
        address.set_port(node.ephemeral().port());
    }
    if fabric.listener_at(address).is_some() {
        return Err(io::Error::new(ErrorKind::AddrInUse, address.to_string()));
    }
    let (socket, bound) = bind(&fabric, &node.host).await?;
    fabric.bind(address, bound);
    let (backlog, accepted) = mpsc::channel(BACKLOG);
    let kernel = process.start_in_kernel(Box::pin(accept_all(fabric.clone(), socket, backlog)));
    Ok(Box::new(SimListener {
        fabric,
        address,
        bound,
        kernel,
        accepted: Mutex::new(accepted),
    }))
}

/// A turmoil listener on any free port of a turmoil host, and the address where it is bound.
async fn bind(fabric: &Fabric, host: &str) -> io::Result<(turmoil::net::TcpListener, SocketAddr)> {
    let host = turmoil::lookup(host);
    loop {
        let port = fabric.next_bound_port();
        match turmoil::net::TcpListener::bind(("0.0.0.0", port)).await {
            Ok(socket) => return Ok((socket, SocketAddr::new(host, port))),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
}

struct SimListener {
    fabric: Arc<Fabric>,
    address: SocketAddr,
    bound: SocketAddr,
    kernel: AbortHandle,
    accepted: Mutex<mpsc::Receiver<Connection>>,
}

impl Listener for SimListener {
    fn accept(&self) -> BoxFuture<'_, io::Result<Connection>> {
        Box::pin(async move {
            let connection = self.accepted.lock().await.recv().await;
            connection.ok_or_else(|| ErrorKind::ConnectionAborted.into())
        })
    }

    fn local(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.fabric.unbind(self.address, self.bound);
        self.kernel.abort();
    }
}

async fn accept_all(
    fabric: Arc<Fabric>,
    socket: turmoil::net::TcpListener,
    backlog: mpsc::Sender<Connection>,
) {
    let mut handshakes = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some(connection) = handshakes.next(), if !handshakes.is_empty() => {
                if let Some(connection) = connection {
                    // A full backlog resets the connection by dropping it.
                    let _ = backlog.try_send(connection);
                }
            }
            accepted = socket.accept() => {
                if let Ok((tcp, _)) = accepted {
                    handshakes.push(handshake(fabric.clone(), tcp));
                }
            }
        }
    }
}

/// Learns from the first bytes which connection a stream belongs to.
async fn handshake(fabric: Arc<Fabric>, mut tcp: turmoil::net::TcpStream) -> Option<Connection> {
    let id = tcp.read_u64().await.ok()?;
    let wire = fabric.handshakes.take(id)?;
    let (local, peer) = (wire.ends[1].address, wire.ends[0].address);
    let stream = SimStream::new(wire, 1, tcp, fabric.trace.clone(), fabric.filters.clone());
    Some(Connection {
        stream: Box::new(stream),
        local,
        peer,
    })
}
