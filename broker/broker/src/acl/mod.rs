//! Access control (`PlainAccessValidator` of 4.9).
//!
//! Accounts are kept in YAML files below the data folder: `conf/plain_acl.yml`, and any number of
//! files in `conf/acl`. Every half second the broker looks whether they changed. Files that make no
//! sense do no harm: the error is logged and what was valid before stays so; only at start, when
//! there is nothing to stay with, the broker refuses to come up.
//!
//! Every request is checked over the fields that came, before anything looks at it:
//! [`Rules::check`] says in which order, and the table of request codes what each takes
//! ([`Permission`]). What 4.9 signs is the fields and the body and not the code, so a signed request
//! can be sent again under another code: what takes an administrator takes one whatever was signed.

mod address;
pub(crate) mod body;
mod change;
mod file;
mod perm;
mod permission;
mod rules;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hotfire_env::Disk;
use hotfire_protocol::body::{AclConfig, DataVersion};
use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;

use address::AddressPattern;
use file::PlainAccessData;
use rules::Rules;

pub(crate) use perm::Perm;
pub(crate) use permission::{Need, Permission};
pub(crate) use rules::Denied;

/// How often the files are looked at (`FileWatchService.WATCH_INTERVAL`).
pub(crate) const WATCH_INTERVAL: Duration = Duration::from_millis(500);
/// The folder of the files, below the data folder.
const FOLDER: &str = "conf";
/// The folder of further files.
const MORE: &str = "conf/acl";
/// The file that is always meant if no other is named.
pub(crate) const DEFAULT_FILE: &str = "conf/plain_acl.yml";
/// The largest file that is read: far more than anybody needs.
const FILE_MAX: u64 = 8 << 20;

/// Why access control cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum AclError {
    /// There is no file.
    #[error("access control is on, but there is neither {DEFAULT_FILE} nor a file in {MORE}")]
    Nothing,
    /// A file makes no sense.
    #[error("{path}: {what}")]
    File {
        /// The file.
        path: String,
        /// What is wrong with it.
        what: String,
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

/// The contents of the files by their paths. Where two have an account, the first one counts: the
/// default file is the last, as in RocketMQ.
type Files = BTreeMap<String, Vec<u8>>;

/// What is in force, and the files that it comes from.
pub(crate) struct AccessControl {
    rules: RwLock<Arc<Rules>>,
    files: Mutex<Seen>,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
}

struct Seen {
    /// What the rules were made of.
    in_force: Files,
    /// What could not be used, lest it be complained about twice a second.
    refused: Option<Files>,
}

impl AccessControl {
    /// Reads the files.
    ///
    /// # Errors
    /// There are none, or one makes no sense.
    pub fn load(disk: &dyn Disk) -> Result<Self, AclError> {
        let files = read(disk)?;
        let rules = compile(&files)?;
        tracing::info!(
            files = files.len(),
            accounts = rules.accounts.len(),
            "access control is on"
        );
        Ok(Self {
            rules: RwLock::new(Arc::new(rules)),
            files: Mutex::new(Seen {
                in_force: files,
                refused: None,
            }),
            changing: tokio::sync::Mutex::default(),
        })
    }

    /// Takes what the files say now, if they changed and make sense.
    pub fn reload(&self, disk: &dyn Disk) {
        let files = match read(disk) {
            Ok(files) => files,
            Err(error) => {
                // A file that is being replaced is not there for a moment.
                tracing::debug!(%error, "cannot read the files of access control");
                return;
            }
        };
        {
            let seen = self.files.lock();
            if files == seen.in_force || seen.refused.as_ref() == Some(&files) {
                return;
            }
        }
        match compile(&files) {
            Ok(rules) => {
                tracing::info!(accounts = rules.accounts.len(), "access control changed");
                self.take(files, rules);
            }
            Err(error) => {
                tracing::error!(%error, "access control stays as it was");
                self.files.lock().refused = Some(files);
            }
        }
    }

    /// Puts rules into force.
    fn take(&self, files: Files, rules: Rules) {
        let mut seen = self.files.lock();
        *self.rules.write() = Arc::new(rules);
        seen.in_force = files;
        seen.refused = None;
    }

    /// The rules in force.
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.read().clone()
    }

    /// What the files in force hold, by their paths.
    fn data(&self) -> BTreeMap<String, PlainAccessData> {
        let seen = self.files.lock();
        let parsed = seen.in_force.iter().map(|(path, content)| {
            // They could be read when they came into force.
            let data = PlainAccessData::from_yaml(content).unwrap_or_default();
            (path.clone(), data)
        });
        parsed.collect()
    }

    /// All addresses and accounts, for administrators.
    pub fn config(&self) -> AclConfig {
        let mut config = AclConfig::default();
        for data in self.data().into_values() {
            let addresses = data.addresses().map(str::to_owned);
            config.global_white_addrs.extend(addresses);
            config.plain_access_configs.extend(data.accounts().cloned());
        }
        config
    }

    /// The version of every file.
    pub fn versions(&self) -> BTreeMap<String, DataVersion> {
        let data = self.data().into_iter();
        data.map(|(path, data)| (path, data.version())).collect()
    }
}

/// Reads all files.
fn read(disk: &dyn Disk) -> Result<Files, AclError> {
    let mut files = Files::new();
    for folder in [FOLDER, MORE] {
        let failed = |path: &str, source| AclError::Io {
            path: path.to_owned(),
            source,
        };
        let entries = disk.list(folder).map_err(|source| failed(folder, source))?;
        for entry in entries {
            let path = format!("{folder}/{}", entry.name);
            let wanted = match folder {
                MORE => path.ends_with(".yml") || path.ends_with(".yaml"),
                _ => path == DEFAULT_FILE,
            };
            if entry.is_dir || !wanted {
                continue;
            }
            if entry.len > FILE_MAX {
                let what = format!("it has {} bytes, more than {FILE_MAX}", entry.len);
                return Err(AclError::File { path, what });
            }
            let content = disk.read(&path).map_err(|source| failed(&path, source))?;
            files.insert(path, content);
        }
    }
    Ok(files)
}

/// Makes rules of files.
fn compile(files: &Files) -> Result<Rules, AclError> {
    if files.is_empty() {
        return Err(AclError::Nothing);
    }
    let mut rules = Rules::default();
    for (path, content) in files {
        let wrong = |what| AclError::File {
            path: path.clone(),
            what,
        };
        let data = PlainAccessData::from_yaml(content).map_err(wrong)?;
        for text in data.addresses() {
            let pattern = AddressPattern::parse(text).map_err(wrong)?;
            rules.addresses.push(pattern);
        }
        // Within a file the last one counts.
        let mut own = FxHashMap::default();
        for config in data.accounts() {
            let (key, account) = file::account(config).map_err(wrong)?;
            own.insert(key, account);
        }
        for (key, account) in own {
            rules.accounts.entry(key).or_insert(account);
        }
    }
    Ok(rules)
}
