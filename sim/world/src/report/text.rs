use std::fmt::Write;
use std::time::Duration;

use hotfire_check::report::{Evidence, InvariantReport, Status, Verdict};

use super::Run;

/// Evidence shown for one invariant; the rest is in `results.json`.
const EVIDENCE_SHOWN: usize = 2;

/// Lines shown of one piece of evidence.
const LINES_SHOWN: usize = 12;

/// A run in one line: scenario, seed, verdict, messages, simulated and wall time, trace hash.
pub fn summary(run: &Run) -> String {
    let stats = &run.report.stats;
    let messages = stats.sent_ok + stats.sent_failed + stats.sent_unknown;
    format!(
        "{}  seed {}  {}  {} messages  {} simulated  {} wall  trace {}",
        run.scenario,
        run.seed,
        run.report.verdict,
        thousands(messages),
        seconds(run.simulated),
        seconds(run.wall),
        run.hash_text(),
    )
}

/// The whole verdict: figures, every invariant, the evidence of what is violated, why it is not a
/// pass, and the command that runs it again.
pub fn details(run: &Run) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "{} with seed {}: {}",
        run.scenario, run.seed, run.report.verdict
    );
    figures(&mut out, run);
    for report in &run.report.invariants {
        invariant(&mut out, report, run.counted.contains(&report.id));
    }
    if run.report.verdict != Verdict::Pass {
        for reason in &run.report.reasons {
            let _ = writeln!(out, "  because {reason}");
        }
    }
    let _ = writeln!(out, "  replay: {}", run.replay());
    out
}

fn figures(out: &mut String, run: &Run) {
    let stats = &run.report.stats;
    let _ = writeln!(
        out,
        "  sent {} ok, {} failed, {} unknown; delivered {}, of which {} again",
        thousands(stats.sent_ok),
        thousands(stats.sent_failed),
        thousands(stats.sent_unknown),
        thousands(stats.delivered),
        thousands(stats.duplicates),
    );
    let latency = &stats.latency_ms;
    let _ = writeln!(
        out,
        "  latency ms: p50 {:.1}, p99 {:.1}, p99.9 {:.1}, max {:.1}",
        latency.p50, latency.p99, latency.p999, latency.max,
    );
}

fn invariant(out: &mut String, report: &InvariantReport, counted: bool) {
    let counted = counted && report.status == Status::Violated;
    let status = if counted {
        "counted"
    } else {
        report.status.name()
    };
    let id = report.id.name();
    let count = match report.status {
        Status::NotExercised => String::new(),
        Status::Violated => {
            format!(
                "{} of {}",
                thousands(report.violations),
                thousands(report.exercised)
            )
        }
        Status::Holds | Status::Unknown => thousands(report.exercised),
    };
    let line = format!("  {id:<14} {status:<13} {count:>12}");
    let _ = writeln!(out, "{}", line.trim_end());
    if let Some(why) = &report.unknown {
        let _ = writeln!(out, "      {why}");
    }
    for legal in &report.legal {
        let _ = writeln!(
            out,
            "      {} × legal: {}",
            thousands(legal.count),
            legal.what
        );
    }
    let shown = if counted { 1 } else { EVIDENCE_SHOWN };
    for found in report.evidence.iter().take(shown) {
        evidence(out, found);
    }
    let more = report.evidence.len().saturating_sub(shown);
    if more > 0 && !counted {
        let _ = writeln!(out, "      and {more} more");
    }
}

fn evidence(out: &mut String, evidence: &Evidence) {
    let _ = writeln!(out, "      at {:.3} s: {}", evidence.at, evidence.summary);
    for line in evidence.lines.iter().take(LINES_SHOWN) {
        let _ = writeln!(out, "        {line}");
    }
    let more = evidence.lines.len().saturating_sub(LINES_SHOWN);
    if more > 0 {
        let _ = writeln!(out, "        … {more} more");
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

/// A number with commas: `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
