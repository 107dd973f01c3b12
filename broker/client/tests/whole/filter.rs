//! Consumers that want a part of a topic.

use hotfire_broker::BrokerConfig;
use hotfire_client::{
    ConsumeConcurrentlyStatus, ConsumeFrom, Delivery, LitePullConsumer, LitePullConsumerBuilder,
};
use hotfire_protocol::{Message, ResponseCode};
use tokio::time::sleep;

use crate::readers::{builder, consume, sorted};
use crate::stack::*;

async fn stack() -> Stack {
    let config = BrokerConfig {
        enable_property_filter: true,
        ..config(0)
    };
    Stack::start_with(vec![config]).await
}

/// Messages named by their price, if they have one.
async fn send(stack: &Stack, prices: &[&str]) {
    let producer = stack.producer("writers").await;
    for price in prices {
        let mut message = Message::new(TOPIC, price.to_string()).with_tag("TagA");
        if *price != "none" {
            message = message.with_property("price", *price);
        }
        producer.send(message).await.unwrap();
    }
    producer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_consumer_gets_the_messages_of_which_its_expression_is_true() {
    for (expression, expected) in [
        ("price > 20", &["100", "21"][..]),
        ("price BETWEEN 20 AND 21", &["20", "21"]),
        ("price IS NULL", &["none"]),
        (
            "TAGS = 'TagA' AND price IN ('cheap', '20')",
            &["20", "cheap"],
        ),
        ("unknown > 20", &[]),
    ] {
        let stack = stack().await;
        let (consumer, bodies) =
            consume(builder(&stack, "readers").subscribe_sql(TOPIC, expression)).await;
        send(&stack, &["20", "21", "100", "cheap", "none"]).await;
        sleep(SECOND).await;
        assert_eq!(sorted(&bodies), expected, "{expression}");
        consumer.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_later_reaches_a_consumer_at_once_if_it_wants_it() {
    let stack = stack().await;
    let (_consumer, bodies) =
        consume(builder(&stack, "readers").subscribe_sql(TOPIC, "price > 20")).await;
    sleep(SECOND * 3).await;
    send(&stack, &["10", "30"]).await;
    sleep(SECOND / 10).await;
    assert_eq!(sorted(&bodies), ["30"]);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_expression_keeps_a_consumer_from_starting_and_says_where() {
    let stack = stack().await;
    let listener = |_: Delivery| async { ConsumeConcurrentlyStatus::Success };
    let wrong = builder(&stack, "readers").subscribe_sql(TOPIC, "price > AND region = 'eu'");
    let error = wrong.concurrent(listener).start().await.err().unwrap();
    assert_eq!(error.code(), Some(ResponseCode::SUBSCRIPTION_PARSE_FAILED));
    assert!(
        error.to_string().contains("at line 1, column 9."),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_does_not_filter_by_properties_keeps_a_consumer_from_starting() {
    let stack = Stack::start(1).await;
    let listener = |_: Delivery| async { ConsumeConcurrentlyStatus::Success };
    let sql = builder(&stack, "readers").subscribe_sql(TOPIC, "price > 20");
    let error = sql.concurrent(listener).start().await.err().unwrap();
    assert_eq!(error.code(), Some(ResponseCode::SYSTEM_ERROR));
}

fn lite(stack: &Stack) -> LitePullConsumerBuilder {
    LitePullConsumer::builder(&stack.env)
        .namesrv([NAMESRV])
        .group("lite")
        .consume_from(ConsumeFrom::First)
}

/// Polls until nothing comes, and sorts what came.
async fn poll_all(consumer: &LitePullConsumer) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let polled = consumer.poll(2 * SECOND).await.unwrap();
        if polled.is_empty() {
            all.sort();
            return all;
        }
        let body = |message: &[u8]| String::from_utf8_lossy(message).into_owned();
        all.extend(polled.iter().map(|message| body(&message.message.body)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_lite_pull_consumer_gets_the_messages_of_which_its_expression_is_true() {
    let stack = stack().await;
    let consumer = lite(&stack).subscribe_sql(TOPIC, "price > 20").start();
    let consumer = consumer.await.unwrap();
    send(&stack, &["20", "21", "100", "cheap", "none"]).await;
    assert_eq!(poll_all(&consumer).await, ["100", "21"]);
    consumer.commit_sync().await.unwrap();
    // A later subscription replaces it, from where the consumer is.
    let other = "price BETWEEN 10 AND 20";
    consumer.subscribe_sql(TOPIC, other).await.unwrap();
    sleep(25 * SECOND).await;
    send(&stack, &["15", "30"]).await;
    assert_eq!(poll_all(&consumer).await, ["15"]);
    consumer.subscribe(TOPIC, "TagB").await.unwrap();
    sleep(25 * SECOND).await;
    send(&stack, &["16"]).await;
    assert!(poll_all(&consumer).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_wrong_expression_keeps_a_lite_pull_consumer_from_starting_and_says_where() {
    let stack = stack().await;
    let wrong = lite(&stack).subscribe_sql(TOPIC, "price > AND region = 'eu'");
    let error = wrong.start().await.err().unwrap();
    assert_eq!(error.code(), Some(ResponseCode::SUBSCRIPTION_PARSE_FAILED));
    assert!(
        error.to_string().contains("at line 1, column 9."),
        "{error}"
    );
    assert!(
        lite(&stack)
            .subscribe_sql(TOPIC, " ")
            .start()
            .await
            .is_err()
    );
}

#[tokio::test(start_paused = true)]
async fn a_wrong_expression_of_a_running_lite_pull_consumer_brings_nothing() {
    let stack = stack().await;
    let consumer = lite(&stack).start().await.unwrap();
    consumer.subscribe_sql(TOPIC, "price >").await.unwrap();
    send(&stack, &["20"]).await;
    assert!(poll_all(&consumer).await.is_empty());
    consumer.subscribe_sql(TOPIC, "price > 1").await.unwrap();
    assert_eq!(poll_all(&consumer).await, ["20"]);
}
