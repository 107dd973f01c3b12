//! Transactions: half messages, their ends, and the questions about those that have none.

use std::time::Duration;

use hotfire_broker::BrokerConfig;
use hotfire_protocol::header::transaction::{
    CheckTransactionStateRequestHeader, EndTransactionRequestHeader,
    ResumeCheckHalfMessageRequestHeader,
};
use hotfire_protocol::message::id::parse_offset_msg_id;
use hotfire_protocol::message::{property, record};
use hotfire_protocol::{Message, MessageExt, RemotingCommand, RequestCode, ResponseCode};
use hotfire_store::FlushDiskType;
use tokio::time::{Instant, sleep};

use crate::support::{self, Peer, Stack, TOPIC, bodies, messages, number, order};

const HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
const OP_TOPIC: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
const GIVEN_UP_TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
/// The group that [`Peer::subscribe`] enters as a producer.
const PRODUCERS: &str = "writers";
const UNKNOWN: i32 = 0;
const COMMIT: i32 = 8;
const ROLLBACK: i32 = 12;

/// Where a half message is.
#[derive(Clone, Copy)]
struct Half {
    queue_offset: i64,
    commit_log_offset: i64,
}

/// A broker that checks every 10 s what is older than 6 s.
fn config() -> BrokerConfig {
    BrokerConfig {
        transaction_check_interval: Duration::from_secs(10),
        ..support::config()
    }
}

async fn start() -> Stack {
    Stack::start_with(config(), None).await
}

fn half_message(body: &str) -> Message {
    order(body)
        .with_property(property::TRAN_MSG, "true")
        .with_property(property::PGROUP, PRODUCERS)
        .with_property(property::UNIQ_KEY, format!("id of {body}"))
        .with_property(property::WAIT, "true")
        .with_tag("TagX")
}

/// Stores a half message for queue 2.
async fn begin(stack: &Stack, message: &Message) -> Half {
    begin_in(stack, message, 2).await
}

async fn begin_in(stack: &Stack, message: &Message, queue_id: i32) -> Half {
    let mut request = support::send_request(message, queue_id);
    request.ext.set("g", stack.env.now_ms().to_string());
    let response = stack.peer.invoke(request).await;
    assert_eq!(response.code, 0, "{response:?}");
    let real_queue = number(&response, "queueId");
    assert_eq!(
        real_queue,
        i64::from(queue_id),
        "the producer sees the real queue"
    );
    Half {
        queue_offset: number(&response, "queueOffset"),
        commit_log_offset: log_offset(&response),
    }
}

/// Where the answer to a send says that the message is in the commit log.
fn log_offset(response: &RemotingCommand) -> i64 {
    let id = response.ext.get("msgId").unwrap();
    parse_offset_msg_id(id).unwrap().1
}

fn end_header(half: Half, decision: i32) -> EndTransactionRequestHeader {
    EndTransactionRequestHeader {
        producer_group: PRODUCERS.to_owned(),
        tran_state_table_offset: half.queue_offset,
        commit_log_offset: half.commit_log_offset,
        commit_or_rollback: decision,
        msg_id: "id".to_owned(),
        ..EndTransactionRequestHeader::default()
    }
}

async fn end(peer: &Peer, half: Half, decision: i32) {
    let header = end_header(half, decision);
    let response = peer.ask(RequestCode::END_TRANSACTION, &header).await;
    assert_eq!(response.code, 0, "{response:?}");
}

/// Everything in a queue of a topic.
fn stored(stack: &Stack, topic: &str, queue_id: i32) -> Vec<MessageExt> {
    let store = stack.broker.store();
    let (mut all, mut at) = (Vec::new(), 0);
    loop {
        let read = store.get_message(topic, queue_id, at, 32, usize::MAX, &|_| true);
        if read.messages.is_empty() {
            return all;
        }
        for mut bytes in read.messages {
            all.push(record::decode(&mut bytes, true).unwrap());
        }
        at = read.next_begin_offset;
    }
}

fn texts(messages: &[MessageExt]) -> Vec<&str> {
    let text = |message| str::from_utf8(message).unwrap();
    messages
        .iter()
        .map(|stored| text(&stored.message.body[..]))
        .collect()
}

/// What reached consumers.
fn delivered(stack: &Stack) -> Vec<String> {
    let messages = stored(stack, TOPIC, 2);
    texts(&messages).into_iter().map(str::to_owned).collect()
}

/// The questions about half messages that the client got.
fn checks(peer: &Peer) -> Vec<(CheckTransactionStateRequestHeader, MessageExt)> {
    let asked = peer.asked.0.lock();
    let checks = asked
        .iter()
        .filter(|request| request.code == RequestCode::CHECK_TRANSACTION_STATE.0);
    checks
        .map(|request| {
            assert!(request.is_oneway());
            let mut body = request.body.clone();
            let message = record::decode(&mut body, true).unwrap();
            (request.header().unwrap(), message)
        })
        .collect()
}

fn asked_half(check: &(CheckTransactionStateRequestHeader, MessageExt)) -> Half {
    Half {
        queue_offset: check.0.tran_state_table_offset,
        commit_log_offset: check.0.commit_log_offset,
    }
}

fn names_of(message: &MessageExt) -> Vec<&str> {
    let mut names: Vec<_> = message
        .message
        .properties
        .iter()
        .map(|(name, _)| name)
        .collect();
    names.sort_unstable();
    names
}

/// The names of the properties that a record of Apache RocketMQ 4.9.8 has, half or final.
const RECORDED: [&str; 8] = [
    "CLUSTER",
    "PGROUP",
    "REAL_QID",
    "REAL_TOPIC",
    "TAGS",
    "TRAN_MSG",
    "UNIQ_KEY",
    "WAIT",
];

#[tokio::test(start_paused = true)]
async fn a_half_message_is_not_in_its_topic() {
    let stack = start().await;
    begin(&stack, &half_message("paid")).await;
    assert!(delivered(&stack).is_empty());
    let halves = stored(&stack, HALF_TOPIC, 0);
    assert_eq!(texts(&halves), ["paid"]);
    assert_eq!(names_of(&halves[0]), RECORDED);
    assert_eq!(halves[0].sys_flag, 0);
}

#[tokio::test(start_paused = true)]
async fn a_commit_delivers_the_message_and_notes_it() {
    let stack = start().await;
    begin(&stack, &half_message("first")).await;
    let half = begin(&stack, &half_message("paid")).await;
    end(&stack.peer, half, COMMIT).await;
    let messages = stored(&stack, TOPIC, 2);
    assert_eq!(texts(&messages), ["paid"]);
    assert_eq!(messages[0].sys_flag, 8);
    assert_eq!(
        messages[0].prepared_transaction_offset,
        half.commit_log_offset
    );
    assert_eq!(names_of(&messages[0]), RECORDED);
    let ops = stored(&stack, OP_TOPIC, 0);
    assert_eq!(texts(&ops), ["1"]);
    assert_eq!(names_of(&ops[0]), ["TAGS", "WAIT"]);
    assert_eq!(ops[0].message.tag(), Some("d"));
    assert!(ops[0].commit_log_offset > messages[0].commit_log_offset);
}

#[tokio::test(start_paused = true)]
async fn a_rollback_delivers_nothing_and_notes_it() {
    let stack = start().await;
    let half = begin(&stack, &half_message("paid")).await;
    end(&stack.peer, half, ROLLBACK).await;
    assert!(delivered(&stack).is_empty());
    assert_eq!(texts(&stored(&stack, OP_TOPIC, 0)), ["0"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_producer_does_not_know_is_neither_answered_nor_noted() {
    let stack = start().await;
    let half = begin(&stack, &half_message("paid")).await;
    for undecided in [UNKNOWN, 4, 99] {
        let header = end_header(half, undecided);
        let request = RemotingCommand::request_with(RequestCode::END_TRANSACTION, &header);
        let address = stack.broker.local().to_string();
        let answer = stack
            .peer
            .client
            .invoke(&address, request, Duration::from_secs(3))
            .await;
        assert!(answer.is_err(), "{answer:?}");
    }
    assert!(stored(&stack, OP_TOPIC, 0).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_decision_that_names_the_wrong_group_or_place_has_no_effect() {
    let stack = start().await;
    let half = begin(&stack, &half_message("paid")).await;
    let good = end_header(half, COMMIT);
    for (wrong, remark) in [
        (
            EndTransactionRequestHeader {
                producer_group: "others".to_owned(),
                ..good.clone()
            },
            "The producer group wrong",
        ),
        (
            EndTransactionRequestHeader {
                tran_state_table_offset: 1,
                ..good.clone()
            },
            "The transaction state table offset wrong",
        ),
        (
            EndTransactionRequestHeader {
                commit_log_offset: half.commit_log_offset + 1_000,
                ..good.clone()
            },
            "Find prepared transaction message failed",
        ),
        (
            EndTransactionRequestHeader {
                commit_log_offset: -1,
                ..good.clone()
            },
            "Find prepared transaction message failed",
        ),
    ] {
        for decision in [COMMIT, ROLLBACK] {
            let wrong = EndTransactionRequestHeader {
                commit_or_rollback: decision,
                ..wrong.clone()
            };
            let response = stack.peer.ask(RequestCode::END_TRANSACTION, &wrong).await;
            assert_eq!(
                (response.code, response.remark.as_deref()),
                (1, Some(remark))
            );
        }
    }
    assert!(delivered(&stack).is_empty());
    assert!(stored(&stack, OP_TOPIC, 0).is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_ordinary_message_cannot_be_committed() {
    let stack = start().await;
    let response = stack.peer.send_ok(&order("plain")).await;
    let half = Half {
        queue_offset: number(&response, "queueOffset"),
        commit_log_offset: 0,
    };
    let header = end_header(half, COMMIT);
    let response = stack.peer.ask(RequestCode::END_TRANSACTION, &header).await;
    assert_eq!(response.remark.as_deref(), Some("The producer group wrong"));
    let posing = order("posing").with_property(property::PGROUP, PRODUCERS);
    let response = stack.peer.send_ok(&posing).await;
    let id = response.ext.get("msgId").unwrap();
    let half = Half {
        queue_offset: number(&response, "queueOffset"),
        commit_log_offset: hotfire_protocol::message::id::parse_offset_msg_id(id)
            .unwrap()
            .1,
    };
    let header = end_header(half, COMMIT);
    let response = stack.peer.ask(RequestCode::END_TRANSACTION, &header).await;
    assert_eq!(response.code, 1, "{response:?}");
}

#[tokio::test(start_paused = true)]
async fn a_second_commit_delivers_a_second_time_and_so_does_one_after_a_rollback() {
    let stack = start().await;
    let half = begin(&stack, &half_message("paid")).await;
    end(&stack.peer, half, COMMIT).await;
    end(&stack.peer, half, COMMIT).await;
    let other = begin(&stack, &half_message("refunded")).await;
    end(&stack.peer, other, ROLLBACK).await;
    end(&stack.peer, other, COMMIT).await;
    assert_eq!(delivered(&stack), ["paid", "paid", "refunded"]);
}

#[tokio::test(start_paused = true)]
async fn half_messages_can_be_refused() {
    let config = BrokerConfig {
        reject_transaction_message: true,
        ..config()
    };
    let stack = Stack::start_with(config, None).await;
    let response = stack.peer.send(&half_message("paid")).await;
    assert_eq!(response.code, 16);
    let remark = response.remark.unwrap();
    assert!(
        remark.ends_with("sending transaction message is forbidden"),
        "{remark}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_undecided_half_message_is_asked_about_under_its_newest_offsets() {
    let stack = start().await;
    stack.peer.subscribe("c", "g", &[]).await;
    let first = begin(&stack, &half_message("paid")).await;
    sleep(Duration::from_secs(11)).await;
    let halves = stored(&stack, HALF_TOPIC, 0);
    assert_eq!(texts(&halves), ["paid", "paid"], "it was appended again");
    let [(header, message)] = checks(&stack.peer).try_into().unwrap();
    assert_eq!(header.tran_state_table_offset, 1);
    assert_eq!(header.commit_log_offset, halves[1].commit_log_offset);
    assert_eq!(header.msg_id.as_deref(), Some("id of paid"));
    assert_eq!(header.transaction_id.as_deref(), Some("id of paid"));
    assert_eq!(header.offset_msg_id, Some(halves[1].offset_msg_id()));
    assert_eq!((header.topic, header.broker_name), (None, None));
    assert_eq!(
        (message.message.topic.as_str(), message.queue_id),
        (TOPIC, 2)
    );
    assert_eq!(message.message.body, "paid");
    assert_eq!(message.store_timestamp, halves[0].store_timestamp);
    let properties = &message.message.properties;
    assert_eq!(properties.get("TRANSACTION_CHECK_TIMES"), Some("1"));
    // The record says otherwise, as in Apache RocketMQ.
    assert_eq!(properties.get("WAIT"), Some("false"));
    assert_eq!(halves[1].message.properties.get("WAIT"), Some("true"));
    let newest = Half {
        queue_offset: header.tran_state_table_offset,
        commit_log_offset: header.commit_log_offset,
    };
    end(&stack.peer, newest, COMMIT).await;
    // The first copy is still there, and a late decision about it is executed, too.
    end(&stack.peer, first, COMMIT).await;
    assert_eq!(delivered(&stack), ["paid", "paid"]);
}

#[tokio::test(start_paused = true)]
async fn the_first_check_comes_after_the_timeout_and_the_next_ones_at_the_interval() {
    let stack = start().await;
    stack.peer.subscribe("c", "g", &[]).await;
    sleep(Duration::from_secs(5)).await;
    begin(&stack, &half_message("paid")).await;
    // At 10 s it is 5 s old, too young.
    for (until, expected) in [(19, 0), (21, 1), (29, 1), (31, 2), (41, 3)] {
        let now = stack.env.now_ms() - 1_700_000_000_000;
        sleep(Duration::from_millis((until * 1_000 - now) as u64)).await;
        assert_eq!(checks(&stack.peer).len(), expected, "after {until} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_decided_transaction_is_not_asked_about() {
    let stack = start().await;
    stack.peer.subscribe("c", "g", &[]).await;
    for (body, decision) in [("paid", COMMIT), ("refunded", ROLLBACK)] {
        let half = begin(&stack, &half_message(body)).await;
        end(&stack.peer, half, decision).await;
    }
    let undecided = begin(&stack, &half_message("undecided")).await;
    sleep(Duration::from_secs(11)).await;
    let check = checks(&stack.peer).remove(0);
    assert_eq!(check.1.message.body, "undecided");
    end(&stack.peer, asked_half(&check), ROLLBACK).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(checks(&stack.peer).len(), 1);
    assert_eq!(stored(&stack, HALF_TOPIC, 0).len(), 4);
    assert_eq!(delivered(&stack), ["paid"]);
    assert_eq!(undecided.queue_offset, 2);
}

#[tokio::test(start_paused = true)]
async fn many_decisions_are_all_known_before_anything_is_asked() {
    let stack = start().await;
    stack.peer.subscribe("c", "g", &[]).await;
    begin(&stack, &half_message("undecided")).await;
    for at in 0..200 {
        let half = begin(&stack, &half_message(&at.to_string())).await;
        end(&stack.peer, half, ROLLBACK).await;
    }
    sleep(Duration::from_secs(25)).await;
    let asked = checks(&stack.peer);
    assert!(
        asked
            .iter()
            .all(|(_, message)| message.message.body == "undecided")
    );
    assert_eq!(asked.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn after_the_last_check_a_half_message_is_given_up() {
    let config = BrokerConfig {
        transaction_check_max: 3,
        ..config()
    };
    let stack = Stack::start_with(config, None).await;
    // Checks count although nobody is there to be asked.
    begin(&stack, &half_message("paid")).await;
    sleep(Duration::from_secs(31)).await;
    stack.peer.subscribe("c", "g", &[]).await;
    assert_eq!(stored(&stack, HALF_TOPIC, 0).len(), 4);
    sleep(Duration::from_secs(60)).await;
    let given_up = stored(&stack, GIVEN_UP_TOPIC, 0);
    assert_eq!(texts(&given_up), ["paid"]);
    let properties = &given_up[0].message.properties;
    assert_eq!(properties.get("TRANSACTION_CHECK_TIMES"), Some("3"));
    assert_eq!(properties.get("REAL_TOPIC"), Some(TOPIC));
    assert_eq!(stored(&stack, HALF_TOPIC, 0).len(), 4);
    assert!(checks(&stack.peer).is_empty() && delivered(&stack).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_given_up_half_message_can_be_checked_again_on_demand() {
    let config = BrokerConfig {
        transaction_check_max: 1,
        ..config()
    };
    let stack = Stack::start_with(config, None).await;
    begin(&stack, &half_message("paid")).await;
    sleep(Duration::from_secs(21)).await;
    stack.peer.subscribe("c", "g", &[]).await;
    let given_up = stored(&stack, GIVEN_UP_TOPIC, 0).remove(0);
    let resume = |msg_id: &str| ResumeCheckHalfMessageRequestHeader {
        topic: Some(GIVEN_UP_TOPIC.to_owned()),
        msg_id: Some(msg_id.to_owned()),
    };
    let code = RequestCode::RESUME_CHECK_HALF_MESSAGE;
    let response = stack
        .peer
        .ask(code, &resume(&given_up.offset_msg_id()))
        .await;
    assert_eq!(response.code, 0, "{response:?}");
    sleep(Duration::from_secs(10)).await;
    let check = checks(&stack.peer).remove(0);
    end(&stack.peer, asked_half(&check), COMMIT).await;
    assert_eq!(delivered(&stack), ["paid"]);
    for wrong in ["", "id of paid", "7F00000100002A9F0000000000FFFFFF"] {
        let response = stack.peer.ask(code, &resume(wrong)).await;
        assert_eq!(response.code, 1, "{wrong}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_half_message_with_immunity_of_its_own_holds_up_no_other() {
    let stack = start().await;
    stack.peer.subscribe("c", "g", &[]).await;
    let patient = half_message("patient").with_property("CHECK_IMMUNITY_TIME_IN_SECONDS", "25");
    begin(&stack, &patient).await;
    begin(&stack, &half_message("other")).await;
    sleep(Duration::from_secs(21)).await;
    let asked = |stack: &Stack| -> Vec<String> {
        let checks = checks(&stack.peer).into_iter();
        checks
            .map(|(_, message)| texts(&[message])[0].to_owned())
            .collect()
    };
    assert_eq!(asked(&stack), ["other", "other"]);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(asked(&stack), ["other", "other", "patient", "other"]);
    let (_, patient) = checks(&stack.peer).remove(2);
    let properties = &patient.message.properties;
    assert_eq!(properties.get("TRAN_PREPARED_QUEUE_OFFSET"), Some("0"));
}

#[tokio::test(start_paused = true)]
async fn the_producers_of_a_group_are_asked_in_turn_and_only_those_that_are_there() {
    let stack = start().await;
    let others = [stack.another_peer(), stack.another_peer()];
    for (at, peer) in others.iter().enumerate() {
        peer.subscribe(&format!("c{at}"), "g", &[]).await;
    }
    for at in 0..10 {
        begin(&stack, &half_message(&at.to_string())).await;
    }
    sleep(Duration::from_secs(11)).await;
    assert_eq!(others.each_ref().map(|peer| checks(peer).len()), [5, 5]);
    let [gone, stays] = others;
    gone.client.shutdown();
    sleep(Duration::from_secs(10)).await;
    assert_eq!((checks(&stays).len(), checks(&stack.peer).len()), (15, 0));
}

#[tokio::test(start_paused = true)]
async fn half_messages_and_decisions_survive_a_restart() {
    let stack = start().await;
    let undecided = begin(&stack, &half_message("undecided")).await;
    let half = begin(&stack, &half_message("paid")).await;
    end(&stack.peer, half, COMMIT).await;
    sleep(Duration::from_secs(12)).await;
    let stack = stack.restart().await;
    stack.peer.subscribe("c", "g", &[]).await;
    let late = begin(&stack, &half_message("late")).await;
    sleep(Duration::from_secs(11)).await;
    let asked = checks(&stack.peer);
    let mut asked: Vec<_> = asked.iter().map(|check| check.1.clone()).collect();
    asked.sort_by_key(|message| message.born_timestamp);
    assert_eq!(texts(&asked), ["undecided", "late"]);
    let times = |at: usize| asked[at].message.properties.get("TRANSACTION_CHECK_TIMES");
    assert_eq!((times(0), times(1)), (Some("2"), Some("1")));
    // Both are decided by the offsets that their producers were told first.
    end(&stack.peer, undecided, COMMIT).await;
    end(&stack.peer, late, ROLLBACK).await;
    assert_eq!(delivered(&stack), ["paid", "undecided"]);
}

#[tokio::test(start_paused = true)]
async fn with_synchronous_flush_a_commit_is_answered_when_the_disk_has_it() {
    let mut config = config();
    config.store.flush_disk_type = FlushDiskType::Sync;
    let stack = Stack::start_with(config, None).await;
    let half = begin(&stack, &half_message("paid")).await;
    end(&stack.peer, half, COMMIT).await;
    assert_eq!(delivered(&stack), ["paid"]);
    // The op message does not wait for the disk, but is seen only when the disk has it.
    sleep(Duration::from_millis(100)).await;
    assert_eq!(texts(&stored(&stack, OP_TOPIC, 0)), ["0"]);
    let unhurried = half_message("unhurried").with_property(property::WAIT, "false");
    let half = begin(&stack, &unhurried).await;
    let start = Instant::now();
    end(&stack.peer, half, COMMIT).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_waits_is_woken_by_the_commit() {
    let stack = start().await;
    let ender = stack.another_peer();
    let half = begin_in(&stack, &half_message("paid"), 0).await;
    let committing = async {
        sleep(Duration::from_secs(2)).await;
        end(&ender, half, COMMIT).await;
        Instant::now()
    };
    let (response, committed) = tokio::join!(stack.peer.long_poll(TOPIC, 0, "TagX"), committing);
    assert_eq!(bodies(&response), ["paid"]);
    assert!(committed.elapsed() < Duration::from_secs(1));
    assert_eq!(messages(&response)[0].message.tag(), Some("TagX"));
}

#[tokio::test(start_paused = true)]
async fn a_half_message_with_a_delay_is_delayed_when_it_is_committed() {
    let stack = start().await;
    // Clients take a level off; from one that does not, Apache RocketMQ takes the half message and
    // discards it.
    for message in [
        half_message("level").with_delay_level(2),
        half_message("time").with_delay(Duration::from_secs(7)),
    ] {
        let half = begin(&stack, &message).await;
        sleep(Duration::from_secs(1)).await;
        end(&stack.peer, half, COMMIT).await;
    }
    assert!(delivered(&stack).is_empty());
    sleep(Duration::from_secs(4)).await;
    assert!(
        delivered(&stack).is_empty(),
        "its delay begins with the commit"
    );
    sleep(Duration::from_secs(5)).await;
    assert_eq!(delivered(&stack), ["level", "time"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_commit_could_not_keep_is_refused_before_it_is_a_half_message() {
    let stack = start().await;
    let day = Duration::from_secs(86_400);
    for message in [
        half_message("far").with_delay(4 * day),
        half_message("soon").with_property(property::TIMER_DELAY_SEC, "soon"),
    ] {
        let response = stack.peer.send(&message).await;
        assert_eq!(response.code, ResponseCode::MESSAGE_ILLEGAL.0);
    }
    assert!(stored(&stack, HALF_TOPIC, 0).is_empty());
    // As late as it may be when it is sent, it may be when it is committed, whatever is set then.
    let half = begin(&stack, &half_message("late").with_delay(day / 600)).await;
    let stack = stack
        .restart_with(|config| {
            config.store.timer_max_delay = Duration::from_secs(60);
            config.store.max_message_size = 1;
        })
        .await;
    end(&stack.peer, half, COMMIT).await;
    sleep(day / 600 + Duration::from_secs(2)).await;
    assert_eq!(delivered(&stack), ["late"]);
}

#[tokio::test(start_paused = true)]
async fn a_half_message_at_the_limit_of_properties_is_checked_and_holds_up_nobody() {
    let stack = start().await;
    stack.peer.subscribe("c", "g", &[]).await;
    let small = half_message("small");
    // With all that is noted in a half message, these are the most that fit.
    let noted =
        "REAL_TOPIC\u{1}orders\u{2}REAL_QID\u{1}2\u{2}CLUSTER\u{1}DefaultCluster\u{2}".len();
    let own = property::encode(&small.properties).len();
    let big = "x".repeat(32_767 - noted - own - "big\u{1}\u{2}".len());
    let mut wordy = half_message("wordy");
    wordy.properties.set("big", big);
    begin(&stack, &wordy).await;
    begin(&stack, &small).await;
    sleep(Duration::from_secs(21)).await;
    let asked = checks(&stack.peer);
    let bodies: Vec<_> = asked.iter().map(|(_, m)| m.message.body.clone()).collect();
    assert_eq!(bodies, ["wordy", "small", "wordy", "small"]);
    end(&stack.peer, asked_half(&asked[2]), COMMIT).await;
    assert_eq!(delivered(&stack), ["wordy"]);
    end(&stack.peer, asked_half(&asked[3]), ROLLBACK).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(checks(&stack.peer).len(), 4, "both are decided");
}

#[tokio::test(start_paused = true)]
async fn a_half_message_without_room_is_given_up_after_the_last_check_too() {
    let config = BrokerConfig {
        transaction_check_max: 2,
        ..config()
    };
    let stack = Stack::start_with(config, None).await;
    let noted =
        "REAL_TOPIC\u{1}orders\u{2}REAL_QID\u{1}2\u{2}CLUSTER\u{1}DefaultCluster\u{2}".len();
    let mut wordy = half_message("wordy");
    let own = property::encode(&wordy.properties).len();
    let big = "x".repeat(32_767 - noted - own - "big\u{1}\u{2}".len());
    wordy.properties.set("big", big);
    begin(&stack, &wordy).await;
    sleep(Duration::from_secs(45)).await;
    let given_up = stored(&stack, GIVEN_UP_TOPIC, 0);
    assert_eq!(texts(&given_up), ["wordy"]);
    let header = ResumeCheckHalfMessageRequestHeader {
        topic: Some(GIVEN_UP_TOPIC.to_owned()),
        msg_id: Some(given_up[0].offset_msg_id()),
    };
    let halves = stored(&stack, HALF_TOPIC, 0).len();
    let code = RequestCode::RESUME_CHECK_HALF_MESSAGE;
    assert_eq!(stack.peer.ask(code, &header).await.code, 0);
    sleep(Duration::from_secs(60)).await;
    assert!(
        stored(&stack, HALF_TOPIC, 0).len() > halves,
        "it is checked again"
    );
    assert_eq!(stored(&stack, GIVEN_UP_TOPIC, 0).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn records_that_the_broker_did_not_write_move_nothing_and_hold_up_nobody() {
    let stack = start().await;
    stack.peer.subscribe("c", "g", &[]).await;
    let store = stack.broker.store();
    for (topic, body, properties) in [
        (HALF_TOPIC, "bare", &[][..]),
        (
            HALF_TOPIC,
            "schedule",
            &[
                ("REAL_TOPIC", "SCHEDULE_TOPIC_XXXX"),
                ("REAL_QID", "0"),
                ("PGROUP", PRODUCERS),
            ],
        ),
        (OP_TOPIC, "what?", &[("TAGS", "d")]),
        (OP_TOPIC, "9223372036854775807", &[("TAGS", "d")]),
        (OP_TOPIC, "", &[]),
    ] {
        let message = support::stored_by_itself(topic, body, properties);
        assert!(store.append(message).is_stored());
    }
    let forged = stored(&stack, HALF_TOPIC, 0).remove(1);
    let half = Half {
        queue_offset: forged.queue_offset,
        commit_log_offset: forged.commit_log_offset,
    };
    let header = end_header(half, COMMIT);
    let response = stack.peer.ask(RequestCode::END_TRANSACTION, &header).await;
    assert_ne!(response.code, 0);
    begin(&stack, &half_message("behind")).await;
    sleep(Duration::from_secs(25)).await;
    let asked = checks(&stack.peer);
    let asked = asked
        .iter()
        .filter(|(_, asked)| asked.message.body == "behind");
    assert_eq!(asked.count(), 2);
    assert_eq!(store.max_offset_in_queue("SCHEDULE_TOPIC_XXXX", 0), 0);
}

#[tokio::test(start_paused = true)]
async fn nothing_but_a_half_message_is_committed_whatever_its_properties_say() {
    let stack = start().await;
    // A client says of its own message what a broker says of half messages.
    let forged = order("forged")
        .with_property(property::REAL_TOPIC, "secret")
        .with_property(property::REAL_QID, "2147483647")
        .with_property(property::PGROUP, PRODUCERS);
    let forged = begin(&stack, &forged).await;
    for decision in [COMMIT, ROLLBACK] {
        let header = end_header(forged, decision);
        let code = RequestCode::END_TRANSACTION;
        let response = stack.peer.ask(code, &header).await;
        assert_eq!(response.code, ResponseCode::SYSTEM_ERROR.0);
    }
    assert!(stack.broker.store().queue_ids("secret").is_empty());
    assert!(stored(&stack, OP_TOPIC, 0).is_empty());
}

#[tokio::test(start_paused = true)]
async fn thousands_of_half_messages_keep_nobody_from_sending_while_they_are_checked() {
    const HALVES: i64 = 3_000;
    let stack = start().await;
    let store = stack.broker.store();
    let properties = [
        ("TRAN_MSG", "true"),
        ("PGROUP", PRODUCERS),
        ("REAL_TOPIC", TOPIC),
        ("REAL_QID", "2"),
    ];
    for _ in 0..HALVES {
        let mut half = support::stored_by_itself(HALF_TOPIC, "half", &properties);
        half.born_timestamp = stack.env.now_ms();
        assert!(store.append(half).is_stored());
        // As many op messages that decide about nothing.
        let op = support::stored_by_itself(OP_TOPIC, "999999", &[("TAGS", "d")]);
        assert!(store.append(op).is_stored());
    }
    // To the very moment of the first round. From then on nobody sleeps.
    sleep(Duration::from_secs(10)).await;
    let canary = Message::new("canary", "alive");
    let mut answered_meanwhile = 0;
    for _ in 0..500 {
        stack.peer.send_ok(&canary).await;
        let checked = store.max_offset_in_queue(HALF_TOPIC, 0) - HALVES;
        answered_meanwhile += usize::from((1..HALVES).contains(&checked));
    }
    assert!(answered_meanwhile >= 5, "{answered_meanwhile}");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(store.max_offset_in_queue(HALF_TOPIC, 0), 2 * HALVES);
}
