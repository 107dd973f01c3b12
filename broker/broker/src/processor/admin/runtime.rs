//! What the broker has done, and how it is.

use std::collections::BTreeMap;

use hotfire_protocol::body::KVTable;
use hotfire_protocol::header::query::ViewBrokerStatsDataRequestHeader;
use hotfire_protocol::{RemotingCommand, topic, version};
use tokio::time::Instant;

use super::error;
use crate::processor::{Answer, body};
use crate::state::State;

/// VIEW_BROKER_STATS_DATA: one statistic over the last minute, hour and day.
pub(in crate::processor) fn stats(broker: &State, request: &RemotingCommand) -> Answer {
    let header: ViewBrokerStatsDataRequestHeader = request.header()?;
    let (name, key) = (&header.stats_name, &header.stats_key);
    let data = broker.stats.lock().broker.view(name, key, Instant::now());
    match data {
        Some(data) => body(request, data.to_json()),
        None => Err(error(format!("The stats <{name}> <{key}> not exist"))),
    }
}

/// A table of figures.
#[derive(Default)]
struct Figures(BTreeMap<String, String>);

impl Figures {
    fn put(&mut self, name: &str, value: impl ToString) {
        self.0.insert(name.to_owned(), value.to_string());
    }
}

/// GET_BROKER_RUNTIME_INFO: figures under Java's names. Missing are the capacities of queues that
/// are not there: only sends that wait for the disk ever queue.
pub(in crate::processor) fn info(broker: &State, request: &RemotingCommand) -> Answer {
    let mut figures = Figures::default();
    identity(broker, &mut figures);
    store(broker, &mut figures);
    queues(broker, &mut figures);
    timers(broker, &mut figures);
    let counted = broker
        .stats
        .lock()
        .store
        .figures(Instant::now(), broker.env.now_ms());
    for (name, value) in counted {
        figures.put(name, value);
    }
    body(request, KVTable { table: figures.0 }.to_json())
}

fn identity(broker: &State, figures: &mut Figures) {
    figures.put("brokerVersion", version::CURRENT);
    figures.put("brokerVersionDesc", version::name(version::CURRENT));
    figures.put("bootTimestamp", broker.started_ms);
    let seconds = (broker.env.now_ms() - broker.started_ms).max(0) / 1_000;
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    let (minutes, seconds) = (seconds / 60 % 60, seconds % 60);
    let uptime = format!("[ {days} days, {hours} hours, {minutes} minutes, {seconds} seconds ]");
    figures.put("runtime", uptime);
    let start = broker.config().start_accept_send_request_time_stamp;
    figures.put("startAcceptSendRequestTimeStamp", start);
}

fn store(broker: &State, figures: &mut Figures) {
    let store = &broker.store;
    let (min, max) = (store.min_phy_offset(), store.max_phy_offset());
    figures.put("commitLogMinOffset", min);
    figures.put("commitLogMaxOffset", max);
    let oldest = store.look_message_by_offset(min);
    let oldest = oldest.map_or(-1, |message| message.store_timestamp);
    figures.put("earliestMessageTimeStamp", oldest);
    figures.put("dispatchBehindBytes", store.dispatch_behind_bytes());
    figures.put("dispatchMaxBuffer", 0);
    let unflushed = max - store.flushed_where();
    figures.put("remainHowManyDataToFlush", format!("{unflushed} B"));
    figures.put("pageCacheLockTimeMills", store.lock_time_mills());
    // Messages never wait in a buffer off the page cache; so says Java without one.
    figures.put("remainTransientStoreBufferNumbs", i32::MAX);
    let bytes = (max - broker.log_end_at_start).max(0);
    let messages = broker.stats.lock().store.messages_put();
    figures.put("putMessageSizeTotal", bytes);
    let average = match messages {
        0 => 0.0,
        messages => bytes as f64 / messages as f64,
    };
    figures.put("putMessageAverageSize", format!("{average:?}"));
    match broker.disk().usage() {
        Ok(usage) => {
            let ratio = format!("{:?}", (usage.used_ratio() * 100.0).round() / 100.0);
            figures.put("commitLogDiskRatio", &ratio);
            figures.put("consumeQueueDiskRatio", &ratio);
            let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
            let (total, free) = (gib(usage.total), gib(usage.free));
            let capacity = format!("Total : {total:.1} GiB, Free : {free:.1} GiB.");
            figures.put("commitLogDirCapacity", capacity);
        }
        Err(failed) => tracing::error!(%failed, "cannot ask the disk for its free space"),
    }
}

fn queues(broker: &State, figures: &mut Figures) {
    let capacity = broker.config().send_thread_pool_queue_capacity;
    let (queued, waited) = {
        let gate = broker.gate.lock();
        (gate.queued(), gate.head_wait(Instant::now()).as_millis())
    };
    figures.put("sendThreadPoolQueueSize", queued);
    figures.put("sendThreadPoolQueueCapacity", capacity);
    figures.put("sendThreadPoolQueueHeadWaitTimeMills", waited);
    for kind in ["pull", "query"] {
        figures.put(&format!("{kind}ThreadPoolQueueSize"), 0);
        figures.put(&format!("{kind}ThreadPoolQueueHeadWaitTimeMills"), 0);
    }
    figures.put("EndTransactionQueueSize", 0);
    figures.put("pullRequestHoldSize", broker.hold.lock().len());
    let set_aside = broker.set_aside.counts();
    let set_aside: u64 = set_aside.iter().map(|(_, _, count)| count).sum();
    figures.put("setAsideMessages", set_aside);
    for level in broker.levels_in_use() {
        let queue_id = crate::delay::queue_of_level(level);
        let max = broker
            .store
            .max_offset_in_queue(topic::SCHEDULE_TOPIC, queue_id);
        if max > 0 {
            let at = broker.cursors.lock().get(level);
            figures.put(
                &format!("scheduleMessageOffset_{level}"),
                format!("{at},{max}"),
            );
        }
    }
}

/// How far the timers are behind, in seconds and messages, and how many messages wait.
fn timers(broker: &State, figures: &mut Figures) {
    let (mut read_behind, mut offset_behind, mut waiting) = (0, 0, 0);
    if let Some(timers) = &broker.timers {
        let position = timers.position();
        let max = broker.store.max_offset_in_queue(topic::TIMER_TOPIC, 0);
        if position.read_ms > 0 {
            read_behind = (broker.env.now_ms() - position.read_ms).max(0) / 1_000;
        }
        offset_behind = (max - position.queue_offset).max(0);
        let counts = timers.metrics().timing_count;
        waiting = counts.values().map(|metric| metric.count).sum();
    }
    figures.put("timerReadBehind", read_behind);
    figures.put("timerOffsetBehind", offset_behind);
    figures.put("timerCongestNum", waiting);
}
