//! Java properties files, and the keys that Apache RocketMQ gives them.
//!
//! One table names each key with its way in and out, so that what can be read can be shown.

use std::fmt::Write as _;
use std::str::FromStr;
use std::time::Duration;

use hotfire_store::FlushDiskType;

use super::BrokerConfig;
use crate::delay::DelayLevels;

/// What is wrong with a properties file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct PropertyError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong, and what was probably meant.
    pub what: String,
}

/// One `key=value`.
pub(super) struct Entry {
    line: usize,
    key: String,
    value: String,
}

/// A key: its name, how it is set and how it is shown.
struct Key {
    name: &'static str,
    set: fn(&mut BrokerConfig, &str) -> Result<(), String>,
    show: fn(&BrokerConfig) -> String,
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
    u32: "a number", u64: "a number"
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
    "autoCreateTopicEnable" => auto_create_topic_enable,
    "autoCreateSubscriptionGroup" => auto_create_subscription_group,
    "defaultTopicQueueNums" => default_topic_queue_nums,
    "clusterTopicEnable" => cluster_topic_enable,
    "brokerTopicEnable" => broker_topic_enable,
    "traceTopicEnable" => trace_topic_enable,
    "msgTraceTopicName" => msg_trace_topic_name,
    "longPollingEnable" => long_polling_enable,
    "shortPollingTimeMills" => short_polling_time,
    "litePullMessageEnable" => lite_pull_message_enable,
    "notifyConsumerIdsChangedEnable" => notify_consumer_ids_changed_enable,
    "slaveReadEnable" => slave_read_enable,
    "defaultQueryMaxNum" => default_query_max_num,
    "flushConsumerOffsetInterval" => flush_consumer_offset_interval,
    "flushDelayOffsetInterval" => flush_delay_offset_interval,
    "registerNameServerPeriod" => register_name_server_period,
    "registerBrokerTimeoutMills" => register_broker_timeout,
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
    "checkCRCOnRecover" => store.check_crc_on_recover,
    "osPageCacheBusyTimeOutMills" => store.os_page_cache_busy_timeout,
};

/// The keys that take more than one field or another unit.
const SPECIAL: &[Key] = &[
    Key {
        name: "brokerId",
        set: |config, text| match i64::read(text)? {
            0 => Ok(config.broker_id = 0),
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
const FIXED: &[(&str, &str)] = &[
    ("aclEnable", "false"),
    ("brokerRole", "ASYNC_MASTER"),
    ("duplicationEnable", "false"),
    ("enableConsumeQueueExt", "false"),
    ("enableControllerMode", "false"),
    ("enableDLegerCommitLog", "false"),
    ("enablePropertyFilter", "false"),
    ("rejectTransactionMessage", "true"),
    ("transientStorePoolEnable", "false"),
];

/// Keys of Apache RocketMQ 4.9 and 5.x that common configuration files set, and that have nothing to
/// act on here.
const WITHOUT_EFFECT: &[&str] = &[
    "accessMessageInMemoryMaxRatio",
    "adminBrokerThreadPoolNums",
    "brokerIP2",
    "channelNotActiveInterval",
    "clientAsyncSemaphoreValue",
    "clientCallbackExecutorThreads",
    "clientChannelMaxIdleTimeSeconds",
    "clientCloseSocketIfTimeout",
    "clientManageThreadPoolNums",
    "clientManagerThreadPoolQueueCapacity",
    "clientOnewaySemaphoreValue",
    "clientPooledByteBufAllocatorEnable",
    "clientSocketRcvBufSize",
    "clientSocketSndBufSize",
    "clientWorkerThreads",
    "commitCommitLogLeastPages",
    "commitCommitLogThoroughInterval",
    "commitIntervalCommitLog",
    "compressedRegister",
    "connectTimeoutMillis",
    "consumerManageThreadPoolNums",
    "consumerManagerThreadPoolQueueCapacity",
    "deleteConsumeQueueFilesInterval",
    "destroyMapedFileIntervalForcibly",
    "diskFallRecorded",
    "enableCalcFilterBitMap",
    "endTransactionThreadPoolNums",
    "fetchNamesrvAddrByAddressServer",
    "flushConsumerOffsetHistoryInterval",
    "forceRegister",
    "haHousekeepingInterval",
    "haListenPort",
    "haSendHeartbeatInterval",
    "haSlaveFallbehindMax",
    "haTransferBatchSize",
    "heartbeatThreadPoolNums",
    "heartbeatThreadPoolQueueCapacity",
    "maxDelayTime",
    "maxTransferBytesOnMessageInDisk",
    "maxTransferCountOnMessageInDisk",
    "messageIndexSafe",
    "offsetCheckInSlave",
    "processReplyMessageThreadPoolNums",
    "pullMessageThreadPoolNums",
    "pullThreadPoolQueueCapacity",
    "putMsgIndexHightWater",
    "queryMessageThreadPoolNums",
    "queryThreadPoolQueueCapacity",
    "redeleteHangedFileInterval",
    "replyThreadPoolQueueCapacity",
    "rocketmqHome",
    "serverAsyncSemaphoreValue",
    "serverCallbackExecutorThreads",
    "serverChannelMaxIdleTimeSeconds",
    "serverOnewaySemaphoreValue",
    "serverPooledByteBufAllocatorEnable",
    "serverSelectorThreads",
    "serverSocketBacklog",
    "serverSocketRcvBufSize",
    "serverSocketSndBufSize",
    "serverWorkerThreads",
    "slaveTimeout",
    "storePathCommitLog",
    "storePathConsumeQueue",
    "storePathIndex",
    "storeCheckpoint",
    "abortFile",
    "transactionCheckInterval",
    "transactionCheckMax",
    "transactionTimeOut",
    "transferMsgByHeap",
    "transientStorePoolSize",
    "useEpollNativeSelector",
    "useReentrantLockWhenPutMessage",
    "waitTimeMillsInHeartbeatQueue",
    "waitTimeMillsInPullQueue",
    "waitTimeMillsInTransactionQueue",
    "warmMapedFileEnable",
];

fn split_listen(listen: &str) -> (&str, &str) {
    listen.rsplit_once(':').unwrap_or((listen, "0"))
}

/// Reads lines of `key=value` or `key: value`. `#` and `!` begin a comment line, a backslash at the
/// end of a line continues it, and one elsewhere quotes the next character.
pub(super) fn parse(text: &str) -> Result<Vec<Entry>, PropertyError> {
    let mut entries = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let mut logical = line.trim().to_owned();
        if logical.is_empty() || logical.starts_with(['#', '!']) {
            continue;
        }
        while ends_in_backslash(&logical) {
            logical.pop();
            match lines.next() {
                Some((_, more)) => logical.push_str(more.trim_start()),
                None => break,
            }
        }
        let line = number + 1;
        let (key, value) = split_entry(&logical).ok_or_else(|| PropertyError {
            line,
            what: format!("`{logical}` is not of the form key=value"),
        })?;
        entries.push(Entry { line, key, value });
    }
    Ok(entries)
}

fn ends_in_backslash(line: &str) -> bool {
    let backslashes = line.bytes().rev().take_while(|&byte| byte == b'\\').count();
    backslashes % 2 == 1
}

fn split_entry(line: &str) -> Option<(String, String)> {
    let at = line.find(['=', ':'])?;
    let key = line[..at].trim();
    (!key.is_empty()).then(|| (unquote(key), unquote(line[at + 1..].trim())))
}

fn unquote(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        plain.push(match char {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some(quoted) => quoted,
                None => '\\',
            },
            _ => char,
        });
    }
    plain
}

/// Sets what an entry names.
pub(super) fn apply(config: &mut BrokerConfig, entry: &Entry) -> Result<(), PropertyError> {
    let error = |what| PropertyError {
        line: entry.line,
        what,
    };
    let name = entry.key.as_str();
    if let Some(key) = all_keys().find(|key| key.name == name) {
        return (key.set)(config, &entry.value).map_err(|what| error(format!("`{name}`: {what}")));
    }
    if let Some(&(_, only)) = FIXED.iter().find(|(key, _)| *key == name) {
        let value = entry.value.as_str();
        return if value == only {
            Ok(())
        } else {
            Err(error(format!(
                "`{name}`: `{value}` is not supported: only {only} is"
            )))
        };
    }
    if WITHOUT_EFFECT.contains(&name) {
        tracing::info!(key = name, "this setting has no effect here");
        return Ok(());
    }
    let fixed = FIXED.iter().map(|(key, _)| *key);
    let known = all_keys().map(|key| key.name).chain(fixed);
    let nearest = known
        .map(|known| {
            (
                strsim::osa_distance(&known.to_lowercase(), &name.to_lowercase()),
                known,
            )
        })
        .min();
    Err(error(match nearest {
        Some((distance, known)) if distance <= name.len() / 2 => {
            format!("there is no setting `{name}`; did you mean `{known}`?")
        }
        _ => format!("there is no setting `{name}`"),
    }))
}

/// All keys that mean something, with their values.
pub(super) fn render(config: &BrokerConfig) -> String {
    let mut text = String::new();
    for key in all_keys() {
        let _ = writeln!(text, "{}={}", key.name, (key.show)(config));
    }
    for (key, only) in FIXED {
        let _ = writeln!(text, "{key}={only}");
    }
    text
}

fn all_keys() -> impl Iterator<Item = &'static Key> {
    KEYS.iter().chain(SPECIAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usual_configuration_file_is_read() {
        let config = BrokerConfig::from_properties(
            "# the sample of the distribution\nbrokerClusterName = DefaultCluster\n\
             brokerName=broker-b\nbrokerId=0\ndeleteWhen=04;16\nfileReservedTime=48\n\
             brokerRole=ASYNC_MASTER\nflushDiskType=SYNC_FLUSH\nlistenPort: 10921\n\
             namesrvAddr=ns1:9876; ns2:9876\nsendMessageThreadPoolNums=16\n",
        )
        .unwrap();
        assert_eq!(config.broker_name, "broker-b");
        assert_eq!(config.listen, "0.0.0.0:10921");
        assert_eq!(config.namesrv_addrs, ["ns1:9876", "ns2:9876"]);
        assert_eq!(config.store.flush_disk_type, FlushDiskType::Sync);
        assert_eq!(config.store.delete_when, [4, 16]);
        assert_eq!(
            config.store.file_reserved_time,
            Duration::from_secs(48 * 3600)
        );
        assert_eq!(config.send_message_thread_pool_nums, 16);
    }

    #[test]
    fn a_misspelt_key_is_refused_with_what_was_probably_meant() {
        let error = BrokerConfig::from_properties("\nbrokername=a").unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 2: there is no setting `brokername`; did you mean `brokerName`?"
        );
        let error = BrokerConfig::from_properties("colour=red").unwrap_err();
        assert_eq!(error.what, "there is no setting `colour`");
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_refused() {
        for (text, what) in [
            ("traceOn=maybe", "`traceOn`: `maybe` is not true or false"),
            ("listenPort=70000", "`listenPort`: `70000` is not a port"),
            (
                "messageDelayLevel=1s 5",
                "`messageDelayLevel`: `5` is not a delay: a number with s, m, h or d is expected, \
                 as in `10s`",
            ),
            (
                "brokerRole=SLAVE",
                "`brokerRole`: `SLAVE` is not supported: only ASYNC_MASTER is",
            ),
            ("just text", "`just text` is not of the form key=value"),
        ] {
            assert_eq!(BrokerConfig::from_properties(text).unwrap_err().what, what);
        }
    }

    #[test]
    fn a_setting_without_effect_is_accepted() {
        assert!(BrokerConfig::from_properties("serverWorkerThreads=8").is_ok());
    }

    #[test]
    fn a_line_may_go_on_in_the_next() {
        let config = BrokerConfig::from_properties("brokerName=bro\\\n   ker\\:z").unwrap();
        assert_eq!(config.broker_name, "broker:z");
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        let mut config = BrokerConfig::default();
        config.broker_name = "broker-z".to_owned();
        config.store.flush_disk_type = FlushDiskType::Sync;
        let text = config.to_properties();
        let back = BrokerConfig::from_properties(&text).unwrap();
        assert_eq!(back.to_properties(), text);
        assert!(text.contains("messageDelayLevel=1s 5s 10s 30s 1m 2m 3m"));
    }

    #[test]
    fn a_failed_update_changes_nothing() {
        let mut config = BrokerConfig::default();
        assert!(config.update("brokerName=x\ntraceOn=maybe").is_err());
        assert_eq!(config.broker_name, "broker-a");
    }
}
