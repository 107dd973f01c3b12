use hotfire_protocol::body::*;
use serde_json::Value;

use crate::{Row, normalised, rows, unhex};

type Again = Result<Vec<u8>, JsonError>;

macro_rules! again {
    ($type:ty) => {
        |body| Ok(<$type>::from_json(body)?.to_json())
    };
}

/// Reads a typed body and writes it again; `None` if the code has none.
fn body_again(row: &Row, body: &[u8]) -> Option<Again> {
    let read: fn(&[u8]) -> Again = match (row.name.as_str(), row.is_response()) {
        ("HEART_BEAT", false) => again!(HeartbeatData),
        ("CHECK_CLIENT_CONFIG", false) => again!(CheckClientRequestBody),
        ("UPDATE_AND_CREATE_SUBSCRIPTIONGROUP", false) => again!(SubscriptionGroupConfig),
        ("LOCK_BATCH_MQ", false) => again!(LockBatchRequestBody),
        ("LOCK_BATCH_MQ", true) => again!(LockBatchResponseBody),
        ("UNLOCK_BATCH_MQ", false) => again!(UnlockBatchRequestBody),
        ("RESET_CONSUMER_CLIENT_OFFSET", false) => again!(ResetOffsetBody),
        ("INVOKE_BROKER_TO_RESET_OFFSET", true) => again!(ResetOffsetBody),
        ("QUERY_DATA_VERSION", _) => again!(DataVersion),
        ("GET_CONSUMER_LIST_BY_GROUP", true) => again!(GetConsumerListByGroupResponseBody),
        ("GET_CONSUMER_CONNECTION_LIST", true) => again!(ConsumerConnection),
        ("GET_PRODUCER_CONNECTION_LIST", true) => again!(ProducerConnection),
        ("GET_ALL_PRODUCER_INFO", true) => again!(ProducerTableInfo),
        ("GET_CONSUMER_RUNNING_INFO", true) => again!(ConsumerRunningInfo),
        ("CONSUME_MESSAGE_DIRECTLY", true) => again!(ConsumeMessageDirectlyResult),
        ("GET_TOPIC_STATS_INFO", true) => again!(TopicStatsTable),
        ("GET_CONSUME_STATS", true) => again!(ConsumeStats),
        ("GET_BROKER_CONSUME_STATS", true) => again!(ConsumeStatsList),
        ("VIEW_BROKER_STATS_DATA", true) => again!(BrokerStatsData),
        ("QUERY_TOPIC_CONSUME_BY_WHO", true) => again!(GroupList),
        ("QUERY_CONSUME_TIME_SPAN", true) => again!(QueryConsumeTimeSpanBody),
        ("QUERY_CONSUME_QUEUE", true) => again!(QueryConsumeQueueResponseBody),
        ("GET_CONSUMER_STATUS_FROM_CLIENT", true) => again!(GetConsumerStatusBody),
        ("INVOKE_BROKER_TO_GET_CONSUMER_STATUS", true) => again!(GetConsumerStatusBody),
        ("GET_BROKER_CLUSTER_INFO", true) => again!(ClusterInfo),
        ("GET_ALL_TOPIC_LIST_FROM_NAMESERVER", true) => again!(TopicList),
        ("GET_TOPICS_BY_CLUSTER", true) => again!(TopicList),
        ("GET_KVLIST_BY_NAMESPACE", true) => again!(KVTable),
        ("GET_BROKER_RUNTIME_INFO", true) => again!(KVTable),
        ("GET_ALL_TOPIC_CONFIG", true) => again!(TopicConfigSerializeWrapper),
        ("GET_ALL_SUBSCRIPTIONGROUP_CONFIG", true) => again!(SubscriptionGroupWrapper),
        ("GET_ALL_CONSUMER_OFFSET", true) => again!(ConsumerOffsetSerializeWrapper),
        ("GET_ALL_DELAY_OFFSET", true) => again!(DelayOffsetSerializeWrapper),
        _ => return None,
    };
    Some(read(body))
}

fn document(bytes: &[u8]) -> Value {
    normalised(fastjson::from_slice(bytes).unwrap())
}

fn is_json(row: &Row) -> bool {
    let begins = |text: &String| text.starts_with('{');
    !row.body_truncated && row.body_text.as_ref().is_some_and(begins)
}

#[test]
fn every_json_body_has_a_type_that_writes_the_same_document() {
    for row in rows().iter().filter(|row| is_json(row)) {
        let body = row.command().body;
        if matches!(
            row.name.as_str(),
            "REGISTER_BROKER" | "GET_ROUTEINFO_BY_TOPIC"
        ) {
            continue;
        }
        let written = body_again(row, &body).unwrap_or_else(|| panic!("no type for {row:?}"));
        let written = written.unwrap();
        assert_eq!(document(&written), document(&body), "{row:?}");
        assert_eq!(written.len(), body.len(), "{row:?}");
    }
}

#[test]
fn routes_are_written_letter_by_letter_as_java_writes_them() {
    let mut styles = [0, 0];
    for row in rows() {
        let body = row.command().body;
        if row.name != "GET_ROUTEINFO_BY_TOPIC" || body.is_empty() {
            continue;
        }
        let strict = body.windows(3).any(|text| text == b"{\"0");
        styles[usize::from(strict)] += 1;
        let route = TopicRouteData::from_json(&body).unwrap();
        assert_eq!(route.to_json(strict), body, "{row:?}");
    }
    assert!(styles[1] > 0, "strict routes are in the fixture");
}

#[test]
fn a_route_with_bare_keys_equals_one_with_quoted_keys() {
    let bare = concat!(
        r#"{"brokerDatas":[{"brokerAddrs":{0:"127.0.0.1:20911"},"brokerName":"peer-a","#,
        r#""cluster":"PeerCluster"}],"filterServerTable":{},"queueDatas":[{"#,
        r#""brokerName":"peer-a","perm":6,"readQueueNums":2,"topicSysFlag":0,"#,
        r#""writeQueueNums":2}]}"#
    );
    let route = TopicRouteData::from_json(bare.as_bytes()).unwrap();
    assert_eq!(route.to_json(false), bare.as_bytes());
    assert_eq!(
        TopicRouteData::from_json(&route.to_json(true)).unwrap(),
        route
    );
}

#[test]
fn registrations_are_read_in_both_forms() {
    let mut forms = [0, 0];
    let rows = rows();
    let registrations = rows
        .iter()
        .filter(|row| row.name == "REGISTER_BROKER" && !row.is_response());
    for row in registrations {
        let command = row.command();
        let compressed = command.ext.get("compressed") == Some("true");
        forms[usize::from(compressed)] += 1;
        let body = RegisterBrokerBody::decode(&command.body, compressed).unwrap();
        let wrapper = &body.topic_config_serialize_wrapper;
        assert!(wrapper.topic_config_table.contains_key("TBW102"), "{row:?}");
        let checksum = hotfire_protocol::hash::body_crc(&command.body).to_string();
        assert_eq!(command.ext.get("bodyCrc32"), Some(checksum.as_str()));

        let again = body.encode(compressed).unwrap();
        assert_eq!(
            RegisterBrokerBody::decode(&again, compressed).unwrap(),
            body
        );
        match &row.body_decompressed_hex {
            Some(plain) => {
                let topic = &wrapper.topic_config_table["DefaultCluster"];
                assert_eq!((topic.read_queue_nums, topic.perm), (16, 7));
                assert_eq!(
                    unhex(plain)[4..][..11],
                    wrapper.data_version.to_json()[..11]
                );
            }
            None => assert_eq!(document(&again), document(&command.body)),
        }
    }
    assert!(forms.iter().all(|count| *count > 0), "{forms:?}");
}
