//! What all parts of a running consumer share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use hotfire_env::Env;
use hotfire_protocol::MessageQueue;
use hotfire_protocol::body::{ConsumeType, ConsumerData, SubscriptionData};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::consumer::filter::FilterMessageHook;
use crate::consumer::local::LocalOffsets;
use crate::consumer::offsets::OffsetTable;
use crate::consumer::slot::Slot;
use crate::consumer::stats::ConsumerStats;
use crate::consumer::work::{Work, WorkQueue};
use crate::instance::Instance;
use crate::process_queue::Thresholds;
use crate::producer::send::Sender;
use crate::trace::Tracer;
use crate::{
    AllocateStrategy, ConcurrentListener, ConsumeFrom, ConsumerHook, MessageModel, OrderlyListener,
};

/// How often a message is delivered again before it is a dead letter, unless configured
/// (`getMaxReconsumeTimes` of the concurrent consumer).
const MAX_RECONSUME_TIMES: i32 = 16;

/// How a consumer consumes.
pub(crate) struct ConsumerConfig {
    pub(crate) group: String,
    pub(crate) model: MessageModel,
    pub(crate) from: ConsumeFrom,
    pub(crate) consume_threads: usize,
    pub(crate) consume_batch: usize,
    pub(crate) pull_batch: i32,
    pub(crate) thresholds: Thresholds,
    /// -1: 16 times for a concurrent listener, without end for an orderly one.
    pub(crate) max_reconsume_times: i32,
    pub(crate) suspend_time: Duration,
    pub(crate) consume_timeout: Duration,
    pub(crate) await_termination: Duration,
    pub(crate) strategy: Arc<dyn AllocateStrategy>,
}

/// Who gets the messages.
#[derive(Clone)]
pub(crate) enum Listener {
    Concurrent(Arc<dyn ConcurrentListener>),
    Orderly(Arc<dyn OrderlyListener>),
}

/// A running consumer. Its parts are in the modules that extend it: `assign`, `pull`, `concurrent`,
/// `orderly`.
pub(crate) struct Core {
    pub(crate) env: Env,
    pub(crate) instance: Arc<Instance>,
    pub(crate) config: ConsumerConfig,
    pub(crate) listener: Listener,
    pub(crate) hook: Arc<dyn ConsumerHook>,
    /// What drops messages before the listener sees them.
    pub(crate) filters: Vec<Arc<dyn FilterMessageHook>>,
    pub(crate) tracer: Option<Arc<Tracer>>,
    /// By topic, the group's retry topic included; does not change while the consumer runs.
    pub(crate) subscriptions: BTreeMap<String, Arc<SubscriptionData>>,
    pub(crate) slots: Mutex<BTreeMap<MessageQueue, Arc<Slot>>>,
    /// See [`Slot::serial`].
    pub(crate) serials: Mutex<BTreeMap<MessageQueue, Arc<tokio::sync::Mutex<()>>>>,
    pub(crate) offsets: Mutex<OffsetTable>,
    /// Where a broadcasting consumer keeps its offsets.
    pub(crate) local: Option<LocalOffsets>,
    pub(crate) work: WorkQueue,
    /// Sends copies of messages that the broker does not take back.
    pub(crate) sender: Sender,
    /// Wakes the rebalancing.
    pub(crate) rebalance: Arc<Notify>,
    /// The name of the group's retry topic.
    pub(crate) retry_topic: String,
    pub(crate) stats: Mutex<ConsumerStats>,
    pub(crate) started: Instant,
    /// Held while offsets are reset.
    pub(crate) resetting: tokio::sync::Mutex<()>,
    pub(crate) paused: AtomicBool,
    pub(crate) stopped: AtomicBool,
}

impl Core {
    pub(crate) fn is_orderly(&self) -> bool {
        matches!(self.listener, Listener::Orderly(_))
    }

    pub(crate) fn is_clustering(&self) -> bool {
        self.config.model == MessageModel::Clustering
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }

    /// How often a message is delivered again at most.
    pub(crate) fn max_reconsume_times(&self) -> i32 {
        match self.config.max_reconsume_times {
            -1 if self.is_orderly() => i32::MAX,
            -1 => MAX_RECONSUME_TIMES,
            times => times,
        }
    }

    /// What heartbeats tell of this consumer.
    pub(crate) fn consumer_data(&self) -> ConsumerData {
        ConsumerData {
            consume_from_where: self.config.from.wire(),
            consume_type: ConsumeType::Passively,
            group_name: self.config.group.clone(),
            message_model: self.config.model,
            subscription_data_set: self
                .subscriptions
                .values()
                .map(|subscription| (**subscription).clone())
                .collect(),
            unit_mode: false,
        }
    }

    /// Takes work and does it, until the consumer stops.
    pub(crate) async fn worker(self: Arc<Self>) {
        while let Some(work) = self.work.take(self.config.consume_batch).await {
            match work {
                Work::Consume(slot, batch, range) => self.consume(&slot, &batch, range).await,
                Work::Run(slot) => self.run_queue(&slot).await,
            }
        }
    }

    /// Does something later, unless the consumer has stopped by then.
    pub(crate) fn later<F>(self: &Arc<Self>, name: &'static str, delay: Duration, work: F)
    where
        F: AsyncTask,
    {
        let this = self.clone();
        let task = self.env.spawn(name, async move {
            sleep(delay).await;
            if !this.is_stopped() {
                work.run(this).await;
            }
        });
        self.instance.keep(task);
    }

    // Offsets.

    /// Moves the offset to commit of a queue, unless the queue was given up meanwhile.
    pub(crate) fn update_offset(&self, slot: &Slot, offset: i64, increase_only: bool) {
        let state = slot.state.lock();
        if !state.is_dropped() {
            self.offsets
                .lock()
                .update(&slot.queue, offset, increase_only);
        }
    }

    /// Commits the offsets of all queues that are held.
    pub(crate) async fn persist_all(&self) {
        match &self.local {
            Some(local) => {
                let offsets = self.offsets.lock().all();
                local.commit(&*self.hook, offsets);
            }
            None => {
                let held: BTreeSet<_> = self.slots.lock().keys().cloned().collect();
                let offsets = self.offsets.lock().retain(&held);
                let commits = offsets
                    .iter()
                    .map(|(queue, offset)| self.commit(queue, *offset));
                join_all(commits).await;
            }
        }
    }

    /// Commits the offset of one queue, if there is one. A broadcasting consumer does it for all
    /// queues at once only.
    pub(crate) async fn persist(&self, queue: &MessageQueue) {
        let offset = self.offsets.lock().get(queue);
        if let (None, Some(offset)) = (&self.local, offset) {
            self.commit(queue, offset).await;
        }
    }

    async fn commit(&self, queue: &MessageQueue, offset: i64) {
        let (instance, group) = (&self.instance, &self.config.group);
        let committed = instance.commit_seen(&*self.hook, group, (queue, offset));
        committed.await;
    }

    /// Sends back messages that the listener has been busy with for too long
    /// (`cleanExpiredMsg`). The listener's own result will find them gone.
    pub(crate) async fn clean_overdue(self: &Arc<Self>) {
        /// Messages of one queue per round.
        const MAX: usize = 16;
        /// The delay level.
        const LEVEL: i32 = 3;
        let slots: Vec<_> = self.slots.lock().values().cloned().collect();
        for slot in slots {
            for _ in 0..MAX {
                let overdue = slot
                    .state
                    .lock()
                    .first_overdue(Instant::now(), self.config.consume_timeout);
                let Some(message) = overdue else { break };
                if !self.send_back(&slot.queue, &message, LEVEL).await {
                    break;
                }
                tracing::warn!(queue = %slot.queue, offset = message.queue_offset, "overdue");
                slot.state.lock().finish([message.queue_offset]);
            }
        }
    }
}

/// Work for [`Core::later`].
pub(crate) trait AsyncTask: Send + 'static {
    fn run(self, core: Arc<Core>) -> impl Future<Output = ()> + Send;
}

impl<F, Fut> AsyncTask for F
where
    F: FnOnce(Arc<Core>) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    fn run(self, core: Arc<Core>) -> impl Future<Output = ()> + Send {
        self(core)
    }
}
