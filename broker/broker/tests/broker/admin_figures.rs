//! What administrators can see: counters, queues, progress, clients.

use std::time::Duration;

use hotfire_protocol::body::{
    BrokerStatsData, ConsumeStats, ConsumeStatsList, KVTable, QueryConsumeQueueResponseBody,
    QueryConsumeTimeSpanBody, QueryCorrectionOffsetBody, QuerySubscriptionResponseBody,
    SubscriptionGroupConfig, SubscriptionGroupList, TopicConfig, TopicList,
};
use hotfire_protocol::{ExtFields, RemotingCommand, RequestCode, ResponseCode};
use tokio::time::sleep;

use crate::support::{GROUP, Stack, TOPIC, order};

async fn ask(stack: &Stack, code: RequestCode, fields: &[(&'static str, &str)]) -> RemotingCommand {
    let mut request = RemotingCommand::request(code);
    request.ext = fields.iter().copied().collect::<ExtFields>();
    stack.peer.invoke(request).await
}

async fn stats(stack: &Stack, name: &str, key: &str) -> RemotingCommand {
    let fields = [("statsName", name), ("statsKey", key)];
    ask(stack, RequestCode::VIEW_BROKER_STATS_DATA, &fields).await
}

async fn minute(stack: &Stack, name: &str, key: &str) -> (i64, f64) {
    let body = stats(stack, name, key).await.body;
    let minute = BrokerStatsData::from_json(&body).unwrap().stats_minute;
    (minute.sum, minute.tps)
}

#[tokio::test(start_paused = true)]
async fn messages_are_counted_by_topic_and_group() {
    let stack = Stack::start().await;
    for body in ["a", "b", "c"] {
        stack.peer.send_ok(&order(body)).await;
    }
    let messages = stack.peer.read(TOPIC, 1).await;
    stack.peer.send_back(&messages[0], 1).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(minute(&stack, "TOPIC_PUT_NUMS", TOPIC).await, (3, 0.05));
    assert_eq!(
        minute(&stack, "BROKER_PUT_NUMS", "DefaultCluster").await.0,
        3
    );
    let key = format!("{TOPIC}@{GROUP}");
    assert_eq!(minute(&stack, "GROUP_GET_NUMS", &key).await.0, 2);
    assert_eq!(minute(&stack, "SNDBCK_PUT_NUMS", &key).await.0, 1);
    let fields = [("consumerGroup", GROUP), ("topic", TOPIC)];
    let progress = ask(&stack, RequestCode::GET_CONSUME_STATS, &fields).await;
    let progress = ConsumeStats::from_json(&progress.body).unwrap();
    assert_eq!(progress.consume_tps, 2.0 / 60.0);
}

#[tokio::test(start_paused = true)]
async fn a_statistic_that_is_not_there_is_refused() {
    let stack = Stack::start().await;
    let refused = stats(&stack, "TOPIC_PUT_NUMS", "nothing").await;
    assert_eq!(refused.code, ResponseCode::SYSTEM_ERROR.0);
    let remark = "The stats <TOPIC_PUT_NUMS> <nothing> not exist";
    assert_eq!(refused.remark.as_deref(), Some(remark));
}

#[tokio::test(start_paused = true)]
async fn the_totals_of_today_grow_and_those_of_yesterday_stay() {
    let stack = Stack::start().await;
    stack.peer.send_ok(&order("a")).await;
    let answer = ask(&stack, RequestCode::GET_BROKER_RUNTIME_INFO, &[]).await;
    let table = KVTable::from_json(&answer.body).unwrap().table;
    assert_eq!(table["msgPutTotalTodayNow"], "1");
    assert_eq!(table["msgPutTotalTodayMorning"], "0");
    assert_eq!(table["putMessageFailedTimes"], "0");
}

#[tokio::test(start_paused = true)]
async fn units_of_a_queue_are_shown_with_what_a_groups_filter_says() {
    let stack = Stack::start().await;
    stack.peer.send_ok(&order("a").with_tag("TagA")).await;
    stack.peer.send_ok(&order("b").with_tag("TagB")).await;
    stack.peer.subscribe("c1", GROUP, &[(TOPIC, "TagB")]).await;
    let fields = [
        ("topic", TOPIC),
        ("queueId", "0"),
        ("index", "0"),
        ("count", "10"),
        ("consumerGroup", GROUP),
    ];
    let answer = ask(&stack, RequestCode::QUERY_CONSUME_QUEUE, &fields).await;
    let queue = QueryConsumeQueueResponseBody::from_json(&answer.body).unwrap();
    let evals: Vec<_> = queue.queue_data.iter().map(|unit| unit.eval).collect();
    assert_eq!(evals, [false, true]);
    assert_eq!((queue.min_queue_index, queue.max_queue_index), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_not_there_is_refused_and_an_index_beyond_the_end_is_empty() {
    let stack = Stack::start().await;
    stack.peer.send_ok(&order("a")).await;
    let code = RequestCode::QUERY_CONSUME_QUEUE;
    let at = |queue, index| {
        [
            ("topic", TOPIC),
            ("queueId", queue),
            ("index", index),
            ("count", "1"),
        ]
    };
    let refused = ask(&stack, code, &at("9", "0")).await;
    assert_eq!(refused.code, ResponseCode::SYSTEM_ERROR.0);
    assert_eq!(refused.remark.as_deref(), Some("9@orders is not exist!"));
    let beyond = ask(&stack, code, &at("0", "5")).await;
    assert_eq!(beyond.code, 0);
    assert_eq!(
        beyond.remark.as_deref(),
        Some("Index 5 of 0@orders is not exist!")
    );
}

#[tokio::test(start_paused = true)]
async fn the_lag_of_a_group_is_told_in_time() {
    let stack = Stack::start().await;
    stack.peer.send_ok(&order("a")).await;
    stack.peer.send_ok(&order("b")).await;
    stack.peer.commit(1).await;
    let code = RequestCode::QUERY_CONSUME_TIME_SPAN;
    let answer = ask(&stack, code, &[("topic", TOPIC), ("group", GROUP)]).await;
    let spans = QueryConsumeTimeSpanBody::from_json(&answer.body).unwrap();
    let first = &spans.consume_time_span_set[0];
    assert_eq!(first.consume_time_stamp, first.min_time_stamp);
    assert!(first.delay_time >= 0 && first.max_time_stamp >= first.min_time_stamp);
    let missing = ask(&stack, code, &[("topic", "nowhere"), ("group", GROUP)]).await;
    assert_eq!(missing.code, ResponseCode::TOPIC_NOT_EXIST.0);
}

#[tokio::test(start_paused = true)]
async fn all_groups_are_listed_with_what_they_lag_behind() {
    let stack = Stack::start().await;
    stack.peer.subscribe("c1", GROUP, &[(TOPIC, "*")]).await;
    for body in ["a", "b", "c"] {
        stack.peer.send_ok(&order(body)).await;
    }
    stack.peer.commit(1).await;
    let code = RequestCode::GET_BROKER_CONSUME_STATS;
    let answer = ask(&stack, code, &[("isOrder", "false")]).await;
    let list = ConsumeStatsList::from_json(&answer.body).unwrap();
    assert_eq!(list.total_diff, 2);
    let ordered = ask(&stack, code, &[("isOrder", "true")]).await;
    let ordered = ConsumeStatsList::from_json(&ordered.body).unwrap();
    assert_eq!(ordered.total_diff, 0, "no topic is ordered");
}

#[tokio::test(start_paused = true)]
async fn the_smallest_offset_of_all_groups_corrects_one() {
    let stack = Stack::start().await;
    for body in ["a", "b", "c"] {
        stack.peer.send_ok(&order(body)).await;
    }
    stack.peer.commit(2).await;
    let code = RequestCode::QUERY_CORRECTION_OFFSET;
    let compared = async |group: &str| {
        let fields = [("compareGroup", group), ("topic", TOPIC)];
        let answer = ask(&stack, code, &fields).await;
        QueryCorrectionOffsetBody::from_json(&answer.body)
            .unwrap()
            .correction_offsets
    };
    assert_eq!(compared(GROUP).await, [(0, 2)].into());
    assert_eq!(compared("nobody").await, [(0, 2)].into());
    let left_out = [
        ("compareGroup", GROUP),
        ("topic", TOPIC),
        ("filterGroups", GROUP),
    ];
    let answer = ask(&stack, code, &left_out).await;
    let answer = QueryCorrectionOffsetBody::from_json(&answer.body).unwrap();
    assert!(answer.correction_offsets.is_empty());
    assert_eq!(
        compared(GROUP).await,
        [(0, 2)].into(),
        "left out is not deleted"
    );
}

#[tokio::test(start_paused = true)]
async fn topics_and_subscriptions_of_a_group_are_told() {
    let stack = Stack::start().await;
    stack.peer.subscribe("c1", GROUP, &[(TOPIC, "TagA")]).await;
    stack.peer.send_ok(&order("a")).await;
    stack.peer.commit(1).await;
    let code = RequestCode::QUERY_TOPICS_BY_CONSUMER;
    let topics = ask(&stack, code, &[("group", GROUP)]).await;
    assert_eq!(
        TopicList::from_json(&topics.body).unwrap().topic_list,
        [TOPIC]
    );
    let code = RequestCode::QUERY_SUBSCRIPTION_BY_CONSUMER;
    let answer = ask(&stack, code, &[("group", GROUP), ("topic", TOPIC)]).await;
    let answer = QuerySubscriptionResponseBody::from_json(&answer.body).unwrap();
    assert_eq!(answer.subscription_data.unwrap().sub_string, "TagA");
    let none = ask(&stack, code, &[("group", GROUP), ("topic", "other")]).await;
    let none = QuerySubscriptionResponseBody::from_json(&none.body).unwrap();
    assert_eq!(none.subscription_data, None);
}

#[tokio::test(start_paused = true)]
async fn single_topics_and_groups_are_shown_and_lists_of_groups_created() {
    let stack = Stack::start().await;
    stack.peer.send_ok(&order("a")).await;
    let topic = ask(&stack, RequestCode::GET_TOPIC_CONFIG, &[("topic", TOPIC)]).await;
    assert_eq!(
        TopicConfig::from_json(&topic.body).unwrap().topic_name,
        TOPIC
    );
    let none = ask(&stack, RequestCode::GET_TOPIC_CONFIG, &[("topic", "other")]).await;
    assert_eq!(none.code, ResponseCode::TOPIC_NOT_EXIST.0);

    let group = |name: &str| SubscriptionGroupConfig {
        group_name: name.to_owned(),
        retry_max_times: 3,
        ..SubscriptionGroupConfig::default()
    };
    let list = SubscriptionGroupList {
        group_config_list: vec![group("g1"), group("g2")],
    };
    let code = RequestCode::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST;
    let request = RemotingCommand::request(code).with_body(list.to_json());
    assert_eq!(stack.peer.invoke(request).await.code, 0);
    let code = RequestCode::GET_SUBSCRIPTIONGROUP_CONFIG;
    let found = ask(&stack, code, &[("group", "g2")]).await;
    let found = SubscriptionGroupConfig::from_json(&found.body).unwrap();
    assert_eq!(found.retry_max_times, 3);
    let none = ask(&stack, code, &[("group", "g3")]).await;
    assert_eq!(none.code, ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST.0);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_is_not_connected_cannot_be_asked() {
    let stack = Stack::start().await;
    let fields = [("consumerGroup", GROUP), ("clientId", "nobody")];
    let refused = ask(&stack, RequestCode::GET_CONSUMER_RUNNING_INFO, &fields).await;
    assert_eq!(refused.code, ResponseCode::SYSTEM_ERROR.0);
    let remark = "The Consumer <readers> <nobody> not online";
    assert_eq!(refused.remark.as_deref(), Some(remark));
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_does_not_answer_is_given_ten_seconds() {
    let stack = Stack::start().await;
    // The peer takes requests and answers none.
    stack.peer.subscribe("c1", GROUP, &[(TOPIC, "*")]).await;
    let fields = [
        ("consumerGroup", GROUP),
        ("clientId", "c1"),
        ("jstackEnable", "false"),
    ];
    let timed_out = ask(&stack, RequestCode::GET_CONSUMER_RUNNING_INFO, &fields).await;
    assert_eq!(timed_out.code, ResponseCode::CONSUME_MSG_TIMEOUT.0);
    let asked = stack.peer.asked.0.lock();
    let relayed = asked.iter().find(|asked| asked.code == 307).unwrap();
    assert_eq!(relayed.ext.get("jstackEnable"), Some("false"));
}

#[tokio::test(start_paused = true)]
async fn a_message_to_consume_travels_whole_with_the_name_of_its_broker() {
    let stack = Stack::start().await;
    stack.peer.subscribe("c1", GROUP, &[(TOPIC, "*")]).await;
    let sent = stack.peer.send_ok(&order("body")).await;
    let msg_id = sent.ext.get("msgId").unwrap();
    let fields = [
        ("consumerGroup", GROUP),
        ("clientId", "c1"),
        ("msgId", msg_id),
    ];
    ask(&stack, RequestCode::CONSUME_MESSAGE_DIRECTLY, &fields).await;
    {
        let asked = stack.peer.asked.0.lock();
        let relayed = asked.iter().find(|asked| asked.code == 309).unwrap();
        assert_eq!(relayed.ext.get("brokerName"), Some("broker-a"));
        assert!(relayed.body.windows(4).any(|window| window == b"body"));
    }
    let fields = [
        ("consumerGroup", GROUP),
        ("clientId", "c1"),
        ("msgId", "nonsense"),
    ];
    let refused = ask(&stack, RequestCode::CONSUME_MESSAGE_DIRECTLY, &fields).await;
    assert_eq!(refused.code, ResponseCode::SYSTEM_ERROR.0);
}

#[tokio::test(start_paused = true)]
async fn cleaning_by_hand_leaves_what_is_in_use() {
    let stack = Stack::start().await;
    stack.peer.send_ok(&order("a")).await;
    for code in [
        RequestCode::CLEAN_EXPIRED_CONSUMEQUEUE,
        RequestCode::CLEAN_UNUSED_TOPIC,
        RequestCode::DELETE_EXPIRED_COMMITLOG,
    ] {
        assert_eq!(ask(&stack, code, &[]).await.code, 0, "{code}");
    }
    assert_eq!(stack.peer.read(TOPIC, 0).await.len(), 1);
}
