//! What brokers tell of themselves.

use hotfire_env::Shown;
use hotfire_protocol::body::{
    DataVersion, RegisterBrokerBody, TopicConfig, TopicConfigSerializeWrapper,
};
use hotfire_protocol::header::namesrv::{
    BrokerHeartbeatRequestHeader, QueryDataVersionRequestHeader, QueryDataVersionResponseHeader,
    RegisterBrokerRequestHeader, RegisterBrokerResponseHeader, UnRegisterBrokerRequestHeader,
};
use hotfire_protocol::{RemotingCommand, ResponseCode, rules, version};
use hotfire_remoting::Channel;

use super::key_values::kv_table;
use super::{Answer, Processor, Refusal, success, system_error};
use crate::Registration;
use crate::kv::NAMESPACE_ORDER_TOPIC_CONFIG;

/// The most filter servers of one broker; 4.9 has none any more.
const FILTER_SERVERS_MAX: usize = 64;
/// So many topics are set before others may look at the tables.
const TOPICS_PER_TURN: usize = 500;

impl Processor {
    pub(super) fn register(&self, channel: &Channel, request: &RemotingCommand) -> Answer {
        let header: RegisterBrokerRequestHeader = request.header()?;
        for (kind, name) in [
            ("clusterName", &header.cluster_name),
            ("brokerName", &header.broker_name),
            ("brokerAddr", &header.broker_addr),
        ] {
            rules::check_registered_name(kind, name).map_err(system_error)?;
        }
        if !header.ha_server_addr.is_empty() {
            rules::check_registered_name("haServerAddr", &header.ha_server_addr)
                .map_err(system_error)?;
        }
        let crc = header.body_crc32.unwrap_or(0);
        if crc != 0 && crc != body_crc32(&request.body) {
            return Err(system_error("crc32 not match"));
        }
        let body = registration_body(request, header.compressed.unwrap_or(false))?;
        if body.filter_server_list.len() > FILTER_SERVERS_MAX {
            let max = format!("a broker has {FILTER_SERVERS_MAX} filter servers at most");
            return Err(system_error(max));
        }
        for server in &body.filter_server_list {
            rules::check_registered_name("filterServer", server).map_err(system_error)?;
        }
        let topics = body.topic_config_serialize_wrapper;
        let registration = Registration {
            cluster: header.cluster_name,
            broker_name: header.broker_name,
            broker_id: header.broker_id,
            broker_addr: header.broker_addr,
            ha_server_addr: header.ha_server_addr,
            data_version: topics.data_version,
            topics: self.sound(channel, topics.topic_config_table.into_values()),
            filter_servers: body.filter_server_list,
            connection: channel.id(),
            peer: channel.peer(),
        };
        self.take(channel, request, registration)
    }

    /// The topics that make sense. What another broker lets in is its own affair, but clients shall
    /// not be told of it.
    fn sound(
        &self,
        channel: &Channel,
        topics: impl Iterator<Item = TopicConfig>,
    ) -> Vec<TopicConfig> {
        let sound = topics.filter(|topic| match rules::check_stored_topic(topic) {
            Ok(()) => true,
            Err(error) => {
                if let Some(left_out) = self.logs.topics.admit() {
                    tracing::warn!(
                        peer = channel.name(), topic = %Shown(&topic.topic_name), %error, left_out,
                        "left a topic out of a registration"
                    );
                }
                false
            }
        });
        sound.collect()
    }

    fn take(
        &self,
        channel: &Channel,
        request: &RemotingCommand,
        registration: Registration,
    ) -> Answer {
        let (addr, connection) = (registration.broker_addr.clone(), channel.id());
        let name = registration.broker_name.clone();
        let begun = {
            let mut state = self.state.lock();
            if !state.channels.contains_key(&connection) {
                // Nobody would end it.
                return Err(system_error("the connection is closed"));
            }
            let now_ms = self.env.now_ms();
            state.routes.begin(now_ms, registration)
        };
        let begun = begun.map_err(|full| {
            if let Some(left_out) = self.logs.brokers.admit() {
                tracing::error!(
                    peer = channel.name(), broker = %Shown(&name), addr = %Shown(&addr), %full,
                    left_out, "refused a registration"
                );
            }
            system_error(full)
        })?;
        if let Some(rival) = begun.rival
            && let Some(left_out) = self.logs.rivals.admit()
        {
            tracing::warn!(
                peer = channel.name(), broker = %Shown(&name), addr = %Shown(&addr), rival, left_out,
                "registered a broker in the place of one that is there still"
            );
        }
        for topics in begun.topics.chunks(TOPICS_PER_TURN) {
            let mut state = self.state.lock();
            if !state.routes.set_topics(&addr, connection, topics) {
                break;
            }
        }
        let header = RegisterBrokerResponseHeader {
            ha_server_addr: begun.registered.ha_server_addr,
            master_addr: begun.registered.master_addr,
        };
        let response = request.response_with(ResponseCode::SUCCESS, &header);
        let state = self.state.lock();
        let table = state.kv.list(NAMESPACE_ORDER_TOPIC_CONFIG).map(kv_table);
        drop(state);
        Ok(match table {
            Some(table) => response.with_body(table.to_json()),
            None => response,
        })
    }

    pub(super) fn unregister(&self, channel: &Channel, request: &RemotingCommand) -> Answer {
        let header: UnRegisterBrokerRequestHeader = request.header()?;
        let broker = header.broker_addr;
        let removed = self.state.lock().routes.unregister(&broker, channel.id());
        if let Some(left_out) = self.logs.brokers.admit() {
            let (broker, peer) = (Shown(&broker), channel.name());
            if removed {
                tracing::info!(%broker, peer, left_out, "unregistered a broker");
            } else {
                tracing::warn!(%broker, peer, left_out, "ignored a stale unregistration");
            }
        }
        Ok(success(request))
    }

    pub(super) fn query_data_version(
        &self,
        _channel: &Channel,
        request: &RemotingCommand,
    ) -> Answer {
        let header: QueryDataVersionRequestHeader = request.header()?;
        let version = DataVersion::from_json(&request.body).map_err(system_error)?;
        let mut state = self.state.lock();
        let now_ms = self.env.now_ms();
        let (changed, known) =
            state
                .routes
                .query_data_version(now_ms, &header.broker_addr, &version);
        let header = QueryDataVersionResponseHeader { changed };
        let response = request.response_with(ResponseCode::SUCCESS, &header);
        Ok(match known {
            Some(known) => response.with_body(known.to_json()),
            None => response,
        })
    }

    /// Only 5.x brokers send these, in a mode that is not supported; to take them costs nothing.
    pub(super) fn heartbeat(&self, _channel: &Channel, request: &RemotingCommand) -> Answer {
        let header: BrokerHeartbeatRequestHeader = request.header()?;
        self.state
            .lock()
            .routes
            .heartbeat(self.env.now_ms(), &header.broker_addr);
        Ok(success(request))
    }
}

/// The checksum of a registration's body, without its top bit (`UtilAll.crc32`).
fn body_crc32(body: &[u8]) -> i32 {
    (crc32fast::hash(body) & 0x7FFF_FFFF) as i32
}

/// A registration's body, in the form that the broker's version gives it.
fn registration_body(
    request: &RemotingCommand,
    compressed: bool,
) -> Result<RegisterBrokerBody, Refusal> {
    if !request.body.is_empty() && request.version < version::V3_0_11 {
        let topics = TopicConfigSerializeWrapper::from_json(&request.body);
        return Ok(RegisterBrokerBody {
            topic_config_serialize_wrapper: topics.map_err(system_error)?,
            ..RegisterBrokerBody::default()
        });
    }
    RegisterBrokerBody::decode(&request.body, compressed).map_err(system_error)
}
