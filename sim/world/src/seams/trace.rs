use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What an entry of the trace is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum TraceKind {
    /// Bytes arrived at a process.
    Segment = 1,
    /// A connection was opened, closed or reset.
    Connection = 2,
    /// Something was done to a disk.
    Disk = 3,
    /// A task was polled.
    Task = 4,
    /// A fault began or ended.
    Fault = 5,
    /// An event of the history.
    History = 6,
}

/// A running hash over everything that happens in a run, in the order in which it happens: equal for
/// two runs only if they did the same things in the same order.
///
/// One run lives on one thread, so plain loads and stores suffice.
#[derive(Debug, Default)]
pub struct Trace {
    state: AtomicU64,
}

impl Trace {
    /// Adds an entry of two numbers.
    pub fn note(&self, kind: TraceKind, a: u64, b: u64) {
        let mut entry = [0; 17];
        entry[0] = kind as u8;
        entry[1..9].copy_from_slice(&a.to_le_bytes());
        entry[9..].copy_from_slice(&b.to_le_bytes());
        self.mix(&entry);
    }

    /// Adds an entry of a number and bytes.
    pub fn note_bytes(&self, kind: TraceKind, a: u64, bytes: &[u8]) {
        self.note(kind, a, bytes.len() as u64);
        self.mix(bytes);
    }

    fn mix(&self, bytes: &[u8]) {
        let state = self.state.load(Ordering::Relaxed);
        self.state
            .store(xxh3_64_with_seed(bytes, state), Ordering::Relaxed);
    }

    /// The hash so far.
    pub fn hash(&self) -> u64 {
        self.state.load(Ordering::Relaxed)
    }
}

/// The hash as 16 hexadecimal digits.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.hash())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_depends_on_the_order_of_entries() {
        let (first, second) = (Trace::default(), Trace::default());
        for (trace, entries) in [(&first, [1, 2]), (&second, [2, 1])] {
            for entry in entries {
                trace.note(TraceKind::Task, entry, 0);
            }
        }
        assert_ne!(first.hash(), second.hash());
        assert_eq!(first.to_string().len(), 16);
    }
}
