use std::collections::BTreeMap;
use std::time::Duration;

use hotfire_metrics::MetricsOptions;
use hotfire_protocol::java_properties;
use hotfire_remoting::Tls;

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
            tls: Tls::default(),
        }
    }
}

/// Keys that no request may change. The list names itself, so it cannot be emptied either.
const BLACK_LIST: [&str; 3] = ["configBlackList", "configStorePath", "kvConfigPath"];

impl NamesrvConfig {
    /// Reads a configuration file. Keys that are not there have their defaults, unknown ones are
    /// ignored.
    ///
    /// # Errors
    /// A value is not what its key takes.
    pub fn from_properties(text: &str) -> Result<Self, String> {
        let mut config = Self::default();
        for (key, value) in parse(text) {
            config.set(&key, &value)?;
        }
        Ok(config)
    }

    /// All keys and values as text, sorted by key, as `GET_NAMESRV_CONFIG` answers and the file holds.
    pub fn to_properties(&self) -> String {
        let millis = |duration: Duration| duration.as_millis().to_string();
        [
            ("configBlackList", BLACK_LIST.join(";")),
            ("configStorePath", self.config_store_path.clone()),
            ("kvConfigPath", self.kv_config_path.clone()),
            ("listenPort", self.host_and_port().1.to_owned()),
            ("orderMessageEnable", self.order_message_enable.to_string()),
            (
                "scanNotActiveBrokerInterval",
                millis(self.scan_not_active_broker_interval),
            ),
            (
                "serverChannelMaxIdleTimeSeconds",
                self.server_channel_max_idle_time.as_secs().to_string(),
            ),
        ]
        .map(|(key, value)| format!("{key}={value}\n"))
        .concat()
    }

    /// Takes the changes of an `UPDATE_NAMESRV_CONFIG` request; all or none. Only
    /// `orderMessageEnable` has an effect before the next start.
    pub(crate) fn update(&mut self, text: &str) -> Result<(), UpdateError> {
        let changes = parse(text);
        if BLACK_LIST.iter().any(|key| changes.contains_key(*key)) {
            return Err(UpdateError::BlackListed);
        }
        let mut changed = self.clone();
        for (key, value) in changes {
            changed.set(&key, &value).map_err(UpdateError::Malformed)?;
        }
        *self = changed;
        Ok(())
    }

    fn host_and_port(&self) -> (&str, &str) {
        self.listen.rsplit_once(':').unwrap_or((&self.listen, ""))
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let malformed = |expected| format!("{key}={value}: not {expected}");
        let number = || value.parse::<u64>().map_err(|_| malformed("a number"));
        match key {
            "listenPort" => {
                let port: u16 = value.parse().map_err(|_| malformed("a port"))?;
                self.listen = format!("{}:{port}", self.host_and_port().0);
            }
            "configStorePath" => self.config_store_path = value.to_owned(),
            "kvConfigPath" => self.kv_config_path = value.to_owned(),
            "orderMessageEnable" => {
                self.order_message_enable =
                    value.parse().map_err(|_| malformed("true or false"))?;
            }
            "scanNotActiveBrokerInterval" => {
                self.scan_not_active_broker_interval = Duration::from_millis(number()?.max(1));
            }
            "serverChannelMaxIdleTimeSeconds" => {
                // An `int` in Java; more would be beyond what clocks can count to.
                let seconds: u32 = value.parse().map_err(|_| malformed("a number"))?;
                self.server_channel_max_idle_time = Duration::from_secs(seconds.max(1).into());
            }
            "metricsExporterType" => {
                let exporter = value.parse().map_err(|_| malformed("DISABLE or PROM"))?;
                self.metrics.exporter = exporter;
            }
            "metricsPromExporterHost" => self.metrics.host = value.to_owned(),
            "metricsPromExporterPort" => {
                self.metrics.port = value.parse().map_err(|_| malformed("a port"))?;
            }
            _ => {}
        }
        Ok(())
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
        let mut config = NamesrvConfig::default();
        config
            .update("orderMessageEnable=true\nnobodyKnows=this\n")
            .unwrap();
        assert_eq!(
            config,
            NamesrvConfig {
                order_message_enable: true,
                ..Default::default()
            }
        );
    }

    #[test]
    fn an_update_of_a_path_is_refused_whole() {
        let mut config = NamesrvConfig::default();
        let update = config.update("orderMessageEnable=true\nkvConfigPath=/etc/passwd\n");
        assert_eq!(update, Err(UpdateError::BlackListed));
        assert_eq!(config, NamesrvConfig::default());
    }

    #[test]
    fn an_update_with_a_malformed_value_is_refused_whole() {
        let mut config = NamesrvConfig::default();
        let update = config.update("listenPort=12\norderMessageEnable=perhaps\n");
        assert!(matches!(update, Err(UpdateError::Malformed(_))));
        assert_eq!(config, NamesrvConfig::default());
    }
}
