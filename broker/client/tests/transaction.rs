//! The transaction producer against brokers that answer, refuse and ask.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod cluster;

use std::sync::Arc;

use bytes::BytesMut;
use cluster::*;
use hotfire_client::{
    LocalTransactionState, Producer, TransactionListener, TransactionProducer,
    TransactionProducerBuilder,
};
use hotfire_env::BoxFuture;
use hotfire_protocol::header::send::SendMessageRequestHeaderV2;
use hotfire_protocol::header::transaction::{
    CheckTransactionStateRequestHeader, EndTransactionRequestHeader,
};
use hotfire_protocol::message::{property, record, sys_flag};
use hotfire_protocol::{Message, MessageExt, RemotingCommand, RequestCode, ResponseCode};
use parking_lot::Mutex;
use tokio::time::sleep;

const SEND: RequestCode = RequestCode::SEND_MESSAGE_V2;
const END: RequestCode = RequestCode::END_TRANSACTION;
const GROUP: &str = "payers";

/// Answers as its messages' tags say, and remembers what it was asked.
#[derive(Clone, Default)]
struct Books {
    executed: Arc<Mutex<Vec<(Message, String)>>>,
    checked: Arc<Mutex<Vec<MessageExt>>>,
    running: Arc<Mutex<(usize, usize)>>,
}

fn wanted(message: &Message) -> LocalTransactionState {
    match message.tag() {
        Some("commit") => LocalTransactionState::Commit,
        Some("rollback") => LocalTransactionState::Rollback,
        Some("panic") => panic!("as the test wants"),
        _ => LocalTransactionState::Unknown,
    }
}

impl TransactionListener for Books {
    fn execute<'a>(
        &'a self,
        message: &'a Message,
        transaction_id: &'a str,
    ) -> BoxFuture<'a, LocalTransactionState> {
        Box::pin(async move {
            let executed = (message.clone(), transaction_id.to_owned());
            self.executed.lock().push(executed);
            wanted(message)
        })
    }

    fn check<'a>(&'a self, message: &'a MessageExt) -> BoxFuture<'a, LocalTransactionState> {
        Box::pin(async move {
            self.checked.lock().push(message.clone());
            {
                let mut running = self.running.lock();
                running.0 += 1;
                running.1 = running.1.max(running.0);
            }
            sleep(SECOND).await;
            self.running.lock().0 -= 1;
            wanted(&message.message)
        })
    }
}

fn builder(cluster: &Cluster, books: &Books) -> TransactionProducerBuilder {
    TransactionProducer::builder(&cluster.env)
        .namesrv([NAMESRV])
        .group(GROUP)
        .listener(books.clone())
}

async fn start() -> (Cluster, TransactionProducer, Books) {
    let cluster = Cluster::start(1, 1).await;
    let books = Books::default();
    let producer = builder(&cluster, &books).start().await.unwrap();
    (cluster, producer, books)
}

fn message(tag: &str) -> Message {
    Message::new(TOPIC, "10 EUR").with_tag(tag)
}

/// The ends of transactions that the brokers were told.
fn ends(cluster: &Cluster) -> Vec<(RemotingCommand, EndTransactionRequestHeader)> {
    let requests = cluster.requests(END).into_iter();
    requests
        .map(|(_, request)| {
            assert!(request.is_oneway());
            let header = request.header().unwrap();
            (request, header)
        })
        .collect()
}

fn question(message: Message, group: &str) -> RemotingCommand {
    let host = "192.0.2.1:10911".parse().unwrap();
    let message = message
        .with_property(property::PGROUP, group)
        .with_property(property::UNIQ_KEY, "the unique key");
    let half = MessageExt {
        message,
        queue_id: 0,
        queue_offset: 5,
        commit_log_offset: 700,
        store_size: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: host,
        store_timestamp: 2,
        store_host: host,
        body_crc: 0,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
    };
    ask(&half)
}

fn ask(half: &MessageExt) -> RemotingCommand {
    let header = CheckTransactionStateRequestHeader {
        tran_state_table_offset: half.queue_offset,
        commit_log_offset: half.commit_log_offset,
        msg_id: half.message.unique_key().map(str::to_owned),
        transaction_id: half.message.unique_key().map(str::to_owned),
        offset_msg_id: Some(half.offset_msg_id()),
        ..CheckTransactionStateRequestHeader::default()
    };
    let mut body = BytesMut::new();
    record::encode(half, &mut body).unwrap();
    let code = RequestCode::CHECK_TRANSACTION_STATE;
    RemotingCommand::request_with(code, &header)
        .with_body(body.freeze())
        .oneway()
}

#[tokio::test(start_paused = true)]
async fn a_half_message_says_so_and_names_its_group() {
    let (cluster, producer, books) = start().await;
    let sent = producer
        .send_in_transaction(message("commit").with_delay_level(3))
        .await
        .unwrap();
    let (_, request) = cluster.requests(SEND).remove(0);
    let SendMessageRequestHeaderV2(header) = request.header().unwrap();
    let properties = property::decode(&header.properties.unwrap());
    assert_eq!(properties.get("TRAN_MSG"), Some("true"));
    assert_eq!(properties.get("PGROUP"), Some(GROUP));
    assert_eq!(
        properties.get("DELAY"),
        None,
        "transactions are not delayed"
    );
    assert_eq!(header.sys_flag, 4);
    let (executed, transaction_id) = books.executed.lock().remove(0);
    assert_eq!(executed.unique_key(), Some(transaction_id.as_str()));
    assert_eq!(transaction_id, sent.send.msg_id);
}

#[tokio::test(start_paused = true)]
async fn the_broker_is_told_how_the_local_transaction_ended() {
    for (tag, state, code) in [
        ("commit", LocalTransactionState::Commit, 8),
        ("rollback", LocalTransactionState::Rollback, 12),
        ("unknown", LocalTransactionState::Unknown, 0),
    ] {
        let (cluster, producer, _) = start().await;
        producer.send(message("before")).await.unwrap();
        let sent = producer.send_in_transaction(message(tag)).await.unwrap();
        assert_eq!(sent.state, state);
        sleep(SECOND).await;
        let (request, header) = ends(&cluster).remove(0);
        let half = &cluster.stored(TOPIC)[1];
        // The fields of Apache RocketMQ 4.9.8's frame, and no others.
        let mut names: Vec<_> = request.ext.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        let expected = [
            "bname",
            "commitLogOffset",
            "commitOrRollback",
            "fromTransactionCheck",
            "msgId",
            "producerGroup",
            "tranStateTableOffset",
        ];
        assert_eq!(names, expected);
        assert_eq!(header.commit_or_rollback, code);
        assert_eq!(header.tran_state_table_offset, 1);
        assert_eq!(header.commit_log_offset, half.commit_log_offset);
        assert_eq!(header.msg_id, sent.send.msg_id);
        assert_eq!(header.broker_name.as_deref(), Some("broker-a"));
        assert_eq!(header.from_transaction_check, Some(false));
        assert_eq!(header.producer_group, GROUP);
    }
}

#[tokio::test(start_paused = true)]
async fn a_half_message_that_may_not_be_durable_is_rolled_back_unexecuted() {
    for code in [
        ResponseCode::FLUSH_DISK_TIMEOUT,
        ResponseCode::FLUSH_SLAVE_TIMEOUT,
        ResponseCode::SLAVE_NOT_AVAILABLE,
    ] {
        let (cluster, producer, books) = start().await;
        cluster.fail("broker-a", SEND, &[Fault::Serve(code)]);
        let sent = producer
            .send_in_transaction(message("commit"))
            .await
            .unwrap();
        assert_eq!(sent.state, LocalTransactionState::Rollback);
        assert!(books.executed.lock().is_empty());
        sleep(SECOND).await;
        assert_eq!(ends(&cluster)[0].1.commit_or_rollback, 12);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_half_message_there_is_no_transaction() {
    let (cluster, producer, books) = start().await;
    let refusal = Fault::Answer(ResponseCode::MESSAGE_ILLEGAL);
    cluster.fail("broker-a", SEND, &[refusal]);
    let failed = producer.send_in_transaction(message("commit")).await;
    assert!(!failed.unwrap_err().is_unknown());
    assert!(books.executed.lock().is_empty());
    assert!(ends(&cluster).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_local_transaction_that_panics_has_an_unknown_end() {
    let (cluster, producer, _) = start().await;
    let sent = producer
        .send_in_transaction(message("panic"))
        .await
        .unwrap();
    assert_eq!(sent.state, LocalTransactionState::Unknown);
    sleep(SECOND).await;
    let (request, header) = ends(&cluster).remove(0);
    assert_eq!(header.commit_or_rollback, 0);
    assert!(
        request
            .remark
            .unwrap()
            .contains("executeLocalTransactionBranch")
    );
}

#[tokio::test(start_paused = true)]
async fn a_lost_end_is_no_error_of_the_send() {
    let (cluster, producer, _) = start().await;
    cluster.fail("broker-a", END, &[Fault::Close]);
    let sent = producer
        .send_in_transaction(message("commit"))
        .await
        .unwrap();
    assert_eq!(sent.state, LocalTransactionState::Commit);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_transaction_can_be_told_later_and_again() {
    let (cluster, producer, _) = start().await;
    let sent = producer
        .send_in_transaction(message("later"))
        .await
        .unwrap();
    for _ in 0..2 {
        producer
            .end_transaction(&sent.send, LocalTransactionState::Commit)
            .await
            .unwrap();
    }
    sleep(SECOND).await;
    let told: Vec<_> = ends(&cluster)
        .iter()
        .map(|end| end.1.commit_or_rollback)
        .collect();
    assert_eq!(told, [0, 8, 8]);
}

#[tokio::test(start_paused = true)]
async fn a_question_is_answered_by_what_the_check_says() {
    let (cluster, producer, books) = start().await;
    // A connection to ask on.
    producer.send(message("before")).await.unwrap();
    for (tag, code) in [
        ("commit", 8),
        ("rollback", 12),
        ("unknown", 0),
        ("panic", 0),
    ] {
        cluster.push(&question(message(tag), GROUP));
        sleep(2 * SECOND).await;
        let (request, header) = ends(&cluster).pop().unwrap();
        let mut names: Vec<_> = request.ext.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        let expected = [
            "commitLogOffset",
            "commitOrRollback",
            "fromTransactionCheck",
            "msgId",
            "producerGroup",
            "tranStateTableOffset",
            "transactionId",
        ];
        assert_eq!(names, expected);
        assert_eq!(header.commit_or_rollback, code, "{tag}");
        assert_eq!(header.from_transaction_check, Some(true));
        assert_eq!(
            (header.tran_state_table_offset, header.commit_log_offset),
            (5, 700)
        );
        assert_eq!(header.msg_id, "the unique key");
        assert_eq!(header.transaction_id.as_deref(), Some("the unique key"));
    }
    assert_eq!(ends(&cluster).len(), 4);
    assert_eq!(books.checked.lock()[0].message.body, "10 EUR");
}

#[tokio::test(start_paused = true)]
async fn questions_that_are_not_for_this_producer_or_make_no_sense_are_dropped() {
    let (cluster, producer, books) = start().await;
    producer.send(message("before")).await.unwrap();
    cluster.push(&question(message("commit"), "others"));
    let mut cut = question(message("commit"), GROUP);
    cut.body.truncate(50);
    cluster.push(&cut);
    cluster.push(&question(message("commit"), GROUP).with_body("no record"));
    cluster.push(&RemotingCommand::request(RequestCode::CHECK_TRANSACTION_STATE).oneway());
    sleep(5 * SECOND).await;
    assert!(books.checked.lock().is_empty());
    assert!(ends(&cluster).is_empty());
    // The connection has survived it all.
    cluster.push(&question(message("commit"), GROUP));
    sleep(5 * SECOND).await;
    assert_eq!(ends(&cluster).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_compressed_half_message_is_checked_decompressed() {
    let (cluster, producer, books) = start().await;
    let body = "money ".repeat(1_000);
    let large = Message::new(TOPIC, body.clone()).with_tag("unknown");
    producer.send_in_transaction(large).await.unwrap();
    let (_, request) = cluster.requests(SEND).remove(0);
    let SendMessageRequestHeaderV2(header) = request.header().unwrap();
    let half = MessageExt {
        sys_flag: sys_flag::with_transaction_type(header.sys_flag, 0),
        ..cluster.stored(TOPIC).remove(0)
    };
    assert!(half.message.body.len() < 100, "it travels compressed");
    cluster.push(&ask(&half));
    sleep(5 * SECOND).await;
    assert_eq!(books.checked.lock()[0].message.body, body);
}

#[tokio::test(start_paused = true)]
async fn checks_run_as_many_at_a_time_as_there_are_threads() {
    for threads in [1, 3] {
        let cluster = Cluster::start(1, 1).await;
        let books = Books::default();
        let producer = builder(&cluster, &books)
            .check_threads(threads)
            .start()
            .await
            .unwrap();
        producer.send(message("before")).await.unwrap();
        for _ in 0..9 {
            cluster.push(&question(message("commit"), GROUP));
        }
        sleep(10 * SECOND).await;
        assert_eq!(books.running.lock().1, threads);
        assert_eq!(ends(&cluster).len(), 9);
    }
}

#[tokio::test(start_paused = true)]
async fn a_plain_producer_ignores_questions() {
    let cluster = Cluster::start(1, 1).await;
    let builder = Producer::builder(&cluster.env)
        .namesrv([NAMESRV])
        .group(GROUP);
    let producer = builder.start().await.unwrap();
    producer.send(message("before")).await.unwrap();
    cluster.push(&question(message("commit"), GROUP));
    sleep(5 * SECOND).await;
    assert!(ends(&cluster).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_producer_needs_a_listener_and_a_thread_to_ask_it_on() {
    let cluster = Cluster::start(1, 1).await;
    let without = TransactionProducer::builder(&cluster.env)
        .namesrv([NAMESRV])
        .group(GROUP);
    assert!(without.start().await.is_err());
    let books = Books::default();
    assert!(
        builder(&cluster, &books)
            .check_threads(0)
            .start()
            .await
            .is_err()
    );
}
