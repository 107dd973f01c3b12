//! The planted defects do what they say, and only when they are switched on.

#![cfg(feature = "defects")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use hotfire_env::{Defect, Defects, Env, Seams};
use hotfire_store::MessageStore;
use support::{bodies, message, small};

async fn bodies_with(defects: Defects) -> (Vec<String>, Vec<i64>) {
    let dir = tempfile::tempdir().unwrap();
    let env = Env::new(Seams {
        defects,
        ..support::seams(dir.path())
    });
    let store = MessageStore::open(&env, small()).await.unwrap();
    let mut offsets = Vec::new();
    for number in 0..1000 {
        let put = store
            .put_message(message("T", 0, &number.to_string()))
            .await;
        offsets.push(put.append.unwrap().queue_offset);
    }
    (bodies(&store, "T", 0, 0), offsets)
}

fn sent() -> Vec<String> {
    (0..1000).map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn without_defects_nothing_is_wrong() {
    let (bodies, offsets) = bodies_with(Defects::NONE).await;
    assert_eq!(bodies, sent());
    assert!(offsets.into_iter().eq(0..1000));
}

#[tokio::test]
async fn append_twice_stores_some_messages_twice() {
    let (mut bodies, _) = bodies_with(Defects::NONE.with(Defect::AppendTwice)).await;
    assert!((1005..1050).contains(&bodies.len()), "{}", bodies.len());
    bodies.dedup();
    assert_eq!(bodies, sent());
}

#[tokio::test]
async fn garble_body_stores_some_bodies_that_were_not_sent() {
    let (bodies, _) = bodies_with(Defects::NONE.with(Defect::GarbleBody)).await;
    let wrong = bodies.iter().zip(sent()).filter(|(a, b)| *a != b).count();
    assert!((5..50).contains(&wrong), "{wrong}");
}

#[tokio::test]
async fn wrong_queue_offset_reports_some_neighbours() {
    let (bodies, offsets) = bodies_with(Defects::NONE.with(Defect::WrongQueueOffset)).await;
    assert_eq!(bodies, sent());
    let wrong = offsets
        .iter()
        .zip(0..)
        .filter(|(a, b)| **a == b + 1)
        .count();
    assert!((5..50).contains(&wrong), "{wrong}");
}
