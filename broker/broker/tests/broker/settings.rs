//! Settings that an administrator changes.

use hotfire_protocol::header::topic::CreateTopicRequestHeader;
use hotfire_protocol::{RemotingCommand, RequestCode, ResponseCode};

use crate::support::{self, Stack, order};

async fn update(stack: &Stack, text: &str) -> RemotingCommand {
    let request = RemotingCommand::request(RequestCode::UPDATE_BROKER_CONFIG);
    stack.peer.invoke(request.with_body(text.to_owned())).await
}

async fn shown(stack: &Stack) -> String {
    let request = RemotingCommand::request(RequestCode::GET_BROKER_CONFIG);
    let response = stack.peer.invoke(request).await;
    String::from_utf8_lossy(&response.body).into_owned()
}

#[tokio::test(start_paused = true)]
async fn what_only_a_start_sets_is_refused_at_run_time_with_that_reason() {
    let stack = Stack::start().await;
    let before = shown(&stack).await;
    for text in [
        "storePathRootDir=/elsewhere",
        "storePathCommitLog=/elsewhere",
        "listenPort=1",
        "brokerName=other",
        "brokerClusterName=other",
        "mappedFileSizeCommitLog=4096",
        "flushDiskType=SYNC_FLUSH",
        "regionId=Moon\nlistenPort=1",
    ] {
        let refused = update(&stack, text).await;
        assert_eq!(refused.code, ResponseCode::SYSTEM_ERROR.0, "{text}");
        let remark = refused.remark.unwrap();
        assert!(remark.contains("only a start sets it"), "{remark}");
    }
    assert_eq!(shown(&stack).await, before, "all or nothing");
    // Topics made now are there after a restart.
    let header = CreateTopicRequestHeader {
        topic: "after".to_owned(),
        read_queue_nums: 1,
        write_queue_nums: 1,
        perm: 6,
        topic_filter_type: "SINGLE_TAG".to_owned(),
        ..CreateTopicRequestHeader::default()
    };
    let code = RequestCode::UPDATE_AND_CREATE_TOPIC;
    assert_eq!(stack.peer.ask(code, &header).await.code, 0);
    let stack = stack.restart().await;
    let request = RemotingCommand::request(RequestCode::GET_ALL_TOPIC_CONFIG);
    let topics = stack.peer.invoke(request).await.body;
    assert!(String::from_utf8_lossy(&topics).contains("\"after\""));
}

#[tokio::test(start_paused = true)]
async fn a_setting_that_makes_no_sense_is_refused() {
    let stack = Stack::start().await;
    let before = shown(&stack).await;
    let long = format!("regionId={}", "r".repeat(100_000));
    for text in [
        "brokerPermission=99",
        "brokerPermission=-1",
        "deleteWhen=25",
        "brokerName=",
        "brokerName=a\\nb",
        "transactionCheckMax=-1",
        &long,
    ] {
        let refused = update(&stack, text).await;
        assert_eq!(refused.code, ResponseCode::SYSTEM_ERROR.0, "{text}");
        assert!(refused.remark.unwrap().len() < 200_000);
    }
    assert_eq!(shown(&stack).await, before);
}

#[tokio::test(start_paused = true)]
async fn changed_settings_are_written_to_the_configuration_file_and_hold_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let env = support::memory::env(&support::memory::MemoryNetwork::default(), folder.path());
    let file = "# mine\nbrokerPermission=6\nregionId=Earth\n";
    env.disk().write("broker.conf", file.as_bytes()).unwrap();
    let mut config = support::config();
    config.config_store_path = Some("broker.conf".to_owned());
    let stack = Stack::start_in(env, folder, config, None).await;
    assert_eq!(update(&stack, "regionId=Moon\ntraceOn=false").await.code, 0);
    let written = stack.env.disk().read("broker.conf").unwrap();
    assert_eq!(
        String::from_utf8(written).unwrap(),
        "# mine\nbrokerPermission=6\nregionId=Moon\ntraceOn=false\n"
    );
    assert!(stack.env.disk().exists("broker.conf.bak").unwrap());
}

#[tokio::test(start_paused = true)]
async fn automatic_creation_is_switched_off_at_once() {
    let stack = Stack::start().await;
    assert_eq!(update(&stack, "autoCreateTopicEnable=false").await.code, 0);
    let refused = stack.peer.send(&order("x")).await;
    assert_eq!(refused.code, ResponseCode::TOPIC_NOT_EXIST.0);
    assert_eq!(update(&stack, "autoCreateTopicEnable=true").await.code, 0);
    stack.peer.send_ok(&order("x")).await;
}

#[tokio::test(start_paused = true)]
async fn every_part_of_the_store_can_lie_where_its_path_says() {
    let mut config = support::config();
    config.store.store_path_commit_log = Some("elsewhere/log".to_owned());
    config.store.store_path_consume_queue = Some("elsewhere/queues".to_owned());
    config.store.store_path_index = Some("elsewhere/keys".to_owned());
    config.store.store_checkpoint = Some("elsewhere/state/checkpoint".to_owned());
    config.store.abort_file = Some("elsewhere/state/abort".to_owned());
    let stack = Stack::start_with(config, None).await;
    stack
        .peer
        .send_ok(&order("x").with_property("KEYS", "k"))
        .await;
    let disk = stack.env.disk().clone();
    for path in ["log", "queues", "keys", "state/checkpoint", "state/abort"] {
        assert!(disk.exists(&format!("elsewhere/{path}")).unwrap(), "{path}");
    }
    for path in ["commitlog", "consumequeue", "index", "checkpoint", "abort"] {
        assert!(!disk.exists(&format!("store/{path}")).unwrap(), "{path}");
    }
    let text = shown(&stack).await;
    assert!(
        text.contains("storePathCommitLog=elsewhere/log\n"),
        "{text}"
    );
    let stack = stack.restart().await;
    assert_eq!(stack.peer.read(support::TOPIC, 0).await.len(), 1);
}
