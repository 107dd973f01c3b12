use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::time::HostTime;

/// What starts a process: it runs once, within the process's turmoil host.
pub(crate) type Boot = Box<dyn FnOnce() + Send>;

/// One turmoil host: where processes of one or several nodes run.
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) time: Arc<HostTime>,
    boots: mpsc::UnboundedSender<Boot>,
    queue: Arc<Mutex<Option<mpsc::UnboundedReceiver<Boot>>>>,
}

impl Host {
    pub(crate) fn new(name: String, time: Arc<HostTime>) -> Self {
        let (boots, queue) = mpsc::unbounded_channel();
        Self {
            name,
            time,
            boots,
            queue: Arc::new(Mutex::new(Some(queue))),
        }
    }

    /// Lets the host start a process when it next runs.
    pub(crate) fn boot(&self, boot: Boot) {
        // The host's end is only dropped with the simulation.
        let _ = self.boots.send(boot);
    }

    /// Makes this a host of a turmoil simulation. It starts processes and does nothing else.
    pub(crate) fn join(&self, sim: &mut turmoil::Sim<'_>) {
        let queue = self.queue.clone();
        sim.host(self.name.as_str(), move || {
            let queue = queue.lock().take();
            async move {
                if let Some(mut queue) = queue {
                    while let Some(boot) = queue.recv().await {
                        boot();
                    }
                }
                std::future::pending().await
            }
        });
    }
}
