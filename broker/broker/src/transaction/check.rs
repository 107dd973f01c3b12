//! The check service: goes over the half messages and asks producers about those that nobody
//! decided (`TransactionalMessageCheckService`, `TransactionalMessageServiceImpl.check`).
//!
//! It reads the half and op topics as the group `CID_RMQ_SYS_TRANS`, whose offsets are committed at
//! the end of a round: after a crash a round may be repeated, and with it its checks.

use std::sync::Arc;
use std::time::Duration;

use hotfire_env::defect;
use hotfire_protocol::message::{property, record};
use hotfire_protocol::{MessageExt, RemotingCommand, topic};
use hotfire_store::{
    AppendResult, GetMessageResult, GetMessageStatus, MessageInner, PutMessageStatus,
};
use tokio::time::Instant;

use super::half::{self, QUEUE};
use super::ops::Ops;
use super::verdict::{CheckRules, Verdict};
use crate::processor::popping;
use crate::set_aside::Line;
use crate::state::State;

/// How long a round may take (`MAX_PROCESS_TIME_LIMIT`).
const ROUND_LIMIT: Duration = Duration::from_secs(60);
/// How many op messages are read at once (`OP_MSG_PULL_NUMS`), before other tasks have their turn.
const OPS_PER_READ: usize = 32;
/// How many half messages are looked at before other tasks have their turn.
const HALVES_PER_TURN: usize = 64;
/// How many bytes of them are stored again at the most before that, unless one has more.
const BYTES_PER_TURN: usize = 1 << 20;
/// How many producers are tried for one check (`GET_AVAILABLE_CHANNEL_RETRY_COUNT`).
const PRODUCERS_TRIED: usize = 3;

/// A round over the half messages.
struct Round {
    rules: CheckRules,
    began_ms: i64,
    /// The first half message of the round.
    first_half: i64,
    /// The half message to look at.
    next_half: i64,
    ops: Ops,
    /// How many half messages were looked at since other tasks had their turn, and how many bytes
    /// of them were stored again.
    turn: (usize, usize),
}

/// What reading a half message gave.
enum Read {
    Found(Box<MessageExt>),
    /// Its record, at this offset of the commit log, cannot be read.
    Damaged(i64),
    /// It is not there: the queue goes on elsewhere.
    GoOnAt(i64),
    End,
}

impl State {
    /// One round of the check service.
    pub(crate) async fn check_half_messages(self: &Arc<Self>) {
        if self
            .ensure_topic(topic::TRANS_HALF_TOPIC, 1, false)
            .is_none()
        {
            return;
        }
        let first_half = self.transaction_offset(topic::TRANS_HALF_TOPIC);
        let first_op = self.transaction_offset(topic::TRANS_OP_HALF_TOPIC);
        let mut round = Round {
            rules: self.check_rules(),
            began_ms: self.env.now_ms(),
            first_half,
            next_half: first_half,
            ops: Ops::new(first_op),
            turn: (0, 0),
        };
        let deadline = Instant::now() + ROUND_LIMIT;
        while Instant::now() < deadline {
            while self.read_ops(&mut round) {
                tokio::task::yield_now().await;
            }
            if !self.step(&mut round) {
                break;
            }
            round.turn.0 += 1;
            if round.turn.0 >= HALVES_PER_TURN || round.turn.1 >= BYTES_PER_TURN {
                round.turn = (0, 0);
                tokio::task::yield_now().await;
            }
        }
        if round.next_half != first_half {
            self.commit_transaction_offset(topic::TRANS_HALF_TOPIC, round.next_half);
        }
        let finished = round.ops.finished();
        if finished != first_op {
            self.commit_transaction_offset(topic::TRANS_OP_HALF_TOPIC, finished);
        }
    }

    fn check_rules(&self) -> CheckRules {
        let config = self.config();
        let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        CheckRules {
            timeout_ms: millis(config.transaction_timeout),
            max_checks: config.transaction_check_max,
            reserved_ms: millis(config.store.file_reserved_time),
        }
    }

    /// Deals with the next half message; false at the end of the round.
    fn step(self: &Arc<Self>, round: &mut Round) -> bool {
        if round.ops.take(round.next_half) && !defect!(self.env, CheckDecided) {
            round.next_half += 1;
            return true;
        }
        let half = match self.read_half(round.next_half) {
            Read::Found(half) => half,
            Read::Damaged(offset) => {
                let reason = "the record cannot be read";
                let done = self.set_aside(Line::Transaction, reason, None, offset);
                round.next_half += i64::from(done);
                return done;
            }
            Read::GoOnAt(next) if next > round.next_half => {
                round.next_half = next;
                return true;
            }
            Read::GoOnAt(_) | Read::End => return false,
        };
        let verdict = round.rules.judge(&half, round.began_ms, self.env.now_ms());
        if verdict != Verdict::EndRound {
            round.turn.1 += usize::try_from(half.store_size).unwrap_or(0);
        }
        let dealt_with = match verdict {
            Verdict::EndRound => return false,
            Verdict::GiveUp => self.give_up(*half),
            Verdict::PassOver => self.pass_over(&half, &mut round.ops),
            Verdict::Check if defect!(self.env, ForgetHalf) => true,
            Verdict::Check => self.check(&half),
        };
        round.next_half += i64::from(dealt_with);
        dealt_with
    }

    /// Reads some of the op messages that were stored since the last look; false at their end.
    fn read_ops(&self, round: &mut Round) -> bool {
        let at = round.ops.next;
        let read = self.read_transactions(topic::TRANS_OP_HALF_TOPIC, at, OPS_PER_READ);
        for mut bytes in read.messages.iter().cloned() {
            match record::decode(&mut bytes, true) {
                Ok(op) => round.ops.note(&op, round.first_half),
                Err(error) => {
                    if let Some(offset) = popping::queue_offset(&bytes) {
                        round.ops.pass_over(offset);
                    }
                    if let Some(suppressed) = self.set_aside.may_log(self.env.now_ms()) {
                        tracing::error!(%error, at, suppressed, "an op message is damaged");
                    }
                }
            }
        }
        if read.next_begin_offset <= at {
            return false;
        }
        if read.messages.is_empty() {
            tracing::warn!(
                at,
                next = read.next_begin_offset,
                "there are no op messages where the last round ended"
            );
            round.ops.skip_to(read.next_begin_offset);
        }
        round.ops.next = read.next_begin_offset;
        true
    }

    fn read_half(&self, at: i64) -> Read {
        let read = self.read_transactions(topic::TRANS_HALF_TOPIC, at, 1);
        match (read.status, read.messages.into_iter().next()) {
            (GetMessageStatus::Found, Some(mut bytes)) => match record::decode(&mut bytes, true) {
                Ok(half) => Read::Found(Box::new(half)),
                Err(_) => {
                    let units = self.store.units(topic::TRANS_HALF_TOPIC, QUEUE, at, 1);
                    Read::Damaged(units.first().map_or(-1, |unit| unit.offset))
                }
            },
            (GetMessageStatus::NoMessageInQueue | GetMessageStatus::OffsetOverflowOne, _) => {
                Read::End
            }
            _ => Read::GoOnAt(read.next_begin_offset),
        }
    }

    fn read_transactions(&self, topic: &str, at: i64, count: usize) -> GetMessageResult {
        self.store
            .get_message(topic, QUEUE, at, count, usize::MAX, &|_| true)
    }

    /// Moves a half message to where nobody checks it; false if that failed.
    fn give_up(self: &Arc<Self>, half: MessageExt) -> bool {
        let topic = topic::TRANS_CHECK_MAX_TIME_TOPIC;
        if self.ensure_topic(topic, 1, false).is_none() {
            return false;
        }
        let (id, checks) = (half.msg_id(), half::check_times(&half));
        if let Some(suppressed) = self.set_aside.may_log(self.env.now_ms()) {
            tracing::error!(
                id,
                checks,
                suppressed,
                "nobody decided about a half message: it is given up"
            );
        }
        let put = self.store.append_accepted(half::given_up(half.clone()));
        match put.status {
            PutMessageStatus::PutOk => true,
            status if status.is_final() => self.set_half_aside(half),
            status => self.wait_for_store(status),
        }
    }

    /// Appends an immune half message again, unless its first copy is decided; false if that is to
    /// be tried again.
    ///
    /// As in Apache RocketMQ, that is looked for only among the op messages about this round's half
    /// messages: when a decision about the first copy comes after a round has passed it, its newest
    /// copy is checked all the same when its immunity ends.
    fn pass_over(self: &Arc<Self>, half: &MessageExt, ops: &mut Ops) -> bool {
        if half::prepared_offset(half).is_some_and(|first| ops.take(first)) {
            return true;
        }
        let forms = [half::passed_over(half), half::without_room(half, true)];
        match self.put_again(forms) {
            Ok(_) => true,
            Err(status) if status.is_final() => self.set_half_aside(half.clone()),
            Err(status) => self.wait_for_store(status),
        }
    }

    /// Appends a half message again and asks a producer about it; false if that is to be tried
    /// again. The question may be lost: the next round asks again.
    fn check(self: &Arc<Self>, half: &MessageExt) -> bool {
        let forms = [
            half::checked_once_more(half),
            half::without_room(half, false),
        ];
        let (again, append) = match self.put_again(forms) {
            Ok(stored) => stored,
            Err(status) if status.is_final() => return self.set_half_aside(half.clone()),
            Err(status) => return self.wait_for_store(status),
        };
        let (queue_offset, commit_log_offset) = (append.queue_offset, append.physical_offset);
        match half::check_request(half, again, queue_offset, commit_log_offset) {
            Ok(request) => self.ask_producer(half, &request),
            Err(error) => tracing::error!(%error, id = half.msg_id(), "cannot ask about it"),
        }
        true
    }

    /// Appends a half message without waiting for the disk, in the first form that fits: which one
    /// it was, and where it is.
    fn put_again(
        &self,
        forms: [MessageInner; 2],
    ) -> Result<(MessageInner, AppendResult), PutMessageStatus> {
        let mut refused = PutMessageStatus::MessageIllegal;
        for form in forms {
            let put = self.store.append_accepted(form.clone());
            match put.append {
                Some(append) => return Ok((form, append)),
                None if put.status.is_final() => refused = put.status,
                None => return Err(put.status),
            }
        }
        Err(refused)
    }

    /// The round goes on behind a half message that cannot be stored again.
    fn set_half_aside(self: &Arc<Self>, half: MessageExt) -> bool {
        let offset = half.commit_log_offset;
        self.set_aside(Line::Transaction, "it does not fit", Some(half), offset)
    }

    /// The round ends, and the next begins with the same half message.
    fn wait_for_store(&self, status: PutMessageStatus) -> bool {
        let status = status.name();
        tracing::warn!(status, "cannot store a half message again");
        false
    }

    /// Sends a question to one of the producers of a half message's group, in turn.
    fn ask_producer(&self, half: &MessageExt, request: &RemotingCommand) {
        let group = half
            .message
            .properties
            .get(property::PGROUP)
            .unwrap_or_default();
        let candidates = self.producers.lock().in_turn(group, PRODUCERS_TRIED);
        for connection in candidates {
            let channel = self.channels.lock().get(&connection).cloned();
            let Some(channel) = channel else { continue };
            match channel.oneway(request.clone()) {
                Ok(()) => return,
                Err(error) => tracing::debug!(%error, group, "cannot ask a producer"),
            }
        }
        if let Some(suppressed) = self.set_aside.may_log(self.env.now_ms()) {
            let id = half.msg_id();
            tracing::warn!(
                group,
                id,
                suppressed,
                "no producer to ask about a half message"
            );
        }
    }

    /// Where the check service goes on in one of its topics.
    fn transaction_offset(&self, topic: &str) -> i64 {
        let committed = self
            .offsets
            .lock()
            .get(topic::TRANS_CONSUMER_GROUP, topic, QUEUE);
        committed.unwrap_or_else(|| self.store.min_offset_in_queue(topic, QUEUE))
    }

    fn commit_transaction_offset(&self, topic: &str, offset: i64) {
        self.commit_offset(topic::TRANS_CONSUMER_GROUP, topic, QUEUE, offset);
    }
}
