use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use parking_lot::Mutex;

use super::filters::AwaitedBoth;
use super::link::Link;
use super::tcp::{WINDOW, retransmitted};
use crate::seams::node::{Node, NodeId};

/// One end of a connection.
pub(crate) struct End {
    pub(crate) node: Arc<Node>,
    pub(crate) address: SocketAddr,
}

/// What both ends of a connection share: turmoil carries the bytes, this carries when each segment
/// left, how the ends were closed, and how much may still be sent.
pub(crate) struct Wire {
    pub(crate) id: u64,
    /// The side that connected, then the side that accepted.
    pub(crate) ends: [End; 2],
    /// From each side to the other.
    pipes: [Pipe; 2],
    pub(crate) awaited: Arc<AwaitedBoth>,
}

/// One direction of a connection.
pub(crate) struct Pipe {
    pub(crate) link: Arc<Link>,
    /// The key of this direction's draws.
    pub(crate) stream: u64,
    state: Mutex<PipeState>,
}

/// How the sending side of a pipe ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Closing {
    pub(crate) at: Duration,
    /// A reset instead of an orderly end.
    pub(crate) reset: bool,
}

#[derive(Debug, Clone, Copy)]
struct Departure {
    at: Duration,
    /// The machine lost power: its kernel answers nothing.
    silent: bool,
}

#[derive(Default)]
struct PipeState {
    /// Segments given to turmoil that the reader has not taken from it: length and time of sending.
    segments: VecDeque<(usize, Duration)>,
    written: u64,
    consumed: u64,
    closing: Option<Closing>,
    /// When the sender's machine lost power: nothing comes any more, not even an end.
    silent: Option<Duration>,
    /// The reader is gone.
    departure: Option<Departure>,
    /// When the connection was reset by neither of its ends.
    broken: Option<Duration>,
    /// Since when bytes are waiting for an acknowledgement that does not come.
    unacknowledged: Option<Duration>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// What a reader finds in its pipe.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Incoming {
    pub(crate) next: Option<(usize, Duration)>,
    pub(crate) closing: Option<Closing>,
    pub(crate) silent: bool,
}

impl Wire {
    pub(crate) fn new(id: u64, ends: [End; 2], links: [Arc<Link>; 2]) -> Arc<Self> {
        let wire = Arc::new(Self {
            id,
            ends,
            pipes: links.map(Pipe::new),
            awaited: Arc::default(),
        });
        let weak = Arc::downgrade(&wire);
        for (end, pipe) in wire.ends.iter().zip(&wire.pipes) {
            end.node.attach(&weak);
            pipe.link.attach(&weak);
        }
        wire
    }

    /// The pipe that leads away from a side.
    pub(crate) fn outward(&self, side: usize) -> &Pipe {
        &self.pipes[side & 1]
    }

    /// The pipe that leads to a side.
    pub(crate) fn inward(&self, side: usize) -> &Pipe {
        &self.pipes[(side & 1) ^ 1]
    }

    /// Whether bytes or their acknowledgements cannot get through now.
    pub(crate) fn is_down(&self) -> bool {
        self.pipes.iter().any(|pipe| pipe.link.is_down())
    }

    /// Lets both ends look again at what they wait for.
    pub(crate) fn wake(&self) {
        for pipe in &self.pipes {
            pipe.wake();
        }
    }

    /// The machine of a node lost power: this connection's end there falls silent.
    pub(crate) fn lose_power(&self, node: NodeId, now: Duration) {
        for side in 0..2 {
            if self.ends[side].node.id == node {
                self.outward(side).state.lock().silent.get_or_insert(now);
                self.inward(side).depart(now, true);
            }
        }
    }

    /// Whether this is a connection between two nodes.
    pub(crate) fn joins(&self, a: NodeId, b: NodeId) -> bool {
        let [first, second] = [0, 1].map(|end: usize| self.ends[end].node.id);
        (first, second) == (a, b) || (first, second) == (b, a)
    }

    /// Somebody between the two ends resets the connection: both see it at once.
    pub(crate) fn reset(&self, now: Duration) {
        for pipe in &self.pipes {
            pipe.state.lock().broken.get_or_insert(now);
            pipe.wake();
        }
    }

    /// The socket of a side is closed, by the process or because the process died.
    pub(crate) fn close(&self, side: usize, now: Duration) {
        let (outward, inward) = (self.outward(side), self.inward(side));
        if outward.state.lock().silent.is_some() {
            return;
        }
        // Unread bytes, or bytes still to come, make the kernel answer with a reset.
        let reset = inward.depart(now, false);
        outward.finish(now, reset);
    }

    /// When and how the connection dies for a side whose bytes are not acknowledged; `None` as long
    /// as nothing is decided.
    pub(crate) fn fate(&self, side: usize, now: Duration) -> Option<(Duration, ErrorKind)> {
        let (outward, inward) = (self.outward(side), self.inward(side));
        let mut state = outward.state.lock();
        if let Some(at) = state.broken {
            return Some((at, ErrorKind::ConnectionReset));
        }
        if state.departure.is_none() && state.unacknowledged.is_some() && !self.is_down() {
            state.unacknowledged = None;
        }
        let since = state.unacknowledged?;
        let departure = state.departure;
        drop(state);
        let timeout = since + outward.link.config().user_timeout;
        let death = (timeout, ErrorKind::TimedOut);
        let answered = departure.and_then(|departure| {
            let sent = if departure.silent {
                retransmitted(
                    since,
                    self.ends[(side & 1) ^ 1].node.back_since(departure.at)?,
                )
            } else {
                since
            };
            let there = outward.link.arrival(sent, outward.link.config().latency)?;
            inward.link.arrival(there, inward.link.config().latency)
        });
        Some(match answered {
            Some(reset) if reset.max(now) < timeout => (reset, ErrorKind::ConnectionReset),
            _ => death,
        })
    }
}

impl Pipe {
    fn new(link: Arc<Link>) -> Self {
        Self {
            stream: link.next_stream(),
            link,
            state: Mutex::default(),
        }
    }

    /// Lets both its ends look again at what they wait for.
    pub(crate) fn wake(&self) {
        let mut state = self.state.lock();
        let wakers = [state.reader.take(), state.writer.take()];
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// How many bytes the writer may send, given what it knows of the reader.
    pub(crate) fn room(&self, known_consumed: &mut u64, acknowledged: bool) -> u64 {
        let state = self.state.lock();
        if acknowledged {
            *known_consumed = state.consumed;
        }
        WINDOW.saturating_sub(state.written - *known_consumed)
    }

    /// Lets the writer be woken when there is room again.
    pub(crate) fn await_room(&self, waker: &Waker) {
        store(&mut self.state.lock().writer, waker);
    }

    /// Lets the reader be woken by whatever is not turmoil's to say: recovery, power, the end.
    pub(crate) fn await_change(&self, waker: &Waker) {
        store(&mut self.state.lock().reader, waker);
    }

    /// Notes what was sent. `carried` is false if turmoil no longer takes bytes for the peer. True if
    /// from now on an acknowledgement is overdue.
    pub(crate) fn sent(&self, bytes: usize, at: Duration, carried: bool, down: bool) -> bool {
        let mut state = self.state.lock();
        state.written += bytes as u64;
        if carried && state.departure.is_none() {
            state.segments.push_back((bytes, at));
        }
        let overdue = (down || state.departure.is_some()) && state.unacknowledged.is_none();
        if overdue {
            state.unacknowledged = Some(at);
        }
        overdue
    }

    pub(crate) fn incoming(&self) -> Incoming {
        let state = self.state.lock();
        Incoming {
            next: state.segments.front().copied(),
            closing: state.closing,
            silent: state.silent.is_some(),
        }
    }

    /// When a segment is there; `None` if it is held up, or lost for good with its sender.
    pub(crate) fn arrival(&self, sent: Duration, transit: Duration) -> Option<Duration> {
        let at = self.link.arrival(sent, transit)?;
        let sent_again = at > sent + transit;
        match self.state.lock().silent {
            Some(silent) if sent_again && at - transit >= silent => None,
            _ => Some(at),
        }
    }

    /// Bytes that will never be read, or, if negative, that will be read twice.
    pub(crate) fn correct(&self, bytes: i64) {
        let mut state = self.state.lock();
        match u64::try_from(bytes) {
            Ok(bytes) => state.consumed += bytes,
            Err(_) => state.written += bytes.unsigned_abs(),
        }
    }

    /// A segment was taken from turmoil.
    pub(crate) fn taken(&self) {
        self.state.lock().segments.pop_front();
    }

    /// turmoil will deliver nothing more; segments it lost with a reset are forgotten.
    pub(crate) fn exhausted(&self) {
        self.state.lock().segments.clear();
    }

    /// The process has read bytes.
    pub(crate) fn consumed(&self, bytes: u64) {
        let mut state = self.state.lock();
        state.consumed += bytes;
        let writer = state.writer.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.state.lock().closing.is_some()
    }

    /// The sender's last word.
    pub(crate) fn finish(&self, at: Duration, reset: bool) {
        let mut state = self.state.lock();
        state.closing.get_or_insert(Closing { at, reset });
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// The reader is gone. True if bytes were left that it will never read.
    fn depart(&self, at: Duration, silent: bool) -> bool {
        let mut state = self.state.lock();
        let unread = state.written > state.consumed;
        state.departure.get_or_insert(Departure { at, silent });
        if silent && !state.segments.is_empty() {
            state.unacknowledged.get_or_insert(at);
        }
        let wakers = [state.reader.take(), state.writer.take()];
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
        unread
    }
}

fn store(slot: &mut Option<Waker>, waker: &Waker) {
    match slot {
        Some(known) if known.will_wake(waker) => {}
        _ => *slot = Some(waker.clone()),
    }
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
