//! The forms that a transactional message takes in the store (`TransactionalMessageBridge`,
//! `EndTransactionProcessor.endMessageTransaction`).

use std::net::SocketAddr;

use bytes::BytesMut;
use hotfire_protocol::header::transaction::{
    CheckTransactionStateRequestHeader, EndTransactionRequestHeader,
};
use hotfire_protocol::message::record::{self, EncodeError};
use hotfire_protocol::message::{property, sys_flag};
use hotfire_protocol::{Message, MessageExt, Properties, RemotingCommand, RequestCode, topic};
use hotfire_store::MessageInner;

/// The queue of half messages, and of op messages. There is one.
pub(super) const QUEUE: i32 = 0;
/// The tag of op messages (`TransactionalMessageUtil.REMOVETAG`).
pub(super) const OP_TAG: &str = "d";

/// Whether a sender wants a half message stored.
pub(crate) fn is_half(properties: &Properties) -> bool {
    properties
        .get(property::TRAN_MSG)
        .is_some_and(|half| half.eq_ignore_ascii_case("true"))
}

/// Makes a half message of a message that is about to be stored. It gets a unit in the consume
/// queue like any other, so its system flag does not say that it is one.
pub(crate) fn make_half(message: &mut MessageInner) {
    let half_topic = topic::TRANS_HALF_TOPIC.to_owned();
    let real_topic = std::mem::replace(&mut message.message.topic, half_topic);
    let real_queue = std::mem::replace(&mut message.queue_id, QUEUE);
    let properties = &mut message.message.properties;
    properties.set(property::REAL_TOPIC, real_topic);
    properties.set(property::REAL_QID, real_queue.to_string());
    message.sys_flag = sys_flag::with_transaction_type(message.sys_flag, 0);
}

/// What keeps a producer from ending the transaction of a half message, for the remark of the
/// answer (`checkPrepareMessage`).
pub(crate) fn find_fault(
    half: &MessageExt,
    header: &EndTransactionRequestHeader,
) -> Option<&'static str> {
    let group = half.message.properties.get(property::PGROUP);
    if group != Some(header.producer_group.as_str()) {
        Some("The producer group wrong")
    } else if half.queue_offset != header.tran_state_table_offset {
        Some("The transaction state table offset wrong")
    } else if half.commit_log_offset != header.commit_log_offset {
        Some("The commit log offset wrong")
    } else {
        None
    }
}

/// The message that consumers get after a commit; `None` if the half message does not say where it
/// is meant for. All its properties stay, and whether it waits for the disk is what the sender of
/// the half message asked for, as records of Apache RocketMQ 4.9.8 show.
pub(crate) fn final_message(half: MessageExt) -> Option<MessageInner> {
    let (real_topic, real_queue) = destination(&half)?;
    let prepared = half.commit_log_offset;
    let mut message = MessageInner::from(half);
    message.message.topic = real_topic;
    message.queue_id = real_queue;
    message.sys_flag =
        sys_flag::with_transaction_type(message.sys_flag, sys_flag::TRANSACTION_COMMIT);
    message.prepared_transaction_offset = prepared;
    Some(message)
}

/// Where a half message is meant for; `None` if it does not say, or names a topic of the broker's
/// own, as nothing does that a client may have sent.
fn destination(half: &MessageExt) -> Option<(String, i32)> {
    let properties = &half.message.properties;
    let real_topic = properties.get(property::REAL_TOPIC)?;
    let real_queue = properties.get(property::REAL_QID)?.parse().ok()?;
    (!topic::is_internal_topic(real_topic)).then(|| (real_topic.to_owned(), real_queue))
}

/// Notes that a half message is decided, either way.
pub(crate) fn op_message(half_offset: i64, broker: SocketAddr, now_ms: i64) -> MessageInner {
    let op = Message::new(topic::TRANS_OP_HALF_TOPIC, half_offset.to_string())
        .with_property(property::WAIT, "true")
        .with_tag(OP_TAG);
    MessageInner {
        born_timestamp: now_ms,
        ..MessageInner::new(op, QUEUE, broker)
    }
}

/// What is noted about a half message whose properties leave no room for it: in the field that only
/// committed messages use, the number of checks and, if it was passed over, one more than the queue
/// offset of its first copy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Notes {
    check_times: i32,
    prepared_offset: Option<i64>,
}

impl Notes {
    /// How many bits the number of checks has.
    const TIMES_BITS: u32 = 16;
    const TIMES_MAX: i64 = (1 << Self::TIMES_BITS) - 1;

    fn of(half: &MessageExt) -> Self {
        let field = half.prepared_transaction_offset.max(0);
        let first = (field >> Self::TIMES_BITS) - 1;
        Self {
            check_times: (field & Self::TIMES_MAX) as i32,
            prepared_offset: (first >= 0).then_some(first),
        }
    }

    fn field(self) -> i64 {
        let first = self.prepared_offset.map_or(0, |offset| offset + 1);
        first << Self::TIMES_BITS | i64::from(self.check_times).clamp(0, Self::TIMES_MAX)
    }
}

/// How often a half message was checked.
pub(super) fn check_times(half: &MessageExt) -> i32 {
    let times = half
        .message
        .properties
        .get(property::TRANSACTION_CHECK_TIMES);
    let noted = times.and_then(|times| times.parse().ok()).unwrap_or(0);
    Notes::of(half).check_times.max(noted)
}

/// The queue offset of the first copy of a half message that was passed over before.
pub(super) fn prepared_offset(half: &MessageExt) -> Option<i64> {
    let properties = &half.message.properties;
    let noted = properties.get(property::TRAN_PREPARED_QUEUE_OFFSET);
    let noted = noted.and_then(|offset| offset.parse().ok());
    noted.or(Notes::of(half).prepared_offset)
}

/// The form of a half message that is stored again, if the usual one does not fit: with the
/// properties that it had, and the rest noted where there is room.
pub(super) fn without_room(half: &MessageExt, passed_over: bool) -> MessageInner {
    let first = prepared_offset(half).or(passed_over.then_some(half.queue_offset));
    let notes = Notes {
        check_times: check_times(half).saturating_add(1),
        prepared_offset: first,
    };
    let mut again = MessageInner::from(half.clone());
    again.message.flag = 0;
    again.reconsume_times = 0;
    again.prepared_transaction_offset = notes.field();
    again
}

/// The half message again, with one check more. Apache RocketMQ keeps neither the user's flag nor
/// the number of retries in it (`renewHalfMessageInner`).
pub(super) fn checked_once_more(half: &MessageExt) -> MessageInner {
    let times = check_times(half).saturating_add(1).to_string();
    let mut again = MessageInner::from(half.clone());
    again.message.flag = 0;
    again.reconsume_times = 0;
    again.prepared_transaction_offset = 0;
    let properties = &mut again.message.properties;
    properties.set(property::TRANSACTION_CHECK_TIMES, times);
    again
}

/// The half message again because it is immune for now: it says which one it was, so that an op
/// message for that one counts (`renewImmunityHalfMessageInner`). It counts as a check, as in Java.
pub(super) fn passed_over(half: &MessageExt) -> MessageInner {
    let mut again = checked_once_more(half);
    let properties = &mut again.message.properties;
    if !properties.contains(property::TRAN_PREPARED_QUEUE_OFFSET) {
        let prepared = half.queue_offset.to_string();
        properties.set(property::TRAN_PREPARED_QUEUE_OFFSET, prepared);
    }
    properties.set(property::WAIT, "false");
    again
}

/// A half message that is given up, for `TRANS_CHECK_MAX_TIME_TOPIC`
/// (`DefaultTransactionalMessageCheckListener.resolveDiscardMsg`).
pub(super) fn given_up(half: MessageExt) -> MessageInner {
    let mut parked = MessageInner::from(half);
    parked.message.topic = topic::TRANS_CHECK_MAX_TIME_TOPIC.to_owned();
    parked.queue_id = QUEUE;
    parked
}

/// A message that was given up, as a half message that was never checked
/// (`AdminBrokerProcessor.resumeCheckHalfMessage`); and, if there is no room for that number, without
/// it.
pub(crate) fn resumed(parked: MessageExt) -> [MessageInner; 2] {
    let mut half = MessageInner::from(parked);
    half.message.topic = topic::TRANS_HALF_TOPIC.to_owned();
    half.queue_id = QUEUE;
    half.prepared_transaction_offset = 0;
    let mut bare = half.clone();
    let properties = &mut half.message.properties;
    properties.set(property::TRANSACTION_CHECK_TIMES, "0");
    bare.message
        .properties
        .remove(property::TRANSACTION_CHECK_TIMES);
    [half, bare]
}

/// CHECK_TRANSACTION_STATE: the question to a producer about a half message that was put back at
/// `queue_offset` and `commit_log_offset`. The body is the message with its real topic and queue,
/// and with the time at which the copy before it was stored.
///
/// # Errors
/// The message cannot be encoded.
pub(super) fn check_request(
    half: &MessageExt,
    again: MessageInner,
    queue_offset: i64,
    commit_log_offset: i64,
) -> Result<RemotingCommand, EncodeError> {
    let (topic, queue_id) = destination(half).unwrap_or_default();
    let mut asked = MessageExt {
        message: again.message,
        queue_id,
        queue_offset,
        commit_log_offset,
        reconsume_times: again.reconsume_times,
        prepared_transaction_offset: 0,
        ..half.clone()
    };
    asked.message.topic = topic;
    let properties = &mut asked.message.properties;
    let waits = properties.get(property::WAIT).map(str::to_owned);
    properties.set(property::WAIT, "false");
    if property::encoded_len(properties) > record::PROPERTIES_MAX {
        // It is asked about without, rather than never.
        match waits {
            Some(waits) => properties.set(property::WAIT, waits),
            None => drop(properties.remove(property::WAIT)),
        }
    }
    let unique_key = asked.message.unique_key().map(str::to_owned);
    let header = CheckTransactionStateRequestHeader {
        tran_state_table_offset: queue_offset,
        commit_log_offset,
        msg_id: unique_key.clone(),
        transaction_id: unique_key,
        offset_msg_id: Some(asked.offset_msg_id()),
        ..CheckTransactionStateRequestHeader::default()
    };
    let mut body = BytesMut::new();
    record::encode(&asked, &mut body)?;
    let request = RemotingCommand::request_with(RequestCode::CHECK_TRANSACTION_STATE, &header);
    Ok(request.with_body(body.freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests_support::stored;

    const BROKER: &str = "192.0.2.1:10911";

    fn half_of(message: Message, queue_id: i32) -> MessageExt {
        let mut half = MessageInner::from(stored(message, queue_id));
        half.sys_flag = sys_flag::COMPRESSED | sys_flag::TRANSACTION_PREPARED;
        make_half(&mut half);
        MessageExt {
            sys_flag: half.sys_flag,
            queue_offset: 7,
            commit_log_offset: 4_200,
            ..stored(half.message, half.queue_id)
        }
    }

    fn half() -> MessageExt {
        let message = Message::new("orders", "body")
            .with_property(property::TRAN_MSG, "true")
            .with_property(property::PGROUP, "payers")
            .with_property(property::UNIQ_KEY, "7F0000010001");
        half_of(message, 3)
    }

    fn header() -> EndTransactionRequestHeader {
        EndTransactionRequestHeader {
            producer_group: "payers".to_owned(),
            tran_state_table_offset: 7,
            commit_log_offset: 4_200,
            ..EndTransactionRequestHeader::default()
        }
    }

    #[test]
    fn a_half_message_waits_elsewhere_and_knows_where_it_is_meant_for() {
        let half = half();
        assert_eq!(half.message.topic, "RMQ_SYS_TRANS_HALF_TOPIC");
        assert_eq!((half.queue_id, half.sys_flag), (0, sys_flag::COMPRESSED));
        assert_eq!(destination(&half), Some(("orders".to_owned(), 3)));
    }

    #[test]
    fn a_committed_message_names_its_half_message() {
        let message = final_message(half()).unwrap();
        assert_eq!(
            (message.message.topic.as_str(), message.queue_id),
            ("orders", 3)
        );
        assert_eq!(
            message.sys_flag,
            sys_flag::COMPRESSED | sys_flag::TRANSACTION_COMMIT
        );
        assert_eq!(message.prepared_transaction_offset, 4_200);
        assert_eq!(message.message.properties, half().message.properties);
    }

    #[test]
    fn a_message_without_a_destination_cannot_be_committed() {
        assert_eq!(
            final_message(stored(Message::new("orders", "body"), 0)),
            None
        );
        let lost = Message::new("orders", "body")
            .with_property(property::REAL_TOPIC, "orders")
            .with_property(property::REAL_QID, "first");
        assert_eq!(final_message(stored(lost, 0)), None);
    }

    #[test]
    fn only_the_group_that_sent_it_ends_a_transaction_by_the_right_offsets() {
        let half = half();
        assert_eq!(find_fault(&half, &header()), None);
        for (wrong, fault) in [
            (
                EndTransactionRequestHeader {
                    producer_group: "others".to_owned(),
                    ..header()
                },
                "The producer group wrong",
            ),
            (
                EndTransactionRequestHeader {
                    tran_state_table_offset: 8,
                    ..header()
                },
                "The transaction state table offset wrong",
            ),
            (
                EndTransactionRequestHeader {
                    commit_log_offset: 4_201,
                    ..header()
                },
                "The commit log offset wrong",
            ),
        ] {
            assert_eq!(find_fault(&half, &wrong), Some(fault));
        }
    }

    #[test]
    fn an_op_message_names_the_queue_offset_of_its_half_message() {
        let op = op_message(12, BROKER.parse().unwrap(), 1_000);
        assert_eq!(op.message.body, "12");
        assert_eq!(op.message.tag(), Some("d"));
        assert_eq!((op.queue_id, op.born_timestamp), (0, 1_000));
    }

    #[test]
    fn each_check_is_counted_and_the_flag_is_lost() {
        let mut flagged = Message::new("orders", "body");
        flagged.flag = 9;
        let mut half = half_of(flagged, 3);
        half.message = checked_once_more(&half).message;
        assert_eq!((check_times(&half), half.message.flag), (1, 0));
        half.message = checked_once_more(&half).message;
        assert_eq!(check_times(&half), 2);
    }

    #[test]
    fn a_half_message_that_is_passed_over_twice_names_the_first_copy() {
        let first = half();
        let mut second = MessageExt {
            queue_offset: 9,
            ..first.clone()
        };
        assert_eq!(prepared_offset(&first), None);
        second.message = passed_over(&first).message;
        assert_eq!(prepared_offset(&second), Some(7));
        second.message = passed_over(&second).message;
        assert_eq!(prepared_offset(&second), Some(7));
    }

    #[test]
    fn a_resumed_message_was_never_checked() {
        let mut half = half();
        half.message = checked_once_more(&half).message;
        let mut parked = half.clone();
        parked.message = given_up(half).message;
        assert_eq!(parked.message.topic, "TRANS_CHECK_MAX_TIME_TOPIC");
        assert_eq!(check_times(&parked), 1);
        let [resumed, _] = resumed(parked.clone());
        parked.message = resumed.message;
        assert_eq!(parked.message.topic, "RMQ_SYS_TRANS_HALF_TOPIC");
        assert_eq!(check_times(&parked), 0);
    }

    #[test]
    fn a_half_message_without_room_is_counted_and_known_all_the_same() {
        let mut half = half();
        for times in 1..=20 {
            let again = without_room(&half, times == 3);
            assert_eq!(again.message.properties, half.message.properties);
            half.prepared_transaction_offset = again.prepared_transaction_offset;
            assert_eq!(check_times(&half), times);
            assert_eq!(prepared_offset(&half), (times >= 3).then_some(7));
        }
        let committed = final_message(half).unwrap();
        assert_eq!(committed.prepared_transaction_offset, 4_200);
    }

    #[test]
    fn nothing_is_committed_into_a_topic_of_the_brokers_own() {
        for topic in ["SCHEDULE_TOPIC_XXXX", "RMQ_SYS_TRANS_HALF_TOPIC"] {
            assert_eq!(final_message(half_of(Message::new(topic, "body"), 0)), None);
        }
    }

    #[test]
    fn a_check_request_holds_the_message_under_its_real_topic() {
        let half = half();
        let request = check_request(&half, checked_once_more(&half), 8, 5_000).unwrap();
        let header: CheckTransactionStateRequestHeader = request.header().unwrap();
        assert_eq!(header.transaction_id.as_deref(), Some("7F0000010001"));
        assert_eq!(
            (header.tran_state_table_offset, header.commit_log_offset),
            (8, 5_000)
        );
        let asked = record::decode_all(request.body, true).unwrap().remove(0);
        assert_eq!(
            (asked.message.topic.as_str(), asked.queue_id),
            ("orders", 3)
        );
        assert_eq!((asked.queue_offset, asked.commit_log_offset), (8, 5_000));
        assert_eq!(header.offset_msg_id, Some(asked.offset_msg_id()));
        assert_eq!(check_times(&asked), 1);
    }
}
