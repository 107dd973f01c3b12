use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hotfire_env::{BoxFuture, DirEntry, Disk, DiskUsage, MappedFile};

use super::file::{File, Mapping};
use super::tree::{Entry, Tree, parent};
use super::{JOURNAL_INTERVAL, Operation, SimDisk};

/// The disk as one process sees it.
pub(crate) struct ProcessDisk {
    disk: Arc<SimDisk>,
    incarnation: u64,
    /// Held while a file is replaced.
    replacing: tokio::sync::Mutex<()>,
}

impl SimDisk {
    /// The disk for the process that is about to start.
    pub(crate) fn process_view(self: &Arc<Self>) -> Arc<dyn Disk> {
        Arc::new(ProcessDisk {
            disk: self.clone(),
            incarnation: self.incarnation.load(Ordering::Relaxed),
            replacing: tokio::sync::Mutex::default(),
        })
    }
}

/// A path without empty parts and dots.
fn normal(path: &str) -> io::Result<String> {
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    if path.starts_with('/') || parts.contains(&"..") {
        let message = format!("`{path}` leaves the disk's root");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(parts.join("/"))
}

fn in_the_way(path: &str) -> io::Error {
    let message = format!("`{path}` is a folder, or leads through a file");
    io::Error::new(io::ErrorKind::NotADirectory, message)
}

impl ProcessDisk {
    /// Does something to the names, after whatever the journal has committed meanwhile.
    fn with_tree<T>(&self, work: impl FnOnce(&mut Tree) -> io::Result<T>) -> io::Result<T> {
        self.disk.check_alive(self.incarnation)?;
        let mut tree = self.disk.tree.lock();
        if let Some(limit) = self.disk.now().checked_sub(JOURNAL_INTERVAL) {
            tree.commit_before(limit);
        }
        work(&mut tree)
    }

    fn open_or_create(&self, path: &str) -> io::Result<Arc<File>> {
        self.with_tree(|tree| {
            if let Some(file) = tree.file(path) {
                return Ok(file.clone());
            }
            if self.disk.usage().free == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let file = File::new(self.disk.files.fetch_add(1, Ordering::Relaxed) + 1);
            file.modified_ms
                .store(self.disk.wall_ms(), Ordering::Relaxed);
            if !tree.add(path, file.clone(), self.disk.now()) {
                return Err(in_the_way(path));
            }
            self.disk.note(Operation::Names, &file, 0, 0);
            Ok(file)
        })
    }

    fn open(&self, path: &str) -> io::Result<Arc<File>> {
        self.with_tree(|tree| {
            let file = tree.file(path).cloned();
            file.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, path.to_owned()))
        })
    }
}

impl Disk for ProcessDisk {
    fn map(&self, path: &str, len: u64) -> io::Result<Arc<dyn MappedFile>> {
        let path = normal(path)?;
        let file = self.open_or_create(&path)?;
        let mut image = file.image.lock();
        if image.len() != len {
            image.set_len(len);
            drop(image);
            self.disk.recount(&self.disk.tree.lock());
        } else {
            drop(image);
        }
        Ok(Arc::new(Mapping {
            disk: self.disk.clone(),
            file,
            path,
            len,
            incarnation: self.incarnation,
        }))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<DirEntry>> {
        let dir = normal(dir)?;
        self.with_tree(|tree| {
            let entry = |(name, entry): (&str, &Entry)| DirEntry {
                name: name.to_owned(),
                len: match entry {
                    Entry::File(file) => file.image.lock().len(),
                    Entry::Folder => 0,
                },
                is_dir: matches!(entry, Entry::Folder),
            };
            Ok(tree.children(&dir).map(entry).collect())
        })
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let path = normal(path)?;
        let file = self.open(&path)?;
        self.disk.check_read(&path)?;
        let image = file.image.lock();
        let mut content = vec![0; image.len() as usize];
        image.read(0, &mut content);
        Ok(content)
    }

    fn write(&self, path: &str, data: &[u8]) -> io::Result<()> {
        let path = normal(path)?;
        let file = self.open_or_create(&path)?;
        if self.disk.usage().free < data.len() as u64 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let now = self.disk.now();
        let mut image = file.image.lock();
        self.disk.write_back_if_due(&mut image, now);
        image.replace(data, now);
        drop(image);
        file.modified_ms
            .store(self.disk.wall_ms(), Ordering::Relaxed);
        self.disk
            .note(Operation::Replace, &file, 0, data.len() as u64);
        self.disk.recount(&self.disk.tree.lock());
        Ok(())
    }

    fn replace<'a>(&'a self, path: &'a str, data: Vec<u8>) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let path = normal(path)?;
            let _alone = self.replacing.lock().await;
            let beside = format!("{path}.tmp");
            let written = match self.write(&beside, &data) {
                Ok(()) => {
                    self.map(&beside, data.len() as u64)?
                        .flush(0..data.len() as u64)
                        .await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = written.and_then(|()| self.rename(&beside, &path)) {
                // A process that died meanwhile leaves it there.
                let _ = self.remove(&beside);
                return Err(error);
            }
            self.sync_dir(parent(&path)).await
        })
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        let path = normal(path)?;
        self.with_tree(|tree| Ok(path.is_empty() || tree.get(&path).is_some()))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (normal(from)?, normal(to)?);
        let file = self.open(&from)?;
        self.with_tree(|tree| {
            if tree.is_folder(&to) || !tree.rename(&from, &to, self.disk.now()) {
                return Err(in_the_way(&to));
            }
            self.disk.note(Operation::Names, &file, 1, to.len() as u64);
            self.disk.recount(tree);
            Ok(())
        })
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let path = normal(path)?;
        self.with_tree(|tree| {
            for file in tree.remove(&path, self.disk.now()) {
                self.disk.note(Operation::Names, &file, 2, 0);
            }
            self.disk.recount(tree);
            Ok(())
        })
    }

    fn sync_dir<'a>(&'a self, dir: &'a str) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let dir = normal(dir)?;
            if !self.with_tree(|tree| Ok(tree.is_folder(&dir)))? {
                return Err(io::ErrorKind::NotFound.into());
            }
            self.disk.work(0).await?;
            self.with_tree(|tree| {
                tree.sync(&dir);
                Ok(())
            })
        })
    }

    fn lock(&self, path: &str) -> io::Result<Box<dyn Send + Sync>> {
        let path = normal(path)?;
        self.open_or_create(&path)?;
        let mut locks = self.disk.locks.lock();
        if locks.contains_key(&path) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        locks.insert(path.clone(), self.incarnation);
        drop(locks);
        Ok(Box::new(Lock {
            disk: self.disk.clone(),
            path,
            incarnation: self.incarnation,
        }))
    }

    fn modified_ms(&self, path: &str) -> io::Result<i64> {
        let file = self.open(&normal(path)?)?;
        Ok(file.modified_ms.load(Ordering::Relaxed))
    }

    fn boot_id(&self) -> Option<String> {
        let boot = self.disk.power_losses.load(Ordering::Relaxed);
        Some(format!("boot-{boot}"))
    }

    fn usage(&self) -> io::Result<DiskUsage> {
        self.disk.check_alive(self.incarnation)?;
        Ok(self.disk.usage())
    }
}

/// An exclusive lock; it is free when this is dropped, or when the process dies.
struct Lock {
    disk: Arc<SimDisk>,
    path: String,
    incarnation: u64,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut locks = self.disk.locks.lock();
        if locks.get(&self.path) == Some(&self.incarnation) {
            locks.remove(&self.path);
        }
    }
}
