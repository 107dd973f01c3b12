//! Simple consumers: what is received is hidden, and comes back unless it is acknowledged.

use std::time::Duration;

use hotfire_client::{ClientError, PoppedMessage, ReceiptError, SimpleConsumer};
use hotfire_client::{SelectByHash, SimpleConsumerBuilder};
use hotfire_protocol::Message;
use tokio::time::{Instant, sleep};

use crate::stack::{NAMESRV, SECOND, Stack, TOPIC, config};

const INVISIBLE: Duration = Duration::from_secs(10);

fn builder(stack: &Stack) -> SimpleConsumerBuilder {
    SimpleConsumer::builder(&stack.env)
        .namesrv([NAMESRV])
        .group("bar")
        .subscribe(TOPIC, "*")
}

async fn send(stack: &Stack, bodies: &[&str]) {
    let producer = stack.producer("shop").await;
    for body in bodies {
        let message = Message::new(TOPIC, (*body).to_owned());
        producer.send(message).await.unwrap();
    }
    producer.shutdown().await;
}

async fn receive(consumer: &SimpleConsumer, wait: Duration) -> Vec<PoppedMessage> {
    consumer.receive(32, INVISIBLE, wait).await.unwrap()
}

/// Everything that can be received now.
async fn all(consumer: &SimpleConsumer) -> Vec<PoppedMessage> {
    let mut all = Vec::new();
    loop {
        let more = receive(consumer, Duration::ZERO).await;
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

fn bodies(messages: &[PoppedMessage]) -> Vec<String> {
    let body = |message: &PoppedMessage| String::from_utf8(message.message.body.to_vec()).unwrap();
    let mut bodies: Vec<_> = messages.iter().map(body).collect();
    bodies.sort();
    bodies
}

#[tokio::test(start_paused = true)]
async fn acknowledged_messages_of_several_brokers_do_not_come_back() {
    let stack = Stack::start(2).await;
    send(&stack, &["1", "2", "3", "4", "5", "6", "7", "8"]).await;
    let consumer = builder(&stack).start().await.unwrap();
    let received = all(&consumer).await;
    assert_eq!(bodies(&received), ["1", "2", "3", "4", "5", "6", "7", "8"]);
    for message in &received {
        assert_eq!(message.message.topic, TOPIC);
        consumer.ack(message).await.unwrap();
    }
    sleep(60 * SECOND).await;
    assert!(all(&consumer).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_not_acknowledged_comes_back_to_any_member() {
    let stack = Stack::start(1).await;
    send(&stack, &["1"]).await;
    let (one, other) = (builder(&stack), builder(&stack));
    let (one, other) = (one.start().await.unwrap(), other.start().await.unwrap());
    let first = all(&one).await;
    assert_eq!(first[0].delivered_before(), 0);
    let start = Instant::now();
    let again = receive(&other, 20 * SECOND).await;
    assert_eq!(bodies(&again), ["1"]);
    assert_eq!(again[0].delivered_before(), 1);
    assert_eq!(again[0].message.topic, TOPIC);
    assert!((10..=12).contains(&start.elapsed().as_secs()));
    other.ack(&again[0]).await.unwrap();
    sleep(60 * SECOND).await;
    assert!(all(&one).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_expired_receipt_is_worth_nothing() {
    let stack = Stack::start(1).await;
    send(&stack, &["1"]).await;
    let consumer = builder(&stack).start().await.unwrap();
    let mut received = all(&consumer).await;
    sleep(11 * SECOND).await;
    assert!(received[0].is_expired());
    let acked = consumer.ack(&received[0]).await;
    assert!(matches!(acked, Err(ReceiptError::Expired)), "{acked:?}");
    let changed = consumer.change_invisible_duration(&mut received[0], INVISIBLE);
    assert!(matches!(changed.await, Err(ReceiptError::Expired)));
    sleep(SECOND).await;
    assert_eq!(bodies(&all(&consumer).await), ["1"]);
}

#[tokio::test(start_paused = true)]
async fn a_message_is_hidden_for_as_long_as_its_receiver_wants() {
    let stack = Stack::start(1).await;
    send(&stack, &["1"]).await;
    let consumer = builder(&stack).start().await.unwrap();
    let mut received = all(&consumer).await;
    for _ in 0..4 {
        sleep(9 * SECOND).await;
        let old = received[0].receipt().clone();
        let changed = consumer.change_invisible_duration(&mut received[0], INVISIBLE);
        changed.await.unwrap();
        assert_ne!(*received[0].receipt(), old);
    }
    assert!(all(&consumer).await.is_empty());
    consumer.ack(&received[0]).await.unwrap();
    sleep(60 * SECOND).await;
    assert!(all(&consumer).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn messages_are_acknowledged_together() {
    let stack = Stack::start(2).await;
    send(&stack, &["1", "2", "3", "4", "5", "6"]).await;
    let consumer = builder(&stack).start().await.unwrap();
    let received = all(&consumer).await;
    let results = consumer.ack_batch(&received[1..]).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    sleep(13 * SECOND).await;
    assert_eq!(bodies(&all(&consumer).await), bodies(&received[..1]));
    let late = consumer.ack_batch(&received).await;
    assert!(late.iter().all(Result::is_err), "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn a_waiting_receive_is_woken_by_a_message() {
    let stack = Stack::start(1).await;
    let consumer = builder(&stack).start().await.unwrap();
    let start = Instant::now();
    let (received, ()) = tokio::join!(receive(&consumer, 20 * SECOND), async {
        sleep(5 * SECOND).await;
        send(&stack, &["1"]).await;
    });
    assert_eq!(bodies(&received), ["1"]);
    assert_eq!(start.elapsed().as_secs(), 5);
    consumer.ack(&received[0]).await.unwrap();
    let start = Instant::now();
    assert!(receive(&consumer, 10 * SECOND).await.is_empty());
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn what_was_popped_is_revived_after_a_restart_of_the_broker() {
    let mut stack = Stack::start(1).await;
    send(&stack, &["1", "2", "3"]).await;
    let consumer = builder(&stack).start().await.unwrap();
    let received = all(&consumer).await;
    consumer.ack(&received[0]).await.unwrap();
    stack.restart(0).await;
    sleep(13 * SECOND).await;
    assert_eq!(bodies(&all(&consumer).await), bodies(&received[1..]));
}

#[tokio::test(start_paused = true)]
async fn an_ordered_consumer_gets_a_queue_in_order() {
    let stack = Stack::start(1).await;
    let producer = stack.producer("shop").await;
    for body in ["1", "2", "3"] {
        let message = Message::new(TOPIC, body);
        let sent = producer.send_select(message, SelectByHash("same"));
        sent.await.unwrap();
    }
    let consumer = builder(&stack).order(true).start().await.unwrap();
    let first = consumer
        .receive(2, INVISIBLE, Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(bodies(&first), ["1", "2"]);
    assert!(all(&consumer).await.is_empty());
    // All but the first: the queue is given again from there.
    consumer.ack(&first[1]).await.unwrap();
    sleep(11 * SECOND).await;
    let again = receive(&consumer, Duration::ZERO).await;
    assert_eq!(bodies(&again), ["1", "2", "3"]);
    assert_eq!(again[0].delivered_before(), 1);
    for message in &again {
        consumer.ack(message).await.unwrap();
    }
    sleep(60 * SECOND).await;
    assert!(all(&consumer).await.is_empty());
}

/// Sends to one queue.
async fn send_in_order(stack: &Stack, bodies: &[&str]) {
    let producer = stack.producer("shop").await;
    for body in bodies {
        let message = Message::new(TOPIC, (*body).to_owned());
        let sent = producer.send_select(message, SelectByHash("same"));
        sent.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn in_order_what_was_received_behind_a_failing_message_is_given_up_with_it() {
    let stack = Stack::start(1).await;
    send_in_order(&stack, &["1", "2", "3"]).await;
    let consumer = builder(&stack).order(true).max_attempts(2);
    let consumer = consumer.start().await.unwrap();
    for _ in 0..2 {
        let two = consumer.receive(2, INVISIBLE, Duration::ZERO).await;
        assert_eq!(bodies(&two.unwrap()), ["1", "2"]);
        sleep(11 * SECOND).await;
    }
    assert_eq!(bodies(&receive(&consumer, Duration::ZERO).await), ["3"]);
}

#[tokio::test(start_paused = true)]
async fn in_order_one_at_a_time_only_the_failing_message_is_given_up() {
    let stack = Stack::start(1).await;
    send_in_order(&stack, &["1", "2"]).await;
    let consumer = builder(&stack).order(true).max_attempts(2);
    let consumer = consumer.start().await.unwrap();
    for expected in [&["1"][..], &["1"], &[], &["2"]] {
        let one = consumer.receive(1, INVISIBLE, Duration::ZERO).await;
        assert_eq!(bodies(&one.unwrap()), expected);
        sleep(11 * SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn in_order_nothing_passes_a_message_that_cannot_be_given_up() {
    let stack = Stack::start(1).await;
    send_in_order(&stack, &["1", "2"]).await;
    let consumer = builder(&stack).order(true).max_attempts(1);
    let consumer = consumer.start().await.unwrap();
    let one = consumer.receive(1, INVISIBLE, Duration::ZERO).await;
    assert_eq!(bodies(&one.unwrap()), ["1"]);
    sleep(11 * SECOND).await;
    // Nothing can be written, so no dead letter either.
    let (admin, broker) = (stack.admin(), stack.brokers[0].local().to_string());
    let read_only = admin.update_broker_config(&broker, "brokerPermission=4");
    read_only.await.unwrap();
    assert!(receive(&consumer, Duration::ZERO).await.is_empty());
    // The second message was received once, and was handed to nobody.
    let writable = admin.update_broker_config(&broker, "brokerPermission=6");
    writable.await.unwrap();
    sleep(11 * SECOND).await;
    assert!(receive(&consumer, Duration::ZERO).await.is_empty());
    let dead = SimpleConsumer::builder(&stack.env)
        .namesrv([NAMESRV])
        .group("morgue")
        .subscribe("%DLQ%bar", "*")
        .from_first(true);
    let dead = dead.start().await.unwrap();
    assert_eq!(bodies(&all(&dead).await), ["1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_delivered_too_often_becomes_a_dead_letter() {
    let stack = Stack::start(1).await;
    send(&stack, &["1"]).await;
    let consumer = builder(&stack).max_attempts(2).start().await.unwrap();
    for times in 0..2 {
        let received = all(&consumer).await;
        assert_eq!(received[0].delivered_before(), times);
        sleep(13 * SECOND).await;
    }
    assert!(all(&consumer).await.is_empty());
    sleep(60 * SECOND).await;
    assert!(all(&consumer).await.is_empty());
    let dead = SimpleConsumer::builder(&stack.env)
        .namesrv([NAMESRV])
        .group("morgue")
        .subscribe("%DLQ%bar", "*");
    let dead = dead.from_first(true).start().await.unwrap();
    assert_eq!(bodies(&all(&dead).await), ["1"]);
}

#[tokio::test(start_paused = true)]
async fn only_wanted_messages_are_received() {
    let mut with_sql = config(0);
    with_sql.enable_property_filter = true;
    let stack = Stack::start_with(vec![with_sql]).await;
    let producer = stack.producer("shop").await;
    for (tag, price) in [("Aa", "1"), ("BB", "30"), ("Aa", "40")] {
        // `Aa` and `BB` have the same hash.
        let mut message = Message::new(TOPIC, format!("{tag} {price}")).with_tag(tag);
        message.properties.set("price", price);
        producer.send(message).await.unwrap();
    }
    let group = |name: &str| {
        SimpleConsumer::builder(&stack.env)
            .namesrv([NAMESRV])
            .group(name)
    };
    let by_tag = group("tags").subscribe(TOPIC, "Aa").start().await.unwrap();
    assert_eq!(bodies(&all(&by_tag).await), ["Aa 1", "Aa 40"]);
    let by_sql = group("sql").subscribe_sql(TOPIC, "price > 20");
    let by_sql = by_sql.start().await.unwrap();
    assert_eq!(bodies(&all(&by_sql).await), ["Aa 40", "BB 30"]);
}

#[tokio::test(start_paused = true)]
async fn parameters_out_of_range_are_refused() {
    let stack = Stack::start(1).await;
    let consumer = builder(&stack).start().await.unwrap();
    let hour = 3600 * SECOND;
    for (max, invisible) in [
        (0, INVISIBLE),
        (33, INVISIBLE),
        (1, 9 * SECOND),
        (1, 13 * hour),
    ] {
        let received = consumer.receive(max, invisible, Duration::ZERO).await;
        assert!(matches!(received, Err(ClientError::Invalid(_))));
    }
    let nothing = SimpleConsumer::builder(&stack.env)
        .namesrv([NAMESRV])
        .group("bar");
    assert!(nothing.start().await.is_err());
    let empty = SimpleConsumer::builder(&stack.env)
        .namesrv([NAMESRV])
        .group("bar")
        .subscribe(TOPIC, "");
    assert!(empty.start().await.is_err());
    let nobody = SimpleConsumer::builder(&stack.env)
        .namesrv([NAMESRV])
        .subscribe(TOPIC, "*");
    assert!(nobody.start().await.is_err());
}
