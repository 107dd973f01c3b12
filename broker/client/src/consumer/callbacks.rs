//! What brokers ask of a consumer (`ClientRemotingProcessor`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hotfire_protocol::body::{ConsumerRunningInfo, GetConsumerStatusBody, ResetOffsetBody};
use hotfire_protocol::header::client::{GetConsumerStatusRequestHeader, ResetOffsetRequestHeader};
use hotfire_protocol::{MessageQueue, RemotingCommand, RequestCode, ResponseCode};
use hotfire_remoting::{Channel, Handled, RequestHandler};
use tokio::time::sleep;

use crate::consumer::asked::{Asked, Member};
use crate::consumer::core::Core;

/// How long listeners are given to end before offsets are reset.
const RESET_PAUSE: Duration = Duration::from_secs(10);

/// Takes the requests of brokers.
pub(crate) type Callbacks = Asked<Core>;

impl Member for Core {
    fn group(&self) -> &str {
        &self.config.group
    }

    fn running_info(&self) -> ConsumerRunningInfo {
        self.inspect()
    }
}

impl Asked<Core> {
    fn reset(&self, request: &RemotingCommand) {
        let Some(core) = self.core() else { return };
        let header = request.header::<ResetOffsetRequestHeader>();
        let body = ResetOffsetBody::from_json(&request.body);
        match (header, body) {
            (Ok(header), Ok(_)) if header.group != core.config.group => {
                tracing::info!(
                    group = header.group,
                    "offsets of another group are not reset"
                );
            }
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

    fn consume_directly(&self, request: RemotingCommand) -> Handled {
        let core = match self.core_of(&request) {
            Ok(core) => core,
            Err(refused) => return Handled::Reply(refused),
        };
        let response = request.response(ResponseCode::SUCCESS);
        Handled::Later(Box::pin(async move {
            Some(match core.consume_directly(request).await {
                Ok(result) => response.with_body(result.to_json()),
                Err(error) => {
                    let mut refused = response;
                    refused.code = ResponseCode::SYSTEM_ERROR.0;
                    refused.remark = Some(error.to_string());
                    refused
                }
            })
        }))
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

impl RequestHandler for Asked<Core> {
    fn handle(&self, _channel: &Channel, request: RemotingCommand) -> Handled {
        match RequestCode(request.code) {
            RequestCode::RESET_CONSUMER_CLIENT_OFFSET => {
                self.reset(&request);
                Handled::None
            }
            RequestCode::GET_CONSUMER_STATUS_FROM_CLIENT => Handled::Reply(self.status(&request)),
            RequestCode::CONSUME_MESSAGE_DIRECTLY => self.consume_directly(request),
            _ => self.answer(&request),
        }
    }
}

impl Core {
    /// Starts over at other offsets: everything in hand is discarded. Resets, for instance those
    /// of several brokers, are done one after the other: at once they would start over more often
    /// than they should, and the first to end would end the pause of the others.
    async fn reset_offsets(self: Arc<Self>, topic: String, offsets: BTreeMap<MessageQueue, i64>) {
        let _turn = self.resetting.lock().await;
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
                self.hook.offset_reset(queue, offset);
                self.offsets.lock().update(queue, offset, false);
                self.revoke(&slot).await;
            }
        }
        self.set_paused(false);
    }
}
