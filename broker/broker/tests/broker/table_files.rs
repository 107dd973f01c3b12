//! What is in the files of tables, and when.

use std::sync::Arc;
use std::time::Duration;

use hotfire_broker::{Broker, BrokerConfig};
use hotfire_env::Env;
use hotfire_protocol::header::topic::CreateTopicRequestHeader;
use hotfire_protocol::{Message, RemotingCommand, RequestCode, ResponseCode};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::support::{self, GROUP, Peer, Stack, TOPIC, bodies, memory, order};

const TOPICS: &str = "store/config/topics.json";
const GROUPS: &str = "store/config/subscriptionGroup.json";

fn create(topic: &str) -> RemotingCommand {
    let header = CreateTopicRequestHeader {
        topic: topic.to_owned(),
        read_queue_nums: 2,
        write_queue_nums: 2,
        perm: 6,
        topic_filter_type: "SINGLE_TAG".to_owned(),
        ..CreateTopicRequestHeader::default()
    };
    RemotingCommand::request_with(RequestCode::UPDATE_AND_CREATE_TOPIC, &header)
}

fn file(env: &Env, path: &str) -> String {
    String::from_utf8(env.disk().read(path).unwrap()).unwrap()
}

/// Starts a broker on what is on a disk, as after a crash of another.
async fn start_on(folder: &TempDir, config: BrokerConfig) -> (Env, Broker, Peer) {
    let env = memory::env(&memory::MemoryNetwork::default(), folder.path());
    let broker = Broker::start(&env, config, None).await.unwrap();
    let peer = Peer::new(&env, &broker.local().to_string());
    (env, broker, peer)
}

#[tokio::test(start_paused = true)]
async fn what_is_answered_with_success_is_in_its_file() {
    let stack = Stack::start().await;
    assert_eq!(stack.peer.invoke(create("made")).await.code, 0);
    assert!(file(&stack.env, TOPICS).contains("\"made\""));
    stack.peer.send_ok(&Message::new("sent", "x")).await;
    assert!(file(&stack.env, TOPICS).contains("\"sent\""));
    let group = format!("{{\"groupName\":\"{GROUP}\"}}");
    let request = RemotingCommand::request(RequestCode::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP);
    assert_eq!(stack.peer.invoke(request.with_body(group)).await.code, 0);
    assert!(file(&stack.env, GROUPS).contains(GROUP));
    let request = RemotingCommand::request(RequestCode::UPDATE_BROKER_CONFIG);
    assert_eq!(
        stack
            .peer
            .invoke(request.with_body("regionId=Moon"))
            .await
            .code,
        0
    );
    assert!(file(&stack.env, "store/config/broker.properties").contains("regionId=Moon"));
}

#[tokio::test(start_paused = true)]
async fn many_new_topics_at_once_share_few_writes() {
    let stack = Stack::start().await;
    let peers: Vec<_> = (0..8).map(|_| Arc::new(stack.another_peer())).collect();
    let sends = (0..400).map(|number| {
        let peer = peers[number % peers.len()].clone();
        let message = Message::new(format!("topic-{number}"), "x");
        async move { peer.send_ok(&message).await }
    });
    futures_util::future::join_all(sends).await;
    let topics = file(&stack.env, TOPICS);
    assert!((0..400).all(|number| topics.contains(&format!("\"topic-{number}\""))));
}

#[tokio::test(start_paused = true)]
async fn a_change_that_cannot_be_written_is_answered_as_such_and_written_later() {
    let stack = Stack::start().await;
    assert_eq!(stack.peer.invoke(create("before")).await.code, 0);
    // A folder where the new file is to be: as good as a full disk.
    let in_the_way = format!("{TOPICS}.tmp/x");
    stack.env.disk().write(&in_the_way, b"").unwrap();
    for request in [
        create("made"),
        support::send_request(&Message::new("sent", "x"), 0),
    ] {
        let failed = stack.peer.invoke(request).await;
        assert_eq!(failed.code, ResponseCode::SYSTEM_ERROR.0);
        let remark = failed.remark.unwrap();
        assert!(
            remark.contains("not written") && remark.contains("topics.json"),
            "{remark}"
        );
        stack.env.disk().write(&in_the_way, b"").unwrap();
    }
    assert!(
        file(&stack.env, TOPICS).contains("\"before\""),
        "the old file is whole"
    );
    stack.env.disk().remove(&format!("{TOPICS}.tmp")).unwrap();
    sleep(Duration::from_secs(6)).await;
    let topics = file(&stack.env, TOPICS);
    assert!(topics.contains("\"made\"") && topics.contains("\"sent\""));
    stack.peer.send_ok(&Message::new("sent", "y")).await;
}

#[tokio::test(start_paused = true)]
async fn a_damaged_table_of_topics_is_set_aside_and_the_store_tells_what_the_backup_does_not() {
    for damage in [
        &b""[..],
        b"\0\0\0\0",
        b"{}",
        b"{\"topicConfigTable\":{\"a\":",
    ] {
        let stack = Stack::start().await;
        stack.peer.send_ok(&Message::new("first", "x")).await;
        let older = file(&stack.env, TOPICS);
        stack.peer.send_ok(&order("kept")).await;
        let mut wide = support::send_header(&order("wide"), 3);
        wide.queue_id = 3;
        let sent = RemotingCommand::request_with(RequestCode::SEND_MESSAGE, &wide);
        assert_eq!(stack.peer.invoke(sent.with_body("wide")).await.code, 0);
        stack.broker.shutdown().await;
        stack.env.disk().write(TOPICS, damage).unwrap();
        let backup = format!("{TOPICS}.bak");
        stack.env.disk().write(&backup, older.as_bytes()).unwrap();
        let stack = stack.start_again().await;
        assert_eq!(bodies(&stack.peer.pull(TOPIC, 0, "*").await), ["kept"]);
        let mut header = support::pull_header(TOPIC, 0, "*");
        header.queue_id = 3;
        let response = stack.peer.ask(RequestCode::PULL_MESSAGE, &header).await;
        assert_eq!(bodies(&response), ["wide"]);
        let names = stack.env.disk().list("store/config").unwrap();
        let aside = names
            .iter()
            .find(|entry| entry.name.starts_with("topics.json.damaged-"));
        let aside = format!("store/config/{}", aside.unwrap().name);
        assert_eq!(stack.env.disk().read(&aside).unwrap(), damage);
        sleep(Duration::from_secs(1)).await;
        assert!(
            file(&stack.env, TOPICS).contains(TOPIC),
            "it is written again"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn without_any_table_of_topics_the_stored_messages_are_still_read() {
    let stack = Stack::start().await;
    stack.peer.send_ok(&order("kept")).await;
    stack.peer.commit(1).await;
    stack.broker.shutdown().await;
    for path in [TOPICS, GROUPS] {
        stack.env.disk().write(path, b"").unwrap();
        stack.env.disk().remove(&format!("{path}.bak")).unwrap();
    }
    let stack = stack.start_again().await;
    assert_eq!(bodies(&stack.peer.pull(TOPIC, 0, "*").await), ["kept"]);
    let request = RemotingCommand::request(RequestCode::GET_ALL_SUBSCRIPTIONGROUP_CONFIG);
    let groups = stack.peer.invoke(request).await.body;
    assert!(String::from_utf8_lossy(&groups).contains(GROUP));
}

#[tokio::test(start_paused = true)]
async fn every_table_of_java_is_read_and_every_damaged_one_falls_back_to_its_backup() {
    for name in [
        "consumerOffset.json",
        "subscriptionGroup.json",
        "delayOffset.json",
        "consumerFilter.json",
        "consumerOrderInfo.json",
        "messageRequestMode.json",
        "timermetrics",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (env, broker, _) = start_on(&folder, support::config()).await;
        broker.shutdown().await;
        let path = format!("store/config/{name}");
        let whole = env.disk().read(&path).unwrap_or_else(|_| b"{}".to_vec());
        env.disk().write(&format!("{path}.bak"), &whole).unwrap();
        env.disk().write(&path, b"\0\0").unwrap();
        let (env, broker, _) = start_on(&folder, support::config()).await;
        let names = env.disk().list("store/config").unwrap();
        let aside = format!("{name}.damaged-");
        assert!(
            names.iter().any(|entry| entry.name.starts_with(&aside)),
            "{name}"
        );
        broker.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_table_that_did_not_change_is_not_written_again() {
    let stack = Stack::start().await;
    stack.peer.commit(3).await;
    sleep(Duration::from_secs(16)).await;
    let path = "store/config/consumerOffset.json";
    assert!(file(&stack.env, path).contains("0:3"));
    // Nobody who writes would leave that.
    stack.env.disk().write(path, b"untouched").unwrap();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(file(&stack.env, path), "untouched");
    stack.peer.commit(4).await;
    sleep(Duration::from_secs(6)).await;
    assert!(file(&stack.env, path).contains("0:4"));
}

#[tokio::test(start_paused = true)]
async fn a_stop_writes_what_was_collected() {
    let stack = Stack::start().await;
    stack.peer.subscribe("c1", GROUP, &[(TOPIC, "*")]).await;
    let stopped = timeout(Duration::from_secs(10), stack.broker.shutdown()).await;
    assert!(stopped.is_ok());
    assert!(file(&stack.env, GROUPS).contains(GROUP));
    assert!(file(&stack.env, TOPICS).contains("%RETRY%readers"));
}
