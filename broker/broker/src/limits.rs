//! How much clients can make a broker remember, and how much they can make it do with one request.
//!
//! Apache RocketMQ has few of these limits: its heap ends first. They are far beyond what its clients
//! need, so that who meets one is broken or hostile. What is refused says which limit it met. What
//! names and settings may be is in [`hotfire_protocol::rules`], and what connections may take in
//! [`hotfire_remoting::Limits`].

use std::time::Duration;

use hotfire_protocol::ResponseCode;

use crate::refusal::Refusal;

/// The longest heartbeat, in bytes. A consumer's entry for a topic takes some 200, so this is room
/// for ten thousand of them.
pub const HEARTBEAT_BYTES: usize = 2 << 20;
/// The most groups of producers, and of consumers, that one connection can be in. A Java process has
/// one connection to a broker for each client instance, and rarely more than some dozens of groups.
pub const GROUPS_PER_CONNECTION: usize = 4_096;
/// The most ids that the producers on one connection can have. RocketMQ's clients have one.
pub const CLIENT_IDS_PER_CONNECTION: usize = 64;
/// The most connections that can be in one group. Members list and share out among all of them, so
/// that RocketMQ's own advice is some hundreds; with ids of usual lengths the list fits a frame.
pub const MEMBERS_PER_GROUP: usize = 20_000;
/// The most entries of connections in groups of one kind, over all groups. Each takes some 200 bytes.
pub const MEMBERSHIPS: usize = 500_000;
/// The most topics that one group can subscribe to.
pub const SUBSCRIPTIONS_PER_GROUP: usize = 10_000;
/// The most that the subscriptions of all groups can take, in bytes.
pub const SUBSCRIPTION_BYTES: usize = 256 << 20;
/// The most members that one heartbeat or one end of a connection tells of a change. The others
/// learn of it when they look next, every 20 s (`rebalanceService`), as when such a one-way request
/// is lost.
pub const NOTIFICATIONS: usize = 10_000;

/// The most groups that are there before no more are created by use; administrators can create more.
pub const GROUPS: usize = 100_000;
/// How long the list of all topics can be, as name servers are told it, in bytes, before no more
/// topics are created by use. A frame holds a third more: that is for administrators, and for the
/// topics that the broker itself needs. There is room for 60,000 topics with names of usual lengths.
pub const ANNOUNCED_BYTES: usize = 12 << 20;

/// The most SQL text that one heartbeat can register anew, in bytes: reading it is work.
pub const NEW_SQL_BYTES: usize = 128 << 10;
/// The most SQL expressions that are registered.
pub const EXPRESSIONS: usize = 50_000;
/// The most text that they have together, in bytes. In memory, an expression takes some ten times
/// its text.
pub const EXPRESSION_BYTES: usize = 16 << 20;

/// The longest time that a parked request can ask for, in milliseconds: 10 minutes. RocketMQ's
/// clients ask for 15 to 30 s; one that wants longer asks again.
pub const SUSPEND_MS: i64 = 600_000;
/// The most pulls of one connection that are parked: what Java's pool of threads for pulls queues
/// (`pullThreadPoolQueueCapacity`), and one for each of 100,000 queues.
pub const PARKED_PER_CONNECTION: usize = 100_000;
/// The most pulls that are parked for one queue: each message that arrives asks all of their filters.
pub const PARKED_PER_QUEUE: usize = 20_000;
/// The most pulls that are parked. Each takes somewhat more than a kilobyte.
pub const PARKED: usize = 200_000;
/// The most that parked pulls can take beside that, in bytes: fields and filters.
pub const PARKED_BYTES: usize = 256 << 20;

/// The most bytes of sends that can queue for the store, whatever the number of sends
/// (`sendThreadPoolQueueCapacity` of 10,000 would be 40 GB).
pub const QUEUED_SEND_BYTES: usize = 256 << 20;

/// The most pairs of a group and a topic with committed offsets. When they are reached, those of
/// groups and topics that are not there are forgotten, at most once in a while: a look at all.
pub const OFFSET_TOPICS: usize = 200_000;
/// How long it is from one such look to the next.
pub const OFFSETS_LOOK: Duration = Duration::from_secs(60);
/// The most committed offsets: ten groups for each of 100,000 queues.
pub const OFFSETS: usize = 1_000_000;

/// The longest LOCK_BATCH_MQ or UNLOCK_BATCH_MQ, in bytes. An entry takes some 100, so this is room
/// for every queue of the largest topic.
pub const LOCK_BATCH_BYTES: usize = 8 << 20;
/// The most queues that are locked, over all groups.
pub const LOCKED_QUEUES: usize = 500_000;

/// The longest BATCH_ACK_MESSAGE, in bytes. An entry takes some 150, and acknowledges all messages of
/// a pop.
pub const ACK_BATCH_BYTES: usize = 1 << 20;
/// The most request modes that are set: pairs of a topic and a group.
pub const REQUEST_MODES: usize = 100_000;
/// The longest body of a request that has few fields and no lists, in bytes.
pub const SMALL_BODY_BYTES: usize = 256 << 10;

/// The most counters of groups and topics, together. Each takes some 2 KB.
pub const COUNTERS: usize = 100_000;

/// A table has no room for more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there are too many {what}: the limit is {max}")]
pub struct Full {
    /// Of what there are too many.
    pub what: &'static str,
    /// How many there can be.
    pub max: usize,
}

/// Checks that there is room.
///
/// # Errors
/// There would be more than `max`.
pub fn check(what: &'static str, wanted: usize, max: usize) -> Result<(), Full> {
    if wanted <= max {
        return Ok(());
    }
    Err(Full { what, max })
}

/// What Java's broker, out of memory, would answer: whatever its processors throw becomes a
/// SYSTEM_ERROR.
impl From<Full> for Refusal {
    fn from(full: Full) -> Self {
        Self::new(ResponseCode::SYSTEM_ERROR, full.to_string())
    }
}

/// Checks the length of a body before it is read.
///
/// # Errors
/// It is longer than `max` bytes.
pub(crate) fn check_body(what: &str, length: usize, max: usize) -> Result<(), Refusal> {
    if length <= max {
        return Ok(());
    }
    let remark = format!("the {what} has {length} bytes: the limit is {max}");
    Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark))
}
