//! Requests and replies: a producer that waits for whoever consumes its message.

use hotfire_check::history::{Event, OpId, Value};
use hotfire_client::{Producer, RequestError, SelectByHash};
use hotfire_protocol::{Message, MessageExt};

use super::body;
use super::plan::Planned;
use super::producer::Sender;

impl Sender {
    /// Sends a request and writes down the reply. Where the request was stored a reply does not
    /// tell, so the send itself ends as unknown.
    pub(super) async fn request(&self, op: OpId, planned: &Planned, message: Message) {
        let timeout = self.node.spec.timeout;
        let producer = self.client.producer();
        let reply = match self.select_key(planned) {
            Some(key) => {
                let by = SelectByHash(&key);
                producer.request_select(message, by, timeout).await
            }
            None => producer.request(message, timeout).await,
        };
        let reason = match &reply {
            Err(RequestError::Send(error)) => {
                return self.ended(op, planned, 0, &Err(error.clone()));
            }
            Err(RequestError::Timeout { .. }) => "a request without a reply",
            Ok(_) => "a request: its reply does not tell where it is",
        };
        self.node.pen.write(|recorder| Event::SendUnknown {
            op,
            reason: recorder.text(reason),
            attempts: 0,
        });
        if let Ok(reply) = reply {
            let received = body::decode(&reply.message.body);
            let value = received.map_or(u64::MAX, |received| received.content.value);
            let value = Value(value);
            self.node.pen.write(|_| Event::Replied { op, value });
        }
    }
}

/// Replies to a request with what it says. A requester that is gone is nothing to try again for.
pub(super) async fn reply(producer: &Producer, request: &MessageExt) {
    let body = request.message.body.clone();
    if let Err(error) = producer.reply(request, body).await {
        tracing::debug!(%error, msg_id = request.msg_id(), "a reply did not arrive");
    }
}
