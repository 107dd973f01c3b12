//! Samples of a counter at regular times.

use std::collections::VecDeque;
use std::time::Duration;

/// The last samples of a counter, taken at every multiple of an interval. Times are counted from
/// some start that the caller chooses.
///
/// The counter itself is kept by the caller, who calls [`Samples::roll`] with its value **before**
/// every change and every look.
#[derive(Debug, Clone)]
pub struct Samples<T> {
    interval: Duration,
    capacity: usize,
    /// When the next sample is due: most calls come before it and have nothing to do.
    due: Duration,
    values: VecDeque<T>,
}

impl<T: Copy> Samples<T> {
    /// A counter that is at `value` at the time `at`. The newest `capacity` samples are kept.
    pub fn new(interval: Duration, capacity: usize, at: Duration, value: T) -> Self {
        let mut samples = Self {
            interval: interval.max(Duration::from_millis(1)),
            capacity,
            due: Duration::ZERO,
            values: VecDeque::from([value]),
        };
        samples.due = samples
            .interval
            .saturating_mul(samples.number(at).saturating_add(1));
        samples
    }

    fn number(&self, at: Duration) -> u32 {
        let number = at.as_nanos() / self.interval.as_nanos();
        u32::try_from(number).unwrap_or(u32::MAX)
    }

    /// Takes the samples that were due up to now; the counter has been at `value` all the time
    /// since the last call.
    pub fn roll(&mut self, at: Duration, value: T) {
        if at < self.due {
            return;
        }
        let due = self.number(at - self.due).saturating_add(1);
        for _ in 0..self.capacity.min(due as usize) {
            if self.values.len() == self.capacity {
                self.values.pop_front();
            }
            self.values.push_back(value);
        }
        self.due = self.due.saturating_add(self.interval.saturating_mul(due));
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

    fn samples() -> Samples<i64> {
        Samples::new(SECOND, 4, Duration::ZERO, 0)
    }

    #[test]
    fn a_sample_holds_what_the_counter_was_when_it_was_due() {
        let mut samples = samples();
        samples.roll(SECOND / 2, 0);
        // The counter goes to 5 in the first second, to 7 in the third.
        samples.roll(SECOND * 2 + SECOND / 2, 5);
        samples.roll(SECOND * 3, 7);
        assert_eq!(samples.span(), Some((0, 7, 3.0)));
        assert_eq!(samples.back(1), Some((5, 7, 1.0)));
        assert_eq!(samples.back(2), Some((5, 7, 2.0)));
        assert_eq!(samples.back(4), None);
    }

    #[test]
    fn old_samples_are_forgotten_even_after_a_long_silence() {
        let mut samples = samples();
        samples.roll(SECOND, 1);
        samples.roll(SECOND * 1_000_000, 9);
        assert_eq!(samples.span(), Some((9, 9, 3.0)));
        assert_eq!(samples.values.len(), 4);
        samples.roll(SECOND * 1_000_001, 10);
        assert_eq!(samples.back(1), Some((9, 10, 1.0)));
    }

    #[test]
    fn one_sample_is_no_span() {
        assert_eq!(samples().span(), None);
        assert_eq!(samples().back(0), None);
    }
}
