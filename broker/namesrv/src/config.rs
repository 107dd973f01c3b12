use std::collections::BTreeMap;
use std::time::Duration;

use hotfire_env::Shown;
use hotfire_metrics::MetricsOptions;
use hotfire_protocol::java_properties;
use hotfire_remoting::{SessionCredentials, Tls};

/// How a name server runs (`NamesrvConfig`, and what of `NettyServerConfig` applies).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamesrvConfig {
    /// The address to listen on; 0.0.0.0:9876. In properties, its port is `listenPort`.
    pub listen: String,
    /// The file of the key and value configuration, below the root of the disk
    /// (`kvConfigPath`).
    pub kv_config_path: String,
    /// The file that an update of this configuration is written to (`configStorePath`). It is read
    /// by nobody unless it is given to the name server at its next start, as in Apache RocketMQ.
    pub config_store_path: String,
    /// How often expired brokers are looked for, after the first five seconds
    /// (`scanNotActiveBrokerInterval`, ten seconds; the name is of 5.x, 4.9 has it built in).
    pub scan_not_active_broker_interval: Duration,
    /// Whether routes carry the configuration of ordered topics (`orderMessageEnable`, false).
    pub order_message_enable: bool,
    /// A connection without traffic for this long is closed (`serverChannelMaxIdleTimeSeconds`).
    pub server_channel_max_idle_time: Duration,
    /// Whether and where metrics are handed out; on port 5558 unless told otherwise, for 5557 is the
    /// broker's. The keys are the broker's: `metricsExporterType`, `metricsPromExporterHost`,
    /// `metricsPromExporterPort`. They are not among those that requests show.
    pub metrics: MetricsOptions,
    /// Whether brokers have to sign what they tell of themselves, and administrators what they change,
    /// with [these credentials](Self::inner_client_authentication_credentials)
    /// (`authenticationEnabled`, false; the name is of 5.x, 4.9 takes anything from anybody).
    /// Routes are told to everybody.
    pub authentication_enabled: bool,
    /// The account that has to sign (`innerClientAuthenticationCredentials`, as in 5.x:
    /// `{"accessKey":"…","secretKey":"…"}`).
    pub inner_client_authentication_credentials: Option<SessionCredentials>,
    /// How connections are encrypted. No key: whoever starts the name server sets it.
    pub tls: Tls,
}

impl Default for NamesrvConfig {
    fn default() -> Self {
        Self {
            listen: "0.0.0.0:9876".to_owned(),
            kv_config_path: "namesrv/kvConfig.json".to_owned(),
            config_store_path: "namesrv/namesrv.properties".to_owned(),
            scan_not_active_broker_interval: Duration::from_secs(10),
            order_message_enable: false,
            server_channel_max_idle_time: Duration::from_secs(120),
            metrics: MetricsOptions {
                port: 5558,
                ..MetricsOptions::default()
            },
            authentication_enabled: false,
            inner_client_authentication_credentials: None,
            tls: Tls::default(),
        }
    }
}

/// When a key may get another value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Changes {
    /// At any time, and it counts at once.
    AtOnce,
    /// By the configuration file, for the next start.
    AtStart,
    /// By the configuration file; a request may not even name it (`configBlackList`).
    BlackListed,
}

/// A key of the configuration: its file, its request and its text form go by this table.
struct Key {
    name: &'static str,
    changes: Changes,
    set: fn(&mut NamesrvConfig, &str) -> Result<(), String>,
    /// None if the text form does not have it.
    show: Option<fn(&NamesrvConfig) -> String>,
}

/// The longest time between two looks for expired brokers: an hour. A broker expires in two minutes.
const SCAN_INTERVAL_MAX_MS: u64 = 3_600_000;

/// All keys, sorted. `configBlackList` names itself, so it cannot be emptied either.
const KEYS: [Key; 12] = [
    Key {
        name: "authenticationEnabled",
        changes: Changes::AtStart,
        set: |config, value| {
            config.authentication_enabled = truth(value)?;
            Ok(())
        },
        // Shown only if it is on: 4.9 has no such key.
        show: None,
    },
    Key {
        name: "configBlackList",
        changes: Changes::BlackListed,
        set: |_, _| Ok(()),
        show: Some(|_| {
            let listed = KEYS
                .iter()
                .filter(|key| key.changes == Changes::BlackListed);
            let names: Vec<_> = listed.map(|key| key.name).collect();
            names.join(";")
        }),
    },
    Key {
        name: "configStorePath",
        changes: Changes::BlackListed,
        set: |config, value| {
            config.config_store_path = path(value)?;
            Ok(())
        },
        show: Some(|config| config.config_store_path.clone()),
    },
    Key {
        name: "innerClientAuthenticationCredentials",
        changes: Changes::AtStart,
        set: |config, value| {
            config.inner_client_authentication_credentials = SessionCredentials::read(value)?;
            Ok(())
        },
        // It is a secret.
        show: None,
    },
    Key {
        name: "kvConfigPath",
        changes: Changes::BlackListed,
        set: |config, value| {
            config.kv_config_path = path(value)?;
            Ok(())
        },
        show: Some(|config| config.kv_config_path.clone()),
    },
    Key {
        name: "listenPort",
        changes: Changes::AtStart,
        set: |config, value| {
            let port = port(value)?;
            config.listen = format!("{}:{port}", config.host_and_port().0);
            Ok(())
        },
        show: Some(|config| config.host_and_port().1.to_owned()),
    },
    Key {
        name: "metricsExporterType",
        changes: Changes::AtStart,
        set: |config, value| {
            config.metrics.exporter = value.parse().map_err(|_| "not DISABLE or PROM")?;
            Ok(())
        },
        show: None,
    },
    Key {
        name: "metricsPromExporterHost",
        changes: Changes::AtStart,
        set: |config, value| {
            value.clone_into(&mut config.metrics.host);
            Ok(())
        },
        show: None,
    },
    Key {
        name: "metricsPromExporterPort",
        changes: Changes::AtStart,
        set: |config, value| {
            config.metrics.port = port(value)?;
            Ok(())
        },
        show: None,
    },
    Key {
        name: "orderMessageEnable",
        changes: Changes::AtOnce,
        set: |config, value| {
            config.order_message_enable = truth(value)?;
            Ok(())
        },
        show: Some(|config| config.order_message_enable.to_string()),
    },
    Key {
        name: "scanNotActiveBrokerInterval",
        changes: Changes::AtOnce,
        set: |config, value| {
            let millis = number(value, 1, SCAN_INTERVAL_MAX_MS)?;
            config.scan_not_active_broker_interval = Duration::from_millis(millis);
            Ok(())
        },
        show: Some(|config| {
            config
                .scan_not_active_broker_interval
                .as_millis()
                .to_string()
        }),
    },
    Key {
        name: "serverChannelMaxIdleTimeSeconds",
        changes: Changes::AtStart,
        set: |config, value| {
            // An `int` in Java; more would be beyond what clocks can count to.
            let seconds = number(value, 1, u32::MAX.into())?;
            config.server_channel_max_idle_time = Duration::from_secs(seconds);
            Ok(())
        },
        show: Some(|config| config.server_channel_max_idle_time.as_secs().to_string()),
    },
];

fn truth(value: &str) -> Result<bool, String> {
    value.parse().map_err(|_| "not true or false".to_owned())
}

fn port(value: &str) -> Result<u16, String> {
    value.parse().map_err(|_| "not a port".to_owned())
}

fn path(value: &str) -> Result<String, String> {
    if value.is_empty() {
        return Err("not a path".to_owned());
    }
    Ok(value.to_owned())
}

fn number(value: &str, min: u64, max: u64) -> Result<u64, String> {
    let number = value.parse::<u64>().ok();
    number
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| format!("not a number from {min} to {max}"))
}

fn key(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

impl NamesrvConfig {
    /// Reads a configuration file. Keys that are not there have their defaults, unknown ones are
    /// ignored.
    ///
    /// # Errors
    /// A value is not what its key takes, or one key asks for another that is not there.
    pub fn from_properties(text: &str) -> Result<Self, String> {
        let mut config = Self::default();
        for (name, value) in parse(text) {
            config.set(&name, &value)?;
        }
        config.check()?;
        Ok(config)
    }

    /// Takes from a configuration file what a name server beside a broker takes from the broker's:
    /// who may register (`authenticationEnabled`, `innerClientAuthenticationCredentials`).
    ///
    /// # Errors
    /// As [`NamesrvConfig::from_properties`].
    pub fn set_authentication(&mut self, text: &str) -> Result<(), String> {
        for (name, value) in parse(text) {
            if matches!(
                name.as_str(),
                "authenticationEnabled" | "innerClientAuthenticationCredentials"
            ) {
                self.set(&name, &value)?;
            }
        }
        self.check()
    }

    fn check(&self) -> Result<(), String> {
        if self.authentication_enabled && self.inner_client_authentication_credentials.is_none() {
            let missing = "authenticationEnabled takes innerClientAuthenticationCredentials";
            return Err(missing.to_owned());
        }
        Ok(())
    }

    /// All keys and values as text, sorted by key, as `GET_NAMESRV_CONFIG` answers and the file holds.
    pub fn to_properties(&self) -> String {
        let shown = KEYS.iter().filter_map(|key| Some((key.name, key.show?)));
        shown
            .map(|(name, show)| format!("{name}={}\n", show(self)))
            .collect()
    }

    /// What an `UPDATE_NAMESRV_CONFIG` request makes of this configuration; all of its changes or
    /// none. Keys that nobody knows are ignored, as in Apache RocketMQ, which takes any value for any
    /// other.
    pub(crate) fn updated(&self, text: &str) -> Result<Self, UpdateError> {
        let changes = parse(text);
        let known = || {
            changes
                .iter()
                .filter_map(|(name, value)| Some((key(name)?, value)))
        };
        if known().any(|(key, _)| key.changes == Changes::BlackListed) {
            return Err(UpdateError::BlackListed);
        }
        let mut changed = self.clone();
        for (key, value) in known() {
            let before = changed.clone();
            changed
                .set(key.name, value)
                .map_err(UpdateError::Malformed)?;
            if key.changes == Changes::AtStart && changed != before {
                return Err(UpdateError::AtStart(key.name));
            }
        }
        Ok(changed)
    }

    fn host_and_port(&self) -> (&str, &str) {
        self.listen.rsplit_once(':').unwrap_or((&self.listen, ""))
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let Some(key) = key(name) else {
            return Ok(());
        };
        // The value of a secret stays out of logs.
        (key.set)(self, value).map_err(|error| match key.show {
            Some(_) => format!("{name}={}: {error}", Shown(value)),
            None => format!("{name}: {error}"),
        })
    }
}

/// Keys and values; a key without a value has an empty one.
fn parse(text: &str) -> BTreeMap<String, String> {
    let entries = java_properties::parse(text).into_iter();
    entries
        .map(|entry| (entry.key, entry.value.unwrap_or_default()))
        .collect()
}

/// Why a configuration was not updated.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum UpdateError {
    /// It names a key that may not be changed.
    BlackListed,
    /// It changes a key that only a start may set.
    AtStart(&'static str),
    /// A value is not what its key takes.
    Malformed(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_survives_its_text_form() {
        let config = NamesrvConfig {
            listen: "0.0.0.0:19876".to_owned(),
            order_message_enable: true,
            ..NamesrvConfig::default()
        };
        assert_eq!(
            NamesrvConfig::from_properties(&config.to_properties()).unwrap(),
            config
        );
    }

    #[test]
    fn an_idle_time_that_no_clock_can_count_to_is_refused() {
        let text = format!("serverChannelMaxIdleTimeSeconds={}", u64::MAX);
        assert!(NamesrvConfig::from_properties(&text).is_err());
        let text = format!("serverChannelMaxIdleTimeSeconds={}", u32::MAX);
        let config = NamesrvConfig::from_properties(&text).unwrap();
        let now = tokio::time::Instant::now();
        assert!(
            now.checked_add(config.server_channel_max_idle_time)
                .is_some()
        );
    }

    #[test]
    fn the_text_form_is_a_line_for_each_key_in_their_order() {
        let text = NamesrvConfig::default().to_properties();
        assert!(text.contains("kvConfigPath=namesrv/kvConfig.json\nlistenPort=9876\n"));
        assert!(text.lines().is_sorted());
    }

    #[test]
    fn comments_and_keys_without_a_value_are_read() {
        let text = "# of 2024\r\n  listenPort = 12 \r\n!not=this\nbare\n";
        let config = NamesrvConfig::from_properties(text).unwrap();
        assert_eq!(config.listen, "0.0.0.0:12");
    }

    #[test]
    fn an_update_changes_what_it_names() {
        let config = NamesrvConfig::default();
        let changed = config.updated("orderMessageEnable=true\nnobodyKnows=this\n");
        let expected = NamesrvConfig {
            order_message_enable: true,
            ..config
        };
        assert_eq!(changed, Ok(expected));
    }

    #[test]
    fn an_update_of_a_path_is_refused_whole() {
        let config = NamesrvConfig::default();
        let update = config.updated("orderMessageEnable=true\nkvConfigPath=/etc/passwd\n");
        assert_eq!(update, Err(UpdateError::BlackListed));
    }

    #[test]
    fn an_update_with_a_malformed_value_is_refused_whole() {
        let config = NamesrvConfig::default();
        for value in ["perhaps", "", "TRUE "] {
            let update = config.updated(&format!("orderMessageEnable={value}\n"));
            assert!(matches!(update, Err(UpdateError::Malformed(_))), "{value}");
        }
    }

    #[test]
    fn an_interval_beyond_reason_is_refused_in_the_file_and_in_a_request() {
        for value in ["0", "-1", "3600001", "18446744073709551615", "1e3"] {
            let text = format!("scanNotActiveBrokerInterval={value}");
            assert!(NamesrvConfig::from_properties(&text).is_err(), "{value}");
            let update = NamesrvConfig::default().updated(&text);
            assert!(matches!(update, Err(UpdateError::Malformed(_))), "{value}");
        }
        let config = NamesrvConfig::from_properties("scanNotActiveBrokerInterval=5000").unwrap();
        assert_eq!(
            config.scan_not_active_broker_interval,
            Duration::from_secs(5)
        );
    }

    #[test]
    fn what_only_a_start_may_set_is_refused_unless_it_stays_as_it_is() {
        let config = NamesrvConfig::default();
        let update = config.updated("orderMessageEnable=true\nlistenPort=12\n");
        assert_eq!(update, Err(UpdateError::AtStart("listenPort")));
        let same = config.updated("listenPort=9876\nserverChannelMaxIdleTimeSeconds=120\n");
        assert_eq!(same, Ok(config));
    }

    #[test]
    fn authentication_takes_credentials_that_no_request_shows() {
        assert!(NamesrvConfig::from_properties("authenticationEnabled=true").is_err());
        let text = concat!(
            "authenticationEnabled=true\n",
            r#"innerClientAuthenticationCredentials={"accessKey":"inner","secretKey":"12345678"}"#,
        );
        let config = NamesrvConfig::from_properties(text).unwrap();
        assert!(config.authentication_enabled);
        assert!(!config.to_properties().contains("12345678"));
        let wrong = text.replace('}', "12345678");
        let error = NamesrvConfig::from_properties(&wrong).unwrap_err();
        assert!(!error.contains("12345678"), "{error}");
    }

    #[test]
    fn the_keys_are_sorted() {
        assert!(KEYS.iter().map(|key| key.name).is_sorted());
    }
}
