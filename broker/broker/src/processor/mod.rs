//! Request processors: one file for each kind of request, as Apache RocketMQ has a processor class
//! for each.
//!
//! A processor reads its header, checks in RocketMQ's order, and answers at once unless it has to
//! wait for the disk or for messages. Whatever a peer sends, the worst that comes of it is an error
//! response.

mod acl;
mod admin;
mod assignment;
mod client;
mod end_transaction;
mod lock;
mod offset;
pub(crate) mod pop;
mod pop_ack;
mod pop_notify;
pub(crate) mod popping;
pub(crate) mod pull;
mod query;
mod reply;
mod reset;
pub(crate) mod send;
mod send_back;
mod send_batch;
mod send_header;
mod send_outcome;
mod settle;
mod timer;

use std::sync::Arc;

use hotfire_env::defect;
use hotfire_protocol::frame::FRAME_MAX;
use hotfire_protocol::header::Field;
use hotfire_protocol::{ExtFields, HeaderError, RemotingCommand, RequestCode, ResponseCode};
use hotfire_remoting::{Channel, Handled, RequestHandler};
use tokio::time::Instant;

use settle::Settle;

use crate::refusal::Refusal;
use crate::state::State;

pub(crate) use send_outcome::outcome;

/// Serves the requests of one listening port.
pub(crate) struct Processor {
    broker: Arc<State>,
    /// The port two below the main one, where nobody pulls.
    fast: bool,
}

impl Processor {
    pub fn new(broker: Arc<State>, fast: bool) -> Self {
        Self { broker, fast }
    }
}

/// The most bytes of messages that one response has: a frame, less room for its header and for what
/// a pop adds to messages of retry topics. Whoever would exceed it gives fewer messages; there is
/// none that is larger (`MessageStore`).
pub(crate) const RESPONSE_BODY_MAX: usize = FRAME_MAX - (160 << 10);

/// The answer to a request, before it is made a response.
type Answer = Result<RemotingCommand, Refusal>;

impl RequestHandler for Processor {
    fn handle(&self, channel: &Channel, request: RemotingCommand) -> Handled {
        if let Err(refusal) = self.broker.admit(channel, &request) {
            let refused = Handled::Reply(refusal.response(&request));
            if defect!(self.broker.env, RefuseAndServe) {
                self.serve(channel, request);
            }
            return refused;
        }
        if self.broker.metrics.is_none() {
            return self.serve_and_settle(channel, request);
        }
        self.measure(channel, request)
    }

    fn connected(&self, channel: &Channel) {
        self.broker
            .channels
            .lock()
            .insert(channel.id(), channel.clone());
    }

    fn closed(&self, channel: &Channel, _reason: &str) {
        let (broker, connection) = (&self.broker, channel.id());
        broker.channels.lock().remove(&connection);
        broker.producers.lock().connection_closed(connection);
        let changed = broker.consumers.lock().connection_closed(connection);
        for changed in &changed {
            broker.notify_members(changed);
        }
    }
}

impl Processor {
    /// Serves a request and notes how long its answer took. What is put aside is measured when it is
    /// answered ([`State::answer_late`]).
    fn measure(&self, channel: &Channel, request: RemotingCommand) -> Handled {
        let (begin, code) = (Instant::now(), request.code);
        let broker = self.broker.clone();
        let note = move |response: &RemotingCommand| {
            if let Some(metrics) = &broker.metrics {
                metrics.answered(code, response.code, false, begin.elapsed());
            }
        };
        match self.serve_and_settle(channel, request) {
            Handled::Reply(response) => {
                note(&response);
                Handled::Reply(response)
            }
            Handled::Later(answering) => Handled::Later(Box::pin(async move {
                let response = answering.await;
                response.iter().for_each(note);
                response
            })),
            Handled::None => Handled::None,
        }
    }

    /// Takes a request that may be served; its success is answered when what it changed is written.
    fn serve_and_settle(&self, channel: &Channel, request: RemotingCommand) -> Handled {
        let settle = Settle::before(&self.broker, &request);
        settle.after(&self.broker, self.serve(channel, request))
    }

    /// Takes a request that may be served.
    fn serve(&self, channel: &Channel, request: RemotingCommand) -> Handled {
        let broker = &self.broker;
        match RequestCode(request.code) {
            RequestCode::SEND_MESSAGE
            | RequestCode::SEND_MESSAGE_V2
            | RequestCode::SEND_BATCH_MESSAGE => send::handle(broker, channel, request),
            RequestCode::SEND_REPLY_MESSAGE | RequestCode::SEND_REPLY_MESSAGE_V2 => {
                reply::handle(broker, channel, request)
            }
            RequestCode::PULL_MESSAGE | RequestCode::LITE_PULL_MESSAGE if !self.fast => {
                pull::handle(broker, channel, request)
            }
            RequestCode::END_TRANSACTION => end_transaction::handle(broker, request),
            RequestCode::POP_MESSAGE | RequestCode::NOTIFICATION if !self.fast => {
                pop::handle(broker, channel, request)
            }
            RequestCode::ACK_MESSAGE => pop_ack::ack(broker, channel, &request),
            RequestCode::BATCH_ACK_MESSAGE => pop_ack::ack_batch(broker, &request),
            RequestCode::CHANGE_MESSAGE_INVISIBLETIME => pop_ack::change(broker, channel, &request),
            RequestCode::QUERY_ASSIGNMENT => assignment::query(broker, request),
            RequestCode::RECALL_MESSAGE => timer::recall(broker, channel, request),
            RequestCode::INVOKE_BROKER_TO_GET_CONSUMER_STATUS => reset::status(broker, request),
            RequestCode::UPDATE_AND_CREATE_ACL_CONFIG
            | RequestCode::DELETE_ACL_CONFIG
            | RequestCode::UPDATE_GLOBAL_WHITE_ADDRS_CONFIG => acl::change(broker, request),
            _ => {
                let request = match admin::handle(broker, request) {
                    Ok(handled) => return handled,
                    Err(request) => request,
                };
                let answer = self.answer(channel, &request);
                Handled::Reply(answer.unwrap_or_else(|refusal| refusal.response(&request)))
            }
        }
    }

    /// The requests that are answered on the spot.
    fn answer(&self, channel: &Channel, request: &RemotingCommand) -> Answer {
        let broker = &self.broker;
        match RequestCode(request.code) {
            RequestCode::HEART_BEAT => client::heartbeat(broker, channel, request),
            RequestCode::UNREGISTER_CLIENT => client::unregister(broker, channel, request),
            RequestCode::CHECK_CLIENT_CONFIG => client::check_config(broker, request),
            RequestCode::GET_CONSUMER_LIST_BY_GROUP => client::members(broker, request),
            RequestCode::GET_CONSUMER_CONNECTION_LIST => client::consumers(broker, request),
            RequestCode::GET_PRODUCER_CONNECTION_LIST => client::producers(broker, request),
            // Check points are nowhere but in the revive topic, where this would bring them back to.
            RequestCode::POP_ROLLBACK => done(request),
            RequestCode::PEEK_MESSAGE => pop_notify::peek(broker, channel, request),
            RequestCode::POLLING_INFO if !self.fast => {
                pop_notify::polling_info(broker, channel, request)
            }
            RequestCode::SET_MESSAGE_REQUEST_MODE => assignment::set_mode(broker, request),
            RequestCode::GET_ALL_MESSAGE_REQUEST_MODE => assignment::all_modes(broker, request),
            RequestCode::QUERY_CONSUMER_OFFSET => offset::query(broker, request),
            RequestCode::UPDATE_CONSUMER_OFFSET => offset::update(broker, request),
            RequestCode::SEARCH_OFFSET_BY_TIMESTAMP => offset::search(broker, request),
            RequestCode::QUERY_MESSAGE => query::by_key(broker, request),
            RequestCode::VIEW_MESSAGE_BY_ID => query::by_offset(broker, request),
            RequestCode::GET_MAX_OFFSET => offset::max(broker, request),
            RequestCode::GET_MIN_OFFSET => offset::min(broker, request),
            RequestCode::GET_EARLIEST_MSG_STORETIME => offset::earliest_time(broker, request),
            RequestCode::INVOKE_BROKER_TO_RESET_OFFSET => reset::reset(broker, request),
            RequestCode::CLONE_GROUP_OFFSET => reset::clone(broker, request),
            RequestCode::LOCK_BATCH_MQ => lock::lock(broker, request),
            RequestCode::UNLOCK_BATCH_MQ => lock::unlock(broker, request),
            RequestCode::CONSUMER_SEND_MSG_BACK => send_back::send_back(broker, request),
            RequestCode::RESUME_CHECK_HALF_MESSAGE => {
                end_transaction::resume_check(broker, request)
            }
            RequestCode::GET_TIMER_CHECK_POINT => timer::check_point(broker, request),
            RequestCode::GET_TIMER_METRICS => timer::metrics(broker, request),
            RequestCode::GET_BROKER_CLUSTER_ACL_INFO => acl::versions(broker, request),
            RequestCode::GET_BROKER_CLUSTER_ACL_CONFIG => acl::config(broker, request),
            _ => admin::answer(broker, request).unwrap_or_else(|| Err(unsupported(request))),
        }
    }
}

fn unsupported(request: &RemotingCommand) -> Refusal {
    let remark = format!(" request type {} not supported", request.code);
    Refusal::new(ResponseCode::REQUEST_CODE_NOT_SUPPORTED, remark)
}

/// A successful answer without anything in it.
fn done(request: &RemotingCommand) -> Answer {
    Ok(request.response(ResponseCode::SUCCESS))
}

/// A successful answer with a body.
fn body(request: &RemotingCommand, json: Vec<u8>) -> Answer {
    Ok(request.response(ResponseCode::SUCCESS).with_body(json))
}

/// What is wrong with a body.
fn bad_body(error: &impl std::fmt::Display) -> Refusal {
    Refusal::new(
        ResponseCode::SYSTEM_ERROR,
        format!("cannot read the body: {error}"),
    )
}

/// A required text of a header, borrowed.
fn text<'a>(ext: &'a ExtFields, name: &'static str) -> Result<&'a str, HeaderError> {
    ext.get(name).ok_or(HeaderError::Missing(name))
}

/// A field of a header.
fn field<T: Field>(ext: &ExtFields, name: &'static str) -> Result<T, HeaderError> {
    T::take(name, ext)
}

/// A remark that ends with where Apache RocketMQ's users look for help (`FAQUrl.suggestTodo`).
fn faq(remark: &str) -> String {
    format!("{remark} \nSee http://rocketmq.apache.org/docs/faq/ for further details.")
}
