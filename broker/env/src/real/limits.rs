use std::io;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

/// Catches SIGXFSZ, for the rest of the process's life: a file that outgrows what the process may
/// write (`ulimit -f`) is an error then, as on a full disk. The signal would end the process without
/// a word.
///
/// # Errors
/// The system refuses.
///
/// # Panics
/// If it is not called on a tokio runtime.
pub fn catch_file_size_signal() -> io::Result<()> {
    // It goes on being caught when what would tell of it is dropped.
    signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).map(drop)
}
