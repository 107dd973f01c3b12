use bytes::{BufMut, BytesMut};
use hotfire_protocol::body::{ConsumeFromWhere, ConsumeType, HeartbeatData, MessageModel};
use hotfire_protocol::header::send::SendMessageRequestHeader;
use hotfire_protocol::{RemotingCommand, RequestCode, frame};
use serde::Deserialize;

use crate::headers::request_again;

const CPP: &str = include_str!("../fixtures/clients/cpp-2.1.0.jsonl");
const NODE: &str = include_str!("../fixtures/clients/ali-ons-3.12.0.jsonl");

#[derive(Debug, Deserialize)]
struct Row {
    header: serde_json::Value,
    raw: String,
    body_len: usize,
    body_head: String,
}

impl Row {
    /// The command as it arrives; what was not captured of the body is zeros.
    fn command(&self) -> RemotingCommand {
        let mut bytes = BytesMut::new();
        bytes.put_u32((4 + self.raw.len() + self.body_len) as u32);
        bytes.put_u32(self.raw.len() as u32);
        bytes.put_slice(self.raw.as_bytes());
        bytes.put_slice(self.body_head.as_bytes());
        bytes.resize(8 + self.raw.len() + self.body_len, 0);
        frame::decode(&mut bytes).unwrap().unwrap()
    }
}

fn rows(text: &str) -> Vec<Row> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Any scalar as fastjson turns it into text.
fn text_of(value: &serde_json::Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

#[test]
fn every_frame_of_other_clients_is_decoded() {
    for row in rows(CPP).iter().chain(&rows(NODE)) {
        let command = row.command();
        assert_eq!(command.code.to_string(), row.header["code"].to_string());
        assert_eq!(command.opaque.to_string(), row.header["opaque"].to_string());
        assert_eq!(command.language.name(), row.header["language"]);
        let fields = row.header["extFields"].as_object();
        assert_eq!(command.ext.len(), fields.map_or(0, |fields| fields.len()));
        for (name, value) in fields.into_iter().flatten() {
            assert_eq!(
                command.ext.get(name),
                Some(text_of(value).as_str()),
                "{row:?}"
            );
        }
    }
}

#[test]
fn every_request_of_other_clients_has_its_typed_header() {
    let mut read = 0;
    for row in rows(CPP).iter().chain(&rows(NODE)) {
        let command = row.command();
        let name = RequestCode(command.code).name().unwrap_or_default();
        let request = !command.is_response();
        if let Some(header) = request.then(|| request_again(name, &command)).flatten() {
            header.unwrap_or_else(|error| panic!("{error}: {row:?}"));
            read += 1;
        }
    }
    assert!(read > 40, "{read} headers read");
}

#[test]
fn numbers_in_a_cpp_send_are_read_as_numbers() {
    let send = rows(CPP)
        .iter()
        .map(Row::command)
        .find(|command| command.code == RequestCode::SEND_MESSAGE_V2.0 && !command.is_response())
        .unwrap();
    let header = SendMessageRequestHeader::of(&send).unwrap();
    assert_eq!(header.default_topic_queue_nums, 4);
    assert_eq!(header.topic, "Tap26902");
}

fn heartbeat(text: &str) -> HeartbeatData {
    let row = rows(text)
        .into_iter()
        .find(|row| row.header["code"] == RequestCode::HEART_BEAT.0 && row.body_len > 0)
        .unwrap();
    assert_eq!(row.body_head.len(), row.body_len, "captured whole");
    HeartbeatData::from_json(&row.command().body).unwrap()
}

#[test]
fn a_cpp_heartbeat_names_its_modes_by_number_and_versions_as_text() {
    let heartbeat = heartbeat(CPP);
    let group = &heartbeat.consumer_data_set[0];
    assert_eq!(group.consume_type, ConsumeType::Passively);
    assert_eq!(group.message_model, MessageModel::Clustering);
    assert_eq!(group.consume_from_where, ConsumeFromWhere::LastOffset);
    assert_eq!(
        group.subscription_data_set[1].sub_version,
        1_795_333_692_391
    );
    assert!(group.subscription_data_set[1].is_tag());
}

#[test]
fn a_node_heartbeat_names_its_modes() {
    let heartbeat = heartbeat(NODE);
    assert_eq!(heartbeat.client_id, "192.0.2.2@425");
    let group = &heartbeat.consumer_data_set[0];
    assert_eq!(group.consume_from_where, ConsumeFromWhere::FirstOffset);
    assert_eq!(
        heartbeat.producer_data_set[0].group_name,
        "CLIENT_INNER_PRODUCER"
    );
}
