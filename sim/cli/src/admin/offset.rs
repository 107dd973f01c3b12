//! Commands that move groups to other offsets.

use std::collections::BTreeMap;

use clap::Args;
use hotfire_client::Admin;
use hotfire_protocol::{MessageQueue, ResponseCode, date};
use serde_json::json;

use super::failure::Failure;
use super::group::members_of;
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

/// `resetOffsetByTime`
#[derive(Debug, Args)]
pub struct ResetOffsetByTime {
    /// The consumer group.
    #[arg(short = 'g', long = "group", value_name = "GROUP")]
    group: String,
    /// The topic.
    #[arg(short = 't', long = "topic", value_name = "TOPIC")]
    topic: String,
    /// The time: now, milliseconds since the epoch, yyyy-MM-dd#HH:mm:ss:SSS in UTC, or -1 for the
    /// end.
    #[arg(short = 's', long = "timestamp", value_name = "TIME", value_parser = parse_time)]
    #[arg(allow_hyphen_values = true)]
    timestamp: i64,
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

impl ResetOffsetByTime {
    pub async fn run(self, admin: &Admin) -> Result<Report, Failure> {
        let Self {
            group,
            topic,
            timestamp,
            force,
        } = self;
        reset(admin, &group, &topic, timestamp, force).await
    }
}

/// `skipAccumulatedMessage`
#[derive(Debug, Args)]
pub struct SkipAccumulatedMessage {
    /// The consumer group.
    #[arg(short = 'g', long = "group", value_name = "GROUP")]
    group: String,
    /// The topic.
    #[arg(short = 't', long = "topic", value_name = "TOPIC")]
    topic: String,
}

impl SkipAccumulatedMessage {
    pub async fn run(self, admin: &Admin) -> Result<Report, Failure> {
        reset(admin, &self.group, &self.topic, END, true).await
    }
}

async fn reset(
    admin: &Admin,
    group: &str,
    topic: &str,
    time: i64,
    force: bool,
) -> Result<Report, Failure> {
    let mut offsets = BTreeMap::new();
    let online = members_of(admin, group).await?.is_some();
    for (broker, addr) in masters_of_topic(admin, topic).await? {
        if !online {
            offsets.extend(reset_offline(admin, group, topic, &broker, time, force).await?);
            continue;
        }
        let reset = admin.reset_offset_by_time(&addr, topic, group, time, force);
        match reset.await {
            Ok(body) => offsets.extend(body.offset_table),
            // They left meanwhile.
            Err(error) if error.code() == Some(ResponseCode::CONSUMER_NOT_ONLINE) => {
                offsets.extend(reset_offline(admin, group, topic, &broker, time, force).await?);
            }
            Err(error) => return Err(error.into()),
        }
    }
    let row = |(queue, offset): (MessageQueue, i64)| {
        vec![
            json!(queue.broker_name),
            json!(queue.queue_id),
            json!(offset),
        ]
    };
    Ok(Report::rows(
        OFFSETS,
        offsets.into_iter().map(row).collect(),
    ))
}

/// Sets the offsets of a group without members: nobody is there who would have to be told, and who
/// would commit others (`resetOffsetByTimestampOld`).
async fn reset_offline(
    admin: &Admin,
    group: &str,
    topic: &str,
    broker: &str,
    time: i64,
    force: bool,
) -> Result<BTreeMap<MessageQueue, i64>, Failure> {
    let mut offsets = BTreeMap::new();
    for queue in admin.fetch_subscribe_queues(topic).await? {
        if queue.broker_name != broker {
            continue;
        }
        let target = match time {
            END => admin.max_offset(&queue).await?,
            time => admin.search_offset(&queue, time).await?,
        };
        let committed = admin.query_offset(group, &queue).await?;
        let offset = match committed {
            Some(committed) if !force => committed.min(target),
            _ => target,
        };
        admin.update_offset(group, &queue, offset).await?;
        offsets.insert(queue, offset);
    }
    Ok(offsets)
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
