//! Configuring a lite pull consumer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use hotfire_env::Env;
use hotfire_protocol::topic::check_group;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::callbacks::Callbacks;
use super::queues::{LitePullLimits, LiteQueues};
use super::{Config, Core, LitePullConsumer, Mode};
use crate::config::client_setters;
use crate::consumer::hook::NoHook;
use crate::consumer::local::LocalOffsets;
use crate::instance::Instance;
use crate::offsets::OffsetTable;
use crate::{
    AllocateAveragely, AllocateStrategy, ClientConfig, ClientError, ConsumeFrom, ConsumerHook,
    MessageModel,
};

/// The shortest time between automatic commits (`MIN_AUTOCOMMIT_INTERVAL_MILLIS`).
const AUTO_COMMIT_MIN: Duration = Duration::from_secs(1);

/// Configures a [`LitePullConsumer`].
#[must_use = "a builder does nothing until started"]
pub struct LitePullConsumerBuilder {
    env: Env,
    client: ClientConfig,
    subscriptions: Vec<(String, String)>,
    hook: Arc<dyn ConsumerHook>,
    config: Config,
}

client_setters!(LitePullConsumerBuilder);

impl LitePullConsumer {
    /// Begins to configure a consumer.
    pub fn builder(env: &Env) -> LitePullConsumerBuilder {
        LitePullConsumerBuilder {
            env: env.clone(),
            client: ClientConfig::default(),
            subscriptions: Vec::new(),
            hook: Arc::new(NoHook),
            config: Config {
                group: String::new(),
                model: MessageModel::Clustering,
                from: ConsumeFrom::Last,
                limits: LitePullLimits::default(),
                pull_threads: 20,
                auto_commit: true,
                auto_commit_interval: Duration::from_secs(5),
                watch_interval: Duration::from_secs(30),
                strategy: Arc::new(AllocateAveragely),
            },
        }
    }
}

impl LitePullConsumerBuilder {
    /// The consumer group.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.config.group = group.into();
        self
    }

    /// Subscribes to a topic from the start; see [`LitePullConsumer::subscribe`].
    pub fn subscribe(mut self, topic: impl Into<String>, expression: impl Into<String>) -> Self {
        self.subscriptions.push((topic.into(), expression.into()));
        self
    }

    /// Whether the members of the group share the messages (the default) or each gets all.
    pub fn message_model(mut self, model: MessageModel) -> Self {
        self.config.model = model;
        self
    }

    /// Where to begin without a committed offset. Default: at the end.
    pub fn consume_from(mut self, from: ConsumeFrom) -> Self {
        self.config.from = from;
        self
    }

    /// How many messages a pull gets, and when pulling pauses because too much is in hand.
    pub fn limits(mut self, limits: LitePullLimits) -> Self {
        self.config.limits = limits;
        self
    }

    /// How many pulls may be under way at a time; with more queues than that, pulls that wait for
    /// messages keep others waiting. Default: 20.
    pub fn pull_threads(mut self, threads: usize) -> Self {
        self.config.pull_threads = threads;
        self
    }

    /// Whether polling commits what was polled before. Default: yes.
    pub fn auto_commit(mut self, auto_commit: bool) -> Self {
        self.config.auto_commit = auto_commit;
        self
    }

    /// The time between automatic commits, at least 1 s. Default: 5 s.
    pub fn auto_commit_interval(mut self, interval: Duration) -> Self {
        self.config.auto_commit_interval = interval;
        self
    }

    /// How often the queues of topics that are listened to are looked at. Default: 30 s.
    pub fn watch_interval(mut self, interval: Duration) -> Self {
        self.config.watch_interval = interval;
        self
    }

    /// How queues are shared in the group; all members must agree. Default:
    /// [`AllocateAveragely`].
    pub fn allocate(mut self, strategy: impl AllocateStrategy + 'static) -> Self {
        self.config.strategy = Arc::new(strategy);
        self
    }

    /// Watches what the consumer does.
    pub fn hook(mut self, hook: Arc<dyn ConsumerHook>) -> Self {
        self.hook = hook;
        self
    }

    /// Starts the consumer. No server need be reachable yet.
    ///
    /// # Errors
    /// Group, name servers or a setting are missing or malformed, or the offset file of a
    /// broadcasting consumer is damaged.
    pub async fn start(self) -> Result<LitePullConsumer, ClientError> {
        check(&self.config)?;
        if self.client.namespace.is_some() {
            let reason = "a lite pull consumer cannot live in a namespace";
            return Err(ClientError::Invalid(reason.to_owned()));
        }
        let subscriptions = self.subscriptions.clone();
        let core = self.build()?;
        let consumer = LitePullConsumer { core: core.clone() };
        core.instance.set_consumer(core.consumer_data());
        for (topic, expression) in &subscriptions {
            core.subscribe(topic, expression)?;
        }
        core.instance.start();
        start_periodic(&core);
        let topics: Vec<_> = subscriptions.into_iter().map(|(topic, _)| topic).collect();
        core.announce(&topics).await;
        core.instance
            .keep(core.env.spawn("rebalance", core.clone().rebalance_loop()));
        Ok(consumer)
    }

    fn build(self) -> Result<Arc<Core>, ClientError> {
        let (env, config) = (self.env, self.config);
        let callbacks = Arc::new(Callbacks::default());
        let broadcasting = config.model == MessageModel::Broadcasting;
        let instance = Instance::new(&env, self.client, Some(callbacks.clone()), broadcasting)?;
        let mut offsets = OffsetTable::default();
        let mut local = None;
        if broadcasting {
            let store = LocalOffsets::new(&env, &instance.client_id, &config.group);
            for (queue, offset) in store.load()? {
                offsets.update(&queue, offset, false);
            }
            local = Some(store);
        }
        Ok(Arc::new(Core {
            env,
            instance,
            hook: self.hook,
            mode: Mutex::new(Mode::Undecided),
            subscriptions: Mutex::default(),
            queues: Mutex::new(LiteQueues::new(config.limits)),
            pulling: Mutex::new(BTreeMap::new()),
            changing: tokio::sync::Mutex::default(),
            turns: Semaphore::new(config.pull_threads),
            arrival: tokio::sync::Notify::new(),
            offsets: Mutex::new(offsets),
            local,
            next_auto_commit: Mutex::new(None),
            watches: Mutex::default(),
            rebalance: callbacks.rebalance.clone(),
            stopped: AtomicBool::new(false),
            config,
        }))
    }
}

fn check(config: &Config) -> Result<(), ClientError> {
    let invalid = |reason: String| Err(ClientError::Invalid(reason));
    if let Err(error) = check_group(&config.group) {
        return invalid(error.to_string());
    }
    if !(1..=1024).contains(&config.limits.batch) {
        return invalid("messages per pull are not within 1 to 1024".to_owned());
    }
    if !(1..=Semaphore::MAX_PERMITS).contains(&config.pull_threads) {
        return invalid("no pull could ever be under way".to_owned());
    }
    if config.auto_commit_interval < AUTO_COMMIT_MIN {
        return invalid("automatic commits must be at least a second apart".to_owned());
    }
    if config.watch_interval.is_zero() {
        return invalid("queues cannot be looked at all the time".to_owned());
    }
    Ok(())
}

/// Starts what a lite pull consumer does periodically, beyond what every client does.
fn start_periodic(core: &Arc<Core>) {
    /// Before offsets are sent first, and before queues are looked at first.
    const FIRST: Duration = Duration::from_secs(10);
    let instance = &core.instance;
    let persist = instance.config.persist_consumer_offset_interval;
    instance.every("persist offsets", FIRST, persist, core, |core| async move {
        core.persist_all().await
    });
    let watch = core.config.watch_interval;
    instance.every("watch queues", FIRST, watch, core, |core| async move {
        core.compare_queues().await;
    });
}
