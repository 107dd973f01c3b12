//! One counter with its minute, hour and day (`StatsItem`).

use std::time::Duration;

use super::Samples;
use crate::body::{BrokerStatsData, BrokerStatsItem};

/// How often a counter is looked at for the last minute, and how many looks are kept.
const MINUTE: (Duration, usize) = (Duration::from_secs(10), 7);
/// For the last hour.
const HOUR: (Duration, usize) = (Duration::from_secs(10 * 60), 7);
/// For the last day.
const DAY: (Duration, usize) = (Duration::from_secs(60 * 60), 25);

/// What is counted: a sum, and how many times it was added to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Count {
    value: u64,
    times: u64,
}

/// A counter, with what it came to in the last minute, hour and day.
#[derive(Debug, Clone)]
pub struct StatsItem {
    count: Count,
    minute: Samples<Count>,
    hour: Samples<Count>,
    day: Samples<Count>,
}

impl StatsItem {
    /// A counter that is at 0 at the time `at`, counted from whatever start.
    pub fn new(at: Duration) -> Self {
        let samples = |(interval, capacity)| Samples::new(interval, capacity, at, Count::default());
        Self {
            count: Count::default(),
            minute: samples(MINUTE),
            hour: samples(HOUR),
            day: samples(DAY),
        }
    }

    /// Adds to the sum.
    pub fn add(&mut self, value: u64, at: Duration) {
        self.roll(at);
        self.count.value = self.count.value.saturating_add(value);
        self.count.times = self.count.times.saturating_add(1);
    }

    /// The figures. The last of the minute's may be up to ten seconds old, and so on.
    pub fn data(&mut self, at: Duration) -> BrokerStatsData {
        self.roll(at);
        BrokerStatsData {
            stats_day: figures(&self.day),
            stats_hour: figures(&self.hour),
            stats_minute: figures(&self.minute),
        }
    }

    fn roll(&mut self, at: Duration) {
        for samples in [&mut self.minute, &mut self.hour, &mut self.day] {
            samples.roll(at, self.count);
        }
    }
}

fn figures(samples: &Samples<Count>) -> BrokerStatsItem {
    let Some((first, last, seconds)) = samples.span() else {
        return BrokerStatsItem::default();
    };
    let sum = last.value.saturating_sub(first.value);
    let times = last.times.saturating_sub(first.times);
    BrokerStatsItem {
        avgpt: if times > 0 {
            sum as f64 / times as f64
        } else {
            0.0
        },
        sum: i64::try_from(sum).unwrap_or(i64::MAX),
        tps: sum as f64 / seconds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn fifteen_messages_in_a_minute_are_a_quarter_of_one_per_second() {
        let mut item = StatsItem::new(Duration::ZERO);
        for second in 1..=15 {
            item.add(1, SECOND * second);
        }
        let minute = item.data(SECOND * 61).stats_minute;
        assert_eq!((minute.sum, minute.tps, minute.avgpt), (15, 0.25, 1.0));
        let hour = item.data(SECOND * 61).stats_hour;
        assert_eq!(
            (hour.sum, hour.tps),
            (0, 0.0),
            "the first look is after ten minutes"
        );
    }

    #[test]
    fn what_is_older_than_a_minute_is_in_the_hour_only() {
        let mut item = StatsItem::new(Duration::ZERO);
        item.add(600, SECOND);
        let data = item.data(SECOND * 600);
        assert_eq!(data.stats_minute.sum, 0);
        assert_eq!((data.stats_hour.sum, data.stats_hour.tps), (600, 1.0));
        assert_eq!(data.stats_hour.avgpt, 600.0);
    }

    #[test]
    fn a_day_later_all_is_forgotten() {
        let mut item = StatsItem::new(Duration::ZERO);
        item.add(1, SECOND);
        let day = SECOND * 3600 * 24;
        assert_eq!(item.data(day).stats_day.sum, 1);
        assert_eq!(item.data(day + SECOND * 3600).stats_day.sum, 0);
    }
}
