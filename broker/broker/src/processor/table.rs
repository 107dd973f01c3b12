//! The one table of request codes: for each code who works it off, what that takes under access
//! control, on which ports it is served, whether its answer may have to wait, and what it may cost.
//!
//! Dispatch and access control decide by it, and nothing else decides by code. A code that is not
//! here is not served; a code without a permission does not compile.

use std::sync::Arc;

use hotfire_protocol::{RemotingCommand, RequestCode as Code};
use hotfire_remoting::{Channel, Handled};

use super::admin::{self, clean, clients, config, groups, progress, queue, runtime, topics};
use super::settle::Vouches;
use super::{
    Answer, acl, assignment, client, done, end_transaction, lock, offset, pop, pop_ack, pop_notify,
    pull, query, reply, reset, send, send_back, timer,
};
use crate::acl::Need::{Group, Publish, Reply, Subscribe};
use crate::acl::Permission::{self, Administrator, Body, Header, Signed};
use crate::acl::body;
use crate::state::State;

/// How the requests of a code are served.
pub(crate) struct Entry {
    pub code: Code,
    pub run: Run,
    pub permission: Permission,
    /// Whether the fast port serves it too, where nobody waits for messages
    /// (`NettyRemotingServer`'s port two below the main one).
    pub on_fast_port: bool,
    pub cost: Cost,
    /// What success vouches for.
    pub vouches: Vouches,
}

/// Who works a request off.
pub(crate) enum Run {
    /// Answers at once.
    Answers(fn(&Arc<State>, &Channel, &RemotingCommand) -> Answer),
    /// May have to wait for the disk, for messages or for somebody else.
    Waits(fn(&Arc<State>, &Channel, RemotingCommand) -> Handled),
}

/// What a request may cost besides waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cost {
    /// Work in proportion to its own size: done where the connection is read, as long as the request
    /// is not large.
    Light,
    /// A body that is stored as it is: done where the connection is read, whatever its size, so that
    /// messages of one connection are stored in the order in which they were sent.
    Stores,
    /// Work that grows with the broker's tables or the store: done elsewhere, so that other
    /// connections go on.
    Heavy,
}

/// Sending; the topic stands in a field of the short or the long header.
const SENDS: Permission = Header(&[Publish("topic")]);
const SENDS_SHORT: Permission = Header(&[Publish("b")]);
/// Consuming from a topic in a group.
const CONSUMES: Permission = Header(&[Subscribe("topic"), Group("consumerGroup")]);
/// Acting for a group, whatever the topic.
const IN_GROUP: Permission = Header(&[Group("consumerGroup")]);

/// All codes, ascending.
///
/// 4.9 asks for nothing but a signature where this table says more: for the fields of bodies, queue
/// locks, resets, whatever changes the broker's state, and what hands out messages.
#[rustfmt::skip]
pub(crate) static TABLE: &[Entry] = &[
    waits(Code::SEND_MESSAGE, SENDS, send::handle).stores(),
    waits(Code::PULL_MESSAGE, CONSUMES, |b, c, r| pull::handle(b, c, r)).main_port(),
    answers(Code::QUERY_MESSAGE, Header(&[Subscribe("topic")]), |b, _, r| query::by_key(b, r)).heavy(),
    answers(Code::QUERY_CONSUMER_OFFSET, IN_GROUP, |b, _, r| offset::query(b, r)),
    answers(Code::UPDATE_CONSUMER_OFFSET, CONSUMES, |b, _, r| offset::update(b, r)),
    waits(Code::UPDATE_AND_CREATE_TOPIC, Administrator, |b, _, r| topics::update(b, r)).writes(),
    waits(Code::UPDATE_AND_CREATE_TOPIC_LIST, Administrator, |b, _, r| topics::update_list(b, r)).heavy().writes(),
    answers(Code::GET_ALL_TOPIC_CONFIG, Signed, |b, _, r| topics::all(b, r)).heavy(),
    answers(Code::UPDATE_BROKER_CONFIG, Administrator, |b, _, r| config::update(b, r)).heavy().writes(),
    answers(Code::GET_BROKER_CONFIG, Signed, |b, _, r| config::all(b, r)),
    answers(Code::GET_BROKER_RUNTIME_INFO, Signed, |b, _, r| runtime::info(b, r)).heavy(),
    answers(Code::SEARCH_OFFSET_BY_TIMESTAMP, Signed, |b, _, r| offset::search(b, r)),
    answers(Code::GET_MAX_OFFSET, Signed, |b, _, r| offset::max(b, r)),
    answers(Code::GET_MIN_OFFSET, Signed, |b, _, r| offset::min(b, r)),
    answers(Code::GET_EARLIEST_MSG_STORETIME, Signed, |b, _, r| offset::earliest_time(b, r)),
    // Names no topic: what the message's own takes is looked at when it has been read.
    answers(Code::VIEW_MESSAGE_BY_ID, Signed, query::by_offset),
    answers(Code::HEART_BEAT, Body(body::heartbeat), client::heartbeat),
    answers(Code::UNREGISTER_CLIENT, IN_GROUP, |b, c, r| client::unregister(b, c, r)),
    // The topic of the message that is sent back is looked at when it has been read.
    answers(Code::CONSUMER_SEND_MSG_BACK, Header(&[Group("group")]), send_back::send_back).writes(),
    // The topic of the half message is looked at when it has been read.
    waits(Code::END_TRANSACTION, Signed, end_transaction::handle),
    answers(Code::GET_CONSUMER_LIST_BY_GROUP, IN_GROUP, |b, _, r| client::members(b, r)),
    answers(Code::LOCK_BATCH_MQ, Body(body::lock), |b, _, r| lock::lock(b, r)),
    answers(Code::UNLOCK_BATCH_MQ, Body(body::unlock), |b, _, r| lock::unlock(b, r)),
    answers(Code::GET_ALL_CONSUMER_OFFSET, Signed, |b, _, r| admin::json(r, &*b.offsets.lock())).heavy(),
    answers(Code::GET_ALL_DELAY_OFFSET, Signed, |b, _, r| admin::json(r, &*b.cursors.lock())),
    answers(Code::CHECK_CLIENT_CONFIG, Signed, |b, _, r| client::check_config(b, r)),
    // 4.9 lets every account change accounts, and so make itself an administrator.
    waits(Code::UPDATE_AND_CREATE_ACL_CONFIG, Administrator, |b, _, r| acl::change(b, r)),
    waits(Code::DELETE_ACL_CONFIG, Administrator, |b, _, r| acl::change(b, r)),
    answers(Code::GET_BROKER_CLUSTER_ACL_INFO, Signed, |b, _, r| acl::versions(b, r)).heavy(),
    waits(Code::UPDATE_GLOBAL_WHITE_ADDRS_CONFIG, Administrator, |b, _, r| acl::change(b, r)),
    answers(Code::GET_BROKER_CLUSTER_ACL_CONFIG, Administrator, |b, _, r| acl::config(b, r)).heavy(),
    answers(Code::GET_TIMER_CHECK_POINT, Signed, |b, _, r| timer::check_point(b, r)),
    answers(Code::GET_TIMER_METRICS, Signed, |b, _, r| timer::metrics(b, r)).heavy(),
    answers(Code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, Administrator, |b, _, r| groups::update(b, r)).heavy().writes(),
    answers(Code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, Signed, |b, _, r| groups::all(b, r)).heavy(),
    answers(Code::GET_TOPIC_STATS_INFO, Signed, |b, _, r| progress::topic(b, r)).heavy(),
    answers(Code::GET_CONSUMER_CONNECTION_LIST, Signed, |b, _, r| client::consumers(b, r)).heavy(),
    answers(Code::GET_PRODUCER_CONNECTION_LIST, Signed, |b, _, r| client::producers(b, r)).heavy(),
    answers(Code::DELETE_SUBSCRIPTIONGROUP, Administrator, |b, _, r| groups::delete(b, r)).heavy().writes(),
    answers(Code::GET_CONSUME_STATS, Signed, |b, _, r| progress::group(b, r)).heavy(),
    answers(Code::DELETE_TOPIC_IN_BROKER, Administrator, |b, _, r| topics::delete(b, r)).heavy().writes(),
    // Whoever may commit a group's offsets in a topic may as well have them reset.
    answers(Code::INVOKE_BROKER_TO_RESET_OFFSET, Header(&[Subscribe("topic"), Group("group")]), |b, _, r| reset::reset(b, r)).heavy(),
    waits(Code::INVOKE_BROKER_TO_GET_CONSUMER_STATUS, Header(&[Group("group")]), |b, _, r| reset::status(b, r)),
    answers(Code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST, Administrator, |b, _, r| groups::update_list(b, r)).heavy().writes(),
    answers(Code::QUERY_TOPIC_CONSUME_BY_WHO, Signed, |b, _, r| groups::of_topic(b, r)).heavy(),
    answers(Code::QUERY_CONSUME_TIME_SPAN, Signed, |b, _, r| progress::time_span(b, r)).heavy(),
    answers(Code::GET_SYSTEM_TOPIC_LIST_FROM_BROKER, Signed, |b, _, r| topics::system(b, r)).heavy(),
    answers(Code::CLEAN_EXPIRED_CONSUMEQUEUE, Administrator, |b, _, r| clean::consume_queues(b, r)).heavy(),
    // Stack traces and subscriptions of a member.
    waits(Code::GET_CONSUMER_RUNNING_INFO, IN_GROUP, |b, _, r| clients::running_info(b, r)),
    answers(Code::QUERY_CORRECTION_OFFSET, Signed, |b, _, r| progress::corrections(b, r)).heavy(),
    // Has a member consume a message, which may be of any topic: that is looked at when it has been
    // read.
    waits(Code::CONSUME_MESSAGE_DIRECTLY, IN_GROUP, clients::consume_directly),
    waits(Code::SEND_MESSAGE_V2, SENDS_SHORT, send::handle).stores(),
    // Gives one group the offsets of another, in all topics if none is named.
    answers(Code::CLONE_GROUP_OFFSET, Administrator, |b, _, r| reset::clone(b, r)).heavy(),
    answers(Code::VIEW_BROKER_STATS_DATA, Signed, |b, _, r| runtime::stats(b, r)),
    answers(Code::CLEAN_UNUSED_TOPIC, Administrator, |b, _, r| clean::unused_topics(b, r)).heavy(),
    answers(Code::GET_BROKER_CONSUME_STATS, Signed, |b, _, r| progress::all_groups(b, r)).heavy(),
    waits(Code::SEND_BATCH_MESSAGE, SENDS_SHORT, send::handle).stores(),
    answers(Code::QUERY_CONSUME_QUEUE, Header(&[Subscribe("topic")]), |b, _, r| queue::units(b, r)).heavy(),
    answers(Code::RESUME_CHECK_HALF_MESSAGE, Administrator, |b, _, r| end_transaction::resume_check(b, r)),
    waits(Code::SEND_REPLY_MESSAGE, Header(&[Reply("topic")]), reply::handle).stores(),
    waits(Code::SEND_REPLY_MESSAGE_V2, Header(&[Reply("b")]), reply::handle).stores(),
    answers(Code::GET_ALL_PRODUCER_INFO, Signed, |b, _, r| clients::producers(b, r)).heavy(),
    answers(Code::DELETE_EXPIRED_COMMITLOG, Administrator, |b, _, r| clean::commit_log(b, r)).heavy(),
    answers(Code::QUERY_TOPICS_BY_CONSUMER, Signed, |b, _, r| groups::topics_of(b, r)).heavy(),
    answers(Code::QUERY_SUBSCRIPTION_BY_CONSUMER, Signed, |b, _, r| groups::subscription(b, r)),
    answers(Code::GET_TOPIC_CONFIG, Signed, |b, _, r| topics::one(b, r)),
    answers(Code::GET_SUBSCRIPTIONGROUP_CONFIG, Signed, |b, _, r| groups::one(b, r)),
    waits(Code::LITE_PULL_MESSAGE, CONSUMES, |b, c, r| pull::handle(b, c, r)).main_port(),
    waits(Code::RECALL_MESSAGE, SENDS, timer::recall),
    waits(Code::QUERY_ASSIGNMENT, Body(body::assignment), |b, _, r| assignment::query(b, r)),
    answers(Code::SET_MESSAGE_REQUEST_MODE, Administrator, |b, _, r| assignment::set_mode(b, r)).heavy().writes(),
    answers(Code::GET_ALL_MESSAGE_REQUEST_MODE, Signed, |b, _, r| assignment::all_modes(b, r)).heavy(),
    waits(Code::POP_MESSAGE, CONSUMES, pop::handle).main_port(),
    waits(Code::ACK_MESSAGE, CONSUMES, |b, c, r| pop_ack::ack(b, c, &r)),
    answers(Code::PEEK_MESSAGE, CONSUMES, pop_notify::peek),
    waits(Code::CHANGE_MESSAGE_INVISIBLETIME, CONSUMES, |b, c, r| pop_ack::change(b, c, &r)),
    waits(Code::NOTIFICATION, CONSUMES, pop::handle).main_port(),
    answers(Code::POLLING_INFO, CONSUMES, |b, c, r| pop_notify::polling_info(b, c, r)).main_port(),
    // Check points are nowhere but in the revive topic, where this would bring them back to.
    answers(Code::POP_ROLLBACK, Administrator, |_, _, r| done(r)),
    waits(Code::BATCH_ACK_MESSAGE, Body(body::batch_ack), |b, _, r| pop_ack::ack_batch(b, &r)),
];

/// How the requests of a code are served; `None` if they are not.
pub(crate) fn entry(code: i32) -> Option<&'static Entry> {
    let at = TABLE.binary_search_by_key(&code, |entry| entry.code.0);
    at.ok().map(|at| &TABLE[at])
}

const fn answers(
    code: Code,
    permission: Permission,
    run: fn(&Arc<State>, &Channel, &RemotingCommand) -> Answer,
) -> Entry {
    Entry::new(code, permission, Run::Answers(run))
}

const fn waits(
    code: Code,
    permission: Permission,
    run: fn(&Arc<State>, &Channel, RemotingCommand) -> Handled,
) -> Entry {
    Entry::new(code, permission, Run::Waits(run))
}

impl Entry {
    const fn new(code: Code, permission: Permission, run: Run) -> Self {
        Self {
            code,
            run,
            permission,
            on_fast_port: true,
            cost: Cost::Light,
            vouches: Vouches::Nothing,
        }
    }

    const fn main_port(mut self) -> Self {
        self.on_fast_port = false;
        self
    }

    const fn stores(mut self) -> Self {
        self.cost = Cost::Stores;
        self.vouches = Vouches::Topic;
        self
    }

    const fn writes(mut self) -> Self {
        self.vouches = Vouches::Tables;
        self
    }

    const fn heavy(mut self) -> Self {
        self.cost = Cost::Heavy;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_stands_once_and_in_order() {
        assert!(TABLE.is_sorted_by(|one, next| one.code.0 < next.code.0));
        for known in TABLE {
            assert!(known.code.name().is_some(), "{} has no name", known.code.0);
            assert_eq!(
                entry(known.code.0).map(|entry| entry.code),
                Some(known.code)
            );
        }
        assert!(entry(Code::PUT_KV_CONFIG.0).is_none());
        assert!(entry(-1).is_none());
    }

    #[test]
    fn what_changes_the_broker_for_everybody_takes_an_administrator() {
        for code in [
            17, 18, 25, 50, 51, 53, 54, 200, 207, 215, 225, 306, 314, 316, 323, 329, 401, 200_056,
        ] {
            let permission = entry(code).map(|entry| &entry.permission);
            assert!(matches!(permission, Some(Administrator)), "{code}");
        }
    }
}
