//! The settings that Apache RocketMQ's properties files have.
//!
//! One table names each key with its way in and out, so that what can be read can be shown.

use std::str::FromStr;
use std::time::Duration;

use hotfire_metrics::MetricsExporterType;
use hotfire_protocol::body::MessageRequestMode;
use hotfire_store::FlushDiskType;

use super::BrokerConfig;
use crate::delay::DelayLevels;

/// A key: its name, how it is set and how it is shown.
pub(super) struct Key {
    pub name: &'static str,
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

/// Milliseconds.
impl Property for Duration {
    fn read(text: &str) -> Result<Self, String> {
        u64::read(text).map(Self::from_millis)
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

macro_rules! keys {
    ($($name:literal => $($field:ident).+,)+) => {
        &[$(Key {
            name: $name,
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
    "brokerClusterName" => broker_cluster_name,
    "brokerName" => broker_name,
    "brokerIP1" => broker_ip1,
    "brokerPermission" => broker_permission,
    "regionId" => region_id,
    "traceOn" => trace_on,
    "aclEnable" => acl_enable,
    "autoCreateTopicEnable" => auto_create_topic_enable,
    "autoCreateSubscriptionGroup" => auto_create_subscription_group,
    "defaultTopicQueueNums" => default_topic_queue_nums,
    "clusterTopicEnable" => cluster_topic_enable,
    "brokerTopicEnable" => broker_topic_enable,
    "traceTopicEnable" => trace_topic_enable,
    "msgTraceTopicName" => msg_trace_topic_name,
    "storeReplyMessageEnable" => store_reply_message_enable,
    "metricsExporterType" => metrics.exporter,
    "metricsPromExporterHost" => metrics.host,
    "metricsPromExporterPort" => metrics.port,
    "recallMessageEnable" => recall_message_enable,
    "allowRecallWhenBrokerNotWriteable" => allow_recall_when_broker_not_writeable,
    "longPollingEnable" => long_polling_enable,
    "shortPollingTimeMills" => short_polling_time,
    "litePullMessageEnable" => lite_pull_message_enable,
    "useServerSideResetOffset" => use_server_side_reset_offset,
    "enablePropertyFilter" => enable_property_filter,
    "filterSupportRetry" => filter_support_retry,
    "notifyConsumerIdsChangedEnable" => notify_consumer_ids_changed_enable,
    "slaveReadEnable" => slave_read_enable,
    "defaultQueryMaxNum" => default_query_max_num,
    "serverLoadBalancerEnable" => server_load_balancer_enable,
    "defaultMessageRequestMode" => default_message_request_mode,
    "defaultPopShareQueueNum" => default_pop_share_queue_num,
    "loadBalancePollNameServerInterval" => load_balance_poll_name_server_interval,
    "enableRetryTopicV2" => enable_retry_topic_v2,
    "retrieveMessageFromPopRetryTopicV1" => retrieve_message_from_pop_retry_topic_v1,
    "clearRetryTopicWhenDeleteTopic" => clear_retry_topic_when_delete_topic,
    "flushConsumerOffsetInterval" => flush_consumer_offset_interval,
    "flushDelayOffsetInterval" => flush_delay_offset_interval,
    "registerNameServerPeriod" => register_name_server_period,
    "registerBrokerTimeoutMills" => register_broker_timeout,
    "rejectTransactionMessage" => reject_transaction_message,
    "transactionTimeOut" => transaction_timeout,
    "transactionCheckMax" => transaction_check_max,
    "transactionCheckInterval" => transaction_check_interval,
    "brokerFastFailureEnable" => broker_fast_failure_enable,
    "waitTimeMillsInSendQueue" => wait_time_in_send_queue,
    "sendMessageThreadPoolNums" => send_message_thread_pool_nums,
    "sendThreadPoolQueueCapacity" => send_thread_pool_queue_capacity,
    "startAcceptSendRequestTimeStamp" => start_accept_send_request_time_stamp,
    "storePathRootDir" => store.store_path_root_dir,
    "mappedFileSizeCommitLog" => store.commit_log_file_size,
    "messageIndexEnable" => store.message_index_enable,
    "maxHashSlotNum" => store.max_hash_slot_num,
    "maxIndexNum" => store.max_index_num,
    "maxMsgsNumBatch" => store.max_msgs_num_batch,
    "maxMessageSize" => store.max_message_size,
    "flushDiskType" => store.flush_disk_type,
    "flushIntervalCommitLog" => store.flush_interval_commit_log,
    "flushCommitLogLeastPages" => store.flush_commit_log_least_pages,
    "flushCommitLogThoroughInterval" => store.flush_commit_log_thorough_interval,
    "flushIntervalConsumeQueue" => store.flush_interval_consume_queue,
    "flushConsumeQueueLeastPages" => store.flush_consume_queue_least_pages,
    "flushConsumeQueueThoroughInterval" => store.flush_consume_queue_thorough_interval,
    "syncFlushTimeout" => store.sync_flush_timeout,
    "readUnCommitted" => store.read_uncommitted,
    "maxTransferCountOnMessageInMemory" => store.max_transfer_count,
    "maxTransferBytesOnMessageInMemory" => store.max_transfer_bytes,
    "cleanFileForciblyEnable" => store.clean_file_forcibly_enable,
    "cleanResourceInterval" => store.clean_resource_interval,
    "deleteCommitLogFilesInterval" => store.delete_files_interval,
    "deleteFileBatchMax" => store.delete_file_batch_max,
    "timerWheelEnable" => store.timer_wheel_enable,
    "timerFlushIntervalMs" => store.timer_flush_interval,
    "timerRollWindowSlot" => store.timer_roll_window_slots,
    "timerWheelSlots" => store.timer_wheel_slots,
    "timerCongestNumEachSlot" => store.timer_congest_num_each_slot,
    "mappedFileSizeTimerLog" => store.timer_log_file_size,
    "checkCRCOnRecover" => store.check_crc_on_recover,
    "osPageCacheBusyTimeOutMills" => store.os_page_cache_busy_timeout,
};

/// The keys that take more than one field or another unit.
const SPECIAL: &[Key] = &[
    Key {
        name: "brokerId",
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
        set: |config, text| {
            config.listen = format!("{text}:{}", split_listen(&config.listen).1);
            Ok(())
        },
        show: |config| split_listen(&config.listen).0.to_owned(),
    },
    Key {
        name: "namesrvAddr",
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
        set: |config, text| {
            config.store.consume_queue_file_units = u64::read(text)?.div_ceil(20);
            Ok(())
        },
        show: |config| (config.store.consume_queue_file_units * 20).to_string(),
    },
    Key {
        name: "fileReservedTime",
        set: |config, text| {
            config.store.file_reserved_time =
                Duration::from_secs(u64::from(u32::read(text)?) * 3600);
            Ok(())
        },
        show: |config| (config.store.file_reserved_time.as_secs() / 3600).to_string(),
    },
    Key {
        name: "deleteWhen",
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
        set: |config, text| {
            config.store.timer_max_delay = Duration::from_secs(u64::from(u32::read(text)?));
            Ok(())
        },
        show: |config| config.store.timer_max_delay.as_secs().to_string(),
    },
    Key {
        name: "diskMaxUsedSpaceRatio",
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
    storePathCommitLog storePathConsumeQueue storePathIndex storeCheckpoint abortFile \
    transferMsgByHeap transientStorePoolSize useEpollNativeSelector useReentrantLockWhenPutMessage \
    waitTimeMillsInHeartbeatQueue waitTimeMillsInPullQueue waitTimeMillsInTransactionQueue \
    warmMapedFileEnable";

fn split_listen(listen: &str) -> (&str, &str) {
    listen.rsplit_once(':').unwrap_or((listen, "0"))
}

/// Every key that means something.
pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    KEYS.iter().chain(SPECIAL)
}
