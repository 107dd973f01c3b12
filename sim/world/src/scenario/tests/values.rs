use insta::assert_snapshot;

use super::*;

#[test]
fn an_unknown_key_is_refused_with_the_nearest() {
    assert_snapshot!(refusal("[cluster]\nbroker-group = 3\nbandwidth = \"1MiB/s\"\nspeed = 9"), @r"
    11:1 unknown key `broker-group` in [cluster]
        did you mean `broker-groups`?
    12:1 unknown key `bandwidth` in [cluster]
        `bandwidth` is a key of [network]
    13:1 unknown key `speed` in [cluster]
        the keys are: `name-servers`, `broker-groups`, `flush`, `flush-interval`, `commit-log-file-size`, `consume-queue-file-entries`, `auto-create-topics`, `delay-levels`, `transaction-timeout`, `transaction-check-interval`, `transaction-checks`
    ");
}

#[test]
fn a_wrong_type_is_refused() {
    assert_snapshot!(refusal(r#"
[cluster]
name-servers = "two"
auto-create-topics = 1
flush = true
[network]
latency = ["1ms"]
[disk]
flush-latency = { ms = 1 }
"#), @r#"
    11:16 expected a whole number, found a text
        for example 1
    12:22 expected true or false, found a whole number
        for example true
    13:9 expected a word, found true or false
        for example "async"
    15:11 expected a duration, found a list
        for example "800ms" or "30s"
    17:17 expected a duration, found a table
        for example "800ms" or "30s"
    "#);
}

#[test]
fn a_missing_or_wrong_unit_is_refused() {
    assert_snapshot!(refusal(r#"
[network]
latency = "5"
jitter = 5
bandwidth = "100MiB"
[cluster]
commit-log-file-size = "1 mib"
flush-interval = "500 milliseconds"
"#), @r#"
    11:11 `5` has no unit
        did you mean "5s"? the units are `us`, `ms`, `s`, `m`, `h`
    12:10 `5` has no unit
        did you mean "5s"? the units are `us`, `ms`, `s`, `m`, `h`
    13:13 `MiB` is not a unit of a throughput
        the units are `B/s`, `KB/s`, `KiB/s`, `MB/s`, `MiB/s`, `GB/s`, `GiB/s`
    15:24 `mib` is not a unit of a size
        did you mean "1MiB"? the units are `B`, `KB`, `KiB`, `MB`, `MiB`, `GB`, `GiB`
    16:18 `milliseconds` is not a unit of a duration
        the units are `us`, `ms`, `s`, `m`, `h`
    "#);
}

#[test]
fn a_number_out_of_bounds_is_refused() {
    assert_snapshot!(refusal(r#"
[cluster]
name-servers = 0
broker-groups = 27
commit-log-file-size = "1KiB"
[consumers.audit]
topics = "orders"
fail-rate = 25
poison = -1
"#), @r"
    11:16 `name-servers` must be from 1 to 8, not 0
    12:17 `broker-groups` must be from 1 to 26, not 27
    13:24 `commit-log-file-size` is out of bounds
        at least 64KiB
    16:13 `fail-rate` is a share from 0 to 1, not 25
        did you mean 25 percent? that is 0.25
    17:10 `poison` is a share from 0 to 1, not -1
    ");
}

#[test]
fn an_unknown_word_is_refused_with_the_nearest() {
    assert_snapshot!(refusal(r#"
[cluster]
flush = "asinc"
[consumers.audit]
topics = "orders"
model = "fanout"
"#), @r#"
    11:9 `flush` cannot be "asinc"
        did you mean `async`?
    14:9 `model` cannot be "fanout"
        it can be: `clustering`, `broadcasting`
    "#);
}

#[test]
fn a_missing_key_is_refused_with_what_it_means() {
    assert_snapshot!(refusal_of("[topics.a]\n[producers.p]\ntopic = \"a\""), @r"
    1:1 `run` is missing in the file
        How long the run takes; see [run].
    1:1 `story` is missing in the file
        What the scenario tells, in a sentence or two. `hotfire list` shows it.
    2:1 `load` is missing in [producers.NAME]
        Messages due over time, for the whole group. See [load] and its shapes.
    ");
}

#[test]
fn what_is_not_toml_is_refused_at_its_place() {
    assert_snapshot!(refusal_of("story = \"x\"\n[run\nduration = 1"), @"2:5 this is not TOML: unclosed table, expected `]`");
    assert_snapshot!(refusal_of("story = \"x\"\nstory = \"y\""), @"2:1 this is not TOML: duplicate key");
}

#[test]
fn unknown_defects_and_invariants_are_refused() {
    assert_snapshot!(refusal_of(&format!(r#"
defects = ["skip-flash", "commit-zero"]
{LEAST}
[expect]
holds = ["INV-LOS", "INV-ORDER"]
counts = ["INV-ORDER"]
at-least = {{ sent_ok = 5, delivered = "many" }}
"#)), @r"
    2:12 there is no planted defect `skip-flash`
        did you mean `skip-flush`?
    13:10 there is no invariant `INV-LOS`
        did you mean `INV-LOSS`?
    14:11 INV-ORDER cannot both hold and only be counted
    15:14 there is no figure `sent_ok`
        did you mean `sent-ok`?
    15:39 expected a whole number
    ");
}
