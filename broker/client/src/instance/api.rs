//! Calls of brokers, typed (`MQClientAPIImpl`).

use std::collections::BTreeSet;
use std::time::Duration;

use hotfire_protocol::body::{
    CheckClientRequestBody, GetConsumerListByGroupResponseBody, LockBatchRequestBody,
    LockBatchResponseBody, SubscriptionData, UnlockBatchRequestBody,
};
use hotfire_protocol::filter::is_tag_type;
use hotfire_protocol::header::client::GetConsumerListByGroupRequestHeader;
use hotfire_protocol::header::offset::{
    GetMaxOffsetRequestHeader, GetMaxOffsetResponseHeader, GetMinOffsetRequestHeader,
    GetMinOffsetResponseHeader, QueryConsumerOffsetRequestHeader,
    QueryConsumerOffsetResponseHeader, SearchOffsetRequestHeader, SearchOffsetResponseHeader,
    UpdateConsumerOffsetRequestHeader,
};
use hotfire_protocol::header::pull::{
    PullMessageRequestHeader, PullMessageResponseHeader, sys_flag as pull_flag,
};
use hotfire_protocol::message::{compression, property, record, sys_flag};
use hotfire_protocol::version::V4_1_0_SNAPSHOT;
use hotfire_protocol::{
    Header, MessageExt, MessageQueue, RemotingCommand, RequestCode, ResponseCode,
};

use crate::instance::{Instance, malformed, refusal};
use crate::{ClientError, PullResult, PullStatus};

/// How long querying and committing an offset may take.
const OFFSET_TIMEOUT: Duration = Duration::from_secs(5);
/// How long locking queues may take.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);
/// What a body may grow to when it is decompressed: far more than a broker takes.
const BODY_MAX: usize = 64 << 20;

impl Instance {
    /// Some member of a queue's broker group, after a route update if need be
    /// (`findBrokerAddressInAdmin`).
    pub(crate) async fn broker_of(&self, queue: &MessageQueue) -> Result<String, ClientError> {
        let known = || self.routes.read().any(&queue.broker_name);
        if let Some(found) = known() {
            return Ok(found.addr);
        }
        self.update_route(&queue.topic).await?;
        let found = known().ok_or_else(|| ClientError::NoBroker(queue.broker_name.clone()))?;
        Ok(found.addr)
    }

    /// The offset that a group has committed. `None`: it has none; that is the broker's word and
    /// never the consequence of an error.
    pub(crate) async fn query_offset(
        &self,
        group: &str,
        queue: &MessageQueue,
    ) -> Result<Option<i64>, ClientError> {
        let addr = self.broker_of(queue).await?;
        let header = QueryConsumerOffsetRequestHeader {
            consumer_group: group.to_owned(),
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
            broker_name: Some(queue.broker_name.clone()),
            ..QueryConsumerOffsetRequestHeader::default()
        };
        let request = self.request(RequestCode::QUERY_CONSUMER_OFFSET, &header);
        match self.call(&addr, request, OFFSET_TIMEOUT).await {
            Ok(response) => read::<QueryConsumerOffsetResponseHeader>(&addr, &response)
                .map(|header| Some(header.offset).filter(|&offset| offset >= 0)),
            Err(error) if error.code() == Some(ResponseCode::QUERY_NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Commits an offset, one-way: nobody tells whether it arrived.
    pub(crate) async fn commit_offset(
        &self,
        group: &str,
        queue: &MessageQueue,
        offset: i64,
    ) -> Result<(), ClientError> {
        let addr = self.broker_of(queue).await?;
        let request = self.update_offset_request(group, queue, offset);
        Ok(self.rpc.oneway(&addr, request, OFFSET_TIMEOUT).await?)
    }

    /// Commits an offset and waits for the broker's word.
    pub(crate) async fn update_offset(
        &self,
        group: &str,
        queue: &MessageQueue,
        offset: i64,
    ) -> Result<(), ClientError> {
        let addr = self.broker_of(queue).await?;
        let request = self.update_offset_request(group, queue, offset);
        self.call(&addr, request, OFFSET_TIMEOUT).await.map(drop)
    }

    fn update_offset_request(
        &self,
        group: &str,
        queue: &MessageQueue,
        offset: i64,
    ) -> RemotingCommand {
        let header = UpdateConsumerOffsetRequestHeader {
            consumer_group: group.to_owned(),
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
            commit_offset: offset,
            broker_name: Some(queue.broker_name.clone()),
        };
        self.request(RequestCode::UPDATE_CONSUMER_OFFSET, &header)
    }

    /// The next offset to be written.
    pub(crate) async fn max_offset(&self, queue: &MessageQueue) -> Result<i64, ClientError> {
        let header = GetMaxOffsetRequestHeader {
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
            broker_name: Some(queue.broker_name.clone()),
            ..GetMaxOffsetRequestHeader::default()
        };
        let answer = self.ask_master(queue, RequestCode::GET_MAX_OFFSET, &header);
        answer
            .await
            .map(|answer: GetMaxOffsetResponseHeader| answer.offset)
    }

    /// The smallest offset there is.
    pub(crate) async fn min_offset(&self, queue: &MessageQueue) -> Result<i64, ClientError> {
        let header = GetMinOffsetRequestHeader {
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
            broker_name: Some(queue.broker_name.clone()),
        };
        let answer = self.ask_master(queue, RequestCode::GET_MIN_OFFSET, &header);
        answer
            .await
            .map(|answer: GetMinOffsetResponseHeader| answer.offset)
    }

    /// The offset at a time.
    pub(crate) async fn search_offset(
        &self,
        queue: &MessageQueue,
        timestamp_ms: i64,
    ) -> Result<i64, ClientError> {
        let header = SearchOffsetRequestHeader {
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
            timestamp: timestamp_ms,
            broker_name: Some(queue.broker_name.clone()),
            ..SearchOffsetRequestHeader::default()
        };
        let answer = self.ask_master(queue, RequestCode::SEARCH_OFFSET_BY_TIMESTAMP, &header);
        answer
            .await
            .map(|answer: SearchOffsetResponseHeader| answer.offset)
    }

    /// Asks the master that a queue is on, and reads the header of its answer.
    async fn ask_master<H: Header>(
        &self,
        queue: &MessageQueue,
        code: RequestCode,
        header: &impl Header,
    ) -> Result<H, ClientError> {
        let addr = self.master_of(queue).await?;
        let request = self.request(code, header);
        let response = self.call(&addr, request, self.config.api_timeout).await?;
        read(&addr, &response)
    }

    /// The members of a group, as a random broker of the topic sees them.
    pub(crate) async fn consumer_ids(
        &self,
        topic: &str,
        group: &str,
    ) -> Result<Vec<String>, ClientError> {
        let random = self.random();
        let known = || self.routes.read().broker_of(topic, random);
        let addr = match known() {
            Some(addr) => addr,
            None => {
                self.update_route(topic).await?;
                known().ok_or_else(|| ClientError::NoBroker(format!("any of topic {topic}")))?
            }
        };
        let header = GetConsumerListByGroupRequestHeader {
            consumer_group: group.to_owned(),
        };
        let request = self.request(RequestCode::GET_CONSUMER_LIST_BY_GROUP, &header);
        let response = self.call(&addr, request, self.config.api_timeout).await?;
        GetConsumerListByGroupResponseBody::from_json(&response.body)
            .map(|body| body.consumer_id_list)
            .map_err(|error| malformed(&addr, error))
    }

    /// Locks queues of one broker group for this client; returns those that are locked now.
    pub(crate) async fn lock_queues(
        &self,
        group: &str,
        broker_name: &str,
        queues: BTreeSet<MessageQueue>,
    ) -> Result<BTreeSet<MessageQueue>, ClientError> {
        let addr = self.known_master(broker_name)?;
        let body = LockBatchRequestBody {
            client_id: self.client_id.clone(),
            consumer_group: group.to_owned(),
            mq_set: queues,
        };
        let request = self
            .plain_request(RequestCode::LOCK_BATCH_MQ)
            .with_body(body.to_json());
        let response = self.call(&addr, request, LOCK_TIMEOUT).await?;
        LockBatchResponseBody::from_json(&response.body)
            .map(|body| body.lock_ok_mq_set)
            .map_err(|error| malformed(&addr, error))
    }

    /// Unlocks queues of one broker group, one-way or not.
    pub(crate) async fn unlock_queues(
        &self,
        group: &str,
        broker_name: &str,
        queues: BTreeSet<MessageQueue>,
        oneway: bool,
    ) -> Result<(), ClientError> {
        let addr = self.known_master(broker_name)?;
        let body = UnlockBatchRequestBody {
            client_id: self.client_id.clone(),
            consumer_group: group.to_owned(),
            mq_set: queues,
        };
        let request = self
            .plain_request(RequestCode::UNLOCK_BATCH_MQ)
            .with_body(body.to_json());
        if oneway {
            Ok(self.rpc.oneway(&addr, request, LOCK_TIMEOUT).await?)
        } else {
            self.call(&addr, request, LOCK_TIMEOUT).await.map(drop)
        }
    }

    fn known_master(&self, broker_name: &str) -> Result<String, ClientError> {
        let master = self.routes.read().master(broker_name);
        master.ok_or_else(|| ClientError::NoBroker(broker_name.to_owned()))
    }

    /// Asks a broker of the subscription's topic whether it accepts the subscription. If no broker
    /// of the topic is known, nobody is asked.
    pub(crate) async fn check_subscription(
        &self,
        group: &str,
        subscription: &SubscriptionData,
    ) -> Result<(), ClientError> {
        let random = self.random();
        let broker = self.routes.read().broker_of(&subscription.topic, random);
        let Some(addr) = broker else { return Ok(()) };
        let body = CheckClientRequestBody {
            client_id: self.client_id.clone(),
            group: group.to_owned(),
            namespace: None,
            subscription_data: subscription.clone(),
        };
        let request = self.plain_request(RequestCode::CHECK_CLIENT_CONFIG);
        let request = request.with_body(body.to_json());
        let limit = self.config.api_timeout;
        self.call(&addr, request, limit).await.map(drop)
    }

    /// Pulls once. The connection survives a timeout, as it does for Java's asynchronous pulls.
    pub(crate) async fn pull(
        &self,
        addr: &str,
        header: &PullMessageRequestHeader,
        timeout: Duration,
    ) -> Result<PullResult, ClientError> {
        let code = match header.sys_flag & pull_flag::LITE_PULL {
            0 => RequestCode::PULL_MESSAGE,
            _ => RequestCode::LITE_PULL_MESSAGE,
        };
        let kind = header.expression_type.as_deref();
        if !is_tag_type(kind) && self.broker_version(addr) < V4_1_0_SNAPSHOT {
            return Err(ClientError::Invalid(format!(
                "the broker {addr} does not upgrade to support for filter message by {}",
                kind.unwrap_or_default()
            )));
        }
        let request = self.request(code, header);
        let response = self.rpc.invoke_async(addr, request, timeout).await?;
        let status = match ResponseCode(response.code) {
            ResponseCode::SUCCESS => PullStatus::Found,
            ResponseCode::PULL_NOT_FOUND => PullStatus::NoNewMessage,
            ResponseCode::PULL_RETRY_IMMEDIATELY => PullStatus::NoMatchedMessage,
            ResponseCode::PULL_OFFSET_MOVED => PullStatus::OffsetIllegal,
            _ => return Err(refusal(addr, response)),
        };
        let header = read::<PullMessageResponseHeader>(addr, &response)?;
        let mut messages = match status {
            PullStatus::Found => decode_messages(addr, response)?,
            _ => Vec::new(),
        };
        for message in &mut messages {
            let properties = &mut message.message.properties;
            properties.set(property::MIN_OFFSET, header.min_offset.to_string());
            properties.set(property::MAX_OFFSET, header.max_offset.to_string());
        }
        Ok(PullResult {
            status,
            next_begin_offset: header.next_begin_offset,
            min_offset: header.min_offset,
            max_offset: header.max_offset,
            suggested_broker_id: header.suggest_which_broker_id,
            messages,
        })
    }
}

/// The messages in the body of a response, with their bodies decompressed.
pub(crate) fn decode_messages(
    addr: &str,
    response: RemotingCommand,
) -> Result<Vec<MessageExt>, ClientError> {
    let mut messages =
        record::decode_all(response.body, false).map_err(|error| malformed(addr, error))?;
    for message in &mut messages {
        if message.sys_flag & sys_flag::COMPRESSED != 0 {
            let body = &message.message.body;
            message.message.body = compression::decompress(body, message.sys_flag, BODY_MAX)
                .map_err(|error| malformed(addr, error))?;
        }
    }
    Ok(messages)
}

/// The custom header of a response.
pub(crate) fn read<H: Header>(addr: &str, response: &RemotingCommand) -> Result<H, ClientError> {
    response.header().map_err(|error| malformed(addr, error))
}
