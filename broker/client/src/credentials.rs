//! Who a client is (`SessionCredentials`, `AclClientRPCHook`).

use std::fmt;

use hotfire_protocol::{RemotingCommand, acl};
use hotfire_remoting::RequestHook;

/// The keys that a client signs its requests with.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The name of the account.
    pub access_key: String,
    /// What only the account's owner and the broker know.
    pub secret_key: String,
    /// The token of temporary credentials.
    pub security_token: Option<String>,
}

impl Credentials {
    /// Credentials without a token.
    pub fn new(access_key: impl Into<String>, secret_key: impl Into<String>) -> Self {
        Self {
            access_key: access_key.into(),
            secret_key: secret_key.into(),
            security_token: None,
        }
    }
}

/// The secrets stay out of logs.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key", &self.access_key)
            .finish_non_exhaustive()
    }
}

/// Signs every request, to name servers and brokers alike.
impl RequestHook for Credentials {
    fn before_request(&self, _address: &str, request: &mut RemotingCommand) {
        let token = self.security_token.as_deref();
        acl::sign(request, &self.access_key, &self.secret_key, token);
    }
}
