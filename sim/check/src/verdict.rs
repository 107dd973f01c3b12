//! From a history to a report: every invariant, the figures, and the verdict.

use crate::contract::Contract;
use crate::facts::Facts;
use crate::history::History;
use crate::invariant::InvariantId;
use crate::report::{InvariantReport, Report, Stats, Status, Verdict};
use crate::stats;

/// Checks a history against a contract.
pub fn check(history: &History, contract: &Contract) -> Report {
    let facts = Facts::new(history, contract);
    let invariants: Vec<_> = InvariantId::ALL
        .iter()
        .map(|&id| id.check(&facts).into_report(id))
        .collect();
    let stats = stats::stats(&facts);
    let (verdict, reasons) = judge(&invariants, &stats, contract);
    Report {
        verdict,
        reasons,
        invariants,
        stats,
    }
}

/// A violation fails the run unless it is only to be counted. An expectation that was not put to
/// the test, and a run in which nothing happened, are not a pass.
fn judge(
    invariants: &[InvariantReport],
    stats: &Stats,
    contract: &Contract,
) -> (Verdict, Vec<String>) {
    let mut violated = Vec::new();
    let mut unknown = Vec::new();
    // A reply says as much as an acknowledgement, and is all that a request gets.
    let replied = |report: &InvariantReport| report.id == InvariantId::Corr && report.exercised > 0;
    if stats.sent_ok == 0 && !invariants.iter().any(replied) {
        unknown.push("no message was acknowledged".to_owned());
    } else if stats.delivered == 0 {
        unknown.push("no message was delivered".to_owned());
    }
    for report in invariants {
        let id = report.id;
        let expected = contract.holds.contains(&id);
        match report.status {
            Status::Violated if !contract.counts.contains(&id) => {
                let what = report
                    .evidence
                    .first()
                    .map_or("", |evidence| &evidence.summary);
                violated.push(format!(
                    "{id} is violated {} times: {what}",
                    report.violations
                ));
            }
            Status::NotExercised if expected => {
                unknown.push(format!("{id} should hold, but was not exercised"));
            }
            Status::Unknown if expected || !contract.counts.contains(&id) => {
                let why = report
                    .unknown
                    .as_deref()
                    .unwrap_or("the run ended too early");
                unknown.push(format!("{id} is unknown: {why}"));
            }
            Status::Holds | Status::Violated | Status::NotExercised | Status::Unknown => {}
        }
    }
    let verdict = match (violated.is_empty(), unknown.is_empty()) {
        (false, _) => Verdict::Fail,
        (true, false) => Verdict::Unknown,
        (true, true) => Verdict::Pass,
    };
    violated.append(&mut unknown);
    (verdict, violated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::Story;

    fn consumed(contract: Contract) -> Story {
        let mut s = Story::new(contract);
        s.at(1.0).send(7, "t#0", 0);
        s.assign("m1", "t#0")
            .pull("m1", "t#0", 0, 1)
            .consume("m1", "t#0", 0, 7);
        s
    }

    fn with_unsent_message(contract: Contract) -> Report {
        let mut s = consumed(contract);
        s.pull("m1", "t#0", 1, 1).consume("m1", "t#0", 1, 99);
        s.at(60.0).done(true);
        s.report()
    }

    #[test]
    fn a_run_in_which_every_expectation_was_met_passes() {
        let holds = vec![InvariantId::Loss, InvariantId::Phantom, InvariantId::Unseen];
        let mut s = consumed(Contract {
            holds,
            ..Story::contract()
        });
        s.at(60.0).done(true);
        let report = s.report();
        assert_eq!((report.verdict, report.reasons), (Verdict::Pass, vec![]));
    }

    #[test]
    fn an_expectation_that_was_not_exercised_is_not_a_pass() {
        let mut s = consumed(Contract {
            holds: vec![InvariantId::Dlq],
            ..Story::contract()
        });
        s.at(60.0).done(true);
        let report = s.report();
        assert_eq!(report.verdict, Verdict::Unknown);
        assert_eq!(
            report.reasons,
            ["INV-DLQ should hold, but was not exercised"]
        );
    }

    #[test]
    fn a_violation_fails_the_run_even_if_nobody_asked_for_the_invariant() {
        let report = with_unsent_message(Story::contract());
        assert_eq!(report.verdict, Verdict::Fail);
        assert!(report.reasons[0].starts_with("INV-PHANTOM is violated 1 times: "));
    }

    #[test]
    fn a_violation_that_is_only_to_be_counted_does_not_fail_the_run() {
        let counts = vec![InvariantId::Phantom];
        let report = with_unsent_message(Contract {
            counts,
            ..Story::contract()
        });
        assert_eq!(report.verdict, Verdict::Pass, "{:?}", report.reasons);
        assert_eq!(
            report.invariant(InvariantId::Phantom).unwrap().violations,
            1
        );
    }

    #[test]
    fn a_run_in_which_nothing_happened_is_unknown() {
        let report = Story::new(Story::contract()).report();
        assert_eq!(report.verdict, Verdict::Unknown);
        assert_eq!(report.reasons, ["no message was acknowledged"]);
    }

    #[test]
    fn a_run_of_requests_that_got_replies_is_not_nothing() {
        use crate::history::SendKind::Request;
        let mut s = Story::new(Story::contract());
        s.at(1.0)
            .invoke_kind(7, "t", Request)
            .unknown(7)
            .replied(7, 7);
        s.consume("m1", "t#0", 0, 7).at(60.0).done(true);
        assert_eq!(s.report().verdict, Verdict::Pass);
    }

    #[test]
    fn a_report_survives_json() {
        let report = with_unsent_message(Story::contract());
        let json = serde_json::to_string(&report).unwrap();
        assert!(
            json.contains(r#""id":"INV-PHANTOM","status":"violated","exercised":"#),
            "{json}"
        );
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    }
}
