//! Sending messages.

use clap::Args;
use hotfire_client::{Producer, SendResult, TraceOptions};
use hotfire_protocol::{Message, MessageQueue};
use serde_json::json;

use super::super::Session;
use super::super::failure::Failure;
use super::super::report::{Content, Report, content_of};

/// The group that tools send as.
const TOOLS_PRODUCER: &str = "TOOLS_PRODUCER";

/// Where a message was stored.
pub(super) fn stored(sent: &SendResult) -> Content {
    content_of([
        ("brokerName", json!(sent.queue.broker_name)),
        ("queueId", json!(sent.queue.queue_id)),
        ("queueOffset", json!(sent.queue_offset)),
        ("sendResult", json!(sent.status.name())),
        ("msgId", json!(sent.msg_id)),
        ("offsetMsgId", json!(sent.offset_msg_id)),
    ])
}

/// `sendMessage`
#[derive(Debug, Args)]
pub struct Send {
    /// The topic.
    #[arg(short = 't', long = "topic", value_name = "TOPIC")]
    topic: String,
    /// The body, as text.
    #[arg(short = 'p', long = "body", value_name = "TEXT")]
    body: String,
    /// The key.
    #[arg(short = 'k', long = "key", value_name = "KEY")]
    key: Option<String>,
    /// The tag.
    #[arg(short = 'c', long = "tags", value_name = "TAG")]
    tag: Option<String>,
    /// The broker group to send to.
    #[arg(
        short = 'b',
        long = "broker",
        value_name = "NAME",
        requires = "queue_id"
    )]
    broker: Option<String>,
    /// The queue to send to.
    #[arg(short = 'i', long = "qid", value_name = "QID", requires = "broker")]
    queue_id: Option<i32>,
    /// Whether the message is traced.
    #[arg(short = 'm', long = "msgTraceEnable", value_name = "BOOL")]
    trace: Option<bool>,
}

impl Send {
    pub async fn run(self, session: &Session) -> Result<Report, Failure> {
        let mut message = Message::new(self.topic.as_str(), self.body);
        if let Some(tag) = self.tag {
            message = message.with_tag(tag);
        }
        if let Some(key) = self.key {
            message = message.with_key(key);
        }
        let mut producer = Producer::builder(&session.env)
            .client_config(session.config.clone())
            .group(TOOLS_PRODUCER);
        if self.trace.unwrap_or(false) {
            producer = producer.trace(TraceOptions::default());
        }
        let producer = producer.start().await?;
        let sent = match (self.broker, self.queue_id) {
            (Some(broker), Some(queue_id)) => {
                let queue = MessageQueue::new(self.topic, broker, queue_id);
                producer.send_to(message, &queue).await
            }
            _ => producer.send(message).await,
        };
        producer.shutdown().await;
        Ok(Report::default().with("sent", stored(&sent?)))
    }
}
