//! Where topics and brokers are.

use hotfire_protocol::body::{TopicList, TopicRouteData};
use hotfire_protocol::header::namesrv::{
    AddWritePermOfBrokerRequestHeader, AddWritePermOfBrokerResponseHeader,
    GetRouteInfoRequestHeader, WipeWritePermOfBrokerRequestHeader,
    WipeWritePermOfBrokerResponseHeader,
};
use hotfire_protocol::header::topic::{
    DeleteTopicFromNamesrvRequestHeader, GetTopicsByClusterRequestHeader,
    RegisterTopicRequestHeader,
};
use hotfire_protocol::{RemotingCommand, ResponseCode, rules, version};
use hotfire_remoting::Channel;

use super::{Answer, Processor, Refusal, success, system_error};
use crate::RouteInfoManager;
use crate::kv::NAMESPACE_ORDER_TOPIC_CONFIG;

impl Processor {
    pub(super) fn route(&self, _channel: &Channel, request: &RemotingCommand) -> Answer {
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
        drop(state);
        let strict =
            request.version >= version::V4_9_4 || header.accept_standard_json_only == Some(true);
        Ok(success(request).with_body(route.to_json(strict)))
    }

    pub(super) fn cluster_info(&self, _channel: &Channel, request: &RemotingCommand) -> Answer {
        let info = self.state.lock().routes.cluster_info();
        Ok(success(request).with_body(info.to_json()))
    }

    pub(super) fn all_topics(&self, _channel: &Channel, request: &RemotingCommand) -> Answer {
        self.list(request, RouteInfoManager::all_topics)
    }

    pub(super) fn system_topics(&self, _channel: &Channel, request: &RemotingCommand) -> Answer {
        self.list(request, RouteInfoManager::system_topics)
    }

    pub(super) fn unit_topics(&self, _channel: &Channel, request: &RemotingCommand) -> Answer {
        self.list(request, RouteInfoManager::unit_topics)
    }

    pub(super) fn has_unit_sub_topics(
        &self,
        _channel: &Channel,
        request: &RemotingCommand,
    ) -> Answer {
        self.list(request, RouteInfoManager::has_unit_sub_topics)
    }

    pub(super) fn has_unit_sub_ununit_topics(
        &self,
        _channel: &Channel,
        request: &RemotingCommand,
    ) -> Answer {
        self.list(request, RouteInfoManager::has_unit_sub_ununit_topics)
    }

    pub(super) fn topics_by_cluster(
        &self,
        _channel: &Channel,
        request: &RemotingCommand,
    ) -> Answer {
        let header: GetTopicsByClusterRequestHeader = request.header()?;
        self.list(request, |routes| routes.topics_by_cluster(&header.cluster))
    }

    /// A list of topics. The text is made when the tables are free again.
    fn list(
        &self,
        request: &RemotingCommand,
        list: impl FnOnce(&RouteInfoManager) -> TopicList,
    ) -> Answer {
        let topics = list(&self.state.lock().routes);
        Ok(success(request).with_body(topics.to_json()))
    }

    pub(super) fn wipe_write_perm(&self, _channel: &Channel, request: &RemotingCommand) -> Answer {
        let header: WipeWritePermOfBrokerRequestHeader = request.header()?;
        let mut state = self.state.lock();
        let wipe_topic_count = state.routes.wipe_write_perm_of_broker(&header.broker_name);
        let header = WipeWritePermOfBrokerResponseHeader { wipe_topic_count };
        Ok(request.response_with(ResponseCode::SUCCESS, &header))
    }

    pub(super) fn add_write_perm(&self, _channel: &Channel, request: &RemotingCommand) -> Answer {
        let header: AddWritePermOfBrokerRequestHeader = request.header()?;
        let mut state = self.state.lock();
        let add_topic_count = state.routes.add_write_perm_of_broker(&header.broker_name);
        let header = AddWritePermOfBrokerResponseHeader { add_topic_count };
        Ok(request.response_with(ResponseCode::SUCCESS, &header))
    }

    pub(super) fn delete_topic(&self, _channel: &Channel, request: &RemotingCommand) -> Answer {
        let header: DeleteTopicFromNamesrvRequestHeader = request.header()?;
        let cluster = header.cluster_name.filter(|cluster| !cluster.is_empty());
        self.state
            .lock()
            .routes
            .delete_topic(&header.topic, cluster.as_deref());
        Ok(success(request))
    }

    pub(super) fn register_topic(&self, _channel: &Channel, request: &RemotingCommand) -> Answer {
        let header: RegisterTopicRequestHeader = request.header()?;
        rules::check_registered_name("topic", &header.topic).map_err(system_error)?;
        let route = TopicRouteData::from_json(&request.body).map_err(system_error)?;
        for queues in &route.queue_datas {
            rules::check_registered_name("brokerName", &queues.broker_name)
                .map_err(system_error)?;
            let (read, write) = (queues.read_queue_nums, queues.write_queue_nums);
            let max = rules::QUEUES_MAX;
            rules::check_range("readQueueNums", read, 0, max).map_err(system_error)?;
            rules::check_range("writeQueueNums", write, 0, max).map_err(system_error)?;
            rules::check_perm(queues.perm).map_err(system_error)?;
        }
        let mut state = self.state.lock();
        state
            .routes
            .register_topic(&header.topic, route.queue_datas)
            .map_err(system_error)?;
        Ok(success(request))
    }
}
