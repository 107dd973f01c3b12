//! Heartbeats, groups, queue locks.

use std::time::Duration;

use hotfire_protocol::body::{
    CheckClientRequestBody, ConsumerConnection, GetConsumerListByGroupResponseBody,
    LockBatchRequestBody, LockBatchResponseBody, SubscriptionData, UnlockBatchRequestBody,
};
use hotfire_protocol::header::client::{
    GetConsumerConnectionListRequestHeader, GetConsumerListByGroupRequestHeader,
    GetProducerConnectionListRequestHeader, UnregisterClientRequestHeader,
};
use hotfire_protocol::{MessageQueue, RemotingCommand, RequestCode, ResponseCode};
use tokio::time::sleep;

use crate::support::{GROUP, Peer, Stack, TOPIC, order, pull_header};

const NOTIFY: RequestCode = RequestCode::NOTIFY_CONSUMER_IDS_CHANGED;

async fn members(stack: &Stack) -> Result<Vec<String>, i32> {
    let header = GetConsumerListByGroupRequestHeader {
        consumer_group: GROUP.to_owned(),
    };
    let response = stack
        .peer
        .ask(RequestCode::GET_CONSUMER_LIST_BY_GROUP, &header)
        .await;
    if !response.is_success() {
        return Err(response.code);
    }
    let list = GetConsumerListByGroupResponseBody::from_json(&response.body).unwrap();
    Ok(list.consumer_id_list)
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_makes_a_member_and_its_retry_topic() {
    let stack = Stack::start().await;
    assert_eq!(members(&stack).await, Err(ResponseCode::SYSTEM_ERROR.0));
    stack.peer.subscribe("c1", GROUP, &[(TOPIC, "*")]).await;
    assert_eq!(members(&stack).await, Ok(vec!["c1".to_owned()]));
    let response = stack.peer.pull("%RETRY%readers", 0, "*").await;
    assert_eq!(response.code, ResponseCode::PULL_NOT_FOUND.0);
}

#[tokio::test(start_paused = true)]
async fn members_learn_when_others_come_and_go() {
    let stack = Stack::start().await;
    stack.peer.subscribe("c1", GROUP, &[(TOPIC, "*")]).await;
    let other = stack.another_peer();
    other.subscribe("c2", GROUP, &[(TOPIC, "*")]).await;
    sleep(Duration::from_millis(10)).await;
    assert_eq!((stack.peer.asked(NOTIFY), other.asked(NOTIFY)), (2, 1));
    other.client.shutdown();
    sleep(Duration::from_millis(10)).await;
    assert_eq!(stack.peer.asked(NOTIFY), 3);
    assert_eq!(members(&stack).await, Ok(vec!["c1".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_member_can_say_goodbye() {
    let stack = Stack::start().await;
    stack.peer.subscribe("c1", GROUP, &[(TOPIC, "*")]).await;
    let header = UnregisterClientRequestHeader {
        client_id: "c1".to_owned(),
        producer_group: Some("writers".to_owned()),
        consumer_group: Some(GROUP.to_owned()),
    };
    assert_eq!(
        stack
            .peer
            .ask(RequestCode::UNREGISTER_CLIENT, &header)
            .await
            .code,
        0
    );
    assert!(members(&stack).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_silent_member_is_dropped_with_its_connection_after_two_minutes() {
    let stack = Stack::start().await;
    stack.peer.subscribe("c1", GROUP, &[(TOPIC, "*")]).await;
    for _ in 0..13 {
        sleep(Duration::from_secs(10)).await;
        // The connection is busy, but nobody says who is behind it.
        stack.peer.send(&order("x")).await;
    }
    sleep(Duration::from_secs(1)).await;
    assert!(members(&stack).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn connections_are_listed() {
    let stack = Stack::start().await;
    let consumers = GetConsumerConnectionListRequestHeader {
        consumer_group: GROUP.to_owned(),
    };
    let producers = GetProducerConnectionListRequestHeader {
        producer_group: "writers".to_owned(),
    };
    let code = RequestCode::GET_CONSUMER_CONNECTION_LIST;
    let response = stack.peer.ask(code, &consumers).await;
    assert_eq!(response.code, ResponseCode::CONSUMER_NOT_ONLINE.0);
    stack.peer.subscribe("c1", GROUP, &[(TOPIC, "TagA")]).await;
    let response = stack.peer.ask(code, &consumers).await;
    let list = ConsumerConnection::from_json(&response.body).unwrap();
    assert_eq!(list.connection_set[0].client_id, "c1");
    assert_eq!(list.subscription_table[TOPIC].sub_string, "TagA");
    let code = RequestCode::GET_PRODUCER_CONNECTION_LIST;
    let response = stack.peer.ask(code, &producers).await;
    assert!(String::from_utf8_lossy(&response.body).contains("\"clientId\":\"c1\""));
}

#[tokio::test(start_paused = true)]
async fn a_pull_uses_the_subscription_of_the_heartbeat() {
    let stack = Stack::start().await;
    stack.peer.send_ok(&order("x").with_tag("TagB")).await;
    let mut header = pull_header(TOPIC, 0, "");
    header.sys_flag = 0;
    header.sub_version = 1;
    let code = RequestCode::PULL_MESSAGE;
    let response = stack.peer.ask(code, &header).await;
    assert_eq!(
        response.code,
        ResponseCode::SUBSCRIPTION_NOT_EXIST.0,
        "no such group"
    );
    stack.peer.subscribe("c1", GROUP, &[("other", "*")]).await;
    let response = stack.peer.ask(code, &header).await;
    assert_eq!(
        response.code,
        ResponseCode::SUBSCRIPTION_NOT_EXIST.0,
        "no such topic"
    );
    stack.peer.subscribe("c1", GROUP, &[(TOPIC, "TagA")]).await;
    let response = stack.peer.ask(code, &header).await;
    assert_eq!(response.code, ResponseCode::PULL_RETRY_IMMEDIATELY.0);
    header.sub_version = 2;
    let response = stack.peer.ask(code, &header).await;
    assert_eq!(response.code, ResponseCode::SUBSCRIPTION_NOT_LATEST.0);
    assert_eq!(
        response.remark.as_deref(),
        Some("the consumer's subscription not latest")
    );
}

#[tokio::test(start_paused = true)]
async fn a_pull_that_cannot_be_served_is_refused_with_its_code() {
    let stack = Stack::start().await;
    stack.peer.send_ok(&order("x")).await;
    let mut nowhere = pull_header("nowhere", 0, "*");
    nowhere.consumer_group = "g".to_owned();
    let mut queue = pull_header(TOPIC, 0, "*");
    queue.queue_id = 4;
    let mut nobody = pull_header(TOPIC, 0, "*");
    nobody.consumer_group = "bad group".to_owned();
    let mut sql = pull_header(TOPIC, 0, "a > 1");
    sql.expression_type = Some("SQL92".to_owned());
    for (header, code) in [
        (nowhere, ResponseCode::TOPIC_NOT_EXIST),
        (queue, ResponseCode::SYSTEM_ERROR),
        (nobody, ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST),
        (
            pull_header(TOPIC, 0, "||"),
            ResponseCode::SUBSCRIPTION_PARSE_FAILED,
        ),
        (sql, ResponseCode::SYSTEM_ERROR),
    ] {
        let response = stack.peer.ask(RequestCode::PULL_MESSAGE, &header).await;
        assert_eq!(response.code, code.0, "{:?}", response.remark);
    }
}

#[tokio::test(start_paused = true)]
async fn only_subscriptions_by_tags_are_promised() {
    let stack = Stack::start().await;
    let check = |subscription_data| {
        let body = CheckClientRequestBody {
            subscription_data,
            ..CheckClientRequestBody::default()
        };
        let request = RemotingCommand::request(RequestCode::CHECK_CLIENT_CONFIG);
        stack.peer.invoke(request.with_body(body.to_json()))
    };
    let tags = SubscriptionData::parse(TOPIC, "TagA", 1).unwrap();
    assert_eq!(check(tags).await.code, 0);
    let sql = SubscriptionData::sql(TOPIC, "a > 1", 1);
    assert_eq!(check(sql).await.code, ResponseCode::SYSTEM_ERROR.0);
}

async fn lock(peer: &Peer, client_id: &str, queue_id: i32) -> bool {
    let queue = MessageQueue::new(TOPIC, "broker-a", queue_id);
    let body = LockBatchRequestBody {
        client_id: client_id.to_owned(),
        consumer_group: GROUP.to_owned(),
        mq_set: [queue.clone()].into(),
    };
    let request = RemotingCommand::request(RequestCode::LOCK_BATCH_MQ);
    let response = peer.invoke(request.with_body(body.to_json())).await;
    let locked = LockBatchResponseBody::from_json(&response.body).unwrap();
    locked.lock_ok_mq_set.contains(&queue)
}

#[tokio::test(start_paused = true)]
async fn a_queue_is_locked_by_one_member_until_it_is_freed_or_forgotten() {
    let stack = Stack::start().await;
    stack.peer.send_ok(&order("makes the topic")).await;
    assert!(lock(&stack.peer, "c1", 0).await);
    assert!(!lock(&stack.peer, "c2", 0).await);
    assert!(lock(&stack.peer, "c2", 1).await);
    let body = UnlockBatchRequestBody {
        client_id: "c1".to_owned(),
        consumer_group: GROUP.to_owned(),
        mq_set: [MessageQueue::new(TOPIC, "broker-a", 0)].into(),
    };
    let request = RemotingCommand::request(RequestCode::UNLOCK_BATCH_MQ);
    stack.peer.invoke(request.with_body(body.to_json())).await;
    assert!(lock(&stack.peer, "c2", 0).await);
    sleep(Duration::from_secs(61)).await;
    assert!(lock(&stack.peer, "c1", 0).await);
}

#[tokio::test(start_paused = true)]
async fn bodies_that_cannot_be_read_are_system_errors() {
    let stack = Stack::start().await;
    for code in [
        RequestCode::HEART_BEAT,
        RequestCode::LOCK_BATCH_MQ,
        RequestCode::UNLOCK_BATCH_MQ,
        RequestCode::CHECK_CLIENT_CONFIG,
        RequestCode::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP,
    ] {
        let response = stack
            .peer
            .invoke(RemotingCommand::request(code).with_body("{"))
            .await;
        assert_eq!(response.code, ResponseCode::SYSTEM_ERROR.0, "{code}");
    }
}
