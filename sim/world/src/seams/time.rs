use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
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

/// The time between two steps of the simulation.
#[derive(Debug, Default)]
pub(crate) struct OuterTime {
    nanos: AtomicU64,
    stepping: AtomicBool,
}

impl OuterTime {
    /// A step begins: hosts have times of their own.
    pub(crate) fn leave(&self) {
        self.stepping.store(true, Ordering::Relaxed);
    }

    /// A step is over.
    pub(crate) fn enter(&self, now: Duration) {
        let nanos = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.store(nanos, Ordering::Relaxed);
        self.stepping.store(false, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }

    /// Whether there is no clock but this one.
    fn applies(&self) -> bool {
        !self.stepping.load(Ordering::Relaxed) && Handle::try_current().is_err()
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
        if self.outer.applies() {
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
