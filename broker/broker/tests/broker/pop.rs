//! Popping messages: hidden until acknowledged, revived otherwise.

use std::time::Duration;

use hotfire_protocol::body::{BatchAck, BatchAckMessageRequestBody, TopicConfigSerializeWrapper};
use hotfire_protocol::header::client::ResetOffsetRequestHeader;
use hotfire_protocol::header::pop::{
    AckMessageRequestHeader, ChangeInvisibleTimeRequestHeader, NotificationRequestHeader,
    PeekMessageRequestHeader, PollingInfoRequestHeader, PopMessageRequestHeader,
};
use hotfire_protocol::header::topic::DeleteTopicRequestHeader;
use hotfire_protocol::message::property;
use hotfire_protocol::pop::{MessageOffsets, OrderCounts, Receipt, StartOffsets, TopicKind};
use hotfire_protocol::{MessageExt, RemotingCommand, RequestCode, ResponseCode};
use tokio::time::{Instant, sleep};

use crate::support::{GROUP, Peer, Stack, TOPIC, bodies, messages, number, order};

const INVISIBLE_MS: i64 = 10_000;

fn pop_header(poll_ms: i64) -> PopMessageRequestHeader {
    PopMessageRequestHeader {
        consumer_group: GROUP.to_owned(),
        topic: TOPIC.to_owned(),
        queue_id: -1,
        max_msg_nums: 32,
        invisible_time: INVISIBLE_MS,
        poll_time: poll_ms,
        ..PopMessageRequestHeader::default()
    }
}

async fn pop_with(peer: &Peer, header: &PopMessageRequestHeader) -> RemotingCommand {
    peer.ask(RequestCode::POP_MESSAGE, header).await
}

async fn pop(peer: &Peer) -> RemotingCommand {
    pop_with(peer, &pop_header(0)).await
}

fn in_order() -> PopMessageRequestHeader {
    PopMessageRequestHeader {
        order: Some(true),
        ..pop_header(0)
    }
}

/// What a client makes of a response: each message with its receipt.
fn receipts(response: &RemotingCommand) -> Vec<(MessageExt, Receipt)> {
    let text = |name| response.ext.get(name).unwrap_or_default();
    let starts: StartOffsets = text("startOffsetInfo").parse().unwrap();
    let receipt = |message: &MessageExt| match message.message.properties.get(property::POP_CK) {
        Some(receipt) => receipt.parse().unwrap(),
        None => Receipt {
            start_offset: starts.of(TopicKind::Normal, message.queue_id).unwrap(),
            pop_time: number(response, "popTime"),
            invisible_time: number(response, "invisibleTime"),
            revive_queue: number(response, "reviveQid") as i32,
            kind: TopicKind::Normal,
            broker_name: "broker-a".to_owned(),
            queue_id: message.queue_id,
            queue_offset: Some(message.queue_offset),
        },
    };
    let messages = messages(response).into_iter();
    messages
        .map(|message| (message.clone(), receipt(&message)))
        .collect()
}

fn ack_header(receipt: &Receipt) -> AckMessageRequestHeader {
    AckMessageRequestHeader {
        consumer_group: GROUP.to_owned(),
        topic: receipt.kind.real_topic(TOPIC, GROUP),
        queue_id: receipt.queue_id,
        extra_info: receipt.to_string(),
        offset: receipt.queue_offset.unwrap(),
    }
}

async fn ack(peer: &Peer, receipt: &Receipt) -> RemotingCommand {
    peer.ask(RequestCode::ACK_MESSAGE, &ack_header(receipt))
        .await
}

async fn change(peer: &Peer, receipt: &Receipt, invisible_time: i64) -> RemotingCommand {
    let ack = ack_header(receipt);
    let header = ChangeInvisibleTimeRequestHeader {
        consumer_group: ack.consumer_group,
        topic: ack.topic,
        queue_id: ack.queue_id,
        extra_info: ack.extra_info,
        offset: ack.offset,
        invisible_time,
    };
    peer.ask(RequestCode::CHANGE_MESSAGE_INVISIBLETIME, &header)
        .await
}

async fn with_messages(bodies: &[&str]) -> Stack {
    let stack = Stack::start().await;
    for body in bodies {
        stack.peer.send_ok(&order(body)).await;
    }
    stack
}

async fn seconds(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn popped_messages_are_hidden_and_described() {
    let stack = with_messages(&["one", "two"]).await;
    let response = pop(&stack.peer).await;
    assert_eq!(response.code, 0, "{response:?}");
    assert_eq!(bodies(&response), ["one", "two"]);
    assert_eq!(response.remark.as_deref(), Some("FOUND"));
    assert_eq!(response.ext.get("startOffsetInfo"), Some("0 0 0"));
    let offsets: MessageOffsets = response.ext.get("msgOffsetInfo").unwrap().parse().unwrap();
    assert_eq!(offsets.0, [(TopicKind::Normal, 0, vec![0, 1])]);
    assert_eq!(number(&response, "invisibleTime"), INVISIBLE_MS);
    assert_eq!(number(&response, "restNum"), 0);
    let again = pop(&stack.peer).await;
    assert_eq!(again.code, ResponseCode::POLLING_TIMEOUT.0);
    assert_eq!(again.remark.as_deref(), Some("NO_MESSAGE_IN_QUEUE"));
}

#[tokio::test(start_paused = true)]
async fn an_acknowledged_message_does_not_come_back() {
    let stack = with_messages(&["one", "two"]).await;
    for (_, receipt) in receipts(&pop(&stack.peer).await) {
        assert_eq!(ack(&stack.peer, &receipt).await.code, 0);
    }
    seconds(60).await;
    assert!(bodies(&pop(&stack.peer).await).is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_unacknowledged_message_comes_back_after_its_time() {
    let stack = with_messages(&["one", "two", "three"]).await;
    let popped = receipts(&pop(&stack.peer).await);
    ack(&stack.peer, &popped[1].1).await;
    seconds(10).await;
    assert!(bodies(&pop(&stack.peer).await).is_empty());
    seconds(2).await;
    let again = pop(&stack.peer).await;
    assert_eq!(bodies(&again), ["one", "three"]);
    for (message, receipt) in receipts(&again) {
        assert_eq!(message.message.topic, TOPIC);
        assert_eq!(message.reconsume_times, 1);
        assert_eq!(receipt.kind, TopicKind::Retry);
        let first = message.message.properties.get(property::FIRST_POP_TIME);
        assert_eq!(first, Some(popped[0].1.pop_time.to_string().as_str()));
        ack(&stack.peer, &receipt).await;
    }
    seconds(60).await;
    assert!(bodies(&pop(&stack.peer).await).is_empty());
}

#[tokio::test(start_paused = true)]
async fn messages_come_back_again_and_again() {
    let stack = with_messages(&["one"]).await;
    for times in 0..4 {
        let popped = receipts(&pop(&stack.peer).await);
        assert_eq!(popped.len(), 1, "pop {times}");
        assert_eq!(popped[0].0.reconsume_times, times);
        seconds(13).await;
    }
}

#[tokio::test(start_paused = true)]
async fn messages_of_one_pop_are_acknowledged_at_once() {
    let stack = with_messages(&["one", "two", "three"]).await;
    let popped = receipts(&pop(&stack.peer).await);
    let receipt = &popped[0].1;
    let batch = BatchAck {
        bits: [0, 2, 77].into_iter().collect(),
        group: GROUP.to_owned(),
        invisible_time: receipt.invisible_time,
        pop_time: receipt.pop_time,
        queue_id: receipt.queue_id,
        retry: receipt.kind.flag().to_owned(),
        revive_queue: receipt.revive_queue,
        start_offset: receipt.start_offset,
        topic: TOPIC.to_owned(),
    };
    let body = BatchAckMessageRequestBody {
        acks: vec![batch],
        broker_name: Some(receipt.broker_name.clone()),
    };
    let request = RemotingCommand::request(RequestCode::BATCH_ACK_MESSAGE);
    let empty = stack.peer.invoke(request.clone()).await;
    assert_eq!(empty.code, ResponseCode::NO_MESSAGE.0);
    let response = stack.peer.invoke(request.with_body(body.to_json())).await;
    assert_eq!(response.code, 0, "{response:?}");
    seconds(13).await;
    assert_eq!(bodies(&pop(&stack.peer).await), ["two"]);
}

#[tokio::test(start_paused = true)]
async fn a_message_can_be_hidden_for_longer() {
    let stack = with_messages(&["one"]).await;
    let popped = receipts(&pop(&stack.peer).await);
    seconds(5).await;
    let response = change(&stack.peer, &popped[0].1, 30_000).await;
    assert_eq!(response.code, 0, "{response:?}");
    let receipt = Receipt {
        start_offset: 0,
        pop_time: number(&response, "popTime"),
        invisible_time: number(&response, "invisibleTime"),
        ..popped[0].1.clone()
    };
    seconds(29).await;
    assert!(bodies(&pop(&stack.peer).await).is_empty());
    ack(&stack.peer, &receipt).await;
    seconds(60).await;
    assert!(bodies(&pop(&stack.peer).await).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_message_can_be_shown_earlier() {
    let stack = with_messages(&["one"]).await;
    let popped = receipts(&pop(&stack.peer).await);
    // Twice at one moment: each change has a check point of its own.
    let first = change(&stack.peer, &popped[0].1, 1_000).await;
    let receipt = Receipt {
        start_offset: 0,
        pop_time: number(&first, "popTime"),
        invisible_time: number(&first, "invisibleTime"),
        ..popped[0].1.clone()
    };
    assert_eq!(change(&stack.peer, &receipt, 1_000).await.code, 0);
    seconds(4).await;
    assert_eq!(bodies(&pop(&stack.peer).await), ["one"]);
    assert!(bodies(&pop(&stack.peer).await).is_empty());
}

#[tokio::test(start_paused = true)]
async fn check_points_and_acknowledgements_survive_a_restart() {
    let mut stack = with_messages(&["one", "two"]).await;
    let popped = receipts(&pop(&stack.peer).await);
    ack(&stack.peer, &popped[0].1).await;
    stack = stack.restart().await;
    assert!(bodies(&pop(&stack.peer).await).is_empty());
    seconds(13).await;
    assert_eq!(bodies(&pop(&stack.peer).await), ["two"]);
    // What was revived is not revived once more by the next life.
    stack = stack.restart().await;
    seconds(5).await;
    assert!(bodies(&pop(&stack.peer).await).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_waiting_pop_is_answered_when_a_message_arrives() {
    let stack = with_messages(&["one"]).await;
    ack(&stack.peer, &receipts(&pop(&stack.peer).await)[0].1).await;
    let start = Instant::now();
    let header = pop_header(15_000);
    let (response, ()) = tokio::join!(pop_with(&stack.peer, &header), async {
        seconds(3).await;
        stack.another_peer().send_ok(&order("two")).await;
    });
    assert_eq!(bodies(&response), ["two"]);
    assert_eq!(start.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_pop_is_answered_when_a_message_is_revived() {
    let stack = with_messages(&["one"]).await;
    let start = Instant::now();
    pop(&stack.peer).await;
    let response = pop_with(&stack.peer, &pop_header(15_000)).await;
    assert_eq!(bodies(&response), ["one"]);
    let waited = start.elapsed().as_secs_f64();
    assert!((11.0..12.1).contains(&waited), "{waited}");
}

#[tokio::test(start_paused = true)]
async fn a_pop_waits_no_longer_than_it_asks_for() {
    let stack = with_messages(&["one"]).await;
    let header = PopMessageRequestHeader {
        exp: Some("TagA".to_owned()),
        ..pop_header(15_000)
    };
    let start = Instant::now();
    let (response, waiting) = tokio::join!(pop_with(&stack.peer, &header), async {
        seconds(1).await;
        let header = PollingInfoRequestHeader {
            consumer_group: GROUP.to_owned(),
            topic: TOPIC.to_owned(),
            queue_id: -1,
        };
        let peer = stack.another_peer();
        let response = peer.ask(RequestCode::POLLING_INFO, &header).await;
        // The filter stops it: nobody is woken.
        peer.send_ok(&order("two").with_tag("TagB")).await;
        number(&response, "pollingNum")
    });
    assert_eq!(response.code, ResponseCode::POLLING_TIMEOUT.0);
    assert_eq!(start.elapsed().as_secs(), 15);
    assert_eq!(waiting, 1);
}

#[tokio::test(start_paused = true)]
async fn a_pop_gets_what_its_expression_lets_through() {
    let mut config = crate::support::config();
    config.enable_property_filter = true;
    let stack = Stack::start_with(config, None).await;
    for (body, price) in [("cheap", "1"), ("dear", "100")] {
        let mut message = order(body);
        message.properties.set("price", price);
        stack.peer.send_ok(&message).await;
    }
    let header = PopMessageRequestHeader {
        exp_type: Some("SQL92".to_owned()),
        exp: Some("price > 20".to_owned()),
        ..pop_header(0)
    };
    assert_eq!(bodies(&pop_with(&stack.peer, &header).await), ["dear"]);
    seconds(13).await;
    let again = pop_with(&stack.peer, &header).await;
    assert_eq!(bodies(&again), ["dear"]);
}

#[tokio::test(start_paused = true)]
async fn a_reset_by_an_administrator_moves_the_next_pop() {
    let mut config = crate::support::config();
    config.use_server_side_reset_offset = true;
    let stack = Stack::start_with(config, None).await;
    for body in ["one", "two"] {
        stack.peer.send_ok(&order(body)).await;
    }
    for (_, receipt) in receipts(&pop(&stack.peer).await) {
        ack(&stack.peer, &receipt).await;
    }
    let header = ResetOffsetRequestHeader {
        topic: TOPIC.to_owned(),
        group: GROUP.to_owned(),
        queue_id: Some(0),
        timestamp: -1,
        offset: Some(1),
        is_force: Some(true),
    };
    let code = RequestCode::INVOKE_BROKER_TO_RESET_OFFSET;
    assert_eq!(stack.peer.ask(code, &header).await.code, 0);
    assert_eq!(bodies(&pop(&stack.peer).await), ["two"]);
}

#[tokio::test(start_paused = true)]
async fn a_notification_comes_when_there_is_something_to_pop() {
    let stack = with_messages(&["one"]).await;
    let header = NotificationRequestHeader {
        consumer_group: GROUP.to_owned(),
        topic: TOPIC.to_owned(),
        queue_id: -1,
        poll_time: 15_000,
        ..NotificationRequestHeader::default()
    };
    let notified = || stack.peer.ask(RequestCode::NOTIFICATION, &header);
    assert_eq!(notified().await.ext.get("hasMsg"), Some("true"));
    pop(&stack.peer).await;
    let start = Instant::now();
    let (response, ()) = tokio::join!(notified(), async {
        seconds(3).await;
        stack.another_peer().send_ok(&order("two")).await;
    });
    assert_eq!(response.ext.get("hasMsg"), Some("true"));
    assert_eq!(start.elapsed().as_secs(), 3);
    pop(&stack.peer).await;
    let response = tokio::time::timeout(Duration::from_secs(8), notified()).await;
    assert!(response.is_err(), "{response:?}");
}

/// The names of the retry topics that were created for pops.
async fn retry_topics(peer: &Peer) -> Vec<String> {
    let request = RemotingCommand::request(RequestCode::GET_ALL_TOPIC_CONFIG);
    let topics = peer.invoke(request).await;
    let topics = TopicConfigSerializeWrapper::from_json(&topics.body).unwrap();
    let names = topics.topic_config_table.into_keys();
    names
        .filter(|name| name.starts_with("%RETRY%readers"))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn with_version_2_what_is_revived_goes_to_a_topic_with_a_plus() {
    let mut config = crate::support::config();
    config.enable_retry_topic_v2 = true;
    let stack = Stack::start_with(config, None).await;
    stack.peer.send_ok(&order("one")).await;
    for times in 0..3 {
        let popped = receipts(&pop(&stack.peer).await);
        assert_eq!(popped.len(), 1, "pop {times}");
        assert_eq!(popped[0].0.message.topic, TOPIC);
        let kind = [TopicKind::Normal, TopicKind::RetryV2][usize::from(times > 0)];
        assert_eq!(popped[0].1.kind, kind);
        seconds(13).await;
    }
    assert_eq!(retry_topics(&stack.peer).await, ["%RETRY%readers+orders"]);
    let popped = receipts(&pop(&stack.peer).await);
    ack(&stack.peer, &popped[0].1).await;
    seconds(60).await;
    assert!(bodies(&pop(&stack.peer).await).is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_was_revived_before_version_2_is_still_popped_unless_that_is_switched_off() {
    let stack = with_messages(&["one", "two"]).await;
    pop(&stack.peer).await;
    seconds(13).await;
    let set = |value: &'static str| {
        let request = RemotingCommand::request(RequestCode::UPDATE_BROKER_CONFIG);
        stack.peer.invoke(request.with_body(value))
    };
    assert_eq!(set("enableRetryTopicV2=true").await.code, 0);
    let popped = receipts(&pop(&stack.peer).await);
    assert_eq!(popped.len(), 2);
    assert!(
        popped
            .iter()
            .all(|(_, receipt)| receipt.kind == TopicKind::Retry)
    );
    ack(&stack.peer, &popped[0].1).await;
    seconds(13).await;
    // It was popped from the old retry topic, and goes back there.
    assert_eq!(retry_topics(&stack.peer).await, ["%RETRY%readers_orders"]);
    assert_eq!(
        set("retrieveMessageFromPopRetryTopicV1=false").await.code,
        0
    );
    assert!(bodies(&pop(&stack.peer).await).is_empty());
    assert_eq!(set("retrieveMessageFromPopRetryTopicV1=true").await.code, 0);
    assert_eq!(bodies(&pop(&stack.peer).await), ["two"]);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_topic_takes_the_retry_topics_of_its_pops_along() {
    let stack = with_messages(&["one"]).await;
    pop(&stack.peer).await;
    seconds(13).await;
    assert_eq!(retry_topics(&stack.peer).await, ["%RETRY%readers_orders"]);
    let header = DeleteTopicRequestHeader {
        topic: TOPIC.to_owned(),
    };
    let code = RequestCode::DELETE_TOPIC_IN_BROKER;
    assert_eq!(stack.peer.ask(code, &header).await.code, 0);
    assert_eq!(retry_topics(&stack.peer).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_rollback_to_the_revive_topic_finds_everything_there() {
    let stack = with_messages(&["one"]).await;
    pop(&stack.peer).await;
    let request = RemotingCommand::request(RequestCode::POP_ROLLBACK);
    assert_eq!(stack.peer.invoke(request).await.code, 0);
    seconds(13).await;
    assert_eq!(bodies(&pop(&stack.peer).await), ["one"]);
}

#[tokio::test(start_paused = true)]
async fn looking_takes_nothing_away() {
    let stack = with_messages(&["one", "two"]).await;
    let header = PeekMessageRequestHeader {
        topic: TOPIC.to_owned(),
        queue_id: -1,
        max_msg_nums: 1,
        consumer_group: GROUP.to_owned(),
    };
    for _ in 0..2 {
        let response = stack.peer.ask(RequestCode::PEEK_MESSAGE, &header).await;
        assert_eq!(bodies(&response), ["one"]);
        assert_eq!(number(&response, "restNum"), 2);
    }
    assert_eq!(bodies(&pop(&stack.peer).await), ["one", "two"]);
    let response = stack.peer.ask(RequestCode::PEEK_MESSAGE, &header).await;
    assert_eq!(response.code, ResponseCode::PULL_NOT_FOUND.0);
}

#[tokio::test(start_paused = true)]
async fn an_ordered_queue_waits_for_what_it_gave() {
    let stack = with_messages(&["one", "two", "three"]).await;
    let header = PopMessageRequestHeader {
        max_msg_nums: 2,
        ..in_order()
    };
    let popped = receipts(&pop_with(&stack.peer, &header).await);
    assert_eq!(popped.len(), 2);
    assert!(popped[0].1.is_order());
    assert!(bodies(&pop_with(&stack.peer, &header).await).is_empty());
    ack(&stack.peer, &popped[1].1).await;
    assert!(bodies(&pop_with(&stack.peer, &header).await).is_empty());
    ack(&stack.peer, &popped[0].1).await;
    assert_eq!(bodies(&pop_with(&stack.peer, &header).await), ["three"]);
}

#[tokio::test(start_paused = true)]
async fn an_ordered_queue_gives_the_same_again_after_its_time() {
    let stack = with_messages(&["one", "two", "three"]).await;
    let popped = receipts(&pop_with(&stack.peer, &in_order()).await);
    // All but the first: nothing is skipped.
    for (_, receipt) in &popped[1..] {
        ack(&stack.peer, receipt).await;
    }
    let waiting = PopMessageRequestHeader {
        poll_time: 30_000,
        ..in_order()
    };
    let start = Instant::now();
    let again = pop_with(&stack.peer, &waiting).await;
    assert_eq!(start.elapsed().as_secs(), 10);
    assert_eq!(bodies(&again), ["one", "two", "three"]);
    let counts: OrderCounts = again.ext.get("orderCountInfo").unwrap().parse().unwrap();
    assert_eq!(counts.of(TopicKind::Normal, 0, 0), Some(1));
}

#[tokio::test(start_paused = true)]
async fn an_ordered_queue_stays_blocked_over_a_restart() {
    let mut stack = with_messages(&["one"]).await;
    let popped = receipts(&pop_with(&stack.peer, &in_order()).await);
    let response = change(&stack.peer, &popped[0].1, 40_000).await;
    assert_eq!(response.code, 0, "{response:?}");
    stack = stack.restart().await;
    seconds(30).await;
    assert!(bodies(&pop_with(&stack.peer, &in_order()).await).is_empty());
    ack(&stack.peer, &popped[0].1).await;
    seconds(30).await;
    assert!(bodies(&pop_with(&stack.peer, &in_order()).await).is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_ordered_pop_waits_until_the_queue_is_free() {
    let stack = with_messages(&["one", "two"]).await;
    let one = PopMessageRequestHeader {
        max_msg_nums: 1,
        poll_time: 15_000,
        ..in_order()
    };
    let popped = receipts(&pop_with(&stack.peer, &one).await);
    let start = Instant::now();
    let (response, ()) = tokio::join!(pop_with(&stack.peer, &one), async {
        seconds(3).await;
        ack(&stack.another_peer(), &popped[0].1).await;
    });
    assert_eq!(bodies(&response), ["two"]);
    assert_eq!(start.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_is_refused_with_rocketmqs_codes() {
    let stack = with_messages(&["one"]).await;
    let peer = &stack.peer;
    let refused = |change: fn(&mut PopMessageRequestHeader)| {
        let mut header = pop_header(0);
        change(&mut header);
        async move { pop_with(peer, &header).await.code }
    };
    assert_eq!(refused(|pop| pop.max_msg_nums = 33).await, 29);
    assert_eq!(refused(|pop| pop.max_msg_nums = 0).await, 29);
    assert_eq!(refused(|pop| pop.queue_id = 4).await, 29);
    assert_eq!(refused(|pop| pop.topic = "nothing".to_owned()).await, 17);
    assert_eq!(refused(|pop| pop.exp = Some("||".to_owned())).await, 23);
    assert_eq!(refused(|pop| pop.born_time = 1).await, 210);
    let receipt = receipts(&pop(peer).await).remove(0).1;
    let acked = |change: fn(&mut AckMessageRequestHeader)| {
        let mut header = ack_header(&receipt);
        change(&mut header);
        async move { peer.ask(RequestCode::ACK_MESSAGE, &header).await.code }
    };
    assert_eq!(acked(|ack| ack.topic = "nothing".to_owned()).await, 17);
    assert_eq!(acked(|ack| ack.queue_id = -1).await, 13);
    assert_eq!(acked(|ack| ack.offset = 2).await, 208);
    assert_eq!(acked(|ack| ack.extra_info = "1 2".to_owned()).await, 1);
    let elsewhere = Receipt {
        revive_queue: 8,
        ..receipt.clone()
    };
    assert_eq!(ack(peer, &elsewhere).await.code, 13);
    let beyond = Receipt {
        queue_offset: Some(1),
        ..receipt
    };
    assert_eq!(change(peer, &beyond, 1_000).await.code, 208);
}

#[tokio::test(start_paused = true)]
async fn a_message_at_the_limit_of_properties_comes_back_and_holds_up_nobody() {
    let stack = Stack::start().await;
    let room = 32_767 - "CLUSTER\u{1}DefaultCluster\u{2}big\u{1}".len();
    let big = order("big").with_property("big", "x".repeat(room));
    stack.peer.send_ok(&big).await;
    stack.peer.send_ok(&order("small")).await;
    for times in 0..3 {
        let popped = messages(&pop(&stack.peer).await);
        let found = popped
            .iter()
            .map(|m| (&m.message.body[..], m.reconsume_times));
        let found: Vec<_> = found.collect();
        assert_eq!(found, [(&b"big"[..], times), (b"small", times)]);
        seconds(13).await;
    }
    // What its properties leave no room for, the tables of the response tell.
    let response = pop(&stack.peer).await;
    let starts: StartOffsets = response
        .ext
        .get("startOffsetInfo")
        .unwrap()
        .parse()
        .unwrap();
    for message in messages(&response) {
        let receipt = match message.message.properties.get(property::POP_CK) {
            Some(receipt) => receipt.parse().unwrap(),
            None => Receipt {
                start_offset: starts.of(TopicKind::Retry, message.queue_id).unwrap(),
                pop_time: number(&response, "popTime"),
                invisible_time: number(&response, "invisibleTime"),
                revive_queue: number(&response, "reviveQid") as i32,
                kind: TopicKind::of(&message.message.topic),
                broker_name: "broker-a".to_owned(),
                queue_id: message.queue_id,
                queue_offset: Some(message.queue_offset),
            },
        };
        assert_eq!(ack(&stack.peer, &receipt).await.code, 0);
    }
    seconds(60).await;
    assert!(bodies(&pop(&stack.peer).await).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_pop_whose_messages_could_not_come_back_is_refused_and_hides_nothing() {
    let stack = Stack::start().await;
    let topic = "t".repeat(120);
    let message = hotfire_protocol::Message::new(topic.as_str(), "x");
    stack.peer.send_ok(&message).await;
    let header = |group: usize| PopMessageRequestHeader {
        topic: topic.clone(),
        consumer_group: "g".repeat(group),
        ..pop_header(0)
    };
    let refused = pop_with(&stack.peer, &header(128)).await;
    assert_eq!(refused.code, ResponseCode::INVALID_PARAMETER.0);
    let revive = "rmq_sys_REVIVE_LOG_DefaultCluster";
    let revive = (0..8).map(|queue| stack.broker.store().max_offset_in_queue(revive, queue));
    assert_eq!(revive.sum::<i64>(), 0);
    // 7 + 127 + 1 + 120 characters.
    let fits = pop_with(&stack.peer, &header(127)).await;
    assert_eq!(fits.code, 0, "{fits:?}");
    seconds(13).await;
    let again = pop_with(&stack.peer, &header(127)).await;
    assert_eq!(messages(&again).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn check_points_that_the_broker_did_not_write_move_nothing_and_hold_up_nobody() {
    let stack = with_messages(&["one"]).await;
    let revive = "rmq_sys_REVIVE_LOG_DefaultCluster";
    // It makes the topic.
    pop(&stack.peer).await;
    stack
        .peer
        .send_ok(&order("half").with_property("TRAN_MSG", "true"))
        .await;
    let point = |topic: &str, start: i64, diffs: &str| {
        format!(
            r#"{{"bm":0,"c":"readers","d":[{diffs}],"it":1,"n":1,"pt":1,"q":0,"ro":0,"so":{start},"t":"{topic}"}}"#
        )
    };
    let many = vec!["0"; 10_000].join(",");
    for queue_id in 0..8 {
        for body in [
            "{".to_owned(),
            point("RMQ_SYS_TRANS_HALF_TOPIC", 0, "0"),
            point(TOPIC, 1_000_000, "0"),
            point(TOPIC, i64::MAX, "2147483647,-2147483648"),
            point(TOPIC, 0, &many),
            point("a/b", 0, "0"),
        ] {
            let properties = &[("TAGS", "ck")];
            let mut message = crate::support::stored_by_itself(revive, &body, properties);
            message.queue_id = queue_id;
            assert!(stack.broker.store().append(message).is_stored());
        }
    }
    let stack = stack.restart().await;
    stack.peer.send_ok(&order("two")).await;
    assert_eq!(bodies(&pop(&stack.peer).await), ["two"]);
    seconds(13).await;
    let mut again = bodies(&pop(&stack.peer).await);
    again.sort();
    assert_eq!(again, ["one", "two"]);
    let topics = stack.broker.store().queues();
    assert!(
        !topics
            .iter()
            .any(|(topic, _)| topic.contains("TRANS_HALF_TOPIC") && topic.contains("RETRY"))
    );
}
