//! A running broker: start, background services, stop (`BrokerController`).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hotfire_env::{Env, TaskHandle, defect};
use hotfire_metrics::Exporter;
use hotfire_protocol::body::{
    SubscriptionGroupWrapper, TimerMetrics, TopicConfig, TopicConfigSerializeWrapper,
};
use hotfire_protocol::{rules, topic};
use hotfire_remoting::{Client, ClientConfig, Server, ServerConfig, SessionCredentials};
use hotfire_store::{FlushDiskType, MessageStore, StoreError, StoreObserver, TimerStore};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::access;
use crate::acl::{self, AccessControl, AclError};
use crate::client_info::EXPIRY_SCAN;
use crate::config::BrokerConfig;
use crate::config_file::{self, Loaded, TableFile};
use crate::consumer_offset::ConsumerOffsets;
use crate::delay::{DelayCursors, DelayLevels};
use crate::filter::ConsumerFilters;
use crate::groups::Groups;
use crate::load_balance::{LoadBalance, RequestModes};
use crate::metrics::Metrics;
use crate::observer::BrokerObserver;
use crate::pop::{OrderInfos, Pop};
use crate::pop_service;
use crate::processor::{Processor, pull, send};
use crate::pull_hold::{HOLD_TICK, PullHold};
use crate::registration::FIRST_RENEWAL;
use crate::schedule;
use crate::send_gate::SendGate;
use crate::set_aside::SetAside;
use crate::state::State;
use crate::stats::Stats;
use crate::table_files::{Table, TableFiles};
use crate::table_writer;
use crate::timer;
use crate::topics::{READ_WRITE, Topics, new_version};
use crate::{figures, route_refresh};

/// When committed offsets are written for the first time.
const FIRST_OFFSET_WRITE: Duration = Duration::from_secs(10);
/// How often the SQL expressions of groups are written, if they changed.
const FILTER_WRITES: Duration = Duration::from_secs(10);
/// How often queued sends are looked at for those that waited too long (`BrokerFastFailure`).
const FAST_FAILURE_TICK: Duration = Duration::from_millis(10);
/// How far below the main port the fast one is.
const FAST_PORT_OFFSET: u16 = 2;

/// Why a broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// A setting that no broker can work with.
    #[error("the broker's configuration is wrong: {0}")]
    Config(String),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// Access control is on and cannot be set up.
    #[error(transparent)]
    Acl(#[from] AclError),
    /// The message store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A running broker. Dropping it stops nothing: [`Broker::shutdown`] does.
pub struct Broker {
    state: Arc<State>,
    servers: Vec<Server>,
    local: SocketAddr,
    tasks: Mutex<Vec<TaskHandle>>,
    /// Writes the files of tables; it stops last.
    writer: TaskHandle,
    exporter: Option<Exporter>,
}

impl Broker {
    /// Starts a broker: opens its store, listens, and registers with the name servers. When this
    /// returns it serves, and each name server knows it or has let its time pass.
    ///
    /// # Errors
    /// The configuration is wrong, the store cannot be opened or the port is taken.
    pub async fn start(
        env: &Env,
        config: BrokerConfig,
        observer: Option<Arc<dyn BrokerObserver>>,
    ) -> Result<Self, BrokerError> {
        check(&config)?;
        let store_observer = observer
            .clone()
            .map(|observer| observer as Arc<dyn StoreObserver>);
        let store = MessageStore::open_observed(env, config.store.clone(), store_observer).await?;
        let started = Self::start_with(env, config, observer, store.clone()).await;
        if started.is_err()
            && let Err(error) = store.shutdown().await
        {
            tracing::error!(%error, "cannot close the store");
        }
        started
    }

    async fn start_with(
        env: &Env,
        config: BrokerConfig,
        observer: Option<Arc<dyn BrokerObserver>>,
        store: MessageStore,
    ) -> Result<Self, BrokerError> {
        let timers = match config.store.timer_wheel_enable {
            true => Some(TimerStore::open(&store).await?),
            false => None,
        };
        let state = Arc::new(load(env, config, observer, store, timers)?);
        let writer = env.spawn("write-tables", table_writer::run(state.clone()));
        match start_serving(env, &state).await {
            Ok((servers, exporter, tasks)) => Ok(Self {
                local: servers.first().map_or(state.address(), Server::local),
                state,
                servers,
                tasks: Mutex::new(tasks),
                writer,
                exporter,
            }),
            Err(error) => {
                writer.abort();
                Err(error)
            }
        }
    }

    /// The address that is listened on.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Where metrics are handed out, if they are.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.exporter.as_ref().map(Exporter::local)
    }

    /// The address that clients are told.
    pub fn address(&self) -> SocketAddr {
        self.state.address()
    }

    /// The message store.
    pub fn store(&self) -> &MessageStore {
        &self.state.store
    }

    /// Stops cleanly: leaves the name servers, lets running requests finish, writes offsets and
    /// closes the store.
    pub async fn shutdown(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock());
        for task in tasks {
            task.abort();
        }
        if let Some(exporter) = &self.exporter {
            exporter.shutdown();
        }
        self.state.unregister().await;
        for server in &self.servers {
            server.shutdown().await;
        }
        // The store is about to be flushed.
        pop_service::commit_safe(&self.state, i64::MAX);
        self.state.save_offsets();
        self.state.save_filters();
        self.state.save_orders();
        self.state.save_cursors();
        self.state.close_timers().await;
        self.state.write_all_tables().await;
        self.writer.abort();
        if let Err(error) = self.state.store.shutdown().await {
            tracing::error!(%error, "cannot close the store");
        }
        self.state.namesrv.shutdown();
    }
}

/// What serves, what hands out metrics if anything does, and what runs beside.
type Serving = (Vec<Server>, Option<Exporter>, Vec<TaskHandle>);

async fn start_serving(env: &Env, state: &Arc<State>) -> Result<Serving, BrokerError> {
    let weak = Arc::downgrade(state);
    state.store.set_arrival_listener(Arc::new(move |arrival| {
        if let Some(state) = weak.upgrade() {
            pull::on_arrival(&state, arrival);
            pop_service::on_arrival(&state, arrival);
        }
    }));
    pop_service::restore(state);
    let exporter = export(env, state).await?;
    let servers = listen(env, state).await?;
    let mut tasks = spawn_services(state);
    tasks.extend(pop_service::spawn(state));
    state.register().await;
    let name = state.config().broker_name.clone();
    tracing::info!(name, address = %state.address(), "the broker is up");
    Ok((servers, exporter, tasks))
}

fn check(config: &BrokerConfig) -> Result<(), BrokerError> {
    rules::check_cluster_name(&config.broker_cluster_name)
        .and_then(|()| rules::check_broker_name(&config.broker_name))
        .map_err(|error| BrokerError::Config(error.to_string()))?;
    if config.store.delay_levels.iter().any(|&delay| delay < 0) {
        return Err(BrokerError::Config("a delay level is negative".to_owned()));
    }
    if config.broker_id != 0 {
        let wrong = "replicas are not supported: brokerId must be 0";
        return Err(BrokerError::Config(wrong.to_owned()));
    }
    Ok(())
}

impl TableFile for TopicConfigSerializeWrapper {
    /// The system topics are always there.
    fn is_blank(&self) -> bool {
        self.topic_config_table.is_empty()
    }
}

impl TableFile for SubscriptionGroupWrapper {
    /// The system groups are always there.
    fn is_blank(&self) -> bool {
        self.subscription_group_table.is_empty()
    }
}

impl TableFile for ConsumerOffsets {}
impl TableFile for ConsumerFilters {}
impl TableFile for DelayCursors {}
impl TableFile for OrderInfos {}
impl TableFile for RequestModes {}
impl TableFile for TimerMetrics {}

/// Reads the file of a table. One that cannot be read, nor its backup, counts as empty: that means
/// more redeliveries, where Java's broker refuses to start.
fn load_file<T: TableFile>(env: &Env, config: &BrokerConfig, table: Table) -> Loaded<T> {
    let path = State::config_path(config, table.file());
    config_file::load(&**env.disk(), &path, env.now_ms())
}

/// Reads the file of a table, if there is any of it.
fn load_table<T: TableFile>(env: &Env, config: &BrokerConfig, table: Table) -> Option<T> {
    load_file(env, config, table).into_table()
}

/// Adds the topics that the store has queues of, if the file does not say all: messages of a topic
/// that is not known could not be read. True if anything was added.
fn prove_topics(topics: &mut Topics, store: &MessageStore, now_ms: i64) -> bool {
    let mut stored: BTreeMap<Arc<str>, i32> = BTreeMap::new();
    for (topic, queue_id) in store.queues() {
        let queues = stored.entry(topic).or_default();
        *queues = (*queues).max(queue_id.saturating_add(1));
    }
    let mut added = false;
    for (topic, queues) in stored {
        let queues = queues.min(rules::QUEUES_MAX);
        if topic::is_system_topic(&topic) {
            // The broker makes its own when it needs them.
            continue;
        }
        let known = topics.get(&topic).is_some();
        let changed = if known {
            topics.enlarge(&topic, queues, now_ms).is_some()
        } else {
            let proven = TopicConfig::new(&*topic, queues, queues, READ_WRITE);
            topics.create_internal(proven, now_ms)
        };
        if changed {
            added = true;
            tracing::error!(
                topic = &*topic,
                queues,
                known,
                "a topic is made up from the queues that the store has of it: permissions, order \
                 and further queues are not known"
            );
        }
    }
    added
}

/// Adds the groups that have committed offsets, if the file does not say all.
fn prove_groups(groups: &mut Groups, offsets: &ConsumerOffsets, now_ms: i64) -> bool {
    let mut added = false;
    for group in offsets.groups() {
        if groups.create_if_missing(group, true, now_ms) {
            added = true;
            tracing::error!(
                group,
                "a group is made up from its committed offsets: its settings are the usual ones"
            );
        }
    }
    added
}

/// The state that an earlier life left.
fn load(
    env: &Env,
    config: BrokerConfig,
    observer: Option<Arc<dyn BrokerObserver>>,
    store: MessageStore,
    timers: Option<TimerStore>,
) -> Result<State, BrokerError> {
    let started_ms = env.now_ms();
    let mut topics = Topics::new(&config, started_ms);
    let file = load_file(env, &config, Table::Topics);
    let topics_are_whole = file.is_whole();
    if let Some(file) = file.into_table() {
        topics.restore(file);
    }
    let files = TableFiles::default();
    if !topics_are_whole && prove_topics(&mut topics, &store, started_ms) {
        files.change(Table::Topics);
    }
    let mut offsets: Option<ConsumerOffsets> = load_table(env, &config, Table::Offsets);
    let mut groups = Groups::new(started_ms);
    let file = load_file(env, &config, Table::Groups);
    let groups_are_whole = file.is_whole();
    if let Some(file) = file.into_table() {
        groups.restore(file);
    }
    if let (false, Some(offsets)) = (groups_are_whole, &offsets)
        && prove_groups(&mut groups, offsets, started_ms)
    {
        files.change(Table::Groups);
    }
    if defect!(env, ForgetOffsets) {
        offsets = None;
    }
    let filters = load_table(env, &config, Table::Filters).unwrap_or_default();
    let filters = ConsumerFilters::restore(filters, started_ms);
    let mut cursors: DelayCursors = load_table(env, &config, Table::Cursors).unwrap_or_default();
    cursors.correct(|queue_id| {
        let min = store.min_offset_in_queue(topic::SCHEDULE_TOPIC, queue_id);
        (
            min,
            store.max_offset_in_queue(topic::SCHEDULE_TOPIC, queue_id),
        )
    });
    let orders = load_table(env, &config, Table::Orders).unwrap_or_default();
    let modes = load_table(env, &config, Table::Modes).unwrap_or_default();
    if let Some(timers) = &timers
        && let Some(metrics) = load_table(env, &config, Table::TimerMetrics)
    {
        timers.restore_metrics(metrics);
    }
    let ip = match &config.broker_ip1 {
        Some(ip) => ip
            .parse()
            .map_err(|_| BrokerError::Config(format!("brokerIP1: `{ip}` is not an address")))?,
        None => env.network().local_ip(),
    };
    let acl = match config.acl_enable {
        true => Some(AccessControl::load(&**env.disk())?),
        false => None,
    };
    let client = ClientConfig {
        tls: config.tls.client.clone(),
        hook: config
            .inner_client_authentication_credentials
            .as_ref()
            .map(SessionCredentials::hook),
        ..ClientConfig::default()
    };
    let slots = config.send_message_thread_pool_nums;
    let gate = SendGate::new(slots, config.send_thread_pool_queue_capacity);
    Ok(State {
        env: env.clone(),
        sync_flush: config.store.flush_disk_type == FlushDiskType::Sync,
        levels: DelayLevels::new(config.store.delay_levels.clone()),
        log_end_at_start: store.max_phy_offset(),
        config_version: Mutex::new(new_version(started_ms)),
        stats: Mutex::new(Stats::new(Instant::now(), started_ms)),
        metrics: config.metrics.enabled().then(Metrics::new),
        store,
        ip,
        port: OnceLock::new(),
        observer,
        entropy: env.entropy("broker queue choice"),
        namesrv: Client::new(env, client, None),
        started_ms,
        acl,
        topics: RwLock::new(topics),
        groups: RwLock::new(groups),
        offsets: Mutex::new(offsets.unwrap_or_default()),
        resets: Mutex::default(),
        producers: Mutex::default(),
        consumers: Mutex::default(),
        filters: Mutex::new(filters),
        channels: Mutex::default(),
        locks: Mutex::default(),
        cursors: Mutex::new(cursors),
        timers,
        files,
        hold: Mutex::new(PullHold::default()),
        woken: Mutex::default(),
        wake: Notify::new(),
        pop: Pop::new(orders),
        set_aside: SetAside::default(),
        balance: LoadBalance::new(modes),
        gate: Mutex::new(gate),
        send_queued: Notify::new(),
        defect_clock: AtomicU64::new(0),
        config: RwLock::new(Arc::new(config)),
    })
}

/// Hands out metrics, if that is wanted.
async fn export(env: &Env, state: &Arc<State>) -> Result<Option<Exporter>, BrokerError> {
    let Some(metrics) = &state.metrics else {
        return Ok(None);
    };
    let address = state.config().metrics.address();
    let registry = figures::registry(state, metrics);
    match Exporter::start(env, &address, registry).await {
        Ok(exporter) => Ok(Some(exporter)),
        Err(source) => Err(BrokerError::Listen { address, source }),
    }
}

/// Listens on the main port and, if wanted, on the fast one.
async fn listen(env: &Env, state: &Arc<State>) -> Result<Vec<Server>, BrokerError> {
    let config = state.config();
    let (host, port) = config
        .listen
        .rsplit_once(':')
        .unwrap_or((&config.listen, ""));
    let port: u16 = port
        .parse()
        .map_err(|_| BrokerError::Config(format!("`{}` is not host:port", config.listen)))?;
    if port != 0 {
        state.set_port(port);
    }
    let main = bind(env, state, &config.listen, false).await?;
    state.set_port(main.local().port());
    let mut servers = vec![main];
    if config.listen_fast && port > FAST_PORT_OFFSET {
        let address = format!("{host}:{}", port - FAST_PORT_OFFSET);
        match bind(env, state, &address, true).await {
            Ok(fast) => servers.push(fast),
            Err(error) => {
                for server in &servers {
                    server.shutdown().await;
                }
                return Err(error);
            }
        }
    }
    Ok(servers)
}

async fn bind(
    env: &Env,
    state: &Arc<State>,
    address: &str,
    fast: bool,
) -> Result<Server, BrokerError> {
    let processor = Arc::new(Processor::new(state.clone(), fast));
    let config = ServerConfig {
        tls: state.config().tls.server.clone(),
        ..ServerConfig::default()
    };
    Server::bind(env, address, config, processor)
        .await
        .map_err(|source| BrokerError::Listen {
            address: address.to_owned(),
            source,
        })
}

/// Does something again and again.
fn periodic(
    state: &Arc<State>,
    name: &'static str,
    first: Duration,
    period: Duration,
    action: impl Fn(&State) + Send + 'static,
) -> TaskHandle {
    let shared = state.clone();
    state.env.spawn(name, async move {
        sleep(first).await;
        loop {
            action(&shared);
            sleep(period).await;
        }
    })
}

fn spawn_services(state: &Arc<State>) -> Vec<TaskHandle> {
    let config = state.config();
    let offset_writes = config.flush_consumer_offset_interval;
    let cursor_writes = config.flush_delay_offset_interval;
    let mut tasks = vec![
        state
            .env
            .spawn("registration", renew_registration(state.clone())),
        state.env.spawn("timers", timer::run(state.clone())),
        state
            .env
            .spawn("wake-pulls", run_woken_pulls(state.clone())),
        state
            .env
            .spawn("fast-failure", expire_queued_sends(state.clone())),
        state
            .env
            .spawn("check-transactions", check_transactions(state.clone())),
        state
            .env
            .spawn("refresh-routes", route_refresh::keep_fresh(state.clone())),
        state
            .env
            .spawn("expire-clients", watch_clients(state.clone())),
        state.env.spawn("hold-tick", look_at_pulls(state.clone())),
        periodic(
            state,
            "write-offsets",
            FIRST_OFFSET_WRITE,
            offset_writes,
            |state| {
                if state.offsets.lock().take_changed() {
                    state.save_offsets();
                }
            },
        ),
        periodic(
            state,
            "write-filters",
            FILTER_WRITES,
            FILTER_WRITES,
            State::save_filters,
        ),
        periodic(
            state,
            "write-cursors",
            cursor_writes,
            cursor_writes,
            State::save_cursors,
        ),
        state
            .env
            .spawn("deliver-delayed", schedule::run(state.clone())),
    ];
    if state.acl.is_some() {
        let interval = acl::WATCH_INTERVAL;
        tasks.push(periodic(
            state,
            "watch-acl",
            interval,
            interval,
            access::reload,
        ));
    }
    tasks
}

async fn renew_registration(state: Arc<State>) {
    sleep(FIRST_RENEWAL).await;
    loop {
        state.register().await;
        sleep(state.renewal_period()).await;
    }
}

async fn check_transactions(state: Arc<State>) {
    let interval = state.config().transaction_check_interval;
    loop {
        sleep(interval).await;
        state.check_half_messages().await;
    }
}

async fn look_at_pulls(state: Arc<State>) {
    loop {
        sleep(HOLD_TICK).await;
        pull::wake_all(&state).await;
    }
}

async fn run_woken_pulls(state: Arc<State>) {
    loop {
        state.wake.notified().await;
        pull::run_woken(&state).await;
    }
}

async fn expire_queued_sends(state: Arc<State>) {
    loop {
        state.send_queued.notified().await;
        while send::expire_queued(&state) {
            sleep(FAST_FAILURE_TICK).await;
        }
    }
}

/// Drops clients that have been silent for too long, and locks that nobody refreshed, again and
/// again.
async fn watch_clients(state: Arc<State>) {
    loop {
        sleep(EXPIRY_SCAN).await;
        expire_clients(&state).await;
        expire_locks(&state).await;
    }
}

async fn expire_locks(state: &State) {
    let mut from: Option<String> = None;
    loop {
        from = state.locks.lock().expire(from.as_deref(), Instant::now());
        if from.is_none() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// Drops the silent members of groups, a piece of the tables at a time, and closes the connections
/// that are in no group any more.
async fn expire_clients(state: &State) {
    let now = Instant::now();
    let mut silent = BTreeSet::new();
    let mut from = None;
    loop {
        let (found, next) = state.producers.lock().expire(from.as_ref(), now);
        silent.extend(found);
        from = next;
        if from.is_none() {
            break;
        }
        tokio::task::yield_now().await;
    }
    loop {
        let (found, changed, next) = state.consumers.lock().expire(from.as_ref(), now);
        silent.extend(found);
        for changed in &changed {
            state.notify_members(changed);
        }
        from = next;
        if from.is_none() {
            break;
        }
        tokio::task::yield_now().await;
    }
    for connection in silent {
        let heard =
            state.producers.lock().has(connection) || state.consumers.lock().has(connection);
        let channel = state.channels.lock().get(&connection).cloned();
        if let Some(channel) = channel.filter(|_| !heard) {
            channel.close("no heartbeat for 120 s");
        }
    }
}
