use std::fmt;

/// How a client encrypts its connections. Certificates and keys are PEM texts.
///
/// The default is what Java clients do unless `tls.client.authServer` is set: traffic is
/// encrypted, but nobody checks who the server is, so it protects from listeners only, not from
/// somebody who sits in between.
#[derive(Clone, Default)]
pub struct TlsOptions {
    /// Certificates of the authorities that servers' certificates must come from
    /// (`tls.client.trustCertPath`). `None`: any certificate will do.
    pub ca: Option<Vec<u8>>,
    /// Whether a server's certificate must also be for the host that was connected to. Java never
    /// asks that, and name servers hand out brokers by address, so this needs certificates for
    /// addresses. Without `ca` it means nothing.
    pub check_name: bool,
    /// The client's own certificate chain and private key, for servers that ask for one
    /// (`tls.client.certPath`, `tls.client.keyPath`).
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// The private key stays out of logs.
impl fmt::Debug for TlsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsOptions")
            .field("ca", &self.ca.is_some())
            .field("check_name", &self.check_name)
            .field("identity", &self.identity.is_some())
            .finish()
    }
}
