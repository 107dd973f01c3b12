//! Where topics are, on all brokers: what the name servers tell (`TopicRouteInfoManager`).

use std::collections::BTreeMap;

use hotfire_protocol::MessageQueue;
use hotfire_protocol::body::TopicRouteData;
use hotfire_protocol::topic::RETRY_PREFIX;

/// What name servers say of a topic.
pub(crate) enum Told {
    Route(TopicRouteData),
    /// There is no such topic.
    Missing,
    /// None of them answered.
    Nothing,
}

/// The queues that can be read, by topic. Only topics that have a route are in it.
#[derive(Debug, Default)]
pub struct Routes {
    pub topics: BTreeMap<String, Vec<MessageQueue>>,
}

impl Routes {
    /// The queues of a topic, sorted; `None` if they have to be asked for.
    pub fn get(&self, topic: &str) -> Option<Vec<MessageQueue>> {
        let queues = self.topics.get(topic)?;
        (!queues.is_empty()).then(|| queues.clone())
    }

    /// Forgets a topic: it is asked for again.
    pub(super) fn forget(&mut self, topic: &str) {
        self.topics.remove(topic);
    }

    /// Takes note of what was told. A topic that is gone is forgotten, but for retry topics; while
    /// no name server answers, everything stays as it is.
    pub fn learn(&mut self, topic: &str, told: &Told) {
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
