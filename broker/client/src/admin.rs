//! Single calls: pulling, offsets, looking messages up, creating topics (`DefaultMQPullConsumer`,
//! `MQAdminImpl`).

use std::sync::Arc;
use std::time::Duration;

use hotfire_env::Env;
use hotfire_protocol::body::TopicFilterType;
use hotfire_protocol::header::pull::{PullMessageRequestHeader, sys_flag};
use hotfire_protocol::header::query::{QueryMessageRequestHeader, ViewMessageRequestHeader};
use hotfire_protocol::header::topic::CreateTopicRequestHeader;
use hotfire_protocol::message::{id, property};
use hotfire_protocol::topic::{check_topic, perm};
use hotfire_protocol::{MessageExt, MessageQueue, RequestCode, ResponseCode, SerializeType};

use crate::instance::{DEFAULT_TOPIC, Instance, decode_messages};
use crate::{ClientConfig, ClientError};

/// How long a pull that does not wait for messages may take.
const PULL_TIMEOUT: Duration = Duration::from_secs(10);
/// How much longer than the broker a waiting pull waits: RocketMQ's pull consumer has the broker
/// wait 20 s and itself waits 30 s.
const PULL_GRACE: Duration = Duration::from_secs(10);
/// How long creating a topic on one broker may take.
const CREATE_TOPIC_TIMEOUT: Duration = Duration::from_secs(5);
/// How far back a message is looked for by its unique key.
const UNIQUE_KEY_AGE_MS: i64 = 3 * 24 * 3_600_000;

/// How a pull went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullStatus {
    /// There are messages.
    Found,
    /// There is nothing at or behind the offset.
    NoNewMessage,
    /// What is there does not match the subscription.
    NoMatchedMessage,
    /// The offset does not exist; the answer says where to go on.
    OffsetIllegal,
}

/// The answer to a pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullResult {
    /// How it went.
    pub status: PullStatus,
    /// The offset to pull from next.
    pub next_begin_offset: i64,
    /// The queue's smallest offset.
    pub min_offset: i64,
    /// The queue's largest offset plus one.
    pub max_offset: i64,
    /// The member of the broker group that the next pull should go to; 0 is the master.
    pub suggested_broker_id: i64,
    /// The messages, as the broker filtered them: by the hash of the tag.
    pub messages: Vec<MessageExt>,
}

/// Makes single calls. Cheap to clone.
///
/// # Example
///
/// ```no_run
/// # async fn example(env: &hotfire_env::Env) -> Result<(), hotfire_client::ClientError> {
/// use hotfire_client::Admin;
///
/// let admin = Admin::builder(env).namesrv(["ns1:9876"]).start()?;
/// for queue in admin.fetch_subscribe_queues("orders").await? {
///     let offset = admin.min_offset(&queue).await?;
///     let pulled = admin.pull("auditors", &queue, "*", offset, 32, None).await?;
///     println!("{queue}: {} messages from {offset}", pulled.messages.len());
/// }
/// admin.shutdown();
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Admin {
    inner: Arc<Inner>,
}

struct Inner {
    instance: Arc<Instance>,
}

/// Ends the tasks when the last handle goes.
impl Drop for Inner {
    fn drop(&mut self) {
        self.instance.stop();
    }
}

/// Configures an [`Admin`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until started"]
pub struct AdminBuilder {
    env: Env,
    client: ClientConfig,
}

impl AdminBuilder {
    /// Name servers as `host:port`.
    pub fn namesrv<S: AsRef<str>>(mut self, addrs: impl IntoIterator<Item = S>) -> Self {
        self.client.add_namesrv(addrs);
        self
    }

    /// The header encoding of requests. Default: JSON.
    pub fn serialize(mut self, serialize: SerializeType) -> Self {
        self.client.serialize = serialize;
        self
    }

    /// Starts the client. It registers nowhere and has no periodic tasks; routes are fetched when
    /// they are needed.
    ///
    /// # Errors
    /// The name servers are missing.
    pub fn start(self) -> Result<Admin, ClientError> {
        let instance = Instance::new(&self.env, self.client, None, false)?;
        Ok(Admin {
            inner: Arc::new(Inner { instance }),
        })
    }
}

impl Admin {
    /// Begins to configure a client.
    pub fn builder(env: &Env) -> AdminBuilder {
        AdminBuilder {
            env: env.clone(),
            client: ClientConfig::default(),
        }
    }

    /// The queues that messages of a topic can be sent to, as the name server says now.
    ///
    /// # Errors
    /// The name server does not know the topic, or does not answer.
    pub async fn fetch_publish_queues(
        &self,
        topic: &str,
    ) -> Result<Vec<MessageQueue>, ClientError> {
        self.inner.instance.fetch_publish_queues(topic).await
    }

    /// The queues that a topic can be consumed from, as the name server says now.
    ///
    /// # Errors
    /// The name server does not know the topic, or does not answer.
    pub async fn fetch_subscribe_queues(
        &self,
        topic: &str,
    ) -> Result<Vec<MessageQueue>, ClientError> {
        let instance = &self.inner.instance;
        instance.update_route(topic).await?;
        let queues = instance.routes.read().subscribe(topic);
        Ok(queues.map(|queues| queues.to_vec()).unwrap_or_default())
    }

    /// Pulls up to `max` messages from an offset on. If there are none, the broker waits for some
    /// as long as `wait` says. Nothing is committed.
    ///
    /// # Errors
    /// The broker refused or did not answer.
    pub async fn pull(
        &self,
        group: &str,
        queue: &MessageQueue,
        expression: &str,
        offset: i64,
        max: i32,
        wait: Option<Duration>,
    ) -> Result<PullResult, ClientError> {
        let instance = &self.inner.instance;
        let addr = instance.broker_of(queue).await?;
        let wait_millis = wait.map_or(0, |wait| {
            i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)
        });
        let header = PullMessageRequestHeader {
            consumer_group: group.to_owned(),
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
            queue_offset: offset,
            max_msg_nums: max,
            sys_flag: sys_flag::build(false, wait.is_some(), true),
            commit_offset: 0,
            suspend_timeout_millis: wait_millis,
            subscription: Some(expression.to_owned()),
            sub_version: 0,
            expression_type: None,
            max_msg_bytes: None,
            broker_name: Some(queue.broker_name.clone()),
        };
        let timeout = wait.map_or(PULL_TIMEOUT, |wait| wait + PULL_GRACE);
        instance.pull(&addr, &header, timeout).await
    }

    /// The offset that a group has committed; `None` if it has committed none.
    ///
    /// # Errors
    /// The broker refused or did not answer.
    pub async fn query_offset(
        &self,
        group: &str,
        queue: &MessageQueue,
    ) -> Result<Option<i64>, ClientError> {
        self.inner.instance.query_offset(group, queue).await
    }

    /// Sets the offset of a group.
    ///
    /// # Errors
    /// The broker refused or did not answer.
    pub async fn update_offset(
        &self,
        group: &str,
        queue: &MessageQueue,
        offset: i64,
    ) -> Result<(), ClientError> {
        self.inner
            .instance
            .update_offset(group, queue, offset)
            .await
    }

    /// The offset that the next message will get.
    ///
    /// # Errors
    /// The broker refused or did not answer.
    pub async fn max_offset(&self, queue: &MessageQueue) -> Result<i64, ClientError> {
        self.inner.instance.max_offset(queue).await
    }

    /// The smallest offset that is still there.
    ///
    /// # Errors
    /// The broker refused or did not answer.
    pub async fn min_offset(&self, queue: &MessageQueue) -> Result<i64, ClientError> {
        self.inner.instance.min_offset(queue).await
    }

    /// The offset at a time, in milliseconds since the epoch.
    ///
    /// # Errors
    /// The broker refused or did not answer.
    pub async fn search_offset(
        &self,
        queue: &MessageQueue,
        timestamp_ms: i64,
    ) -> Result<i64, ClientError> {
        self.inner.instance.search_offset(queue, timestamp_ms).await
    }

    /// The message with an offset id, from the broker that the id names.
    ///
    /// # Errors
    /// It is not an offset id, there is no such message, or the broker did not answer.
    pub async fn view_message(&self, offset_msg_id: &str) -> Result<MessageExt, ClientError> {
        let (host, offset) = id::parse_offset_msg_id(offset_msg_id).ok_or_else(|| {
            ClientError::Invalid(format!("`{offset_msg_id}` is not an offset message id"))
        })?;
        let instance = &self.inner.instance;
        let addr = host.to_string();
        let header = ViewMessageRequestHeader { offset };
        let request = instance.request(RequestCode::VIEW_MESSAGE_BY_ID, &header);
        let response = instance
            .call(&addr, request, instance.config.api_timeout)
            .await?;
        let messages = decode_messages(&addr, response)?;
        messages
            .into_iter()
            .next()
            .ok_or_else(|| ClientError::Malformed {
                addr,
                reason: "the answer has no message".to_owned(),
            })
    }

    /// The messages of a topic with a key, stored between two times (milliseconds since the epoch),
    /// from all brokers of the topic.
    ///
    /// # Errors
    /// The topic has no route, or no broker answered.
    pub async fn query_by_key(
        &self,
        topic: &str,
        key: &str,
        max: i32,
        begin_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<MessageExt>, ClientError> {
        let header = QueryMessageRequestHeader {
            topic: topic.to_owned(),
            key: key.to_owned(),
            max_num: max,
            begin_timestamp: begin_ms,
            end_timestamp: end_ms,
            unique_key_query: Some(false),
        };
        let mut found = self.query(topic, &header).await?;
        // The index knows hashes only.
        found.retain(|message| {
            let mut keys = message
                .message
                .keys()
                .unwrap_or_default()
                .split(property::KEY_SEPARATOR);
            message.message.topic == topic && keys.any(|own| own == key)
        });
        Ok(found)
    }

    /// The message of a topic with a unique key, stored within the last three days.
    ///
    /// # Errors
    /// The topic has no route, or no broker answered.
    pub async fn query_by_unique_key(
        &self,
        topic: &str,
        unique_key: &str,
    ) -> Result<Option<MessageExt>, ClientError> {
        let header = QueryMessageRequestHeader {
            topic: topic.to_owned(),
            key: unique_key.to_owned(),
            max_num: 32,
            begin_timestamp: self.inner.instance.env.now_ms() - UNIQUE_KEY_AGE_MS,
            end_timestamp: i64::MAX,
            unique_key_query: Some(true),
        };
        let found = self.query(topic, &header).await?;
        Ok(found
            .into_iter()
            .find(|message| message.message.unique_key() == Some(unique_key)))
    }

    async fn query(
        &self,
        topic: &str,
        header: &QueryMessageRequestHeader,
    ) -> Result<Vec<MessageExt>, ClientError> {
        let instance = &self.inner.instance;
        if instance.routes.read().brokers_of(topic).is_empty() {
            instance.update_route(topic).await?;
        }
        let (mut found, mut failed, mut answers) = (Vec::new(), None, 0);
        let brokers = instance.routes.read().brokers_of(topic);
        for addr in brokers {
            let request = instance.request(RequestCode::QUERY_MESSAGE, header);
            match instance
                .call(&addr, request, instance.config.api_timeout)
                .await
            {
                Ok(response) => {
                    answers += 1;
                    found.extend(decode_messages(&addr, response)?);
                }
                Err(error) if error.code() == Some(ResponseCode::QUERY_NOT_FOUND) => answers += 1,
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) if answers == 0 => Err(error),
            _ => Ok(found),
        }
    }

    /// Creates a topic with so many queues on every broker that has the default topic.
    ///
    /// # Errors
    /// A broker refused or did not answer; others may have created the topic.
    pub async fn create_topic(&self, topic: &str, queues: i32) -> Result<(), ClientError> {
        self.inner.instance.create_topic(topic, queues).await
    }

    /// Ends the client.
    pub fn shutdown(&self) {
        self.inner.instance.stop();
    }
}

impl Instance {
    /// The queues that messages of a topic can be sent to, after a route update.
    pub(crate) async fn fetch_publish_queues(
        &self,
        topic: &str,
    ) -> Result<Vec<MessageQueue>, ClientError> {
        self.update_route(topic).await?;
        let info = self.routes.read().publish(topic);
        Ok(info.map(|info| info.queues().to_vec()).unwrap_or_default())
    }

    /// Creates a topic on every broker that has the default topic.
    pub(crate) async fn create_topic(&self, topic: &str, queues: i32) -> Result<(), ClientError> {
        check_topic(topic).map_err(|error| ClientError::Invalid(error.to_string()))?;
        self.update_route(DEFAULT_TOPIC).await?;
        let header = CreateTopicRequestHeader {
            topic: topic.to_owned(),
            default_topic: DEFAULT_TOPIC.to_owned(),
            read_queue_nums: queues,
            write_queue_nums: queues,
            perm: perm::READ | perm::WRITE,
            topic_filter_type: TopicFilterType::SingleTag.name().to_owned(),
            topic_sys_flag: Some(0),
            order: false,
            ..CreateTopicRequestHeader::default()
        };
        let brokers = self.routes.read().brokers_of(DEFAULT_TOPIC);
        for addr in brokers {
            let request = self.request(RequestCode::UPDATE_AND_CREATE_TOPIC, &header);
            self.call(&addr, request, CREATE_TOPIC_TIMEOUT).await?;
        }
        Ok(())
    }
}
