//! Writes the tables that have changed to their files; see [`crate::table_files`].

use std::hash::BuildHasher;
use std::sync::Arc;

use hotfire_protocol::body::fastjson;
use rustc_hash::FxBuildHasher;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use crate::config_file::{self, Written};
use crate::state::State;
use crate::table_files::{Next, Table};

/// Writes tables when they have changed, for as long as the broker runs.
pub(crate) async fn run(state: Arc<State>) {
    loop {
        match state.files.next(Instant::now()) {
            Next::Write(table, change) => {
                let ended = write(&state, table).await;
                state.files.ended(table, change, ended);
            }
            Next::At(due) => {
                // Whoever comes to wait meanwhile ends it.
                let _ = timeout_at(due, state.files.changed.notified()).await;
            }
            Next::Nothing => state.files.changed.notified().await,
        }
    }
}

/// Writes a table as it is now. A failure is logged.
async fn write(state: &Arc<State>, table: Table) -> Result<(), Arc<str>> {
    let path = state.table_path(table);
    let content = if matches!(table, Table::Cursors) {
        state.content_of(table)
    } else {
        // Big tables take their time.
        let shared = state.clone();
        let content = move || shared.content_of(table);
        state.env.compute("table to file", content).await
    };
    let written = match content {
        Ok(Some(content)) => {
            let hash = FxBuildHasher.hash_one(&content);
            if state.files.settled(table) == Some(hash) {
                return Ok(());
            }
            let written = config_file::write(state.disk(), &path, content).await;
            let settled = matches!(written, Ok(Written::Same)).then_some(hash);
            state.files.settle(table, settled);
            written
        }
        Ok(None) => return Ok(()),
        Err(source) => Err(config_file::ConfigError::Json { path, source }),
    };
    written.map(drop).map_err(|error| {
        tracing::error!(%error, "cannot write a configuration file: it is tried again");
        error.to_string().into()
    })
}

impl State {
    fn table_path(&self, table: Table) -> String {
        let config = self.config();
        match (&config.config_store_path, table) {
            (Some(path), Table::Settings) => path.clone(),
            _ => Self::config_path(&config, table.file()),
        }
    }

    /// What belongs into the file of a table; nothing if there is no such table.
    fn content_of(&self, table: Table) -> Result<Option<Vec<u8>>, fastjson::JsonError> {
        fn pretty(table: &impl Serialize) -> Result<Option<Vec<u8>>, fastjson::JsonError> {
            fastjson::to_pretty_vec(table).map(Some)
        }
        // Copied first: nobody is to wait while it becomes text.
        match table {
            Table::Topics => {
                let topics = self.topics.read().clone();
                pretty(&topics)
            }
            Table::Groups => {
                let groups = self.groups.read().clone();
                pretty(&groups)
            }
            Table::Offsets => {
                let offsets = self.offsets.lock().clone();
                pretty(&offsets)
            }
            Table::Filters => {
                let filters = self.filters.lock().clone();
                pretty(&filters)
            }
            Table::Orders => pretty(&self.orders_to_write()),
            Table::Cursors => {
                let cursors = self.cursors.lock().clone();
                pretty(&cursors)
            }
            Table::Modes => {
                let modes = self.balance.modes.lock().clone();
                pretty(&modes)
            }
            Table::TimerMetrics => match &self.timers {
                Some(timers) => pretty(&timers.metrics()),
                None => Ok(None),
            },
            Table::Settings => Ok(Some(self.settings_to_write().into_bytes())),
        }
    }

    fn settings_to_write(&self) -> String {
        let config = self.config();
        match &config.config_store_path {
            Some(path) => {
                // A file that cannot be read will not be written either.
                let file = self.disk().read(path).unwrap_or_default();
                config.edit(&String::from_utf8_lossy(&file))
            }
            None => config.to_properties(),
        }
    }

    /// Waits until all tables are as they are in their files and in the backups of these, or could not
    /// be written.
    pub async fn write_all_tables(&self) {
        for table in Table::ALL {
            if self.files.newest(table) > 0 {
                // What is in the file already goes into the backup; what has just failed is tried once
                // more.
                self.files.change(table);
            }
            // A failure has been logged.
            let _ = self.files.written(table).await;
        }
    }
}
