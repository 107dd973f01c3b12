use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use super::disk::{blocking, create_parent};
use crate::{BoxFuture, MappedFile};

/// A file of fixed size on the operating system's disk, read and written at positions.
///
/// It is not a memory map, on purpose. What goes wrong with the file behind a map - the disk is full
/// and the file has a hole there, a sector cannot be read, somebody has cut the file - comes as a
/// signal that ends the process. Here it is an error of the one call. Nor does a map take one of the
/// `vm.max_map_count` (65,530) that a process may have, or is a safe function's soundness up to what
/// others do with the file. A read is a copy out of the page cache, a write one into it; both survive
/// the process.
///
/// A descriptor is kept for the files that were used last only: see [`OpenFiles`].
pub(super) struct RealFile {
    this: Weak<Self>,
    open: Arc<OpenFiles>,
    path: PathBuf,
    len: u64,
    /// Device and number: another file under the same name is not this one.
    identity: (u64, u64),
    handle: Mutex<Option<Arc<File>>>,
    /// Whether it was used since [`OpenFiles`] last looked for one to close.
    used: AtomicBool,
}

impl RealFile {
    /// Opens a file, or creates it with its folders, and cuts or extends it to `len`.
    pub(super) fn open(open: &Arc<OpenFiles>, path: PathBuf, len: u64) -> io::Result<Arc<Self>> {
        let file = open.retrying(|| open_or_create(&path))?;
        let found = file.metadata()?;
        if found.len() != len {
            file.set_len(len)?;
        }
        let this = Arc::new_cyclic(|this| Self {
            this: this.clone(),
            open: open.clone(),
            path,
            len,
            identity: (found.dev(), found.ino()),
            handle: Mutex::new(Some(Arc::new(file))),
            used: AtomicBool::new(true),
        });
        open.admit(this.this.clone());
        Ok(this)
    }

    /// The open file: at hand, or opened again.
    fn handle(&self) -> io::Result<Arc<File>> {
        self.used.store(true, Ordering::Relaxed);
        if let Some(file) = &*self.handle.lock() {
            return Ok(file.clone());
        }
        let file = self
            .open
            .retrying(|| OpenOptions::new().read(true).write(true).open(&self.path))?;
        let found = file.metadata()?;
        if (found.dev(), found.ino()) != self.identity {
            let message = format!("{} was replaced by another file", self.path.display());
            return Err(io::Error::new(io::ErrorKind::NotFound, message));
        }
        let file = Arc::new(file);
        *self.handle.lock() = Some(file.clone());
        self.open.admit(self.this.clone());
        Ok(file)
    }

    fn check(&self, start: u64, len: u64) -> io::Result<()> {
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

impl MappedFile for RealFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_into(&self, at: u64, target: &mut [u8]) -> io::Result<()> {
        self.check(at, target.len() as u64)?;
        self.handle()?.read_exact_at(target, at)
    }

    fn write(&self, at: u64, data: &[u8]) -> io::Result<()> {
        self.check(at, data.len() as u64)?;
        self.handle()?.write_all_at(data, at)
    }

    fn data_from(&self, at: u64) -> io::Result<Option<Range<u64>>> {
        if at >= self.len {
            return Ok(None);
        }
        let file = self.handle()?;
        let from = match seek(&*file, SeekFrom::Data(at)) {
            Ok(from) => from,
            Err(Errno::NXIO) => return Ok(None),
            // The file system does not tell: all of it may be data.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some(at..self.len)),
            Err(error) => return Err(error.into()),
        };
        let to = seek(&*file, SeekFrom::Hole(from))?;
        Ok((from < self.len).then(|| from..to.min(self.len)))
    }

    fn flush(&self, range: Range<u64>) -> BoxFuture<'static, io::Result<()>> {
        let len = range.end.saturating_sub(range.start);
        let file = self.check(range.start, len).and_then(|()| self.handle());
        let path = self.path.clone();
        Box::pin(async move {
            let file = match file {
                // It was removed: there is nothing left to be made durable.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                other => other?,
            };
            if len == 0 {
                return Ok(());
            }
            // Of whatever kind the error is, what the disk has dropped cannot be written again.
            let failed = move |error: io::Error| {
                io::Error::other(format!("{} cannot be flushed: {error}", path.display()))
            };
            blocking(move || file.sync_data().map_err(failed)).await
        })
    }
}

/// Opens a file for reading and writing, with what is in it, or creates it and its folders.
pub(super) fn open_or_create(path: &Path) -> io::Result<File> {
    let open = || {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
    };
    match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_parent(path)?;
            open()
        }
        other => other,
    }
}

/// The descriptors that are kept for [`RealFile`]s, so that there may be more files than a process
/// may have descriptors. One that is closed is opened again when it is needed.
///
/// What was written to a file that is closed and not flushed yet is in the page cache; the flush that
/// opens it again covers it, and is told of a write that failed meanwhile: Linux keeps that for the
/// next who asks, whoever it is.
pub(super) struct OpenFiles {
    capacity: usize,
    /// Those with a descriptor, roughly in the order in which they were used last.
    files: Mutex<VecDeque<Weak<RealFile>>>,
}

impl OpenFiles {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            files: Mutex::default(),
        }
    }

    /// A quarter of the descriptors that the process may have; the rest is for connections.
    pub(super) fn usual_capacity() -> usize {
        const MOST: u64 = 4096;
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        limit.map_or(MOST, |limit| limit / 4).clamp(16, MOST) as usize
    }

    /// Counts a file that was opened, and closes another one for it if there are too many.
    fn admit(&self, file: Weak<RealFile>) {
        let mut files = self.files.lock();
        files.push_back(file);
        // Each is passed over once at most.
        let mut second_chances = files.len();
        while files.len() > self.capacity {
            let Some(candidate) = files.pop_front() else {
                return;
            };
            let Some(file) = candidate.upgrade() else {
                continue;
            };
            if second_chances > 0 && file.used.swap(false, Ordering::Relaxed) {
                second_chances -= 1;
                files.push_back(candidate);
            } else {
                *file.handle.lock() = None;
            }
        }
    }

    /// Opens something; if the process has no descriptor left, once more after half of those that
    /// are kept here were closed.
    pub(super) fn retrying<T>(&self, open: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match open() {
            Err(error)
                if matches!(
                    Errno::from_io_error(&error),
                    Some(Errno::MFILE | Errno::NFILE)
                ) =>
            {
                let mut files = self.files.lock();
                let half = files.len().div_ceil(2);
                for file in files.drain(..half).filter_map(|file| file.upgrade()) {
                    *file.handle.lock() = None;
                }
                drop(files);
                open()
            }
            other => other,
        }
    }
}
