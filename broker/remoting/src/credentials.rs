use std::fmt;
use std::sync::Arc;

use hotfire_protocol::{RemotingCommand, acl};
use serde::Deserialize;

use crate::RequestHook;

/// An account that requests are signed with (`SessionCredentials`).
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionCredentials {
    /// The public half.
    pub access_key: String,
    /// The secret half, which never travels.
    pub secret_key: String,
    /// A token of temporary credentials.
    #[serde(default)]
    pub security_token: Option<String>,
}

/// The secret stays out of logs.
impl fmt::Debug for SessionCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionCredentials")
            .field("access_key", &self.access_key)
            .finish_non_exhaustive()
    }
}

impl SessionCredentials {
    /// Reads them from the text that configuration files of 5.x have:
    /// `{"accessKey":"…","secretKey":"…"}`. None if it is empty.
    ///
    /// # Errors
    /// It is no such text, or a key is empty. The message does not show it.
    pub fn read(text: &str) -> Result<Option<Self>, String> {
        if text.trim().is_empty() {
            return Ok(None);
        }
        let read: Option<Self> = serde_json::from_str(text).ok();
        read.filter(|read| !read.access_key.is_empty() && !read.secret_key.is_empty())
            .map(Some)
            .ok_or_else(|| r#"not of the form {"accessKey":"…","secretKey":"…"}"#.to_owned())
    }

    /// What a [`ClientConfig`](crate::ClientConfig) signs its requests by.
    pub fn hook(&self) -> Arc<dyn RequestHook> {
        Arc::new(self.clone())
    }

    /// Whether a request was signed with them.
    pub fn signed(&self, request: &RemotingCommand) -> bool {
        let (key, signature) = (
            request.ext.get(acl::ACCESS_KEY),
            request.ext.get(acl::SIGNATURE),
        );
        key == Some(&*self.access_key)
            && signature.is_some_and(|signature| {
                let (ext, body) = (&request.ext, &request.body);
                acl::verify(signature, &self.secret_key, ext, body, &[])
            })
    }
}

impl RequestHook for SessionCredentials {
    fn before_request(&self, _address: &str, request: &mut RemotingCommand) {
        let token = self.security_token.as_deref();
        acl::sign(request, &self.access_key, &self.secret_key, token);
    }
}
