//! JSON as fastjson 1.x writes and reads it, which is not quite JSON.
//!
//! - Maps keyed by numbers have bare keys: `{0:"10.0.0.1:10911"}`; maps keyed by objects have
//!   objects for keys: `{{"brokerName":"b","queueId":0,"topic":"t"}:5}`.
//! - Null fields and entries are left out; readers take them for missing.
//! - Readers convert between numbers, booleans and text as the field demands.
//!
//! Reading needs memory in proportion to the text, some times its length and no more, and nests no
//! deeper than a fixed limit.

mod read;
mod write;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What is wrong with a text, or why a value cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct JsonError {
    message: String,
}

impl serde::de::Error for JsonError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self {
            message: message.to_string(),
        }
    }
}

impl serde::ser::Error for JsonError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        serde::de::Error::custom(message)
    }
}

/// Reads a value. Bytes that are not UTF-8 are repaired as Java repairs them.
///
/// # Errors
/// The text is not of the dialect, or does not describe a `T`.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonError> {
    let text = String::from_utf8_lossy(bytes);
    let mut reader = read::Reader::new(&text);
    let value = T::deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// Writes a value in the dialect, without whitespace.
///
/// # Errors
/// The value's own `Serialize` fails; a derived one does not.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, JsonError> {
    write::write(value, write::Style::Compact)
}

/// Writes a value as standard JSON: keys quoted, non-ASCII characters escaped. That is what route
/// answers to newer clients are (`BrowserCompatible`, `QuoteFieldNames`, `MapSortField`).
///
/// # Errors
/// As [`to_vec`].
pub fn to_strict_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, JsonError> {
    write::write(value, write::Style::Strict)
}

/// Writes a value in the dialect, indented by tabs, as configuration files are (`PrettyFormat`).
///
/// # Errors
/// As [`to_vec`].
pub fn to_pretty_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, JsonError> {
    write::write(value, write::Style::Pretty)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::MessageQueue;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Sample {
        addrs: BTreeMap<i64, String>,
        flag: bool,
        name: Option<String>,
        number: i32,
        offsets: BTreeMap<MessageQueue, i64>,
        ratio: f64,
        tags: Vec<String>,
    }

    fn sample() -> Sample {
        Sample {
            addrs: [(0, "a:1".to_owned()), (1, "b:2".to_owned())].into(),
            flag: true,
            name: None,
            number: -3,
            offsets: [(MessageQueue::new("t", "b", 0), 5)].into(),
            ratio: 0.0,
            tags: vec!["x\"中".to_owned()],
        }
    }

    fn text(bytes: Result<Vec<u8>, JsonError>) -> String {
        String::from_utf8(bytes.unwrap()).unwrap()
    }

    fn read(text: &str) -> Sample {
        from_slice(text.as_bytes()).unwrap()
    }

    #[test]
    fn numbers_and_objects_are_bare_keys_and_nulls_are_left_out() {
        let expected = concat!(
            r#"{"addrs":{0:"a:1",1:"b:2"},"flag":true,"number":-3,"#,
            r#""offsets":{{"brokerName":"b","queueId":0,"topic":"t"}:5},"#,
            r#""ratio":0.0,"tags":["x\"中"]}"#
        );
        assert_eq!(text(to_vec(&sample())), expected);
    }

    #[test]
    fn strict_text_is_json_in_ascii() {
        let mut value = sample();
        value.offsets.clear();
        value.tags.push("🚀".to_owned());
        let bytes = to_strict_vec(&value).unwrap();
        assert!(bytes.is_ascii());
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(json["addrs"]["1"], "b:2");
        assert_eq!(json["tags"][0], "x\"中");
        assert_eq!(json["tags"][1], "🚀");
    }

    #[test]
    fn pretty_text_breaks_lines_before_text_keys_only() {
        let table: BTreeMap<&str, BTreeMap<i32, i64>> =
            [("t@g", [(0, 1), (1, 2)].into()), ("u@g", BTreeMap::new())].into();
        assert_eq!(
            text(to_pretty_vec(&BTreeMap::from([("offsetTable", table)]))),
            "{\n\t\"offsetTable\":{\n\t\t\"t@g\":{0:1,1:2\n\t\t},\n\t\t\"u@g\":{}\n\t}\n}"
        );
    }

    #[test]
    fn what_is_written_is_read_again() {
        assert_eq!(read(&text(to_vec(&sample()))), sample());
        assert_eq!(read(&text(to_pretty_vec(&sample()))), sample());
    }

    #[test]
    fn values_of_another_type_are_converted() {
        let value = read(
            "{addrs:{\"0\":1, '1':true,\"2\":null,},\"flag\":\"TRUE\",\"name\":5,\"number\":\"7\",\
             \"unknown\":[{\"a\":{}},null],\"ratio\":\"1.5\",\"tags\":[1,\"b\"]}\n",
        );
        assert_eq!(
            value.addrs,
            [(0, "1".to_owned()), (1, "true".to_owned())].into()
        );
        assert!(value.flag);
        assert_eq!(value.name.as_deref(), Some("5"));
        assert_eq!((value.number, value.ratio), (7, 1.5));
        assert_eq!(value.tags, ["1", "b"]);
    }

    #[test]
    fn null_means_missing_anywhere() {
        let value = read(r#"{"addrs":null,"flag":null,"number":null,"tags":null,"name":null}"#);
        assert_eq!(value, Sample::default());
    }

    #[test]
    fn escapes_are_understood_and_half_characters_replaced() {
        let text: String = from_slice(br#""\u4e2d\ud83d\ude80\n\/\'\x41\ud800""#).unwrap();
        assert_eq!(text, "中🚀\n/'A\u{FFFD}");
    }

    #[test]
    fn broken_text_is_an_error() {
        for text in [
            "",
            "{",
            "{\"number\"}",
            "{\"number\":}",
            "[",
            "{\"number\":x}",
            "\"\\u12\"",
            "{}}",
            "{\"addrs\":{\"x\":\"y\"}}",
            "{\"number\":99999999999}",
            "\"open",
        ] {
            assert!(from_slice::<Sample>(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_instead_of_followed() {
        for open in ["[", "{\"a\":", "{{", "{["] {
            let text = format!("{{\"unknown\":{}", open.repeat(100_000));
            assert!(from_slice::<Sample>(text.as_bytes()).is_err());
            assert!(from_slice::<serde_json::Value>(text.as_bytes()).is_err());
        }
    }

    #[test]
    fn a_list_of_empty_objects_takes_no_hundred_times_its_text() {
        use crate::body::{BatchAckMessageRequestBody, HeartbeatData, LockBatchRequestBody};
        let list = |before: &str, entry: &str, after: &str| {
            format!("{before}{}{after}", vec![entry; 1_000_000].join(","))
        };
        let subscriptions = list(
            r#"{"consumerDataSet":[{"subscriptionDataSet":["#,
            "{}",
            "]}]}",
        );
        assert!(HeartbeatData::from_json(subscriptions.as_bytes()).is_err());
        let groups = list(r#"{"consumerDataSet":["#, "{}", "]}");
        assert!(HeartbeatData::from_json(groups.as_bytes()).is_err());
        let queues = list(r#"{"mqSet":["#, "{}", "]}");
        assert!(LockBatchRequestBody::from_json(queues.as_bytes()).is_err());
        let acks = list(r#"{"acks":["#, "{}", "]}");
        assert!(BatchAckMessageRequestBody::from_json(acks.as_bytes()).is_err());
        // Numbers take no more than their text, and many of them are many.
        let numbers = list("[", "1", "]");
        assert_eq!(
            from_slice::<Vec<i64>>(numbers.as_bytes()).map(|list| list.len()),
            Ok(1_000_000)
        );
    }

    #[test]
    fn what_clients_write_is_never_too_much() {
        use crate::body::{ConsumerData, HeartbeatData, ProducerData, SubscriptionData};
        let subscription = SubscriptionData::parse("t", "a||b||c||d", 1).unwrap();
        let group = ConsumerData {
            subscription_data_set: vec![subscription; 2_000],
            ..ConsumerData::default()
        };
        let heartbeat = HeartbeatData {
            consumer_data_set: vec![group; 20],
            producer_data_set: vec![ProducerData::default(); 40_000],
            ..HeartbeatData::default()
        };
        assert_eq!(
            HeartbeatData::from_json(&heartbeat.to_json()),
            Ok(heartbeat)
        );
    }
}
