//! Committed offsets and the offsets of queues.

use std::sync::Arc;
use std::time::Duration;

use hotfire_broker::BrokerObserver;
use hotfire_protocol::header::offset::{
    GetEarliestMsgStoretimeRequestHeader, GetMaxOffsetRequestHeader, GetMinOffsetRequestHeader,
    QueryConsumerOffsetRequestHeader, SearchOffsetRequestHeader,
};
use hotfire_protocol::header::query::{QueryMessageRequestHeader, ViewMessageRequestHeader};
use hotfire_protocol::{RequestCode, ResponseCode};
use hotfire_store::{RecordView, StoreObserver};
use parking_lot::Mutex;
use tokio::time::sleep;

use crate::support::{self, GROUP, Stack, TOPIC, bodies, number, order};

#[tokio::test(start_paused = true)]
async fn a_commit_is_a_blind_overwrite() {
    let stack = Stack::start().await;
    for offset in [5, 9, 2] {
        assert_eq!(stack.peer.commit(offset).await.code, 0);
        assert_eq!(number(&stack.peer.committed().await, "offset"), offset);
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_group_starts_at_zero_while_the_first_message_is_there() {
    let stack = Stack::start().await;
    stack.peer.send_ok(&order("one")).await;
    assert_eq!(number(&stack.peer.committed().await, "offset"), 0);
    let header = QueryConsumerOffsetRequestHeader {
        consumer_group: GROUP.to_owned(),
        topic: TOPIC.to_owned(),
        set_zero_if_not_found: Some(false),
        ..QueryConsumerOffsetRequestHeader::default()
    };
    let response = stack
        .peer
        .ask(RequestCode::QUERY_CONSUMER_OFFSET, &header)
        .await;
    assert_eq!(response.code, ResponseCode::QUERY_NOT_FOUND.0);
}

#[tokio::test(start_paused = true)]
async fn offsets_are_on_the_disk_within_five_seconds() {
    let stack = Stack::start().await;
    sleep(Duration::from_secs(12)).await;
    stack.peer.commit(3).await;
    sleep(Duration::from_secs(5)).await;
    let file = stack
        .env
        .disk()
        .read("store/config/consumerOffset.json")
        .unwrap();
    assert_eq!(
        String::from_utf8(file).unwrap(),
        "{\n\t\"offsetTable\":{\n\t\t\"orders@readers\":{0:3\n\t\t}\n\t}\n}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_torn_offset_file_falls_back_to_its_backup() {
    let stack = Stack::start().await;
    stack.peer.commit(3).await;
    sleep(Duration::from_secs(30)).await;
    stack.broker.shutdown().await;
    let disk = stack.env.disk().clone();
    disk.write("store/config/consumerOffset.json", b"{\n\t\"offs")
        .unwrap();
    disk.write("store/config/topics.json", b"").unwrap();
    disk.write("store/config/topics.json.bak", b"\0\0\0")
        .unwrap();
    let stack = stack.start_again().await;
    assert_eq!(number(&stack.peer.committed().await, "offset"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_queue_knows_its_bounds_and_times() {
    let stack = Stack::start().await;
    let mut stored_at = Vec::new();
    for body in ["one", "two", "three"] {
        stored_at.push(stack.env.now_ms());
        stack.peer.send_ok(&order(body)).await;
        sleep(Duration::from_secs(1)).await;
    }
    let topic = TOPIC.to_owned();
    let max = GetMaxOffsetRequestHeader {
        topic: topic.clone(),
        ..Default::default()
    };
    let min = GetMinOffsetRequestHeader {
        topic: topic.clone(),
        ..Default::default()
    };
    let earliest = GetEarliestMsgStoretimeRequestHeader {
        topic: topic.clone(),
        ..Default::default()
    };
    let offset = |response| number(&response, "offset");
    assert_eq!(
        offset(stack.peer.ask(RequestCode::GET_MAX_OFFSET, &max).await),
        3
    );
    assert_eq!(
        offset(stack.peer.ask(RequestCode::GET_MIN_OFFSET, &min).await),
        0
    );
    let response = stack
        .peer
        .ask(RequestCode::GET_EARLIEST_MSG_STORETIME, &earliest)
        .await;
    assert_eq!(number(&response, "timestamp"), stored_at[0]);
    for (timestamp, expected) in [
        (0, 0),
        (stored_at[1], 1),
        (stored_at[1] + 10, 1),
        (i64::MAX, 2),
    ] {
        let topic = topic.clone();
        let search = SearchOffsetRequestHeader {
            topic,
            timestamp,
            ..Default::default()
        };
        let response = stack
            .peer
            .ask(RequestCode::SEARCH_OFFSET_BY_TIMESTAMP, &search)
            .await;
        assert_eq!(offset(response), expected, "{timestamp}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_queue_has_no_messages() {
    let stack = Stack::start().await;
    let topic = "nothing".to_owned();
    let max = GetMaxOffsetRequestHeader {
        topic: topic.clone(),
        ..Default::default()
    };
    let response = stack.peer.ask(RequestCode::GET_MAX_OFFSET, &max).await;
    assert_eq!((response.code, number(&response, "offset")), (0, 0));
    let earliest = GetEarliestMsgStoretimeRequestHeader {
        topic,
        ..Default::default()
    };
    let response = stack
        .peer
        .ask(RequestCode::GET_EARLIEST_MSG_STORETIME, &earliest)
        .await;
    assert_eq!(number(&response, "timestamp"), -1);
}

#[tokio::test(start_paused = true)]
async fn a_message_is_found_by_its_id_and_its_keys() {
    let stack = Stack::start().await;
    stack.peer.send_ok(&order("other")).await;
    stack.peer.send_ok(&order("wanted").with_key("k1 k2")).await;
    let offset = stack.peer.read(TOPIC, 1).await[0].commit_log_offset;
    let view = ViewMessageRequestHeader { offset };
    assert_eq!(
        bodies(&stack.peer.ask(RequestCode::VIEW_MESSAGE_BY_ID, &view).await),
        ["wanted"]
    );
    let query = |key: &str| QueryMessageRequestHeader {
        topic: TOPIC.to_owned(),
        key: key.to_owned(),
        max_num: 10,
        end_timestamp: i64::MAX,
        ..QueryMessageRequestHeader::default()
    };
    let found = stack
        .peer
        .ask(RequestCode::QUERY_MESSAGE, &query("k2"))
        .await;
    assert_eq!(bodies(&found), ["wanted"]);
    assert_eq!(number(&found, "indexLastUpdatePhyoffset"), offset);
    let missing = stack
        .peer
        .ask(RequestCode::QUERY_MESSAGE, &query("k3"))
        .await;
    assert_eq!(missing.code, ResponseCode::QUERY_NOT_FOUND.0);
}

#[derive(Default)]
struct Audit(Mutex<Vec<String>>);

impl StoreObserver for Audit {
    fn appended(&self, record: &RecordView<'_>) {
        self.0
            .lock()
            .push(format!("appended {} {}", record.topic, record.queue_offset));
    }
}

impl BrokerObserver for Audit {
    fn offset_committed(&self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        self.0
            .lock()
            .push(format!("{group} at {topic} {queue_id} {offset}"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_sees_appends_and_commits() {
    let audit = Arc::new(Audit::default());
    let stack = Stack::start_with(support::config(), Some(audit.clone())).await;
    stack.peer.send_ok(&order("one")).await;
    stack.peer.commit(1).await;
    assert_eq!(
        *audit.0.lock(),
        ["appended orders 0", "readers at orders 0 1"]
    );
}
