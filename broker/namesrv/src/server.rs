use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hotfire_env::{Env, TaskHandle};
use hotfire_metrics::{Exporter, MetricsOptions};
use hotfire_remoting::{Limits, Server, ServerConfig};

use crate::processor::{Processor, Requests};
use crate::{KvConfigManager, NamesrvConfig, metrics};

/// When expired brokers are looked for the first time.
const FIRST_SCAN: Duration = Duration::from_secs(5);

/// Why a name server did not start.
#[derive(Debug, thiserror::Error)]
pub enum NamesrvError {
    /// The key and value configuration cannot be read.
    #[error("cannot read {path}: {source}")]
    KvConfig {
        /// Its file.
        path: String,
        /// What is wrong.
        source: io::Error,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// What is wrong.
        source: io::Error,
    },
}

/// A name server at work. Dropping it stops nothing: [`NameServer::shutdown`] does.
pub struct NameServer {
    server: Server,
    scan: TaskHandle,
    exporter: Option<Exporter>,
}

impl NameServer {
    /// Reads the key and value configuration, listens and serves.
    ///
    /// # Errors
    /// The configuration cannot be read or the address not be listened on.
    pub async fn start(env: &Env, config: NamesrvConfig) -> Result<Self, NamesrvError> {
        let kv =
            KvConfigManager::load(&**env.disk(), &config.kv_config_path).map_err(|source| {
                NamesrvError::KvConfig {
                    path: config.kv_config_path.clone(),
                    source,
                }
            })?;
        let address = config.listen.clone();
        let limits = Limits {
            idle: config.server_channel_max_idle_time,
            ..Limits::default()
        };
        let server = ServerConfig {
            limits,
            tls: config.tls.server.clone(),
            ..ServerConfig::default()
        };
        let metrics = config.metrics.clone();
        let processor = Arc::new(Processor::new(env, config, kv));
        let exporter = export(env, &metrics, &processor).await?;
        let server = Server::bind(env, &address, server, Arc::new(Requests(processor.clone())))
            .await
            .map_err(|source| NamesrvError::Listen { address, source })?;
        let scan = env.spawn("scan", async move {
            tokio::time::sleep(FIRST_SCAN).await;
            loop {
                processor.scan();
                tokio::time::sleep(processor.scan_interval()).await;
            }
        });
        tracing::info!(local = %server.local(), "the name server is up");
        Ok(Self {
            server,
            scan,
            exporter,
        })
    }

    /// The address that is listened on.
    pub fn local(&self) -> SocketAddr {
        self.server.local()
    }

    /// Where metrics are handed out, if they are.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.exporter.as_ref().map(Exporter::local)
    }

    /// Stops serving and closes every connection.
    pub async fn shutdown(&self) {
        self.scan.abort();
        if let Some(exporter) = &self.exporter {
            exporter.shutdown();
        }
        self.server.shutdown().await;
        tracing::info!(local = %self.local(), "the name server is down");
    }
}

/// Hands out metrics, if that is wanted.
async fn export(
    env: &Env,
    options: &MetricsOptions,
    processor: &Arc<Processor>,
) -> Result<Option<Exporter>, NamesrvError> {
    let Some(requests) = &processor.requests else {
        return Ok(None);
    };
    let address = options.address();
    let registry = metrics::registry(processor, requests);
    match Exporter::start(env, &address, registry).await {
        Ok(exporter) => Ok(Some(exporter)),
        Err(source) => Err(NamesrvError::Listen { address, source }),
    }
}
