use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use super::file::{OpenFiles, RealFile, open_or_create};
use crate::{BoxFuture, DirEntry, Disk, DiskUsage, MappedFile};

/// Files below a root folder; flushes run on tokio's blocking pool. They are no memory maps, on purpose:
/// see the trait [`MappedFile`].
pub struct RealDisk {
    root: PathBuf,
    open: Arc<OpenFiles>,
    /// Further folders, by absolute paths.
    further: Vec<PathBuf>,
    /// Where the file system is of which the usage counts.
    measured: PathBuf,
    /// Held while a file is replaced.
    replacing: Arc<tokio::sync::Mutex<()>>,
}

impl RealDisk {
    /// A disk below `root`, which is created when something is written.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self::keeping_open(root, OpenFiles::usual_capacity())
    }

    /// As [`RealDisk::new`], with at most `files` descriptors kept for files of fixed size, however
    /// many of them there are.
    pub fn keeping_open(root: impl Into<PathBuf>, files: usize) -> Self {
        let root = root.into();
        Self {
            measured: root.clone(),
            further: Vec::new(),
            root,
            open: Arc::new(OpenFiles::new(files)),
            replacing: Arc::default(),
        }
    }

    /// Lets in what is below some absolute paths, too, under these. `measured` says where the file
    /// system is of which [`Disk::usage`] tells.
    #[must_use]
    pub fn with_folders(mut self, further: Vec<PathBuf>, measured: PathBuf) -> Self {
        self.further = further;
        self.measured = measured;
        self
    }

    fn resolve(&self, path: &str) -> io::Result<PathBuf> {
        let relative = Path::new(path);
        let mut parts = relative.components();
        let is_absolute = parts.next() == Some(Component::RootDir);
        if is_absolute
            && parts.all(|part| matches!(part, Component::Normal(_)))
            && self
                .further
                .iter()
                .any(|further| relative.starts_with(further))
        {
            return Ok(relative.to_owned());
        }
        if relative
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
        {
            Ok(self.root.join(relative))
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("`{path}` leaves the disk's root"),
            ))
        }
    }

    /// Whether a folder is one of those that a further folder lies in. Nothing is read or written
    /// there, but when the further folder is new its name has to be made durable.
    fn is_above(&self, dir: &str) -> bool {
        let is_above =
            |further: &PathBuf| further.ancestors().skip(1).any(|at| at == Path::new(dir));
        dir.starts_with('/') && self.further.iter().any(is_above)
    }
}

pub(super) fn create_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

impl Disk for RealDisk {
    fn map(&self, path: &str, len: u64) -> io::Result<Arc<dyn MappedFile>> {
        let file: Arc<dyn MappedFile> = RealFile::open(&self.open, self.resolve(path)?, len)?;
        Ok(file)
    }

    fn list(&self, dir: &str) -> io::Result<Vec<DirEntry>> {
        let entries = match fs::read_dir(self.resolve(dir)?) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut listed = Vec::new();
        for entry in entries {
            let entry = entry?;
            let meta = entry.metadata()?;
            listed.push(DirEntry {
                name: entry.file_name().to_string_lossy().into_owned(),
                len: if meta.is_dir() { 0 } else { meta.len() },
                is_dir: meta.is_dir(),
            });
        }
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listed)
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        fs::read(self.resolve(path)?)
    }

    fn write(&self, path: &str, data: &[u8]) -> io::Result<()> {
        let path = self.resolve(path)?;
        create_parent(&path)?;
        fs::write(path, data)
    }

    fn replace<'a>(&'a self, path: &'a str, data: Vec<u8>) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let path = self.resolve(path)?;
            // The work goes on if this future is dropped, so it takes the lock along.
            let alone = self.replacing.clone().lock_owned().await;
            blocking(move || {
                let replaced = replace(&path, &data);
                drop(alone);
                replaced
            })
            .await
        })
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        self.resolve(path)?.try_exists()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let to = self.resolve(to)?;
        create_parent(&to)?;
        fs::rename(self.resolve(from)?, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let path = self.resolve(path)?;
        let removed = match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
            Ok(_) => fs::remove_file(path),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn sync_dir<'a>(&'a self, dir: &'a str) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let above = self.is_above(dir);
            let path = match above {
                true => PathBuf::from(dir),
                false => self.resolve(dir)?,
            };
            blocking(move || match File::open(path) {
                Ok(folder) => folder.sync_all(),
                // Who may not read it has not created anything in it.
                Err(error) if above && error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
                Err(error) => Err(error),
            })
            .await
        })
    }

    fn lock(&self, path: &str) -> io::Result<Box<dyn Send + Sync>> {
        let path = self.resolve(path)?;
        let file = self.open.retrying(|| open_or_create(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(file)),
            Err(fs::TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn modified_ms(&self, path: &str) -> io::Result<i64> {
        let modified = fs::metadata(self.resolve(path)?)?.modified()?;
        let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn boot_id(&self) -> Option<String> {
        let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(id.trim().to_owned())
    }

    fn usage(&self) -> io::Result<DiskUsage> {
        fs::create_dir_all(&self.measured)?;
        let stat = rustix::fs::statvfs(&self.measured)?;
        // What is set aside for root or others counts neither as used nor as free, as in `df` and
        // in `UtilAll.getDiskPartitionSpaceUsedPercent`: it must not make a broker refuse messages.
        let set_aside = stat.f_bfree.saturating_sub(stat.f_bavail);
        let total = stat.f_blocks.saturating_sub(set_aside);
        Ok(DiskUsage {
            total: total.saturating_mul(stat.f_frsize),
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }
}

/// Writes a file beside `path`, makes it durable and renames it.
fn replace(path: &Path, data: &[u8]) -> io::Result<()> {
    create_parent(path)?;
    let mut beside = path.to_path_buf().into_os_string();
    beside.push(".tmp");
    let beside = PathBuf::from(beside);
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(data)?;
        file.sync_all()
    });
    if let Err(error) = written.and_then(|()| fs::rename(&beside, path)) {
        // What is left of it would only take up space; the next replacement would overwrite it.
        let _ = fs::remove_file(&beside);
        return Err(error);
    }
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

pub(super) async fn blocking(
    work: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> io::Result<()> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> (tempfile::TempDir, RealDisk) {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(dir.path().join("root"));
        (dir, disk)
    }

    #[tokio::test]
    async fn a_mapped_file_keeps_what_was_written_and_flushed() {
        let (_dir, disk) = disk();
        let file = disk.map("commitlog/0", 8192).unwrap();
        file.write(4090, b"across a page").unwrap();
        file.flush(4090..4103).await.unwrap();
        assert_eq!(&file.slice(4090..4103).unwrap()[..], b"across a page");
        drop(file);
        let mut back = [0; 13];
        disk.map("commitlog/0", 8192)
            .unwrap()
            .read_into(4090, &mut back)
            .unwrap();
        assert_eq!(&back, b"across a page");
        assert_eq!(disk.list("commitlog").unwrap()[0].len, 8192);
    }

    #[test]
    fn a_slice_outlives_its_file_handle() {
        let (_dir, disk) = disk();
        let file = disk.map("f", 10).unwrap();
        file.write(0, b"0123456789").unwrap();
        let slice = file.slice(2..5).unwrap();
        drop(file);
        assert_eq!(&slice[..], b"234");
    }

    #[test]
    fn a_range_past_the_end_is_refused() {
        let (_dir, disk) = disk();
        let file = disk.map("f", 10).unwrap();
        assert!(file.slice(8..11).is_err());
        assert!(file.write(u64::MAX, b"x").is_err());
        assert!(file.read_into(10, &mut [0]).is_err());
    }

    #[test]
    fn a_path_cannot_leave_the_root() {
        let (_dir, disk) = disk();
        for path in ["../x", "/etc/passwd", "a/../../x"] {
            assert_eq!(
                disk.read(path).unwrap_err().kind(),
                io::ErrorKind::InvalidInput,
                "{path}"
            );
        }
    }

    #[test]
    fn a_further_folder_is_reached_by_its_absolute_path_and_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let further = dir.path().join("elsewhere");
        let disk = RealDisk::new(dir.path().join("root"))
            .with_folders(vec![further.clone()], further.clone());
        let path = further.join("config/topics.json").display().to_string();
        disk.write(&path, b"{}").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"{}");
        for beside in ["elsewhere2/x", "elsewhere/../x", "x"] {
            let path = dir.path().join(beside).display().to_string();
            assert!(disk.write(&path, b"").is_err(), "{path}");
        }
        assert!(disk.usage().unwrap().total > 0);
    }

    #[tokio::test]
    async fn the_name_of_a_further_folder_is_made_durable_and_no_others() {
        let (dir, disk) = disk();
        let further = dir.path().join("new/store");
        let disk = disk.with_folders(vec![further.clone()], further.clone());
        let path = further.join("commitlog").display().to_string();
        disk.map(&format!("{path}/0"), 10).unwrap();
        let mut above = path.as_str();
        while let Some((parent, _)) = above.rsplit_once('/') {
            disk.sync_dir(above).await.unwrap();
            above = parent;
        }
        let beside = dir.path().join("root").display().to_string();
        assert!(disk.sync_dir(&beside).await.is_err());
    }

    #[test]
    fn a_lock_is_exclusive_until_its_guard_is_dropped() {
        let (_dir, disk) = disk();
        let guard = disk.lock("lock").unwrap();
        assert_eq!(
            disk.lock("lock").err().unwrap().kind(),
            io::ErrorKind::WouldBlock
        );
        drop(guard);
        assert!(disk.lock("lock").is_ok());
    }

    #[test]
    fn small_files_are_written_listed_renamed_and_removed() {
        let (_dir, disk) = disk();
        disk.write("config/topics.json", b"{}").unwrap();
        disk.rename("config/topics.json", "config/topics.json.bak")
            .unwrap();
        assert_eq!(disk.read("config/topics.json.bak").unwrap(), b"{}");
        assert!(!disk.exists("config/topics.json").unwrap());
        assert_eq!(disk.list("config").unwrap().len(), 1);
        disk.remove("config").unwrap();
        disk.remove("config").unwrap();
        assert!(disk.list("config").unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_replaced_file_is_new_and_nothing_is_left_beside_it() {
        let (_dir, disk) = disk();
        disk.replace("config/topics.json", b"old".to_vec())
            .await
            .unwrap();
        let new = disk.replace("config/topics.json", b"new".to_vec());
        new.await.unwrap();
        assert_eq!(disk.read("config/topics.json").unwrap(), b"new");
        assert_eq!(disk.list("config").unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_replaced_is_untouched() {
        let (_dir, disk) = disk();
        disk.write("config/topics.json/in-the-way", b"old").unwrap();
        let failed = disk.replace("config/topics.json", b"new".to_vec()).await;
        assert!(failed.is_err());
        let names = disk.list("config").unwrap();
        assert_eq!(names.len(), 1, "{names:?}");
        assert_eq!(disk.read("config/topics.json/in-the-way").unwrap(), b"old");
    }
}
