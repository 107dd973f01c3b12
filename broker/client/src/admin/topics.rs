//! Topics as a broker has them.

use hotfire_protocol::RequestCode;
use hotfire_protocol::body::{
    CreateTopicListRequestBody, TopicConfig, TopicConfigSerializeWrapper, TopicList,
    TopicStatsTable,
};
use hotfire_protocol::header::admin::GetTopicConfigRequestHeader;
use hotfire_protocol::header::topic::{
    CreateTopicRequestHeader, DeleteTopicRequestHeader, GetTopicStatsInfoRequestHeader,
};

use crate::instance::DEFAULT_TOPIC;
use crate::{Admin, ClientError};

impl Admin {
    /// Creates or changes a topic on a broker (`UPDATE_AND_CREATE_TOPIC`).
    ///
    /// # Errors
    /// The broker refused or did not answer.
    pub async fn update_topic(&self, addr: &str, topic: &TopicConfig) -> Result<(), ClientError> {
        let header = CreateTopicRequestHeader {
            topic: topic.topic_name.clone(),
            default_topic: DEFAULT_TOPIC.to_owned(),
            read_queue_nums: topic.read_queue_nums,
            write_queue_nums: topic.write_queue_nums,
            perm: topic.perm,
            topic_filter_type: topic.topic_filter_type.name().to_owned(),
            topic_sys_flag: Some(topic.topic_sys_flag),
            order: topic.order,
            attributes: None,
        };
        self.ask(addr, RequestCode::UPDATE_AND_CREATE_TOPIC, &header)
            .await
            .map(drop)
    }

    /// Creates or changes topics on a broker (`UPDATE_AND_CREATE_TOPIC_LIST`, 5.x).
    ///
    /// # Errors
    /// The broker refused, does not know the request, or did not answer.
    pub async fn update_topics(
        &self,
        addr: &str,
        topics: Vec<TopicConfig>,
    ) -> Result<(), ClientError> {
        let body = CreateTopicListRequestBody {
            topic_config_list: topics,
        };
        let code = RequestCode::UPDATE_AND_CREATE_TOPIC_LIST;
        self.ask_with(addr, code, body.to_json()).await.map(drop)
    }

    /// Deletes a topic from a broker (`DELETE_TOPIC_IN_BROKER`). The name servers are another
    /// matter: [`Admin::delete_topic_in_namesrv`].
    ///
    /// # Errors
    /// The broker refused or did not answer.
    pub async fn delete_topic_in_broker(&self, addr: &str, topic: &str) -> Result<(), ClientError> {
        let header = DeleteTopicRequestHeader {
            topic: topic.to_owned(),
        };
        self.ask(addr, RequestCode::DELETE_TOPIC_IN_BROKER, &header)
            .await
            .map(drop)
    }

    /// All topics of a broker (`GET_ALL_TOPIC_CONFIG`).
    ///
    /// # Errors
    /// The broker refused or did not answer.
    pub async fn all_topic_configs(
        &self,
        addr: &str,
    ) -> Result<TopicConfigSerializeWrapper, ClientError> {
        let code = RequestCode::GET_ALL_TOPIC_CONFIG;
        let from_json = TopicConfigSerializeWrapper::from_json;
        self.get_plain(addr, code, from_json).await
    }

    /// A topic of a broker (`GET_TOPIC_CONFIG`, 5.x).
    ///
    /// # Errors
    /// The broker does not have it (TOPIC_NOT_EXIST), refused or did not answer.
    pub async fn topic_config(&self, addr: &str, topic: &str) -> Result<TopicConfig, ClientError> {
        let header = GetTopicConfigRequestHeader {
            topic: topic.to_owned(),
        };
        let code = RequestCode::GET_TOPIC_CONFIG;
        self.get(addr, code, &header, TopicConfig::from_json).await
    }

    /// The offsets of a topic's queues on a broker (`GET_TOPIC_STATS_INFO`).
    ///
    /// # Errors
    /// The broker does not have it (TOPIC_NOT_EXIST), refused or did not answer.
    pub async fn topic_stats(
        &self,
        addr: &str,
        topic: &str,
    ) -> Result<TopicStatsTable, ClientError> {
        let header = GetTopicStatsInfoRequestHeader {
            topic: topic.to_owned(),
        };
        let code = RequestCode::GET_TOPIC_STATS_INFO;
        self.get(addr, code, &header, TopicStatsTable::from_json)
            .await
    }

    /// The topics that belong to the system on a broker (`GET_SYSTEM_TOPIC_LIST_FROM_BROKER`).
    ///
    /// # Errors
    /// The broker refused or did not answer.
    pub async fn system_topics_of_broker(&self, addr: &str) -> Result<TopicList, ClientError> {
        let code = RequestCode::GET_SYSTEM_TOPIC_LIST_FROM_BROKER;
        self.get_plain(addr, code, TopicList::from_json).await
    }
}
