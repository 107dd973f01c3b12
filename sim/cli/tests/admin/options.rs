//! The less common options of `mqadmin`, and what commands show of groups that are at work.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use hotfire_client::{Admin, ConsumeConcurrentlyStatus, ConsumeFrom, Delivery, PushConsumer};
use hotfire_env::real;
use serde_json::{Value, json};

use crate::site::{Site, words};

#[test]
fn a_message_is_sent_again_and_all_its_copies_are_shown() {
    let site = Site::with_orders();
    let found = site.json(&words("queryMsgByKey -t orders -k k2"));
    let (id, key) = (&found[0]["offsetMsgId"], &found[0]["msgId"]);
    let (id, key) = (id.as_str().unwrap(), key.as_str().unwrap());
    let sent = site.json(&words(&format!("queryMsgById -i {id} -s true")));
    assert_eq!(
        (&sent["sendResult"], &sent["msgId"]),
        (&json!("SEND_OK"), &json!(key))
    );
    let first = site.json(&words(&format!("queryMsgByUniqueKey -t orders -i {key}")));
    assert_eq!(first["offsetMsgId"], id);
    let all = site.json(&words(&format!(
        "queryMsgByUniqueKey -t orders -i {key} -a"
    )));
    let copy = sent["offsetMsgId"].as_str().unwrap();
    assert_eq!(all[copy]["body"], "body of k2");
    let both = site.json(&words(&format!("queryMsgById -i {id},{copy}")));
    assert_eq!(both, all);
}

#[test]
fn a_body_is_shown_in_the_charset_that_is_named() {
    let site = Site::with_orders();
    site.text(&words("sendMessage -t orders -p caf\u{e9} -c Drinks"));
    let body = |charset: &str| {
        let line = format!("printMsg -t orders -s Drinks -c {charset}");
        site.json(&words(&line))[0]["body"].clone()
    };
    assert_eq!(body("UTF-8"), "caf\u{e9}");
    assert_eq!(body("GBK"), "caf\u{8305}");
    let wrong = site.run(&words("printMsg -t orders -c Klingon"));
    assert_eq!(wrong.code, 254);
    let hidden = site.json(&words("printMsg -t orders -s Drinks -d false"));
    assert_eq!(hidden[0]["body"], Value::Null);
}

#[test]
fn now_is_behind_the_last_message() {
    let site = Site::with_orders();
    let moved = site.json(&words("resetOffsetByTime -g readers -t orders -s now"));
    assert_eq!(
        (&moved[0]["offset"], &moved[1]["offset"]),
        (&json!(3), &json!(0))
    );
    let back = site.json(&words("resetOffsetByTime -g readers -t orders -s 0"));
    assert_eq!(back[0]["offset"], 0);
    let skip = site.json(&words(
        "skipAccumulatedMessage -g readers -t orders -f false",
    ));
    assert_eq!(skip[0]["offset"], 0, "without force nothing is skipped");
}

#[test]
fn a_traced_message_leaves_a_trace() {
    let site = Site::start_with("traceTopicEnable=true\n", &[]);
    site.text(&words("updateTopic -t orders -c DefaultCluster"));
    site.text(&words("sendMessage -t orders -p hello -k k1 -m true"));
    let traces = site.json(&words("printMsg -t RMQ_SYS_TRACE_TOPIC"));
    let trace = traces[0]["body"].as_str().unwrap();
    assert!(trace.starts_with("Pub") && trace.contains("k1"), "{trace}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordered_topic_is_listed_at_the_name_servers() {
    let site = Site::start();
    let broker = &site.broker;
    site.text(&words(
        "updateTopic -t parcels -c DefaultCluster -w 4 -o true",
    ));
    site.text(&words(&format!(
        "updateTopic -t letters -b {broker} -w 2 -o true"
    )));
    site.text(&words("updateTopic -t orders -c DefaultCluster"));
    let env = real::env(".", None);
    let admin = Admin::builder(&env)
        .namesrv([&site.namesrv])
        .start()
        .unwrap();
    for (topic, order) in [
        ("parcels", Some("broker-a:4")),
        ("letters", Some("broker-a:2")),
        ("orders", None),
    ] {
        let found = admin
            .get_kv_config("ORDER_TOPIC_CONFIG", topic)
            .await
            .unwrap();
        assert_eq!(found.as_deref(), order, "{topic}");
    }
    admin.shutdown();
}

#[test]
fn a_route_has_sums() {
    let site = Site::with_orders();
    let route = site.json(&words("topicRoute -t orders -l"));
    let total = json!({"brokers": 1, "readQueueNums": 2, "writeQueueNums": 2});
    assert_eq!(route["total"], total);
}

#[test]
fn clusters_are_shown_again_and_again() {
    let site = Site::start();
    let mut watching = Command::new(env!("CARGO_BIN_EXE_hotfire"))
        .args(["admin", "clusterList", "-i", "0", "-n", &site.namesrv])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let lines = lines.map_while(Result::ok);
    let headings = lines.filter(|line| line.starts_with("#Cluster Name"));
    assert_eq!(headings.take(3).count(), 3);
    watching.kill().unwrap();
    watching.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_at_work_is_shown_with_its_members_and_moved_with_them() {
    let site = Site::with_orders();
    // The consumer's own first commit is ten seconds away.
    site.text(&words("resetOffsetByTime -g readers -t orders -s 0"));
    let env = real::env(site.path("consumer"), None);
    let consumer = PushConsumer::builder(&env)
        .namesrv([&site.namesrv])
        .group("readers")
        .subscribe("orders", "TagA || TagB")
        .consume_from(ConsumeFrom::First)
        .concurrent(|_: Delivery| async { ConsumeConcurrentlyStatus::Success })
        .start()
        .await
        .unwrap();
    let id = consumer.client_id();
    let consumed = || {
        let status = site.run(&words("consumerStatus -g readers --json"));
        let status: Value = serde_json::from_str(&status.stdout).ok()?;
        let mut queues = status["queues"].as_array()?.iter();
        queues.find(|queue| queue["commitOffset"] == 3)?;
        Some(status)
    };
    let status = loop {
        if let Some(status) = consumed() {
            break status;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let progress = site.json(&words("consumerProgress -g readers -s true"));
    assert!(progress["queues"][0]["clientIp"].is_string(), "{progress}");
    assert_eq!(status["group"], json!({"sameSubscription": true}));
    assert_eq!(status["members"][0]["clientId"], id);
    let one = site.json(&words(&format!(
        "consumerStatus -g readers -i {id} -b {}",
        site.broker
    )));
    assert_eq!(one["properties"]["PROP_CONSUME_TYPE"], "CONSUME_PASSIVELY");
    let connection = site.json(&words("consumerConnection -g readers"));
    assert_eq!(connection["group"]["messageModel"], "CLUSTERING");
    let found = site.json(&words("queryMsgByKey -t orders -k k2"));
    let message = found[0]["offsetMsgId"].as_str().unwrap();
    let consumed = site.json(&words(&format!(
        "queryMsgById -i {message} -g readers -d {id}"
    )));
    assert_eq!(consumed["consumeResult"], "CR_SUCCESS");
    let moved = site.json(&words("resetOffsetByTime -g readers -t orders -s 0"));
    assert_eq!(
        moved[0],
        json!({"brokerName": "broker-a", "queueId": 0, "offset": 0})
    );
}

#[test]
fn a_broker_that_must_answer_at_once_does_not() {
    let site = Site::start();
    let broker = &site.broker;
    let refused = site.refused(&words(&format!("brokerConsumeStats -b {broker} -t 0")));
    assert!(refused.contains("BROKER"), "{refused}");
    site.text(&words(&format!("brokerConsumeStats -b {broker} -t 10000")));
}
