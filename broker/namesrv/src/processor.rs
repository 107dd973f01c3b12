//! Requests to answers (`DefaultRequestProcessor`).

use std::collections::BTreeMap;

use hotfire_env::Env;
use hotfire_metrics::RequestTimes;
use hotfire_protocol::body::{
    DataVersion, KVTable, RegisterBrokerBody, TopicConfigSerializeWrapper, TopicList,
    TopicRouteData,
};
use hotfire_protocol::header::namesrv::{
    AddWritePermOfBrokerRequestHeader, AddWritePermOfBrokerResponseHeader,
    BrokerHeartbeatRequestHeader, DeleteKVConfigRequestHeader, GetKVConfigRequestHeader,
    GetKVConfigResponseHeader, GetKVListByNamespaceRequestHeader, GetRouteInfoRequestHeader,
    PutKVConfigRequestHeader, QueryDataVersionRequestHeader, QueryDataVersionResponseHeader,
    RegisterBrokerRequestHeader, RegisterBrokerResponseHeader, UnRegisterBrokerRequestHeader,
    WipeWritePermOfBrokerRequestHeader, WipeWritePermOfBrokerResponseHeader,
};
use hotfire_protocol::header::topic::{
    DeleteTopicFromNamesrvRequestHeader, GetTopicsByClusterRequestHeader,
    RegisterTopicRequestHeader,
};
use hotfire_protocol::{HeaderError, RemotingCommand, RequestCode, ResponseCode, rules, version};
use hotfire_remoting::{Channel, ConnectionId, Handled, RequestHandler};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config::UpdateError;
use crate::kv::{self, KvConfigManager, NAMESPACE_ORDER_TOPIC_CONFIG};
use crate::metrics::Figures;
use crate::{NamesrvConfig, Registration, RouteInfoManager};

/// What the requests are answered from.
pub(crate) struct Processor {
    env: Env,
    state: Mutex<State>,
    /// If metrics are handed out.
    pub(crate) requests: Option<RequestTimes>,
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

impl RequestHandler for Processor {
    fn handle(&self, channel: &Channel, request: RemotingCommand) -> Handled {
        let begin = Instant::now();
        let response = self.answer(channel, &request).map(|answer| {
            answer.unwrap_or_else(|Refusal(code, remark)| request.response_error(code, remark))
        });
        match response {
            Some(response) => {
                if let Some(requests) = &self.requests {
                    let code = ResponseCode(response.code).name();
                    let request = RequestCode(request.code).name();
                    requests.answered(request, code, false, begin.elapsed());
                }
                Handled::Reply(response)
            }
            None => {
                // So does 4.9.8: its processor returns no response, and the peer times out.
                tracing::warn!(
                    peer = channel.name(),
                    code = request.code,
                    "unknown request"
                );
                Handled::None
            }
        }
    }

    fn connected(&self, channel: &Channel) {
        self.state
            .lock()
            .channels
            .insert(channel.id(), channel.clone());
    }

    fn closed(&self, channel: &Channel, reason: &str) {
        let mut state = self.state.lock();
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
            requests,
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

    /// `None` if the code is unknown.
    fn answer(&self, channel: &Channel, request: &RemotingCommand) -> Option<Answer> {
        Some(match RequestCode(request.code) {
            RequestCode::GET_ROUTEINFO_BY_TOPIC => self.route(request),
            RequestCode::REGISTER_BROKER => self.register(channel, request),
            RequestCode::UNREGISTER_BROKER => self.unregister(channel, request),
            RequestCode::QUERY_DATA_VERSION => self.query_data_version(request),
            RequestCode::BROKER_HEARTBEAT => self.heartbeat(request),
            RequestCode::PUT_KV_CONFIG => self.put_kv(request),
            RequestCode::GET_KV_CONFIG => self.get_kv(request),
            RequestCode::DELETE_KV_CONFIG => self.delete_kv(request),
            RequestCode::GET_KVLIST_BY_NAMESPACE => self.list_kv(request),
            RequestCode::GET_BROKER_CLUSTER_INFO => {
                Ok(success(request).with_body(self.state.lock().routes.cluster_info().to_json()))
            }
            RequestCode::WIPE_WRITE_PERM_OF_BROKER => self.wipe_write_perm(request),
            RequestCode::ADD_WRITE_PERM_OF_BROKER => self.add_write_perm(request),
            RequestCode::DELETE_TOPIC_IN_NAMESRV => self.delete_topic(request),
            RequestCode::REGISTER_TOPIC_IN_NAMESRV => self.register_topic(request),
            RequestCode::UPDATE_NAMESRV_CONFIG => self.update_config(request),
            RequestCode::GET_NAMESRV_CONFIG => {
                Ok(success(request).with_body(self.state.lock().config.to_properties()))
            }
            RequestCode::GET_TOPICS_BY_CLUSTER => self.topics_by_cluster(request),
            _ => return self.topics(request),
        })
    }

    /// The lists that take no argument.
    fn topics(&self, request: &RemotingCommand) -> Option<Answer> {
        let list: fn(&RouteInfoManager) -> TopicList = match RequestCode(request.code) {
            RequestCode::GET_ALL_TOPIC_LIST_FROM_NAMESERVER => RouteInfoManager::all_topics,
            RequestCode::GET_SYSTEM_TOPIC_LIST_FROM_NS => RouteInfoManager::system_topics,
            RequestCode::GET_UNIT_TOPIC_LIST => RouteInfoManager::unit_topics,
            RequestCode::GET_HAS_UNIT_SUB_TOPIC_LIST => RouteInfoManager::has_unit_sub_topics,
            RequestCode::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST => {
                RouteInfoManager::has_unit_sub_ununit_topics
            }
            _ => return None,
        };
        Some(Ok(
            success(request).with_body(list(&self.state.lock().routes).to_json())
        ))
    }

    fn route(&self, request: &RemotingCommand) -> Answer {
        // Java reads a header without any field as one whose topic is null.
        let header = if request.ext.is_empty() {
            GetRouteInfoRequestHeader {
                topic: "null".to_owned(),
                ..Default::default()
            }
        } else {
            request.header()?
        };
        let topic = &header.topic;
        let state = self.state.lock();
        let Some(mut route) = state.routes.pickup_topic_route_data(topic) else {
            let remark = format!(
                "No topic route info in name server for the topic: {topic}\n\
                 See http://rocketmq.apache.org/docs/faq/ for further details."
            );
            return Err(Refusal(ResponseCode::TOPIC_NOT_EXIST, remark));
        };
        if state.config.order_message_enable {
            let conf = state.kv.get(NAMESPACE_ORDER_TOPIC_CONFIG, topic);
            route.order_topic_conf = conf.map(str::to_owned);
        }
        let strict =
            request.version >= version::V4_9_4 || header.accept_standard_json_only == Some(true);
        Ok(success(request).with_body(route.to_json(strict)))
    }

    fn register(&self, channel: &Channel, request: &RemotingCommand) -> Answer {
        let header: RegisterBrokerRequestHeader = request.header()?;
        for (kind, name) in [
            ("clusterName", &header.cluster_name),
            ("brokerName", &header.broker_name),
            ("brokerAddr", &header.broker_addr),
        ] {
            rules::check_registered_name(kind, name).map_err(system_error)?;
        }
        let crc = header.body_crc32.unwrap_or(0);
        if crc != 0 && crc != body_crc32(&request.body) {
            return Err(system_error("crc32 not match"));
        }
        let body = registration_body(request, header.compressed.unwrap_or(false))?;
        let topics = body.topic_config_serialize_wrapper;
        let registration = Registration {
            cluster: header.cluster_name,
            broker_name: header.broker_name,
            broker_id: header.broker_id,
            broker_addr: header.broker_addr,
            ha_server_addr: header.ha_server_addr,
            data_version: topics.data_version,
            topics: topics.topic_config_table.into_values().collect(),
            filter_servers: body.filter_server_list,
            connection: channel.id(),
        };
        let mut state = self.state.lock();
        let registered = state.routes.register(self.env.now_ms(), registration);
        let header = RegisterBrokerResponseHeader {
            ha_server_addr: registered.ha_server_addr,
            master_addr: registered.master_addr,
        };
        let response = request.response_with(ResponseCode::SUCCESS, &header);
        Ok(match state.kv.list(NAMESPACE_ORDER_TOPIC_CONFIG) {
            Some(table) => response.with_body(kv_table(table).to_json()),
            None => response,
        })
    }

    fn unregister(&self, channel: &Channel, request: &RemotingCommand) -> Answer {
        let header: UnRegisterBrokerRequestHeader = request.header()?;
        let broker = header.broker_addr;
        if self.state.lock().routes.unregister(&broker, channel.id()) {
            tracing::info!(broker, "unregistered a broker");
        } else {
            tracing::warn!(
                broker,
                peer = channel.name(),
                "ignored a stale unregistration"
            );
        }
        Ok(success(request))
    }

    fn query_data_version(&self, request: &RemotingCommand) -> Answer {
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
    fn heartbeat(&self, request: &RemotingCommand) -> Answer {
        let header: BrokerHeartbeatRequestHeader = request.header()?;
        self.state
            .lock()
            .routes
            .heartbeat(self.env.now_ms(), &header.broker_addr);
        Ok(success(request))
    }

    fn put_kv(&self, request: &RemotingCommand) -> Answer {
        let header: PutKVConfigRequestHeader = request.header()?;
        self.change_kv(|kv| kv.put(&header.namespace, &header.key, &header.value));
        Ok(success(request))
    }

    fn delete_kv(&self, request: &RemotingCommand) -> Answer {
        let header: DeleteKVConfigRequestHeader = request.header()?;
        self.change_kv(|kv| kv.delete(&header.namespace, &header.key));
        Ok(success(request))
    }

    /// A change that cannot be persisted holds all the same until the next start, as in Java.
    fn change_kv(&self, change: impl FnOnce(&mut KvConfigManager)) {
        let mut state = self.state.lock();
        change(&mut state.kv);
        let path = &state.config.kv_config_path;
        if let Err(error) = state.kv.persist(&**self.env.disk(), path) {
            tracing::error!(path, %error, "cannot persist the key and value configuration");
        }
    }

    fn get_kv(&self, request: &RemotingCommand) -> Answer {
        let GetKVConfigRequestHeader { namespace, key } = request.header()?;
        match self.state.lock().kv.get(&namespace, &key) {
            Some(value) => {
                let header = GetKVConfigResponseHeader {
                    value: Some(value.to_owned()),
                };
                Ok(request.response_with(ResponseCode::SUCCESS, &header))
            }
            None => Err(Refusal(
                ResponseCode::QUERY_NOT_FOUND,
                format!("No config item, Namespace: {namespace} Key: {key}"),
            )),
        }
    }

    fn list_kv(&self, request: &RemotingCommand) -> Answer {
        let GetKVListByNamespaceRequestHeader { namespace } = request.header()?;
        match self.state.lock().kv.list(&namespace) {
            Some(table) => Ok(success(request).with_body(kv_table(table).to_json())),
            None => Err(Refusal(
                ResponseCode::QUERY_NOT_FOUND,
                format!("No config item, Namespace: {namespace}"),
            )),
        }
    }

    fn wipe_write_perm(&self, request: &RemotingCommand) -> Answer {
        let header: WipeWritePermOfBrokerRequestHeader = request.header()?;
        let mut state = self.state.lock();
        let wipe_topic_count = state.routes.wipe_write_perm_of_broker(&header.broker_name);
        let header = WipeWritePermOfBrokerResponseHeader { wipe_topic_count };
        Ok(request.response_with(ResponseCode::SUCCESS, &header))
    }

    fn add_write_perm(&self, request: &RemotingCommand) -> Answer {
        let header: AddWritePermOfBrokerRequestHeader = request.header()?;
        let mut state = self.state.lock();
        let add_topic_count = state.routes.add_write_perm_of_broker(&header.broker_name);
        let header = AddWritePermOfBrokerResponseHeader { add_topic_count };
        Ok(request.response_with(ResponseCode::SUCCESS, &header))
    }

    fn delete_topic(&self, request: &RemotingCommand) -> Answer {
        let header: DeleteTopicFromNamesrvRequestHeader = request.header()?;
        let cluster = header.cluster_name.filter(|cluster| !cluster.is_empty());
        self.state
            .lock()
            .routes
            .delete_topic(&header.topic, cluster.as_deref());
        Ok(success(request))
    }

    fn register_topic(&self, request: &RemotingCommand) -> Answer {
        let header: RegisterTopicRequestHeader = request.header()?;
        let route = TopicRouteData::from_json(&request.body).map_err(system_error)?;
        self.state
            .lock()
            .routes
            .register_topic(&header.topic, route.queue_datas);
        Ok(success(request))
    }

    fn topics_by_cluster(&self, request: &RemotingCommand) -> Answer {
        let header: GetTopicsByClusterRequestHeader = request.header()?;
        let topics = self.state.lock().routes.topics_by_cluster(&header.cluster);
        Ok(success(request).with_body(topics.to_json()))
    }

    fn update_config(&self, request: &RemotingCommand) -> Answer {
        let text = std::str::from_utf8(&request.body).map_err(system_error)?;
        let mut state = self.state.lock();
        state.config.update(text).map_err(|error| match error {
            UpdateError::BlackListed => Refusal(
                ResponseCode::NO_PERMISSION,
                "Can not update config in black list.".to_owned(),
            ),
            UpdateError::Malformed(what) => system_error(what),
        })?;
        let (path, content) = (
            &state.config.config_store_path,
            state.config.to_properties(),
        );
        if let Err(error) = kv::replace(&**self.env.disk(), path, content.as_bytes()) {
            tracing::error!(path, %error, "cannot persist the configuration");
        }
        Ok(success(request))
    }
}

fn success(request: &RemotingCommand) -> RemotingCommand {
    request.response(ResponseCode::SUCCESS)
}

fn kv_table(table: &BTreeMap<String, String>) -> KVTable {
    KVTable {
        table: table.clone(),
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
