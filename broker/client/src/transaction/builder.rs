//! Configuring a producer of transactions.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hotfire_env::Env;

use super::checks::Checks;
use super::{TransactionListener, TransactionProducer};
use crate::config::client_setters;
use crate::producer::ProducerBuilder;
use crate::{ClientConfig, ClientError, Producer, TraceOptions};

/// Configures a [`TransactionProducer`].
#[must_use = "a builder does nothing until started"]
pub struct TransactionProducerBuilder {
    env: Env,
    client: ClientConfig,
    producer: ProducerBuilder,
    group: String,
    listener: Option<Arc<dyn TransactionListener>>,
    check_threads: usize,
}

impl fmt::Debug for TransactionProducerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransactionProducerBuilder")
            .field("client", &self.client)
            .field("producer", &self.producer)
            .field("check_threads", &self.check_threads)
            .finish_non_exhaustive()
    }
}

client_setters!(TransactionProducerBuilder);

impl TransactionProducerBuilder {
    pub(super) fn new(env: &Env) -> Self {
        Self {
            env: env.clone(),
            client: ClientConfig::default(),
            producer: Producer::builder(env),
            group: String::new(),
            listener: None,
            check_threads: 1,
        }
    }

    /// The producer group. Brokers ask any producer of it about its transactions.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = group.into();
        self
    }

    /// What runs and checks local transactions.
    pub fn listener(mut self, listener: impl TransactionListener) -> Self {
        self.listener = Some(Arc::new(listener));
        self
    }

    /// How many checks run at a time (`checkThreadPoolMaxSize`). Default: 1.
    pub fn check_threads(mut self, threads: usize) -> Self {
        self.check_threads = threads;
        self
    }

    /// How long sending a half message may take, all attempts together. Default: 3 s.
    pub fn send_timeout(mut self, timeout: Duration) -> Self {
        self.producer = self.producer.send_timeout(timeout);
        self
    }

    /// How many further attempts there are at sending a half message. Default: 2.
    pub fn retries(mut self, retries: u32) -> Self {
        self.producer = self.producer.retries(retries);
        self
    }

    /// Traces every message that is sent. Default: none is.
    pub fn trace(mut self, options: TraceOptions) -> Self {
        self.producer = self.producer.trace(options);
        self
    }

    /// Starts the producer. No server need be reachable yet.
    ///
    /// # Errors
    /// The listener, the group or the name servers are missing or malformed.
    pub async fn start(self) -> Result<TransactionProducer, ClientError> {
        let invalid = |reason: &str| ClientError::Invalid(reason.to_owned());
        let listener = self
            .listener
            .ok_or_else(|| invalid("a producer of transactions needs a listener"))?;
        if self.check_threads == 0 {
            return Err(invalid("a producer of transactions needs a check thread"));
        }
        let checks = Checks::new(&self.env, listener.clone(), self.check_threads);
        let producer = self
            .producer
            .client_config(self.client)
            .group(self.group)
            .start_with(Some(Arc::new(checks)))
            .await?;
        Ok(TransactionProducer { producer, listener })
    }
}
