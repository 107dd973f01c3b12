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
use hotfire_store::{GetMessageResult, GetMessageStatus, MessageInner, PutMessageStatus};
use tokio::time::Instant;

use super::half::{self, QUEUE};
use super::ops::Ops;
use super::verdict::{CheckRules, Verdict};
use crate::state::State;

/// How long a round may take (`MAX_PROCESS_TIME_LIMIT`).
const ROUND_LIMIT: Duration = Duration::from_secs(60);
/// How many op messages are read at once (`OP_MSG_PULL_NUMS`).
const OPS_PER_READ: usize = 32;
/// How many half messages are looked at before other tasks have their turn.
const HALVES_PER_TURN: usize = 64;
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
}

/// What reading a half message gave.
enum Read {
    Found(Box<MessageExt>),
    /// It cannot be read: the queue goes on elsewhere.
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
        };
        let deadline = Instant::now() + ROUND_LIMIT;
        let mut repaired = false;
        let mut looked_at = 0;
        while Instant::now() < deadline && self.step(&mut round, &mut repaired) {
            looked_at += 1;
            if looked_at % HALVES_PER_TURN == 0 {
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
    fn step(self: &Arc<Self>, round: &mut Round, repaired: &mut bool) -> bool {
        self.read_ops(round);
        if round.ops.take(round.next_half) && !defect!(self.env, CheckDecided) {
            round.next_half += 1;
            return true;
        }
        let half = match self.read_half(round.next_half) {
            Read::Found(half) => half,
            Read::GoOnAt(next) if !*repaired => {
                *repaired = true;
                round.next_half = next;
                return true;
            }
            Read::GoOnAt(_) | Read::End => return false,
        };
        let verdict = round.rules.judge(&half, round.began_ms, self.env.now_ms());
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

    /// Reads the op messages that were stored since the last look.
    fn read_ops(&self, round: &mut Round) {
        loop {
            let at = round.ops.next;
            let read = self.read_transactions(topic::TRANS_OP_HALF_TOPIC, at, OPS_PER_READ);
            for mut bytes in read.messages.iter().cloned() {
                match record::decode(&mut bytes, true) {
                    Ok(op) => round.ops.note(&op, round.first_half),
                    Err(error) => tracing::error!(%error, at, "an op message is damaged"),
                }
            }
            if read.next_begin_offset == at {
                return;
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
        }
    }

    fn read_half(&self, at: i64) -> Read {
        let read = self.read_transactions(topic::TRANS_HALF_TOPIC, at, 1);
        match (read.status, read.messages.into_iter().next()) {
            (GetMessageStatus::Found, Some(mut bytes)) => match record::decode(&mut bytes, true) {
                Ok(half) => Read::Found(Box::new(half)),
                Err(error) => {
                    tracing::error!(%error, at, "a half message is damaged");
                    Read::GoOnAt(at + 1)
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
        tracing::error!(
            id,
            checks,
            "nobody decided about a half message: it is given up"
        );
        self.put_again(half::given_up(half)).is_some()
    }

    /// Appends an immune half message again, unless its first copy is decided; false if that failed.
    ///
    /// As in Apache RocketMQ, that is looked for only among the op messages about this round's half
    /// messages: when a decision about the first copy comes after a round has passed it, its newest
    /// copy is checked all the same when its immunity ends.
    fn pass_over(&self, half: &MessageExt, ops: &mut Ops) -> bool {
        let decided = half::prepared_offset(half).is_some_and(|first| ops.take(first));
        decided || self.put_again(half::passed_over(half)).is_some()
    }

    /// Appends a half message again and asks a producer about it; false if it could not be
    /// appended. The question may be lost: the next round asks again.
    fn check(&self, half: &MessageExt) -> bool {
        let again = half::checked_once_more(half);
        let Some((queue_offset, commit_log_offset)) = self.put_again(again.clone()) else {
            return false;
        };
        match half::check_request(half, again, queue_offset, commit_log_offset) {
            Ok(request) => self.ask_producer(half, &request),
            Err(error) => tracing::error!(%error, id = half.msg_id(), "cannot ask about it"),
        }
        true
    }

    /// Appends a message without waiting for the disk. Its offsets in queue and log.
    fn put_again(&self, message: MessageInner) -> Option<(i64, i64)> {
        let put = self.store.append(message);
        match (put.status, put.append) {
            (PutMessageStatus::PutOk, Some(append)) => {
                Some((append.queue_offset, append.physical_offset))
            }
            (status, _) => {
                let status = status.name();
                tracing::warn!(status, "cannot store a half message again");
                None
            }
        }
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
        tracing::warn!(
            group,
            id = half.msg_id(),
            "no producer to ask about a half message"
        );
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
