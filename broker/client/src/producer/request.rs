//! Requests that wait for a reply (`RequestFutureHolder`, `MessageUtil`).
//!
//! A request is a message with a correlation id and the client's id; whoever consumes it sends a
//! reply with the same two to the reply topic of the cluster, and the broker that gets the reply
//! hands it to the client. Request and reply are stored like any message; only the waiting is in
//! memory, so a requester that restarts gets no reply.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hotfire_env::{Entropy, Env, defect};
use hotfire_protocol::header::send::ReplyMessageRequestHeader;
use hotfire_protocol::message::compression::decompress;
use hotfire_protocol::message::{property, sys_flag};
use hotfire_protocol::topic::reply_topic;
use hotfire_protocol::{Message, MessageExt, RemotingCommand};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::Producer;
use super::prepare::Prepared;
use crate::{ClientError, QueueSelector, SendError, SendResult};

/// What `MSG_TYPE` says of a reply (`REPLY_MESSAGE_FLAG`).
pub(crate) const REPLY_TYPE: &str = "reply";
/// The longest body that is taken out of a compressed reply, in bytes: that of the largest frame.
const BODY_MAX: usize = hotfire_protocol::frame::FRAME_MAX;

/// Why a request got no reply.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RequestError {
    /// The request was not sent, or nobody knows: no reply can be expected.
    #[error("the request was not sent: {0}")]
    Send(#[from] SendError),
    /// No reply came in time. The request may be consumed later, and its reply will be dropped.
    #[error("no reply came within {} ms; the request was {}", .timeout.as_millis(), whether_sent(*.sent))]
    Timeout {
        /// How long the reply was waited for.
        timeout: Duration,
        /// Whether a broker has confirmed the request.
        sent: bool,
    },
}

fn whether_sent(sent: bool) -> &'static str {
    if sent { "sent" } else { "perhaps not sent" }
}

impl From<ClientError> for RequestError {
    fn from(error: ClientError) -> Self {
        Self::Send(error.into())
    }
}

/// The requests of a producer that wait for their replies.
pub(crate) struct PendingRequests {
    env: Env,
    entropy: Arc<dyn Entropy>,
    waiting: Mutex<BTreeMap<String, oneshot::Sender<MessageExt>>>,
}

/// A request that waits; dropped, it waits no longer.
pub(crate) struct Waiting {
    requests: Arc<PendingRequests>,
    correlation_id: String,
    pub(crate) reply: oneshot::Receiver<MessageExt>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waiting = self.requests.waiting.lock();
        waiting.remove(&self.correlation_id);
    }
}

impl PendingRequests {
    pub(crate) fn new(env: &Env) -> Self {
        let serial = env.next_serial();
        Self {
            env: env.clone(),
            entropy: env.entropy(&format!("requests {serial}")),
            waiting: Mutex::default(),
        }
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.env.now_ms()
    }

    /// Gives a message what makes it a request, and begins to wait for its reply.
    pub(crate) fn begin(
        self: &Arc<Self>,
        message: &mut Message,
        client_id: &str,
        timeout: Duration,
    ) -> Waiting {
        let correlation_id = uuid(self.entropy.next_u64(), self.entropy.next_u64());
        let properties = &mut message.properties;
        properties.set(property::CORRELATION_ID, correlation_id.as_str());
        properties.set(property::REPLY_TO_CLIENT, client_id);
        properties.set(property::TTL, timeout.as_millis().to_string());
        let (done, reply) = oneshot::channel();
        self.waiting.lock().insert(correlation_id.clone(), done);
        Waiting {
            requests: self.clone(),
            correlation_id,
            reply,
        }
    }

    /// Gives a reply to the request that waits for it. False if none does.
    pub(crate) fn complete(&self, correlation_id: &str, reply: MessageExt) -> bool {
        let mut waiting = self.waiting.lock();
        let done = if defect!(self.env, MixReplies) {
            waiting.pop_last().map(|(_, done)| done)
        } else {
            waiting.remove(correlation_id)
        };
        drop(waiting);
        done.is_some_and(|done| done.send(reply).is_ok())
    }
}

impl Producer {
    /// Sends a request to the queue whose turn it is, and waits for the reply of whoever consumes
    /// it.
    ///
    /// # Errors
    /// The request was not sent, or no reply came in time.
    pub async fn request(
        &self,
        message: Message,
        timeout: Duration,
    ) -> Result<MessageExt, RequestError> {
        let deadline = Instant::now() + timeout;
        self.become_known(&message.topic).await?;
        let (waiting, prepared) = self.begin_request(message, timeout)?;
        let sending = self.inner.sender.send_async(&prepared);
        wait(waiting, sending, timeout, deadline).await
    }

    /// [`request`](Self::request) by way of the queue that the selector chooses.
    ///
    /// # Errors
    /// As [`request`](Self::request), or the selector chose no queue.
    pub async fn request_select(
        &self,
        message: Message,
        selector: impl QueueSelector,
        timeout: Duration,
    ) -> Result<MessageExt, RequestError> {
        let deadline = Instant::now() + timeout;
        self.become_known(&message.topic).await?;
        let queue = self.inner.sender.choose(&message, &selector).await?;
        let (waiting, prepared) = self.begin_request(message, timeout)?;
        let sending = self.inner.sender.send_to(&prepared, queue);
        wait(waiting, sending, timeout, deadline).await
    }

    /// Replies to a request that was consumed.
    ///
    /// # Errors
    /// The message is no request; or the reply could not be sent, or its receiver is gone.
    pub async fn reply(
        &self,
        request: &MessageExt,
        body: impl Into<Bytes>,
    ) -> Result<SendResult, SendError> {
        self.send(reply_to(request, body)?).await
    }

    /// Brokers must know this client before they can hand it a reply.
    async fn become_known(&self, topic: &str) -> Result<(), ClientError> {
        let sender = &self.inner.sender;
        let topic = sender.instance.config.wrap(topic);
        let known = sender.instance.routes.read().publish(&topic).is_some();
        if !known {
            sender.publish_info(&topic).await?;
            sender.instance.heartbeat().await;
        }
        Ok(())
    }

    fn begin_request(
        &self,
        mut message: Message,
        timeout: Duration,
    ) -> Result<(Waiting, Prepared), ClientError> {
        let sender = &self.inner.sender;
        let client_id = &sender.instance.client_id;
        let waiting = self.inner.requests.begin(&mut message, client_id, timeout);
        Ok((waiting, sender.prepare(message)?))
    }
}

/// Sends and waits, whichever ends first.
async fn wait(
    mut waiting: Waiting,
    sending: impl Future<Output = Result<SendResult, SendError>>,
    timeout: Duration,
    deadline: Instant,
) -> Result<MessageExt, RequestError> {
    tokio::pin!(sending);
    let mut sent = false;
    loop {
        tokio::select! {
            biased;
            Ok(reply) = &mut waiting.reply => return Ok(reply),
            result = &mut sending, if !sent => {
                result?;
                sent = true;
            }
            () = sleep_until(deadline) => return Err(RequestError::Timeout { timeout, sent }),
        }
    }
}

/// A random UUID (version 4).
fn uuid(high: u64, low: u64) -> String {
    let high = high & !0xF000 | 0x4000;
    let low = low & !(0b11 << 62) | 0b10 << 62;
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xFFFF,
        high & 0xFFFF,
        low >> 48,
        low & 0xFFFF_FFFF_FFFF
    )
}

/// The reply to a request that was consumed, to be sent like any message.
///
/// # Errors
/// The message is no request, or came from a broker that did not note its cluster.
pub fn reply_to(request: &MessageExt, body: impl Into<Bytes>) -> Result<Message, ClientError> {
    let properties = &request.message.properties;
    let needed = |name: &'static str| {
        properties.get(name).ok_or_else(|| {
            let reason = format!("the message cannot be replied to: it has no property {name}");
            ClientError::Invalid(reason)
        })
    };
    let cluster = needed(property::CLUSTER)?;
    let correlation_id = needed(property::CORRELATION_ID)?;
    let client_id = needed(property::REPLY_TO_CLIENT)?;
    let mut reply = Message::new(reply_topic(cluster), body)
        .with_property(property::MSG_TYPE, REPLY_TYPE)
        .with_property(property::CORRELATION_ID, correlation_id)
        .with_property(property::REPLY_TO_CLIENT, client_id);
    if let Some(ttl) = properties.get(property::TTL) {
        reply = reply.with_property(property::TTL, ttl);
    }
    Ok(reply)
}

/// The reply that a broker hands over, and the correlation id of the request that it belongs to.
pub(crate) fn read_reply(
    request: &RemotingCommand,
    now_ms: i64,
) -> Result<(String, MessageExt), String> {
    let header: ReplyMessageRequestHeader = request.header().map_err(|error| error.to_string())?;
    let mut body = request.body.clone();
    if header.sys_flag & sys_flag::COMPRESSED != 0 {
        body = decompress(&body, header.sys_flag, BODY_MAX).map_err(|error| error.to_string())?;
    }
    let mut properties = property::decode(header.properties.as_deref().unwrap_or_default());
    properties.set(property::ARRIVE_TIME, now_ms.to_string());
    let correlation_id = properties
        .get(property::CORRELATION_ID)
        .ok_or("it has no correlation id")?
        .to_owned();
    // Java's addresses may begin with a slash, and of an IPv6 address nothing can be made.
    let host = |text: &str| {
        let unknown = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        text.trim_start_matches('/').parse().unwrap_or(unknown)
    };
    let reply = MessageExt {
        message: Message {
            topic: header.topic,
            flag: header.flag,
            properties,
            body,
        },
        queue_id: header.queue_id,
        queue_offset: 0,
        commit_log_offset: 0,
        store_size: 0,
        sys_flag: header.sys_flag & !sys_flag::COMPRESSED,
        born_timestamp: header.born_timestamp,
        born_host: host(&header.born_host),
        store_timestamp: header.store_timestamp,
        store_host: host(&header.store_host),
        body_crc: 0,
        reconsume_times: header.reconsume_times.unwrap_or(0),
        prepared_transaction_offset: 0,
    };
    Ok((correlation_id, reply))
}

#[cfg(test)]
mod tests {
    use hotfire_protocol::RequestCode;
    use hotfire_protocol::message::compression::{CompressionType, compress};

    use super::*;

    #[test]
    fn a_correlation_id_is_a_random_uuid() {
        assert_eq!(
            uuid(u64::MAX, u64::MAX),
            "ffffffff-ffff-4fff-bfff-ffffffffffff"
        );
        assert_eq!(uuid(0, 0), "00000000-0000-4000-8000-000000000000");
    }

    fn push(body: Bytes, flags: i32, properties: &str) -> RemotingCommand {
        let header = ReplyMessageRequestHeader {
            topic: "c_REPLY_TOPIC".to_owned(),
            sys_flag: flags,
            born_host: "/127.0.0.1:5000".to_owned(),
            store_host: "127.0.0.1:10911".to_owned(),
            properties: Some(properties.to_owned()),
            ..ReplyMessageRequestHeader::default()
        };
        RemotingCommand::request_with(RequestCode::PUSH_REPLY_MESSAGE_TO_CLIENT, &header)
            .with_body(body)
    }

    #[test]
    fn a_compressed_reply_is_unpacked() {
        let kind = CompressionType::Zstd;
        let body = compress(&[7; 5000], kind, 3).unwrap();
        let request = push(body, kind.flag(), "CORRELATION_ID\u{1}c-1\u{2}");
        let (correlation_id, reply) = read_reply(&request, 99).unwrap();
        assert_eq!(correlation_id, "c-1");
        assert_eq!(reply.message.body, vec![7; 5000]);
        assert_eq!(reply.born_host.to_string(), "127.0.0.1:5000");
        let arrived = reply.message.properties.get(property::ARRIVE_TIME);
        assert_eq!(arrived, Some("99"));
    }

    #[test]
    fn a_reply_that_makes_no_sense_is_an_error() {
        let damaged = push(
            Bytes::from_static(b"junk"),
            0x301,
            "CORRELATION_ID\u{1}c\u{2}",
        );
        assert!(read_reply(&damaged, 0).is_err());
        assert!(read_reply(&push(Bytes::new(), 0, ""), 0).is_err());
        let bare = RemotingCommand::request(RequestCode::PUSH_REPLY_MESSAGE_TO_CLIENT);
        assert!(read_reply(&bare, 0).is_err());
    }
}
