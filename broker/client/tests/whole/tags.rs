//! Consumers that want some tags.

use hotfire_protocol::Message;
use tokio::time::sleep;

use crate::readers::{builder, consume, sorted};
use crate::stack::*;

#[tokio::test(start_paused = true)]
async fn a_consumer_gets_the_messages_with_one_of_the_tags_that_it_names() {
    let stack = Stack::start(1).await;
    let producer = stack.producer("writers").await;
    let long = "t".repeat(16 << 10);
    let tags = ["A", "B", "a", "big sale", "促销", "*", &long];
    for tag in tags {
        let body: String = tag.chars().take(8).collect();
        let message = Message::new(TOPIC, body).with_tag(tag);
        producer.send(message).await.unwrap();
    }
    producer.send(Message::new(TOPIC, "none")).await.unwrap();
    let all = ["*", "A", "B", "a", "big sale", "none", "tttttttt", "促销"];
    for (at, (expression, expected)) in [
        ("A", &["A"][..]),
        ("a", &["a"]),
        ("A || B", &["A", "B"]),
        ("A||B||C", &["A", "B"]),
        ("  A  ", &["A"]),
        ("big sale", &["big sale"]),
        ("促销 || B", &["B", "促销"]),
        (&long, &["tttttttt"]),
        ("C", &[]),
        ("*", &all),
        ("", &all),
    ]
    .into_iter()
    .enumerate()
    {
        let builder = builder(&stack, &format!("readers-{at}"));
        let (consumer, bodies) = consume(builder.subscribe(TOPIC, expression)).await;
        sleep(SECOND * 3).await;
        assert_eq!(sorted(&bodies), expected, "`{expression:.20}`");
        consumer.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn tags_with_equal_hashes_are_not_equal() {
    let stack = Stack::start(1).await;
    let producer = stack.producer("writers").await;
    for tag in ["AaAa", "BBBB", "AaBB", "BBAa"] {
        let message = Message::new(TOPIC, tag).with_tag(tag);
        producer.send(message).await.unwrap();
    }
    let builder = builder(&stack, "readers").subscribe(TOPIC, "AaAa || BBAa");
    let (_consumer, bodies) = consume(builder).await;
    sleep(SECOND * 3).await;
    assert_eq!(sorted(&bodies), ["AaAa", "BBAa"]);
}
