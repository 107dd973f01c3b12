use hotfire_check::report::{Report, Stats, Verdict};

use super::thousands;
use crate::scenario::{Expect, Figure};

/// Applies what a scenario demands at least: a run that met less proves nothing, so a pass becomes
/// unknown, with the reason.
pub fn apply(expect: &Expect, report: &mut Report) {
    for (figure, least) in &expect.at_least {
        let met = value(*figure, report);
        if met < *least {
            let name = name(*figure);
            let (met, least) = (thousands(met), thousands(*least));
            report
                .reasons
                .push(format!("{name}: {met}, but the scenario demands {least}"));
            if report.verdict == Verdict::Pass {
                report.verdict = Verdict::Unknown;
            }
        }
    }
}

/// Notes that the drain phase ended because its budget was used up: what is left may be late or
/// lost, and nobody can say which, so a pass becomes unknown.
pub fn not_drained(left: u64, report: &mut Report) {
    let reason = format!(
        "the drain phase used up its budget with {} messages left to consume",
        thousands(left)
    );
    report.reasons.push(reason);
    if report.verdict == Verdict::Pass {
        report.verdict = Verdict::Unknown;
    }
}

fn value(figure: Figure, report: &Report) -> u64 {
    let Stats {
        sent_ok,
        sent_failed,
        sent_unknown,
        delivered,
        duplicates,
        lost_legal,
        ..
    } = report.stats;
    match figure {
        Figure::SentOk => sent_ok,
        Figure::SentNotOk => sent_failed + sent_unknown,
        Figure::Delivered => delivered,
        Figure::Duplicates => duplicates,
        Figure::Lost => lost_legal,
        Figure::Exercised(id) => report.invariant(id).map_or(0, |report| report.exercised),
    }
}

fn name(figure: Figure) -> &'static str {
    match figure {
        Figure::Exercised(id) => id.name(),
        named => Figure::NAMED
            .iter()
            .find(|(_, figure)| *figure == named)
            .map_or("", |(name, _)| name),
    }
}
