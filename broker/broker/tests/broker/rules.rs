//! What topics, groups and their settings may be, whoever asks for them.

use std::time::Duration;

use hotfire_protocol::body::{
    CreateTopicListRequestBody, SubscriptionGroupConfig, SubscriptionGroupList, TopicConfig,
    TopicConfigSerializeWrapper,
};
use hotfire_protocol::header::pop::PopMessageRequestHeader;
use hotfire_protocol::header::send::ConsumerSendMsgBackRequestHeader;
use hotfire_protocol::header::topic::CreateTopicRequestHeader;
use hotfire_protocol::{Message, RemotingCommand, RequestCode, ResponseCode, topic};
use tokio::time::sleep;

use crate::support::{GROUP, Stack, TOPIC, memory, messages, order, pull_header};

fn wish(topic: &str, perm: i32, read: i32, write: i32) -> CreateTopicRequestHeader {
    CreateTopicRequestHeader {
        topic: topic.to_owned(),
        read_queue_nums: read,
        write_queue_nums: write,
        perm,
        topic_filter_type: "SINGLE_TAG".to_owned(),
        ..CreateTopicRequestHeader::default()
    }
}

async fn all_topics(stack: &Stack) -> TopicConfigSerializeWrapper {
    let request = RemotingCommand::request(RequestCode::GET_ALL_TOPIC_CONFIG);
    TopicConfigSerializeWrapper::from_json(&stack.peer.invoke(request).await.body).unwrap()
}

async fn update_group(stack: &Stack, group: &SubscriptionGroupConfig) -> i32 {
    let request = RemotingCommand::request(RequestCode::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP);
    let request = request.with_body(group.to_json());
    stack.peer.invoke(request).await.code
}

fn group(name: &str) -> SubscriptionGroupConfig {
    SubscriptionGroupConfig {
        group_name: name.to_owned(),
        ..SubscriptionGroupConfig::default()
    }
}

#[tokio::test(start_paused = true)]
async fn permissions_queues_and_flags_that_make_no_sense_are_refused() {
    let stack = Stack::start().await;
    let mut wishes = Vec::new();
    for perm in [99, -1, 8, 15] {
        wishes.push(wish(TOPIC, perm, 4, 4));
    }
    for queues in [-1, 0, 65_537] {
        wishes.push(wish(TOPIC, 6, queues, 4));
        wishes.push(wish(TOPIC, 6, 4, queues));
    }
    wishes.push(CreateTopicRequestHeader {
        topic_sys_flag: Some(64),
        ..wish(TOPIC, 6, 4, 4)
    });
    wishes.push(CreateTopicRequestHeader {
        topic_filter_type: "NO_TAG".to_owned(),
        ..wish(TOPIC, 6, 4, 4)
    });
    for wish in wishes {
        let code = RequestCode::UPDATE_AND_CREATE_TOPIC;
        let refused = stack.peer.ask(code, &wish).await;
        assert_eq!(refused.code, ResponseCode::SYSTEM_ERROR.0, "{wish:?}");
    }
    let list = CreateTopicListRequestBody {
        topic_config_list: vec![
            TopicConfig::new(TOPIC, 4, 4, 6),
            TopicConfig::new("bills", 4, 4, 8),
        ],
    };
    let request = RemotingCommand::request(RequestCode::UPDATE_AND_CREATE_TOPIC_LIST);
    let refused = stack.peer.invoke(request.with_body(list.to_json())).await;
    assert_eq!(refused.code, ResponseCode::SYSTEM_ERROR.0);
    assert!(
        !all_topics(&stack)
            .await
            .topic_config_table
            .contains_key(TOPIC)
    );
}

#[tokio::test(start_paused = true)]
async fn a_group_with_an_absurd_setting_is_refused_alone_and_in_a_list() {
    let stack = Stack::start().await;
    let with = |change: fn(&mut SubscriptionGroupConfig)| {
        let mut group = group(GROUP);
        change(&mut group);
        group
    };
    let absurd = [
        with(|group| group.retry_queue_nums = 2_000_000_000),
        with(|group| group.retry_queue_nums = -1),
        with(|group| group.retry_max_times = -2),
        with(|group| group.broker_id = -1),
        with(|group| group.which_broker_when_consume_slowly = -7),
        with(|group| group.group_name = "g".repeat(249)),
        with(|group| group.group_name = "a b".to_owned()),
    ];
    for group in &absurd {
        let code = update_group(&stack, group).await;
        assert_eq!(code, ResponseCode::SYSTEM_ERROR.0, "{group:?}");
        let list = SubscriptionGroupList {
            group_config_list: vec![self::group("fine"), group.clone()],
        };
        let request =
            RemotingCommand::request(RequestCode::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST);
        let refused = stack.peer.invoke(request.with_body(list.to_json())).await;
        assert_eq!(refused.code, ResponseCode::SYSTEM_ERROR.0, "{group:?}");
    }
    let request = RemotingCommand::request(RequestCode::GET_ALL_SUBSCRIPTIONGROUP_CONFIG);
    let groups = stack.peer.invoke(request).await.body;
    let groups = String::from_utf8_lossy(&groups).into_owned();
    assert!(!groups.contains("\"fine\"") && !groups.contains("ggg"));
    assert_eq!(
        update_group(&stack, &with(|group| group.retry_max_times = -1)).await,
        0
    );
}

/// Sends a message and sends it back; the answer's code.
async fn fail_one(stack: &Stack, group: &str) -> RemotingCommand {
    stack.peer.send_ok(&order("x")).await;
    let newest = messages(&stack.peer.pull(TOPIC, 0, "*").await)
        .pop()
        .unwrap();
    let header = ConsumerSendMsgBackRequestHeader {
        offset: newest.commit_log_offset,
        group: group.to_owned(),
        delay_level: 1,
        ..ConsumerSendMsgBackRequestHeader::default()
    };
    stack
        .peer
        .ask(RequestCode::CONSUMER_SEND_MSG_BACK, &header)
        .await
}

#[tokio::test(start_paused = true)]
async fn a_group_whose_retry_topic_would_be_too_long_is_not_let_in() {
    let stack = Stack::start().await;
    let refused = fail_one(&stack, &"g".repeat(249)).await;
    assert_eq!(refused.code, ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST.0);
    assert_eq!(fail_one(&stack, &"g".repeat(248)).await.code, 0);
    // And nothing holds up the delay level.
    stack
        .peer
        .send_ok(&Message::new("late", "x").with_delay_level(1))
        .await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(stack.peer.read("late", 0).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_group_from_earlier_days_keeps_its_long_name_and_its_failed_messages_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let env = memory::env(&memory::MemoryNetwork::default(), folder.path());
    let long = "g".repeat(252);
    let file = format!(
        "{{\"dataVersion\":{{\"counter\":1,\"timestamp\":1}},\"subscriptionGroupTable\":{{\"{long}\":{}}}}}",
        String::from_utf8(group(&long).to_json()).unwrap()
    );
    let path = "store/config/subscriptionGroup.json";
    env.disk().write(path, file.as_bytes()).unwrap();
    let stack = Stack::start_in(env, folder, crate::support::config(), None).await;
    stack.peer.subscribe("c1", &long, &[(TOPIC, "*")]).await;
    let refused = fail_one(&stack, &long).await;
    assert_eq!(refused.code, ResponseCode::SYSTEM_ERROR.0);
    assert!(
        refused
            .remark
            .unwrap()
            .contains("longer than group max length 248")
    );
}

#[tokio::test(start_paused = true)]
async fn a_pop_whose_retry_topic_could_not_be_stored_is_refused_before_it_hides_anything() {
    let stack = Stack::start().await;
    let topic = "t".repeat(120);
    stack.peer.send_ok(&Message::new(topic.clone(), "x")).await;
    let pop = |group: String| PopMessageRequestHeader {
        consumer_group: group,
        topic: topic.clone(),
        queue_id: 0,
        max_msg_nums: 1,
        invisible_time: 10_000,
        born_time: stack.env.now_ms(),
        ..PopMessageRequestHeader::default()
    };
    let refused = stack
        .peer
        .ask(RequestCode::POP_MESSAGE, &pop("g".repeat(200)))
        .await;
    assert_eq!(refused.code, ResponseCode::INVALID_PARAMETER.0);
    assert!(
        refused
            .remark
            .unwrap()
            .contains("the name of their retry topic")
    );
    let popped = stack
        .peer
        .ask(RequestCode::POP_MESSAGE, &pop("g".repeat(127)))
        .await;
    assert_eq!(popped.code, 0, "{:?}", popped.remark);
}

async fn retried_by_queue(stack: &Stack, group: &str, queues: i32) -> Vec<usize> {
    let mut counts = Vec::new();
    for queue_id in 0..queues {
        let mut header = pull_header(&topic::retry_topic(group), 0, "*");
        header.queue_id = queue_id;
        let response = stack.peer.ask(RequestCode::PULL_MESSAGE, &header).await;
        let readable = [
            0,
            ResponseCode::PULL_NOT_FOUND.0,
            ResponseCode::PULL_OFFSET_MOVED.0,
        ];
        assert!(
            readable.contains(&response.code),
            "{queue_id}: {response:?}"
        );
        counts.push(messages(&response).len());
    }
    counts
}

#[tokio::test(start_paused = true)]
async fn retry_queues_that_a_group_gets_later_are_read_as_well_as_written() {
    let stack = Stack::start().await;
    stack.peer.subscribe("c1", GROUP, &[(TOPIC, "*")]).await;
    assert_eq!(fail_one(&stack, GROUP).await.code, 0);
    let wide = SubscriptionGroupConfig {
        retry_queue_nums: 4,
        ..group(GROUP)
    };
    assert_eq!(update_group(&stack, &wide).await, 0);
    let retry_topic = topic::retry_topic(GROUP);
    let retry = &all_topics(&stack).await.topic_config_table[&retry_topic];
    assert_eq!((retry.read_queue_nums, retry.write_queue_nums), (4, 4));
    for _ in 0..20 {
        assert_eq!(fail_one(&stack, GROUP).await.code, 0);
    }
    sleep(Duration::from_secs(3)).await;
    let counts = retried_by_queue(&stack, GROUP, 4).await;
    assert_eq!(counts.iter().sum::<usize>(), 21);
    assert!(
        counts.iter().filter(|&&count| count > 0).count() > 1,
        "{counts:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_group_that_gets_fewer_retry_queues_still_reads_what_is_in_the_others() {
    let stack = Stack::start().await;
    let wide = SubscriptionGroupConfig {
        retry_queue_nums: 4,
        ..group(GROUP)
    };
    assert_eq!(update_group(&stack, &wide).await, 0);
    for _ in 0..20 {
        assert_eq!(fail_one(&stack, GROUP).await.code, 0);
    }
    assert_eq!(update_group(&stack, &group(GROUP)).await, 0);
    assert_eq!(fail_one(&stack, GROUP).await.code, 0);
    sleep(Duration::from_secs(3)).await;
    let counts = retried_by_queue(&stack, GROUP, 4).await;
    assert_eq!(counts.iter().sum::<usize>(), 21);
}

#[tokio::test(start_paused = true)]
async fn a_retry_topic_that_an_administrator_made_smaller_gets_back_the_queues_of_its_group() {
    let stack = Stack::start().await;
    let wide = SubscriptionGroupConfig {
        retry_queue_nums: 4,
        ..group(GROUP)
    };
    assert_eq!(update_group(&stack, &wide).await, 0);
    let code = RequestCode::UPDATE_AND_CREATE_TOPIC;
    let small = wish(&topic::retry_topic(GROUP), 6, 1, 1);
    assert_eq!(stack.peer.ask(code, &small).await.code, 0);
    for _ in 0..20 {
        assert_eq!(fail_one(&stack, GROUP).await.code, 0);
    }
    sleep(Duration::from_secs(3)).await;
    let counts = retried_by_queue(&stack, GROUP, 4).await;
    assert_eq!(counts.iter().sum::<usize>(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_producer_that_asks_for_no_queues_gets_one() {
    let stack = Stack::start().await;
    let mut header = crate::support::send_header(&order("x"), 0);
    header.default_topic_queue_nums = -1;
    let request = RemotingCommand::request_with(RequestCode::SEND_MESSAGE, &header);
    let sent = stack.peer.invoke(request.with_body("x")).await;
    assert_eq!(sent.code, 0, "{:?}", sent.remark);
    let topics = all_topics(&stack).await;
    assert_eq!(topics.topic_config_table[TOPIC].write_queue_nums, 1);
}
