//! Message traces.

use hotfire_broker::BrokerConfig;
use hotfire_client::{
    ConsumeConcurrentlyStatus, ConsumeFrom, Delivery, LocalTransactionState, Producer, PullStatus,
    PushConsumer, TraceOptions, TransactionListener, TransactionProducer,
};
use hotfire_env::BoxFuture;
use hotfire_protocol::{Message, MessageExt};
use tokio::time::sleep;

use crate::stack::*;

const TRACE_TOPIC: &str = "RMQ_SYS_TRACE_TOPIC";

async fn tracing_stack() -> Stack {
    let config = BrokerConfig {
        trace_topic_enable: true,
        ..config(0)
    };
    Stack::start_with(vec![config]).await
}

async fn traced_producer(stack: &Stack) -> Producer {
    Producer::builder(&stack.env)
        .namesrv([NAMESRV])
        .group("writers")
        .trace(TraceOptions::default())
        .start()
        .await
        .unwrap()
}

/// The records of the trace topic, each as its fields.
async fn traces(stack: &Stack) -> Vec<Vec<String>> {
    let admin = stack.admin();
    let queues = admin.fetch_subscribe_queues(TRACE_TOPIC).await.unwrap();
    let mut text = String::new();
    for queue in queues {
        let pulled = admin
            .pull("tracers", &queue, "*", 0, 32, None)
            .await
            .unwrap();
        if pulled.status == PullStatus::Found {
            for message in pulled.messages {
                text += std::str::from_utf8(&message.message.body).unwrap();
            }
        }
    }
    let records = text.split_terminator('\u{2}');
    records
        .map(|record| record.split('\u{1}').map(str::to_owned).collect())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_traced_producer_tells_what_it_sent() {
    let stack = tracing_stack().await;
    let producer = traced_producer(&stack).await;
    let message = Message::new(TOPIC, "hello")
        .with_tag("TagA")
        .with_key("k-1");
    let sent = producer.send(message).await.unwrap();
    let delayed = Message::new(TOPIC, "later").with_delay_level(1);
    producer.send_async(delayed).await.unwrap();
    producer.shutdown().await;
    let traces = traces(&stack).await;
    assert_eq!(traces.len(), 2, "{traces:?}");
    let first = &traces[0];
    assert_eq!(first[0], "Pub");
    assert_eq!(
        first[2..8],
        [
            "DefaultRegion",
            "writers",
            TOPIC,
            &sent.msg_id,
            "TagA",
            "k-1"
        ]
    );
    assert_eq!(first[8..10], ["127.0.0.1:10911", "5"]);
    assert_eq!(first[11..14], ["0", &sent.offset_msg_id, "true"]);
    assert_eq!(traces[1][11], "3", "a delayed message");
}

#[tokio::test(start_paused = true)]
async fn a_trace_is_found_by_the_key_and_the_id_of_its_message() {
    let stack = tracing_stack().await;
    let producer = traced_producer(&stack).await;
    let sent = producer
        .send(Message::new(TOPIC, "hello").with_key("k-1"))
        .await
        .unwrap();
    producer.shutdown().await;
    let admin = stack.admin();
    for key in ["k-1", &sent.msg_id] {
        let found = admin.query_by_key(TRACE_TOPIC, key, 8, 0, i64::MAX).await;
        assert_eq!(found.unwrap().len(), 1, "{key}");
    }
}

struct Always(LocalTransactionState);

impl TransactionListener for Always {
    fn execute<'a>(
        &'a self,
        _message: &'a Message,
        _transaction_id: &'a str,
    ) -> BoxFuture<'a, LocalTransactionState> {
        Box::pin(async { self.0 })
    }

    fn check<'a>(&'a self, _message: &'a MessageExt) -> BoxFuture<'a, LocalTransactionState> {
        Box::pin(async { self.0 })
    }
}

#[tokio::test(start_paused = true)]
async fn a_traced_transaction_tells_of_its_half_message_and_its_end() {
    let stack = tracing_stack().await;
    let producer = TransactionProducer::builder(&stack.env)
        .namesrv([NAMESRV])
        .group("payers")
        .listener(Always(LocalTransactionState::Rollback))
        .trace(TraceOptions::default())
        .start()
        .await
        .unwrap();
    let message = Message::new(TOPIC, "10 EUR").with_key("k-1");
    let sent = producer.send_in_transaction(message).await.unwrap();
    producer.shutdown().await;
    let traces = traces(&stack).await;
    assert_eq!(
        (traces[0][0].as_str(), traces[0][11].as_str()),
        ("Pub", "1")
    );
    let end = &traces[1];
    assert_eq!(
        (end[0].as_str(), end[3].as_str()),
        ("EndTransaction", "payers")
    );
    assert_eq!(end[4..8], [TOPIC, &sent.send.msg_id, "null", "k-1"]);
    assert_eq!(end[11..], ["ROLLBACK_MESSAGE", "false"]);
}

#[tokio::test(start_paused = true)]
async fn a_traced_consumer_tells_of_every_call_of_its_listener() {
    let stack = tracing_stack().await;
    let producer = stack.producer("writers").await;
    let sent = producer.send(Message::new(TOPIC, "hello")).await.unwrap();
    let consumer = PushConsumer::builder(&stack.env)
        .namesrv([NAMESRV])
        .group("readers")
        .consume_from(ConsumeFrom::First)
        .subscribe(TOPIC, "*")
        .trace(TraceOptions::default())
        .concurrent(|messages: Delivery| async move {
            sleep(SECOND).await;
            match messages[0].reconsume_times {
                0 => ConsumeConcurrentlyStatus::ReconsumeLater,
                _ => ConsumeConcurrentlyStatus::Success,
            }
        })
        .start()
        .await
        .unwrap();
    sleep(60 * SECOND).await;
    consumer.shutdown().await;
    let mut traces = traces(&stack).await;
    traces.retain(|record| record.contains(&sent.msg_id));
    let kinds: Vec<_> = traces.iter().map(|record| record[0].as_str()).collect();
    assert_eq!(kinds, ["SubBefore", "SubAfter", "SubBefore", "SubAfter"]);
    let [before, after, again, done] = &traces[..] else {
        unreachable!()
    };
    assert_eq!((before[3].as_str(), before[6].as_str()), ("readers", "0"));
    assert_eq!(before[4], after[1], "the request id");
    assert_eq!(after[3..5], ["1000", "false"]);
    assert_eq!((after[6].as_str(), again[6].as_str()), ("4", "1"));
    assert_eq!((done[4].as_str(), done[6].as_str()), ("true", "0"));
}

#[tokio::test(start_paused = true)]
async fn traces_that_cannot_be_sent_hold_nothing_up() {
    let stack = tracing_stack().await;
    let topic = Some("not a topic".to_owned());
    let producer = Producer::builder(&stack.env)
        .namesrv([NAMESRV])
        .group("writers")
        .trace(TraceOptions { topic })
        .start()
        .await
        .unwrap();
    producer.send(Message::new(TOPIC, "hello")).await.unwrap();
    producer.shutdown().await;
    assert!(traces(&stack).await.is_empty());
}
