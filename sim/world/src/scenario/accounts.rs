//! Access control: accounts, and who uses which.

use indexmap::IndexMap;

use super::keys::{self, accounts, top};
use super::problem::suggest;
use super::read::tables;
use super::sheet::Sheet;
use super::{Account, Credentials, keys::Key};

/// Access keys and secrets must be longer than this in RocketMQ.
const KEY_MIN: usize = 6;

pub(super) fn accounts(file: &Sheet<'_>) -> IndexMap<String, Account> {
    let mut found = IndexMap::new();
    for (name, sheet) in tables(file, &top::ACCOUNTS, &keys::accounts::SECTION) {
        if name.len() <= KEY_MIN {
            let message = format!("`{name}` is too short for an access key");
            let help = format!("RocketMQ wants more than {KEY_MIN} characters");
            sheet.problems.add(sheet.span.clone(), message, Some(help));
        }
        let perm = |key| sheet.one_of(key).unwrap_or("DENY").to_owned();
        let account = Account {
            secret: secret(&sheet, &accounts::SECRET).unwrap_or_default(),
            admin: sheet.flag(&accounts::ADMIN).is_some_and(|at| at.value),
            topics: permissions(&sheet, &accounts::TOPICS),
            groups: permissions(&sheet, &accounts::GROUPS),
            default_topic: perm(&accounts::DEFAULT_TOPIC),
            default_group: perm(&accounts::DEFAULT_GROUP),
        };
        found.insert(name, account);
    }
    found
}

fn secret(sheet: &Sheet<'_>, key: &Key) -> Option<String> {
    let secret = sheet.text(key)?;
    if secret.value.len() <= KEY_MIN {
        let message = "the secret is too short".to_owned();
        let help = format!("RocketMQ wants more than {KEY_MIN} characters");
        sheet.problems.add(secret.span, message, Some(help));
    }
    Some(secret.value)
}

fn permissions(sheet: &Sheet<'_>, key: &Key) -> Vec<String> {
    let mut permissions = Vec::new();
    for entry in sheet.texts(key) {
        let perm = entry.value.split_once('=').map(|(_, perm)| perm);
        if !perm.is_some_and(|perm| keys::PERMS.contains(&perm)) {
            let message = format!("`{}` is not of the form name=permission", entry.value);
            let help = format!("a permission is one of {}", keys::PERMS.join(", "));
            sheet.problems.add(entry.span.clone(), message, Some(help));
        }
        permissions.push(entry.value);
    }
    permissions
}

/// What a group signs its requests with.
pub(super) fn credentials(
    sheet: &Sheet<'_>,
    (account, secret_key): (&Key, &Key),
    known: &IndexMap<String, Account>,
) -> Option<Credentials> {
    let Some(account) = sheet.text(account) else {
        if let Some(secret) = sheet.text(secret_key) {
            let message = "a secret without an account".to_owned();
            let help = "add `account`".to_owned();
            sheet.problems.add(secret.span, message, Some(help));
        }
        return None;
    };
    let own = known
        .get(&account.value)
        .map(|account| account.secret.clone());
    let secret = secret(sheet, secret_key).or(own);
    if secret.is_none() {
        let message = format!("there is no account `{}`", account.value);
        let names = known.keys().map(String::as_str);
        let help = suggest(&account.value, names, "there are")
            .or_else(|| Some("to come with a stranger's key, give it a secret".to_owned()));
        sheet.problems.add(account.span, message, help);
    }
    Some(Credentials {
        account: account.value,
        secret: secret.unwrap_or_default(),
    })
}
