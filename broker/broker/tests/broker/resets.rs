//! Resetting and copying the offsets of groups, and asking what their members hold.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hotfire_broker::BrokerConfig;
use hotfire_protocol::body::{GetConsumerStatusBody, ResetOffsetBody, ResetOffsetBodyForC};
use hotfire_protocol::header::admin::CloneGroupOffsetRequestHeader;
use hotfire_protocol::header::client::{GetConsumerStatusRequestHeader, ResetOffsetRequestHeader};
use hotfire_protocol::header::offset::{
    QueryConsumerOffsetRequestHeader, UpdateConsumerOffsetRequestHeader,
};
use hotfire_protocol::header::pull::sys_flag;
use hotfire_protocol::{
    Header, Language, MessageQueue, RemotingCommand, RequestCode, ResponseCode,
};
use hotfire_remoting::{Channel, Client, ClientConfig, Handled, RequestHandler};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::sleep;

use crate::support::{self, GROUP, Peer, Stack, TOPIC, bodies, number, order, pull_header};

const RESET: RequestCode = RequestCode::INVOKE_BROKER_TO_RESET_OFFSET;
const TOLD: RequestCode = RequestCode::RESET_CONSUMER_CLIENT_OFFSET;
/// Messages that the queue has, a second apart.
const MESSAGES: i64 = 5;

/// A broker whose queue 0 has messages a second apart, and when they were stored.
async fn stack(config: BrokerConfig) -> (Stack, Vec<i64>) {
    let stack = Stack::start_with(config, None).await;
    let mut stored = Vec::new();
    for at in 0..MESSAGES {
        stored.push(stack.env.now_ms());
        stack.peer.send_ok(&order(&at.to_string())).await;
        sleep(Duration::from_secs(1)).await;
    }
    (stack, stored)
}

async fn commit(peer: &Peer, group: &str, queue_id: i32, offset: i64) {
    let header = UpdateConsumerOffsetRequestHeader {
        consumer_group: group.to_owned(),
        topic: TOPIC.to_owned(),
        queue_id,
        commit_offset: offset,
        broker_name: None,
    };
    let response = peer.ask(RequestCode::UPDATE_CONSUMER_OFFSET, &header).await;
    assert_eq!(response.code, 0);
}

/// What a group has committed of queue 0, with nothing made up.
async fn committed(peer: &Peer, group: &str) -> Option<i64> {
    let header = QueryConsumerOffsetRequestHeader {
        consumer_group: group.to_owned(),
        topic: TOPIC.to_owned(),
        set_zero_if_not_found: Some(false),
        ..QueryConsumerOffsetRequestHeader::default()
    };
    let response = peer.ask(RequestCode::QUERY_CONSUMER_OFFSET, &header).await;
    (response.code == 0).then(|| number(&response, "offset"))
}

/// A group with one member that has committed the same offset of all four queues.
async fn member_at(stack: &Stack, offset: i64) {
    stack.peer.subscribe("c1", GROUP, &[(TOPIC, "*")]).await;
    for queue_id in 0..4 {
        commit(&stack.peer, GROUP, queue_id, offset).await;
    }
}

fn to_time(timestamp: i64, force: bool) -> ResetOffsetRequestHeader {
    ResetOffsetRequestHeader {
        topic: TOPIC.to_owned(),
        group: GROUP.to_owned(),
        timestamp,
        is_force: Some(force),
        ..ResetOffsetRequestHeader::default()
    }
}

/// The offset of queue 0 in a reset.
fn first_queue(body: &[u8]) -> i64 {
    let body = ResetOffsetBody::from_json(body).unwrap();
    body.offset_table[&MessageQueue::new(TOPIC, "broker-a", 0)]
}

/// What the members were told last.
fn told(peer: &Peer) -> RemotingCommand {
    let asked = peer.asked.0.lock();
    let mut told = asked.iter().filter(|request| request.code == TOLD.0);
    told.next_back().cloned().unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_members_are_told_the_offsets_of_all_queues_at_a_time() {
    let (stack, stored) = stack(support::config()).await;
    member_at(&stack, MESSAGES).await;
    for (timestamp, expected) in [
        (stored[2], 2),
        (stored[2] + 1, 2),
        (stored[2] - 1, 2),
        (stored[2] + 501, 3),
        (0, 0),
        (stored[4] + 60_000, 4),
        (-1, MESSAGES),
    ] {
        let answer = stack.peer.ask(RESET, &to_time(timestamp, true)).await;
        assert_eq!(first_queue(&answer.body), expected, "{timestamp}");
        sleep(Duration::from_millis(10)).await;
        let told = told(&stack.peer);
        assert_eq!(told.body, answer.body);
        assert_eq!(number(&told, "timestamp"), timestamp);
    }
    // The broker itself changes nothing.
    assert_eq!(committed(&stack.peer, GROUP).await, Some(MESSAGES));
}

#[tokio::test(start_paused = true)]
async fn without_force_no_queue_moves_forward() {
    let (stack, stored) = stack(support::config()).await;
    member_at(&stack, 3).await;
    for (timestamp, expected) in [(stored[4], 3), (-1, 3), (stored[1], 1)] {
        let answer = stack.peer.ask(RESET, &to_time(timestamp, false)).await;
        assert_eq!(first_queue(&answer.body), expected, "{timestamp}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_queue_can_be_reset_to_an_offset() {
    let (stack, _) = stack(support::config()).await;
    member_at(&stack, MESSAGES).await;
    let to = |queue_id, offset| ResetOffsetRequestHeader {
        queue_id: Some(queue_id),
        offset: Some(offset),
        ..to_time(0, true)
    };
    let answer = stack.peer.ask(RESET, &to(0, 3)).await;
    let body = ResetOffsetBody::from_json(&answer.body).unwrap();
    let queue = MessageQueue::new(TOPIC, "broker-a", 0);
    assert_eq!(body.offset_table, BTreeMap::from([(queue, 3)]));
    let beyond = stack.peer.ask(RESET, &to(0, MESSAGES + 1)).await;
    assert_eq!(beyond.code, ResponseCode::SYSTEM_ERROR.0);
    assert_eq!(
        beyond.remark.as_deref(),
        Some("Target offset 6 not in consume queue range [0-5]")
    );
}

#[tokio::test(start_paused = true)]
async fn a_cpp_member_gets_the_offsets_as_a_list() {
    let (stack, _) = stack(support::config()).await;
    member_at(&stack, MESSAGES).await;
    let mut request = RemotingCommand::request_with(RESET, &to_time(0, true));
    request.language = Language::CPP;
    let answer = stack.peer.invoke(request).await;
    assert_eq!(first_queue(&answer.body), 0);
    sleep(Duration::from_millis(10)).await;
    let body = told(&stack.peer).body;
    let list =
        r#"{"offsetTable":[{"brokerName":"broker-a","offset":0,"queueId":0,"topic":"orders"}"#;
    assert!(body.starts_with(list.as_bytes()), "{body:?}");
    let body = ResetOffsetBodyForC::from_json(&body).unwrap();
    assert_eq!(body.offset_table.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_reset_is_refused() {
    let (stack, _) = stack(support::config()).await;
    let ask = async |header: &ResetOffsetRequestHeader| {
        let answer = stack.peer.ask(RESET, header).await;
        (ResponseCode(answer.code), answer.remark.unwrap_or_default())
    };
    let elsewhere = ResetOffsetRequestHeader {
        topic: "nowhere".to_owned(),
        ..to_time(0, true)
    };
    let (code, remark) = ask(&elsewhere).await;
    assert_eq!(code, ResponseCode::SYSTEM_ERROR);
    assert!(remark.ends_with("no topic in this broker. topic=nowhere"));
    let (code, remark) = ask(&to_time(0, true)).await;
    assert_eq!(code, ResponseCode::SYSTEM_ERROR);
    assert_eq!(remark, "THe consumer group <readers> not exist");
    for queue_id in 0..4 {
        commit(&stack.peer, GROUP, queue_id, 1).await;
    }
    let (code, remark) = ask(&to_time(7, true)).await;
    assert_eq!(code, ResponseCode::CONSUMER_NOT_ONLINE);
    assert!(remark.ends_with("Group: readers Topic: orders Timestamp: 7"));
}

/// The frames of a kind that Apache RocketMQ 4.9.8 and its client exchanged.
fn recorded(name: &str, kind: &str) -> Value {
    let rows = include_str!("../../../protocol/tests/fixtures/frames.jsonl").lines();
    let mut rows = rows.map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.find(|row| row["name"] == name && row["kind"] == kind)
        .unwrap()
}

fn recorded_request(name: &str) -> RemotingCommand {
    let row = recorded(name, "request");
    let mut request = RemotingCommand::request(RequestCode(row["code"].as_i64().unwrap() as i32));
    for (field, value) in row["extFields"].as_object().unwrap() {
        request.ext.push(field.clone(), value.as_str().unwrap());
    }
    request
}

fn recorded_body(name: &str, kind: &str) -> Vec<u8> {
    let row = recorded(name, kind);
    row["body_text"].as_str().unwrap().as_bytes().to_vec()
}

#[tokio::test(start_paused = true)]
async fn a_recorded_reset_is_answered_and_passed_on_as_it_was() {
    let stack = Stack::start().await;
    let golden = hotfire_protocol::Message::new("GoldenTopic", "x");
    stack.peer.send_ok(&golden).await;
    let group = "Golden_group";
    stack
        .peer
        .subscribe("c1", group, &[("GoldenTopic", "*")])
        .await;
    for queue_id in 0..4 {
        let header = UpdateConsumerOffsetRequestHeader {
            consumer_group: group.to_owned(),
            topic: "GoldenTopic".to_owned(),
            queue_id,
            commit_offset: 4,
            broker_name: None,
        };
        let code = RequestCode::UPDATE_CONSUMER_OFFSET;
        stack.peer.ask(code, &header).await;
    }
    let name = "INVOKE_BROKER_TO_RESET_OFFSET";
    let answer = stack.peer.invoke(recorded_request(name)).await;
    let read = |body: &[u8]| ResetOffsetBody::from_json(body).unwrap();
    assert_eq!(answer.code, 0);
    assert!(answer.ext.iter().next().is_none());
    let expected = recorded_body(name, "response");
    assert_eq!(read(&answer.body), read(&expected));
    assert_eq!(answer.body.len(), expected.len());

    sleep(Duration::from_millis(10)).await;
    let told = told(&stack.peer);
    let name = "RESET_CONSUMER_CLIENT_OFFSET";
    let fields: BTreeMap<_, _> = told.ext.iter().collect();
    let row = recorded(name, "oneway");
    let expected = row["extFields"].as_object().unwrap();
    let expected = expected
        .iter()
        .map(|(name, value)| (&**name, value.as_str().unwrap()));
    assert_eq!(fields, expected.collect());
    assert_eq!(read(&told.body), read(&recorded_body(name, "oneway")));
}

/// A member that says which offsets it holds.
struct Member {
    held: BTreeMap<MessageQueue, i64>,
    asked: Mutex<Vec<RemotingCommand>>,
}

impl RequestHandler for Member {
    fn handle(&self, _: &Channel, request: RemotingCommand) -> Handled {
        if request.code != RequestCode::GET_CONSUMER_STATUS_FROM_CLIENT.0 {
            return Handled::None;
        }
        self.asked.lock().push(request.clone());
        let body = GetConsumerStatusBody {
            message_queue_table: self.held.clone(),
            ..GetConsumerStatusBody::default()
        };
        let response = request.response(ResponseCode::SUCCESS);
        Handled::Reply(response.with_body(body.to_json()))
    }
}

/// A peer that joins the group as a member which holds an offset of one queue.
async fn member(stack: &Stack, client_id: &str, held: (i32, i64)) -> (Client, Arc<Member>) {
    let (queue_id, offset) = held;
    let queue = MessageQueue::new("GoldenTopic", "broker-a", queue_id);
    let member = Arc::new(Member {
        held: BTreeMap::from([(queue, offset)]),
        asked: Mutex::default(),
    });
    let client = Client::new(&stack.env, ClientConfig::default(), Some(member.clone()));
    let address = stack.broker.local().to_string();
    let request = support::heartbeat_request(client_id, "Golden_group", &[("GoldenTopic", "*")]);
    let timeout = Duration::from_secs(3);
    client.invoke(&address, request, timeout).await.unwrap();
    (client, member)
}

#[tokio::test(start_paused = true)]
async fn the_members_of_a_group_say_what_they_hold() {
    let stack = Stack::start().await;
    let name = "INVOKE_BROKER_TO_GET_CONSUMER_STATUS";
    let question = recorded_request(name);
    let refused = stack.peer.invoke(question.clone()).await;
    assert_eq!(
        refused.remark.as_deref(),
        Some("No Any Consumer online in the consumer group: [Golden_group]")
    );
    let (_first, asked) = member(&stack, "c1", (0, 4)).await;
    let (_second, _) = member(&stack, "c2", (1, 2)).await;
    // A member that does not answer.
    let topics = [("GoldenTopic", "*")];
    stack.peer.subscribe("c3", "Golden_group", &topics).await;
    let answer = stack.peer.invoke(question).await;
    let text = concat!(
        r#"{"consumerTable":{"c1":{{"brokerName":"broker-a","queueId":0,"topic":"GoldenTopic"}:4},"#,
        r#""c2":{{"brokerName":"broker-a","queueId":1,"topic":"GoldenTopic"}:2}},"#,
        r#""messageQueueTable":{}}"#
    );
    assert_eq!(String::from_utf8_lossy(&answer.body), text);
    let recorded = recorded_body(name, "response");
    let recorded = GetConsumerStatusBody::from_json(&recorded).unwrap();
    assert_eq!(recorded.consumer_table.len(), 2, "the same shape");
    let request = asked.asked.lock()[0].clone();
    let fields: Vec<_> = request
        .ext
        .iter()
        .map(|(name, _)| name.to_owned())
        .collect();
    assert_eq!(fields, ["topic", "group"]);

    let only = GetConsumerStatusRequestHeader {
        topic: "GoldenTopic".to_owned(),
        group: "Golden_group".to_owned(),
        client_addr: Some("c2".to_owned()),
    };
    let code = RequestCode::INVOKE_BROKER_TO_GET_CONSUMER_STATUS;
    let answer = stack.peer.ask(code, &only).await;
    let body = GetConsumerStatusBody::from_json(&answer.body).unwrap();
    assert_eq!(body.consumer_table.keys().collect::<Vec<_>>(), ["c2"]);
}

async fn clone(stack: &Stack, topic: Option<&str>, offline: bool) {
    let header = CloneGroupOffsetRequestHeader {
        src_group: GROUP.to_owned(),
        dest_group: "copies".to_owned(),
        topic: topic.map(str::to_owned),
        offline: Some(offline),
    };
    let answer = stack
        .peer
        .ask(RequestCode::CLONE_GROUP_OFFSET, &header)
        .await;
    assert_eq!((answer.code, answer.ext.iter().count()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn offsets_are_cloned_of_one_topic_or_of_all() {
    for topic in [Some(TOPIC), None] {
        let (stack, _) = stack(support::config()).await;
        commit(&stack.peer, GROUP, 0, 3).await;
        clone(&stack, topic, true).await;
        assert_eq!(committed(&stack.peer, "copies").await, Some(3));
        assert_eq!(committed(&stack.peer, GROUP).await, Some(3));
    }
}

#[tokio::test(start_paused = true)]
async fn while_members_are_there_only_what_they_subscribe_to_is_cloned() {
    let (stack, _) = stack(support::config()).await;
    commit(&stack.peer, GROUP, 0, 3).await;
    stack.peer.subscribe("c1", GROUP, &[("other", "*")]).await;
    clone(&stack, Some(TOPIC), false).await;
    assert_eq!(committed(&stack.peer, "copies").await, None);
    clone(&stack, Some(TOPIC), true).await;
    assert_eq!(committed(&stack.peer, "copies").await, Some(3));
}

fn server_side() -> BrokerConfig {
    BrokerConfig {
        use_server_side_reset_offset: true,
        ..support::config()
    }
}

#[tokio::test(start_paused = true)]
async fn a_reset_on_the_servers_side_is_told_to_the_next_pull() {
    let (stack, stored) = stack(server_side()).await;
    stack.peer.read(TOPIC, 0).await;
    commit(&stack.peer, GROUP, 0, MESSAGES).await;
    // Nobody is online, and no time is approximate.
    let answer = stack.peer.ask(RESET, &to_time(stored[2] + 1, false)).await;
    assert_eq!(first_queue(&answer.body), 3);
    assert_eq!(stack.peer.asked(TOLD), 0);
    assert_eq!(committed(&stack.peer, GROUP).await, Some(3));
    // What a member that does not know it yet commits is void.
    commit(&stack.peer, GROUP, 0, MESSAGES).await;
    assert_eq!(committed(&stack.peer, GROUP).await, Some(3));
    let told = stack.peer.pull(TOPIC, MESSAGES, "*").await;
    assert_eq!(told.code, ResponseCode::PULL_OFFSET_MOVED.0);
    assert_eq!(told.remark.as_deref(), Some("OFFSET_RESET"));
    assert_eq!(number(&told, "nextBeginOffset"), 3);
    assert_eq!(bodies(&stack.peer.pull(TOPIC, 3, "*").await), ["3", "4"]);
    commit(&stack.peer, GROUP, 0, MESSAGES).await;
    assert_eq!(committed(&stack.peer, GROUP).await, Some(MESSAGES));
}

#[tokio::test(start_paused = true)]
async fn a_parked_pull_hears_of_a_reset_when_it_is_run_again() {
    let (stack, _) = stack(server_side()).await;
    stack.peer.read(TOPIC, 0).await;
    let peer = stack.another_peer();
    let mut header = pull_header(TOPIC, MESSAGES, "*");
    header.sys_flag |= sys_flag::SUSPEND;
    let (answer, ()) = tokio::join!(peer.ask(RequestCode::PULL_MESSAGE, &header), async {
        sleep(Duration::from_secs(1)).await;
        stack.peer.ask(RESET, &to_time(0, false)).await;
    });
    assert_eq!(answer.code, ResponseCode::PULL_OFFSET_MOVED.0);
    assert_eq!(number(&answer, "nextBeginOffset"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_reset_on_the_servers_side_needs_a_topic_and_a_group() {
    let (stack, _) = stack(server_side()).await;
    let answer = stack.peer.ask(RESET, &to_time(0, true)).await;
    assert_eq!(answer.code, ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST.0);
    let elsewhere = ResetOffsetRequestHeader {
        topic: "nowhere".to_owned(),
        ..to_time(0, true)
    };
    let answer = stack.peer.ask(RESET, &elsewhere).await;
    assert_eq!(answer.code, ResponseCode::TOPIC_NOT_EXIST.0);
}

#[tokio::test(start_paused = true)]
async fn malformed_requests_are_errors() {
    let stack = Stack::start().await;
    for code in [
        RESET,
        RequestCode::CLONE_GROUP_OFFSET,
        RequestCode::INVOKE_BROKER_TO_GET_CONSUMER_STATUS,
    ] {
        let answer = stack.peer.invoke(RemotingCommand::request(code)).await;
        assert_eq!(answer.code, ResponseCode::SYSTEM_ERROR.0);
    }
    let (stack, _) = self::stack(support::config()).await;
    member_at(&stack, 1).await;
    for (queue_id, offset) in [(i32::MAX, 0), (0, i64::MAX), (0, i64::MIN), (4, 0)] {
        let header = ResetOffsetRequestHeader {
            queue_id: Some(queue_id),
            offset: Some(offset),
            ..to_time(i64::MIN, true)
        };
        let mut request = RemotingCommand::request(RESET);
        header.write(&mut request.ext);
        stack.peer.invoke(request).await;
    }
}
