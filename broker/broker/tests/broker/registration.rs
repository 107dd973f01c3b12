//! A broker and its name servers.

use std::time::Duration;

use hotfire_env::Env;
use hotfire_namesrv::{NameServer, NamesrvConfig};
use hotfire_protocol::body::TopicRouteData;
use hotfire_protocol::header::namesrv::GetRouteInfoRequestHeader;
use hotfire_protocol::header::topic::CreateTopicRequestHeader;
use hotfire_protocol::{RemotingCommand, RequestCode};
use hotfire_remoting::{Client, ClientConfig};
use tokio::time::sleep;

use crate::support::{self, GROUP, Stack, TOPIC, memory, order};

const FIRST: &str = "127.0.0.1:9876";
const SECOND: &str = "127.0.0.1:9877";

async fn name_server(env: &Env, listen: &str) -> NameServer {
    let config = NamesrvConfig {
        listen: listen.to_owned(),
        ..NamesrvConfig::default()
    };
    NameServer::start(env, config).await.unwrap()
}

async fn stack() -> (Stack, NameServer, Client) {
    let folder = tempfile::tempdir().unwrap();
    let env = memory::env(&memory::MemoryNetwork::default(), folder.path());
    let server = name_server(&env, FIRST).await;
    let mut config = support::config();
    // The second is not there yet.
    config.namesrv_addrs = vec![FIRST.to_owned(), SECOND.to_owned()];
    let client = Client::new(&env, ClientConfig::default(), None);
    let stack = Stack::start_in(env, folder, config, None).await;
    (stack, server, client)
}

/// The number of queues that a name server knows of a topic.
async fn queues(client: &Client, server: &str, topic: &str) -> Option<i32> {
    let header = GetRouteInfoRequestHeader {
        topic: topic.to_owned(),
        ..GetRouteInfoRequestHeader::default()
    };
    let request = RemotingCommand::request_with(RequestCode::GET_ROUTEINFO_BY_TOPIC, &header);
    let response = client
        .invoke(server, request, Duration::from_secs(3))
        .await
        .unwrap();
    if !response.is_success() {
        return None;
    }
    let route = TopicRouteData::from_json(&response.body).unwrap();
    assert_eq!(route.broker_datas[0].broker_addrs[&0], "127.0.0.1:10911");
    Some(route.queue_datas[0].write_queue_nums)
}

#[tokio::test(start_paused = true)]
async fn a_started_broker_is_known() {
    let (_stack, _server, client) = stack().await;
    assert_eq!(queues(&client, FIRST, "TBW102").await, Some(8));
}

#[tokio::test(start_paused = true)]
async fn a_new_topic_is_announced_at_once() {
    let (stack, _server, client) = stack().await;
    stack.peer.send_ok(&order("x")).await;
    stack.peer.subscribe("c1", GROUP, &[(TOPIC, "*")]).await;
    sleep(Duration::from_millis(10)).await;
    assert_eq!(queues(&client, FIRST, TOPIC).await, Some(4));
    assert_eq!(queues(&client, FIRST, "%RETRY%readers").await, Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_created_topic_is_known_when_the_administrator_has_his_answer() {
    let (stack, _server, client) = stack().await;
    let header = CreateTopicRequestHeader {
        topic: TOPIC.to_owned(),
        read_queue_nums: 2,
        write_queue_nums: 2,
        perm: 6,
        ..CreateTopicRequestHeader::default()
    };
    stack
        .peer
        .ask(RequestCode::UPDATE_AND_CREATE_TOPIC, &header)
        .await;
    assert_eq!(queues(&client, FIRST, TOPIC).await, Some(2));
    assert_eq!(
        queues(&client, FIRST, "TBW102").await,
        Some(8),
        "the others stay known"
    );
}

#[tokio::test(start_paused = true)]
async fn a_name_server_that_comes_later_is_told_within_half_a_minute() {
    let (stack, _server, client) = stack().await;
    let _late = name_server(&stack.env, SECOND).await;
    sleep(Duration::from_secs(41)).await;
    assert_eq!(queues(&client, SECOND, "TBW102").await, Some(8));
}

#[tokio::test(start_paused = true)]
async fn a_stopped_broker_is_forgotten() {
    let (stack, _server, client) = stack().await;
    stack.broker.shutdown().await;
    assert_eq!(queues(&client, FIRST, "TBW102").await, None);
}
