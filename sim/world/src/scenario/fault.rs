//! What goes wrong in a scenario: one vocabulary for set times and for chance alike.

use std::time::Duration;

/// Something that goes wrong, or that an operator does, at a set time.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// When it strikes, from the start of the load phase.
    pub at: Duration,
    /// What it is.
    pub action: Action,
    /// The fault as one line of text, for logs and reports.
    pub text: String,
}

/// What goes wrong. Nodes are resolved: a role or group of the script stands here as its members.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Links are down for a moment: bytes stall and arrive afterwards, connections survive.
    NetworkFlash {
        /// Which links.
        links: Links,
        /// For how long.
        lasts: Duration,
    },
    /// Links are cut, in both directions or in one.
    Partition {
        /// Which links.
        links: Links,
        /// Whether only bytes from the first side to the second are held.
        one_way: bool,
        /// For how long.
        lasts: Duration,
    },
    /// Links become slower.
    Latency {
        /// Which links.
        links: Links,
        /// What is added to every segment.
        adds: Duration,
        /// Up to this much more, drawn uniformly.
        jitter: Duration,
        /// For how long.
        lasts: Duration,
    },
    /// Links lose segments, which TCP sends again later.
    Loss {
        /// Which links.
        links: Links,
        /// The share of segments lost, 0 to 1.
        share: f64,
        /// For how long.
        lasts: Duration,
    },
    /// Processes are killed; what they wrote is in the page cache and survives.
    ProcessCrash {
        /// Which processes.
        nodes: Vec<String>,
        /// When they start again; `None`: when the drain phase begins.
        restart_after: Option<Duration>,
    },
    /// Machines lose power; what was not flushed may be gone, and peers hear nothing.
    PowerLoss {
        /// Which machines.
        nodes: Vec<String>,
        /// When they start again; `None`: when the drain phase begins.
        restart_after: Option<Duration>,
    },
    /// Processes are stopped in an orderly manner and started again.
    Restart {
        /// Which processes.
        nodes: Vec<String>,
        /// When they start again.
        restart_after: Duration,
    },
    /// Processes stand still, as in a long garbage collection; the network goes on.
    Freeze {
        /// Which processes.
        nodes: Vec<String>,
        /// For how long.
        lasts: Duration,
    },
    /// What consumers report as consumed (offsets, send-backs), and what producers tell of the ends
    /// of transactions, never reaches the broker.
    LostAck {
        /// Which consumers and producers.
        nodes: Vec<String>,
        /// The share that is lost, 0 to 1.
        share: f64,
        /// For how long.
        lasts: Duration,
    },
    /// The broker stores a message, but its response never reaches the producer.
    LostResponse {
        /// Which producers.
        nodes: Vec<String>,
        /// The share that is lost, 0 to 1.
        share: f64,
        /// For how long.
        lasts: Duration,
    },
    /// The wall clock jumps; durations are not affected.
    ClockJump {
        /// Whose clock.
        nodes: Vec<String>,
        /// By how many milliseconds; negative is backwards.
        by_ms: i64,
    },
    /// The disk becomes slower.
    SlowDisk {
        /// Which brokers.
        nodes: Vec<String>,
        /// What is added to every flush.
        adds: Duration,
        /// For how long.
        lasts: Duration,
    },
}

/// The links between two sets of nodes: every pair of one node from each, never a node and itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    /// One side.
    pub from: Vec<String>,
    /// The other side.
    pub to: Vec<String>,
}

impl Action {
    /// How long it lasts, where it ends by itself.
    pub fn lasts(&self) -> Option<Duration> {
        match self {
            Self::NetworkFlash { lasts, .. }
            | Self::Partition { lasts, .. }
            | Self::Latency { lasts, .. }
            | Self::Loss { lasts, .. }
            | Self::Freeze { lasts, .. }
            | Self::LostAck { lasts, .. }
            | Self::LostResponse { lasts, .. }
            | Self::SlowDisk { lasts, .. } => Some(*lasts),
            Self::ProcessCrash { restart_after, .. } | Self::PowerLoss { restart_after, .. } => {
                *restart_after
            }
            Self::Restart { restart_after, .. } => Some(*restart_after),
            Self::ClockJump { .. } => None,
        }
    }
}
