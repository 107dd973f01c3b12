//! Messages that fail: when they come again, and where they end.

use std::sync::Arc;
use std::time::Duration;

use hotfire_client::{ConsumeConcurrentlyStatus, ConsumeOrderlyStatus, Delivery};
use hotfire_protocol::{Message, MessageQueue, ResponseCode};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::readers::{builder, texts};
use crate::stack::*;

const BROKER: &str = "127.0.0.1:10911";

/// What a listener was called with: the body, the number of its retries and the time.
type Calls = Arc<Mutex<Vec<(String, i32, Duration)>>>;

/// Notes a call; whether it is one for a bad message.
fn note(calls: &Calls, start: Instant, messages: &Delivery) -> bool {
    let body = texts(messages).remove(0);
    let bad = body.starts_with("bad");
    let call = (body, messages[0].reconsume_times, start.elapsed());
    calls.lock().push(call);
    bad
}

async fn send(stack: &Stack, bodies: &[&str]) {
    let producer = stack.producer("writers").await;
    let queue = MessageQueue::new(TOPIC, "broker-a", 0);
    for body in bodies {
        let message = Message::new(TOPIC, (*body).to_owned());
        producer.send_to(message, &queue).await.unwrap();
    }
    producer.shutdown().await;
}

/// The number of dead letters of the group.
async fn dead_letters(stack: &Stack) -> i64 {
    match stack.admin().topic_stats(BROKER, "%DLQ%readers").await {
        Ok(stats) => stats
            .offset_table
            .values()
            .map(|offsets| offsets.max_offset)
            .sum(),
        Err(error) => {
            assert_eq!(error.code(), Some(ResponseCode::TOPIC_NOT_EXIST));
            0
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_fails_comes_again_after_ten_and_then_after_thirty_seconds() {
    let stack = Stack::start(1).await;
    let (calls, start) = (Calls::default(), Instant::now());
    let noted = calls.clone();
    let listener = move |messages: Delivery| {
        let failed = note(&noted, start, &messages) && messages[0].reconsume_times < 2;
        std::future::ready(match failed {
            true => ConsumeConcurrentlyStatus::ReconsumeLater,
            false => ConsumeConcurrentlyStatus::Success,
        })
    };
    let builder = builder(&stack, "readers").subscribe(TOPIC, "*");
    let _consumer = builder.concurrent(listener).start().await.unwrap();
    sleep(SECOND * 30).await;
    send(&stack, &["bad", "good"]).await;
    sleep(SECOND * 120).await;
    let calls = calls.lock().clone();
    let order: Vec<_> = calls
        .iter()
        .map(|(body, times, _)| (body.as_str(), *times))
        .collect();
    assert_eq!(order, [("bad", 0), ("good", 0), ("bad", 1), ("bad", 2)]);
    let at: Vec<_> = calls.iter().map(|(_, _, at)| at.as_secs()).collect();
    assert_eq!(at, [30, 30, 40, 70]);
    assert_eq!(dead_letters(&stack).await, 0);
}

#[tokio::test(start_paused = true)]
async fn without_retries_a_message_that_fails_is_a_dead_letter_at_once() {
    let stack = Stack::start(1).await;
    let (calls, start) = (Calls::default(), Instant::now());
    let noted = calls.clone();
    let listener = move |messages: Delivery| {
        note(&noted, start, &messages);
        std::future::ready(ConsumeConcurrentlyStatus::ReconsumeLater)
    };
    let builder = builder(&stack, "readers")
        .subscribe(TOPIC, "*")
        .max_reconsume_times(0);
    let _consumer = builder.concurrent(listener).start().await.unwrap();
    send(&stack, &["bad"]).await;
    sleep(SECOND * 60).await;
    assert_eq!(calls.lock().len(), 1);
    assert_eq!(dead_letters(&stack).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_queue_in_order_waits_for_its_head_until_that_is_a_dead_letter() {
    let stack = Stack::start(1).await;
    let (calls, start) = (Calls::default(), Instant::now());
    let noted = calls.clone();
    let listener = move |messages: Delivery| {
        std::future::ready(match note(&noted, start, &messages) {
            true => ConsumeOrderlyStatus::SuspendCurrentQueueAMoment,
            false => ConsumeOrderlyStatus::Success,
        })
    };
    let builder = builder(&stack, "readers")
        .subscribe(TOPIC, "*")
        .max_reconsume_times(3);
    let _consumer = builder.orderly(listener).start().await.unwrap();
    sleep(SECOND * 30).await;
    send(&stack, &["1", "bad", "2", "3"]).await;
    sleep(SECOND * 30).await;
    let calls = calls.lock().clone();
    let order: Vec<_> = calls.iter().map(|(body, _, _)| body.as_str()).collect();
    assert_eq!(order, ["1", "bad", "bad", "bad", "bad", "2", "3"]);
    let at: Vec<_> = calls.iter().map(|(_, _, at)| at.as_secs()).collect();
    assert_eq!(at, [30, 30, 31, 32, 33, 33, 33]);
    assert_eq!(dead_letters(&stack).await, 1);
}
