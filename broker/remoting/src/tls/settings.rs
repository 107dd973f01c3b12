use hotfire_protocol::java_properties::{self, Entry};

/// What a server does with the two kinds of connections that may come to its port (`TlsMode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsMode {
    /// Plain ones only.
    Disabled,
    /// Both.
    #[default]
    Permissive,
    /// Encrypted ones only.
    Enforcing,
}

/// Whether a server asks its clients for certificates (`tls.server.need.client.auth`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// It does not.
    #[default]
    None,
    /// It looks at one if there is one.
    Optional,
    /// Without one, nobody is served.
    Require,
}

/// The keys of `tls.properties` (`TlsSystemConfig`), with its defaults. Paths are paths of files in
/// PEM format.
///
/// Left out: encrypted private keys. Asking for something that is left out is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// What the server takes (`tls.server.mode`). Default: both kinds of connections.
    pub mode: TlsMode,
    /// The server's certificate chain (`tls.server.certPath`).
    pub cert_path: Option<String>,
    /// The server's private key (`tls.server.keyPath`).
    pub key_path: Option<String>,
    /// Whether clients are asked for certificates (`tls.server.need.client.auth`).
    pub client_auth: ClientAuth,
    /// Whether those are checked (`tls.server.authClient`). Asking for one without checking it is
    /// not supported.
    pub auth_client: bool,
    /// The authorities that clients' certificates must come from (`tls.server.trustCertPath`).
    pub trust_cert_path: Option<String>,
    /// Whether a server without certificate makes itself one at start, that nobody signed but
    /// itself (`tls.test.mode.enable`). Default true, as in RocketMQ; such a server's clients
    /// cannot tell it from an impostor.
    pub test_mode: bool,
    /// Whether this process's own connections, to name servers, are encrypted (`tls.enable`).
    pub enable: bool,
    /// Whether it then checks servers' certificates (`tls.client.authServer`).
    pub auth_server: bool,
    /// The authorities that they must come from (`tls.client.trustCertPath`).
    pub client_trust_cert_path: Option<String>,
    /// The certificate chain that it shows (`tls.client.certPath`).
    pub client_cert_path: Option<String>,
    /// The private key for it (`tls.client.keyPath`).
    pub client_key_path: Option<String>,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            mode: TlsMode::default(),
            cert_path: None,
            key_path: None,
            client_auth: ClientAuth::default(),
            auth_client: false,
            trust_cert_path: None,
            test_mode: true,
            enable: false,
            auth_server: false,
            client_trust_cert_path: None,
            client_cert_path: None,
            client_key_path: None,
        }
    }
}

impl TlsSettings {
    /// What the keys of all these settings begin with.
    pub const PREFIX: &str = "tls.";

    /// Reads the settings among the lines of a properties file; other keys are left alone.
    ///
    /// # Errors
    /// A key that begins with `tls.` and is not known, or a value that its key cannot have, with
    /// the number of the line.
    pub fn from_properties(text: &str) -> Result<Self, String> {
        let mut settings = Self::default();
        for Entry { line, key, value } in java_properties::parse(text) {
            if key.starts_with(Self::PREFIX) {
                settings
                    .set(&key, &value.unwrap_or_default())
                    .map_err(|what| format!("line {line}: `{key}`: {what}"))?;
            }
        }
        Ok(settings)
    }

    /// The paths that are set.
    pub fn paths_mut(&mut self) -> impl Iterator<Item = &mut String> {
        let paths = [
            &mut self.cert_path,
            &mut self.key_path,
            &mut self.trust_cert_path,
            &mut self.client_trust_cert_path,
            &mut self.client_cert_path,
            &mut self.client_key_path,
        ];
        paths.into_iter().flatten()
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let path = || (!value.is_empty()).then(|| value.to_owned());
        let flag = || match value {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(format!("`{value}` is neither true nor false")),
        };
        match key {
            "tls.server.mode" => {
                self.mode = match value {
                    "disabled" => TlsMode::Disabled,
                    "permissive" => TlsMode::Permissive,
                    "enforcing" => TlsMode::Enforcing,
                    _ => {
                        return Err(format!(
                            "`{value}` is none of disabled, permissive, enforcing"
                        ));
                    }
                }
            }
            "tls.server.need.client.auth" => {
                self.client_auth = match value {
                    "none" => ClientAuth::None,
                    "optional" => ClientAuth::Optional,
                    "require" => ClientAuth::Require,
                    _ => return Err(format!("`{value}` is none of none, optional, require")),
                }
            }
            "tls.server.certPath" => self.cert_path = path(),
            "tls.server.keyPath" => self.key_path = path(),
            "tls.server.trustCertPath" => self.trust_cert_path = path(),
            "tls.server.authClient" => self.auth_client = flag()?,
            "tls.test.mode.enable" => self.test_mode = flag()?,
            "tls.enable" => self.enable = flag()?,
            "tls.client.authServer" => self.auth_server = flag()?,
            "tls.client.trustCertPath" => self.client_trust_cert_path = path(),
            "tls.client.certPath" => self.client_cert_path = path(),
            "tls.client.keyPath" => self.client_key_path = path(),
            "tls.server.keyPassword" | "tls.client.keyPassword" => {
                if !value.is_empty() {
                    return Err("encrypted private keys are not supported".to_owned());
                }
            }
            _ => return Err("there is no such setting".to_owned()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_rocketmq() {
        let settings = TlsSettings::from_properties("brokerName=broker-a\n").unwrap();
        assert_eq!(settings, TlsSettings::default());
        assert_eq!(settings.mode, TlsMode::Permissive);
        assert!(settings.test_mode && !settings.enable);
    }

    #[test]
    fn a_usual_file_is_read() {
        let settings = TlsSettings::from_properties(
            "tls.test.mode.enable=false\ntls.server.mode=enforcing\n\
             tls.server.certPath=/etc/certs/server.pem\ntls.server.keyPath=/etc/certs/server.key\n\
             tls.server.keyPassword=\ntls.server.need.client.auth=require\n\
             tls.server.authClient=true\ntls.server.trustCertPath=/etc/certs/ca.pem\n",
        )
        .unwrap();
        assert_eq!(settings.mode, TlsMode::Enforcing);
        assert_eq!(settings.cert_path.as_deref(), Some("/etc/certs/server.pem"));
        assert_eq!(settings.key_path.as_deref(), Some("/etc/certs/server.key"));
        assert_eq!(settings.client_auth, ClientAuth::Require);
        assert!(settings.auth_client && !settings.test_mode);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_line() {
        for (text, why) in [
            (
                "\ntls.server.mode=on",
                "line 2: `tls.server.mode`: `on` is none of disabled, permissive, enforcing",
            ),
            (
                "tls.colour=red",
                "line 1: `tls.colour`: there is no such setting",
            ),
            (
                "tls.enable",
                "line 1: `tls.enable`: `` is neither true nor false",
            ),
            (
                "tls.server.keyPassword=1234",
                "line 1: `tls.server.keyPassword`: encrypted private keys are not supported",
            ),
        ] {
            assert_eq!(TlsSettings::from_properties(text).unwrap_err(), why);
        }
    }
}
