//! The records of the revive topic, in the form that Apache RocketMQ gives them.

use bytes::Bytes;
use hotfire_protocol::body::{AckMsg, PopCheckPoint};
use hotfire_protocol::message::{property, record};
use hotfire_protocol::pop::{ACK_TAG, BATCH_ACK_TAG, CHECK_POINT_TAG, revive_topic};
use hotfire_protocol::{Message, MessageExt};
use hotfire_store::{MessageInner, PutResult};

use crate::metrics::PopRecord;
use crate::pop::{ACK_GRACE_MS, CheckPointKey, QueueKey, REVIVE_QUEUES, ReviveRecord};
use crate::state::State;

/// The most messages of a check point: their number has one byte.
pub(crate) const CHECK_POINT_MAX: usize = i8::MAX as usize;

/// The check point of messages of a queue, popped now.
pub fn check_point(
    broker_name: &str,
    key: &QueueKey,
    (pop_time, invisible_time): (i64, i64),
    start_offset: i64,
    offsets: &[i64],
) -> PopCheckPoint {
    let diff = |offset: &i64| i32::try_from(offset - start_offset).unwrap_or(i32::MAX);
    PopCheckPoint {
        broker_name: Some(broker_name.to_owned()),
        group: key.group.clone(),
        diffs: offsets.iter().map(diff).collect(),
        invisible_time,
        num: i8::try_from(offsets.len()).unwrap_or(i8::MAX),
        pop_time,
        queue_id: key.queue_id,
        start_offset,
        topic: key.topic.clone(),
        ..PopCheckPoint::default()
    }
}

/// What acknowledgements name a check point by.
pub fn ack_key(
    key: &QueueKey,
    start_offset: i64,
    pop_time: i64,
    broker_name: &str,
) -> CheckPointKey {
    CheckPointKey {
        topic: key.topic.clone(),
        group: key.group.clone(),
        queue_id: key.queue_id,
        start_offset,
        pop_time,
        broker_name: broker_name.to_owned(),
    }
}

impl State {
    /// Writes a check point to the revive topic, without waiting for the disk.
    pub(crate) fn append_check_point(&self, point: &PopCheckPoint, revive_queue: i32) -> PutResult {
        let unique = format!(
            "{}@{}@{}@{}@{}@{}@{CHECK_POINT_TAG}",
            point.topic,
            point.queue_id,
            point.start_offset,
            point.group,
            point.pop_time,
            point.broker_name.as_deref().unwrap_or_default()
        );
        let visible_at = point.pop_time.saturating_add(point.invisible_time);
        let deliver_at = visible_at.saturating_sub(ACK_GRACE_MS);
        let body = point.to_json();
        let put = self.append_revive(CHECK_POINT_TAG, unique, body, deliver_at, revive_queue);
        if let Some(metrics) = &self.metrics {
            let (group, topic) = (&point.group, &point.topic);
            metrics
                .pop
                .put(group, topic, PopRecord::CheckPoint, put.status);
        }
        put
    }

    /// Writes acknowledgements of messages of one check point to the revive topic, without waiting
    /// for the disk. `visible_at` is when the messages would become visible.
    pub(crate) fn append_acks(
        &self,
        key: &CheckPointKey,
        offsets: &[i64],
        visible_at: i64,
        revive_queue: i32,
    ) -> PutResult {
        let (tag, ack_offset, ack_offsets) = match offsets {
            &[one] => (ACK_TAG, one, Vec::new()),
            several => (BATCH_ACK_TAG, -1, several.to_vec()),
        };
        let acks = AckMsg {
            ack_offset,
            ack_offsets,
            broker_name: Some(key.broker_name.clone()),
            group: key.group.clone(),
            queue_id: key.queue_id,
            pop_time: key.pop_time,
            start_offset: key.start_offset,
            topic: key.topic.clone(),
        };
        let CheckPointKey {
            topic,
            group,
            queue_id,
            pop_time,
            broker_name,
            ..
        } = key;
        let unique =
            format!("{topic}@{queue_id}@{ack_offset}@{group}@{pop_time}@{broker_name}@{ACK_TAG}");
        let put = self.append_revive(tag, unique, acks.to_json(), visible_at, revive_queue);
        if let Some(metrics) = &self.metrics {
            metrics.pop.put(group, topic, PopRecord::Ack, put.status);
        }
        put
    }

    fn append_revive(
        &self,
        tag: &str,
        unique: String,
        body: Vec<u8>,
        deliver_at: i64,
        revive_queue: i32,
    ) -> PutResult {
        let topic = revive_topic(&self.config().broker_cluster_name);
        let mut message = Message::new(topic, body).with_tag(tag);
        // Parts of it are as a client gave them, and such characters would end the property.
        let unique = unique.replace(char::is_control, "?");
        let properties = &mut message.properties;
        properties.set(property::UNIQ_KEY, unique);
        properties.set(property::TIMER_DELIVER_MS, deliver_at.to_string());
        let mut inner = MessageInner::new(message, revive_queue, self.address());
        inner.born_timestamp = self.env.now_ms();
        // No limit of what clients send counts for it: what was popped can be revived.
        self.store.append_accepted(inner)
    }

    /// Sees to it that there is a revive topic. False if it cannot be created.
    pub(crate) fn ensure_revive_topic(self: &std::sync::Arc<Self>) -> bool {
        let topic = revive_topic(&self.config().broker_cluster_name);
        self.ensure_topic(&topic, REVIVE_QUEUES, false).is_some()
    }
}

/// Reads a record of the revive topic of the broker group `own_name`.
pub fn read(mut bytes: Bytes, own_name: &str) -> ReviveRecord {
    record::decode(&mut bytes, false)
        .ok()
        .and_then(|message| parse(&message, own_name))
        .unwrap_or(ReviveRecord::Unknown)
}

fn parse(message: &MessageExt, own_name: &str) -> Option<ReviveRecord> {
    let body = &message.message.body;
    // Brokers before 5.3.2 may leave it out.
    let broker = |name: Option<String>| {
        name.filter(|name| !name.trim().is_empty())
            .unwrap_or_else(|| own_name.to_owned())
    };
    let tag = message.message.properties.get(property::TAGS)?;
    match tag {
        CHECK_POINT_TAG => {
            let point = PopCheckPoint::from_json(body).ok()?;
            let key = CheckPointKey {
                topic: point.topic.clone(),
                group: point.group.clone(),
                queue_id: point.queue_id,
                start_offset: point.start_offset,
                pop_time: point.pop_time,
                broker_name: broker(point.broker_name.clone()),
            };
            let named = !key.topic.is_empty() && !key.group.is_empty();
            // No pop hides more.
            let named = named && point.diffs.len() <= CHECK_POINT_MAX;
            named.then_some(ReviveRecord::CheckPoint(key, point))
        }
        ACK_TAG | BATCH_ACK_TAG => {
            let acks = AckMsg::from_json(body).ok()?;
            let key = CheckPointKey {
                topic: acks.topic,
                group: acks.group,
                queue_id: acks.queue_id,
                start_offset: acks.start_offset,
                pop_time: acks.pop_time,
                broker_name: broker(acks.broker_name),
            };
            let offsets = if tag == ACK_TAG {
                vec![acks.ack_offset]
            } else {
                acks.ack_offsets
            };
            Some(ReviveRecord::Acks(key, offsets))
        }
        _ => None,
    }
}
