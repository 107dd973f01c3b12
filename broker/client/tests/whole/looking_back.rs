//! Looking back: resets deliver the same messages again, and messages are found by key and id.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hotfire_client::{
    Admin, ConsumeConcurrentlyStatus, ConsumeFrom, ConsumeOrderlyStatus, Delivery,
    LitePullConsumer, PushConsumer, PushConsumerBuilder, ResetTo, SendResult,
};
use hotfire_protocol::{Message, MessageQueue, ResponseCode};
use parking_lot::Mutex;
use tokio::time::sleep;

use crate::stack::{NAMESRV, SECOND, Stack, TOPIC, config};

const GROUP: &str = "readers";
/// Long enough for offsets to be committed, or for members to be done with a reset at each broker.
const SETTLE: Duration = Duration::from_secs(30);

/// What of a message must be the same when it is delivered again.
type Seen = (MessageQueue, i64, String, String, Vec<u8>);

/// What a listener has been called with, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Seen>>>);

impl Log {
    fn note(&self, delivery: &Delivery) {
        for message in delivery.iter() {
            self.0.lock().push((
                delivery.queue().clone(),
                message.queue_offset,
                message.msg_id().to_owned(),
                message.offset_msg_id(),
                message.message.body.to_vec(),
            ));
        }
    }

    fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// What was noted since the first `skip`, sorted by queue and, in each, as it came.
    fn since(&self, skip: usize) -> Vec<Seen> {
        let mut seen = self.0.lock()[skip..].to_vec();
        seen.sort_by(|a, b| a.0.cmp(&b.0));
        seen
    }
}

fn builder(stack: &Stack) -> PushConsumerBuilder {
    PushConsumer::builder(&stack.env)
        .namesrv([NAMESRV])
        .group(GROUP)
        .consume_from(ConsumeFrom::First)
        .subscribe(TOPIC, "*")
}

/// A consumer that takes each queue in order.
async fn consumer(stack: &Stack, log: &Log) -> PushConsumer {
    let log = log.clone();
    let listener = move |delivery: Delivery| {
        log.note(&delivery);
        async { ConsumeOrderlyStatus::Success }
    };
    builder(stack).orderly(listener).start().await.unwrap()
}

/// Sends messages 10 ms apart to all queues in turn, and says what became of them.
async fn send(stack: &Stack, count: usize) -> Vec<SendResult> {
    let producer = stack.producer("writers").await;
    let mut sent = Vec::new();
    for at in 0..count {
        let message = Message::new(TOPIC, format!("message {at}")).with_key(format!("key{at}"));
        sent.push(producer.send(message).await.unwrap());
        sleep(Duration::from_millis(10)).await;
    }
    producer.shutdown().await;
    sent
}

/// Of what was delivered first, all from the offsets of a reset on.
fn again(first: &[Seen], offsets: &BTreeMap<MessageQueue, i64>) -> Vec<Seen> {
    let behind = |seen: &&Seen| seen.1 >= offsets[&seen.0];
    first.iter().filter(behind).cloned().collect()
}

async fn stored_at(admin: &Admin, sent: &SendResult) -> i64 {
    let message = admin.view_message(&sent.offset_msg_id).await.unwrap();
    message.store_timestamp
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_online_gets_the_same_messages_again_from_a_millisecond_on() {
    let stack = Stack::start(2).await;
    let log = Log::default();
    let consumer = consumer(&stack, &log).await;
    let sent = send(&stack, 40).await;
    sleep(SETTLE).await;
    let (admin, first) = (stack.admin(), log.since(0));
    assert_eq!(first.len(), 40);
    let queue = &sent[22].queue;
    let time = stored_at(&admin, &sent[22]).await;
    // Messages of one queue are 40 ms apart.
    let offset = sent[22].queue_offset;
    for (time, expected) in [
        (time, offset),
        (time - 19, offset),
        (time + 19, offset),
        (time + 21, offset + 1),
    ] {
        let before = log.len();
        let to = ResetTo::Time(time);
        let reset = admin.reset_offsets(TOPIC, GROUP, to, false).await.unwrap();
        assert!(reset.online);
        assert_eq!(reset.offsets[queue], expected);
        sleep(SETTLE).await;
        assert_eq!(log.since(before), again(&first, &reset.offsets));
    }
    consumer.shutdown().await;
    // What was delivered again is committed again.
    for (queue, last) in first.iter().map(|seen| (&seen.0, seen.1)) {
        let committed = admin.query_offset(GROUP, queue).await.unwrap();
        assert!(committed.unwrap() > last);
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_offline_gets_the_same_messages_again_when_it_comes_back() {
    let stack = Stack::start(2).await;
    let log = Log::default();
    let first_member = consumer(&stack, &log).await;
    let sent = send(&stack, 40).await;
    sleep(SETTLE).await;
    first_member.shutdown().await;
    let (admin, first) = (stack.admin(), log.since(0));
    let to = ResetTo::Time(stored_at(&admin, &sent[13]).await);
    let reset = admin.reset_offsets(TOPIC, GROUP, to, false).await.unwrap();
    assert!(!reset.online);
    assert_eq!(reset.offsets[&sent[13].queue], sent[13].queue_offset);
    let _second_member = consumer(&stack, &log).await;
    sleep(SETTLE).await;
    assert_eq!(log.since(40), again(&first, &reset.offsets));
}

#[tokio::test(start_paused = true)]
async fn a_backlog_is_skipped_online_and_offline() {
    let stack = Stack::start(1).await;
    let (log, admin) = (Log::default(), stack.admin());
    let member = consumer(&stack, &log).await;
    send(&stack, 4).await;
    sleep(SETTLE).await;
    // It does nothing for a while, and messages heap up.
    member.suspend();
    sleep(SECOND).await;
    send(&stack, 8).await;
    let reset = admin.skip_backlog(TOPIC, GROUP).await.unwrap();
    assert!(reset.online);
    sleep(SETTLE).await;
    let seen = log.len();
    assert!(
        seen < 12,
        "what was in hand may have been delivered, {seen}"
    );
    member.shutdown().await;
    send(&stack, 8).await;
    let reset = admin.skip_backlog(TOPIC, GROUP).await.unwrap();
    assert!(!reset.online);
    let _member = consumer(&stack, &log).await;
    sleep(SETTLE).await;
    assert_eq!(log.len(), seen);
    send(&stack, 2).await;
    sleep(SECOND).await;
    assert_eq!(log.len(), seen + 2);
}

#[tokio::test(start_paused = true)]
async fn one_queue_is_reset_to_an_offset_online_and_offline() {
    let stack = Stack::start(1).await;
    let (log, admin) = (Log::default(), stack.admin());
    let member = consumer(&stack, &log).await;
    let sent = send(&stack, 20).await;
    sleep(SETTLE).await;
    let (first, queue) = (log.since(0), &sent[0].queue);
    let expected = |from| -> Vec<Seen> {
        let same = first.iter().filter(|seen| seen.0 == *queue);
        same.filter(|seen| seen.1 >= from).cloned().collect()
    };
    assert!(admin.reset_queue(queue, GROUP, 4).await.unwrap(), "online");
    sleep(SETTLE).await;
    assert_eq!(log.since(20), expected(4));
    assert!(admin.reset_queue(queue, GROUP, 11).await.is_err());
    let before = log.len();
    member.shutdown().await;
    assert!(!admin.reset_queue(queue, GROUP, 7).await.unwrap());
    let _member = consumer(&stack, &log).await;
    sleep(SETTLE).await;
    assert_eq!(log.since(before), expected(7));
}

#[tokio::test(start_paused = true)]
async fn a_reset_on_the_servers_side_delivers_the_same_messages_again() {
    let mut server_side = config(0);
    server_side.use_server_side_reset_offset = true;
    let stack = Stack::start_with(vec![server_side]).await;
    let log = Log::default();
    let _consumer = consumer(&stack, &log).await;
    let sent = send(&stack, 20).await;
    sleep(SETTLE).await;
    let (admin, first) = (stack.admin(), log.since(0));
    let to = ResetTo::Time(stored_at(&admin, &sent[9]).await);
    let reset = admin.reset_offsets(TOPIC, GROUP, to, false).await.unwrap();
    assert_eq!(reset.offsets.values().sum::<i64>(), 9, "9 came before");
    // Its pulls wait at the broker for up to 20 s, and then its queues rest for 10 s.
    sleep(SETTLE + SETTLE).await;
    assert_eq!(log.since(20), again(&first, &reset.offsets));
}

#[tokio::test(start_paused = true)]
async fn messages_that_are_in_a_listener_during_a_reset_are_delivered_again() {
    let stack = Stack::start(1).await;
    let (log, admin) = (Log::default(), stack.admin());
    let noted = log.clone();
    let listener = move |delivery: Delivery| {
        noted.note(&delivery);
        async {
            sleep(SECOND).await;
            ConsumeConcurrentlyStatus::Success
        }
    };
    let builder = builder(&stack).consume_threads(1).concurrent(listener);
    let _consumer = builder.start().await.unwrap();
    sleep(15 * SECOND).await;
    send(&stack, 20).await;
    sleep(8 * SECOND).await;
    let half = log.len();
    assert!((6..15).contains(&half), "{half}");
    let to = ResetTo::Time(0);
    admin.reset_offsets(TOPIC, GROUP, to, true).await.unwrap();
    sleep(SETTLE + SETTLE).await;
    let mut again: Vec<_> = log.since(half).into_iter().map(|seen| seen.4).collect();
    again.sort();
    let mut all: Vec<_> = (0..20)
        .map(|at| format!("message {at}").into_bytes())
        .collect();
    all.sort();
    assert_eq!(again, all);
}

#[tokio::test(start_paused = true)]
async fn a_group_without_offsets_cannot_be_reset() {
    let stack = Stack::start(1).await;
    let admin = stack.admin();
    let reset = admin.reset_offsets(TOPIC, "nobody", ResetTo::End, true);
    let error = reset.await.unwrap_err();
    assert_eq!(error.code(), Some(ResponseCode::SYSTEM_ERROR));
    let addr = stack.brokers[0].local().to_string();
    let status = admin.consumer_status(&addr, TOPIC, "nobody", None).await;
    assert_eq!(status.unwrap_err().code(), Some(ResponseCode::SYSTEM_ERROR));
}

#[tokio::test(start_paused = true)]
async fn members_say_what_they_hold_and_their_offsets_can_be_copied() {
    let stack = Stack::start(2).await;
    let (log, admin) = (Log::default(), stack.admin());
    let first = consumer(&stack, &log).await;
    let second = consumer(&stack, &log).await;
    send(&stack, 40).await;
    sleep(SETTLE).await;
    // Each broker knows all members.
    let addr = stack.brokers[0].local().to_string();
    let status = admin.consumer_status(&addr, TOPIC, GROUP, None);
    let held = status.await.unwrap().consumer_table;
    assert_eq!(held.len(), 2);
    for member in [&first, &second] {
        let offsets = &held[member.client_id()];
        assert_eq!(offsets.keys().cloned().collect::<Vec<_>>(), {
            let mut queues = member.assigned();
            queues.retain(|queue| queue.topic == TOPIC);
            queues
        });
        assert!(offsets.values().all(|&offset| offset == 10));
    }
    let only = Some(first.client_id());
    let status = admin.consumer_status(&addr, TOPIC, GROUP, only);
    let held = status.await.unwrap().consumer_table;
    assert_eq!(held.keys().collect::<Vec<_>>(), [first.client_id()]);

    admin
        .clone_offsets(GROUP, "copies", TOPIC, false)
        .await
        .unwrap();
    for queue in admin.fetch_subscribe_queues(TOPIC).await.unwrap() {
        let copied = admin.query_offset("copies", &queue).await.unwrap();
        assert_eq!(copied, Some(10));
    }
}

#[tokio::test(start_paused = true)]
async fn messages_are_found_by_key_unique_key_and_offset_id_on_all_brokers() {
    let stack = Stack::start(2).await;
    let sent = send(&stack, 8).await;
    let admin = stack.admin();
    let brokers: Vec<_> = sent.iter().map(|sent| &sent.queue.broker_name).collect();
    assert!(brokers.iter().any(|name| *name != brokers[0]));
    for (at, result) in sent.iter().enumerate() {
        let body = format!("message {at}").into_bytes();
        let by_offset = admin.view_message(&result.offset_msg_id).await.unwrap();
        assert_eq!(by_offset.message.body, body);
        let unique_key = &result.msg_id;
        let by_unique_key = admin.query_by_unique_key(TOPIC, unique_key).await.unwrap();
        assert_eq!(by_unique_key.as_ref(), Some(&by_offset));
        let key = format!("key{at}");
        let by_key = admin
            .query_by_key(TOPIC, &key, 32, 0, i64::MAX)
            .await
            .unwrap();
        assert_eq!(by_key, [by_offset]);
    }
    assert_eq!(
        admin.query_by_unique_key(TOPIC, "none").await.unwrap(),
        None
    );
    let outside = admin.query_by_key(TOPIC, "key0", 32, 0, 1).await.unwrap();
    assert!(outside.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lite_pull_consumer_goes_back_to_a_time() {
    let stack = Stack::start(1).await;
    let sent = send(&stack, 20).await;
    let time = stored_at(&stack.admin(), &sent[8]).await;
    let consumer = LitePullConsumer::builder(&stack.env)
        .namesrv([NAMESRV])
        .group("lite")
        .start()
        .await
        .unwrap();
    let queues = consumer.fetch_queues(TOPIC).await.unwrap();
    consumer.assign(&queues).await.unwrap();
    let queue = &sent[8].queue;
    let offset = consumer.offset_for_timestamp(queue, time).await.unwrap();
    assert_eq!(offset, sent[8].queue_offset);
    for queue in &queues {
        consumer.seek_to_end(queue).await.unwrap();
    }
    consumer.seek(queue, offset).await.unwrap();
    let polled = consumer.poll(SECOND).await.unwrap();
    let ids: Vec<_> = polled
        .iter()
        .map(|message| message.msg_id().to_owned())
        .collect();
    let expected = sent[8..].iter().filter(|sent| sent.queue == *queue);
    assert_eq!(
        ids,
        expected.map(|sent| sent.msg_id.clone()).collect::<Vec<_>>()
    );
    consumer.commit_sync().await.unwrap();
    let committed = stack.admin().query_offset("lite", queue).await.unwrap();
    assert_eq!(committed, Some(10));
}
