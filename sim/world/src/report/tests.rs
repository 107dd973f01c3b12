use hotfire_check::InvariantId;
use hotfire_check::report::{
    Evidence, InvariantReport, Latency, Legal, Report, Stats, Status, Verdict,
};
use insta::assert_snapshot;

use super::*;
use crate::scenario::{Expect, Figure};

fn invariant(id: InvariantId, status: Status, exercised: u64) -> InvariantReport {
    InvariantReport {
        id,
        status,
        exercised,
        violations: 0,
        evidence: Vec::new(),
        legal: Vec::new(),
        unknown: None,
    }
}

fn evidence() -> Evidence {
    Evidence {
        summary: "message 42 was acknowledged but is gone".to_owned(),
        value: Some(42),
        at: 31.5,
        lines: vec![
            "31.200 s checkout-1 sends 42".to_owned(),
            "31.203 s checkout-1 is told ok: orders broker-b 3 offset 17".to_owned(),
        ],
    }
}

fn passed() -> Run {
    Run {
        path: "scenarios/double-11/peak.toml".to_owned(),
        scenario: "double-11/peak".to_owned(),
        seed: 7,
        counted: vec![InvariantId::Retry],
        report: Report {
            verdict: Verdict::Pass,
            reasons: Vec::new(),
            invariants: vec![
                invariant(InvariantId::Loss, Status::Holds, 240_000),
                invariant(InvariantId::Retry, Status::NotExercised, 0),
            ],
            stats: Stats {
                sent_ok: 240_000,
                sent_failed: 12,
                sent_unknown: 3,
                delivered: 480_100,
                duplicates: 100,
                latency_ms: Latency {
                    p50: 4.0,
                    p99: 812.5,
                    p999: 1500.0,
                    max: 2100.25,
                },
                ..Stats::default()
            },
        },
        trace_hash: 0xabc,
        simulated: Duration::from_millis(72_400),
        wall: Duration::from_millis(9_812),
    }
}

fn failed() -> Run {
    let mut run = passed();
    run.report.verdict = Verdict::Fail;
    run.report.reasons = vec!["INV-LOSS is violated".to_owned()];
    let loss = &mut run.report.invariants[0];
    loss.status = Status::Violated;
    loss.violations = 3;
    loss.evidence = vec![evidence(); 3];
    let retry = &mut run.report.invariants[1];
    retry.status = Status::Unknown;
    retry.unknown = Some("the drain budget ended first".to_owned());
    retry.legal = vec![Legal {
        what: "redelivered after a rebalance".to_owned(),
        count: 1000,
        example: evidence(),
    }];
    run
}

#[test]
fn a_run_is_one_line() {
    assert_snapshot!(summary(&passed()), @"double-11/peak  seed 7  pass  240,015 messages  72.40 s simulated  9.81 s wall  trace 0000000000000abc");
}

#[test]
fn a_failed_run_shows_evidence_and_how_to_replay_it() {
    assert_snapshot!(details(&failed()), @r"
    double-11/peak with seed 7: fail
      sent 240,000 ok, 12 failed, 3 unknown; delivered 480,100, of which 100 again
      latency ms: p50 4.0, p99 812.5, p99.9 1500.0, max 2100.2
      INV-LOSS       violated      3 of 240,000
          at 31.500 s: message 42 was acknowledged but is gone
            31.200 s checkout-1 sends 42
            31.203 s checkout-1 is told ok: orders broker-b 3 offset 17
          at 31.500 s: message 42 was acknowledged but is gone
            31.200 s checkout-1 sends 42
            31.203 s checkout-1 is told ok: orders broker-b 3 offset 17
          and 1 more
      INV-RETRY      unknown                  0
          the drain budget ended first
          1,000 × legal: redelivered after a rebalance
      because INV-LOSS is violated
      replay: hotfire run scenarios/double-11/peak.toml --seed 7
    ");
}

#[test]
fn what_is_only_counted_says_so() {
    let mut run = failed();
    run.report.verdict = Verdict::Pass;
    run.counted = vec![InvariantId::Loss];
    let details = details(&run);
    let line = details.lines().find(|line| line.contains("INV-LOSS"));
    assert_snapshot!(line.unwrap(), @"  INV-LOSS       counted       3 of 240,000");
}

#[test]
fn a_run_is_one_json_object_with_fixed_fields() {
    assert_snapshot!(serde_json::to_string_pretty(&failed().json()).unwrap(), @r#"
    {
      "scenario": "double-11/peak",
      "seed": 7,
      "verdict": "fail",
      "trace_hash": "0000000000000abc",
      "simulated_seconds": 72.4,
      "wall_seconds": 9.812,
      "sent_ok": 240000,
      "sent_failed": 12,
      "sent_unknown": 3,
      "delivered": 480100,
      "duplicates": 100,
      "latency_ms": {
        "p50": 4.0,
        "p99": 812.5,
        "p999": 1500.0,
        "max": 2100.25
      },
      "invariants": [
        {
          "id": "INV-LOSS",
          "status": "violated",
          "exercised": 240000,
          "evidence": [
            {
              "summary": "message 42 was acknowledged but is gone",
              "value": 42,
              "at": 31.5,
              "lines": [
                "31.200 s checkout-1 sends 42",
                "31.203 s checkout-1 is told ok: orders broker-b 3 offset 17"
              ]
            },
            {
              "summary": "message 42 was acknowledged but is gone",
              "value": 42,
              "at": 31.5,
              "lines": [
                "31.200 s checkout-1 sends 42",
                "31.203 s checkout-1 is told ok: orders broker-b 3 offset 17"
              ]
            },
            {
              "summary": "message 42 was acknowledged but is gone",
              "value": 42,
              "at": 31.5,
              "lines": [
                "31.200 s checkout-1 sends 42",
                "31.203 s checkout-1 is told ok: orders broker-b 3 offset 17"
              ]
            }
          ]
        },
        {
          "id": "INV-RETRY",
          "status": "not-exercised",
          "exercised": 0,
          "evidence": []
        }
      ]
    }
    "#);
}

#[test]
fn a_run_that_met_too_little_is_unknown() {
    let expect = Expect {
        at_least: vec![
            (Figure::SentOk, 240_000),
            (Figure::SentNotOk, 16),
            (Figure::Exercised(InvariantId::Retry), 1),
        ],
        ..Expect::default()
    };
    let mut run = passed();
    apply(&expect, &mut run.report);
    assert_eq!(run.report.verdict, Verdict::Unknown);
    assert_snapshot!(run.report.reasons.join("\n"), @r"
    sent-not-ok: 15, but the scenario demands 16
    INV-RETRY: 0, but the scenario demands 1
    ");
}

#[test]
fn a_run_that_did_not_drain_is_unknown() {
    let mut run = passed();
    not_drained(1200, &mut run.report);
    assert_eq!(run.report.verdict, Verdict::Unknown);
    assert!(run.report.reasons[0].contains("1,200 messages"));
}

#[test]
fn a_violation_stays_one_whatever_was_met() {
    let expect = Expect {
        at_least: vec![(Figure::Lost, 1)],
        ..Expect::default()
    };
    let mut run = failed();
    apply(&expect, &mut run.report);
    assert_eq!(run.report.verdict, Verdict::Fail);
}

#[test]
fn large_numbers_have_commas() {
    assert_eq!(thousands(0), "0");
    assert_eq!(thousands(999), "999");
    assert_eq!(thousands(1_000), "1,000");
    assert_eq!(thousands(1_234_567), "1,234,567");
}

#[test]
fn a_replay_command_survives_the_shell() {
    assert_eq!(replay("a/b-1.toml", 3), "hotfire run a/b-1.toml --seed 3");
    assert_eq!(
        replay("my dir/x.toml", 3),
        "hotfire run 'my dir/x.toml' --seed 3"
    );
    assert_eq!(replay("it's", 3), "hotfire run 'it'\\''s' --seed 3");
}
