//! Configuring a simple consumer.

use std::collections::BTreeMap;

use hotfire_env::Env;
use hotfire_protocol::body::{ConsumeFromWhere, ConsumeType, ConsumerData, SubscriptionData};
use hotfire_protocol::filter::SUBSCRIBE_ALL;
use hotfire_protocol::topic::{check_group, check_topic};
use parking_lot::Mutex;

use super::turns::Turns;
use super::{Config, SimpleConsumer};
use crate::config::client_setters;
use crate::instance::Instance;
use crate::{ClientConfig, ClientError, MessageModel};

/// What a group's messages are delivered at most, unless it says otherwise.
const MAX_ATTEMPTS: i32 = 16;

/// Configures a [`SimpleConsumer`].
#[must_use = "a builder does nothing until started"]
pub struct SimpleConsumerBuilder {
    env: Env,
    client: ClientConfig,
    group: String,
    subscriptions: Vec<Wanted>,
    order: bool,
    from_first: bool,
    max_attempts: u32,
}

enum Wanted {
    Tags(String, String),
    Sql(String, String),
}

client_setters!(SimpleConsumerBuilder);

impl SimpleConsumer {
    /// Begins to configure a consumer.
    pub fn builder(env: &Env) -> SimpleConsumerBuilder {
        SimpleConsumerBuilder {
            env: env.clone(),
            client: ClientConfig::default(),
            group: String::new(),
            subscriptions: Vec::new(),
            order: false,
            from_first: false,
            max_attempts: MAX_ATTEMPTS.unsigned_abs(),
        }
    }
}

impl SimpleConsumerBuilder {
    /// The consumer group.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = group.into();
        self
    }

    /// Subscribes to messages of a topic: `*` for all, or tags separated by `||`.
    pub fn subscribe(mut self, topic: impl Into<String>, tags: impl Into<String>) -> Self {
        self.subscriptions
            .push(Wanted::Tags(topic.into(), tags.into()));
        self
    }

    /// Subscribes to the messages of a topic whose properties an SQL expression matches.
    pub fn subscribe_sql(mut self, topic: impl Into<String>, sql: impl Into<String>) -> Self {
        self.subscriptions
            .push(Wanted::Sql(topic.into(), sql.into()));
        self
    }

    /// Whether the messages of a queue are received in order: what was received of it has to be
    /// acknowledged, or its time be up, before more of it is received. Default: no.
    pub fn order(mut self, order: bool) -> Self {
        self.order = order;
        self
    }

    /// Whether a group that has never received begins with the oldest messages. Default: with the
    /// newest, unless the topic is young.
    pub fn from_first(mut self, from_first: bool) -> Self {
        self.from_first = from_first;
        self
    }

    /// How often a message is delivered at most before it becomes a dead letter. Default: 16.
    pub fn max_attempts(mut self, max_attempts: u32) -> Self {
        self.max_attempts = max_attempts;
        self
    }

    /// Starts the consumer. No server need be reachable yet.
    ///
    /// # Errors
    /// Group, name servers or subscriptions are missing or malformed.
    pub async fn start(self) -> Result<SimpleConsumer, ClientError> {
        let invalid = |reason: String| ClientError::Invalid(reason);
        check_group(&self.group).map_err(|error| invalid(error.to_string()))?;
        if self.subscriptions.is_empty() {
            return Err(invalid("the consumer subscribes to nothing".to_owned()));
        }
        let version = self.env.now_ms();
        let mut subscriptions = BTreeMap::new();
        for wanted in &self.subscriptions {
            let subscription = wanted.parse(&self.client, version)?;
            subscriptions.insert(subscription.topic.clone(), subscription);
        }
        let config = Config {
            group: self.client.wrap(&self.group),
            subscriptions,
            order: self.order,
            from_first: self.from_first,
            max_attempts: i32::try_from(self.max_attempts).unwrap_or(i32::MAX),
        };
        let instance = Instance::new(&self.env, self.client, None, false)?;
        for topic in config.subscriptions.keys() {
            instance.watch_topic(topic);
        }
        instance.set_consumer(config.consumer_data());
        instance.start();
        for topic in config.subscriptions.keys() {
            if let Err(error) = instance.update_route(topic).await {
                tracing::debug!(topic, %error, "the route will be asked for again");
            }
        }
        instance.heartbeat().await;
        let turns = Mutex::new(Turns::starting(instance.random()));
        Ok(SimpleConsumer {
            instance,
            config,
            turns,
        })
    }
}

impl Wanted {
    fn parse(&self, client: &ClientConfig, version: i64) -> Result<SubscriptionData, ClientError> {
        let invalid = |reason: String| ClientError::Invalid(reason);
        let (Self::Tags(topic, expression) | Self::Sql(topic, expression)) = self;
        check_topic(topic).map_err(|error| invalid(error.to_string()))?;
        let topic = client.wrap(topic);
        match self {
            Self::Tags(..) if expression.is_empty() => {
                let reason = format!("the expression is empty: `{SUBSCRIBE_ALL}` means everything");
                Err(invalid(reason))
            }
            Self::Tags(..) => SubscriptionData::parse(&topic, expression, version)
                .map_err(|error| invalid(error.to_string())),
            Self::Sql(..) if expression.is_empty() => {
                Err(invalid("the expression is empty".to_owned()))
            }
            Self::Sql(..) => Ok(SubscriptionData::sql(&topic, expression, version)),
        }
    }
}

impl Config {
    /// What heartbeats tell of the consumer.
    fn consumer_data(&self) -> ConsumerData {
        ConsumerData {
            consume_from_where: ConsumeFromWhere::default(),
            consume_type: ConsumeType::Pop,
            group_name: self.group.clone(),
            message_model: MessageModel::Clustering,
            subscription_data_set: self.subscriptions.values().cloned().collect(),
            unit_mode: false,
        }
    }
}
