//! Moving groups to other offsets.

use hotfire_protocol::RequestCode;
use hotfire_protocol::body::{GetConsumerStatusBody, ResetOffsetBody};
use hotfire_protocol::header::admin::CloneGroupOffsetRequestHeader;
use hotfire_protocol::header::client::{GetConsumerStatusRequestHeader, ResetOffsetRequestHeader};

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
        let header = ResetOffsetRequestHeader {
            topic: topic.to_owned(),
            group: group.to_owned(),
            timestamp: timestamp_ms,
            is_force: Some(force),
            queue_id: None,
            offset: None,
        };
        let code = RequestCode::INVOKE_BROKER_TO_RESET_OFFSET;
        self.get(addr, code, &header, ResetOffsetBody::from_json)
            .await
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
