//! The commands, one by one.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::site::{Site, admin, free_port, words};

#[test]
fn a_topic_is_created_shown_and_deleted() {
    let site = Site::start();
    let created = site.text(&["updateTopic", "-t", "orders", "-b", &site.broker, "-r", "2"]);
    assert_snapshot!(created, @"topic orders is up to date on BROKER");
    assert_snapshot!(site.text(&["topicRoute", "-t", "orders"]), @r"
    #Cluster Name  #Broker Name  #Addresses  #Read Queues  #Write Queues  #Perm
    DefaultCluster  broker-a  0=BROKER  2  8  6
    ");
    assert_snapshot!(site.text(&["topicClusterList", "-t", "orders"]), @r"
    #Cluster Name
    DefaultCluster
    ");
    let listed = site.json(&["topicList"]);
    assert!(
        listed
            .as_array()
            .unwrap()
            .contains(&json!({"topic": "orders"}))
    );
    let deleted = site.text(&["deleteTopic", "-t", "orders", "-c", "DefaultCluster"]);
    assert_snapshot!(deleted, @"topic orders is deleted from DefaultCluster");
    let gone = site.run(&["topicRoute", "-t", "orders"]);
    assert_eq!((gone.code, gone.stdout.as_str()), (1, ""));
    assert!(
        gone.stderr.contains("TOPIC_NOT_EXIST(17)"),
        "{}",
        gone.stderr
    );
    assert!(gone.stderr.contains(&site.namesrv), "{}", gone.stderr);
}

#[test]
fn a_message_is_found_by_each_of_its_ids_and_by_its_key() {
    let site = Site::with_orders();
    let found = site.json(&["queryMsgByKey", "-t", "orders", "-k", "k2"]);
    let [message] = &found.as_array().unwrap()[..] else {
        panic!("{found}");
    };
    assert_eq!(message["body"], "body of k2");
    assert_eq!(
        (&message["queueId"], &message["queueOffset"]),
        (&json!(0), &json!(1))
    );
    let id = message["offsetMsgId"].as_str().unwrap();
    let by_id = site.json(&["queryMsgById", "-i", id]);
    assert_eq!(by_id["properties"]["TAGS"], "TagB");
    let id = message["msgId"].as_str().unwrap();
    let by_unique_key = site.json(&["queryMsgByUniqueKey", "-t", "orders", "-i", id]);
    assert_eq!(by_unique_key, by_id);
}

#[test]
fn messages_are_printed_by_tag_and_read_from_an_offset() {
    let site = Site::with_orders();
    let bodies = |found: Value| {
        let rows = found.as_array().unwrap().clone();
        rows.into_iter()
            .map(|row| row["body"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let printed = site.json(&["printMsg", "-t", "orders", "-s", "TagA"]);
    assert_eq!(bodies(printed), ["body of k1", "body of k3"]);
    let read = site.json(&[
        "consumeMessage",
        "-t",
        "orders",
        "-b",
        "broker-a",
        "-i",
        "0",
        "-o",
        "1",
        "-c",
        "1",
    ]);
    assert_eq!(bodies(read), ["body of k2"]);
    let status = site.json(&["topicStatus", "-t", "orders"]);
    assert_eq!(
        (&status[0]["maxOffset"], &status[1]["maxOffset"]),
        (&json!(3), &json!(0))
    );
}

#[test]
fn a_group_without_members_is_moved_skipped_and_copied() {
    let site = Site::with_orders();
    let created = site.text(&["updateSubGroup", "-g", "readers", "-b", &site.broker]);
    assert_snapshot!(created, @"group readers is up to date on BROKER");
    let begin = [
        "resetOffsetByTime",
        "-g",
        "readers",
        "-t",
        "orders",
        "-s",
        "0",
    ];
    assert_snapshot!(site.text(&begin), @r"
    #Broker Name  #QID  #Offset
    broker-a  0  0
    broker-a  1  0
    ");
    let progress =
        || site.json(&["consumerProgress", "-g", "readers"])["total"]["diffTotal"].clone();
    assert_eq!(progress(), json!(3));
    site.text(&["skipAccumulatedMessage", "-g", "readers", "-t", "orders"]);
    assert_eq!(progress(), json!(0));
    site.text(&[
        "cloneGroupOffset",
        "-s",
        "readers",
        "-d",
        "auditors",
        "-t",
        "orders",
    ]);
    let stats = site.json(&["brokerConsumeStats", "-b", &site.broker]);
    let of = |group: &str| {
        let rows = stats["queues"].as_array().unwrap().iter();
        rows.filter(|row| row["group"] == group)
            .map(|row| row["consumerOffset"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("readers"), [json!(3), json!(0)]);
    let deleted = site.text(&[
        "deleteSubGroup",
        "-g",
        "readers",
        "-b",
        &site.broker,
        "-r",
        "true",
    ]);
    assert_snapshot!(deleted, @"group readers is deleted from BROKER");
    let gone = site.run(&["consumerProgress", "-g", "readers"]);
    assert_eq!(gone.code, 1);
    assert_snapshot!(gone.stderr, @"group readers has no offsets: it has never consumed");
}

#[test]
fn brokers_tell_how_they_are_and_take_settings() {
    let site = Site::with_orders();
    let clusters = site.json(&["clusterList"]);
    assert_eq!(clusters[0]["brokerName"], "broker-a");
    assert_eq!(clusters[0]["version"], "V4_9_8");
    let today = site.json(&["clusterList", "-m"]);
    assert_eq!(today[0]["inTotalToday"], 3);
    let status = site.json(&["brokerStatus", "-b", &site.broker]);
    assert_eq!(status["putMessageTimesTotal"], "3");
    let set = [
        "updateBrokerConfig",
        "-b",
        &site.broker,
        "-k",
        "regionId",
        "-v",
        "Moon",
    ];
    assert_snapshot!(site.text(&set), @"regionId is Moon on BROKER");
    let config = site.json(&["getBrokerConfig", "-c", "DefaultCluster"]);
    assert_eq!(config["regionId"], "Moon");
    let stats = site.json(&["statsAll", "-t", "orders"]);
    assert_eq!(
        (&stats[0]["topic"], &stats[0]["accumulation"]),
        (&json!("orders"), &json!(0))
    );
}

#[test]
fn name_servers_keep_producers_off_a_broker_and_keep_values() {
    let site = Site::with_orders();
    let perm = || site.json(&["topicRoute", "-t", "orders"])[0]["perm"].clone();
    let wiped = site.json(&["wipeWritePerm", "-b", "broker-a"]);
    assert_eq!(
        (&wiped[0]["brokerName"], perm()),
        (&json!("broker-a"), json!(4))
    );
    site.text(&["addWritePerm", "-b", "broker-a"]);
    assert_eq!(perm(), json!(6));
    let set = ["updateKvConfig", "-s", "shop", "-k", "colour", "-v", "red"];
    assert_snapshot!(site.text(&set), @"colour is red in shop");
    let deleted = site.text(&["deleteKvConfig", "-s", "shop", "-k", "colour"]);
    assert_snapshot!(deleted, @"colour is gone from shop");
}

#[test]
fn a_name_server_that_is_not_there_is_1_with_what_to_do() {
    let nobody = format!("127.0.0.1:{}", free_port());
    let done = admin(&["topicList", "-n", &nobody]);
    assert_eq!((done.code, done.stdout.as_str()), (1, ""));
    assert!(done.stderr.contains(&nobody), "{}", done.stderr);
    assert!(
        done.stderr.contains("Is a server running there?"),
        "{}",
        done.stderr
    );
}

#[test]
fn wrong_usage_is_254() {
    for args in [
        &["noSuchCommand"][..],
        &["topicRoute"],
        &["updateTopic", "-t", "t"],
        &["updateTopic", "-t", "a b", "-b", "127.0.0.1:1"],
        &["updateTopic", "-t", "t", "-b", "127.0.0.1:1", "-p", "8"],
        &["updateTopic", "-t", "t", "-b", "127.0.0.1:1", "-r", "-1"],
        &["updateTopic", "-t", "t", "-b", "127.0.0.1:1", "-w", "65537"],
        &["updateSubGroup", "-g", "g", "-b", "127.0.0.1:1", "-r", "-2"],
        &[
            "updateSubGroup",
            "-g",
            "g",
            "-b",
            "127.0.0.1:1",
            "-q",
            "2000000000",
        ],
        &["resetOffsetByTime", "-g", "g", "-t", "t", "-s", "yesterday"],
        &["queryMsgById", "-i", "nonsense"],
        &["topicList", "--access-key", "only"],
    ] {
        let done = admin(args);
        assert_eq!((done.code, done.stdout.as_str()), (254, ""), "{args:?}");
        assert!(!done.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn a_group_without_retries_is_written_as_in_rocketmq() {
    let site = Site::with_orders();
    let args = [
        "updateSubGroup",
        "-g",
        "g",
        "-c",
        "DefaultCluster",
        "-r",
        "-1",
    ];
    assert_snapshot!(site.text(&args), @"group g is up to date on BROKER");
}

#[test]
fn a_group_is_set_to_pop_a_topic() {
    let site = Site::with_orders();
    let mut args = vec!["setConsumeMode", "-t", "orders", "-g", "readers"];
    args.extend(["-c", "DefaultCluster", "-m", "POP", "-q", "2"]);
    assert_snapshot!(site.text(&args), @"group readers has mode POP for topic orders on BROKER");
    args[2] = "parcels";
    let unknown = site.run(&args);
    assert_eq!(unknown.code, 1);
    assert!(
        unknown.stderr.contains("TOPIC_NOT_EXIST"),
        "{}",
        unknown.stderr
    );
    args[8] = "PUSH";
    assert_eq!(site.run(&args).code, 254);
}

#[test]
fn help_lists_the_commands_of_mqadmin_with_one_line_each() {
    let help = admin(&["--help"]);
    assert_eq!(help.code, 0);
    for command in [
        "topicList",
        "topicRoute",
        "topicStatus",
        "updateTopic",
        "deleteTopic",
        "updateSubGroup",
        "consumerProgress",
        "consumerStatus",
        "resetOffsetByTime",
        "queryMsgById",
        "queryMsgByKey",
        "queryMsgByUniqueKey",
        "printMsg",
        "brokerStatus",
        "clusterList",
        "brokerConsumeStats",
        "updateBrokerConfig",
        "getBrokerConfig",
        "wipeWritePerm",
        "addWritePerm",
        "cloneGroupOffset",
        "deleteSubGroup",
        "updateKvConfig",
        "deleteKvConfig",
        "sendMessage",
        "consumeMessage",
        "topicClusterList",
        "consumerConnection",
        "producerConnection",
        "statsAll",
        "skipAccumulatedMessage",
        "setConsumeMode",
        "updateAclConfig",
        "deleteAccessConfig",
        "updateGlobalWhiteAddr",
        "clusterAclConfigVersion",
        "getAclConfig",
    ] {
        let line = help
            .stdout
            .lines()
            .find(|line| line.trim_start().starts_with(command));
        assert!(
            line.is_some_and(|line| line.split_whitespace().count() > 2),
            "{command}"
        );
    }
}

#[test]
fn what_is_not_there_is_1_with_what_there_is() {
    let site = Site::start();
    let cluster = site.refused(&words("clusterList -c Elsewhere"));
    assert_snapshot!(cluster, @"there is no cluster `Elsewhere`; there are: DefaultCluster");
    for line in [
        "topicStatus",
        "printMsg",
        "queryMsgByKey -k k",
        "skipAccumulatedMessage -g g",
        "producerConnection -g g",
    ] {
        let refused = site.refused(&words(&format!("{line} -t nowhere")));
        let hint = "\n`topicList` shows the topics there are.\n";
        assert!(refused.contains("TOPIC_NOT_EXIST(17)"), "{refused}");
        assert!(refused.ends_with(hint), "{refused}");
    }
}

#[test]
fn who_cannot_write_is_told_who_can_change_that() {
    let site = Site::with_orders();
    site.text(&words("wipeWritePerm -b broker-a"));
    let refused = site.refused(&words("sendMessage -t orders -p hello"));
    assert!(refused.contains("`addWritePerm`"), "{refused}");
}
