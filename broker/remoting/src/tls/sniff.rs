use std::future::Future;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hotfire_env::ByteStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

/// The first byte of a TLS connection: a record that belongs to a handshake
/// (`NettyRemotingServer.HANDSHAKE_MAGIC_CODE`).
const HANDSHAKE: u8 = 0x16;
/// How long a handshake may take (Netty's `SslHandler`).
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection whose first byte decides what it is: encrypted or plain. Neither end need wait for
/// the other: nothing is decided before the peer sends something.
pub(super) struct SniffStream {
    state: State,
    config: Arc<ServerConfig>,
    plain_too: bool,
}

enum State {
    Sniffing(Box<dyn ByteStream>),
    Handshaking(Box<Accept<Prefixed>>, Pin<Box<Sleep>>),
    Plain(Prefixed),
    Encrypted(Box<TlsStream<Prefixed>>),
    Failed,
}

impl SniffStream {
    pub(super) fn new(
        stream: Box<dyn ByteStream>,
        config: Arc<ServerConfig>,
        plain_too: bool,
    ) -> Self {
        Self {
            state: State::Sniffing(stream),
            config,
            plain_too,
        }
    }

    /// The stream of bytes, once it is known how to get at them.
    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Pin<&mut dyn ByteStream>>> {
        loop {
            match &mut self.state {
                State::Sniffing(stream) => {
                    let mut byte = [0];
                    let mut buffer = ReadBuf::new(&mut byte);
                    let read = ready!(Pin::new(stream).poll_read(cx, &mut buffer));
                    let first = buffer.filled().first().copied();
                    self.decide(read.map(|()| first))?;
                }
                State::Handshaking(handshake, limit) => {
                    let done = match Pin::new(handshake).poll(cx) {
                        Poll::Ready(done) => done,
                        Poll::Pending => {
                            ready!(limit.as_mut().poll(cx));
                            Err(io::Error::new(
                                io::ErrorKind::TimedOut,
                                "the TLS handshake takes too long",
                            ))
                        }
                    };
                    match done {
                        Ok(stream) => self.state = State::Encrypted(Box::new(stream)),
                        Err(error) => {
                            self.state = State::Failed;
                            return Poll::Ready(Err(error));
                        }
                    }
                }
                // Borrowed anew below: the borrow checker cannot see that this arm returns.
                State::Plain(_) | State::Encrypted(_) | State::Failed => break,
            }
        }
        Poll::Ready(match &mut self.state {
            State::Plain(stream) => Ok(Pin::new(stream as &mut dyn ByteStream)),
            State::Encrypted(stream) => Ok(Pin::new(&mut **stream as &mut dyn ByteStream)),
            _ => Err(io::ErrorKind::NotConnected.into()),
        })
    }

    /// Takes the first byte; none if the peer has closed the connection without a word.
    fn decide(&mut self, first: io::Result<Option<u8>>) -> io::Result<()> {
        let State::Sniffing(stream) = mem::replace(&mut self.state, State::Failed) else {
            return Ok(());
        };
        let first = first?;
        let stream = Prefixed { first, stream };
        self.state = match first {
            Some(HANDSHAKE) => {
                let accept = TlsAcceptor::from(self.config.clone()).accept(stream);
                State::Handshaking(Box::new(accept), Box::pin(sleep(HANDSHAKE_TIMEOUT)))
            }
            Some(_) if !self.plain_too => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "only encrypted connections are taken",
                ));
            }
            _ => State::Plain(stream),
        };
        Ok(())
    }
}

impl AsyncRead for SniffStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_stream(cx))?.poll_read(cx, buffer)
    }
}

impl AsyncWrite for SniffStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_stream(cx))?.poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.state {
            State::Plain(stream) => Pin::new(stream).poll_flush(cx),
            State::Encrypted(stream) => Pin::new(stream).poll_flush(cx),
            // Nothing was taken yet that could be flushed.
            State::Sniffing(_) | State::Handshaking(..) | State::Failed => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.state {
            State::Sniffing(stream) => Pin::new(stream).poll_shutdown(cx),
            State::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            State::Encrypted(stream) => Pin::new(stream).poll_shutdown(cx),
            State::Handshaking(..) | State::Failed => Poll::Ready(Ok(())),
        }
    }
}

/// A stream whose first byte was read already.
struct Prefixed {
    first: Option<u8>,
    stream: Box<dyn ByteStream>,
}

impl AsyncRead for Prefixed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() > 0
            && let Some(first) = self.first.take()
        {
            buffer.put_slice(&[first]);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Prefixed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
