//! Offsets of queues and of consumer groups.

use hotfire_protocol::MessageQueue;

use crate::{Admin, ClientError};

impl Admin {
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
}
