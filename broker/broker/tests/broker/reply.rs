//! Replies to requests.

use std::sync::Arc;
use std::time::Duration;

use hotfire_broker::BrokerConfig;
use hotfire_protocol::header::send::{ReplyMessageRequestHeader, SendMessageRequestHeaderV2};
use hotfire_protocol::message::property;
use hotfire_protocol::{Message, RemotingCommand, RequestCode, ResponseCode};
use hotfire_remoting::{Channel, Client, ClientConfig, Handled, RequestHandler};
use parking_lot::Mutex;

use crate::support::*;

const REPLY_TOPIC: &str = "DefaultCluster_REPLY_TOPIC";

/// A client that waits for replies and answers them with this code.
struct Requester {
    code: ResponseCode,
    replies: Mutex<Vec<RemotingCommand>>,
}

impl RequestHandler for Requester {
    fn handle(&self, _: &Channel, request: RemotingCommand) -> Handled {
        if request.code != RequestCode::PUSH_REPLY_MESSAGE_TO_CLIENT.0 {
            return Handled::None;
        }
        let response = request.response(self.code);
        self.replies.lock().push(request);
        Handled::Reply(response)
    }
}

async fn requester(stack: &Stack, code: ResponseCode) -> (Peer, Arc<Requester>) {
    let requester = Arc::new(Requester {
        code,
        replies: Mutex::default(),
    });
    let mut peer = stack.another_peer();
    peer.client = Client::new(&stack.env, ClientConfig::default(), Some(requester.clone()));
    peer.subscribe("asker@1", "askers", &[]).await;
    (peer, requester)
}

fn reply_to(client_id: &str) -> RemotingCommand {
    let reply = Message::new(REPLY_TOPIC, "yes")
        .with_property(property::CORRELATION_ID, "c-1")
        .with_property(property::REPLY_TO_CLIENT, client_id);
    let header = SendMessageRequestHeaderV2(send_header(&reply, 0));
    let request = RemotingCommand::request_with(RequestCode::SEND_REPLY_MESSAGE_V2, &header);
    request.with_body(reply.body)
}

#[tokio::test]
async fn a_reply_is_handed_to_the_client_that_waits_and_stored() {
    let stack = Stack::start().await;
    let (_peer, requester) = requester(&stack, ResponseCode::SUCCESS).await;
    let response = stack.peer.invoke(reply_to("asker@1")).await;
    assert_eq!(response.code, 0, "{response:?}");
    assert_eq!(number(&response, "queueOffset"), 0);
    let pushed = requester.replies.lock()[0].clone();
    assert_eq!(&pushed.body[..], b"yes");
    let header: ReplyMessageRequestHeader = pushed.header().unwrap();
    let properties = property::decode(&header.properties.unwrap());
    assert_eq!(properties.get(property::CORRELATION_ID), Some("c-1"));
    assert!(properties.contains(property::PUSH_REPLY_TIME));
    let stored = stack.peer.read(REPLY_TOPIC, 0).await;
    assert_eq!(stored.len(), 1);
}

#[tokio::test]
async fn a_reply_to_nobody_is_refused_but_stored() {
    let stack = Stack::start().await;
    let response = stack.peer.invoke(reply_to("gone@1")).await;
    assert_eq!(response.code, ResponseCode::SYSTEM_ERROR.0);
    let remark = response.remark.unwrap();
    assert_eq!(
        remark,
        "push reply message fail, channel of <gone@1> not found."
    );
    assert_eq!(stack.peer.read(REPLY_TOPIC, 0).await.len(), 1);
}

#[tokio::test]
async fn a_reply_that_the_client_refuses_is_refused() {
    let stack = Stack::start().await;
    let (_peer, requester) = requester(&stack, ResponseCode::SYSTEM_ERROR).await;
    let response = stack.peer.invoke(reply_to("asker@1")).await;
    assert_eq!(response.code, ResponseCode::SYSTEM_ERROR.0);
    assert_eq!(requester.replies.lock().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_acknowledge_a_reply_is_waited_for_ten_seconds() {
    let stack = Stack::start().await;
    // The support's client answers nothing.
    stack.peer.subscribe("asker@1", "askers", &[]).await;
    let begin = tokio::time::Instant::now();
    let response = stack.another_peer().invoke(reply_to("asker@1")).await;
    assert_eq!(response.code, ResponseCode::SYSTEM_ERROR.0);
    assert!(begin.elapsed() >= Duration::from_secs(10));
}

#[tokio::test]
async fn replies_are_not_stored_if_the_configuration_says_so() {
    let config = BrokerConfig {
        store_reply_message_enable: false,
        ..config()
    };
    let stack = Stack::start_with(config, None).await;
    let (_peer, _requester) = requester(&stack, ResponseCode::SUCCESS).await;
    let response = stack.peer.invoke(reply_to("asker@1")).await;
    assert_eq!(response.code, 0, "{response:?}");
    assert_eq!(response.ext.get("msgId"), Some("0"));
    assert_eq!(stack.peer.read(REPLY_TOPIC, 0).await.len(), 0);
}
