//! Delay levels: messages that are delivered later.

use std::time::Duration;

use hotfire_protocol::header::send::ConsumerSendMsgBackRequestHeader;
use hotfire_protocol::header::topic::CreateTopicRequestHeader;
use hotfire_protocol::{RemotingCommand, RequestCode, ResponseCode};
use hotfire_store::FlushDiskType;
use tokio::time::{Instant, sleep};

use crate::support::{self, Stack, TOPIC, bodies, messages, order};

#[tokio::test(start_paused = true)]
async fn a_delayed_message_arrives_after_its_delay_and_not_before() {
    let stack = Stack::start().await;
    stack.peer.send_ok(&order("at once")).await;
    let start = Instant::now();
    stack
        .peer
        .send_ok(&order("later").with_delay_level(2).with_tag("TagA"))
        .await;
    let response = stack.peer.long_poll(TOPIC, 1, "TagA").await;
    let waited = start.elapsed().as_secs_f64();
    assert!((5.0..5.3).contains(&waited), "{waited}");
    let delivered = &messages(&response)[0];
    assert_eq!(delivered.message.body, "later");
    assert_eq!(delivered.queue_offset, 1);
    assert_eq!(delivered.message.properties.get("REAL_TOPIC"), Some(TOPIC));
    assert_eq!(delivered.message.properties.get("REAL_QID"), Some("0"));
    // Apache RocketMQ 4.9 leaves it in the record, too.
    assert_eq!(delivered.message.properties.get("DELAY"), Some("2"));
}

#[tokio::test(start_paused = true)]
async fn messages_of_one_level_keep_their_order() {
    let stack = Stack::start().await;
    for body in ["one", "two", "three"] {
        stack.peer.send_ok(&order(body).with_delay_level(1)).await;
    }
    sleep(Duration::from_secs(3)).await;
    assert_eq!(
        bodies(&stack.peer.pull(TOPIC, 0, "*").await),
        ["one", "two", "three"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_level_beyond_the_longest_gets_the_longest_delay() {
    let mut config = support::config();
    config.store.delay_levels = vec![1_000, 5_000];
    let stack = Stack::start_with(config, None).await;
    stack.peer.send_ok(&order("at once")).await;
    let start = Instant::now();
    stack
        .peer
        .send_ok(&order("later").with_delay_level(99))
        .await;
    assert_eq!(
        bodies(&stack.peer.long_poll(TOPIC, 1, "*").await),
        ["later"]
    );
    assert_eq!(start.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_fails_is_tried_again_and_skips_nothing() {
    let stack = Stack::start().await;
    for body in ["one", "two"] {
        stack.peer.send_ok(&order(body).with_delay_level(1)).await;
    }
    // Nothing can be put when both are due; the restarted broker goes on where it was.
    stack.broker.store().shutdown().await.unwrap();
    sleep(Duration::from_secs(3)).await;
    assert_eq!(
        stack.peer.pull(TOPIC, 0, "*").await.code,
        ResponseCode::PULL_NOT_FOUND.0
    );
    let stack = stack.restart().await;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(
        bodies(&stack.peer.pull(TOPIC, 0, "*").await),
        ["one", "two"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_backlog_of_due_messages_is_delivered_in_one_go() {
    let stack = Stack::start().await;
    for at in 0..200 {
        stack
            .peer
            .send_ok(&order(&at.to_string()).with_delay_level(1))
            .await;
    }
    sleep(Duration::from_millis(1_200)).await;
    let response = stack.peer.pull(TOPIC, 199, "*").await;
    assert_eq!(bodies(&response), ["199"]);
}

#[tokio::test(start_paused = true)]
async fn with_synchronous_flush_a_delayed_message_is_delivered_although_nothing_else_is_sent() {
    let mut config = support::config();
    config.store.flush_disk_type = FlushDiskType::Sync;
    let stack = Stack::start_with(config, None).await;
    stack
        .peer
        .send_ok(&order("later").with_delay_level(1))
        .await;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(bodies(&stack.peer.pull(TOPIC, 0, "*").await), ["later"]);
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_properties_leave_no_room_does_not_block_its_level() {
    let stack = Stack::start().await;
    // With its real topic and queue noted, these are the most that fit.
    let noted = "REAL_TOPIC\u{1}orders\u{2}REAL_QID\u{1}0\u{2}DELAY\u{1}1\u{2}big\u{1}\u{2}".len()
        + "CLUSTER\u{1}DefaultCluster\u{2}".len();
    let big = "x".repeat(32_767 - noted);
    stack
        .peer
        .send_ok(&order("big").with_delay_level(1).with_property("big", big))
        .await;
    stack.peer.send_ok(&order("next").with_delay_level(1)).await;
    sleep(Duration::from_secs(3)).await;
    let response = stack.peer.pull(TOPIC, 0, "*").await;
    assert_eq!(bodies(&response), ["big", "next"]);
    let properties = &messages(&response)[1].message.properties;
    assert_eq!(properties.get("WAIT"), None, "Apache RocketMQ adds none");
}

#[tokio::test(start_paused = true)]
async fn what_can_never_be_delivered_is_set_aside_and_its_level_goes_on() {
    let stack = Stack::start().await;
    stack.peer.send_ok(&order("at once")).await;
    let long = "t".repeat(256);
    for (body, properties) in [
        ("nowhere", &[("DELAY", "1")][..]),
        (
            "folder",
            &[("DELAY", "1"), ("REAL_TOPIC", "a/b"), ("REAL_QID", "0")],
        ),
        (
            "long",
            &[("DELAY", "1"), ("REAL_TOPIC", &long), ("REAL_QID", "0")],
        ),
        (
            "half",
            &[
                ("DELAY", "1"),
                ("REAL_TOPIC", "RMQ_SYS_TRANS_HALF_TOPIC"),
                ("REAL_QID", "0"),
            ],
        ),
        (
            "queue",
            &[("DELAY", "1"), ("REAL_TOPIC", TOPIC), ("REAL_QID", "first")],
        ),
    ] {
        let message = support::stored_by_itself("SCHEDULE_TOPIC_XXXX", body, properties);
        assert!(stack.broker.store().append(message).is_stored());
    }
    stack
        .peer
        .send_ok(&order("behind").with_delay_level(1))
        .await;
    sleep(Duration::from_secs(3)).await;
    let response = stack.peer.pull(TOPIC, 0, "*").await;
    assert_eq!(bodies(&response), ["at once", "behind"]);
    let nowhere = "it does not say where it is meant for";
    let expected = [
        ("nowhere", nowhere),
        ("folder", "it does not fit"),
        ("long", "it does not fit"),
        ("half", "it is meant for a topic of the broker's own"),
        ("queue", nowhere),
    ];
    let expected = expected.map(|(body, reason)| (body.to_owned(), reason.to_owned()));
    assert_eq!(stack.set_aside(), expected);
    assert!(
        stack
            .peer
            .read("RMQ_SYS_TRANS_HALF_TOPIC", 0)
            .await
            .is_empty(),
        "nothing is moved there"
    );
    // An administrator sees how many there are, and may look at them.
    let info = RemotingCommand::request(RequestCode::GET_BROKER_RUNTIME_INFO);
    let info = stack.peer.invoke(info).await;
    let text = String::from_utf8(info.body.to_vec()).unwrap();
    assert!(text.contains("\"setAsideMessages\":\"5\""), "{text}");
    let seen = stack.peer.read("rmq_sys_SET_ASIDE", 0).await;
    let property = |name| seen[1].message.properties.get(name);
    assert_eq!(property("SET_ASIDE_LINE"), Some("delayLevel"));
    assert_eq!(property("SET_ASIDE_TOPIC"), Some("SCHEDULE_TOPIC_XXXX"));
    assert_eq!(property("REAL_TOPIC"), Some("a/b"));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(stack.set_aside().len(), 5, "once each");
}

#[tokio::test(start_paused = true)]
async fn settings_that_were_lowered_change_nothing_for_what_waits() {
    let stack = Stack::start().await;
    stack.peer.send_ok(&order("at once")).await;
    let large = order(&"x".repeat(5_000)).with_delay_level(3);
    stack.peer.send_ok(&large).await;
    let start = Instant::now();
    let stack = stack
        .restart_with(|config| {
            config.store.max_message_size = 1_000;
            config.store.delay_levels = vec![1_000];
        })
        .await;
    let refused = stack.peer.send(&large).await;
    assert_eq!(refused.code, ResponseCode::MESSAGE_ILLEGAL.0);
    let response = stack.peer.long_poll(TOPIC, 1, "*").await;
    assert_eq!(bodies(&response)[0].len(), 5_000);
    let waited = start.elapsed().as_secs_f64();
    assert!((10.0..10.3).contains(&waited), "{waited}");
}

#[tokio::test(start_paused = true)]
async fn a_message_for_a_queue_that_its_topic_has_lost_goes_where_it_is_read() {
    let stack = Stack::start().await;
    let update = |queues| CreateTopicRequestHeader {
        topic: TOPIC.to_owned(),
        default_topic: "TBW102".to_owned(),
        read_queue_nums: queues,
        write_queue_nums: queues,
        perm: 6,
        topic_filter_type: "SINGLE_TAG".to_owned(),
        ..CreateTopicRequestHeader::default()
    };
    let code = RequestCode::UPDATE_AND_CREATE_TOPIC;
    assert_eq!(stack.peer.ask(code, &update(8)).await.code, 0);
    let late = order("late").with_delay_level(1);
    let response = stack.peer.invoke(support::send_request(&late, 7)).await;
    assert_eq!(response.code, 0);
    let timed = order("timed").with_delay(Duration::from_secs(2));
    let response = stack.peer.invoke(support::send_request(&timed, 7)).await;
    assert_eq!(response.code, 0);
    assert_eq!(stack.peer.ask(code, &update(1)).await.code, 0);
    sleep(Duration::from_secs(5)).await;
    let response = stack.peer.pull(TOPIC, 0, "*").await;
    assert_eq!(bodies(&response), ["late", "timed"]);
}

#[tokio::test(start_paused = true)]
async fn a_group_whose_retry_topic_has_no_name_holds_up_nobody() {
    let stack = Stack::start().await;
    stack.peer.send_ok(&order("failed")).await;
    let failed = stack.peer.read(TOPIC, 0).await.remove(0);
    for (length, accepted) in [(248, true), (249, false), (255, false)] {
        for delay_level in [1, -1] {
            let header = ConsumerSendMsgBackRequestHeader {
                offset: failed.commit_log_offset,
                group: "g".repeat(length),
                delay_level,
                ..ConsumerSendMsgBackRequestHeader::default()
            };
            let code = RequestCode::CONSUMER_SEND_MSG_BACK;
            let answer = stack.peer.ask(code, &header).await.code;
            assert_eq!(answer == 0, accepted, "{length} {delay_level}: {answer}");
        }
    }
    stack
        .peer
        .send_ok(&order("behind").with_delay_level(1))
        .await;
    sleep(Duration::from_secs(3)).await;
    let response = stack.peer.pull(TOPIC, 0, "*").await;
    assert_eq!(bodies(&response), ["failed", "behind"]);
    assert!(stack.set_aside().is_empty());
}

#[tokio::test(start_paused = true)]
async fn thousands_that_are_due_at_once_keep_nobody_from_sending() {
    const DUE: i64 = 3_000;
    let stack = Stack::start().await;
    let store = stack.broker.store();
    let properties = [("DELAY", "1"), ("REAL_TOPIC", TOPIC), ("REAL_QID", "0")];
    for _ in 0..DUE {
        let due = support::stored_by_itself("SCHEDULE_TOPIC_XXXX", "due", &properties);
        assert!(store.append(due).is_stored());
    }
    // To the very moment at which they are due, and looked at. From then on nobody sleeps.
    sleep(Duration::from_secs(1)).await;
    let canary = hotfire_protocol::Message::new("canary", "alive");
    let mut answered_meanwhile = 0;
    for _ in 0..200 {
        stack.peer.send_ok(&canary).await;
        let delivered = store.max_offset_in_queue(TOPIC, 0);
        answered_meanwhile += usize::from((1..DUE).contains(&delivered));
    }
    assert!(answered_meanwhile >= 5, "{answered_meanwhile}");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(store.max_offset_in_queue(TOPIC, 0), DUE);
}
