//! Clients in a namespace.

use std::sync::Arc;
use std::time::Duration;

use hotfire_client::{
    ConsumeConcurrentlyStatus, ConsumeFrom, Delivery, LitePullConsumer, LitePullConsumerBuilder,
    MessageModel, PoppedMessage, Producer, PushConsumer, SelectByHash, SimpleConsumer,
    SimpleConsumerBuilder,
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

/// The topic as brokers know it in the namespace `blue`.
const WRAPPED: &str = "blue%orders";

fn lite(stack: &Stack, namespace: &str) -> LitePullConsumerBuilder {
    LitePullConsumer::builder(&stack.env)
        .namesrv([NAMESRV])
        .namespace(namespace)
        .group("readers")
        .consume_from(ConsumeFrom::First)
}

/// Polls until nothing comes: bodies, under the topics that they came with.
async fn poll_all(consumer: &LitePullConsumer) -> Vec<(String, String)> {
    let mut all = Vec::new();
    loop {
        let polled = consumer.poll(2 * SECOND).await.unwrap();
        if polled.is_empty() {
            return all;
        }
        all.extend(polled.iter().map(|message| {
            let body = String::from_utf8(message.message.body.to_vec()).unwrap();
            (message.message.topic.clone(), body)
        }));
    }
}

fn pair(topic: &str, body: &str) -> (String, String) {
    (topic.to_owned(), body.to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_lite_pull_consumer_subscribes_and_commits_in_its_namespace() {
    let stack = Stack::start(1).await;
    let (blue, green) = (
        producer(&stack, "blue").await,
        producer(&stack, "green").await,
    );
    green.send(Message::new(TOPIC, "green")).await.unwrap();
    let sent = blue.send(Message::new(TOPIC, "blue")).await.unwrap();
    let consumer = lite(&stack, "blue").subscribe(TOPIC, "*").start();
    let consumer = consumer.await.unwrap();
    assert_eq!(poll_all(&consumer).await, [pair(TOPIC, "blue")]);
    assert_eq!(
        consumer.assigned(),
        consumer.fetch_queues(TOPIC).await.unwrap()
    );
    assert!(consumer.assigned().contains(&sent.queue));

    consumer.commit_sync().await.unwrap();
    assert_eq!(consumer.committed(&sent.queue).await.unwrap(), Some(1));
    let at_broker = MessageQueue::new(WRAPPED, &sent.queue.broker_name, sent.queue.queue_id);
    let admin = stack.admin();
    let committed = admin.query_offset("blue%readers", &at_broker);
    assert_eq!(committed.await.unwrap(), Some(1));

    consumer.unsubscribe(TOPIC).await;
    assert!(consumer.assigned().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lite_pull_consumer_assigns_seeks_and_pauses_queues_by_bare_names() {
    let stack = Stack::start(1).await;
    let producer = producer(&stack, "blue").await;
    let sent = producer.send(Message::new(TOPIC, "1")).await.unwrap();
    let queue = sent.queue;
    producer
        .send_to(Message::new(TOPIC, "2"), &queue)
        .await
        .unwrap();
    let consumer = lite(&stack, "blue").start().await.unwrap();
    consumer.assign(std::slice::from_ref(&queue)).await.unwrap();
    let both = [pair(TOPIC, "1"), pair(TOPIC, "2")];
    assert_eq!(poll_all(&consumer).await, both);
    consumer.seek(&queue, 1).await.unwrap();
    assert_eq!(poll_all(&consumer).await, both[1..]);
    consumer.seek_to_begin(&queue).await.unwrap();
    assert_eq!(poll_all(&consumer).await, both);
    let found = consumer.offset_for_timestamp(&queue, 0).await.unwrap();
    assert_eq!(found, 0);

    consumer.pause(std::slice::from_ref(&queue));
    // A pull may be waiting at the broker for that long.
    sleep(20 * SECOND).await;
    producer
        .send_to(Message::new(TOPIC, "3"), &queue)
        .await
        .unwrap();
    assert!(poll_all(&consumer).await.is_empty());
    consumer.resume(std::slice::from_ref(&queue));
    assert_eq!(poll_all(&consumer).await, [pair(TOPIC, "3")]);
}

#[tokio::test(start_paused = true)]
async fn a_lite_pull_consumer_hears_of_new_queues_by_their_bare_names() {
    let stack = Stack::start(1).await;
    stack.create_topic(WRAPPED, 1).await;
    let consumer = lite(&stack, "blue").start().await.unwrap();
    let heard: Arc<Mutex<Vec<(String, usize)>>> = Arc::default();
    let notes = heard.clone();
    let listener = move |topic: &str, queues: &[MessageQueue]| {
        let own = queues.iter().filter(|queue| queue.topic == TOPIC);
        notes.lock().push((topic.to_owned(), own.count()));
    };
    consumer.listen_to_queues(TOPIC, listener).await.unwrap();
    stack.create_topic(WRAPPED, 3).await;
    sleep(90 * SECOND).await;
    assert_eq!(*heard.lock(), [(TOPIC.to_owned(), 3)]);
}

#[tokio::test(start_paused = true)]
async fn a_broadcasting_lite_pull_consumer_goes_on_in_its_namespace_from_its_own_file() {
    let stack = Stack::start(1).await;
    let producer = producer(&stack, "blue").await;
    producer.send(Message::new(TOPIC, "1")).await.unwrap();
    let start = || {
        let all = lite(&stack, "blue").message_model(MessageModel::Broadcasting);
        all.subscribe(TOPIC, "*").start()
    };
    let consumer = start().await.unwrap();
    assert_eq!(poll_all(&consumer).await, [pair(TOPIC, "1")]);
    consumer.commit().await;
    consumer.shutdown().await;
    producer.send(Message::new(TOPIC, "2")).await.unwrap();
    let consumer = start().await.unwrap();
    assert_eq!(poll_all(&consumer).await, [pair(TOPIC, "2")]);
}

fn simple(stack: &Stack, group: &str, topic: &str) -> SimpleConsumerBuilder {
    SimpleConsumer::builder(&stack.env)
        .namesrv([NAMESRV])
        .namespace("blue")
        .group(group)
        .subscribe(topic, "*")
        .from_first(true)
}

async fn receive(consumer: &SimpleConsumer) -> Vec<PoppedMessage> {
    let invisible = Duration::from_secs(10);
    consumer.receive(32, invisible, 20 * SECOND).await.unwrap()
}

/// Topics and bodies of what was received.
fn pairs(received: &[PoppedMessage]) -> Vec<(String, String)> {
    let pair = |message: &PoppedMessage| {
        let body = String::from_utf8(message.message.body.to_vec()).unwrap();
        (message.message.topic.clone(), body)
    };
    received.iter().map(pair).collect()
}

#[tokio::test(start_paused = true)]
async fn a_simple_consumer_sees_bare_names_also_of_what_comes_back() {
    let stack = Stack::start(1).await;
    let (blue, green) = (
        producer(&stack, "blue").await,
        producer(&stack, "green").await,
    );
    green.send(Message::new(TOPIC, "green")).await.unwrap();
    blue.send(Message::new(TOPIC, "blue")).await.unwrap();
    let consumer = simple(&stack, "readers", TOPIC).start().await.unwrap();
    assert_eq!(consumer.group(), "readers");
    assert_eq!(pairs(&receive(&consumer).await), [pair(TOPIC, "blue")]);
    // It is revived in the retry topic of group and topic, both with their namespace.
    let mut again = receive(&consumer).await;
    assert_eq!(pairs(&again), [pair(TOPIC, "blue")]);
    assert_eq!(again[0].delivered_before(), 1);
    let longer = consumer.change_invisible_duration(&mut again[0], 20 * SECOND);
    longer.await.unwrap();
    sleep(15 * SECOND).await;
    consumer.ack(&again[0]).await.unwrap();
    sleep(30 * SECOND).await;
    assert!(receive(&consumer).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_simple_consumers_dead_letters_lie_in_its_namespace() {
    let stack = Stack::start(1).await;
    let producer = producer(&stack, "blue").await;
    producer.send(Message::new(TOPIC, "x")).await.unwrap();
    let twice = simple(&stack, "readers", TOPIC).max_attempts(2);
    let consumer = twice.start().await.unwrap();
    for _ in 0..2 {
        assert_eq!(receive(&consumer).await.len(), 1);
    }
    assert!(receive(&consumer).await.is_empty());
    let dead = SimpleConsumer::builder(&stack.env)
        .namesrv([NAMESRV])
        .group("morgue")
        .subscribe("%DLQ%blue%readers", "*")
        .from_first(true);
    let dead = dead.start().await.unwrap();
    assert_eq!(
        pairs(&receive(&dead).await),
        [pair("%DLQ%blue%readers", "x")]
    );
    let within = simple(&stack, "morgue", "%DLQ%readers");
    let within = within.start().await.unwrap();
    assert_eq!(pairs(&receive(&within).await), [pair("%DLQ%readers", "x")]);
}
