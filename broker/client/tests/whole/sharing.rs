//! How members of a group share queues while others come and go.

use hotfire_client::{ConsumeOrderlyStatus, Delivery, PushConsumer};
use hotfire_protocol::Message;
use tokio::time::sleep;

use crate::readers::{Bodies, builder, consume, sorted, texts};
use crate::stack::*;

const WIDE: &str = "wide";
const NARROW: &str = "narrow";

async fn member(stack: &Stack) -> (PushConsumer, Bodies) {
    consume(builder(stack, "readers").subscribe(WIDE, "*")).await
}

fn share(consumer: &PushConsumer) -> usize {
    let queues = consumer.assigned();
    queues.iter().filter(|queue| queue.topic == WIDE).count()
}

fn shares(members: &[(PushConsumer, Bodies)]) -> Vec<usize> {
    members
        .iter()
        .map(|(consumer, _)| share(consumer))
        .collect()
}

/// Sends messages `from..to`, named by their numbers.
async fn send(stack: &Stack, topic: &str, from: usize, to: usize) {
    let producer = stack.producer("writers").await;
    for at in from..to {
        let message = Message::new(topic, format!("{at:03}"));
        producer.send(message).await.unwrap();
    }
    producer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn four_members_have_a_quarter_each_also_after_two_left_and_two_came() {
    let stack = Stack::start(1).await;
    stack.create_topic(WIDE, 8).await;
    let mut members = Vec::new();
    for _ in 0..4 {
        members.push(member(&stack).await);
    }
    sleep(SECOND * 30).await;
    assert_eq!(shares(&members), [2, 2, 2, 2]);
    send(&stack, WIDE, 0, 100).await;
    sleep(SECOND * 5).await;
    let together = Bodies::default();
    for (consumer, bodies) in members.drain(2..) {
        consumer.shutdown().await;
        together.lock().extend(bodies.lock().drain(..));
    }
    sleep(SECOND * 30).await;
    assert_eq!(shares(&members), [4, 4]);
    send(&stack, WIDE, 100, 200).await;
    for _ in 0..2 {
        members.push(member(&stack).await);
    }
    sleep(SECOND * 30).await;
    assert_eq!(shares(&members), [2, 2, 2, 2]);
    send(&stack, WIDE, 200, 300).await;
    sleep(SECOND * 5).await;
    for (_, bodies) in &members {
        together.lock().extend(bodies.lock().drain(..));
    }
    let all: Vec<_> = (0..300).map(|at| format!("{at:03}")).collect();
    assert_eq!(sorted(&together), all);
}

#[tokio::test(start_paused = true)]
async fn one_member_at_a_time_has_the_only_queue_and_the_next_goes_on_in_order() {
    let stack = Stack::start(1).await;
    stack.create_topic(NARROW, 1).await;
    let mut members = Vec::new();
    for _ in 0..3 {
        let bodies = Bodies::default();
        let seen = bodies.clone();
        let listener = move |messages: Delivery| {
            seen.lock().extend(texts(&messages));
            async { ConsumeOrderlyStatus::Success }
        };
        let builder = builder(&stack, "readers").subscribe(NARROW, "*");
        let consumer = builder.orderly(listener).start().await.unwrap();
        members.push((consumer, bodies));
    }
    sleep(SECOND * 60).await;
    let mut sent = 0;
    while !members.is_empty() {
        send(&stack, NARROW, sent, sent + 30).await;
        sleep(SECOND * 10).await;
        let busy: Vec<_> = members
            .iter()
            .map(|(_, bodies)| bodies.lock().len())
            .collect();
        let at = busy.iter().position(|count| *count > 0).unwrap();
        assert_eq!(
            busy.iter().filter(|count| **count > 0).count(),
            1,
            "{busy:?}"
        );
        let (consumer, bodies) = members.remove(at);
        let expected: Vec<_> = (sent..sent + 30).map(|at| format!("{at:03}")).collect();
        assert_eq!(*bodies.lock(), expected);
        consumer.shutdown().await;
        sent += 30;
        sleep(SECOND * 60).await;
    }
}
