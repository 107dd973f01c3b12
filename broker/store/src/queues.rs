//! The consume queues of a store, by topic and queue id.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hotfire_env::Disk;
use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;

use crate::StoreError;
use crate::consume_queue::ConsumeQueue;

type Topics = FxHashMap<Arc<str>, BTreeMap<i32, Arc<ConsumeQueue>>>;

/// All consume queues. A queue is there as soon as a message was meant for it.
pub(crate) struct Queues {
    disk: Arc<dyn Disk>,
    root: String,
    file_size: u64,
    topics: RwLock<Topics>,
    /// The queues that may have something to flush, each once.
    changed: Mutex<Vec<Arc<ConsumeQueue>>>,
}

impl Queues {
    /// Opens what is below `root`: a folder for every topic, in it one for every queue. Anything
    /// else is left alone.
    pub fn load(disk: Arc<dyn Disk>, root: String, file_size: u64) -> Result<Self, StoreError> {
        let mut topics = Topics::default();
        for topic in disk.list(&root).map_err(StoreError::io("list", &*root))? {
            if !topic.is_dir || !is_topic(&topic.name) {
                continue;
            }
            let name: Arc<str> = topic.name.into();
            let dir = format!("{root}/{name}");
            for queue in disk.list(&dir).map_err(StoreError::io("list", &*dir))? {
                let id = queue.name.parse::<i32>().ok();
                // Only the form that this store writes: `+1` and `01` would be a second queue 1.
                let Some(id) = id.filter(|id| *id >= 0 && id.to_string() == queue.name) else {
                    continue;
                };
                if queue.is_dir {
                    let loaded =
                        ConsumeQueue::load(disk.clone(), name.clone(), id, &root, file_size)?;
                    topics
                        .entry(name.clone())
                        .or_default()
                        .insert(id, Arc::new(loaded));
                }
            }
        }
        let queues = Self {
            disk,
            root,
            file_size,
            topics: RwLock::new(topics),
            changed: Mutex::default(),
        };
        // An earlier life may have left something to flush, and recovery will.
        queues
            .all()
            .iter()
            .for_each(|queue| queues.note_changed(queue));
        Ok(queues)
    }

    /// Notes that a queue has something to flush. Call it after the change.
    pub fn note_changed(&self, queue: &Arc<ConsumeQueue>) {
        if !queue.listed.swap(true, Ordering::AcqRel) {
            self.changed.lock().push(queue.clone());
        }
    }

    /// The queues for which it is worth a flush, in the order of topic and id: everything that has
    /// changed if `least_pages` is 0, else those with so many dirty pages. The others are kept for
    /// the next call.
    pub fn take_changed(&self, least_pages: u64) -> Vec<Arc<ConsumeQueue>> {
        let worth =
            |queue: &mut Arc<ConsumeQueue>| least_pages == 0 || queue.dirty(least_pages).is_some();
        let mut taken: Vec<_> = self.changed.lock().extract_if(.., worth).collect();
        for queue in &taken {
            // What changes from here on is noted anew.
            queue.listed.store(false, Ordering::Release);
        }
        taken.sort_by(|a, b| (&a.topic, a.queue_id).cmp(&(&b.topic, b.queue_id)));
        taken
    }

    /// A queue, if a message was ever meant for it.
    pub fn get(&self, topic: &str, queue_id: i32) -> Option<Arc<ConsumeQueue>> {
        self.topics.read().get(topic)?.get(&queue_id).cloned()
    }

    /// A queue, made if need be. No file is created before its first unit.
    pub fn get_or_create(&self, topic: &str, queue_id: i32) -> Arc<ConsumeQueue> {
        if let Some(queue) = self.get(topic, queue_id) {
            return queue;
        }
        let mut topics = self.topics.write();
        let name = match topics.get_key_value(topic) {
            Some((name, _)) => name.clone(),
            None => topic.into(),
        };
        let queues = topics.entry(name.clone()).or_default();
        let create = || {
            let disk = self.disk.clone();
            let queue = ConsumeQueue::new(disk, name, queue_id, &self.root, self.file_size);
            Arc::new(queue)
        };
        queues.entry(queue_id).or_insert_with(create).clone()
    }

    /// The ids of a topic's queues, ascending.
    pub fn ids(&self, topic: &str) -> Vec<i32> {
        let topics = self.topics.read();
        topics
            .get(topic)
            .map_or_else(Vec::new, |queues| queues.keys().copied().collect())
    }

    /// All queues, in the order of topic and id.
    pub fn all(&self) -> Vec<Arc<ConsumeQueue>> {
        let topics = self.topics.read();
        let mut all: Vec<_> = topics
            .values()
            .flat_map(|queues| queues.values().cloned())
            .collect();
        all.sort_by(|a, b| (&a.topic, a.queue_id).cmp(&(&b.topic, b.queue_id)));
        all
    }

    /// Forgets a topic and removes its files. Its records stay in the commit log until they expire.
    pub fn remove_topic(&self, topic: &str) -> io::Result<bool> {
        let removed = self.topics.write().remove(topic);
        if !is_topic(topic) {
            return Ok(false);
        }
        self.disk.remove(&format!("{}/{topic}", self.root))?;
        Ok(removed.is_some())
    }

    /// Forgets everything and removes all files.
    pub fn destroy(&self) -> io::Result<()> {
        self.topics.write().clear();
        self.changed.lock().clear();
        self.disk.remove(&self.root)
    }
}

/// Whether a topic can be stored: its name becomes that of a folder.
pub(crate) fn is_topic(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && name != "."
        && name != ".."
        && !name.contains(['/', '\\', '\0'])
}
