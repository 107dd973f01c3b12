//! What brokers ask of all kinds of consumers alike (`ClientRemotingProcessor`).

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};

use hotfire_protocol::body::{ConsumeType, ConsumerRunningInfo};
use hotfire_protocol::{RemotingCommand, RequestCode, ResponseCode, date, version};
use hotfire_remoting::Handled;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::instance::Instance;
use crate::{ConsumeFrom, MessageModel};

/// A consumer that can be asked.
pub(crate) trait Member {
    /// Its group, as brokers know it.
    fn group(&self) -> &str;
    /// What it is doing.
    fn running_info(&self) -> ConsumerRunningInfo;
}

/// Takes the requests of brokers for a consumer.
pub(crate) struct Asked<C> {
    /// Wakes the rebalancing.
    pub(crate) rebalance: Arc<Notify>,
    core: OnceLock<Weak<C>>,
}

impl<C> Default for Asked<C> {
    fn default() -> Self {
        Self {
            rebalance: Arc::default(),
            core: OnceLock::new(),
        }
    }
}

impl<C: Member> Asked<C> {
    /// Says for which consumer.
    pub(crate) fn serve(&self, core: &Arc<C>) {
        // Only ever called once, by the builder.
        let _ = self.core.set(Arc::downgrade(core));
    }

    /// The consumer, while there is one.
    pub(crate) fn core(&self) -> Option<Arc<C>> {
        self.core.get().and_then(Weak::upgrade)
    }

    /// The consumer, if a request is for its group.
    pub(crate) fn core_of(&self, request: &RemotingCommand) -> Result<Arc<C>, RemotingCommand> {
        let group = request.ext.get("consumerGroup").unwrap_or_default();
        let core = self.core().filter(|core| core.group() == group);
        core.ok_or_else(|| nobody(request))
    }

    /// Answers what all kinds of consumers answer alike, and refuses the rest.
    pub(crate) fn answer(&self, request: &RemotingCommand) -> Handled {
        match RequestCode(request.code) {
            RequestCode::NOTIFY_CONSUMER_IDS_CHANGED => {
                self.rebalance.notify_one();
                Handled::None
            }
            RequestCode::GET_CONSUMER_RUNNING_INFO => {
                let info = self.core_of(request).map(|core| core.running_info());
                let answer = |info: ConsumerRunningInfo| {
                    request
                        .response(ResponseCode::SUCCESS)
                        .with_body(info.to_json())
                };
                Handled::Reply(info.map_or_else(|refused| refused, answer))
            }
            code => {
                let remark = format!("request type {} not supported", code.0);
                let code = ResponseCode::REQUEST_CODE_NOT_SUPPORTED;
                Handled::Reply(request.response_error(code, remark))
            }
        }
    }
}

/// The answer to a request for a group that the consumer is not of, or that consumers of its kind do
/// not serve.
pub(crate) fn nobody(request: &RemotingCommand) -> RemotingCommand {
    let group = request.ext.get("consumerGroup").unwrap_or_default();
    let remark = format!("The Consumer Group <{group}> not exist in this consumer");
    request.response_error(ResponseCode::SYSTEM_ERROR, remark)
}

/// Settings under the names of Java's, and what `MQClientInstance` adds to them, of a consumer that
/// was started at a time.
pub(crate) fn settings<const N: usize>(
    instance: &Instance,
    started: Instant,
    consume_type: ConsumeType,
    (model, from): (MessageModel, ConsumeFrom),
    own: [(&str, String); N],
) -> BTreeMap<String, String> {
    let uptime = i64::try_from(started.elapsed().as_millis()).unwrap_or(0);
    let namesrv = instance.config.namesrv_addrs.iter();
    let common = [
        ("messageModel", model.name().to_owned()),
        ("consumeFromWhere", from.wire().name().to_owned()),
        (
            "PROP_NAMESERVER_ADDR",
            namesrv.map(|addr| format!("{addr};")).collect(),
        ),
        ("PROP_CONSUME_TYPE", consume_type.name().to_owned()),
        ("PROP_CLIENT_VERSION", version::name(version::CURRENT)),
        (
            "PROP_CONSUMER_START_TIMESTAMP",
            (instance.env.now_ms() - uptime).to_string(),
        ),
    ];
    let all = common.into_iter().chain(own);
    let mut settings: BTreeMap<_, _> = all.map(|(name, value)| (name.to_owned(), value)).collect();
    if let ConsumeFrom::Timestamp(ms) = from {
        settings.insert("consumeTimestamp".to_owned(), date::digits(ms));
    }
    settings
}
