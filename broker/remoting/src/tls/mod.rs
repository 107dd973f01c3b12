//! Encrypted connections, by rustls.
//!
//! A server may take plain and encrypted connections on one port: the first byte tells them apart,
//! as `NettyRemotingServer` does it. A TLS record that begins a handshake starts with 0x16, and a
//! frame that starts so would have 350 MiB.
//!
//! TLS is not for simulations: rustls and ring draw their randomness from the operating system, so
//! that two runs of one seed would differ in every byte on the wire. Scenarios have no key for it.

mod client;
mod options;
mod pem;
mod server;
mod settings;
mod sniff;

use std::sync::Arc;

use hotfire_env::{Disk, Env};

pub use client::TlsConnector;
pub use options::TlsOptions;
pub use server::ServerTls;
pub use settings::{ClientAuth, TlsMode, TlsSettings};

/// How a process's connections are encrypted, those that come and those that it makes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// For connections that come. Without it they are plain.
    pub server: Option<Arc<ServerTls>>,
    /// For connections that it makes. Without it they are plain.
    pub client: Option<TlsConnector>,
}

impl Tls {
    /// What the settings ask for. The files are read from `disk`, their paths taken from its root.
    ///
    /// # Errors
    /// A file is missing or makes no sense, or a key does not belong to its certificate.
    pub fn load(env: &Env, disk: &Arc<dyn Disk>, settings: &TlsSettings) -> Result<Self, TlsError> {
        Ok(Self {
            server: ServerTls::load(env, disk, settings)?,
            client: TlsConnector::load(env, &**disk, settings)?,
        })
    }
}

/// Why TLS cannot be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TlsError(pub(crate) String);
