//! Everything that was captured from Apache RocketMQ and its clients is understood, and written as
//! they write it.

#![allow(clippy::unwrap_used, reason = "tests may fail")]

mod bodies;
mod clients;
mod config;
mod frames;
mod headers;

use std::collections::BTreeMap;

use bytes::BytesMut;
use hotfire_protocol::{ExtFields, RemotingCommand, frame};
use serde::Deserialize;
use serde_json::Value;

/// A captured frame and what is known of it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) kind: Option<String>,
    #[serde(default)]
    pub(crate) code: i32,
    #[serde(default)]
    pub(crate) language: String,
    #[serde(default)]
    pub(crate) version: i32,
    #[serde(default)]
    pub(crate) opaque: i32,
    #[serde(default)]
    pub(crate) flag: i32,
    pub(crate) remark: Option<String>,
    pub(crate) ext_fields: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(crate) serialize_type: String,
    #[serde(rename = "header_text")]
    pub(crate) header_text: Option<String>,
    #[serde(rename = "body_text")]
    pub(crate) body_text: Option<String>,
    #[serde(default, rename = "body_truncated")]
    pub(crate) body_truncated: bool,
    #[serde(rename = "body_decompressed_hex")]
    pub(crate) body_decompressed_hex: Option<String>,
    #[serde(rename = "frame_hex")]
    pub(crate) frame_hex: String,
}

impl Row {
    /// The frame; what the capture cut off is replaced by zeros.
    pub(crate) fn frame(&self) -> BytesMut {
        let mut bytes = BytesMut::from(&unhex(&self.frame_hex)[..]);
        let length = u32::from_be_bytes(bytes[..4].try_into().unwrap());
        bytes.resize(4 + length as usize, 0);
        bytes
    }

    pub(crate) fn command(&self) -> RemotingCommand {
        frame::decode(&mut self.frame()).unwrap().unwrap()
    }

    pub(crate) fn is_response(&self) -> bool {
        self.kind.as_deref() == Some("response")
    }

    /// The captured fields, without those that are empty: in a binary header they are null.
    pub(crate) fn fields(&self) -> ExtFields {
        let fields = self.ext_fields.clone().unwrap_or_default();
        let json = self.serialize_type == "JSON";
        fields
            .into_iter()
            .filter(|(_, value)| json || !value.is_empty())
            .collect()
    }
}

/// All captured frames.
pub(crate) fn rows() -> Vec<Row> {
    include_str!("../fixtures/frames.jsonl")
        .lines()
        .map(|line| serde_json::from_str::<Row>(line).unwrap())
        .filter(|row| row.kind.is_some())
        .collect()
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// A document with the elements of arrays sorted: most of Java's lists come out of hash sets.
pub(crate) fn normalised(mut value: Value) -> Value {
    match &mut value {
        Value::Array(elements) => {
            let mut sorted: Vec<Value> = elements.drain(..).map(normalised).collect();
            sorted.sort_by_key(Value::to_string);
            *elements = sorted;
        }
        Value::Object(entries) => {
            for (_, entry) in entries.iter_mut() {
                *entry = normalised(entry.take());
            }
        }
        _ => {}
    }
    value
}
