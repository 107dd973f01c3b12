use crate::BoxFuture;

/// Starts tasks.
pub trait Spawner: Send + Sync {
    /// Starts a task under a name that logs and task counts show.
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle;

    /// Runs work that computes for long where it holds up no task, and ends when it is done. Nothing
    /// is begun before the future is polled, and nothing at all if it is dropped while it waits for
    /// its turn; work that has begun runs to its end.
    fn compute(&self, name: &'static str, work: Work) -> BoxFuture<'static, ()>;
}

/// Something to compute. It does not panic: [`Env::compute`](crate::Env::compute) sees to that.
pub type Work = Box<dyn FnOnce() + Send>;

/// A started task. Dropping the handle leaves the task running.
#[derive(Debug)]
pub struct TaskHandle {
    handle: tokio::task::JoinHandle<()>,
}

impl TaskHandle {
    /// Wraps a tokio task.
    pub fn new(handle: tokio::task::JoinHandle<()>) -> Self {
        Self { handle }
    }

    /// Stops the task at its next suspension point.
    pub fn abort(&self) {
        self.handle.abort();
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Waits for the task's end. True if it ended by itself, false if it was aborted or panicked.
    pub async fn join(self) -> bool {
        self.handle.await.is_ok()
    }
}
