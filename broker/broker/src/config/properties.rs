//! Settings by the names that Apache RocketMQ gives them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use hotfire_protocol::java_properties::{self, Entry};
use hotfire_remoting::TlsSettings;

use super::BrokerConfig;
use super::keys::{self, FIXED, WITHOUT_EFFECT, When};

/// Keys beside those of TLS that whoever starts the broker reads: how a name server beside it knows
/// brokers, and what this one signs with.
const OF_STARTER: [&str; 2] = [
    "authenticationEnabled",
    "innerClientAuthenticationCredentials",
];

/// What is wrong with a properties file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct PropertyError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong, and what was probably meant.
    pub what: String,
}

/// Sets all that the entries of a properties file name.
pub(super) fn apply_all(config: &mut BrokerConfig, text: &str) -> Result<(), PropertyError> {
    for Entry { line, key, value } in java_properties::parse(text) {
        let error = |what| PropertyError { line, what };
        match value {
            Some(value) if !key.is_empty() => apply(config, &key, &value).map_err(error)?,
            _ => {
                let text = value.map_or(key, |value| format!("={value}"));
                return Err(error(format!("`{text}` is not of the form key=value")));
            }
        }
    }
    Ok(())
}

/// Refuses changes that only a start can make, and notes the others. Setting what is set already
/// changes nothing.
pub(super) fn note_changes(
    before: &BrokerConfig,
    after: &mut BrokerConfig,
    text: &str,
) -> Result<(), PropertyError> {
    for Entry { line, key, value } in java_properties::parse(text) {
        let Some(key) = keys::find(&key) else {
            continue;
        };
        let is_changed = (key.show)(before) != (key.show)(after);
        if is_changed && key.when == When::Start {
            let what = format!(
                "`{}`: only a start sets it; put it into the configuration file and start the \
                 broker again",
                key.name
            );
            return Err(PropertyError { line, what });
        }
        let value = value.unwrap_or_default();
        after.changed_settings.insert(key.name.to_owned(), value);
    }
    Ok(())
}

/// A configuration file with changed settings: its other lines stay as they are.
pub(super) fn edit(file: &str, changed: &BTreeMap<String, String>) -> String {
    let mut dropped = BTreeSet::new();
    let mut entries = java_properties::parse(file).into_iter().peekable();
    let lines: Vec<&str> = file.lines().collect();
    while let Some(entry) = entries.next() {
        if keys::find(&entry.key).is_some_and(|key| changed.contains_key(key.name)) {
            // With the lines that go on with it, and no more.
            let end = entries.peek().map_or(lines.len() + 1, |next| next.line);
            let goes_on = |line: &&str| line.trim_end().ends_with('\\');
            let mut line = entry.line;
            dropped.insert(line);
            while line + 1 < end && lines.get(line - 1).is_some_and(goes_on) {
                line += 1;
                dropped.insert(line);
            }
        }
    }
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        if !dropped.contains(&(index + 1)) {
            let _ = writeln!(text, "{line}");
        }
    }
    for (key, value) in changed {
        let _ = writeln!(text, "{key}={}", java_properties::escape(value));
    }
    text
}

/// Sets what a name stands for; an error says what is wrong.
fn apply(config: &mut BrokerConfig, name: &str, value: &str) -> Result<(), String> {
    if let Some(key) = keys::find(name) {
        return (key.check)(value)
            .and_then(|()| (key.set)(config, value))
            .map_err(|what| format!("`{name}`: {what}"));
    }
    if let Some(&(_, only)) = FIXED.iter().find(|(key, _)| *key == name) {
        return if value == only {
            Ok(())
        } else {
            Err(format!(
                "`{name}`: `{value}` is not supported: only {only} is"
            ))
        };
    }
    if WITHOUT_EFFECT.split(' ').any(|key| key == name) {
        tracing::warn!(key = name, "this setting has no effect here");
        return Ok(());
    }
    if name.starts_with(TlsSettings::PREFIX) || OF_STARTER.contains(&name) {
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
    Err(match nearest {
        Some((distance, known)) if distance <= name.len() / 2 => {
            format!("there is no setting `{name}`; did you mean `{known}`?")
        }
        _ => format!("there is no setting `{name}`"),
    })
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
            ("= text", "`=text` is not of the form key=value"),
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
        let config = BrokerConfig::from_properties("regionId=re\\\n   gion\\:z").unwrap();
        assert_eq!(config.region_id, "region:z");
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
        for wrong in ["traceOn=maybe", "listenPort=1", "deleteWhen=25"] {
            assert!(config.update(&format!("regionId=x\n{wrong}")).is_err());
            assert_eq!(config.region_id, "DefaultRegion", "{wrong}");
            assert!(config.changed_settings.is_empty());
        }
    }

    #[test]
    fn a_value_out_of_its_range_is_refused_by_file_and_update() {
        let long = format!("regionId={}", "r".repeat(100_000));
        let texts = [
            "brokerPermission=99",
            "brokerPermission=-1",
            "deleteWhen=25",
            "deleteWhen=04;24",
            "brokerName=",
            "brokerName=a\\nb",
            "brokerClusterName=a b",
            "regionId=",
            "defaultTopicQueueNums=0",
            "flushDelayOffsetInterval=0",
            "shortPollingTimeMills=18446744073709551615",
            "mappedFileSizeCommitLog=0",
            "diskMaxUsedSpaceRatio=101",
            "storePathCommitLog=/a,/b",
            "brokerId=1",
            &long,
        ];
        for text in texts {
            assert!(BrokerConfig::from_properties(text).is_err(), "{text}");
            assert!(BrokerConfig::default().update(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_only_a_start_sets_is_refused_with_that_reason_unless_it_is_set_already() {
        let mut config = BrokerConfig::default();
        for text in [
            "storePathRootDir=/elsewhere",
            "listenPort=1",
            "brokerName=other",
            "brokerClusterName=other",
            "mapedFileSizeCommitLog=4096",
            "deleteWhen=05",
            "aclEnable=true",
        ] {
            let refused = config.update(text).unwrap_err().to_string();
            assert!(refused.contains("only a start sets it"), "{refused}");
        }
        assert!(config.update("listenPort=10911\nregionId=Moon").is_ok());
    }

    #[test]
    fn every_setting_can_be_set_to_what_it_is() {
        let mut config = BrokerConfig::default();
        let text = config.to_properties();
        assert_eq!(config.update(&text), Ok(()));
    }

    #[test]
    fn the_name_of_earlier_days_is_known() {
        let config = BrokerConfig::from_properties("mapedFileSizeCommitLog=4096").unwrap();
        assert_eq!(config.store.commit_log_file_size, 4096);
        assert!(
            config
                .to_properties()
                .contains("mappedFileSizeCommitLog=4096\n")
        );
    }

    #[test]
    fn a_changed_setting_replaces_its_line_and_leaves_the_others() {
        let file = "# mine\nregionId = a\\\n  b\ntls.server.mode=enforcing\nbrokerName=x\n";
        let changed = [("regionId", "Moon"), ("traceOn", "false")];
        let changed = changed.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let edited = edit(file, &changed.into());
        assert_eq!(
            edited,
            "# mine\ntls.server.mode=enforcing\nbrokerName=x\nregionId=Moon\ntraceOn=false\n"
        );
    }
}
