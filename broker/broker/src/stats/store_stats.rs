//! What the store as a whole has done (`StoreStatsService`, `BrokerStats`).

use std::time::Duration;

use hotfire_protocol::stats::Samples;
use tokio::time::Instant;

/// The bounds in milliseconds of the times that puts are sorted by, and their names.
const DISTRIBUTION: [(u64, &str); 12] = [
    (0, "[<=0ms]"),
    (10, "[0~10ms]"),
    (50, "[10~50ms]"),
    (100, "[50~100ms]"),
    (200, "[100~200ms]"),
    (500, "[200~500ms]"),
    (1_000, "[500ms~1s]"),
    (2_000, "[1~2s]"),
    (3_000, "[2~3s]"),
    (4_000, "[3~4s]"),
    (5_000, "[4~5s]"),
    (10_000, "[5~10s]"),
];
/// The name of what is above all bounds.
const ABOVE: &str = "[10s~]";
/// The seconds over which rates are shown.
const RATE_SECONDS: [usize; 3] = [10, 60, 600];
const DAY_MS: i64 = 86_400_000;

/// Everything that rates are shown of.
#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    /// Messages stored.
    put: u64,
    /// Reads that found something.
    found: u64,
    /// Reads that found nothing.
    miss: u64,
    /// Messages read.
    transferred: u64,
}

/// Counts what the store has done since the start.
#[derive(Debug)]
pub struct StoreStats {
    start: Instant,
    totals: Totals,
    samples: Samples<Totals>,
    failed: u64,
    distribution: [u64; DISTRIBUTION.len() + 1],
    latency: Latency,
    days: Days,
}

/// The totals at the last two midnights.
#[derive(Debug, Clone, Copy, Default)]
struct Days {
    /// Days since the epoch.
    today: i64,
    yesterday_morning: (u64, u64),
    today_morning: (u64, u64),
}

impl StoreStats {
    /// Nothing counted yet.
    pub fn new(now: Instant, now_ms: i64) -> Self {
        let second = Duration::from_secs(1);
        let capacity = RATE_SECONDS[RATE_SECONDS.len() - 1] + 1;
        Self {
            start: now,
            totals: Totals::default(),
            samples: Samples::new(second, capacity, Duration::ZERO, Totals::default()),
            failed: 0,
            distribution: [0; DISTRIBUTION.len() + 1],
            latency: Latency::default(),
            days: Days {
                today: now_ms.div_euclid(DAY_MS),
                ..Days::default()
            },
        }
    }

    /// A message became visible in the store.
    pub fn arrived(&mut self, now: Instant, now_ms: i64) {
        self.roll(now, now_ms);
        self.totals.put += 1;
    }

    /// A producer's request to store something was dealt with, after `took`.
    pub fn put(&mut self, stored: bool, took: Duration) {
        if !stored {
            self.failed += 1;
        }
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let place = DISTRIBUTION.iter().position(|(bound, _)| ms <= *bound);
        self.distribution[place.unwrap_or(DISTRIBUTION.len())] += 1;
        self.latency.add(ms);
    }

    /// A read found so many messages.
    pub fn got(&mut self, messages: u64, now: Instant) {
        self.sample(now);
        if messages > 0 {
            self.totals.found += 1;
            self.totals.transferred += messages;
        } else {
            self.totals.miss += 1;
        }
    }

    fn sample(&mut self, now: Instant) {
        let at = now.saturating_duration_since(self.start);
        self.samples.roll(at, self.totals);
    }

    fn roll(&mut self, now: Instant, now_ms: i64) {
        self.sample(now);
        let today = now_ms.div_euclid(DAY_MS);
        if today > self.days.today {
            let totals = (self.totals.put, self.totals.transferred);
            self.days = Days {
                today,
                // Nothing was counted since whichever midnight it was.
                yesterday_morning: match today - self.days.today {
                    1 => self.days.today_morning,
                    _ => totals,
                },
                today_morning: totals,
            };
        }
    }

    /// The figures under the names that Java gives them (`StoreStatsService.getRuntimeInfo`,
    /// `AdminBrokerProcessor.prepareRuntimeInfo`).
    pub fn figures(&mut self, now: Instant, now_ms: i64) -> Vec<(&'static str, String)> {
        self.roll(now, now_ms);
        let (totals, days) = (self.totals, self.days);
        vec![
            ("putMessageTimesTotal", totals.put.to_string()),
            ("putMessageFailedTimes", self.failed.to_string()),
            ("putMessageDistributeTime", self.distribution_text()),
            ("putMessageEntireTimeMax", self.latency.max.to_string()),
            (
                "putLatency99",
                format!("{:.2}", self.latency.quantile(0.99)),
            ),
            (
                "putLatency999",
                format!("{:.2}", self.latency.quantile(0.999)),
            ),
            ("putTps", self.rates(|totals| totals.put)),
            ("getFoundTps", self.rates(|totals| totals.found)),
            ("getMissTps", self.rates(|totals| totals.miss)),
            ("getTransferedTps", self.rates(|totals| totals.transferred)),
            ("getTotalTps", self.total_rates()),
            ("msgPutTotalTodayNow", totals.put.to_string()),
            ("msgGetTotalTodayNow", totals.transferred.to_string()),
            ("msgPutTotalTodayMorning", days.today_morning.0.to_string()),
            ("msgGetTotalTodayMorning", days.today_morning.1.to_string()),
            (
                "msgPutTotalYesterdayMorning",
                days.yesterday_morning.0.to_string(),
            ),
            (
                "msgGetTotalYesterdayMorning",
                days.yesterday_morning.1.to_string(),
            ),
        ]
    }

    /// How many messages were stored.
    pub fn messages_put(&self) -> u64 {
        self.totals.put
    }

    fn distribution_text(&self) -> String {
        let names = DISTRIBUTION.iter().map(|(_, name)| *name).chain([ABOVE]);
        let entries = names.zip(&self.distribution);
        entries
            .map(|(name, count)| format!("{name}:{count} "))
            .collect()
    }

    /// The rates over ten seconds, a minute and ten minutes; what there are no samples of yet is
    /// left out, but its space is not.
    fn rates(&self, of: impl Fn(Totals) -> u64) -> String {
        let rate = |seconds| self.rate(seconds, &of).map(|rate| format!("{rate:?}"));
        RATE_SECONDS
            .map(|seconds| rate(seconds).unwrap_or_default())
            .join(" ")
    }

    /// Java adds the rates up, and what there are no samples of counts as 0.
    fn total_rates(&self) -> String {
        let all = |totals: Totals| totals.found + totals.miss;
        RATE_SECONDS
            .map(|seconds| format!("{:?}", self.rate(seconds, all).unwrap_or(0.0)))
            .join(" ")
    }

    fn rate(&self, seconds: usize, of: impl Fn(Totals) -> u64) -> Option<f64> {
        let (before, last, seconds) = self.samples.back(seconds)?;
        Some(of(last).saturating_sub(of(before)) as f64 / seconds)
    }
}

/// Times by the step: milliseconds up to a hundred, then ever coarser.
#[derive(Debug)]
struct Latency {
    counts: [u64; STEPS],
    total: u64,
    max: u64,
}

const FINE: u64 = 100;
/// A hundred single milliseconds, 90 times ten, 90 times a hundred, and everything above.
const STEPS: usize = 100 + 90 + 90 + 1;

impl Default for Latency {
    fn default() -> Self {
        Self {
            counts: [0; STEPS],
            total: 0,
            max: 0,
        }
    }
}

impl Latency {
    fn step(ms: u64) -> usize {
        let step = match ms {
            0..FINE => ms,
            FINE..1_000 => 90 + ms / 10,
            1_000..10_000 => 180 + ms / 100,
            _ => STEPS as u64 - 1,
        };
        step as usize
    }

    /// The smallest time of a step, in milliseconds.
    fn start(step: usize) -> u64 {
        let step = step as u64;
        match step {
            0..FINE => step,
            FINE..190 => (step - 90) * 10,
            _ => (step - 180) * 100,
        }
    }

    fn add(&mut self, ms: u64) {
        self.counts[Self::step(ms)] += 1;
        self.total += 1;
        self.max = self.max.max(ms);
    }

    /// The time that a share of all puts stayed within, in milliseconds.
    fn quantile(&self, share: f64) -> f64 {
        let wanted = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (step, count) in self.counts.iter().enumerate() {
            seen += count;
            if *count > 0 && seen >= wanted {
                return Self::start(step) as f64;
            }
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn figure(stats: &mut StoreStats, now: Instant, now_ms: i64, name: &str) -> String {
        let figures = stats.figures(now, now_ms);
        let found = figures.into_iter().find(|(known, _)| *known == name);
        found.unwrap().1
    }

    #[test]
    fn rates_cover_ten_seconds_a_minute_and_ten_minutes_as_far_as_they_are_known() {
        let start = Instant::now();
        let mut stats = StoreStats::new(start, 0);
        for _ in 0..120 {
            stats.arrived(start + SECOND * 55, 0);
        }
        let late = start + SECOND * 61;
        assert_eq!(figure(&mut stats, late, 0, "putTps"), "12.0 2.0 ");
        assert_eq!(figure(&mut stats, late, 0, "getTotalTps"), "0.0 0.0 0.0");
        let later = start + SECOND * 100;
        assert_eq!(figure(&mut stats, later, 0, "putTps"), "0.0 2.0 ");
    }

    #[test]
    fn puts_are_sorted_by_how_long_they_took() {
        let start = Instant::now();
        let mut stats = StoreStats::new(start, 0);
        for ms in [0, 5, 10, 120, 20_000] {
            stats.put(true, Duration::from_millis(ms));
        }
        stats.put(false, Duration::ZERO);
        assert_eq!(
            figure(&mut stats, start, 0, "putMessageDistributeTime"),
            "[<=0ms]:2 [0~10ms]:2 [10~50ms]:0 [50~100ms]:0 [100~200ms]:1 [200~500ms]:0 \
             [500ms~1s]:0 [1~2s]:0 [2~3s]:0 [3~4s]:0 [4~5s]:0 [5~10s]:0 [10s~]:1 "
        );
        assert_eq!(
            figure(&mut stats, start, 0, "putMessageEntireTimeMax"),
            "20000"
        );
        assert_eq!(figure(&mut stats, start, 0, "putMessageFailedTimes"), "1");
    }

    #[test]
    fn the_99th_percentile_leaves_one_of_a_hundred_out() {
        let mut latency = Latency::default();
        for _ in 0..99 {
            latency.add(3);
        }
        latency.add(1_234);
        assert_eq!(latency.quantile(0.99), 3.0);
        assert_eq!(latency.quantile(0.999), 1_200.0);
        assert_eq!(Latency::default().quantile(0.99), 0.0);
    }

    #[test]
    fn every_time_lies_within_its_step() {
        for ms in (0..12_000).chain([u64::MAX]) {
            let step = Latency::step(ms);
            assert!(Latency::start(step) <= ms, "{ms}");
            assert!(step + 1 == STEPS || ms < Latency::start(step + 1), "{ms}");
        }
    }

    #[test]
    fn a_new_day_begins_with_what_the_old_one_ended_with() {
        let start = Instant::now();
        let mut stats = StoreStats::new(start, 5);
        stats.arrived(start, 5);
        stats.arrived(start, DAY_MS - 1);
        let now = DAY_MS + 1;
        stats.arrived(start, now);
        assert_eq!(
            figure(&mut stats, start, now, "msgPutTotalTodayMorning"),
            "2"
        );
        assert_eq!(figure(&mut stats, start, now, "msgPutTotalTodayNow"), "3");
        let next = now + DAY_MS;
        assert_eq!(
            figure(&mut stats, start, next, "msgPutTotalYesterdayMorning"),
            "2"
        );
        assert_eq!(
            figure(&mut stats, start, next, "msgPutTotalTodayMorning"),
            "3"
        );
    }
}
