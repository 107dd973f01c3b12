//! Changes by administrators (`PlainPermissionManager`).

use hotfire_env::{Disk, Env};
use hotfire_protocol::body::PlainAccessConfig;

use super::file::{self, PlainAccessData};
use super::perm::Perm;
use super::{AccessControl, DEFAULT_FILE, FOLDER, Files, MORE, compile};

impl AccessControl {
    /// Creates an account, or changes what is given of it. A new one goes into the default file.
    ///
    /// # Errors
    /// The account makes no sense, or the file cannot be written.
    pub async fn update_account(&self, env: &Env, change: PlainAccessConfig) -> Result<(), String> {
        for entry in change
            .topic_perms
            .iter()
            .chain(&change.group_perms)
            .flatten()
        {
            let (_, perm) = file::resource(entry)?;
            if !Perm::is_valid(perm) {
                return Err(format!(
                    "`{perm}` is not a permission: DENY, PUB, SUB and PUB|SUB are"
                ));
            }
        }
        let key = change.access_key.clone();
        let path = self.file_of(key.as_deref());
        self.change(
            env,
            &path.unwrap_or_else(|| DEFAULT_FILE.to_owned()),
            |data| {
                let accounts = data.accounts.get_or_insert_default();
                let known = accounts
                    .iter_mut()
                    .find(|account| account.access_key == key);
                match known {
                    Some(account) => merge(account, change),
                    None => accounts.push(change),
                }
                Ok(())
            },
        )
        .await
    }

    /// Deletes an account.
    ///
    /// # Errors
    /// There is none of this name, or the file cannot be written.
    pub async fn delete_account(&self, env: &Env, key: &str) -> Result<(), String> {
        let unknown = || format!("there is no account `{key}`");
        let path = self.file_of(Some(key)).ok_or_else(unknown)?;
        self.change(env, &path, |data| {
            let accounts = data.accounts.get_or_insert_default();
            accounts.retain(|account| account.access_key.as_deref() != Some(key));
            Ok(())
        })
        .await
    }

    /// Replaces the addresses from which nobody need sign, in one file: the default file if none is
    /// named.
    ///
    /// # Errors
    /// An address makes no sense, there is no such file, or it cannot be written.
    pub async fn update_addresses(
        &self,
        env: &Env,
        addresses: Vec<String>,
        path: Option<&str>,
    ) -> Result<(), String> {
        let path = match path.filter(|path| !path.is_empty()) {
            None => DEFAULT_FILE.to_owned(),
            Some(named) => self.path_named(named)?,
        };
        self.change(env, &path, |data| {
            let addresses = addresses.into_iter().map(Some).collect();
            data.global_white_remote_addresses = Some(addresses);
            Ok(())
        })
        .await
    }

    /// The file that has an account.
    fn file_of(&self, key: Option<&str>) -> Option<String> {
        let mut data = self.data().into_iter();
        let has = |data: &PlainAccessData| {
            data.accounts()
                .any(|account| account.access_key.as_deref() == key)
        };
        data.find(|(_, data)| has(data)).map(|(path, _)| path)
    }

    /// The file that an administrator means: RocketMQ's tools name it by its full path.
    fn path_named(&self, named: &str) -> Result<String, String> {
        let seen = self.files.lock();
        let mut paths = seen.in_force.keys();
        let found = paths.find(|path| {
            let rest = named.strip_suffix(path.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
        });
        found
            .cloned()
            .ok_or_else(|| format!("there is no file `{named}`"))
    }

    /// Changes a file. What is in force changes only if all files together make sense with it, and
    /// after it is on the disk; the next look at the files then finds nothing new.
    async fn change(
        &self,
        env: &Env,
        path: &str,
        edit: impl FnOnce(&mut PlainAccessData) -> Result<(), String>,
    ) -> Result<(), String> {
        let _one = self.changing.lock().await;
        // What somebody wrote by hand a moment ago must not be lost.
        self.reload(&**env.disk());
        let mut files: Files = {
            let seen = self.files.lock();
            if seen.refused.is_some() {
                return Err("the files make no sense as they are now: see the log".to_owned());
            }
            seen.in_force.clone()
        };
        let mut data = match files.get(path) {
            Some(content) => PlainAccessData::from_yaml(content)?,
            None => PlainAccessData::default(),
        };
        edit(&mut data)?;
        data.data_version = Some(vec![data.version().next(env.now_ms())]);
        let yaml = data.to_yaml()?.into_bytes();
        files.insert(path.to_owned(), yaml.clone());
        let rules = compile(&files).map_err(|error| error.to_string())?;
        replace(&**env.disk(), path, &yaml)
            .await
            .map_err(|error| format!("cannot write {path}: {error}"))?;
        tracing::info!(path, "an administrator changed access control");
        self.take(files, rules);
        Ok(())
    }
}

/// Takes from `change` whatever it has; whether it is an administrator it always has.
fn merge(account: &mut PlainAccessConfig, change: PlainAccessConfig) {
    fn take<T>(field: &mut Option<T>, change: Option<T>) {
        if change.is_some() {
            *field = change;
        }
    }
    account.admin = change.admin;
    take(&mut account.secret_key, change.secret_key);
    take(
        &mut account.white_remote_address,
        change.white_remote_address,
    );
    take(&mut account.default_topic_perm, change.default_topic_perm);
    take(&mut account.default_group_perm, change.default_group_perm);
    take(&mut account.topic_perms, change.topic_perms);
    take(&mut account.group_perms, change.group_perms);
}

/// Replaces a file at once: whenever the machine dies there is the old one or the new one, whole.
async fn replace(disk: &dyn Disk, path: &str, content: &[u8]) -> std::io::Result<()> {
    let new = format!("{path}.tmp");
    let len = content.len() as u64;
    disk.remove(&new)?;
    let file = disk.map(&new, len)?;
    file.write(0, content)?;
    file.flush(0..len).await?;
    drop(file);
    disk.rename(&new, path)?;
    let folder = if path.starts_with(MORE) { MORE } else { FOLDER };
    disk.sync_dir(folder).await
}
