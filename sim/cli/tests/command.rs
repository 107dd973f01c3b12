//! The command as its users see it: exit codes, what it prints, what it leaves.

#![allow(clippy::unwrap_used, reason = "tests may panic")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests run the command as its users do, with files, processes and sockets"
)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use insta::assert_snapshot;
use serde_json::Value;
use tempfile::TempDir;

const SMALL: &str = r#"
story = "A first message."

[run]
duration = "5s"

[topics.orders]
queues = 2

[producers.checkout]
topic = "orders"
load = { shape = "constant", rate = "20/s" }

[consumers.fulfilment]
topics = "orders"

[expect]
holds = ["INV-LOSS", "INV-UNSEEN"]
"#;

/// A folder with one scenario, `small.toml`.
struct Desk(TempDir);

impl Desk {
    fn with(scenario: &str) -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        desk.put("small.toml", scenario);
        desk
    }

    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs the command in the folder.
    fn hotfire(&self, args: &[&str]) -> Done {
        let output = Command::new(env!("CARGO_BIN_EXE_hotfire"))
            .current_dir(self.0.path())
            .args(args)
            .output()
            .unwrap();
        Done::of(&output)
    }
}

struct Done {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Done {
    fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout.clone()).unwrap(),
            stderr: String::from_utf8(output.stderr.clone()).unwrap(),
        }
    }

    fn json(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

mod exit_codes {
    use super::*;

    #[test]
    fn a_pass_is_0_and_says_so_in_one_line_and_in_detail() {
        let done = Desk::with(SMALL).hotfire(&["run", "small.toml"]);
        assert_eq!(done.code, 0, "{}", done.stderr);
        let line = done.stdout.lines().next().unwrap();
        assert!(
            line.starts_with("small  seed 1  pass  99 messages  "),
            "{line}"
        );
        assert!(
            line.contains(" simulated  ") && line.contains(" wall  trace "),
            "{line}"
        );
        assert!(
            done.stdout
                .ends_with("replay: hotfire run small.toml --seed 1\n")
        );
    }

    #[test]
    fn a_violation_is_1_with_evidence_and_the_command_that_replays_it() {
        let desk = Desk::with(&format!("defects = [\"ack-before-append\"]\n{SMALL}"));
        let done = desk.hotfire(&["run", "small.toml", "--seed", "3"]);
        assert_eq!(done.code, 1, "{}", done.stderr);
        assert!(
            done.stdout.contains("INV-LOSS       violated"),
            "{}",
            done.stdout
        );
        assert!(
            done.stdout.contains("checkout-1: sends message"),
            "{}",
            done.stdout
        );
        assert!(
            done.stdout
                .contains("replay: hotfire run small.toml --seed 3")
        );
    }

    #[test]
    fn what_was_not_put_to_the_test_is_2() {
        let desk = Desk::with(&SMALL.replace("\"INV-UNSEEN\"", "\"INV-ORDER\""));
        let done = desk.hotfire(&["run", "small.toml"]);
        assert_eq!(done.code, 2, "{}", done.stderr);
        assert!(done.stdout.contains("seed 1  unknown"), "{}", done.stdout);
        assert!(done.stdout.contains("because "), "{}", done.stdout);
    }

    #[test]
    fn a_demand_that_was_not_met_is_2() {
        let desk = Desk::with(&format!("{SMALL}at-least = {{ sent-ok = 1000 }}"));
        let done = desk.hotfire(&["run", "small.toml"]);
        assert_eq!(done.code, 2, "{}", done.stderr);
        assert!(
            done.stdout
                .contains("because sent-ok: 99, but the scenario demands 1,000")
        );
    }

    #[test]
    fn the_worst_of_several_runs_decides() {
        let desk = Desk::with(SMALL);
        desk.put(
            "broken.toml",
            &format!("defects = [\"ack-before-append\"]\n{SMALL}"),
        );
        let done = desk.hotfire(&["run", "."]);
        assert_eq!(done.code, 1, "{}", done.stderr);
        assert!(
            done.stdout.ends_with("2 runs: 1 pass, 1 fail\n"),
            "{}",
            done.stdout
        );
    }

    #[test]
    fn wrong_usage_is_254() {
        let desk = Desk::with(SMALL);
        for wrong in [
            &["run"][..],
            &["fly"],
            &["run", "nowhere.toml"],
            &["run", "small.toml", "--seeds", "5..1"],
            &["run", "small.toml", "--seed", "1", "--seeds", "1..2"],
            &["explain", "INV-NOTHING"],
        ] {
            let done = desk.hotfire(wrong);
            assert_eq!(done.code, 254, "{wrong:?}");
            assert!(
                done.stdout.is_empty() && !done.stderr.is_empty(),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn help_is_no_mistake() {
        let done = Desk::with(SMALL).hotfire(&["run", "--help"]);
        assert_eq!((done.code, done.stderr.as_str()), (0, ""));
        assert!(done.stdout.contains("--verify"));
    }
}

mod scenario_errors {
    use super::*;

    #[test]
    fn all_problems_of_all_files_are_told_and_nothing_runs() {
        let desk = Desk::with(&SMALL.replace("queues", "queue").replace("5s", "5"));
        desk.put(
            "other.toml",
            &SMALL.replace("topics = \"orders\"", "topics = \"order\""),
        );
        desk.put("sound.toml", SMALL);
        let done = desk.hotfire(&["run", "other.toml", "small.toml", "sound.toml"]);
        assert_eq!((done.code, done.stdout.as_str()), (254, ""));
        assert_snapshot!(done.stderr, @r#"
          × other.toml is not a valid scenario: 1 problem

        Error: 
          × the topic `order` is consumed but not declared
            ╭─[other.toml:15:10]
         14 │ [consumers.fulfilment]
         15 │ topics = "order"
            ·          ───────
         16 │ 
            ╰────
          help: did you mean `orders`?

          × small.toml is not a valid scenario: 2 problems

        Error: 
          × `5` has no unit
           ╭─[small.toml:5:12]
         4 │ [run]
         5 │ duration = "5"
           ·            ───
         6 │ 
           ╰────
          help: did you mean "5s"? the units are `us`, `ms`, `s`, `m`, `h`

        Error: 
          × unknown key `queue` in [topics.NAME]
           ╭─[small.toml:8:1]
         7 │ [topics.orders]
         8 │ queue = 2
           · ─────
         9 │ 
           ╰────
          help: did you mean `queues`?
        "#);
    }

    #[test]
    fn there_are_no_colours_where_there_is_no_terminal() {
        let desk = Desk::with("story = 1");
        let done = desk.hotfire(&["run", "small.toml"]);
        assert!(!done.stderr.contains('\u{1b}'), "{:?}", done.stderr);
    }
}

mod json {
    use super::*;

    #[test]
    fn a_run_is_one_object_with_exactly_the_documented_fields() {
        let done = Desk::with(SMALL).hotfire(&["run", "small.toml", "--json", "--seeds", "1..2"]);
        assert_eq!(done.code, 0, "{}", done.stderr);
        let runs = done.json();
        assert_eq!(runs.len(), 2);
        let mut run = runs[1].clone();
        let fields = run.as_object_mut().unwrap();
        for (field, ends) in [("trace_hash", 16), ("wall_seconds", 0)] {
            let value = fields[field].take();
            assert!(ends == 0 || value.as_str().unwrap().len() == ends);
        }
        fields["invariants"].as_array_mut().unwrap().truncate(1);
        assert_snapshot!(serde_json::to_string_pretty(&run).unwrap(), @r#"
        {
          "delivered": 99,
          "duplicates": 0,
          "invariants": [
            {
              "evidence": [],
              "exercised": 99,
              "id": "INV-LOSS",
              "status": "holds"
            }
          ],
          "latency_ms": {
            "max": 4.001,
            "p50": 2.0,
            "p99": 4.001,
            "p999": 4.001
          },
          "scenario": "small",
          "seed": 2,
          "sent_failed": 0,
          "sent_ok": 99,
          "sent_unknown": 0,
          "simulated_seconds": 16.001,
          "trace_hash": null,
          "verdict": "pass",
          "wall_seconds": null
        }
        "#);
    }

    #[test]
    fn evidence_is_in_the_object() {
        let desk = Desk::with(&format!("defects = [\"ack-before-append\"]\n{SMALL}"));
        let done = desk.hotfire(&["run", "small.toml", "--json"]);
        let run = &done.json()[0];
        assert_eq!(run["verdict"], "fail");
        let loss = &run["invariants"][0];
        assert_eq!(
            (&loss["id"], &loss["status"]),
            (&"INV-LOSS".into(), &"violated".into())
        );
        assert!(
            loss["evidence"][0]["lines"][0]
                .as_str()
                .unwrap()
                .contains("sends message")
        );
    }
}

mod reproducibility {
    use super::*;

    fn hashes(done: &Done) -> Vec<String> {
        let hash = |run: &Value| run["trace_hash"].as_str().unwrap().to_owned();
        done.json().iter().map(hash).collect()
    }

    #[test]
    fn a_seed_has_one_hash_alone_after_others_and_beside_others() {
        let desk = Desk::with(SMALL);
        let run = |more: &[&str]| {
            hashes(&desk.hotfire(&[&["run", "small.toml", "--json"], more].concat()))
        };
        let alone = run(&["--seed", "4"]);
        let after = run(&["--seeds", "1..4", "--jobs", "1"]);
        let beside = run(&["--seeds", "1..4", "--jobs", "4"]);
        assert_eq!(alone[0], after[3]);
        assert_eq!(after, beside);
        assert_eq!(
            after
                .iter()
                .collect::<std::collections::BTreeSet<_>>()
                .len(),
            4
        );
    }

    #[test]
    fn verifying_says_that_both_runs_agreed() {
        let done = Desk::with(SMALL).hotfire(&["run", "small.toml", "--verify"]);
        assert_eq!(done.code, 0, "{}", done.stderr);
        assert!(
            done.stdout.lines().next().unwrap().ends_with("  verified"),
            "{}",
            done.stdout
        );
    }

    #[test]
    fn results_and_history_are_left_behind() {
        let desk = Desk::with(SMALL);
        let done = desk.hotfire(&["run", "small.toml", "--out", "out", "--seed", "9"]);
        assert_eq!(done.code, 0, "{}", done.stderr);
        let folder = desk.path("out/small/seed-9");
        let results = std::fs::read_to_string(folder.join("results.json")).unwrap();
        let results: Value = serde_json::from_str(&results).unwrap();
        assert_eq!(results["verdict"], "pass");
        let history = std::fs::File::open(folder.join("history.jsonl")).unwrap();
        let history = hotfire_check::History::read_jsonl(BufReader::new(history)).unwrap();
        assert_eq!(
            (history.meta().scenario.as_str(), history.meta().seed),
            ("small", 9)
        );
    }
}

#[test]
fn every_way_to_send_and_to_listen_passes() {
    let desk = Desk::with(include_str!("fixtures/variety.toml"));
    let done = desk.hotfire(&["run", "small.toml", "--seeds", "1..3"]);
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
}

mod lists {
    use super::*;

    #[test]
    fn the_shipped_scenarios_are_listed_with_their_stories() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let output = Command::new(env!("CARGO_BIN_EXE_hotfire"))
            .current_dir(root)
            .arg("list")
            .output()
            .unwrap();
        let done = Done::of(&output);
        assert_eq!(done.code, 0, "{}", done.stderr);
        for scenario in [
            "double-11/peak",
            "network/flash",
            "network/partition",
            "crash/process",
            "crash/power-loss-sync-flush",
            "crash/power-loss-async-flush",
            "duplicates/lost-ack",
            "duplicates/lost-response",
        ] {
            assert!(
                done.stdout
                    .contains(&format!("scenarios/{scenario}.toml\n    ")),
                "{scenario}"
            );
        }
    }

    #[test]
    fn invariants_are_listed_and_explained() {
        let desk = Desk::with(SMALL);
        let listed = desk.hotfire(&["list", "invariants"]);
        assert!(listed.stdout.starts_with("INV-LOSS "), "{}", listed.stdout);
        let explained = desk.hotfire(&["explain", "INV-LOSS"]);
        assert!(
            explained.stdout.starts_with("INV-LOSS: "),
            "{}",
            explained.stdout
        );
        assert!(explained.stdout.contains("Promised by Apache RocketMQ"));
    }
}

mod serving {
    use super::*;

    /// A port that was free a moment ago.
    fn free_port() -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port().to_string()
    }

    #[test]
    fn it_says_when_it_is_ready_and_stops_cleanly_when_asked() {
        let desk = Desk::with(SMALL);
        let mut child = Command::new(env!("CARGO_BIN_EXE_hotfire"))
            .current_dir(desk.0.path())
            .args(["serve", "--log", "error", "--namesrv-port", &free_port()])
            .args(["--broker-port", &free_port()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(
            lines
                .next()
                .unwrap()
                .unwrap()
                .starts_with("name server ready on ")
        );
        assert!(
            lines
                .next()
                .unwrap()
                .unwrap()
                .starts_with("broker ready on ")
        );
        let killed = Command::new("kill")
            .arg(child.id().to_string())
            .status()
            .unwrap();
        assert!(killed.success());
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert!(desk.path("data/store/checkpoint").is_file());
        assert!(
            !desk.path("data/store/abort").exists(),
            "the store was not closed"
        );
    }

    #[test]
    fn a_wrong_configuration_is_254_with_its_line() {
        let desk = Desk::with(SMALL);
        desk.put("broker.conf", "brokerName=x\nlistenPort=many\n");
        let done = desk.hotfire(&["broker", "--config", "broker.conf"]);
        assert_eq!(done.code, 254);
        assert!(done.stderr.contains("broker.conf") && done.stderr.contains("listenPort"));
    }
}
