//! Messages for an arbitrary time.

use std::time::Duration;

use hotfire_protocol::ResponseCode;
use hotfire_protocol::message::property;
use tokio::time::{Instant, sleep};

use crate::support::{self, Stack, TOPIC, bodies, messages, order};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_message_for_a_time_arrives_at_most_a_tick_after_it_and_not_before() {
    let stack = Stack::start().await;
    stack.peer.send_ok(&order("at once")).await;
    for (offset, ms) in [(1, 2_345), (2, 1_001), (3, 999)] {
        let start = Instant::now();
        let asked = order("later")
            .with_delay(Duration::from_millis(ms))
            .with_tag("TagA");
        stack.peer.send_ok(&asked).await;
        let response = stack.peer.long_poll(TOPIC, offset, "TagA").await;
        let waited = start.elapsed();
        let wanted = Duration::from_millis(ms);
        assert!(waited >= wanted, "{ms}: {waited:?}");
        assert!(waited < wanted + SECOND + SECOND / 5, "{ms}: {waited:?}");
        let delivered = &messages(&response)[0];
        assert_eq!(delivered.message.body, "later");
        assert_eq!(delivered.message.tag(), Some("TagA"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_delivered_message_says_when_it_waited_and_no_more_where_for() {
    let stack = Stack::start().await;
    let at = stack.env.now_ms() + 1_500;
    stack
        .peer
        .send_ok(&order("later").with_deliver_at(at))
        .await;
    sleep(3 * SECOND).await;
    let read = stack.peer.read(TOPIC, 0).await;
    let properties = &read[0].message.properties;
    let number = |name| properties.get(name).unwrap().parse::<i64>().unwrap();
    assert_eq!(number(property::TIMER_DELIVER_MS), at);
    let out = number(property::TIMER_OUT_MS);
    assert!((at - 1000..at).contains(&out) && out % 1000 == 0);
    assert!(number(property::TIMER_ENQUEUE_MS) < out);
    assert!(number(property::TIMER_DEQUEUE_MS) >= at);
    assert_eq!(properties.get("REAL_TOPIC"), None);
    assert_eq!(properties.get("REAL_QID"), None);
}

#[tokio::test(start_paused = true)]
async fn a_time_that_has_passed_means_at_once() {
    let stack = Stack::start().await;
    stack
        .peer
        .send_ok(&order("past").with_deliver_at(1_000))
        .await;
    stack
        .peer
        .send_ok(&order("now").with_delay(Duration::ZERO))
        .await;
    let response = stack.peer.pull(TOPIC, 0, "*").await;
    assert_eq!(bodies(&response), ["past", "now"]);
}

#[tokio::test(start_paused = true)]
async fn a_delay_in_seconds_counts_before_one_in_milliseconds_and_a_level_before_both() {
    let stack = Stack::start().await;
    let seconds = order("seconds")
        .with_property(property::TIMER_DELAY_SEC, "3")
        .with_delay(300 * SECOND);
    stack.peer.send_ok(&seconds).await;
    let level = order("level").with_delay_level(1).with_delay(300 * SECOND);
    stack.peer.send_ok(&level).await;
    sleep(6 * SECOND).await;
    let read = stack.peer.read(TOPIC, 0).await;
    let bodies: Vec<_> = read.iter().map(|m| &m.message.body[..]).collect();
    assert_eq!(bodies, [&b"level"[..], b"seconds"]);
    assert_eq!(
        read[0].message.properties.get(property::TIMER_DELAY_MS),
        None
    );
}

#[tokio::test(start_paused = true)]
async fn a_time_too_far_away_or_no_number_is_refused() {
    let stack = Stack::start().await;
    let day = 86_400 * SECOND;
    stack.peer.send_ok(&order("far").with_delay(3 * day)).await;
    for illegal in [
        order("x").with_delay(3 * day + Duration::from_millis(1)),
        order("x").with_deliver_at(i64::MAX),
        order("x").with_property(property::TIMER_DELAY_SEC, "9223372036854775807"),
        order("x").with_property(property::TIMER_DELAY_MS, "soon"),
        order("x").with_property(property::TIMER_DELIVER_MS, "1e9"),
    ] {
        let response = stack.peer.send(&illegal).await;
        assert_eq!(response.code, ResponseCode::MESSAGE_ILLEGAL.0);
        let remark = response.remark.unwrap();
        assert!(
            remark.contains("bigger than the max delay 259200000ms"),
            "{remark}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_wheel_such_messages_are_refused() {
    let mut config = support::config();
    config.store.timer_wheel_enable = false;
    let stack = Stack::start_with(config, None).await;
    let response = stack.peer.send(&order("later").with_delay(SECOND)).await;
    assert_eq!(response.code, ResponseCode::SYSTEM_ERROR.0);
    let remark = response.remark.unwrap();
    assert!(remark.contains("timerWheelEnable is false"), "{remark}");
}

#[tokio::test(start_paused = true)]
async fn a_tick_that_is_too_full_takes_no_more() {
    let mut config = support::config();
    config.store.timer_congest_num_each_slot = 5;
    let stack = Stack::start_with(config, None).await;
    let at = stack.env.now_ms() + 60_000;
    let mut refused = 0;
    for _ in 0..20 {
        let response = stack.peer.send(&order("later").with_deliver_at(at)).await;
        if response.code != 0 {
            assert_eq!(response.code, ResponseCode::SYSTEM_ERROR.0);
            assert!(response.remark.unwrap().contains("under flow control"));
            refused += 1;
        }
        // The wheel learns of it.
        sleep(SECOND / 5).await;
    }
    assert!((10..15).contains(&refused), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn messages_wait_across_restarts() {
    let mut stack = Stack::start().await;
    for seconds in 1..=8 {
        let delay = Duration::from_secs(seconds);
        stack
            .peer
            .send_ok(&order(&seconds.to_string()).with_delay(delay))
            .await;
    }
    for _ in 0..3 {
        sleep(2 * SECOND).await;
        stack = stack.restart().await;
    }
    sleep(4 * SECOND).await;
    let response = stack.peer.pull(TOPIC, 0, "*").await;
    assert_eq!(bodies(&response), ["1", "2", "3", "4", "5", "6", "7", "8"]);
}

#[tokio::test(start_paused = true)]
async fn a_message_for_a_time_beyond_the_window_goes_round() {
    let mut config = support::config();
    config.store.timer_roll_window_slots = 30;
    let stack = Stack::start_with(config, None).await;
    let start = Instant::now();
    stack
        .peer
        .send_ok(&order("later").with_delay(100 * SECOND))
        .await;
    // A pull waits for half a minute at the longest.
    sleep(90 * SECOND).await;
    let response = stack.peer.long_poll(TOPIC, 0, "*").await;
    let waited = start.elapsed().as_secs_f64();
    assert!((100.0..101.3).contains(&waited), "{waited}");
    let properties = &messages(&response)[0].message.properties;
    let rolls: i32 = properties
        .get(property::TIMER_ROLL_TIMES)
        .unwrap()
        .parse()
        .unwrap();
    assert!((3..=5).contains(&rolls), "{rolls}");
}

#[tokio::test(start_paused = true)]
async fn a_flood_for_one_tick_is_delivered_in_order_and_whole() {
    let stack = Stack::start().await;
    let at = stack.env.now_ms() + 5_000;
    for number in 0..1_500 {
        let message = order(&number.to_string()).with_deliver_at(at);
        stack.peer.send_ok(&message).await;
    }
    sleep(7 * SECOND).await;
    assert_eq!(stack.broker.store().max_offset_in_queue(TOPIC, 0), 1_500);
    for offset in [0, 700, 1_499] {
        let response = stack.peer.pull(TOPIC, offset, "*").await;
        assert_eq!(bodies(&response)[0], offset.to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_properties_leave_no_room_is_delivered_all_the_same() {
    let stack = Stack::start().await;
    let at = stack.env.now_ms() + 1_500;
    let base = order("big").with_deliver_at(at);
    // As large as the timer topic takes it.
    let mut fits = None;
    for size in (32_400..32_700).rev() {
        let message = base.clone().with_property("big", "x".repeat(size));
        if stack.peer.send(&message).await.code == 0 {
            fits = Some(size);
            break;
        }
    }
    assert!(fits.is_some());
    sleep(3 * SECOND).await;
    assert_eq!(stack.peer.read(TOPIC, 0).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_can_never_be_delivered_is_set_aside_and_the_wheel_goes_on() {
    let stack = Stack::start().await;
    let out = (stack.env.now_ms() / 1_000 * 1_000 + 2_000).to_string();
    let long = "t".repeat(256);
    for (body, properties) in [
        ("nowhere", &[("TIMER_OUT_MS", out.as_str())][..]),
        ("never", &[("REAL_TOPIC", TOPIC), ("REAL_QID", "0")]),
        (
            "ages",
            &[
                ("TIMER_OUT_MS", "9223372036854775807"),
                ("REAL_TOPIC", TOPIC),
            ],
        ),
        (
            "inner",
            &[
                ("TIMER_OUT_MS", &out),
                ("REAL_TOPIC", "rmq_sys_wheel_timer"),
            ],
        ),
        ("folder", &[("TIMER_OUT_MS", &out), ("REAL_TOPIC", "a/b")]),
        ("long", &[("TIMER_OUT_MS", &out), ("REAL_TOPIC", &long)]),
    ] {
        let message = support::stored_by_itself("rmq_sys_wheel_timer", body, properties);
        assert!(stack.broker.store().append(message).is_stored());
    }
    stack
        .peer
        .send_ok(&order("behind").with_delay(3 * SECOND))
        .await;
    sleep(5 * SECOND).await;
    assert_eq!(bodies(&stack.peer.pull(TOPIC, 0, "*").await), ["behind"]);
    let expected = [
        ("nowhere", "it does not say where it is meant for"),
        ("never", "it does not say when it is due"),
        ("ages", "it does not say when it is due"),
        ("inner", "it is meant for a topic of the broker's own"),
        ("folder", "it does not fit"),
        ("long", "it does not fit"),
    ];
    let expected = expected.map(|(body, reason)| (body.to_owned(), reason.to_owned()));
    assert_eq!(stack.set_aside(), expected);
    // A new life finds that they are dealt with.
    let stack = stack.restart().await;
    sleep(5 * SECOND).await;
    assert_eq!(stack.set_aside().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_lowered_message_size_changes_nothing_for_what_waits() {
    let stack = Stack::start().await;
    let large = order(&"x".repeat(5_000)).with_delay(10 * SECOND);
    stack.peer.send_ok(&large).await;
    let stack = stack
        .restart_with(|config| {
            config.store.max_message_size = 1_000;
            config.store.timer_max_delay = SECOND;
        })
        .await;
    sleep(12 * SECOND).await;
    assert_eq!(stack.peer.read(TOPIC, 0).await.len(), 1);
}
