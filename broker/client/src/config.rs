//! What producers and consumers have in common (`ClientConfig`).

use std::time::Duration;

use hotfire_protocol::{MessageQueue, SerializeType, namespace, topic};

use crate::{ClientError, Credentials, TlsOptions};

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
    /// What requests are signed with, to name servers and brokers alike. Default: unsigned.
    pub credentials: Option<Credentials>,
    /// How connections are encrypted. Default: not at all.
    pub tls: Option<TlsOptions>,
    /// The namespace that topics and groups lie in. Default: none.
    pub namespace: Option<String>,
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
            credentials: None,
            tls: None,
            namespace: None,
        }
    }
}

impl ClientConfig {
    /// A topic or group as brokers know it.
    pub(crate) fn wrap(&self, name: &str) -> String {
        namespace::wrap(self.namespace.as_deref().unwrap_or_default(), name)
    }

    /// A topic or group as the user knows it.
    pub(crate) fn unwrap(&self, name: &str) -> String {
        namespace::unwrap(self.namespace.as_deref().unwrap_or_default(), name)
    }

    /// A queue as brokers know it.
    pub(crate) fn wrap_queue(&self, queue: &MessageQueue) -> MessageQueue {
        MessageQueue {
            topic: self.wrap(&queue.topic),
            ..queue.clone()
        }
    }

    /// A queue as the user knows it.
    pub(crate) fn unwrap_queue(&self, queue: &MessageQueue) -> MessageQueue {
        MessageQueue {
            topic: self.unwrap(&queue.topic),
            ..queue.clone()
        }
    }

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

/// Refuses a group that is none, and the one that Java clients have that name none: whoever has it
/// would answer for all of them (`checkConfig`).
pub(crate) fn check_own_group(group: &str, reserved: &str) -> Result<(), ClientError> {
    let checked = if reserved == topic::DEFAULT_PRODUCER_GROUP {
        topic::check_producer_group(group)
    } else {
        topic::check_group(group)
    };
    checked.map_err(|error| ClientError::Invalid(error.to_string()))?;
    if group == reserved {
        let reason = format!("the group {reserved} is that of whoever names none; name another");
        return Err(ClientError::Invalid(reason));
    }
    Ok(())
}

/// Gives a builder with a field `client: ClientConfig` the setters that all kinds of clients have.
macro_rules! client_setters {
    ($builder:ty) => {
        impl $builder {
            /// Name servers as `host:port`.
            pub fn namesrv<S: AsRef<str>>(mut self, addrs: impl IntoIterator<Item = S>) -> Self {
                self.client.add_namesrv(addrs);
                self
            }

            /// The part of the client id behind the address. Default: `pid#nanoseconds`; for a
            /// broadcasting consumer `DEFAULT`.
            pub fn instance_name(mut self, name: impl Into<String>) -> Self {
                self.client.instance_name = Some(name.into());
                self
            }

            /// The header encoding of requests. Default: JSON.
            pub fn serialize(mut self, serialize: hotfire_protocol::SerializeType) -> Self {
                self.client.serialize = serialize;
                self
            }

            /// What requests are signed with. Default: they are not signed.
            pub fn credentials(mut self, credentials: $crate::Credentials) -> Self {
                self.client.credentials = Some(credentials);
                self
            }

            /// Encrypts all connections. Default: they are not.
            pub fn tls(mut self, tls: $crate::TlsOptions) -> Self {
                self.client.tls = Some(tls);
                self
            }

            /// The namespace that topics and groups lie in. Default: none.
            pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
                self.client.namespace = Some(namespace.into());
                self
            }

            /// Settings that all kinds of clients share, replacing what was set of them before.
            pub fn client_config(mut self, config: $crate::ClientConfig) -> Self {
                self.client = config;
                self
            }
        }
    };
}
pub(crate) use client_setters;
