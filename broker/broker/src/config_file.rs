//! The broker's small JSON files (`ConfigManager`): topics, subscription groups, offsets.
//!
//! A file is written by copying its old content to `NAME.bak` and then overwriting it, without a
//! sync: a power failure may leave either of them torn. Loading falls back to the `.bak`, so a torn
//! file is never copied over it (Java does).

use std::io;

use hotfire_env::Disk;
use hotfire_protocol::body::fastjson;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

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

/// Writes a table in fastjson's pretty dialect, keeping the old content as `NAME.bak`.
///
/// # Errors
/// The disk failed. What the file then holds is unknown; its `.bak` may be the newest whole copy.
pub fn write<T: Serialize>(disk: &dyn Disk, path: &str, table: &T) -> Result<(), ConfigError> {
    let json = fastjson::to_pretty_vec(table).map_err(|source| ConfigError::Json {
        path: path.to_owned(),
        source,
    })?;
    let io_error = |source| ConfigError::Io {
        path: path.to_owned(),
        source,
    };
    match disk.read(path) {
        Ok(old) if !is_json(&old) => {
            tracing::warn!(
                path,
                "a configuration file was torn: keeping the backup before it"
            );
        }
        Ok(old) => disk.write(&backup(path), &old).map_err(io_error)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io_error(error)),
    }
    disk.write(path, &json).map_err(io_error)
}

/// Reads a table; if the file is empty, missing or broken, its `.bak`; `None` if neither is there.
///
/// # Errors
/// Something is there, and none of it can be read.
pub fn load<T: DeserializeOwned>(disk: &dyn Disk, path: &str) -> Result<Option<T>, ConfigError> {
    let error = match read(disk, path) {
        Ok(Some(table)) => return Ok(Some(table)),
        Ok(None) => return read(disk, &backup(path)),
        Err(error) => error,
    };
    tracing::warn!(%error, "cannot read a configuration file, trying its backup");
    match read(disk, &backup(path)) {
        Ok(Some(table)) => Ok(Some(table)),
        _ => Err(error),
    }
}

fn read<T: DeserializeOwned>(disk: &dyn Disk, path: &str) -> Result<Option<T>, ConfigError> {
    let path = path.to_owned();
    match disk.read(&path) {
        Ok(content) if content.is_empty() => Ok(None),
        Ok(content) => fastjson::from_slice(&content)
            .map(Some)
            .map_err(|source| ConfigError::Json { path, source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ConfigError::Io { path, source }),
    }
}

fn is_json(content: &[u8]) -> bool {
    fastjson::from_slice::<IgnoredAny>(content).is_ok()
}

fn backup(path: &str) -> String {
    format!("{path}.bak")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type Table = BTreeMap<String, i64>;

    const PATH: &str = "config/table.json";

    fn disk() -> (tempfile::TempDir, std::sync::Arc<dyn Disk>) {
        let folder = tempfile::tempdir().unwrap();
        let disk = hotfire_env::real::env(folder.path(), None).disk().clone();
        (folder, disk)
    }

    fn table(value: i64) -> Table {
        Table::from([("a".to_owned(), value)])
    }

    #[test]
    fn a_missing_file_is_no_table() {
        let (_folder, disk) = disk();
        assert_eq!(load::<Table>(&*disk, PATH).unwrap(), None);
    }

    #[test]
    fn a_written_table_is_read_again() {
        let (_folder, disk) = disk();
        write(&*disk, PATH, &table(1)).unwrap();
        assert_eq!(load(&*disk, PATH).unwrap(), Some(table(1)));
    }

    #[test]
    fn a_torn_file_falls_back_to_its_backup() {
        let (_folder, disk) = disk();
        write(&*disk, PATH, &table(1)).unwrap();
        write(&*disk, PATH, &table(2)).unwrap();
        for torn in ["", "{\"a\":"] {
            disk.write(PATH, torn.as_bytes()).unwrap();
            assert_eq!(load(&*disk, PATH).unwrap(), Some(table(1)));
        }
    }

    #[test]
    fn a_torn_file_does_not_replace_its_backup() {
        let (_folder, disk) = disk();
        write(&*disk, PATH, &table(1)).unwrap();
        write(&*disk, PATH, &table(2)).unwrap();
        disk.write(PATH, b"{\"a\":").unwrap();
        write(&*disk, PATH, &table(3)).unwrap();
        disk.write(PATH, b"").unwrap();
        assert_eq!(load(&*disk, PATH).unwrap(), Some(table(1)));
    }

    #[test]
    fn a_torn_file_without_a_backup_is_an_error() {
        let (_folder, disk) = disk();
        disk.write(PATH, b"{").unwrap();
        assert!(load::<Table>(&*disk, PATH).is_err());
    }
}
