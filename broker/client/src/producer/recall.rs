//! Calling back messages that wait for their time (`DefaultMQProducerImpl.recallMessage`).

use hotfire_protocol::header::recall::{RecallMessageRequestHeader, RecallMessageResponseHeader};
use hotfire_protocol::message::recall::RecallHandle;
use hotfire_protocol::topic::{check_topic, dlq_group, retry_group};
use hotfire_protocol::{MessageQueue, RequestCode};

use super::send::Sender;
use crate::ClientError;
use crate::instance::malformed;

impl Sender {
    /// See [`Producer::recall`](crate::Producer::recall).
    pub(crate) async fn recall(&self, topic: &str, handle: &str) -> Result<String, ClientError> {
        let invalid = |why: String| ClientError::Invalid(why);
        let topic = self.instance.config.wrap(topic);
        check_topic(&topic).map_err(|error| invalid(error.to_string()))?;
        if retry_group(&topic).is_some() || dlq_group(&topic).is_some() {
            return Err(invalid("topic is not supported".to_owned()));
        }
        let known = RecallHandle::decode(handle).map_err(|error| invalid(error.to_string()))?;
        let queue = MessageQueue::new(topic.as_str(), known.broker_name.as_str(), 0);
        let addr = self.instance.master_of(&queue).await?;
        let header = RecallMessageRequestHeader {
            producer_group: Some(self.config.group.clone()),
            topic,
            recall_handle: handle.to_owned(),
            broker_name: Some(known.broker_name),
        };
        let request = self.instance.request(RequestCode::RECALL_MESSAGE, &header);
        let response = self
            .instance
            .call(&addr, request, self.config.timeout)
            .await?;
        let header: RecallMessageResponseHeader =
            response.header().map_err(|error| malformed(&addr, error))?;
        Ok(header.msg_id)
    }
}
