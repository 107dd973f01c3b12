//! Load curves: how many messages are due at a moment of simulated time.
//!
//! A curve is a chain of straight pieces. The number of messages due is its integral, computed in
//! integers: it is exact, the same on every machine, and never decreases.

use std::time::Duration;

/// A rate of messages. The unit is one message per thousand hours: a second, a minute and an hour
/// all divide it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Rate(pub u64);

/// Units of [`Rate`] that make one message per second.
const PER_SECOND: u64 = 3_600_000;

/// Rate times microseconds, doubled, of one message: what [`Curve::due`] divides by.
const ONE_MESSAGE: u128 = 2 * PER_SECOND as u128 * 1_000_000;

/// No piece is longer and no rate higher than this, so that no integral can overflow.
const MOST: u64 = 1 << 50;

impl Rate {
    /// So many messages per second.
    pub const fn per_second(messages: u64) -> Self {
        Self(messages.saturating_mul(PER_SECOND))
    }

    /// Messages per second, for people.
    pub fn as_per_second(self) -> f64 {
        self.0 as f64 / PER_SECOND as f64
    }

    fn half(self) -> Self {
        Self(self.0 / 2)
    }
}

/// The shape of midnight on 11 November: quiet, a countdown in which impatience grows, a wall when
/// the shops open, a tail that gets long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DoubleEleven {
    /// The rate before the countdown, and that the tail falls back to.
    pub quiet: Rate,
    /// The rate that the countdown climbs to.
    pub countdown: Rate,
    /// How long the countdown climbs.
    pub countdown_lasts: Duration,
    /// The rate from midnight on.
    pub wall: Rate,
    /// When midnight is.
    pub at: Duration,
    /// How long the wall holds before the tail begins.
    pub wall_lasts: Duration,
    /// The tail's rate halves in this time, again and again.
    pub halves_every: Duration,
}

/// A load curve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Curve {
    /// In order of time, each beginning where the one before ends.
    pieces: Vec<Piece>,
    /// The rate after the last piece.
    then: Rate,
}

/// A straight piece of a curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    /// Microseconds.
    lasts: u64,
    from: Rate,
    to: Rate,
}

impl Piece {
    /// Twice the integral over the first `x` microseconds.
    fn twice_area(&self, x: u64) -> u128 {
        let (x, lasts) = (i128::from(x.min(self.lasts)), i128::from(self.lasts));
        if lasts == 0 {
            return 0;
        }
        let (from, to) = (i128::from(self.from.0), i128::from(self.to.0));
        // (to - from) * x * x / lasts, without the product of all three.
        let rise = (to - from) * x;
        let (whole, rest) = (rise.div_euclid(lasts), rise.rem_euclid(lasts));
        let area = 2 * from * x + whole * x + rest * x / lasts;
        area.unsigned_abs()
    }
}

impl Curve {
    /// The same rate all the time.
    pub fn constant(rate: Rate) -> Self {
        Self::new(Vec::new(), rate)
    }

    /// From one rate to another in a straight line, then on at the other.
    pub fn ramp(from: Rate, to: Rate, over: Duration) -> Self {
        Self::new(vec![(over, from, to)], to)
    }

    /// The shape of midnight on 11 November.
    pub fn double_eleven(shape: DoubleEleven) -> Self {
        let countdown_lasts = shape.countdown_lasts.min(shape.at);
        let mut pieces = vec![
            (shape.at - countdown_lasts, shape.quiet, shape.quiet),
            (countdown_lasts, shape.quiet, shape.countdown),
            (shape.wall_lasts, shape.wall, shape.wall),
        ];
        let mut rate = shape.wall;
        while rate > shape.quiet && !shape.halves_every.is_zero() {
            let next = rate.half().max(shape.quiet);
            pieces.push((shape.halves_every, rate, next));
            rate = next;
        }
        Self::new(pieces, shape.quiet)
    }

    fn new(pieces: Vec<(Duration, Rate, Rate)>, then: Rate) -> Self {
        let bounded = |rate: Rate| Rate(rate.0.min(MOST));
        let pieces = pieces
            .into_iter()
            .map(|(lasts, from, to)| Piece {
                lasts: as_micros(lasts).min(MOST),
                from: bounded(from),
                to: bounded(to),
            })
            .collect();
        Self {
            pieces,
            then: bounded(then),
        }
    }

    /// How many messages are due by a moment, counted from the start of the load.
    pub fn due(&self, at: Duration) -> u64 {
        let mut left = as_micros(at).min(MOST);
        let mut area = 0u128;
        for piece in &self.pieces {
            area += piece.twice_area(left);
            left = left.saturating_sub(piece.lasts);
        }
        area += 2 * u128::from(self.then.0) * u128::from(left);
        u64::try_from(area / ONE_MESSAGE).unwrap_or(u64::MAX)
    }

    /// When the `n`-th message (from 1) is due, to the microsecond; `None` if it is not due by
    /// `end`.
    pub fn when(&self, n: u64, end: Duration) -> Option<Duration> {
        if self.due(end) < n {
            return None;
        }
        let (mut low, mut high) = (0, as_micros(end));
        while low < high {
            let middle = low + (high - low) / 2;
            if self.due(Duration::from_micros(middle)) >= n {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Some(Duration::from_micros(low))
    }

    /// The rate at a moment, for progress lines and plots.
    pub fn rate(&self, at: Duration) -> Rate {
        let mut left = as_micros(at);
        for piece in &self.pieces {
            if left < piece.lasts {
                let (from, to) = (i128::from(piece.from.0), i128::from(piece.to.0));
                let rate = from + (to - from) * i128::from(left) / i128::from(piece.lasts);
                return Rate(u64::try_from(rate).unwrap_or_default());
            }
            left -= piece.lasts;
        }
        self.then
    }
}

fn as_micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// How many of the first `due` messages of a group fall to one of its members: they take turns.
pub fn share(due: u64, member: u32, members: u32) -> u64 {
    let members = u64::from(members.max(1));
    due.saturating_add(members - 1)
        .saturating_sub(u64::from(member))
        / members
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn midnight() -> DoubleEleven {
        DoubleEleven {
            quiet: Rate::per_second(200),
            countdown: Rate::per_second(1000),
            countdown_lasts: seconds(10),
            wall: Rate::per_second(20_000),
            at: seconds(30),
            wall_lasts: seconds(8),
            halves_every: seconds(4),
        }
    }

    #[test]
    fn a_constant_load_is_rate_times_time() {
        let load = Curve::constant(Rate::per_second(200));
        assert_eq!(load.due(seconds(0)), 0);
        assert_eq!(load.due(Duration::from_millis(4)), 0);
        assert_eq!(load.due(Duration::from_millis(5)), 1);
        assert_eq!(load.due(seconds(3600)), 720_000);
    }

    #[test]
    fn a_ramp_is_due_by_the_area_under_it() {
        let load = Curve::ramp(Rate::per_second(0), Rate::per_second(100), seconds(10));
        assert_eq!(load.due(seconds(5)), 125);
        assert_eq!(load.due(seconds(10)), 500);
        assert_eq!(load.due(seconds(11)), 600);
        let down = Curve::ramp(Rate::per_second(100), Rate::per_second(0), seconds(10));
        assert_eq!(down.due(seconds(5)), 375);
        assert_eq!(down.due(seconds(99)), 500);
    }

    #[test]
    fn double_eleven_is_quiet_then_a_wall_then_a_long_tail() {
        let load = Curve::double_eleven(midnight());
        assert_eq!(load.due(seconds(20)), 4_000);
        assert_eq!(load.due(seconds(30)), 4_000 + 6_000);
        assert_eq!(load.due(seconds(38)), 10_000 + 160_000);
        assert_eq!(load.due(seconds(42)), 170_000 + 60_000);
        assert_eq!(load.due(seconds(46)), 230_000 + 30_000);
        assert_eq!(load.rate(seconds(29)), Rate::per_second(920));
        assert_eq!(load.rate(seconds(30)), Rate::per_second(20_000));
        assert_eq!(load.rate(seconds(600)), Rate::per_second(200));
    }

    #[test]
    fn members_take_turns() {
        let shares: Vec<u64> = (0..3).map(|member| share(10, member, 3)).collect();
        assert_eq!(shares, [4, 3, 3]);
        assert_eq!((0..3).map(|member| share(0, member, 3)).sum::<u64>(), 0);
    }

    fn curves() -> impl Strategy<Value = Curve> {
        let rate = (0u64..50_000).prop_map(Rate::per_second);
        let time = (0u64..100_000_000).prop_map(Duration::from_micros);
        let pieces = prop::collection::vec((time, rate.clone(), rate.clone()), 0..6);
        (pieces, rate).prop_map(|(pieces, then)| Curve::new(pieces, then))
    }

    #[test]
    fn the_steepest_ramp_does_not_overflow() {
        let longest = Duration::from_micros(u64::MAX);
        let load = Curve::ramp(Rate(0), Rate(u64::MAX), longest);
        assert!(load.due(longest) > 0);
    }

    proptest! {
        #[test]
        fn what_is_due_never_decreases(load in curves(), a in 0u64..900_000_000, b in 0u64..1000) {
            let at = Duration::from_micros(a);
            prop_assert!(load.due(at) <= load.due(at + Duration::from_micros(b)));
        }

        #[test]
        fn a_message_is_due_when_the_curve_says(load in curves(), n in 1u64..100_000) {
            let end = seconds(600);
            match load.when(n, end) {
                Some(at) => {
                    prop_assert!(load.due(at) >= n);
                    let before = at.saturating_sub(Duration::from_micros(1));
                    prop_assert!(at.is_zero() || load.due(before) < n);
                }
                None => prop_assert!(load.due(end) < n),
            }
        }

        #[test]
        fn the_shares_of_all_members_add_up(due in 0u64..1_000_000, members in 1u32..40) {
            let sum: u64 = (0..members).map(|member| share(due, member, members)).sum();
            prop_assert_eq!(sum, due);
        }

        #[test]
        fn no_curve_overflows(from: u64, to: u64, over: u64, at: u64) {
            let over = Duration::from_micros(over);
            let load = Curve::ramp(Rate(from), Rate(to), over);
            load.due(Duration::from_micros(at));
            load.rate(Duration::from_micros(at));
        }
    }
}
