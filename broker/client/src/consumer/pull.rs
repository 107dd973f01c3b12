//! Pulling: one task per assigned queue, one request at a time
//! (`DefaultMQPushConsumerImpl.pullMessage`).

use std::sync::Arc;
use std::time::Duration;

use hotfire_env::defect;
use hotfire_protocol::MessageExt;
use hotfire_protocol::header::pull::{PullMessageRequestHeader, sys_flag};
use tokio::time::{Instant, sleep};

use crate::consumer::core::Core;
use crate::consumer::retry::restore_topic;
use crate::consumer::slot::Slot;
use crate::{ClientError, PullResult, PullStatus};

/// How long the broker may wait for messages (`BROKER_SUSPEND_MAX_TIME_MILLIS`).
const SUSPEND_MS: i64 = 15_000;
/// How long the client waits for the broker (`CONSUMER_TIMEOUT_MILLIS_WHEN_SUSPEND`).
const PULL_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after an error, or without the lock (`PULL_TIME_DELAY_MILLS_WHEN_EXCEPTION`).
const PAUSE_ON_ERROR: Duration = Duration::from_secs(3);
/// Pause while the queue is full (`PULL_TIME_DELAY_MILLS_WHEN_FLOW_CONTROL`).
const PAUSE_WHEN_FULL: Duration = Duration::from_millis(50);
/// Pause while the consumer is suspended (`PULL_TIME_DELAY_MILLS_WHEN_SUSPEND`).
const PAUSE_WHEN_SUSPENDED: Duration = Duration::from_secs(1);
/// How long a queue rests whose offset turned out not to exist (4.9).
const ILLEGAL_OFFSET_PAUSE: Duration = Duration::from_secs(10);

/// What comes after a pull.
enum Next {
    /// The next pull, from this offset.
    Pull(i64),
    /// Nothing: the queue is given up.
    Stop,
}

impl Core {
    /// Pulls a queue until it is given up.
    pub(crate) async fn pull_queue(self: Arc<Self>, slot: Arc<Slot>, mut offset: i64) {
        while !slot.is_dropped() && !self.is_stopped() {
            slot.state.lock().set_pulled(Instant::now());
            if let Some(pause) = self.must_pause(&slot) {
                sleep(pause).await;
                continue;
            }
            match self.pull_once(&slot, offset).await {
                Ok(Next::Pull(next)) => offset = next,
                Ok(Next::Stop) => break,
                Err(error) => {
                    tracing::debug!(queue = %slot.queue, offset, %error, "pull failed");
                    sleep(PAUSE_ON_ERROR).await;
                }
            }
        }
    }

    fn must_pause(&self, slot: &Slot) -> Option<Duration> {
        if self.is_paused() {
            return Some(PAUSE_WHEN_SUSPENDED);
        }
        let state = slot.state.lock();
        if state.is_full(&self.config.thresholds, self.is_orderly()) {
            return Some(PAUSE_WHEN_FULL);
        }
        let needs_lock = self.is_orderly() && self.is_clustering();
        (needs_lock && !state.is_locked()).then_some(PAUSE_ON_ERROR)
    }

    async fn pull_once(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        offset: i64,
    ) -> Result<Next, ClientError> {
        let broker = self
            .instance
            .broker_to_pull(&slot.queue, slot.suggested_broker())
            .await?;
        // What is consumed travels along, but not to a slave: its table is the master's copy.
        let commit = match self.is_clustering() && !broker.slave {
            true => self
                .offsets
                .lock()
                .get(&slot.queue)
                .filter(|&offset| offset > 0),
            false => None,
        };
        if let Some(offset) = commit {
            self.hook.committing(&slot.queue, offset);
        }
        let header = self.pull_header(slot, offset, commit);
        let begin = Instant::now();
        let result = self
            .instance
            .pull(&broker.addr, &header, PULL_TIMEOUT)
            .await?;
        if slot.is_dropped() {
            return Ok(Next::Stop);
        }
        if result.status == PullStatus::Found {
            let (took, at) = (begin.elapsed(), self.uptime());
            let messages = result.messages.len();
            let mut stats = self.stats.lock();
            stats.pulled(&slot.queue.topic, messages, took, at);
        }
        slot.suggest_broker(result.suggested_broker_id);
        Ok(self.take_result(slot, offset, result))
    }

    fn pull_header(
        &self,
        slot: &Slot,
        offset: i64,
        commit: Option<i64>,
    ) -> PullMessageRequestHeader {
        PullMessageRequestHeader {
            consumer_group: self.config.group.clone(),
            topic: slot.queue.topic.clone(),
            queue_id: slot.queue.queue_id,
            queue_offset: offset,
            max_msg_nums: self.config.pull_batch,
            sys_flag: sys_flag::build(commit.is_some(), true, false),
            commit_offset: commit.unwrap_or(0),
            suspend_timeout_millis: SUSPEND_MS,
            subscription: None,
            sub_version: slot.subscription.sub_version,
            expression_type: slot.subscription.expression_type.clone(),
            max_msg_bytes: None,
            broker_name: Some(slot.queue.broker_name.clone()),
        }
    }

    fn take_result(self: &Arc<Self>, slot: &Arc<Slot>, offset: i64, result: PullResult) -> Next {
        let next = result.next_begin_offset;
        match result.status {
            PullStatus::Found => {
                self.hook
                    .pulled(&slot.queue, offset, next, &result.messages);
                self.take_messages(slot, next, result.messages);
                Next::Pull(next)
            }
            PullStatus::NoNewMessage | PullStatus::NoMatchedMessage => {
                if next != offset {
                    self.hook.pulled(&slot.queue, offset, next, &[]);
                }
                self.skip_to(slot, next);
                Next::Pull(next)
            }
            PullStatus::OffsetIllegal => {
                self.correct_offset(slot, offset, next);
                Next::Stop
            }
        }
    }

    /// If nothing is being consumed, everything up to `next` is done with: it was filtered out
    /// (`correctTagsOffset`).
    fn skip_to(&self, slot: &Slot, next: i64) {
        let state = slot.state.lock();
        if state.is_empty() && !state.is_dropped() {
            self.offsets.lock().update(&slot.queue, next, true);
        }
    }

    fn take_messages(self: &Arc<Self>, slot: &Arc<Slot>, next: i64, messages: Vec<MessageExt>) {
        if defect!(self.env, CommitBeforeConsume) {
            self.update_offset(slot, next, true);
        }
        let filtered = messages.into_iter().filter(|message| {
            // The broker compares hashes; equal hashes are not equal tags.
            let loose = defect!(self.env, LooseTags);
            loose || slot.subscription.matches_tag(message.message.tag())
        });
        let client = &self.instance.config;
        let mut batch: Vec<_> = filtered
            .map(|mut message| {
                restore_topic(&mut message, &self.retry_topic);
                if client.namespace.is_some() {
                    message.message.topic = client.unwrap(&message.message.topic);
                }
                message
            })
            .filter(|message| self.filters.iter().all(|filter| filter.keeps(message)))
            .map(Arc::new)
            .collect();
        if batch.is_empty() {
            return;
        }
        let start_run = {
            let mut state = slot.state.lock();
            if state.is_dropped() {
                return;
            }
            state.put(&batch)
        };
        if !self.is_orderly() {
            if defect!(self.env, ConsumeTwice) {
                batch = batch.iter().flat_map(twice).collect();
            }
            self.work.push_batch(slot.clone(), batch.into());
        } else if start_run {
            self.work.push_run(slot.clone());
        }
    }

    /// The broker does not have this offset: the queue rests, then the offset it named is committed
    /// and the queue is given up, to be taken anew from there (`OFFSET_ILLEGAL`).
    fn correct_offset(self: &Arc<Self>, slot: &Arc<Slot>, from: i64, to: i64) {
        tracing::warn!(queue = %slot.queue, from, to, "the offset does not exist");
        self.hook.offset_corrected(&slot.queue, from, to);
        slot.rest();
        let slot = slot.clone();
        self.later(
            "correct offset",
            ILLEGAL_OFFSET_PAUSE,
            move |core: Arc<Self>| async move {
                if !core.holds(&slot) {
                    return;
                }
                core.offsets.lock().update(&slot.queue, to, false);
                core.revoke(&slot).await;
            },
        );
    }
}

/// The planted defect: some messages are handed out twice.
fn twice(message: &Arc<MessageExt>) -> Vec<Arc<MessageExt>> {
    let again = message.queue_offset % 61 == 7;
    vec![message.clone(); 1 + usize::from(again)]
}
