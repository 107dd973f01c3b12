use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hotfire_env::Connection;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;

use super::network::Fabric;
use super::stream::SimStream;
use super::tcp::{SYN_RETRIES, SYN_TIMEOUT, draw};
use super::wire::{End, Wire};
use crate::seams::node::Node;
use crate::seams::trace::TraceKind;

/// Connections that the connecting side has opened and the accepting side has not seen yet. The
/// first bytes on every turmoil stream name one of them.
#[derive(Default)]
pub(crate) struct Handshakes {
    last: AtomicU64,
    open: Mutex<FxHashMap<u64, Arc<Wire>>>,
}

impl Handshakes {
    fn next_id(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn take(&self, id: u64) -> Option<Arc<Wire>> {
        self.open.lock().remove(&id)
    }
}

/// Connects as a kernel does: SYNs again and again until somebody answers.
pub(crate) async fn connect(
    fabric: &Arc<Fabric>,
    node: &Arc<Node>,
    address: SocketAddr,
) -> io::Result<Connection> {
    let began = node.now();
    let (peer, bound) = syn(fabric, node, address).await?;
    let (there, back) = (fabric.link(node, &peer), fabric.link(&peer, node));
    let round_trip = [&there, &back].map(|link| {
        let stream = link.next_stream();
        link.transit(stream, 0)
    });
    let answered = node.now() + round_trip.iter().sum::<Duration>();
    let Some(bound) = bound else {
        sleep_until(node, answered).await;
        return Err(refused(address));
    };
    let Some(mut tcp) = turmoil_connect(bound).await else {
        sleep_until(node, answered).await;
        return Err(refused(address));
    };
    let id = fabric.handshakes.next_id();
    let local = node.ephemeral();
    let ends = [(node, local), (&peer, address)].map(|(node, address)| End {
        node: node.clone(),
        address,
    });
    let wire = Wire::new(id, ends, [there, back]);
    fabric.handshakes.open.lock().insert(id, wire.clone());
    if tcp.write_all(&id.to_be_bytes()).await.is_err() {
        fabric.handshakes.take(id);
        return Err(ErrorKind::ConnectionReset.into());
    }
    let stream = SimStream::new(wire, 0, tcp, fabric.trace.clone(), fabric.filters.clone());
    sleep_until(node, answered).await;
    let took = u64::try_from((node.now() - began).as_micros()).unwrap_or(u64::MAX);
    fabric.trace.note(TraceKind::Connection, id, took);
    Ok(Connection {
        stream: Box::new(stream),
        local,
        peer: address,
    })
}

fn refused(address: SocketAddr) -> io::Error {
    io::Error::new(
        ErrorKind::ConnectionRefused,
        format!("nobody listens on {address}"),
    )
}

/// Sends SYNs until one gets through and is answered: with the address where the peer's listener is
/// bound, or `None` if the peer's kernel refuses.
async fn syn(
    fabric: &Fabric,
    node: &Arc<Node>,
    address: SocketAddr,
) -> io::Result<(Arc<Node>, Option<SocketAddr>)> {
    let began = node.now();
    let mut wait = SYN_TIMEOUT;
    let mut next = began;
    for _ in 0..=SYN_RETRIES {
        if let Some(peer) = fabric.node_at(address.ip()) {
            let (there, back) = (fabric.link(node, &peer), fabric.link(&peer, node));
            if peer.is_powered() && !there.is_down() && !back.is_down() {
                return Ok((peer, fabric.listener_at(address)));
            }
        }
        next += wait;
        wait *= 2;
        sleep_until(node, next).await;
    }
    Err(io::Error::new(
        ErrorKind::TimedOut,
        format!("no answer from {address}"),
    ))
}

/// turmoil forgets to free the port of a connection attempt that is dropped half-way, so attempts run
/// to their end in the kernel, whoever is still interested.
#[allow(
    clippy::disallowed_methods,
    reason = "this is the seam that starts tasks"
)]
async fn turmoil_connect(bound: SocketAddr) -> Option<turmoil::net::TcpStream> {
    let (done, result) = oneshot::channel();
    tokio::spawn(async move {
        // A stream that nobody waits for is closed by being dropped.
        drop(done.send(turmoil::net::TcpStream::connect(bound).await.ok()));
    });
    result.await.ok().flatten()
}

async fn sleep_until(node: &Node, at: Duration) {
    let now = node.now();
    if at > now {
        tokio::time::sleep(at - now).await;
    }
}

/// A process id: four or five digits, as on real machines.
pub(crate) fn process_id(key: u64) -> u32 {
    1000 + (draw(key, 0) % 60_000) as u32
}
