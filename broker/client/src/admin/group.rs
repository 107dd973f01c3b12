//! Consumer groups as a broker has them.

use hotfire_protocol::RequestCode;
use hotfire_protocol::body::{
    ConsumeStats, GroupList, QueryConsumeTimeSpanBody, QueryCorrectionOffsetBody,
    QuerySubscriptionResponseBody, SetMessageRequestModeRequestBody, SubscriptionGroupConfig,
    SubscriptionGroupList, SubscriptionGroupWrapper, TopicList,
};
use hotfire_protocol::header::admin::{
    DeleteSubscriptionGroupRequestHeader, GetConsumeStatsRequestHeader,
    GetSubscriptionGroupConfigRequestHeader, QueryCorrectionOffsetHeader,
    QuerySubscriptionByConsumerRequestHeader, QueryTopicsByConsumerRequestHeader,
};
use hotfire_protocol::header::topic::{
    QueryConsumeTimeSpanRequestHeader, QueryTopicConsumeByWhoRequestHeader,
};

use crate::{Admin, ClientError};

impl Admin {
    /// Creates or changes a group on a broker (`UPDATE_AND_CREATE_SUBSCRIPTIONGROUP`).
    ///
    /// # Errors
    /// The broker refused or did not answer.
    pub async fn update_group(
        &self,
        addr: &str,
        group: &SubscriptionGroupConfig,
    ) -> Result<(), ClientError> {
        let code = RequestCode::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
        self.ask_with(addr, code, group.to_json()).await.map(drop)
    }

    /// Creates or changes groups on a broker (`UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST`, 5.x).
    ///
    /// # Errors
    /// The broker refused, does not know the request, or did not answer.
    pub async fn update_groups(
        &self,
        addr: &str,
        groups: Vec<SubscriptionGroupConfig>,
    ) -> Result<(), ClientError> {
        let body = SubscriptionGroupList {
            group_config_list: groups,
        };
        let code = RequestCode::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST;
        self.ask_with(addr, code, body.to_json()).await.map(drop)
    }

    /// Deletes a group from a broker, and its offsets if wished (`DELETE_SUBSCRIPTIONGROUP`).
    ///
    /// # Errors
    /// The broker refused or did not answer.
    pub async fn delete_group(
        &self,
        addr: &str,
        group: &str,
        remove_offset: bool,
    ) -> Result<(), ClientError> {
        // 4.9 knows the one name, 5.x the other.
        let header = DeleteSubscriptionGroupRequestHeader {
            group_name: group.to_owned(),
            remove_offset: Some(remove_offset),
            clean_offset: Some(remove_offset),
        };
        self.ask(addr, RequestCode::DELETE_SUBSCRIPTIONGROUP, &header)
            .await
            .map(drop)
    }

    /// All groups of a broker (`GET_ALL_SUBSCRIPTIONGROUP_CONFIG`).
    ///
    /// # Errors
    /// The broker refused or did not answer.
    pub async fn all_groups(&self, addr: &str) -> Result<SubscriptionGroupWrapper, ClientError> {
        let code = RequestCode::GET_ALL_SUBSCRIPTIONGROUP_CONFIG;
        let from_json = SubscriptionGroupWrapper::from_json;
        self.get_plain(addr, code, from_json).await
    }

    /// A group of a broker (`GET_SUBSCRIPTIONGROUP_CONFIG`, 5.x).
    ///
    /// # Errors
    /// The broker does not have it (SUBSCRIPTION_GROUP_NOT_EXIST), refused or did not answer.
    pub async fn group_config(
        &self,
        addr: &str,
        group: &str,
    ) -> Result<SubscriptionGroupConfig, ClientError> {
        let header = GetSubscriptionGroupConfigRequestHeader {
            group: group.to_owned(),
        };
        let code = RequestCode::GET_SUBSCRIPTIONGROUP_CONFIG;
        let from_json = SubscriptionGroupConfig::from_json;
        self.get(addr, code, &header, from_json).await
    }

    /// How far a group is on a broker, in all its topics or in one (`GET_CONSUME_STATS`).
    ///
    /// # Errors
    /// The broker refused or did not answer.
    pub async fn consume_stats(
        &self,
        addr: &str,
        group: &str,
        topic: Option<&str>,
    ) -> Result<ConsumeStats, ClientError> {
        let header = GetConsumeStatsRequestHeader {
            consumer_group: group.to_owned(),
            topic: topic.map(str::to_owned),
        };
        let code = RequestCode::GET_CONSUME_STATS;
        self.get(addr, code, &header, ConsumeStats::from_json).await
    }

    /// How far a group is in a topic on a broker, in time (`QUERY_CONSUME_TIME_SPAN`).
    ///
    /// # Errors
    /// The broker does not have the topic, refused or did not answer.
    pub async fn consume_time_span(
        &self,
        addr: &str,
        topic: &str,
        group: &str,
    ) -> Result<QueryConsumeTimeSpanBody, ClientError> {
        let header = QueryConsumeTimeSpanRequestHeader {
            topic: topic.to_owned(),
            group: group.to_owned(),
        };
        let code = RequestCode::QUERY_CONSUME_TIME_SPAN;
        let from_json = QueryConsumeTimeSpanBody::from_json;
        self.get(addr, code, &header, from_json).await
    }

    /// Has a group pull a topic from a broker or pop it (`SET_MESSAGE_REQUEST_MODE`, 5.x). What it
    /// means for members, only those that ask brokers for their queues find out.
    ///
    /// # Errors
    /// The broker does not have the topic, refused, does not know the request, or did not answer.
    pub async fn set_message_request_mode(
        &self,
        addr: &str,
        mode: &SetMessageRequestModeRequestBody,
    ) -> Result<(), ClientError> {
        let code = RequestCode::SET_MESSAGE_REQUEST_MODE;
        self.ask_with(addr, code, mode.to_json()).await.map(drop)
    }

    /// The groups that consume a topic on a broker (`QUERY_TOPIC_CONSUME_BY_WHO`).
    ///
    /// # Errors
    /// The broker refused or did not answer.
    pub async fn groups_of_topic(&self, addr: &str, topic: &str) -> Result<GroupList, ClientError> {
        let header = QueryTopicConsumeByWhoRequestHeader {
            topic: topic.to_owned(),
        };
        let code = RequestCode::QUERY_TOPIC_CONSUME_BY_WHO;
        self.get(addr, code, &header, GroupList::from_json).await
    }

    /// The topics that a group has offsets of on a broker (`QUERY_TOPICS_BY_CONSUMER`).
    ///
    /// # Errors
    /// The broker refused or did not answer.
    pub async fn topics_of_group(&self, addr: &str, group: &str) -> Result<TopicList, ClientError> {
        let header = QueryTopicsByConsumerRequestHeader {
            group: group.to_owned(),
        };
        let code = RequestCode::QUERY_TOPICS_BY_CONSUMER;
        self.get(addr, code, &header, TopicList::from_json).await
    }

    /// What a group subscribes to in a topic, as a broker knows (`QUERY_SUBSCRIPTION_BY_CONSUMER`).
    ///
    /// # Errors
    /// The broker refused or did not answer.
    pub async fn subscription_of_group(
        &self,
        addr: &str,
        group: &str,
        topic: &str,
    ) -> Result<QuerySubscriptionResponseBody, ClientError> {
        let header = QuerySubscriptionByConsumerRequestHeader {
            group: group.to_owned(),
            topic: topic.to_owned(),
        };
        let code = RequestCode::QUERY_SUBSCRIPTION_BY_CONSUMER;
        let from_json = QuerySubscriptionResponseBody::from_json;
        self.get(addr, code, &header, from_json).await
    }

    /// The smallest offset of each queue among the groups of a topic, the largest number where
    /// `compare_group` is behind it (`QUERY_CORRECTION_OFFSET`).
    ///
    /// # Errors
    /// The broker refused or did not answer.
    pub async fn query_correction_offset(
        &self,
        addr: &str,
        topic: &str,
        compare_group: &str,
        filter_groups: &[&str],
    ) -> Result<QueryCorrectionOffsetBody, ClientError> {
        let header = QueryCorrectionOffsetHeader {
            filter_groups: (!filter_groups.is_empty()).then(|| filter_groups.join(",")),
            compare_group: compare_group.to_owned(),
            topic: topic.to_owned(),
        };
        let code = RequestCode::QUERY_CORRECTION_OFFSET;
        let from_json = QueryCorrectionOffsetBody::from_json;
        self.get(addr, code, &header, from_json).await
    }
}
