use std::time::Duration;

use crate::StoreError;

/// When a message counts as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FlushDiskType {
    /// When it is in the page cache; a flush follows within half a second, normally.
    #[default]
    Async,
    /// When the disk has it.
    Sync,
}

/// The settings of a store, named as in `MessageStoreConfig`, with its defaults.
///
/// All paths are below the root of the environment's disk.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// The store's folder; empty for the root of the disk itself. Default `store`.
    pub store_path_root_dir: String,
    /// The folder of the commit log (`storePathCommitLog`). Default: `commitlog` in the store's.
    pub store_path_commit_log: Option<String>,
    /// The folder of the consume queues (`storePathConsumeQueue`). Default: `consumequeue` in the
    /// store's.
    pub store_path_consume_queue: Option<String>,
    /// The folder of the index (`storePathIndex`). Default: `index` in the store's.
    pub store_path_index: Option<String>,
    /// The checkpoint (`storeCheckpoint`). Default: `checkpoint` in the store's folder.
    pub store_checkpoint: Option<String>,
    /// The file that is there while the store is open (`abortFile`). Default: `abort` in the store's
    /// folder.
    pub abort_file: Option<String>,
    /// The length of a commit log file in bytes (`mappedFileSizeCommitLog`). Default 1 GiB.
    pub commit_log_file_size: u64,
    /// The number of units in a consume queue file (`mappedFileSizeConsumeQueue` / 20).
    /// Default 300,000.
    pub consume_queue_file_units: u64,
    /// Whether messages are indexed by key (`messageIndexEnable`). Default true.
    pub message_index_enable: bool,
    /// The number of hash slots in an index file (`maxHashSlotNum`). Default 5,000,000.
    pub max_hash_slot_num: u32,
    /// The number of entries in an index file (`maxIndexNum`). Default 20,000,000.
    pub max_index_num: u32,
    /// The most messages that a query by key answers (`maxMsgsNumBatch`). Default 64.
    pub max_msgs_num_batch: usize,
    /// The longest body and the longest record, in bytes (`maxMessageSize`). Default 4 MiB.
    pub max_message_size: usize,

    /// When a message counts as stored. Default asynchronous.
    pub flush_disk_type: FlushDiskType,
    /// The pause between two looks at what is to be flushed (`flushIntervalCommitLog`). 500 ms.
    pub flush_interval_commit_log: Duration,
    /// The number of dirty pages that are worth a flush (`flushCommitLogLeastPages`). Default 4.
    pub flush_commit_log_least_pages: u64,
    /// After this time anything dirty is worth a flush (`flushCommitLogThoroughInterval`). 10 s.
    pub flush_commit_log_thorough_interval: Duration,
    /// The same pause for consume queues (`flushIntervalConsumeQueue`). Default 1 s.
    pub flush_interval_consume_queue: Duration,
    /// The same number for consume queues (`flushConsumeQueueLeastPages`). Default 2.
    pub flush_consume_queue_least_pages: u64,
    /// The same time for consume queues (`flushConsumeQueueThoroughInterval`). Default 60 s.
    pub flush_consume_queue_thorough_interval: Duration,
    /// How long a synchronous send waits for its flush (`syncFlushTimeout`). Default 5 s.
    pub sync_flush_timeout: Duration,
    /// With synchronous flush: whether consumers see messages that are not flushed yet
    /// (`readUnCommitted`). Default false, as since 5.3; older brokers behave as if it were true,
    /// and a power loss may then take back what a consumer has already consumed.
    pub read_uncommitted: bool,

    /// The most messages of one pull (`maxTransferCountOnMessageInMemory`). Default 32.
    pub max_transfer_count: usize,
    /// The most bytes of one pull (`maxTransferBytesOnMessageInMemory`). Default 256 KiB.
    pub max_transfer_bytes: usize,

    /// How long a commit log file is kept after its last change (`fileReservedTime`). 72 h.
    pub file_reserved_time: Duration,
    /// The hours (UTC) at which expired files are deleted (`deleteWhen`). Default 4 o'clock.
    pub delete_when: Vec<u32>,
    /// Whether files go before their time when the disk is nearly full (`cleanFileForciblyEnable`).
    pub clean_file_forcibly_enable: bool,
    /// The used share of the disk above which expired files are deleted at any hour
    /// (`diskMaxUsedSpaceRatio`). Default 0.75.
    pub disk_max_used_space_ratio: f64,
    /// The used share above which files are deleted before their time
    /// (`diskSpaceCleanForciblyRatio`). Default and maximum 0.85.
    pub disk_space_clean_forcibly_ratio: f64,
    /// The used share above which nothing is stored (`diskSpaceWarningLevelRatio`). Default and
    /// maximum 0.90.
    pub disk_space_warning_level_ratio: f64,
    /// The pause between two runs of the cleaner (`cleanResourceInterval`). Default 10 s.
    pub clean_resource_interval: Duration,
    /// The time from the start to the first run of the cleaner. Default 60 s.
    pub clean_resource_delay: Duration,
    /// The pause between two deleted files (`deleteCommitLogFilesInterval`). Default 100 ms.
    pub delete_files_interval: Duration,
    /// The most files that one run deletes (`deleteFileBatchMax`). Default 10.
    pub delete_file_batch_max: usize,

    /// The delays of the levels 1 and up, in milliseconds (`messageDelayLevel`).
    pub delay_levels: Vec<i64>,
    /// Whether messages for an arbitrary time are taken (`timerWheelEnable`). Default true.
    pub timer_wheel_enable: bool,
    /// How precisely they are delivered, in milliseconds (`timerPrecisionMs`): 100, 200, 500 or
    /// 1000, the default. It must stay the same as long as messages wait.
    pub timer_precision_ms: i64,
    /// How far ahead a message's time may be (`timerMaxDelaySec`). Default 3 days.
    pub timer_max_delay: Duration,
    /// After how many ticks a waiting message goes round (`timerRollWindowSlot`). Default 172,800.
    pub timer_roll_window_slots: u32,
    /// How many ticks the wheel shows. Apache RocketMQ's constant, and the default, is 604,800:
    /// seven days of seconds.
    pub timer_wheel_slots: u32,
    /// The length of a timer log file in bytes (`mappedFileSizeTimerLog`). Default 100 MiB.
    pub timer_log_file_size: u64,
    /// The pause between two flushes of the timers (`timerFlushIntervalMs`). Default 1 s.
    pub timer_flush_interval: Duration,
    /// How many messages for one tick are taken; up to twice as many at random
    /// (`timerCongestNumEachSlot`). Default 2^31 - 1.
    pub timer_congest_num_each_slot: i32,
    /// Whether recovery compares bodies with their checksums (`checkCRCOnRecover`). Default true.
    pub check_crc_on_recover: bool,
    /// How long the append lock may be held before the page cache counts as busy
    /// (`osPageCacheBusyTimeOutMills`). Default 1 s.
    pub os_page_cache_busy_timeout: Duration,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            store_path_root_dir: "store".to_owned(),
            store_path_commit_log: None,
            store_path_consume_queue: None,
            store_path_index: None,
            store_checkpoint: None,
            abort_file: None,
            commit_log_file_size: 1 << 30,
            consume_queue_file_units: 300_000,
            message_index_enable: true,
            max_hash_slot_num: 5_000_000,
            max_index_num: 20_000_000,
            max_msgs_num_batch: 64,
            max_message_size: 4 << 20,
            flush_disk_type: FlushDiskType::Async,
            flush_interval_commit_log: Duration::from_millis(500),
            flush_commit_log_least_pages: 4,
            flush_commit_log_thorough_interval: Duration::from_secs(10),
            flush_interval_consume_queue: Duration::from_secs(1),
            flush_consume_queue_least_pages: 2,
            flush_consume_queue_thorough_interval: Duration::from_secs(60),
            sync_flush_timeout: Duration::from_secs(5),
            read_uncommitted: false,
            max_transfer_count: 32,
            max_transfer_bytes: 256 << 10,
            file_reserved_time: Duration::from_secs(72 * 3600),
            delete_when: vec![4],
            clean_file_forcibly_enable: true,
            disk_max_used_space_ratio: 0.75,
            disk_space_clean_forcibly_ratio: 0.85,
            disk_space_warning_level_ratio: 0.90,
            clean_resource_interval: Duration::from_secs(10),
            clean_resource_delay: Duration::from_secs(60),
            delete_files_interval: Duration::from_millis(100),
            delete_file_batch_max: 10,
            delay_levels: default_delay_levels(),
            timer_wheel_enable: true,
            timer_precision_ms: 1000,
            timer_max_delay: Duration::from_secs(3 * 86_400),
            timer_roll_window_slots: 2 * 86_400,
            timer_wheel_slots: 7 * 86_400,
            timer_log_file_size: 100 << 20,
            timer_flush_interval: Duration::from_secs(1),
            timer_congest_num_each_slot: i32::MAX,
            check_crc_on_recover: true,
            os_page_cache_busy_timeout: Duration::from_secs(1),
        }
    }
}

/// 1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h.
fn default_delay_levels() -> Vec<i64> {
    let minutes = (1..=10)
        .chain([20, 30, 60, 120])
        .map(|minutes| minutes * 60);
    [1, 5, 10, 30]
        .into_iter()
        .chain(minutes)
        .map(|seconds: i64| seconds * 1000)
        .collect()
}

impl StoreConfig {
    /// The paths that are set by themselves, by the names that they have otherwise.
    fn own_paths(&self) -> [(&'static str, &Option<String>); 5] {
        [
            ("commitlog", &self.store_path_commit_log),
            ("consumequeue", &self.store_path_consume_queue),
            ("index", &self.store_path_index),
            ("checkpoint", &self.store_checkpoint),
            ("abort", &self.abort_file),
        ]
    }

    /// All paths that are set: what is not below the root of the disk must be let in by it.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        let own = self.own_paths().map(|(_, path)| path.as_deref());
        let root = Some(self.store_path_root_dir.as_str());
        own.into_iter().chain([root]).flatten()
    }

    /// A path below the store's folder, or the one that is set for it.
    pub(crate) fn path(&self, name: &str) -> String {
        let mut own = self.own_paths().into_iter();
        if let Some((_, Some(path))) = own.find(|(known, _)| *known == name) {
            return path.clone();
        }
        if self.store_path_root_dir.is_empty() {
            name.to_owned()
        } else {
            format!("{}/{name}", self.store_path_root_dir)
        }
    }

    /// The length of a consume queue file in bytes.
    pub(crate) fn consume_queue_file_size(&self) -> u64 {
        self.consume_queue_file_units
            .saturating_mul(crate::cq_unit::UNIT_SIZE)
    }

    /// Refuses what no store can work with.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let wrong = |what: &str| Err(StoreError::Config(what.to_owned()));
        // Fillers state their size with 31 bits.
        const FILE_MAX: u64 = i32::MAX as u64;
        if !(1024..=FILE_MAX).contains(&self.commit_log_file_size) {
            return wrong("a commit log file has 1 KiB to 2 GiB");
        }
        if self.consume_queue_file_units == 0 || self.consume_queue_file_size() > FILE_MAX {
            return wrong("a consume queue file has at least one unit and at most 2 GiB");
        }
        if self.max_hash_slot_num == 0 || self.max_index_num < 2 {
            return wrong("an index file has at least one hash slot and two entries");
        }
        if i32::try_from(self.max_hash_slot_num).is_err()
            || i32::try_from(self.max_index_num).is_err()
        {
            return wrong("hash slots and entries of an index file are counted with 31 bits");
        }
        if !(1..=1000).contains(&self.timer_precision_ms) || self.timer_wheel_slots < 120 {
            return wrong(
                "a tick of the timer wheel has 1 to 1000 ms, and it has 120 slots or more",
            );
        }
        if !(1024..=FILE_MAX).contains(&self.timer_log_file_size) {
            return wrong("a timer log file has 1 KiB to 2 GiB");
        }
        Ok(())
    }
}
