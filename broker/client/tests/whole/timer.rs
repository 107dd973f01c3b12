//! Messages for a time, from a producer to a consumer, over a whole stack.

use std::sync::Arc;
use std::time::Duration;

use hotfire_client::{ConsumeConcurrentlyStatus, Delivery, PushConsumer};
use hotfire_protocol::Message;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::stack::{NAMESRV, SECOND, Stack, TOPIC, config};

/// What was consumed, and when after the start.
type Consumed = Arc<Mutex<Vec<(String, Duration)>>>;

async fn consume(stack: &Stack) -> (PushConsumer, Consumed) {
    let (start, consumed) = (Instant::now(), Consumed::default());
    let seen = consumed.clone();
    let consumer = PushConsumer::builder(&stack.env)
        .namesrv([NAMESRV])
        .group("readers")
        .subscribe(TOPIC, "*")
        .concurrent(move |messages: Delivery| {
            for message in messages.iter() {
                let body = String::from_utf8_lossy(&message.message.body).into_owned();
                seen.lock().push((body, start.elapsed()));
            }
            std::future::ready(ConsumeConcurrentlyStatus::Success)
        })
        .start()
        .await
        .unwrap();
    (consumer, consumed)
}

#[tokio::test(start_paused = true)]
async fn messages_arrive_when_they_were_asked_for() {
    let stack = Stack::start(1).await;
    let producer = stack.producer("writers").await;
    let (_consumer, consumed) = consume(&stack).await;
    sleep(10 * SECOND).await;
    let now_ms = stack.env.now_ms();
    let at = |ms| Message::new(TOPIC, ms_body(ms)).with_deliver_at(now_ms + ms);
    for ms in [4_321, 2_000] {
        producer.send(at(ms)).await.unwrap();
    }
    let after = Message::new(TOPIC, ms_body(7_500)).with_delay(Duration::from_millis(7_500));
    producer.send(after).await.unwrap();
    sleep(10 * SECOND).await;
    let consumed = consumed.lock().clone();
    let order: Vec<_> = consumed.iter().map(|(body, _)| body.as_str()).collect();
    assert_eq!(order, ["2000", "4321", "7500"]);
    for (body, at) in &consumed {
        let wanted = 10 * SECOND + Duration::from_millis(body.parse().unwrap());
        assert!(
            *at >= wanted && *at < wanted + 2 * SECOND,
            "{body} came at {at:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_was_called_back_does_not_arrive() {
    let mut config = config(0);
    config.recall_message_enable = true;
    let stack = Stack::start_with(vec![config]).await;
    let producer = stack.producer("writers").await;
    let (_consumer, consumed) = consume(&stack).await;
    let mut sent = Vec::new();
    for body in ["kept", "recalled"] {
        let message = Message::new(TOPIC, body).with_delay(5 * SECOND);
        sent.push(producer.send(message).await.unwrap());
    }
    let handle = sent[1].recall_handle.clone().unwrap();
    assert_eq!(
        producer.recall(TOPIC, &handle).await.unwrap(),
        sent[1].msg_id
    );
    assert!(producer.recall("payments", &handle).await.is_err());
    assert!(producer.recall(TOPIC, "junk").await.is_err());
    sleep(20 * SECOND).await;
    let bodies: Vec<_> = consumed
        .lock()
        .iter()
        .map(|(body, _)| body.clone())
        .collect();
    assert_eq!(bodies, ["kept"]);
}

fn ms_body(ms: i64) -> String {
    ms.to_string()
}

#[tokio::test(start_paused = true)]
async fn a_level_is_the_delay_that_it_names_and_one_below_the_first_none() {
    let stack = Stack::start(1).await;
    let producer = stack.producer("writers").await;
    let (_consumer, consumed) = consume(&stack).await;
    sleep(30 * SECOND).await;
    for level in [4, 1, 0, -1] {
        let message = Message::new(TOPIC, level.to_string()).with_delay_level(level);
        producer.send(message).await.unwrap();
    }
    sleep(60 * SECOND).await;
    let consumed = consumed.lock().clone();
    let mut at: Vec<_> = consumed
        .iter()
        .map(|(body, at)| (body.as_str(), at.as_secs() - 30))
        .collect();
    at[..2].sort_unstable();
    assert_eq!(at, [("-1", 0), ("0", 0), ("1", 1), ("4", 30)]);
}
