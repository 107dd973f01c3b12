//! The task that drives a connection.

use std::any::Any;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use futures_util::FutureExt;
use hotfire_env::{BoxFuture, ByteStream, Env};
use hotfire_protocol::frame::{self, FrameError};
use hotfire_protocol::{RemotingCommand, ResponseCode};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::time::{Instant, Sleep};

use crate::channel::{Channel, Closing};
use crate::totals::{Counted, Totals};
use crate::{Handled, RequestHandler};

/// Reads before what was answered is written, and turns before other tasks get theirs.
const READS_PER_TURN: usize = 16;
const TURNS_PER_POLL: usize = 8;
/// After so much work other tasks get their turn. In a simulation, where computing takes no time, it
/// never comes to that.
const WORK_PER_POLL: Duration = Duration::from_millis(1);
/// A header of more bytes is read where it holds up nobody.
const HEADER_SMALL: usize = 256 << 10;
/// Input and output of fewer bytes do not count as held.
const HELD_MIN: usize = 4 << 10;
/// What an incomplete frame has to grow by within [`Limits::stalled_frame`](crate::Limits).
const GROWTH_MIN: usize = 4 << 10;
/// The least and the most room that is made for one read.
const CHUNK_MIN: usize = 4 << 10;
const CHUNK_MAX: usize = 64 << 10;
/// With so many bytes of answers unwritten, no further request is taken. Only answers count: two
/// peers that send each other requests must not wait for one another.
const ANSWERS_MAX: usize = 1 << 20;
/// An output buffer that has grown beyond this is given back once it is written.
const OUTPUT_KEPT: usize = 1 << 20;
/// Bit 0 of a command's flag (`RemotingCommand.RPC_TYPE`).
const FLAG_RESPONSE: i32 = 1;

/// Why a connection ended, and at whose wish.
struct End {
    reason: String,
    by_us: bool,
}

impl End {
    fn ours(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            by_us: true,
        }
    }

    fn theirs(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            by_us: false,
        }
    }
}

/// Who wants to know that a connection has ended, besides the handler.
pub(crate) trait Owner: Send + Sync + 'static {
    /// The connection has ended.
    fn ended(&self, channel: &Channel);
}

/// What a connection is made of.
pub(crate) struct Parts {
    pub(crate) env: Env,
    pub(crate) channel: Channel,
    pub(crate) stream: Box<dyn ByteStream>,
    pub(crate) handler: Option<Arc<dyn RequestHandler>>,
    pub(crate) owner: Arc<dyn Owner>,
    pub(crate) totals: Arc<Totals>,
}

/// Drives a connection to its end.
pub(crate) async fn run(parts: Parts) {
    let Parts {
        env,
        channel,
        stream,
        handler,
        owner,
        totals,
    } = parts;
    // Also runs when the task is aborted or torn down with its runtime.
    let _ended = EndOnDrop(channel.clone());
    if let Some(handler) = &handler {
        handler.connected(&channel);
    }
    let mut driver = Driver::new(
        env,
        channel.clone(),
        stream,
        handler.clone(),
        totals.clone(),
    );
    let result = AssertUnwindSafe(std::future::poll_fn(|cx| driver.poll(cx)))
        .catch_unwind()
        .await;
    let (end, panic) = match result {
        Ok(end) => (end, None),
        Err(panic) => (End::ours(panic_reason(&*panic)), Some(panic)),
    };
    channel.end(&end.reason);
    let (connection, peer, reason) = (channel.id(), channel.name(), &end.reason);
    if end.by_us
        && let Some(left_out) = totals.closed_log.admit()
    {
        tracing::info!(%connection, peer, reason, left_out, "closing the connection");
    } else {
        tracing::debug!(%connection, peer, reason, "the connection ended");
    }
    driver.leave().await;
    drop(driver);
    owner.ended(&channel);
    if let Some(handler) = handler {
        handler.closed(&channel, &end.reason);
    }
    if let Some(panic) = panic {
        resume_unwind(panic);
    }
}

/// Lets nobody wait for a response that cannot come, however the task ended.
struct EndOnDrop(Channel);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end("the connection's task was stopped");
    }
}

fn panic_reason(panic: &(dyn Any + Send)) -> String {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("of unknown kind");
    format!("a request handler panicked: {message}")
}

struct Driver {
    env: Env,
    channel: Channel,
    stream: Box<dyn ByteStream>,
    handler: Option<Arc<dyn RequestHandler>>,
    input: BytesMut,
    chunk: usize,
    output: BytesMut,
    /// Bytes of answers in `output`, at most.
    answers: usize,
    flushed: bool,
    /// Handlers at work ([`Handled::Later`]).
    running: Arc<Counted>,
    draining: bool,
    last_io: Instant,
    /// A frame whose header is being read elsewhere.
    decoding: Option<BoxFuture<'static, Result<Option<RemotingCommand>, FrameError>>>,
    /// When the current poll has worked enough.
    enough: Instant,
    /// Since when the incomplete frame has not grown, and how many bytes of it there were.
    stalled: Option<(Instant, usize)>,
    totals: Arc<Totals>,
    partial_share: Option<u64>,
    unwritten_share: Option<u64>,
    timer: Pin<Box<Sleep>>,
}

impl Driver {
    fn new(
        env: Env,
        channel: Channel,
        stream: Box<dyn ByteStream>,
        handler: Option<Arc<dyn RequestHandler>>,
        totals: Arc<Totals>,
    ) -> Self {
        let last_io = Instant::now();
        let idle = channel.shared().limits.idle;
        Self {
            env,
            channel,
            stream,
            handler,
            input: BytesMut::new(),
            chunk: CHUNK_MIN,
            output: BytesMut::new(),
            answers: 0,
            flushed: true,
            running: Arc::default(),
            draining: false,
            last_io,
            decoding: None,
            enough: last_io,
            stalled: None,
            totals,
            partial_share: None,
            unwritten_share: None,
            timer: Box::pin(tokio::time::sleep_until(last_io + idle)),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        // Registered first, so that a frame queued while this runs leads to another turn.
        self.channel.shared().task.register(cx.waker());
        let now = Instant::now();
        self.enough = now + WORK_PER_POLL;
        let result = self.turns(cx, now);
        self.account();
        match result.and_then(|()| self.time(cx, now)) {
            Ok(()) => Poll::Pending,
            Err(end) => Poll::Ready(end),
        }
    }

    /// Reads, answers and writes until neither direction has anything to do.
    fn turns(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<(), End> {
        for _ in 0..TURNS_PER_POLL {
            let more_to_read = self.receive(cx, now)?;
            let blocked = self.transmit(cx, now)?;
            self.heed_closing(now)?;
            if !more_to_read || (blocked && self.answers > ANSWERS_MAX) {
                self.look_stalled(more_to_read, now);
                return Ok(());
            }
            if self.is_enough() {
                break;
            }
        }
        self.stalled = None;
        // Woken when the others had their turn and the network was looked at.
        let _ = pin!(tokio::task::yield_now()).poll(cx);
        Ok(())
    }

    fn is_enough(&self) -> bool {
        Instant::now() >= self.enough
    }

    /// Notes how long an incomplete frame has been waiting for more bytes.
    fn look_stalled(&mut self, more_to_read: bool, now: Instant) {
        let len = self.input.len();
        if len == 0 || more_to_read || self.decoding.is_some() {
            self.stalled = None;
        } else if self.stalled.is_none_or(|(_, at)| len >= at + GROWTH_MIN) {
            self.stalled = Some((now, len));
        }
        if len == 0 {
            // It may be long until something comes again, and there are many connections.
            self.input = BytesMut::new();
        }
    }

    /// Tells the server what this connection holds.
    fn account(&mut self) {
        let partial = match self.input.len() {
            0..HELD_MIN => 0,
            _ => self.input.capacity(),
        };
        let unwritten = match self.output.len() + self.channel.shared().state.lock().out.len() {
            0..HELD_MIN => 0,
            bytes => bytes,
        };
        let (totals, channel) = (&self.totals, &self.channel);
        totals
            .partial
            .set(&mut self.partial_share, channel, partial);
        totals
            .unwritten
            .set(&mut self.unwritten_share, channel, unwritten);
    }

    /// Takes what the peer sent. True if there may be more.
    fn receive(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<bool, End> {
        if self.draining {
            return self.receive_responses(cx, now);
        }
        for _ in 0..READS_PER_TURN {
            self.take_frames(cx)?;
            if self.decoding.is_some() {
                return Ok(false);
            }
            if self.answers > ANSWERS_MAX || self.is_enough() {
                return Ok(true);
            }
            if !self.fill(cx, now)? {
                return Ok(false);
            }
        }
        self.take_frames(cx)?;
        Ok(self.decoding.is_none())
    }

    /// While draining, requests are no longer taken, but responses still are, and the peer's
    /// leaving is still noticed.
    fn receive_responses(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<bool, End> {
        let more = self.decoding.is_none() && self.fill(cx, now)?;
        while let Some(command) = self.next_frame(cx)? {
            if command.is_response() {
                self.channel.complete(command);
            }
        }
        Ok(more)
    }

    /// Reads once. False if there is nothing to read now.
    fn fill(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<bool, End> {
        if self.input.capacity() - self.input.len() < CHUNK_MIN {
            self.input.reserve(self.chunk);
        }
        let room = self.input.capacity() - self.input.len();
        let read = match pin!(self.stream.read_buf(&mut self.input)).poll(cx) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Ok(read)) => read,
            Poll::Ready(Err(error)) => return Err(End::theirs(format!("read failed: {error}"))),
        };
        if read == 0 {
            return Err(End::theirs("the peer closed it"));
        }
        if read == room {
            self.chunk = (self.chunk * 2).min(CHUNK_MAX);
        } else if read < self.chunk / 4 {
            self.chunk = (self.chunk / 2).max(CHUNK_MIN);
        }
        self.last_io = now;
        Ok(true)
    }

    /// The next complete frame. A long header is read elsewhere meanwhile, and the task is woken when
    /// that is done.
    fn next_frame(&mut self, cx: &mut Context<'_>) -> Result<Option<RemotingCommand>, End> {
        if self.decoding.is_none()
            && frame::header_len(&self.input).is_some_and(|len| len > HEADER_SMALL)
            && let Some(mut bytes) = frame::split(&mut self.input)
        {
            let decode = move || frame::decode(&mut bytes);
            self.decoding = Some(self.env.compute("decode", decode));
        }
        let decoded = match &mut self.decoding {
            None => frame::decode(&mut self.input),
            Some(decoding) => match decoding.as_mut().poll(cx) {
                Poll::Pending => return Ok(None),
                Poll::Ready(decoded) => {
                    self.decoding = None;
                    decoded
                }
            },
        };
        let command = decoded.map_err(|error| End::ours(bad_frame(&error, &self.input)))?;
        if command.is_some() {
            self.stalled = None;
        }
        Ok(command)
    }

    /// Dispatches the frames that are complete, unless the peer leaves too many answers unread or
    /// others have waited for long enough.
    fn take_frames(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        while self.answers <= ANSWERS_MAX {
            match self.next_frame(cx)? {
                Some(command) if command.is_response() => self.channel.complete(command),
                Some(request) => self.serve(request)?,
                None => break,
            }
            if self.is_enough() {
                break;
            }
        }
        Ok(())
    }

    fn serve(&mut self, request: RemotingCommand) -> Result<(), End> {
        let (opaque, oneway, bytes) = (request.opaque, request.is_oneway(), request.body.len());
        let handled = match &self.handler {
            None => {
                // With the space in front, as Java has it.
                let remark = format!(" request type {} not supported", request.code);
                let code = ResponseCode::REQUEST_CODE_NOT_SUPPORTED;
                Handled::Reply(request.response_error(code, remark))
            }
            Some(handler) => match self.overload(bytes) {
                None => handler.handle(&self.channel, request),
                Some(remark) => {
                    if let Some(left_out) = self.totals.busy_log.admit() {
                        tracing::warn!(
                            connection = %self.channel.id(), peer = self.channel.name(),
                            code = request.code, oneway, remark, left_out, "refused a request"
                        );
                    }
                    Handled::Reply(request.response_error(ResponseCode::SYSTEM_BUSY, remark))
                }
            },
        };
        match handled {
            Handled::Reply(response) if !oneway => self.reply(response, opaque),
            Handled::Reply(_) | Handled::None => Ok(()),
            Handled::Later(answer) => {
                self.answer_later(answer, bytes, opaque, oneway);
                Ok(())
            }
        }
    }

    /// Why no further request with so many bytes may be processed.
    fn overload(&self, bytes: usize) -> Option<String> {
        let (limits, totals) = (&self.channel.shared().limits, &self.totals);
        let one = (&self.running, limits.requests_in, limits.request_bytes_in);
        let all = (
            &totals.requests,
            totals.limits.requests_in,
            totals.limits.request_bytes_in,
        );
        let busy = |counted: &Counted, requests: usize, most: usize| {
            let (count, held) = (counted.count(), counted.bytes());
            // A request that is alone is taken whatever its size.
            let full = count >= requests || (count > 0 && held.saturating_add(bytes) > most);
            full.then(|| format!("[OVERLOAD]system busy, {count} requests are being processed"))
        };
        busy(one.0, one.1, one.2).or_else(|| busy(all.0, all.1, all.2))
    }

    /// Encodes an answer straight into the output.
    fn reply(&mut self, response: RemotingCommand, opaque: i32) -> Result<(), End> {
        let before = self.output.len();
        let response = addressed(response, opaque);
        if let Err(error) = frame::encode(&response, &mut self.output) {
            self.output.truncate(before);
            return self.reply_too_big(&response, &error.to_string());
        }
        self.answers += self.output.len() - before;
        Ok(())
    }

    /// Tells the peer that its answer does not fit into a frame.
    fn reply_too_big(&mut self, response: &RemotingCommand, error: &str) -> Result<(), End> {
        let mut refusal = response.response(ResponseCode::SYSTEM_ERROR);
        refusal.remark = Some(format!("the response cannot be encoded: {error}"));
        frame::encode(&refusal, &mut self.output)
            .map_err(|error| End::ours(format!("no response can be encoded: {error}")))
    }

    fn answer_later(
        &self,
        answer: BoxFuture<'static, Option<RemotingCommand>>,
        bytes: usize,
        opaque: i32,
        oneway: bool,
    ) {
        let channel = self.channel.clone();
        let running = Running::begin(&self.running, &self.totals, &channel, bytes);
        self.env.spawn("request", async move {
            let answer = AssertUnwindSafe(answer).catch_unwind().await;
            match answer {
                Ok(Some(response)) if !oneway => answer_through(&channel, response, opaque),
                Ok(_) => {}
                Err(panic) => {
                    channel.close(panic_reason(&*panic));
                    drop(running);
                    resume_unwind(panic);
                }
            }
            drop(running);
        });
    }

    /// Writes what has gathered. True if the socket takes no more for now.
    fn transmit(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<bool, End> {
        loop {
            self.take_output();
            if self.output.is_empty() {
                return self.flush(cx);
            }
            match Pin::new(&mut self.stream).poll_write(cx, &self.output) {
                Poll::Pending => {
                    self.note_in_write();
                    return Ok(true);
                }
                Poll::Ready(Ok(0)) => return Err(End::theirs("the socket takes no more bytes")),
                Poll::Ready(Ok(written)) => {
                    self.last_io = now;
                    self.flushed = false;
                    self.written(written);
                }
                Poll::Ready(Err(error)) => {
                    return Err(End::theirs(format!("write failed: {error}")));
                }
            }
        }
    }

    fn written(&mut self, bytes: usize) {
        self.output.advance(bytes);
        if self.output.is_empty() {
            self.answers = 0;
            if self.output.capacity() > OUTPUT_KEPT {
                self.output = BytesMut::new();
            }
        }
    }

    /// Takes over the frames that others have queued.
    fn take_output(&mut self) {
        let mut state = self.channel.shared().state.lock();
        if !state.out.is_empty() {
            if self.output.is_empty() {
                mem::swap(&mut self.output, &mut state.out);
                state.out.clear();
            } else if self.output.len() < CHUNK_MAX && state.out.len() < CHUNK_MAX {
                self.output.extend_from_slice(&state.out);
                state.out.clear();
            }
        }
        state.in_write = self.output.len();
    }

    fn note_in_write(&self) {
        self.channel.shared().state.lock().in_write = self.output.len();
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        if self.flushed {
            return Ok(false);
        }
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Ready(Ok(())) => {
                self.flushed = true;
                Ok(false)
            }
            Poll::Ready(Err(error)) => Err(End::theirs(format!("write failed: {error}"))),
            Poll::Pending => Ok(true),
        }
    }

    /// Whether our side wants the connection closed, and may close it now.
    fn heed_closing(&mut self, now: Instant) -> Result<(), End> {
        let closing = self.channel.shared().state.lock().closing.clone();
        match closing {
            None => Ok(()),
            Some(Closing::Now(reason)) => Err(End::ours(reason)),
            Some(Closing::Drain(reason, deadline)) => {
                self.draining = true;
                let done = self.running.count() == 0
                    && self.decoding.is_none()
                    && self.output.is_empty()
                    && self.flushed;
                if done || now >= deadline {
                    Err(End::ours(reason))
                } else {
                    Ok(())
                }
            }
        }
    }

    /// Does what time asks for, and sees to it that the timer wakes the task for the next such
    /// thing.
    ///
    /// The timer is moved only forwards in a hurry: one that fires too early costs a turn, while
    /// moving it with every request would cost more.
    fn time(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<(), End> {
        let mut now = now;
        loop {
            let idle_at = self.last_io + self.channel.shared().limits.idle;
            if now >= idle_at {
                let seconds = self.channel.shared().limits.idle.as_secs_f64();
                return Err(End::ours(format!(
                    "nothing read or written for {seconds} s"
                )));
            }
            let mut next = self
                .channel
                .expire(now)
                .map_or(idle_at, |at| at.min(idle_at));
            if self.draining {
                next = next.min(self.drain_deadline().unwrap_or(next));
            }
            if let Some((since, _)) = self.stalled {
                let stalled_at = since + self.channel.shared().limits.stalled_frame;
                if now >= stalled_at {
                    return Err(End::ours(self.stalled_reason()));
                }
                next = next.min(stalled_at);
            }
            if self.timer.is_elapsed() || next < self.timer.deadline() {
                self.timer.as_mut().reset(next);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
            now = Instant::now();
            self.heed_closing(now)?;
        }
    }

    fn stalled_reason(&self) -> String {
        let limit = self.channel.shared().limits.stalled_frame.as_secs_f64();
        let len = self.input.len();
        format!(
            "a frame of which {len} bytes have come grew by less than {GROWTH_MIN} in {limit} s"
        )
    }

    fn drain_deadline(&self) -> Option<Instant> {
        match &self.channel.shared().state.lock().closing {
            Some(Closing::Drain(_, deadline)) => Some(*deadline),
            _ => None,
        }
    }

    /// Writes what the socket takes at once and says goodbye.
    async fn leave(&mut self) {
        let goodbye = std::future::poll_fn(|cx| {
            self.take_output();
            while !self.output.is_empty() {
                let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.output))?;
                if written == 0 {
                    break;
                }
                self.output.advance(written);
            }
            Pin::new(&mut self.stream).poll_shutdown(cx)
        });
        // Whether the peer still hears it makes no difference.
        let _: Option<io::Result<()>> = goodbye.now_or_never();
    }
}

/// What a connection holds ends with it.
impl Drop for Driver {
    fn drop(&mut self) {
        let totals = &self.totals;
        totals
            .partial
            .set(&mut self.partial_share, &self.channel, 0);
        totals
            .unwritten
            .set(&mut self.unwritten_share, &self.channel, 0);
    }
}

/// Counts a handler at work until it is dropped.
struct Running {
    one: Arc<Counted>,
    totals: Arc<Totals>,
    channel: Channel,
    bytes: usize,
}

impl Running {
    fn begin(one: &Arc<Counted>, totals: &Arc<Totals>, channel: &Channel, bytes: usize) -> Self {
        one.add(bytes);
        totals.requests.add(bytes);
        Self {
            one: one.clone(),
            totals: totals.clone(),
            channel: channel.clone(),
            bytes,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.totals.requests.sub(self.bytes);
        if self.one.sub(self.bytes) == 0 {
            // A connection that drains may leave now.
            self.channel.shared().task.wake();
        }
    }
}

/// What is wrong with a frame, and what the peer seems to speak instead.
fn bad_frame(error: &FrameError, input: &[u8]) -> String {
    let other = match input {
        [b'P', b'R', b'I', b' ', ..] => ": it begins like HTTP/2, which gRPC clients speak",
        [b'G', b'E', b'T', b' ', ..]
        | [b'H', b'E', b'A', b'D', ..]
        | [b'P', b'O', b'S', b'T', ..]
        | [b'P', b'U', b'T', b' ', ..]
        | [b'O', b'P', b'T', b'I', ..]
        | [b'C', b'O', b'N', b'N', ..] => ": it begins like HTTP",
        // A record of a handshake, of SSL 3.0 or later.
        [0x16, 3, ..] => ": it begins like TLS, and this side takes no encrypted connections",
        [b'S', b'S', b'H', b'-', ..] => ": it begins like SSH",
        _ => "",
    };
    format!("bad frame: {error}{other}")
}

/// A response is one, whatever the handler made of it.
fn addressed(mut response: RemotingCommand, opaque: i32) -> RemotingCommand {
    response.opaque = opaque;
    response.flag |= FLAG_RESPONSE;
    response
}

fn answer_through(channel: &Channel, response: RemotingCommand, opaque: i32) {
    if let Err(error) = channel.send(addressed(response, opaque)) {
        tracing::debug!(
            connection = %channel.id(), peer = channel.name(), opaque, %error,
            "a response was not sent"
        );
    }
}
