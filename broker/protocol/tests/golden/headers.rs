use hotfire_protocol::header::admin::*;
use hotfire_protocol::header::client::*;
use hotfire_protocol::header::namesrv::*;
use hotfire_protocol::header::offset::*;
use hotfire_protocol::header::pull::*;
use hotfire_protocol::header::query::*;
use hotfire_protocol::header::send::*;
use hotfire_protocol::header::topic::*;
use hotfire_protocol::header::transaction::*;
use hotfire_protocol::{ExtFields, Header, HeaderError, RemotingCommand};

use crate::rows;

/// Fields that no header has: they belong to access control and to the client's bookkeeping.
const FREE: [&str; 4] = ["AccessKey", "Signature", "OnsChannel", "ReqT"];

type Again = Result<ExtFields, HeaderError>;

/// Reads a typed header and writes it again.
fn again<H: Header>(command: &RemotingCommand) -> Again {
    let header: H = command.header()?;
    let mut ext = ExtFields::new();
    header.write(&mut ext);
    Ok(ext)
}

/// The header of a request, by the name of its code; `None` if the code has none.
pub(crate) fn request_again(name: &str, command: &RemotingCommand) -> Option<Again> {
    let read: fn(&RemotingCommand) -> Again = match name {
        "SEND_MESSAGE" => again::<SendMessageRequestHeader>,
        "SEND_MESSAGE_V2" | "SEND_BATCH_MESSAGE" | "SEND_REPLY_MESSAGE_V2" => {
            again::<SendMessageRequestHeaderV2>
        }
        "PULL_MESSAGE" => again::<PullMessageRequestHeader>,
        "CONSUMER_SEND_MSG_BACK" => again::<ConsumerSendMsgBackRequestHeader>,
        "PUSH_REPLY_MESSAGE_TO_CLIENT" => again::<ReplyMessageRequestHeader>,
        "END_TRANSACTION" => again::<EndTransactionRequestHeader>,
        "CHECK_TRANSACTION_STATE" => again::<CheckTransactionStateRequestHeader>,
        "QUERY_CONSUMER_OFFSET" => again::<QueryConsumerOffsetRequestHeader>,
        "UPDATE_CONSUMER_OFFSET" => again::<UpdateConsumerOffsetRequestHeader>,
        "SEARCH_OFFSET_BY_TIMESTAMP" => again::<SearchOffsetRequestHeader>,
        "GET_MAX_OFFSET" => again::<GetMaxOffsetRequestHeader>,
        "GET_MIN_OFFSET" => again::<GetMinOffsetRequestHeader>,
        "GET_EARLIEST_MSG_STORETIME" => again::<GetEarliestMsgStoretimeRequestHeader>,
        "QUERY_MESSAGE" => again::<QueryMessageRequestHeader>,
        "VIEW_MESSAGE_BY_ID" => again::<ViewMessageRequestHeader>,
        "QUERY_CONSUME_QUEUE" => again::<QueryConsumeQueueRequestHeader>,
        "VIEW_BROKER_STATS_DATA" => again::<ViewBrokerStatsDataRequestHeader>,
        "GET_ROUTEINFO_BY_TOPIC" => again::<GetRouteInfoRequestHeader>,
        "REGISTER_BROKER" => again::<RegisterBrokerRequestHeader>,
        "UNREGISTER_BROKER" => again::<UnRegisterBrokerRequestHeader>,
        "QUERY_DATA_VERSION" => again::<QueryDataVersionRequestHeader>,
        "PUT_KV_CONFIG" => again::<PutKVConfigRequestHeader>,
        "GET_KV_CONFIG" => again::<GetKVConfigRequestHeader>,
        "DELETE_KV_CONFIG" => again::<DeleteKVConfigRequestHeader>,
        "GET_KVLIST_BY_NAMESPACE" => again::<GetKVListByNamespaceRequestHeader>,
        "WIPE_WRITE_PERM_OF_BROKER" => again::<WipeWritePermOfBrokerRequestHeader>,
        "ADD_WRITE_PERM_OF_BROKER" => again::<AddWritePermOfBrokerRequestHeader>,
        "UPDATE_AND_CREATE_TOPIC" => again::<CreateTopicRequestHeader>,
        "DELETE_TOPIC_IN_BROKER" => again::<DeleteTopicRequestHeader>,
        "DELETE_TOPIC_IN_NAMESRV" => again::<DeleteTopicFromNamesrvRequestHeader>,
        "GET_TOPIC_STATS_INFO" => again::<GetTopicStatsInfoRequestHeader>,
        "GET_TOPICS_BY_CLUSTER" => again::<GetTopicsByClusterRequestHeader>,
        "QUERY_TOPIC_CONSUME_BY_WHO" => again::<QueryTopicConsumeByWhoRequestHeader>,
        "QUERY_CONSUME_TIME_SPAN" => again::<QueryConsumeTimeSpanRequestHeader>,
        "UNREGISTER_CLIENT" => again::<UnregisterClientRequestHeader>,
        "GET_CONSUMER_LIST_BY_GROUP" => again::<GetConsumerListByGroupRequestHeader>,
        "NOTIFY_CONSUMER_IDS_CHANGED" => again::<NotifyConsumerIdsChangedRequestHeader>,
        "GET_CONSUMER_CONNECTION_LIST" => again::<GetConsumerConnectionListRequestHeader>,
        "GET_PRODUCER_CONNECTION_LIST" => again::<GetProducerConnectionListRequestHeader>,
        "GET_CONSUMER_RUNNING_INFO" => again::<GetConsumerRunningInfoRequestHeader>,
        "CONSUME_MESSAGE_DIRECTLY" => again::<ConsumeMessageDirectlyResultRequestHeader>,
        "INVOKE_BROKER_TO_RESET_OFFSET" | "RESET_CONSUMER_CLIENT_OFFSET" => {
            again::<ResetOffsetRequestHeader>
        }
        "INVOKE_BROKER_TO_GET_CONSUMER_STATUS" | "GET_CONSUMER_STATUS_FROM_CLIENT" => {
            again::<GetConsumerStatusRequestHeader>
        }
        "DELETE_SUBSCRIPTIONGROUP" => again::<DeleteSubscriptionGroupRequestHeader>,
        "GET_CONSUME_STATS" => again::<GetConsumeStatsRequestHeader>,
        "GET_BROKER_CONSUME_STATS" => again::<GetConsumeStatsInBrokerHeader>,
        "CLONE_GROUP_OFFSET" => again::<CloneGroupOffsetRequestHeader>,
        _ => return None,
    };
    Some(read(command))
}

/// The header of a successful response, by the name of its request's code.
fn response_again(name: &str, command: &RemotingCommand) -> Option<Again> {
    let read: fn(&RemotingCommand) -> Again = match name {
        "SEND_MESSAGE" | "SEND_MESSAGE_V2" | "SEND_BATCH_MESSAGE" | "SEND_REPLY_MESSAGE_V2" => {
            again::<SendMessageResponseHeader>
        }
        "PULL_MESSAGE" => again::<PullMessageResponseHeader>,
        "QUERY_CONSUMER_OFFSET" => again::<QueryConsumerOffsetResponseHeader>,
        "SEARCH_OFFSET_BY_TIMESTAMP" => again::<SearchOffsetResponseHeader>,
        "GET_MAX_OFFSET" => again::<GetMaxOffsetResponseHeader>,
        "GET_MIN_OFFSET" => again::<GetMinOffsetResponseHeader>,
        "GET_EARLIEST_MSG_STORETIME" => again::<GetEarliestMsgStoretimeResponseHeader>,
        "QUERY_MESSAGE" => again::<QueryMessageResponseHeader>,
        "QUERY_DATA_VERSION" => again::<QueryDataVersionResponseHeader>,
        "GET_KV_CONFIG" => again::<GetKVConfigResponseHeader>,
        "WIPE_WRITE_PERM_OF_BROKER" => again::<WipeWritePermOfBrokerResponseHeader>,
        "ADD_WRITE_PERM_OF_BROKER" => again::<AddWritePermOfBrokerResponseHeader>,
        "GET_BROKER_CONFIG" => again::<GetBrokerConfigResponseHeader>,
        _ => return None,
    };
    Some(read(command))
}

/// The captured fields that a header should have.
pub(crate) fn own_fields(command: &RemotingCommand) -> ExtFields {
    let free = |name: &str| FREE.contains(&name);
    let fields = command.ext.iter().filter(|(name, _)| !free(name));
    fields
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

#[test]
fn every_request_has_a_typed_header_with_all_its_fields() {
    for row in rows().iter().filter(|row| !row.is_response()) {
        let command = row.command();
        let own = own_fields(&command);
        match request_again(&row.name, &command) {
            Some(written) => assert_eq!(written.unwrap(), own, "{row:?}"),
            None => assert!(own.is_empty(), "no header for {row:?}"),
        }
    }
}

#[test]
fn every_successful_response_has_a_typed_header_with_all_its_fields() {
    for row in rows()
        .iter()
        .filter(|row| row.is_response() && row.code == 0)
    {
        let command = row.command();
        let own = own_fields(&command);
        match response_again(&row.name, &command) {
            Some(written) if !own.is_empty() => assert_eq!(written.unwrap(), own, "{row:?}"),
            _ => assert!(own.is_empty(), "no header for {row:?}"),
        }
    }
}
