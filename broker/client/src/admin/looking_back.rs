//! Looking back: putting a group at another time or offset, at all brokers of a topic.

use std::collections::BTreeMap;

use hotfire_protocol::body::ResetOffsetBody;
use hotfire_protocol::header::client::ResetOffsetRequestHeader;
use hotfire_protocol::{MessageQueue, RequestCode, ResponseCode};

use crate::instance::Instance;
use crate::{Admin, ClientError};

/// Where a group is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetTo {
    /// At the messages stored at a time, in milliseconds since the epoch. Brokers of 4.9 take the
    /// one that was stored nearest to it, those of 5.x the first that was not stored before.
    Time(i64),
    /// Behind the newest message: what the group has not consumed is skipped.
    End,
}

impl ResetTo {
    /// As a request has it.
    fn timestamp(self) -> i64 {
        match self {
            Self::Time(ms) => ms,
            Self::End => -1,
        }
    }
}

/// What a reset came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetReset {
    /// The offsets by queue. Queues that stay where they were, because a reset without force does
    /// not move forward, are among them.
    pub offsets: BTreeMap<MessageQueue, i64>,
    /// Whether members of the group were told; they begin at the offsets about ten seconds later.
    /// Else nobody was there, and the offsets are committed.
    pub online: bool,
}

impl Admin {
    /// Puts a group at a time, or at the end of a topic: by its members, if it has any, else by
    /// committing in its stead, as `mqadmin resetOffsetByTime` does. Without `force` only queues
    /// that the group is further with are moved.
    ///
    /// # Errors
    /// A broker refused, because it has no offsets of the group for one, or did not answer; other
    /// brokers may have reset their part.
    pub async fn reset_offsets(
        &self,
        topic: &str,
        group: &str,
        to: ResetTo,
        force: bool,
    ) -> Result<OffsetReset, ClientError> {
        match self.reset_members(topic, group, to, force).await {
            Ok(offsets) => Ok(OffsetReset {
                offsets,
                online: true,
            }),
            Err(error) if error.code() == Some(ResponseCode::CONSUMER_NOT_ONLINE) => {
                let offsets = self.reset_by_commits(topic, group, to, force).await?;
                Ok(OffsetReset {
                    offsets,
                    online: false,
                })
            }
            Err(error) => Err(error),
        }
    }

    /// Skips what a group has not consumed of a topic (`mqadmin skipAccumulatedMessage`).
    ///
    /// # Errors
    /// As [`Admin::reset_offsets`].
    pub async fn skip_backlog(&self, topic: &str, group: &str) -> Result<OffsetReset, ClientError> {
        self.reset_offsets(topic, group, ResetTo::End, true).await
    }

    /// Puts a group at an offset of one queue: by its members, if it has any, else by committing in
    /// its stead. True if members were told. Apache RocketMQ 4.9 does not know this request and
    /// would put the group at the beginning of the whole topic: ask brokers of 5.x and Hotfire only.
    ///
    /// # Errors
    /// The offset is not within the queue, or the broker refused or did not answer.
    pub async fn reset_queue(
        &self,
        queue: &MessageQueue,
        group: &str,
        offset: i64,
    ) -> Result<bool, ClientError> {
        let instance = &self.inner.instance;
        let header = ResetOffsetRequestHeader {
            topic: queue.topic.clone(),
            group: group.to_owned(),
            timestamp: 0,
            is_force: Some(true),
            queue_id: Some(queue.queue_id),
            offset: Some(offset),
        };
        let addr = instance.master_of(queue).await?;
        let code = RequestCode::INVOKE_BROKER_TO_RESET_OFFSET;
        let reset = self.get(&addr, code, &header, ResetOffsetBody::from_json);
        match reset.await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some(ResponseCode::CONSUMER_NOT_ONLINE) => {
                instance.update_offset(group, queue, offset).await?;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Puts a group at a time, or at the end of a topic, by its members. Apache RocketMQ 4.9 and
    /// Hotfire tell them, and the members begin anew about ten seconds later.
    ///
    /// # Errors
    /// The group has no members (CONSUMER_NOT_ONLINE) or no offsets, or a broker refused or did not
    /// answer; other brokers may have reset their part.
    pub async fn reset_members(
        &self,
        topic: &str,
        group: &str,
        to: ResetTo,
        force: bool,
    ) -> Result<BTreeMap<MessageQueue, i64>, ClientError> {
        let mut offsets = BTreeMap::new();
        for addr in self.inner.instance.fetch_brokers_of(topic).await? {
            let timestamp = to.timestamp();
            let body = self.reset_offset_by_time(&addr, topic, group, timestamp, force);
            offsets.extend(body.await?.offset_table);
        }
        Ok(offsets)
    }

    /// The offsets of all queues of a topic at a time, or at its end.
    ///
    /// # Errors
    /// The topic has no route, or a broker refused or did not answer.
    pub async fn offsets_at(
        &self,
        topic: &str,
        to: ResetTo,
    ) -> Result<BTreeMap<MessageQueue, i64>, ClientError> {
        let instance = &self.inner.instance;
        let mut offsets = BTreeMap::new();
        for queue in instance.fetch_subscribe_queues(topic).await? {
            let offset = match to {
                ResetTo::Time(ms) => instance.search_offset(&queue, ms).await?,
                ResetTo::End => instance.max_offset(&queue).await?,
            };
            offsets.insert(queue, offset);
        }
        Ok(offsets)
    }

    async fn reset_by_commits(
        &self,
        topic: &str,
        group: &str,
        to: ResetTo,
        force: bool,
    ) -> Result<BTreeMap<MessageQueue, i64>, ClientError> {
        let instance = &self.inner.instance;
        let mut offsets = self.offsets_at(topic, to).await?;
        for (queue, target) in &mut offsets {
            let before = match instance.query_offset(group, queue).await? {
                Some(offset) => offset,
                None => instance.min_offset(queue).await?,
            };
            if force || *target <= before {
                instance.update_offset(group, queue, *target).await?;
            } else {
                *target = before;
            }
        }
        Ok(offsets)
    }

    /// Commits one group's offsets for another, of one topic at all its brokers. While members of
    /// the first group are there, only of a topic that it subscribes to, unless `offline` is set.
    ///
    /// # Errors
    /// A broker refused or did not answer; others may have copied their part.
    pub async fn clone_offsets(
        &self,
        from_group: &str,
        to_group: &str,
        topic: &str,
        offline: bool,
    ) -> Result<(), ClientError> {
        for addr in self.inner.instance.fetch_brokers_of(topic).await? {
            self.clone_group_offset(&addr, from_group, to_group, Some(topic), offline)
                .await?;
        }
        Ok(())
    }
}

impl Instance {
    /// The addresses of the brokers that a topic is on, after a route update.
    async fn fetch_brokers_of(&self, topic: &str) -> Result<Vec<String>, ClientError> {
        self.update_route(topic).await?;
        Ok(self.routes.read().brokers_of(topic))
    }
}
