//! Batches, and bodies that travel compressed.

use hotfire_client::{CompressionType, Producer, PullStatus};
use hotfire_protocol::{Message, MessageExt};

use crate::stack::*;

/// Everything that the topic holds, queue by queue.
async fn stored(stack: &Stack) -> Vec<MessageExt> {
    let admin = stack.admin();
    let mut messages = Vec::new();
    for queue in admin.fetch_subscribe_queues(TOPIC).await.unwrap() {
        let mut offset = 0;
        loop {
            let pulled = admin
                .pull("readers", &queue, "*", offset, 32, None)
                .await
                .unwrap();
            offset = pulled.next_begin_offset;
            if pulled.status != PullStatus::Found {
                break;
            }
            messages.extend(pulled.messages);
        }
    }
    messages
}

#[tokio::test(start_paused = true)]
async fn messages_beyond_the_size_of_a_batch_are_split_and_all_stored() {
    let stack = Stack::start(1).await;
    let producer = Producer::builder(&stack.env)
        .namesrv([NAMESRV])
        .group("writers")
        .max_message_size(100_000)
        .start()
        .await
        .unwrap();
    let messages: Vec<_> = (0..100u8)
        .map(|at| Message::new(TOPIC, vec![at; 5_000]))
        .collect();
    let sent = producer.send_batches(messages).await.unwrap();
    assert!(sent.len() >= 5, "{} batches", sent.len());
    let mut bodies: Vec<_> = stored(&stack)
        .await
        .into_iter()
        .map(|message| message.message.body[0])
        .collect();
    bodies.sort_unstable();
    assert_eq!(bodies, (0..100u8).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_body_comes_out_as_it_went_in_however_it_is_compressed() {
    for compression in [
        CompressionType::Zlib,
        CompressionType::Lz4,
        CompressionType::Zstd,
    ] {
        let stack = Stack::start(1).await;
        let producer = Producer::builder(&stack.env)
            .namesrv([NAMESRV])
            .group("writers")
            .compression(compression)
            .start()
            .await
            .unwrap();
        let body = b"all work and no play ".repeat(1000);
        producer
            .send(Message::new(TOPIC, body.clone()))
            .await
            .unwrap();
        let stored = stored(&stack).await;
        assert_eq!(stored[0].message.body, body, "{compression:?}");
        assert!(stored[0].store_size < 2000, "{compression:?}");
    }
}
