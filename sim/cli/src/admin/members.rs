//! Commands about the connected members of groups.

use std::collections::BTreeSet;

use clap::Args;
use hotfire_client::{Admin, ClientError};
use hotfire_protocol::body::{ConsumerConnection, ConsumerRunningInfo};
use hotfire_protocol::{MessageQueue, ResponseCode, version};
use serde_json::{Value, json};

use super::failure::Failure;
use super::report::{Columns, Content, Report, content_of};
use super::target::{masters_of_group, masters_of_topic};
use super::topic::time;

/// A consumer group.
#[derive(Debug, Args)]
pub struct Group {
    /// The consumer group.
    #[arg(short = 'g', long = "consumerGroup", value_name = "GROUP")]
    group: String,
    /// The address of a broker to ask.
    #[arg(short = 'b', long = "brokerAddr", value_name = "HOST:PORT")]
    broker_addr: Option<String>,
}

/// The members of a group as the first broker that has any tells; `None` without members.
pub async fn members_of(
    admin: &Admin,
    group: &str,
) -> Result<Option<(String, ConsumerConnection)>, Failure> {
    for addr in masters_of_group(admin, group).await?.into_values() {
        match admin.consumer_connections(&addr, group).await {
            Ok(found) => return Ok(Some((addr, found))),
            Err(error) if error.code() == Some(ResponseCode::CONSUMER_NOT_ONLINE) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// The members of a group as a broker tells that was named, or else any.
async fn members_at(
    admin: &Admin,
    group: &str,
    broker_addr: Option<String>,
) -> Result<(String, ConsumerConnection), Failure> {
    match broker_addr {
        Some(addr) => {
            let members = admin.consumer_connections(&addr, group).await?;
            Ok((addr, members))
        }
        None => {
            let found = members_of(admin, group).await?;
            found.ok_or_else(|| offline(group))
        }
    }
}

fn offline(group: &str) -> Failure {
    Failure::Missing(format!("no member of group {group} is connected"))
}

fn connections(connections: &[hotfire_protocol::body::Connection]) -> Content {
    let columns: Columns = &[
        ("ClientId", "clientId"),
        ("ClientAddr", "clientAddr"),
        ("Language", "language"),
        ("Version", "version"),
    ];
    let row = |client: &hotfire_protocol::body::Connection| {
        vec![
            json!(client.client_id),
            json!(client.client_addr),
            json!(client.language),
            json!(version::name(client.version)),
        ]
    };
    Content::Rows(columns, connections.iter().map(row).collect())
}

/// `consumerConnection`
pub async fn consumer_connection(args: Group, admin: &Admin) -> Result<Report, Failure> {
    let (_, members) = members_at(admin, &args.group, args.broker_addr).await?;
    let subscriptions = members.subscription_table.values().map(|subscription| {
        let kind = subscription.expression_type.as_deref().unwrap_or("TAG");
        vec![
            json!(subscription.topic),
            json!(kind),
            json!(subscription.sub_string),
        ]
    });
    let columns: Columns = &[
        ("Topic", "topic"),
        ("Type", "expressionType"),
        ("SubExpression", "subExpression"),
    ];
    let group = content_of([
        ("consumeType", json!(members.consume_type.name())),
        ("messageModel", json!(members.message_model.name())),
        ("consumeFromWhere", json!(members.consume_from_where.name())),
    ]);
    Ok(Report::default()
        .with("connections", connections(&members.connection_set))
        .with(
            "subscriptions",
            Content::Rows(columns, subscriptions.collect()),
        )
        .with("group", group))
}

/// `producerConnection`
#[derive(Debug, Args)]
pub struct ProducerConnection {
    /// The producer group.
    #[arg(short = 'g', long = "producerGroup", value_name = "GROUP")]
    group: String,
    /// A topic that it sends to.
    #[arg(short = 't', long = "topic", value_name = "TOPIC")]
    topic: String,
}

impl ProducerConnection {
    pub async fn run(self, admin: &Admin) -> Result<Report, Failure> {
        let mut refused: Option<ClientError> = None;
        for addr in masters_of_topic(admin, &self.topic).await?.into_values() {
            match admin.producer_connections(&addr, &self.group).await {
                Ok(found) => {
                    let found = connections(&found.connection_set);
                    return Ok(Report::default().with("connections", found));
                }
                Err(error) => refused = Some(error),
            }
        }
        Err(refused.map_or_else(|| offline(&self.group), Failure::from))
    }
}

/// `consumerStatus`
#[derive(Debug, Args)]
pub struct ConsumerStatus {
    /// The consumer group.
    #[arg(short = 'g', long = "consumerGroup", value_name = "GROUP")]
    group: String,
    /// The address of a broker to ask.
    #[arg(short = 'b', long = "brokerAddr", value_name = "HOST:PORT")]
    broker_addr: Option<String>,
    /// Only this member, and its settings too.
    #[arg(short = 'i', long = "clientId", value_name = "ID")]
    client_id: Option<String>,
    /// The stacks of its threads too, if it has any to show.
    #[arg(short = 's', long = "jstack", requires = "client_id")]
    jstack: bool,
}

const STATUS_QUEUES: Columns = &[
    ("ClientId", "clientId"),
    ("Topic", "topic"),
    ("Broker Name", "brokerName"),
    ("QID", "queueId"),
    ("Commit Offset", "commitOffset"),
    ("Cached", "cachedMsgCount"),
    ("Locked", "locked"),
    ("Dropped", "droped"),
    ("Last Pull", "lastPull"),
    ("Last Consume", "lastConsume"),
];
const STATUS_TOPICS: Columns = &[
    ("ClientId", "clientId"),
    ("Topic", "topic"),
    ("Pull RT(ms)", "pullRt"),
    ("Pull TPS", "pullTps"),
    ("Consume RT(ms)", "consumeRt"),
    ("OK TPS", "consumeOkTps"),
    ("Failed TPS", "consumeFailedTps"),
    ("Failed Msgs", "consumeFailedMsgs"),
];

impl ConsumerStatus {
    pub async fn run(self, admin: &Admin) -> Result<Report, Failure> {
        let group = &self.group;
        let (addr, members) = members_at(admin, group, self.broker_addr).await?;
        let (mut queues, mut topics) = (Vec::new(), Vec::new());
        let (mut details, mut subscriptions) = (None, BTreeSet::new());
        for member in &members.connection_set {
            let id = &member.client_id;
            if self.client_id.as_ref().is_some_and(|only| only != id) {
                continue;
            }
            let info = admin
                .consumer_running_info(&addr, group, id, self.jstack)
                .await?;
            queues.extend(queues_of(id, &info));
            topics.extend(topics_of(id, &info));
            subscriptions.insert(subscribed(&info));
            details = Some(info);
        }
        let Some(details) = details else {
            let id = self.client_id.unwrap_or_default();
            return Err(Failure::Missing(format!(
                "{id} is no member of group {group}"
            )));
        };
        let mut report = Report::default()
            .with("members", connections(&members.connection_set))
            .with("queues", Content::Rows(STATUS_QUEUES, queues))
            .with("topics", Content::Rows(STATUS_TOPICS, topics));
        if self.client_id.is_none() {
            let same = ("sameSubscription", json!(subscriptions.len() == 1));
            report = report.with("group", content_of([same]));
        }
        if self.client_id.is_some() {
            let settings = details.properties.into_iter();
            let settings = settings.map(|(name, value)| (name, json!(value)));
            report = report.with("properties", content_of(settings));
            if let Some(jstack) = details.jstack {
                report = report.with("jstack", Content::Done(jstack));
            }
        }
        Ok(report)
    }
}

/// What a member subscribes to: topics with their expressions. Members of a group that differ take
/// messages from each other.
fn subscribed(info: &ConsumerRunningInfo) -> BTreeSet<(String, Option<String>, String)> {
    let subscriptions = info.subscription_set.iter().cloned();
    subscriptions
        .map(|data| (data.topic, data.expression_type, data.sub_string))
        .collect()
}

fn queues_of(client_id: &str, info: &ConsumerRunningInfo) -> Vec<Vec<Value>> {
    let row = |(queue, state): (&MessageQueue, &hotfire_protocol::body::ProcessQueueInfo)| {
        vec![
            json!(client_id),
            json!(queue.topic),
            json!(queue.broker_name),
            json!(queue.queue_id),
            json!(state.commit_offset),
            json!(state.cached_msg_count + state.transaction_msg_count),
            json!(state.locked),
            json!(state.droped),
            time(state.last_pull_timestamp),
            time(state.last_consume_timestamp),
        ]
    };
    info.mq_table.iter().map(row).collect()
}

fn topics_of(client_id: &str, info: &ConsumerRunningInfo) -> Vec<Vec<Value>> {
    let row = |(topic, status): (&String, &hotfire_protocol::body::ConsumeStatus)| {
        vec![
            json!(client_id),
            json!(topic),
            json!(status.pull_rt),
            json!(status.pull_tps),
            json!(status.consume_rt),
            json!(status.consume_ok_tps),
            json!(status.consume_failed_tps),
            json!(status.consume_failed_msgs),
        ]
    };
    info.status_table.iter().map(row).collect()
}
