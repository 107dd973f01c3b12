//! What a message may hold, and that it arrives as it was sent.

use hotfire_client::{
    ClientError, LocalTransactionState, Producer, SelectByHash, SendError, TransactionListener,
    TransactionProducer,
};
use hotfire_env::BoxFuture;
use hotfire_protocol::{Message, MessageExt, MessageQueue, ResponseCode};
use tokio::time::sleep;

use crate::readers::{builder, consume, sorted};
use crate::stack::*;

/// The largest body (`maxMessageSize`).
const BODY_MAX: usize = 4 << 20;

fn message(body: &str) -> Message {
    Message::new(TOPIC, body.to_owned())
}

#[tokio::test(start_paused = true)]
async fn messages_arrive_however_they_are_sent() {
    let stack = Stack::start(2).await;
    let producer = stack.producer("writers").await;
    let queue = MessageQueue::new(TOPIC, "broker-b", 1);
    producer.send(message("one")).await.unwrap();
    producer.send_async(message("two")).await.unwrap();
    producer.send_oneway(message("three")).await.unwrap();
    producer.send_to(message("four"), &queue).await.unwrap();
    let selected = producer
        .send_select(message("five"), SelectByHash("order-7"))
        .await;
    selected.unwrap();
    let batch = (0..10).map(|at| message(&format!("six {at}"))).collect();
    let sent = producer.send_batch(batch).await.unwrap();
    assert_eq!(sent.msg_id.split(',').count(), 10);
    let (_consumer, bodies) = consume(builder(&stack, "readers").subscribe(TOPIC, "*")).await;
    sleep(SECOND * 5).await;
    let bodies = sorted(&bodies);
    assert_eq!(bodies.len(), 15);
    assert_eq!(
        bodies[..6],
        ["five", "four", "one", "six 0", "six 1", "six 2"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_of_any_characters_comes_out_as_it_went_in() {
    let stack = Stack::start(1).await;
    let producer = stack.producer("writers").await;
    let mut sent = vec![
        " ",
        " a b ",
        "订单已付款",
        "paid \u{1f600}\u{1f680}",
        "\0\u{1}\u{2}",
    ];
    for body in &sent {
        producer.send(message(body)).await.unwrap();
    }
    let (_consumer, bodies) = consume(builder(&stack, "readers").subscribe(TOPIC, "*")).await;
    sleep(SECOND * 5).await;
    sent.sort_unstable();
    assert_eq!(sorted(&bodies), sent);
}

#[tokio::test(start_paused = true)]
async fn a_message_is_found_by_each_of_its_keys_whatever_they_are() {
    let stack = Stack::start(1).await;
    let producer = stack.producer("writers").await;
    let long = "k".repeat(16 << 10);
    let keys = ["4711", "订单", long.as_str()];
    producer
        .send(message("x").with_key(keys.join(" ")))
        .await
        .unwrap();
    let admin = stack.admin();
    for (key, expected) in keys.into_iter().map(|key| (key, 1)).chain([("471", 0)]) {
        let found = admin.query_by_key(TOPIC, key, 32, 0, i64::MAX).await;
        assert_eq!(found.unwrap().len(), expected, "{key:.20}");
    }
}

/// A message as the broker has it.
async fn stored(stack: &Stack, sent: Message) -> MessageExt {
    let producer = stack.producer("writers").await;
    let sent = producer.send(sent).await.unwrap();
    let found = stack.admin().view_message(&sent.offset_msg_id).await;
    found.unwrap()
}

#[tokio::test(start_paused = true)]
async fn properties_arrive_as_they_were_sent() {
    let stack = Stack::start(1).await;
    let visible: String = ('!'..='~').collect();
    let long = "v".repeat(16 << 10);
    let mut sent = message("x").with_property(visible.clone(), visible.clone());
    sent = sent
        .with_property("long", long.clone())
        .with_property("城市", "杭州");
    for at in 0..128 {
        sent = sent.with_property(format!("name-{at}"), format!("value {at}"));
    }
    let stored = stored(&stack, sent).await;
    let get = |name: &str| stored.message.properties.get(name);
    assert_eq!(get(&visible), Some(visible.as_str()));
    assert_eq!(get("long"), Some(long.as_str()));
    assert_eq!(get("城市"), Some("杭州"));
    assert_eq!(get("name-127"), Some("value 127"));
}

#[tokio::test(start_paused = true)]
async fn properties_that_do_not_fit_into_a_record_are_refused() {
    let stack = Stack::start(1).await;
    let producer = stack.producer("writers").await;
    let sent = message("x").with_property("long", "v".repeat(1 << 15));
    let refused = producer.send(sent).await.unwrap_err();
    assert_eq!(refused.source.code(), Some(ResponseCode::MESSAGE_ILLEGAL));
    assert!(!refused.is_unknown());
}

#[tokio::test(start_paused = true)]
async fn a_message_without_body_or_topic_is_not_sent() {
    let stack = Stack::start(1).await;
    let producer = stack.producer("writers").await;
    for wrong in [
        message(""),
        Message::new("", "x"),
        Message::new(" ", "x"),
        Message::new("a b", "x"),
        Message::new("t".repeat(128), "x"),
    ] {
        let refused = producer.send(wrong).await.unwrap_err();
        assert!(
            matches!(refused.source, ClientError::Invalid(_)),
            "{refused}"
        );
        assert_eq!((refused.attempts, refused.unknown), (0, false));
    }
}

/// Says that every transaction shall be committed.
struct Commit;

impl TransactionListener for Commit {
    fn execute<'a>(&'a self, _: &'a Message, _: &'a str) -> BoxFuture<'a, LocalTransactionState> {
        Box::pin(async { LocalTransactionState::Commit })
    }

    fn check<'a>(&'a self, _: &'a MessageExt) -> BoxFuture<'a, LocalTransactionState> {
        Box::pin(async { LocalTransactionState::Commit })
    }
}

/// Bytes that cannot be compressed.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1u64;
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// A producer whose bodies travel as they are, however large.
async fn uncompressed(stack: &Stack) -> Producer {
    let builder = Producer::builder(&stack.env).namesrv([NAMESRV]);
    let builder = builder.group("writers").compress_over(usize::MAX);
    builder.start().await.unwrap()
}

struct Senders {
    plain: Producer,
    transactions: TransactionProducer,
}

impl Senders {
    /// Sends a body of so many bytes in every way there is.
    async fn send(&self, len: usize) -> Vec<Result<(), SendError>> {
        let large =
            || Message::new(TOPIC, vec![b'x'; len]).with_property("p", "v".repeat(16 << 10));
        let queue = MessageQueue::new(TOPIC, "broker-a", 0);
        let delayed = large().with_delay_level(1);
        let timed = large().with_delay(SECOND * 2);
        vec![
            self.plain.send(large()).await.map(drop),
            self.plain.send_to(large(), &queue).await.map(drop),
            self.plain.send(delayed).await.map(drop),
            self.plain.send(timed).await.map(drop),
            self.transactions
                .send_in_transaction(large())
                .await
                .map(drop),
        ]
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_of_4_mib_is_sent_in_every_way_and_one_more_byte_in_none() {
    let mut config = config(0);
    config.store.commit_log_file_size = 16 << 20;
    let stack = Stack::start_with(vec![config]).await;
    let transactions = TransactionProducer::builder(&stack.env)
        .namesrv([NAMESRV])
        .group("payers")
        .listener(Commit);
    let senders = Senders {
        plain: uncompressed(&stack).await,
        transactions: transactions.start().await.unwrap(),
    };
    for sent in senders.send(BODY_MAX).await {
        sent.unwrap();
    }
    for refused in senders.send(BODY_MAX + 1).await {
        let refused = refused.unwrap_err();
        assert!(
            matches!(refused.source, ClientError::Invalid(_)),
            "{refused}"
        );
    }
    let (_consumer, bodies) = consume(builder(&stack, "readers").subscribe(TOPIC, "*")).await;
    sleep(SECOND * 20).await;
    assert_eq!(bodies.lock().len(), 5);
}

/// As in Java, where the client compresses whatever is large, and the broker looks at the result.
#[tokio::test(start_paused = true)]
async fn a_body_that_grows_beyond_4_mib_when_it_is_compressed_is_refused_by_the_broker() {
    let mut config = config(0);
    config.store.commit_log_file_size = 16 << 20;
    let stack = Stack::start_with(vec![config]).await;
    let large = || Message::new(TOPIC, noise(BODY_MAX));
    let refused = stack.producer("writers").await.send(large()).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.source.code(), Some(ResponseCode::MESSAGE_ILLEGAL));
    uncompressed(&stack).await.send(large()).await.unwrap();
}
