//! Sending and pulling: what a consumer sees of what a producer sent.

use std::time::Duration;

use hotfire_protocol::header::pull::sys_flag;
use hotfire_protocol::{RequestCode, ResponseCode};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{self, GROUP, Stack, TOPIC, bodies, messages, number, order, pull_header};

#[tokio::test(start_paused = true)]
async fn what_was_sent_is_pulled_in_order() {
    let stack = Stack::start().await;
    for body in ["one", "two", "three"] {
        stack
            .peer
            .send_ok(&order(body).with_tag("TagA").with_key("k"))
            .await;
    }
    let response = stack.peer.pull(TOPIC, 0, "*").await;
    assert_eq!(response.code, 0);
    assert_eq!(response.remark.as_deref(), Some("FOUND"));
    assert_eq!(bodies(&response), ["one", "two", "three"]);
    assert_eq!(number(&response, "nextBeginOffset"), 3);
    assert_eq!(number(&response, "minOffset"), 0);
    assert_eq!(number(&response, "maxOffset"), 3);
    assert_eq!(number(&response, "suggestWhichBrokerId"), 0);
    let first = &messages(&response)[0];
    assert_eq!(first.message.tag(), Some("TagA"));
    assert_eq!(
        first.message.properties.get("CLUSTER"),
        Some("DefaultCluster")
    );
    assert_eq!(first.store_host, stack.broker.address());
}

#[tokio::test(start_paused = true)]
async fn a_pull_begins_at_the_offset_that_it_names() {
    let stack = Stack::start().await;
    for body in ["one", "two", "three"] {
        stack.peer.send_ok(&order(body)).await;
    }
    assert_eq!(bodies(&stack.peer.pull(TOPIC, 2, "*").await), ["three"]);
}

#[tokio::test(start_paused = true)]
async fn a_pull_answers_no_more_messages_than_asked_for_and_32_at_most() {
    let stack = Stack::start().await;
    for at in 0..40 {
        stack.peer.send_ok(&order(&at.to_string())).await;
    }
    for (wanted, answered) in [(5, 5), (100, 32)] {
        let mut header = pull_header(TOPIC, 0, "*");
        header.max_msg_nums = wanted;
        let response = stack.peer.ask(RequestCode::PULL_MESSAGE, &header).await;
        assert_eq!(bodies(&response).len(), answered);
        assert_eq!(number(&response, "nextBeginOffset"), answered as i64);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pull_answers_256_kib_at_most_but_always_one_message() {
    let stack = Stack::start().await;
    for _ in 0..3 {
        stack.peer.send_ok(&order(&"x".repeat(100 << 10))).await;
    }
    assert_eq!(bodies(&stack.peer.pull(TOPIC, 0, "*").await).len(), 2);
    stack.peer.send_ok(&order(&"y".repeat(300 << 10))).await;
    assert_eq!(bodies(&stack.peer.pull(TOPIC, 3, "*").await).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn only_messages_with_a_wanted_tag_are_pulled() {
    let stack = Stack::start().await;
    for tag in ["TagA", "TagB", "TagA", "TagC"] {
        stack.peer.send_ok(&order(tag).with_tag(tag)).await;
    }
    let response = stack.peer.pull(TOPIC, 0, "TagA || TagC").await;
    assert_eq!(bodies(&response), ["TagA", "TagA", "TagC"]);
    let response = stack.peer.pull(TOPIC, 0, "TagX").await;
    assert_eq!(response.code, ResponseCode::PULL_RETRY_IMMEDIATELY.0);
    assert_eq!(response.remark.as_deref(), Some("NO_MATCHED_MESSAGE"));
    assert_eq!(number(&response, "nextBeginOffset"), 4);
}

#[tokio::test(start_paused = true)]
async fn an_offset_outside_the_queue_is_corrected() {
    let stack = Stack::start().await;
    stack.peer.send_ok(&order("one")).await;
    for (offset, code, remark, next) in [
        (1, ResponseCode::PULL_NOT_FOUND, "OFFSET_OVERFLOW_ONE", 1),
        (
            9,
            ResponseCode::PULL_OFFSET_MOVED,
            "OFFSET_OVERFLOW_BADLY",
            1,
        ),
        (-1, ResponseCode::PULL_OFFSET_MOVED, "OFFSET_TOO_SMALL", 0),
    ] {
        let response = stack.peer.pull(TOPIC, offset, "*").await;
        assert_eq!(
            (response.code, response.remark.as_deref()),
            (code.0, Some(remark))
        );
        assert_eq!(number(&response, "nextBeginOffset"), next);
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_queue_is_not_found_from_its_start_and_moved_from_elsewhere() {
    let stack = Stack::start().await;
    stack.peer.send_ok(&order("into queue 0")).await;
    for (offset, code) in [
        (0, ResponseCode::PULL_NOT_FOUND),
        (5, ResponseCode::PULL_OFFSET_MOVED),
    ] {
        let mut header = pull_header(TOPIC, offset, "*");
        header.queue_id = 3;
        let response = stack.peer.ask(RequestCode::PULL_MESSAGE, &header).await;
        assert_eq!(response.code, code.0);
        assert_eq!(number(&response, "nextBeginOffset"), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_is_answered_as_soon_as_a_message_arrives() {
    let stack = Stack::start().await;
    stack.peer.send_ok(&order("old")).await;
    let start = Instant::now();
    let late = async {
        sleep(Duration::from_secs(3)).await;
        stack.peer.send_ok(&order("new")).await;
    };
    let (response, ()) = tokio::join!(stack.peer.long_poll(TOPIC, 1, "*"), late);
    assert_eq!(bodies(&response), ["new"]);
    assert_eq!(start.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_sleeps_through_messages_with_other_tags() {
    let stack = Stack::start().await;
    stack.peer.send_ok(&order("old").with_tag("TagB")).await;
    let start = Instant::now();
    let late = async {
        for (seconds, tag) in [(1, "TagB"), (2, "TagA")] {
            sleep(Duration::from_secs(seconds)).await;
            stack.peer.send_ok(&order("new").with_tag(tag)).await;
        }
    };
    let (response, ()) = tokio::join!(stack.peer.long_poll(TOPIC, 1, "TagA"), late);
    assert_eq!(bodies(&response), ["new"]);
    assert_eq!(start.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_without_messages_ends_within_five_seconds_of_its_time() {
    let stack = Stack::start().await;
    stack.peer.send_ok(&order("old")).await;
    sleep(Duration::from_millis(1_234)).await;
    let start = Instant::now();
    let response = stack.peer.long_poll(TOPIC, 1, "*").await;
    assert_eq!(response.code, ResponseCode::PULL_NOT_FOUND.0);
    let waited = start.elapsed().as_secs_f64();
    assert!((15.0..20.1).contains(&waited), "{waited}");
}

#[tokio::test(start_paused = true)]
async fn without_long_polling_a_pull_waits_for_a_second_only() {
    let mut config = support::config();
    config.long_polling_enable = false;
    let stack = Stack::start_with(config, None).await;
    stack.peer.send_ok(&order("old")).await;
    let start = Instant::now();
    stack.peer.long_poll(TOPIC, 1, "*").await;
    assert!(start.elapsed().as_secs_f64() < 6.1);
}

#[tokio::test(start_paused = true)]
async fn a_pull_that_waits_for_a_queue_without_messages_is_woken_by_the_first() {
    let stack = Stack::start().await;
    stack
        .peer
        .subscribe("c1", GROUP, &[("%RETRY%readers", "*")])
        .await;
    let mut header = pull_header("%RETRY%readers", 0, "*");
    header.sys_flag = sys_flag::SUSPEND;
    header.sub_version = 1;
    let wait = stack.peer.ask(RequestCode::PULL_MESSAGE, &header);
    let late = async {
        sleep(Duration::from_secs(1)).await;
        let mut message = order("again");
        message.topic = "%RETRY%readers".to_owned();
        stack.peer.send_ok(&message).await;
    };
    let (response, ()) = timeout(Duration::from_secs(2), async { tokio::join!(wait, late) })
        .await
        .unwrap();
    assert_eq!(bodies(&response), ["again"]);
}

#[tokio::test(start_paused = true)]
async fn a_pull_commits_the_offset_that_comes_along() {
    let stack = Stack::start().await;
    stack.peer.send_ok(&order("one")).await;
    let mut header = pull_header(TOPIC, 0, "*");
    header.sys_flag |= sys_flag::COMMIT_OFFSET;
    header.commit_offset = 7;
    stack.peer.ask(RequestCode::PULL_MESSAGE, &header).await;
    assert_eq!(number(&stack.peer.committed().await, "offset"), 7);
}

#[tokio::test(start_paused = true)]
async fn a_parked_pull_commits_when_it_comes_and_not_again_when_it_is_answered() {
    let stack = Stack::start().await;
    stack.peer.send_ok(&order("one")).await;
    let mut header = pull_header(TOPIC, 1, "*");
    header.sys_flag |= sys_flag::COMMIT_OFFSET | sys_flag::SUSPEND;
    header.commit_offset = 1;
    let meanwhile = async {
        sleep(Duration::from_secs(1)).await;
        assert_eq!(number(&stack.peer.committed().await, "offset"), 1);
        stack.peer.commit(5).await;
        stack.peer.send_ok(&order("two")).await;
    };
    let pull = stack.peer.ask(RequestCode::PULL_MESSAGE, &header);
    tokio::join!(pull, meanwhile);
    assert_eq!(number(&stack.peer.committed().await, "offset"), 5);
}

#[tokio::test(start_paused = true)]
async fn messages_and_offsets_survive_a_restart() {
    let stack = Stack::start().await;
    stack.peer.send_ok(&order("one")).await;
    stack.peer.commit(1).await;
    let stack = stack.restart().await;
    assert_eq!(number(&stack.peer.committed().await, "offset"), 1);
    stack.peer.send_ok(&order("two")).await;
    assert_eq!(
        bodies(&stack.peer.pull(TOPIC, 0, "*").await),
        ["one", "two"]
    );
}
