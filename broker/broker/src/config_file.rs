//! The broker's small JSON files (`ConfigManager`): topics, subscription groups, offsets.
//!
//! A file is replaced at once and durably, after its old content was kept as `NAME.bak` in the same
//! way: whenever the machine dies, both are whole, and the file is the newest or the one before. Java
//! writes the same two files, but over what they hold, without a sync.
//!
//! A file that cannot be read, or is empty, is damage: nobody writes such a one. It is set aside
//! under a name of its own, and the backup is used in its stead, never without an ERROR line.

use std::io;

use hotfire_env::Disk;
use hotfire_protocol::body::fastjson;
use serde::de::DeserializeOwned;

/// Why a configuration file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It is not the JSON of its table.
    #[error("{path}: {source}")]
    Json {
        /// The file.
        path: String,
        /// What is wrong.
        source: fastjson::JsonError,
    },
    /// The disk failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the disk said.
        source: io::Error,
    },
}

impl ConfigError {
    fn io(path: &str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}

/// What [`load`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Loaded<T> {
    /// The file.
    Whole(T),
    /// Neither the file nor its backup is there.
    Missing,
    /// The backup, because the file is damaged or missing: what was changed last may be missing.
    Backup(T),
    /// Something was there, and none of it can be read.
    Lost,
}

impl<T> Loaded<T> {
    /// Whether there is a file that says all that was ever written.
    pub fn is_whole(&self) -> bool {
        matches!(self, Self::Whole(_))
    }

    /// The table, if any was found.
    pub fn into_table(self) -> Option<T> {
        match self {
            Self::Whole(table) | Self::Backup(table) => Some(table),
            Self::Missing | Self::Lost => None,
        }
    }
}

/// A table that a file is read into.
pub trait TableFile: DeserializeOwned {
    /// Whether it says nothing at all, as no broker ever writes it: such a file is damaged.
    fn is_blank(&self) -> bool {
        false
    }
}

/// What [`write`] has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The file is new, and its backup is what it was before.
    New,
    /// File and backup are the same.
    Same,
}

/// Replaces a file, keeping its old content as `NAME.bak`. If the content is the same, only the backup
/// is written, unless it is the same, too: from then on it stands in for the file.
///
/// # Errors
/// The disk failed. The file then holds what it held before.
pub async fn write(disk: &dyn Disk, path: &str, content: Vec<u8>) -> Result<Written, ConfigError> {
    match disk.read(path) {
        Ok(old) => {
            let backup = backup(path);
            if old == content && disk.read(&backup).is_ok_and(|backup| backup == old) {
                return Ok(Written::Same);
            }
            let same = old == content;
            disk.replace(&backup, old)
                .await
                .map_err(ConfigError::io(&backup))?;
            if same {
                return Ok(Written::Same);
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(ConfigError::io(path)(error)),
    }
    disk.replace(path, content)
        .await
        .map_err(ConfigError::io(path))?;
    Ok(Written::New)
}

/// Reads a table: from the file, or from its backup if the file is damaged or missing. What is
/// damaged is set aside as `NAME.damaged-TIME`, and an ERROR line says so.
pub fn load<T: TableFile>(disk: &dyn Disk, path: &str, now_ms: i64) -> Loaded<T> {
    let mut damaged = false;
    match read::<T>(disk, path) {
        Ok(Some(table)) => return Loaded::Whole(table),
        Ok(None) => {}
        Err(why) => {
            damaged = true;
            set_aside(disk, path, now_ms, &why);
        }
    }
    let backup = backup(path);
    match read::<T>(disk, &backup) {
        Ok(Some(table)) => {
            tracing::error!(
                path,
                backup,
                "a configuration file is damaged or missing: its backup is used instead, and what \
                 was changed last may be missing"
            );
            Loaded::Backup(table)
        }
        Ok(None) if !damaged => Loaded::Missing,
        Ok(None) => {
            tracing::error!(path, "a configuration file is lost: it has no backup");
            Loaded::Lost
        }
        Err(why) => {
            set_aside(disk, &backup, now_ms, &why);
            tracing::error!(
                path,
                "a configuration file is lost: its backup cannot be read either"
            );
            Loaded::Lost
        }
    }
}

/// Why a file is no table.
#[derive(Debug, thiserror::Error)]
enum Damage {
    #[error("it is empty")]
    Empty,
    #[error("it says nothing")]
    Blank,
    #[error(transparent)]
    Json(fastjson::JsonError),
    #[error(transparent)]
    Io(io::Error),
}

fn read<T: TableFile>(disk: &dyn Disk, path: &str) -> Result<Option<T>, Damage> {
    let content = match disk.read(path) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Damage::Io(error)),
    };
    if content.is_empty() {
        return Err(Damage::Empty);
    }
    let table: T = fastjson::from_slice(&content).map_err(Damage::Json)?;
    if table.is_blank() {
        return Err(Damage::Blank);
    }
    Ok(Some(table))
}

fn set_aside(disk: &dyn Disk, path: &str, now_ms: i64, why: &Damage) {
    let kept = format!("{path}.damaged-{now_ms}");
    match disk.rename(path, &kept) {
        Ok(()) => tracing::error!(path, kept, %why, "a configuration file is damaged: set aside"),
        Err(error) => {
            tracing::error!(path, %why, %error, "a configuration file is damaged and stays there");
        }
    }
}

fn backup(path: &str) -> String {
    format!("{path}.bak")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type Table = BTreeMap<String, i64>;

    impl TableFile for Table {
        fn is_blank(&self) -> bool {
            self.is_empty()
        }
    }

    const PATH: &str = "config/table.json";

    fn disk() -> (tempfile::TempDir, std::sync::Arc<dyn Disk>) {
        let folder = tempfile::tempdir().unwrap();
        let disk = hotfire_env::real::env(folder.path(), None).disk().clone();
        (folder, disk)
    }

    fn table(value: i64) -> Table {
        Table::from([("a".to_owned(), value)])
    }

    async fn put(disk: &dyn Disk, value: i64) {
        let json = fastjson::to_pretty_vec(&table(value)).unwrap();
        write(disk, PATH, json).await.unwrap();
    }

    fn names(disk: &dyn Disk) -> Vec<String> {
        let entries = disk.list("config").unwrap().into_iter();
        entries.map(|entry| entry.name).collect()
    }

    #[test]
    fn a_missing_file_is_no_table() {
        let (_folder, disk) = disk();
        assert_eq!(load::<Table>(&*disk, PATH, 0), Loaded::Missing);
    }

    #[tokio::test]
    async fn a_written_table_is_read_again_and_the_one_before_is_kept() {
        let (_folder, disk) = disk();
        put(&*disk, 1).await;
        put(&*disk, 2).await;
        assert_eq!(load(&*disk, PATH, 0), Loaded::Whole(table(2)));
        assert_eq!(names(&*disk), ["table.json", "table.json.bak"]);
        disk.remove(PATH).unwrap();
        assert_eq!(load(&*disk, PATH, 0), Loaded::Backup(table(1)));
    }

    #[tokio::test]
    async fn the_backup_of_an_unchanged_table_stands_in_for_it() {
        let (_folder, disk) = disk();
        put(&*disk, 1).await;
        put(&*disk, 2).await;
        put(&*disk, 2).await;
        disk.write(PATH, b"").unwrap();
        assert_eq!(load(&*disk, PATH, 0), Loaded::Backup(table(2)));
    }

    #[tokio::test]
    async fn a_damaged_file_is_set_aside_and_its_backup_used() {
        for torn in ["", "{\"a\":", "{}", "\0\0\0\0"] {
            let (_folder, disk) = disk();
            put(&*disk, 1).await;
            put(&*disk, 2).await;
            disk.write(PATH, torn.as_bytes()).unwrap();
            assert_eq!(load(&*disk, PATH, 7), Loaded::Backup(table(1)), "{torn}");
            let kept = format!("{PATH}.damaged-7");
            assert_eq!(disk.read(&kept).unwrap(), torn.as_bytes());
            put(&*disk, 3).await;
            assert_eq!(load(&*disk, PATH, 8), Loaded::Whole(table(3)));
            assert!(disk.exists(&kept).unwrap());
        }
    }

    #[test]
    fn a_damaged_file_without_a_backup_is_lost_but_kept() {
        let (_folder, disk) = disk();
        disk.write(PATH, b"{").unwrap();
        assert_eq!(load::<Table>(&*disk, PATH, 7), Loaded::Lost);
        assert_eq!(names(&*disk), ["table.json.damaged-7"]);
        disk.write(PATH, b"").unwrap();
        disk.write(&backup(PATH), b"nonsense").unwrap();
        assert_eq!(load::<Table>(&*disk, PATH, 8), Loaded::Lost);
        assert_eq!(names(&*disk).len(), 3);
    }

    #[tokio::test]
    async fn a_write_that_fails_leaves_what_was_there() {
        let (_folder, disk) = disk();
        put(&*disk, 1).await;
        // A folder where the new file is to be: as good as a full disk.
        disk.write(&format!("{PATH}.tmp/x"), b"").unwrap();
        let json = fastjson::to_pretty_vec(&table(2)).unwrap();
        let failed = write(&*disk, PATH, json).await.unwrap_err();
        assert!(failed.to_string().starts_with(PATH), "{failed}");
        assert_eq!(load(&*disk, PATH, 0), Loaded::Whole(table(1)));
    }
}
