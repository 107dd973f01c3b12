//! Configuring a simple consumer.

use std::collections::BTreeMap;

use hotfire_env::Env;
use hotfire_protocol::body::{ConsumeFromWhere, ConsumeType, ConsumerData, SubscriptionData};
use hotfire_protocol::filter::SUBSCRIBE_ALL;
use hotfire_protocol::topic::check_group;
use parking_lot::Mutex;

use super::turns::Turns;
use super::{Config, SimpleConsumer};
use crate::config::client_setters;
use crate::consumer::filter::Expression;
use crate::consumer::setup::{Wanted, consumer_setters, wrap_names};
use crate::instance::Instance;
use crate::{ClientConfig, ClientError, MessageModel};

/// What a group's messages are delivered at most, unless it says otherwise.
const MAX_ATTEMPTS: i32 = 16;

/// Configures a [`SimpleConsumer`].
#[must_use = "a builder does nothing until started"]
pub struct SimpleConsumerBuilder {
    env: Env,
    client: ClientConfig,
    subscriptions: Wanted,
    config: Config,
}

client_setters!(SimpleConsumerBuilder);
consumer_setters!(SimpleConsumerBuilder);

impl SimpleConsumer {
    /// Begins to configure a consumer.
    pub fn builder(env: &Env) -> SimpleConsumerBuilder {
        SimpleConsumerBuilder {
            env: env.clone(),
            client: ClientConfig::default(),
            subscriptions: Vec::new(),
            config: Config {
                group: String::new(),
                subscriptions: BTreeMap::new(),
                order: false,
                from_first: false,
                max_attempts: MAX_ATTEMPTS,
            },
        }
    }
}

impl SimpleConsumerBuilder {
    /// Whether the messages of a queue are received in order: what was received of it has to be
    /// acknowledged, or its time be up, before more of it is received. Default: no.
    ///
    /// What was received together comes again together, from the first message on that was not
    /// acknowledged, and for all of it that counts as one more delivery: messages behind one that
    /// keeps failing reach their greatest number of attempts with it, and become dead letters
    /// whether the application looked at them or not. To receive one message at a time avoids that.
    pub fn order(mut self, order: bool) -> Self {
        self.config.order = order;
        self
    }

    /// Whether a group that has never received begins with the oldest messages. Default: with the
    /// newest, unless the topic is young.
    pub fn from_first(mut self, from_first: bool) -> Self {
        self.config.from_first = from_first;
        self
    }

    /// How often a message is delivered at most before it becomes a dead letter. Default: 16.
    pub fn max_attempts(mut self, max_attempts: u32) -> Self {
        self.config.max_attempts = i32::try_from(max_attempts).unwrap_or(i32::MAX);
        self
    }

    /// Starts the consumer. No server need be reachable yet.
    ///
    /// # Errors
    /// Group, name servers or subscriptions are missing or malformed.
    pub async fn start(mut self) -> Result<SimpleConsumer, ClientError> {
        let (mut config, wanted) = (self.config, &mut self.subscriptions);
        wrap_names(&self.client, &mut config.group, wanted);
        config.subscriptions = parse(&config.group, wanted, self.env.now_ms())?;
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

/// What a group subscribes to, by topic.
fn parse(
    group: &str,
    wanted: &Wanted,
    version: i64,
) -> Result<BTreeMap<String, SubscriptionData>, ClientError> {
    let invalid = |reason: String| Err(ClientError::Invalid(reason));
    if let Err(error) = check_group(group) {
        return invalid(error.to_string());
    }
    if wanted.is_empty() {
        return invalid("the consumer subscribes to nothing".to_owned());
    }
    let mut subscriptions = BTreeMap::new();
    for (topic, expression) in wanted {
        if matches!(expression, Expression::Tags(tags) if tags.is_empty()) {
            let reason = format!("the expression is empty: `{SUBSCRIBE_ALL}` means everything");
            return invalid(reason);
        }
        subscriptions.insert(topic.clone(), expression.checked(topic, version)?);
    }
    Ok(subscriptions)
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
