//! Writing the history: one journal per run, one pen per node.
//!
//! Whatever is written goes three ways: into the history that is judged afterwards, into the trace
//! hash, and into the [`Lag`], which knows during the run whether anything is left to consume.

mod halves;
mod hidden;
mod lag;

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hotfire_check::history::{Event, History, Meta, NodeId, QueueRef, Recorder, SimTime};
use parking_lot::Mutex;
use xxhash_rust::xxh3::Xxh3;

pub use hidden::HiddenRecord;
pub use lag::Lag;

use crate::seams::{self, Trace, TraceKind, Universe};
use crate::workload::operator::OPERATOR;

/// Everything that is written down in one run.
pub struct Journal {
    pages: Mutex<Option<Pages>>,
    trace: Arc<Trace>,
    sent: AtomicU64,
    delivered: AtomicU64,
}

struct Pages {
    recorder: Recorder,
    lag: Lag,
}

impl Journal {
    /// An empty journal.
    pub fn new(trace: Arc<Trace>, lag: impl FnOnce(&mut Recorder) -> Lag) -> Arc<Self> {
        let mut recorder = Recorder::new();
        let lag = lag(&mut recorder);
        Arc::new(Self {
            pages: Mutex::new(Some(Pages { recorder, lag })),
            trace,
            sent: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
        })
    }

    /// Sends that have ended, and deliveries, so far.
    pub fn counts(&self) -> (u64, u64) {
        (
            self.sent.load(Ordering::Relaxed),
            self.delivered.load(Ordering::Relaxed),
        )
    }

    /// Looks at what is left to consume.
    pub fn lag<T>(&self, look: impl FnOnce(&Lag) -> T) -> Option<T> {
        self.pages.lock().as_ref().map(|pages| look(&pages.lag))
    }

    /// Interns names, or reserves numbers, ahead of the events that need them.
    fn with<T>(&self, act: impl FnOnce(&mut Recorder) -> T) -> Option<T> {
        self.pages
            .lock()
            .as_mut()
            .map(|pages| act(&mut pages.recorder))
    }

    /// The node that stands for the operator, who is outside of the world.
    pub fn operator(&self) -> NodeId {
        // A journal is closed only after all names were given.
        self.with(|recorder| recorder.node(OPERATOR))
            .unwrap_or(NodeId(u32::MAX))
    }

    /// Writes an event.
    pub fn write(&self, at: Duration, node: NodeId, make: impl FnOnce(&mut Recorder) -> Event) {
        let mut pages = self.pages.lock();
        // After the end nobody writes: tasks that are dropped with the world may still try to.
        let Some(Pages { recorder, lag }) = pages.as_mut() else {
            return;
        };
        let event = make(recorder);
        let at = SimTime(u64::try_from(at.as_micros()).unwrap_or(u64::MAX));
        self.count(&event);
        lag.see(recorder.names(), node, &event);
        recorder.record(at, node, event);
        let mut hasher = Xxh3::new();
        event.hash(&mut hasher);
        self.trace
            .note(TraceKind::History, u64::from(node.0), hasher.finish());
    }

    /// Takes note of what is popped, for the [`Lag`] alone: the history has the clients' view of it.
    fn note_hidden(
        &self,
        record: HiddenRecord,
        queue: impl FnOnce(&mut Recorder) -> (QueueRef, i64),
    ) {
        if let Some(Pages { recorder, lag }) = self.pages.lock().as_mut() {
            let (queue, offset) = queue(recorder);
            lag.see_hidden(queue, offset, record);
        }
    }

    fn count(&self, event: &Event) {
        let counter = match event {
            Event::SendOk { .. } | Event::SendFailed { .. } | Event::SendUnknown { .. } => {
                &self.sent
            }
            Event::Delivered { .. } => &self.delivered,
            _ => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Closes the journal and gives the history. `None` if it was closed before.
    pub fn close(&self, meta: Meta) -> Option<History> {
        let pages = self.pages.lock().take()?;
        Some(pages.recorder.finish(meta))
    }
}

/// What one node writes with.
#[derive(Clone)]
pub struct Pen {
    journal: Arc<Journal>,
    universe: Arc<Universe>,
    /// The node in the simulation.
    place: seams::NodeId,
    /// The node in the history.
    node: NodeId,
    name: Arc<str>,
}

impl Pen {
    /// The pen of a node. `broker` is the broker name of a broker's node.
    pub fn new(
        journal: &Arc<Journal>,
        universe: &Arc<Universe>,
        place: seams::NodeId,
        broker: Option<&str>,
    ) -> Self {
        let name = universe.name(place);
        let node = journal.with(|recorder| match broker {
            Some(broker) => recorder.broker_node(&name, broker),
            None => recorder.node(&name),
        });
        Self {
            journal: journal.clone(),
            universe: universe.clone(),
            place,
            // A journal is closed only after the last pen was made.
            node: node.unwrap_or(NodeId(u32::MAX)),
            name: name.into(),
        }
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Simulated time at the node, since the start of the run.
    pub fn now(&self) -> Duration {
        self.universe.node_now(self.place)
    }

    /// Writes an event, now.
    pub fn write(&self, make: impl FnOnce(&mut Recorder) -> Event) {
        self.journal.write(self.now(), self.node, make);
    }

    /// Takes note of a record of a revive topic, and where it is.
    pub fn note_hidden(
        &self,
        record: HiddenRecord,
        queue: impl FnOnce(&mut Recorder) -> (QueueRef, i64),
    ) {
        self.journal.note_hidden(record, queue);
    }

    /// Reserves a number or interns a name; `None` if the journal is closed.
    pub fn intern<T>(&self, act: impl FnOnce(&mut Recorder) -> T) -> Option<T> {
        self.journal.with(act)
    }
}
