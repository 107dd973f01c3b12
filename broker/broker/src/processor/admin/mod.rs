//! Administration (`AdminBrokerProcessor`): one file for each kind of thing that is administered.

mod clean;
mod clients;
mod config;
mod groups;
mod progress;
mod queue;
mod runtime;
mod topics;

use std::sync::Arc;

use hotfire_protocol::body::fastjson;
use hotfire_protocol::{RemotingCommand, RequestCode, ResponseCode};
use hotfire_remoting::Handled;
use serde::Serialize;

use super::{Answer, body};
use crate::refusal::Refusal;
use crate::state::State;

/// Takes a request that may have to wait for somebody else; gives it back if it is none.
pub(super) fn handle(
    broker: &Arc<State>,
    request: RemotingCommand,
) -> Result<Handled, RemotingCommand> {
    Ok(match RequestCode(request.code) {
        RequestCode::UPDATE_AND_CREATE_TOPIC => topics::update(broker, request),
        RequestCode::UPDATE_AND_CREATE_TOPIC_LIST => topics::update_list(broker, request),
        RequestCode::GET_CONSUMER_RUNNING_INFO => clients::running_info(broker, request),
        RequestCode::CONSUME_MESSAGE_DIRECTLY => clients::consume_directly(broker, request),
        _ => return Err(request),
    })
}

/// Answers a request of an administrator; `None` if it is none.
pub(super) fn answer(broker: &Arc<State>, request: &RemotingCommand) -> Option<Answer> {
    Some(match RequestCode(request.code) {
        RequestCode::DELETE_TOPIC_IN_BROKER => topics::delete(broker, request),
        RequestCode::GET_ALL_TOPIC_CONFIG => topics::all(broker, request),
        RequestCode::GET_TOPIC_CONFIG => topics::one(broker, request),
        RequestCode::GET_SYSTEM_TOPIC_LIST_FROM_BROKER => topics::system(broker, request),
        RequestCode::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => groups::update(broker, request),
        RequestCode::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST => {
            groups::update_list(broker, request)
        }
        RequestCode::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => groups::all(broker, request),
        RequestCode::GET_SUBSCRIPTIONGROUP_CONFIG => groups::one(broker, request),
        RequestCode::DELETE_SUBSCRIPTIONGROUP => groups::delete(broker, request),
        RequestCode::QUERY_TOPIC_CONSUME_BY_WHO => groups::of_topic(broker, request),
        RequestCode::QUERY_TOPICS_BY_CONSUMER => groups::topics_of(broker, request),
        RequestCode::QUERY_SUBSCRIPTION_BY_CONSUMER => groups::subscription(broker, request),
        RequestCode::GET_ALL_PRODUCER_INFO => clients::producers(broker, request),
        RequestCode::GET_TOPIC_STATS_INFO => progress::topic(broker, request),
        RequestCode::GET_CONSUME_STATS => progress::group(broker, request),
        RequestCode::GET_BROKER_CONSUME_STATS => progress::all_groups(broker, request),
        RequestCode::QUERY_CONSUME_TIME_SPAN => progress::time_span(broker, request),
        RequestCode::QUERY_CORRECTION_OFFSET => progress::corrections(broker, request),
        RequestCode::GET_ALL_CONSUMER_OFFSET => json(request, &*broker.offsets.lock()),
        RequestCode::GET_ALL_DELAY_OFFSET => json(request, &*broker.cursors.lock()),
        RequestCode::QUERY_CONSUME_QUEUE => queue::units(broker, request),
        RequestCode::GET_BROKER_RUNTIME_INFO => runtime::info(broker, request),
        RequestCode::VIEW_BROKER_STATS_DATA => runtime::stats(broker, request),
        RequestCode::UPDATE_BROKER_CONFIG => config::update(broker, request),
        RequestCode::GET_BROKER_CONFIG => config::all(broker, request),
        RequestCode::CLEAN_EXPIRED_CONSUMEQUEUE => clean::consume_queues(broker, request),
        RequestCode::CLEAN_UNUSED_TOPIC => clean::unused_topics(broker, request),
        RequestCode::DELETE_EXPIRED_COMMITLOG => clean::commit_log(broker, request),
        _ => return None,
    })
}

fn error(remark: impl Into<String>) -> Refusal {
    Refusal::new(ResponseCode::SYSTEM_ERROR, remark)
}

fn json(request: &RemotingCommand, table: &impl Serialize) -> Answer {
    let json = fastjson::to_vec(table).map_err(|wrong| error(wrong.to_string()))?;
    body(request, json)
}
