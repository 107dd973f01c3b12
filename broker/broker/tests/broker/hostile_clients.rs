//! Clients that ask for too much, too often or for what cannot be: what they get, and what is left of
//! them.

use std::time::Duration;

use hotfire_protocol::body::{
    ConsumerConnection, ConsumerData, HeartbeatData, LockBatchRequestBody, LockBatchResponseBody,
    ProducerData, SubscriptionData,
};
use hotfire_protocol::header::client::GetConsumerConnectionListRequestHeader;
use hotfire_protocol::header::offset::UpdateConsumerOffsetRequestHeader;
use hotfire_protocol::header::pull::sys_flag;
use hotfire_protocol::{MessageQueue, RemotingCommand, RequestCode, ResponseCode};
use tokio::time::sleep;

use crate::support::{GROUP, Peer, Stack, TOPIC, heartbeat_request, order, pull_header};

fn beat(heartbeat: &HeartbeatData) -> RemotingCommand {
    RemotingCommand::request(RequestCode::HEART_BEAT).with_body(heartbeat.to_json())
}

fn producers(client_id: &str, count: usize) -> HeartbeatData {
    let producer = |at| ProducerData {
        group_name: format!("p{at}"),
    };
    HeartbeatData {
        client_id: client_id.to_owned(),
        producer_data_set: (0..count).map(producer).collect(),
        ..HeartbeatData::default()
    }
}

fn consumers(names: impl Iterator<Item = String>) -> HeartbeatData {
    let consumer = |group_name| ConsumerData {
        group_name,
        ..ConsumerData::default()
    };
    HeartbeatData {
        client_id: "c".to_owned(),
        consumer_data_set: names.map(consumer).collect(),
        ..HeartbeatData::default()
    }
}

/// What the broker says of itself.
async fn figure(peer: &Peer, name: &str) -> String {
    let request = RemotingCommand::request(RequestCode::GET_BROKER_RUNTIME_INFO);
    let info = String::from_utf8(peer.invoke(request).await.body.to_vec()).unwrap();
    let from = info.split(&format!("\"{name}\":\"")).nth(1).unwrap();
    from.split('"').next().unwrap().to_owned()
}

async fn all_producers(peer: &Peer) -> String {
    let request = RemotingCommand::request(RequestCode::GET_ALL_PRODUCER_INFO);
    String::from_utf8(peer.invoke(request).await.body.to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_client_id_of_a_megabyte_is_not_kept_for_each_of_its_groups() {
    let stack = Stack::start().await;
    let request = beat(&producers(&"c".repeat(1_000_000), 2_000));
    let response = stack.peer.invoke(request).await;
    assert_eq!(response.code, ResponseCode::SYSTEM_ERROR.0);
    let remark = response.remark.unwrap();
    assert!(
        remark.contains("clientId") && remark.len() < 200,
        "{remark}"
    );
    assert_eq!(all_producers(&stack.peer).await, "{\"data\":{}}");
    let longest = "c".repeat(hotfire_protocol::rules::CLIENT_ID_MAX);
    let response = stack.peer.invoke(beat(&producers(&longest, 10))).await;
    assert_eq!(response.code, 0);
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_in_no_more_groups_than_the_limit_whatever_the_heartbeats() {
    let stack = Stack::start().await;
    let response = stack.peer.invoke(beat(&producers("c", 12_000))).await;
    assert_eq!(response.code, ResponseCode::SYSTEM_ERROR.0);
    let remark = response.remark.unwrap();
    assert!(remark.contains("groups of one connection"), "{remark}");
    assert_eq!(all_producers(&stack.peer).await, "{\"data\":{}}");
    let mut entered = 0;
    for round in 0..10 {
        let names = (0..1_000).map(|at| format!("g{round}_{at}"));
        let response = stack.peer.invoke(beat(&consumers(names))).await;
        entered += usize::from(response.code == 0);
    }
    assert_eq!(entered, 4);
    stack.peer.send_ok(&order("served all the same")).await;
}

#[tokio::test(start_paused = true)]
async fn names_that_cannot_be_shown_or_kept_are_refused_with_the_whole_heartbeat() {
    let stack = Stack::start().await;
    for name in ["", " ", "a\nb", &"g".repeat(256)] {
        let names = ["good".to_owned(), name.to_owned()];
        let request = beat(&consumers(names.into_iter()));
        let response = stack.peer.invoke(request).await;
        assert_eq!(response.code, ResponseCode::SYSTEM_ERROR.0, "{name}");
        let header = GetConsumerConnectionListRequestHeader {
            consumer_group: "good".to_owned(),
        };
        let code = RequestCode::GET_CONSUMER_CONNECTION_LIST;
        let listed = stack.peer.ask(code, &header).await;
        assert_eq!(listed.code, ResponseCode::CONSUMER_NOT_ONLINE.0, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_with_many_groups_writes_their_files_once() {
    let stack = Stack::start().await;
    let response = stack
        .peer
        .invoke(beat(&consumers(["first".to_owned()].into_iter())))
        .await;
    assert_eq!(response.code, 0);
    sleep(Duration::from_secs(5)).await;
    let names = (0..500).map(|at| format!("many{at}"));
    assert_eq!(stack.peer.invoke(beat(&consumers(names))).await.code, 0);
    sleep(Duration::from_secs(5)).await;
    let file = |name: &str| {
        let bytes = stack
            .env
            .disk()
            .read(&format!("store/config/{name}"))
            .unwrap();
        let text = String::from_utf8(bytes).unwrap();
        (
            text.contains("first"),
            text.matches("groupName\":\"many").count()
                + text.matches("topicName\":\"%RETRY%many").count(),
        )
    };
    for name in ["subscriptionGroup.json", "topics.json"] {
        assert_eq!(file(name), (true, 500), "{name}");
        // It is what the file was before the last write.
        assert_eq!(file(&format!("{name}.bak")), (true, 0), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_of_subscriptions_that_say_nothing_is_refused() {
    let stack = Stack::start().await;
    for count in [100_000, 4_000_000] {
        let list = vec!["{}"; count].join(",");
        let body = format!(
            "{{\"clientID\":\"c\",\"consumerDataSet\":[{{\"groupName\":\"g\",\
             \"subscriptionDataSet\":[{list}]}}]}}"
        );
        let request = RemotingCommand::request(RequestCode::HEART_BEAT).with_body(body);
        let response = stack.peer.invoke(request).await;
        assert_eq!(response.code, ResponseCode::SYSTEM_ERROR.0);
        let body = format!("{{\"clientId\":\"c\",\"consumerGroup\":\"g\",\"mqSet\":[{list}]}}");
        let request = RemotingCommand::request(RequestCode::LOCK_BATCH_MQ).with_body(body);
        let response = stack.peer.invoke(request).await;
        let locked = LockBatchResponseBody::from_json(&response.body).unwrap_or_default();
        assert!(locked.lock_ok_mq_set.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn sql_subscriptions_are_not_registered_while_property_filters_are_off() {
    let stack = Stack::start().await;
    let subscriptions = (0..2_000).map(|at| SubscriptionData::sql(&format!("t{at}"), "a > 5", 1));
    let heartbeat = HeartbeatData {
        client_id: "c".to_owned(),
        consumer_data_set: vec![ConsumerData {
            group_name: GROUP.to_owned(),
            subscription_data_set: subscriptions.collect(),
            ..ConsumerData::default()
        }],
        ..HeartbeatData::default()
    };
    assert_eq!(stack.peer.invoke(beat(&heartbeat)).await.code, 0);
    sleep(Duration::from_secs(21)).await;
    let file = stack.env.disk().read("store/config/consumerFilter.json");
    let file = String::from_utf8(file.unwrap_or_default()).unwrap();
    assert!(!file.contains("a > 5"), "{file}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_group_does_not_take_the_connection_of_one_that_is_heard() {
    let stack = Stack::start().await;
    let address = async |peer: &Peer, group: &str| {
        let header = GetConsumerConnectionListRequestHeader {
            consumer_group: group.to_owned(),
        };
        let code = RequestCode::GET_CONSUMER_CONNECTION_LIST;
        let response = peer.ask(code, &header).await;
        let list = ConsumerConnection::from_json(&response.body).unwrap_or_default();
        list.connection_set
            .first()
            .map(|client| client.client_addr.clone())
    };
    stack.peer.subscribe("c1", "silent", &[(TOPIC, "*")]).await;
    stack.peer.subscribe("c1", "heard", &[(TOPIC, "*")]).await;
    let before = address(&stack.peer, "silent").await;
    assert!(before.is_some());
    for _ in 0..14 {
        sleep(Duration::from_secs(10)).await;
        stack.peer.subscribe("c1", "heard", &[(TOPIC, "*")]).await;
    }
    assert_eq!(address(&stack.peer, "silent").await, None);
    assert_eq!(address(&stack.peer, "heard").await, before);
}

#[tokio::test(start_paused = true)]
async fn pulls_that_wait_go_with_their_connection() {
    let stack = Stack::start().await;
    stack.peer.send_ok(&order("one")).await;
    let hostile = stack.another_peer();
    let mut header = pull_header(TOPIC, 1, "*");
    header.sys_flag |= sys_flag::SUSPEND;
    header.suspend_timeout_millis = 24 * 3_600_000;
    for _ in 0..1_000 {
        let code = RequestCode::PULL_MESSAGE;
        let request = RemotingCommand::request_with(code, &header);
        hostile.oneway(request).await;
    }
    sleep(Duration::from_millis(10)).await;
    assert_eq!(figure(&stack.peer, "pullRequestHoldSize").await, "1000");
    hostile.client.shutdown();
    sleep(Duration::from_millis(10)).await;
    assert_eq!(figure(&stack.peer, "pullRequestHoldSize").await, "0");
}

#[tokio::test(start_paused = true)]
async fn a_pull_waits_for_ten_minutes_at_most() {
    let stack = Stack::start().await;
    stack.peer.send_ok(&order("one")).await;
    let mut header = pull_header(TOPIC, 1, "*");
    header.sys_flag |= sys_flag::SUSPEND;
    header.suspend_timeout_millis = i64::MAX;
    let request = RemotingCommand::request_with(RequestCode::PULL_MESSAGE, &header);
    stack.peer.oneway(request).await;
    sleep(Duration::from_secs(590)).await;
    // A request once in a while keeps the connection.
    assert_eq!(figure(&stack.peer, "pullRequestHoldSize").await, "0");
}

#[tokio::test(start_paused = true)]
async fn only_queues_that_are_there_are_locked() {
    let stack = Stack::start().await;
    stack.peer.send_ok(&order("makes the topic")).await;
    let queue = |topic: &str, broker: &str, id| MessageQueue::new(topic, broker, id);
    let wanted = [
        queue(TOPIC, "broker-a", 0),
        queue(TOPIC, "broker-a", 3),
        queue(TOPIC, "broker-a", 4),
        queue(TOPIC, "broker-a", -1),
        queue(TOPIC, "another", 0),
        queue("unknown", "broker-a", 0),
    ];
    let wish = LockBatchRequestBody {
        client_id: "c".to_owned(),
        consumer_group: GROUP.to_owned(),
        mq_set: wanted.clone().into(),
    };
    let lock = |wish: &LockBatchRequestBody| {
        let request = RemotingCommand::request(RequestCode::LOCK_BATCH_MQ);
        stack.peer.invoke(request.with_body(wish.to_json()))
    };
    let response = lock(&wish).await;
    let locked = LockBatchResponseBody::from_json(&response.body).unwrap();
    let expected = wanted[..2].iter().cloned().collect();
    assert_eq!(locked.lock_ok_mq_set, expected);
    let long = "x".repeat(2_000);
    for (client_id, group) in [("c", &*long), (&*long, GROUP), ("c", "")] {
        let wish = LockBatchRequestBody {
            client_id: client_id.to_owned(),
            consumer_group: group.to_owned(),
            ..wish.clone()
        };
        assert_eq!(lock(&wish).await.code, ResponseCode::SYSTEM_ERROR.0);
    }
}

#[tokio::test(start_paused = true)]
async fn offsets_are_committed_of_what_can_be_there_and_of_nothing_else() {
    let stack = Stack::start().await;
    stack.peer.send_ok(&order("makes the topic")).await;
    let long = "x".repeat(1_000_000);
    for (group, topic, queue_id, expected) in [
        (GROUP, TOPIC, 0, ResponseCode::SUCCESS),
        (GROUP, TOPIC, 3, ResponseCode::SUCCESS),
        (GROUP, "not-yet-there", 0, ResponseCode::SUCCESS),
        (GROUP, TOPIC, 4, ResponseCode::INVALID_PARAMETER),
        (GROUP, TOPIC, -1, ResponseCode::INVALID_PARAMETER),
        (
            GROUP,
            "not-yet-there",
            i32::MAX,
            ResponseCode::INVALID_PARAMETER,
        ),
        (&*long, TOPIC, 0, ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST),
        ("a@b", TOPIC, 0, ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST),
        (GROUP, &*long, 0, ResponseCode::TOPIC_NOT_EXIST),
        (GROUP, "a@b", 0, ResponseCode::TOPIC_NOT_EXIST),
    ] {
        let header = UpdateConsumerOffsetRequestHeader {
            consumer_group: group.to_owned(),
            topic: topic.to_owned(),
            queue_id,
            commit_offset: 1,
            broker_name: None,
        };
        let response = stack
            .peer
            .ask(RequestCode::UPDATE_CONSUMER_OFFSET, &header)
            .await;
        let group: String = group.chars().take(20).collect();
        assert_eq!(response.code, expected.0, "{group} {queue_id}");
        assert!(response.remark.unwrap_or_default().len() < 500);
    }
}

#[tokio::test(start_paused = true)]
async fn two_connections_can_have_one_client_id() {
    let stack = Stack::start().await;
    let other = stack.another_peer();
    for peer in [&stack.peer, &other] {
        let request = heartbeat_request("same", GROUP, &[(TOPIC, "*")]);
        assert_eq!(peer.invoke(request).await.code, 0);
    }
    assert_eq!(
        all_producers(&stack.peer).await.matches("\"same\"").count(),
        2
    );
    other.client.shutdown();
    sleep(Duration::from_millis(10)).await;
    assert_eq!(
        all_producers(&stack.peer).await.matches("\"same\"").count(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_acknowledgements_has_a_largest_length() {
    let stack = Stack::start().await;
    stack.peer.send_ok(&order("makes the topic")).await;
    let bits = "/".repeat(120_000);
    let ack = format!(
        "{{\"b\":\"{bits}\",\"c\":\"{GROUP}\",\"it\":1000,\"pt\":1,\"q\":0,\"r\":\"0\",\
         \"rq\":0,\"so\":0,\"t\":\"{TOPIC}\"}}"
    );
    let body = format!("{{\"acks\":[{}]}}", vec![ack; 20].join(","));
    let request = RemotingCommand::request(RequestCode::BATCH_ACK_MESSAGE);
    let response = stack.peer.invoke(request.with_body(body)).await;
    assert_eq!(response.code, ResponseCode::SYSTEM_ERROR.0);
    assert!(response.remark.unwrap().contains("the limit is"));
}
