//! Local transactions: accounts that are debited, and messages that say so.

use std::sync::Arc;

use hotfire_check::history::{Event, OpId, TransactionState, Value};
use hotfire_client::{LocalTransactionState, TransactionListener};
use hotfire_env::BoxFuture;
use hotfire_protocol::message::property;
use hotfire_protocol::{Message, MessageExt};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::body;
use crate::journal::Pen;
use crate::scenario::Transactions;

/// The database behind a producer group, which no fault strikes and which all members share: a row
/// per local transaction, with the unique number of its message as the key. What becomes of a
/// transaction follows from that number.
#[derive(Debug)]
pub struct Accounts {
    spec: Transactions,
    /// The same for all members of a group.
    salt: u64,
    rows: Mutex<FxHashMap<u64, Row>>,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    /// The call that sends the message.
    op: OpId,
    /// Whether the local transaction has run.
    ran: bool,
    /// How often brokers asked about it.
    asked: u32,
}

/// What a local transaction came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ran {
    /// The call that sent the message.
    pub op: OpId,
    /// Whether it debited the account, now and for the first time.
    pub debited: bool,
    /// What the producer tells the broker.
    pub told: TransactionState,
}

/// Which of the shares a number is drawn for.
#[derive(Clone, Copy)]
enum Draw {
    Rollback,
    Unknown,
    Twice,
}

impl Accounts {
    /// The accounts of a group, without rows.
    pub fn new(spec: Transactions, salt: u64) -> Self {
        Self {
            spec,
            salt,
            rows: Mutex::default(),
        }
    }

    /// Notes that the message of a transaction is about to be sent.
    pub fn begin(&self, value: u64, op: OpId) {
        let mut rows = self.rows.lock();
        rows.entry(value)
            .and_modify(|row| row.op = op)
            .or_insert(Row {
                op,
                ran: false,
                asked: 0,
            });
    }

    /// Runs the local transaction; `None` if it was never begun.
    pub fn run(&self, value: u64) -> Option<Ran> {
        let mut rows = self.rows.lock();
        let row = rows.get_mut(&value)?;
        let first = !std::mem::replace(&mut row.ran, true);
        let end = self.end(value);
        Some(Ran {
            op: row.op,
            debited: first && end == TransactionState::Commit,
            told: if self.draws(value, Draw::Unknown) {
                TransactionState::Unknown
            } else {
                end
            },
        })
    }

    /// What a producer answers when a broker asks. A transaction that never ran will not run any
    /// more: it is undone.
    pub fn check(&self, value: u64) -> TransactionState {
        let mut rows = self.rows.lock();
        let Some(row) = rows.get_mut(&value).filter(|row| row.ran) else {
            return TransactionState::Rollback;
        };
        row.asked = row.asked.saturating_add(1);
        if self.draws(value, Draw::Unknown) && row.asked <= self.spec.unknown_checks {
            TransactionState::Unknown
        } else {
            self.end(value)
        }
    }

    /// Whether the end of a transaction is told twice.
    pub fn told_twice(&self, value: u64) -> bool {
        self.draws(value, Draw::Twice)
    }

    fn end(&self, value: u64) -> TransactionState {
        if self.draws(value, Draw::Rollback) {
            TransactionState::Rollback
        } else {
            TransactionState::Commit
        }
    }

    fn draws(&self, value: u64, draw: Draw) -> bool {
        let share = match draw {
            Draw::Rollback => self.spec.rollback,
            Draw::Unknown => self.spec.unknown,
            Draw::Twice => self.spec.told_twice,
        };
        let salt = self.salt ^ draw as u64;
        let drawn = xxh3_64_with_seed(&value.to_le_bytes(), salt) >> 11;
        (drawn as f64 / (1u64 << 53) as f64) < share
    }
}

/// The listener of one process of a producer group.
pub struct Debtor {
    /// The group's accounts.
    pub accounts: Arc<Accounts>,
    /// The group's name.
    pub group: String,
    /// What the node writes with.
    pub pen: Pen,
}

impl Debtor {
    fn run(&self, message: &Message) -> TransactionState {
        let Some(content) = body::decode(&message.body).map(|received| received.content) else {
            return TransactionState::Unknown;
        };
        let value = Value(content.value);
        let Some(ran) = self.accounts.run(content.value) else {
            return TransactionState::Unknown;
        };
        if ran.debited {
            self.pen.write(|recorder| Event::Effect {
                group: recorder.group(&self.group),
                value,
                applied: true,
                amount: -content.amount,
            });
        }
        self.pen.write(|_| Event::LocalTransaction {
            op: ran.op,
            value,
            state: ran.told,
        });
        ran.told
    }

    fn check(&self, message: &MessageExt) -> TransactionState {
        let Some(received) = body::decode(&message.message.body) else {
            return TransactionState::Unknown;
        };
        let value = received.content.value;
        let state = self.accounts.check(value);
        let properties = &message.message.properties;
        let round = properties.get(property::TRANSACTION_CHECK_TIMES);
        self.pen.write(|_| Event::TransactionChecked {
            value: Value(value),
            round: round.and_then(|round| round.parse().ok()).unwrap_or(0),
            state,
        });
        state
    }
}

impl TransactionListener for Debtor {
    fn execute<'a>(
        &'a self,
        message: &'a Message,
        _transaction_id: &'a str,
    ) -> BoxFuture<'a, LocalTransactionState> {
        Box::pin(async move { told(self.run(message)) })
    }

    fn check<'a>(&'a self, message: &'a MessageExt) -> BoxFuture<'a, LocalTransactionState> {
        Box::pin(async move { told(Debtor::check(self, message)) })
    }
}

/// A state in the client's words.
fn told(state: TransactionState) -> LocalTransactionState {
    match state {
        TransactionState::Commit => LocalTransactionState::Commit,
        TransactionState::Rollback => LocalTransactionState::Rollback,
        TransactionState::Unknown => LocalTransactionState::Unknown,
    }
}

/// A state in the history's words.
pub fn state(told: LocalTransactionState) -> TransactionState {
    match told {
        LocalTransactionState::Commit => TransactionState::Commit,
        LocalTransactionState::Rollback => TransactionState::Rollback,
        LocalTransactionState::Unknown => TransactionState::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts(rollback: f64, unknown: f64) -> Accounts {
        let spec = Transactions {
            rollback,
            unknown,
            unknown_checks: 2,
            told_twice: 0.0,
        };
        Accounts::new(spec, 7)
    }

    #[test]
    fn an_account_is_debited_once_by_what_commits() {
        let accounts = accounts(0.0, 0.0);
        accounts.begin(1, OpId(5));
        let ran = accounts.run(1).unwrap();
        assert_eq!(
            (ran.op, ran.debited, ran.told),
            (OpId(5), true, TransactionState::Commit)
        );
        assert!(!accounts.run(1).unwrap().debited);
    }

    #[test]
    fn what_is_rolled_back_debits_nothing() {
        let accounts = accounts(1.0, 0.0);
        accounts.begin(1, OpId(5));
        let ran = accounts.run(1).unwrap();
        assert_eq!((ran.debited, ran.told), (false, TransactionState::Rollback));
        assert_eq!(accounts.check(1), TransactionState::Rollback);
    }

    #[test]
    fn what_is_unknown_at_first_is_known_after_so_many_checks() {
        let accounts = accounts(0.0, 1.0);
        accounts.begin(1, OpId(5));
        let ran = accounts.run(1).unwrap();
        assert_eq!((ran.debited, ran.told), (true, TransactionState::Unknown));
        let answers = [(); 3].map(|()| accounts.check(1));
        let unknown = TransactionState::Unknown;
        assert_eq!(answers, [unknown, unknown, TransactionState::Commit]);
    }

    #[test]
    fn what_never_ran_is_undone() {
        let accounts = accounts(0.0, 0.0);
        accounts.begin(1, OpId(5));
        assert_eq!(accounts.check(1), TransactionState::Rollback);
        assert_eq!(accounts.check(2), TransactionState::Rollback);
        assert_eq!(accounts.run(2), None);
    }

    #[test]
    fn the_share_that_rolls_back_follows_from_the_numbers() {
        let some = |salt| {
            let spec = Transactions {
                rollback: 0.3,
                ..Transactions::default()
            };
            let accounts = Accounts::new(spec, salt);
            (0..1000)
                .filter(|value| accounts.end(*value) == TransactionState::Rollback)
                .collect::<Vec<u64>>()
        };
        assert!((250..350).contains(&some(7).len()));
        assert_eq!(some(7), some(7));
        assert_ne!(some(7), some(8));
    }
}
