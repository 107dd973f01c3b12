use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use hotfire_env::{BoxFuture, Spawner, TaskHandle, Work};
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::trace::{Trace, TraceKind};

/// The tasks of one process, from its start to its death.
///
/// A frozen process polls none of its tasks; wake-ups that come meanwhile are remembered and take
/// effect when it thaws. Its kernel goes on: bytes arrive, timers expire.
pub(crate) struct Process {
    node: u64,
    trace: Arc<Trace>,
    frozen: AtomicBool,
    dead: AtomicBool,
    next_task: AtomicU64,
    tasks: Mutex<BTreeMap<u64, AbortHandle>>,
    /// Tasks that were woken while the process was frozen.
    woken: Mutex<BTreeMap<u64, Waker>>,
    /// Tasks that a kernel runs for the process: they do not freeze, but end with it.
    kernel: Mutex<Vec<AbortHandle>>,
}

impl Process {
    pub(crate) fn new(node: u32, trace: Arc<Trace>) -> Arc<Self> {
        Arc::new(Self {
            node: u64::from(node),
            trace,
            frozen: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            next_task: AtomicU64::new(0),
            tasks: Mutex::default(),
            woken: Mutex::default(),
            kernel: Mutex::default(),
        })
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    pub(crate) fn task_count(&self) -> usize {
        self.tasks.lock().len()
    }

    pub(crate) fn freeze(&self) {
        self.frozen.store(true, Ordering::Relaxed);
    }

    pub(crate) fn thaw(&self) {
        self.frozen.store(false, Ordering::Relaxed);
        for waker in std::mem::take(&mut *self.woken.lock()).into_values() {
            waker.wake();
        }
    }

    /// Ends the process: no task of it is polled again. The tasks themselves are dropped when their
    /// host next runs, so that their sockets close within the simulation.
    pub(crate) fn kill(&self) {
        self.dead.store(true, Ordering::Relaxed);
        self.woken.lock().clear();
        let kernel = std::mem::take(&mut *self.kernel.lock());
        let tasks = std::mem::take(&mut *self.tasks.lock());
        for handle in tasks.into_values().chain(kernel) {
            handle.abort();
        }
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "this is the seam that starts tasks"
    )]
    fn start(self: &Arc<Self>, task: BoxFuture<'static, ()>) -> TaskHandle {
        let id = self.next_task.fetch_add(1, Ordering::Relaxed);
        let handle = tokio::spawn(Guarded {
            process: self.clone(),
            id,
            task: Some(task),
        });
        if self.is_dead() {
            handle.abort();
        } else {
            self.tasks.lock().insert(id, handle.abort_handle());
        }
        TaskHandle::new(handle)
    }

    /// Starts what a kernel does for a process.
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the seam that starts tasks"
    )]
    pub(crate) fn start_in_kernel(&self, task: BoxFuture<'static, ()>) -> AbortHandle {
        let handle = tokio::spawn(task).abort_handle();
        let mut kernel = self.kernel.lock();
        kernel.retain(|task| !task.is_finished());
        kernel.push(handle.clone());
        handle
    }
}

/// Starts the tasks of one process.
pub(crate) struct ProcessSpawner(pub(crate) Arc<Process>);

impl Spawner for ProcessSpawner {
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        self.0.start(task)
    }

    /// Computing takes no simulated time: it happens within the task that waits for it, and freezes
    /// and dies with it.
    fn compute(&self, _name: &'static str, work: Work) -> BoxFuture<'static, ()> {
        Box::pin(async move { work() })
    }
}

/// A task that stands still with its process.
struct Guarded {
    process: Arc<Process>,
    id: u64,
    task: Option<BoxFuture<'static, ()>>,
}

impl Future for Guarded {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { process, id, task } = self.get_mut();
        if process.is_dead() {
            *task = None;
        } else if process.frozen.load(Ordering::Relaxed) {
            process.woken.lock().insert(*id, cx.waker().clone());
            return Poll::Pending;
        }
        let Some(task) = task else {
            return Poll::Ready(());
        };
        process.trace.note(TraceKind::Task, process.node, *id);
        task.as_mut().poll(cx)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.process.tasks.lock().remove(&self.id);
    }
}
