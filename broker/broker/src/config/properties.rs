//! Settings by the names that Apache RocketMQ gives them.

use std::fmt::Write as _;

use hotfire_protocol::java_properties::{self, Entry};
use hotfire_remoting::TlsSettings;

use super::BrokerConfig;
use super::keys::{self, FIXED, WITHOUT_EFFECT};

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

/// Sets what a name stands for; an error says what is wrong.
fn apply(config: &mut BrokerConfig, name: &str, value: &str) -> Result<(), String> {
    if let Some(key) = keys::all().find(|key| key.name == name) {
        return (key.set)(config, value).map_err(|what| format!("`{name}`: {what}"));
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
