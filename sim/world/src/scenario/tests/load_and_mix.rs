use insta::assert_snapshot;

use super::*;

#[test]
fn an_unknown_shape_is_refused_without_judging_the_rest() {
    let text = LEAST.replace("\"constant\"", "\"double-12\"");
    assert_snapshot!(refusal_of(&text), @r#"
    8:18 `shape` cannot be "double-12"
        did you mean `double-11`?
    "#);
}

#[test]
fn a_load_lacks_what_its_shape_needs() {
    let text = LEAST.replace("rate = \"10/s\"", "rate = \"10\", form = \"0/s\"");
    assert_snapshot!(refusal_of(&text), @r#"
    8:37 `10` has no unit
        did you mean "10/s"? the units are `/s`, `/m`, `/h`
    8:43 unknown key `form` in [load] constant
        the keys are: `shape`, `rate`
    "#);
    let text = LEAST.replace("{ shape = \"constant\", rate = \"10/s\" }", "\"10/s\"");
    assert_snapshot!(refusal_of(&text), @r"
    8:8 `load` must be a table, not a text
        see [load]
    ");
}

#[test]
fn midnight_must_be_within_the_load_phase() {
    let load = r#"{ shape = "double-11", quiet = "200/s", wall = "100/s", at = "30s" }"#;
    let text = LEAST.replace("{ shape = \"constant\", rate = \"10/s\" }", load);
    assert_snapshot!(refusal_of(&text), @r"
    8:48 the wall is lower than the quiet
        `wall` is the rate from midnight on, `quiet` the one before
    8:69 midnight at 30s is not within the load phase of 10s
        raise `duration` in [run]
    ");
}

#[test]
fn what_contradicts_itself_is_refused() {
    let more = r#"
topic = "orders"
select = "by-order"
batch-size = 10
delay-level = 19
size = { from = "2KiB", to = "1KiB" }
tags = ["a||b"]
[producers.bulk]
topic = "orders"
load = { shape = "ramp", to = "10/s", over = "5s" }
orders = { count = 10, spread = "zipf", hot-orders = 3 }
select = "by-order"
send = "batch"
delay-level = 1
"#;
    let text = LEAST.trim_end().replace("topic = \"orders\"\n", "") + more;
    assert_snapshot!(refusal_of(&text), @r#"
    9:1 select = "by-order" needs orders
        add orders = { count = 1000 }
    10:1 `batch-size` means nothing without send = "batch"
        add send = "batch", or leave it out
    11:1 there is no delay level 19
        the cluster has 18
    12:30 `to` is less than `from`
    13:9 `a||b` is not a tag
        a tag has no `|`, no `*`, and no space at its ends
    17:41 `hot-orders` means nothing without spread = "hot"
    18:1 a batch goes to one queue, so it cannot be split by order
        use send = "sync"
    20:1 RocketMQ refuses a batch with a delay level
        leave out `delay-level`, or do not batch
    "#);
}

#[test]
fn messages_ask_for_a_time_after_the_send_or_for_one_time() {
    let deliver = |text: &str| {
        let scenario = Scenario::parse("x", &format!("{LEAST}{text}"));
        scenario.map(|scenario| scenario.producers["checkout"].deliver)
    };
    let seconds = std::time::Duration::from_secs;
    let after = |from, to| Some(Deliver::After(seconds(from), seconds(to)));
    assert_eq!(deliver("").unwrap(), None);
    assert_eq!(deliver("deliver = \"5s\"").unwrap(), after(5, 5));
    let drawn = deliver("deliver = { from = \"2s\", to = \"20s\" }\nrecall = 0.5");
    assert_eq!(drawn.unwrap(), after(2, 20));
    let at_once = deliver("deliver = { at = \"40s\" }").unwrap();
    assert_eq!(at_once, Some(Deliver::At(seconds(40))));
    for wrong in [
        "deliver = { from = \"2s\" }",
        "deliver = { from = \"3s\", to = \"2s\" }",
        "deliver = { from = \"1s\", to = \"2s\", at = \"3s\" }",
        "deliver = \"3h\"",
        "deliver = \"1s\"\ndelay-level = 1",
        "deliver = \"1s\"\nsend = \"batch\"",
        "deliver = \"1s\"\nsend = \"oneway\"\nrecall = 0.5",
        "recall = 0.5",
    ] {
        assert!(deliver(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn transactions_need_a_transactional_send_and_take_neither_delay_nor_order() {
    let plain = LEAST.trim_end().to_owned() + "\ntransactions = { rollback = 0.5 }\n";
    assert_snapshot!(refusal_of(&plain), @r#"
    9:1 `transactions` means nothing without send = "transaction"
        add it, or leave them out
    "#);
    let more = r#"
send = "transaction"
transactions = { rollback = 0.5 }
orders = { count = 5 }
select = "by-order"
delay-level = 1
"#;
    assert_snapshot!(refusal_of(&(LEAST.trim_end().to_owned() + more)), @r"
    12:1 RocketMQ chooses the queue of a transaction by itself
        leave out `select`
    13:1 RocketMQ does not delay transactions
        leave out `delay-level`
    ");
}
