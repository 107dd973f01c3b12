use std::fmt;
use std::io;
use std::sync::Arc;

use hotfire_env::{Connection, Env};
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
};

use super::pem::{self, WallClock};
use super::{TlsError, TlsOptions};

/// Encrypts connections that were made; cheap to clone.
#[derive(Clone)]
pub struct TlsConnector {
    connector: tokio_rustls::TlsConnector,
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsConnector")
    }
}

/// Two are the same if one is a clone of the other.
impl PartialEq for TlsConnector {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(self.connector.config(), other.connector.config())
    }
}

impl Eq for TlsConnector {}

impl TlsConnector {
    /// A connector.
    ///
    /// # Errors
    /// A certificate or key makes no sense.
    pub fn new(env: &Env, options: &TlsOptions) -> Result<Self, TlsError> {
        let provider = pem::provider();
        let clock = Arc::new(WallClock(env.clock().clone()));
        let builder = ClientConfig::builder_with_details(provider.clone(), clock)
            .with_safe_default_protocol_versions()
            .map_err(|error| pem::wrong(&error))?
            .dangerous()
            .with_custom_certificate_verifier(verifier(provider, options)?);
        let config = match &options.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder
                .with_client_auth_cert(pem::identity(certificate)?, pem::private_key(key)?)
                .map_err(|error| pem::wrong(&error))?,
        };
        Ok(Self {
            connector: Arc::new(config).into(),
        })
    }

    /// Makes the handshake on a connection to `address`.
    ///
    /// # Errors
    /// The server does not speak TLS, its certificate will not do, or the connection failed.
    pub async fn encrypt(&self, connection: Connection, address: &str) -> io::Result<Connection> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        let Connection {
            stream,
            local,
            peer,
        } = connection;
        let stream = self.connector.connect(name, stream).await?;
        Ok(Connection {
            stream: Box::new(stream),
            local,
            peer,
        })
    }
}

fn verifier(
    provider: Arc<CryptoProvider>,
    options: &TlsOptions,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let Some(ca) = &options.ca else {
        return Ok(Arc::new(Lenient {
            provider,
            chain: None,
        }));
    };
    let roots = Arc::new(pem::authorities(ca)?);
    let chain = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(|error| TlsError(error.to_string()))?;
    if options.check_name {
        return Ok(chain);
    }
    Ok(Arc::new(Lenient {
        provider,
        chain: Some(chain),
    }))
}

/// Does not ask whom a certificate is for, and if there is no `chain` not whom it is from either.
#[derive(Debug)]
struct Lenient {
    provider: Arc<CryptoProvider>,
    chain: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else {
            return Ok(ServerCertVerified::assertion());
        };
        // The name is looked at last: whoever fails by it has passed everything else.
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
