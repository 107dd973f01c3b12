//! What brokers ask of a consumer (`ClientRemotingProcessor`).

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use hotfire_protocol::body::{GetConsumerStatusBody, ResetOffsetBody};
use hotfire_protocol::header::client::{GetConsumerStatusRequestHeader, ResetOffsetRequestHeader};
use hotfire_protocol::{MessageQueue, RemotingCommand, RequestCode, ResponseCode};
use hotfire_remoting::{Channel, Handled, RequestHandler};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::consumer::core::Core;

/// How long listeners are given to end before offsets are reset.
const RESET_PAUSE: Duration = Duration::from_secs(10);

/// Takes the requests of brokers.
#[derive(Default)]
pub(crate) struct Callbacks {
    /// Wakes the rebalancing.
    pub(crate) rebalance: Arc<Notify>,
    core: OnceLock<Weak<Core>>,
}

impl Callbacks {
    /// Says for which consumer.
    pub(crate) fn serve(&self, core: &Arc<Core>) {
        // Only ever called once, by the builder.
        let _ = self.core.set(Arc::downgrade(core));
    }

    fn core(&self) -> Option<Arc<Core>> {
        self.core.get().and_then(Weak::upgrade)
    }

    fn reset(&self, request: &RemotingCommand) {
        let Some(core) = self.core() else { return };
        let header = request.header::<ResetOffsetRequestHeader>();
        let body = ResetOffsetBody::from_json(&request.body);
        match (header, body) {
            (Ok(header), Ok(body)) => {
                let env = core.env.clone();
                let reset = core.clone().reset_offsets(header.topic, body.offset_table);
                core.instance.keep(env.spawn("reset offsets", reset));
            }
            (header, body) => {
                let (header, body) = (header.err(), body.err());
                tracing::warn!(
                    ?header,
                    ?body,
                    "offsets are not reset: the request is malformed"
                );
            }
        }
    }

    fn status(&self, request: &RemotingCommand) -> RemotingCommand {
        let Some(core) = self.core() else {
            return request.response_error(ResponseCode::SYSTEM_ERROR, "no such consumer");
        };
        match request.header::<GetConsumerStatusRequestHeader>() {
            Ok(header) => {
                let mut offsets = core.offsets.lock().all();
                offsets.retain(|(queue, _)| queue.topic == header.topic);
                let body = GetConsumerStatusBody {
                    message_queue_table: offsets.into_iter().collect(),
                    ..GetConsumerStatusBody::default()
                };
                request
                    .response(ResponseCode::SUCCESS)
                    .with_body(body.to_json())
            }
            Err(error) => request.response_error(ResponseCode::SYSTEM_ERROR, error.to_string()),
        }
    }
}

impl RequestHandler for Callbacks {
    fn handle(&self, _channel: &Channel, request: RemotingCommand) -> Handled {
        match RequestCode(request.code) {
            RequestCode::NOTIFY_CONSUMER_IDS_CHANGED => {
                self.rebalance.notify_one();
                Handled::None
            }
            RequestCode::RESET_CONSUMER_CLIENT_OFFSET => {
                self.reset(&request);
                Handled::None
            }
            RequestCode::GET_CONSUMER_STATUS_FROM_CLIENT => Handled::Reply(self.status(&request)),
            code => {
                let remark = format!("request type {} not supported", code.0);
                let code = ResponseCode::REQUEST_CODE_NOT_SUPPORTED;
                Handled::Reply(request.response_error(code, remark))
            }
        }
    }
}

impl Core {
    /// Starts over at other offsets: everything in hand is discarded.
    async fn reset_offsets(self: Arc<Self>, topic: String, offsets: BTreeMap<MessageQueue, i64>) {
        tracing::info!(group = self.config.group, topic, "resetting offsets");
        self.set_paused(true);
        let queues = || offsets.iter().filter(|(queue, _)| queue.topic == topic);
        for (queue, _) in queues() {
            if let Some(slot) = self.slot_of(queue) {
                slot.rest();
            }
        }
        sleep(RESET_PAUSE).await;
        for (queue, &offset) in queues() {
            if let Some(slot) = self.slot_of(queue) {
                self.offsets.lock().update(queue, offset, false);
                self.revoke(&slot).await;
            }
        }
        self.set_paused(false);
    }
}
