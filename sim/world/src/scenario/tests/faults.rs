use insta::assert_snapshot;

use super::*;

#[test]
fn a_node_that_does_not_exist_is_refused() {
    assert_snapshot!(refusal(r#"
[[faults]]
at = "1s"
process-crash = { node = "broker-b" }
[[faults]]
at = "1s"
freeze = { node = ["checkout", "fullfilment"], lasts = "1s" }
[[faults]]
at = "1s"
lost-ack = { node = "consumers", lasts = "1s" }
"#), @r"
    12:26 there is no node `broker-b`
        did you mean `broker-a`?
    15:32 there is no node `fullfilment`
        there are: `checkout`, `name-servers`, `brokers`, `producers`, `consumers`, `clients`, `servers`, `all`, `name-server-1`, `broker-a`, `checkout-1`
    18:21 there are no consumers in this scenario
    ");
}

#[test]
fn a_fault_strikes_what_it_can_strike() {
    assert_snapshot!(refusal(r#"
[[faults]]
at = "1s"
power-loss = { node = "checkout-1", restart-after = "1s" }
[[faults]]
at = "1s"
slow-disk = { node = "name-server-1", adds = "50ms", lasts = "1s" }
[[faults]]
at = "1s"
lost-response = { node = "brokers", lasts = "1s" }
"#), @r"
    12:23 power-loss cannot strike `checkout-1`
        it strikes name servers, brokers
    15:22 slow-disk cannot strike `name-server-1`
        it strikes brokers
    18:26 lost-response cannot strike `brokers`
        it strikes producers
    ");
}

#[test]
fn the_only_name_server_may_lose_power() {
    let fault = "[[faults]]\nat = \"1s\"\npower-loss = { node = \"name-server-1\" }";
    assert_eq!(refusal(fault), "accepted");
}

#[test]
fn a_fault_stays_within_the_load_phase() {
    assert_snapshot!(refusal(r#"
[[faults]]
at = "10s"
freeze = { node = "broker-a", lasts = "1s" }
[[faults]]
at = "5s"
power-loss = { node = "broker-a", restart-after = "6s" }
[[faults]]
at = "5s"
network-flash = { lasts = "1m" }
"#), @r"
    11:6 the fault strikes at 10s, after the load phase
        the load phase ends at 10s and everything is healed then: raise `duration` in [run]
    12:39 it ends at 11s, after the load phase
        the load phase ends at 10s and everything is healed then: raise `duration` in [run]
    15:51 it starts again at 11s, after the load phase
        the load phase ends at 10s and everything is healed then: raise `duration` in [run]
    18:27 it ends at 65s, after the load phase
        the load phase ends at 10s and everything is healed then: raise `duration` in [run]
    ");
}

#[test]
fn a_node_goes_down_once_at_a_time() {
    assert_snapshot!(refusal(r#"
[[faults]]
at = "1s"
process-crash = { node = "broker-a", restart-after = "5s" }
[[faults]]
at = "3s"
power-loss = { node = "brokers", restart-after = "2s" }
"#), @"15:14 `broker-a` is down from 1s to 6s already");
}

#[test]
fn an_entry_holds_exactly_one_fault() {
    assert_snapshot!(refusal(r#"
[[faults]]
at = "1s"
[[faults]]
at = "1s"
proces-crash = { node = "broker-a" }
[[faults]]
at = "1s"
freeze = { node = "broker-a", lasts = "1s" }
restart = { node = "broker-a" }
[[faults]]
restart = { node = "broker-a" }
"#), @r"
    10:1 the fault does not say what goes wrong
        add one of `network-flash`, `partition`, `latency`, `loss`, `process-crash`, `power-loss`, `restart`, `freeze`, `lost-ack`, `lost-response`, `clock-jump`, `slow-disk`
    14:1 unknown key `proces-crash` in [[faults]]
        did you mean `process-crash`?
    17:1 one [[faults]] entry holds one fault
        put `freeze` into an entry of its own
    19:1 `at` is missing in [[faults]]
        When, from the start of the load phase.
    ");
    assert_snapshot!(refusal("[faults]\nat = \"1s\""), @r"
    10:2 `faults` must be an array of tables
        write every entry as [[faults]] with its keys below
    ");
}

#[test]
fn links_need_two_sides() {
    assert_snapshot!(refusal(r#"
[[faults]]
at = "1s"
partition = { lasts = "1s" }
[[faults]]
at = "1s"
partition = { between = "brokers", lasts = "1s" }
[[faults]]
at = "1s"
loss = { between = ["broker-a", "broker-a"], share = 0.1, lasts = "1s" }
[[faults]]
at = "1s"
latency = { between = ["broker-a", 7], adds = "0ms", lasts = "1s" }
"#), @r#"
    12:13 `between` is missing in [[faults]] partition
        The two sides, each a name or a list of names.
    15:25 `between` takes exactly two sides
        for example between = ["producers", "brokers"]
    18:20 there is no link between a node and itself
    21:36 expected a text, found a whole number
        for example "…"
    "#);
}

#[test]
fn a_jump_is_whole_milliseconds() {
    assert_snapshot!(refusal(r#"
[[faults]]
at = "1s"
clock-jump = { node = "all", by = "10us" }
[[faults]]
at = "1s"
clock-jump = { node = "all", by = "-5" }
"#), @r#"
    12:35 `10us` is not a jump of whole milliseconds
    15:35 `5` has no unit
        did you mean "5s"? the units are `us`, `ms`, `s`, `m`, `h`
    "#);
}
