//! Looking messages up.

use clap::Args;
use encoding_rs::UTF_8;
use hotfire_client::{Admin, Producer};
use hotfire_protocol::MessageExt;
use hotfire_protocol::message::id;
use serde_json::json;

use super::super::Session;
use super::super::failure::Failure;
use super::super::offset::parse_time;
use super::super::report::{Content, Report, content_of};
use super::send::stored;
use super::{FOUND, details, row};

/// The group that messages are sent again as (`QueryMsgByIdSubCommand`).
const RESENDER: &str = "ReSendMsgById";

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
    async fn take(&self, admin: &Admin, message: &MessageExt) -> Result<Content, Failure> {
        let (Some(group), Some(client_id)) = (&self.group, &self.client_id) else {
            return Ok(details(message));
        };
        let (addr, offset_id) = (message.store_host.to_string(), message.offset_msg_id());
        let result = admin
            .consume_message_directly(&addr, group, client_id, &offset_id)
            .await?;
        Ok(content_of([
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
    /// The offset message id: it says which broker has the message, and where. Several are
    /// separated by commas.
    #[arg(
        short = 'i',
        long = "msgId",
        value_name = "ID",
        value_delimiter = ',',
        required = true
    )]
    ids: Vec<String>,
    #[command(flatten)]
    consumer: Consumer,
    /// Whether the message is sent again.
    #[arg(
        short = 's',
        long = "sendMessage",
        value_name = "BOOL",
        conflicts_with = "group"
    )]
    send: Option<bool>,
}

impl QueryById {
    pub async fn run(self, admin: &Admin, session: &Session) -> Result<Report, Failure> {
        for id in &self.ids {
            if id::parse_offset_msg_id(id).is_none() {
                return Err(Failure::Usage(format!(
                    "`{id}` is not an offset message id; queryMsgByUniqueKey finds messages by \
                     the ids of their senders"
                )));
            }
        }
        let mut found = Vec::new();
        for id in self.ids {
            let message = admin.view_message(&id).await?;
            found.push((id, message));
        }
        let mut report = Report::default();
        if self.send.unwrap_or(false) {
            for (id, content) in send_again(session, found).await? {
                report = report.with(id, content);
            }
        } else {
            for (id, message) in found {
                report = report.with(id, self.consumer.take(admin, &message).await?);
            }
        }
        Ok(report)
    }
}

/// Sends messages again as they are, their properties included, to any queue of their topics.
async fn send_again(
    session: &Session,
    found: Vec<(String, MessageExt)>,
) -> Result<Vec<(String, Content)>, Failure> {
    let producer = Producer::builder(&session.env)
        .client_config(session.config.clone())
        .group(RESENDER)
        .start()
        .await?;
    let mut sent = Vec::new();
    let mut failed = None;
    for (id, message) in found {
        match producer.send(message.message).await {
            Ok(result) => sent.push((id, stored(&result))),
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    producer.shutdown().await;
    failed.map_or(Ok(sent), |error| Err(error.into()))
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
    /// Show every copy of the message, not just the first that was stored.
    #[arg(short = 'a', long = "showAll")]
    all: bool,
}

impl QueryByUniqueKey {
    pub async fn run(self, admin: &Admin) -> Result<Report, Failure> {
        let Self { id, topic, .. } = &self;
        let mut found = admin.query_all_by_unique_key(topic, id, 0).await?;
        if !self.all {
            found.truncate(1);
        }
        let mut report = Report::default();
        for message in &found {
            let content = self.consumer.take(admin, message).await?;
            report = report.with(message.offset_msg_id(), content);
        }
        match found.len() {
            0 => Err(Failure::Missing(format!(
                "no message in {topic} has the id {id}"
            ))),
            _ => Ok(report),
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
        let rows = found.iter().map(|message| row(message, Some(UTF_8)));
        Ok(Report::rows(FOUND, rows.collect()))
    }
}
