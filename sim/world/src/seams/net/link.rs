use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::tcp::{Outage, arrival, draw, loss_delay, unit};
use super::wire::Wire;

/// The sound network: what every link is like while no fault touches it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NetworkConfig {
    /// The least time from one node to another, one way.
    pub latency: Duration,
    /// Up to this much is added to every segment, drawn uniformly.
    pub jitter: Duration,
    /// Bytes per second of one link and direction; `None` is unlimited.
    pub bandwidth: Option<u64>,
    /// The share of reads that get only a part of what has arrived, 0 to 1.
    pub short_reads: f64,
    /// How long bytes may stay unacknowledged before a connection dies.
    pub user_timeout: Duration,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(1),
            jitter: Duration::ZERO,
            bandwidth: None,
            short_reads: 1.0 / 16.0,
            user_timeout: super::tcp::USER_TIMEOUT,
        }
    }
}

/// Identifies a disturbance of a link, so that overlapping ones end one by one.
pub type FaultId = u32;

/// What a fault does to a link.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Disturbance {
    /// Nothing gets through.
    Down,
    /// Every segment is slower, by `adds` and up to `jitter` more.
    Slow {
        /// What is added to every segment.
        adds: Duration,
        /// Up to this much more, drawn uniformly.
        jitter: Duration,
    },
    /// This share of segments is lost, 0 to 1, and sent again later.
    Lossy(f64),
}

/// One direction between two logical nodes, and everything that can happen to it.
#[derive(Debug)]
pub(crate) struct Link {
    key: u64,
    config: NetworkConfig,
    /// Whether anything but the sound network's rules applies, so that they cost nothing.
    disturbed: AtomicBool,
    state: Mutex<LinkState>,
}

#[derive(Debug, Default)]
struct LinkState {
    outages: Vec<Outage>,
    disturbances: Vec<(FaultId, Disturbance)>,
    /// When the last byte that was handed over leaves, where bandwidth is limited.
    busy_until: Duration,
    streams: u64,
    wires: Vec<Weak<Wire>>,
}

impl Link {
    pub(crate) fn new(seed: u64, from: &str, to: &str, config: NetworkConfig) -> Self {
        let name = format!("link {from} {to}");
        Self {
            key: xxh3_64_with_seed(name.as_bytes(), seed),
            config,
            disturbed: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    pub(crate) fn config(&self) -> &NetworkConfig {
        &self.config
    }

    /// A key for the draws of one more stream on this link.
    pub(crate) fn next_stream(&self) -> u64 {
        let mut state = self.state.lock();
        state.streams += 1;
        draw(self.key, state.streams)
    }

    /// Lets a connection be woken when the link recovers.
    pub(crate) fn attach(&self, wire: &Weak<Wire>) {
        attach(&mut self.state.lock().wires, wire);
    }

    /// The time that segment `index` of a stream needs, losses included.
    pub(crate) fn transit(&self, stream: u64, index: u64) -> Duration {
        let jitter = |limit: Duration, salt: u64| match u64::try_from(limit.as_nanos()) {
            Ok(limit @ 1..) => {
                Duration::from_nanos(scaled(draw(stream ^ salt, index), limit.saturating_add(1)))
            }
            _ => Duration::ZERO,
        };
        let mut transit = self.config.latency + jitter(self.config.jitter, 0);
        if self.disturbed.load(Ordering::Relaxed) {
            let state = self.state.lock();
            for &(fault, disturbance) in &state.disturbances {
                let salt = u64::from(fault) + 1;
                transit += match disturbance {
                    Disturbance::Down => Duration::ZERO,
                    Disturbance::Slow { adds, jitter: more } => adds + jitter(more, salt),
                    Disturbance::Lossy(share) => loss_delay(losses(stream ^ salt, index, share)),
                };
            }
        }
        transit
    }

    /// When bytes handed over at `now` have left, where bandwidth is limited.
    pub(crate) fn departure(&self, now: Duration, bytes: usize) -> Duration {
        let Some(bandwidth @ 1..) = self.config.bandwidth else {
            return now;
        };
        let nanos = (bytes as u128 * 1_000_000_000) / u128::from(bandwidth);
        let mut state = self.state.lock();
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        state.busy_until = state.busy_until.max(now) + Duration::from_nanos(nanos);
        state.busy_until
    }

    /// When a segment is there; `None` while the link is down.
    pub(crate) fn arrival(&self, sent: Duration, transit: Duration) -> Option<Duration> {
        if !self.disturbed.load(Ordering::Relaxed) {
            return Some(sent + transit);
        }
        arrival(sent, transit, &self.state.lock().outages)
    }

    pub(crate) fn is_down(&self) -> bool {
        self.disturbed.load(Ordering::Relaxed)
            && matches!(
                self.state.lock().outages.last(),
                Some(Outage { until: None, .. })
            )
    }

    pub(crate) fn disturb(&self, fault: FaultId, disturbance: Disturbance, now: Duration) {
        self.disturbed.store(true, Ordering::Relaxed);
        let mut state = self.state.lock();
        if disturbance == Disturbance::Down && !state.is_down() {
            state.outages.push(Outage {
                from: now,
                until: None,
            });
        }
        state.disturbances.push((fault, disturbance));
    }

    /// Ends what a fault did. Connections whose bytes were held are woken.
    pub(crate) fn relieve(&self, fault: FaultId, now: Duration) {
        let mut state = self.state.lock();
        let was_down = state.is_down();
        state.disturbances.retain(|&(id, _)| id != fault);
        if !was_down || state.is_down() {
            return;
        }
        if let Some(outage) = state.outages.last_mut() {
            outage.until = Some(now);
        }
        let wires = state.wires.clone();
        drop(state);
        for wire in wires.iter().filter_map(Weak::upgrade) {
            wire.wake();
        }
    }
}

impl LinkState {
    fn is_down(&self) -> bool {
        self.disturbances
            .iter()
            .any(|(_, disturbance)| *disturbance == Disturbance::Down)
    }
}

/// Adds a connection to a list, dropping those that are gone whenever the list would grow.
pub(crate) fn attach(wires: &mut Vec<Weak<Wire>>, wire: &Weak<Wire>) {
    if wires.len() == wires.capacity() {
        wires.retain(|wire| wire.strong_count() > 0);
    }
    wires.push(wire.clone());
}

fn scaled(drawn: u64, bound: u64) -> u64 {
    ((u128::from(drawn) * u128::from(bound)) >> 64) as u64
}

/// How often in a row a segment is lost. Ten losses delay by minutes; there is no point in more.
fn losses(stream: u64, index: u64, share: f64) -> u32 {
    let key = draw(stream, index);
    (0..10)
        .take_while(|&attempt| unit(draw(key, attempt)) < share)
        .count() as u32
}
