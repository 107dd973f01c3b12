//! Asks the name servers where topics are, for the load balancing by the broker.

use std::sync::Arc;
use std::time::Duration;

use hotfire_protocol::body::TopicRouteData;
use hotfire_protocol::header::namesrv::GetRouteInfoRequestHeader;
use hotfire_protocol::{MessageQueue, RemotingCommand, RequestCode, ResponseCode};
use tokio::time::sleep;

use crate::load_balance::Told;
use crate::state::State;

/// How long a name server may take (`GET_TOPIC_ROUTE_TIMEOUT`).
const ROUTE_TIMEOUT: Duration = Duration::from_secs(3);
/// When the routes are asked for again for the first time.
const FIRST_REFRESH: Duration = Duration::from_secs(1);

impl State {
    /// The queues of a topic that can be read, on all brokers, sorted; `None` if there is no such
    /// topic, or no name server says so.
    pub async fn subscribe_queues(&self, topic: &str) -> Option<Vec<MessageQueue>> {
        let known = self.balance.routes.lock().get(topic);
        if known.is_some() {
            return known;
        }
        self.ask_for_route(topic).await;
        let routes = self.balance.routes.lock();
        routes.topics.get(topic).cloned()
    }

    async fn ask_for_route(&self, topic: &str) {
        let told = self.told_of(topic).await;
        self.balance.routes.lock().learn(topic, &told);
    }

    async fn told_of(&self, topic: &str) -> Told {
        let header = GetRouteInfoRequestHeader {
            topic: topic.to_owned(),
            accept_standard_json_only: Some(true),
        };
        for address in &self.config().namesrv_addrs {
            let code = RequestCode::GET_ROUTEINFO_BY_TOPIC;
            let request = RemotingCommand::request_with(code, &header);
            match self.namesrv.invoke(address, request, ROUTE_TIMEOUT).await {
                Ok(answer) if answer.is_success() => {
                    match TopicRouteData::from_json(&answer.body) {
                        Ok(route) => return Told::Route(route),
                        Err(error) => tracing::warn!(address, %error, "cannot read a route"),
                    }
                }
                Ok(answer) if answer.code == ResponseCode::TOPIC_NOT_EXIST.0 => {
                    return Told::Missing;
                }
                Ok(answer) => tracing::warn!(address, code = answer.code, "no route"),
                Err(error) => tracing::warn!(address, %error, "cannot ask for a route"),
            }
        }
        Told::Nothing
    }
}

/// Asks for the routes again and again, of the topics that somebody has asked for.
pub async fn keep_fresh(state: Arc<State>) {
    sleep(FIRST_REFRESH).await;
    loop {
        let topics: Vec<_> = {
            let routes = state.balance.routes.lock();
            routes.topics.keys().cloned().collect()
        };
        for topic in topics {
            state.ask_for_route(&topic).await;
        }
        sleep(state.config().load_balance_poll_name_server_interval).await;
    }
}
