//! Where metrics are handed out.

use std::fmt;
use std::str::FromStr;

/// How metrics leave the process (`MetricsExporterType`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MetricsExporterType {
    /// Not at all.
    #[default]
    Disable,
    /// Over HTTP, for Prometheus to fetch.
    Prom,
}

impl fmt::Display for MetricsExporterType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disable => "DISABLE",
            Self::Prom => "PROM",
        })
    }
}

/// A way that metrics cannot leave.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not DISABLE or PROM, the only ones that are supported")]
pub struct UnknownExporter(String);

impl FromStr for MetricsExporterType {
    type Err = UnknownExporter;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "DISABLE" | "0" => Ok(Self::Disable),
            "PROM" | "2" => Ok(Self::Prom),
            other => Err(UnknownExporter(other.to_owned())),
        }
    }
}

/// Whether and where metrics are handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsOptions {
    /// Whether they are (`metricsExporterType`). Default: no.
    pub exporter: MetricsExporterType,
    /// The address to listen on (`metricsPromExporterHost`). Default: all.
    pub host: String,
    /// The port to listen on (`metricsPromExporterPort`); 0 picks a free one. Default 5557.
    pub port: u16,
}

impl Default for MetricsOptions {
    fn default() -> Self {
        Self {
            exporter: MetricsExporterType::Disable,
            host: String::new(),
            port: 5557,
        }
    }
}

impl MetricsOptions {
    /// Whether there are to be metrics.
    pub fn enabled(&self) -> bool {
        self.exporter == MetricsExporterType::Prom
    }

    /// What is listened on.
    pub fn address(&self) -> String {
        match self.host.as_str() {
            "" => format!("0.0.0.0:{}", self.port),
            host => format!("{host}:{}", self.port),
        }
    }
}
