//! The way of a message into the log.

use std::sync::atomic::Ordering;

use bytes::BytesMut;
use hotfire_env::{defect, is_disk_full};
use hotfire_protocol::frame::FRAME_MAX;
use hotfire_protocol::message::record::{self, EncodeError};
use hotfire_protocol::message::{property, sys_flag};
use hotfire_protocol::topic::{DLQ_PREFIX, RETRY_PREFIX};
use std::net::SocketAddr;

use crate::RecordView;
use crate::batch::{self, IllegalBatch};
use crate::commit_log::{AppendError, BLANK_SIZE, stamp};
use crate::config::FlushDiskType;
use crate::defects;
use crate::message::{AppendResult, MessageBatch, MessageInner, PutMessageStatus, PutResult};
use crate::property_crc;
use crate::queues::is_topic;
use crate::state::NotWriteable;
use crate::store::{Inner, MessageStore};

/// The longest topic of anything but a retry or dead-letter topic.
const TOPIC_MAX: usize = 127;
/// The largest record, in bytes: what a response has room for, beside its header and what a pop adds
/// to a message of a retry topic. Whatever is configured, a larger one could never be delivered.
const RECORD_MAX: usize = FRAME_MAX - (256 << 10);
/// How many encoding buffers are kept, and how large the kept ones may be.
const BUFFERS_KEPT: usize = 4;
const BUFFER_KEPT_MAX: usize = 256 << 10;

/// Encoded records on their way to one queue.
struct Records<'a> {
    topic: &'a str,
    queue_id: i32,
    store_host: SocketAddr,
    /// Whether they take queue offsets: half messages and roll-backs do not.
    takes_offsets: bool,
    bytes: &'a mut [u8],
    /// The number of records.
    count: usize,
}

impl MessageStore {
    /// Stores a message, and waits for the disk if the store flushes synchronously and the message
    /// does not say `WAIT=false`.
    pub async fn put_message(&self, message: MessageInner) -> PutResult {
        let waits = message.message.waits_for_store();
        let appended = self.append(message);
        self.wait_durable(appended, waits).await
    }

    /// Stores all messages of a batch, or none. Waits as [`MessageStore::put_message`] does.
    pub async fn put_messages(&self, batch: MessageBatch) -> PutResult {
        let waits = batch.shared.message.waits_for_store();
        let appended = self.append_batch(batch);
        self.wait_durable(appended, waits).await
    }

    /// Appends a message without waiting for the disk.
    pub fn append(&self, message: MessageInner) -> PutResult {
        match self.inner.check(&message) {
            Ok(()) => self.encode_and_append(message),
            Err(status) => PutResult::refused(status),
        }
    }

    /// Appends a message that the broker has accepted before: one whose time has come, that is
    /// tried again, that is committed. The limits for what clients send do not count for it, so that
    /// one that was lowered meanwhile loses nothing.
    pub fn append_accepted(&self, message: MessageInner) -> PutResult {
        match self.inner.check_state() {
            Ok(()) if is_storable(&message.message.topic) && message.queue_id >= 0 => {
                self.encode_and_append(message)
            }
            Ok(()) => PutResult::refused(PutMessageStatus::MessageIllegal),
            Err(status) => PutResult::refused(status),
        }
    }

    /// Whether a message that is to be accepted can be stored later under a topic, with all the
    /// properties that it has then.
    ///
    /// # Errors
    /// How the store would refuse it, however often it is asked.
    pub fn check_form(&self, message: &MessageInner, topic: &str) -> Result<(), PutMessageStatus> {
        let properties = property::encoded_len(&message.message.properties)
            + property_crc::room_for(&message.message.properties);
        if properties > record::PROPERTIES_MAX {
            return Err(PutMessageStatus::PropertiesSizeExceeded);
        }
        let (born, store) = (message.born_host, message.store_host);
        let body = message.message.body.len();
        let size = record::size_of(born, store, topic.len(), properties, body);
        if !is_storable(topic) || size > self.inner.record_max() {
            return Err(PutMessageStatus::MessageIllegal);
        }
        Ok(())
    }

    fn encode_and_append(&self, message: MessageInner) -> PutResult {
        let inner = &*self.inner;
        // Half messages and roll-backs are in no consume queue, so they take no queue offset.
        let takes_offsets = sys_flag::is_consumable(message.sys_flag);
        let mut ext = message.into_ext();
        if defect!(inner.env, GarbleBody) {
            defects::garble(&mut ext.message.body);
        }
        let mut buffer = inner.take_buffer();
        let mut properties = property::encode(&ext.message.properties);
        property_crc::append(&mut properties);
        let result = match record::encode_parts(&ext, &properties, &mut buffer) {
            Ok(_) => inner.append(Records {
                topic: &ext.message.topic,
                queue_id: ext.queue_id,
                store_host: ext.store_host,
                takes_offsets,
                bytes: &mut buffer,
                count: 1,
            }),
            Err(error) => PutResult::refused(illegal(error)),
        };
        inner.keep_buffer(buffer);
        result
    }

    /// Appends a batch without waiting for the disk.
    pub fn append_batch(&self, batch: MessageBatch) -> PutResult {
        let refused = |error| {
            PutResult::refused(match error {
                IllegalBatch::Encode(error) => illegal(error),
                _ => PutMessageStatus::MessageIllegal,
            })
        };
        self.try_append_batch(batch).unwrap_or_else(refused)
    }

    /// As [`MessageStore::append_batch`].
    ///
    /// # Errors
    /// What is wrong with the messages of the batch; none is stored then.
    pub fn try_append_batch(&self, batch: MessageBatch) -> Result<PutResult, IllegalBatch> {
        let inner = &*self.inner;
        if let Err(status) = inner.check(&batch.shared) {
            return Ok(PutResult::refused(status));
        }
        if !sys_flag::is_consumable(batch.shared.sys_flag) {
            return Err(IllegalBatch::Half);
        }
        let mut ext = batch.shared.into_ext();
        let mut buffer = inner.take_buffer();
        let max = inner.config.max_message_size.min(inner.record_max());
        let encoded = batch::encode_records(&mut ext, max, &mut buffer);
        let result = encoded.map(|count| {
            inner.append(Records {
                topic: &ext.message.topic,
                queue_id: ext.queue_id,
                store_host: ext.store_host,
                takes_offsets: true,
                bytes: &mut buffer,
                count,
            })
        });
        inner.keep_buffer(buffer);
        result
    }

    /// Whether an append has been holding the lock for longer than is healthy: the page cache does
    /// not keep up (`isOSPageCacheBusy`).
    pub fn is_os_page_cache_busy(&self) -> bool {
        self.inner.page_cache_busy()
    }
}

impl Inner {
    fn page_cache_busy(&self) -> bool {
        let since = self.locked_since.load(Ordering::Acquire);
        let busy = self.config.os_page_cache_busy_timeout.as_millis() as i64;
        // A difference beyond reason is a jump of the clock.
        since != 0 && (busy..10_000_000).contains(&(self.env.now_ms() - since))
    }

    /// The largest record that can be stored and delivered.
    fn record_max(&self) -> usize {
        let file = usize::try_from(self.log.files.file_size()).unwrap_or(usize::MAX);
        RECORD_MAX.min(file.saturating_sub(BLANK_SIZE as usize))
    }

    /// Whether anything is stored at the moment.
    fn check_state(&self) -> Result<(), PutMessageStatus> {
        if let Some(reason) = self.state.reason() {
            tracing::debug!(?reason, "refusing a message");
            return Err(PutMessageStatus::ServiceNotAvailable);
        }
        if self.page_cache_busy() {
            return Err(PutMessageStatus::OsPageCacheBusy);
        }
        Ok(())
    }

    /// Whether a client's message may be stored.
    fn check(&self, message: &MessageInner) -> Result<(), PutMessageStatus> {
        self.check_state()?;
        let topic = message.message.topic.as_str();
        let is_long = topic.len() > TOPIC_MAX
            && !topic.starts_with(RETRY_PREFIX)
            && !topic.starts_with(DLQ_PREFIX);
        if is_long || !is_topic(topic) || message.queue_id < 0 {
            return Err(PutMessageStatus::MessageIllegal);
        }
        let body_max = self.config.max_message_size.min(RECORD_MAX);
        if message.message.body.len() > body_max {
            return Err(PutMessageStatus::MessageIllegal);
        }
        Ok(())
    }

    fn append(&self, mut records: Records<'_>) -> PutResult {
        let mut result = self.append_locked(&mut records);
        if let Ok(append) = &result
            && defect!(self.env, AppendTwice)
            && defects::is_chosen(append.physical_offset)
        {
            drop(self.append_locked(&mut records));
        }
        if let Ok(append) = &mut result
            && defect!(self.env, WrongQueueOffset)
            && defects::is_chosen(append.physical_offset)
        {
            append.queue_offset += 1;
        }
        self.dispatch(records.bytes);
        if result.is_ok() && self.flushes_synchronously() {
            // Also for messages that nobody waits for: without a flush nobody would see them.
            self.flush_wanted.notify_one();
        }
        match result {
            Ok(append) => PutResult {
                status: PutMessageStatus::PutOk,
                append: Some(append),
            },
            Err(error) => PutResult::refused(self.failure(&error)),
        }
    }

    /// Stamps the records and writes them at the end of the log. Queue offsets are used up only if
    /// that succeeds.
    fn append_locked(&self, records: &mut Records<'_>) -> Result<AppendResult, AppendError> {
        let mut tail = self.tail.lock();
        let queue = self.queues.get_or_create(records.topic, records.queue_id);
        let now = self.env.now_ms();
        self.locked_since.store(now, Ordering::Release);
        let queue_offset = if records.takes_offsets {
            queue.next_assigned()
        } else {
            0
        };
        let result = (|| {
            if self.state.has(NotWriteable::ShutDown) || self.state.has(NotWriteable::FlushFailed) {
                return Err(AppendError::Closed);
            }
            let at = self.log.place(&mut tail, records.bytes.len() as u64)?;
            let more_offsets = stamp_all(records, queue_offset, at, now);
            self.log.write(&mut tail, at, records.bytes)?;
            tail.last_store_timestamp = now;
            if self.append_trouble.clear() {
                tracing::info!("the commit log is appended to again");
            }
            if records.takes_offsets {
                queue.set_assigned(queue_offset + records.count as i64);
            }
            Ok(AppendResult {
                physical_offset: at as i64,
                queue_offset,
                store_timestamp: now,
                bytes: records.bytes.len(),
                more_offsets,
                store_host: records.store_host,
            })
        })();
        if let Some(observer) = &self.observer
            && result.is_ok()
        {
            let mut rest = &*records.bytes;
            while let Ok(record) = RecordView::parse(rest) {
                observer.appended(&record);
                rest = &rest[record.size..];
            }
        }
        self.locked_since.store(0, Ordering::Release);
        result
    }

    fn failure(&self, error: &AppendError) -> PutMessageStatus {
        match error {
            AppendError::NoFile(cause) | AppendError::Write(cause) => {
                if self.append_trouble.note(error) {
                    tracing::error!(%error, "cannot append to the commit log");
                }
                if is_disk_full(cause) {
                    return PutMessageStatus::ServiceNotAvailable;
                }
            }
            _ => tracing::warn!(%error, "cannot append to the commit log"),
        }
        match error {
            AppendError::Closed => PutMessageStatus::ServiceNotAvailable,
            AppendError::TooLarge => PutMessageStatus::MessageIllegal,
            AppendError::NoFile(_) => PutMessageStatus::CreateMappedFileFailed,
            AppendError::Write(_) => PutMessageStatus::UnknownError,
        }
    }

    fn take_buffer(&self) -> BytesMut {
        self.buffers.lock().pop().unwrap_or_default()
    }

    fn keep_buffer(&self, mut buffer: BytesMut) {
        buffer.clear();
        let mut buffers = self.buffers.lock();
        if buffers.len() < BUFFERS_KEPT && buffer.capacity() <= BUFFER_KEPT_MAX {
            buffers.push(buffer);
        }
    }

    /// Whether a stored message is durable only after a flush that its sender waits for.
    pub fn flushes_synchronously(&self) -> bool {
        self.config.flush_disk_type == FlushDiskType::Sync
    }
}

/// Whether there can be a record with this topic, and a folder.
fn is_storable(topic: &str) -> bool {
    is_topic(topic) && topic.len() <= record::TOPIC_MAX
}

/// Stamps the records, which follow each other from commit log offset `at` on, and returns the
/// offsets of all but the first.
fn stamp_all(records: &mut Records<'_>, queue_offset: i64, at: u64, now: i64) -> Vec<i64> {
    let mut more = Vec::new();
    let mut from = 0;
    for index in 0..records.count {
        let record = &mut records.bytes[from..];
        let size = record
            .first_chunk()
            .map_or(0, |size| u32::from_be_bytes(*size) as usize);
        let physical = (at + from as u64) as i64;
        if index > 0 {
            more.push(physical);
        }
        stamp(record, queue_offset + index as i64, physical, now);
        if let Some(record) = record.get_mut(..size) {
            property_crc::fill_in(record);
        }
        from += size;
    }
    more
}

fn illegal(error: EncodeError) -> PutMessageStatus {
    tracing::debug!(%error, "refusing a message");
    match error {
        EncodeError::PropertiesTooLong(_) => PutMessageStatus::PropertiesSizeExceeded,
        EncodeError::TopicTooLong(_) | EncodeError::BodyTooLong(_) => {
            PutMessageStatus::MessageIllegal
        }
    }
}
