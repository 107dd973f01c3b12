use insta::assert_snapshot;

use super::*;

#[test]
fn an_undeclared_topic_is_refused() {
    assert_snapshot!(refusal(r#"
[consumers.audit]
topics = { order = "*", payments = "*" }
[consumers.nobody]
topics = []
[producers.more]
topic = "ordes"
load = { shape = "constant", rate = "1/s" }
"#), @r"
    11:12 the topic `order` is consumed but not declared
        did you mean `orders`?
    11:25 the topic `payments` is consumed but not declared
        declared are: `orders`
    13:10 the group subscribes to no topic
    15:9 the topic `ordes` is sent to but not declared
        did you mean `orders`?
    ");
}

#[test]
fn a_group_that_cannot_work_is_refused() {
    assert_snapshot!(refusal(r#"
[consumers.audit]
topics = "orders"
listener = "orderly"
model = "broadcasting"
idempotent = true
max-reconsume = 3
[consumers.ship]
topics = "orders"
listener = "orderly"
poison = 0.01
"#), @r#"
    13:1 an orderly listener cannot broadcast: nobody locks the queues
        use listener = "concurrent"
    14:1 a ledger balances once per group, but every member of this one gets every message
        use model = "clustering"
    15:1 a broadcasting group never gets a message again
        leave it out
    19:1 a poisoned message would block its orderly queue for ever
        set `max-reconsume`
    "#);
}

#[test]
fn a_name_is_taken_once() {
    assert_snapshot!(refusal(r#"
[consumers.checkout]
topics = "orders"
[consumers.brokers]
topics = "orders"
[consumers."broker"]
topics = "orders"
[topics."bad name"]
"#), @r"
    10:1 the name `checkout`, or that of a member, is taken
        groups, their members (NAME-1, …), servers and roles all need names of their own
    12:1 the name `brokers`, or that of a member, is taken
        groups, their members (NAME-1, …), servers and roles all need names of their own
    16:9 `bad name` is not a name that RocketMQ takes
        letters, digits, `_`, `-`, `%` and `|`, at most 127 of them
    ");
}

#[test]
fn a_scenario_without_topics_or_producers_is_refused() {
    let text = "story = \"x\"\n[run]\nduration = \"5s\"\n[topics]\n[producers]";
    assert_snapshot!(refusal_of(text), @r"
    4:1 there are no topics
    5:1 there are no producers
    ");
}

#[test]
fn a_latency_below_the_tick_is_refused() {
    let text = LEAST.replace("[run]", "[run]\ntick = \"5ms\"");
    assert_snapshot!(refusal_of(&text), @r"
    4:1 the latency of 1ms is shorter than the tick of 5ms
        nothing travels faster than one step: lower `tick` or raise `latency`
    ");
    let text = LEAST.replace("[run]", "[run]\ntick = \"1500us\"");
    let text = text + "[network]\nlatency = \"1ms\"";
    assert_snapshot!(refusal_of(&text), @r#"
    4:8 `tick` must be whole milliseconds
        for example "1ms"
    11:1 the latency of 1ms is shorter than the tick of 1500us
        nothing travels faster than one step: lower `tick` or raise `latency`
    "#);
}
