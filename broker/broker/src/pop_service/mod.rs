//! What runs beside the requests: reviving, waking, deadlines, and the commits that wait for the
//! disk (`PopReviveService`, `PopLongPollingService`, `ConsumerOrderInfoLockManager`).

mod lag;
mod log;

use std::sync::Arc;
use std::time::Duration;

use hotfire_env::{TaskHandle, defect};
use hotfire_protocol::MessageExt;
use hotfire_protocol::message::property;
use hotfire_protocol::pop::{REVIVE_GROUP, TopicKind, normal_topic, revive_topic};
use hotfire_protocol::topic;
use hotfire_store::{Arrival, MessageInner};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, sleep_until};

use crate::filter;
use crate::pop::{Due, QueueKey, ReviveQueue, ReviveRecord, retry_topic_to_write};
use crate::processor::{pop, popping};
use crate::set_aside::Line;
use crate::state::State;
use crate::waiting::Waiting;

pub(crate) use lag::ReviveLag;
pub(crate) use log::{CHECK_POINT_MAX, ack_key, check_point};

/// How often the revive topic is looked at (`reviveInterval`).
const REVIVE_INTERVAL: Duration = Duration::from_secs(1);
/// The longest that an alarm is set ahead, in milliseconds.
const DAY_MS: i64 = 24 * 3_600_000;
/// How many bytes of messages are put into retry topics before others have a turn.
const BYTES_PER_TURN: i32 = 1 << 20;
/// How many records are read before others have a turn.
const READ_AT_ONCE: usize = 32;

/// Starts the services.
pub fn spawn(state: &Arc<State>) -> Vec<TaskHandle> {
    let orders = state.config().flush_consumer_offset_interval;
    let writing = state.clone();
    vec![
        state.env.spawn("pop-revive", revive(state.clone())),
        state.env.spawn("pop-wake", run_woken(state.clone())),
        state
            .env
            .spawn("pop-deadlines", keep_deadlines(state.clone())),
        state.env.spawn("write-pop-orders", async move {
            loop {
                sleep(orders).await;
                writing.save_orders();
            }
        }),
    ]
}

/// How many woken requests are run before others have their turn.
const WOKEN_PIECE: usize = 64;

async fn run_woken(state: Arc<State>) {
    loop {
        state.pop.wake.notified().await;
        // What is woken meanwhile notifies again.
        let mut left = state.pop.woken.lock().len();
        while left > 0 {
            let piece = left.min(WOKEN_PIECE);
            for _ in 0..piece {
                let Some(waiting) = state.pop.woken.lock().pop_front() else {
                    break;
                };
                if is_open(&waiting)
                    && let Some((waiting, response)) = pop::run_again(&state, waiting)
                {
                    state.answer_late(&waiting, response, true);
                }
            }
            left -= piece;
            if left > 0 {
                tokio::task::yield_now().await;
            }
        }
    }
}

fn is_open(waiting: &Waiting) -> bool {
    waiting.channel.is_open()
}

/// A message became visible: wakes those who wait for it.
pub fn on_arrival(state: &State, arrival: &Arrival<'_>) {
    let mut matches = filter::for_arrival(&state.store, arrival);
    for polling in [&state.pop.polling, &state.pop.notifications] {
        let mut polling = polling.lock();
        if polling.is_empty() {
            continue;
        }
        let (topic, queue_id) = (arrival.topic, arrival.queue_id);
        let woken = polling.on_arrival(topic, queue_id, &mut matches, is_open);
        drop(polling);
        state.pop.run_again(woken);
    }
}

/// A queue may have something for a group: wakes one who waits for any queue, or else for this one.
pub fn wake_group(state: &State, key: &QueueKey) {
    for polling in [&state.pop.polling, &state.pop.notifications] {
        let any = QueueKey {
            queue_id: -1,
            ..key.clone()
        };
        let mut polling = polling.lock();
        let woken = polling
            .wake(&any, is_open)
            .or_else(|| polling.wake(key, is_open));
        drop(polling);
        state.pop.run_again(woken.into_iter().collect());
    }
}

/// There is more in a queue: wakes one who waits for exactly this, -1 for all queues.
pub fn wake_exact(state: &State, key: &QueueKey) {
    let woken = state.pop.polling.lock().wake(key, is_open);
    state.pop.run_again(woken.into_iter().collect());
}

/// Looks at an ordered queue again when what it gave becomes visible.
pub fn set_alarm(state: &State, key: &QueueKey) {
    let Some(free_at) = state.pop.orders.lock().free_at(key) else {
        return;
    };
    let wait = free_at.saturating_sub(state.env.now_ms()).clamp(0, DAY_MS);
    let at = Instant::now() + Duration::from_millis(wait.unsigned_abs());
    state.pop.alarms.lock().insert(key.clone(), at);
    state.pop.parked.notify_one();
}

/// Runs parked requests again whose time is up, and rings the alarms of ordered queues.
async fn keep_deadlines(state: Arc<State>) {
    let pop = &state.pop;
    loop {
        let next = [
            pop.polling.lock().next_deadline(),
            pop.notifications.lock().next_deadline(),
            pop.alarms.lock().values().min().copied(),
        ];
        match next.into_iter().flatten().min() {
            None => pop.parked.notified().await,
            Some(deadline) => {
                tokio::select! {
                    biased;
                    () = pop.parked.notified() => continue,
                    () = sleep_until(deadline) => {}
                }
            }
        }
        let now = Instant::now();
        let mut expired = pop.polling.lock().expired(now);
        expired.extend(pop.notifications.lock().expired(now));
        pop.run_again(expired);
        let mut ringing = Vec::new();
        pop.alarms.lock().retain(|key, at| {
            let rings = *at <= now;
            if rings {
                ringing.push(key.clone());
            }
            !rings
        });
        for key in &ringing {
            wake_group(&state, key);
        }
    }
}

/// Commits the offsets of pops whose check points are safe from a crash.
pub fn commit_safe(state: &State, flushed: i64) {
    let _committing = state.pop.committing.lock();
    let ready = state.pop.offsets.lock().committable(flushed);
    if ready.is_empty() {
        return;
    }
    for (key, offset) in ready {
        state.commit_offset(&key.group, &key.topic, key.queue_id, offset);
    }
    state.pop.offsets.lock().settle();
}

/// Reads what earlier lives left in the revive topic, before anybody pops. Offsets are written every
/// few seconds only, so a crash forgets the last of them; but what has a check point must not be
/// popped once more, or it would be there twice when the check point is due.
pub fn restore(state: &State) {
    let topic = revive_topic(&state.config().broker_cluster_name);
    let mut popped = Vec::new();
    for (queue_id, queue) in (0..).zip(&state.pop.revive) {
        let done = state.offsets.lock().get(REVIVE_GROUP, &topic, queue_id);
        let min = state.store.min_offset_in_queue(&topic, queue_id);
        let max = state.store.max_offset_in_queue(&topic, queue_id);
        let next = done.map_or(min, |done| done.saturating_add(1));
        // A power failure may have kept the offset and not the end of the log.
        *queue.lock() = ReviveQueue::new(next.clamp(min, max.max(min)));
        let pass = Pass {
            state,
            topic: &topic,
            queue_id,
        };
        while pass.read(queue, &mut |record| {
            if let ReviveRecord::CheckPoint(key, point) = record {
                let end = point.offsets().into_iter().max();
                popped.extend(end.map(|end| (key.clone(), end.saturating_add(1))));
            }
        }) {}
    }
    let newest = popped.iter().map(|(key, _)| key.pop_time).max();
    let forgotten = 2 * state.config().flush_consumer_offset_interval;
    let forgotten = i64::try_from(forgotten.as_millis()).unwrap_or(i64::MAX);
    // What was popped before that is in the offsets, unless an administrator set them back.
    let since = newest.unwrap_or_default().saturating_sub(forgotten);
    for (key, end) in popped.iter().filter(|(key, _)| key.pop_time >= since) {
        let committed = state
            .offsets
            .lock()
            .get(&key.group, &key.topic, key.queue_id);
        // One that was not written for a pop moves no group to where there is nothing.
        let exists = *end <= state.store.max_offset_in_queue(&key.topic, key.queue_id);
        if exists && committed.is_none_or(|committed| committed < *end) {
            state.commit_offset(&key.group, &key.topic, key.queue_id, *end);
        }
    }
}

async fn revive(state: Arc<State>) {
    let topic = revive_topic(&state.config().broker_cluster_name);
    loop {
        sleep(REVIVE_INTERVAL).await;
        commit_safe(&state, state.store.flushed_where());
        for (queue_id, queue) in (0..).zip(&state.pop.revive) {
            let pass = Pass {
                state: &state,
                topic: &topic,
                queue_id,
            };
            pass.run(&state, queue).await;
        }
    }
}

/// One look at one queue of the revive topic.
struct Pass<'a> {
    state: &'a State,
    topic: &'a str,
    queue_id: i32,
}

impl Pass<'_> {
    async fn run(&self, state: &Arc<State>, queue: &Mutex<ReviveQueue>) {
        // First the time, then the records: what was acknowledged by then is known.
        let mut now_ms = self.state.env.now_ms();
        if defect!(self.state.env, ReviveEarly) {
            now_ms += DAY_MS;
        }
        let before = queue.lock().done();
        while self.read(queue, &mut |_| {}) {
            tokio::task::yield_now().await;
        }
        loop {
            let Some(due) = queue.lock().due(now_ms) else {
                break;
            };
            self.revive(state, queue, &due, now_ms).await;
            tokio::task::yield_now().await;
        }
        let done = queue.lock().done();
        if done != before {
            let mut offsets = self.state.offsets.lock();
            offsets.commit(REVIVE_GROUP, self.topic, self.queue_id, done);
            self.state.files.note_commit();
        }
    }

    /// Reads some records, and shows each. False at the end of the queue.
    fn read(&self, queue: &Mutex<ReviveQueue>, show: &mut dyn FnMut(&ReviveRecord)) -> bool {
        let store = &self.state.store;
        let from = queue.lock().next();
        if store.max_offset_in_queue(self.topic, self.queue_id) <= from {
            return false;
        }
        let all = |_| true;
        let found = store.get_message(
            self.topic,
            self.queue_id,
            from,
            READ_AT_ONCE,
            usize::MAX,
            &all,
        );
        let own_name = self.state.config().broker_name.clone();
        let mut queue = queue.lock();
        for bytes in found.messages {
            let at = popping::queue_offset(&bytes).unwrap_or(queue.next());
            let record = log::read(bytes, &own_name);
            show(&record);
            if let Some(metrics) = &self.state.metrics {
                metrics.pop.got(&record, self.queue_id);
            }
            queue.apply(at, record);
        }
        queue.skip_to(found.next_begin_offset);
        queue.next() > from
    }

    /// Puts what nobody acknowledged into the retry topic of its group. One that cannot be put there
    /// now is tried again later, one that never can is set aside; neither holds up the others.
    async fn revive(&self, state: &Arc<State>, queue: &Mutex<ReviveQueue>, due: &Due, now_ms: i64) {
        let (mut revived, mut bytes) = (Vec::new(), 0);
        if self.is_wanted(due) {
            for &offset in &due.offsets {
                if bytes >= BYTES_PER_TURN {
                    tokio::task::yield_now().await;
                    bytes = 0;
                }
                let message = self.message(due, offset);
                bytes += message.as_ref().map_or(0, |message| message.store_size);
                let done = match message {
                    // It has expired.
                    None => true,
                    Some(message) => match put_again(state, due, message.clone()) {
                        Again::Stored => true,
                        Again::Later => false,
                        Again::Never(reason) => {
                            let at = message.commit_log_offset;
                            state.set_aside(Line::Pop, reason, Some(message), at)
                        }
                    },
                };
                if done {
                    revived.push(offset);
                }
            }
        } else {
            revived.clone_from(&due.offsets);
        }
        let left = due.offsets.len() - revived.len();
        if !revived.is_empty() {
            let visible_at = due.key.pop_time;
            let put = self
                .state
                .append_acks(&due.key, &revived, visible_at, self.queue_id);
            if !put.is_stored() {
                tracing::warn!(
                    topic = due.key.topic,
                    "a restart will revive messages again"
                );
            }
            queue.lock().done_with(due.revive_offset, &revived);
        }
        if left > 0 {
            if let Some(suppressed) = state.set_aside.may_log(now_ms) {
                let topic = &due.key.topic;
                tracing::warn!(topic, left, suppressed, "cannot revive messages now");
            }
            queue.lock().put_off(due.revive_offset, now_ms);
        }
    }

    /// Whether topic and group are still there.
    fn is_wanted(&self, due: &Due) -> bool {
        let normal = normal_topic(&due.key.topic, &due.key.group);
        // What the broker keeps for itself is never popped.
        !topic::is_internal_topic(normal)
            && self.state.topics.read().get(normal).is_some()
            && self.state.groups.read().get(&due.key.group).is_some()
    }

    fn message(&self, due: &Due, offset: i64) -> Option<MessageExt> {
        let store = &self.state.store;
        let units = store.units(&due.key.topic, due.key.queue_id, offset, 1);
        store.look_message_by_offset(units.first()?.offset)
    }
}

/// How reviving a message ended.
enum Again {
    Stored,
    /// The store takes nothing now.
    Later,
    /// There is no way to store it, for this reason.
    Never(&'static str),
}

/// Puts a message into the retry topic.
fn put_again(state: &Arc<State>, due: &Due, message: MessageExt) -> Again {
    let (from, group) = (due.key.topic.as_str(), due.key.group.as_str());
    let to = match TopicKind::of(from) {
        TopicKind::Normal => retry_topic_to_write(&state.config(), from, group),
        _ => from.to_owned(),
    };
    let Some(_) = state.ensure_topic(&to, 1, false) else {
        return Again::Never("the name of its retry topic is too long");
    };
    if state.offsets.lock().get(group, &to, 0).is_none() {
        state.commit_offset(group, &to, 0, 0);
    }
    let mut again = MessageInner::from(message);
    again.message.topic = to;
    again.queue_id = 0;
    again.born_host = state.address();
    again.store_host = state.address();
    let first = again.reconsume_times == 0;
    again.reconsume_times = again.reconsume_times.saturating_add(1);
    let bare = again.clone();
    let properties = &mut again.message.properties;
    if first || !properties.contains(property::FIRST_POP_TIME) {
        properties.set(property::FIRST_POP_TIME, due.key.pop_time.to_string());
    }
    let mut put = state.store.append_accepted(again);
    if put.status.is_final() {
        // It goes without the time rather than being lost.
        put = state.store.append_accepted(bare);
    }
    if let Some(metrics) = &state.metrics {
        metrics.pop.revived(&due.key, put.status);
    }
    match put.status {
        _ if put.is_stored() => Again::Stored,
        status if status.is_final() => Again::Never("it does not fit its retry topic"),
        _ => Again::Later,
    }
}
