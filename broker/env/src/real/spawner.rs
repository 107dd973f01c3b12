use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;

use tokio::sync::Semaphore;

use crate::{BoxFuture, Spawner, TaskHandle, Work};

/// `tokio::spawn`, and threads of tokio's own for what computes.
pub struct TokioSpawner {
    /// One permit for each processor. Fair: who asks first computes first.
    computing: Arc<Semaphore>,
}

impl Default for TokioSpawner {
    fn default() -> Self {
        let processors = available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            computing: Arc::new(Semaphore::new(processors)),
        }
    }
}

impl Spawner for TokioSpawner {
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        TaskHandle::new(tokio::spawn(task))
    }

    fn compute(&self, _name: &'static str, work: Work) -> BoxFuture<'static, ()> {
        let computing = self.computing.clone();
        Box::pin(async move {
            let permit = computing.acquire_owned().await;
            let computed = tokio::task::spawn_blocking(move || {
                work();
                drop(permit);
            });
            // An error means that the runtime ends.
            let _ = computed.await;
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;
    use crate::real::env;

    #[tokio::test]
    async fn tasks_go_on_while_something_computes() {
        let env = env("/nonexistent", None);
        let (go_on, gate) = mpsc::channel();
        let computing = env.compute("test", move || gate.recv().unwrap());
        // This runtime has one thread: work on it would never see the gate open.
        let (seen, ()) = tokio::join!(computing, async {
            tokio::task::yield_now().await;
            go_on.send(7).unwrap();
        });
        assert_eq!(seen, 7);
    }

    #[tokio::test]
    async fn no_more_work_runs_at_a_time_than_there_are_processors() {
        let env = env("/nonexistent", None);
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::default());
        let all = (0..64).map(|_| {
            let (running, most): (_, Arc<AtomicUsize>) = (running.clone(), Arc::clone(&most));
            env.compute("test", move || {
                let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                std::thread::yield_now();
                running.fetch_sub(1, Ordering::SeqCst);
            })
        });
        futures_util::future::join_all(all).await;
        let most = most.load(Ordering::SeqCst);
        let processors = available_parallelism().unwrap().get();
        assert!((1..=processors).contains(&most), "{most} at a time");
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_is_not_begun() {
        let env = env("/nonexistent", None);
        let (begun, seen) = mpsc::channel::<()>();
        drop(env.compute("test", move || begun.send(())));
        assert!(seen.recv().is_err());
    }

    #[tokio::test]
    async fn work_that_panics_panics_where_it_is_awaited() {
        let env = env("/nonexistent", None);
        let computing = env.compute("test", || panic!("as asked"));
        let task = env.spawn("test", computing);
        assert!(!task.join().await);
        assert_eq!(env.compute("test", || 1).await, 1);
    }
}
