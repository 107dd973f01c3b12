use bytes::BytesMut;
use hotfire_protocol::{frame, message::batch, message::record};
use serde_json::Value;

use crate::rows;

#[test]
fn every_frame_is_decoded_as_java_decodes_it() {
    let rows = rows();
    assert!(rows.len() > 350, "the fixture is complete");
    for row in rows {
        let mut bytes = row.frame();
        let command = frame::decode(&mut bytes).unwrap().unwrap();
        assert!(bytes.is_empty(), "{row:?}");
        assert_eq!(command.code, row.code, "{row:?}");
        assert_eq!(command.language.name(), row.language, "{row:?}");
        assert_eq!(command.version, row.version, "{row:?}");
        assert_eq!(command.opaque, row.opaque, "{row:?}");
        assert_eq!(command.flag, row.flag, "{row:?}");
        assert_eq!(command.remark, row.remark, "{row:?}");
        assert_eq!(command.ext, row.fields(), "{row:?}");
        assert_eq!(command.is_response(), row.is_response(), "{row:?}");
    }
}

#[test]
fn binary_headers_are_written_as_java_writes_them() {
    let mut compared = 0;
    for row in rows().iter().filter(|row| row.serialize_type == "ROCKETMQ") {
        let has_empty_value =
            row.ext_fields.as_ref().map_or(0, |ext| ext.len()) != row.fields().len();
        if has_empty_value {
            continue;
        }
        let mut out = BytesMut::new();
        frame::encode(&row.command(), &mut out).unwrap();
        assert_eq!(out, row.frame(), "{row:?}");
        compared += 1;
    }
    assert!(compared > 100, "{compared} frames compared");
}

#[test]
fn json_headers_are_written_with_the_same_keys_in_the_same_order() {
    for row in rows().iter().filter(|row| row.serialize_type == "JSON") {
        let mut out = BytesMut::new();
        frame::encode(&row.command(), &mut out).unwrap();
        let header_len = u32::from_be_bytes(out[4..8].try_into().unwrap()) as usize;
        let ours = std::str::from_utf8(&out[8..8 + header_len]).unwrap();
        let theirs = row
            .header_text
            .as_ref()
            .unwrap()
            .replace("\"extFields\":{},", "");
        let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(parse(ours), parse(&theirs));
        assert_eq!(top_level_keys(ours), top_level_keys(&theirs));
        assert_eq!(ours.len(), theirs.len(), "{ours}\n{theirs}");
        assert_eq!(out[8 + header_len..], row.command().body);
    }
}

/// The keys of an object in the order of the text. The object of `extFields` is cut out.
fn top_level_keys(header: &str) -> Vec<String> {
    let mut text = header.to_owned();
    if let Some(start) = text.find("\"extFields\":{") {
        let end = text[start..].find("\"},").unwrap() + start + 2;
        text.replace_range(start..end, "\"extFields\":0");
    }
    let mut keys: Vec<(usize, String)> = serde_json::from_str::<Value>(&text)
        .unwrap()
        .as_object()
        .unwrap()
        .keys()
        .map(|key| (text.find(&format!("\"{key}\":")).unwrap(), key.clone()))
        .collect();
    keys.sort();
    keys.into_iter().map(|(_, key)| key).collect()
}

#[test]
fn records_in_bodies_are_read_and_written_again_byte_for_byte() {
    let mut records = 0;
    for row in rows() {
        let body = row.command().body;
        let of_records = match (row.name.as_str(), row.is_response()) {
            ("PULL_MESSAGE" | "VIEW_MESSAGE_BY_ID" | "QUERY_MESSAGE", true)
            | ("CHECK_TRANSACTION_STATE" | "CONSUME_MESSAGE_DIRECTLY", false) => !body.is_empty(),
            _ => false,
        };
        let body_of_batch = body.windows(11).any(|text| text == b"GoldenBatch");
        // The broker appends a batch's own properties to those of its elements without looking for
        // names that are there already, which is not repeated here.
        if !of_records || body_of_batch {
            continue;
        }
        let mut out = BytesMut::new();
        for message in record::decode_all(body.clone(), true).unwrap() {
            record::encode(&message, &mut out).unwrap();
            records += 1;
        }
        assert_eq!(out, body, "{row:?}");
    }
    assert!(records > 10, "{records} records");
}

#[test]
fn batches_are_read_and_written_again_byte_for_byte() {
    let rows = rows();
    let batches: Vec<_> = rows
        .iter()
        .filter(|row| row.name == "SEND_BATCH_MESSAGE" && !row.is_response())
        .collect();
    assert!(!batches.is_empty());
    for row in batches {
        let body = row.command().body;
        let elements = batch::decode(body.clone()).unwrap();
        assert_eq!(elements.len(), 3);
        let mut out = BytesMut::new();
        batch::encode(&elements, &mut out).unwrap();
        assert_eq!(out, body);
    }
}
