//! What brokers ask of a producer (`ClientRemotingProcessor`).

use std::sync::Arc;

use hotfire_protocol::{RemotingCommand, RequestCode, ResponseCode};
use hotfire_remoting::{Channel, Handled, RequestHandler};

use super::request::{PendingRequests, read_reply};
use crate::transaction::checks::Checks;

/// Takes the requests of brokers.
pub(crate) struct Callbacks {
    pub(crate) requests: Arc<PendingRequests>,
    /// Answers questions about transactions, if the producer has any.
    pub(crate) checks: Option<Arc<Checks>>,
}

impl Callbacks {
    /// PUSH_REPLY_MESSAGE_TO_CLIENT: whoever waits for the reply gets it. Nobody waiting is no
    /// error: the request may have timed out.
    fn reply(&self, request: &RemotingCommand) -> RemotingCommand {
        match read_reply(request, self.requests.now_ms()) {
            Ok((correlation_id, reply)) => {
                if !self.requests.complete(&correlation_id, reply) {
                    tracing::warn!(correlation_id, "a reply came that nobody waits for");
                }
                request.response(ResponseCode::SUCCESS)
            }
            Err(error) => {
                tracing::warn!(error, "a reply cannot be read");
                request.response_error(ResponseCode::SYSTEM_ERROR, "process reply message fail")
            }
        }
    }
}

impl RequestHandler for Callbacks {
    fn handle(&self, channel: &Channel, request: RemotingCommand) -> Handled {
        match RequestCode(request.code) {
            RequestCode::CHECK_TRANSACTION_STATE => {
                match &self.checks {
                    Some(checks) => checks.take(channel, request),
                    None => tracing::warn!("a broker asks a producer without transactions"),
                }
                Handled::None
            }
            RequestCode::PUSH_REPLY_MESSAGE_TO_CLIENT => Handled::Reply(self.reply(&request)),
            code => {
                let remark = format!("request type {} not supported", code.0);
                let code = ResponseCode::REQUEST_CODE_NOT_SUPPORTED;
                Handled::Reply(request.response_error(code, remark))
            }
        }
    }
}
