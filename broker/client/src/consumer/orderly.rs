//! Orderly consumption (`ConsumeMessageOrderlyService`) and the locks that it needs.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use hotfire_env::defect;
use hotfire_protocol::{MessageExt, MessageQueue};
use tokio::time::Instant;

use crate::consumer::core::{Core, Listener};
use crate::consumer::slot::Slot;
use crate::{ConsumeOrderlyStatus, Delivery};

/// How long a queue is consumed at a stretch (`MAX_TIME_CONSUME_CONTINUOUSLY`).
const RUN_MAX: Duration = Duration::from_secs(60);
/// Before a run goes on that ended because of time or lock.
const RESUME_DELAY: Duration = Duration::from_millis(10);
/// Before the lock is asked for that a run did not find.
const LOCK_DELAY: Duration = Duration::from_millis(100);
/// Before the lock is asked for again that somebody else holds.
const LOCK_RETRY_DELAY: Duration = Duration::from_secs(3);
/// The bounds of a suspension.
const SUSPEND_MIN: Duration = Duration::from_millis(10);
const SUSPEND_MAX: Duration = Duration::from_secs(30);

/// How a run goes on.
enum Turn {
    /// With the next messages.
    Next,
    /// Not at all: there are none, or the queue was given up.
    End,
    /// In a new run, after this time.
    Resume(Duration),
    /// In a new run, when the lock is ours again.
    Lock(Duration),
}

impl Core {
    /// Consumes a queue in order until it is empty, suspended, given up, or its time is over.
    pub(crate) async fn run_queue(self: &Arc<Self>, slot: &Arc<Slot>) {
        if slot.is_dropped() {
            return;
        }
        let serial = slot.serial.clone();
        let _serial = serial.lock().await;
        let begin = Instant::now();
        let turn = if self.may_consume(slot) {
            loop {
                match self.turn(slot, begin).await {
                    Turn::Next => {}
                    last => break last,
                }
            }
        } else {
            Turn::Lock(LOCK_DELAY)
        };
        match turn {
            Turn::Next | Turn::End => {}
            _ if slot.is_dropped() => {}
            Turn::Resume(delay) => self.resume_later(slot, delay),
            Turn::Lock(delay) => self.lock_later(slot, delay),
        }
    }

    /// Whether the queue is locked for us, as far as that matters.
    fn may_consume(&self, slot: &Slot) -> bool {
        !self.is_clustering() || slot.state.lock().holds_lock(Instant::now())
    }

    /// One call of the listener.
    async fn turn(self: &Arc<Self>, slot: &Arc<Slot>, begin: Instant) -> Turn {
        if slot.is_dropped() || self.is_stopped() {
            return Turn::End;
        }
        if !self.may_consume(slot) {
            return Turn::Lock(RESUME_DELAY);
        }
        if begin.elapsed() > RUN_MAX {
            return Turn::Resume(RESUME_DELAY);
        }
        let messages = slot.state.lock().take(self.config.consume_batch);
        if messages.is_empty() {
            return Turn::End;
        }
        let call = Instant::now();
        let Some(status) = self.call_orderly(slot, &messages).await else {
            return Turn::End;
        };
        let consumed = match status {
            ConsumeOrderlyStatus::Success => messages.len(),
            _ => 0,
        };
        self.count(&slot.queue.topic, (consumed, messages.len()), call);
        match status {
            ConsumeOrderlyStatus::Success => self.commit_taken(slot),
            ConsumeOrderlyStatus::SuspendCurrentQueueAMoment => {
                self.suspend(slot, messages, self.config.suspend_time).await
            }
            ConsumeOrderlyStatus::SuspendFor(time) => self.suspend(slot, messages, time).await,
        }
    }

    /// Calls the listener, unless the queue has been given up by now.
    async fn call_orderly(
        &self,
        slot: &Slot,
        messages: &[Arc<MessageExt>],
    ) -> Option<ConsumeOrderlyStatus> {
        let Listener::Orderly(listener) = &self.listener else {
            return None;
        };
        let _listening = slot.listening.lock().await;
        if slot.is_dropped() {
            return None;
        }
        let delivery = Delivery::new(slot.shown.clone(), messages.into(), 0..messages.len());
        let call = AssertUnwindSafe(listener.consume(delivery.clone())).catch_unwind();
        let success = |status: &_| *status == ConsumeOrderlyStatus::Success;
        let result = self.traced(&delivery, call, success).await;
        Some(result.unwrap_or_else(|_| {
            tracing::error!(queue = %slot.queue, "the listener panicked: suspending the queue");
            ConsumeOrderlyStatus::SuspendCurrentQueueAMoment
        }))
    }

    fn commit_taken(&self, slot: &Slot) -> Turn {
        let mut state = slot.state.lock();
        state.set_consumed(Instant::now());
        if let Some(offset) = state.commit()
            && !state.is_dropped()
        {
            self.offsets.lock().update(&slot.queue, offset, false);
        }
        Turn::Next
    }

    /// Puts the messages back for another try, except those that had enough of them; if that leaves
    /// none, the queue goes on.
    async fn suspend(
        &self,
        slot: &Slot,
        mut messages: Vec<Arc<MessageExt>>,
        time: Duration,
    ) -> Turn {
        if defect!(self.env, SkipSuspended) {
            return self.commit_taken(slot);
        }
        let max = self.max_reconsume_times();
        let mut again = false;
        for message in &mut messages {
            let times = message.reconsume_times;
            if times >= max && self.send_retry_copy(message, times).await {
                self.hook.sent_back(&slot.queue, message, 0);
                continue;
            }
            Arc::make_mut(message).reconsume_times = times.saturating_add(1);
            again = true;
        }
        if !again {
            return self.commit_taken(slot);
        }
        slot.state.lock().put_back(messages);
        Turn::Resume(time.clamp(SUSPEND_MIN, SUSPEND_MAX))
    }

    fn resume_later(self: &Arc<Self>, slot: &Arc<Slot>, delay: Duration) {
        let slot = slot.clone();
        self.later("resume queue", delay, move |core: Arc<Self>| async move {
            core.work.push_run(slot);
        });
    }

    /// Asks for the lock in a while, and goes on when it is ours (`tryLockLaterAndReconsume`).
    fn lock_later(self: &Arc<Self>, slot: &Arc<Slot>, delay: Duration) {
        let slot = slot.clone();
        self.later("lock queue", delay, move |core: Arc<Self>| async move {
            let locked = core.lock_queue(&slot).await;
            let delay = if locked {
                RESUME_DELAY
            } else {
                LOCK_RETRY_DELAY
            };
            core.resume_later(&slot, delay);
        });
    }

    /// Asks the broker for the lock of one queue. True if it is ours.
    pub(crate) async fn lock_queue(&self, slot: &Slot) -> bool {
        let (group, queue) = (&self.config.group, &*slot.queue);
        let queues = BTreeSet::from([queue.clone()]);
        match self
            .instance
            .lock_queues(group, &queue.broker_name, queues)
            .await
        {
            Ok(locked) => {
                let ours = locked.contains(queue);
                if ours {
                    slot.state.lock().set_locked(true, Instant::now());
                }
                ours
            }
            Err(error) => {
                tracing::warn!(%queue, %error, "no answer about its lock");
                false
            }
        }
    }

    /// Asks all brokers to confirm the locks of all queues (`lockAll`). A broker that does not
    /// answer changes nothing; then the locks expire.
    pub(crate) async fn lock_all(&self) {
        join_all(
            self.slots_by_broker()
                .into_iter()
                .map(|(broker, slots)| async move {
                    let queues = slots.iter().map(|slot| (*slot.queue).clone()).collect();
                    match self
                        .instance
                        .lock_queues(&self.config.group, &broker, queues)
                        .await
                    {
                        Ok(locked) => {
                            let now = Instant::now();
                            for slot in slots {
                                let ours = locked.contains(&*slot.queue);
                                if !ours {
                                    tracing::warn!(queue = %slot.queue, "its lock is not ours");
                                }
                                slot.state.lock().set_locked(ours, now);
                            }
                        }
                        Err(error) => tracing::warn!(broker, %error, "no answer about its locks"),
                    }
                }),
        )
        .await;
    }

    /// Gives all locks back (`unlockAll`), so that a successor need not wait for them to expire.
    pub(crate) async fn unlock_all(&self) {
        join_all(
            self.slots_by_broker()
                .into_iter()
                .map(|(broker, slots)| async move {
                    let queues = slots.iter().map(|slot| (*slot.queue).clone()).collect();
                    let group = &self.config.group;
                    if let Err(error) = self
                        .instance
                        .unlock_queues(group, &broker, queues, false)
                        .await
                    {
                        tracing::debug!(broker, %error, "not unlocked");
                    }
                    for slot in slots {
                        slot.state.lock().set_locked(false, Instant::now());
                    }
                }),
        )
        .await;
    }

    fn slots_by_broker(&self) -> BTreeMap<String, Vec<Arc<Slot>>> {
        let mut by_broker = BTreeMap::<String, Vec<Arc<Slot>>>::new();
        for (queue, slot) in &*self.slots.lock() {
            by_broker
                .entry(queue.broker_name.clone())
                .or_default()
                .push(slot.clone());
        }
        by_broker
    }

    /// The slot that is held for a queue.
    pub(crate) fn slot_of(&self, queue: &MessageQueue) -> Option<Arc<Slot>> {
        self.slots.lock().get(queue).cloned()
    }
}
