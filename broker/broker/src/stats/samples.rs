//! Samples of a counter at regular times.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The last samples of a counter, taken at every multiple of an interval since a start.
///
/// The counter itself is kept by the caller, who calls [`Samples::roll`] with its value **before**
/// every change and every look.
#[derive(Debug, Clone)]
pub struct Samples<T> {
    start: Instant,
    interval: Duration,
    capacity: usize,
    /// The number of the interval that the newest sample was taken at the begin of.
    newest: u64,
    /// When the next sample is due: most calls come before it and have nothing to do.
    due: Instant,
    values: VecDeque<T>,
}

impl<T: Copy> Samples<T> {
    /// A counter that is at `value` now. Times are counted from `start`.
    pub fn new(
        start: Instant,
        interval: Duration,
        capacity: usize,
        now: Instant,
        value: T,
    ) -> Self {
        let mut samples = Self {
            start,
            interval,
            capacity,
            newest: 0,
            due: now,
            values: VecDeque::new(),
        };
        samples.arrive_at(samples.number(now));
        samples.values.push_back(value);
        samples
    }

    fn number(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.start).as_nanos();
        let number = passed / self.interval.as_nanos().max(1);
        // A century of seconds.
        u64::try_from(number).unwrap_or(u64::MAX).min(3_155_760_000)
    }

    /// Takes the samples that were due up to now; the counter has been at `value` all the time
    /// since the last call.
    pub fn roll(&mut self, now: Instant, value: T) {
        if now < self.due {
            return;
        }
        let number = self.number(now);
        let due = number.saturating_sub(self.newest);
        for _ in 0..due.min(self.capacity as u64) {
            if self.values.len() == self.capacity {
                self.values.pop_front();
            }
            self.values.push_back(value);
        }
        self.arrive_at(self.newest.max(number));
    }

    fn arrive_at(&mut self, newest: u64) {
        self.newest = newest;
        let next = u32::try_from(newest + 1).unwrap_or(u32::MAX);
        self.due = self.start + self.interval.saturating_mul(next);
    }

    /// The oldest and the newest sample, and the seconds between them; `None` before the second.
    pub fn span(&self) -> Option<(T, T, f64)> {
        self.back(self.values.len().checked_sub(1)?)
    }

    /// The sample `intervals` before the newest, the newest, and the seconds between them; `None`
    /// if there are not so many.
    pub fn back(&self, intervals: usize) -> Option<(T, T, f64)> {
        let first = self.values.len().checked_sub(intervals + 1)?;
        let (first, last) = (*self.values.get(first)?, *self.values.back()?);
        let seconds = self.interval.as_secs_f64() * intervals as f64;
        (intervals > 0).then_some((first, last, seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn samples(start: Instant) -> Samples<i64> {
        Samples::new(start, SECOND, 4, start, 0)
    }

    #[test]
    fn a_sample_holds_what_the_counter_was_when_it_was_due() {
        let start = Instant::now();
        let mut samples = samples(start);
        samples.roll(start + SECOND / 2, 0);
        // The counter goes to 5 in the first second, to 7 in the third.
        samples.roll(start + SECOND * 2 + SECOND / 2, 5);
        samples.roll(start + SECOND * 3, 7);
        assert_eq!(samples.span(), Some((0, 7, 3.0)));
        assert_eq!(samples.back(1), Some((5, 7, 1.0)));
        assert_eq!(samples.back(2), Some((5, 7, 2.0)));
        assert_eq!(samples.back(4), None);
    }

    #[test]
    fn old_samples_are_forgotten_even_after_a_long_silence() {
        let start = Instant::now();
        let mut samples = samples(start);
        samples.roll(start + SECOND, 1);
        samples.roll(start + SECOND * 1_000_000, 9);
        assert_eq!(samples.span(), Some((9, 9, 3.0)));
        assert_eq!(samples.values.len(), 4);
    }

    #[test]
    fn one_sample_is_no_span() {
        let start = Instant::now();
        assert_eq!(samples(start).span(), None);
        assert_eq!(samples(start).back(0), None);
    }
}
