use std::collections::BTreeMap;
use std::io;

use hotfire_env::Disk;
use hotfire_protocol::body::KVConfigSerializeWrapper;

/// The namespace whose keys are topics and whose values say which brokers have how many queues of
/// them, as in `broker-a:8;broker-b:8`.
pub const NAMESPACE_ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

/// Keys and values by namespace, kept in a file (`KVConfigManager`).
///
/// Every change rewrites the file; what it held before goes to the same name with `.bak` behind it.
/// Nothing is synced: after a power loss the latest changes may be missing.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct KvConfigManager {
    config: KVConfigSerializeWrapper,
}

impl KvConfigManager {
    /// Reads the file; empty if there is none. If it cannot be parsed, the backup is read instead.
    /// (Apache RocketMQ does not look at the backup and fails to start.)
    ///
    /// # Errors
    /// The disk fails, or there is a file and neither it nor its backup can be parsed.
    pub fn load(disk: &dyn Disk, path: &str) -> io::Result<Self> {
        let Some(content) = read(disk, path)? else {
            return Ok(Self::default());
        };
        let error = match KVConfigSerializeWrapper::from_json(&content) {
            Ok(config) => return Ok(Self { config }),
            Err(error) => error,
        };
        tracing::warn!(path, %error, "not readable, going back to the backup");
        read(disk, &backup(path))?
            .and_then(|content| KVConfigSerializeWrapper::from_json(&content).ok())
            .map(|config| Self { config })
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Writes the file.
    ///
    /// # Errors
    /// The disk fails.
    pub fn persist(&self, disk: &dyn Disk, path: &str) -> io::Result<()> {
        replace(disk, path, &self.config.to_json())
    }

    /// Sets a value.
    pub fn put(&mut self, namespace: &str, key: &str, value: &str) {
        let table = self
            .config
            .config_table
            .entry(namespace.to_owned())
            .or_default();
        table.insert(key.to_owned(), value.to_owned());
    }

    /// A value.
    pub fn get(&self, namespace: &str, key: &str) -> Option<&str> {
        self.config
            .config_table
            .get(namespace)?
            .get(key)
            .map(String::as_str)
    }

    /// Removes a value. The namespace stays, even if nothing is in it.
    pub fn delete(&mut self, namespace: &str, key: &str) {
        if let Some(table) = self.config.config_table.get_mut(namespace) {
            table.remove(key);
        }
    }

    /// All keys and values of a namespace, if there ever were any.
    pub fn list(&self, namespace: &str) -> Option<&BTreeMap<String, String>> {
        self.config.config_table.get(namespace)
    }
}

fn backup(path: &str) -> String {
    format!("{path}.bak")
}

fn read(disk: &dyn Disk, path: &str) -> io::Result<Option<Vec<u8>>> {
    match disk.read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a file whole, after copying what it held to its backup.
pub(crate) fn replace(disk: &dyn Disk, path: &str, content: &[u8]) -> io::Result<()> {
    if let Some(previous) = read(disk, path)? {
        disk.write(&backup(path), &previous)?;
    }
    disk.write(path, content)
}

#[cfg(test)]
mod tests {
    use hotfire_env::real::RealDisk;

    use super::*;

    const PATH: &str = "namesrv/kvConfig.json";

    fn disk() -> (tempfile::TempDir, RealDisk) {
        let folder = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(folder.path());
        (folder, disk)
    }

    fn with(value: &str) -> KvConfigManager {
        let mut config = KvConfigManager::default();
        config.put("ns", "key", value);
        config
    }

    #[test]
    fn the_file_has_the_form_of_rocketmq() {
        let (_folder, disk) = disk();
        with("value").persist(&disk, PATH).unwrap();
        let text = String::from_utf8(disk.read(PATH).unwrap()).unwrap();
        assert_eq!(text, r#"{"configTable":{"ns":{"key":"value"}}}"#);
    }

    #[test]
    fn what_was_persisted_is_loaded() {
        let (_folder, disk) = disk();
        assert_eq!(
            KvConfigManager::load(&disk, PATH).unwrap(),
            KvConfigManager::default()
        );
        with("value").persist(&disk, PATH).unwrap();
        assert_eq!(KvConfigManager::load(&disk, PATH).unwrap(), with("value"));
    }

    #[test]
    fn a_torn_file_is_made_up_for_by_its_backup() {
        let (_folder, disk) = disk();
        with("old").persist(&disk, PATH).unwrap();
        with("new").persist(&disk, PATH).unwrap();
        disk.write(PATH, br#"{"configTable":{"ns":{"k"#).unwrap();
        assert_eq!(KvConfigManager::load(&disk, PATH).unwrap(), with("old"));
    }

    #[test]
    fn a_torn_file_without_a_backup_is_an_error() {
        let (_folder, disk) = disk();
        disk.write(PATH, b"{").unwrap();
        let error = KvConfigManager::load(&disk, PATH).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_namespace_outlives_its_last_key() {
        let mut config = with("value");
        config.delete("ns", "key");
        assert_eq!(config.get("ns", "key"), None);
        assert!(config.list("ns").is_some_and(BTreeMap::is_empty));
        assert_eq!(config.list("other"), None);
    }
}
