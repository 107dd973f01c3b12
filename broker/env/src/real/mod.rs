//! The seams over the operating system: what `hotfire serve` and library users run on.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // this is where the outside world is let in

mod disk;
mod file;
mod limits;
mod network;
mod runtime;
mod spawner;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rand::RngCore;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

pub use disk::RealDisk;
pub use limits::catch_file_size_signal;
pub use network::RealNetwork;
pub use runtime::runtime;
pub use spawner::TokioSpawner;

use crate::{Clock, Defects, Env, Seams, SeededEntropy};

/// The operating system's clock, network and files below `root`, with a random seed and tokio's tasks.
///
/// `advertised_ip` is the address under which others reach this process; `None` picks the address
/// of the interface with the default route, or loopback.
pub fn env(root: impl Into<PathBuf>, advertised_ip: Option<std::net::IpAddr>) -> Env {
    env_on(RealDisk::new(root), advertised_ip)
}

/// The same as [`env()`], with a disk that may have further folders.
pub fn env_on(disk: RealDisk, advertised_ip: Option<std::net::IpAddr>) -> Env {
    Env::new(Seams {
        clock: Arc::new(SystemClock),
        network: Arc::new(RealNetwork::new(advertised_ip)),
        disk: Arc::new(disk),
        entropy: Arc::new(SeededEntropy::new(ChaCha8Rng::from_os_rng().next_u64())),
        spawner: Arc::new(TokioSpawner::default()),
        process_id: std::process::id(),
        defects: Defects::NONE,
    })
}

/// The system clock.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        }
    }
}
