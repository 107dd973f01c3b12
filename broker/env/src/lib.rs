//! The seams between the RocketMQ stack and the outside world, and their real implementations.
//!
//! Everything that could make two runs differ goes through here: the wall clock ([`Clock`]), the
//! network ([`Network`]), files ([`Disk`]), randomness ([`Entropy`]) and tasks ([`Spawner`]). The
//! stack holds them behind one cheap handle, [`Env`]. In production they are the operating system
//! ([`real::env`]); in the testbed they are simulated, and nothing in the stack can tell.
//!
//! Monotonic time is not a seam: it is `tokio::time`, which a simulation pauses and drives.
//!
//! Invariant: this is the only crate of the stack that touches the operating system.

#[cfg(not(tokio_unstable))]
compile_error!(
    "hotfire needs `--cfg tokio_unstable`: without it `select!` is not seeded and panics of spawned \
     tasks are swallowed. It is set in .cargo/config.toml; a RUSTFLAGS variable in the environment \
     overrides that file, so unset it or add the flag: RUSTFLAGS=\"--cfg tokio_unstable\""
);

mod clock;
pub mod defect;
mod disk;
mod entropy;
mod log;
mod network;
pub mod real;
mod spawner;

use std::fmt;
use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use clock::Clock;
pub use defect::{Defect, Defects};
pub use disk::{DirEntry, Disk, DiskUsage, MappedFile, is_disk_full};
pub use entropy::{Entropy, EntropyExt, SeededEntropy};
pub use log::{LogLimit, Shown};
pub use network::{ByteStream, Connection, Listener, Network};
pub use spawner::{Spawner, TaskHandle, Work};

use tokio::sync::oneshot;

/// A boxed future, as trait objects need it.
pub type BoxFuture<'a, T> = futures_util::future::BoxFuture<'a, T>;

/// What a process sees of the world: one handle, cheap to clone, passed to everything that is
/// started.
#[derive(Clone)]
pub struct Env {
    seams: Arc<Seams>,
    serial: Arc<AtomicU64>,
}

/// The parts of an [`Env`].
pub struct Seams {
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// Connections.
    pub network: Arc<dyn Network>,
    /// Files, below a root of this process's own.
    pub disk: Arc<dyn Disk>,
    /// The root of this process's randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Starts tasks.
    pub spawner: Arc<dyn Spawner>,
    /// The process id that goes into client ids and message ids.
    pub process_id: u32,
    /// Planted defects that are switched on. Always empty without the feature `defects`.
    pub defects: Defects,
}

impl Env {
    /// Bundles seams into a handle.
    pub fn new(seams: Seams) -> Self {
        Self {
            seams: Arc::new(seams),
            serial: Arc::default(),
        }
    }

    /// Wall-clock time in milliseconds since the Unix epoch. May jump.
    pub fn now_ms(&self) -> i64 {
        self.seams.clock.now_ms()
    }

    /// The wall clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.seams.clock
    }

    /// The network.
    pub fn network(&self) -> &Arc<dyn Network> {
        &self.seams.network
    }

    /// The disk.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.seams.disk
    }

    /// An independent stream of randomness for one purpose. The same purpose gives the same stream
    /// in every run of a seed, whatever other streams are drawn from.
    pub fn entropy(&self, purpose: &str) -> Arc<dyn Entropy> {
        self.seams.entropy.stream(purpose)
    }

    /// The process id that goes into client ids and message ids.
    pub fn process_id(&self) -> u32 {
        self.seams.process_id
    }

    /// A number that this process has not been given before: 0, 1, 2 and so on. It tells apart what
    /// one process makes several of.
    pub fn next_serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }

    /// Starts a task. It runs until it ends, [`TaskHandle::abort`] is called or the process dies;
    /// dropping the handle leaves it running.
    pub fn spawn<F>(&self, name: &'static str, task: F) -> TaskHandle
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.seams.spawner.spawn(name, Box::pin(task))
    }

    /// Computes something that takes longer than a few hundred microseconds, away from the tasks that
    /// read and write connections: a task that computes holds up every other one of its worker. No
    /// more such work runs at a time than there are processors; the rest waits in the order in which
    /// it was asked for. In a simulation, where computing takes no time, it runs at once.
    ///
    /// Nothing is begun before the future is polled, and nothing at all if it is dropped while it
    /// waits for its turn. Work that has begun runs to its end, whether anybody waits for it or not.
    ///
    /// # Panics
    /// The future panics as the work does.
    pub fn compute<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> BoxFuture<'static, T> {
        let (sender, result) = oneshot::channel();
        let work = move || {
            // An error means that nobody waits for the result.
            let _ = sender.send(catch_unwind(AssertUnwindSafe(work)));
        };
        let done = self.seams.spawner.compute(name, Box::new(work));
        Box::pin(async move {
            done.await;
            match result.await {
                Ok(Ok(value)) => value,
                Ok(Err(panic)) => resume_unwind(panic),
                // It was never begun, for the runtime ends; so does whoever waits here.
                Err(_) => pending().await,
            }
        })
    }

    /// Whether a planted defect is switched on. Call it through [`defect!`], which compiles to
    /// `false` without the feature.
    pub fn has_defect(&self, defect: Defect) -> bool {
        self.seams.defects.has(defect)
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env")
            .field("process_id", &self.seams.process_id)
            .finish_non_exhaustive()
    }
}
