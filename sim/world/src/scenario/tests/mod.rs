mod accounts;
mod faults;
mod filters;
mod kinds;
mod load_and_mix;
mod reading;
mod reports;
mod topology;
mod values;

use proptest::prelude::*;

use super::*;

/// The least that a scenario needs.
const LEAST: &str = r#"
story = "A first message."
[run]
duration = "10s"
[topics.orders]
[producers.checkout]
topic = "orders"
load = { shape = "constant", rate = "10/s" }
"#;

fn parse(text: &str) -> Scenario {
    match Scenario::parse("scenarios/test/this.toml", text) {
        Ok(scenario) => scenario,
        Err(refused) => panic!("{}", lines(&refused)),
    }
}

/// Every problem as `line:column message`, with its help below.
fn lines(refused: &Refused) -> String {
    let one = |located: &Located| {
        let help = located
            .problem
            .help
            .as_ref()
            .map(|help| format!("\n    {help}"));
        let Located { line, column, .. } = located;
        format!(
            "{line}:{column} {}{}",
            located.problem.message,
            help.unwrap_or_default()
        )
    };
    refused
        .problems
        .iter()
        .map(one)
        .collect::<Vec<_>>()
        .join("\n")
}

/// What is wrong with the least scenario after more lines. They start on line 10.
fn refusal(more: &str) -> String {
    let text = format!("{LEAST}\n{}", more.trim_start());
    match Scenario::parse("scenarios/test/this.toml", &text) {
        Ok(_) => "accepted".to_owned(),
        Err(refused) => lines(&refused),
    }
}

/// What is wrong with a whole file.
fn refusal_of(text: &str) -> String {
    match Scenario::parse("this.toml", text) {
        Ok(_) => "accepted".to_owned(),
        Err(refused) => lines(&refused),
    }
}

/// Pieces of scenarios, put together at random: more of the reader is reached than with any text.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "[run]",
        "[cluster]",
        "[topics.a]",
        "[producers.p]",
        "[consumers.c]",
        "[[faults]]",
        "[expect]",
        "duration = \"5s\"",
        "topic = \"a\"",
        "topics = \"a\"",
        "at = \"1s\"",
        "load = { shape = \"ramp\" }",
        "load = { shape = \"double-11\", at = \"99h\" }",
        "freeze = { node = 'p', lasts = '1s' }",
        "partition = { between = [[], 'all'] }",
        "latency = {}",
        "latency = '1ms'",
        "orders = { count = 0 }",
        "size = 5",
        "nodes = -1",
        "nodes = 900",
        "holds = ['INV-LOSS']",
        "at-least = { x = 1 }",
        "poison = nan",
        "story = 1979-05-27",
        "defects = [[]]",
        "faults = [{ at = '1s' }]",
        "size.from = '1B'",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.join("\n"))
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
        let _ = Scenario::parse("x", &text);
    }

    #[test]
    fn no_scenario_makes_the_reader_panic(text in pieces()) {
        if let Err(refused) = Scenario::parse("x", &text) {
            prop_assert!(!refused.problems.is_empty());
        }
    }

    #[test]
    fn every_problem_is_within_the_file(text in pieces()) {
        if let Err(refused) = Scenario::parse("x", &text) {
            for located in &refused.problems {
                prop_assert!(located.problem.span.end <= text.len());
            }
        }
    }
}
