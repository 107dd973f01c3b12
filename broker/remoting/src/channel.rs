use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use futures_util::task::AtomicWaker;
use hotfire_env::LogLimit;
use hotfire_protocol::{RemotingCommand, frame};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::pending::Pending;
use crate::{Limits, RpcError};

/// Names a connection among those of its [`Server`](crate::Server) or [`Client`](crate::Client),
/// and is not used again there. The upper half is the port for a server's connections and 0 for a
/// client's, so the servers of one process do not clash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.0 >> 32, self.0 as u32)
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One end of a connection; cheap to clone. It stays usable after the connection has ended:
/// everything then fails with the reason.
#[derive(Clone)]
pub struct Channel {
    shared: Arc<Shared>,
}

/// What the channel's users share with the connection's task.
pub(crate) struct Shared {
    id: ConnectionId,
    name: String,
    peer: SocketAddr,
    local: SocketAddr,
    pub(crate) limits: Limits,
    open: AtomicBool,
    /// For responses that nobody waits for.
    unwanted_log: LogLimit,
    pub(crate) state: Mutex<State>,
    /// The connection's task.
    pub(crate) task: AtomicWaker,
}

pub(crate) struct State {
    /// Encoded frames that the task has not taken yet.
    pub(crate) out: BytesMut,
    /// The bytes that the task has taken and not written yet, as of its last turn.
    pub(crate) in_write: usize,
    pub(crate) pending: Pending<Invocation>,
    pub(crate) closing: Option<Closing>,
}

/// A request that waits for its response.
pub(crate) struct Invocation {
    code: i32,
    timeout: Duration,
    done: oneshot::Sender<Result<RemotingCommand, RpcError>>,
}

/// How our side ends the connection.
#[derive(Debug, Clone)]
pub(crate) enum Closing {
    /// Take no more requests; leave when the running ones are answered and written, or at the
    /// deadline.
    Drain(String, Instant),
    /// Leave at once.
    Now(String),
}

impl Channel {
    pub(crate) fn new(
        id: ConnectionId,
        name: String,
        (local, peer): (SocketAddr, SocketAddr),
        limits: Limits,
    ) -> Self {
        let state = State {
            out: BytesMut::new(),
            in_write: 0,
            pending: Pending::new(),
            closing: None,
        };
        Self {
            shared: Arc::new(Shared {
                id,
                name,
                peer,
                local,
                limits,
                open: AtomicBool::new(true),
                unwanted_log: LogLimit::new(1),
                state: Mutex::new(state),
                task: AtomicWaker::new(),
            }),
        }
    }

    /// The connection's name in its process.
    pub fn id(&self) -> ConnectionId {
        self.shared.id
    }

    /// The other side's address.
    pub fn peer(&self) -> SocketAddr {
        self.shared.peer
    }

    /// This side's address.
    pub fn local(&self) -> SocketAddr {
        self.shared.local
    }

    /// The other side as errors and logs name it: the address that was connected to, or that the
    /// connection came from.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Whether commands can still be sent.
    pub fn is_open(&self) -> bool {
        self.shared.open.load(Ordering::Acquire)
    }

    /// Queues a response, or a request that wants none. It has not reached the peer when this
    /// returns, and may never.
    ///
    /// # Errors
    /// The connection has ended, the command is too big, or the peer does not read: a response that
    /// finds no more room closes the connection, a request is refused.
    pub fn send(&self, command: RemotingCommand) -> Result<(), RpcError> {
        let mut state = self.shared.state.lock();
        self.queue(&mut state, &command)?;
        drop(state);
        self.shared.task.wake();
        Ok(())
    }

    /// Sends a one-way request. See [`Channel::send`].
    ///
    /// # Errors
    /// As [`Channel::send`].
    pub fn oneway(&self, request: RemotingCommand) -> Result<(), RpcError> {
        let mut request = request.oneway();
        let mut state = self.shared.state.lock();
        request.opaque = state.pending.next_opaque();
        self.queue(&mut state, &request)?;
        drop(state);
        self.shared.task.wake();
        Ok(())
    }

    /// Sends a request and waits for its response. The opaque is assigned here. Dropping the future
    /// forgets the response; the request stands.
    ///
    /// # Errors
    /// No response: timed out, the connection ended, or the request could not be sent.
    pub async fn invoke(
        &self,
        request: RemotingCommand,
        timeout: Duration,
    ) -> Result<RemotingCommand, RpcError> {
        let response = self.start(request, timeout)?;
        response
            .await
            .unwrap_or_else(|_| Err(self.closed_error("its task is gone")))
    }

    /// Queues a request and registers the waiter.
    fn start(
        &self,
        mut request: RemotingCommand,
        timeout: Duration,
    ) -> Result<oneshot::Receiver<Result<RemotingCommand, RpcError>>, RpcError> {
        let deadline = Instant::now() + timeout;
        let mut state = self.shared.state.lock();
        let limit = self.shared.limits.requests_out;
        if state.pending.len() >= limit {
            let what = format!("{limit} of them wait for a response");
            return Err(RpcError::TooManyRequests {
                addr: self.name().to_owned(),
                what,
            });
        }
        request.opaque = state.pending.next_opaque();
        self.queue(&mut state, &request)?;
        let (done, response) = oneshot::channel();
        let invocation = Invocation {
            code: request.code,
            timeout,
            done,
        };
        state.pending.add(request.opaque, deadline, invocation);
        drop(state);
        self.shared.task.wake();
        Ok(response)
    }

    /// Encodes a command behind what is waiting to be written.
    fn queue(&self, state: &mut State, command: &RemotingCommand) -> Result<(), RpcError> {
        if !self.is_open() {
            let reason = match &state.closing {
                Some(Closing::Drain(reason, _) | Closing::Now(reason)) => reason.clone(),
                None => "the connection is closed".to_owned(),
            };
            return Err(RpcError::SendFailed {
                addr: self.name().to_owned(),
                reason,
            });
        }
        let waiting = state.out.len() + state.in_write;
        if waiting > self.shared.limits.unwritten_bytes {
            let what = not_reading(waiting);
            if command.is_response() {
                self.close_locked(state, &what);
            }
            return Err(RpcError::TooManyRequests {
                addr: self.name().to_owned(),
                what,
            });
        }
        let before = state.out.len();
        frame::encode(command, &mut state.out).map_err(|error| {
            state.out.truncate(before);
            RpcError::Frame {
                addr: self.name().to_owned(),
                reason: error.to_string(),
            }
        })
    }

    /// Closes the connection; the reason is logged. What is already queued is written if the socket
    /// takes it at once. Requests that wait for a response fail with [`RpcError::Closed`].
    pub fn close(&self, reason: impl Into<String>) {
        self.close_locked(&mut self.shared.state.lock(), &reason.into());
    }

    fn close_locked(&self, state: &mut State, reason: &str) {
        if matches!(state.closing, Some(Closing::Now(_))) {
            return;
        }
        state.closing = Some(Closing::Now(reason.to_owned()));
        self.end_locked(state, reason);
        self.shared.task.wake();
    }

    /// Takes no more requests and closes when the running ones are answered, at the latest at the
    /// deadline.
    pub(crate) fn drain(&self, reason: &str, deadline: Instant) {
        let mut state = self.shared.state.lock();
        if state.closing.is_none() {
            state.closing = Some(Closing::Drain(reason.to_owned(), deadline));
            drop(state);
            self.shared.task.wake();
        }
    }

    /// Marks the connection as ended and fails everybody who waits for a response.
    pub(crate) fn end(&self, reason: &str) {
        let mut state = self.shared.state.lock();
        if state.closing.is_none() {
            state.closing = Some(Closing::Now(reason.to_owned()));
        }
        self.end_locked(&mut state, reason);
    }

    fn end_locked(&self, state: &mut State, reason: &str) {
        self.shared.open.store(false, Ordering::Release);
        for invocation in state.pending.drain() {
            // An error means that the caller no longer waits.
            let _ = invocation.done.send(Err(self.closed_error(reason)));
        }
    }

    fn closed_error(&self, reason: &str) -> RpcError {
        RpcError::Closed {
            addr: self.name().to_owned(),
            reason: reason.to_owned(),
        }
    }

    /// Hands a response to whoever waits for it.
    pub(crate) fn complete(&self, response: RemotingCommand) {
        let invocation = self.shared.state.lock().pending.complete(response.opaque);
        match invocation {
            Some(invocation) => {
                let _ = invocation.done.send(Ok(response));
            }
            None => {
                if let Some(left_out) = self.shared.unwanted_log.admit() {
                    tracing::warn!(
                        connection = %self.id(), peer = self.name(), opaque = response.opaque,
                        code = response.code, left_out, "dropped a response that no request waits for"
                    );
                }
            }
        }
    }

    /// Fails the invocations whose time is up. Returns when to look again.
    pub(crate) fn expire(&self, now: Instant) -> Option<Instant> {
        let mut state = self.shared.state.lock();
        while let Some(Invocation {
            code,
            timeout,
            done,
        }) = state.pending.expire(now)
        {
            let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
            let addr = self.name().to_owned();
            let _ = done.send(Err(RpcError::Timeout { addr, code, millis }));
        }
        state.pending.next_deadline()
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }
}

/// The reason to cut off a peer with so many unread bytes.
fn not_reading(waiting: usize) -> String {
    format!("the peer does not read: {waiting} bytes wait to be written")
}

impl PartialEq for Channel {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Eq for Channel {}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Channel({} {})", self.id(), self.name())
    }
}
