//! What the connections of one server hold together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hotfire_env::LogLimit;
use parking_lot::Mutex;

use crate::{Channel, TotalLimits};

/// Log lines that one kind of event may cause in a period.
const LINES: u32 = 100;

/// The sums over the connections of one server.
pub(crate) struct Totals {
    pub(crate) limits: TotalLimits,
    pub(crate) partial: Pool,
    pub(crate) unwritten: Pool,
    pub(crate) requests: Counted,
    /// For the lines of connections that were closed, and of those that were refused.
    pub(crate) closed_log: LogLimit,
    pub(crate) refused_log: LogLimit,
    /// For requests that were refused.
    pub(crate) busy_log: LogLimit,
}

impl Totals {
    pub(crate) fn new(limits: TotalLimits) -> Arc<Self> {
        Arc::new(Self {
            partial: Pool::new(
                limits.partial_bytes,
                "it has the oldest incomplete frame, and there are too many bytes of such frames",
            ),
            unwritten: Pool::new(
                limits.unwritten_bytes,
                "it has not read for the longest time, and too many bytes wait for such peers",
            ),
            limits,
            requests: Counted::default(),
            closed_log: LogLimit::new(LINES),
            refused_log: LogLimit::new(LINES),
            busy_log: LogLimit::new(LINES),
        })
    }
}

/// Requests that are being processed, and the bytes of their bodies.
#[derive(Default)]
pub(crate) struct Counted {
    count: AtomicUsize,
    bytes: AtomicUsize,
}

impl Counted {
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Acquire)
    }

    pub(crate) fn add(&self, bytes: usize) {
        self.count.fetch_add(1, Ordering::AcqRel);
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Returns how many are left.
    pub(crate) fn sub(&self, bytes: usize) -> usize {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.count.fetch_sub(1, Ordering::AcqRel) - 1
    }
}

/// Bytes that connections hold for as long as their peers please. Beyond the limit, the connections
/// that have held theirs for the longest time are closed: whoever behaves holds them for a moment.
pub(crate) struct Pool {
    limit: usize,
    reason: &'static str,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    sum: usize,
    next: u64,
    /// By the order in which they began to hold.
    shares: BTreeMap<u64, (usize, Channel)>,
}

impl Pool {
    fn new(limit: usize, reason: &'static str) -> Self {
        Self {
            limit,
            reason,
            held: Mutex::default(),
        }
    }

    /// The bytes that are held.
    #[cfg(test)]
    pub(crate) fn sum(&self) -> usize {
        self.held.lock().sum
    }

    /// Says how many bytes a connection holds now; 0 ends its share.
    pub(crate) fn set(&self, share: &mut Option<u64>, channel: &Channel, bytes: usize) {
        if bytes == 0 && share.is_none() {
            return;
        }
        let mut held = self.held.lock();
        let Held { sum, next, shares } = &mut *held;
        if bytes == 0 {
            if let Some((before, _)) = share.take().and_then(|share| shares.remove(&share)) {
                *sum -= before;
            }
            return;
        }
        match share {
            None => {
                *share = Some(*next);
                shares.insert(*next, (bytes, channel.clone()));
                *next += 1;
                *sum += bytes;
            }
            Some(share) => {
                // Not there any more: the connection is being closed.
                if let Some((before, _)) = shares.get_mut(share) {
                    *sum = *sum - *before + bytes;
                    *before = bytes;
                }
            }
        }
        let mut victims = Vec::new();
        while *sum > self.limit
            && let Some((_, (bytes, channel))) = shares.pop_first()
        {
            *sum -= bytes;
            victims.push((bytes, channel));
        }
        drop(held);
        for (bytes, channel) in victims {
            channel.close(format!("{} ({bytes} here)", self.reason));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;
    use crate::{ConnectionId, Limits};

    fn channel(id: u64) -> Channel {
        let address: SocketAddr = (Ipv4Addr::LOCALHOST, 1).into();
        Channel::new(
            ConnectionId(id),
            id.to_string(),
            (address, address),
            Limits::default(),
        )
    }

    #[test]
    fn the_oldest_shares_are_given_up_when_there_are_too_many_bytes() {
        let pool = Pool::new(100, "too many");
        let channels: Vec<_> = (0..4).map(channel).collect();
        let mut shares = [None; 4];
        for (share, channel) in shares.iter_mut().zip(&channels) {
            pool.set(share, channel, 30);
        }
        let open: Vec<_> = channels.iter().map(Channel::is_open).collect();
        assert_eq!(open, [false, true, true, true]);
        pool.set(&mut shares[3], &channels[3], 41);
        assert!(!channels[1].is_open() && channels[3].is_open());
        assert_eq!(pool.sum(), 71);
    }

    #[test]
    fn nothing_is_left_of_shares_that_ended() {
        let pool = Pool::new(100, "too many");
        let (one, other) = (channel(1), channel(2));
        let (mut first, mut second) = (None, None);
        pool.set(&mut first, &one, 80);
        pool.set(&mut second, &other, 90);
        pool.set(&mut first, &one, 85);
        pool.set(&mut first, &one, 0);
        assert_eq!(pool.sum(), 90);
        pool.set(&mut second, &other, 0);
        assert_eq!((pool.sum(), pool.held.lock().shares.len()), (0, 0));
    }
}
