//! Whether a store takes messages, and why not (`RunningFlags`).

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use parking_lot::Mutex;

/// A reason not to take messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotWriteable {
    /// The store is shut down.
    ShutDown,
    /// The disk is nearly full (`diskSpaceWarningLevelRatio`).
    DiskFull,
    /// The disk failed to flush the commit log. What it has dropped cannot be known, so no later
    /// flush could be trusted; only opening the store again clears this.
    FlushFailed,
    /// A consume queue or index file could not be written.
    DispatchFailed,
}

/// The reasons that hold at the moment.
#[derive(Debug, Default)]
pub(crate) struct State(AtomicU32);

impl State {
    const ALL: [NotWriteable; 4] = [
        NotWriteable::ShutDown,
        NotWriteable::FlushFailed,
        NotWriteable::DiskFull,
        NotWriteable::DispatchFailed,
    ];

    const fn bit(reason: NotWriteable) -> u32 {
        1 << reason as u32
    }

    /// Sets or clears a reason; true if that changed anything.
    pub fn set(&self, reason: NotWriteable, holds: bool) -> bool {
        let bit = Self::bit(reason);
        let before = if holds {
            self.0.fetch_or(bit, Ordering::AcqRel)
        } else {
            self.0.fetch_and(!bit, Ordering::AcqRel)
        };
        (before & bit != 0) != holds
    }

    /// Whether a reason holds.
    pub fn has(&self, reason: NotWriteable) -> bool {
        self.0.load(Ordering::Acquire) & Self::bit(reason) != 0
    }

    /// The gravest reason that holds.
    pub fn reason(&self) -> Option<NotWriteable> {
        if self.0.load(Ordering::Acquire) == 0 {
            return None;
        }
        Self::ALL.into_iter().find(|&reason| self.has(reason))
    }
}

/// What went wrong last with something that is tried again and again.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    lasts: AtomicBool,
    what: Mutex<Option<String>>,
}

impl Trouble {
    /// Notes what went wrong; true if nothing had been wrong before.
    pub fn note(&self, what: &dyn Display) -> bool {
        *self.what.lock() = Some(what.to_string());
        !self.lasts.swap(true, Ordering::AcqRel)
    }

    /// Notes that it went well; true if something had been wrong before.
    pub fn clear(&self) -> bool {
        // Nothing but a load where all is well.
        let lasted = self.lasts.load(Ordering::Acquire) && self.lasts.swap(false, Ordering::AcqRel);
        if lasted {
            *self.what.lock() = None;
        }
        lasted
    }

    /// What is wrong, if anything is.
    pub fn what(&self) -> Option<String> {
        self.what.lock().clone()
    }
}
