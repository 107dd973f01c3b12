use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use hotfire_env::{BoxFuture, MappedFile};
use parking_lot::Mutex;

use super::image::Image;
use super::{Operation, SimDisk};

/// A file on a simulated disk, under whatever names.
pub(crate) struct File {
    pub(crate) id: u64,
    pub(crate) image: Mutex<Image>,
    pub(crate) modified_ms: AtomicI64,
}

impl File {
    pub(crate) fn new(id: u64) -> Arc<Self> {
        Arc::new(Self {
            id,
            image: Mutex::default(),
            modified_ms: AtomicI64::new(0),
        })
    }
}

/// A file as one process has it mapped.
pub(crate) struct Mapping {
    pub(crate) disk: Arc<SimDisk>,
    pub(crate) file: Arc<File>,
    /// Where it was mapped, for faults that are about paths.
    pub(crate) path: String,
    pub(crate) len: u64,
    /// The process that mapped it; when that is dead, the mapping is.
    pub(crate) incarnation: u64,
}

impl Mapping {
    fn check(&self, start: u64, len: u64) -> io::Result<()> {
        self.disk.check_alive(self.incarnation)?;
        match start.checked_add(len) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "{len} bytes at {start} reach past the file's end at {}",
                    self.len
                ),
            )),
        }
    }
}

impl MappedFile for Mapping {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_into(&self, at: u64, target: &mut [u8]) -> io::Result<()> {
        self.check(at, target.len() as u64)?;
        self.disk.check_read(&self.path)?;
        self.file.image.lock().read(at, target);
        Ok(())
    }

    fn write(&self, at: u64, data: &[u8]) -> io::Result<()> {
        self.check(at, data.len() as u64)?;
        let now = self.disk.now();
        let mut image = self.file.image.lock();
        self.disk.write_back_if_due(&mut image, now);
        self.disk.allocate(image.missing(at, data.len()))?;
        image.write(at, data, now);
        drop(image);
        self.file
            .modified_ms
            .store(self.disk.wall_ms(), Ordering::Relaxed);
        self.disk
            .note(Operation::Write, &self.file, at, data.len() as u64);
        Ok(())
    }

    fn data_from(&self, at: u64) -> io::Result<Option<Range<u64>>> {
        self.disk.check_alive(self.incarnation)?;
        self.disk.check_read(&self.path)?;
        Ok(self.file.image.lock().data_from(at))
    }

    fn flush(&self, range: Range<u64>) -> BoxFuture<'static, io::Result<()>> {
        let len = range.end.saturating_sub(range.start);
        if let Err(error) = self.check(range.start, len) {
            return Box::pin(async { Err(error) });
        }
        if len == 0 {
            return Box::pin(async { Ok(()) });
        }
        let (disk, file) = (self.disk.clone(), self.file.clone());
        let mut image = file.image.lock();
        let dirty = image.dirty_bytes(&range);
        let id = image.begin_flush(range.clone());
        drop(image);
        let flush = Flush { disk, file, id };
        Box::pin(flush.run(range, dirty))
    }
}

/// A flush under way. If its process dies before it is over, its pages stay dirty.
struct Flush {
    disk: Arc<SimDisk>,
    file: Arc<File>,
    id: u64,
}

impl Flush {
    async fn run(self, range: Range<u64>, dirty: u64) -> io::Result<()> {
        let result = self.disk.work(dirty).await;
        self.file.image.lock().end_flush(self.id, result.is_err());
        let len = range.end - range.start;
        self.disk
            .note(Operation::Flush, &self.file, range.start, len);
        result
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        self.file.image.lock().abandon_flush(self.id);
    }
}
