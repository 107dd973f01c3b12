//! What producers and consumers have in common (`ClientConfig`).

use std::time::Duration;

use hotfire_protocol::SerializeType;

use crate::ClientError;

/// Settings of one client instance. The defaults are RocketMQ's.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Name servers as `host:port`.
    pub namesrv_addrs: Vec<String>,
    /// The part of the client id after the address. `None`, RocketMQ's `DEFAULT`, becomes
    /// `pid#nanoseconds`, unique in the process; a broadcasting consumer keeps `DEFAULT`, because
    /// its offset file is found by the client id.
    pub instance_name: Option<String>,
    /// How often the routes of the used topics are refreshed.
    pub poll_name_server_interval: Duration,
    /// How often every broker gets a heartbeat.
    pub heartbeat_broker_interval: Duration,
    /// How often a consumer commits its offsets.
    pub persist_consumer_offset_interval: Duration,
    /// How long a call of a name server or an administrative call of a broker may take
    /// (`mqClientApiTimeout`).
    pub api_timeout: Duration,
    /// The header encoding of requests. The Java client uses JSON unless told otherwise.
    pub serialize: SerializeType,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            namesrv_addrs: Vec::new(),
            instance_name: None,
            poll_name_server_interval: Duration::from_secs(30),
            heartbeat_broker_interval: Duration::from_secs(30),
            persist_consumer_offset_interval: Duration::from_secs(5),
            api_timeout: Duration::from_secs(3),
            serialize: SerializeType::Json,
        }
    }
}

impl ClientConfig {
    /// Adds name servers; an entry may itself hold several, separated by semicolons.
    pub(crate) fn add_namesrv<S: AsRef<str>>(&mut self, addrs: impl IntoIterator<Item = S>) {
        for addr in addrs {
            let parts = addr
                .as_ref()
                .split(';')
                .map(str::trim)
                .filter(|part| !part.is_empty());
            self.namesrv_addrs.extend(parts.map(str::to_owned));
        }
    }

    pub(crate) fn check(&self) -> Result<(), ClientError> {
        if self.namesrv_addrs.is_empty() {
            return Err(ClientError::Invalid(
                "no name server address is set".to_owned(),
            ));
        }
        Ok(())
    }
}
