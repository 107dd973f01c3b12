//! A member of a group that polls: it works through what a poll brings, message by message, and
//! commits by itself or has polling do so, as the scenario says.

use std::sync::Arc;
use std::time::Duration;

use hotfire_client::{ClientError, LitePullConsumer, LitePullLimits};
use hotfire_env::Env;
use hotfire_protocol::{MessageExt, MessageQueue};

use super::client_config;
use super::consumer::{ConsumerNode, Watcher};
use crate::scenario::{Commit, Model};

/// How long a poll waits for messages (`pollTimeoutMillis`).
const POLL: Duration = Duration::from_secs(5);

/// What a poll brought: messages of one queue, in order.
pub type Polled = (MessageQueue, Vec<Arc<MessageExt>>);

/// A running member.
pub struct Poller {
    watcher: Arc<Watcher>,
    consumer: LitePullConsumer,
}

impl ConsumerNode {
    /// Starts a member that polls, in a process of the node.
    ///
    /// # Errors
    /// What the client says of the configuration.
    pub async fn start_polling(self: &Arc<Self>, env: &Env) -> Result<Poller, ClientError> {
        let spec = &self.spec;
        let watcher = Arc::new(self.watcher(env));
        let mut builder = LitePullConsumer::builder(env)
            .client_config(client_config(&self.namesrv, spec.credentials.as_ref()))
            .group(&self.group)
            .message_model(self.model())
            .consume_from(self.from())
            .limits(LitePullLimits {
                batch: spec.pull_batch_size as usize,
                ..LitePullLimits::default()
            })
            .auto_commit(spec.commit == Commit::Auto)
            .hook(watcher.clone());
        if spec.model == Model::Broadcasting {
            // Its offset file is found by the client id, which must survive a restart.
            builder = builder.instance_name(&self.name);
        }
        for (topic, expression) in &spec.topics {
            builder = match spec.sql.get(topic) {
                Some(sql) => builder.subscribe_sql(topic, sql),
                None => builder.subscribe(topic, expression),
            };
        }
        self.write_subscriptions(&watcher);
        let consumer = builder.start().await?;
        Ok(Poller { watcher, consumer })
    }
}

impl Poller {
    /// Polls until something comes.
    ///
    /// # Errors
    /// The consumer is shut down.
    pub async fn poll(&self) -> Result<Polled, ClientError> {
        loop {
            if let Some(polled) = self.consumer.poll_queue(POLL).await? {
                return Ok(polled);
            }
        }
    }

    /// Works through what a poll brought, and commits if nobody else does.
    pub async fn work(&self, (queue, messages): Polled) {
        let node = self.watcher.node();
        for message in &messages {
            let Some(call) = self.watcher.delivered(&queue, message) else {
                return;
            };
            let takes = node.temper.takes();
            if !takes.is_zero() {
                tokio::time::sleep(takes).await;
            }
            self.watcher.consumed(call);
        }
        if node.spec.commit == Commit::Manual
            && let Err(error) = self.consumer.commit_sync().await
        {
            // The next commit covers it.
            tracing::debug!(node = node.name, %error, "not committed");
        }
    }

    /// Leaves the group.
    pub async fn shutdown(&self) {
        self.consumer.shutdown().await;
    }
}
