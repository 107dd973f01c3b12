//! Opening a store, and closing it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64};

use hotfire_env::{Disk, Env, is_disk_full};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};

use crate::checkpoint::{Checkpoint, CheckpointFile};
use crate::config::FlushDiskType;
use crate::damage::Damage;
use crate::index::Index;
use crate::mapped_files::MappedFiles;
use crate::queue_facts::{self, QueueFacts};
use crate::queues::Queues;
use crate::recovery::{self, Recovery};
use crate::repair;
use crate::state::{NotWriteable, State, Trouble};
use crate::store::{Inner, MessageStore, Services};
use crate::{StoreConfig, StoreError, StoreObserver};
use crate::{cleaner, flush};

/// The file whose presence says that the store is open, or was not closed.
const ABORT: &str = "abort";
/// The file that says where each consume queue began and ended when the store was closed.
pub(crate) const QUEUE_FACTS: &str = "queuefacts";

impl MessageStore {
    /// Opens a store, or creates it: recovers what an earlier life has left and starts to flush and
    /// clean in the background.
    ///
    /// # Errors
    /// Another process has it open; its files do not fit the configuration; the disk refuses.
    pub async fn open(env: &Env, config: StoreConfig) -> Result<Self, StoreError> {
        Self::open_observed(env, config, None).await
    }

    /// [`MessageStore::open`] with an observer, which sees the recovery too.
    ///
    /// # Errors
    /// As [`MessageStore::open`].
    pub async fn open_observed(
        env: &Env,
        config: StoreConfig,
        observer: Option<Arc<dyn StoreObserver>>,
    ) -> Result<Self, StoreError> {
        config.check()?;
        let disk = env.disk();
        let lock_path = config.path("lock");
        let lock = disk.lock(&lock_path).map_err(|source| {
            if source.kind() == std::io::ErrorKind::WouldBlock {
                StoreError::Locked {
                    path: lock_path.clone(),
                }
            } else {
                StoreError::io("lock", &*lock_path)(source)
            }
        })?;
        let abort = config.path(ABORT);
        let crashed = disk
            .exists(&abort)
            .map_err(StoreError::io("look for", &*abort))?;

        // While the machine has not lost power, the page cache has whatever was written.
        let lost_power = crashed && !is_same_boot(&**disk, &abort);
        let damage = Damage::new(disk.clone(), config.path("damaged"));

        let checkpoint_path = config.path("checkpoint");
        let (checkpoint_file, checkpoint) =
            CheckpointFile::open(&**disk, &checkpoint_path, env.now_ms())
                .map_err(StoreError::io("open", &*checkpoint_path))?;
        let log_dir = config.path("commitlog");
        let (files, strays) =
            MappedFiles::load(disk.clone(), log_dir, config.commit_log_file_size)?;
        recovery::refuse_strays(&config, &strays)?;
        if checkpoint == Checkpoint::default() && files.start().is_some() {
            tracing::warn!(
                path = checkpoint_path,
                crashed,
                "the checkpoint is missing, empty or damaged: after a crash the whole commit log is \
                 checked"
            );
        }
        let queues = Queues::load(
            disk.clone(),
            config.path("consumequeue"),
            config.consume_queue_file_size(),
        )?;
        let facts_path = config.path(QUEUE_FACTS);
        let mut facts = queue_facts::read(&**disk, &facts_path);
        if files.last().map_or(0, |last| last.end()) < facts.dispatched {
            // They are those of another log: one that was moved away.
            tracing::warn!(
                path = facts_path,
                "what was known of the consume queues is not used"
            );
            disk.remove(&facts_path)
                .map_err(StoreError::io("remove", facts_path))?;
            facts = QueueFacts::default();
        }
        let mut index_from = None;
        let mut index = None;
        if config.message_index_enable {
            let safe_until = crashed.then_some(checkpoint.index_msg_timestamp);
            let known = if crashed { &[][..] } else { &facts.index };
            let (loaded, from, rebuilt) = Index::load(
                disk.clone(),
                env.clock().clone(),
                &config,
                safe_until,
                known,
            )?;
            if !crashed {
                damage.count(|counts| counts.rebuilt_index_files += rebuilt);
            }
            (index, index_from) = (Some(loaded), from);
        }
        let recovered = Recovery {
            config: &config,
            crashed,
            lost_power,
            damage: &damage,
            facts: &facts,
            checkpoint,
            queues: &queues,
            index: index.as_ref(),
            index_from,
        }
        .run(files)
        .await?;

        if let Some(observer) = &observer {
            observer.recovered(recovered.log.end() as i64, recovered.truncated_bytes);
            for queue in queues.all() {
                observer.queue_recovered(&queue.topic, queue.queue_id, queue.max_offset());
            }
        }
        let tail = recovered.log.tail(recovered.store_timestamp);
        let state = State::default();
        let behind = recovered.progress.position < recovered.log.end();
        state.set(NotWriteable::DispatchFailed, behind);
        let dispatch_trouble = Trouble::default();
        if behind {
            dispatch_trouble.note(&"the disk was full when the store was opened");
        }
        let (stop, _) = watch::channel(false);
        let inner = Arc::new(Inner {
            env: env.clone(),
            log: recovered.log,
            queues,
            index,
            damage,
            repairs: Mutex::default(),
            repair_wanted: Notify::new(),
            state,
            append_trouble: Trouble::default(),
            dispatch_trouble,
            observer,
            tail: Mutex::new(tail),
            locked_since: AtomicI64::new(0),
            progress: Mutex::new(recovered.progress),
            listener: RwLock::new(None),
            buffers: Mutex::default(),
            group: Mutex::default(),
            flush_wanted: Notify::new(),
            checkpoint: Mutex::new(checkpoint),
            checkpoint_file,
            built_flush_failed: AtomicBool::new(false),
            services: Mutex::new(Services {
                lock: Some(lock),
                tasks: Vec::new(),
            }),
            stop,
            config,
        });
        inner.make_durable(&abort).await?;
        inner.start();
        Ok(Self { inner })
    }

    /// Takes no more messages, makes everything durable and closes the store. Reading goes on
    /// working.
    ///
    /// # Errors
    /// Something could not be made durable: the store is left as by a crash, and recovered when it
    /// is opened next.
    pub async fn shutdown(&self) -> Result<(), StoreError> {
        let inner = &self.inner;
        if !inner.state.set(NotWriteable::ShutDown, true) {
            return Ok(());
        }
        inner.stop.send_replace(true);
        let (lock, tasks) = {
            let mut services = inner.services.lock();
            (services.lock.take(), std::mem::take(&mut services.tasks))
        };
        for task in tasks {
            task.join().await;
        }
        let closed = inner.close().await;
        drop(lock);
        closed
    }
}

impl Inner {
    /// Marks the store as open and makes what recovery has done durable, so that it cannot be undone
    /// by a power loss once new messages stand on it.
    async fn make_durable(&self, abort: &str) -> Result<(), StoreError> {
        let disk = self.env.disk();
        let root = &self.config.store_path_root_dir;
        // RocketMQ writes the process id, too, and reads nothing.
        let boot_id = disk.boot_id().unwrap_or_default();
        let content = format!("{}\n{boot_id}", self.env.process_id());
        match disk.write(abort, content.as_bytes()) {
            // That it is there is what counts; a full disk has room for an empty file.
            Err(error) if is_disk_full(&error) && disk.exists(abort).unwrap_or(false) => {
                tracing::error!(%error, "the disk is full: the store can only be read");
            }
            other => other.map_err(StoreError::io("write", abort))?,
        }
        for dir in [root.as_str(), ""] {
            disk.sync_dir(dir)
                .await
                .map_err(StoreError::io("sync", dir))?;
        }
        self.flush_log()
            .await
            .map_err(StoreError::io("flush", "commitlog"))?;
        match self.flush_built(0).await {
            // The checkpoint stands still until there is space.
            Err(error) if is_disk_full(&error) => {
                tracing::error!(%error, "the disk is full: the checkpoint cannot be written");
                Ok(())
            }
            other => other.map_err(StoreError::io("flush", "consumequeue")),
        }
    }

    fn start(self: &Arc<Self>) {
        let stop = || self.stop.subscribe();
        let env = &self.env;
        let flush = match self.config.flush_disk_type {
            FlushDiskType::Sync => {
                env.spawn("store-flush", flush::flush_on_demand(self.clone(), stop()))
            }
            FlushDiskType::Async => env.spawn(
                "store-flush",
                flush::flush_in_background(self.clone(), stop()),
            ),
        };
        let built = env.spawn(
            "store-flush-queues",
            flush::flush_built_in_background(self.clone(), stop()),
        );
        let cleaner = env.spawn(
            "store-clean",
            cleaner::clean_in_background(self.clone(), stop()),
        );
        let disk = env.spawn(
            "store-watch-disk",
            cleaner::watch_disk(self.clone(), stop()),
        );
        let repair = env.spawn(
            "store-repair",
            repair::repair_in_background(self.clone(), stop()),
        );
        self.services.lock().tasks = vec![flush, built, cleaner, disk, repair];
    }

    async fn close(&self) -> Result<(), StoreError> {
        let io = |what| StoreError::io("flush", what);
        self.flush_log().await.map_err(io("commitlog"))?;
        self.flush_built(0).await.map_err(io("consumequeue"))?;
        let behind = self.log.end() > self.progress.lock().position;
        if behind || self.state.has(NotWriteable::DispatchFailed) {
            tracing::warn!("closing with undispatched messages: the next start recovers them");
            return Ok(());
        }
        let disk = self.env.disk();
        let facts = self.config.path(QUEUE_FACTS);
        let dispatched = self.progress.lock().position;
        let index = self.index.as_ref().map_or_else(Vec::new, Index::facts);
        let written = queue_facts::write(&**disk, &facts, &self.queues, &index, dispatched).await;
        if let Err(error) = written {
            // It is only what lets the next start see more damage.
            tracing::warn!(path = facts, %error, "cannot write down what is known of the queues");
            disk.remove(&facts)
                .map_err(StoreError::io("remove", facts))?;
        }
        let abort = self.config.path(ABORT);
        disk.remove(&abort)
            .map_err(StoreError::io("remove", &*abort))?;
        let root = &self.config.store_path_root_dir;
        disk.sync_dir(root)
            .await
            .map_err(StoreError::io("sync", root))
    }
}

/// Whether the life that left the file `abort` ran since the machine was started last.
fn is_same_boot(disk: &dyn Disk, abort: &str) -> bool {
    let content = disk.read(abort).unwrap_or_default();
    let written = content.split(|&byte| byte == b'\n').nth(1);
    let boot_id = disk.boot_id().filter(|id| !id.is_empty());
    boot_id.is_some_and(|id| written == Some(id.as_bytes()))
}
