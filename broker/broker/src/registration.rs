//! Registration with the name servers (`BrokerOuterAPI`, `BrokerController.registerBrokerAll`).
//!
//! Name servers do not talk to each other, so the broker registers with all of them in parallel: at
//! the start, every 30 s, and whenever a topic changes; what it does not renew expires there.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use hotfire_protocol::body::{KVTable, RegisterBrokerBody, TopicConfigSerializeWrapper};
use hotfire_protocol::header::namesrv::{
    RegisterBrokerRequestHeader, UnRegisterBrokerRequestHeader,
};
use hotfire_protocol::{RemotingCommand, RequestCode, hash};

use crate::state::State;

/// How long after the start the broker registers for the second time.
pub(crate) const FIRST_RENEWAL: Duration = Duration::from_secs(10);
/// The shortest and the longest time between two renewals.
const RENEWAL_MIN: Duration = Duration::from_secs(10);
const RENEWAL_MAX: Duration = Duration::from_secs(60);
/// How long saying goodbye may take.
const UNREGISTER_TIMEOUT: Duration = Duration::from_secs(3);
/// Where the replicas of this broker would connect: the port behind the main one.
const HA_PORT_OFFSET: u16 = 1;

impl State {
    /// How often the broker registers.
    pub fn renewal_period(&self) -> Duration {
        let period = self.config().register_name_server_period;
        period.clamp(RENEWAL_MIN, RENEWAL_MAX)
    }

    /// Registers all topics with all name servers and waits for their answers, or their timeouts.
    pub async fn register(&self) {
        let permission = self.config().broker_permission;
        let topics = self.topics.read().to_announce(permission);
        self.register_with_all(topics).await;
    }

    /// Registers one topic with all name servers: a change that cannot wait.
    pub async fn register_topic(&self, topic: &str) {
        let permission = self.config().broker_permission;
        let mut topics = self.topics.read().to_announce(permission);
        topics.topic_config_table.retain(|name, _| name == topic);
        self.register_with_all(topics).await;
    }

    /// Sends all topics to all name servers without waiting.
    pub fn announce_topics(self: &Arc<Self>) {
        let config = self.config();
        if config.namesrv_addrs.is_empty() {
            return;
        }
        let topics = self.topics.read().to_announce(config.broker_permission);
        let Some(request) = self.registration(topics) else {
            return;
        };
        let broker = self.clone();
        self.env.spawn("announce-topics", async move {
            let timeout = config.register_broker_timeout;
            let sends = config.namesrv_addrs.iter().map(|address| {
                let (client, request) = (&broker.namesrv, request.clone());
                async move {
                    if let Err(error) = client.oneway(address, request, timeout).await {
                        tracing::warn!(address, %error, "cannot announce topics");
                    }
                }
            });
            join_all(sends).await;
        });
    }

    /// Leaves all name servers.
    pub async fn unregister(&self) {
        let config = self.config();
        let header = UnRegisterBrokerRequestHeader {
            broker_name: config.broker_name.clone(),
            broker_addr: self.address().to_string(),
            cluster_name: config.broker_cluster_name.clone(),
            broker_id: config.broker_id,
        };
        let goodbyes = config.namesrv_addrs.iter().map(|address| {
            let request = RemotingCommand::request_with(RequestCode::UNREGISTER_BROKER, &header);
            async move {
                let answer = self
                    .namesrv
                    .invoke(address, request, UNREGISTER_TIMEOUT)
                    .await;
                if let Err(error) = answer {
                    tracing::warn!(address, %error, "cannot unregister");
                }
            }
        });
        join_all(goodbyes).await;
    }

    fn registration(&self, topics: TopicConfigSerializeWrapper) -> Option<RemotingCommand> {
        let config = self.config();
        let body = RegisterBrokerBody {
            filter_server_list: Vec::new(),
            topic_config_serialize_wrapper: topics,
        };
        let body = match body.encode(false) {
            Ok(body) => body,
            Err(error) => {
                tracing::error!(%error, "cannot encode a registration");
                return None;
            }
        };
        let mut ha_address = self.address();
        ha_address.set_port(ha_address.port().saturating_add(HA_PORT_OFFSET));
        let header = RegisterBrokerRequestHeader {
            broker_name: config.broker_name.clone(),
            broker_addr: self.address().to_string(),
            cluster_name: config.broker_cluster_name.clone(),
            ha_server_addr: ha_address.to_string(),
            broker_id: config.broker_id,
            compressed: Some(false),
            body_crc32: Some(hash::body_crc(&body)),
            ..RegisterBrokerRequestHeader::default()
        };
        let request = RemotingCommand::request_with(RequestCode::REGISTER_BROKER, &header);
        Some(request.with_body(body))
    }

    async fn register_with_all(&self, topics: TopicConfigSerializeWrapper) {
        let Some(request) = self.registration(topics) else {
            return;
        };
        let config = self.config();
        let timeout = config.register_broker_timeout;
        let registrations = config.namesrv_addrs.iter().map(|address| {
            let request = request.clone();
            async move {
                match self.namesrv.invoke(address, request, timeout).await {
                    Ok(response) if response.is_success() => Some(response),
                    Ok(response) => {
                        let remark = response.remark.as_deref().unwrap_or_default();
                        tracing::warn!(address, code = response.code, remark, "not registered");
                        None
                    }
                    Err(error) => {
                        tracing::warn!(address, %error, "cannot register");
                        None
                    }
                }
            }
        });
        // The first that answers in the order of the configuration counts, as in RocketMQ.
        let response = join_all(registrations).await.into_iter().flatten().next();
        if let Some(response) = response {
            self.take_order_configuration(&response.body);
        }
    }

    /// Name servers may say which topics are ordered.
    fn take_order_configuration(&self, body: &[u8]) {
        if body.is_empty() {
            return;
        }
        match KVTable::from_json(body) {
            Ok(ordered) => {
                let now_ms = self.env.now_ms();
                if self.topics.write().set_ordered(&ordered.table, now_ms) {
                    self.save_topics();
                }
            }
            Err(error) => tracing::warn!(%error, "a name server's answer cannot be read"),
        }
    }
}
