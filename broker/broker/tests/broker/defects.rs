//! The planted defects of the broker do what they are planted for.

use std::sync::Arc;

use hotfire_env::real::{RealDisk, TokioSpawner};
use hotfire_env::{Defect, Defects, Env, Seams, SeededEntropy};
use hotfire_protocol::RequestCode;
use tokio::time::{Duration, sleep};

use crate::support::{self, Stack, TOPIC, memory, number, order, pull_header};

async fn with(defect: Defect) -> Stack {
    let folder = tempfile::tempdir().unwrap();
    let network = memory::MemoryNetwork::default();
    let env = Env::new(Seams {
        clock: memory::env(&network, folder.path()).clock().clone(),
        network: Arc::new(network),
        disk: Arc::new(RealDisk::new(folder.path())),
        entropy: Arc::new(SeededEntropy::new(1)),
        spawner: Arc::new(TokioSpawner::default()),
        process_id: 1,
        defects: Defects::NONE.with(defect),
    });
    Stack::start_in(env, folder, support::config(), None).await
}

#[tokio::test(start_paused = true)]
async fn ack_before_append_acknowledges_messages_that_are_not_there() {
    let stack = with(Defect::AckBeforeAppend).await;
    for at in 0..100 {
        stack.peer.send_ok(&order(&at.to_string())).await;
    }
    let response = stack.peer.pull(TOPIC, 0, "*").await;
    assert_eq!(number(&response, "maxOffset"), 98);
}

/// Reads a queue of 100 messages in steps of five, and says how often the next offset was not the
/// one behind the last message.
async fn odd_steps(stack: &Stack) -> usize {
    for at in 0..100 {
        stack.peer.send_ok(&order(&at.to_string())).await;
    }
    let (mut odd, mut at) = (0, 0);
    while at < 100 {
        let mut header = pull_header(TOPIC, at, "*");
        header.max_msg_nums = 5;
        let response = stack.peer.ask(RequestCode::PULL_MESSAGE, &header).await;
        let behind = support::messages(&response).last().unwrap().queue_offset + 1;
        at = number(&response, "nextBeginOffset");
        odd += usize::from(at != behind);
    }
    odd
}

#[tokio::test(start_paused = true)]
async fn pull_skips_leaves_messages_out() {
    assert_eq!(odd_steps(&with(Defect::PullSkips).await).await, 1);
}

#[tokio::test(start_paused = true)]
async fn pull_goes_back_serves_messages_again() {
    assert_eq!(odd_steps(&with(Defect::PullGoesBack).await).await, 1);
}

#[tokio::test(start_paused = true)]
async fn forget_offsets_starts_without_commits() {
    let stack = with(Defect::ForgetOffsets).await;
    stack.peer.commit(5).await;
    let stack = stack.restart().await;
    assert_eq!(number(&stack.peer.committed().await, "offset"), 0);
}

#[tokio::test(start_paused = true)]
async fn retry_at_once_redelivers_without_delay() {
    let stack = with(Defect::RetryAtOnce).await;
    stack.peer.send_ok(&order("x")).await;
    let failed = stack.peer.read(TOPIC, 0).await.remove(0);
    stack.peer.send_back(&failed, 0).await;
    assert_eq!(stack.peer.read("%RETRY%readers", 0).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn drop_exhausted_leaves_the_dead_letter_queue_empty() {
    let stack = with(Defect::DropExhausted).await;
    stack.peer.send_ok(&order("x")).await;
    let failed = stack.peer.read(TOPIC, 0).await.remove(0);
    assert_eq!(stack.peer.send_back(&failed, -1).await.code, 0);
    sleep(Duration::from_secs(1)).await;
    assert!(stack.peer.read("%DLQ%readers", 0).await.is_empty());
}
