//! What TCP makes of a lossy path, as pure functions of simulated time.

use std::time::Duration;

/// The first retransmission timeout (`TCP_RTO_MIN` of Linux); it doubles with every attempt.
pub const RETRANSMISSION_TIMEOUT: Duration = Duration::from_millis(200);

/// The longest time between two retransmissions (`TCP_RTO_MAX` of Linux).
pub const RETRANSMISSION_TIMEOUT_MAX: Duration = Duration::from_secs(120);

/// How long bytes may stay unacknowledged before the connection dies: what 15 retransmissions
/// (`net.ipv4.tcp_retries2`) amount to.
pub const USER_TIMEOUT: Duration = Duration::from_millis(924_600);

/// The first wait for an answer to a SYN (`TCP_TIMEOUT_INIT` of Linux); it doubles with every
/// attempt.
pub const SYN_TIMEOUT: Duration = Duration::from_secs(1);

/// Further SYNs after the first (`net.ipv4.tcp_syn_retries`): connecting fails after 127 seconds.
pub const SYN_RETRIES: u32 = 6;

/// The bytes that may be on their way or unread in one direction of a connection.
pub const WINDOW: u64 = 256 * 1024;

/// Connections that wait for `accept` before further ones are reset (`SO_BACKLOG` of RocketMQ).
pub const BACKLOG: usize = 1024;

/// An interval in which a link carries nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// Its first moment.
    pub from: Duration,
    /// The moment after its last; `None` while it goes on.
    pub until: Option<Duration>,
}

impl Outage {
    fn touches(&self, from: Duration, to: Duration) -> bool {
        self.from <= to && self.until.is_none_or(|until| from < until)
    }
}

/// When a segment sent at `sent`, needing `transit`, is there. A segment that meets an outage is sent
/// again when its retransmission timer says so. `None`: not before the current outage ends.
pub fn arrival(sent: Duration, transit: Duration, outages: &[Outage]) -> Option<Duration> {
    let mut departs = sent;
    // Outages are in order of time, and every retransmission departs after the one it met.
    for outage in outages {
        if outage.touches(departs, departs + transit) {
            departs = retransmitted(sent, outage.until?);
        }
    }
    Some(departs + transit)
}

/// When a segment first sent at `sent` is sent again, at `not_before` or later.
pub fn retransmitted(sent: Duration, not_before: Duration) -> Duration {
    let mut departs = sent;
    let mut timeout = RETRANSMISSION_TIMEOUT;
    while departs < not_before {
        departs += timeout;
        timeout = (timeout * 2).min(RETRANSMISSION_TIMEOUT_MAX);
    }
    departs
}

/// The delay of a segment that is lost `times` times in a row.
pub fn loss_delay(times: u32) -> Duration {
    let mut delay = Duration::ZERO;
    let mut timeout = RETRANSMISSION_TIMEOUT;
    for _ in 0..times {
        delay += timeout;
        timeout = (timeout * 2).min(RETRANSMISSION_TIMEOUT_MAX);
    }
    delay
}

/// The number with index `index` of the stream `key`: SplitMix64.
pub fn draw(key: u64, index: u64) -> u64 {
    let mut z = key.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A draw as a number in `[0, 1)`.
pub fn unit(drawn: u64) -> f64 {
    (drawn >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn outage(from: u64, until: u64) -> Outage {
        Outage {
            from: MS(from),
            until: Some(MS(until)),
        }
    }

    #[test]
    fn a_segment_on_a_sound_link_needs_its_transit_time() {
        assert_eq!(arrival(MS(10), MS(3), &[]), Some(MS(13)));
        assert_eq!(
            arrival(MS(10), MS(3), &[outage(0, 10), outage(14, 20)]),
            Some(MS(13))
        );
    }

    #[test]
    fn a_segment_that_meets_an_outage_comes_with_the_first_retransmission_after_it() {
        // Sent at 1000, again at 1200, 1600, 3000, …
        assert_eq!(
            arrival(MS(1000), MS(3), &[outage(900, 1100)]),
            Some(MS(1203))
        );
        assert_eq!(
            arrival(MS(1000), MS(3), &[outage(1002, 1500)]),
            Some(MS(1603))
        );
    }

    #[test]
    fn a_retransmission_may_meet_the_next_outage() {
        let outages = [outage(1000, 1100), outage(1150, 1300)];
        assert_eq!(arrival(MS(1000), MS(3), &outages), Some(MS(1603)));
    }

    #[test]
    fn nothing_arrives_while_an_outage_goes_on() {
        let open = Outage {
            from: MS(5),
            until: None,
        };
        assert_eq!(arrival(MS(6), MS(1), &[open]), None);
    }

    #[test]
    fn each_loss_doubles_the_delay_up_to_the_limit() {
        assert_eq!(loss_delay(0), MS(0));
        assert_eq!(loss_delay(3), MS(1400));
        assert_eq!(loss_delay(12) - loss_delay(11), RETRANSMISSION_TIMEOUT_MAX);
    }
}
