use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

/// What a kernel decides about: a page of the page cache.
pub const PAGE: u64 = 4096;

/// What a device writes in one piece; a page can be torn between two of them.
pub const SECTOR: u64 = 512;

const CHUNK: u64 = 64 * 1024;
const PAGES_OF_CHUNK: u64 = CHUNK / PAGE;

type Page = Box<[u8; PAGE as usize]>;

/// The content of one file: what processes see, and for every page that differs from it what the
/// platter holds. Memory is taken for what was written only.
#[derive(Default)]
pub(crate) struct Image {
    len: u64,
    chunks: Vec<Option<Chunk>>,
    /// Pages whose durable content is another than the live one: here is the durable content, `None`
    /// for zeros.
    unsaved: BTreeMap<u64, Option<Page>>,
    /// The durable content from before the file was overwritten as a whole.
    replaced: Option<Vec<u8>>,
    dirty_pages: u64,
    /// Since when there have been dirty pages.
    dirty_since: Option<Duration>,
    flushes: Vec<Flush>,
    next_flush: u64,
}

struct Chunk {
    data: Box<[u8; CHUNK as usize]>,
    /// Pages that were ever written, one bit each.
    written: u16,
    /// Pages that the kernel will write back. An unsaved page that is not dirty was lost to a flush
    /// that failed.
    dirty: u16,
}

/// A flush that is under way.
struct Flush {
    id: u64,
    range: Range<u64>,
    /// Pages that were written to since it began.
    touched: Vec<u64>,
}

/// What a power loss did to a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    /// Pages that had not been flushed but survived.
    pub survived: u64,
    /// Pages that went back to what they were when they were last flushed.
    pub lost: u64,
    /// Pages of which some sectors survived.
    pub torn: u64,
}

impl Chunk {
    fn new() -> Self {
        Self {
            data: Box::new([0; CHUNK as usize]),
            written: 0,
            dirty: 0,
        }
    }

    fn page(&self, page: u64) -> &[u8] {
        let at = ((page % PAGES_OF_CHUNK) * PAGE) as usize;
        &self.data[at..at + PAGE as usize]
    }

    fn page_mut(&mut self, page: u64) -> &mut [u8] {
        let at = ((page % PAGES_OF_CHUNK) * PAGE) as usize;
        &mut self.data[at..at + PAGE as usize]
    }
}

fn bit(page: u64) -> u16 {
    1 << (page % PAGES_OF_CHUNK)
}

fn pages(range: &Range<u64>) -> Range<u64> {
    if range.is_empty() {
        return 0..0;
    }
    range.start / PAGE..range.end.div_ceil(PAGE)
}

fn copy_of(page: &[u8]) -> Page {
    let mut copy = Box::new([0; PAGE as usize]);
    copy.copy_from_slice(page);
    copy
}

impl Image {
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes of the device that the file occupies.
    pub(crate) fn allocated(&self) -> u64 {
        self.chunks.iter().flatten().count() as u64 * CHUNK
    }

    /// What a write would add to [`Image::allocated`].
    pub(crate) fn missing(&self, at: u64, len: usize) -> u64 {
        let end = at + len as u64;
        let chunks = at / CHUNK..end.div_ceil(CHUNK);
        let is_missing = |index: &u64| !matches!(self.chunks.get(*index as usize), Some(Some(_)));
        chunks.filter(is_missing).count() as u64 * CHUNK
    }

    /// Whether the file was overwritten as a whole and that is not durable yet.
    pub(crate) fn is_replaced(&self) -> bool {
        self.replaced.is_some()
    }

    pub(crate) fn dirty_since(&self) -> Option<Duration> {
        self.dirty_since
    }

    /// Bytes in dirty pages of a range.
    pub(crate) fn dirty_bytes(&self, range: &Range<u64>) -> u64 {
        let mut dirty = 0;
        self.for_dirty(range, |_| dirty += PAGE);
        dirty
    }

    pub(crate) fn read(&self, at: u64, target: &mut [u8]) {
        let mut done = 0;
        while done < target.len() {
            let position = at + done as u64;
            let within = (position % CHUNK) as usize;
            let len = (CHUNK as usize - within).min(target.len() - done);
            let part = &mut target[done..done + len];
            match self.chunks.get((position / CHUNK) as usize) {
                Some(Some(chunk)) => part.copy_from_slice(&chunk.data[within..within + len]),
                _ => part.fill(0),
            }
            done += len;
        }
    }

    /// The first range at or behind `at` that takes space, or none.
    pub(crate) fn data_from(&self, at: u64) -> Option<Range<u64>> {
        let chunks = self.chunks.get((at / CHUNK) as usize..)?;
        let first = at / CHUNK + chunks.iter().position(Option::is_some)? as u64;
        let count = self.chunks[first as usize..]
            .iter()
            .take_while(|chunk| chunk.is_some());
        let end = (first + count.count() as u64) * CHUNK;
        let range = at.max(first * CHUNK)..end.min(self.len);
        (!range.is_empty()).then_some(range)
    }

    pub(crate) fn write(&mut self, at: u64, data: &[u8], now: Duration) {
        let mut done = 0;
        while done < data.len() {
            let position = at + done as u64;
            let within = (position % PAGE) as usize;
            let len = (PAGE as usize - within).min(data.len() - done);
            let page = position / PAGE;
            self.touch(page);
            let chunk = self.chunk_mut(page);
            chunk.page_mut(page)[within..within + len].copy_from_slice(&data[done..done + len]);
            done += len;
        }
        if !data.is_empty() {
            self.dirty_since.get_or_insert(now);
        }
    }

    /// Makes a page dirty, keeping what is durable of it.
    fn touch(&mut self, page: u64) {
        let chunk = self.chunk_mut(page);
        if chunk.dirty & bit(page) == 0 {
            let durable = (chunk.written & bit(page) != 0).then(|| copy_of(chunk.page(page)));
            chunk.dirty |= bit(page);
            chunk.written |= bit(page);
            self.unsaved.entry(page).or_insert(durable);
            self.dirty_pages += 1;
        }
        for flush in &mut self.flushes {
            if pages(&flush.range).contains(&page) && flush.touched.last() != Some(&page) {
                flush.touched.push(page);
            }
        }
    }

    fn chunk_mut(&mut self, page: u64) -> &mut Chunk {
        let index = (page / PAGES_OF_CHUNK) as usize;
        if self.chunks.len() <= index {
            self.chunks.resize_with(index + 1, || None);
        }
        self.chunks[index].get_or_insert_with(Chunk::new)
    }

    fn chunk_of(&self, page: u64) -> Option<&Chunk> {
        self.chunks.get((page / PAGES_OF_CHUNK) as usize)?.as_ref()
    }

    fn for_dirty(&self, range: &Range<u64>, mut f: impl FnMut(u64)) {
        let range = pages(range);
        let mut page = range.start;
        while page < range.end {
            let Some(rest) = self.chunks.get((page / PAGES_OF_CHUNK) as usize..) else {
                return;
            };
            match rest.first() {
                None => return,
                Some(Some(chunk)) if chunk.dirty != 0 => {
                    if chunk.dirty & bit(page) != 0 {
                        f(page);
                    }
                    page += 1;
                }
                Some(_) => page = (page / PAGES_OF_CHUNK + 1) * PAGES_OF_CHUNK,
            }
        }
    }

    /// Begins to flush a range; what is written from now on is not part of it.
    pub(crate) fn begin_flush(&mut self, range: Range<u64>) -> u64 {
        self.next_flush += 1;
        self.flushes.push(Flush {
            id: self.next_flush,
            range,
            touched: Vec::new(),
        });
        self.next_flush
    }

    /// A flush came to nothing: its pages stay dirty.
    pub(crate) fn abandon_flush(&mut self, id: u64) {
        self.flushes.retain(|flush| flush.id != id);
    }

    /// A flush is complete, or has failed. After a failure its pages count as clean although they
    /// are not on the platter, as on Linux: a second flush does not bring them there.
    pub(crate) fn end_flush(&mut self, id: u64, failed: bool) {
        let Some(index) = self.flushes.iter().position(|flush| flush.id == id) else {
            return;
        };
        let Flush { range, touched, .. } = self.flushes.remove(index);
        let mut dirty = Vec::new();
        self.for_dirty(&range, |page| dirty.push(page));
        for page in dirty {
            if !failed && touched.contains(&page) {
                self.save_part(page, &range);
            } else {
                self.clean(page, failed);
            }
        }
        if !failed {
            self.replaced = None;
        }
        if self.dirty_pages == 0 {
            self.dirty_since = None;
        }
    }

    fn clean(&mut self, page: u64, lost: bool) {
        self.chunk_mut(page).dirty &= !bit(page);
        self.dirty_pages -= 1;
        if !lost {
            self.unsaved.remove(&page);
        }
    }

    /// Saves the part of a page that is within a range; the page stays dirty.
    fn save_part(&mut self, page: u64, range: &Range<u64>) {
        let start = page * PAGE;
        let from = range.start.saturating_sub(start).min(PAGE) as usize;
        let to = range.end.saturating_sub(start).min(PAGE) as usize;
        let live = copy_of(self.chunk_mut(page).page(page));
        let durable = self.unsaved.entry(page).or_default();
        durable.get_or_insert_with(|| Box::new([0; PAGE as usize]))[from..to]
            .copy_from_slice(&live[from..to]);
    }

    /// The kernel writes everything back by itself.
    pub(crate) fn write_back(&mut self) {
        let id = self.begin_flush(0..self.len);
        self.end_flush(id, false);
    }

    /// Cuts or extends the file; extended parts are zeros. Durable at once: file systems journal it.
    pub(crate) fn set_len(&mut self, len: u64) {
        if len < self.len {
            for page in pages(&(len..self.len)) {
                let cut = len.saturating_sub(page * PAGE).min(PAGE) as usize;
                self.zero(page, cut);
            }
            self.chunks.truncate(len.div_ceil(CHUNK) as usize);
            let gone = self.unsaved.split_off(&len.div_ceil(PAGE));
            self.dirty_pages = self.count_dirty();
            drop(gone);
        }
        self.len = len;
    }

    fn count_dirty(&self) -> u64 {
        let chunks = self.chunks.iter().flatten();
        chunks
            .map(|chunk| u64::from(chunk.dirty.count_ones()))
            .sum()
    }

    fn zero(&mut self, page: u64, from: usize) {
        if self.chunk_of(page).is_some() {
            let chunk = self.chunk_mut(page);
            chunk.page_mut(page)[from..].fill(0);
            if from == 0 {
                // The page is gone; one that comes in its place later has nothing of it.
                chunk.dirty &= !bit(page);
                chunk.written &= !bit(page);
            }
        }
        if let Some(Some(durable)) = self.unsaved.get_mut(&page) {
            durable[from..].fill(0);
        }
    }

    /// Overwrites the whole file, as truncating and writing does. Until it is flushed or written
    /// back, the old content, nothing, or any part of the new one may be what a power loss leaves.
    pub(crate) fn replace(&mut self, data: &[u8], now: Duration) {
        let durable = match self.replaced.take() {
            Some(durable) => durable,
            None => self.durable(),
        };
        *self = Self {
            replaced: Some(durable),
            next_flush: self.next_flush,
            ..Self::default()
        };
        self.len = data.len() as u64;
        self.write(0, data, now);
        self.dirty_since.get_or_insert(now);
    }

    /// What the platter holds.
    fn durable(&self) -> Vec<u8> {
        let mut content = vec![0; self.len as usize];
        self.read(0, &mut content);
        for (&page, durable) in &self.unsaved {
            let start = (page * PAGE).min(self.len) as usize;
            let end = ((page + 1) * PAGE).min(self.len) as usize;
            match durable {
                Some(durable) => content[start..end].copy_from_slice(&durable[..end - start]),
                None => content[start..end].fill(0),
            }
        }
        content
    }

    /// Flips one bit, on the platter and in the page cache.
    pub(crate) fn flip(&mut self, bit_index: u64) {
        let (at, mask) = (bit_index / 8, 1u8 << (bit_index % 8));
        if at >= self.len {
            return;
        }
        let (page, within) = (at / PAGE, (at % PAGE) as usize);
        let chunk = self.chunk_mut(page);
        chunk.written |= bit(page);
        chunk.page_mut(page)[within] ^= mask;
        if let Some(durable) = self.unsaved.get_mut(&page) {
            durable.get_or_insert_with(|| Box::new([0; PAGE as usize]))[within] ^= mask;
        }
    }

    /// The machine loses power: every unsaved page is kept or not as `draw` says, and at most one is
    /// torn.
    pub(crate) fn lose_power(&mut self, mut draw: impl FnMut(u64) -> u64) -> Losses {
        self.flushes.clear();
        if let Some(old) = self.replaced.take() {
            let outcome = draw(3);
            if outcome < 2 {
                let content = if outcome == 0 { old } else { Vec::new() };
                *self = Self::default();
                self.replace(&content, Duration::ZERO);
                self.write_back();
                return Losses {
                    lost: 1,
                    ..Losses::default()
                };
            }
        }
        let mut losses = Losses::default();
        let unsaved = std::mem::take(&mut self.unsaved);
        let torn = match unsaved.len() as u64 {
            0 => None,
            // In half of the cases the device was between two pages.
            count => unsaved.keys().nth(draw(2 * count) as usize).copied(),
        };
        for (page, durable) in unsaved {
            let chunk = self.chunk_mut(page);
            let was_dirty = chunk.dirty & bit(page) != 0;
            let kept = if !was_dirty {
                0
            } else if Some(page) == torn {
                losses.torn += 1;
                (1 + draw(PAGE / SECTOR - 1)) * SECTOR
            } else if draw(2) == 0 {
                losses.survived += 1;
                PAGE
            } else {
                0
            };
            if kept == 0 {
                losses.lost += 1;
            }
            let rest = &mut chunk.page_mut(page)[kept as usize..];
            match &durable {
                Some(durable) => rest.copy_from_slice(&durable[kept as usize..]),
                None => rest.fill(0),
            }
            if kept == 0 && durable.is_none() {
                chunk.written &= !bit(page);
            }
        }
        for chunk in self.chunks.iter_mut().flatten() {
            chunk.dirty = 0;
        }
        self.dirty_pages = 0;
        self.dirty_since = None;
        losses
    }
}
