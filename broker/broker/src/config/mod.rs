//! The broker's configuration (`BrokerConfig`, `MessageStoreConfig`).

mod keys;
mod properties;

use std::collections::BTreeMap;
use std::time::Duration;

use hotfire_metrics::MetricsOptions;
use hotfire_protocol::body::MessageRequestMode;
use hotfire_protocol::java_properties;
use hotfire_remoting::{SessionCredentials, Tls, TlsSettings};
use hotfire_store::StoreConfig;

use crate::topics::READ_WRITE;

pub use properties::PropertyError;

/// The port that brokers listen on (`BrokerStartup`).
pub const DEFAULT_PORT: u16 = 10_911;

/// The settings of a broker, named as in `BrokerConfig`, with its defaults.
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// The name of the cluster (`brokerClusterName`). Default `DefaultCluster`.
    pub broker_cluster_name: String,
    /// The name of the broker group (`brokerName`). Default `broker-a`.
    pub broker_name: String,
    /// The number within the group (`brokerId`). 0 is the master, and all that is supported.
    pub broker_id: i64,
    /// The address to listen on, as `host:port`. Default `0.0.0.0:10911`.
    pub listen: String,
    /// Whether the port two below is listened on as well, as clients with the VIP channel switched
    /// on expect. Default true; not done when the port is 0.
    pub listen_fast: bool,
    /// The address that clients are told (`brokerIP1`). Default: that of the environment.
    pub broker_ip1: Option<String>,
    /// The name servers (`namesrvAddr`), as `host:port`. Without any the broker is on its own.
    pub namesrv_addrs: Vec<String>,
    /// What the broker permits (`brokerPermission`), see [`hotfire_protocol::topic::perm`]. Default
    /// read and write.
    pub broker_permission: i32,
    /// The region that send responses name (`regionId`). Default `DefaultRegion`.
    pub region_id: String,
    /// Whether send responses switch on tracing (`traceOn`). Default true.
    pub trace_on: bool,

    /// Whether requests are checked (`aclEnable`): by the accounts in `conf/plain_acl.yml` and
    /// `conf/acl`, below the data folder. Read at start. Default false.
    pub acl_enable: bool,

    /// Whether topics are created when somebody sends to them (`autoCreateTopicEnable`).
    pub auto_create_topic_enable: bool,
    /// Whether consumer groups are created when they show up (`autoCreateSubscriptionGroup`).
    pub auto_create_subscription_group: bool,
    /// The queues of the default topic (`defaultTopicQueueNums`). Default 8.
    pub default_topic_queue_nums: i32,
    /// Whether the topic named like the cluster can be used (`clusterTopicEnable`).
    pub cluster_topic_enable: bool,
    /// Whether the topic named like the broker can be used (`brokerTopicEnable`).
    pub broker_topic_enable: bool,
    /// Whether there is a topic for message traces (`traceTopicEnable`). Default false.
    pub trace_topic_enable: bool,
    /// The topic for message traces (`msgTraceTopicName`). Default `RMQ_SYS_TRACE_TOPIC`.
    pub msg_trace_topic_name: String,
    /// Whether replies to requests are stored as well as handed over
    /// (`storeReplyMessageEnable`). Default true.
    pub store_reply_message_enable: bool,
    /// Whether and where metrics are handed out (`metricsExporterType`,
    /// `metricsPromExporterHost`, `metricsPromExporterPort`). Default: they are not.
    pub metrics: MetricsOptions,

    /// Whether messages that wait for their time can be called back (`recallMessageEnable`). Default
    /// false.
    pub recall_message_enable: bool,
    /// Whether that is so even while the broker takes no messages
    /// (`allowRecallWhenBrokerNotWriteable`). Default true.
    pub allow_recall_when_broker_not_writeable: bool,

    /// Whether pulls may wait for messages (`longPollingEnable`). Default true.
    pub long_polling_enable: bool,
    /// How long they wait otherwise (`shortPollingTimeMills`). Default 1 s.
    pub short_polling_time: Duration,
    /// Whether lite pull consumers are served (`litePullMessageEnable`). Default true.
    pub lite_pull_message_enable: bool,
    /// Whether consumers may filter by SQL expressions (`enablePropertyFilter`). Default false.
    pub enable_property_filter: bool,
    /// Whether the SQL expressions of a group filter its retry topic too, which matters after they
    /// were changed (`filterSupportRetry`). Default false.
    pub filter_support_retry: bool,
    /// Whether members learn at once that their group changed
    /// (`notifyConsumerIdsChangedEnable`). Default true.
    pub notify_consumer_ids_changed_enable: bool,
    /// Whether replicas serve reads (`slaveReadEnable`); goes into the advice that pulls get.
    pub slave_read_enable: bool,
    /// The most messages that a query by unique key answers (`defaultQueryMaxNum`). Default 32.
    pub default_query_max_num: usize,

    /// Whether resets of offsets are put down here for the next pull to find
    /// (`useServerSideResetOffset`, the default of 5.x), instead of being told to the members.
    /// Default false, as 4.9 knows nothing else.
    pub use_server_side_reset_offset: bool,

    /// Whether members of a group that ask which queues to read get a share of them, and not all
    /// (`serverLoadBalancerEnable`). Default true.
    pub server_load_balancer_enable: bool,
    /// How groups get messages for which nothing is set (`defaultMessageRequestMode`). Default
    /// `PULL`.
    pub default_message_request_mode: MessageRequestMode,
    /// Of how many members that follow it a member that pops reads the queues too, where nothing is
    /// set (`defaultPopShareQueueNum`). Default -1: all read all.
    pub default_pop_share_queue_num: i32,
    /// How often the routes are asked for again of which members were told
    /// (`loadBalancePollNameServerInterval`). Default 30 s.
    pub load_balance_poll_name_server_interval: Duration,
    /// Whether what is revived goes to retry topics named with a `+`, which no topic's own name can
    /// have (`enableRetryTopicV2`). Default false: with a `_`, so that the group `a` with the topic
    /// `b_c` has the same one as the group `a_b` with the topic `c`.
    pub enable_retry_topic_v2: bool,
    /// Whether retry topics named with a `_` are still read then
    /// (`retrieveMessageFromPopRetryTopicV1`). Default true.
    pub retrieve_message_from_pop_retry_topic_v1: bool,
    /// Whether the retry topics of a topic's pops are deleted with it
    /// (`clearRetryTopicWhenDeleteTopic`). Default true.
    pub clear_retry_topic_when_delete_topic: bool,

    /// How often committed offsets are written (`flushConsumerOffsetInterval`). Default 5 s.
    pub flush_consumer_offset_interval: Duration,
    /// How often the cursors of delay levels are written (`flushDelayOffsetInterval`). Default 10
    /// s.
    pub flush_delay_offset_interval: Duration,
    /// How often the broker registers (`registerNameServerPeriod`), 10 s to 60 s. Default 30 s.
    pub register_name_server_period: Duration,
    /// How long a registration may take (`registerBrokerTimeoutMills`). Default 6 s.
    pub register_broker_timeout: Duration,

    /// Whether half messages are refused (`rejectTransactionMessage`). Default false.
    pub reject_transaction_message: bool,
    /// How old a half message is when it is checked first (`transactionTimeOut`). Default 6 s.
    pub transaction_timeout: Duration,
    /// How often a half message is checked before it is given up (`transactionCheckMax`). Default
    /// 15.
    pub transaction_check_max: i32,
    /// How often the check service goes over the half messages (`transactionCheckInterval`).
    /// Default 60 s.
    pub transaction_check_interval: Duration,

    /// Whether requests that queued for too long are refused (`brokerFastFailureEnable`).
    pub broker_fast_failure_enable: bool,
    /// How long a send may queue (`waitTimeMillsInSendQueue`). Default 200 ms.
    pub wait_time_in_send_queue: Duration,
    /// How many sends may wait for the disk at once (`sendMessageThreadPoolNums`); more queue.
    /// Default 256: a waiting send holds no thread here.
    pub send_message_thread_pool_nums: usize,
    /// How many sends may queue (`sendThreadPoolQueueCapacity`). Default 10,000.
    pub send_thread_pool_queue_capacity: usize,
    /// Before this time, in milliseconds since the epoch, sends are refused
    /// (`startAcceptSendRequestTimeStamp`). Default 0.
    pub start_accept_send_request_time_stamp: i64,

    /// The file that changed settings are written to, as RocketMQ writes them to the one that is given
    /// with `-c`; its other lines stay. Default: all settings go into `config/broker.properties` in the
    /// store's folder, which no start reads.
    pub config_store_path: Option<String>,
    /// What administrators have changed since the start, by key.
    pub changed_settings: BTreeMap<String, String>,

    /// How connections are encrypted. No key: whoever starts the broker sets it.
    pub tls: Tls,
    /// What the broker signs its requests to name servers with
    /// (`innerClientAuthenticationCredentials`, as in 5.x). No key that requests show, for it is a
    /// secret: whoever starts the broker sets it.
    pub inner_client_authentication_credentials: Option<SessionCredentials>,

    /// The message store.
    pub store: StoreConfig,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            broker_cluster_name: "DefaultCluster".to_owned(),
            broker_name: "broker-a".to_owned(),
            broker_id: 0,
            listen: format!("0.0.0.0:{DEFAULT_PORT}"),
            listen_fast: true,
            broker_ip1: None,
            namesrv_addrs: Vec::new(),
            broker_permission: READ_WRITE,
            region_id: "DefaultRegion".to_owned(),
            trace_on: true,
            acl_enable: false,
            auto_create_topic_enable: true,
            auto_create_subscription_group: true,
            default_topic_queue_nums: 8,
            cluster_topic_enable: true,
            broker_topic_enable: true,
            trace_topic_enable: false,
            msg_trace_topic_name: "RMQ_SYS_TRACE_TOPIC".to_owned(),
            store_reply_message_enable: true,
            metrics: MetricsOptions::default(),
            recall_message_enable: false,
            allow_recall_when_broker_not_writeable: true,
            long_polling_enable: true,
            short_polling_time: Duration::from_secs(1),
            lite_pull_message_enable: true,
            enable_property_filter: false,
            filter_support_retry: false,
            notify_consumer_ids_changed_enable: true,
            slave_read_enable: false,
            default_query_max_num: 32,
            use_server_side_reset_offset: false,
            server_load_balancer_enable: true,
            default_message_request_mode: MessageRequestMode::Pull,
            default_pop_share_queue_num: -1,
            load_balance_poll_name_server_interval: Duration::from_secs(30),
            enable_retry_topic_v2: false,
            retrieve_message_from_pop_retry_topic_v1: true,
            clear_retry_topic_when_delete_topic: true,
            flush_consumer_offset_interval: Duration::from_secs(5),
            flush_delay_offset_interval: Duration::from_secs(10),
            register_name_server_period: Duration::from_secs(30),
            register_broker_timeout: Duration::from_secs(6),
            reject_transaction_message: false,
            transaction_timeout: Duration::from_secs(6),
            transaction_check_max: 15,
            transaction_check_interval: Duration::from_secs(60),
            broker_fast_failure_enable: true,
            wait_time_in_send_queue: Duration::from_millis(200),
            send_message_thread_pool_nums: 256,
            send_thread_pool_queue_capacity: 10_000,
            start_accept_send_request_time_stamp: 0,
            config_store_path: None,
            changed_settings: BTreeMap::new(),
            tls: Tls::default(),
            inner_client_authentication_credentials: None,
            store: StoreConfig::default(),
        }
    }
}

impl BrokerConfig {
    /// Reads a Java properties file, as `mqbroker -c` takes it; what it does not mention has its
    /// default.
    ///
    /// Keys of Apache RocketMQ that mean nothing here (thread pools, Netty buffers and the like)
    /// are accepted and logged. Those of [`TlsSettings`] are not the broker's, and left alone.
    ///
    /// # Errors
    /// A key that RocketMQ does not know either, or a value that its key cannot have.
    pub fn from_properties(text: &str) -> Result<Self, PropertyError> {
        let mut config = Self::default();
        properties::apply_all(&mut config, text)?;
        Ok(config)
    }

    /// Reads `key=value` on top of this configuration, as an administrator changes a running
    /// broker.
    ///
    /// # Errors
    /// As [`BrokerConfig::from_properties`], or something that only a start can set. Nothing is changed
    /// then.
    pub fn update(&mut self, text: &str) -> Result<(), PropertyError> {
        let tls = java_properties::parse(text).into_iter();
        if let Some(tls) = tls
            .into_iter()
            .find(|entry| entry.key.starts_with(TlsSettings::PREFIX))
        {
            return Err(PropertyError {
                line: tls.line,
                what: format!("`{}` cannot be changed while the broker runs", tls.key),
            });
        }
        let mut updated = self.clone();
        properties::apply_all(&mut updated, text)?;
        properties::note_changes(self, &mut updated, text)?;
        *self = updated;
        Ok(())
    }

    /// A configuration file with the changes that administrators have made.
    pub(crate) fn edit(&self, file: &str) -> String {
        properties::edit(file, &self.changed_settings)
    }

    /// The configuration as Java properties.
    pub fn to_properties(&self) -> String {
        properties::render(self)
    }
}
