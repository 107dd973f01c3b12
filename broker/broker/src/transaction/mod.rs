//! Transactions (`TransactionalMessageServiceImpl`, `EndTransactionProcessor`).
//!
//! A transactional message is first stored as a *half message*: in `RMQ_SYS_TRANS_HALF_TOPIC`,
//! where no consumer looks, with its real topic and queue as properties. The producer then runs its
//! local transaction and ends it: a commit stores the message again under its real topic, and a
//! commit or a rollback leaves an *op message* in `RMQ_SYS_TRANS_OP_HALF_TOPIC` whose body is the
//! queue offset of the half message. The check service goes over the half messages from time to
//! time, passes those that an op message names, and asks the producers about the others.
//!
//! There is no state of a transaction but these messages, so, as in Apache RocketMQ: a second commit
//! delivers a second time, and a commit after a rollback delivers, too. An op message is written for
//! every decision at once, as 4.9 does (5.x gathers them for up to 3 s). The code 604 for late
//! commits, which 5.x has, is left out.
//!
//! Invariants:
//! - A half message is under its real topic only after a commit for it was received.
//! - The op message of a commit stands behind the final message in the log, so no crash leaves a
//!   transaction decided and the message lost.

mod check;
mod half;
mod ops;
mod verdict;

pub(crate) use half::{final_message, find_fault, is_half, make_half, op_message, resumed};
