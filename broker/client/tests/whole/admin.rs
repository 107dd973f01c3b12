//! What administrators ask, against the real thing.

use hotfire_client::{
    ConsumeConcurrentlyStatus, ConsumeFrom, ConsumeOrderlyStatus, Delivery, LitePullConsumer,
    PushConsumer, ResetTo, TopicListKind,
};
use hotfire_protocol::body::{ConsumeResult, SubscriptionGroupConfig, TopicConfig};
use hotfire_protocol::{Message, MessageQueue, ResponseCode};
use tokio::time::sleep;

use crate::stack::*;

const BROKER: &str = "127.0.0.1:10911";
const GROUP: &str = "readers";

async fn consumer(stack: &Stack, status: ConsumeConcurrentlyStatus) -> PushConsumer {
    let consumer = PushConsumer::builder(&stack.env)
        .namesrv([NAMESRV])
        .group(GROUP)
        .subscribe(TOPIC, "*")
        .consume_from(ConsumeFrom::First)
        .concurrent(move |_: Delivery| async move { status })
        .start()
        .await
        .unwrap();
    sleep(SECOND * 30).await;
    consumer
}

#[tokio::test(start_paused = true)]
async fn a_consumer_tells_its_queues_settings_and_rates() {
    let stack = Stack::start(1).await;
    let consumer = consumer(&stack, ConsumeConcurrentlyStatus::Success).await;
    let producer = stack.producer("writers").await;
    let queue = MessageQueue::new(TOPIC, "broker-a", 1);
    for _ in 0..30 {
        producer
            .send_to(Message::new(TOPIC, "x"), &queue)
            .await
            .unwrap();
    }
    sleep(SECOND * 60).await;
    let id = consumer.client_id();
    let admin = stack.admin();
    let info = admin.consumer_running_info(BROKER, GROUP, id, false);
    let info = info.await.unwrap();
    assert_eq!(info.mq_table[&queue].commit_offset, 30);
    assert_eq!(info.mq_table[&queue].cached_msg_count, 0);
    assert_eq!(info.properties["PROP_CONSUME_TYPE"], "CONSUME_PASSIVELY");
    assert_eq!(
        info.properties["consumeFromWhere"],
        "CONSUME_FROM_FIRST_OFFSET"
    );
    assert_eq!(info.status_table[TOPIC].consume_ok_tps, 0.5);
    assert_eq!(
        info.subscription_set.len(),
        2,
        "its topic and its retry topic"
    );
    consumer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_consumer_consumes_one_message_on_command() {
    let stack = Stack::start(1).await;
    let producer = stack.producer("writers").await;
    let sent = producer.send(Message::new(TOPIC, "x")).await.unwrap();
    for (status, expected) in [
        (ConsumeConcurrentlyStatus::Success, ConsumeResult::Success),
        (
            ConsumeConcurrentlyStatus::ReconsumeLater,
            ConsumeResult::Later,
        ),
    ] {
        let consumer = consumer(&stack, status).await;
        let (id, message) = (consumer.client_id(), &sent.offset_msg_id);
        let admin = stack.admin();
        let result = admin
            .consume_message_directly(BROKER, GROUP, id, message)
            .await;
        let result = result.unwrap();
        assert_eq!((result.consume_result, result.order), (expected, false));
        consumer.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_orderly_listener_that_panics_is_told_of() {
    let stack = Stack::start(1).await;
    let producer = stack.producer("writers").await;
    let consumer = PushConsumer::builder(&stack.env)
        .namesrv([NAMESRV])
        .group(GROUP)
        .subscribe(TOPIC, "*")
        .orderly(|messages: Delivery| async move {
            assert_ne!(&messages[0].message.body[..], b"bad");
            ConsumeOrderlyStatus::Success
        })
        .start()
        .await
        .unwrap();
    sleep(SECOND * 30).await;
    let sent = producer.send(Message::new(TOPIC, "bad")).await.unwrap();
    let (id, message) = (consumer.client_id(), &sent.offset_msg_id);
    let admin = stack.admin();
    let result = admin
        .consume_message_directly(BROKER, GROUP, id, message)
        .await;
    let result = result.unwrap();
    assert_eq!(result.consume_result, ConsumeResult::ThrowException);
    assert!(result.order && result.remark.is_some());
}

#[tokio::test(start_paused = true)]
async fn topics_and_groups_are_made_shown_and_deleted() {
    let stack = Stack::start(1).await;
    let admin = stack.admin();
    let topic = TopicConfig::new("bills", 3, 2, 6);
    admin.update_topic(BROKER, &topic).await.unwrap();
    assert_eq!(admin.topic_config(BROKER, "bills").await.unwrap(), topic);
    let listed = admin.topic_list(TopicListKind::All).await.unwrap();
    assert!(listed.topic_list.contains(&"bills".to_owned()));
    assert_eq!(
        admin
            .topic_stats(BROKER, "bills")
            .await
            .unwrap()
            .offset_table
            .len(),
        3
    );
    admin.delete_topic_in_broker(BROKER, "bills").await.unwrap();
    admin.delete_topic_in_namesrv("bills").await.unwrap();
    let gone = admin.topic_route("bills").await.unwrap_err();
    assert_eq!(gone.code(), Some(ResponseCode::TOPIC_NOT_EXIST));

    let group = SubscriptionGroupConfig {
        group_name: GROUP.to_owned(),
        retry_max_times: 3,
        ..SubscriptionGroupConfig::default()
    };
    admin.update_group(BROKER, &group).await.unwrap();
    assert_eq!(admin.group_config(BROKER, GROUP).await.unwrap(), group);
    admin.delete_group(BROKER, GROUP, true).await.unwrap();
    assert!(admin.group_config(BROKER, GROUP).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn values_and_permissions_of_name_servers_are_changed() {
    let stack = Stack::start(1).await;
    let admin = stack.admin();
    assert_eq!(admin.get_kv_config("shop", "colour").await.unwrap(), None);
    admin.put_kv_config("shop", "colour", "red").await.unwrap();
    let found = admin.get_kv_config("shop", "colour").await.unwrap();
    assert_eq!(found.as_deref(), Some("red"));
    assert_eq!(admin.kv_list("shop").await.unwrap().len(), 1);
    admin.delete_kv_config("shop", "colour").await.unwrap();
    assert!(admin.kv_list("shop").await.unwrap().is_empty());

    assert!(admin.wipe_write_perm(NAMESRV, "broker-a").await.unwrap() > 0);
    assert_eq!(
        admin.topic_route(TOPIC).await.unwrap().queue_datas[0].perm,
        4
    );
    admin.add_write_perm(NAMESRV, "broker-a").await.unwrap();
    assert_eq!(
        admin.topic_route(TOPIC).await.unwrap().queue_datas[0].perm,
        6
    );

    let changed = admin
        .update_namesrv_config("orderMessageEnable=true\n")
        .await;
    changed.unwrap();
    let config = admin.namesrv_config(NAMESRV).await.unwrap();
    assert!(config.contains("orderMessageEnable=true"), "{config}");
}

#[tokio::test(start_paused = true)]
async fn a_changed_permission_of_a_broker_is_announced_at_once() {
    let stack = Stack::start(1).await;
    let admin = stack.admin();
    let changed = admin
        .update_broker_config(BROKER, "brokerPermission=4\n")
        .await;
    changed.unwrap();
    sleep(SECOND).await;
    assert_eq!(
        admin.topic_route(TOPIC).await.unwrap().queue_datas[0].perm,
        4
    );
    let config = admin.broker_config(BROKER).await.unwrap();
    assert!(config.contains("brokerPermission=4\n"), "{config}");
}

#[tokio::test(start_paused = true)]
async fn a_lite_pull_consumer_tells_its_settings_and_subscriptions() {
    let stack = Stack::start(1).await;
    let consumer = LitePullConsumer::builder(&stack.env)
        .namesrv([NAMESRV])
        .group(GROUP)
        .subscribe(TOPIC, "drinks || snacks")
        .auto_commit(false)
        .start()
        .await
        .unwrap();
    sleep(SECOND * 30).await;
    let (id, admin) = (consumer.client_id(), stack.admin());
    let info = admin.consumer_running_info(BROKER, GROUP, id, false);
    let info = info.await.unwrap();
    let started: i64 = info.properties["PROP_CONSUMER_START_TIMESTAMP"]
        .parse()
        .unwrap();
    assert_eq!(stack.env.now_ms() - started, 30_000);
    for (name, value) in [
        ("PROP_CONSUME_TYPE", "CONSUME_ACTIVELY"),
        ("PROP_NAMESERVER_ADDR", "127.0.0.1:9876;"),
        ("consumerGroup", GROUP),
        ("messageModel", "CLUSTERING"),
        ("consumeFromWhere", "CONSUME_FROM_LAST_OFFSET"),
        ("autoCommit", "false"),
        ("pullBatchSize", "10"),
        ("pullThresholdForAll", "10000"),
        ("consumeMaxSpan", "2000"),
    ] {
        assert_eq!(info.properties[name], value, "{name}");
    }
    assert!(!info.properties.contains_key("PROP_CONSUMEORDERLY"));
    let subscription = &info.subscription_set[0];
    assert_eq!(subscription.topic, TOPIC);
    assert_eq!(subscription.sub_string, "drinks || snacks");
    assert!(info.mq_table.is_empty() && info.status_table.is_empty());

    let other = admin.consumer_running_info(BROKER, "strangers", id, false);
    let refused = other.await.unwrap_err();
    assert_eq!(refused.code(), Some(ResponseCode::SYSTEM_ERROR));
}

#[tokio::test(start_paused = true)]
async fn a_lite_pull_consumer_is_not_reset_and_consumes_nothing_on_command() {
    let stack = Stack::start(1).await;
    let producer = stack.producer("writers").await;
    let sent = producer.send(Message::new(TOPIC, "x")).await.unwrap();
    let consumer = LitePullConsumer::builder(&stack.env)
        .namesrv([NAMESRV])
        .group(GROUP)
        .subscribe(TOPIC, "*")
        .consume_from(ConsumeFrom::First)
        .start()
        .await
        .unwrap();
    assert_eq!(consumer.poll(SECOND).await.unwrap().len(), 1);
    consumer.commit_sync().await.unwrap();
    let (id, admin) = (consumer.client_id(), stack.admin());
    let directly = admin.consume_message_directly(BROKER, GROUP, id, &sent.offset_msg_id);
    let refused = directly.await.unwrap_err();
    assert!(refused.to_string().contains("not exist"), "{refused}");

    let to = ResetTo::Time(0);
    admin.reset_offsets(TOPIC, GROUP, to, true).await.unwrap();
    assert!(consumer.poll(30 * SECOND).await.unwrap().is_empty());
    let status = admin.consumer_status(BROKER, TOPIC, GROUP, None).await;
    assert!(status.unwrap().consumer_table[id].is_empty());
}
