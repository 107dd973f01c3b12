//! Requests to one broker, about itself.

use std::time::Duration;

use hotfire_protocol::RequestCode;
use hotfire_protocol::body::{
    BrokerStatsData, ConsumeStatsList, ConsumerOffsetSerializeWrapper, DelayOffsetSerializeWrapper,
    KVTable, QueryConsumeQueueResponseBody,
};
use hotfire_protocol::header::admin::GetConsumeStatsInBrokerHeader;
use hotfire_protocol::header::query::{
    QueryConsumeQueueRequestHeader, ViewBrokerStatsDataRequestHeader,
};

use crate::instance::malformed;
use crate::{Admin, ClientError};

impl Admin {
    /// How a broker is and what it has done, as texts by name (`GET_BROKER_RUNTIME_INFO`).
    ///
    /// # Errors
    /// The broker refused or did not answer.
    pub async fn broker_runtime_info(&self, addr: &str) -> Result<KVTable, ClientError> {
        let code = RequestCode::GET_BROKER_RUNTIME_INFO;
        self.get_plain(addr, code, KVTable::from_json).await
    }

    /// The settings of a broker, as Java properties (`GET_BROKER_CONFIG`).
    ///
    /// # Errors
    /// The broker refused or did not answer.
    pub async fn broker_config(&self, addr: &str) -> Result<String, ClientError> {
        let code = RequestCode::GET_BROKER_CONFIG;
        let response = self.ask_with(addr, code, Vec::new()).await?;
        Ok(String::from_utf8_lossy(&response.body).into_owned())
    }

    /// Changes settings of a broker, given as Java properties (`UPDATE_BROKER_CONFIG`).
    ///
    /// # Errors
    /// The broker refused or did not answer.
    pub async fn update_broker_config(
        &self,
        addr: &str,
        properties: &str,
    ) -> Result<(), ClientError> {
        let body = properties.as_bytes().to_vec();
        self.ask_with(addr, RequestCode::UPDATE_BROKER_CONFIG, body)
            .await
            .map(drop)
    }

    /// One statistic of a broker over the last minute, hour and day (`VIEW_BROKER_STATS_DATA`):
    /// for example `TOPIC_PUT_NUMS` of a topic, or `GROUP_GET_NUMS` of `topic@group`.
    ///
    /// # Errors
    /// The broker has no such statistic, refused or did not answer.
    pub async fn view_broker_stats(
        &self,
        addr: &str,
        name: &str,
        key: &str,
    ) -> Result<BrokerStatsData, ClientError> {
        let header = ViewBrokerStatsDataRequestHeader {
            stats_name: name.to_owned(),
            stats_key: key.to_owned(),
        };
        let code = RequestCode::VIEW_BROKER_STATS_DATA;
        self.get(addr, code, &header, BrokerStatsData::from_json)
            .await
    }

    /// How far all groups of a broker are, or those with ordered topics
    /// (`GET_BROKER_CONSUME_STATS`). With many groups that takes a broker some time.
    ///
    /// # Errors
    /// The broker refused or did not answer in time.
    pub async fn broker_consume_stats(
        &self,
        addr: &str,
        is_order: bool,
        timeout: Duration,
    ) -> Result<ConsumeStatsList, ClientError> {
        let header = GetConsumeStatsInBrokerHeader { is_order };
        let instance = &self.inner.instance;
        let request = instance.request(RequestCode::GET_BROKER_CONSUME_STATS, &header);
        let response = instance.call(addr, request, timeout).await?;
        ConsumeStatsList::from_json(&response.body).map_err(|error| malformed(addr, error))
    }

    /// Units of a consume queue from an index on, and what a group's filter makes of them
    /// (`QUERY_CONSUME_QUEUE`).
    ///
    /// # Errors
    /// There is no such queue, or the broker refused or did not answer.
    pub async fn query_consume_queue(
        &self,
        addr: &str,
        topic: &str,
        queue_id: i32,
        index: i64,
        count: i32,
        group: Option<&str>,
    ) -> Result<QueryConsumeQueueResponseBody, ClientError> {
        let header = QueryConsumeQueueRequestHeader {
            topic: topic.to_owned(),
            queue_id,
            index,
            count,
            consumer_group: group.map(str::to_owned),
        };
        let code = RequestCode::QUERY_CONSUME_QUEUE;
        let from_json = QueryConsumeQueueResponseBody::from_json;
        self.get(addr, code, &header, from_json).await
    }

    /// Removes consume queue files that point at nothing but deleted messages
    /// (`CLEAN_EXPIRED_CONSUMEQUEUE`).
    ///
    /// # Errors
    /// The broker refused or did not answer.
    pub async fn clean_expired_consume_queue(&self, addr: &str) -> Result<(), ClientError> {
        let code = RequestCode::CLEAN_EXPIRED_CONSUMEQUEUE;
        self.ask_with(addr, code, Vec::new()).await.map(drop)
    }

    /// Removes the consume queues of topics that are not there any more (`CLEAN_UNUSED_TOPIC`).
    ///
    /// # Errors
    /// The broker refused or did not answer.
    pub async fn clean_unused_topic(&self, addr: &str) -> Result<(), ClientError> {
        let code = RequestCode::CLEAN_UNUSED_TOPIC;
        self.ask_with(addr, code, Vec::new()).await.map(drop)
    }

    /// Deletes expired commit log files now; the answer does not wait for it
    /// (`DELETE_EXPIRED_COMMITLOG`).
    ///
    /// # Errors
    /// The broker refused or did not answer.
    pub async fn delete_expired_commit_log(&self, addr: &str) -> Result<(), ClientError> {
        let code = RequestCode::DELETE_EXPIRED_COMMITLOG;
        self.ask_with(addr, code, Vec::new()).await.map(drop)
    }

    /// All committed offsets of a broker (`GET_ALL_CONSUMER_OFFSET`).
    ///
    /// # Errors
    /// The broker refused or did not answer.
    pub async fn all_consumer_offsets(
        &self,
        addr: &str,
    ) -> Result<ConsumerOffsetSerializeWrapper, ClientError> {
        let code = RequestCode::GET_ALL_CONSUMER_OFFSET;
        let from_json = ConsumerOffsetSerializeWrapper::from_json;
        self.get_plain(addr, code, from_json).await
    }

    /// How far a broker has delivered the messages of each delay level (`GET_ALL_DELAY_OFFSET`).
    ///
    /// # Errors
    /// The broker refused or did not answer.
    pub async fn all_delay_offsets(
        &self,
        addr: &str,
    ) -> Result<DelayOffsetSerializeWrapper, ClientError> {
        let code = RequestCode::GET_ALL_DELAY_OFFSET;
        let from_json = DelayOffsetSerializeWrapper::from_json;
        self.get_plain(addr, code, from_json).await
    }
}
