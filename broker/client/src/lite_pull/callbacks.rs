//! What brokers ask of a lite pull consumer (`ClientRemotingProcessor`).

use std::sync::Arc;

use hotfire_protocol::body::GetConsumerStatusBody;
use hotfire_protocol::{RemotingCommand, RequestCode, ResponseCode};
use hotfire_remoting::{Channel, Handled, RequestHandler};
use tokio::sync::Notify;

/// Takes the requests of brokers. As in Apache RocketMQ, the offsets of a lite pull consumer are its
/// own affair: a reset passes it by, and it tells none.
#[derive(Default)]
pub(super) struct Callbacks {
    /// Wakes the rebalancing.
    pub(super) rebalance: Arc<Notify>,
}

impl RequestHandler for Callbacks {
    fn handle(&self, _channel: &Channel, request: RemotingCommand) -> Handled {
        match RequestCode(request.code) {
            RequestCode::NOTIFY_CONSUMER_IDS_CHANGED => {
                self.rebalance.notify_one();
                Handled::None
            }
            RequestCode::RESET_CONSUMER_CLIENT_OFFSET => Handled::None,
            RequestCode::GET_CONSUMER_STATUS_FROM_CLIENT => {
                let body = GetConsumerStatusBody::default().to_json();
                Handled::Reply(request.response(ResponseCode::SUCCESS).with_body(body))
            }
            code => {
                let remark = format!("request type {} not supported", code.0);
                let code = ResponseCode::REQUEST_CODE_NOT_SUPPORTED;
                Handled::Reply(request.response_error(code, remark))
            }
        }
    }
}
