//! A name server and brokers with a simple memory, which can be told to misbehave.
#![allow(dead_code, reason = "each test crate uses its part")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../../remoting/tests/memory/mod.rs"]
pub mod memory;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hotfire_env::real::TokioSpawner;
use hotfire_env::{Defects, Env, Seams};
use hotfire_protocol::body::*;
use hotfire_protocol::header::client::*;
use hotfire_protocol::header::namesrv::GetRouteInfoRequestHeader;
use hotfire_protocol::header::offset::*;
use hotfire_protocol::header::pull::*;
use hotfire_protocol::header::send::*;
use hotfire_protocol::message::{batch, property, record};
use hotfire_protocol::topic::{dlq_topic, retry_group};
use hotfire_protocol::{
    Header, Message, MessageExt, MessageQueue, RemotingCommand, RequestCode, ResponseCode,
};
use hotfire_remoting::{Channel, Handled, RequestHandler, Server, ServerConfig};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

pub const NAMESRV: &str = "127.0.0.1:9876";
pub const TOPIC: &str = "orders";
pub const SECOND: Duration = Duration::from_secs(1);

/// What a broker does with a request instead of serving it.
#[derive(Clone, Copy)]
pub enum Fault {
    /// Answers with this code.
    Answer(ResponseCode),
    /// Serves the request, and answers with this code instead of success.
    Serve(ResponseCode),
    /// Serves the request, and declares this version.
    Version(i32),
    /// Says nothing.
    Silence,
    /// Closes the connection.
    Close,
}

/// Everything that the cluster knows. The n-th message is stored at millisecond 1000 n.
#[derive(Default)]
pub struct State {
    /// Messages by broker, topic and queue.
    logs: BTreeMap<(String, String, i32), Vec<MessageExt>>,
    /// Offsets below which messages are gone.
    min_offsets: BTreeMap<(String, String, i32), i64>,
    offsets: BTreeMap<(String, String, String, i32), i64>,
    members: BTreeMap<String, BTreeSet<String>>,
    locks: BTreeMap<MessageQueue, String>,
    topics: BTreeMap<String, i32>,
    brokers: BTreeMap<String, u16>,
    /// Faults of a broker by request code: used up one by one.
    faults: BTreeMap<(String, i32), Vec<Fault>>,
    requests: Vec<(String, RemotingCommand)>,
    channels: Vec<Channel>,
    physical: i64,
}

/// A cluster in memory.
pub struct Cluster {
    pub env: Env,
    pub state: Arc<Mutex<State>>,
    arrival: Arc<Notify>,
    _dir: tempfile::TempDir,
}

impl Cluster {
    /// A name server, and brokers `broker-a`, `broker-b`, … with so many queues of [`TOPIC`] each.
    pub async fn start(brokers: usize, queues: i32) -> Self {
        Self::start_with(brokers, queues, Defects::NONE).await
    }

    /// The same, with planted defects in all that runs in it.
    pub async fn start_with(brokers: usize, queues: i32, defects: Defects) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let env = memory::env(&memory::MemoryNetwork::default(), dir.path());
        let env = Env::new(Seams {
            clock: env.clock().clone(),
            network: env.network().clone(),
            disk: env.disk().clone(),
            entropy: env.entropy("cluster"),
            spawner: Arc::new(TokioSpawner::default()),
            process_id: env.process_id(),
            defects,
        });
        let cluster = Self {
            env,
            state: Arc::default(),
            arrival: Arc::default(),
            _dir: dir,
        };
        cluster.state.lock().topics.insert(TOPIC.to_owned(), queues);
        cluster.listen("namesrv", NAMESRV).await;
        for at in 0..brokers {
            let name = format!("broker-{}", char::from(b'a' + at as u8));
            let port = 10_911 + at as u16 * 10;
            cluster.state.lock().brokers.insert(name.clone(), port);
            cluster.listen(&name, &format!("127.0.0.1:{port}")).await;
        }
        cluster
    }

    async fn listen(&self, name: &str, address: &str) {
        let node = Node {
            name: name.to_owned(),
            state: self.state.clone(),
            arrival: self.arrival.clone(),
        };
        Server::bind(&self.env, address, ServerConfig::default(), Arc::new(node))
            .await
            .unwrap();
    }

    /// Registers a broker that does not listen.
    pub fn add_dead_broker(&self, name: &str) {
        self.state.lock().brokers.insert(name.to_owned(), 1);
    }

    pub fn add_topic(&self, topic: &str, queues: i32) {
        self.state.lock().topics.insert(topic.to_owned(), queues);
    }

    /// The next requests of this kind to this broker fail like that.
    pub fn fail(&self, broker: &str, code: RequestCode, faults: &[Fault]) {
        let mut reversed = faults.to_vec();
        reversed.reverse();
        self.state
            .lock()
            .faults
            .insert((broker.to_owned(), code.0), reversed);
    }

    /// Stores messages in queue 0 of [`TOPIC`] on `broker-a`, one per body.
    pub fn store(&self, bodies: &[&str]) {
        for body in bodies {
            self.store_message("broker-a", 0, Message::new(TOPIC, body.to_string()));
        }
    }

    pub fn store_message(&self, broker: &str, queue_id: i32, message: Message) {
        self.state.lock().append(broker, queue_id, message, 0);
        self.arrival.notify_waiters();
    }

    /// Messages below this offset of queue 0 on `broker-a` are gone.
    pub fn expire(&self, offset: i64) {
        let key = ("broker-a".to_owned(), TOPIC.to_owned(), 0);
        self.state.lock().min_offsets.insert(key, offset);
    }

    pub fn set_offset(&self, group: &str, offset: i64) {
        self.state
            .lock()
            .offsets
            .insert(offset_key("broker-a", group, TOPIC, 0), offset);
    }

    /// The committed offset of queue 0 of [`TOPIC`] on `broker-a`.
    pub fn offset(&self, group: &str) -> Option<i64> {
        self.state
            .lock()
            .offsets
            .get(&offset_key("broker-a", group, TOPIC, 0))
            .copied()
    }

    /// The messages of a topic on all brokers.
    pub fn stored(&self, topic: &str) -> Vec<MessageExt> {
        let state = self.state.lock();
        let logs = state.logs.iter().filter(|((_, of, _), _)| of == topic);
        logs.flat_map(|(_, log)| log.clone()).collect()
    }

    /// The requests of one kind so far, with the brokers that got them.
    pub fn requests(&self, code: RequestCode) -> Vec<(String, RemotingCommand)> {
        let state = self.state.lock();
        let of_kind = state
            .requests
            .iter()
            .filter(|(_, request)| request.code == code.0);
        of_kind.cloned().collect()
    }

    pub fn count(&self, code: RequestCode) -> usize {
        self.requests(code).len()
    }

    /// Somebody else holds the lock of queue 0 of [`TOPIC`] on `broker-a`.
    pub fn lock_for(&self, client: Option<&str>) {
        let queue = MessageQueue::new(TOPIC, "broker-a", 0);
        let mut state = self.state.lock();
        match client {
            Some(client) => state.locks.insert(queue, client.to_owned()),
            None => state.locks.remove(&queue),
        };
    }

    pub fn locks(&self) -> BTreeMap<MessageQueue, String> {
        self.state.lock().locks.clone()
    }

    /// Sends a request to everybody who is connected to a broker.
    pub fn push(&self, request: &RemotingCommand) {
        let channels = self.state.lock().channels.clone();
        for channel in channels {
            let _ = channel.oneway(request.clone());
        }
    }
}

fn offset_key(broker: &str, group: &str, topic: &str, id: i32) -> (String, String, String, i32) {
    (broker.to_owned(), group.to_owned(), topic.to_owned(), id)
}

impl State {
    fn append(
        &mut self,
        broker: &str,
        queue_id: i32,
        message: Message,
        reconsume_times: i32,
    ) -> (i64, String) {
        self.physical += 1000;
        let port = self.brokers[broker];
        let log_key = (broker.to_owned(), message.topic.clone(), queue_id);
        let log = self.logs.entry(log_key).or_default();
        let host = ([127, 0, 0, 1], port).into();
        let stored = MessageExt {
            message,
            queue_id,
            queue_offset: log.len() as i64,
            commit_log_offset: self.physical,
            store_size: 0,
            sys_flag: 0,
            born_timestamp: 0,
            born_host: host,
            store_timestamp: self.physical,
            store_host: host,
            body_crc: 0,
            reconsume_times,
            prepared_transaction_offset: 0,
        };
        let answer = (stored.queue_offset, stored.offset_msg_id());
        log.push(stored);
        answer
    }

    fn fault(&mut self, node: &str, code: i32) -> Option<Fault> {
        self.faults.get_mut(&(node.to_owned(), code))?.pop()
    }

    fn route(&self, topic: &str) -> Option<TopicRouteData> {
        let queues = *self.topics.get(topic)?;
        let mut route = TopicRouteData::default();
        for (name, port) in &self.brokers {
            route.broker_datas.push(BrokerData {
                broker_name: name.clone(),
                cluster: "c".to_owned(),
                broker_addrs: BTreeMap::from([(0, format!("127.0.0.1:{port}"))]),
            });
            route.queue_datas.push(QueueData {
                broker_name: name.clone(),
                perm: 6,
                read_queue_nums: queues,
                write_queue_nums: queues,
                topic_sys_flag: 0,
            });
        }
        Some(route)
    }
}

/// A name server or a broker.
struct Node {
    name: String,
    state: Arc<Mutex<State>>,
    arrival: Arc<Notify>,
}

impl RequestHandler for Node {
    fn handle(&self, channel: &Channel, request: RemotingCommand) -> Handled {
        let mut state = self.state.lock();
        state.requests.push((self.name.clone(), request.clone()));
        match state.fault(&self.name, request.code) {
            Some(Fault::Answer(code)) => {
                return Handled::Reply(request.response_error(code, "as the test wants"));
            }
            Some(Fault::Silence) => return Handled::None,
            Some(Fault::Close) => {
                channel.close("as the test wants");
                return Handled::None;
            }
            Some(Fault::Serve(code)) => {
                let mut answer = self.serve(&mut state, &request);
                answer.code = code.0;
                return Handled::Reply(answer);
            }
            Some(Fault::Version(version)) => {
                let mut answer = self.serve(&mut state, &request);
                answer.version = version;
                return Handled::Reply(answer);
            }
            None => {}
        }
        let pulls = [
            RequestCode::PULL_MESSAGE.0,
            RequestCode::LITE_PULL_MESSAGE.0,
        ];
        if pulls.contains(&request.code) {
            return self.pull(&mut state, request);
        }
        Handled::Reply(self.serve(&mut state, &request))
    }

    fn connected(&self, channel: &Channel) {
        if self.name != "namesrv" {
            self.state.lock().channels.push(channel.clone());
        }
    }
}

fn ok<H: Header>(request: &RemotingCommand, header: &H) -> RemotingCommand {
    request.response_with(ResponseCode::SUCCESS, header)
}

impl Node {
    fn serve(&self, state: &mut State, request: &RemotingCommand) -> RemotingCommand {
        let done = || request.response(ResponseCode::SUCCESS);
        match RequestCode(request.code) {
            RequestCode::GET_ROUTEINFO_BY_TOPIC => {
                let header: GetRouteInfoRequestHeader = request.header().unwrap();
                match state.route(&header.topic) {
                    Some(route) => done().with_body(route.to_json(true)),
                    None => request.response(ResponseCode::TOPIC_NOT_EXIST),
                }
            }
            RequestCode::SEND_MESSAGE_V2 | RequestCode::SEND_BATCH_MESSAGE => {
                self.send(state, request)
            }
            RequestCode::HEART_BEAT => {
                let data = HeartbeatData::from_json(&request.body).unwrap();
                for consumer in data.consumer_data_set {
                    let members = state.members.entry(consumer.group_name).or_default();
                    members.insert(data.client_id.clone());
                }
                done()
            }
            RequestCode::CHECK_CLIENT_CONFIG => done(),
            RequestCode::UNREGISTER_CLIENT => {
                let header: UnregisterClientRequestHeader = request.header().unwrap();
                for members in state.members.values_mut() {
                    members.remove(&header.client_id);
                }
                done()
            }
            RequestCode::GET_CONSUMER_LIST_BY_GROUP => {
                let header: GetConsumerListByGroupRequestHeader = request.header().unwrap();
                let members = state.members.get(&header.consumer_group).cloned();
                let body = GetConsumerListByGroupResponseBody {
                    consumer_id_list: members.unwrap_or_default().into_iter().collect(),
                };
                done().with_body(body.to_json())
            }
            RequestCode::LOCK_BATCH_MQ => lock(state, request),
            RequestCode::UNLOCK_BATCH_MQ => {
                let body = UnlockBatchRequestBody::from_json(&request.body).unwrap();
                state.locks.retain(|queue, owner| {
                    !(body.mq_set.contains(queue) && *owner == body.client_id)
                });
                done()
            }
            RequestCode::CONSUMER_SEND_MSG_BACK | RequestCode::END_TRANSACTION => done(),
            _ => self.serve_offsets(state, request),
        }
    }

    fn serve_offsets(&self, state: &mut State, request: &RemotingCommand) -> RemotingCommand {
        match RequestCode(request.code) {
            RequestCode::QUERY_CONSUMER_OFFSET => {
                let header: QueryConsumerOffsetRequestHeader = request.header().unwrap();
                let key = offset_key(
                    &self.name,
                    &header.consumer_group,
                    &header.topic,
                    header.queue_id,
                );
                match state.offsets.get(&key) {
                    Some(&offset) => ok(request, &QueryConsumerOffsetResponseHeader { offset }),
                    None => request.response(ResponseCode::QUERY_NOT_FOUND),
                }
            }
            RequestCode::UPDATE_CONSUMER_OFFSET => {
                let header: UpdateConsumerOffsetRequestHeader = request.header().unwrap();
                let key = offset_key(
                    &self.name,
                    &header.consumer_group,
                    &header.topic,
                    header.queue_id,
                );
                state.offsets.insert(key, header.commit_offset);
                request.response(ResponseCode::SUCCESS)
            }
            RequestCode::GET_MAX_OFFSET => {
                let header: GetMaxOffsetRequestHeader = request.header().unwrap();
                let key = (self.name.clone(), header.topic, header.queue_id);
                let offset = state.logs.get(&key).map_or(0, |log| log.len() as i64);
                ok(request, &GetMaxOffsetResponseHeader { offset })
            }
            RequestCode::GET_MIN_OFFSET => {
                let header: GetMinOffsetRequestHeader = request.header().unwrap();
                let key = (self.name.clone(), header.topic, header.queue_id);
                let offset = state.min_offsets.get(&key).copied().unwrap_or(0);
                ok(request, &GetMinOffsetResponseHeader { offset })
            }
            RequestCode::SEARCH_OFFSET_BY_TIMESTAMP => {
                let header: SearchOffsetRequestHeader = request.header().unwrap();
                let key = (self.name.clone(), header.topic, header.queue_id);
                let log = state.logs.get(&key).map(Vec::as_slice).unwrap_or_default();
                let before = |message: &MessageExt| message.store_timestamp < header.timestamp;
                let offset = log.partition_point(before) as i64;
                ok(request, &SearchOffsetResponseHeader { offset })
            }
            code => panic!("the test cluster does not know {code}"),
        }
    }

    fn send(&self, state: &mut State, request: &RemotingCommand) -> RemotingCommand {
        let header = SendMessageRequestHeader::of(request).unwrap();
        let properties = property::decode(header.properties.as_deref().unwrap_or_default());
        let times = header.reconsume_times.unwrap_or(0);
        let mut topic = header.topic.clone();
        if let (Some(group), Some(max)) = (retry_group(&topic), header.max_reconsume_times)
            && times >= max
        {
            topic = dlq_topic(group);
        }
        let messages = if header.batch == Some(true) {
            let elements = batch::decode(request.body.clone()).unwrap();
            elements
                .iter()
                .map(|element| element.message(&topic))
                .collect()
        } else {
            let body = request.body.clone();
            vec![Message {
                topic,
                flag: header.flag,
                properties,
                body,
            }]
        };
        let stored: Vec<_> = messages
            .into_iter()
            .map(|message| state.append(&self.name, header.queue_id, message, times))
            .collect();
        self.arrival.notify_waiters();
        let ids: Vec<_> = stored.iter().map(|(_, id)| id.as_str()).collect();
        let answer = SendMessageResponseHeader {
            msg_id: ids.join(","),
            queue_id: header.queue_id,
            queue_offset: stored[0].0,
            ..SendMessageResponseHeader::default()
        };
        ok(request, &answer)
    }

    fn pull(&self, state: &mut State, request: RemotingCommand) -> Handled {
        let header: PullMessageRequestHeader = request.header().unwrap();
        if header.sys_flag & sys_flag::COMMIT_OFFSET != 0 {
            let PullMessageRequestHeader {
                consumer_group,
                topic,
                queue_id,
                ..
            } = &header;
            let key = offset_key(&self.name, consumer_group, topic, *queue_id);
            state.offsets.insert(key, header.commit_offset);
        }
        let answer = self.answer(state, &request, &header);
        if answer.code != ResponseCode::PULL_NOT_FOUND.0 {
            return Handled::Reply(answer);
        }
        let node = Node {
            name: self.name.clone(),
            state: self.state.clone(),
            arrival: self.arrival.clone(),
        };
        Handled::Later(Box::pin(async move {
            let deadline =
                Instant::now() + Duration::from_millis(header.suspend_timeout_millis as u64);
            loop {
                let arrival = node.arrival.notified();
                let answer = node.answer(&node.state.lock(), &request, &header);
                let left = deadline.saturating_duration_since(Instant::now());
                if answer.code != ResponseCode::PULL_NOT_FOUND.0 || left.is_zero() {
                    return Some(answer);
                }
                let _ = timeout(left, arrival).await;
            }
        }))
    }

    fn answer(
        &self,
        state: &State,
        request: &RemotingCommand,
        header: &PullMessageRequestHeader,
    ) -> RemotingCommand {
        let key = (self.name.clone(), header.topic.clone(), header.queue_id);
        let log = state.logs.get(&key).map(Vec::as_slice).unwrap_or_default();
        let min = state.min_offsets.get(&key).copied().unwrap_or(0);
        let (from, max) = (header.queue_offset, log.len() as i64);
        let limits = |next| PullMessageResponseHeader {
            suggest_which_broker_id: 0,
            next_begin_offset: next,
            min_offset: min,
            max_offset: max,
        };
        if from < min || from > max {
            let next = if from < min { min } else { max };
            return request.response_with(ResponseCode::PULL_OFFSET_MOVED, &limits(next));
        }
        let found = &log[from as usize..max.min(from + i64::from(header.max_msg_nums)) as usize];
        if found.is_empty() {
            return request.response_with(ResponseCode::PULL_NOT_FOUND, &limits(from));
        }
        let mut body = bytes::BytesMut::new();
        for message in found {
            record::encode(message, &mut body).unwrap();
        }
        let next = from + found.len() as i64;
        request
            .response_with(ResponseCode::SUCCESS, &limits(next))
            .with_body(body.freeze())
    }
}

fn lock(state: &mut State, request: &RemotingCommand) -> RemotingCommand {
    let body = LockBatchRequestBody::from_json(&request.body).unwrap();
    let mut locked = BTreeSet::new();
    for queue in body.mq_set {
        let owner = state
            .locks
            .entry(queue.clone())
            .or_insert_with(|| body.client_id.clone());
        if *owner == body.client_id {
            locked.insert(queue);
        }
    }
    let body = LockBatchResponseBody {
        lock_ok_mq_set: locked,
    };
    request
        .response(ResponseCode::SUCCESS)
        .with_body(body.to_json())
}
