//! Commands about consumer groups.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use hotfire_client::Admin;
use hotfire_protocol::body::{
    ConsumeStats, MessageRequestMode, SetMessageRequestModeRequestBody, SubscriptionGroupConfig,
};
use hotfire_protocol::{MessageQueue, rules, topic, version};
use serde_json::json;

use super::failure::Failure;
use super::members::members_of;
use super::report::{Columns, Content, Report, content_of};
use super::target::{Target, all_masters, masters_of_group};
use super::topic::time;

/// `updateSubGroup`
#[derive(Debug, Args)]
pub struct UpdateSubGroup {
    #[command(flatten)]
    target: Target,
    /// The consumer group.
    #[arg(short = 'g', long = "groupName", value_name = "GROUP")]
    group: String,
    /// Whether it may consume.
    #[arg(short = 's', long = "consumeEnable", value_name = "BOOL")]
    consume_enable: Option<bool>,
    /// Whether it may begin at the smallest offset.
    #[arg(short = 'm', long = "consumeFromMinEnable", value_name = "BOOL")]
    consume_from_min_enable: Option<bool>,
    /// Whether its members may broadcast.
    #[arg(short = 'd', long = "consumeBroadcastEnable", value_name = "BOOL")]
    consume_broadcast_enable: Option<bool>,
    /// The number of queues of the retry topic; with 0 what its members fail is dropped.
    #[arg(short = 'q', long = "retryQueueNums", value_name = "N")]
    #[arg(allow_negative_numbers = true)]
    retry_queue_nums: Option<i32>,
    /// How often a message is delivered again before it is a dead letter; -1 and 0 mean at once.
    #[arg(short = 'r', long = "retryMaxTimes", value_name = "N")]
    #[arg(allow_negative_numbers = true)]
    retry_max_times: Option<i32>,
    /// The member of the broker group that it reads from first.
    #[arg(short = 'i', long = "brokerId", value_name = "ID")]
    #[arg(allow_negative_numbers = true)]
    broker_id: Option<i64>,
    /// The member of the broker group that it reads from when it lags.
    #[arg(short = 'w', long = "whichBrokerWhenConsumeSlowly", value_name = "ID")]
    #[arg(allow_negative_numbers = true)]
    which_broker_when_consume_slowly: Option<i64>,
    /// Whether its members are told of each other's coming and going.
    #[arg(short = 'a', long = "notifyConsumerIdsChanged", value_name = "BOOL")]
    notify_consumer_ids_changed: Option<bool>,
}

impl UpdateSubGroup {
    pub async fn run(self, admin: &Admin) -> Result<Report, Failure> {
        let default = SubscriptionGroupConfig::default();
        let config = SubscriptionGroupConfig {
            broker_id: self.broker_id.unwrap_or(default.broker_id),
            consume_broadcast_enable: self.consume_broadcast_enable.unwrap_or(true),
            consume_enable: self.consume_enable.unwrap_or(true),
            consume_from_min_enable: self.consume_from_min_enable.unwrap_or(true),
            group_name: self.group,
            notify_consumer_ids_changed_enable: self.notify_consumer_ids_changed.unwrap_or(true),
            retry_max_times: self.retry_max_times.unwrap_or(default.retry_max_times),
            retry_queue_nums: self.retry_queue_nums.unwrap_or(default.retry_queue_nums),
            which_broker_when_consume_slowly: self
                .which_broker_when_consume_slowly
                .unwrap_or(default.which_broker_when_consume_slowly),
        };
        rules::check_group_config(&config).map_err(|error| Failure::Usage(error.to_string()))?;
        let addrs = self.target.addrs(admin).await?;
        for addr in &addrs {
            admin.update_group(addr, &config).await?;
        }
        let (group, addrs) = (config.group_name, addrs.join(", "));
        Ok(Report::done(format!(
            "group {group} is up to date on {addrs}"
        )))
    }
}

/// `deleteSubGroup`
#[derive(Debug, Args)]
pub struct DeleteSubGroup {
    #[command(flatten)]
    target: Target,
    /// The consumer group.
    #[arg(short = 'g', long = "groupName", value_name = "GROUP")]
    group: String,
    /// Whether its offsets go too.
    #[arg(short = 'r', long = "removeOffset", value_name = "BOOL")]
    remove_offset: Option<bool>,
}

impl DeleteSubGroup {
    pub async fn run(self, admin: &Admin) -> Result<Report, Failure> {
        let group = &self.group;
        let addrs = self.target.addrs(admin).await?;
        for addr in &addrs {
            let remove_offset = self.remove_offset.unwrap_or(false);
            admin.delete_group(addr, group, remove_offset).await?;
            // As mqadmin does: nothing will be read from them any more.
            for topic in [topic::retry_topic(group), topic::dlq_topic(group)] {
                admin.delete_topic_in_broker(addr, &topic).await?;
            }
        }
        for topic in [topic::retry_topic(group), topic::dlq_topic(group)] {
            admin.delete_topic_in_namesrv(&topic).await?;
        }
        let addrs = addrs.join(", ");
        Ok(Report::done(format!(
            "group {group} is deleted from {addrs}"
        )))
    }
}

/// `setConsumeMode`
#[derive(Debug, Args)]
pub struct SetConsumeMode {
    #[command(flatten)]
    target: Target,
    /// The topic.
    #[arg(short = 't', long = "topicName", value_name = "TOPIC")]
    topic: String,
    /// The consumer group.
    #[arg(short = 'g', long = "groupName", value_name = "GROUP")]
    group: String,
    /// How the group gets the messages: PULL or POP.
    #[arg(short = 'm', long = "mode", value_name = "MODE", value_parser = request_mode)]
    mode: MessageRequestMode,
    /// When popping: of how many members that follow it a member reads the queues too; 0 for all.
    #[arg(
        short = 'q',
        long = "popShareQueueNum",
        value_name = "N",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    pop_share_queue_num: i32,
}

fn request_mode(text: &str) -> Result<MessageRequestMode, String> {
    let mut known = MessageRequestMode::ALL.iter().copied();
    let named = known.find(|mode| mode.name() == text);
    named.ok_or_else(|| "PULL or POP is expected".to_owned())
}

impl SetConsumeMode {
    pub async fn run(self, admin: &Admin) -> Result<Report, Failure> {
        let addrs = self.target.addrs(admin).await?;
        let mode = SetMessageRequestModeRequestBody {
            consumer_group: self.group,
            mode: self.mode,
            pop_share_queue_num: self.pop_share_queue_num,
            topic: self.topic,
        };
        for addr in &addrs {
            admin.set_message_request_mode(addr, &mode).await?;
        }
        Ok(Report::done(format!(
            "group {} has mode {} for topic {} on {}",
            mode.consumer_group,
            mode.mode.name(),
            mode.topic,
            addrs.join(", ")
        )))
    }
}

/// `consumerProgress`
#[derive(Debug, Args)]
pub struct ConsumerProgress {
    /// The consumer group; without it all groups are listed.
    #[arg(short = 'g', long = "groupName", value_name = "GROUP")]
    group: Option<String>,
    /// Only this topic.
    #[arg(short = 't', long = "topic", value_name = "TOPIC", requires = "group")]
    topic: Option<String>,
    /// Whether to show which member consumes which queue; it is asked.
    #[arg(
        short = 's',
        long = "showClientIP",
        value_name = "BOOL",
        requires = "group"
    )]
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    show_client_ip: Option<bool>,
}

const QUEUES: Columns = &[
    ("Topic", "topic"),
    ("Broker Name", "brokerName"),
    ("QID", "queueId"),
    ("Broker Offset", "brokerOffset"),
    ("Consumer Offset", "consumerOffset"),
    ("Client IP", "clientIp"),
    ("Diff", "diff"),
    ("LastTime", "lastTime"),
];
const GROUPS: Columns = &[
    ("Group", "group"),
    ("Count", "count"),
    ("Version", "version"),
    ("Type", "type"),
    ("Model", "model"),
    ("TPS", "tps"),
    ("Diff Total", "diffTotal"),
];

/// How far a group is on all brokers that know it.
pub async fn progress_of(
    admin: &Admin,
    group: &str,
    topic: Option<&str>,
) -> Result<ConsumeStats, Failure> {
    let mut sum = ConsumeStats::default();
    for addr in masters_of_group(admin, group).await?.into_values() {
        let stats = admin.consume_stats(&addr, group, topic).await?;
        sum.consume_tps += stats.consume_tps;
        sum.offset_table.extend(stats.offset_table);
    }
    Ok(sum)
}

fn diff_total(stats: &ConsumeStats) -> i64 {
    let queues = stats.offset_table.values();
    queues
        .map(|queue| queue.broker_offset - queue.consumer_offset)
        .sum()
}

impl ConsumerProgress {
    pub async fn run(self, admin: &Admin) -> Result<Report, Failure> {
        match &self.group {
            Some(group) => {
                let mut clients = BTreeMap::new();
                if self.show_client_ip.unwrap_or(false) {
                    clients = queues_of_members(admin, group).await?;
                }
                let stats = progress_of(admin, group, self.topic.as_deref()).await?;
                if stats.offset_table.is_empty() {
                    return Err(Failure::Missing(format!(
                        "group {group} has no offsets: it has never consumed"
                    )));
                }
                Ok(queues(&stats, &clients))
            }
            None => groups(admin).await,
        }
    }
}

fn queues(stats: &ConsumeStats, clients: &BTreeMap<MessageQueue, String>) -> Report {
    let row = |(queue, offsets): (&MessageQueue, &hotfire_protocol::body::OffsetWrapper)| {
        vec![
            json!(queue.topic),
            json!(queue.broker_name),
            json!(queue.queue_id),
            json!(offsets.broker_offset),
            json!(offsets.consumer_offset),
            json!(clients.get(queue)),
            json!(offsets.broker_offset - offsets.consumer_offset),
            time(offsets.last_timestamp),
        ]
    };
    let rows = stats.offset_table.iter().map(row).collect();
    let total = content_of([
        ("consumeTps", json!(stats.consume_tps)),
        ("diffTotal", json!(diff_total(stats))),
    ]);
    Report::default()
        .with("queues", Content::Rows(QUEUES, rows))
        .with("total", total)
}

async fn queues_of_members(
    admin: &Admin,
    group: &str,
) -> Result<BTreeMap<MessageQueue, String>, Failure> {
    let mut clients = BTreeMap::new();
    if let Some((addr, members)) = members_of(admin, group).await? {
        for member in members.connection_set {
            let (id, ip) = (&member.client_id, &member.client_addr);
            let info = admin.consumer_running_info(&addr, group, id, false).await?;
            clients.extend(info.mq_table.into_keys().map(|queue| (queue, ip.clone())));
        }
    }
    Ok(clients)
}

/// All groups that any broker has, but for the system's own that nobody uses.
async fn groups(admin: &Admin) -> Result<Report, Failure> {
    let mut names = BTreeSet::new();
    for addr in all_masters(admin).await?.values() {
        names.extend(
            admin
                .all_groups(addr)
                .await?
                .subscription_group_table
                .into_keys(),
        );
    }
    let mut rows = Vec::new();
    for group in names {
        let stats = progress_of(admin, &group, None).await?;
        let members = members_of(admin, &group).await?;
        if members.is_none() && stats.offset_table.is_empty() {
            continue;
        }
        let members = members.map(|(_, members)| members);
        let first = members
            .as_ref()
            .and_then(|members| members.connection_set.first());
        rows.push(vec![
            json!(group),
            json!(
                members
                    .as_ref()
                    .map_or(0, |members| members.connection_set.len())
            ),
            json!(first.map(|member| version::name(member.version))),
            json!(members.as_ref().map(|members| members.consume_type.name())),
            json!(members.as_ref().map(|members| members.message_model.name())),
            json!(stats.consume_tps),
            json!(diff_total(&stats)),
        ]);
    }
    Ok(Report::rows(GROUPS, rows))
}
