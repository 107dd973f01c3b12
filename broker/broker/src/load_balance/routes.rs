//! Where topics are, on all brokers: what the name servers tell (`TopicRouteInfoManager`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hotfire_protocol::body::TopicRouteData;
use hotfire_protocol::header::namesrv::GetRouteInfoRequestHeader;
use hotfire_protocol::topic::RETRY_PREFIX;
use hotfire_protocol::{MessageQueue, RemotingCommand, RequestCode, ResponseCode};
use tokio::time::sleep;

use crate::state::State;

/// How long a name server may take (`GET_TOPIC_ROUTE_TIMEOUT`).
const ROUTE_TIMEOUT: Duration = Duration::from_secs(3);
/// When the routes are asked for again for the first time.
const FIRST_REFRESH: Duration = Duration::from_secs(1);

/// What name servers say of a topic.
enum Told {
    Route(TopicRouteData),
    /// There is no such topic.
    Missing,
    /// None of them answered.
    Nothing,
}

/// The queues that can be read, by topic. Only topics that have a route are in it.
#[derive(Debug, Default)]
pub struct Routes {
    topics: BTreeMap<String, Vec<MessageQueue>>,
}

impl Routes {
    /// The queues of a topic, sorted; `None` if they have to be asked for.
    fn get(&self, topic: &str) -> Option<Vec<MessageQueue>> {
        let queues = self.topics.get(topic)?;
        (!queues.is_empty()).then(|| queues.clone())
    }

    /// Forgets a topic: it is asked for again.
    pub(super) fn forget(&mut self, topic: &str) {
        self.topics.remove(topic);
    }

    /// Takes note of what was told. A topic that is gone is forgotten, but for retry topics; while
    /// no name server answers, everything stays as it is.
    fn learn(&mut self, topic: &str, told: &Told) {
        match told {
            Told::Route(route) => {
                let mut queues = route.subscribe_queues(topic);
                queues.sort();
                self.topics.insert(topic.to_owned(), queues);
            }
            Told::Missing if !topic.starts_with(RETRY_PREFIX) => {
                self.topics.remove(topic);
            }
            Told::Missing | Told::Nothing => {}
        }
    }
}

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

#[cfg(test)]
mod tests {
    use hotfire_protocol::body::QueueData;

    use super::*;

    fn route(brokers: &[&str]) -> Told {
        let data = |broker: &&str| QueueData {
            broker_name: (*broker).to_owned(),
            perm: 6,
            read_queue_nums: 1,
            ..QueueData::default()
        };
        Told::Route(TopicRouteData {
            queue_datas: brokers.iter().map(data).collect(),
            ..TopicRouteData::default()
        })
    }

    fn brokers(routes: &Routes, topic: &str) -> Option<Vec<String>> {
        let queues = routes.get(topic)?.into_iter();
        Some(queues.map(|queue| queue.broker_name).collect())
    }

    #[test]
    fn queues_are_sorted_whatever_the_order_of_the_route() {
        let mut routes = Routes::default();
        routes.learn("orders", &route(&["b", "a"]));
        assert_eq!(brokers(&routes, "orders").unwrap(), ["a", "b"]);
    }

    #[test]
    fn a_topic_that_is_gone_is_forgotten_but_not_one_that_nobody_tells_of() {
        let mut routes = Routes::default();
        for topic in ["orders", "%RETRY%readers"] {
            routes.learn(topic, &route(&["a"]));
            routes.learn(topic, &Told::Nothing);
            assert!(routes.get(topic).is_some());
            routes.learn(topic, &Told::Missing);
        }
        assert_eq!(routes.get("orders"), None);
        assert!(routes.get("%RETRY%readers").is_some());
    }
}
