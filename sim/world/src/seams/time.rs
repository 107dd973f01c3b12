use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use hotfire_env::Clock;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::Instant;

/// The time since the start of the run as one turmoil host sees it: within a tick, hosts run one
/// after another, each through the whole tick.
#[derive(Debug)]
pub(crate) struct HostTime {
    /// A moment of the host's own tokio clock and the simulated time at it.
    anchor: Mutex<Option<(Instant, Duration)>>,
    outer: Arc<OuterTime>,
}

/// The time between two steps of the simulation, in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct OuterTime(AtomicU64);

impl OuterTime {
    pub(crate) fn set(&self, now: Duration) {
        let nanos = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.0.store(nanos, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

impl HostTime {
    pub(crate) fn new(outer: Arc<OuterTime>) -> Self {
        Self {
            anchor: Mutex::new(None),
            outer,
        }
    }

    /// The simulated time. Outside of any host, where the faults are applied, it is the time of the
    /// last step.
    pub(crate) fn now(&self) -> Duration {
        if Handle::try_current().is_err() {
            return self.outer.get();
        }
        let now = Instant::now();
        let mut anchor = self.anchor.lock();
        let (instant, at) = anchor.get_or_insert_with(|| {
            (
                now,
                turmoil::sim_elapsed().unwrap_or_else(|| self.outer.get()),
            )
        });
        *at + now.saturating_duration_since(*instant)
    }
}

/// The wall clock of a node: the run's epoch, plus simulated time, plus what faults did to it.
pub(crate) struct NodeClock {
    epoch_ms: i64,
    time: Arc<HostTime>,
    skew_ms: Arc<AtomicI64>,
}

impl NodeClock {
    pub(crate) fn new(epoch_ms: i64, time: Arc<HostTime>, skew_ms: Arc<AtomicI64>) -> Self {
        Self {
            epoch_ms,
            time,
            skew_ms,
        }
    }
}

impl Clock for NodeClock {
    fn now_ms(&self) -> i64 {
        let elapsed = i64::try_from(self.time.now().as_millis()).unwrap_or(i64::MAX);
        self.epoch_ms
            .saturating_add(elapsed)
            .saturating_add(self.skew_ms.load(Ordering::Relaxed))
    }
}
