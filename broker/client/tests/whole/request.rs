//! Requests and their replies.

use hotfire_client::{
    ConsumeConcurrentlyStatus, ConsumeFrom, Delivery, Producer, PushConsumer, RequestError,
    SelectByHash, reply_to,
};
use hotfire_protocol::message::property;
use hotfire_protocol::{Message, MessageExt};
use tokio::time::{Instant, sleep};

use crate::stack::*;

/// A consumer that replies to every request with what `answer` makes of its body.
async fn replier(stack: &Stack, answer: fn(&[u8]) -> Vec<u8>) -> (PushConsumer, Producer) {
    let producer = stack.producer("repliers").await;
    let replies = producer.clone();
    let consumer = PushConsumer::builder(&stack.env)
        .namesrv([NAMESRV])
        .group("answering")
        .consume_from(ConsumeFrom::First)
        .subscribe(TOPIC, "*")
        .concurrent(move |messages: Delivery| {
            let replies = replies.clone();
            async move {
                for message in messages.iter() {
                    let reply = answer(&message.message.body);
                    // A requester that is gone is nothing to try again for.
                    let _ = replies.reply(message, reply).await;
                }
                ConsumeConcurrentlyStatus::Success
            }
        })
        .start()
        .await
        .unwrap();
    (consumer, producer)
}

fn text(message: &MessageExt) -> &str {
    std::str::from_utf8(&message.message.body).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_request_gets_the_reply_of_whoever_consumes_it() {
    let stack = Stack::start(2).await;
    let _replier = replier(&stack, |body| body.to_ascii_uppercase()).await;
    let producer = stack.producer("askers").await;
    for number in 0..5 {
        let request = Message::new(TOPIC, format!("price {number}?"));
        let reply = producer.request(request, 30 * SECOND).await.unwrap();
        assert_eq!(text(&reply), format!("PRICE {number}?"));
        assert_eq!(reply.message.topic, "DefaultCluster_REPLY_TOPIC");
        assert!(reply.message.properties.contains(property::ARRIVE_TIME));
    }
}

#[tokio::test(start_paused = true)]
async fn requests_in_parallel_get_each_its_own_reply() {
    let stack = Stack::start(1).await;
    let _replier = replier(&stack, |body| body.to_vec()).await;
    let producer = stack.producer("askers").await;
    let ask = |number: u32| {
        let producer = producer.clone();
        async move {
            let body = format!("question {number}");
            let request = Message::new(TOPIC, body.clone());
            let by = format!("key-{number}");
            let reply = producer
                .request_select(request, SelectByHash(&by), 30 * SECOND)
                .await
                .unwrap();
            assert_eq!(text(&reply), body);
        }
    };
    futures_util::future::join_all((0..20).map(ask)).await;
}

#[tokio::test(start_paused = true)]
async fn a_large_reply_travels_compressed() {
    let stack = Stack::start(1).await;
    let _replier = replier(&stack, |_| vec![7; 100_000]).await;
    let producer = stack.producer("askers").await;
    let request = Message::new(TOPIC, "all of it");
    let reply = producer.request(request, 30 * SECOND).await.unwrap();
    assert_eq!(reply.message.body, vec![7; 100_000]);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_nobody_answers_times_out_having_been_sent() {
    let stack = Stack::start(1).await;
    let producer = stack.producer("askers").await;
    let begin = Instant::now();
    let request = producer.request(Message::new(TOPIC, "anyone?"), 5 * SECOND);
    let error = request.await.unwrap_err();
    assert!(matches!(error, RequestError::Timeout { sent: true, .. }));
    assert_eq!(begin.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_sent_fails_at_once() {
    let stack = Stack::start(1).await;
    let producer = stack.producer("askers").await;
    let begin = Instant::now();
    let request = producer.request(Message::new(TOPIC, ""), 5 * SECOND);
    let error = request.await.unwrap_err();
    assert!(matches!(error, RequestError::Send(_)), "{error}");
    assert!(begin.elapsed() < SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_comes_too_late_is_dropped_and_the_replier_is_told_nothing() {
    let stack = Stack::start(1).await;
    let producer = stack.producer("askers").await;
    let request = Message::new(TOPIC, "quick!");
    assert!(producer.request(request, 2 * SECOND).await.is_err());
    let (consumer, _) = replier(&stack, |body| body.to_vec()).await;
    sleep(30 * SECOND).await;
    // It was consumed and replied to, and stored as a reply.
    let admin = stack.admin();
    let queues = admin
        .fetch_subscribe_queues("DefaultCluster_REPLY_TOPIC")
        .await
        .unwrap();
    assert_eq!(admin.max_offset(&queues[0]).await.unwrap(), 1);
    consumer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_no_request_cannot_be_replied_to() {
    let stack = Stack::start(1).await;
    let producer = stack.producer("askers").await;
    let sent = producer.send(Message::new(TOPIC, "news")).await.unwrap();
    let admin = stack.admin();
    let stored = admin.view_message(&sent.offset_msg_id).await.unwrap();
    let error = reply_to(&stored, "thanks").unwrap_err();
    assert!(error.to_string().contains("CORRELATION_ID"), "{error}");
}
