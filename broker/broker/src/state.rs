//! What the parts of a running broker share.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use hotfire_env::{Disk, Entropy, EntropyExt, Env};
use hotfire_protocol::body::{DataVersion, SubscriptionGroupConfig, TopicConfig};
use hotfire_protocol::header::client::NotifyConsumerIdsChangedRequestHeader;
use hotfire_protocol::message::{property, sys_flag};
use hotfire_protocol::{RemotingCommand, RequestCode, rules, topic};
use hotfire_remoting::{Channel, Client, ConnectionId};
use hotfire_store::{MessageInner, MessageStore, TimerStore};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::acl::AccessControl;
use crate::config::{BrokerConfig, DEFAULT_PORT};
use crate::consumer_offset::ConsumerOffsets;
use crate::consumers::{Consumers, MembersChanged};
use crate::delay::{self, DelayCursors, DelayLevels};
use crate::filter::ConsumerFilters;
use crate::groups::Groups;
use crate::limits::Full;
use crate::load_balance::LoadBalance;
use crate::metrics::Metrics;
use crate::observer::BrokerObserver;
use crate::pop::{OrderInfos, Pop};
use crate::producers::Producers;
use crate::pull_hold::PullHold;
use crate::rebalance_lock::RebalanceLocks;
use crate::resets::PendingResets;
use crate::send_gate::SendGate;
use crate::set_aside::SetAside;
use crate::stats::Stats;
use crate::table_files::{Table, TableFiles};
use crate::topics::{FLAG_UNIT, READ_WRITE, Topics};
use crate::waiting::Waiting;

/// The state of a broker. Every table has a lock of its own, and no two tables are held
/// at once.
pub(crate) struct State {
    pub env: Env,
    pub config: RwLock<Arc<BrokerConfig>>,
    pub store: MessageStore,
    /// The address that clients are told; see [`State::address`].
    pub ip: IpAddr,
    /// The port that is listened on, once that is known.
    pub port: OnceLock<u16>,
    /// Whether a send that waits for the store waits for the disk.
    pub sync_flush: bool,
    pub levels: DelayLevels,
    pub observer: Option<Arc<dyn BrokerObserver>>,
    pub entropy: Arc<dyn Entropy>,
    pub namesrv: Client,
    pub started_ms: i64,
    /// The end of the commit log when the broker started.
    pub log_end_at_start: i64,
    /// Counts the changes of the configuration.
    pub config_version: Mutex<DataVersion>,
    pub stats: Mutex<Stats>,
    /// If they are handed out.
    pub metrics: Option<Metrics>,

    /// If access control is on.
    pub acl: Option<AccessControl>,
    pub topics: RwLock<Topics>,
    pub groups: RwLock<Groups>,
    pub offsets: Mutex<ConsumerOffsets>,
    /// Resets that the groups do not know yet.
    pub resets: Mutex<PendingResets>,
    pub producers: Mutex<Producers>,
    pub consumers: Mutex<Consumers>,
    pub filters: Mutex<ConsumerFilters>,
    pub channels: Mutex<BTreeMap<ConnectionId, Channel>>,
    pub locks: Mutex<RebalanceLocks>,
    pub cursors: Mutex<DelayCursors>,
    /// The messages for an arbitrary time; none if the wheel is switched off.
    pub timers: Option<TimerStore>,
    /// What of the tables is in their files.
    pub files: TableFiles,

    pub hold: Mutex<PullHold<Waiting>>,
    /// Parked pulls that are to be run again.
    pub woken: Mutex<VecDeque<Waiting>>,
    pub wake: Notify,
    pub pop: Pop,
    /// What could not be delivered.
    pub set_aside: SetAside,
    pub balance: LoadBalance,
    pub gate: Mutex<SendGate<Waiting>>,
    /// Notified when a send was queued.
    pub send_queued: Notify,
    /// Counts sends and pulls for the planted defects.
    pub defect_clock: AtomicU64,
}

impl State {
    /// The address that clients are told, and that goes into offset ids.
    pub fn address(&self) -> SocketAddr {
        let port = self.port.get().copied().unwrap_or(DEFAULT_PORT);
        SocketAddr::new(self.ip, port)
    }

    /// Remembers the port that is listened on. Only the first call counts.
    pub fn set_port(&self, port: u16) {
        self.port.get_or_init(|| port);
    }

    /// The configuration at the moment.
    pub fn config(&self) -> Arc<BrokerConfig> {
        self.config.read().clone()
    }

    /// The path of one of the broker's own files.
    pub fn config_path(config: &BrokerConfig, name: &str) -> String {
        match config.store.store_path_root_dir.as_str() {
            "" => format!("config/{name}"),
            root => format!("{root}/config/{name}"),
        }
    }

    pub fn disk(&self) -> &dyn Disk {
        &**self.env.disk()
    }

    /// Has the topics written, and whoever sends to this new one wait for it.
    pub fn save_topic(&self, topic: &str) {
        self.files.create_topic(topic);
    }

    pub fn save_topics(&self) {
        self.files.change(Table::Topics);
    }

    pub fn save_groups(&self) {
        self.files.change(Table::Groups);
    }

    /// Has the committed offsets written, if there are new ones.
    pub fn save_offsets(&self) {
        self.files.change_if_committed();
    }

    /// Has the expressions that groups registered written, if they changed.
    pub fn save_filters(&self) {
        let consumers = self.consumers.lock();
        let groups = consumers.groups().map(|(name, _)| name.to_owned());
        let groups = groups.collect();
        drop(consumers);
        let now_ms = self.env.now_ms();
        let mut filters = self.filters.lock();
        filters.retain_members(&groups, now_ms);
        if filters.changes(now_ms).is_some() {
            self.files.change(Table::Filters);
        }
    }

    /// Has written what ordered pops have given away.
    pub fn save_orders(&self) {
        if self.files.newest(Table::Orders) > 0 || !self.pop.orders.lock().is_empty() {
            self.files.change(Table::Orders);
        }
    }

    /// What ordered pops have given away, without what is gone.
    pub fn orders_to_write(&self) -> OrderInfos {
        let queues = |topic: &str, group: &str| {
            self.groups.read().get(group)?;
            Some(self.topics.read().get(topic)?.read_queue_nums)
        };
        let mut orders = self.pop.orders.lock().clone();
        orders.clean(self.env.now_ms(), queues);
        orders
    }

    pub fn save_cursors(&self) {
        self.files.change(Table::Cursors);
    }

    /// Sends a message with a delay level round by the schedule topic.
    pub fn divert_delayed(&self, message: &mut MessageInner) {
        let level = message.message.delay_level();
        let clamped = self.levels.clamp(level);
        // Where no level is configured there is no queue to wait in.
        if clamped > 0 && sys_flag::is_consumable(message.sys_flag) {
            if clamped != level {
                let properties = &mut message.message.properties;
                properties.set(property::DELAY, clamped.to_string());
            }
            delay::divert(&mut message.message, &mut message.queue_id, clamped);
        }
    }

    /// A number below `bound`, for the choice of a queue.
    pub fn random_below(&self, bound: i32) -> i32 {
        self.entropy.below(bound.max(0) as u64) as i32
    }

    /// A group's settings, after creating it if that is allowed.
    pub fn group_config(&self, group: &str) -> Option<SubscriptionGroupConfig> {
        self.with_group(group, Clone::clone)
    }

    /// Reads a group's settings, after creating it if that is allowed.
    pub fn with_group<T>(
        &self,
        group: &str,
        read: impl FnOnce(&SubscriptionGroupConfig) -> T,
    ) -> Option<T> {
        if let Some(config) = self.groups.read().get(group) {
            return Some(read(config));
        }
        let auto_create = self.config().auto_create_subscription_group;
        let now_ms = self.env.now_ms();
        if self
            .groups
            .write()
            .create_if_missing(group, auto_create, now_ms)
        {
            tracing::info!(group, "created a consumer group");
            self.save_groups();
        }
        self.groups.read().get(group).map(read)
    }

    /// Creates one of the broker's own topics, if it is not there, and announces it. `None` if its
    /// name is longer than any topic's.
    pub fn ensure_topic(
        self: &Arc<Self>,
        topic: &str,
        queues: i32,
        unit: bool,
    ) -> Option<TopicConfig> {
        if let Some(known) = self.topics.read().get(topic) {
            return Some(known.clone());
        }
        if topic.len() > topic::DERIVED_TOPIC_MAX {
            return None;
        }
        let topic_sys_flag = if unit { FLAG_UNIT } else { 0 };
        let config = TopicConfig {
            topic_sys_flag,
            ..TopicConfig::new(topic, queues, queues, READ_WRITE)
        };
        let created = self
            .topics
            .write()
            .create_internal(config, self.env.now_ms());
        if created {
            tracing::info!(topic, queues, "created a topic");
            self.save_topic(topic);
            self.announce_topics();
        }
        self.topics.read().get(topic).cloned()
    }

    /// The retry topic of a group, with all the queues that the group is to have. It never loses
    /// queues: there may be messages in them. `None` if the group's name, left from earlier days, is
    /// too long for one.
    pub fn ensure_retry_topic(
        self: &Arc<Self>,
        group: &SubscriptionGroupConfig,
        unit: bool,
    ) -> Option<TopicConfig> {
        let retry_topic = topic::retry_topic(&group.group_name);
        topic::check_topic(&retry_topic).ok()?;
        let queues = group.retry_queue_nums.clamp(0, rules::QUEUES_MAX);
        {
            let topics = self.topics.read();
            if topics.get(&retry_topic).is_none() && !topics.has_room(&retry_topic) {
                return None;
            }
        }
        let known = self.ensure_topic(&retry_topic, queues, unit)?;
        if known.read_queue_nums.min(known.write_queue_nums) >= queues {
            return Some(known);
        }
        let now_ms = self.env.now_ms();
        let enlarged = self.topics.write().enlarge(&retry_topic, queues, now_ms);
        let Some(enlarged) = enlarged else {
            // Somebody else just did it.
            return self.topics.read().get(&retry_topic).cloned();
        };
        tracing::info!(topic = retry_topic, queues, "enlarged a retry topic");
        self.save_topics();
        self.announce_topics();
        Some(enlarged)
    }

    /// Answers a request that was put aside: until there are messages if `long_polling`, else until
    /// it had its turn.
    pub fn answer_late(&self, waiting: &Waiting, response: RemotingCommand, long_polling: bool) {
        let (request, code) = (waiting.request.code, response.code);
        if let Err(error) = waiting.channel.send(response) {
            tracing::debug!(request, %error, "cannot answer a request that was put aside");
        } else if let Some(metrics) = &self.metrics {
            metrics.answered(request, code, long_polling, waiting.since.elapsed());
        }
    }

    /// Tells the members of a group that it has changed.
    pub fn notify_members(&self, changed: &MembersChanged) {
        if !self.config().notify_consumer_ids_changed_enable {
            return;
        }
        let header = NotifyConsumerIdsChangedRequestHeader {
            consumer_group: changed.group.clone(),
        };
        let channels = self.channels.lock();
        for connection in &changed.connections {
            if let Some(channel) = channels.get(connection) {
                let code = RequestCode::NOTIFY_CONSUMER_IDS_CHANGED;
                let request = RemotingCommand::request_with(code, &header);
                if let Err(error) = channel.oneway(request) {
                    tracing::debug!(%error, group = changed.group, "cannot notify a member");
                }
            }
        }
    }

    /// Sets an offset that a client commits; what is too much is not set.
    ///
    /// # Errors
    /// There are too many offsets.
    pub fn commit_of_client(
        &self,
        group: &str,
        topic: &str,
        queue_id: i32,
        offset: i64,
    ) -> Result<(), Full> {
        let room = self.offsets.lock().check(group, topic, queue_id);
        if room.is_err() && self.offsets.lock().may_look(Instant::now()) {
            self.forget_unknown_offsets();
        }
        room.or_else(|_| self.offsets.lock().check(group, topic, queue_id))?;
        self.commit_offset(group, topic, queue_id, offset);
        Ok(())
    }

    /// Forgets offsets of groups and topics that are not there.
    fn forget_unknown_offsets(&self) {
        let groups: BTreeSet<String> = self.groups.read().all().keys().cloned().collect();
        let topics = self.topics.read().names();
        let forgotten = self
            .offsets
            .lock()
            .retain(|group, topic| groups.contains(group) && topics.contains(topic));
        tracing::warn!(
            forgotten,
            "forgot offsets of groups and topics that are not there"
        );
    }

    /// Sets a committed offset.
    pub fn commit_offset(&self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        let mut offsets = self.offsets.lock();
        let before = offsets.commit(group, topic, queue_id, offset);
        self.files.note_commit();
        if let Some(before) = before.filter(|&before| before > offset) {
            tracing::warn!(
                group,
                topic,
                queue_id,
                before,
                offset,
                "an offset went backwards"
            );
        }
        if let Some(observer) = &self.observer {
            observer.offset_committed(group, topic, queue_id, offset);
        }
    }
}
