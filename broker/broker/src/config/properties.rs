//! Java properties files.

use std::fmt::Write as _;

use super::BrokerConfig;
use super::keys::{self, FIXED, WITHOUT_EFFECT};

/// What is wrong with a properties file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct PropertyError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong, and what was probably meant.
    pub what: String,
}

/// One `key=value`.
pub(super) struct Entry {
    line: usize,
    key: String,
    value: String,
}

/// Reads lines of `key=value` or `key: value`. `#` and `!` begin a comment line, a backslash at the
/// end of a line continues it, and one elsewhere quotes the next character.
pub(super) fn parse(text: &str) -> Result<Vec<Entry>, PropertyError> {
    let mut entries = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let mut logical = line.trim().to_owned();
        if logical.is_empty() || logical.starts_with(['#', '!']) {
            continue;
        }
        while ends_in_backslash(&logical) {
            logical.pop();
            match lines.next() {
                Some((_, more)) => logical.push_str(more.trim_start()),
                None => break,
            }
        }
        let line = number + 1;
        let (key, value) = split_entry(&logical).ok_or_else(|| PropertyError {
            line,
            what: format!("`{logical}` is not of the form key=value"),
        })?;
        entries.push(Entry { line, key, value });
    }
    Ok(entries)
}

fn ends_in_backslash(line: &str) -> bool {
    let backslashes = line.bytes().rev().take_while(|&byte| byte == b'\\').count();
    backslashes % 2 == 1
}

fn split_entry(line: &str) -> Option<(String, String)> {
    let at = line.find(['=', ':'])?;
    let key = line[..at].trim();
    (!key.is_empty()).then(|| (unquote(key), unquote(line[at + 1..].trim())))
}

fn unquote(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        plain.push(match char {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some(quoted) => quoted,
                None => '\\',
            },
            _ => char,
        });
    }
    plain
}

/// Sets what an entry names.
pub(super) fn apply(config: &mut BrokerConfig, entry: &Entry) -> Result<(), PropertyError> {
    let error = |what| PropertyError {
        line: entry.line,
        what,
    };
    let name = entry.key.as_str();
    if let Some(key) = keys::all().find(|key| key.name == name) {
        return (key.set)(config, &entry.value).map_err(|what| error(format!("`{name}`: {what}")));
    }
    if let Some(&(_, only)) = FIXED.iter().find(|(key, _)| *key == name) {
        let value = entry.value.as_str();
        return if value == only {
            Ok(())
        } else {
            Err(error(format!(
                "`{name}`: `{value}` is not supported: only {only} is"
            )))
        };
    }
    if WITHOUT_EFFECT.split(' ').any(|key| key == name) {
        tracing::warn!(key = name, "this setting has no effect here");
        return Ok(());
    }
    let fixed = FIXED.iter().map(|(key, _)| *key);
    let known = keys::all().map(|key| key.name).chain(fixed);
    let nearest = known
        .map(|known| {
            (
                strsim::osa_distance(&known.to_lowercase(), &name.to_lowercase()),
                known,
            )
        })
        .min();
    Err(error(match nearest {
        Some((distance, known)) if distance <= name.len() / 2 => {
            format!("there is no setting `{name}`; did you mean `{known}`?")
        }
        _ => format!("there is no setting `{name}`"),
    }))
}

/// All keys that mean something, with their values.
pub(super) fn render(config: &BrokerConfig) -> String {
    let mut text = String::new();
    for key in keys::all() {
        let _ = writeln!(text, "{}={}", key.name, (key.show)(config));
    }
    for (key, only) in FIXED {
        let _ = writeln!(text, "{key}={only}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hotfire_store::FlushDiskType;

    use super::*;

    #[test]
    fn a_usual_configuration_file_is_read() {
        let config = BrokerConfig::from_properties(
            "# the sample of the distribution\nbrokerClusterName = DefaultCluster\n\
             brokerName=broker-b\nbrokerId=0\ndeleteWhen=04;16\nfileReservedTime=48\n\
             brokerRole=ASYNC_MASTER\nflushDiskType=SYNC_FLUSH\nlistenPort: 10921\n\
             namesrvAddr=ns1:9876; ns2:9876\nsendMessageThreadPoolNums=16\n",
        )
        .unwrap();
        assert_eq!(config.broker_name, "broker-b");
        assert_eq!(config.listen, "0.0.0.0:10921");
        assert_eq!(config.namesrv_addrs, ["ns1:9876", "ns2:9876"]);
        assert_eq!(config.store.flush_disk_type, FlushDiskType::Sync);
        assert_eq!(config.store.delete_when, [4, 16]);
        assert_eq!(
            config.store.file_reserved_time,
            Duration::from_secs(48 * 3600)
        );
        assert_eq!(config.send_message_thread_pool_nums, 16);
    }

    #[test]
    fn a_misspelt_key_is_refused_with_what_was_probably_meant() {
        let error = BrokerConfig::from_properties("\nbrokername=a").unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 2: there is no setting `brokername`; did you mean `brokerName`?"
        );
        let error = BrokerConfig::from_properties("colour=red").unwrap_err();
        assert_eq!(error.what, "there is no setting `colour`");
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_refused() {
        for (text, what) in [
            ("traceOn=maybe", "`traceOn`: `maybe` is not true or false"),
            ("listenPort=70000", "`listenPort`: `70000` is not a port"),
            (
                "messageDelayLevel=1s 5",
                "`messageDelayLevel`: `5` is not a delay: a number with s, m, h or d is expected, \
                 as in `10s`",
            ),
            (
                "brokerRole=SLAVE",
                "`brokerRole`: `SLAVE` is not supported: only ASYNC_MASTER is",
            ),
            ("just text", "`just text` is not of the form key=value"),
        ] {
            assert_eq!(BrokerConfig::from_properties(text).unwrap_err().what, what);
        }
    }

    #[test]
    fn a_setting_without_effect_is_accepted() {
        assert!(BrokerConfig::from_properties("serverWorkerThreads=8").is_ok());
    }

    #[test]
    fn a_line_may_go_on_in_the_next() {
        let config = BrokerConfig::from_properties("brokerName=bro\\\n   ker\\:z").unwrap();
        assert_eq!(config.broker_name, "broker:z");
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        let mut config = BrokerConfig {
            broker_name: "broker-z".to_owned(),
            ..BrokerConfig::default()
        };
        config.store.flush_disk_type = FlushDiskType::Sync;
        let text = config.to_properties();
        let back = BrokerConfig::from_properties(&text).unwrap();
        assert_eq!(back.to_properties(), text);
        assert!(text.contains("messageDelayLevel=1s 5s 10s 30s 1m 2m 3m"));
    }

    #[test]
    fn a_failed_update_changes_nothing() {
        let mut config = BrokerConfig::default();
        assert!(config.update("brokerName=x\ntraceOn=maybe").is_err());
        assert_eq!(config.broker_name, "broker-a");
    }
}
