use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpStream};

use crate::{BoxFuture, Connection, Listener, Network};

/// TCP by tokio, without Nagle's delay.
pub struct RealNetwork {
    ip: IpAddr,
    connections_max: usize,
}

/// Of the files that the process may have open, the part that one listener may use: there are a name
/// server, two ports of a broker and its files.
const PART_OF_FILES: u64 = 4;

impl RealNetwork {
    /// A network whose processes are reached under `advertised_ip`, or under the address of the
    /// interface with the default route.
    pub fn new(advertised_ip: Option<IpAddr>) -> Self {
        Self {
            ip: advertised_ip
                .or_else(default_route_ip)
                .unwrap_or(Ipv4Addr::LOCALHOST.into()),
            connections_max: connections_max(),
        }
    }
}

/// Raises the limit of open files to what the process may have at most, as Java does
/// (`MaxFDLimit`), and leaves connections their part of it.
fn connections_max() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let files = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    // None means that there is no limit.
    files.map_or(usize::MAX, |files| {
        usize::try_from((files / PART_OF_FILES).max(1)).unwrap_or(usize::MAX)
    })
}

/// The address of the interface that would carry a packet to the outside. Connecting a UDP socket
/// sends nothing; 192.0.2.1 is reserved for documentation (RFC 5737).
fn default_route_ip() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

impl Network for RealNetwork {
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let listener = TcpListener::bind(address).await?;
            let local = listener.local_addr()?;
            Ok(Box::new(RealListener { listener, local }) as Box<dyn Listener>)
        })
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Connection>> {
        Box::pin(async move { connection(TcpStream::connect(address).await?) })
    }

    fn connections_max(&self) -> usize {
        self.connections_max
    }

    fn local_ip(&self) -> IpAddr {
        self.ip
    }
}

struct RealListener {
    listener: TcpListener,
    local: SocketAddr,
}

impl Listener for RealListener {
    fn accept(&self) -> BoxFuture<'_, io::Result<Connection>> {
        Box::pin(async move { connection(self.listener.accept().await?.0) })
    }

    fn local(&self) -> SocketAddr {
        self.local
    }
}

fn connection(stream: TcpStream) -> io::Result<Connection> {
    stream.set_nodelay(true)?;
    let (local, peer) = (stream.local_addr()?, stream.peer_addr()?);
    Ok(Connection {
        stream: Box::new(stream),
        local,
        peer,
    })
}
