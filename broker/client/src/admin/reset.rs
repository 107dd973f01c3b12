//! Moving groups to other offsets.

use hotfire_protocol::body::{GetConsumerStatusBody, ResetOffsetBody};
use hotfire_protocol::header::admin::CloneGroupOffsetRequestHeader;
use hotfire_protocol::header::client::{GetConsumerStatusRequestHeader, ResetOffsetRequestHeader};
use hotfire_protocol::{Language, RequestCode};

use super::call::LONG;
use crate::instance::malformed;
use crate::{Admin, ClientError};

impl Admin {
    /// Sets a group's offsets in a topic on a broker to a time, in milliseconds since the epoch;
    /// -1 is the end. Without `force`, queues only move back. The broker tells the members, who do
    /// it (`INVOKE_BROKER_TO_RESET_OFFSET`).
    ///
    /// # Errors
    /// The group has no members (CONSUMER_NOT_ONLINE), or the broker refused or did not answer.
    pub async fn reset_offset_by_time(
        &self,
        addr: &str,
        topic: &str,
        group: &str,
        timestamp_ms: i64,
        force: bool,
    ) -> Result<ResetOffsetBody, ClientError> {
        let members = Language::JAVA;
        self.reset_offset_of(members, addr, topic, group, timestamp_ms, force)
            .await
    }

    /// The same for members in C++, who want the offsets as a list. A broker of Hotfire sees who
    /// wants what; one of Apache RocketMQ believes whoever asks (`resetOffsetByTime -c`).
    ///
    /// # Errors
    /// As above.
    pub async fn reset_offset_of_cpp_members(
        &self,
        addr: &str,
        topic: &str,
        group: &str,
        timestamp_ms: i64,
        force: bool,
    ) -> Result<ResetOffsetBody, ClientError> {
        let members = Language::CPP;
        self.reset_offset_of(members, addr, topic, group, timestamp_ms, force)
            .await
    }

    async fn reset_offset_of(
        &self,
        members: Language,
        addr: &str,
        topic: &str,
        group: &str,
        timestamp_ms: i64,
        force: bool,
    ) -> Result<ResetOffsetBody, ClientError> {
        let header = ResetOffsetRequestHeader {
            topic: topic.to_owned(),
            group: group.to_owned(),
            timestamp: timestamp_ms,
            is_force: Some(force),
            queue_id: None,
            offset: None,
        };
        let instance = &self.inner.instance;
        let code = RequestCode::INVOKE_BROKER_TO_RESET_OFFSET;
        let mut request = instance.request(code, &header);
        request.language = members;
        let response = instance.call(addr, request, LONG).await?;
        ResetOffsetBody::from_json(&response.body).map_err(|error| malformed(addr, error))
    }

    /// What the members of a group hold of a topic: offsets by queue by client
    /// (`INVOKE_BROKER_TO_GET_CONSUMER_STATUS`).
    ///
    /// # Errors
    /// The group has no members, or the broker refused or did not answer.
    pub async fn consumer_status(
        &self,
        addr: &str,
        topic: &str,
        group: &str,
        client_addr: Option<&str>,
    ) -> Result<GetConsumerStatusBody, ClientError> {
        let header = GetConsumerStatusRequestHeader {
            topic: topic.to_owned(),
            group: group.to_owned(),
            client_addr: client_addr.map(str::to_owned),
        };
        let code = RequestCode::INVOKE_BROKER_TO_GET_CONSUMER_STATUS;
        self.get(addr, code, &header, GetConsumerStatusBody::from_json)
            .await
    }

    /// Copies the offsets of one group to another on a broker, of all topics or of one; with
    /// `offline` only if the other has no members (`CLONE_GROUP_OFFSET`).
    ///
    /// # Errors
    /// The broker refused or did not answer.
    pub async fn clone_group_offset(
        &self,
        addr: &str,
        from: &str,
        to: &str,
        topic: Option<&str>,
        offline: bool,
    ) -> Result<(), ClientError> {
        let header = CloneGroupOffsetRequestHeader {
            src_group: from.to_owned(),
            dest_group: to.to_owned(),
            topic: topic.map(str::to_owned),
            offline: Some(offline),
        };
        self.ask(addr, RequestCode::CLONE_GROUP_OFFSET, &header)
            .await
            .map(drop)
    }
}
