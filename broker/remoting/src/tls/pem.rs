//! Certificates and keys as texts, and what rustls makes of them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hotfire_env::Clock;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::time_provider::TimeProvider;
use tokio_rustls::rustls::{self, RootCertStore};

use super::TlsError;

/// The certificates of a PEM text.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(TlsError("there is no certificate in it".to_owned())),
        Err(error) => Err(TlsError(format!("not a PEM file: {error}"))),
    }
}

/// The certificates by which somebody identifies himself, his own first.
pub(super) fn identity(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = certificates(pem)?;
    if found.first().is_some_and(|own| is_version_1(own)) {
        return Err(TlsError(
            "the certificate is of X.509 version 1, and only version 3 is taken. `openssl x509 -req` \
             makes version 3 if it is given extensions: `-extfile` with a file that says \
             `subjectAltName=DNS:` and the name of the host"
                .to_owned(),
        ));
    }
    Ok(found)
}

/// Whether a certificate does not say its version, which makes it version 1 (RFC 5280, 4.1): the
/// first thing in the sequence within the sequence has another tag than that of the version.
fn is_version_1(certificate: &[u8]) -> bool {
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xA0;
    let inside = |der: &[u8]| -> Option<usize> {
        let (&tag, rest) = der.split_first()?;
        let &length = rest.first()?;
        let more = if length < 0x80 { 0 } else { length & 0x7F };
        (tag == SEQUENCE).then_some(2 + usize::from(more))
    };
    let first = inside(certificate)
        .and_then(|at| certificate.get(at..))
        .and_then(|signed| signed.get(inside(signed)?).copied());
    first.is_some_and(|tag| tag != VERSION)
}

/// The private key of a PEM text.
pub(super) fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem)
        .map_err(|error| TlsError(format!("there is no private key in it: {error}")))
}

/// The authorities of a PEM text.
pub(super) fn authorities(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots
            .add(certificate)
            .map_err(|error| TlsError(format!("not the certificate of an authority: {error}")))?;
    }
    Ok(roots)
}

/// The algorithms that are used.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// What rustls says is wrong.
pub(super) fn wrong(error: &rustls::Error) -> TlsError {
    TlsError(error.to_string())
}

/// The clock by which certificates expire: the environment's, like all clocks.
pub(super) struct WallClock(pub Arc<dyn Clock>);

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WallClock")
    }
}

impl TimeProvider for WallClock {
    fn current_time(&self) -> Option<UnixTime> {
        let millis = u64::try_from(self.0.now_ms()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_millis(millis)))
    }
}
