//! ACK_MESSAGE, BATCH_ACK_MESSAGE and CHANGE_MESSAGE_INVISIBLETIME (`AckMessageProcessor`,
//! `ChangeInvisibleTimeProcessor`).
//!
//! An acknowledgement that comes too late is answered with success and means nothing: whoever holds
//! the receipt can see from it that its time is up. One that cannot be written is refused, where
//! Apache RocketMQ logs it and answers with success.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hotfire_env::defect;
use hotfire_protocol::body::{BatchAck, BatchAckMessageRequestBody};
use hotfire_protocol::header::pop::{
    AckMessageRequestHeader, ChangeInvisibleTimeRequestHeader, ChangeInvisibleTimeResponseHeader,
};
use hotfire_protocol::pop::{ORDER_REVIVE_QUEUE, PopTextError, Receipt, TopicKind};
use hotfire_protocol::{RemotingCommand, ResponseCode};
use hotfire_remoting::{Channel, Handled};
use hotfire_store::PutResult;

use super::pop::illegal_queue;
use super::{bad_body, faq};
use crate::limits;
use crate::pop::{CheckPointKey, Committed, QueueKey, REVIVE_QUEUES};
use crate::pop_service::{CHECK_POINT_MAX, ack_key, check_point, set_alarm, wake_group};
use crate::refusal::Refusal;
use crate::state::State;

/// How many check points are dealt with before others have a turn.
const ACKS_PER_TURN: usize = 64;

/// An answer, and what has to reach the disk before it may go out.
type Written = Result<(RemotingCommand, Option<PutResult>), Refusal>;

impl From<PopTextError> for Refusal {
    fn from(error: PopTextError) -> Self {
        Self::new(ResponseCode::SYSTEM_ERROR, error.to_string())
    }
}

/// ACK_MESSAGE: a message is done.
pub(super) fn ack(broker: &Arc<State>, channel: &Channel, request: &RemotingCommand) -> Handled {
    answer(broker, request, ack_one(broker, channel, request))
}

/// BATCH_ACK_MESSAGE: messages of several pops are done.
pub(super) fn ack_batch(broker: &Arc<State>, request: &RemotingCommand) -> Handled {
    let (broker, request) = (broker.clone(), request.clone());
    Handled::Later(Box::pin(async move {
        let written = ack_all(&broker, &request).await;
        match answer(&broker, &request, written) {
            Handled::Reply(response) => Some(response),
            Handled::Later(answering) => answering.await,
            Handled::None => None,
        }
    }))
}

/// CHANGE_MESSAGE_INVISIBLETIME: a message stays hidden for another time from now on.
pub(super) fn change(broker: &Arc<State>, channel: &Channel, request: &RemotingCommand) -> Handled {
    answer(broker, request, change_one(broker, channel, request))
}

/// Answers at once, or when the disk has what was written.
fn answer(broker: &Arc<State>, request: &RemotingCommand, written: Written) -> Handled {
    match written {
        Err(refusal) => Handled::Reply(refusal.response(request)),
        Ok((response, Some(put))) if broker.sync_flush => {
            let store = broker.store.clone();
            Handled::Later(Box::pin(async move {
                // A flush that takes too long does not undo what was written.
                store.wait_durable(put, true).await;
                Some(response)
            }))
        }
        Ok((response, _)) => Handled::Reply(response),
    }
}

fn ack_one(broker: &Arc<State>, channel: &Channel, request: &RemotingCommand) -> Written {
    let header: AckMessageRequestHeader = request.header()?;
    let key = QueueKey::new(&header.topic, &header.consumer_group, header.queue_id);
    check_queue(broker, channel, &key)?;
    let (min, max) = bounds(broker, &key);
    if header.offset < min || header.offset > max {
        let remark = format!(
            "offset is illegal, key:{}@{}, commit:{}, store:{min}~{max}",
            header.topic, header.queue_id, header.offset
        );
        return Err(Refusal::new(ResponseCode::NO_MESSAGE, remark));
    }
    let receipt: Receipt = header.extra_info.parse()?;
    let done = request.response(ResponseCode::SUCCESS);
    if receipt.is_order() {
        ack_in_order(broker, &key, header.offset, &receipt)?;
        return Ok((done, None));
    }
    let put = write_acks(broker, &key, &receipt, &[header.offset])?;
    Ok((done, put))
}

async fn ack_all(broker: &Arc<State>, request: &RemotingCommand) -> Written {
    let empty = || Refusal::new(ResponseCode::NO_MESSAGE, "there is nothing to acknowledge");
    if request.body.is_empty() {
        return Err(empty());
    }
    limits::check_body("body", request.body.len(), limits::ACK_BATCH_BYTES)?;
    let body = BatchAckMessageRequestBody::from_json(&request.body);
    let body = body.map_err(|error| bad_body(&error))?;
    if body.acks.is_empty() {
        return Err(empty());
    }
    let broker_name = body.broker_name.unwrap_or_default();
    let mut last = None;
    for (at, ack) in body.acks.iter().enumerate() {
        if at % ACKS_PER_TURN == ACKS_PER_TURN - 1 {
            tokio::task::yield_now().await;
        }
        last = ack_some(broker, ack, &broker_name)?.or(last);
    }
    Ok((request.response(ResponseCode::SUCCESS), last))
}

/// Acknowledges messages of one pop; those that the queue does not have are passed over.
fn ack_some(
    broker: &Arc<State>,
    ack: &BatchAck,
    broker_name: &str,
) -> Result<Option<PutResult>, Refusal> {
    let kind: TopicKind = ack.retry.parse()?;
    let topic = kind.real_topic(&ack.topic, &ack.group);
    let key = QueueKey::new(&topic, &ack.group, ack.queue_id);
    let receipt = Receipt {
        start_offset: ack.start_offset,
        pop_time: ack.pop_time,
        invisible_time: ack.invisible_time,
        revive_queue: ack.revive_queue,
        kind,
        broker_name: broker_name.to_owned(),
        queue_id: ack.queue_id,
        queue_offset: None,
    };
    let (min, max) = bounds(broker, &key);
    let offset = |bit| ack.start_offset.saturating_add(bit);
    let offsets = ack.bits.iter().map(offset);
    let offsets: Vec<i64> = offsets
        .filter(|offset| (min..=max).contains(offset))
        .take(CHECK_POINT_MAX + 1)
        .collect();
    if offsets.len() > CHECK_POINT_MAX {
        let remark = format!("more than {CHECK_POINT_MAX} messages of one pop are acknowledged");
        return Err(Refusal::new(ResponseCode::MESSAGE_ILLEGAL, remark));
    }
    if receipt.is_order() {
        for &offset in &offsets {
            ack_in_order(broker, &key, offset, &receipt)?;
        }
        return Ok(None);
    }
    if offsets.is_empty() {
        return Ok(None);
    }
    write_acks(broker, &key, &receipt, &offsets)
}

fn change_one(broker: &Arc<State>, channel: &Channel, request: &RemotingCommand) -> Written {
    let header: ChangeInvisibleTimeRequestHeader = request.header()?;
    let key = QueueKey::new(&header.topic, &header.consumer_group, header.queue_id);
    check_queue(broker, channel, &key)?;
    let (min, max) = bounds(broker, &key);
    if header.offset < min || header.offset >= max {
        let remark = format!("offset {} is not in {min}..{max}", header.offset);
        return Err(Refusal::new(ResponseCode::NO_MESSAGE, remark));
    }
    let receipt: Receipt = header.extra_info.parse()?;
    let now_ms = broker.env.now_ms();
    if receipt.is_order() {
        let answer = hide_in_order(broker, &key, &header, &receipt, now_ms);
        return Ok((request.response_with(ResponseCode::SUCCESS, &answer), None));
    }
    check_revive_queue(receipt.revive_queue)?;
    let origin = ack_key(
        &key,
        receipt.start_offset,
        receipt.pop_time,
        &receipt.broker_name,
    );
    // Two check points must not have one name, or acknowledging the old one closes the new one.
    let same = receipt.pop_time == now_ms && receipt.start_offset == header.offset;
    let pop_time = if same { now_ms + 1 } else { now_ms };
    let times = (pop_time, header.invisible_time);
    let offsets = [header.offset];
    let point = check_point(&receipt.broker_name, &key, times, header.offset, &offsets);
    let put = broker.append_check_point(&point, receipt.revive_queue);
    if !put.is_stored() {
        return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, put.status.name()));
    }
    let put = append(broker, &origin, &receipt, &offsets)?;
    let answer = ChangeInvisibleTimeResponseHeader {
        pop_time,
        invisible_time: header.invisible_time,
        revive_qid: receipt.revive_queue,
    };
    Ok((request.response_with(ResponseCode::SUCCESS, &answer), put))
}

fn check_queue(broker: &State, channel: &Channel, key: &QueueKey) -> Result<(), Refusal> {
    let queues = broker
        .topics
        .read()
        .get(&key.topic)
        .map(|topic| topic.read_queue_nums);
    let Some(queues) = queues else {
        let remark = faq(&format!(
            "topic[{}] not exist, apply first please!",
            key.topic
        ));
        return Err(Refusal::new(ResponseCode::TOPIC_NOT_EXIST, remark));
    };
    if (0..queues).contains(&key.queue_id) {
        return Ok(());
    }
    let remark = illegal_queue(channel, &key.topic, key.queue_id, queues);
    Err(Refusal::new(ResponseCode::MESSAGE_ILLEGAL, remark))
}

fn check_revive_queue(revive_queue: i32) -> Result<(), Refusal> {
    if (0..REVIVE_QUEUES).contains(&revive_queue) {
        return Ok(());
    }
    let remark = format!("no pop has a check point in queue {revive_queue}");
    Err(Refusal::new(ResponseCode::MESSAGE_ILLEGAL, remark))
}

fn bounds(broker: &State, key: &QueueKey) -> (i64, i64) {
    let store = &broker.store;
    (
        store.min_offset_in_queue(&key.topic, key.queue_id),
        store.max_offset_in_queue(&key.topic, key.queue_id),
    )
}

fn write_acks(
    broker: &State,
    key: &QueueKey,
    receipt: &Receipt,
    offsets: &[i64],
) -> Result<Option<PutResult>, Refusal> {
    check_revive_queue(receipt.revive_queue)?;
    let key = ack_key(
        key,
        receipt.start_offset,
        receipt.pop_time,
        &receipt.broker_name,
    );
    append(broker, &key, receipt, offsets)
}

fn append(
    broker: &State,
    key: &CheckPointKey,
    receipt: &Receipt,
    offsets: &[i64],
) -> Result<Option<PutResult>, Refusal> {
    if defect!(broker.env, ForgetAck)
        && broker.defect_clock.fetch_add(1, Ordering::Relaxed) % 50 == 49
    {
        return Ok(None);
    }
    let put = broker.append_acks(key, offsets, receipt.visible_at(), receipt.revive_queue);
    if put.is_stored() {
        Ok(Some(put))
    } else {
        Err(Refusal::new(ResponseCode::SYSTEM_ERROR, put.status.name()))
    }
}

/// A message of an ordered pop is done; if it was the last one, the queue goes on.
fn ack_in_order(
    broker: &State,
    key: &QueueKey,
    offset: i64,
    receipt: &Receipt,
) -> Result<(), Refusal> {
    let _popping = broker.pop.lock(key);
    let committed = broker
        .offsets
        .lock()
        .get(&key.group, &key.topic, key.queue_id);
    let committed = committed.unwrap_or(-1);
    if offset < committed {
        return Ok(());
    }
    let next = {
        let mut orders = broker.pop.orders.lock();
        orders.acknowledge(key, offset, receipt.pop_time, committed)
    };
    match next {
        Committed::Stale => {}
        Committed::Offset(next) => {
            let resets = broker.resets.lock();
            let reset = resets.get(&key.group, &key.topic, key.queue_id);
            drop(resets);
            if reset.is_none() {
                broker.commit_offset(&key.group, &key.topic, key.queue_id, next);
            }
            let now_ms = broker.env.now_ms();
            let blocked = {
                let orders = broker.pop.orders.lock();
                orders.is_blocked(key, None, receipt.invisible_time, now_ms)
            };
            if blocked {
                set_alarm(broker, key);
            } else {
                wake_group(broker, key);
            }
        }
        Committed::Illegal => {
            let remark = format!(
                "offset is illegal, key:{}@{}@{}, old:{committed}, commit:{offset}, next:-1",
                key.topic, key.group, key.queue_id
            );
            return Err(Refusal::new(ResponseCode::MESSAGE_ILLEGAL, remark));
        }
    }
    Ok(())
}

/// A message of an ordered pop stays hidden for another time.
fn hide_in_order(
    broker: &State,
    key: &QueueKey,
    header: &ChangeInvisibleTimeRequestHeader,
    receipt: &Receipt,
    now_ms: i64,
) -> ChangeInvisibleTimeResponseHeader {
    let _popping = broker.pop.lock(key);
    let committed = broker
        .offsets
        .lock()
        .get(&key.group, &key.topic, key.queue_id);
    if committed.is_some_and(|committed| header.offset < committed) {
        // It is done already. Java answers with a header of zeros.
        return ChangeInvisibleTimeResponseHeader::default();
    }
    let visible_at = now_ms.saturating_add(header.invisible_time);
    let pop_time = receipt.pop_time;
    let mut orders = broker.pop.orders.lock();
    orders.hide_until(key, header.offset, pop_time, visible_at);
    drop(orders);
    set_alarm(broker, key);
    ChangeInvisibleTimeResponseHeader {
        pop_time,
        invisible_time: visible_at.saturating_sub(pop_time),
        revive_qid: ORDER_REVIVE_QUEUE,
    }
}
