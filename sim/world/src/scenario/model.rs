use std::time::Duration;

use hotfire_env::Defect;
use indexmap::IndexMap;

use super::fault::Fault;
use crate::workload::load::Curve;
use crate::workload::mix::{Orders, Sizes};

/// A scenario: the story, the cluster, what its clients do, what goes wrong, what must hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// Where it was read from, as the user wrote it.
    pub path: String,
    /// Its short name: the last folder and the file name without `.toml`, as in `double-11/peak`.
    pub name: String,
    /// What it tells.
    pub story: String,
    /// How long it runs.
    pub run: Run,
    /// Name servers and brokers.
    pub cluster: Cluster,
    /// Every link, while no fault touches it.
    pub network: Network,
    /// Every broker's disk.
    pub disk: DiskSpec,
    /// Accounts by access key, in the order of the file. If there are any, brokers check requests
    /// (`aclEnable`).
    pub accounts: IndexMap<String, Account>,
    /// Topics by name, in the order of the file.
    pub topics: IndexMap<String, Topic>,
    /// Producer groups by name, in the order of the file.
    pub producers: IndexMap<String, Producers>,
    /// Consumer groups by name, in the order of the file.
    pub consumers: IndexMap<String, Consumers>,
    /// What goes wrong, by time.
    pub faults: Vec<Fault>,
    /// What an operator does, by time.
    pub actions: Vec<Operation>,
    /// Planted defects that are switched on.
    pub defects: Vec<Defect>,
    /// What the verdict depends on.
    pub expect: Expect,
}

/// How long a run takes, in simulated time.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// One step of the simulation: whole milliseconds, no longer than the network's latency.
    pub tick: Duration,
    /// How long the load phase lasts: clients start, producers follow their load, faults strike.
    pub duration: Duration,
    /// How long the drain phase may last. It ends as soon as nothing is left to consume.
    pub drain: Duration,
}

/// Name servers and brokers.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// Name servers: `name-server-1`, `name-server-2`, …
    pub name_servers: u32,
    /// Broker groups of one master each: `broker-a`, `broker-b`, …
    pub broker_groups: u32,
    /// When a send is acknowledged.
    pub flush: Flush,
    /// Time between two asynchronous flushes (`flushIntervalCommitLog`).
    pub flush_interval: Duration,
    /// Size of a commit log file in bytes (`mappedFileSizeCommitLog`).
    pub commit_log_file_size: u64,
    /// Entries of a consume queue file (`mappedFileSizeConsumeQueue` / 20).
    pub consume_queue_file_entries: u64,
    /// Whether brokers create unknown topics (`autoCreateTopicEnable`).
    pub auto_create_topics: bool,
    /// The delay levels (`messageDelayLevel`), level 1 first.
    pub delay_levels: Vec<Duration>,
    /// When producers are asked about transactions.
    pub transactions: TransactionChecks,
}

/// When brokers ask producers what became of their transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionChecks {
    /// How old a half message is at the first question (`transactionTimeOut`).
    pub timeout: Duration,
    /// The time between two rounds of questions (`transactionCheckInterval`).
    pub interval: Duration,
    /// How often is asked before a half message is given up (`transactionCheckMax`).
    pub max_checks: u32,
}

/// An account of access control, as `plain_acl.yml` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// What requests are signed with.
    pub secret: String,
    /// Whether it is an administrator.
    pub admin: bool,
    /// What it may do with topics: `topic=PUB|SUB`.
    pub topics: Vec<String>,
    /// What it may do with groups: `group=SUB`.
    pub groups: Vec<String>,
    /// What it may do with other topics.
    pub default_topic: String,
    /// What it may do with other groups.
    pub default_group: String,
}

/// What the clients of a group sign their requests with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The access key; perhaps nobody's.
    pub account: String,
    /// The secret; perhaps a wrong one.
    pub secret: String,
}

/// When the broker acknowledges a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// Once the message is in the page cache (`ASYNC_FLUSH`).
    Async,
    /// Once the message is on the disk (`SYNC_FLUSH`).
    Sync,
}

/// Every link of the network, while no fault touches it.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// The least time from one node to another, one way.
    pub latency: Duration,
    /// Up to this much is added to every segment, drawn uniformly.
    pub jitter: Duration,
    /// Bytes per second of one link and direction; `None` is unlimited.
    pub bandwidth: Option<u64>,
}

/// A broker's disk.
#[derive(Debug, Clone, PartialEq)]
pub struct DiskSpec {
    /// How long one flush takes.
    pub flush_latency: Duration,
}

/// A topic that exists when the load starts.
#[derive(Debug, Clone, PartialEq)]
pub struct Topic {
    /// Queues on each broker (`readQueueNums` and `writeQueueNums`).
    pub queues: u32,
}

/// Values by property; the empty one stands for a message without the property.
pub type Choices = IndexMap<String, Vec<String>>;

/// A producer group.
#[derive(Debug, Clone, PartialEq)]
pub struct Producers {
    /// How many nodes: `NAME-1`, `NAME-2`, …
    pub nodes: u32,
    /// Where they send.
    pub topic: String,
    /// Messages due over time, for the whole group.
    pub load: Curve,
    /// No more than this many messages altogether.
    pub messages: Option<u64>,
    /// Which orders the messages belong to; `None`: to none.
    pub orders: Option<Orders>,
    /// How the queue of a message is chosen.
    pub select: Select,
    /// One of these tags is drawn for every message; none if empty.
    pub tags: Vec<String>,
    /// For each property one of these values is drawn for every message.
    pub properties: Choices,
    /// Sizes of message bodies.
    pub sizes: Sizes,
    /// How messages are sent.
    pub send: Send,
    /// What becomes of local transactions, with [`Send::Transaction`].
    pub transactions: Transactions,
    /// How many sends of one node may be in flight.
    pub in_flight: u32,
    /// Time for one send with all its retries (`sendMsgTimeout`).
    pub timeout: Duration,
    /// Further attempts after a failed one (`retryTimesWhenSendFailed`).
    pub retries: u32,
    /// How often the application sends a message again that was not acknowledged.
    pub resend: u32,
    /// Whether slow and failing brokers are avoided (`sendLatencyFaultEnable`).
    pub avoid_slow_brokers: bool,
    /// Bodies above this many bytes are compressed (`compressMsgBodyOverHowmuch`).
    pub compress_over: u64,
    /// Delay level of every message; 0 is none.
    pub delay_level: u8,
    /// What requests are signed with.
    pub credentials: Option<Credentials>,
    /// Whether access control must refuse whatever it sends.
    pub refused: bool,
    /// When messages ask to be delivered; `None`: as soon as they are stored.
    pub deliver: Option<Deliver>,
    /// The share of waiting messages that is called back halfway to its time, 0 to 1.
    pub recall: f64,
}

/// When messages ask to be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deliver {
    /// So long after they are sent, drawn evenly.
    After(Duration, Duration),
    /// All at one time after the start of the load.
    At(Duration),
}

/// How the queue of a message is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Select {
    /// The producer goes round the queues.
    RoundRobin,
    /// All messages of one order go to one queue (`SelectMessageQueueByHash`).
    ByOrder,
}

/// How messages are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Send {
    /// The sender waits for the response; failed attempts are retried on another broker.
    Sync,
    /// The response arrives in a callback.
    Async,
    /// There is no response.
    Oneway,
    /// Up to this many messages that are due travel as one batch.
    Batch(u32),
    /// An account is debited in a local transaction that decides about the message.
    Transaction,
    /// The sender waits for the reply of whoever consumes the message.
    Request,
}

/// What becomes of local transactions. Those that are not rolled back are committed.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Transactions {
    /// The share that is rolled back, 0 to 1.
    pub rollback: f64,
    /// The share of which the producer says at first that it does not know the end.
    pub unknown: f64,
    /// How often it says so of each of these when brokers ask.
    pub unknown_checks: u32,
    /// The share of which the producer tells the broker the end twice.
    pub told_twice: f64,
}

/// A consumer group.
#[derive(Debug, Clone, PartialEq)]
pub struct Consumers {
    /// How many nodes: `NAME-1`, `NAME-2`, …
    pub nodes: u32,
    /// Topics and the tag expression of each, `*` for every message.
    pub topics: IndexMap<String, String>,
    /// Topics of which a part is subscribed to by SQL, and the expression of each.
    pub sql: IndexMap<String, String>,
    /// Which messages that means: those that one of these choices fits.
    pub wants: Vec<Choices>,
    /// How messages reach the listener.
    pub listener: Listener,
    /// Whether the members share the messages or all get every one.
    pub model: Model,
    /// Where a group without committed offsets starts.
    pub start: Start,
    /// What the listener does.
    pub behaviour: Behaviour,
    /// Redeliveries before a message goes to the dead-letter queue (`maxReconsumeTimes`); `None` is
    /// RocketMQ's default: 16 with a concurrent listener, without end with an orderly one.
    pub max_reconsume: Option<u32>,
    /// Messages of one listener call (`consumeMessageBatchMaxSize`).
    pub batch_size: u32,
    /// Messages of one pull (`pullBatchSize`).
    pub pull_batch_size: u32,
    /// Listener calls of one node that may run at once (`consumeThreadMax`).
    pub threads: u32,
    /// Whether a ledger recognises duplicates, stored together with the business effect.
    pub idempotent: bool,
    /// Whether every message is replied to (`MessageUtil.createReplyMessage`).
    pub replies: bool,
    /// What requests are signed with.
    pub credentials: Option<Credentials>,
    /// How members receive and acknowledge, if they pop.
    pub pops: Pops,
    /// When members commit what they polled, if they poll.
    pub commit: Commit,
}

/// When members of a group commit what they polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// Every five seconds, when they poll again.
    Auto,
    /// When they are done with what a poll brought.
    Manual,
}

/// How members of a group receive and acknowledge that pop.
#[derive(Debug, Clone, PartialEq)]
pub struct Pops {
    /// For how long a received message is hidden from the other members.
    pub invisible: Duration,
    /// How long a call waits for messages.
    pub wait: Duration,
    /// The share of consumed messages that are never acknowledged, 0 to 1.
    pub lose_acks: f64,
    /// The share of listener calls that hide their messages for as long again, half way, 0 to 1.
    pub extend: f64,
    /// Whether queues are received in order, and worked through message by message.
    pub in_order: bool,
}

/// How messages reach the listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// In any order, several at a time (`MessageListenerConcurrently`).
    Concurrent,
    /// Queue by queue, one at a time (`MessageListenerOrderly`).
    Orderly,
    /// There is no listener: the members pop, process and acknowledge (`SimpleConsumer`).
    Simple,
    /// There is no listener: the members poll, process and commit (`DefaultLitePullConsumer`).
    LitePull,
}

/// Who gets a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// One member of the group.
    Clustering,
    /// Every member of the group.
    Broadcasting,
}

/// Where a group without committed offsets starts (`ConsumeFromWhere`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the end of the queue.
    Last,
    /// At the beginning of the queue.
    First,
}

/// What a listener does with messages.
#[derive(Debug, Clone, PartialEq)]
pub struct Behaviour {
    /// How long one call takes at least.
    pub takes_from: Duration,
    /// How long one call takes at most.
    pub takes_to: Duration,
    /// The share of calls that fail, 0 to 1.
    pub fail_rate: f64,
    /// The first deliveries of every message that fail.
    pub fail_first: u32,
    /// The share of messages that fail at every delivery, 0 to 1.
    pub poison: f64,
}

/// Something that an operator does at a set time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// When, from the start of the load phase.
    pub at: Duration,
    /// What.
    pub kind: OperationKind,
}

/// What an operator does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperationKind {
    /// Puts a group elsewhere in a topic (`mqadmin resetOffsetByTime`).
    Reset {
        /// The group.
        group: String,
        /// The topic.
        topic: String,
        /// Where to.
        to: ResetPoint,
        /// Whether queues also move forward.
        force: bool,
    },
    /// Looks acknowledged messages up, each by its key, its unique id and its offset id.
    Query {
        /// The topic.
        topic: String,
        /// How many, drawn from those acknowledged more than some seconds ago.
        messages: u64,
    },
}

/// Where a group is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetPoint {
    /// At the messages stored this long after the start of the load phase.
    Time(Duration),
    /// At the oldest messages.
    Begin,
    /// Behind the newest messages.
    End,
    /// At this offset of every queue.
    Offset(i64),
}

/// What the verdict depends on.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Expect {
    /// Invariants that must be exercised and hold.
    pub holds: Vec<hotfire_check::InvariantId>,
    /// Invariants whose violations are counted and reported, without failing the run.
    pub counts: Vec<hotfire_check::InvariantId>,
    /// What the run must have met at least, or it proves nothing.
    pub at_least: Vec<(Figure, u64)>,
}

/// A figure of a run that a scenario can demand a minimum of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    /// Sends that were acknowledged.
    SentOk,
    /// Sends that failed, or whose outcome is unknown.
    SentNotOk,
    /// Deliveries to listeners.
    Delivered,
    /// Deliveries beyond the first.
    Duplicates,
    /// Acknowledged messages that were lost within what the contract allows.
    Lost,
    /// How often the situation of an invariant was met.
    Exercised(hotfire_check::InvariantId),
}

impl Figure {
    /// The figures that are not invariants, with the names that scenarios use.
    pub const NAMED: &'static [(&'static str, Figure)] = &[
        ("sent-ok", Figure::SentOk),
        ("sent-not-ok", Figure::SentNotOk),
        ("delivered", Figure::Delivered),
        ("duplicates", Figure::Duplicates),
        ("lost", Figure::Lost),
    ];
}
