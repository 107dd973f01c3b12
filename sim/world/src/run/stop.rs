use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Asks the process of a node to stop by itself, as SIGTERM does.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    asked: AtomicBool,
    changed: Notify,
}

impl Stop {
    /// Asks.
    pub fn ask(&self) {
        self.0.asked.store(true, Ordering::Relaxed);
        self.0.changed.notify_waiters();
    }

    /// Waits until somebody asks.
    pub async fn asked(&self) {
        loop {
            let changed = self.0.changed.notified();
            if self.0.asked.load(Ordering::Relaxed) {
                return;
            }
            changed.await;
        }
    }
}
