//! Answers in the shape of Apache RocketMQ 4.9.8: `fixtures/responses.jsonl` holds what it answered
//! to the same questions.

use std::collections::BTreeMap;

use bytes::BytesMut;
use hotfire_protocol::body::{
    CheckClientRequestBody, LockBatchRequestBody, SubscriptionGroupConfig,
};
use hotfire_protocol::header::send::SendMessageRequestHeaderV2;
use hotfire_protocol::message::batch::{self, BatchElement};
use hotfire_protocol::{ExtFields, Message, RemotingCommand, RequestCode};
use serde::Deserialize;

use crate::support::{GROUP, Stack, send_header};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Golden {
    name: String,
    code: i32,
    ext_fields: BTreeMap<String, String>,
    remark: Option<String>,
    body: String,
}

/// The kind of a field's value.
fn kind(value: &str) -> &'static str {
    match value {
        "true" | "false" => "bool",
        _ if value.parse::<i64>().is_ok() => "number",
        _ if value.split(',').all(|id| id.len() == 32) => "message id",
        _ if value.starts_with('{') => "json",
        _ => "text",
    }
}

fn kinds<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> BTreeMap<&'a str, &'static str> {
    fields.map(|(name, value)| (name, kind(value))).collect()
}

/// A remark without what differs from run to run: ports.
fn without_port(remark: &str) -> &str {
    match remark
        .rfind(": 127.0.0.1:")
        .or(remark.rfind("[/127.0.0.1:"))
    {
        Some(at) => &remark[..at],
        None => remark,
    }
}

fn request(code: RequestCode, fields: &[(&'static str, &str)]) -> RemotingCommand {
    let mut request = RemotingCommand::request(code);
    request.ext = fields.iter().copied().collect::<ExtFields>();
    request
}

const TOPIC: &str = "GoldenTopic";

fn send(queue_id: i32) -> RemotingCommand {
    let message = Message::new(TOPIC, "hello")
        .with_tag("TagA")
        .with_key("key0");
    let header = SendMessageRequestHeaderV2(send_header(&message, queue_id));
    RemotingCommand::request_with(RequestCode::SEND_MESSAGE_V2, &header).with_body("hello")
}

fn send_batch() -> RemotingCommand {
    let mut body = BytesMut::new();
    let element = BatchElement::of(&Message::new(TOPIC, "x"));
    batch::encode([&element, &element, &element], &mut body).unwrap();
    let mut header = send_header(&Message::new(TOPIC, ""), 1);
    header.batch = Some(true);
    let header = SendMessageRequestHeaderV2(header);
    RemotingCommand::request_with(RequestCode::SEND_BATCH_MESSAGE, &header).with_body(body.freeze())
}

fn pull(topic: &str, offset: &str, expression: &str, version: &str) -> RemotingCommand {
    // Without an expression the one of the heartbeat counts.
    let sys_flag = if expression.is_empty() { "0" } else { "4" };
    request(
        RequestCode::PULL_MESSAGE,
        &[
            ("consumerGroup", GROUP),
            ("topic", topic),
            ("queueId", "0"),
            ("queueOffset", offset),
            ("maxMsgNums", "10"),
            ("sysFlag", sys_flag),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", "3000"),
            ("subscription", expression),
            ("subVersion", version),
            ("expressionType", "TAG"),
        ],
    )
}

/// The questions, in an order in which the answers come out as in the recording.
fn questions() -> Vec<(&'static str, RemotingCommand)> {
    let queue = [("topic", TOPIC), ("queueId", "0")];
    let with = |more: &[(&'static str, &'static str)]| [&queue[..], more].concat();
    let group = [("consumerGroup", GROUP)];
    let lock = LockBatchRequestBody {
        consumer_group: GROUP.to_owned(),
        mq_set: [hotfire_protocol::MessageQueue::new(TOPIC, "broker-a", 0)].into(),
        ..LockBatchRequestBody::default()
    };
    let new_group = SubscriptionGroupConfig {
        group_name: "Golden_clone".to_owned(),
        ..SubscriptionGroupConfig::default()
    };
    let query = |key| {
        let range = [
            ("maxNum", "10"),
            ("beginTimestamp", "0"),
            ("endTimestamp", "9223372036854775807"),
        ];
        request(
            RequestCode::QUERY_MESSAGE,
            &[&[("topic", TOPIC), ("key", key)][..], &range].concat(),
        )
    };
    let create = [
        ("topic", TOPIC),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "4"),
        ("writeQueueNums", "4"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("topicSysFlag", "0"),
        ("order", "false"),
    ];
    vec![
        (
            "GET_ALL_CONSUMER_OFFSET",
            request(RequestCode::GET_ALL_CONSUMER_OFFSET, &[]),
        ),
        (
            "GET_ALL_DELAY_OFFSET",
            request(RequestCode::GET_ALL_DELAY_OFFSET, &[]),
        ),
        (
            "UPDATE_AND_CREATE_TOPIC",
            request(RequestCode::UPDATE_AND_CREATE_TOPIC, &create),
        ),
        ("SEND_MESSAGE_V2", send(0)),
        ("SEND_MESSAGE_V2", send(99)),
        ("SEND_BATCH_MESSAGE", send_batch()),
        (
            "GET_MAX_OFFSET",
            request(RequestCode::GET_MAX_OFFSET, &queue),
        ),
        (
            "GET_MIN_OFFSET",
            request(RequestCode::GET_MIN_OFFSET, &queue),
        ),
        (
            "SEARCH_OFFSET_BY_TIMESTAMP",
            request(
                RequestCode::SEARCH_OFFSET_BY_TIMESTAMP,
                &with(&[("timestamp", "1795331761445")]),
            ),
        ),
        (
            "GET_EARLIEST_MSG_STORETIME",
            request(RequestCode::GET_EARLIEST_MSG_STORETIME, &queue),
        ),
        (
            "QUERY_CONSUMER_OFFSET",
            request(RequestCode::QUERY_CONSUMER_OFFSET, &with(&group)),
        ),
        ("PULL_MESSAGE", pull(TOPIC, "0", "*", "0")),
        ("PULL_MESSAGE", pull(TOPIC, "0", "TagNone", "0")),
        ("PULL_MESSAGE", pull(TOPIC, "1", "*", "0")),
        ("PULL_MESSAGE", pull(TOPIC, "100", "*", "0")),
        ("PULL_MESSAGE", pull("GoldenNoTopic", "0", "*", "0")),
        ("PULL_MESSAGE", pull(TOPIC, "0", "", "99")),
        (
            "UPDATE_CONSUMER_OFFSET",
            request(
                RequestCode::UPDATE_CONSUMER_OFFSET,
                &with(&[("consumerGroup", GROUP), ("commitOffset", "1")]),
            ),
        ),
        (
            "VIEW_MESSAGE_BY_ID",
            request(RequestCode::VIEW_MESSAGE_BY_ID, &[("offset", "0")]),
        ),
        (
            "VIEW_MESSAGE_BY_ID",
            request(RequestCode::VIEW_MESSAGE_BY_ID, &[("offset", "99999999")]),
        ),
        ("QUERY_MESSAGE", query("key0")),
        ("QUERY_MESSAGE", query("none")),
        (
            "GET_CONSUMER_LIST_BY_GROUP",
            request(RequestCode::GET_CONSUMER_LIST_BY_GROUP, &group),
        ),
        (
            "GET_CONSUMER_CONNECTION_LIST",
            request(RequestCode::GET_CONSUMER_CONNECTION_LIST, &group),
        ),
        (
            "GET_PRODUCER_CONNECTION_LIST",
            request(
                RequestCode::GET_PRODUCER_CONNECTION_LIST,
                &[("producerGroup", "writers")],
            ),
        ),
        (
            "GET_TOPIC_STATS_INFO",
            request(RequestCode::GET_TOPIC_STATS_INFO, &[("topic", TOPIC)]),
        ),
        (
            "GET_CONSUME_STATS",
            request(RequestCode::GET_CONSUME_STATS, &group),
        ),
        (
            "QUERY_TOPIC_CONSUME_BY_WHO",
            request(RequestCode::QUERY_TOPIC_CONSUME_BY_WHO, &[("topic", TOPIC)]),
        ),
        (
            "CONSUMER_SEND_MSG_BACK",
            request(
                RequestCode::CONSUMER_SEND_MSG_BACK,
                &[("offset", "0"), ("group", GROUP), ("delayLevel", "1")],
            ),
        ),
        (
            "LOCK_BATCH_MQ",
            request(RequestCode::LOCK_BATCH_MQ, &[]).with_body(lock.to_json()),
        ),
        (
            "UNLOCK_BATCH_MQ",
            request(RequestCode::UNLOCK_BATCH_MQ, &[]).with_body(lock.to_json()),
        ),
        (
            "CHECK_CLIENT_CONFIG",
            request(RequestCode::CHECK_CLIENT_CONFIG, &[])
                .with_body(CheckClientRequestBody::default().to_json()),
        ),
        (
            "GET_BROKER_CONFIG",
            request(RequestCode::GET_BROKER_CONFIG, &[]),
        ),
        (
            "GET_BROKER_RUNTIME_INFO",
            request(RequestCode::GET_BROKER_RUNTIME_INFO, &[]),
        ),
        (
            "GET_ALL_TOPIC_CONFIG",
            request(RequestCode::GET_ALL_TOPIC_CONFIG, &[]),
        ),
        (
            "UPDATE_AND_CREATE_SUBSCRIPTIONGROUP",
            request(RequestCode::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[])
                .with_body(new_group.to_json()),
        ),
        (
            "GET_ALL_SUBSCRIPTIONGROUP_CONFIG",
            request(RequestCode::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, &[]),
        ),
        (
            "DELETE_SUBSCRIPTIONGROUP",
            request(
                RequestCode::DELETE_SUBSCRIPTIONGROUP,
                &[("groupName", "Golden_clone"), ("removeOffset", "true")],
            ),
        ),
        (
            "DELETE_TOPIC_IN_BROKER",
            request(
                RequestCode::DELETE_TOPIC_IN_BROKER,
                &[("topic", "GoldenDel")],
            ),
        ),
        (
            "UNREGISTER_CLIENT",
            request(RequestCode::UNREGISTER_CLIENT, &[("clientID", "c1")]),
        ),
        ("CODE_9999", request(RequestCode(9999), &[])),
    ]
}

#[tokio::test(start_paused = true)]
async fn messages_of_a_batch_are_stored_with_the_batchs_properties_behind_theirs() {
    let stack = Stack::start().await;
    let tagged = Message::new(TOPIC, "x").with_tag("TagBatch");
    let mut body = BytesMut::new();
    batch::encode([&BatchElement::of(&tagged)], &mut body).unwrap();
    // What the Java client sends of the batch itself.
    let of_batch = Message::new(TOPIC, "").with_property("WAIT", "true");
    let mut header = send_header(&of_batch, 0);
    header.batch = Some(true);
    let header = SendMessageRequestHeaderV2(header);
    let request = RemotingCommand::request_with(RequestCode::SEND_BATCH_MESSAGE, &header);
    stack.peer.invoke(request.with_body(body.freeze())).await;

    let pulled = stack.peer.invoke(pull(TOPIC, "0", "*", "0")).await;
    // The end of the record, with the length of the properties in front.
    let stored = b"\0\x2eTAGS\x01TagBatch\x02CLUSTER\x01DefaultCluster\x02WAIT\x01true";
    assert!(pulled.body.ends_with(stored), "{:?}", pulled.body);
}

#[tokio::test(start_paused = true)]
async fn every_answer_has_the_shape_of_apache_rocketmqs() {
    let golden: Vec<Golden> = include_str!("../fixtures/responses.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let stack = Stack::start().await;
    stack
        .peer
        .subscribe("c1", GROUP, &[(TOPIC, "TagA || TagB")])
        .await;
    let mut compared = 0;
    for (name, question) in questions() {
        let answer = stack.peer.invoke(question).await;
        let expected = golden
            .iter()
            .find(|golden| golden.name == name && golden.code == answer.code)
            .unwrap_or_else(|| panic!("{name}: no such answer was recorded: {answer:?}"));
        let fields = expected.ext_fields.iter();
        let fields = fields.map(|(name, value)| (name.as_str(), value.as_str()));
        assert_eq!(kinds(answer.ext.iter()), kinds(fields), "{name}");
        // Java's default text slips through where a handler sets the code only.
        let remark = expected
            .remark
            .as_deref()
            .filter(|text| *text != "not set any response code");
        assert_eq!(
            answer.remark.as_deref().map(without_port),
            remark.map(without_port),
            "{name}"
        );
        let answered = String::from_utf8_lossy(&answer.body);
        let first_key = |body: &str| body.split(':').next().map(str::to_owned);
        if !expected.body.is_empty() {
            assert_eq!(first_key(&answered), first_key(&expected.body), "{name}");
        }
        compared += 1;
    }
    assert_eq!(
        compared, 41,
        "a heartbeat is the forty-second answer on record"
    );
}
