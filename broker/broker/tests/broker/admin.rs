//! What administrators can do.

use hotfire_protocol::body::{
    ConsumeStats, KVTable, SubscriptionGroupWrapper, TopicConfigSerializeWrapper, TopicStatsTable,
};
use hotfire_protocol::header::admin::{
    DeleteSubscriptionGroupRequestHeader, GetConsumeStatsRequestHeader,
};
use hotfire_protocol::header::topic::{
    CreateTopicRequestHeader, DeleteTopicRequestHeader, GetTopicStatsInfoRequestHeader,
};
use hotfire_protocol::{MessageQueue, RemotingCommand, RequestCode, ResponseCode};

use crate::support::{GROUP, Stack, TOPIC, bodies, order};

fn create(topic: &str) -> CreateTopicRequestHeader {
    CreateTopicRequestHeader {
        topic: topic.to_owned(),
        read_queue_nums: 2,
        write_queue_nums: 2,
        perm: 6,
        topic_filter_type: "SINGLE_TAG".to_owned(),
        ..CreateTopicRequestHeader::default()
    }
}

async fn topics(stack: &Stack) -> TopicConfigSerializeWrapper {
    let request = RemotingCommand::request(RequestCode::GET_ALL_TOPIC_CONFIG);
    TopicConfigSerializeWrapper::from_json(&stack.peer.invoke(request).await.body).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_created_topic_is_there_and_survives_a_restart() {
    let stack = Stack::start().await;
    let code = RequestCode::UPDATE_AND_CREATE_TOPIC;
    assert_eq!(stack.peer.ask(code, &create(TOPIC)).await.code, 0);
    let stack = stack.restart().await;
    let topics = topics(&stack).await;
    assert_eq!(topics.topic_config_table[TOPIC].write_queue_nums, 2);
    assert_eq!(topics.data_version.counter, 1);
}

#[tokio::test(start_paused = true)]
async fn a_system_topic_can_neither_be_changed_nor_deleted() {
    let stack = Stack::start().await;
    for topic in [
        "TBW102",
        "DefaultCluster",
        "broker-a",
        "rmq_sys_x",
        "SCHEDULE_TOPIC_XXXX",
    ] {
        let code = RequestCode::UPDATE_AND_CREATE_TOPIC;
        let response = stack.peer.ask(code, &create(topic)).await;
        assert_eq!(response.code, ResponseCode::SYSTEM_ERROR.0, "{topic}");
        let header = DeleteTopicRequestHeader {
            topic: topic.to_owned(),
        };
        let response = stack
            .peer
            .ask(RequestCode::DELETE_TOPIC_IN_BROKER, &header)
            .await;
        assert_eq!(response.code, ResponseCode::SYSTEM_ERROR.0, "{topic}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_topic_comes_back_empty() {
    let stack = Stack::start().await;
    stack.peer.send_ok(&order("old")).await;
    let header = DeleteTopicRequestHeader {
        topic: TOPIC.to_owned(),
    };
    assert_eq!(
        stack
            .peer
            .ask(RequestCode::DELETE_TOPIC_IN_BROKER, &header)
            .await
            .code,
        0
    );
    assert_eq!(
        stack.peer.pull(TOPIC, 0, "*").await.code,
        ResponseCode::TOPIC_NOT_EXIST.0
    );
    stack.peer.send_ok(&order("new")).await;
    assert_eq!(bodies(&stack.peer.pull(TOPIC, 0, "*").await), ["new"]);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_group_can_take_its_offsets_along() {
    let stack = Stack::start().await;
    stack.peer.subscribe("c1", GROUP, &[(TOPIC, "*")]).await;
    stack.peer.commit(3).await;
    let header = DeleteSubscriptionGroupRequestHeader {
        group_name: GROUP.to_owned(),
        remove_offset: None,
        clean_offset: Some(true),
    };
    assert_eq!(
        stack
            .peer
            .ask(RequestCode::DELETE_SUBSCRIPTIONGROUP, &header)
            .await
            .code,
        0
    );
    let request = RemotingCommand::request(RequestCode::GET_ALL_SUBSCRIPTIONGROUP_CONFIG);
    let groups = stack.peer.invoke(request).await.body;
    let groups = SubscriptionGroupWrapper::from_json(&groups).unwrap();
    assert!(!groups.subscription_group_table.contains_key(GROUP));
    let request = RemotingCommand::request(RequestCode::GET_ALL_CONSUMER_OFFSET);
    assert_eq!(
        stack.peer.invoke(request).await.body,
        "{\"offsetTable\":{}}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_progress_of_a_group_is_shown() {
    let stack = Stack::start().await;
    for body in ["one", "two"] {
        stack.peer.send_ok(&order(body)).await;
    }
    stack.peer.commit(1).await;
    let header = GetConsumeStatsRequestHeader {
        consumer_group: GROUP.to_owned(),
        topic: None,
    };
    let response = stack
        .peer
        .ask(RequestCode::GET_CONSUME_STATS, &header)
        .await;
    let stats = ConsumeStats::from_json(&response.body).unwrap();
    let queue = &stats.offset_table[&MessageQueue::new(TOPIC, "broker-a", 0)];
    assert_eq!((queue.broker_offset, queue.consumer_offset), (2, 1));
    let header = GetTopicStatsInfoRequestHeader {
        topic: TOPIC.to_owned(),
    };
    let response = stack
        .peer
        .ask(RequestCode::GET_TOPIC_STATS_INFO, &header)
        .await;
    let stats = TopicStatsTable::from_json(&response.body).unwrap();
    assert_eq!(stats.offset_table.len(), 4);
    assert_eq!(
        stats.offset_table[&MessageQueue::new(TOPIC, "broker-a", 0)].max_offset,
        2
    );
}

#[tokio::test(start_paused = true)]
async fn settings_can_be_read_and_changed() {
    let stack = Stack::start().await;
    let update = |text: &'static str| {
        let request = RemotingCommand::request(RequestCode::UPDATE_BROKER_CONFIG);
        stack.peer.invoke(request.with_body(text))
    };
    assert_eq!(
        update("autoCreateTopicEnable=maybe").await.code,
        ResponseCode::SYSTEM_ERROR.0
    );
    assert_eq!(update("regionId=Moon").await.code, 0);
    let request = RemotingCommand::request(RequestCode::GET_BROKER_CONFIG);
    let response = stack.peer.invoke(request).await;
    assert!(String::from_utf8_lossy(&response.body).contains("regionId=Moon\n"));
    let response = stack.peer.send_ok(&order("x")).await;
    assert_eq!(response.ext.get("MSG_REGION"), Some("Moon"));
}

#[tokio::test(start_paused = true)]
async fn runtime_figures_are_a_table() {
    let stack = Stack::start().await;
    stack.peer.send_ok(&order("x").with_delay_level(2)).await;
    let request = RemotingCommand::request(RequestCode::GET_BROKER_RUNTIME_INFO);
    let table = KVTable::from_json(&stack.peer.invoke(request).await.body)
        .unwrap()
        .table;
    assert_eq!(table["brokerVersion"], "409");
    assert_eq!(table["scheduleMessageOffset_2"], "0,1");
}

#[tokio::test(start_paused = true)]
async fn a_topic_with_an_absurd_number_of_queues_is_refused() {
    let stack = Stack::start().await;
    let absurd = CreateTopicRequestHeader {
        read_queue_nums: i32::MAX,
        ..create(TOPIC)
    };
    let code = RequestCode::UPDATE_AND_CREATE_TOPIC;
    let refused = stack.peer.ask(code, &absurd).await;
    assert_eq!(refused.code, ResponseCode::SYSTEM_ERROR.0);
    assert!(!topics(&stack).await.topic_config_table.contains_key(TOPIC));
}
