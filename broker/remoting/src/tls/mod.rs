//! Encrypted connections.

mod options;

pub use options::TlsOptions;
