//! Load balancing by the broker: who reads which queues, and how.

use std::time::Duration;

use hotfire_broker::BrokerConfig;
use hotfire_namesrv::{NameServer, NamesrvConfig};
use hotfire_protocol::body::{
    MessageModel, MessageRequestMode, MessageRequestModeSerializeWrapper,
    QueryAssignmentRequestBody, QueryAssignmentResponseBody, SetMessageRequestModeRequestBody,
};
use hotfire_protocol::header::topic::{CreateTopicRequestHeader, DeleteTopicRequestHeader};
use hotfire_protocol::{RemotingCommand, RequestCode, ResponseCode};
use tokio::time::sleep;

use crate::support::{GROUP, Peer, Stack, TOPIC, config, memory, order};

const NAMESRV: &str = "127.0.0.1:9876";
const BOTH: &[&str] = &["reader@1", "reader@2"];

/// A broker with a topic of four queues, its name server, and members of a group.
struct Site {
    stack: Stack,
    _server: NameServer,
    _members: Vec<Peer>,
}

impl Site {
    async fn with(config: BrokerConfig, members: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let env = memory::env(&memory::MemoryNetwork::default(), folder.path());
        let namesrv = NamesrvConfig {
            listen: NAMESRV.to_owned(),
            ..NamesrvConfig::default()
        };
        let server = NameServer::start(&env, namesrv).await.unwrap();
        let config = BrokerConfig {
            namesrv_addrs: vec![NAMESRV.to_owned()],
            ..config
        };
        let stack = Stack::start_in(env, folder, config, None).await;
        stack.peer.send_ok(&order("creates the topic")).await;
        let mut peers = Vec::new();
        for id in members {
            let peer = stack.another_peer();
            peer.subscribe(id, GROUP, &[(TOPIC, "*")]).await;
            peers.push(peer);
        }
        Self {
            stack,
            _server: server,
            _members: peers,
        }
    }

    async fn start(members: &[&str]) -> Self {
        Self::with(config(), members).await
    }

    async fn invoke(&self, code: RequestCode, body: Vec<u8>) -> RemotingCommand {
        let request = RemotingCommand::request(code).with_body(body);
        self.stack.peer.invoke(request).await
    }

    async fn ask(&self, asked: &QueryAssignmentRequestBody) -> Option<Vec<Assigned>> {
        let code = RequestCode::QUERY_ASSIGNMENT;
        let response = self.invoke(code, asked.to_json()).await;
        assert_eq!(response.code, 0, "{response:?}");
        let body = QueryAssignmentResponseBody::from_json(&response.body).unwrap();
        let assigned = body.message_queue_assignments?.into_iter();
        let assigned = assigned.map(|assigned| {
            assert_eq!(assigned.message_queue.topic, TOPIC);
            assert_eq!(assigned.message_queue.broker_name, "broker-a");
            (assigned.message_queue.queue_id, assigned.mode)
        });
        Some(assigned.collect())
    }

    async fn set(&self, mode: &SetMessageRequestModeRequestBody) -> RemotingCommand {
        let code = RequestCode::SET_MESSAGE_REQUEST_MODE;
        self.invoke(code, mode.to_json()).await
    }
}

type Assigned = (i32, MessageRequestMode);

fn asked(client_id: &str) -> QueryAssignmentRequestBody {
    QueryAssignmentRequestBody {
        client_id: client_id.to_owned(),
        consumer_group: GROUP.to_owned(),
        message_model: MessageModel::Clustering,
        strategy_name: "AVG".to_owned(),
        topic: TOPIC.to_owned(),
    }
}

fn pop(topic: &str) -> SetMessageRequestModeRequestBody {
    SetMessageRequestModeRequestBody {
        consumer_group: GROUP.to_owned(),
        mode: MessageRequestMode::Pop,
        pop_share_queue_num: 0,
        topic: topic.to_owned(),
    }
}

fn pulled(ids: &[i32]) -> Option<Vec<Assigned>> {
    Some(
        ids.iter()
            .map(|&id| (id, MessageRequestMode::Pull))
            .collect(),
    )
}

#[tokio::test(start_paused = true)]
async fn members_that_pull_share_the_queues() {
    let site = Site::start(BOTH).await;
    assert_eq!(site.ask(&asked("reader@1")).await, pulled(&[0, 1]));
    assert_eq!(site.ask(&asked("reader@2")).await, pulled(&[2, 3]));
    let circle = QueryAssignmentRequestBody {
        strategy_name: "AVG_BY_CIRCLE".to_owned(),
        ..asked("reader@1")
    };
    assert_eq!(site.ask(&circle).await, pulled(&[0, 2]));
    assert_eq!(site.ask(&asked("stranger@3")).await, pulled(&[]));
}

#[tokio::test(start_paused = true)]
async fn who_broadcasts_reads_all_queues() {
    let site = Site::start(&[]).await;
    let broadcasting = QueryAssignmentRequestBody {
        message_model: MessageModel::Broadcasting,
        ..asked("reader@1")
    };
    assert_eq!(site.ask(&broadcasting).await, pulled(&[0, 1, 2, 3]));
}

#[tokio::test(start_paused = true)]
async fn without_a_route_members_or_a_known_strategy_there_is_no_answer() {
    let site = Site::start(BOTH).await;
    let unknown_topic = QueryAssignmentRequestBody {
        topic: "parcels".to_owned(),
        ..asked("reader@1")
    };
    assert_eq!(site.ask(&unknown_topic).await, None);
    let empty_group = QueryAssignmentRequestBody {
        consumer_group: "auditors".to_owned(),
        ..asked("reader@1")
    };
    assert_eq!(site.ask(&empty_group).await, None);
    let own_strategy = QueryAssignmentRequestBody {
        strategy_name: "CONSISTENT_HASH".to_owned(),
        ..asked("reader@1")
    };
    assert_eq!(site.ask(&own_strategy).await, None);
}

#[tokio::test(start_paused = true)]
async fn with_load_balancing_switched_off_members_get_all_queues() {
    let config = BrokerConfig {
        server_load_balancer_enable: false,
        ..config()
    };
    let site = Site::with(config, BOTH).await;
    assert_eq!(site.ask(&asked("reader@1")).await, pulled(&[0, 1, 2, 3]));
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_set_to_pop_a_topic_pops_all_of_it_also_after_a_restart() {
    let mut site = Site::start(BOTH).await;
    assert_eq!(site.set(&pop(TOPIC)).await.code, 0);
    let all = Some(vec![(-1, MessageRequestMode::Pop)]);
    assert_eq!(site.ask(&asked("reader@1")).await, all);
    site.stack = site.stack.restart().await;
    let peer = site.stack.another_peer();
    peer.subscribe("reader@1", GROUP, &[(TOPIC, "*")]).await;
    assert_eq!(site.ask(&asked("reader@1")).await, all);
    let code = RequestCode::GET_ALL_MESSAGE_REQUEST_MODE;
    let modes = site.invoke(code, Vec::new()).await;
    let modes = MessageRequestModeSerializeWrapper::from_json(&modes.body).unwrap();
    assert_eq!(modes.message_request_mode_map[TOPIC][GROUP], pop(TOPIC));
}

#[tokio::test(start_paused = true)]
async fn new_queues_are_shared_within_half_a_minute_and_a_deleted_topic_is_forgotten() {
    let site = Site::start(&["reader@1"]).await;
    assert_eq!(site.ask(&asked("reader@1")).await, pulled(&[0, 1, 2, 3]));
    let more = CreateTopicRequestHeader {
        topic: TOPIC.to_owned(),
        default_topic: "TBW102".to_owned(),
        read_queue_nums: 6,
        write_queue_nums: 6,
        perm: 6,
        topic_filter_type: "SINGLE_TAG".to_owned(),
        ..CreateTopicRequestHeader::default()
    };
    let code = RequestCode::UPDATE_AND_CREATE_TOPIC;
    assert_eq!(site.stack.peer.ask(code, &more).await.code, 0);
    assert_eq!(site.ask(&asked("reader@1")).await, pulled(&[0, 1, 2, 3]));
    // One for the announcement, which may come just behind a look at the routes.
    sleep(Duration::from_secs(32)).await;
    let all = pulled(&[0, 1, 2, 3, 4, 5]);
    assert_eq!(site.ask(&asked("reader@1")).await, all);
    let gone = DeleteTopicRequestHeader {
        topic: TOPIC.to_owned(),
    };
    let request = RemotingCommand::request_with(RequestCode::DELETE_TOPIC_IN_NAMESRV, &gone);
    let client = &site.stack.peer.client;
    let deleted = client
        .invoke(NAMESRV, request, Duration::from_secs(3))
        .await;
    assert_eq!(deleted.unwrap().code, 0);
    let code = RequestCode::DELETE_TOPIC_IN_BROKER;
    assert_eq!(site.stack.peer.ask(code, &gone).await.code, 0);
    sleep(Duration::from_secs(31)).await;
    assert_eq!(site.ask(&asked("reader@1")).await, None);
}

#[tokio::test(start_paused = true)]
async fn modes_are_set_for_topics_that_are_there_and_no_retry_topics() {
    let site = Site::start(&[]).await;
    let retry = site.set(&pop("%RETRY%readers")).await;
    assert_eq!(retry.code, ResponseCode::NO_PERMISSION.0);
    let unknown = site.set(&pop("parcels")).await;
    assert_eq!(unknown.code, ResponseCode::TOPIC_NOT_EXIST.0);
    assert_eq!(unknown.remark.as_deref(), Some("topic[parcels] not exist"));
    let garbled = site
        .invoke(RequestCode::SET_MESSAGE_REQUEST_MODE, b"{".to_vec())
        .await;
    assert_eq!(garbled.code, ResponseCode::SYSTEM_ERROR.0);
}

#[tokio::test(start_paused = true)]
async fn a_broker_without_name_servers_knows_no_queues() {
    let stack = Stack::start().await;
    stack.peer.send_ok(&order("creates the topic")).await;
    let request = RemotingCommand::request(RequestCode::QUERY_ASSIGNMENT);
    let response = stack
        .peer
        .invoke(request.with_body(asked("reader@1").to_json()))
        .await;
    assert_eq!((response.code, &response.body[..]), (0, &b"{}"[..]));
}
