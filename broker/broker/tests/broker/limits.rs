//! A response never exceeds a frame: fewer messages instead, and nothing is hidden that was not
//! given.

use hotfire_broker::BrokerConfig;
use hotfire_protocol::header::pop::{PeekMessageRequestHeader, PopMessageRequestHeader};
use hotfire_protocol::header::query::QueryMessageRequestHeader;
use hotfire_protocol::header::topic::CreateTopicRequestHeader;
use hotfire_protocol::{RequestCode, ResponseCode};

use crate::support::{self, GROUP, Stack, TOPIC, messages, number, order, send_request};

fn config() -> BrokerConfig {
    let mut config = support::config();
    config.store.commit_log_file_size = 32 << 20;
    config
}

/// A topic whose queues have one message each of so many bytes.
async fn filled(queues: i32, bytes: usize) -> Stack {
    let stack = Stack::start_with(config(), None).await;
    let header = CreateTopicRequestHeader {
        topic: TOPIC.to_owned(),
        default_topic: "TBW102".to_owned(),
        read_queue_nums: queues,
        write_queue_nums: queues,
        perm: 6,
        topic_filter_type: "SINGLE_TAG".to_owned(),
        ..CreateTopicRequestHeader::default()
    };
    let code = RequestCode::UPDATE_AND_CREATE_TOPIC;
    assert_eq!(stack.peer.ask(code, &header).await.code, 0);
    let message = order(&"b".repeat(bytes)).with_key("k");
    for queue_id in 0..queues {
        let response = stack.peer.invoke(send_request(&message, queue_id)).await;
        assert_eq!(response.code, 0, "{response:?}");
    }
    stack
}

fn pop_header() -> PopMessageRequestHeader {
    PopMessageRequestHeader {
        consumer_group: GROUP.to_owned(),
        topic: TOPIC.to_owned(),
        queue_id: -1,
        max_msg_nums: 32,
        invisible_time: 600_000,
        ..PopMessageRequestHeader::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_pop_of_many_queues_gives_what_fits_and_hides_no_more() {
    for (queues, bytes) in [(32, 600_000), (8, 3 << 20)] {
        let stack = filled(queues, bytes).await;
        let mut popped = Vec::new();
        while popped.len() < queues as usize {
            let code = RequestCode::POP_MESSAGE;
            let response = stack.peer.ask(code, &pop_header()).await;
            assert_eq!(response.code, 0, "{:?}", response.remark);
            let found = messages(&response);
            popped.extend(found.iter().map(|message| message.queue_id));
            let left = queues as usize - popped.len();
            assert_eq!(number(&response, "restNum"), left as i64);
        }
        popped.sort_unstable();
        assert_eq!(popped, (0..queues).collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn a_query_answers_the_newest_messages_that_fit() {
    let stack = filled(6, 4 << 20).await;
    let header = QueryMessageRequestHeader {
        topic: TOPIC.to_owned(),
        key: "k".to_owned(),
        max_num: 64,
        end_timestamp: i64::MAX,
        ..QueryMessageRequestHeader::default()
    };
    let code = RequestCode::QUERY_MESSAGE;
    let response = stack.peer.ask(code, &header).await;
    assert_eq!(response.code, 0, "{:?}", response.remark);
    let queues: Vec<_> = messages(&response).iter().map(|m| m.queue_id).collect();
    assert_eq!(queues, [3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn a_look_without_taking_answers_what_fits() {
    let stack = filled(6, 4 << 20).await;
    let header = PeekMessageRequestHeader {
        consumer_group: GROUP.to_owned(),
        topic: TOPIC.to_owned(),
        queue_id: -1,
        max_msg_nums: 32,
    };
    let code = RequestCode::PEEK_MESSAGE;
    let response = stack.peer.ask(code, &header).await;
    assert_eq!(response.code, 0, "{:?}", response.remark);
    assert_eq!(messages(&response).len(), 3);
    assert_eq!(number(&response, "restNum"), 6);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_no_response_could_hold_is_refused_whatever_is_configured() {
    let mut config = config();
    config.store.max_message_size = 1 << 30;
    let stack = Stack::start_with(config, None).await;
    let most = (16 << 20) - (256 << 10);
    let response = stack.peer.send(&order(&"b".repeat(most + 1))).await;
    assert_eq!(response.code, ResponseCode::MESSAGE_ILLEGAL.0);
    stack.peer.send_ok(&order(&"b".repeat(most))).await;
    assert_eq!(stack.peer.read(TOPIC, 0).await.len(), 1);
    let response = stack
        .peer
        .ask(RequestCode::POP_MESSAGE, &pop_header())
        .await;
    assert_eq!(messages(&response).len(), 1);
}
