//! Connected clients, and what brokers pass on to them.

use hotfire_protocol::RequestCode;
use hotfire_protocol::body::{
    ConsumeMessageDirectlyResult, ConsumerConnection, ConsumerRunningInfo, ProducerConnection,
    ProducerTableInfo,
};
use hotfire_protocol::header::client::{
    ConsumeMessageDirectlyResultRequestHeader, GetConsumerConnectionListRequestHeader,
    GetConsumerRunningInfoRequestHeader, GetProducerConnectionListRequestHeader,
};

use crate::{Admin, ClientError};

impl Admin {
    /// The members of a consumer group and what they subscribe to (`GET_CONSUMER_CONNECTION_LIST`).
    ///
    /// # Errors
    /// The group has no members (CONSUMER_NOT_ONLINE), or the broker refused or did not answer.
    pub async fn consumer_connections(
        &self,
        addr: &str,
        group: &str,
    ) -> Result<ConsumerConnection, ClientError> {
        let header = GetConsumerConnectionListRequestHeader {
            consumer_group: group.to_owned(),
        };
        let code = RequestCode::GET_CONSUMER_CONNECTION_LIST;
        self.get(addr, code, &header, ConsumerConnection::from_json)
            .await
    }

    /// The members of a producer group (`GET_PRODUCER_CONNECTION_LIST`).
    ///
    /// # Errors
    /// The group has no members (SYSTEM_ERROR), or the broker refused or did not answer.
    pub async fn producer_connections(
        &self,
        addr: &str,
        group: &str,
    ) -> Result<ProducerConnection, ClientError> {
        let header = GetProducerConnectionListRequestHeader {
            producer_group: group.to_owned(),
        };
        let code = RequestCode::GET_PRODUCER_CONNECTION_LIST;
        self.get(addr, code, &header, ProducerConnection::from_json)
            .await
    }

    /// All producers of a broker, by group (`GET_ALL_PRODUCER_INFO`).
    ///
    /// # Errors
    /// The broker refused or did not answer.
    pub async fn all_producers(&self, addr: &str) -> Result<ProducerTableInfo, ClientError> {
        let code = RequestCode::GET_ALL_PRODUCER_INFO;
        self.get_plain(addr, code, ProducerTableInfo::from_json)
            .await
    }

    /// What a consumer is doing (`GET_CONSUMER_RUNNING_INFO`): the broker asks it.
    ///
    /// # Errors
    /// The consumer is not connected to the broker (SYSTEM_ERROR), does not answer
    /// (CONSUME_MSG_TIMEOUT), or the broker does not.
    pub async fn consumer_running_info(
        &self,
        addr: &str,
        group: &str,
        client_id: &str,
        jstack: bool,
    ) -> Result<ConsumerRunningInfo, ClientError> {
        let header = GetConsumerRunningInfoRequestHeader {
            consumer_group: group.to_owned(),
            client_id: client_id.to_owned(),
            jstack_enable: Some(jstack),
        };
        let code = RequestCode::GET_CONSUMER_RUNNING_INFO;
        self.get(addr, code, &header, ConsumerRunningInfo::from_json)
            .await
    }

    /// Has a consumer consume one message of a broker, named by its offset id, and tells what the
    /// listener made of it (`CONSUME_MESSAGE_DIRECTLY`). No offset changes.
    ///
    /// # Errors
    /// There is no such message or consumer, the consumer does not answer (CONSUME_MSG_TIMEOUT), or
    /// the broker does not.
    pub async fn consume_message_directly(
        &self,
        addr: &str,
        group: &str,
        client_id: &str,
        offset_msg_id: &str,
    ) -> Result<ConsumeMessageDirectlyResult, ClientError> {
        let header = ConsumeMessageDirectlyResultRequestHeader {
            consumer_group: group.to_owned(),
            client_id: Some(client_id.to_owned()),
            msg_id: Some(offset_msg_id.to_owned()),
            broker_name: None,
            topic: None,
        };
        let code = RequestCode::CONSUME_MESSAGE_DIRECTLY;
        let from_json = ConsumeMessageDirectlyResult::from_json;
        self.get(addr, code, &header, from_json).await
    }
}
