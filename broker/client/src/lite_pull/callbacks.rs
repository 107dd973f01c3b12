//! What brokers ask of a lite pull consumer (`ClientRemotingProcessor`).

use hotfire_protocol::body::{ConsumeType, ConsumerRunningInfo, GetConsumerStatusBody};
use hotfire_protocol::{RemotingCommand, RequestCode, ResponseCode};
use hotfire_remoting::{Channel, Handled, RequestHandler};

use super::Core;
use super::pull::{PAUSE_ON_ERROR, PULL_TIMEOUT, SUSPEND};
use crate::consumer::asked::{Asked, Member, nobody, settings};

/// Takes the requests of brokers. As in Apache RocketMQ, the offsets of a lite pull consumer are its
/// own affair: a reset passes it by, and it tells none. Nor is there a listener that could be handed
/// a message.
pub(super) type Callbacks = Asked<Core>;

impl RequestHandler for Asked<Core> {
    fn handle(&self, _channel: &Channel, request: RemotingCommand) -> Handled {
        match RequestCode(request.code) {
            RequestCode::RESET_CONSUMER_CLIENT_OFFSET => Handled::None,
            RequestCode::GET_CONSUMER_STATUS_FROM_CLIENT => {
                let body = GetConsumerStatusBody::default().to_json();
                Handled::Reply(request.response(ResponseCode::SUCCESS).with_body(body))
            }
            RequestCode::CONSUME_MESSAGE_DIRECTLY => Handled::Reply(nobody(&request)),
            _ => self.answer(&request),
        }
    }
}

impl Member for Core {
    fn group(&self) -> &str {
        &self.config.group
    }

    /// Settings and subscriptions. Of its queues and rates a lite pull consumer tells nothing
    /// (`DefaultLitePullConsumerImpl.consumerRunningInfo`).
    fn running_info(&self) -> ConsumerRunningInfo {
        let config = &self.config;
        let (limits, queue) = (&config.limits, &config.limits.queue);
        let millis = |time: std::time::Duration| time.as_millis().to_string();
        let check = millis(config.watch_interval);
        let own = [
            ("consumerGroup", config.group.clone()),
            ("unitMode", false.to_string()),
            ("autoCommit", config.auto_commit.to_string()),
            (
                "autoCommitIntervalMillis",
                millis(config.auto_commit_interval),
            ),
            ("pullThreadNums", config.pull_threads.to_string()),
            ("pullBatchSize", limits.batch.to_string()),
            ("pullThresholdForAll", limits.all.to_string()),
            ("pullThresholdForQueue", queue.messages.to_string()),
            ("pullThresholdSizeForQueue", queue.mebibytes.to_string()),
            ("consumeMaxSpan", queue.span.to_string()),
            ("topicMetadataCheckIntervalMillis", check),
            ("brokerSuspendMaxTimeMillis", millis(SUSPEND)),
            ("consumerTimeoutMillisWhenSuspend", millis(PULL_TIMEOUT)),
            ("pullTimeDelayMillsWhenException", millis(PAUSE_ON_ERROR)),
        ];
        let kind = ConsumeType::Actively;
        let common = (config.model, config.from);
        ConsumerRunningInfo {
            properties: settings(&self.instance, self.started, kind, common, own),
            subscription_set: self.consumer_data().subscription_data_set,
            ..ConsumerRunningInfo::default()
        }
    }
}
