//! The producer against brokers that answer, refuse, say nothing or go away.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod cluster;

use std::time::Duration;

use cluster::*;
use hotfire_client::{Producer, SelectByHash, SendStatus};
use hotfire_protocol::header::send::SendMessageRequestHeader;
use hotfire_protocol::{Message, MessageQueue, RequestCode, ResponseCode};
use tokio::time::{Instant, sleep};

const SEND: RequestCode = RequestCode::SEND_MESSAGE_V2;

async fn producer(cluster: &Cluster) -> Producer {
    Producer::builder(&cluster.env)
        .namesrv([NAMESRV])
        .group("pg")
        .start()
        .await
        .unwrap()
}

fn message() -> Message {
    Message::new(TOPIC, "hello").with_tag("TagA")
}

/// The brokers that got a send, in order.
fn asked(cluster: &Cluster) -> Vec<String> {
    cluster
        .requests(SEND)
        .into_iter()
        .map(|(broker, _)| broker)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_message_is_stored_where_the_result_says() {
    let cluster = Cluster::start(1, 1).await;
    let producer = producer(&cluster).await;
    producer.send(message()).await.unwrap();
    let sent = producer.send(message()).await.unwrap();
    assert_eq!((sent.status, sent.attempts), (SendStatus::SendOk, 1));
    assert_eq!(
        (sent.queue.to_string().as_str(), sent.queue_offset),
        ("orders@broker-a:0", 1)
    );
    let stored = &cluster.stored(TOPIC)[1];
    assert_eq!(stored.message.unique_key(), Some(sent.msg_id.as_str()));
    assert_eq!(stored.offset_msg_id(), sent.offset_msg_id);
    assert_eq!(stored.message.tag(), Some("TagA"));
}

#[tokio::test(start_paused = true)]
async fn messages_go_round_all_queues() {
    let cluster = Cluster::start(2, 2).await;
    let producer = producer(&cluster).await;
    let mut queues = Vec::new();
    for _ in 0..8 {
        queues.push(producer.send(message()).await.unwrap().queue.to_string());
    }
    assert_eq!(queues[..4], queues[4..]);
    queues.sort();
    queues.dedup();
    assert_eq!(queues.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_busy_broker_makes_the_producer_try_another() {
    let cluster = Cluster::start(2, 1).await;
    let producer = producer(&cluster).await;
    for broker in ["broker-a", "broker-b"] {
        cluster.fail(broker, SEND, &[Fault::Answer(ResponseCode::SYSTEM_BUSY)]);
    }
    let sent = producer.send(message()).await.unwrap();
    assert_eq!(sent.attempts, 3);
    let asked = asked(&cluster);
    assert_ne!(asked[0], asked[1]);
    assert_eq!(asked[0], asked[2]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_message_is_final_and_definite() {
    let cluster = Cluster::start(2, 1).await;
    let producer = producer(&cluster).await;
    for broker in ["broker-a", "broker-b"] {
        cluster.fail(
            broker,
            SEND,
            &[Fault::Answer(ResponseCode::MESSAGE_ILLEGAL)],
        );
    }
    let error = producer.send(message()).await.unwrap_err();
    assert_eq!(error.source.code(), Some(ResponseCode::MESSAGE_ILLEGAL));
    assert_eq!((error.attempts, error.is_unknown()), (1, false));
    assert_eq!(cluster.count(SEND), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refused_connection_is_a_definite_failure() {
    let cluster = Cluster::start(0, 1).await;
    cluster.add_dead_broker("broker-x");
    let producer = producer(&cluster).await;
    let error = producer.send(message()).await.unwrap_err();
    assert_eq!((error.attempts, error.is_unknown()), (0, false));
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_says_nothing_uses_up_the_time_of_all_attempts() {
    let cluster = Cluster::start(1, 1).await;
    let producer = producer(&cluster).await;
    cluster.fail("broker-a", SEND, &[Fault::Silence; 3]);
    let begin = Instant::now();
    let error = producer.send(message()).await.unwrap_err();
    assert_eq!(begin.elapsed().as_secs(), 3);
    assert_eq!((error.attempts, error.is_unknown()), (1, true));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_a_lost_connection_leaves_the_outcome_unknown() {
    let cluster = Cluster::start(2, 1).await;
    let producer = producer(&cluster).await;
    for broker in ["broker-a", "broker-b"] {
        let faults = [Fault::Close, Fault::Answer(ResponseCode::MESSAGE_ILLEGAL)];
        cluster.fail(broker, SEND, &faults);
    }
    let error = producer.send(message()).await.unwrap_err();
    assert_eq!((error.attempts, error.is_unknown()), (3, true));
    assert_eq!(error.source.code(), Some(ResponseCode::MESSAGE_ILLEGAL));
}

#[tokio::test(start_paused = true)]
async fn an_asynchronous_send_takes_a_refusal_for_an_answer() {
    let cluster = Cluster::start(2, 1).await;
    let producer = producer(&cluster).await;
    for broker in ["broker-a", "broker-b"] {
        cluster.fail(broker, SEND, &[Fault::Answer(ResponseCode::SYSTEM_BUSY)]);
    }
    let error = producer.send_async(message()).await.unwrap_err();
    assert_eq!(error.source.code(), Some(ResponseCode::SYSTEM_BUSY));
    assert_eq!((cluster.count(SEND), error.is_unknown()), (1, true));
}

#[tokio::test(start_paused = true)]
async fn an_asynchronous_send_repeats_its_request_on_another_broker() {
    let cluster = Cluster::start(2, 3).await;
    let producer = producer(&cluster).await;
    for broker in ["broker-a", "broker-b"] {
        cluster.fail(broker, SEND, &[Fault::Close]);
    }
    let sent = producer.send_async(message()).await.unwrap();
    assert_eq!(sent.attempts, 3);
    let requests = cluster.requests(SEND);
    assert_ne!(requests[0].0, requests[1].0);
    let first = SendMessageRequestHeader::of(&requests[0].1).unwrap();
    for (_, request) in &requests {
        let header = SendMessageRequestHeader::of(request).unwrap();
        assert_eq!(
            (header.queue_id, &header.broker_name),
            (first.queue_id, &first.broker_name)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_one_way_message_is_sent_without_waiting() {
    let cluster = Cluster::start(1, 1).await;
    let producer = producer(&cluster).await;
    producer.send_oneway(message()).await.unwrap();
    sleep(Duration::from_millis(10)).await;
    let requests = cluster.requests(SEND);
    assert!(requests[0].1.is_oneway());
    assert_eq!(cluster.stored(TOPIC).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_topic_is_sent_where_the_default_topic_is() {
    let cluster = Cluster::start(1, 1).await;
    cluster.add_topic("TBW102", 8);
    let producer = producer(&cluster).await;
    let queues = async |count| {
        let mut ids = Vec::new();
        for _ in 0..count {
            let sent = producer.send(Message::new("new-topic", "x")).await.unwrap();
            ids.push(sent.queue.queue_id);
        }
        ids.sort_unstable();
        ids
    };
    assert_eq!(queues(4).await, [0, 1, 2, 3], "four queues at most");
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_no_name_server_knows_cannot_be_sent_to() {
    let cluster = Cluster::start(1, 1).await;
    let producer = producer(&cluster).await;
    let error = producer
        .send(Message::new("nowhere", "x"))
        .await
        .unwrap_err();
    assert_eq!((error.attempts, error.is_unknown()), (0, false));
}

#[tokio::test(start_paused = true)]
async fn a_name_server_that_is_down_is_passed_over() {
    let cluster = Cluster::start(1, 1).await;
    for first in ["127.0.0.1:2", NAMESRV] {
        let addrs = [first, "127.0.0.1:3;127.0.0.1:9876"];
        let builder = Producer::builder(&cluster.env).namesrv(addrs).group("pg");
        let producer = builder.start().await.unwrap();
        producer.send(message()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn stored_but_not_flushed_counts_as_sent() {
    let cluster = Cluster::start(1, 1).await;
    let producer = producer(&cluster).await;
    for (code, status) in [
        (
            ResponseCode::FLUSH_DISK_TIMEOUT,
            SendStatus::FlushDiskTimeout,
        ),
        (
            ResponseCode::FLUSH_SLAVE_TIMEOUT,
            SendStatus::FlushSlaveTimeout,
        ),
        (
            ResponseCode::SLAVE_NOT_AVAILABLE,
            SendStatus::SlaveNotAvailable,
        ),
    ] {
        cluster.fail("broker-a", SEND, &[Fault::Serve(code)]);
        assert_eq!(producer.send(message()).await.unwrap().status, status);
    }
    assert_eq!(cluster.count(SEND), 3, "none is sent again");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_read_leaves_the_outcome_unknown() {
    let cluster = Cluster::start(1, 1).await;
    let producer = producer(&cluster).await;
    cluster.fail("broker-a", SEND, &[Fault::Answer(ResponseCode::SUCCESS)]);
    let queue = MessageQueue::new(TOPIC, "broker-a", 0);
    assert!(
        producer
            .send_to(message(), &queue)
            .await
            .unwrap_err()
            .is_unknown()
    );
}

#[tokio::test(start_paused = true)]
async fn a_batch_gets_consecutive_offsets_in_one_queue() {
    let cluster = Cluster::start(1, 4).await;
    let producer = producer(&cluster).await;
    let sent = producer
        .send_batch(vec![message(), message(), message()])
        .await
        .unwrap();
    assert_eq!(cluster.count(RequestCode::SEND_BATCH_MESSAGE), 1);
    let stored = cluster.stored(TOPIC);
    let offsets: Vec<_> = stored
        .iter()
        .map(|m| (m.queue_id, m.queue_offset))
        .collect();
    let queue = sent.queue.queue_id;
    assert_eq!(offsets, [(queue, 0), (queue, 1), (queue, 2)]);
    let keys: Vec<_> = stored
        .iter()
        .filter_map(|m| m.message.unique_key())
        .collect();
    assert_eq!(keys.join(","), sent.msg_id);
}

#[tokio::test(start_paused = true)]
async fn equal_keys_go_to_one_queue_and_are_not_retried_elsewhere() {
    let cluster = Cluster::start(2, 4).await;
    let producer = producer(&cluster).await;
    let first = producer
        .send_select(message(), SelectByHash("order-1"))
        .await
        .unwrap()
        .queue;
    let again = producer
        .send_select(message(), SelectByHash("order-1"))
        .await
        .unwrap()
        .queue;
    assert_eq!(first, again);
    cluster.fail(
        &first.broker_name,
        SEND,
        &[Fault::Answer(ResponseCode::SYSTEM_BUSY)],
    );
    let error = producer
        .send_select(message(), SelectByHash("order-1"))
        .await
        .unwrap_err();
    assert_eq!(error.attempts, 1);
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_failed_is_left_alone_if_latencies_are_looked_at() {
    let cluster = Cluster::start(2, 1).await;
    let builder = Producer::builder(&cluster.env)
        .namesrv([NAMESRV])
        .group("pg");
    let producer = builder.latency_fault_tolerance(true).start().await.unwrap();
    cluster.fail(
        "broker-a",
        SEND,
        &[Fault::Answer(ResponseCode::SYSTEM_BUSY); 10],
    );
    for _ in 0..10 {
        producer.send(message()).await.unwrap();
    }
    let failed = asked(&cluster)
        .iter()
        .filter(|broker| *broker == "broker-a")
        .count();
    assert_eq!(failed, 1);
}

#[tokio::test(start_paused = true)]
async fn masters_get_a_heartbeat_every_thirty_seconds() {
    let cluster = Cluster::start(2, 1).await;
    let producer = producer(&cluster).await;
    producer.send(message()).await.unwrap();
    sleep(Duration::from_millis(61_500)).await;
    assert_eq!(cluster.count(RequestCode::HEART_BEAT), 6);
    producer.shutdown().await;
    assert_eq!(cluster.count(RequestCode::UNREGISTER_CLIENT), 2);
    assert!(producer.send(message()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn clients_of_one_process_have_different_ids() {
    let cluster = Cluster::start(1, 1).await;
    let (one, two) = (producer(&cluster).await, producer(&cluster).await);
    assert_ne!(one.client_id(), two.client_id());
    let (first, second) = (
        one.send(message()).await.unwrap(),
        two.send(message()).await.unwrap(),
    );
    assert_ne!(first.msg_id, second.msg_id);
}
