//! What opening a store does with what an earlier life has left (`CommitLog.recoverNormally`,
//! `recoverAbnormally`).
//!
//! The commit log is the truth. What cannot be read and has valid records behind it is a *hole*: it
//! is set aside, counted, and a filler record stands in its place (see [`crate::hole`]). Behind the
//! last valid record is the end: whatever stands there is set aside, too, and overwritten with zeros,
//! because a later life must not find old records behind new ones. Then everything that is built
//! from the log is cut to its end and built again from where it may be incomplete:
//!
//! - after a clean stop from the newest record that any consume queue knows;
//! - after a crash from the start of the newest file whose first record is older than the
//!   checkpoint: what the consume queues have from there on is not believed.
//!
//! While the machine did not lose power, the page cache has whatever was written: a record that a
//! consume queue knows was there, and the log does not end before it. After a power loss the disk may
//! lack any sector that no flush had vouched for. There the log ends where the first is missing: a
//! prefix of what was stored is kept, as with RocketMQ.
//!
//! After a crash the part of the log behind the checkpoint is written once more, byte for byte: if a
//! flush failed in the life before, the disk may lack pages that the page cache has and holds for
//! clean.

use std::io;

use hotfire_env::is_disk_full;
use hotfire_protocol::date::Civil;

use crate::checkpoint::Checkpoint;
use crate::commit_log::{CommitLog, Entry, entry, store_timestamp};
use crate::consume_queue::ConsumeQueue;
use crate::damage::Damage;
use crate::dispatch::{Dispatcher, Progress};
use crate::hole;
use crate::index::Index;
use crate::mapped_files::{MappedFiles, Strays};
use crate::property_crc;
use crate::queue_facts::{QueueFact, QueueFacts};
use crate::queues::Queues;
use crate::record_view::RecordView;
use crate::repair::is_right;
use crate::resync::{RECORD_MIN, next_entry};
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
    /// Whether the machine may have lost power since the store was used.
    pub lost_power: bool,
    pub damage: &'a Damage,
    /// What was known of the consume queues when the store was closed last.
    pub facts: &'a QueueFacts,
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
    /// The ranges that cannot be read, ascending.
    holes: Vec<(u64, u64)>,
}

impl Recovery<'_> {
    /// Recovers the log and what is built from it.
    pub async fn run(&self, files: MappedFiles) -> Result<Recovered, StoreError> {
        let Some(first) = files.start() else {
            return self.begin(files);
        };
        for queue in self.queues.all() {
            queue.recover(self.crashed).map_err(failed("recover"))?;
        }
        let from = self.scan_start(&files, first);
        let scanned = self.scan(&files, from).await.map_err(failed("recover"))?;
        let truncated_bytes = self
            .give_up_behind(&files, scanned.end)
            .await
            .map_err(failed("truncate"))?;
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
        let built = self.build(&log, from, &scanned.holes);
        match built.map_err(failed("rebuild"))? {
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

    /// Begins an empty log, unless there must have been one.
    fn begin(&self, files: MappedFiles) -> Result<Recovered, StoreError> {
        let mut queues = 0;
        for queue in self.queues.all() {
            queue.recover(false).map_err(failed("recover"))?;
            queues += usize::from(queue.indexed_to() > 0);
        }
        let vouched = self.checkpoint.physic_msg_timestamp;
        let missing = |evidence, remove: &str| StoreError::MissingLog {
            dir: self.config.path("commitlog"),
            evidence,
            remove: self.config.path(remove),
        };
        if vouched > 0 {
            let stored = Civil::of(vouched);
            let evidence = format!(
                "the checkpoint says that messages up to {:04}-{:02}-{:02} {:02}:{:02}:{:02} UTC \
                 are on the disk",
                stored.year, stored.month, stored.day, stored.hour, stored.minute, stored.second
            );
            return Err(missing(evidence, "checkpoint"));
        }
        // Only a power loss can take a young log and leave what was built from it.
        if queues > 0 && !self.lost_power {
            let evidence = format!("there are {queues} consume queues with messages");
            return Err(missing(evidence, "consumequeue"));
        }
        if queues > 0 {
            tracing::warn!(
                queues,
                "a power loss took the commit log before any of it was flushed: the consume queues \
                 go with it"
            );
        }
        // Without a log the units point at nothing.
        self.queues.destroy().map_err(failed("remove"))?;
        if let Some(index) = self.index {
            index.destroy().map_err(failed("remove"))?;
        }
        Ok(Recovered {
            log: CommitLog::new(files, 0, 0),
            progress: Progress::default(),
            store_timestamp: 0,
            truncated_bytes: 0,
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

    /// The commit log offset behind the newest record that a consume queue knows, of those that end
    /// at or before an offset: units behind the files of the log are no units.
    fn indexed_below(&self, limit: u64) -> u64 {
        let queues = self.queues.all();
        let ends = queues
            .iter()
            .filter_map(|queue| u64::try_from(queue.indexed_to()).ok());
        ends.filter(|&end| end <= limit).max().unwrap_or(0)
    }

    /// The commit log offset behind the newest record in any consume queue.
    fn indexed_to(&self) -> u64 {
        let queues = self.queues.all();
        let newest = queues.iter().map(|queue| queue.indexed_to()).max();
        newest.map_or(0, |offset| u64::try_from(offset).unwrap_or(0))
    }

    /// Checks the records from `from` on, makes holes of what cannot be read, and finds the end.
    async fn scan(&self, files: &MappedFiles, from: u64) -> io::Result<Scanned> {
        let mut scanned = Scanned {
            end: from,
            store_timestamp: 0,
            holes: Vec::new(),
        };
        let files_end = files.last().map_or(from, |last| last.end());
        // The page cache has what any process wrote, and units are written behind their records.
        let proven = if self.lost_power {
            0
        } else {
            let dispatched = self.facts.dispatched;
            let closed = if dispatched <= files_end {
                dispatched
            } else {
                0
            };
            self.indexed_below(files_end).max(closed)
        };
        while scanned.end < files_end {
            let at = scanned.end;
            let Err(reason) = self.look(files, &mut scanned)? else {
                continue;
            };
            let next = match next_entry(files, at, proven)? {
                Some(next) if self.ends_at(files, at, next)? => break,
                Some(next) => next,
                None if proven > at => {
                    let next = proven.max(at + RECORD_MIN);
                    let in_file = files.find(next).map_or(0, |file| file.end() - next);
                    if in_file < RECORD_MIN {
                        next.next_multiple_of(files.file_size())
                    } else {
                        next
                    }
                }
                None => break,
            };
            self.make_hole(files, (at, next), reason, scanned.store_timestamp)
                .await?;
            match scanned.holes.last_mut() {
                Some(last) if last.1 == at => last.1 = next,
                _ => scanned.holes.push((at, next)),
            }
            scanned.end = next;
        }
        Ok(scanned)
    }

    /// Looks at what stands at the end of what has been scanned, and moves that on behind it, or
    /// returns why there is no record.
    fn look(
        &self,
        files: &MappedFiles,
        scanned: &mut Scanned,
    ) -> io::Result<Result<(), &'static str>> {
        let at = scanned.end;
        let doubtful_since = self.checkpoint.durable_before();
        match entry(files, at) {
            Entry::Record(size) => {
                let Some(bytes) = files.slice(at, size) else {
                    return Ok(Err("it cannot be read"));
                };
                let record = match self.valid(&bytes, at) {
                    Ok(record) => record,
                    Err(reason) => return Ok(Err(reason)),
                };
                let doubtful = self.crashed && record.store_timestamp >= doubtful_since;
                if doubtful && self.lost_power && is_torn(&bytes, &record, at % files.file_size()) {
                    return Ok(Err("a record is torn"));
                }
                scanned.store_timestamp = record.store_timestamp;
                if doubtful {
                    let copy = bytes.to_vec();
                    drop(bytes);
                    files.write(at, &copy)?;
                }
                scanned.end += size;
            }
            Entry::Blank(next) => {
                if self.crashed {
                    let mut filler = [0; 8];
                    files.read_into(at, &mut filler)?;
                    files.write(at, &filler)?;
                }
                scanned.end = next;
            }
            Entry::Nothing => return Ok(Err("there is no record")),
        }
        Ok(Ok(()))
    }

    fn valid<'b>(&self, bytes: &'b [u8], offset: u64) -> Result<RecordView<'b>, &'static str> {
        let record = RecordView::parse(bytes).map_err(|_| "a record is not whole")?;
        if record.physical_offset != offset as i64 {
            return Err("a record belongs elsewhere");
        }
        if self.config.check_crc_on_recover && !record.checksum_holds() {
            return Err("a record has a wrong checksum");
        }
        Ok(record)
    }

    /// Whether the log ends at what cannot be read although there is a record at `next`: after a
    /// power loss, if sectors are missing that no flush had vouched for.
    fn ends_at(&self, files: &MappedFiles, at: u64, next: u64) -> io::Result<bool> {
        if !self.lost_power {
            return Ok(false);
        }
        let stored = store_timestamp(files, next);
        let doubtful = stored.is_none_or(|stored| stored >= self.checkpoint.durable_before());
        Ok(doubtful && lacks_any_sector(files, at, next)?)
    }

    /// Sets a range that cannot be read aside and puts a filler in its place.
    async fn make_hole(
        &self,
        files: &MappedFiles,
        (from, to): (u64, u64),
        reason: &str,
        stored: i64,
    ) -> io::Result<()> {
        let told = self.damage.set_aside(files, "commitlog", from, to).await;
        tracing::error!(
            from,
            to,
            reason,
            "a part of the commit log cannot be read: {told}, and the log goes on behind it"
        );
        self.damage.count(|counts| {
            counts.log_holes += 1;
            counts.log_hole_bytes += to - from;
        });
        let stored = match stored {
            0 => store_timestamp(files, to).unwrap_or(1),
            stored => stored,
        };
        hole::fill(files, from, to, stored.max(1))?;
        files.flush(from, to).await
    }

    /// Sets aside what stands behind `end`, removes the files behind it and zeros the rest of its
    /// own, and makes that durable: what was given up must not come back with the next power loss,
    /// behind what is written here now. Returns how many bytes that were, up to the last that was
    /// not zero in each file.
    async fn give_up_behind(&self, files: &MappedFiles, end: u64) -> io::Result<u64> {
        let reach = reach_behind(files, end)?;
        if reach > end {
            let told = self.damage.set_aside(files, "commitlog", end, reach).await;
            tracing::warn!(
                end,
                bytes = reach - end,
                "the commit log ends before what stands in its files: {told}"
            );
        }
        let given_up = give_up_behind(files, end).await?;
        self.damage.count(|counts| counts.log_cut_bytes += given_up);
        Ok(given_up)
    }

    /// Cuts the consume queues and the index to the log and dispatches what they may lack.
    fn build(&self, log: &CommitLog, scanned_from: u64, holes: &[(u64, u64)]) -> io::Result<Built> {
        let (start, end) = (log.start(), log.end());
        // After a crash whatever the checkpoint does not vouch for is written anew: it may be what a
        // life before the last had given up.
        let keep = if self.crashed { scanned_from } else { end };
        // Offsets that were given out stay given out, also where the message is lost.
        let mut given_out = Vec::new();
        for queue in self.queues.all() {
            if !holes.is_empty() || queue.ends_in_hole() {
                let next = queue.offset_behind(end as i64);
                given_out.push((queue.clone(), next));
            }
            queue.truncate_log(keep as i64)?;
            if !holes.is_empty() {
                let lost = queue.mark_lost(holes)?;
                self.damage.count(|counts| counts.lost_messages += lost);
            }
        }
        // Where nothing is known of the queues, what was scanned anyway is looked for in them.
        let from = if self.crashed || self.facts.dispatched == 0 {
            scanned_from
        } else {
            self.indexed_to().max(self.facts.dispatched)
        };
        let cut = match self.index {
            Some(index) => index.truncate_log(end as i64)?,
            None => None,
        };
        let index_from = cut.into_iter().chain(self.index_from).min();
        let from = index_from.map_or(from, |index_from| {
            from.min(index_from.max(end.saturating_sub(REINDEX_MAX)))
        });
        // What was scanned anyway is compared with the index: it may have lost its newest file.
        let index_end = self.index.map_or(from, |index| {
            let newest = index.end();
            let behind = match log.entry(newest) {
                Entry::Record(size) => newest + size,
                _ => newest,
            };
            behind.max(scanned_from)
        });
        let from = from.min(index_end);
        let from = from.min(self.give_up_doubtful(log)?);
        let from = from.max(start);
        let (mut built, found_gap) = self.dispatch(log, from)?;
        if found_gap && from > start && matches!(built, Built::Whole) {
            tracing::warn!("a consume queue has a gap: dispatching the whole commit log again");
            (built, _) = self.dispatch(log, start)?;
        }
        if matches!(built, Built::UpTo(_)) {
            // What is given out is known when the rest is dispatched.
            given_out.clear();
        }
        for ((topic, id), fact) in &self.facts.queues {
            if let (Built::Whole, Some(queue)) = (&built, self.queues.get(topic, *id)) {
                given_out.push((queue, fact.max));
            }
        }
        for (queue, next) in given_out {
            let lost = queue.reserve(next, end as i64)?;
            self.damage.count(|counts| counts.lost_messages += lost);
        }
        for queue in self.queues.all() {
            queue.correct_min(start as i64);
            queue.set_assigned(queue.max_offset());
        }
        Ok(built)
    }

    /// Looks at the ends of every consume queue, and gives up what the log contradicts. Returns the
    /// commit log offset from which the queues are to be built again.
    fn give_up_doubtful(&self, log: &CommitLog) -> io::Result<u64> {
        for (topic, id) in self.facts.queues.keys() {
            self.queues.get_or_create(topic, *id);
        }
        let mut from = u64::MAX;
        for queue in self.queues.all() {
            let fact = self
                .facts
                .queues
                .get(&(queue.topic.to_string(), queue.queue_id));
            let Some((offset, reason)) = doubt(log, &queue, fact) else {
                continue;
            };
            queue.give_up_from(offset)?;
            tracing::warn!(
                topic = %queue.topic,
                queue = queue.queue_id,
                offset,
                reason,
                "building a consume queue again from the commit log"
            );
            self.damage.count(|counts| counts.rebuilt_queues += 1);
            from = from.min(u64::try_from(queue.indexed_to()).unwrap_or(0));
        }
        Ok(from)
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
                damage: self.damage,
                delay_levels: &self.config.delay_levels,
                refresh: true,
                rewrites: self.crashed,
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

/// The queue offset from which on a consume queue cannot be right, and why.
fn doubt(
    log: &CommitLog,
    queue: &ConsumeQueue,
    fact: Option<&QueueFact>,
) -> Option<(i64, &'static str)> {
    let max = queue.max_offset();
    let Some(first) = queue.first_in_files() else {
        return fact.map(|_| (0, "its files are missing"));
    };
    if fact.is_some_and(|fact| fact.first < first) {
        return Some((0, "its first file is missing"));
    }
    if let Some(gap) = queue.gap() {
        return Some((gap, "a file is missing or cut off"));
    }
    let is_right = |offset: i64| {
        let unit = queue.unit_in_files(offset);
        unit.is_some_and(|unit| is_right(log, queue, offset, &unit))
    };
    if let Some(&wrong) = queue.samples().iter().find(|&&offset| !is_right(offset)) {
        // What is right before it is looked for in ever larger steps.
        let mut back = 1;
        while wrong - back >= first && !is_right(wrong - back) {
            back *= 2;
        }
        let behind = (wrong - back + 1).max(first);
        return Some((behind, "a unit does not lead to its message"));
    }
    if queue.has_files_behind_end() {
        return Some((max, "it has a part that was never written"));
    }
    if fact.is_some_and(|fact| fact.max > max) {
        return Some((max, "it ends too early"));
    }
    None
}

/// Whether a sector of topic or properties, which no checksum covers, was never written: a power loss
/// may keep some sectors of a record and leave zeros in place of others. What stands before them is
/// covered by the checksum or by lengths that would not fit. A record whose sender put zeros among the
/// properties has a checksum of all of it.
fn is_torn(bytes: &[u8], record: &RecordView<'_>, at_in_file: u64) -> bool {
    if let Some(holds) = property_crc::holds(bytes, record.properties) {
        return !holds;
    }
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

/// Whether a sector of a range, or the part of it that lies in the range, is missing: it holds
/// nothing but zeros.
fn lacks_any_sector(files: &MappedFiles, from: u64, to: u64) -> io::Result<bool> {
    const SECTOR: u64 = 512;
    let mut sector = [0; SECTOR as usize];
    let mut at = from;
    while at < to {
        let end = (at / SECTOR + 1).saturating_mul(SECTOR).min(to);
        let Some(file) = files.find(at) else {
            return Ok(false);
        };
        let end = end.min(file.end());
        let part = &mut sector[..(end - at) as usize];
        files.read_into(at, part)?;
        if part.iter().all(|&byte| byte == 0) {
            return Ok(true);
        }
        at = end;
    }
    Ok(false)
}

/// The position behind the last byte behind `end` that is not zero, as far as one is looked for.
fn reach_behind(files: &MappedFiles, end: u64) -> io::Result<u64> {
    let mut reach = end;
    let zeros = vec![0; 64 << 10];
    let mut chunk = zeros.clone();
    for file in files.all() {
        let (mut at, mut zero_run) = (file.start.max(end), 0);
        while at < file.end() && zero_run < ZERO_RUN {
            let len = (file.end() - at).min(chunk.len() as u64);
            let part = &mut chunk[..len as usize];
            files.read_into(at, part)?;
            zero_run += len;
            if part[..] != zeros[..part.len()]
                && let Some(last) = part.iter().rposition(|&byte| byte != 0)
            {
                reach = at + last as u64 + 1;
                zero_run = at + len - reach;
            }
            at += len;
        }
    }
    Ok(reach)
}

/// Removes the files behind `end` and zeros the rest of its file, durably. Returns the bytes that
/// were not zero, as far as they reach.
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

/// Refuses commit log files behind a missing one: none was ever created before the one in front of
/// it was there for good, so somebody has removed that, and opening would lose what they hold.
pub(crate) fn refuse_strays(config: &StoreConfig, strays: &Strays) -> Result<(), StoreError> {
    if strays.paths.is_empty() {
        return Ok(());
    }
    Err(StoreError::MissingFile {
        dir: config.path("commitlog"),
        missing: strays.missing,
    })
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
