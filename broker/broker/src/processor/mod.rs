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
pub(crate) mod table;
mod timer;

use std::sync::Arc;

use hotfire_env::defect;
use hotfire_protocol::frame::FRAME_MAX;
use hotfire_protocol::header::Field;
use hotfire_protocol::{ExtFields, HeaderError, RemotingCommand, ResponseCode};
use hotfire_remoting::{Channel, Handled, RequestHandler};
use tokio::time::Instant;

use crate::access;
use crate::acl::Permission;
use crate::refusal::Refusal;
use crate::state::State;
use settle::Settle;
use table::{Cost, Entry, Run};

pub(crate) use send_outcome::outcome;

/// A request whose body is larger is worked off where no connection waits: reading it takes longer
/// than a few hundred microseconds.
const LARGE_BODY: usize = 64 << 10;

/// Serves the requests of one listening port.
#[derive(Clone)]
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
        let entry = table::entry(request.code);
        let large = request.body.len() > LARGE_BODY;
        match entry {
            Some(entry) if large && entry.cost != Cost::Stores => {
                let serve = Self::admit_and_serve;
                self.compute(entry, channel, request, serve)
            }
            entry => self.admit_and_serve(entry, channel, request),
        }
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
        broker.connection_closed(connection);
    }
}

impl Processor {
    fn admit_and_serve(
        &self,
        entry: Option<&'static Entry>,
        channel: &Channel,
        request: RemotingCommand,
    ) -> Handled {
        // Whoever asks for what there is not must have signed it all the same.
        let permission = entry.map_or(&Permission::Signed, |entry| &entry.permission);
        if let Err(refusal) = access::admit(&self.broker, channel, &request, permission) {
            let refused = Handled::Reply(refusal.response(&request));
            if defect!(self.broker.env, RefuseAndServe) {
                self.serve(entry, channel, request);
            }
            return refused;
        }
        if self.broker.metrics.is_none() {
            return self.serve(entry, channel, request);
        }
        self.measure(entry, channel, request)
    }

    /// Serves a request and notes how long its answer took. What is put aside is measured when it is
    /// answered ([`State::answer_late`]).
    fn measure(
        &self,
        entry: Option<&'static Entry>,
        channel: &Channel,
        request: RemotingCommand,
    ) -> Handled {
        let (begin, code) = (Instant::now(), request.code);
        let broker = self.broker.clone();
        let note = move |response: &RemotingCommand| {
            if let Some(metrics) = &broker.metrics {
                metrics.answered(code, response.code, false, begin.elapsed());
            }
        };
        match self.serve(entry, channel, request) {
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

    /// Serves a request that may be served.
    fn serve(
        &self,
        entry: Option<&'static Entry>,
        channel: &Channel,
        request: RemotingCommand,
    ) -> Handled {
        let Some(entry) = entry.filter(|entry| entry.on_fast_port || !self.fast) else {
            return Handled::Reply(unsupported(&request).response(&request));
        };
        // A large one is away from its connection already.
        let large = request.body.len() > LARGE_BODY;
        if entry.cost == Cost::Heavy && !large {
            return self.compute(entry, channel, request, Self::run);
        }
        self.run(Some(entry), channel, request)
    }

    fn run(
        &self,
        entry: Option<&'static Entry>,
        channel: &Channel,
        request: RemotingCommand,
    ) -> Handled {
        let Some(entry) = entry else {
            return Handled::Reply(unsupported(&request).response(&request));
        };
        let settle = Settle::before(&self.broker, entry.vouches, &request);
        let handled = match entry.run {
            Run::Answers(answer) => {
                let answer = answer(&self.broker, channel, &request);
                Handled::Reply(answer.unwrap_or_else(|refusal| refusal.response(&request)))
            }
            Run::Waits(handle) => handle(&self.broker, channel, request),
        };
        settle.after(&self.broker, handled)
    }

    /// Works a request off away from its connection.
    fn compute(
        &self,
        entry: &'static Entry,
        channel: &Channel,
        request: RemotingCommand,
        work: fn(&Self, Option<&'static Entry>, &Channel, RemotingCommand) -> Handled,
    ) -> Handled {
        let (this, channel) = (self.clone(), channel.clone());
        let env = self.broker.env.clone();
        Handled::Later(Box::pin(async move {
            let serve = move || {
                let handled = work(&this, Some(entry), &channel, request);
                if !channel.is_open() {
                    // It has ended meanwhile: what it has just entered must not stay.
                    this.closed(&channel, "it ended before its request was worked off");
                }
                handled
            };
            match env.compute("request", serve).await {
                Handled::Reply(response) => Some(response),
                Handled::Later(answer) => answer.await,
                Handled::None => None,
            }
        }))
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

/// A successful answer with a body, if a frame can hold it.
fn body(request: &RemotingCommand, json: Vec<u8>) -> Answer {
    if json.len() > RESPONSE_BODY_MAX {
        let remark = format!(
            "the answer has {} bytes, more than a frame can hold: ask for less of it",
            json.len()
        );
        return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark));
    }
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
pub(crate) fn faq(remark: &str) -> String {
    format!("{remark} \nSee http://rocketmq.apache.org/docs/faq/ for further details.")
}
