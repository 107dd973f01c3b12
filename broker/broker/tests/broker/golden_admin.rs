//! Answers to administrators in the shape of Apache RocketMQ 4.9.8:
//! `fixtures/admin_responses.jsonl` holds what it answered.

use std::collections::BTreeSet;
use std::time::Duration;

use hotfire_protocol::body::fastjson;
use hotfire_protocol::{ExtFields, RemotingCommand, RequestCode};
use serde::Deserialize;
use serde_json::Value;

use crate::support::{GROUP, Stack, TOPIC, order};

#[derive(Deserialize)]
struct Golden {
    name: String,
    code: i32,
    body: String,
}

fn golden(name: &str) -> Golden {
    let lines = include_str!("../fixtures/admin_responses.jsonl").lines();
    let mut rows = lines.map(|line| serde_json::from_str::<Golden>(line).unwrap());
    rows.find(|row| row.name == name).unwrap()
}

/// The paths of all values, with their kinds: entries of lists and maps of queues are all alike.
fn shape(value: &Value, path: &str, shapes: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let named = name.starts_with('{') || path.ends_with("data");
                let name = if named { "*" } else { name };
                shape(field, &format!("{path}.{name}"), shapes);
            }
        }
        Value::Array(entries) => {
            for entry in entries {
                // A list of groups has objects with the group for their only key.
                match entry.as_object().filter(|fields| fields.len() == 1) {
                    Some(group) => {
                        for stats in group.values() {
                            shape(stats, &format!("{path}[]*"), shapes);
                        }
                    }
                    None => shape(entry, &format!("{path}[]"), shapes),
                }
            }
        }
        Value::String(_) => drop(shapes.insert(format!("{path}: text"))),
        Value::Number(number) if number.is_f64() => {
            shapes.insert(format!("{path}: float"));
        }
        Value::Number(_) => drop(shapes.insert(format!("{path}: number"))),
        Value::Bool(_) => drop(shapes.insert(format!("{path}: bool"))),
        Value::Null => {}
    }
}

fn shapes(body: &[u8]) -> BTreeSet<String> {
    let mut shapes = BTreeSet::new();
    if !body.is_empty() {
        shape(&fastjson::from_slice(body).unwrap(), "", &mut shapes);
    }
    shapes
}

fn request(code: RequestCode, fields: &[(&'static str, &str)]) -> RemotingCommand {
    let mut request = RemotingCommand::request(code);
    request.ext = fields.iter().copied().collect::<ExtFields>();
    request
}

/// A broker with two messages, of which a group has consumed one.
async fn stack() -> Stack {
    let stack = Stack::start().await;
    stack.peer.subscribe("c1", GROUP, &[(TOPIC, "*")]).await;
    stack.peer.send_ok(&order("first")).await;
    stack.peer.send_ok(&order("second")).await;
    stack.peer.read(TOPIC, 0).await;
    stack.peer.commit(1).await;
    tokio::time::sleep(Duration::from_secs(61)).await;
    stack.peer.subscribe("c1", GROUP, &[(TOPIC, "*")]).await;
    stack
}

#[tokio::test(start_paused = true)]
async fn every_answer_has_the_fields_and_types_of_apache_rocketmqs() {
    let stack = stack().await;
    let queue = [
        ("topic", TOPIC),
        ("queueId", "0"),
        ("index", "0"),
        ("count", "5"),
    ];
    let stats = [("statsName", "TOPIC_PUT_NUMS"), ("statsKey", TOPIC)];
    let span = [("topic", TOPIC), ("group", GROUP)];
    for (name, request) in [
        (
            "GET_ALL_PRODUCER_INFO",
            request(RequestCode::GET_ALL_PRODUCER_INFO, &[]),
        ),
        (
            "QUERY_CONSUME_TIME_SPAN",
            request(RequestCode::QUERY_CONSUME_TIME_SPAN, &span),
        ),
        (
            "QUERY_CONSUME_QUEUE",
            request(RequestCode::QUERY_CONSUME_QUEUE, &queue),
        ),
        (
            "GET_BROKER_CONSUME_STATS",
            request(
                RequestCode::GET_BROKER_CONSUME_STATS,
                &[("isOrder", "false")],
            ),
        ),
        (
            "VIEW_BROKER_STATS_DATA",
            request(RequestCode::VIEW_BROKER_STATS_DATA, &stats),
        ),
        (
            "GET_TOPIC_STATS_INFO",
            request(RequestCode::GET_TOPIC_STATS_INFO, &[("topic", TOPIC)]),
        ),
        (
            "GET_CONSUME_STATS",
            request(RequestCode::GET_CONSUME_STATS, &[("consumerGroup", GROUP)]),
        ),
        (
            "CLEAN_EXPIRED_CONSUMEQUEUE",
            request(RequestCode::CLEAN_EXPIRED_CONSUMEQUEUE, &[]),
        ),
        (
            "CLEAN_UNUSED_TOPIC",
            request(RequestCode::CLEAN_UNUSED_TOPIC, &[]),
        ),
    ] {
        let (answer, expected) = (stack.peer.invoke(request).await, golden(name));
        assert_eq!(answer.code, expected.code, "{name}: {answer:?}");
        assert_eq!(
            shapes(&answer.body),
            shapes(expected.body.as_bytes()),
            "{name}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_figures_of_a_broker_have_the_names_of_apache_rocketmqs() {
    /// The capacities of queues that are not there, a path of Java's own, and how long reads took,
    /// which nobody measures here.
    const LEFT_OUT: [&str; 5] = [
        "EndTransactionThreadPoolQueueCapacity",
        "commitLogDiskRatio_/store/commitlog",
        "getMessageEntireTimeMax",
        "pullThreadPoolQueueCapacity",
        "queryThreadPoolQueueCapacity",
    ];
    let stack = stack().await;
    let answer = stack
        .peer
        .invoke(request(RequestCode::GET_BROKER_RUNTIME_INFO, &[]))
        .await;
    let names = |body: &[u8]| {
        let body: Value = fastjson::from_slice(body).unwrap();
        let table = body["table"].as_object().unwrap();
        let names = table
            .keys()
            .filter(|name| !name.starts_with("scheduleMessageOffset"));
        names.cloned().collect::<BTreeSet<_>>()
    };
    let mut expected = names(golden("GET_BROKER_RUNTIME_INFO").body.as_bytes());
    for name in LEFT_OUT {
        assert!(expected.remove(name), "{name}");
    }
    let answered = names(&answer.body);
    let missing: Vec<_> = expected.difference(&answered).collect();
    assert_eq!(missing, [""; 0]);
}
