//! Sends: what is stored, what is answered, what is refused.

use bytes::BytesMut;
use hotfire_protocol::header::send::SendMessageRequestHeaderV2;
use hotfire_protocol::header::topic::CreateTopicRequestHeader;
use hotfire_protocol::message::batch::{self, BatchElement};
use hotfire_protocol::message::{id, sys_flag};
use hotfire_protocol::{Message, RemotingCommand, RequestCode, ResponseCode};

use crate::support::{self, Stack, TOPIC, bodies, number, order, send_header, send_request};

#[tokio::test(start_paused = true)]
async fn an_answer_says_where_the_message_is() {
    let stack = Stack::start().await;
    stack.peer.send_ok(&order("one")).await;
    let response = stack.peer.send_ok(&order("two")).await;
    assert_eq!(number(&response, "queueId"), 0);
    assert_eq!(number(&response, "queueOffset"), 1);
    assert_eq!(response.ext.get("MSG_REGION"), Some("DefaultRegion"));
    assert_eq!(response.ext.get("TRACE_ON"), Some("true"));
    let stored = &stack.peer.read(TOPIC, 1).await[0];
    let (host, offset) = id::parse_offset_msg_id(response.ext.get("msgId").unwrap()).unwrap();
    assert_eq!(
        (host, offset),
        (stack.broker.address(), stored.commit_log_offset)
    );
    assert_eq!(response.ext.get("transactionId"), None);
}

#[tokio::test(start_paused = true)]
async fn a_send_with_long_names_is_a_send_too() {
    let stack = Stack::start().await;
    let header = send_header(&order("one").with_tag("TagA"), 2);
    let request = RemotingCommand::request_with(RequestCode::SEND_MESSAGE, &header);
    let response = stack.peer.invoke(request.with_body("one")).await;
    assert_eq!((response.code, number(&response, "queueId")), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_one_way_send_is_stored_and_not_answered() {
    let stack = Stack::start().await;
    stack.peer.oneway(send_request(&order("quiet"), 0)).await;
    stack.peer.send_ok(&order("loud")).await;
    assert_eq!(
        bodies(&stack.peer.pull(TOPIC, 0, "*").await),
        ["quiet", "loud"]
    );
}

#[tokio::test(start_paused = true)]
async fn the_broker_chooses_the_queue_if_the_sender_does_not() {
    let stack = Stack::start().await;
    for _ in 0..20 {
        let response = stack.peer.invoke(send_request(&order("any"), -1)).await;
        assert!((0..4).contains(&number(&response, "queueId")));
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_sender_says_is_stored_as_it_is() {
    let stack = Stack::start().await;
    let mut message = order("body")
        .with_key("k1 k2")
        .with_property("own", "value");
    message.flag = 7;
    let mut header = send_header(&message, 0);
    header.sys_flag = sys_flag::COMPRESSED;
    header.reconsume_times = Some(2);
    let header = SendMessageRequestHeaderV2(header);
    let request = RemotingCommand::request_with(RequestCode::SEND_MESSAGE_V2, &header);
    stack.peer.invoke(request.with_body("body")).await;
    let stored = &stack.peer.read(TOPIC, 0).await[0];
    assert_eq!(stored.message.body, "body");
    assert_eq!(stored.message.keys(), Some("k1 k2"));
    assert_eq!(stored.message.properties.get("own"), Some("value"));
    assert_eq!((stored.message.flag, stored.reconsume_times), (7, 2));
    assert_eq!(stored.sys_flag, sys_flag::COMPRESSED);
    assert_eq!(stored.born_timestamp, 1_700_000_000_000);
}

#[tokio::test(start_paused = true)]
async fn the_wish_to_wait_is_not_stored_when_it_is_the_default() {
    let stack = Stack::start().await;
    stack
        .peer
        .send_ok(&order("waits").with_property("WAIT", "true"))
        .await;
    assert_eq!(
        stack.peer.read(TOPIC, 0).await[0]
            .message
            .properties
            .get("WAIT"),
        None
    );
}

fn batch_request(topic: &str, bodies: &[&str]) -> RemotingCommand {
    let message = |body: &&str| Message::new(topic, (*body).to_owned()).with_tag("TagA");
    let elements: Vec<_> = bodies
        .iter()
        .map(message)
        .map(|m| BatchElement::of(&m))
        .collect();
    let mut body = BytesMut::new();
    batch::encode(&elements, &mut body).unwrap();
    let mut header = send_header(&Message::new(topic, ""), 1);
    header.batch = Some(true);
    let header = SendMessageRequestHeaderV2(header);
    let request = RemotingCommand::request_with(RequestCode::SEND_BATCH_MESSAGE, &header);
    request.with_body(body.freeze())
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_stored_as_single_messages_one_behind_the_other() {
    let stack = Stack::start().await;
    let response = stack
        .peer
        .invoke(batch_request(TOPIC, &["one", "two", "three"]))
        .await;
    assert_eq!((response.code, number(&response, "queueOffset")), (0, 0));
    assert_eq!(response.ext.get("msgId").unwrap().split(',').count(), 3);
    let mut header = support::pull_header(TOPIC, 0, "TagA");
    header.queue_id = 1;
    let pulled = stack.peer.ask(RequestCode::PULL_MESSAGE, &header).await;
    assert_eq!(bodies(&pulled), ["one", "two", "three"]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_for_a_retry_topic_is_illegal() {
    let stack = Stack::start().await;
    let response = stack
        .peer
        .invoke(batch_request("%RETRY%readers", &["one"]))
        .await;
    assert_eq!(response.code, ResponseCode::MESSAGE_ILLEGAL.0);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_none_is_illegal() {
    let stack = Stack::start().await;
    let request = batch_request(TOPIC, &["one"]).with_body("not a batch");
    assert_eq!(
        stack.peer.invoke(request).await.code,
        ResponseCode::MESSAGE_ILLEGAL.0
    );
}

/// A batch with these properties of its own, of messages with these.
fn batch_of(shared: &str, elements: &[(&str, &str)]) -> RemotingCommand {
    let element = |&(body, properties): &(&str, &str)| BatchElement {
        body: body.to_owned().into(),
        properties: properties.to_owned(),
        ..BatchElement::default()
    };
    let elements: Vec<_> = elements.iter().map(element).collect();
    let mut body = BytesMut::new();
    batch::encode(&elements, &mut body).unwrap();
    let mut request = batch_request(TOPIC, &[]);
    request.ext.set("e", "0");
    request.ext.set("i", shared);
    request.with_body(body.freeze())
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_not_to_be_visible_at_once_is_illegal() {
    let stack = Stack::start().await;
    for wish in [
        "DELAY\u{1}3",
        "DELAY\u{1}soon",
        "TIMER_DELAY_SEC\u{1}30",
        "TIMER_DELAY_MS\u{1}30",
        "TIMER_DELIVER_MS\u{1}30",
        "TRAN_MSG\u{1}true",
    ] {
        let among = format!("own\u{1}1\u{2}{wish}\u{2}");
        for request in [
            batch_of(wish, &[("late", "")]),
            batch_of("", &[("first", ""), ("late", &among)]),
        ] {
            let (code, remark) = refused(&stack, request).await;
            assert_eq!(code, ResponseCode::MESSAGE_ILLEGAL.0, "{wish:?}");
            assert!(remark.contains("visible at once"), "{remark}");
        }
    }
    assert_eq!(
        stack.broker.store().max_phy_offset(),
        0,
        "nothing is stored"
    );
    let harmless = "DELAY\u{1}0\u{2}TRAN_MSG\u{1}false";
    let response = stack.peer.invoke(batch_of(harmless, &[("now", "")])).await;
    assert_eq!(response.code, 0, "{response:?}");
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_limited_by_what_it_is_stored_as() {
    let mut config = support::config();
    config.store.max_message_size = 100_000;
    let stack = Stack::start_with(config, None).await;
    let (common, cluster) = ("x".repeat(4_000), "CLUSTER\u{1}DefaultCluster\u{2}");
    let shared = format!("p\u{1}{common}");
    let record = 91 + TOPIC.len() + cluster.len() + shared.len() + 1;
    let fits = 100_000 / record;
    let many = vec![("x", ""); fits + 1];
    let (code, remark) = refused(&stack, batch_of(&shared, &many)).await;
    assert_eq!(code, ResponseCode::MESSAGE_ILLEGAL.0);
    assert!(
        remark.contains("more than 100000 bytes together"),
        "{remark}"
    );
    assert_eq!(
        stack.broker.store().max_phy_offset(),
        0,
        "nothing is stored"
    );
    let response = stack.peer.invoke(batch_of(&shared, &many[1..])).await;
    assert_eq!(response.code, 0, "{response:?}");
    let stored = stack.broker.store().max_phy_offset();
    assert_eq!(stored as usize, fits * record);
}

#[tokio::test(start_paused = true)]
async fn the_remark_about_a_batch_says_what_is_wrong_with_it() {
    let stack = Stack::start().await;
    let request = batch_of("", &[("x", "k\u{1}v")]);
    let mut body = request.body.to_vec();
    *body.last_mut().unwrap() = 0xFF;
    let long = "v".repeat(32_700);
    let wordy = format!("k\u{1}{long}");
    let shared = format!("s\u{1}{}", "v".repeat(100));
    for (request, why) in [
        (request.with_body(body), "not UTF-8"),
        (batch_of("", &[]), "is empty"),
        (batch_of(&shared, &[("x", &wordy)]), "32767 at most"),
        (
            batch_of("", &[("x", "")]).with_body(vec![0, 0, 0, 99, 0]),
            "ends early",
        ),
    ] {
        let (code, remark) = refused(&stack, request).await;
        assert_eq!(code, ResponseCode::MESSAGE_ILLEGAL.0, "{remark}");
        assert!(remark.contains(why), "{remark}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_delay_level_that_is_no_number_is_an_error() {
    let stack = Stack::start().await;
    for level in ["4Pinpoint-Flags", " 3", "2147483648", "1.0", "-"] {
        let message = order("x").with_property("DELAY", level);
        let (code, remark) = refused(&stack, send_request(&message, 0)).await;
        assert_eq!(code, ResponseCode::SYSTEM_ERROR.0, "{level}");
        assert!(remark.contains(level), "{remark}");
        let half = message.with_property("TRAN_MSG", "true");
        let (code, _) = refused(&stack, send_request(&half, 0)).await;
        assert_eq!(code, ResponseCode::SYSTEM_ERROR.0, "{level}");
    }
    assert_eq!(
        stack.broker.store().max_phy_offset(),
        0,
        "nothing is stored"
    );
    for level in ["0", "-1", "-2147483648", "+0"] {
        stack
            .peer
            .send_ok(&order("x").with_property("DELAY", level))
            .await;
    }
    assert_eq!(stack.peer.read(TOPIC, 0).await.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_its_system_flag_hides_is_illegal() {
    let stack = Stack::start().await;
    for flag in [
        sys_flag::TRANSACTION_PREPARED,
        sys_flag::TRANSACTION_ROLLBACK,
    ] {
        let mut request = send_request(&order("hidden"), 0);
        request.ext.set("f", flag.to_string());
        let (code, _) = refused(&stack, request).await;
        assert_eq!(code, ResponseCode::MESSAGE_ILLEGAL.0);
        // An old client that tries a message again leaves on it what it once was.
        let again = order("again")
            .with_property("TRAN_MSG", "true")
            .with_delay_level(1);
        let mut request = send_request(&again, 0);
        request.ext.set("f", flag.to_string());
        request.ext.set("j", "1");
        assert_eq!(stack.peer.invoke(request).await.code, 0);
    }
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let response = stack.peer.pull(TOPIC, 0, "*").await;
    assert_eq!(bodies(&response), ["again", "again"]);
}

async fn refused(stack: &Stack, request: RemotingCommand) -> (i32, String) {
    let response = stack.peer.invoke(request).await;
    assert_eq!(response.ext.get("MSG_REGION"), Some("DefaultRegion"));
    assert_eq!(response.ext.get("msgId"), None);
    (response.code, response.remark.unwrap())
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_stored_is_refused_with_its_code() {
    let stack = Stack::start().await;
    let send = |topic: &str, queue_id| send_request(&Message::new(topic, "x"), queue_id);
    let huge = order(&"x".repeat(5 << 20));
    let wordy = order("x").with_property("p", "v".repeat(33_000));
    for (request, code, remark) in [
        (
            send("bad topic", 0),
            ResponseCode::SYSTEM_ERROR,
            "illegal characters",
        ),
        (send("", 0), ResponseCode::SYSTEM_ERROR, "blank"),
        (
            send(&"t".repeat(200), 0),
            ResponseCode::SYSTEM_ERROR,
            "longer than",
        ),
        (
            send("SCHEDULE_TOPIC_XXXX", 0),
            ResponseCode::NO_PERMISSION,
            "is forbidden",
        ),
        (
            send(TOPIC, 4),
            ResponseCode::SYSTEM_ERROR,
            "request queueId[4] is illegal",
        ),
        (
            send("%RETRY%a b", 0),
            ResponseCode::SYSTEM_ERROR,
            "illegal characters",
        ),
        (
            send_request(&huge, 0),
            ResponseCode::MESSAGE_ILLEGAL,
            "illegal",
        ),
        (
            send_request(&wordy, 0),
            ResponseCode::MESSAGE_ILLEGAL,
            "illegal",
        ),
    ] {
        let (found, why) = refused(&stack, request).await;
        assert_eq!(found, code.0, "{why}");
        assert!(why.contains(remark), "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_send_without_a_required_field_is_a_system_error() {
    let stack = Stack::start().await;
    let request = RemotingCommand::request(RequestCode::SEND_MESSAGE_V2);
    let (code, remark) = refused(&stack, request).await;
    assert_eq!(code, ResponseCode::SYSTEM_ERROR.0);
    assert_eq!(remark, "the custom field <a> is null");
}

#[tokio::test(start_paused = true)]
async fn without_automatic_creation_a_new_topic_does_not_exist() {
    let mut config = support::config();
    config.auto_create_topic_enable = false;
    let stack = Stack::start_with(config, None).await;
    let (code, _) = refused(&stack, send_request(&order("x"), 0)).await;
    assert_eq!(code, ResponseCode::TOPIC_NOT_EXIST.0);
    let header = CreateTopicRequestHeader {
        topic: TOPIC.to_owned(),
        read_queue_nums: 1,
        write_queue_nums: 1,
        perm: 6,
        ..CreateTopicRequestHeader::default()
    };
    let created = stack
        .peer
        .ask(RequestCode::UPDATE_AND_CREATE_TOPIC, &header)
        .await;
    assert_eq!(created.code, 0);
    stack.peer.send_ok(&order("x")).await;
}

#[tokio::test(start_paused = true)]
async fn before_its_time_a_broker_takes_no_sends() {
    let mut config = support::config();
    config.start_accept_send_request_time_stamp = i64::MAX;
    let stack = Stack::start_with(config, None).await;
    let (code, remark) = refused(&stack, send_request(&order("x"), 0)).await;
    assert_eq!(code, ResponseCode::SYSTEM_ERROR.0);
    assert!(remark.contains("unable to service"), "{remark}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_takes_nothing_is_a_service_not_available() {
    let stack = Stack::start().await;
    stack.peer.send_ok(&order("x")).await;
    stack.broker.store().shutdown().await.unwrap();
    let (code, _) = refused(&stack, send_request(&order("y"), 0)).await;
    assert_eq!(code, ResponseCode::SERVICE_NOT_AVAILABLE.0);
}

#[tokio::test(start_paused = true)]
async fn a_read_only_broker_refuses_sends_to_ordered_topics_only() {
    let mut config = support::config();
    config.broker_permission = 4;
    let stack = Stack::start_with(config, None).await;
    stack.peer.send_ok(&order("x")).await;
    let header = CreateTopicRequestHeader {
        topic: "ordered".to_owned(),
        read_queue_nums: 1,
        write_queue_nums: 1,
        perm: 6,
        order: true,
        ..CreateTopicRequestHeader::default()
    };
    stack
        .peer
        .ask(RequestCode::UPDATE_AND_CREATE_TOPIC, &header)
        .await;
    let (code, _) = refused(&stack, send_request(&Message::new("ordered", "x"), 0)).await;
    assert_eq!(code, ResponseCode::NO_PERMISSION.0);
}
