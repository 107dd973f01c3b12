//! Ends of transactions: END_TRANSACTION (`EndTransactionProcessor`), and half messages that are
//! taken up again: RESUME_CHECK_HALF_MESSAGE (`AdminBrokerProcessor`).

use std::sync::Arc;
use std::time::Duration;

use hotfire_env::defect;
use hotfire_protocol::header::transaction::{
    EndTransactionRequestHeader, ResumeCheckHalfMessageRequestHeader,
};
use hotfire_protocol::message::{id, property, sys_flag};
use hotfire_protocol::{MessageExt, RemotingCommand, ResponseCode, topic};
use hotfire_remoting::{Channel, Handled};
use hotfire_store::{PutMessageStatus, PutResult};

use super::send_outcome::outcome;
use super::{Answer, done};
use crate::access;
use crate::acl::Perm;
use crate::refusal::Refusal;
use crate::state::State;
use crate::transaction::{self, find_fault};

/// A final message that waits for the disk.
struct Flushing {
    put: PutResult,
    half_offset: i64,
}

/// How far a decision has come.
enum Ended {
    Answered(Answer),
    Waits(Flushing),
}

/// END_TRANSACTION: commits or rolls back. "Unknown" gets no answer, not even if one is asked for:
/// the check service will come back to it.
pub(super) fn handle(broker: &Arc<State>, channel: &Channel, request: RemotingCommand) -> Handled {
    let ended = match request.header::<EndTransactionRequestHeader>() {
        Ok(header) => match header.commit_or_rollback {
            sys_flag::TRANSACTION_COMMIT => match admit(broker, channel, &request, &header) {
                Ok(()) => commit(broker, &header, &request),
                Err(refusal) => Ended::Answered(Err(refusal)),
            },
            sys_flag::TRANSACTION_ROLLBACK => {
                let admitted = admit(broker, channel, &request, &header);
                Ended::Answered(admitted.and_then(|()| rollback(broker, &header, &request)))
            }
            undecided => {
                let (id, group) = (&header.msg_id, &header.producer_group);
                tracing::debug!(
                    id,
                    group,
                    undecided,
                    "a producer does not know how to decide"
                );
                return Handled::None;
            }
        },
        Err(error) => Ended::Answered(Err(error.into())),
    };
    match ended {
        Ended::Answered(answer) => {
            Handled::Reply(answer.unwrap_or_else(|refusal| refusal.response(&request)))
        }
        Ended::Waits(flushing) => {
            let broker = broker.clone();
            Handled::Later(Box::pin(async move {
                let put = broker.store.wait_durable(flushing.put, true).await;
                let answer = committed(&broker, &put, flushing.half_offset, &request);
                Some(answer.unwrap_or_else(|refusal| refusal.response(&request)))
            }))
        }
    }
}

/// Whether the sender of a decision may send to the topic of the message that it is about.
fn admit(
    broker: &State,
    channel: &Channel,
    request: &RemotingCommand,
    header: &EndTransactionRequestHeader,
) -> Result<(), Refusal> {
    let offset = header.commit_log_offset;
    access::admit_to_message(broker, channel, request, offset, Perm::PUB)
}

/// The half message that a decision is about, checked.
fn look_up(broker: &State, header: &EndTransactionRequestHeader) -> Result<MessageExt, Refusal> {
    let wrong = |remark: &str| Refusal::new(ResponseCode::SYSTEM_ERROR, remark);
    let half = broker
        .store
        .look_message_by_offset(header.commit_log_offset)
        .ok_or_else(|| wrong("Find prepared transaction message failed"))?;
    match find_fault(&half, header) {
        Some(fault) => {
            if let Some(suppressed) = broker.set_aside.may_log(broker.env.now_ms()) {
                let id = &header.msg_id;
                tracing::warn!(id, fault, suppressed, "a transaction cannot be ended");
            }
            Err(wrong(fault))
        }
        // Any other record may say of itself what it likes.
        None if half.message.topic != topic::TRANS_HALF_TOPIC => {
            Err(wrong("Find prepared transaction message failed"))
        }
        None => Ok(half),
    }
}

fn commit(
    broker: &Arc<State>,
    header: &EndTransactionRequestHeader,
    request: &RemotingCommand,
) -> Ended {
    let half = match look_up(broker, header) {
        Ok(half) => half,
        Err(refusal) => return Ended::Answered(Err(refusal)),
    };
    let (half_offset, stored_ms) = (half.queue_offset, half.store_timestamp);
    let Some(mut message) = transaction::final_message(half) else {
        let remark = "the half message has no real topic and queue";
        return Ended::Answered(Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark)));
    };
    let metrics = broker.metrics.as_ref();
    let topic = metrics.map(|_| message.message.topic.clone());
    message.queue_id = broker.readable_queue(&message.message.topic, message.queue_id);
    broker.divert_accepted(&mut message);
    let waits = message.message.waits_for_store() && broker.sync_flush;
    let put = broker.store.append_accepted(message);
    if let (Some(metrics), Some(topic), true) = (&broker.metrics, topic, put.is_stored()) {
        let took = broker.env.now_ms().saturating_sub(stored_ms).max(0);
        metrics.transaction_ended(&topic, true, Duration::from_millis(took.unsigned_abs()));
    }
    if put.status == PutMessageStatus::PutOk && waits {
        Ended::Waits(Flushing { put, half_offset })
    } else {
        Ended::Answered(committed(broker, &put, half_offset, request))
    }
}

/// The answer to a commit whose message the store has dealt with, after the op message.
fn committed(
    broker: &State,
    put: &PutResult,
    half_offset: i64,
    request: &RemotingCommand,
) -> Answer {
    if !put.is_stored() {
        let (code, remark) = outcome(&broker.config(), Some(&broker.store), put.status);
        return Err(Refusal::new(code, remark.unwrap_or_default()));
    }
    note_decided(broker, half_offset);
    done(request)
}

fn rollback(
    broker: &Arc<State>,
    header: &EndTransactionRequestHeader,
    request: &RemotingCommand,
) -> Answer {
    let half = look_up(broker, header)?;
    let half_offset = half.queue_offset;
    if let Some(metrics) = &broker.metrics {
        let topic = half.message.properties.get(property::REAL_TOPIC);
        metrics.transaction_ended(topic.unwrap_or_default(), false, Duration::ZERO);
    }
    if defect!(broker.env, DeliverRolledBack)
        && let Some(message) = transaction::final_message(half)
    {
        broker.store.append(message);
    }
    note_decided(broker, half_offset);
    done(request)
}

/// Stores the op message of a decision. If that fails the decision stands, and the half message is
/// checked once more.
fn note_decided(broker: &State, half_offset: i64) {
    let op = transaction::op_message(half_offset, broker.address(), broker.env.now_ms());
    let put = broker.store.append_accepted(op);
    if put.status != PutMessageStatus::PutOk {
        let status = put.status.name();
        tracing::error!(half_offset, status, "cannot store an op message");
    }
}

/// RESUME_CHECK_HALF_MESSAGE: has a message that was given up checked again.
pub(super) fn resume_check(broker: &State, request: &RemotingCommand) -> Answer {
    let header: ResumeCheckHalfMessageRequestHeader = request.header()?;
    let failed = |why: &str| {
        let remark = format!("Put message back to RMQ_SYS_TRANS_HALF_TOPIC failed: {why}.");
        Refusal::new(ResponseCode::SYSTEM_ERROR, remark)
    };
    let (_, offset) = header
        .msg_id
        .as_deref()
        .and_then(id::parse_offset_msg_id)
        .ok_or_else(|| failed("msgId is not an offset message id"))?;
    let parked = broker
        .store
        .look_message_by_offset(offset)
        .ok_or_else(|| failed("there is no such message"))?;
    if parked.message.topic != topic::TRANS_CHECK_MAX_TIME_TOPIC {
        return Err(failed("the message is not one that was given up"));
    }
    let [resumed, bare] = transaction::resumed(parked);
    let mut put = broker.store.append_accepted(resumed);
    if put.status.is_final() {
        put = broker.store.append_accepted(bare);
    }
    match put.status {
        PutMessageStatus::PutOk => done(request),
        status => Err(failed(status.name())),
    }
}
