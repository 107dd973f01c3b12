//! Commands about brokers, clusters and name servers.

use std::time::Duration;

use clap::Args;
use hotfire_client::Admin;
use hotfire_protocol::{date, java_properties};
use serde_json::{Value, json};

use super::Session;
use super::failure::Failure;
use super::report::{Columns, Content, Report, content_of};
use super::target::{Target, check_cluster};

/// `clusterList`
#[derive(Debug, Args)]
pub struct ClusterList {
    /// Show the messages of today and yesterday.
    #[arg(short = 'm', long = "moreStats")]
    more: bool,
    /// Again and again, with so many seconds between.
    #[arg(short = 'i', long = "interval", value_name = "SECONDS")]
    interval: Option<u64>,
    /// Only this cluster.
    #[arg(short = 'c', long = "clusterName", value_name = "CLUSTER")]
    cluster: Option<String>,
}

const CLUSTER: Columns = &[
    ("Cluster Name", "clusterName"),
    ("Broker Name", "brokerName"),
    ("BID", "brokerId"),
    ("Addr", "addr"),
    ("Version", "version"),
    ("InTPS(LOAD)", "inTps"),
    ("OutTPS(LOAD)", "outTps"),
    ("PCWait(ms)", "pageCacheWaitMs"),
    ("Oldest", "oldestMessage"),
    ("SPACE", "diskUsed"),
];
const CLUSTER_MORE: Columns = &[
    ("Cluster Name", "clusterName"),
    ("Broker Name", "brokerName"),
    ("InTotalYest", "inTotalYesterday"),
    ("OutTotalYest", "outTotalYesterday"),
    ("InTotalToday", "inTotalToday"),
    ("OutTotalToday", "outTotalToday"),
];

impl ClusterList {
    pub async fn run(self, admin: &Admin, session: &Session) -> Result<Report, Failure> {
        let mut report = self.once(admin).await?;
        if let Some(seconds) = self.interval {
            loop {
                session.show(&report);
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                report = self.once(admin).await?;
            }
        }
        Ok(report)
    }

    async fn once(&self, admin: &Admin) -> Result<Report, Failure> {
        let info = admin.cluster_info().await?;
        if let Some(only) = &self.cluster {
            check_cluster(&info, only)?;
        }
        let mut rows = Vec::new();
        for (cluster, names) in &info.cluster_addr_table {
            if self.cluster.as_ref().is_some_and(|only| only != cluster) {
                continue;
            }
            let groups = names
                .iter()
                .filter_map(|name| info.broker_addr_table.get(name));
            for group in groups {
                for (id, addr) in &group.broker_addrs {
                    // One that does not answer is listed all the same.
                    let found = admin.broker_runtime_info(addr).await.ok();
                    let figures = Figures(found.map(|found| found.table).unwrap_or_default());
                    let mut row = vec![json!(cluster), json!(group.broker_name)];
                    if self.more {
                        row.extend(figures.days());
                    } else {
                        row.extend([json!(id), json!(addr)]);
                        row.extend(figures.now());
                    }
                    rows.push(row);
                }
            }
        }
        let columns = if self.more { CLUSTER_MORE } else { CLUSTER };
        Ok(Report::rows(columns, rows))
    }
}

/// What a broker says of itself.
struct Figures(std::collections::BTreeMap<String, String>);

impl Figures {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.text(name)?.parse().ok()
    }

    /// The first of several rates: that of the last ten seconds.
    fn rate(&self, name: &str) -> Value {
        let first = self.text(name).and_then(|text| text.split(' ').next());
        let rate = first.and_then(|text| text.parse::<f64>().ok());
        match (rate, self.text(name)) {
            (Some(rate), _) => json!(rate),
            // Too young for a rate.
            (None, Some(_)) => json!(0.0),
            (None, None) => Value::Null,
        }
    }

    fn now(&self) -> Vec<Value> {
        let oldest = self.number("earliestMessageTimeStamp");
        let used = self.text("commitLogDiskRatio");
        vec![
            json!(self.text("brokerVersionDesc")),
            self.rate("putTps"),
            self.rate("getTransferedTps"),
            json!(self.number("pageCacheLockTimeMills")),
            json!(oldest.filter(|ms| *ms > 0).map(date::human)),
            json!(used.and_then(|used| used.parse::<f64>().ok())),
        ]
    }

    fn days(&self) -> Vec<Value> {
        let between = |from: &str, to: &str| {
            let difference = self.number(to).zip(self.number(from));
            json!(difference.map(|(to, from)| to - from))
        };
        vec![
            between("msgPutTotalYesterdayMorning", "msgPutTotalTodayMorning"),
            between("msgGetTotalYesterdayMorning", "msgGetTotalTodayMorning"),
            between("msgPutTotalTodayMorning", "msgPutTotalTodayNow"),
            between("msgGetTotalTodayMorning", "msgGetTotalTodayNow"),
        ]
    }
}

/// One part of a report for each address, or just the part if there is one address.
fn per_addr(parts: Vec<(String, Content)>) -> Report {
    let mut report = Report::default();
    for (addr, part) in parts {
        report = report.with(addr, part);
    }
    report
}

/// `brokerStatus`
pub async fn status(target: Target, admin: &Admin) -> Result<Report, Failure> {
    let mut parts = Vec::new();
    for addr in target.addrs(admin).await? {
        let table = admin.broker_runtime_info(&addr).await?.table;
        let fields = table.into_iter().map(|(name, value)| (name, json!(value)));
        parts.push((addr, content_of(fields)));
    }
    Ok(per_addr(parts))
}

/// `getBrokerConfig`
pub async fn config(target: Target, admin: &Admin) -> Result<Report, Failure> {
    let mut parts = Vec::new();
    for addr in target.addrs(admin).await? {
        let text = admin.broker_config(&addr).await?;
        let entries = java_properties::parse(&text).into_iter();
        let mut fields: Vec<_> = entries
            .map(|entry| (entry.key, json!(entry.value.unwrap_or_default())))
            .collect();
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        parts.push((addr, content_of(fields)));
    }
    Ok(per_addr(parts))
}

/// `updateBrokerConfig`
#[derive(Debug, Args)]
pub struct UpdateConfig {
    #[command(flatten)]
    target: Target,
    /// The setting.
    #[arg(short = 'k', long = "key", value_name = "KEY")]
    key: String,
    /// Its value.
    #[arg(short = 'v', long = "value", value_name = "VALUE")]
    value: String,
}

impl UpdateConfig {
    pub async fn run(self, admin: &Admin) -> Result<Report, Failure> {
        let (key, value) = (&self.key, &self.value);
        if value.contains('\n') || key.contains(['\n', '=']) {
            let wrong = "a setting is one key and one value on one line";
            return Err(Failure::Usage(wrong.to_owned()));
        }
        let addrs = self.target.addrs(admin).await?;
        for addr in &addrs {
            let properties = format!("{key}={}\n", value.replace('\\', "\\\\"));
            admin.update_broker_config(addr, &properties).await?;
        }
        let addrs = addrs.join(", ");
        Ok(Report::done(format!("{key} is {value} on {addrs}")))
    }
}

/// `brokerConsumeStats`
#[derive(Debug, Args)]
pub struct ConsumeStats {
    /// The address of the broker.
    #[arg(short = 'b', long = "brokerAddr", value_name = "HOST:PORT")]
    addr: String,
    /// How many milliseconds the broker has to answer.
    #[arg(
        short = 't',
        long = "timeoutMillis",
        value_name = "MS",
        default_value_t = 50_000
    )]
    timeout_millis: u64,
    /// Only queues that a group lags behind in by so many messages.
    #[arg(short = 'l', long = "level", value_name = "N", default_value_t = 0)]
    level: i64,
    /// Only ordered topics.
    #[arg(short = 'o', long = "order", value_name = "BOOL")]
    order: Option<bool>,
}

impl ConsumeStats {
    pub async fn run(self, admin: &Admin) -> Result<Report, Failure> {
        let order = self.order.unwrap_or(false);
        let timeout = Duration::from_millis(self.timeout_millis);
        let stats = admin.broker_consume_stats(&self.addr, order, timeout);
        let list = stats.await?;
        let mut rows = Vec::new();
        for (group, stats) in list.consume_stats_list.iter().flatten() {
            for (queue, offsets) in stats.iter().flat_map(|stats| &stats.offset_table) {
                let diff = offsets.broker_offset - offsets.consumer_offset;
                if diff >= self.level {
                    rows.push(vec![
                        json!(queue.topic),
                        json!(group),
                        json!(queue.broker_name),
                        json!(queue.queue_id),
                        json!(offsets.broker_offset),
                        json!(offsets.consumer_offset),
                        json!(diff),
                        super::topic::time(offsets.last_timestamp),
                    ]);
                }
            }
        }
        let columns = &[
            ("Topic", "topic"),
            ("Group", "group"),
            ("Broker Name", "brokerName"),
            ("QID", "queueId"),
            ("Broker Offset", "brokerOffset"),
            ("Consumer Offset", "consumerOffset"),
            ("Diff", "diff"),
            ("LastTime", "lastTime"),
        ];
        let sum = content_of([("diffTotal", json!(list.total_diff))]);
        Ok(Report::default()
            .with("queues", Content::Rows(columns, rows))
            .with("total", sum))
    }
}

/// A broker group.
#[derive(Debug, Args)]
pub struct Group {
    /// The name of the broker group.
    #[arg(short = 'b', long = "brokerName", value_name = "NAME")]
    name: String,
}

/// `wipeWritePerm` and `addWritePerm`
pub async fn write_perm(group: Group, admin: &Admin, add: bool) -> Result<Report, Failure> {
    let mut rows = Vec::new();
    for addr in admin.namesrv_addrs() {
        let count = if add {
            admin.add_write_perm(addr, &group.name).await?
        } else {
            admin.wipe_write_perm(addr, &group.name).await?
        };
        rows.push(vec![json!(addr), json!(group.name), json!(count)]);
    }
    let columns = &[
        ("Name Server", "namesrvAddr"),
        ("Broker Name", "brokerName"),
        ("Topics", "topics"),
    ];
    Ok(Report::rows(columns, rows))
}

/// A value of the name servers.
#[derive(Debug, Args)]
pub struct Key {
    /// The namespace of the key.
    #[arg(short = 's', long = "namespace", value_name = "NAMESPACE")]
    namespace: String,
    /// The key.
    #[arg(short = 'k', long = "key", value_name = "KEY")]
    key: String,
}

/// `updateKvConfig`
#[derive(Debug, Args)]
pub struct UpdateKv {
    #[command(flatten)]
    key: Key,
    /// The value.
    #[arg(short = 'v', long = "value", value_name = "VALUE")]
    value: String,
}

impl UpdateKv {
    pub async fn run(self, admin: &Admin) -> Result<Report, Failure> {
        let Key { namespace, key } = self.key;
        admin.put_kv_config(&namespace, &key, &self.value).await?;
        Ok(Report::done(format!(
            "{key} is {} in {namespace}",
            self.value
        )))
    }
}

/// `deleteKvConfig`
pub async fn delete_kv(args: Key, admin: &Admin) -> Result<Report, Failure> {
    let Key { namespace, key } = args;
    admin.delete_kv_config(&namespace, &key).await?;
    Ok(Report::done(format!("{key} is gone from {namespace}")))
}
