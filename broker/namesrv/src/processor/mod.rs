//! Requests to answers (`DefaultRequestProcessor`).

mod configuration;
mod key_values;
mod registration;
mod requests;
mod routes;

use std::collections::BTreeMap;
use std::sync::Arc;

use hotfire_env::{Env, LogLimit};
use hotfire_metrics::RequestTimes;
use hotfire_protocol::{HeaderError, RemotingCommand, RequestCode, ResponseCode};
use hotfire_remoting::{Channel, ConnectionId, Handled, RequestHandler};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::kv::KvConfigManager;
use crate::metrics::Figures;
use crate::{NamesrvConfig, RouteInfoManager};
use key_values::KvWrites;
use requests::{Access, Serve};

/// Log lines of one kind in a period.
const LINES: u32 = 20;

/// What the requests are answered from.
pub(crate) struct Processor {
    env: Env,
    state: Mutex<State>,
    kv_writes: KvWrites,
    /// Held by whoever writes the file of the configuration.
    config_writes: tokio::sync::Mutex<()>,
    /// If metrics are handed out.
    pub(crate) requests: Option<RequestTimes>,
    logs: Logs,
}

/// What peers can cause to be logged any number of times.
struct Logs {
    unknown: LogLimit,
    refused: LogLimit,
    rivals: LogLimit,
    topics: LogLimit,
    brokers: LogLimit,
}

struct State {
    config: NamesrvConfig,
    routes: RouteInfoManager,
    kv: KvConfigManager,
    /// The open connections, to close those of brokers that expire.
    channels: BTreeMap<ConnectionId, Channel>,
}

/// A refusal: the code and the remark of the answer.
struct Refusal(ResponseCode, String);

impl From<HeaderError> for Refusal {
    fn from(error: HeaderError) -> Self {
        system_error(error)
    }
}

fn system_error(error: impl ToString) -> Refusal {
    Refusal(ResponseCode::SYSTEM_ERROR, error.to_string())
}

type Answer = Result<RemotingCommand, Refusal>;

/// Takes the requests of all connections.
pub(crate) struct Requests(pub(crate) Arc<Processor>);

impl RequestHandler for Requests {
    fn handle(&self, channel: &Channel, request: RemotingCommand) -> Handled {
        let (processor, begin) = (&self.0, Instant::now());
        let code = RequestCode(request.code);
        let Some(entry) = requests::of(code) else {
            // So does 4.9.8: its processor returns no response, and the peer times out.
            if let Some(left_out) = processor.logs.unknown.admit() {
                let peer = channel.name();
                tracing::warn!(peer, code = request.code, left_out, "unknown request");
            }
            return Handled::None;
        };
        if let Err(refusal) = processor.admit(entry.access, channel, &request) {
            return Handled::Reply(processor.response(&request, begin, Err(refusal)));
        }
        let answer = match entry.serve {
            Serve::Now(answer) => {
                let answer = answer(processor, channel, &request);
                return Handled::Reply(processor.response(&request, begin, answer));
            }
            Serve::ByBody(answer) if request.body.len() <= requests::SMALL => {
                let answer = answer(processor, channel, &request);
                return Handled::Reply(processor.response(&request, begin, answer));
            }
            Serve::ByBody(answer) | Serve::Computed(answer) => {
                let (shared, channel, request) = (processor.clone(), channel.clone(), request);
                let env = processor.env.clone();
                return Handled::Later(env.compute("request", move || {
                    let answer = answer(&shared, &channel, &request);
                    Some(shared.response(&request, begin, answer))
                }));
            }
            Serve::Written(answer) => answer(processor.clone(), request.clone()),
        };
        let processor = processor.clone();
        Handled::Later(Box::pin(async move {
            let answer = answer.await;
            Some(processor.response(&request, begin, answer))
        }))
    }

    fn connected(&self, channel: &Channel) {
        let mut state = self.0.state.lock();
        state.channels.insert(channel.id(), channel.clone());
    }

    fn closed(&self, channel: &Channel, reason: &str) {
        let mut state = self.0.state.lock();
        state.channels.remove(&channel.id());
        for broker in state.routes.connection_closed(channel.id()) {
            tracing::warn!(broker, reason, "removed a broker, its connection is closed");
        }
    }
}

impl Processor {
    pub(crate) fn new(env: &Env, config: NamesrvConfig, kv: KvConfigManager) -> Self {
        let requests = config.metrics.enabled().then(RequestTimes::default);
        let (routes, channels) = (RouteInfoManager::new(), BTreeMap::new());
        let state = Mutex::new(State {
            config,
            routes,
            kv,
            channels,
        });
        Self {
            env: env.clone(),
            state,
            kv_writes: KvWrites::default(),
            config_writes: tokio::sync::Mutex::default(),
            requests,
            logs: Logs {
                unknown: LogLimit::new(LINES),
                refused: LogLimit::new(LINES),
                rivals: LogLimit::new(LINES),
                topics: LogLimit::new(LINES),
                brokers: LogLimit::new(LINES),
            },
        }
    }

    /// How much there is.
    pub(crate) fn figures(&self) -> Figures {
        let state = self.state.lock();
        let info = state.routes.cluster_info();
        let count = |len: usize| i64::try_from(len).unwrap_or(i64::MAX);
        let addresses = info.broker_addr_table.values();
        Figures {
            clusters: count(info.cluster_addr_table.len()),
            brokers: count(addresses.map(|broker| broker.broker_addrs.len()).sum()),
            topics: count(state.routes.all_topics().topic_list.len()),
            connections: count(state.channels.len()),
        }
    }

    /// Removes expired brokers and closes their connections.
    pub(crate) fn scan(&self) {
        let mut state = self.state.lock();
        let expired = state.routes.scan_not_active_broker(self.env.now_ms());
        let expired = expired.into_iter().map(|expired| {
            (
                state.channels.get(&expired.connection).cloned(),
                expired.broker_addr,
            )
        });
        let expired: Vec<_> = expired.collect();
        drop(state);
        for (channel, broker) in expired {
            tracing::warn!(
                broker,
                "removed a broker, it has not registered for two minutes"
            );
            if let Some(channel) = channel {
                channel.close(format!(
                    "the broker {broker} has not registered for two minutes"
                ));
            }
        }
    }

    /// Whether a request may be served, by its code and its signature.
    fn admit(
        &self,
        access: Access,
        channel: &Channel,
        request: &RemotingCommand,
    ) -> Result<(), Refusal> {
        if access == Access::Anybody {
            return Ok(());
        }
        let state = self.state.lock();
        if !state.config.authentication_enabled {
            return Ok(());
        }
        let credentials = state.config.inner_client_authentication_credentials.clone();
        drop(state);
        if credentials.is_some_and(|credentials| credentials.signed(request)) {
            return Ok(());
        }
        if let Some(left_out) = self.logs.refused.admit() {
            tracing::warn!(
                peer = channel.name(),
                code = request.code,
                left_out,
                "refused a request that is not signed as this name server asks for"
            );
        }
        let remark = "the request is not signed with the credentials of this name server";
        Err(Refusal(ResponseCode::NO_PERMISSION, remark.to_owned()))
    }

    fn response(
        &self,
        request: &RemotingCommand,
        begin: Instant,
        answer: Answer,
    ) -> RemotingCommand {
        let response =
            answer.unwrap_or_else(|Refusal(code, remark)| request.response_error(code, remark));
        if let Some(requests) = &self.requests {
            let code = ResponseCode(response.code).name();
            let request = RequestCode(request.code).name();
            requests.answered(request, code, false, begin.elapsed());
        }
        response
    }

    /// How often expired brokers are to be looked for.
    pub(crate) fn scan_interval(&self) -> std::time::Duration {
        self.state.lock().config.scan_not_active_broker_interval
    }
}

fn success(request: &RemotingCommand) -> RemotingCommand {
    request.response(ResponseCode::SUCCESS)
}
