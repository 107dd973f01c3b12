//! A store over the real disk, as a broker uses it.

#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod support;

use hotfire_store::{GetMessageStatus, MessageStore, PutMessageStatus};
use support::{bodies, env, message, pull, small};

#[tokio::test]
async fn what_was_put_is_read_in_order_across_many_files() {
    let dir = tempfile::tempdir().unwrap();
    let store = MessageStore::open(&env(dir.path()), small()).await.unwrap();
    for number in 0..500 {
        let put = store
            .put_message(message("T", 1, &number.to_string()))
            .await;
        assert_eq!(put.status, PutMessageStatus::PutOk);
        assert_eq!(put.append.unwrap().queue_offset, number);
    }
    let expected: Vec<_> = (0..500).map(|number| number.to_string()).collect();
    assert_eq!(bodies(&store, "T", 1, 0), expected);
    assert_eq!(
        pull(&store, "T", 1, 500).status,
        GetMessageStatus::OffsetOverflowOne
    );
}

#[tokio::test]
async fn a_store_that_was_closed_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    for life in 0..3 {
        let store = MessageStore::open(&env(dir.path()), small()).await.unwrap();
        for number in 0..100 {
            let number = life * 100 + number;
            let put = store
                .put_message(message("T", 0, &number.to_string()))
                .await;
            assert_eq!(put.append.unwrap().queue_offset, number);
        }
        store.shutdown().await.unwrap();
        assert!(!dir.path().join("store/abort").exists());
    }
    let store = MessageStore::open(&env(dir.path()), small()).await.unwrap();
    let expected: Vec<_> = (0..300).map(|number| number.to_string()).collect();
    assert_eq!(bodies(&store, "T", 0, 0), expected);
}

#[test]
fn a_store_that_was_not_closed_has_everything_that_was_put() {
    let dir = tempfile::tempdir().unwrap();
    for life in 0..3 {
        support::life(async {
            let store = MessageStore::open(&env(dir.path()), small()).await.unwrap();
            for number in 0..100 {
                let number = life * 100 + number;
                let put = store
                    .put_message(message("T", 0, &number.to_string()))
                    .await;
                assert_eq!(put.append.unwrap().queue_offset, number);
            }
        });
        assert!(dir.path().join("store/abort").exists());
    }
    support::life(async {
        let store = MessageStore::open(&env(dir.path()), small()).await.unwrap();
        let expected: Vec<_> = (0..300).map(|number| number.to_string()).collect();
        assert_eq!(bodies(&store, "T", 0, 0), expected);
    });
}
