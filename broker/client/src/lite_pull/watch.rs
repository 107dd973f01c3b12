//! Telling the application when a topic gets or loses queues (`TopicMessageQueueChangeListener`).

use std::sync::Arc;

use hotfire_protocol::MessageQueue;

use super::{Core, LitePullConsumer};
use crate::ClientError;

/// Is told the queues of a topic when they have changed.
pub trait TopicQueuesListener: Send + Sync + 'static {
    /// The topic has these queues now, sorted.
    fn changed(&self, topic: &str, queues: &[MessageQueue]);
}

impl<F: Fn(&str, &[MessageQueue]) + Send + Sync + 'static> TopicQueuesListener for F {
    fn changed(&self, topic: &str, queues: &[MessageQueue]) {
        self(topic, queues);
    }
}

/// A topic that somebody listens to.
pub(super) struct Watch {
    queues: Vec<MessageQueue>,
    listener: Arc<dyn TopicQueuesListener>,
}

impl Watch {
    /// Takes the queues of now; true if they are others than before.
    fn update(&mut self, queues: &[MessageQueue]) -> bool {
        let changed = self.queues != queues;
        if changed {
            self.queues = queues.to_vec();
        }
        changed
    }
}

impl LitePullConsumer {
    /// Tells the listener whenever the queues of a topic have changed, which is looked at every 30
    /// seconds. A later call for the same topic replaces an earlier one.
    ///
    /// # Errors
    /// The name server does not know the topic, or does not answer.
    pub async fn listen_to_queues(
        &self,
        topic: &str,
        listener: impl TopicQueuesListener,
    ) -> Result<(), ClientError> {
        let queues = self.fetch_queues(topic).await?;
        let topic = self.core.instance.config.wrap(topic);
        let watch = Watch {
            queues,
            listener: Arc::new(listener),
        };
        self.core.watches.lock().insert(topic, watch);
        Ok(())
    }
}

impl Core {
    /// Compares the queues of the topics that are listened to (`fetchTopicMessageQueuesAndCompare`).
    pub(super) async fn compare_queues(&self) {
        let topics: Vec<_> = self.watches.lock().keys().cloned().collect();
        for topic in topics {
            let queues = match self.fetch_queues(&topic).await {
                Ok(queues) => queues,
                Err(error) => {
                    tracing::debug!(topic, %error, "cannot compare the queues");
                    continue;
                }
            };
            let listener = {
                let mut watches = self.watches.lock();
                let watch = watches.get_mut(&topic);
                watch.and_then(|watch| watch.update(&queues).then(|| watch.listener.clone()))
            };
            if let Some(listener) = listener {
                listener.changed(&self.instance.config.unwrap(&topic), &queues);
            }
        }
    }
}
