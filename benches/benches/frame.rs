//! The frame codec: what a broker does for every message that is sent or pulled.

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hotfire_protocol::header::pull::PullMessageResponseHeader;
use hotfire_protocol::header::send::{
    SendMessageRequestHeader, SendMessageRequestHeaderV2, SendMessageResponseHeader,
};
use hotfire_protocol::message::{property, record};
use hotfire_protocol::{
    Message, MessageExt, RemotingCommand, RequestCode, ResponseCode, SerializeType, frame,
};

fn message() -> Message {
    Message::new("BenchmarkTest", vec![b'x'; 128])
        .with_key("order-4711")
        .with_tag("TagA")
        .with_property("UNIQ_KEY", "7F0000010A4C63C48F1B5E3C8C1A0001")
        .with_property("WAIT", "true")
}

fn send_header() -> SendMessageRequestHeaderV2 {
    SendMessageRequestHeaderV2(SendMessageRequestHeader {
        producer_group: "benchmark_producer".to_owned(),
        topic: "BenchmarkTest".to_owned(),
        default_topic: "TBW102".to_owned(),
        default_topic_queue_nums: 4,
        queue_id: 2,
        born_timestamp: 1_795_331_740_604,
        properties: Some(property::encode(&message().properties)),
        reconsume_times: Some(0),
        unit_mode: Some(false),
        batch: Some(false),
        broker_name: Some("broker-a".to_owned()),
        ..SendMessageRequestHeader::default()
    })
}

fn send_request() -> RemotingCommand {
    RemotingCommand::request_with(RequestCode::SEND_MESSAGE_V2, &send_header())
        .with_body(message().body)
}

fn send_response() -> RemotingCommand {
    let header = SendMessageResponseHeader {
        msg_id: "7F00000100002A9F0000000000000000".to_owned(),
        queue_id: 2,
        queue_offset: 123_456,
        region_id: Some("DefaultRegion".to_owned()),
        trace_on: Some(true),
        ..SendMessageResponseHeader::default()
    };
    send_request().response_with(ResponseCode::SUCCESS, &header)
}

fn pull_response() -> RemotingCommand {
    let stored = MessageExt {
        message: message(),
        queue_id: 2,
        queue_offset: 123_456,
        commit_log_offset: 1 << 30,
        store_size: 0,
        sys_flag: 0,
        born_timestamp: 1_795_331_740_604,
        born_host: "127.0.0.1:50000".parse().unwrap(),
        store_timestamp: 1_795_331_740_605,
        store_host: "127.0.0.1:10911".parse().unwrap(),
        body_crc: 0,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
    };
    let mut records = BytesMut::new();
    for _ in 0..32 {
        record::encode(&stored, &mut records).unwrap();
    }
    let header = PullMessageResponseHeader {
        suggest_which_broker_id: 0,
        next_begin_offset: 123_488,
        min_offset: 0,
        max_offset: 123_500,
    };
    send_request()
        .response_with(ResponseCode::SUCCESS, &header)
        .with_remark("FOUND")
        .with_body(records.freeze())
}

fn frames(criterion: &mut Criterion) {
    let commands = [
        ("send_request", send_request()),
        ("send_response", send_response()),
        ("pull_response", pull_response()),
    ];
    let encodings = [
        ("json", SerializeType::Json),
        ("binary", SerializeType::RocketMq),
    ];
    for (name, command) in commands {
        let mut group = criterion.benchmark_group(name);
        for (encoding, serialize) in encodings {
            let command = RemotingCommand {
                serialize,
                ..command.clone()
            };
            let mut out = BytesMut::new();
            frame::encode(&command, &mut out).unwrap();
            let bytes: Bytes = out.clone().freeze();
            group.throughput(Throughput::Bytes(bytes.len() as u64));
            group.bench_function(format!("encode_{encoding}"), |bencher| {
                bencher.iter(|| {
                    out.clear();
                    frame::encode(black_box(&command), &mut out).unwrap();
                });
            });
            // Copying into the buffer stands for what the socket does; it is part of the figure.
            let mut buffer = BytesMut::with_capacity(bytes.len());
            group.bench_function(format!("decode_{encoding}"), |bencher| {
                bencher.iter(|| {
                    buffer.extend_from_slice(&bytes);
                    black_box(frame::decode(&mut buffer).unwrap())
                });
            });
        }
        group.finish();
    }
}

fn headers(criterion: &mut Criterion) {
    let header = send_header();
    let request = send_request();
    let mut group = criterion.benchmark_group("send_header");
    group.bench_function("write", |bencher| {
        bencher.iter(|| {
            RemotingCommand::request_with(RequestCode::SEND_MESSAGE_V2, black_box(&header))
        });
    });
    group.bench_function("read", |bencher| {
        bencher.iter(|| SendMessageRequestHeader::of(black_box(&request)).unwrap());
    });
    group.finish();
}

criterion_group!(benches, frames, headers);
criterion_main!(benches);
