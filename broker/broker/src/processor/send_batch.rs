//! Batches: several messages of one topic in one send (`SendMessageProcessor.sendBatchMessage`,
//! `CommitLog.asyncPutMessages`).
//!
//! The messages of a batch become visible together and at once. So one that asks for anything else,
//! in its own properties or in those of the batch, is illegal. Apache RocketMQ looks for a delay
//! level in the properties of the batch only, and takes the others as if they had not asked.

use std::sync::Arc;

use bytes::Bytes;
use hotfire_protocol::message::{batch, property};
use hotfire_protocol::{Properties, RemotingCommand, ResponseCode, topic};
use hotfire_remoting::Channel;
use hotfire_store::MessageBatch;
use tokio::time::Instant;

use super::send::{Answer, Sent, Target, inner, sent};
use super::send_header::SendHeader;
use crate::config::BrokerConfig;
use crate::metrics::MessageType;
use crate::refusal::Refusal;
use crate::state::State;
use crate::timer::WISHES;

/// The longest topic that a batch may have.
const TOPIC_MAX: usize = 127;

/// Checks a batch and appends its messages.
pub(super) fn put_batch(
    broker: &Arc<State>,
    config: &BrokerConfig,
    header: &SendHeader<'_>,
    target: Target,
    channel: &Channel,
    request: &RemotingCommand,
    response: RemotingCommand,
) -> Result<Sent, Refusal> {
    if header.topic.len() > TOPIC_MAX {
        let remark = format!("message topic length too long {}", header.topic.len());
        return Err(illegal(remark));
    }
    if topic::retry_group(header.topic).is_some() {
        let topic = header.topic;
        let remark = format!("batch request does not support retry group {topic}");
        return Err(illegal(remark));
    }
    check_wishes(header.properties)?;
    if request.body.len() <= config.store.max_message_size {
        check_elements(&request.body)?;
    }
    let mut shared = inner(broker, header, target, channel, request);
    shared.message.properties = properties(config, header);
    let waits = shared.message.waits_for_store();
    let queue_id = shared.queue_id;
    let answer = Answer {
        response,
        queue_id,
        recall_handle: None,
        started: Instant::now(),
        kind: broker.metrics.is_some().then_some(MessageType::Normal),
    };
    let put = broker.store.try_append_batch(MessageBatch { shared });
    let put = put.map_err(|error| illegal(format!("the batch is illegal: {error}")))?;
    Ok(sent(broker, config, header.topic, put, waits, answer))
}

fn illegal(remark: String) -> Refusal {
    Refusal::new(ResponseCode::MESSAGE_ILLEGAL, remark)
}

/// Refuses messages that are not to be visible at once. What is no batch is left to the store.
fn check_elements(body: &Bytes) -> Result<(), Refusal> {
    for element in batch::elements(body.clone()).map_while(Result::ok) {
        check_wishes(element.properties())?;
    }
    Ok(())
}

fn check_wishes(properties: &str) -> Result<(), Refusal> {
    let wish = property::entries(properties).find(|&(name, value)| match name {
        property::DELAY => value.parse::<i32>().map_or(true, |level| level > 0),
        property::TRAN_MSG => value.eq_ignore_ascii_case("true"),
        _ => WISHES.contains(&name),
    });
    let Some((name, _)) = wish else {
        return Ok(());
    };
    let remark = format!("the messages of a batch are visible at once: {name} is not for them");
    Err(illegal(remark))
}

/// The properties of a batch itself, which are stored behind those of each of its messages. The
/// order is that of Java's map for what clients send: `WAIT` at the most.
fn properties(config: &BrokerConfig, header: &SendHeader<'_>) -> Properties {
    let mut properties = Properties::new();
    properties.set(property::CLUSTER, config.broker_cluster_name.as_str());
    for (name, value) in property::decode(header.properties).iter() {
        if name != property::CLUSTER {
            properties.push(name.to_owned(), value);
        }
    }
    properties
}
