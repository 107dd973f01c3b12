//! What is left of a topic or a group that was deleted: nothing.

use std::time::Duration;

use hotfire_broker::BrokerConfig;
use hotfire_metrics::MetricsExporterType;
use hotfire_protocol::body::{ConsumerData, HeartbeatData};
use hotfire_protocol::body::{
    LockBatchRequestBody, MessageRequestMode, SetMessageRequestModeRequestBody, SubscriptionData,
};
use hotfire_protocol::header::admin::DeleteSubscriptionGroupRequestHeader;
use hotfire_protocol::header::client::ResetOffsetRequestHeader;
use hotfire_protocol::header::offset::{
    QueryConsumerOffsetRequestHeader, UpdateConsumerOffsetRequestHeader,
};
use hotfire_protocol::header::pop::PopMessageRequestHeader;
use hotfire_protocol::header::topic::DeleteTopicRequestHeader;
use hotfire_protocol::{Message, MessageQueue, RemotingCommand, RequestCode, ResponseCode};
use tokio::time::sleep;

use crate::support::{self, Stack, bodies, number};

/// Names that nothing else contains.
const TOPIC: &str = "xyzzytopic";
const GROUP: &str = "plughgroup";

fn config() -> BrokerConfig {
    BrokerConfig {
        use_server_side_reset_offset: true,
        enable_property_filter: true,
        ..support::config()
    }
}

async fn send(stack: &Stack, count: usize) {
    for _ in 0..count {
        stack.peer.send_ok(&Message::new(TOPIC, "x")).await;
    }
}

async fn pop(stack: &Stack, order: bool) -> RemotingCommand {
    let header = PopMessageRequestHeader {
        consumer_group: GROUP.to_owned(),
        topic: TOPIC.to_owned(),
        queue_id: 0,
        max_msg_nums: 1,
        invisible_time: 20_000,
        born_time: stack.env.now_ms(),
        order: Some(order),
        ..PopMessageRequestHeader::default()
    };
    stack.peer.ask(RequestCode::POP_MESSAGE, &header).await
}

async fn reset(stack: &Stack) {
    let header = ResetOffsetRequestHeader {
        topic: TOPIC.to_owned(),
        group: GROUP.to_owned(),
        timestamp: -1,
        is_force: Some(true),
        ..ResetOffsetRequestHeader::default()
    };
    let response = stack
        .peer
        .ask(RequestCode::INVOKE_BROKER_TO_RESET_OFFSET, &header)
        .await;
    assert_eq!(response.code, 0, "{response:?}");
}

/// Leaves something of the topic and the group in every table that there is.
async fn fill(stack: &Stack) {
    send(stack, 10).await;
    let heartbeat = HeartbeatData {
        client_id: "c1".to_owned(),
        consumer_data_set: vec![ConsumerData {
            group_name: GROUP.to_owned(),
            subscription_data_set: vec![SubscriptionData::sql(TOPIC, "a = 1", 1)]
                .into_iter()
                .collect(),
            ..ConsumerData::default()
        }],
        producer_data_set: Vec::new(),
    };
    let request = RemotingCommand::request(RequestCode::HEART_BEAT);
    let response = stack
        .peer
        .invoke(request.with_body(heartbeat.to_json()))
        .await;
    assert_eq!(response.code, 0);
    let commit = UpdateConsumerOffsetRequestHeader {
        consumer_group: GROUP.to_owned(),
        topic: TOPIC.to_owned(),
        queue_id: 0,
        commit_offset: 1,
        broker_name: None,
    };
    let committed = stack
        .peer
        .ask(RequestCode::UPDATE_CONSUMER_OFFSET, &commit)
        .await;
    assert_eq!(committed.code, 0);
    assert_eq!(pop(stack, true).await.code, 0);
    let mode = SetMessageRequestModeRequestBody {
        consumer_group: GROUP.to_owned(),
        mode: MessageRequestMode::Pop,
        pop_share_queue_num: 2,
        topic: TOPIC.to_owned(),
    };
    let request = RemotingCommand::request(RequestCode::SET_MESSAGE_REQUEST_MODE);
    let set = stack.peer.invoke(request.with_body(mode.to_json())).await;
    assert_eq!(set.code, 0, "{set:?}");
    assert_eq!(lock(stack, "c1").await, 1);
    let timed = Message::new(TOPIC, "late").with_property("TIMER_DELAY_SEC", "3000");
    stack.peer.send_ok(&timed).await;
    reset(stack).await;
    sleep(Duration::from_secs(70)).await;
}

/// How many queues of the topic a member of the group has locked.
async fn lock(stack: &Stack, client_id: &str) -> usize {
    let body = LockBatchRequestBody {
        client_id: client_id.to_owned(),
        consumer_group: GROUP.to_owned(),
        mq_set: [MessageQueue::new(TOPIC, "broker-a", 0)]
            .into_iter()
            .collect(),
    };
    let request = RemotingCommand::request(RequestCode::LOCK_BATCH_MQ);
    let response = stack.peer.invoke(request.with_body(body.to_json())).await;
    let text = String::from_utf8_lossy(&response.body).into_owned();
    text.matches(TOPIC).count()
}

async fn delete_topic(stack: &Stack) {
    let header = DeleteTopicRequestHeader {
        topic: TOPIC.to_owned(),
    };
    let code = RequestCode::DELETE_TOPIC_IN_BROKER;
    assert_eq!(stack.peer.ask(code, &header).await.code, 0);
}

async fn delete_group(stack: &Stack, clean_offset: bool) {
    let header = DeleteSubscriptionGroupRequestHeader {
        group_name: GROUP.to_owned(),
        remove_offset: None,
        clean_offset: Some(clean_offset),
    };
    let code = RequestCode::DELETE_SUBSCRIPTIONGROUP;
    assert_eq!(stack.peer.ask(code, &header).await.code, 0);
}

/// The files of tables that contain a name.
fn files_with(stack: &Stack, name: &str) -> Vec<String> {
    let disk = stack.env.disk();
    let files = disk.list("store/config").unwrap().into_iter();
    files
        .map(|entry| entry.name)
        .filter(|file| !file.contains(".bak") && !file.starts_with("timer"))
        .chain(["timermetrics".to_owned()])
        .filter(|file| {
            let content = disk
                .read(&format!("store/config/{file}"))
                .unwrap_or_default();
            String::from_utf8_lossy(&content).contains(name)
        })
        .collect()
}

async fn offset(stack: &Stack) -> RemotingCommand {
    let header = QueryConsumerOffsetRequestHeader {
        consumer_group: GROUP.to_owned(),
        topic: TOPIC.to_owned(),
        queue_id: 0,
        ..QueryConsumerOffsetRequestHeader::default()
    };
    stack
        .peer
        .ask(RequestCode::QUERY_CONSUMER_OFFSET, &header)
        .await
}

#[tokio::test(start_paused = true)]
async fn no_table_names_a_topic_that_was_deleted() {
    let stack = Stack::start_with(config(), None).await;
    fill(&stack).await;
    let filled = files_with(&stack, TOPIC);
    for file in [
        "topics.json",
        "consumerOffset.json",
        "consumerFilter.json",
        "consumerOrderInfo.json",
        "messageRequestMode.json",
        "timermetrics",
    ] {
        assert!(
            filled.iter().any(|filled| filled == file),
            "{file} is not filled: {filled:?}"
        );
    }
    delete_topic(&stack).await;
    sleep(Duration::from_secs(70)).await;
    assert_eq!(files_with(&stack, TOPIC), Vec::<String>::new());
    send(&stack, 1).await;
    assert_eq!(lock(&stack, "c1").await, 1);
    assert_eq!(lock(&stack, "c2").await, 0);
    delete_topic(&stack).await;
    send(&stack, 1).await;
    assert_eq!(lock(&stack, "c2").await, 1, "the lock went with the topic");
}

#[tokio::test(start_paused = true)]
async fn a_new_topic_of_a_deleted_ones_name_is_read_from_its_begin() {
    let stack = Stack::start_with(config(), None).await;
    fill(&stack).await;
    delete_topic(&stack).await;
    send(&stack, 20).await;
    assert_eq!(number(&offset(&stack).await, "offset"), 0);
    let mut header = support::pull_header(TOPIC, 0, "*");
    header.consumer_group = GROUP.to_owned();
    let pulled = stack.peer.ask(RequestCode::PULL_MESSAGE, &header).await;
    assert_eq!(bodies(&pulled).len(), 20, "{pulled:?}");
    assert_eq!(pop(&stack, true).await.code, 0, "nothing is hidden");
}

#[tokio::test(start_paused = true)]
async fn no_table_names_a_group_that_was_deleted_with_its_offsets() {
    let mut stack = Stack::start_with(config(), None).await;
    fill(&stack).await;
    // Its members go first.
    stack.peer.client.shutdown();
    stack.peer = stack.another_peer();
    sleep(Duration::from_secs(1)).await;
    delete_group(&stack, true).await;
    sleep(Duration::from_secs(70)).await;
    let mut left = files_with(&stack, GROUP);
    // Its retry topic is deleted by a request of its own.
    left.retain(|file| file != "topics.json");
    assert_eq!(left, Vec::<String>::new());
    assert_eq!(
        number(&offset(&stack).await, "offset"),
        0,
        "no reset is left"
    );
}

#[tokio::test(start_paused = true)]
async fn a_deleted_group_keeps_its_offsets_unless_they_are_deleted_too() {
    let stack = Stack::start().await;
    send(&stack, 3).await;
    stack.peer.commit(3).await;
    let mut header = UpdateConsumerOffsetRequestHeader {
        consumer_group: GROUP.to_owned(),
        topic: TOPIC.to_owned(),
        queue_id: 0,
        commit_offset: 2,
        broker_name: None,
    };
    stack
        .peer
        .ask(RequestCode::UPDATE_CONSUMER_OFFSET, &header)
        .await;
    delete_group(&stack, false).await;
    assert_eq!(number(&offset(&stack).await, "offset"), 2);
    header.commit_offset = 1;
    delete_group(&stack, true).await;
    assert_eq!(number(&offset(&stack).await, "offset"), 0);
}

#[tokio::test(start_paused = true)]
async fn popped_messages_of_a_deleted_topic_do_not_come_again() {
    let stack = Stack::start().await;
    send(&stack, 1).await;
    assert_eq!(pop(&stack, false).await.code, 0);
    delete_topic(&stack).await;
    send(&stack, 2).await;
    sleep(Duration::from_secs(40)).await;
    let request = RemotingCommand::request(RequestCode::GET_ALL_TOPIC_CONFIG);
    let topics = stack.peer.invoke(request).await.body;
    let topics = String::from_utf8_lossy(&topics).into_owned();
    assert!(
        !topics.contains("%RETRY%plughgroup_xyzzytopic"),
        "nothing was revived"
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_deleted_topic_or_group_is_answered_at_once() {
    let stack = Stack::start().await;
    send(&stack, 1).await;
    let wait = |topic: &str, group: &str| {
        let mut header = support::pull_header(topic, 1, "*");
        header.sys_flag |= hotfire_protocol::header::pull::sys_flag::SUSPEND;
        header.consumer_group = group.to_owned();
        let peer = stack.another_peer();
        async move { peer.ask(RequestCode::PULL_MESSAGE, &header).await }
    };
    let started = tokio::time::Instant::now();
    let deleting = async {
        sleep(Duration::from_secs(1)).await;
        delete_group(&stack, false).await;
        sleep(Duration::from_secs(1)).await;
        delete_topic(&stack).await;
    };
    let (group, topic, ()) = tokio::join!(wait(TOPIC, GROUP), wait(TOPIC, "others"), deleting);
    assert_eq!(group.code, ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST.0);
    assert_eq!(topic.code, ResponseCode::TOPIC_NOT_EXIST.0);
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[tokio::test(start_paused = true)]
async fn the_figures_of_deleted_topics_end() {
    let mut config = config();
    config.metrics.exporter = MetricsExporterType::Prom;
    config.metrics.port = 0;
    let stack = Stack::start_with(config, None).await;
    fill(&stack).await;
    assert!(
        crate::metrics::metrics(&stack)
            .await
            .iter()
            .any(|line| line.contains(TOPIC))
    );
    delete_topic(&stack).await;
    let mut left = crate::metrics::metrics(&stack).await;
    left.retain(|line| line.contains(TOPIC));
    assert_eq!(left, Vec::<String>::new());
}
