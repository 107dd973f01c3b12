use std::collections::BTreeMap;
use std::io;

use hotfire_env::{Disk, Env};
use hotfire_protocol::body::KVConfigSerializeWrapper;

/// The namespace whose keys are topics and whose values say which brokers have how many queues of
/// them, as in `broker-a:8;broker-b:8`.
pub const NAMESPACE_ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

/// The bytes that all keys, values and namespaces may have together: every change writes all of them,
/// and every broker is sent those of [`NAMESPACE_ORDER_TOPIC_CONFIG`].
pub const KV_CONFIG_MAX: usize = 4 << 20;
/// What a key, a value or a namespace counts beside its own bytes.
const ENTRY_OVERHEAD: usize = 16;

/// Keys and values by namespace, kept in a file (`KVConfigManager`).
///
/// Every change rewrites the file, and counts once the file is on the disk; what it held before goes
/// to the same name with `.bak` behind it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct KvConfigManager {
    config: KVConfigSerializeWrapper,
    /// The bytes of everything, with the overhead.
    bytes: usize,
}

/// A change of keys and values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KvChange {
    /// Sets a value.
    Put {
        namespace: String,
        key: String,
        value: String,
    },
    /// Removes one.
    Delete { namespace: String, key: String },
}

/// Why a value is not set: there would be too many of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key and value configuration has {KV_CONFIG_MAX} bytes at most")]
pub struct KvFullError;

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
            Ok(config) => return Ok(Self::from(config)),
            Err(error) => error,
        };
        tracing::warn!(path, %error, "not readable, going back to the backup");
        read(disk, &backup(path))?
            .and_then(|content| KVConfigSerializeWrapper::from_json(&content).ok())
            .map(Self::from)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// What the file holds.
    pub fn to_json(&self) -> Vec<u8> {
        self.config.to_json()
    }

    /// Makes a change.
    pub(crate) fn apply(&mut self, change: KvChange) -> Result<(), KvFullError> {
        match change {
            KvChange::Put {
                namespace,
                key,
                value,
            } => self.put(&namespace, &key, &value),
            KvChange::Delete { namespace, key } => {
                self.delete(&namespace, &key);
                Ok(())
            }
        }
    }

    /// Sets a value.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn put(&mut self, namespace: &str, key: &str, value: &str) -> Result<(), KvFullError> {
        let table = self.config.config_table.get(namespace);
        let before = table.and_then(|table| Some(size(key, table.get(key)?)));
        let more = match table {
            Some(_) => 0,
            None => namespace.len() + ENTRY_OVERHEAD,
        };
        let bytes = self.bytes - before.unwrap_or(0) + size(key, value) + more;
        if bytes > KV_CONFIG_MAX && bytes > self.bytes {
            return Err(KvFullError);
        }
        self.bytes = bytes;
        let table = self
            .config
            .config_table
            .entry(namespace.to_owned())
            .or_default();
        table.insert(key.to_owned(), value.to_owned());
        Ok(())
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
            let removed = table.remove(key);
            self.bytes -= removed.map_or(0, |value| size(key, &value));
        }
    }

    /// All keys and values of a namespace, if there ever were any.
    pub fn list(&self, namespace: &str) -> Option<&BTreeMap<String, String>> {
        self.config.config_table.get(namespace)
    }
}

impl From<KVConfigSerializeWrapper> for KvConfigManager {
    fn from(config: KVConfigSerializeWrapper) -> Self {
        let tables = config.config_table.iter();
        let bytes = tables
            .map(|(namespace, table)| {
                let entries = table.iter().map(|(key, value)| size(key, value));
                namespace.len() + ENTRY_OVERHEAD + entries.sum::<usize>()
            })
            .sum();
        Self { config, bytes }
    }
}

fn size(key: &str, value: &str) -> usize {
    key.len() + value.len() + 2 * ENTRY_OVERHEAD
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

/// Writes a file whole, after copying what it held to its backup. Both are there or as they were.
pub(crate) async fn replace(env: &Env, path: &str, content: Vec<u8>) -> io::Result<()> {
    let disk = env.disk();
    if let Some(previous) = read(&**disk, path)? {
        disk.replace(&backup(path), previous).await?;
    }
    disk.replace(path, content).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "namesrv/kvConfig.json";

    fn env() -> (tempfile::TempDir, Env) {
        let folder = tempfile::tempdir().unwrap();
        let env = hotfire_env::real::env(folder.path(), None);
        (folder, env)
    }

    fn with(value: &str) -> KvConfigManager {
        let mut config = KvConfigManager::default();
        config.put("ns", "key", value).unwrap();
        config
    }

    async fn persist(config: &KvConfigManager, env: &Env) {
        replace(env, PATH, config.to_json()).await.unwrap();
    }

    #[tokio::test]
    async fn the_file_has_the_form_of_rocketmq() {
        let (_folder, env) = env();
        persist(&with("value"), &env).await;
        let text = String::from_utf8(env.disk().read(PATH).unwrap()).unwrap();
        assert_eq!(text, r#"{"configTable":{"ns":{"key":"value"}}}"#);
    }

    #[tokio::test]
    async fn what_was_persisted_is_loaded() {
        let (_folder, env) = env();
        let load = || KvConfigManager::load(&**env.disk(), PATH).unwrap();
        assert_eq!(load(), KvConfigManager::default());
        persist(&with("value"), &env).await;
        assert_eq!(load(), with("value"));
    }

    #[tokio::test]
    async fn a_torn_file_is_made_up_for_by_its_backup() {
        let (_folder, env) = env();
        persist(&with("old"), &env).await;
        persist(&with("new"), &env).await;
        env.disk()
            .write(PATH, br#"{"configTable":{"ns":{"k"#)
            .unwrap();
        let loaded = KvConfigManager::load(&**env.disk(), PATH).unwrap();
        assert_eq!(loaded, with("old"));
    }

    #[test]
    fn a_torn_file_without_a_backup_is_an_error() {
        let (_folder, env) = env();
        env.disk().write(PATH, b"{").unwrap();
        let error = KvConfigManager::load(&**env.disk(), PATH).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn what_is_full_takes_nothing_more_until_something_is_removed() {
        let mut config = with("value");
        let empty = config.bytes;
        let value = "v".repeat(1 << 20);
        let mut put = |key: &str| config.put("ns", key, &value);
        assert_eq!([put("a"), put("b"), put("c")], [Ok(()); 3]);
        assert_eq!(put("d"), Err(KvFullError));
        assert_eq!(put("a"), Ok(()), "it is as long as before");
        config.delete("ns", "b");
        assert_eq!(config.put("ns", "d", &value), Ok(()));
        for key in ["a", "b", "c", "d"] {
            config.delete("ns", key);
        }
        assert_eq!(config.bytes, empty);
        assert_eq!(KvConfigManager::from(config.config.clone()).bytes, empty);
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
