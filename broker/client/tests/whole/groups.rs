//! Who gets a message: every group, one member of a group, or each of them.

use hotfire_client::{
    ClientError, ConsumeFrom, LitePullConsumer, MessageModel, Producer, PushConsumer,
};
use hotfire_protocol::Message;
use tokio::time::sleep;

use crate::readers::{Bodies, builder, consume, sorted};
use crate::stack::*;

/// Sends `count` messages named by their numbers; the names, sorted.
async fn send(stack: &Stack, count: usize) -> Vec<String> {
    let producer = stack.producer("writers").await;
    let names: Vec<_> = (0..count).map(|at| format!("{at:04}")).collect();
    for name in &names {
        let message = Message::new(TOPIC, name.clone());
        producer.send(message).await.unwrap();
    }
    producer.shutdown().await;
    names
}

/// Members of groups, in a model.
async fn members(
    stack: &Stack,
    model: MessageModel,
    groups: [&str; 3],
) -> Vec<(PushConsumer, Bodies)> {
    let mut members = Vec::new();
    for (at, group) in groups.into_iter().enumerate() {
        let builder = builder(stack, group)
            .subscribe(TOPIC, "*")
            .message_model(model);
        let builder = builder.instance_name(format!("member-{at}"));
        members.push(consume(builder).await);
    }
    sleep(SECOND * 30).await;
    members
}

#[tokio::test(start_paused = true)]
async fn each_of_three_groups_gets_every_message_once() {
    let stack = Stack::start(1).await;
    let members = members(&stack, MessageModel::Clustering, ["a", "b", "c"]).await;
    let sent = send(&stack, 100).await;
    sleep(SECOND * 5).await;
    for (_, bodies) in &members {
        assert_eq!(sorted(bodies), sent);
    }
}

#[tokio::test(start_paused = true)]
async fn three_members_of_a_group_get_every_message_once_together() {
    let stack = Stack::start(2).await;
    let members = members(&stack, MessageModel::Clustering, ["a", "a", "a"]).await;
    let sent = send(&stack, 100).await;
    sleep(SECOND * 5).await;
    let together = Bodies::default();
    for (_, bodies) in &members {
        let bodies = bodies.lock().clone();
        assert!(!bodies.is_empty());
        together.lock().extend(bodies);
    }
    assert_eq!(sorted(&together), sent);
}

#[tokio::test(start_paused = true)]
async fn each_of_three_broadcasting_members_gets_every_message_once() {
    let stack = Stack::start(1).await;
    let members = members(&stack, MessageModel::Broadcasting, ["a", "a", "a"]).await;
    let sent = send(&stack, 100).await;
    sleep(SECOND * 5).await;
    for (_, bodies) in &members {
        assert_eq!(sorted(bodies), sent);
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_goes_on_where_it_left_wherever_it_was_told_to_begin() {
    for from in [ConsumeFrom::First, ConsumeFrom::Last] {
        let stack = Stack::start(1).await;
        let reader = || {
            builder(&stack, "a")
                .subscribe(TOPIC, "*")
                .consume_from(from)
        };
        let (consumer, _) = consume(reader()).await;
        send(&stack, 10).await;
        sleep(SECOND * 30).await;
        consumer.shutdown().await;
        let backlog = send(&stack, 100).await;
        let (_consumer, bodies) = consume(reader()).await;
        sleep(SECOND * 30).await;
        assert_eq!(sorted(&bodies), backlog, "{from:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_that_everybody_has_who_names_none_is_refused() {
    let stack = Stack::start(1).await;
    let consumer = consume_with("DEFAULT_CONSUMER", &stack).await;
    let pulling = LitePullConsumer::builder(&stack.env)
        .namesrv([NAMESRV])
        .group("DEFAULT_CONSUMER")
        .subscribe(TOPIC, "*")
        .start()
        .await
        .map(drop);
    let producer = Producer::builder(&stack.env)
        .namesrv([NAMESRV])
        .group("DEFAULT_PRODUCER")
        .start()
        .await
        .map(drop);
    for refused in [consumer, pulling, producer] {
        assert!(
            matches!(refused, Err(ClientError::Invalid(_))),
            "{refused:?}"
        );
    }
}

async fn consume_with(group: &str, stack: &Stack) -> Result<(), ClientError> {
    use hotfire_client::{ConsumeConcurrentlyStatus, Delivery};
    let builder = builder(stack, group).subscribe(TOPIC, "*");
    let listener = |_: Delivery| async { ConsumeConcurrentlyStatus::Success };
    builder.concurrent(listener).start().await.map(drop)
}
