//! Looking up messages: QUERY_MESSAGE and VIEW_MESSAGE_BY_ID (`QueryMessageProcessor`).

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use hotfire_protocol::header::query::{
    QueryMessageRequestHeader, QueryMessageResponseHeader, ViewMessageRequestHeader,
};
use hotfire_protocol::{RemotingCommand, ResponseCode};
use hotfire_remoting::Channel;

use super::{Answer, RESPONSE_BODY_MAX};
use crate::access;
use crate::acl::Perm;
use crate::refusal::Refusal;
use crate::state::State;

/// QUERY_MESSAGE: messages with a key. Those of another key with the same hash are among them; the
/// client sorts them out.
pub(super) fn by_key(broker: &State, request: &RemotingCommand) -> Answer {
    let header: QueryMessageRequestHeader = request.header()?;
    let max = match header.unique_key_query {
        Some(true) => broker.config().default_query_max_num,
        _ => usize::try_from(header.max_num).unwrap_or(0),
    };
    let found = broker.store.query_message(
        &header.topic,
        &header.key,
        max,
        header.begin_timestamp,
        header.end_timestamp,
    );
    let header = QueryMessageResponseHeader {
        index_last_update_timestamp: found.index_last_update_timestamp,
        index_last_update_phyoffset: found.index_last_update_phyoffset,
    };
    let mut response = request.response_with(ResponseCode::SUCCESS, &header);
    if found.records.is_empty() {
        response.code = ResponseCode::QUERY_NOT_FOUND.0;
        response.remark = Some("can not find message, maybe time range not correct".to_owned());
        return Ok(response);
    }
    let newest = newest(&found.records, RESPONSE_BODY_MAX);
    let mut body = BytesMut::with_capacity(newest.iter().map(Bytes::len).sum());
    for record in newest {
        body.extend_from_slice(record);
    }
    Ok(response.with_body(body.freeze()))
}

/// The newest of the records that fit together, at least one.
fn newest(records: &[Bytes], max_bytes: usize) -> &[Bytes] {
    let mut bytes = 0;
    let fits = records.iter().rev().take_while(|record| {
        let first = bytes == 0;
        bytes += record.len();
        first || bytes <= max_bytes
    });
    let count = fits.count();
    &records[records.len() - count..]
}

/// VIEW_MESSAGE_BY_ID: the message at a commit log offset.
pub(super) fn by_offset(
    broker: &Arc<State>,
    channel: &Channel,
    request: &RemotingCommand,
) -> Answer {
    let header: ViewMessageRequestHeader = request.header()?;
    access::admit_to_message(broker, channel, request, header.offset, Perm::SUB)?;
    match broker.store.look_record(header.offset) {
        Some(record) => Ok(request.response(ResponseCode::SUCCESS).with_body(record)),
        None => {
            let remark = format!("can not find message by the offset, {}", header.offset);
            Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark))
        }
    }
}
