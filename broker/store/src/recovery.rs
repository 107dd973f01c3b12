//! What opening a store does with what an earlier life has left (`CommitLog.recoverNormally`,
//! `recoverAbnormally`).
//!
//! The commit log is the truth. Its end is the first position that does not hold a valid record;
//! whatever stands behind is given up and overwritten with zeros, because a later life must not
//! find old records behind new ones. Then everything that is built from the log is cut to its end
//! and built again from where it may be incomplete:
//!
//! - after a clean stop from the newest record that any consume queue knows;
//! - after a crash from the start of the newest file whose first record is older than the
//!   checkpoint: what the consume queues have from there on is not believed.
//!
//! After a crash the part of the log behind the checkpoint is written once more, byte for byte: if a
//! flush failed in the life before, the disk may lack pages that the page cache has and holds for
//! clean.

use std::io;

use hotfire_env::{Disk, is_disk_full};

use crate::checkpoint::Checkpoint;
use crate::commit_log::{CommitLog, Entry, entry, store_timestamp};
use crate::dispatch::{Dispatcher, Progress};
use crate::index::Index;
use crate::mapped_files::{MappedFiles, Strays};
use crate::queues::Queues;
use crate::record_view::RecordView;
use crate::{StoreConfig, StoreError};

/// How many zeros in a row say that nothing stale is left behind the end of the log.
const ZERO_RUN: u64 = 16 << 20;

/// How much of the log is read again to build the index anew. Keys of older messages are not found
/// after a crash, as they are not with RocketMQ, which rebuilds from the scan's start only.
const REINDEX_MAX: u64 = 4 << 30;

/// What recovery needs to know.
pub(crate) struct Recovery<'a> {
    pub config: &'a StoreConfig,
    /// Whether the store was not closed.
    pub crashed: bool,
    pub checkpoint: Checkpoint,
    pub queues: &'a Queues,
    pub index: Option<&'a Index>,
    /// Where the index is to be built again from.
    pub index_from: Option<u64>,
}

/// A log that is fit for use.
pub(crate) struct Recovered {
    pub log: CommitLog,
    /// How far it was dispatched: not to the end if the disk is full.
    pub progress: Progress,
    /// When the last record was stored; 0 if none was seen.
    pub store_timestamp: i64,
    /// What was given up behind the end, in bytes.
    pub truncated_bytes: u64,
}

/// How far what is built from the log was built.
enum Built {
    Whole,
    /// The disk is full.
    UpTo(Progress),
}

/// What scanning the log found.
struct Scanned {
    end: u64,
    /// When the last record was stored; 0 if none was seen.
    store_timestamp: i64,
}

impl Recovery<'_> {
    /// Recovers the log and what is built from it.
    pub async fn run(&self, files: MappedFiles) -> Result<Recovered, StoreError> {
        let Some(first) = files.start() else {
            // Without a log the units point at nothing.
            self.queues.destroy().map_err(failed("remove"))?;
            if let Some(index) = self.index {
                index.destroy().map_err(failed("remove"))?;
            }
            return Ok(Recovered {
                log: CommitLog::new(files, 0, 0),
                progress: Progress::default(),
                store_timestamp: 0,
                truncated_bytes: 0,
            });
        };
        for queue in self.queues.all() {
            queue.recover(self.crashed).map_err(failed("recover"))?;
        }
        let from = self.scan_start(&files, first);
        let scanned = self.scan(&files, from).map_err(failed("recover"))?;
        let truncated_bytes = give_up_behind(&files, scanned.end)
            .await
            .map_err(failed("truncate"))?;
        if truncated_bytes > 0 {
            tracing::warn!(
                end = scanned.end,
                truncated_bytes,
                "giving up the end of the commit log"
            );
        }
        let flushed = if self.crashed {
            from.min(scanned.end)
        } else {
            scanned.end
        };
        let log = CommitLog::new(files, scanned.end, flushed);
        let mut progress = Progress {
            position: scanned.end,
            store_timestamp: scanned.store_timestamp,
        };
        match self.build(&log, from).map_err(failed("rebuild"))? {
            Built::Whole => {}
            Built::UpTo(reached) => progress = reached,
        }
        if let Some(index) = self.index.filter(|_| self.crashed) {
            index.sync_dirs().await.map_err(failed("sync"))?;
        }
        Ok(Recovered {
            log,
            progress,
            store_timestamp: scanned.store_timestamp,
            truncated_bytes,
        })
    }

    /// Where the scan begins: the start of a file.
    fn scan_start(&self, files: &MappedFiles, first: u64) -> u64 {
        let all = files.all();
        if self.crashed {
            let safe_before = self.checkpoint.safe_before();
            return all
                .iter()
                .rev()
                .map(|file| file.start)
                .find(|&start| {
                    store_timestamp(files, start).is_some_and(|at| at > 0 && at <= safe_before)
                })
                .unwrap_or(first);
        }
        let third_last = all.len().saturating_sub(3);
        let usual = all.get(third_last).map_or(first, |file| file.start);
        files
            .find(self.indexed_to())
            .map_or(usual, |file| file.start.min(usual))
            .max(first)
    }

    /// The commit log offset behind the newest record in any consume queue.
    fn indexed_to(&self) -> u64 {
        let queues = self.queues.all();
        let newest = queues.iter().map(|queue| queue.indexed_to()).max();
        newest.map_or(0, |offset| u64::try_from(offset).unwrap_or(0))
    }

    /// Checks the records from `from` on and finds the first position that holds none.
    fn scan(&self, files: &MappedFiles, from: u64) -> io::Result<Scanned> {
        let mut scanned = Scanned {
            end: from,
            store_timestamp: 0,
        };
        let doubtful_since = self.checkpoint.durable_before();
        loop {
            match entry(files, scanned.end) {
                Entry::Record(size) => {
                    let Some(bytes) = files.slice(scanned.end, size) else {
                        return Ok(scanned);
                    };
                    let Some(record) = self.valid(&bytes, scanned.end) else {
                        return Ok(scanned);
                    };
                    let doubtful = self.crashed && record.store_timestamp >= doubtful_since;
                    if doubtful && is_torn(&record, scanned.end % files.file_size()) {
                        tracing::warn!(
                            offset = scanned.end,
                            "the commit log ends at a torn record"
                        );
                        return Ok(scanned);
                    }
                    scanned.store_timestamp = record.store_timestamp;
                    if doubtful {
                        let copy = bytes.to_vec();
                        drop(bytes);
                        files.write(scanned.end, &copy)?;
                    }
                    scanned.end += size;
                }
                Entry::Blank(next) => {
                    if self.crashed {
                        let mut filler = [0; 8];
                        files.read_into(scanned.end, &mut filler)?;
                        files.write(scanned.end, &filler)?;
                    }
                    scanned.end = next;
                }
                Entry::Nothing => return Ok(scanned),
            }
        }
    }

    fn valid<'b>(&self, bytes: &'b [u8], offset: u64) -> Option<RecordView<'b>> {
        let record = match RecordView::parse(bytes) {
            Ok(record) => record,
            Err(error) => {
                tracing::warn!(offset, %error, "the commit log ends at an invalid record");
                return None;
            }
        };
        if record.physical_offset != offset as i64 {
            tracing::warn!(
                offset,
                states = record.physical_offset,
                "the commit log ends at a record that belongs elsewhere"
            );
            return None;
        }
        if self.config.check_crc_on_recover && !record.checksum_holds() {
            tracing::warn!(
                offset,
                "the commit log ends at a record with a wrong checksum"
            );
            return None;
        }
        Some(record)
    }

    /// Cuts the consume queues and the index to the log and dispatches what they may lack.
    fn build(&self, log: &CommitLog, scanned_from: u64) -> io::Result<Built> {
        let (start, end) = (log.start(), log.end());
        // After a crash whatever the checkpoint does not vouch for is written anew: it may be what a
        // life before the last had given up.
        let keep = if self.crashed { scanned_from } else { end };
        for queue in self.queues.all() {
            queue.truncate_log(keep as i64)?;
        }
        let from = if self.crashed {
            scanned_from
        } else {
            self.indexed_to()
        };
        let cut = match self.index {
            Some(index) => index.truncate_log(end as i64)?,
            None => None,
        };
        let index_from = cut.into_iter().chain(self.index_from).min();
        let from = index_from.map_or(from, |index_from| {
            from.min(index_from.max(end.saturating_sub(REINDEX_MAX)))
        });
        let from = from.max(start);
        let (mut built, found_gap) = self.dispatch(log, from)?;
        if found_gap && from > start && matches!(built, Built::Whole) {
            tracing::warn!("a consume queue has a gap: dispatching the whole commit log again");
            (built, _) = self.dispatch(log, start)?;
        }
        for queue in self.queues.all() {
            queue.correct_min(start as i64);
            queue.set_assigned(queue.max_offset());
        }
        Ok(built)
    }

    /// Dispatches from an offset to the end, or to where the disk is full; true if a queue lacks
    /// records from before.
    fn dispatch(&self, log: &CommitLog, from: u64) -> io::Result<(Built, bool)> {
        let mut progress = Progress {
            position: from,
            ..Progress::default()
        };
        let mut found_gap = false;
        let mut run = |progress: &mut Progress, index| {
            let dispatcher = Dispatcher {
                log,
                queues: self.queues,
                index,
                delay_levels: &self.config.delay_levels,
                refresh: true,
                skips_index: false,
            };
            dispatcher.run(progress, log.end(), &[], &mut |arrived| {
                found_gap |= arrived.behind_gap;
            })
        };
        let is_full = |result: &io::Result<()>| result.as_ref().is_err_and(is_disk_full);
        let whole = run(&mut progress, self.index);
        if !is_full(&whole) {
            whole?;
            return Ok((Built::Whole, found_gap));
        }
        let reached = progress;
        tracing::error!(
            position = reached.position,
            "the disk is full: what is behind is dispatched when there is space"
        );
        // An index file needs more room than the units, whose place the queues often have.
        let queues = run(&mut progress, None);
        if !is_full(&queues) {
            queues?;
        }
        Ok((Built::UpTo(reached), found_gap))
    }
}

/// Whether a sector of topic or properties, which no checksum covers, was never written: a power loss
/// may keep some sectors of a record and leave zeros in place of others. What stands before them is
/// covered by the checksum or by lengths that would not fit. A record that looks like that is
/// refused when it is put.
pub(crate) fn is_torn(record: &RecordView<'_>, at_in_file: u64) -> bool {
    let behind = at_in_file + record.size as u64;
    let properties_at = behind - record.properties.len() as u64;
    let topic_at = properties_at - 2 - record.topic.len() as u64;
    lacks_sector(record.topic.as_bytes(), topic_at)
        || lacks_sector(record.properties, properties_at)
}

/// Whether all bytes that lie in one sector are zeros. Text has none.
fn lacks_sector(bytes: &[u8], at: u64) -> bool {
    const SECTOR: u64 = 512;
    let in_first = (SECTOR - at % SECTOR).min(bytes.len() as u64);
    let (first, rest) = bytes.split_at(in_first as usize);
    std::iter::once(first)
        .chain(rest.chunks(SECTOR as usize))
        .any(|part| !part.is_empty() && part.iter().all(|&byte| byte == 0))
}

/// Removes the files behind `end` and zeros the rest of its file, and makes both durable: what was
/// given up must not come back with the next power loss, behind what is written here now. Returns the bytes that were not zero, as far as they reach.
async fn give_up_behind(files: &MappedFiles, end: u64) -> io::Result<u64> {
    let next_file = end.next_multiple_of(files.file_size());
    let mut given_up = 0;
    for file in files.all().into_iter().rev() {
        if file.start >= next_file {
            given_up += files.zero_behind(file.start, ZERO_RUN)?;
        }
    }
    files.remove_from(next_file)?;
    files.sync_dirs().await?;
    let stale = files.zero_behind(end, ZERO_RUN)?;
    files.flush(end, end + stale).await?;
    Ok(given_up + stale)
}

/// Deals with commit log files behind a missing one: after a crash their creation outlived that of
/// the one before, and they are given up; otherwise somebody has removed a file, and opening would
/// lose what they hold.
pub(crate) fn handle_strays(
    disk: &dyn Disk,
    config: &StoreConfig,
    strays: &Strays,
    crashed: bool,
) -> Result<(), StoreError> {
    if !crashed && !strays.paths.is_empty() {
        return Err(StoreError::MissingFile {
            dir: config.path("commitlog"),
            missing: strays.missing,
        });
    }
    for (path, _) in strays.paths.iter().rev() {
        tracing::warn!(path, "giving up a commit log file behind a missing one");
        disk.remove(path)
            .map_err(StoreError::io("remove", &**path))?;
    }
    Ok(())
}

fn failed(action: &'static str) -> impl Fn(io::Error) -> StoreError {
    move |source| StoreError::Io {
        action,
        path: "the store's logs".to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_lacks_a_sector_if_only_zeros_stand_in_it() {
        let mut text = vec![b'x'; 1024];
        assert!(!lacks_sector(&text, 100));
        text[412..].fill(0);
        assert!(lacks_sector(&text, 100));
        text[412..].fill(b'x');
        text[500..600].fill(0);
        assert!(!lacks_sector(&text, 100), "a sender may use zeros");
        assert!(!lacks_sector(&[], 0));
    }
}
