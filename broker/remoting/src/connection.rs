//! The task that drives a connection.

use std::any::Any;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use futures_util::FutureExt;
use hotfire_env::{BoxFuture, ByteStream, Env};
use hotfire_protocol::{RemotingCommand, ResponseCode, frame};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::time::{Instant, Sleep};

use crate::channel::{Channel, Closing};
use crate::{Handled, RequestHandler};

/// Reads before what was answered is written, and turns before other tasks get theirs.
const READS_PER_TURN: usize = 16;
const TURNS_PER_POLL: usize = 8;
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
}

/// Drives a connection to its end.
pub(crate) async fn run(parts: Parts) {
    let Parts {
        env,
        channel,
        stream,
        handler,
        owner,
    } = parts;
    // Also runs when the task is aborted or torn down with its runtime.
    let _ended = EndOnDrop(channel.clone());
    if let Some(handler) = &handler {
        handler.connected(&channel);
    }
    let mut driver = Driver::new(env, channel.clone(), stream, handler.clone());
    let result = AssertUnwindSafe(std::future::poll_fn(|cx| driver.poll(cx)))
        .catch_unwind()
        .await;
    let (end, panic) = match result {
        Ok(end) => (end, None),
        Err(panic) => (End::ours(panic_reason(&*panic)), Some(panic)),
    };
    channel.end(&end.reason);
    let (connection, peer, reason) = (channel.id(), channel.name(), &end.reason);
    if end.by_us {
        tracing::info!(%connection, peer, reason, "closing the connection");
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
    running: Arc<AtomicUsize>,
    draining: bool,
    last_io: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Driver {
    fn new(
        env: Env,
        channel: Channel,
        stream: Box<dyn ByteStream>,
        handler: Option<Arc<dyn RequestHandler>>,
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
            timer: Box::pin(tokio::time::sleep_until(last_io + idle)),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        // Registered first, so that a frame queued while this runs leads to another turn.
        self.channel.shared().task.register(cx.waker());
        let now = Instant::now();
        match self.turns(cx, now).and_then(|()| self.time(cx, now)) {
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
                return Ok(());
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Takes what the peer sent. True if there may be more.
    fn receive(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<bool, End> {
        if self.draining {
            return self.receive_responses(cx, now);
        }
        for _ in 0..READS_PER_TURN {
            self.take_frames()?;
            if self.answers > ANSWERS_MAX {
                return Ok(true);
            }
            if !self.fill(cx, now)? {
                return Ok(false);
            }
        }
        self.take_frames()?;
        Ok(true)
    }

    /// While draining, requests are no longer taken, but responses still are, and the peer's
    /// leaving is still noticed.
    fn receive_responses(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<bool, End> {
        let more = self.fill(cx, now)?;
        while let Some(command) = self.next_frame()? {
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
        }
        self.last_io = now;
        Ok(true)
    }

    fn next_frame(&mut self) -> Result<Option<RemotingCommand>, End> {
        frame::decode(&mut self.input).map_err(|error| End::ours(format!("bad frame: {error}")))
    }

    /// Dispatches the frames that are complete, unless the peer leaves too many answers unread.
    fn take_frames(&mut self) -> Result<(), End> {
        while self.answers <= ANSWERS_MAX {
            match self.next_frame()? {
                Some(command) if command.is_response() => self.channel.complete(command),
                Some(request) => self.serve(request)?,
                None => break,
            }
        }
        Ok(())
    }

    fn serve(&mut self, request: RemotingCommand) -> Result<(), End> {
        let (opaque, oneway) = (request.opaque, request.is_oneway());
        let limit = self.channel.shared().limits.requests_in;
        let handled = match &self.handler {
            None => {
                // With the space in front, as Java has it.
                let remark = format!(" request type {} not supported", request.code);
                let code = ResponseCode::REQUEST_CODE_NOT_SUPPORTED;
                Handled::Reply(request.response_error(code, remark))
            }
            Some(_) if self.running.load(Ordering::Acquire) >= limit => {
                let remark = format!("[OVERLOAD]system busy, {limit} requests are being processed");
                tracing::warn!(
                    connection = %self.channel.id(), peer = self.channel.name(),
                    code = request.code, oneway, remark, "refused a request"
                );
                Handled::Reply(request.response_error(ResponseCode::SYSTEM_BUSY, remark))
            }
            Some(handler) => handler.handle(&self.channel, request),
        };
        match handled {
            Handled::Reply(response) if !oneway => self.reply(response, opaque),
            Handled::Reply(_) | Handled::None => Ok(()),
            Handled::Later(answer) => {
                self.answer_later(answer, opaque, oneway);
                Ok(())
            }
        }
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
        opaque: i32,
        oneway: bool,
    ) {
        let channel = self.channel.clone();
        let running = Running::begin(&self.running, &channel);
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
                let done = self.running.load(Ordering::Acquire) == 0
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

/// Counts a handler at work until it is dropped.
struct Running {
    count: Arc<AtomicUsize>,
    channel: Channel,
}

impl Running {
    fn begin(count: &Arc<AtomicUsize>, channel: &Channel) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self {
            count: count.clone(),
            channel: channel.clone(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            // A connection that drains may leave now.
            self.channel.shared().task.wake();
        }
    }
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
