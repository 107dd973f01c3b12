//! Figures of a run.

use hdrhistogram::Histogram;

use crate::facts::{End, Facts, Fate};
use crate::history::Outcome;
use crate::report::{Latency, Stats};

/// Longer latencies count as this long, in microseconds: a week.
const LONGEST_US: u64 = 7 * 24 * 3_600 * 1_000_000;

/// Counts and latencies.
pub(crate) fn stats(facts: &Facts<'_>) -> Stats {
    let mut stats = Stats {
        delivered: facts.deliveries.len() as u64,
        ..Stats::default()
    };
    for op in &facts.ops {
        match op.end {
            End::Ok => stats.sent_ok += 1,
            End::Failed => stats.sent_failed += 1,
            End::Unknown => stats.sent_unknown += 1,
        }
    }
    // Three significant digits.
    let mut latencies = Histogram::<u64>::new_with_max(LONGEST_US, 3).ok();
    for (message, _) in (0u32..).zip(&facts.messages) {
        let acked = facts.ok_op(message).is_some();
        if facts.fate(message) == Fate::LostLegally {
            stats.lost_legal += 1;
        }
        if !acked && !facts.deliveries_of.of(message).is_empty() {
            stats.recovered += 1;
        }
        for list in facts.by_audience(message) {
            note_audience(facts, message, list, &mut stats, latencies.as_mut());
        }
    }
    if let Some(latencies) = latencies.filter(|latencies| !latencies.is_empty()) {
        let millis = |quantile| latencies.value_at_quantile(quantile) as f64 / 1000.0;
        stats.latency_ms = Latency {
            p50: millis(0.5),
            p99: millis(0.99),
            p999: millis(0.999),
            max: latencies.max() as f64 / 1000.0,
        };
    }
    stats
}

fn note_audience(
    facts: &Facts<'_>,
    message: u32,
    list: &[u32],
    stats: &mut Stats,
    latencies: Option<&mut Histogram<u64>>,
) {
    let mut deliveries = facts.each(list);
    let Some(first) = deliveries.next() else {
        return;
    };
    let mut failed = matches!(first.outcome, Some(Outcome::Later | Outcome::Suspended));
    for delivery in deliveries {
        stats.duplicates += 1;
        stats.retries += u64::from(failed);
        failed |= matches!(delivery.outcome, Some(Outcome::Later | Outcome::Suspended));
    }
    let invoked = facts.ops_of(message).map(|op| op.invoked).min();
    if let (Some(invoked), Some(latencies), Some(_)) = (invoked, latencies, first.outcome) {
        latencies.saturating_record(first.finished.since(invoked));
    }
}

#[cfg(test)]
mod tests {
    use crate::history::Outcome;
    use crate::story::Story;

    #[test]
    fn sends_deliveries_and_duplicates_are_counted() {
        let mut s = Story::new(Story::contract());
        s.at(1.0)
            .send(1, "t#0", 0)
            .invoke(2, "t")
            .unknown(2)
            .append(2, "t#0", 1, 0);
        s.invoke(3, "t").failed(3);
        s.assign("m1", "t#0")
            .pull("m1", "t#0", 0, 2)
            .consume("m1", "t#0", 0, 1);
        s.deliver("m1", "t#0", 1, 2).finish("m1", 2, Outcome::Later);
        s.at(20.0)
            .consume_again("m1", "%RETRY%g#0", 0, 2, (1, Outcome::Consumed));
        s.consume("m1", "t#0", 0, 1);
        let stats = s.report().stats;
        assert_eq!(
            (stats.sent_ok, stats.sent_unknown, stats.sent_failed),
            (1, 1, 1)
        );
        assert_eq!(
            (stats.delivered, stats.duplicates, stats.retries),
            (4, 2, 1)
        );
        assert_eq!(stats.recovered, 1);
    }

    #[test]
    fn latency_goes_from_the_call_of_send_to_the_end_of_the_first_delivery() {
        let mut s = Story::new(Story::contract());
        s.at(1.0)
            .send(1, "t#0", 0)
            .at(1.5)
            .deliver("m1", "t#0", 0, 1);
        s.at(2.0).finish("m1", 1, Outcome::Consumed);
        let latency = s.report().stats.latency_ms;
        assert!((latency.max - 1000.0).abs() < 1.0, "{latency:?}");
    }
}
