//! Commands about messages.

use clap::Args;
use hotfire_client::{Admin, ClientConfig, Producer, PullStatus};
use hotfire_env::Env;
use hotfire_protocol::message::id;
use hotfire_protocol::{Message, MessageExt, MessageQueue, date};
use serde_json::{Value, json};

use super::failure::Failure;
use super::offset::parse_time;
use super::report::{Columns, Content, Report, content_of};

/// The group that tools read as (`TOOLS_CONSUMER_GROUP`).
const TOOLS_CONSUMER: &str = "TOOLS_CONSUMER";
/// The group that tools send as.
const TOOLS_PRODUCER: &str = "TOOLS_PRODUCER";
/// How many messages are pulled at a time.
const PULL_MAX: i32 = 32;

/// Everything about a message.
fn details(message: &MessageExt) -> Content {
    let fields = &message.message;
    let properties = fields.properties.iter();
    let properties = properties.map(|(name, value)| (name.to_owned(), json!(value)));
    content_of([
        ("msgId", json!(message.msg_id())),
        ("offsetMsgId", json!(message.offset_msg_id())),
        ("topic", json!(fields.topic)),
        ("tags", json!(fields.tag())),
        ("keys", json!(fields.keys())),
        ("queueId", json!(message.queue_id)),
        ("queueOffset", json!(message.queue_offset)),
        ("commitLogOffset", json!(message.commit_log_offset)),
        ("reconsumeTimes", json!(message.reconsume_times)),
        ("bornTime", json!(date::human(message.born_timestamp))),
        ("storeTime", json!(date::human(message.store_timestamp))),
        ("bornHost", json!(message.born_host.to_string())),
        ("storeHost", json!(message.store_host.to_string())),
        ("sysFlag", json!(message.sys_flag)),
        ("properties", Value::Object(properties.collect())),
        ("bodySize", json!(fields.body.len())),
        ("body", json!(String::from_utf8_lossy(&fields.body))),
    ])
}

fn one(message: &MessageExt) -> Report {
    Report::default().with("message", details(message))
}

const FOUND: Columns = &[
    ("Message ID", "msgId"),
    ("QID", "queueId"),
    ("Offset", "queueOffset"),
    ("Store Time", "storeTime"),
    ("Tags", "tags"),
    ("Keys", "keys"),
    ("Offset Message ID", "offsetMsgId"),
    ("Body", "body"),
];

fn row(message: &MessageExt, body: bool) -> Vec<Value> {
    let text = body.then(|| String::from_utf8_lossy(&message.message.body).into_owned());
    vec![
        json!(message.msg_id()),
        json!(message.queue_id),
        json!(message.queue_offset),
        json!(date::human(message.store_timestamp)),
        json!(message.message.tag()),
        json!(message.message.keys()),
        json!(message.offset_msg_id()),
        json!(text),
    ]
}

/// Which consumer is to consume a message that was found.
#[derive(Debug, Args)]
pub struct Consumer {
    /// A consumer group; its member `-d` is made to consume the message now.
    #[arg(
        short = 'g',
        long = "consumerGroup",
        value_name = "GROUP",
        requires = "client_id"
    )]
    group: Option<String>,
    /// The client id of the member.
    #[arg(short = 'd', long = "clientId", value_name = "ID", requires = "group")]
    client_id: Option<String>,
}

impl Consumer {
    /// Has the message consumed, if that is wanted, else shows it.
    async fn take(&self, admin: &Admin, message: &MessageExt) -> Result<Report, Failure> {
        let (Some(group), Some(client_id)) = (&self.group, &self.client_id) else {
            return Ok(one(message));
        };
        let (addr, offset_id) = (message.store_host.to_string(), message.offset_msg_id());
        let result = admin
            .consume_message_directly(&addr, group, client_id, &offset_id)
            .await?;
        Ok(Report::fields([
            ("consumeResult", json!(result.consume_result.name())),
            ("order", json!(result.order)),
            ("autoCommit", json!(result.auto_commit)),
            ("spentTimeMills", json!(result.spent_time_mills)),
            ("remark", json!(result.remark)),
        ]))
    }
}

/// `queryMsgById`
#[derive(Debug, Args)]
pub struct QueryById {
    /// The offset message id: it says which broker has the message, and where.
    #[arg(short = 'i', long = "msgId", value_name = "ID")]
    id: String,
    #[command(flatten)]
    consumer: Consumer,
}

impl QueryById {
    pub async fn run(self, admin: &Admin) -> Result<Report, Failure> {
        if id::parse_offset_msg_id(&self.id).is_none() {
            return Err(Failure::Usage(format!(
                "`{}` is not an offset message id; queryMsgByUniqueKey finds messages by the ids \
                 of their senders",
                self.id
            )));
        }
        let message = admin.view_message(&self.id).await?;
        self.consumer.take(admin, &message).await
    }
}

/// `queryMsgByUniqueKey`
#[derive(Debug, Args)]
pub struct QueryByUniqueKey {
    /// The id that the sender gave the message.
    #[arg(short = 'i', long = "msgId", value_name = "ID")]
    id: String,
    /// The topic.
    #[arg(short = 't', long = "topic", value_name = "TOPIC")]
    topic: String,
    #[command(flatten)]
    consumer: Consumer,
}

impl QueryByUniqueKey {
    pub async fn run(self, admin: &Admin) -> Result<Report, Failure> {
        let Self {
            id,
            topic,
            consumer,
        } = self;
        match admin.query_by_unique_key(&topic, &id).await? {
            Some(message) => consumer.take(admin, &message).await,
            None => Err(Failure::Missing(format!(
                "no message of the last three days in {topic} has the id {id}"
            ))),
        }
    }
}

/// `queryMsgByKey`
#[derive(Debug, Args)]
pub struct QueryByKey {
    /// The topic.
    #[arg(short = 't', long = "topic", value_name = "TOPIC")]
    topic: String,
    /// The key.
    #[arg(short = 'k', long = "msgKey", value_name = "KEY")]
    key: String,
    /// The earliest store time.
    #[arg(short = 'b', long = "beginTimestamp", value_name = "TIME", value_parser = parse_time)]
    #[arg(default_value = "0")]
    begin: i64,
    /// The latest store time.
    #[arg(short = 'e', long = "endTimestamp", value_name = "TIME", value_parser = parse_time)]
    end: Option<i64>,
    /// At most so many messages per broker.
    #[arg(short = 'm', long = "maxNum", value_name = "N", default_value_t = 64)]
    max: i32,
}

impl QueryByKey {
    pub async fn run(self, admin: &Admin) -> Result<Report, Failure> {
        let end = self.end.unwrap_or(i64::MAX);
        let found = admin
            .query_by_key(&self.topic, &self.key, self.max, self.begin, end)
            .await?;
        let rows = found.iter().map(|message| row(message, true));
        Ok(Report::rows(FOUND, rows.collect()))
    }
}

/// A topic to read, up to a time.
#[derive(Debug, Args)]
pub struct Range {
    /// The topic.
    #[arg(short = 't', long = "topic", value_name = "TOPIC")]
    topic: String,
    /// End with what was stored at this time. Default: at the end of each queue as it is now.
    #[arg(short = 'e', long = "endTimestamp", value_name = "TIME", value_parser = parse_time)]
    end: Option<i64>,
}

/// `printMsg`
#[derive(Debug, Args)]
pub struct Print {
    #[command(flatten)]
    range: Range,
    /// Begin with what was stored at this time. Default: at the begin of each queue.
    #[arg(short = 'b', long = "beginTimestamp", value_name = "TIME", value_parser = parse_time)]
    begin: Option<i64>,
    /// Only messages with these tags: TagA || TagB.
    #[arg(
        short = 's',
        long = "subExpression",
        value_name = "TAGS",
        default_value = "*"
    )]
    expression: String,
    /// Whether the bodies are shown.
    #[arg(
        short = 'd',
        long = "printBody",
        value_name = "BOOL",
        default_value_t = true
    )]
    #[arg(action = clap::ArgAction::Set)]
    body: bool,
}

impl Print {
    pub async fn run(self, admin: &Admin) -> Result<Report, Failure> {
        let mut rows = Vec::new();
        for queue in admin.fetch_subscribe_queues(&self.range.topic).await? {
            let read = Read {
                admin,
                queue: &queue,
                group: TOOLS_CONSUMER,
                expression: &self.expression,
            };
            let (from, to) = read.bounds(self.begin, self.range.end).await?;
            read.all(from, to, usize::MAX, |message| {
                rows.push(row(message, self.body))
            })
            .await?;
        }
        Ok(Report::rows(FOUND, rows))
    }
}

/// `consumeMessage`
#[derive(Debug, Args)]
pub struct Consume {
    #[command(flatten)]
    range: Range,
    /// Begin with what was stored at this time. Default: at the begin of each queue.
    #[arg(short = 's', long = "beginTimestamp", value_name = "TIME", value_parser = parse_time)]
    begin: Option<i64>,
    /// Only the queues of this broker group.
    #[arg(short = 'b', long = "brokerName", value_name = "NAME")]
    broker: Option<String>,
    /// Only this queue.
    #[arg(short = 'i', long = "queueId", value_name = "QID", requires = "broker")]
    queue_id: Option<i32>,
    /// Begin at this offset.
    #[arg(
        short = 'o',
        long = "offset",
        value_name = "OFFSET",
        requires = "queue_id"
    )]
    offset: Option<i64>,
    /// The group to read as; its offsets do not change.
    #[arg(short = 'g', long = "consumerGroup", value_name = "GROUP")]
    #[arg(default_value = TOOLS_CONSUMER)]
    group: String,
    /// At most so many messages.
    #[arg(
        short = 'c',
        long = "MessageNumber",
        value_name = "N",
        default_value_t = 128
    )]
    count: usize,
}

impl Consume {
    pub async fn run(self, admin: &Admin) -> Result<Report, Failure> {
        let mut queues = admin.fetch_subscribe_queues(&self.range.topic).await?;
        queues.retain(|queue| {
            self.broker
                .as_ref()
                .is_none_or(|broker| *broker == queue.broker_name)
                && self.queue_id.is_none_or(|id| id == queue.queue_id)
        });
        if queues.is_empty() {
            return Err(Failure::Missing(format!(
                "topic {} has no such queue",
                self.range.topic
            )));
        }
        let mut rows = Vec::new();
        for queue in &queues {
            let read = Read {
                admin,
                queue,
                group: &self.group,
                expression: "*",
            };
            let (from, to) = read.bounds(self.begin, self.range.end).await?;
            let from = self.offset.unwrap_or(from);
            let left = self.count - rows.len();
            read.all(from, to, left, |message| rows.push(row(message, true)))
                .await?;
        }
        Ok(Report::rows(FOUND, rows))
    }
}

/// Reads one queue.
struct Read<'a> {
    admin: &'a Admin,
    queue: &'a MessageQueue,
    group: &'a str,
    expression: &'a str,
}

impl Read<'_> {
    /// The offsets to read from and to.
    async fn bounds(&self, begin: Option<i64>, end: Option<i64>) -> Result<(i64, i64), Failure> {
        let from = match begin {
            Some(begin) => self.admin.search_offset(self.queue, begin).await?,
            None => self.admin.min_offset(self.queue).await?,
        };
        let to = match end {
            // The message at that time is part of it.
            Some(end) => {
                self.admin
                    .search_offset(self.queue, end.saturating_add(1))
                    .await?
            }
            None => self.admin.max_offset(self.queue).await?,
        };
        Ok((from, to))
    }

    /// Reads up to `max` messages between two offsets.
    async fn all(
        &self,
        from: i64,
        to: i64,
        max: usize,
        mut found: impl FnMut(&MessageExt),
    ) -> Result<(), Failure> {
        let (mut offset, mut left) = (from, max);
        while offset < to && left > 0 {
            let pulled = self
                .admin
                .pull(
                    self.group,
                    self.queue,
                    self.expression,
                    offset,
                    PULL_MAX,
                    None,
                )
                .await?;
            let wanted = pulled.messages.iter();
            let wanted = wanted.filter(|message| message.queue_offset < to);
            for message in wanted.take(left) {
                found(message);
                left -= 1;
            }
            let ended = pulled.status == PullStatus::NoNewMessage;
            if ended || pulled.next_begin_offset <= offset {
                break;
            }
            offset = pulled.next_begin_offset;
        }
        Ok(())
    }
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
}

impl Send {
    pub async fn run(self, env: &Env, config: ClientConfig) -> Result<Report, Failure> {
        let mut message = Message::new(self.topic.as_str(), self.body);
        if let Some(tag) = self.tag {
            message = message.with_tag(tag);
        }
        if let Some(key) = self.key {
            message = message.with_key(key);
        }
        let producer = Producer::builder(env)
            .client_config(config)
            .group(TOOLS_PRODUCER)
            .start()
            .await?;
        let sent = match (self.broker, self.queue_id) {
            (Some(broker), Some(queue_id)) => {
                let queue = MessageQueue::new(self.topic, broker, queue_id);
                producer.send_to(message, &queue).await
            }
            _ => producer.send(message).await,
        };
        producer.shutdown().await;
        let sent = sent?;
        Ok(Report::fields([
            ("brokerName", json!(sent.queue.broker_name)),
            ("queueId", json!(sent.queue.queue_id)),
            ("queueOffset", json!(sent.queue_offset)),
            ("sendResult", json!(format!("{:?}", sent.status))),
            ("msgId", json!(sent.msg_id)),
            ("offsetMsgId", json!(sent.offset_msg_id)),
        ]))
    }
}
