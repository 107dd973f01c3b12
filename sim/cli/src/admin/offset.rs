//! Commands that move groups to other offsets.

use std::collections::BTreeMap;

use clap::Args;
use hotfire_client::Admin;
use hotfire_protocol::{MessageQueue, ResponseCode, date};
use serde_json::json;

use super::failure::Failure;
use super::members::members_of;
use super::report::{Columns, Report};
use super::target::masters_of_topic;

/// The end of a queue, as a time.
const END: i64 = -1;

const OFFSETS: Columns = &[
    ("Broker Name", "brokerName"),
    ("QID", "queueId"),
    ("Offset", "offset"),
];

/// Reads a time: `now`, milliseconds since the epoch, or `yyyy-MM-dd#HH:mm:ss:SSS` in UTC.
pub fn parse_time(text: &str) -> Result<i64, String> {
    let text = text.trim();
    if text == "now" {
        return Ok(hotfire_env::real::env(".", None).now_ms());
    }
    let read = text.parse().ok().or_else(|| date::parse(text));
    read.ok_or_else(|| {
        format!("`{text}` is neither now, nor milliseconds, nor yyyy-MM-dd#HH:mm:ss:SSS")
    })
}

/// Reads the time to move a group to, of which `now` is the end of each queue: a search for the time
/// would find the last message.
fn parse_target(text: &str) -> Result<i64, String> {
    match text.trim() {
        "now" => Ok(END),
        text => parse_time(text),
    }
}

/// A consumer group and a topic of it.
#[derive(Debug, Args)]
pub struct GroupTopic {
    /// The consumer group.
    #[arg(short = 'g', long = "group", value_name = "GROUP")]
    group: String,
    /// The topic.
    #[arg(short = 't', long = "topic", value_name = "TOPIC")]
    topic: String,
    /// Whether queues may move forward too.
    #[arg(
        short = 'f',
        long = "force",
        value_name = "BOOL",
        default_value_t = true
    )]
    #[arg(action = clap::ArgAction::Set)]
    force: bool,
}

/// `resetOffsetByTime`
#[derive(Debug, Args)]
pub struct ResetOffsetByTime {
    #[command(flatten)]
    of: GroupTopic,
    /// The time: now or -1 for the end, milliseconds since the epoch, or yyyy-MM-dd#HH:mm:ss:SSS
    /// in UTC.
    #[arg(short = 's', long = "timestamp", value_name = "TIME", value_parser = parse_target)]
    #[arg(allow_hyphen_values = true)]
    timestamp: i64,
    /// Tell the members in the way of C++ clients; Hotfire's brokers do so where it is needed.
    #[arg(short = 'c', long = "cplus")]
    cpp: bool,
}

impl ResetOffsetByTime {
    pub async fn run(self, admin: &Admin) -> Result<Report, Failure> {
        let Self { of, timestamp, cpp } = self;
        of.reset(admin, timestamp, cpp).await
    }
}

/// `skipAccumulatedMessage`
pub async fn skip_accumulated(of: GroupTopic, admin: &Admin) -> Result<Report, Failure> {
    of.reset(admin, END, false).await
}

impl GroupTopic {
    async fn reset(&self, admin: &Admin, time: i64, cpp: bool) -> Result<Report, Failure> {
        let mut offsets = BTreeMap::new();
        let online = members_of(admin, &self.group).await?.is_some();
        for (broker, addr) in masters_of_topic(admin, &self.topic).await? {
            let reset = match online {
                true => self.reset_online(admin, &addr, time, cpp).await?,
                false => None,
            };
            offsets.extend(match reset {
                Some(reset) => reset,
                None => self.reset_offline(admin, &broker, time).await?,
            });
        }
        let row = |(queue, offset): (MessageQueue, i64)| {
            vec![
                json!(queue.broker_name),
                json!(queue.queue_id),
                json!(offset),
            ]
        };
        let rows = offsets.into_iter().map(row);
        Ok(Report::rows(OFFSETS, rows.collect()))
    }

    /// Has a broker tell the members; `None` if they left meanwhile.
    async fn reset_online(
        &self,
        admin: &Admin,
        addr: &str,
        time: i64,
        cpp: bool,
    ) -> Result<Option<BTreeMap<MessageQueue, i64>>, Failure> {
        let (topic, group, force) = (&self.topic, &self.group, self.force);
        let reset = if cpp {
            admin
                .reset_offset_of_cpp_members(addr, topic, group, time, force)
                .await
        } else {
            admin
                .reset_offset_by_time(addr, topic, group, time, force)
                .await
        };
        match reset {
            Ok(body) => Ok(Some(body.offset_table)),
            Err(error) if error.code() == Some(ResponseCode::CONSUMER_NOT_ONLINE) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Sets the offsets of a group without members: nobody is there who would have to be told, and
    /// who would commit others (`resetOffsetByTimestampOld`).
    async fn reset_offline(
        &self,
        admin: &Admin,
        broker: &str,
        time: i64,
    ) -> Result<BTreeMap<MessageQueue, i64>, Failure> {
        let mut offsets = BTreeMap::new();
        for queue in admin.fetch_subscribe_queues(&self.topic).await? {
            if queue.broker_name != broker {
                continue;
            }
            let target = match time {
                END => admin.max_offset(&queue).await?,
                time => admin.search_offset(&queue, time).await?,
            };
            let committed = admin.query_offset(&self.group, &queue).await?;
            let offset = match committed {
                Some(committed) if !self.force => committed.min(target),
                _ => target,
            };
            admin.update_offset(&self.group, &queue, offset).await?;
            offsets.insert(queue, offset);
        }
        Ok(offsets)
    }
}

/// `cloneGroupOffset`
#[derive(Debug, Args)]
pub struct CloneGroupOffset {
    /// The group to copy from.
    #[arg(short = 's', long = "srcGroup", value_name = "GROUP")]
    from: String,
    /// The group to copy to.
    #[arg(short = 'd', long = "destGroup", value_name = "GROUP")]
    to: String,
    /// The topic.
    #[arg(short = 't', long = "topic", value_name = "TOPIC")]
    topic: String,
    /// Whether the group to copy to must have no members.
    #[arg(short = 'o', long = "offline", value_name = "BOOL")]
    offline: Option<bool>,
}

impl CloneGroupOffset {
    pub async fn run(self, admin: &Admin) -> Result<Report, Failure> {
        let Self {
            from,
            to,
            topic,
            offline,
        } = self;
        let offline = offline.unwrap_or(false);
        for addr in masters_of_topic(admin, &topic).await?.into_values() {
            admin
                .clone_group_offset(&addr, &from, &to, Some(&topic), offline)
                .await?;
        }
        Ok(Report::done(format!("{to} is where {from} is in {topic}")))
    }
}
