//! Offsets of a broadcasting consumer: in a file of its own (`LocalFileOffsetStore`).

use std::collections::BTreeMap;
use std::io;

use hotfire_env::Env;
use hotfire_protocol::MessageQueue;
use hotfire_protocol::body::{ResetOffsetBody, fastjson};

use crate::instance::Instance;
use crate::offsets::OffsetTable;
use crate::{ClientError, ConsumerHook, MessageModel};

/// The file `.rocketmq_offsets/<client id>/<group>/offsets.json`, with the version before in
/// `offsets.json.bak`.
pub(crate) struct LocalOffsets {
    env: Env,
    path: String,
}

/// The file has the shape of this body: a table keyed by queues.
type File = ResetOffsetBody;

impl LocalOffsets {
    fn new(env: &Env, client_id: &str, group: &str) -> Self {
        let path = format!(".rocketmq_offsets/{client_id}/{group}/offsets.json");
        Self {
            env: env.clone(),
            path,
        }
    }

    /// The offsets that a consumer begins with, and where it keeps them if it broadcasts.
    pub(crate) fn open(
        instance: &Instance,
        group: &str,
        model: MessageModel,
    ) -> Result<(OffsetTable, Option<Self>), ClientError> {
        let mut offsets = OffsetTable::default();
        if model != MessageModel::Broadcasting {
            return Ok((offsets, None));
        }
        let local = Self::new(&instance.env, &instance.client_id, group);
        for (queue, offset) in local.load()? {
            offsets.update(&queue, offset, false);
        }
        Ok((offsets, Some(local)))
    }

    /// Replaces the stored offsets under the eyes of a hook. If that fails, the old ones stay.
    pub(crate) fn commit(&self, hook: &dyn ConsumerHook, offsets: Vec<(MessageQueue, i64)>) {
        for (queue, offset) in &offsets {
            hook.committing(queue, *offset);
        }
        if let Err(error) = self.store(offsets) {
            tracing::warn!(file = self.path, %error, "offsets are not stored");
        }
    }

    /// The stored offsets; none if there is no file. A damaged file is replaced by its predecessor.
    fn load(&self) -> Result<BTreeMap<MessageQueue, i64>, ClientError> {
        match self.read(&self.path) {
            Ok(Some(offsets)) => Ok(offsets),
            Ok(None) => Ok(self.read(&self.backup())?.unwrap_or_default()),
            Err(error) => {
                tracing::warn!(%error, "reading the offsets before");
                self.read(&self.backup())?.ok_or(error)
            }
        }
    }

    fn read(&self, path: &str) -> Result<Option<BTreeMap<MessageQueue, i64>>, ClientError> {
        let broken = |reason: String| ClientError::OffsetFile {
            path: path.to_owned(),
            reason,
        };
        let bytes = match self.env.disk().read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(broken(error.to_string())),
        };
        match fastjson::from_slice::<File>(&bytes) {
            Ok(file) => Ok(Some(file.offset_table)),
            Err(error) => Err(broken(error.to_string())),
        }
    }

    /// Replaces the stored offsets.
    fn store(&self, offsets: Vec<(MessageQueue, i64)>) -> Result<(), ClientError> {
        let broken = |reason| ClientError::OffsetFile {
            path: self.path.clone(),
            reason,
        };
        let file = File {
            offset_table: offsets.into_iter().collect(),
        };
        let text = fastjson::to_pretty_vec(&file).map_err(|error| broken(error.to_string()))?;
        self.replace(&text)
            .map_err(|error| broken(error.to_string()))
    }

    fn replace(&self, text: &[u8]) -> io::Result<()> {
        let (disk, new) = (self.env.disk(), format!("{}.tmp", self.path));
        disk.write(&new, text)?;
        if disk.exists(&self.path)? {
            disk.rename(&self.path, &self.backup())?;
        }
        disk.rename(&new, &self.path)
    }

    fn backup(&self) -> String {
        format!("{}.bak", self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, LocalOffsets) {
        let dir = tempfile::tempdir().unwrap();
        let env = hotfire_env::real::env(dir.path(), None);
        (dir, LocalOffsets::new(&env, "127.0.0.1@DEFAULT", "g"))
    }

    fn queue(id: i32) -> MessageQueue {
        MessageQueue::new("t", "b", id)
    }

    #[test]
    fn offsets_survive_in_the_file() {
        let (_dir, store) = store();
        assert!(store.load().unwrap().is_empty());
        store.store(vec![(queue(0), 5)]).unwrap();
        store.store(vec![(queue(0), 7), (queue(1), 2)]).unwrap();
        let loaded = store.load().unwrap();
        assert_eq!(loaded, BTreeMap::from([(queue(0), 7), (queue(1), 2)]));
    }

    #[test]
    fn a_damaged_file_is_replaced_by_its_predecessor() {
        let (_dir, store) = store();
        store.store(vec![(queue(0), 5)]).unwrap();
        store.store(vec![(queue(0), 7)]).unwrap();
        store
            .env
            .disk()
            .write(&store.path, b"{\"offsetTab")
            .unwrap();
        assert_eq!(store.load().unwrap(), BTreeMap::from([(queue(0), 5)]));
    }

    #[test]
    fn damage_without_a_predecessor_is_an_error_and_not_offset_zero() {
        let (_dir, store) = store();
        store.env.disk().write(&store.path, b"nonsense").unwrap();
        assert!(matches!(store.load(), Err(ClientError::OffsetFile { .. })));
    }
}
