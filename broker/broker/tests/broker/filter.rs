//! SQL expressions: who may use them, where they come from, what they let through. The remarks are
//! those of 4.9.8.

use std::time::Duration;

use hotfire_broker::BrokerConfig;
use hotfire_protocol::body::{
    CheckClientRequestBody, ConsumerData, HeartbeatData, SubscriptionData,
};
use hotfire_protocol::header::pull::sys_flag;
use hotfire_protocol::{Message, RemotingCommand, RequestCode, ResponseCode, topic};
use tokio::time::{Instant, sleep};

use crate::support::{
    GROUP, Peer, Stack, TOPIC, bodies, config, messages, number, order, pull_header,
};

fn enabled() -> BrokerConfig {
    BrokerConfig {
        enable_property_filter: true,
        ..config()
    }
}

/// A broker that filters by properties, and three messages: one matches `price > 20`.
async fn priced() -> Stack {
    let stack = Stack::start_with(enabled(), None).await;
    for price in ["10", "30", "twenty"] {
        stack.peer.send_ok(&with_price(price)).await;
    }
    stack.peer.send_ok(&order("without")).await;
    stack
}

fn with_price(price: &str) -> Message {
    order(price).with_property("price", price)
}

/// Heartbeats of a member of the group with this subscription.
async fn subscribe(peer: &Peer, subscription: SubscriptionData) {
    let heartbeat = HeartbeatData {
        client_id: "c1".to_owned(),
        consumer_data_set: vec![ConsumerData {
            group_name: GROUP.to_owned(),
            subscription_data_set: vec![subscription],
            ..ConsumerData::default()
        }],
        ..HeartbeatData::default()
    };
    let request = RemotingCommand::request(RequestCode::HEART_BEAT);
    peer.invoke(request.with_body(heartbeat.to_json())).await;
}

/// Pulls with an expression that comes along.
async fn pull(peer: &Peer, expression: &str) -> RemotingCommand {
    let mut header = pull_header(TOPIC, 0, expression);
    header.expression_type = Some("SQL92".to_owned());
    peer.ask(RequestCode::PULL_MESSAGE, &header).await
}

/// Pulls by what the group registered.
async fn pull_registered(peer: &Peer, offset: i64, version: i64, flags: i32) -> RemotingCommand {
    let mut header = pull_header(TOPIC, offset, "");
    header.sys_flag = flags;
    header.sub_version = version;
    peer.ask(RequestCode::PULL_MESSAGE, &header).await
}

async fn check(peer: &Peer, subscription: SubscriptionData) -> RemotingCommand {
    let body = CheckClientRequestBody {
        client_id: "c1".to_owned(),
        group: GROUP.to_owned(),
        subscription_data: subscription,
        ..CheckClientRequestBody::default()
    };
    let request = RemotingCommand::request(RequestCode::CHECK_CLIENT_CONFIG);
    peer.invoke(request.with_body(body.to_json())).await
}

#[track_caller]
fn refused(response: &RemotingCommand, code: ResponseCode, remark: &str) {
    assert_eq!(response.code, code.0, "{response:?}");
    let said = response.remark.as_deref().unwrap_or_default();
    assert!(said.starts_with(remark), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_pull_can_bring_its_expression_along() {
    let stack = priced().await;
    let response = pull(&stack.peer, "price > 20").await;
    assert_eq!(bodies(&response), ["30"]);
    assert_eq!(number(&response, "nextBeginOffset"), 4);
    let response = pull(&stack.peer, "price IS NULL").await;
    assert_eq!(bodies(&response), ["without"]);
}

#[tokio::test(start_paused = true)]
async fn messages_that_do_not_match_are_passed_over() {
    let stack = priced().await;
    let response = pull(&stack.peer, "price > 99").await;
    let nothing = ResponseCode::PULL_RETRY_IMMEDIATELY;
    refused(&response, nothing, "NO_MATCHED_MESSAGE");
    assert_eq!(number(&response, "nextBeginOffset"), 4);
}

#[tokio::test(start_paused = true)]
async fn a_pull_goes_by_the_expression_that_its_group_registered() {
    let stack = priced().await;
    let sql = SubscriptionData::sql(TOPIC, "price > 20", 5);
    subscribe(&stack.peer, sql).await;
    let response = pull_registered(&stack.peer, 0, 5, 0).await;
    assert_eq!(bodies(&response), ["30"]);
    let newer = SubscriptionData::sql(TOPIC, "price < 20", 6);
    subscribe(&stack.peer, newer).await;
    let response = pull_registered(&stack.peer, 0, 6, 0).await;
    assert_eq!(bodies(&response), ["10"]);
}

#[tokio::test(start_paused = true)]
async fn a_pull_of_a_group_without_the_right_expression_is_refused() {
    let stack = priced().await;
    let none = ResponseCode::SUBSCRIPTION_NOT_EXIST;
    let pulled = || pull_registered(&stack.peer, 0, 5, 0);
    refused(&pulled().await, none, "the consumer's group info not exist");
    let sql = |expression, version| SubscriptionData::sql(TOPIC, expression, version);
    subscribe(&stack.peer, sql("price > 20", 4)).await;
    let old = ResponseCode::SUBSCRIPTION_NOT_LATEST;
    refused(
        &pulled().await,
        old,
        "the consumer's subscription not latest",
    );
    // An empty expression is not registered.
    subscribe(&stack.peer, sql("", 5)).await;
    let old = ResponseCode::FILTER_DATA_NOT_LATEST;
    let remark = "the consumer's consumer filter data not latest";
    refused(&pulled().await, old, remark);
    subscribe(&stack.peer, sql("price > > 20", 6)).await;
    let remark = "The broker's consumer filter data is not exist!Your expression may be wrong!";
    refused(&pulled().await, ResponseCode::FILTER_DATA_NOT_EXIST, remark);
}

#[tokio::test(start_paused = true)]
async fn an_expression_that_comes_along_and_makes_no_sense_is_refused() {
    let stack = priced().await;
    let response = pull(&stack.peer, "price > > 20").await;
    let remark = "parse the consumer's subscription failed: \
                  org.apache.rocketmq.filter.parser.ParseException: Encountered \" \">\" \"> \"\" at \
                  line 1, column 9.";
    refused(&response, ResponseCode::SUBSCRIPTION_PARSE_FAILED, remark);
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_not_configured_for_it_serves_no_expressions() {
    let stack = Stack::start().await;
    stack.peer.send_ok(&with_price("30")).await;
    let sql = SubscriptionData::sql(TOPIC, "price > 20", 5);
    subscribe(&stack.peer, sql.clone()).await;
    let remark = "The broker does not support consumer to filter message by SQL92";
    for response in [
        pull(&stack.peer, "price > 20").await,
        pull_registered(&stack.peer, 0, 5, 0).await,
        check(&stack.peer, sql).await,
    ] {
        refused(&response, ResponseCode::SYSTEM_ERROR, remark);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_can_have_its_expression_checked() {
    let stack = Stack::start_with(enabled(), None).await;
    for (subscription, code) in [
        (SubscriptionData::sql(TOPIC, "price > 20", 1), 0),
        (SubscriptionData::parse(TOPIC, "TagA", 1).unwrap(), 0),
        (SubscriptionData::sql(TOPIC, "price = NULL", 1), 23),
    ] {
        assert_eq!(check(&stack.peer, subscription).await.code, code);
    }
    let response = check(&stack.peer, SubscriptionData::sql(TOPIC, "a > > 1", 1)).await;
    assert_eq!(response.code, 23);
    assert_eq!(
        response.remark.as_deref(),
        Some(
            "org.apache.rocketmq.filter.parser.ParseException: Encountered \" \">\" \"> \"\" at \
             line 1, column 5.\nWas expecting one of:\n    \"NOT\" ...\n    \"TRUE\" ...\n    \
             \"FALSE\" ...\n    \"NULL\" ...\n    <DECIMAL_LITERAL> ...\n    \
             <FLOATING_POINT_LITERAL> ...\n    <STRING_LITERAL> ...\n    <ID> ...\n    \"(\" ...\n    \
             \"-\" ...\n    "
        )
    );
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_is_answered_by_a_message_that_its_expression_lets_through() {
    let stack = priced().await;
    let sql = SubscriptionData::sql(TOPIC, "price > 50", 5);
    subscribe(&stack.peer, sql).await;
    let start = Instant::now();
    let late = async {
        sleep(Duration::from_secs(1)).await;
        stack.peer.send_ok(&with_price("40")).await;
        sleep(Duration::from_secs(1)).await;
        stack.peer.send_ok(&with_price("60")).await;
    };
    let waiting = pull_registered(&stack.peer, 4, 5, sys_flag::SUSPEND);
    let (response, ()) = tokio::join!(waiting, late);
    assert_eq!(bodies(&response), ["60"]);
    assert_eq!(start.elapsed().as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn expressions_survive_a_restart() {
    let stack = priced().await;
    let sql = SubscriptionData::sql(TOPIC, "price > 20", 5);
    subscribe(&stack.peer, sql).await;
    let stack = stack.restart().await;
    // The heartbeat brings only what is not to be registered.
    subscribe(&stack.peer, SubscriptionData::sql(TOPIC, "", 5)).await;
    let response = pull_registered(&stack.peer, 0, 5, 0).await;
    assert_eq!(bodies(&response), ["30"]);
}

/// What a group that wants `price > 20` gets again of a message that it sent back.
async fn retried(filter_support_retry: bool) -> usize {
    let config = BrokerConfig {
        filter_support_retry,
        ..enabled()
    };
    let stack = Stack::start_with(config, None).await;
    stack.peer.send_ok(&with_price("10")).await;
    subscribe(&stack.peer, SubscriptionData::sql(TOPIC, "price > 20", 5)).await;
    let message = messages(&stack.peer.pull(TOPIC, 0, "*").await).remove(0);
    assert_eq!(stack.peer.send_back(&message, 1).await.code, 0);
    sleep(Duration::from_secs(3)).await;
    let retry = topic::retry_topic(GROUP);
    let both = vec![
        SubscriptionData::sql(TOPIC, "price > 20", 5),
        SubscriptionData::parse(&retry, "*", 5).unwrap(),
    ];
    let heartbeat = HeartbeatData {
        client_id: "c1".to_owned(),
        consumer_data_set: vec![ConsumerData {
            group_name: GROUP.to_owned(),
            subscription_data_set: both,
            ..ConsumerData::default()
        }],
        ..HeartbeatData::default()
    };
    let request = RemotingCommand::request(RequestCode::HEART_BEAT);
    stack
        .peer
        .invoke(request.with_body(heartbeat.to_json()))
        .await;
    let mut header = pull_header(&retry, 0, "");
    header.sys_flag = 0;
    let response = stack.peer.ask(RequestCode::PULL_MESSAGE, &header).await;
    assert_eq!(number(&response, "nextBeginOffset"), 1, "{response:?}");
    messages(&response).len()
}

#[tokio::test(start_paused = true)]
async fn a_retry_topic_is_filtered_only_if_the_broker_is_configured_for_it() {
    assert_eq!(retried(false).await, 1);
    assert_eq!(retried(true).await, 0);
}
