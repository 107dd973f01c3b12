//! Topics: their queues, creating them.

use std::time::Duration;

use hotfire_protocol::body::TopicFilterType;
use hotfire_protocol::header::topic::CreateTopicRequestHeader;
use hotfire_protocol::topic::{check_topic, perm};
use hotfire_protocol::{MessageQueue, RequestCode};

use crate::instance::{DEFAULT_TOPIC, Instance};
use crate::{Admin, ClientError};

/// How long creating a topic on one broker may take.
const CREATE_TOPIC_TIMEOUT: Duration = Duration::from_secs(5);

impl Admin {
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
        self.inner.instance.fetch_subscribe_queues(topic).await
    }

    /// Creates a topic with so many queues on every broker that has the default topic.
    ///
    /// # Errors
    /// A broker refused or did not answer; others may have created the topic.
    pub async fn create_topic(&self, topic: &str, queues: i32) -> Result<(), ClientError> {
        self.inner.instance.create_topic(topic, queues).await
    }
}

impl Instance {
    /// The queues that a topic can be consumed from, after a route update.
    pub(crate) async fn fetch_subscribe_queues(
        &self,
        topic: &str,
    ) -> Result<Vec<MessageQueue>, ClientError> {
        self.update_route(topic).await?;
        let queues = self.routes.read().subscribe(topic);
        Ok(queues.map(|queues| queues.to_vec()).unwrap_or_default())
    }

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
