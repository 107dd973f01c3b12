//! Reading topics.

use clap::Args;
use encoding_rs::{Encoding, UTF_8};
use hotfire_client::{Admin, PullStatus};
use hotfire_protocol::{MessageExt, MessageQueue};

use super::super::failure::Failure;
use super::super::offset::parse_time;
use super::super::report::Report;
use super::{FOUND, row};

/// The group that tools read as (`TOOLS_CONSUMER_GROUP`).
const TOOLS_CONSUMER: &str = "TOOLS_CONSUMER";
/// How many messages are pulled at a time.
const PULL_MAX: i32 = 32;

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

fn charset(name: &str) -> Result<&'static Encoding, String> {
    Encoding::for_label(name.as_bytes()).ok_or_else(|| format!("there is no charset `{name}`"))
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
    /// What the bodies are written in: UTF-8, GBK, …
    #[arg(
        short = 'c',
        long = "charsetName",
        value_name = "CHARSET",
        value_parser = charset,
        default_value = "UTF-8"
    )]
    charset: &'static Encoding,
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
        let bodies = self.body.then_some(self.charset);
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
                rows.push(row(message, bodies))
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
            read.all(from, to, left, |message| {
                rows.push(row(message, Some(UTF_8)))
            })
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
