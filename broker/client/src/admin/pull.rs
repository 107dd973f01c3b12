//! Pulling, one call at a time.

use std::time::Duration;

use hotfire_protocol::body::SubscriptionData;
use hotfire_protocol::header::pull::{PullMessageRequestHeader, sys_flag};
use hotfire_protocol::{MessageExt, MessageQueue};

use crate::{Admin, ClientError};

/// How long a pull that does not wait for messages may take.
const PULL_TIMEOUT: Duration = Duration::from_secs(10);
/// How much longer than the broker a waiting pull waits: RocketMQ's pull consumer has the broker
/// wait 20 s and itself waits 30 s.
const PULL_GRACE: Duration = Duration::from_secs(10);

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
    /// The messages.
    pub messages: Vec<MessageExt>,
}

impl Admin {
    /// Pulls up to `max` messages with one of some tags (`TagA || TagB`), or of all (`*`), from an
    /// offset on. If there are none, the broker waits for some as long as `wait` says
    /// (`pullBlockIfNotFound`; 20 s in Apache RocketMQ). Nothing is committed.
    ///
    /// # Errors
    /// The expression is malformed, or the broker refused or did not answer.
    pub async fn pull(
        &self,
        group: &str,
        queue: &MessageQueue,
        expression: &str,
        offset: i64,
        max: i32,
        wait: Option<Duration>,
    ) -> Result<PullResult, ClientError> {
        let subscription = SubscriptionData::parse(&queue.topic, expression, 0)
            .map_err(|error| ClientError::Invalid(error.to_string()))?;
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
        let mut result = instance.pull(&addr, &header, timeout).await?;
        // The broker compares hashes; equal hashes are not equal tags.
        let messages = &mut result.messages;
        messages.retain(|message| subscription.matches_tag(message.message.tag()));
        Ok(result)
    }
}
