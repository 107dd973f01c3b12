//! How a request is refused.

use hotfire_protocol::{HeaderError, RemotingCommand, ResponseCode};

/// A response code other than success, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The code.
    pub code: ResponseCode,
    /// The reason, for people.
    pub remark: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(code: ResponseCode, remark: impl Into<String>) -> Self {
        Self {
            code,
            remark: remark.into(),
        }
    }

    /// The response to a request.
    pub fn response(self, request: &RemotingCommand) -> RemotingCommand {
        request.response_error(self.code, self.remark)
    }
}

/// Java's decoder throws, and whatever is thrown becomes a SYSTEM_ERROR.
impl From<HeaderError> for Refusal {
    fn from(error: HeaderError) -> Self {
        Self::new(ResponseCode::SYSTEM_ERROR, error.to_string())
    }
}
