//! The settings that Apache RocketMQ's properties files have.
//!
//! One table names each key with its way in and out, so that what can be read can be shown.

use std::str::FromStr;
use std::time::Duration;

use hotfire_metrics::MetricsExporterType;
use hotfire_protocol::body::MessageRequestMode;
use hotfire_protocol::{rules, topic};
use hotfire_store::FlushDiskType;

use super::BrokerConfig;
use crate::delay::DelayLevels;

use When::{Always, Start};

/// When a setting may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// Only a start sets it: what it decides is decided then.
    Start,
    /// Whoever needs it looks at it anew each time.
    Always,
}

/// A key: its name, when it may change, what it may be, how it is set and how it is shown.
pub(super) struct Key {
    pub name: &'static str,
    pub when: When,
    /// What is wrong with a value, beyond that it is of the right kind.
    pub check: fn(&str) -> Result<(), String>,
    pub set: fn(&mut BrokerConfig, &str) -> Result<(), String>,
    pub show: fn(&BrokerConfig) -> String,
}

/// How a type stands in a properties file.
trait Property: Sized {
    fn read(text: &str) -> Result<Self, String>;
    fn show(&self) -> String;
}

macro_rules! parsed_property {
    ($($type:ty: $expected:literal),+) => {$(
        impl Property for $type {
            fn read(text: &str) -> Result<Self, String> {
                <$type>::from_str(text).map_err(|_| format!("`{text}` is not {}", $expected))
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )+};
}

parsed_property!(
    bool: "true or false", i32: "a number", i64: "a number", usize: "a number",
    u32: "a number", u64: "a number", u16: "a port", MetricsExporterType: "DISABLE or PROM"
);

impl Property for String {
    fn read(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

/// The longest time that can be set: more than anybody waits, and little enough to be added to any
/// point in time.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Milliseconds.
impl Property for Duration {
    fn read(text: &str) -> Result<Self, String> {
        let time = u64::read(text).map(Self::from_millis)?;
        if time > LONGEST {
            return Err(format!("`{text}` ms are more than a hundred years"));
        }
        Ok(time)
    }

    fn show(&self) -> String {
        self.as_millis().to_string()
    }
}

impl Property for Option<String> {
    fn read(text: &str) -> Result<Self, String> {
        Ok((!text.is_empty()).then(|| text.to_owned()))
    }

    fn show(&self) -> String {
        self.clone().unwrap_or_default()
    }
}

impl Property for FlushDiskType {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "ASYNC_FLUSH" => Ok(Self::Async),
            "SYNC_FLUSH" => Ok(Self::Sync),
            _ => Err(format!("`{text}` is neither ASYNC_FLUSH nor SYNC_FLUSH")),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Async => "ASYNC_FLUSH".to_owned(),
            Self::Sync => "SYNC_FLUSH".to_owned(),
        }
    }
}

impl Property for MessageRequestMode {
    fn read(text: &str) -> Result<Self, String> {
        let mut known = Self::ALL.iter().copied();
        let named = known.find(|mode| mode.name() == text);
        named.ok_or_else(|| format!("`{text}` is neither PULL nor POP"))
    }

    fn show(&self) -> String {
        self.name().to_owned()
    }
}

/// Every value of the right kind.
fn any(_: &str) -> Result<(), String> {
    Ok(())
}

fn rule<E: std::fmt::Display>(checked: Result<(), E>) -> Result<(), String> {
    checked.map_err(|wrong| wrong.to_string())
}

fn within(text: &str, min: i128, max: i128) -> Result<(), String> {
    // What is no number is refused when it is set.
    match text.parse::<i128>() {
        Ok(number) if !(min..=max).contains(&number) => {
            Err(format!("`{text}` is not within {min} to {max}"))
        }
        _ => Ok(()),
    }
}

/// At least one, and no more than Java's `int` holds.
fn positive(text: &str) -> Result<(), String> {
    within(text, 1, i32::MAX.into())
}

/// Hours of a day.
fn hours(text: &str) -> Result<(), String> {
    text.split(';')
        .try_for_each(|hour| within(hour.trim(), 0, 23))
}

fn permission(text: &str) -> Result<(), String> {
    // What is no number is refused when it is set.
    text.parse()
        .map_or(Ok(()), |perm| rule(rules::check_perm(perm)))
}

/// A name that goes into answers and properties.
fn name(text: &str) -> Result<(), String> {
    rule(rules::check_registered_name("name", text))
}

/// A path that can be a file's. RocketMQ's lists of several are not supported.
fn path(text: &str) -> Result<(), String> {
    if text.chars().any(char::is_control) {
        return Err("it contains control characters".to_owned());
    }
    if text.contains(',') {
        return Err("only one path is supported".to_owned());
    }
    Ok(())
}

macro_rules! keys {
    ($($name:literal => $($field:ident).+, $when:ident, $check:expr;)+) => {
        &[$(Key {
            name: $name,
            when: $when,
            check: $check,
            set: |config, text| {
                config.$($field).+ = Property::read(text)?;
                Ok(())
            },
            show: |config| Property::show(&config.$($field).+),
        },)+]
    };
}

/// The keys that are one field.
const KEYS: &[Key] = keys! {
    "brokerClusterName" => broker_cluster_name, Start, |text| rule(rules::check_cluster_name(text));
    "brokerName" => broker_name, Start, |text| rule(rules::check_broker_name(text));
    "brokerIP1" => broker_ip1, Start, any;
    "brokerPermission" => broker_permission, Always, permission;
    "regionId" => region_id, Always, name;
    "traceOn" => trace_on, Always, any;
    "aclEnable" => acl_enable, Start, any;
    "autoCreateTopicEnable" => auto_create_topic_enable, Always, any;
    "autoCreateSubscriptionGroup" => auto_create_subscription_group, Always, any;
    "defaultTopicQueueNums" => default_topic_queue_nums, Start, |text| within(text, 1, rules::QUEUES_MAX.into());
    "clusterTopicEnable" => cluster_topic_enable, Start, any;
    "brokerTopicEnable" => broker_topic_enable, Start, any;
    "traceTopicEnable" => trace_topic_enable, Start, any;
    "msgTraceTopicName" => msg_trace_topic_name, Start, |text| rule(topic::check_topic(text));
    "storeReplyMessageEnable" => store_reply_message_enable, Always, any;
    "metricsExporterType" => metrics.exporter, Start, any;
    "metricsPromExporterHost" => metrics.host, Start, any;
    "metricsPromExporterPort" => metrics.port, Start, any;
    "recallMessageEnable" => recall_message_enable, Always, any;
    "allowRecallWhenBrokerNotWriteable" => allow_recall_when_broker_not_writeable, Always, any;
    "longPollingEnable" => long_polling_enable, Always, any;
    "shortPollingTimeMills" => short_polling_time, Always, any;
    "litePullMessageEnable" => lite_pull_message_enable, Always, any;
    "useServerSideResetOffset" => use_server_side_reset_offset, Always, any;
    "enablePropertyFilter" => enable_property_filter, Always, any;
    "filterSupportRetry" => filter_support_retry, Always, any;
    "notifyConsumerIdsChangedEnable" => notify_consumer_ids_changed_enable, Always, any;
    "slaveReadEnable" => slave_read_enable, Always, any;
    "defaultQueryMaxNum" => default_query_max_num, Always, positive;
    "serverLoadBalancerEnable" => server_load_balancer_enable, Always, any;
    "defaultMessageRequestMode" => default_message_request_mode, Always, any;
    "defaultPopShareQueueNum" => default_pop_share_queue_num, Always, |text| within(text, -1, i32::MAX.into());
    "loadBalancePollNameServerInterval" => load_balance_poll_name_server_interval, Always, positive;
    "enableRetryTopicV2" => enable_retry_topic_v2, Always, any;
    "retrieveMessageFromPopRetryTopicV1" => retrieve_message_from_pop_retry_topic_v1, Always, any;
    "clearRetryTopicWhenDeleteTopic" => clear_retry_topic_when_delete_topic, Always, any;
    "flushConsumerOffsetInterval" => flush_consumer_offset_interval, Start, positive;
    "flushDelayOffsetInterval" => flush_delay_offset_interval, Start, positive;
    "registerNameServerPeriod" => register_name_server_period, Always, any;
    "registerBrokerTimeoutMills" => register_broker_timeout, Always, positive;
    "rejectTransactionMessage" => reject_transaction_message, Always, any;
    "transactionTimeOut" => transaction_timeout, Always, any;
    "transactionCheckMax" => transaction_check_max, Always, |text| within(text, 0, i32::MAX.into());
    "transactionCheckInterval" => transaction_check_interval, Start, positive;
    "brokerFastFailureEnable" => broker_fast_failure_enable, Always, any;
    "waitTimeMillsInSendQueue" => wait_time_in_send_queue, Always, any;
    "sendMessageThreadPoolNums" => send_message_thread_pool_nums, Start, positive;
    "sendThreadPoolQueueCapacity" => send_thread_pool_queue_capacity, Start, positive;
    "startAcceptSendRequestTimeStamp" => start_accept_send_request_time_stamp, Always, any;
    "storePathRootDir" => store.store_path_root_dir, Start, path;
    "storePathCommitLog" => store.store_path_commit_log, Start, path;
    "storePathConsumeQueue" => store.store_path_consume_queue, Start, path;
    "storePathIndex" => store.store_path_index, Start, path;
    "storeCheckpoint" => store.store_checkpoint, Start, path;
    "abortFile" => store.abort_file, Start, path;
    "mappedFileSizeCommitLog" => store.commit_log_file_size, Start, positive;
    "messageIndexEnable" => store.message_index_enable, Start, any;
    "maxHashSlotNum" => store.max_hash_slot_num, Start, positive;
    "maxIndexNum" => store.max_index_num, Start, positive;
    "maxMsgsNumBatch" => store.max_msgs_num_batch, Start, positive;
    "maxMessageSize" => store.max_message_size, Start, positive;
    "flushDiskType" => store.flush_disk_type, Start, any;
    "flushIntervalCommitLog" => store.flush_interval_commit_log, Start, positive;
    "flushCommitLogLeastPages" => store.flush_commit_log_least_pages, Start, |text| within(text, 0, i32::MAX.into());
    "flushCommitLogThoroughInterval" => store.flush_commit_log_thorough_interval, Start, positive;
    "flushIntervalConsumeQueue" => store.flush_interval_consume_queue, Start, positive;
    "flushConsumeQueueLeastPages" => store.flush_consume_queue_least_pages, Start, |text| within(text, 0, i32::MAX.into());
    "flushConsumeQueueThoroughInterval" => store.flush_consume_queue_thorough_interval, Start, positive;
    "syncFlushTimeout" => store.sync_flush_timeout, Start, positive;
    "readUnCommitted" => store.read_uncommitted, Start, any;
    "maxTransferCountOnMessageInMemory" => store.max_transfer_count, Start, any;
    "maxTransferBytesOnMessageInMemory" => store.max_transfer_bytes, Start, any;
    "cleanFileForciblyEnable" => store.clean_file_forcibly_enable, Start, any;
    "cleanResourceInterval" => store.clean_resource_interval, Start, positive;
    "deleteCommitLogFilesInterval" => store.delete_files_interval, Start, positive;
    "deleteFileBatchMax" => store.delete_file_batch_max, Start, positive;
    "timerWheelEnable" => store.timer_wheel_enable, Start, any;
    "timerFlushIntervalMs" => store.timer_flush_interval, Start, positive;
    "timerRollWindowSlot" => store.timer_roll_window_slots, Start, positive;
    "timerWheelSlots" => store.timer_wheel_slots, Start, positive;
    "timerCongestNumEachSlot" => store.timer_congest_num_each_slot, Always, positive;
    "mappedFileSizeTimerLog" => store.timer_log_file_size, Start, positive;
    "checkCRCOnRecover" => store.check_crc_on_recover, Start, any;
    "osPageCacheBusyTimeOutMills" => store.os_page_cache_busy_timeout, Start, any;
};

/// The keys that take more than one field or another unit.
const SPECIAL: &[Key] = &[
    Key {
        name: "brokerId",
        when: Start,
        check: any,
        set: |config, text| match i64::read(text)? {
            0 => {
                config.broker_id = 0;
                Ok(())
            }
            _ => Err("replicas are not supported: only 0, the master, is".to_owned()),
        },
        show: |config| config.broker_id.to_string(),
    },
    Key {
        name: "listenPort",
        when: Start,
        check: any,
        set: |config, text| {
            let port = text
                .parse::<u16>()
                .map_err(|_| format!("`{text}` is not a port"))?;
            config.listen = format!("{}:{port}", split_listen(&config.listen).0);
            Ok(())
        },
        show: |config| split_listen(&config.listen).1.to_owned(),
    },
    Key {
        name: "bindAddress",
        when: Start,
        check: any,
        set: |config, text| {
            config.listen = format!("{text}:{}", split_listen(&config.listen).1);
            Ok(())
        },
        show: |config| split_listen(&config.listen).0.to_owned(),
    },
    Key {
        name: "namesrvAddr",
        when: Always,
        check: any,
        set: |config, text| {
            let addresses = text
                .split(';')
                .map(str::trim)
                .filter(|addr| !addr.is_empty());
            config.namesrv_addrs = addresses.map(str::to_owned).collect();
            Ok(())
        },
        show: |config| config.namesrv_addrs.join(";"),
    },
    Key {
        name: "mappedFileSizeConsumeQueue",
        when: Start,
        check: |text| within(text, 20, i32::MAX.into()),
        set: |config, text| {
            config.store.consume_queue_file_units = u64::read(text)?.div_ceil(20);
            Ok(())
        },
        show: |config| (config.store.consume_queue_file_units * 20).to_string(),
    },
    Key {
        name: "fileReservedTime",
        when: Start,
        check: any,
        set: |config, text| {
            config.store.file_reserved_time =
                Duration::from_secs(u64::from(u32::read(text)?) * 3600);
            Ok(())
        },
        show: |config| (config.store.file_reserved_time.as_secs() / 3600).to_string(),
    },
    Key {
        name: "deleteWhen",
        when: Start,
        check: hours,
        set: |config, text| {
            let hours = text.split(';').map(|hour| u32::read(hour.trim()));
            config.store.delete_when = hours.collect::<Result<_, _>>()?;
            Ok(())
        },
        show: |config| {
            let hours = config
                .store
                .delete_when
                .iter()
                .map(|hour| format!("{hour:02}"));
            hours.collect::<Vec<_>>().join(";")
        },
    },
    Key {
        name: "timerPrecisionMs",
        when: Start,
        check: any,
        set: |config, text| {
            // Java rounds down to one of these, too (`setTimerPrecisionMs`).
            let wanted = i64::read(text)?;
            let precisions = [1000, 500, 200, 100];
            let precision = precisions.into_iter().find(|&known| known <= wanted);
            config.store.timer_precision_ms = precision.unwrap_or(100);
            Ok(())
        },
        show: |config| config.store.timer_precision_ms.to_string(),
    },
    Key {
        name: "timerMaxDelaySec",
        when: Always,
        check: any,
        set: |config, text| {
            config.store.timer_max_delay = Duration::from_secs(u64::from(u32::read(text)?));
            Ok(())
        },
        show: |config| config.store.timer_max_delay.as_secs().to_string(),
    },
    Key {
        name: "diskMaxUsedSpaceRatio",
        when: Start,
        check: |text| within(text, 1, 100),
        set: |config, text| {
            config.store.disk_max_used_space_ratio = f64::from(u32::read(text)?) / 100.0;
            Ok(())
        },
        show: |config| {
            (config.store.disk_max_used_space_ratio * 100.0)
                .round()
                .to_string()
        },
    },
    Key {
        name: "messageDelayLevel",
        when: Start,
        check: any,
        set: |config, text| {
            let levels = DelayLevels::parse(text).map_err(|error| error.to_string())?;
            config.store.delay_levels = levels.delays_ms().to_vec();
            Ok(())
        },
        show: |config| DelayLevels::new(config.store.delay_levels.clone()).to_string(),
    },
];

/// Settings that would change what is promised, with the only value that is supported so far.
pub(super) const FIXED: &[(&str, &str)] = &[
    ("brokerRole", "ASYNC_MASTER"),
    ("duplicationEnable", "false"),
    ("enableConsumeQueueExt", "false"),
    ("enableControllerMode", "false"),
    ("enableDLegerCommitLog", "false"),
    ("enablePopMessageThreshold", "false"),
    ("maxPopPollingSize", "100000"),
    ("popConsumerKVServiceEnable", "false"),
    ("popFromRetryProbability", "20"),
    ("popPollingSize", "1024"),
    ("popResponseReturnActualRetryTopic", "false"),
    ("reviveInterval", "1000"),
    ("reviveQueueNum", "8"),
    ("transientStorePoolEnable", "false"),
];

/// Keys of Apache RocketMQ 4.9 and 5.x that common configuration files set, and that have nothing
/// to act on here.
pub(super) const WITHOUT_EFFECT: &str = "\
    accessMessageInMemoryMaxRatio ackMessageThreadPoolNums ackThreadPoolQueueCapacity \
    adminBrokerThreadPoolNums brokerIP2 \
    channelNotActiveInterval clientAsyncSemaphoreValue clientCallbackExecutorThreads \
    clientChannelMaxIdleTimeSeconds clientCloseSocketIfTimeout clientManageThreadPoolNums \
    clientManagerThreadPoolQueueCapacity clientOnewaySemaphoreValue \
    clientPooledByteBufAllocatorEnable clientSocketRcvBufSize clientSocketSndBufSize \
    clientWorkerThreads commitCommitLogLeastPages commitCommitLogThoroughInterval \
    commitIntervalCommitLog compressedRegister connectTimeoutMillis \
    consumerManageThreadPoolNums consumerManagerThreadPoolQueueCapacity \
    deleteConsumeQueueFilesInterval destroyMapedFileIntervalForcibly diskFallRecorded \
    enableCalcFilterBitMap enableNotifyAfterPopOrderLockRelease \
    enableNotifyBeforePopCalculateLag enablePopBatchAck enablePopBufferMerge enablePopLog \
    endTransactionThreadPoolNums fetchNamesrvAddrByAddressServer \
    flushConsumerOffsetHistoryInterval forceRegister haHousekeepingInterval haListenPort \
    haSendHeartbeatInterval haSlaveFallbehindMax haTransferBatchSize \
    heartbeatThreadPoolNums heartbeatThreadPoolQueueCapacity initPopOffsetByCheckMsgInMem \
    loadBalanceProcessorThreadPoolNums loadBalanceThreadPoolQueueCapacity maxDelayTime \
    maxTransferBytesOnMessageInDisk maxTransferCountOnMessageInDisk messageIndexSafe \
    offsetCheckInSlave popCkMaxBufferSize popCkOffsetMaxQueueSize popCkStayBufferTime \
    popCkStayBufferTimeOut popConsumerFSServiceInit popConsumerKVServiceInit \
    popConsumerKVServiceLog popInflightMessageThreshold popLongPollingForceNotifyInterval \
    popPollingMapExpireTimeSeconds popPollingMapSize popReviveMaxAttemptTimes \
    popReviveMaxReturnSizePerRead processReplyMessageThreadPoolNums pullMessageThreadPoolNums \
    pullThreadPoolQueueCapacity putMsgIndexHightWater queryMessageThreadPoolNums \
    queryThreadPoolQueueCapacity redeleteHangedFileInterval replyThreadPoolQueueCapacity \
    reviveAckWaitMs reviveMaxSlow reviveScanTime \
    rocketmqHome serverAsyncSemaphoreValue serverCallbackExecutorThreads \
    serverChannelMaxIdleTimeSeconds serverOnewaySemaphoreValue \
    serverPooledByteBufAllocatorEnable serverSelectorThreads serverSocketBacklog \
    serverSocketRcvBufSize serverSocketSndBufSize serverWorkerThreads slaveTimeout \
    timerCheckMetricsWhen timerEnableCheckMetrics timerEnableDisruptor \
    timerEnableRetryUntilSuccess timerGetMessageThreadNum timerInterceptDelayLevel \
    timerMetricSmallThreshold timerProgressLogIntervalMs timerPutMessageThreadNum \
    timerSkipUnknownError timerStopDequeue timerStopEnqueue timerWarmEnable \
    transferMsgByHeap transientStorePoolSize useEpollNativeSelector useReentrantLockWhenPutMessage \
    waitTimeMillsInHeartbeatQueue waitTimeMillsInPullQueue waitTimeMillsInTransactionQueue \
    warmMapedFileEnable";

/// Names from earlier days, and what they are called today.
const ALIASES: &[(&str, &str)] = &[
    ("mapedFileSizeCommitLog", "mappedFileSizeCommitLog"),
    ("mapedFileSizeConsumeQueue", "mappedFileSizeConsumeQueue"),
];

/// The key of a name, under whichever of its names.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
    let name = alias.map_or(name, |(_, today)| today);
    all().find(|key| key.name == name)
}

fn split_listen(listen: &str) -> (&str, &str) {
    listen.rsplit_once(':').unwrap_or((listen, "0"))
}

/// Every key that means something.
pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    KEYS.iter().chain(SPECIAL)
}
