//! Commands about topics.

use std::collections::BTreeMap;

use clap::Args;
use hotfire_client::{Admin, ClientError, TopicListKind};
use hotfire_protocol::body::{BrokerStatsData, TopicConfig, TopicRouteData};
use hotfire_protocol::{ResponseCode, date, rules, topic};
use serde_json::{Value, json};

use super::failure::Failure;
use super::report::{Columns, Report, content_of};
use super::target::{Target, masters_of_topic};

/// `topicList`
#[derive(Debug, Args)]
pub struct TopicList {
    /// Show the cluster and the consumer groups of each topic.
    #[arg(short = 'c', long = "clusterModel")]
    cluster_model: bool,
}

impl TopicList {
    pub async fn run(self, admin: &Admin) -> Result<Report, Failure> {
        let mut topics = admin.topic_list(TopicListKind::All).await?.topic_list;
        topics.sort();
        if !self.cluster_model {
            let rows = topics.into_iter().map(|topic| vec![json!(topic)]);
            return Ok(Report::rows(&[("Topic", "topic")], rows.collect()));
        }
        let mut rows = Vec::new();
        for topic in topics {
            if topic.starts_with(topic::RETRY_PREFIX) || topic.starts_with(topic::DLQ_PREFIX) {
                continue;
            }
            let route = admin.topic_route(&topic).await?;
            for broker in &route.broker_datas {
                let mut groups = Vec::new();
                if let Some(addr) = broker.broker_addrs.get(&0) {
                    groups = admin.groups_of_topic(addr, &topic).await?.group_list;
                    groups.sort();
                }
                rows.push(vec![json!(broker.cluster), json!(topic), json!(groups)]);
            }
        }
        let columns = &[
            ("Cluster Name", "clusterName"),
            ("Topic", "topic"),
            ("Consumer Group", "consumerGroups"),
        ];
        Ok(Report::rows(columns, rows))
    }
}

/// A topic.
#[derive(Debug, Args)]
pub struct Named {
    /// The topic.
    #[arg(short = 't', long = "topic", value_name = "TOPIC")]
    topic: String,
}

/// `topicRoute`
#[derive(Debug, Args)]
pub struct TopicRoute {
    #[command(flatten)]
    of: Named,
    /// Show the sums over all brokers too.
    #[arg(short = 'l', long = "list")]
    sums: bool,
}

impl TopicRoute {
    pub async fn run(self, admin: &Admin) -> Result<Report, Failure> {
        let route = admin.topic_route(&self.of.topic).await?;
        let report = Report::rows(ROUTE, rows_of(&route));
        if !self.sums {
            return Ok(report);
        }
        let queues = &route.queue_datas;
        let (reads, writes) = queues.iter().fold((0, 0), |(reads, writes), queues| {
            (
                reads + i64::from(queues.read_queue_nums),
                writes + i64::from(queues.write_queue_nums),
            )
        });
        let total = content_of([
            ("brokers", json!(queues.len())),
            ("readQueueNums", json!(reads)),
            ("writeQueueNums", json!(writes)),
        ]);
        Ok(report.with("total", total))
    }
}

const ROUTE: Columns = &[
    ("Cluster Name", "clusterName"),
    ("Broker Name", "brokerName"),
    ("Addresses", "brokerAddrs"),
    ("Read Queues", "readQueueNums"),
    ("Write Queues", "writeQueueNums"),
    ("Perm", "perm"),
];

fn rows_of(route: &TopicRouteData) -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    for queues in &route.queue_datas {
        let broker = route
            .broker_datas
            .iter()
            .find(|broker| broker.broker_name == queues.broker_name);
        let addrs: Vec<_> = broker
            .into_iter()
            .flat_map(|broker| &broker.broker_addrs)
            .map(|(id, addr)| format!("{id}={addr}"))
            .collect();
        rows.push(vec![
            json!(broker.map(|broker| &broker.cluster)),
            json!(queues.broker_name),
            json!(addrs),
            json!(queues.read_queue_nums),
            json!(queues.write_queue_nums),
            json!(queues.perm),
        ]);
    }
    rows.sort_by_key(|row| row[1].as_str().map(str::to_owned));
    rows
}

/// `topicClusterList`
pub async fn clusters(args: Named, admin: &Admin) -> Result<Report, Failure> {
    let route = admin.topic_route(&args.topic).await?;
    let mut clusters: Vec<_> = route
        .broker_datas
        .into_iter()
        .map(|broker| broker.cluster)
        .collect();
    clusters.sort();
    clusters.dedup();
    let rows = clusters.into_iter().map(|cluster| vec![json!(cluster)]);
    Ok(Report::rows(
        &[("Cluster Name", "clusterName")],
        rows.collect(),
    ))
}

/// `topicStatus`
pub async fn status(args: Named, admin: &Admin) -> Result<Report, Failure> {
    let mut queues = BTreeMap::new();
    for addr in masters_of_topic(admin, &args.topic).await?.into_values() {
        queues.extend(admin.topic_stats(&addr, &args.topic).await?.offset_table);
    }
    let row = |(queue, offsets): (hotfire_protocol::MessageQueue, _)| {
        let hotfire_protocol::body::TopicOffset {
            last_update_timestamp,
            max_offset,
            min_offset,
        } = offsets;
        vec![
            json!(queue.broker_name),
            json!(queue.queue_id),
            json!(min_offset),
            json!(max_offset),
            time(last_update_timestamp),
        ]
    };
    let columns = &[
        ("Broker Name", "brokerName"),
        ("QID", "queueId"),
        ("Min Offset", "minOffset"),
        ("Max Offset", "maxOffset"),
        ("Last Updated", "lastUpdated"),
    ];
    Ok(Report::rows(columns, queues.into_iter().map(row).collect()))
}

/// A time for people and scripts; nothing if there is none.
pub fn time(ms: i64) -> Value {
    match ms {
        ..=0 => Value::Null,
        ms => json!(date::human(ms)),
    }
}

/// `updateTopic`
#[derive(Debug, Args)]
pub struct UpdateTopic {
    #[command(flatten)]
    target: Target,
    /// The topic.
    #[arg(short = 't', long = "topic", value_name = "TOPIC")]
    topic: String,
    /// The number of queues to read from.
    #[arg(
        short = 'r',
        long = "readQueueNums",
        value_name = "N",
        default_value_t = 8,
        allow_negative_numbers = true
    )]
    read_queue_nums: i32,
    /// The number of queues to write to.
    #[arg(
        short = 'w',
        long = "writeQueueNums",
        value_name = "N",
        default_value_t = 8,
        allow_negative_numbers = true
    )]
    write_queue_nums: i32,
    /// The permission: 2 write, 4 read, 6 both.
    #[arg(
        short = 'p',
        long = "perm",
        value_name = "BITS",
        default_value_t = 6,
        allow_negative_numbers = true
    )]
    perm: i32,
    /// Whether the messages of the topic are ordered.
    #[arg(short = 'o', long = "order", value_name = "BOOL")]
    order: Option<bool>,
    /// Whether the topic belongs to a unit.
    #[arg(short = 'u', long = "unit", value_name = "BOOL")]
    unit: Option<bool>,
    /// Whether units subscribe to the topic.
    #[arg(short = 's', long = "hasUnitSub", value_name = "BOOL")]
    has_unit_sub: Option<bool>,
}

impl UpdateTopic {
    pub async fn run(self, admin: &Admin) -> Result<Report, Failure> {
        let unit = i32::from(self.unit.unwrap_or(false));
        let has_unit_sub = i32::from(self.has_unit_sub.unwrap_or(false));
        let config = TopicConfig {
            order: self.order.unwrap_or(false),
            topic_sys_flag: unit | has_unit_sub << 1,
            ..TopicConfig::new(
                self.topic,
                self.read_queue_nums,
                self.write_queue_nums,
                self.perm,
            )
        };
        rules::check_topic_config(&config).map_err(|error| Failure::Usage(error.to_string()))?;
        let addrs = self.target.addrs(admin).await?;
        for addr in &addrs {
            admin.update_topic(addr, &config).await?;
        }
        if config.order {
            let whole = self.target.is_cluster();
            order_by_name_servers(admin, &config, &addrs, whole).await?;
        }
        let (topic, addrs) = (config.topic_name, addrs.join(", "));
        Ok(Report::done(format!(
            "topic {topic} is up to date on {addrs}"
        )))
    }
}

/// The namespace of the name servers' values in which ordered topics are listed
/// (`NamesrvUtil.NAMESPACE_ORDER_TOPIC_CONFIG`).
const ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

/// Tells the name servers how many queues of an ordered topic brokers have, so that the order stays
/// the same while one of them is away: `broker-a:4;broker-b:4` (`createOrUpdateOrderConf`).
async fn order_by_name_servers(
    admin: &Admin,
    config: &TopicConfig,
    addrs: &[String],
    whole: bool,
) -> Result<(), Failure> {
    let topic = &config.topic_name;
    let mut queues = BTreeMap::new();
    if !whole && let Some(old) = admin.get_kv_config(ORDER_TOPIC_CONFIG, topic).await? {
        let entries = old.split(';').filter_map(|entry| entry.split_once(':'));
        queues.extend(entries.map(|(name, count)| (name.to_owned(), count.to_owned())));
    }
    for (name, addr) in super::target::all_masters(admin).await? {
        if addrs.contains(&addr) {
            queues.insert(name, config.write_queue_nums.to_string());
        }
    }
    let entries = queues.iter().map(|(name, count)| format!("{name}:{count}"));
    let value = entries.collect::<Vec<_>>().join(";");
    admin
        .put_kv_config(ORDER_TOPIC_CONFIG, topic, &value)
        .await?;
    Ok(())
}

/// `deleteTopic`
#[derive(Debug, Args)]
pub struct DeleteTopic {
    /// The topic.
    #[arg(short = 't', long = "topic", value_name = "TOPIC")]
    topic: String,
    /// The cluster to delete it from.
    #[arg(short = 'c', long = "clusterName", value_name = "CLUSTER")]
    cluster: String,
}

impl DeleteTopic {
    pub async fn run(self, admin: &Admin) -> Result<Report, Failure> {
        let masters = super::target::masters_of_cluster(admin, &self.cluster).await?;
        for addr in masters.values() {
            admin.delete_topic_in_broker(addr, &self.topic).await?;
        }
        admin.delete_topic_in_namesrv(&self.topic).await?;
        let Self { topic, cluster } = self;
        Ok(Report::done(format!(
            "topic {topic} is deleted from {cluster}"
        )))
    }
}

/// `statsAll`
#[derive(Debug, Args)]
pub struct StatsAll {
    /// Only topics with messages within the last day.
    #[arg(short = 'a', long = "activeTopic")]
    active: bool,
    /// Only this topic.
    #[arg(short = 't', long = "topic", value_name = "TOPIC")]
    topic: Option<String>,
}

impl StatsAll {
    pub async fn run(self, admin: &Admin) -> Result<Report, Failure> {
        let mut topics = match self.topic {
            Some(topic) => vec![topic],
            None => admin.topic_list(TopicListKind::All).await?.topic_list,
        };
        topics.sort();
        let mut rows = Vec::new();
        for topic in topics {
            if !topic.starts_with(topic::RETRY_PREFIX) && !topic.starts_with(topic::DLQ_PREFIX) {
                rows.extend(stats_of(admin, &topic).await?);
            }
        }
        if self.active {
            rows.retain(|row| row[5].as_i64() != Some(0));
        }
        let columns = &[
            ("Topic", "topic"),
            ("Consumer Group", "consumerGroup"),
            ("Accumulation", "accumulation"),
            ("InTPS", "inTps"),
            ("OutTPS", "outTps"),
            ("InMsg24Hour", "inMsg24Hour"),
            ("OutMsg24Hour", "outMsg24Hour"),
        ];
        Ok(Report::rows(columns, rows))
    }
}

/// The rate of the last minute and the sum of the last day.
#[derive(Default)]
struct InOut {
    tps: f64,
    day: i64,
}

impl InOut {
    async fn add(
        &mut self,
        admin: &Admin,
        addr: &str,
        name: &str,
        key: &str,
    ) -> Result<(), ClientError> {
        match admin.view_broker_stats(addr, name, key).await {
            Ok(data) => {
                self.tps += data.stats_minute.tps;
                self.day += day_sum(&data);
                Ok(())
            }
            // Nothing was ever counted.
            Err(error) if error.code() == Some(ResponseCode::SYSTEM_ERROR) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The day's figures begin after an hour, the hour's after ten minutes (`StatsAllSubCommand`).
fn day_sum(data: &BrokerStatsData) -> i64 {
    let sums = [&data.stats_day, &data.stats_hour, &data.stats_minute];
    let mut sums = sums.into_iter().map(|item| item.sum);
    sums.find(|sum| *sum != 0).unwrap_or(0)
}

async fn stats_of(admin: &Admin, topic: &str) -> Result<Vec<Vec<Value>>, Failure> {
    let masters = masters_of_topic(admin, topic).await?;
    let (mut put, mut groups) = (InOut::default(), Vec::new());
    for addr in masters.values() {
        put.add(admin, addr, "TOPIC_PUT_NUMS", topic).await?;
        groups.extend(admin.groups_of_topic(addr, topic).await?.group_list);
    }
    groups.sort();
    groups.dedup();
    let mut rows = Vec::new();
    for group in groups {
        let (mut got, mut behind) = (InOut::default(), 0);
        for addr in masters.values() {
            let key = format!("{topic}@{group}");
            got.add(admin, addr, "GROUP_GET_NUMS", &key).await?;
            let stats = admin.consume_stats(addr, &group, Some(topic)).await?;
            let lags = stats.offset_table.values();
            behind += lags
                .map(|queue| queue.broker_offset - queue.consumer_offset)
                .sum::<i64>();
        }
        rows.push(vec![
            json!(topic),
            json!(group),
            json!(behind),
            json!(put.tps),
            json!(got.tps),
            json!(put.day),
            json!(got.day),
        ]);
    }
    if rows.is_empty() {
        rows.push(vec![
            json!(topic),
            Value::Null,
            json!(0),
            json!(put.tps),
            Value::Null,
            json!(put.day),
            Value::Null,
        ]);
    }
    Ok(rows)
}
