//! Looking messages up: by offset id, by key, by unique key.

use hotfire_protocol::header::query::{QueryMessageRequestHeader, ViewMessageRequestHeader};
use hotfire_protocol::message::{id, property};
use hotfire_protocol::{MessageExt, RequestCode, ResponseCode};

use crate::instance::decode_messages;
use crate::{Admin, ClientError};

/// How far back a message is looked for by its unique key.
const UNIQUE_KEY_AGE_MS: i64 = 3 * 24 * 3_600_000;
/// How many copies of it a broker is asked for.
const UNIQUE_KEY_MAX: i32 = 32;

impl Admin {
    /// The message with an offset id, from the broker that the id names.
    ///
    /// # Errors
    /// It is not an offset id, there is no such message, or the broker did not answer.
    pub async fn view_message(&self, offset_msg_id: &str) -> Result<MessageExt, ClientError> {
        let (host, offset) = id::parse_offset_msg_id(offset_msg_id).ok_or_else(|| {
            ClientError::Invalid(format!("`{offset_msg_id}` is not an offset message id"))
        })?;
        let instance = &self.inner.instance;
        let addr = host.to_string();
        let header = ViewMessageRequestHeader { offset };
        let request = instance.request(RequestCode::VIEW_MESSAGE_BY_ID, &header);
        let response = instance
            .call(&addr, request, instance.config.api_timeout)
            .await?;
        let messages = decode_messages(&addr, response)?;
        messages
            .into_iter()
            .next()
            .ok_or_else(|| ClientError::Malformed {
                addr,
                reason: "the answer has no message".to_owned(),
            })
    }

    /// The messages of a topic with a key, stored between two times (milliseconds since the epoch),
    /// from all brokers of the topic.
    ///
    /// # Errors
    /// The topic has no route, or no broker answered.
    pub async fn query_by_key(
        &self,
        topic: &str,
        key: &str,
        max: i32,
        begin_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<MessageExt>, ClientError> {
        let header = QueryMessageRequestHeader {
            topic: topic.to_owned(),
            key: key.to_owned(),
            max_num: max,
            begin_timestamp: begin_ms,
            end_timestamp: end_ms,
            unique_key_query: Some(false),
        };
        let mut found = self.query(topic, &header).await?;
        // The index knows hashes only.
        found.retain(|message| {
            let mut keys = message
                .message
                .keys()
                .unwrap_or_default()
                .split(property::KEY_SEPARATOR);
            message.message.topic == topic && keys.any(|own| own == key)
        });
        Ok(found)
    }

    /// The message of a topic with a unique key, stored within the last three days. If it was stored
    /// several times, the first.
    ///
    /// # Errors
    /// The topic has no route, or no broker answered.
    pub async fn query_by_unique_key(
        &self,
        topic: &str,
        unique_key: &str,
    ) -> Result<Option<MessageExt>, ClientError> {
        let since = self.inner.instance.env.now_ms() - UNIQUE_KEY_AGE_MS;
        let found = self.query_all_by_unique_key(topic, unique_key, since);
        Ok(found.await?.into_iter().next())
    }

    /// Every copy of a message of a topic with a unique key that was stored since a time
    /// (milliseconds since the epoch), the first copy first; at most 32 per broker.
    ///
    /// # Errors
    /// The topic has no route, or no broker answered.
    pub async fn query_all_by_unique_key(
        &self,
        topic: &str,
        unique_key: &str,
        begin_ms: i64,
    ) -> Result<Vec<MessageExt>, ClientError> {
        let header = QueryMessageRequestHeader {
            topic: topic.to_owned(),
            key: unique_key.to_owned(),
            max_num: UNIQUE_KEY_MAX,
            begin_timestamp: begin_ms,
            end_timestamp: i64::MAX,
            unique_key_query: Some(true),
        };
        let mut found = self.query(topic, &header).await?;
        found.retain(|message| message.message.unique_key() == Some(unique_key));
        found.sort_by_key(|message| message.store_timestamp);
        Ok(found)
    }

    async fn query(
        &self,
        topic: &str,
        header: &QueryMessageRequestHeader,
    ) -> Result<Vec<MessageExt>, ClientError> {
        let instance = &self.inner.instance;
        // Asked anew each time: in an old route a broker may be missing that was away for a moment.
        let updated = instance.update_route(topic).await;
        let brokers = instance.routes.read().brokers_of(topic);
        if brokers.is_empty() {
            updated?;
        }
        let (mut found, mut failed, mut answers) = (Vec::new(), None, 0);
        for addr in brokers {
            let request = instance.request(RequestCode::QUERY_MESSAGE, header);
            match instance
                .call(&addr, request, instance.config.api_timeout)
                .await
            {
                Ok(response) => {
                    answers += 1;
                    found.extend(decode_messages(&addr, response)?);
                }
                Err(error) if error.code() == Some(ResponseCode::QUERY_NOT_FOUND) => answers += 1,
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) if answers == 0 => Err(error),
            _ => Ok(found),
        }
    }
}
