use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hotfire_env::{ByteStream, Disk, Env};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;

use super::pem::{self, WallClock};
use super::sniff::SniffStream;
use super::{ClientAuth, TlsConnector, TlsError, TlsMode, TlsOptions, TlsSettings};

/// A connection that comes at least this long after the files were last looked at has them looked
/// at again (`FileWatchService.WATCH_INTERVAL`).
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The certificate and the rules by which a server takes connections. Files that change are taken
/// up by the next connection; if they make no sense, the error is logged and what was valid before
/// stays so.
pub struct ServerTls {
    env: Env,
    disk: Arc<dyn Disk>,
    settings: TlsSettings,
    loaded: Mutex<Loaded>,
}

struct Loaded {
    config: Arc<ServerConfig>,
    /// What the configuration was made of, or what could not be used since.
    files: Files,
    looked: Instant,
}

/// The contents of the files; empty where there is none.
#[derive(Clone, PartialEq, Eq, Default)]
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
    trust: Vec<u8>,
}

/// The private key stays out of logs.
impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// Two servers' TLS is the same if its settings are.
impl PartialEq for ServerTls {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings
    }
}

impl Eq for ServerTls {}

impl ServerTls {
    /// What the settings ask of a server: nothing if its TLS is disabled. The files are read from
    /// `disk`, their paths taken from its root.
    ///
    /// # Errors
    /// A file is missing or makes no sense, or a key does not belong to its certificate.
    pub fn load(
        env: &Env,
        disk: &Arc<dyn Disk>,
        settings: &TlsSettings,
    ) -> Result<Option<Arc<Self>>, TlsError> {
        if settings.mode == TlsMode::Disabled {
            return Ok(None);
        }
        let (config, files) = if settings.cert_path.is_none() && settings.key_path.is_none() {
            if !settings.test_mode {
                let missing = "tls.server.certPath and tls.server.keyPath are not set";
                return Err(TlsError(missing.to_owned()));
            }
            let files = Files {
                trust: read(&**disk, settings.trust_cert_path.as_deref())?,
                ..Files::default()
            };
            (self_signed(env, settings, &files)?, files)
        } else {
            let files = Files::read(&**disk, settings)?;
            (from_files(env, settings, &files)?, files)
        };
        Ok(Some(Arc::new(Self {
            env: env.clone(),
            disk: disk.clone(),
            settings: settings.clone(),
            loaded: Mutex::new(Loaded {
                config: Arc::new(config),
                files,
                looked: Instant::now(),
            }),
        })))
    }

    /// A connection that takes what the peer speaks, as far as the mode allows.
    pub(crate) fn wrap(&self, stream: Box<dyn ByteStream>) -> Box<dyn ByteStream> {
        let plain_too = self.settings.mode == TlsMode::Permissive;
        Box::new(SniffStream::new(stream, self.current(), plain_too))
    }

    /// The configuration for a new connection.
    fn current(&self) -> Arc<ServerConfig> {
        let mut loaded = self.loaded.lock();
        let from_files = self.settings.cert_path.is_some();
        if from_files && loaded.looked.elapsed() >= LOOK_AGAIN {
            loaded.looked = Instant::now();
            self.look(&mut loaded);
        }
        loaded.config.clone()
    }

    fn look(&self, loaded: &mut Loaded) {
        let files = match Files::read(&*self.disk, &self.settings) {
            Ok(files) if files == loaded.files => return,
            Ok(files) => files,
            // A file that is being replaced is not there for a moment.
            Err(error) => {
                tracing::debug!(%error, "cannot read the files of TLS");
                return;
            }
        };
        match from_files(&self.env, &self.settings, &files) {
            Ok(config) => {
                tracing::info!("took a new certificate");
                loaded.config = Arc::new(config);
            }
            Err(error) => tracing::error!(%error, "the certificate stays as it was"),
        }
        loaded.files = files;
    }
}

impl Files {
    fn read(disk: &dyn Disk, settings: &TlsSettings) -> Result<Self, TlsError> {
        let (Some(certificate), Some(key)) = (&settings.cert_path, &settings.key_path) else {
            let missing = "tls.server.certPath and tls.server.keyPath belong together";
            return Err(TlsError(missing.to_owned()));
        };
        Ok(Self {
            certificate: read(disk, Some(certificate))?,
            key: read(disk, Some(key))?,
            trust: read(disk, settings.trust_cert_path.as_deref())?,
        })
    }
}

fn read(disk: &dyn Disk, path: Option<&str>) -> Result<Vec<u8>, TlsError> {
    let Some(path) = path else {
        return Ok(Vec::new());
    };
    disk.read(path.trim_start_matches('/'))
        .map_err(|error| TlsError(format!("{path}: {error}")))
}

/// Names the file in an error.
fn of<T>(path: Option<&String>, result: Result<T, TlsError>) -> Result<T, TlsError> {
    let path = path.map_or("", String::as_str);
    result.map_err(|error| TlsError(format!("{path}: {error}")))
}

fn from_files(env: &Env, settings: &TlsSettings, files: &Files) -> Result<ServerConfig, TlsError> {
    let certificates = pem::identity(&files.certificate);
    let certificates = of(settings.cert_path.as_ref(), certificates)?;
    let key = pem::private_key(&files.key);
    let key = of(settings.key_path.as_ref(), key)?;
    configuration(env, settings, files, certificates, key)
}

/// A certificate for nobody in particular, as RocketMQ's test mode makes one.
fn self_signed(env: &Env, settings: &TlsSettings, files: &Files) -> Result<ServerConfig, TlsError> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])
        .map_err(|error| TlsError(format!("cannot make a certificate: {error}")))?;
    let certificates = vec![made.cert.der().clone()];
    let key = pem::private_key(made.signing_key.serialize_pem().as_bytes())?;
    configuration(env, settings, files, certificates, key)
}

fn configuration(
    env: &Env,
    settings: &TlsSettings,
    files: &Files,
    certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, TlsError> {
    let provider = pem::provider();
    let clock = Arc::new(WallClock(env.clock().clone()));
    let builder = ServerConfig::builder_with_details(provider.clone(), clock)
        .with_safe_default_protocol_versions()
        .map_err(|error| pem::wrong(&error))?;
    let builder = if settings.client_auth == ClientAuth::None {
        builder.with_no_client_auth()
    } else {
        if !settings.auth_client || settings.trust_cert_path.is_none() {
            let missing = "asking clients for certificates takes tls.server.authClient=true and \
                           tls.server.trustCertPath";
            return Err(TlsError(missing.to_owned()));
        }
        let roots = pem::authorities(&files.trust);
        let roots = Arc::new(of(settings.trust_cert_path.as_ref(), roots)?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
        let verifier = match settings.client_auth {
            ClientAuth::Optional => verifier.allow_unauthenticated(),
            _ => verifier,
        };
        let verifier = verifier.build();
        builder.with_client_cert_verifier(verifier.map_err(|error| TlsError(error.to_string()))?)
    };
    builder
        .with_single_cert(certificates, key)
        .map_err(|error| {
            let paths = [&settings.cert_path, &settings.key_path];
            let paths: Vec<_> = paths.into_iter().flatten().map(String::as_str).collect();
            TlsError(format!("{}: {error}", paths.join(" with ")))
        })
}

impl TlsConnector {
    /// What the settings ask of a process's own connections: nothing unless TLS is enabled. The
    /// files are read from `disk`, their paths taken from its root.
    ///
    /// # Errors
    /// A file is missing or makes no sense.
    pub fn load(
        env: &Env,
        disk: &dyn Disk,
        settings: &TlsSettings,
    ) -> Result<Option<Self>, TlsError> {
        if !settings.enable {
            return Ok(None);
        }
        let read_all = |path: &Option<String>| read(disk, path.as_deref());
        let ca = match (settings.auth_server, &settings.client_trust_cert_path) {
            (false, _) => None,
            (true, Some(_)) => Some(read_all(&settings.client_trust_cert_path)?),
            (true, None) => {
                let missing = "tls.client.authServer takes tls.client.trustCertPath";
                return Err(TlsError(missing.to_owned()));
            }
        };
        let identity = match (&settings.client_cert_path, &settings.client_key_path) {
            (Some(_), Some(_)) => Some((
                read_all(&settings.client_cert_path)?,
                read_all(&settings.client_key_path)?,
            )),
            _ => None,
        };
        // Again below, where nobody knows the files.
        if let Some(ca) = &ca {
            let path = settings.client_trust_cert_path.as_ref();
            of(path, pem::authorities(ca))?;
        }
        if let Some((certificate, key)) = &identity {
            let path = settings.client_cert_path.as_ref();
            of(path, pem::identity(certificate))?;
            of(settings.client_key_path.as_ref(), pem::private_key(key))?;
        }
        let options = TlsOptions {
            ca,
            check_name: false,
            identity,
        };
        Self::new(env, &options).map(Some)
    }
}
