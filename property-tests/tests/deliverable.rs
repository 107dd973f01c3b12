//! Whatever a broker accepts is delivered, and nothing that it accepts holds up anybody else.
//!
//! Messages of every kind - at once, with a level, for a time, half, in batches - with properties
//! around the limit and names and values of the broker's own among them. Each is refused at the door
//! or reaches its topic; from there each can be sent back to the retry topic or to the dead letters,
//! and comes again when it is popped and not acknowledged; nothing is set aside; and small messages
//! behind them, one in each line, come through.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and its own tasks do not belong to the process under test"
)]

#[path = "../../broker/broker/tests/broker/support.rs"]
#[allow(dead_code, reason = "the tests of the broker use the rest")]
mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::BytesMut;
use hotfire_protocol::header::pop::PopMessageRequestHeader;
use hotfire_protocol::header::transaction::EndTransactionRequestHeader;
use hotfire_protocol::message::batch::{self, BatchElement};
use hotfire_protocol::message::id::parse_offset_msg_id;
use hotfire_protocol::message::{property, record};
use hotfire_protocol::{Message, MessageExt, RemotingCommand, RequestCode};
use proptest::prelude::*;
use tokio::time::sleep;

use support::{GROUP, Stack, TOPIC, number, order, send_request};

const RETRY_TOPIC: &str = "%RETRY%readers";
const DLQ_TOPIC: &str = "%DLQ%readers";
const COMMIT: i32 = 8;
/// The most bytes of properties in a record.
const LIMIT: i64 = 32_767;

/// How a message is to be delivered.
#[derive(Debug, Clone)]
enum Kind {
    AtOnce,
    Level(&'static str),
    Timed(&'static str, &'static str),
    Half,
    /// So many, with the properties for all of them.
    Batch(usize),
}

/// A message to be sent.
#[derive(Debug, Clone)]
struct Wish {
    kind: Kind,
    /// A property that the broker itself uses.
    odd: Option<(&'static str, &'static str)>,
    /// How many bytes less of properties than fit in a record; for small ones most of them.
    less: i64,
}

/// Times that a message may ask for, none of them later than the rest of the test waits.
const TIMES: [(&str, &str); 9] = [
    (property::TIMER_DELAY_SEC, "0"),
    (property::TIMER_DELAY_SEC, "3"),
    (property::TIMER_DELAY_SEC, "-7"),
    (property::TIMER_DELAY_MS, "2500"),
    (property::TIMER_DELAY_MS, "1"),
    (property::TIMER_DELAY_MS, "soon"),
    (property::TIMER_DELIVER_MS, "1"),
    (property::TIMER_DELIVER_MS, "1700000006000"),
    (property::TIMER_DELIVER_MS, "9223372036854775807"),
];

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::AtOnce),
        prop::sample::select(&["0", "1", "2", "99", "-1", "x", " 1"][..]).prop_map(Kind::Level),
        prop::sample::select(&TIMES[..]).prop_map(|(name, time)| Kind::Timed(name, time)),
        Just(Kind::Half),
        (1..4usize).prop_map(Kind::Batch),
    ]
}

fn odd() -> impl Strategy<Value = Option<(&'static str, &'static str)>> {
    const ODD: [(&str, &str); 14] = [
        (property::REAL_TOPIC, "SCHEDULE_TOPIC_XXXX"),
        (property::REAL_QID, "-5"),
        (property::RETRY_TOPIC, "a/b"),
        (property::ORIGIN_MESSAGE_ID, "x"),
        (property::TRANSACTION_CHECK_TIMES, "often"),
        (property::TRAN_PREPARED_QUEUE_OFFSET, "9"),
        (property::TIMER_OUT_MS, "5"),
        (property::TIMER_ROLL_TIMES, "x"),
        (property::FIRST_POP_TIME, "never"),
        (property::WAIT, "TRUE"),
        (property::PGROUP, "others"),
        (property::CLUSTER, "elsewhere"),
        ("own", "a\u{1}b"),
        ("", "nameless"),
    ];
    prop::option::of(prop::sample::select(&ODD[..]))
}

fn wishes() -> impl Strategy<Value = Vec<Wish>> {
    let less = prop_oneof![3 => -60..220i64, 1 => Just(LIMIT)];
    let wish = (kinds(), odd(), less).prop_map(|(kind, odd, less)| Wish { kind, odd, less });
    prop::collection::vec(wish, 1..10)
}

/// The properties of a wish as text, filled up.
fn properties(wish: &Wish) -> String {
    let mut entries = Vec::new();
    match &wish.kind {
        Kind::AtOnce | Kind::Batch(_) => {}
        Kind::Level(level) => entries.push((property::DELAY, *level)),
        Kind::Timed(name, time) => entries.push((*name, *time)),
        Kind::Half => entries.extend([(property::TRAN_MSG, "true"), (property::PGROUP, "writers")]),
    }
    entries.extend(wish.odd);
    let mut text = String::new();
    for (name, value) in entries {
        property::append(&mut text, &format!("{name}\u{1}{value}"));
    }
    let added = "\u{2}big\u{1}\u{2}CLUSTER\u{1}DefaultCluster".len() as i64;
    let filler = LIMIT - text.len() as i64 - added - wish.less;
    if let Ok(filler @ 1..) = usize::try_from(filler) {
        property::append(&mut text, &format!("big\u{1}{}", "x".repeat(filler)));
    }
    text
}

/// The request that sends a wish as message `n`, and the bodies that it brings.
fn request(wish: &Wish, n: usize) -> (RemotingCommand, Vec<String>) {
    let text = properties(wish);
    if let Kind::Batch(count) = wish.kind {
        let bodies: Vec<_> = (0..count).map(|at| format!("{n}.{at}")).collect();
        let element = |body: &String| BatchElement {
            body: body.clone().into(),
            ..BatchElement::default()
        };
        let elements: Vec<_> = bodies.iter().map(element).collect();
        let mut body = BytesMut::new();
        batch::encode(&elements, &mut body).unwrap();
        let mut request = send_request(&order(""), 0).with_body(body.freeze());
        request.ext.set("i", text);
        request.ext.set("m", "true");
        return (request, bodies);
    }
    let body = n.to_string();
    let mut request = send_request(&order(&body), 0);
    request.ext.set("i", text);
    (request, vec![body])
}

/// The messages in a queue, by their bodies.
fn stored(stack: &Stack, topic: &str) -> BTreeMap<String, MessageExt> {
    let store = stack.broker.store();
    let (mut all, mut at) = (BTreeMap::new(), 0);
    loop {
        let read = store.get_message(topic, 0, at, 32, usize::MAX, &|_| true);
        if read.messages.is_empty() {
            return all;
        }
        for mut bytes in read.messages {
            let message = record::decode(&mut bytes, true).unwrap();
            let body = String::from_utf8(message.message.body.to_vec()).unwrap();
            all.insert(body, message);
        }
        at = read.next_begin_offset;
    }
}

async fn commit(stack: &Stack, sent: &RemotingCommand) -> i32 {
    let (_, offset) = parse_offset_msg_id(sent.ext.get("msgId").unwrap()).unwrap();
    let header = EndTransactionRequestHeader {
        producer_group: "writers".to_owned(),
        tran_state_table_offset: number(sent, "queueOffset"),
        commit_log_offset: offset,
        commit_or_rollback: COMMIT,
        msg_id: "id".to_owned(),
        ..EndTransactionRequestHeader::default()
    };
    let code = RequestCode::END_TRANSACTION;
    stack.peer.ask(code, &header).await.code
}

/// Pops everything, and does not acknowledge it.
async fn pop(stack: &Stack) -> Vec<String> {
    let header = PopMessageRequestHeader {
        consumer_group: "poppers".to_owned(),
        topic: TOPIC.to_owned(),
        queue_id: -1,
        max_msg_nums: 32,
        invisible_time: 5_000,
        ..PopMessageRequestHeader::default()
    };
    let mut popped = Vec::new();
    loop {
        let response = stack.peer.ask(RequestCode::POP_MESSAGE, &header).await;
        let found = support::bodies(&response);
        if found.is_empty() {
            popped.sort();
            return popped;
        }
        popped.extend(found);
    }
}

async fn is_delivered_or_refused(wishes: Vec<Wish>) {
    let mut config = support::config();
    config.transaction_check_interval = Duration::from_secs(10);
    config.store.delay_levels = vec![1_000, 5_000];
    let stack = Stack::start_with(config, None).await;
    stack.peer.subscribe("c", "g", &[]).await;
    let (mut accepted, mut halves) = (Vec::new(), Vec::new());
    for (n, wish) in wishes.iter().enumerate() {
        let (mut request, bodies) = request(wish, n);
        request.ext.set("g", stack.env.now_ms().to_string());
        let answer = stack.peer.invoke(request).await;
        if answer.code != 0 {
            continue;
        }
        accepted.extend(bodies);
        // Another group's property is not one to end it with.
        let own = wish.odd.is_none_or(|(name, _)| name != property::PGROUP);
        match wish.kind {
            Kind::Half if own => halves.push(answer),
            Kind::Half => drop(accepted.pop()),
            _ => {}
        }
    }
    // One small message behind the others in every line.
    let undecided = Message::new(TOPIC, "undecided")
        .with_property(property::TRAN_MSG, "true")
        .with_property(property::PGROUP, "writers");
    stack.peer.send_ok(&undecided).await;
    stack
        .peer
        .send_ok(&order("first").with_delay_level(1))
        .await;
    stack
        .peer
        .send_ok(&order("second").with_delay_level(2))
        .await;
    let timed = order("timed").with_delay(Duration::from_secs(4));
    stack.peer.send_ok(&timed).await;
    accepted.extend(["first", "second", "timed"].map(str::to_owned));
    sleep(Duration::from_secs(25)).await;
    assert!(stack.peer.asked(RequestCode::CHECK_TRANSACTION_STATE) > 0);
    for half in &halves {
        assert_eq!(commit(&stack, half).await, 0);
    }
    sleep(Duration::from_secs(7)).await;
    let delivered = stored(&stack, TOPIC);
    accepted.sort();
    let found: Vec<_> = delivered.keys().cloned().collect();
    assert_eq!(found, accepted);

    for (n, message) in delivered.values().enumerate() {
        let level = if n % 2 == 0 { 1 } else { -1 };
        let header = hotfire_protocol::header::send::ConsumerSendMsgBackRequestHeader {
            offset: message.commit_log_offset,
            group: GROUP.to_owned(),
            delay_level: level,
            ..Default::default()
        };
        let code = RequestCode::CONSUMER_SEND_MSG_BACK;
        assert_eq!(stack.peer.ask(code, &header).await.code, 0);
    }
    sleep(Duration::from_secs(3)).await;
    let mut again = stored(&stack, RETRY_TOPIC);
    again.extend(stored(&stack, DLQ_TOPIC));
    assert_eq!(again.keys().cloned().collect::<Vec<_>>(), accepted);

    assert_eq!(pop(&stack).await, accepted);
    sleep(Duration::from_secs(8)).await;
    assert_eq!(pop(&stack).await, accepted, "they come again");
    assert_eq!(stack.set_aside(), []);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn what_is_accepted_is_delivered_and_holds_up_nobody(wishes in wishes()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(is_delivered_or_refused(wishes));
    }
}
