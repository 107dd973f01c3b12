use std::future::Future;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::filters::{Filters, Judged};
use super::frame::Framer;
use super::inbox::{Content, Inbox, Item, Next};
use super::tcp::{draw, unit};
use super::wire::{Incoming, Wire};
use crate::seams::node::Node;
use crate::seams::trace::{Trace, TraceKind};

/// The most that one write hands over: larger writes are accepted in part, as by a kernel.
const MAX_SEGMENT: usize = 64 * 1024;

/// One end of a simulated connection: bytes travel through turmoil, and this decides when they are
/// there.
pub(crate) struct SimStream {
    wire: Arc<Wire>,
    side: usize,
    tcp: turmoil::net::TcpStream,
    trace: Arc<Trace>,
    inbox: Inbox,
    framer: Framer,
    judged: Judged,
    /// Segments taken from turmoil, and reads done: what this end's draws are numbered by.
    segments: u64,
    reads: u64,
    /// What this end knows of the peer's reading, from acknowledgements that got through.
    known_consumed: u64,
    /// turmoil has nothing more for this end.
    exhausted: bool,
    ended: bool,
    failed: Option<ErrorKind>,
    timer: Option<Pin<Box<Sleep>>>,
    timer_at: Option<Duration>,
}

impl SimStream {
    pub(crate) fn new(
        wire: Arc<Wire>,
        side: usize,
        tcp: turmoil::net::TcpStream,
        trace: Arc<Trace>,
        filters: Arc<Filters>,
    ) -> Self {
        let side = side & 1;
        Self {
            judged: Judged::new(filters, &wire, side),
            wire,
            side,
            tcp,
            trace,
            inbox: Inbox::default(),
            framer: Framer::default(),
            segments: 0,
            reads: 0,
            known_consumed: 0,
            exhausted: false,
            ended: false,
            failed: None,
            timer: None,
            timer_at: None,
        }
    }

    fn node(&self) -> &Node {
        &self.wire.ends[self.side].node
    }

    /// Takes from turmoil what it has for this end, and arranges to be woken when it has more.
    fn pull(&mut self, cx: &mut Context<'_>, now: Duration) {
        while !self.exhausted {
            let incoming = self.wire.inward(self.side).incoming();
            match incoming.next {
                Some((len, sent)) if !self.pull_segment(cx, len, sent, now) => return,
                Some(_) => {}
                None => {
                    self.pull_end(cx, incoming, now);
                    return;
                }
            }
        }
    }

    /// False if the segment has not arrived yet.
    fn pull_segment(
        &mut self,
        cx: &mut Context<'_>,
        len: usize,
        sent: Duration,
        now: Duration,
    ) -> bool {
        let mut bytes = BytesMut::zeroed(len);
        let mut filled = 0;
        while filled < len {
            let mut buf = ReadBuf::new(&mut bytes[filled..]);
            match Pin::new(&mut self.tcp).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => filled += buf.filled().len(),
                // turmoil hands a segment over whole or not at all.
                Poll::Pending => return false,
                Poll::Ready(_) => {
                    self.wire.inward(self.side).exhausted();
                    return true;
                }
            }
        }
        self.wire.inward(self.side).taken();
        self.trace.note_bytes(
            TraceKind::Segment,
            self.wire.id * 2 + self.side as u64,
            &bytes,
        );
        let pipe = self.wire.inward(self.side);
        let transit = pipe.link.transit(pipe.stream, self.segments);
        self.segments += 1;
        self.sort(bytes.freeze(), sent, transit, now);
        true
    }

    /// With no segment left: the peer's last word, if it was spoken.
    fn pull_end(&mut self, cx: &mut Context<'_>, incoming: Incoming, now: Duration) {
        if incoming.silent {
            self.exhausted = true;
        } else if let Some(closing) = incoming.closing {
            self.exhausted = true;
            let pipe = self.wire.inward(self.side);
            let content = if closing.reset {
                Content::Reset
            } else {
                Content::End
            };
            self.inbox.push(Item {
                content,
                sent: closing.at,
                transit: pipe.link.transit(pipe.stream, self.segments),
            });
        } else {
            // No bytes can be there: this is for the sake of the waker, and of a peer that died
            // before it took over its end.
            let mut byte = [0; 1];
            let read = Pin::new(&mut self.tcp).poll_read(cx, &mut ReadBuf::new(&mut byte));
            if read.is_ready() {
                self.exhausted = true;
                self.inbox.push(Item {
                    content: Content::Reset,
                    sent: now,
                    transit: Duration::ZERO,
                });
            }
        }
    }

    /// Puts bytes into the inbox, frame by frame while somebody judges frames.
    fn sort(&mut self, bytes: Bytes, sent: Duration, transit: Duration, now: Duration) {
        let inbox = &mut self.inbox;
        let mut push = |bytes| {
            inbox.push(Item {
                content: Content::Bytes(bytes),
                sent,
                transit,
            });
        };
        if !self.judged.is_active() {
            if let Some(held) = self.framer.pass(&bytes) {
                push(held);
            }
            push(bytes);
            return;
        }
        let mut late = Vec::new();
        let mut unread = 0;
        let judged = &mut self.judged;
        self.framer.cut(bytes, |frame, header| {
            unread += judged.judge(frame, header, &mut push, &mut late);
        });
        for (delay, frame) in late {
            self.inbox.push_late(now.max(sent + transit) + delay, frame);
        }
        self.wire.inward(self.side).correct(unread);
    }

    /// Fails once the kernel gives the connection up. Returns when it would, if that is in sight.
    fn check_fate(&mut self, now: Duration) -> io::Result<Option<Duration>> {
        if self.failed.is_none() {
            match self.wire.fate(self.side, now) {
                Some((at, kind)) if at <= now => self.fail(kind),
                Some((at, _)) => return Ok(Some(at)),
                None => return Ok(None),
            }
        }
        Err(self.failed.unwrap_or(ErrorKind::ConnectionReset).into())
    }

    fn fail(&mut self, kind: ErrorKind) {
        self.failed = Some(kind);
        self.trace.note(
            TraceKind::Connection,
            self.wire.id * 2 + self.side as u64,
            kind as u64,
        );
        self.wire.outward(self.side).wake();
    }

    /// Arranges to be woken at a time. True if that time has come.
    fn wake_at(&mut self, cx: &mut Context<'_>, at: Duration, now: Duration) -> bool {
        if at <= now {
            return true;
        }
        if self.timer_at != Some(at) {
            self.timer_at = Some(at);
            let deadline = Instant::now() + (at - now);
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(deadline),
                None => self.timer = Some(Box::pin(tokio::time::sleep_until(deadline))),
            }
        }
        let fired = self
            .timer
            .as_mut()
            .is_some_and(|timer| timer.as_mut().poll(cx).is_ready());
        if fired {
            self.timer_at = None;
        }
        fired
    }

    fn next(&mut self, now: Duration) -> Next {
        let between_frames = self.framer.at_boundary();
        let pipe = self.wire.inward(self.side);
        self.inbox.next(now, between_frames, |sent, transit| {
            pipe.arrival(sent, transit)
        })
    }

    fn deliver(&mut self, buf: &mut ReadBuf<'_>, now: Duration) {
        let pipe = self.wire.inward(self.side);
        let mut limit = buf.remaining();
        let drawn = draw(pipe.stream ^ 1, self.reads);
        self.reads += 1;
        if unit(drawn) < pipe.link.config().short_reads {
            let most = limit.min(256) as u64;
            limit = 1 + (draw(drawn, 0) % most.max(1)) as usize;
        }
        let mut read = 0;
        while read < limit && self.next(now) == Next::Ready {
            let taken = self.inbox.take(limit - read, |bytes| buf.put_slice(bytes));
            if taken == 0 {
                break;
            }
            read += taken;
        }
        self.wire.inward(self.side).consumed(read as u64);
    }
}

impl AsyncRead for SimStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ended || buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let wire = this.wire.clone();
        let pipe = wire.inward(this.side);
        loop {
            let now = this.node().now();
            this.pull(cx, now);
            let next = this.next(now);
            let content = this.inbox.front();
            match (&next, content) {
                (Next::Ready, Some(Content::Bytes(_))) => {
                    this.deliver(buf, now);
                    return Poll::Ready(Ok(()));
                }
                (Next::Ready, Some(Content::End)) => {
                    this.ended = true;
                    return Poll::Ready(Ok(()));
                }
                (Next::Ready, _) => this.fail(ErrorKind::ConnectionReset),
                _ => {}
            }
            let fate = this.check_fate(now)?;
            let soonest = match next {
                Next::At(at) => Some(fate.map_or(at, |fate| at.min(fate))),
                _ => fate,
            };
            pipe.await_change(cx.waker());
            match soonest {
                Some(at) if this.wake_at(cx, at, now) => {}
                _ => return Poll::Pending,
            }
        }
    }
}

impl SimStream {
    /// As much of a write as the window has room for.
    fn write_some(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let now = self.node().now();
        self.check_fate(now)?;
        let (outward, inward) = (self.wire.outward(self.side), self.wire.inward(self.side));
        if outward.is_finished() {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        let acknowledged = !inward.link.is_down();
        let room = outward.room(&mut self.known_consumed, acknowledged);
        let len = data
            .len()
            .min(MAX_SEGMENT)
            .min(usize::try_from(room).unwrap_or(usize::MAX));
        if len == 0 && !data.is_empty() {
            outward.await_room(cx.waker());
            return Poll::Pending;
        }
        let carried = match Pin::new(&mut self.tcp).poll_write(cx, &data[..len]) {
            Poll::Ready(Ok(written)) => written == len,
            // The peer's socket is gone. What that means for this end, its kernel finds out.
            Poll::Ready(Err(_)) | Poll::Pending => false,
        };
        let leaves = outward.link.departure(now, len);
        if outward.sent(len, leaves, carried, self.wire.is_down()) {
            // Somebody who reads here must look at the fate of the connection again.
            inward.wake();
        }
        Poll::Ready(Ok(len))
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().write_some(cx, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match parts {
            [] => this.write_some(cx, &[]),
            [part] => this.write_some(cx, part),
            // One segment for all of them: turmoil's cost is by the segment.
            _ => {
                let mut data = BytesMut::new();
                for part in parts {
                    let room = MAX_SEGMENT.saturating_sub(data.len());
                    data.extend_from_slice(&part[..part.len().min(room)]);
                }
                this.write_some(cx, &data)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outward = this.wire.outward(this.side);
        if !outward.is_finished() {
            outward.finish(this.node().now(), false);
            // An error says that the peer's socket is gone, and with it the need to tell it.
            let _ = Pin::new(&mut this.tcp).poll_shutdown(cx);
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.wire.close(self.side, self.node().now());
    }
}
