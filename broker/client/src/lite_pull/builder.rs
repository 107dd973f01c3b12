//! Configuring a lite pull consumer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use hotfire_env::Env;
use hotfire_protocol::topic::DEFAULT_CONSUMER_GROUP;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::callbacks::Callbacks;
use super::queues::{LitePullLimits, LiteQueues};
use super::{Config, Core, LitePullConsumer, Mode};
use crate::config::{check_own_group, client_setters};
use crate::consumer::hook::NoHook;
use crate::consumer::local::LocalOffsets;
use crate::consumer::setup::{Wanted, consumer_setters, sharing_setters, wrap_names};
use crate::instance::Instance;
use crate::{
    AllocateAveragely, ClientConfig, ClientError, ConsumeFrom, ConsumerHook, MessageModel,
};

/// The shortest time between automatic commits (`MIN_AUTOCOMMIT_INTERVAL_MILLIS`).
const AUTO_COMMIT_MIN: Duration = Duration::from_secs(1);

/// Configures a [`LitePullConsumer`].
#[must_use = "a builder does nothing until started"]
pub struct LitePullConsumerBuilder {
    env: Env,
    client: ClientConfig,
    subscriptions: Wanted,
    hook: Arc<dyn ConsumerHook>,
    config: Config,
}

client_setters!(LitePullConsumerBuilder);
consumer_setters!(LitePullConsumerBuilder);
sharing_setters!(LitePullConsumerBuilder);

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

    /// Starts the consumer. No server need be reachable yet.
    ///
    /// # Errors
    /// Group, name servers, subscriptions or a setting are missing or malformed, the offset file of
    /// a broadcasting consumer is damaged, or a broker does not accept an SQL expression (it says
    /// what is wrong with it) or cannot be asked whether it does.
    pub async fn start(mut self) -> Result<LitePullConsumer, ClientError> {
        let wanted = &mut self.subscriptions;
        wrap_names(&self.client, &mut self.config.group, wanted);
        check(&self.config)?;
        let subscriptions = std::mem::take(&mut self.subscriptions);
        let core = self.build()?;
        let consumer = LitePullConsumer { core: core.clone() };
        core.instance.set_consumer(core.consumer_data());
        for (topic, expression) in &subscriptions {
            core.subscribe(topic, expression)?;
        }
        core.instance.start();
        start_periodic(&core);
        for (topic, _) in &subscriptions {
            core.find(topic).await;
        }
        core.check_expressions().await?;
        core.announce().await;
        core.instance
            .keep(core.env.spawn("rebalance", core.clone().rebalance_loop()));
        Ok(consumer)
    }

    fn build(self) -> Result<Arc<Core>, ClientError> {
        let (env, config) = (self.env, self.config);
        let callbacks = Arc::new(Callbacks::default());
        let broadcasting = config.model == MessageModel::Broadcasting;
        let instance = Instance::new(&env, self.client, Some(callbacks.clone()), broadcasting)?;
        let (offsets, local) = LocalOffsets::open(&instance, &config.group, config.model)?;
        let core = Arc::new(Core {
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
            started: Instant::now(),
            stopped: AtomicBool::new(false),
            config,
        });
        callbacks.serve(&core);
        Ok(core)
    }
}

fn check(config: &Config) -> Result<(), ClientError> {
    let invalid = |reason: String| Err(ClientError::Invalid(reason));
    check_own_group(&config.group, DEFAULT_CONSUMER_GROUP)?;
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
