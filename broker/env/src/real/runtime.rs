use std::io;
use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use tokio::runtime::{Builder, Runtime};

/// Threads beyond one for each processor. A task that computes although it should not holds up its
/// thread; the others go on.
const SPARE_THREADS: usize = 2;

/// The runtime of a process that serves: connections are read and signals are heard whatever a
/// single task does.
///
/// A thread that waited for the network and was woken for one task hands the waiting over to another
/// thread before it begins with the task. Without that, tokio wakes no other thread for a single
/// task, and nobody listens until it has ended.
///
/// # Errors
/// The operating system gives no threads.
pub fn runtime() -> io::Result<Runtime> {
    let processors = available_parallelism().map_or(1, NonZeroUsize::get);
    Builder::new_multi_thread()
        .worker_threads(processors + SPARE_THREADS)
        .enable_eager_driver_handoff()
        .enable_all()
        .build()
}
