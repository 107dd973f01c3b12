//! What a producer or consumer stands on: connections, routes, heartbeats (`MQClientInstance`).

mod api;
pub mod names;
pub mod route;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use hotfire_env::{Entropy, Env, TaskHandle};
use hotfire_protocol::body::{ConsumerData, HeartbeatData, ProducerData, TopicRouteData};
use hotfire_protocol::header::client::UnregisterClientRequestHeader;
use hotfire_protocol::header::namesrv::GetRouteInfoRequestHeader;
use hotfire_protocol::{Header, MessageQueue, RemotingCommand, RequestCode, ResponseCode};
use hotfire_remoting::{Client, RequestHandler, RequestHook, TlsConnector};
use parking_lot::{Mutex, RwLock};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::{ClientConfig, ClientError, PublishInfo};
pub(crate) use api::{decode_messages, read};
use names::NameServers;
use route::{MASTER_ID, RouteTable};

/// The topic whose route stands in for a topic that does not exist yet
/// (`AUTO_CREATE_TOPIC_KEY_TOPIC`).
pub(crate) const DEFAULT_TOPIC: &str = "TBW102";
/// The group under which the client itself sends, to retry topics (`CLIENT_INNER_PRODUCER_GROUP`).
pub(crate) const INNER_PRODUCER_GROUP: &str = "CLIENT_INNER_PRODUCER";
/// How long to wait for somebody else's route update.
const ROUTE_LOCK_TIMEOUT: Duration = Duration::from_secs(3);

/// One client of the cluster.
pub(crate) struct Instance {
    pub(crate) env: Env,
    pub(crate) config: ClientConfig,
    pub(crate) client_id: String,
    pub(crate) rpc: Client,
    names: NameServers,
    pub(crate) routes: RwLock<RouteTable>,
    /// One route update at a time.
    route_turn: tokio::sync::Mutex<()>,
    /// Topics whose routes are kept fresh.
    topics: Mutex<BTreeSet<String>>,
    groups: Mutex<Groups>,
    /// What brokers declared when they answered heartbeats, by address.
    versions: Mutex<BTreeMap<String, i32>>,
    entropy: Arc<dyn Entropy>,
    tasks: Mutex<Vec<TaskHandle>>,
    stopped: AtomicBool,
}

/// Who this client is, as heartbeats tell.
#[derive(Default)]
struct Groups {
    producer: Option<String>,
    consumer: Option<ConsumerData>,
}

impl Instance {
    /// A client without tasks; `handler` takes the requests of brokers. With `default_name` the
    /// instance keeps the name `DEFAULT` unless the configuration has another.
    pub(crate) fn new(
        env: &Env,
        config: ClientConfig,
        handler: Option<Arc<dyn RequestHandler>>,
        default_name: bool,
    ) -> Result<Arc<Self>, ClientError> {
        config.check()?;
        let name = match &config.instance_name {
            Some(name) => name.clone(),
            None if default_name => "DEFAULT".to_owned(),
            None => unique_name(env),
        };
        let client_id = format!("{}@{name}", env.network().local_ip());
        // Clients of one process must not draw the same numbers.
        let entropy = env.entropy(&format!("client {client_id}"));
        let names = NameServers::new(config.namesrv_addrs.clone(), entropy.next_u64());
        let tls = config.tls.as_ref();
        let tls = tls
            .map(|options| TlsConnector::new(env, options))
            .transpose();
        let hook = |credentials| Arc::new(credentials) as Arc<dyn RequestHook>;
        let rpc_config = hotfire_remoting::ClientConfig {
            hook: config.credentials.clone().map(hook),
            tls: tls.map_err(|error| ClientError::Invalid(format!("TLS: {error}")))?,
            ..hotfire_remoting::ClientConfig::default()
        };
        Ok(Arc::new(Self {
            env: env.clone(),
            client_id,
            rpc: Client::new(env, rpc_config, handler),
            names,
            routes: RwLock::default(),
            route_turn: tokio::sync::Mutex::default(),
            topics: Mutex::new(BTreeSet::from([DEFAULT_TOPIC.to_owned()])),
            groups: Mutex::default(),
            versions: Mutex::default(),
            entropy,
            tasks: Mutex::default(),
            stopped: AtomicBool::new(false),
            config,
        }))
    }

    /// Registers a producer group for heartbeats.
    pub(crate) fn set_producer(&self, group: &str) {
        self.groups.lock().producer = Some(group.to_owned());
    }

    /// Registers a consumer for heartbeats.
    pub(crate) fn set_consumer(&self, consumer: ConsumerData) {
        self.groups.lock().consumer = Some(consumer);
    }

    /// Starts what every client does periodically.
    pub(crate) fn start(self: &Arc<Self>) {
        let period = self.config.poll_name_server_interval;
        self.every(
            "refresh routes",
            Duration::from_millis(10),
            period,
            self,
            |this| async move {
                this.refresh_routes().await;
            },
        );
        let period = self.config.heartbeat_broker_interval;
        self.every(
            "heartbeat",
            Duration::from_secs(1),
            period,
            self,
            |this| async move {
                this.routes.write().clean_offline();
                this.heartbeat().await;
            },
        );
    }

    /// Runs `work` on `this` after `initial` and then every `period`, until the instance stops.
    pub(crate) fn every<T, F, Fut>(
        &self,
        name: &'static str,
        initial: Duration,
        period: Duration,
        this: &Arc<T>,
        work: F,
    ) where
        T: Send + Sync + 'static,
        F: Fn(Arc<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send,
    {
        let this = this.clone();
        let task = self.env.spawn(name, async move {
            let mut ticks = interval_at(Instant::now() + initial, period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                work(this.clone()).await;
            }
        });
        self.keep(task);
    }

    /// Ties a task's life to the instance's.
    pub(crate) fn keep(&self, task: TaskHandle) {
        if self.is_stopped() {
            task.abort();
            return;
        }
        let mut tasks = self.tasks.lock();
        tasks.retain(|task| !task.is_finished());
        tasks.push(task);
    }

    /// Whether the instance has been stopped.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Ends all tasks and connections, without a word to the brokers.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        for task in std::mem::take(&mut *self.tasks.lock()) {
            task.abort();
        }
        self.rpc.shutdown();
    }

    /// A random number.
    pub(crate) fn random(&self) -> u64 {
        self.entropy.next_u64()
    }

    /// A request in the configured header encoding.
    pub(crate) fn request<H: Header>(&self, code: RequestCode, header: &H) -> RemotingCommand {
        let mut request = RemotingCommand::request_with(code, header);
        request.serialize = self.config.serialize;
        request
    }

    /// A request without a custom header.
    pub(crate) fn plain_request(&self, code: RequestCode) -> RemotingCommand {
        let mut request = RemotingCommand::request(code);
        request.serialize = self.config.serialize;
        request
    }

    /// Invokes and takes any code but success for an error.
    pub(crate) async fn call(
        &self,
        addr: &str,
        request: RemotingCommand,
        limit: Duration,
    ) -> Result<RemotingCommand, ClientError> {
        let response = self.rpc.invoke(addr, request, limit).await?;
        if response.is_success() {
            Ok(response)
        } else {
            Err(refusal(addr, response))
        }
    }

    /// Asks a name server, the next if one cannot be reached; returns who was asked last as well.
    pub(crate) async fn invoke_namesrv(
        &self,
        request: RemotingCommand,
    ) -> Result<(String, RemotingCommand), ClientError> {
        let limit = self.config.api_timeout;
        let response = self.names.invoke(&self.rpc, request, limit).await?;
        let chosen = self.names.chosen().map(|(_, addr)| addr.to_owned());
        Ok((chosen.unwrap_or_default(), response))
    }

    // Routes.

    /// Keeps the route of a topic fresh from now on.
    pub(crate) fn watch_topic(&self, topic: &str) {
        let mut topics = self.topics.lock();
        if !topics.contains(topic) {
            topics.insert(topic.to_owned());
        }
    }

    async fn refresh_routes(&self) {
        let topics: Vec<_> = self.topics.lock().iter().cloned().collect();
        for topic in topics {
            if let Err(error) = self.update_route(&topic).await {
                tracing::debug!(client = self.client_id, topic, %error, "kept the old route");
            }
        }
    }

    /// Fetches the route of a topic; true if it has changed. On an error the old one stays.
    pub(crate) async fn update_route(&self, topic: &str) -> Result<bool, ClientError> {
        let _turn = self.route_turn(topic).await?;
        let route = self.fetch_route(topic).await?;
        Ok(self.take_route(topic, route))
    }

    async fn route_turn(
        &self,
        topic: &str,
    ) -> Result<tokio::sync::MutexGuard<'_, ()>, ClientError> {
        timeout(ROUTE_LOCK_TIMEOUT, self.route_turn.lock())
            .await
            .map_err(|_| ClientError::NoRoute {
                topic: topic.to_owned(),
                reason: "another route update takes too long".to_owned(),
            })
    }

    fn take_route(&self, topic: &str, route: TopicRouteData) -> bool {
        let start = self.random() as u32;
        let changed = self.routes.write().update(topic, route, start);
        if changed {
            tracing::debug!(client = self.client_id, topic, "took a new route");
        }
        changed
    }

    async fn fetch_route(&self, topic: &str) -> Result<TopicRouteData, ClientError> {
        let header = GetRouteInfoRequestHeader {
            topic: topic.to_owned(),
            ..GetRouteInfoRequestHeader::default()
        };
        let request = self.request(RequestCode::GET_ROUTEINFO_BY_TOPIC, &header);
        let no_route = |reason| ClientError::NoRoute {
            topic: topic.to_owned(),
            reason,
        };
        let response = self
            .names
            .invoke(&self.rpc, request, self.config.api_timeout)
            .await
            .map_err(|error| no_route(error.to_string()))?;
        if !response.is_success() {
            let code = ResponseCode(response.code);
            return Err(no_route(format!(
                "{code} {}",
                response.remark.unwrap_or_default()
            )));
        }
        TopicRouteData::from_json(&response.body).map_err(|error| no_route(error.to_string()))
    }

    /// Where to send messages of a topic: from the known route, from the name server, or as the
    /// default topic's route says, with at most `default_queues` queues per broker
    /// (`tryToFindTopicPublishInfo`).
    pub(crate) async fn publish_info(
        &self,
        topic: &str,
        default_queues: i32,
    ) -> Result<Arc<PublishInfo>, ClientError> {
        if let Some(info) = self.known_publish_info(topic) {
            return Ok(info);
        }
        self.watch_topic(topic);
        let _turn = self.route_turn(topic).await?;
        if let Some(info) = self.known_publish_info(topic) {
            return Ok(info);
        }
        let route = match self.fetch_route(topic).await {
            Ok(route) => route,
            Err(error) => match self.fetch_route(DEFAULT_TOPIC).await {
                Ok(mut route) => {
                    for data in &mut route.queue_datas {
                        let queues = data.read_queue_nums.min(default_queues);
                        (data.read_queue_nums, data.write_queue_nums) = (queues, queues);
                    }
                    route
                }
                Err(_) => return Err(error),
            },
        };
        self.take_route(topic, route);
        self.known_publish_info(topic)
            .ok_or_else(|| ClientError::NoRoute {
                topic: topic.to_owned(),
                reason: "its route names no queue that can be written".to_owned(),
            })
    }

    fn known_publish_info(&self, topic: &str) -> Option<Arc<PublishInfo>> {
        self.routes
            .read()
            .publish(topic)
            .filter(|info| !info.is_empty())
    }

    /// The master of a queue's broker group, after a route update if need be.
    pub(crate) async fn master_of(&self, queue: &MessageQueue) -> Result<String, ClientError> {
        let known = || self.routes.read().master(&queue.broker_name);
        if let Some(addr) = known() {
            return Ok(addr);
        }
        self.update_route(&queue.topic).await?;
        known().ok_or_else(|| ClientError::NoBroker(queue.broker_name.clone()))
    }

    // Heartbeats.

    /// Tells every broker who we are; a mere producer tells the masters only. Errors are for the
    /// next time to mend.
    pub(crate) async fn heartbeat(&self) {
        let (data, consumes) = self.heartbeat_data();
        let body = data.to_json();
        let brokers = self.routes.read().all_brokers();
        let targets = brokers
            .iter()
            .filter(|(id, _)| consumes || *id == MASTER_ID);
        join_all(targets.map(|(_, addr)| {
            let request = self
                .plain_request(RequestCode::HEART_BEAT)
                .with_body(body.clone());
            async move {
                match self.call(addr, request, self.config.api_timeout).await {
                    Ok(response) => {
                        let mut versions = self.versions.lock();
                        versions.insert(addr.clone(), response.version);
                    }
                    Err(error) => {
                        tracing::debug!(client = self.client_id, addr, %error, "heartbeat failed");
                    }
                }
            }
        }))
        .await;
    }

    /// The version that a broker declared when it answered a heartbeat; 0 if it never did.
    pub(crate) fn broker_version(&self, addr: &str) -> i32 {
        self.versions.lock().get(addr).copied().unwrap_or(0)
    }

    fn heartbeat_data(&self) -> (HeartbeatData, bool) {
        let groups = self.groups.lock();
        let producers = groups
            .producer
            .iter()
            .map(String::as_str)
            .chain([INNER_PRODUCER_GROUP]);
        let data = HeartbeatData {
            client_id: self.client_id.clone(),
            producer_data_set: producers
                .map(|group| ProducerData {
                    group_name: group.to_owned(),
                })
                .collect(),
            consumer_data_set: groups.consumer.iter().cloned().collect(),
        };
        (data, groups.consumer.is_some())
    }

    /// Takes leave of every broker.
    pub(crate) async fn unregister(&self) {
        let header = {
            let groups = self.groups.lock();
            UnregisterClientRequestHeader {
                client_id: self.client_id.clone(),
                producer_group: groups.producer.clone(),
                consumer_group: groups.consumer.as_ref().map(|data| data.group_name.clone()),
            }
        };
        let brokers = self.routes.read().all_brokers();
        join_all(brokers.iter().map(|(_, addr)| {
            let request = self.request(RequestCode::UNREGISTER_CLIENT, &header);
            async move {
                if let Err(error) = self.call(addr, request, self.config.api_timeout).await {
                    tracing::debug!(client = self.client_id, addr, %error, "unregister failed");
                }
            }
        }))
        .await;
    }
}

/// `pid#nanoseconds`, like Java's; two clients of one process started at one moment differ too.
fn unique_name(env: &Env) -> String {
    let nanos = env
        .now_ms()
        .wrapping_mul(1_000_000)
        .wrapping_add(env.next_serial() as i64);
    format!("{}#{nanos}", env.process_id())
}

/// A response that says no.
pub(crate) fn refusal(addr: &str, response: RemotingCommand) -> ClientError {
    ClientError::Response {
        addr: addr.to_owned(),
        code: ResponseCode(response.code),
        remark: response.remark.unwrap_or_default(),
    }
}

/// An answer that is not what it should be.
pub(crate) fn malformed(addr: &str, reason: impl ToString) -> ClientError {
    ClientError::Malformed {
        addr: addr.to_owned(),
        reason: reason.to_string(),
    }
}
