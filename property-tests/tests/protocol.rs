//! Every codec of the protocol gives back what it was given, and none can be made to panic or to
//! take much memory by what it is given.

#![allow(clippy::unwrap_used, reason = "tests may fail")]

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use hotfire_protocol::body::*;
use hotfire_protocol::message::batch::{self, BatchElement};
use hotfire_protocol::message::compression::{self, CompressionType};
use hotfire_protocol::message::{property, record, sys_flag};
use hotfire_protocol::{
    ExtFields, Language, Message, MessageExt, MessageQueue, Properties, RemotingCommand,
    SerializeType, frame, hash,
};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

/// Text without the separators of properties, not empty.
fn property_text() -> impl Strategy<Value = String> {
    "[^\u{1}\u{2}]{1,12}"
}

fn properties() -> impl Strategy<Value = Properties> {
    btree_map(property_text(), property_text(), 0..12)
        .prop_map(|entries| entries.into_iter().collect())
}

fn bytes(len: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..len).prop_map(Bytes::from)
}

/// Commands that both header encodings can express: the binary one has 16 bits for code and
/// version, and no empty texts.
fn command() -> impl Strategy<Value = RemotingCommand> {
    let json = any::<bool>();
    let ext = btree_map("[a-zA-Z_]{1,12}|[^\u{0}]{1,3}", ".{1,30}", 0..20);
    let numbers = (-1..3000_i32, 0..14_u8, 0..1000_i32, any::<i32>(), 0..4_i32);
    (
        json,
        numbers,
        proptest::option::of(".{1,40}"),
        ext,
        bytes(300),
    )
        .prop_map(
            |(json, (code, language, version, opaque, flag), remark, ext, body)| RemotingCommand {
                code,
                language: Language(language),
                version,
                opaque,
                flag,
                remark,
                ext: ext.into_iter().collect::<ExtFields>(),
                serialize: if json {
                    SerializeType::Json
                } else {
                    SerializeType::RocketMq
                },
                body,
            },
        )
}

fn encoded(commands: &[RemotingCommand]) -> BytesMut {
    let mut out = BytesMut::new();
    for command in commands {
        frame::encode(command, &mut out).unwrap();
    }
    out
}

fn host() -> impl Strategy<Value = SocketAddr> {
    let v4 = any::<([u8; 4], u16)>().prop_map(SocketAddr::from);
    let v6 = any::<([u8; 16], u16)>().prop_map(SocketAddr::from);
    prop_oneof![v4, v6]
}

fn message(topic: &'static str) -> impl Strategy<Value = Message> {
    (topic, any::<i32>(), properties(), bytes(300)).prop_map(|(topic, flag, properties, body)| {
        Message {
            topic,
            flag,
            properties,
            body,
        }
    })
}

/// Stored messages; what the record computes by itself is filled in as it has to be.
fn stored() -> impl Strategy<Value = MessageExt> {
    let integers = any::<(i32, i64, i64, i32, i64, i64, i32, i64)>();
    let message = message("[a-zA-Z0-9%_-]{1,255}");
    (message, integers, host(), host()).prop_map(|(message, numbers, born_host, store_host)| {
        let (queue_id, queue_offset, commit_log_offset, flags, ..) = numbers;
        let (.., born_timestamp, store_timestamp, reconsume_times, prepared) = numbers;
        let bit = |host: SocketAddr, bit| if host.is_ipv6() { bit } else { 0 };
        let v6 = sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6;
        MessageExt {
            body_crc: hash::body_crc(&message.body),
            message,
            queue_id,
            queue_offset,
            commit_log_offset,
            store_size: 0,
            sys_flag: (flags & !v6)
                | bit(born_host, sys_flag::BORN_HOST_V6)
                | bit(store_host, sys_flag::STORE_HOST_V6),
            born_timestamp,
            born_host,
            store_timestamp,
            store_host,
            reconsume_times,
            prepared_transaction_offset: prepared,
        }
    })
}

fn elements() -> impl Strategy<Value = Vec<BatchElement>> {
    vec(
        message("T").prop_map(|message| BatchElement::of(&message)),
        0..6,
    )
}

fn queue() -> impl Strategy<Value = MessageQueue> {
    (".{0,8}", ".{0,8}", any::<i32>())
        .prop_map(|(topic, broker, queue)| MessageQueue::new(topic, broker, queue))
}

fn route() -> impl Strategy<Value = TopicRouteData> {
    let broker = (btree_map(any::<i64>(), ".{0,12}", 0..4), ".{0,8}", ".{0,8}").prop_map(
        |(broker_addrs, broker_name, cluster)| BrokerData {
            broker_addrs,
            broker_name,
            cluster,
        },
    );
    let queues = (".{0,8}", any::<[i32; 4]>()).prop_map(
        |(broker_name, [perm, read_queue_nums, topic_sys_flag, write_queue_nums])| QueueData {
            broker_name,
            perm,
            read_queue_nums,
            topic_sys_flag,
            write_queue_nums,
        },
    );
    let filters = btree_map(".{0,8}", vec(".{0,8}", 0..3), 0..3);
    let order = proptest::option::of(".{0,12}");
    (vec(broker, 0..4), filters, order, vec(queues, 0..4)).prop_map(
        |(broker_datas, filter_server_table, order_topic_conf, queue_datas)| TopicRouteData {
            broker_datas,
            filter_server_table,
            order_topic_conf,
            queue_datas,
        },
    )
}

fn subscription() -> impl Strategy<Value = SubscriptionData> {
    let sets = (btree_set(any::<i32>(), 0..4), btree_set(".{0,6}", 0..4));
    let texts = (proptest::option::of(".{0,6}"), ".{0,12}", ".{0,12}");
    (any::<bool>(), sets, texts, any::<i64>()).prop_map(
        |(
            class_filter_mode,
            (code_set, tags_set),
            (expression_type, sub_string, topic),
            version,
        )| {
            SubscriptionData {
                class_filter_mode,
                code_set,
                expression_type,
                sub_string,
                sub_version: version,
                tags_set,
                topic,
            }
        },
    )
}

fn registration() -> impl Strategy<Value = RegisterBrokerBody> {
    let topic = ("[a-zA-Z0-9_%-]{1,12}", any::<[i32; 3]>());
    (
        vec(topic, 0..8),
        any::<(i64, i64, i64)>(),
        vec(".{0,8}", 0..3),
    )
        .prop_map(
            |(topics, (counter, state_version, timestamp), filter_server_list)| {
                let topics = topics.into_iter().map(|(name, [read, write, perm])| {
                    (name.clone(), TopicConfig::new(name, read, write, perm))
                });
                RegisterBrokerBody {
                    filter_server_list,
                    topic_config_serialize_wrapper: TopicConfigSerializeWrapper {
                        data_version: DataVersion {
                            counter,
                            state_version,
                            timestamp,
                        },
                        topic_config_table: topics.collect(),
                    },
                }
            },
        )
}

fn compression_type() -> impl Strategy<Value = CompressionType> {
    prop_oneof![
        Just(CompressionType::Lz4),
        Just(CompressionType::Zstd),
        Just(CompressionType::Zlib)
    ]
}

proptest! {
    #[test]
    fn a_command_survives_its_frame(command in command()) {
        let mut bytes = encoded(std::slice::from_ref(&command));
        prop_assert_eq!(frame::decode(&mut bytes).unwrap(), Some(command));
        prop_assert!(bytes.is_empty());
    }

    #[test]
    fn frames_arrive_whole_however_the_stream_is_cut(
        commands in vec(command(), 1..5),
        cuts in vec(1..200_usize, 1..40),
    ) {
        let mut stream = encoded(&commands);
        let mut received = Vec::new();
        let mut buffer = BytesMut::new();
        for cut in cuts.iter().cycle() {
            if stream.is_empty() {
                break;
            }
            buffer.extend_from_slice(&stream.split_to((*cut).min(stream.len())));
            while let Some(command) = frame::decode(&mut buffer).unwrap() {
                received.push(command);
            }
        }
        prop_assert_eq!(received, commands);
    }

    #[test]
    fn any_code_and_empty_texts_survive_a_json_header(
        code: i32, version: i32, remark in ".{0,9}", value in ".{0,9}",
    ) {
        let mut command = RemotingCommand::request(hotfire_protocol::RequestCode(code));
        command.version = version;
        command.remark = Some(remark);
        command.ext.set("name", value);
        let mut bytes = encoded(std::slice::from_ref(&command));
        prop_assert_eq!(frame::decode(&mut bytes).unwrap(), Some(command));
    }

    #[test]
    fn properties_survive_their_text(properties in properties()) {
        prop_assert_eq!(property::decode(&property::encode(&properties)), properties);
    }

    #[test]
    fn a_stored_message_survives_its_record(mut message in stored()) {
        let mut out = BytesMut::new();
        message.store_size = record::encode(&message, &mut out).unwrap() as i32;
        prop_assert_eq!(message.store_size as usize, out.len());
        let mut bytes = out.freeze();
        prop_assert_eq!(record::decode(&mut bytes, true).unwrap(), message);
        prop_assert!(bytes.is_empty());
    }

    #[test]
    fn records_survive_one_after_the_other(messages in vec(stored(), 0..5)) {
        let mut out = BytesMut::new();
        for message in &messages {
            record::encode(message, &mut out).unwrap();
        }
        let read = record::decode_all(out.freeze(), true).unwrap();
        let bodies = |messages: &[MessageExt]| -> Vec<Message> {
            messages.iter().map(|stored| stored.message.clone()).collect()
        };
        prop_assert_eq!(bodies(&read), bodies(&messages));
    }

    #[test]
    fn a_batch_survives_its_body(elements in elements()) {
        let mut out = BytesMut::new();
        batch::encode(&elements, &mut out).unwrap();
        prop_assert_eq!(batch::decode(out.freeze()).unwrap(), elements);
    }

    #[test]
    fn a_body_survives_compression(
        body in bytes(5000), kind in compression_type(), level in 1..=9,
    ) {
        let small = compression::compress(&body, kind, level).unwrap();
        prop_assert_eq!(compression::decompress(&small, kind.flag(), body.len()).unwrap(), body);
    }

    #[test]
    fn a_route_survives_both_dialects(route in route(), strict: bool) {
        let text = route.to_json(strict);
        prop_assert!(!strict || text.is_ascii());
        prop_assert_eq!(TopicRouteData::from_json(&text).unwrap(), route);
    }

    #[test]
    fn a_map_keyed_by_queues_survives_its_text(
        offset_table in btree_map(queue(), any::<i64>(), 0..8),
    ) {
        let body = ResetOffsetBody { offset_table };
        prop_assert_eq!(ResetOffsetBody::from_json(&body.to_json()).unwrap(), body);
    }

    #[test]
    fn offsets_survive_their_file(
        offset_table in btree_map(".{0,9}", btree_map(any::<i32>(), any::<i64>(), 0..4), 0..4),
    ) {
        let offsets = ConsumerOffsetSerializeWrapper { offset_table };
        let text = fastjson::to_pretty_vec(&offsets).unwrap();
        prop_assert_eq!(ConsumerOffsetSerializeWrapper::from_json(&text).unwrap(), offsets);
    }

    #[test]
    fn a_subscription_survives_its_text(subscription in subscription()) {
        let text = subscription.to_json();
        prop_assert_eq!(SubscriptionData::from_json(&text).unwrap(), subscription);
    }

    #[test]
    fn a_registration_survives_both_forms(body in registration(), compressed: bool) {
        let bytes = body.encode(compressed).unwrap();
        prop_assert_eq!(RegisterBrokerBody::decode(&bytes, compressed).unwrap(), body);
    }

    #[test]
    fn a_parsed_expression_matches_exactly_its_tags(
        tags in btree_set("[A-Za-z0-9]{1,8}", 1..5), other in "[A-Za-z0-9]{1,8}",
    ) {
        let expression = tags.iter().cloned().collect::<Vec<_>>().join(" || ");
        let subscription = SubscriptionData::parse("T", &expression, 1).unwrap();
        for tag in &tags {
            prop_assert!(subscription.matches_tags_code(hash::tags_code(Some(tag))));
            prop_assert!(subscription.matches_tag(Some(tag)));
        }
        prop_assert_eq!(subscription.matches_tag(Some(&other)), tags.contains(&other));
        prop_assert!(!subscription.matches_tag(None));
    }
}

/// What no sender of good will would send.
mod hostile {
    use super::*;

    /// Text made of what parsers stumble over.
    fn json_like() -> impl Strategy<Value = Vec<u8>> {
        let pieces = prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"",
            "'",
            "\\",
            "\\u",
            "\\ud800",
            "null",
            "true",
            "1",
            "-",
            "1e999",
            "0:",
            "\"offsetTable\":",
            "\"brokerDatas\":",
            "\"code\":",
            "{{",
            "\"extFields\":",
            "\"topic\"",
            " ",
            "\u{1}",
            "中",
            "\n",
        ]);
        vec(pieces, 0..60).prop_map(|pieces| pieces.concat().into_bytes())
    }

    fn input() -> impl Strategy<Value = Bytes> {
        prop_oneof![
            bytes(400),
            json_like().prop_map(Bytes::from),
            command().prop_map(|command| encoded(&[command]).freeze()),
            stored().prop_map(|message| {
                let mut out = BytesMut::new();
                record::encode(&message, &mut out).unwrap();
                out.freeze()
            }),
            elements().prop_map(|elements| {
                let mut out = BytesMut::new();
                batch::encode(&elements, &mut out).unwrap();
                out.freeze()
            }),
            registration().prop_map(|body| body.encode(true).unwrap()),
        ]
    }

    /// Inputs with some bytes changed, so that lengths lie.
    fn damaged() -> impl Strategy<Value = Bytes> {
        let changes = vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
        (input(), changes).prop_map(|(input, changes)| {
            let mut bytes = input.to_vec();
            for (at, byte) in changes {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
            }
            bytes.into()
        })
    }

    /// A frame around a header that is none.
    fn framed(kind: u8, header: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        out.put_u32(4 + header.len() as u32);
        out.put_u32((u32::from(kind) << 24) | header.len() as u32);
        out.put_slice(header);
        out
    }

    /// Everything that reads bytes from outside.
    fn decode_as_everything(bytes: &Bytes) {
        let _ = frame::decode(&mut BytesMut::from(&bytes[..]));
        for kind in [0, 1] {
            let _ = frame::decode(&mut framed(kind, bytes));
        }
        let _ = record::decode_all(bytes.clone(), false);
        let _ = record::decode_all(bytes.clone(), true);
        let _ = batch::decode(bytes.clone());
        let _ = property::decode(&String::from_utf8_lossy(bytes));
        let _ = HeartbeatData::from_json(bytes);
        let _ = TopicRouteData::from_json(bytes);
        let _ = ResetOffsetBody::from_json(bytes);
        let _ = ConsumerRunningInfo::from_json(bytes);
        let _ = fastjson::from_slice::<BTreeMap<String, Vec<String>>>(bytes);
        for compressed in [false, true] {
            let _ = RegisterBrokerBody::decode(bytes, compressed);
        }
        for kind in [
            CompressionType::Lz4,
            CompressionType::Zstd,
            CompressionType::Zlib,
        ] {
            let _ = compression::decompress(bytes, kind.flag(), 100_000);
        }
    }

    proptest! {
        #[test]
        fn bytes_of_any_kind_are_a_value_or_an_error(bytes in damaged()) {
            decode_as_everything(&bytes);
        }

        #[test]
        fn lying_lengths_do_not_buy_memory(bytes in damaged()) {
            let peak = memory::peak(|| decode_as_everything(&bytes));
            // LZ4 frames name their block size, 4 MiB at most, and have two buffers of it.
            prop_assert!(peak < frame::FRAME_MAX, "{peak} bytes for {} bytes", bytes.len());
        }

        #[test]
        fn reading_needs_memory_in_proportion_to_the_text(bytes in json_like()) {
            let peak = memory::peak(|| {
                let _ = frame::decode(&mut framed(0, &bytes));
                let _ = TopicRouteData::from_json(&bytes);
            });
            prop_assert!(peak < 8192 + 100 * bytes.len(), "{peak} for {} bytes", bytes.len());
        }
    }

    #[test]
    fn the_counter_counts_what_is_alive_at_once() {
        let peak = memory::peak(|| {
            for _ in 0..3 {
                drop(std::hint::black_box(vec![1_u8; 5000]));
            }
        });
        assert_eq!(peak, 5000);
    }

    #[test]
    fn a_length_field_alone_reserves_nothing() {
        let mut claim = BytesMut::new();
        claim.put_u32(frame::FRAME_MAX as u32 - 4);
        let peak = memory::peak(|| assert_eq!(frame::decode(&mut claim), Ok(None)));
        assert!(peak < 1024, "{peak} bytes");
    }

    #[test]
    fn a_compressed_bomb_stops_at_the_limit() {
        let bomb = compression::compress(&vec![0; 64 << 20], CompressionType::Zlib, 9).unwrap();
        let limit = 1 << 20;
        let peak = memory::peak(|| {
            let flag = CompressionType::Zlib.flag();
            assert!(compression::decompress(&bomb, flag, limit).is_err());
        });
        assert!(peak < 4 * limit, "{peak} bytes");
    }

    #[test]
    fn the_largest_header_of_small_fields_is_refused_cheaply() {
        let mut header = br#"{"extFields":{"a":"b""#.to_vec();
        while header.len() < 8 << 20 {
            header.extend_from_slice(br#","a":"b""#);
        }
        header.extend_from_slice(b"}}");
        let mut bytes = framed(0, &header);
        let peak = memory::peak(|| assert!(frame::decode(&mut bytes).is_err()));
        assert!(peak < 1 << 20, "{peak} bytes");
    }
}

/// Counts what the current thread allocates.
mod memory {
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::cell::Cell;

    struct Counting;

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    thread_local! {
        static CURRENT: Cell<isize> = const { Cell::new(0) };
        static PEAK: Cell<isize> = const { Cell::new(0) };
    }

    fn count(bytes: isize) {
        let current = CURRENT.get() + bytes;
        CURRENT.set(current);
        PEAK.set(PEAK.get().max(current));
    }

    // SAFETY: every call is handed to the system's allocator as it is; the counters are plain
    // thread-local cells, which neither allocate nor have destructors.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            count(layout.size() as isize);
            // SAFETY: the caller keeps the contract of `alloc`.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
            count(-(layout.size() as isize));
            // SAFETY: `pointer` came from `System.alloc` with this layout.
            unsafe { System.dealloc(pointer, layout) }
        }
    }

    /// The most bytes that were allocated at once during a call, above what was before.
    pub(super) fn peak(call: impl FnOnce()) -> usize {
        let before = CURRENT.get();
        PEAK.set(before);
        call();
        usize::try_from(PEAK.get() - before).unwrap()
    }
}
