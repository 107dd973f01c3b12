//! `hotfire serve`, `hotfire namesrv` and `hotfire broker`: the stack on real TCP and real files.

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use hotfire_broker::{Broker, BrokerConfig};
use hotfire_env::Env;
use hotfire_env::real::{self, RealDisk};
use hotfire_metrics::MetricsExporterType;
use hotfire_namesrv::{NameServer, NamesrvConfig};
use hotfire_protocol::java_properties;
use hotfire_remoting::{SessionCredentials, Tls, TlsSettings};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::exit::Exit;
use crate::{files, print};

/// What to serve.
#[derive(Debug)]
pub struct Request {
    /// Where files are kept.
    pub data: PathBuf,
    /// Whether there is to be a name server, and a port that overrides the configured one.
    pub namesrv: Option<Port>,
    /// Whether there is to be a broker, and a port that overrides the configured one.
    pub broker: Option<Port>,
    /// The name servers of a broker that is on its own.
    pub namesrv_addrs: Vec<String>,
    /// A configuration file, in the format of Apache RocketMQ's.
    pub config: Option<PathBuf>,
    /// Where to hand out metrics, whatever the configuration says.
    pub metrics_port: Option<u16>,
}

/// How to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Logs to stderr what passes the filter.
pub fn log(filter: &str, format: LogFormat) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("--log {filter}: {error}"))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

/// A port, or the configured one.
pub type Port = Option<u16>;

/// Serves until a signal says to stop.
pub fn serve(request: &Request) -> Result<Exit, String> {
    let text = request.config.as_deref().map(files::read).transpose()?;
    let text = text.unwrap_or_default();
    let wrong = |error: String| match &request.config {
        Some(path) => format!("{}: {error}", path.display()),
        None => error,
    };
    // One file configures what is started: serving both, the broker takes it, as `mqbroker -c`
    // does.
    let text_of_namesrv = if request.broker.is_none() {
        text.as_str()
    } else {
        ""
    };
    let namesrv = request.namesrv.map(|port| {
        let mut config = namesrv_config(request, port, text_of_namesrv)?;
        config.set_authentication(&text)?;
        Ok(config)
    });
    let namesrv = namesrv.transpose().map_err(wrong)?;
    let broker = request
        .broker
        .map(|port| broker_config(request, port, &text));
    let broker = broker.transpose().map_err(wrong)?;
    let tls = tls_settings(&text).map_err(wrong)?;
    files::create_folder(&request.data)?;
    let runtime = real::runtime().map_err(|error| format!("cannot start: {error}"))?;
    runtime.block_on(async {
        real::catch_file_size_signal().map_err(|error| format!("cannot start: {error}"))?;
        let env = real::env_on(disk(&request.data, broker.as_ref()), None);
        // Certificates lie anywhere.
        let root = real::env("/", None);
        let tls = Tls::load(&env, root.disk(), &tls).map_err(|error| format!("TLS: {error}"))?;
        let running = Running::start(&env, tls, namesrv, broker).await?;
        let stopped = until_signal().await;
        running.shutdown().await;
        stopped.map_err(|error| format!("cannot wait for signals: {error}"))
    })?;
    Ok(Exit::Pass)
}

/// The files below the data folder, and those elsewhere that the broker's configuration names. How
/// full the disk is counts where the commit log is.
fn disk(data: &Path, broker: Option<&BrokerConfig>) -> RealDisk {
    let disk = RealDisk::new(data);
    let Some(config) = broker else {
        return disk;
    };
    let store = &config.store;
    let absolute = |path: &str| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    let mut further = Vec::new();
    for path in store.paths().filter_map(absolute) {
        further.push(path);
    }
    // Their temporary files and backups are beside them.
    let files = [
        &config.config_store_path,
        &store.store_checkpoint,
        &store.abort_file,
    ];
    for path in files.into_iter().flatten() {
        further.extend(absolute(path).and_then(|path| path.parent().map(Path::to_owned)));
    }
    let log = store.store_path_commit_log.as_deref();
    let root = absolute(&store.store_path_root_dir);
    let measured = log.and_then(absolute).or(root);
    disk.with_folders(further, measured.unwrap_or_else(|| data.to_owned()))
}

/// What the configuration file says about TLS, which is for name server and broker alike. Relative
/// paths are taken from where the command was called, as Java does.
fn tls_settings(text: &str) -> Result<TlsSettings, String> {
    let mut settings = TlsSettings::from_properties(text)?;
    for path in settings.paths_mut() {
        let absolute = std::path::absolute(&*path).map_err(|error| format!("{path}: {error}"))?;
        *path = absolute.display().to_string();
    }
    Ok(settings)
}

fn namesrv_config(request: &Request, port: Port, text: &str) -> Result<NamesrvConfig, String> {
    let mut config = NamesrvConfig::from_properties(text)?;
    if let Some(port) = request.metrics_port {
        let beside = u16::from(request.broker.is_some() && port != 0);
        let next = port.checked_add(beside);
        config.metrics.port = next.ok_or("there is no port behind that of the metrics")?;
        config.metrics.exporter = MetricsExporterType::Prom;
    }
    if let Some(port) = port {
        config.listen = format!("0.0.0.0:{port}");
    }
    Ok(config)
}

fn broker_config(request: &Request, port: Port, text: &str) -> Result<BrokerConfig, String> {
    let mut config = BrokerConfig::from_properties(text).map_err(|error| error.to_string())?;
    if let Some(port) = request.metrics_port {
        config.metrics.port = port;
        config.metrics.exporter = MetricsExporterType::Prom;
    }
    if let Some(port) = port {
        config.listen = format!("0.0.0.0:{port}");
    }
    config.inner_client_authentication_credentials = credentials(text)?;
    if let Some(path) = &request.config {
        // As RocketMQ writes changed settings to the file that it was given.
        let path = std::path::absolute(path).map_err(|error| error.to_string())?;
        config.config_store_path = Some(path.display().to_string());
    }
    if !request.namesrv_addrs.is_empty() {
        config.namesrv_addrs.clone_from(&request.namesrv_addrs);
    }
    Ok(config)
}

/// What the configuration file says that a broker signs its requests to name servers with.
fn credentials(text: &str) -> Result<Option<SessionCredentials>, String> {
    const KEY: &str = "innerClientAuthenticationCredentials";
    let mut entries = java_properties::parse(text).into_iter();
    let value = entries.rfind(|entry| entry.key == KEY);
    let value = value.and_then(|entry| entry.value).unwrap_or_default();
    SessionCredentials::read(&value).map_err(|error| format!("{KEY}: {error}"))
}

/// Says where metrics are, if they are.
fn print_metrics(of: &str, address: Option<SocketAddr>) {
    if let Some(address) = address {
        print::line(&format!("metrics of the {of} on http://{address}/metrics"));
    }
}

struct Running {
    namesrv: Option<NameServer>,
    broker: Option<Broker>,
}

impl Running {
    /// Starts what is configured, and says where it listens once it serves.
    async fn start(
        env: &Env,
        tls: Tls,
        namesrv: Option<NamesrvConfig>,
        broker: Option<BrokerConfig>,
    ) -> Result<Self, String> {
        let mut running = Self {
            namesrv: None,
            broker: None,
        };
        if let Some(mut config) = namesrv {
            config.tls = tls.clone();
            let server = NameServer::start(env, config)
                .await
                .map_err(|error| error.to_string())?;
            print::line(&format!("name server ready on {}", server.local()));
            print_metrics("name server", server.metrics_address());
            running.namesrv = Some(server);
        }
        if let Some(mut config) = broker {
            config.tls = tls;
            if config.namesrv_addrs.is_empty()
                && let Some(server) = &running.namesrv
            {
                config.namesrv_addrs = vec![format!("127.0.0.1:{}", server.local().port())];
            }
            match Broker::start(env, config, None).await {
                Ok(broker) => {
                    let (local, address) = (broker.local(), broker.address());
                    print::line(&format!(
                        "broker ready on {local}, known to clients as {address}"
                    ));
                    print_metrics("broker", broker.metrics_address());
                    running.broker = Some(broker);
                }
                Err(error) => {
                    running.shutdown().await;
                    return Err(error.to_string());
                }
            }
        }
        Ok(running)
    }

    /// Stops the broker first: it takes leave of the name server.
    async fn shutdown(&self) {
        if let Some(broker) = &self.broker {
            broker.shutdown().await;
        }
        if let Some(namesrv) = &self.namesrv {
            namesrv.shutdown().await;
        }
    }
}

async fn until_signal() -> io::Result<()> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
    }
    Ok(())
}
