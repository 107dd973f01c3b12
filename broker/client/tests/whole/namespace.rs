//! Clients in a namespace.

use std::sync::Arc;

use hotfire_client::{
    ConsumeConcurrentlyStatus, ConsumeFrom, Delivery, Producer, PushConsumer, SelectByHash,
};
use hotfire_protocol::message::property;
use hotfire_protocol::{Message, MessageExt, MessageQueue};
use parking_lot::Mutex;
use tokio::time::sleep;

use crate::stack::*;

async fn producer(stack: &Stack, namespace: &str) -> Producer {
    Producer::builder(&stack.env)
        .namesrv([NAMESRV])
        .namespace(namespace)
        .group("writers")
        .start()
        .await
        .unwrap()
}

type Seen = Arc<Mutex<Vec<(MessageQueue, MessageExt)>>>;

/// A consumer that fails every message once and notes what it got.
async fn consumer(stack: &Stack, namespace: &str) -> (PushConsumer, Seen) {
    let seen = Seen::default();
    let notes = seen.clone();
    let consumer = PushConsumer::builder(&stack.env)
        .namesrv([NAMESRV])
        .namespace(namespace)
        .group("readers")
        .consume_from(ConsumeFrom::First)
        .subscribe(TOPIC, "*")
        .concurrent(move |messages: Delivery| {
            let message = (*messages[0]).clone();
            let again = message.reconsume_times == 0;
            notes.lock().push((messages.queue().clone(), message));
            async move {
                match again {
                    true => ConsumeConcurrentlyStatus::ReconsumeLater,
                    false => ConsumeConcurrentlyStatus::Success,
                }
            }
        })
        .start()
        .await
        .unwrap();
    (consumer, seen)
}

#[tokio::test(start_paused = true)]
async fn a_producer_sees_bare_names_and_the_broker_the_namespace() {
    let stack = Stack::start(1).await;
    let producer = producer(&stack, "blue").await;
    let sent = producer.send(Message::new(TOPIC, "x")).await.unwrap();
    assert_eq!(sent.queue.topic, TOPIC);
    let queues = producer.fetch_publish_queues(TOPIC).await.unwrap();
    assert!(queues.contains(&sent.queue));
    let to = producer
        .send_to(Message::new(TOPIC, "y"), &sent.queue)
        .await;
    assert_eq!(to.unwrap().queue, sent.queue);
    let by = SelectByHash("k");
    let selected = producer.send_select(Message::new(TOPIC, "z"), by).await;
    assert_eq!(selected.unwrap().queue.topic, TOPIC);

    let admin = stack.admin();
    let stored = admin.view_message(&sent.offset_msg_id).await.unwrap();
    assert_eq!(stored.message.topic, "blue%orders");
    let namespace = stored.message.properties.get(property::INSTANCE_ID);
    assert_eq!(namespace, Some("blue"));
}

#[tokio::test(start_paused = true)]
async fn namespaces_do_not_see_each_others_messages() {
    let stack = Stack::start(1).await;
    let (blue, green) = (
        producer(&stack, "blue").await,
        producer(&stack, "green").await,
    );
    blue.send(Message::new(TOPIC, "blue")).await.unwrap();
    green.send(Message::new(TOPIC, "green")).await.unwrap();
    let (_consumer, seen) = consumer(&stack, "blue").await;
    sleep(60 * SECOND).await;
    let seen = seen.lock();
    assert!(!seen.is_empty());
    assert!(
        seen.iter()
            .all(|(_, message)| &message.message.body[..] == b"blue")
    );
}

#[tokio::test(start_paused = true)]
async fn a_consumer_sees_bare_names_also_of_what_comes_back() {
    let stack = Stack::start(1).await;
    let producer = producer(&stack, "blue").await;
    producer.send(Message::new(TOPIC, "x")).await.unwrap();
    let (consumer, seen) = consumer(&stack, "blue").await;
    sleep(60 * SECOND).await;
    let seen = seen.lock();
    let topics: Vec<_> = seen
        .iter()
        .map(|(queue, message)| (queue.topic.as_str(), message.message.topic.as_str()))
        .collect();
    assert_eq!(topics, [(TOPIC, TOPIC), ("%RETRY%readers", TOPIC)]);
    assert!(consumer.assigned().iter().any(|queue| queue.topic == TOPIC));
}
