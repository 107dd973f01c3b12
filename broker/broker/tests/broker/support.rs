//! A broker in memory with a client that speaks plain requests.

#[path = "../../../remoting/tests/memory/mod.rs"]
pub mod memory;

use std::sync::Arc;
use std::time::Duration;

use hotfire_broker::{Broker, BrokerConfig, BrokerObserver};
use hotfire_env::Env;
use hotfire_protocol::body::{ConsumerData, HeartbeatData, ProducerData, SubscriptionData};
use hotfire_protocol::header::offset::{
    QueryConsumerOffsetRequestHeader, UpdateConsumerOffsetRequestHeader,
};
use hotfire_protocol::header::pull::{PullMessageRequestHeader, sys_flag};
use hotfire_protocol::header::send::{
    ConsumerSendMsgBackRequestHeader, SendMessageRequestHeader, SendMessageRequestHeaderV2,
};
use hotfire_protocol::message::{property, record};
use hotfire_protocol::{Header, Message, MessageExt, RemotingCommand, RequestCode, topic};
use hotfire_remoting::{Channel, Client, ClientConfig, Handled, RequestHandler};
use hotfire_store::MessageInner;
use parking_lot::Mutex;
use tempfile::TempDir;

pub const GROUP: &str = "readers";
pub const TOPIC: &str = "orders";

/// What the broker asked of the client.
#[derive(Default)]
pub struct Asked(pub Mutex<Vec<RemotingCommand>>);

impl RequestHandler for Asked {
    fn handle(&self, _: &Channel, request: RemotingCommand) -> Handled {
        self.0.lock().push(request);
        Handled::None
    }
}

/// A client of the broker.
pub struct Peer {
    pub client: Client,
    pub asked: Arc<Asked>,
    address: String,
}

/// A broker, its environment and a client.
pub struct Stack {
    pub env: Env,
    pub broker: Broker,
    pub peer: Peer,
    config: BrokerConfig,
    _folder: TempDir,
}

/// A configuration with small files.
pub fn config() -> BrokerConfig {
    let mut config = BrokerConfig {
        listen: "127.0.0.1:10911".to_owned(),
        ..BrokerConfig::default()
    };
    config.store.commit_log_file_size = 1 << 20;
    config.store.consume_queue_file_units = 1_000;
    config.store.max_hash_slot_num = 100;
    config.store.max_index_num = 400;
    config.store.timer_wheel_slots = 3_600;
    config.store.timer_log_file_size = 4_096;
    config
}

impl Stack {
    pub async fn start() -> Self {
        Self::start_with(config(), None).await
    }

    pub async fn start_with(
        config: BrokerConfig,
        observer: Option<Arc<dyn BrokerObserver>>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let env = memory::env(&memory::MemoryNetwork::default(), folder.path());
        Self::start_in(env, folder, config, observer).await
    }

    pub async fn start_in(
        env: Env,
        folder: TempDir,
        config: BrokerConfig,
        observer: Option<Arc<dyn BrokerObserver>>,
    ) -> Self {
        let broker = Broker::start(&env, config.clone(), observer).await.unwrap();
        let peer = Peer::new(&env, &broker.local().to_string());
        Self {
            env,
            broker,
            peer,
            config,
            _folder: folder,
        }
    }

    /// Another client.
    pub fn another_peer(&self) -> Peer {
        Peer::new(&self.env, &self.broker.local().to_string())
    }

    /// Stops the broker cleanly and starts it again.
    pub async fn restart(self) -> Self {
        self.broker.shutdown().await;
        self.start_again().await
    }

    /// Stops the broker cleanly and starts it again with other settings.
    pub async fn restart_with(mut self, change: impl FnOnce(&mut BrokerConfig)) -> Self {
        change(&mut self.config);
        self.restart().await
    }

    /// What was set aside: the body of each message and why.
    pub fn set_aside(&self) -> Vec<(String, String)> {
        let store = self.broker.store();
        let (mut found, mut at) = (Vec::new(), 0);
        loop {
            let read = store.get_message(topic::SET_ASIDE_TOPIC, 0, at, 32, usize::MAX, &|_| true);
            if read.messages.is_empty() {
                return found;
            }
            for mut bytes in read.messages {
                let message = record::decode(&mut bytes, true).unwrap().message;
                let reason = message.properties.get("SET_ASIDE_REASON").unwrap();
                let body = String::from_utf8_lossy(&message.body).into_owned();
                found.push((body, reason.to_owned()));
            }
            at = read.next_begin_offset;
        }
    }

    /// Starts the broker again after it was stopped.
    pub async fn start_again(self) -> Self {
        Self::start_in(self.env, self._folder, self.config, None).await
    }
}

impl Peer {
    pub fn new(env: &Env, address: &str) -> Self {
        let asked = Arc::new(Asked::default());
        Self {
            client: Client::new(env, ClientConfig::default(), Some(asked.clone())),
            asked,
            address: address.to_owned(),
        }
    }

    pub async fn invoke(&self, request: RemotingCommand) -> RemotingCommand {
        let timeout = Duration::from_secs(60);
        self.client
            .invoke(&self.address, request, timeout)
            .await
            .unwrap()
    }

    pub async fn ask<H: Header>(&self, code: RequestCode, header: &H) -> RemotingCommand {
        self.invoke(RemotingCommand::request_with(code, header))
            .await
    }

    pub async fn oneway(&self, request: RemotingCommand) {
        let timeout = Duration::from_secs(3);
        self.client
            .oneway(&self.address, request, timeout)
            .await
            .unwrap();
    }

    /// Sends a message to queue 0 of its topic.
    pub async fn send(&self, message: &Message) -> RemotingCommand {
        self.invoke(send_request(message, 0)).await
    }

    pub async fn send_ok(&self, message: &Message) -> RemotingCommand {
        let response = self.send(message).await;
        assert_eq!(response.code, 0, "{response:?}");
        response
    }

    /// Enters a consumer of topics into a group.
    pub async fn subscribe(&self, client_id: &str, group: &str, topics: &[(&str, &str)]) {
        let request = heartbeat_request(client_id, group, topics);
        let response = self.invoke(request).await;
        assert_eq!(response.code, 0, "{response:?}");
    }

    /// Pulls from queue 0 with a subscription that comes along.
    pub async fn pull(&self, topic: &str, offset: i64, expression: &str) -> RemotingCommand {
        self.ask(
            RequestCode::PULL_MESSAGE,
            &pull_header(topic, offset, expression),
        )
        .await
    }

    /// Pulls from queue 0 and waits for messages.
    pub async fn long_poll(&self, topic: &str, offset: i64, expression: &str) -> RemotingCommand {
        let mut header = pull_header(topic, offset, expression);
        header.sys_flag |= sys_flag::SUSPEND;
        self.ask(RequestCode::PULL_MESSAGE, &header).await
    }

    /// Everything that a queue holds from an offset on.
    pub async fn read(&self, topic: &str, offset: i64) -> Vec<MessageExt> {
        messages(&self.pull(topic, offset, "*").await)
    }

    pub async fn commit(&self, offset: i64) -> RemotingCommand {
        let header = UpdateConsumerOffsetRequestHeader {
            consumer_group: GROUP.to_owned(),
            topic: TOPIC.to_owned(),
            queue_id: 0,
            commit_offset: offset,
            broker_name: None,
        };
        self.ask(RequestCode::UPDATE_CONSUMER_OFFSET, &header).await
    }

    pub async fn committed(&self) -> RemotingCommand {
        let header = QueryConsumerOffsetRequestHeader {
            consumer_group: GROUP.to_owned(),
            topic: TOPIC.to_owned(),
            ..QueryConsumerOffsetRequestHeader::default()
        };
        self.ask(RequestCode::QUERY_CONSUMER_OFFSET, &header).await
    }

    pub async fn send_back(&self, message: &MessageExt, delay_level: i32) -> RemotingCommand {
        let header = ConsumerSendMsgBackRequestHeader {
            offset: message.commit_log_offset,
            group: GROUP.to_owned(),
            delay_level,
            ..ConsumerSendMsgBackRequestHeader::default()
        };
        self.ask(RequestCode::CONSUMER_SEND_MSG_BACK, &header).await
    }

    /// The requests with a code that the broker sent.
    pub fn asked(&self, code: RequestCode) -> usize {
        let asked = self.asked.0.lock();
        asked
            .iter()
            .filter(|request| request.code == code.0)
            .count()
    }
}

/// The heartbeat of a consumer of topics in a group.
pub fn heartbeat_request(client_id: &str, group: &str, topics: &[(&str, &str)]) -> RemotingCommand {
    let subscriptions = topics
        .iter()
        .map(|(topic, expression)| SubscriptionData::parse(topic, expression, 1).unwrap());
    let heartbeat = HeartbeatData {
        client_id: client_id.to_owned(),
        consumer_data_set: vec![ConsumerData {
            group_name: group.to_owned(),
            subscription_data_set: subscriptions.collect(),
            ..ConsumerData::default()
        }],
        producer_data_set: vec![ProducerData {
            group_name: "writers".to_owned(),
        }],
    };
    RemotingCommand::request(RequestCode::HEART_BEAT).with_body(heartbeat.to_json())
}

pub fn send_header(message: &Message, queue_id: i32) -> SendMessageRequestHeader {
    SendMessageRequestHeader {
        producer_group: "writers".to_owned(),
        topic: message.topic.clone(),
        default_topic: topic::AUTO_CREATE_TOPIC.to_owned(),
        default_topic_queue_nums: 4,
        queue_id,
        born_timestamp: 1_700_000_000_000,
        flag: message.flag,
        properties: Some(property::encode(&message.properties)),
        ..SendMessageRequestHeader::default()
    }
}

pub fn send_request(message: &Message, queue_id: i32) -> RemotingCommand {
    let header = SendMessageRequestHeaderV2(send_header(message, queue_id));
    let request = RemotingCommand::request_with(RequestCode::SEND_MESSAGE_V2, &header);
    request.with_body(message.body.clone())
}

pub fn pull_header(topic: &str, offset: i64, expression: &str) -> PullMessageRequestHeader {
    PullMessageRequestHeader {
        consumer_group: GROUP.to_owned(),
        topic: topic.to_owned(),
        queue_offset: offset,
        max_msg_nums: 32,
        sys_flag: sys_flag::SUBSCRIPTION,
        suspend_timeout_millis: 15_000,
        subscription: Some(expression.to_owned()),
        ..PullMessageRequestHeader::default()
    }
}

pub fn order(body: &str) -> Message {
    Message::new(TOPIC, body.to_owned())
}

pub fn messages(response: &RemotingCommand) -> Vec<MessageExt> {
    record::decode_all(response.body.clone(), true).unwrap()
}

pub fn bodies(response: &RemotingCommand) -> Vec<String> {
    let text = |message: MessageExt| String::from_utf8(message.message.body.to_vec()).unwrap();
    messages(response).into_iter().map(text).collect()
}

/// Asks for a message to be stored as a broker stores its own: nobody checks it.
pub fn stored_by_itself(
    topic: &str,
    body: &str,
    properties: &[(&'static str, &str)],
) -> MessageInner {
    let mut message = Message::new(topic, body.to_owned());
    for &(name, value) in properties {
        message.properties.set(name, value);
    }
    MessageInner::new(message, 0, "127.0.0.1:10911".parse().unwrap())
}

/// A field of a response, as a number.
pub fn number(response: &RemotingCommand, name: &str) -> i64 {
    response.ext.get(name).unwrap().parse().unwrap()
}
