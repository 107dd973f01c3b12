//! Transactions: half messages, local transactions that debit accounts, checks, and their ends.

use hotfire_check::history::*;

use super::*;

pub(super) const TIMEOUT_US: u64 = 2_000_000;
pub(super) const INTERVAL_US: u64 = 3_000_000;
pub(super) const MAX_CHECKS: u16 = 3;

#[derive(Clone, Copy, PartialEq)]
enum State {
    Open,
    /// Noted as done with, here in the log.
    Ended(usize),
    /// Stored again for a check, here in the log, at this time.
    Replaced(usize, u64),
}

/// A copy of a half message.
#[derive(Clone, Copy)]
struct Half {
    value: u64,
    offset: i64,
    /// Its place in the log.
    at: usize,
    /// By the broker's wall clock.
    born_us: i64,
    round: u16,
    state: State,
}

/// What travels between broker and producer.
#[derive(Clone, Copy)]
enum Letter {
    End(usize, u64, TransactionState),
    Check(usize, u64, u16),
}

/// What the producer knows of a transaction.
struct Row {
    ends: TransactionState,
    /// How many checks it will answer with nothing.
    unsure: usize,
}

pub(super) struct Transactions {
    payers: GroupId,
    halves: Vec<Half>,
    letters: Vec<(u64, Letter)>,
    rows: BTreeMap<u64, Row>,
    last_round: u64,
}

impl Transactions {
    pub(super) fn new(payers: GroupId) -> Self {
        Self {
            payers,
            halves: Vec::new(),
            letters: Vec::new(),
            rows: BTreeMap::new(),
            last_round: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        let open = |half: &Half| half.state == State::Open;
        self.letters.is_empty() && !self.halves.iter().any(open)
    }

    /// The half message at a place in the log, if it is still there.
    fn half(&mut self, at: usize, value: u64) -> Option<&mut Half> {
        let mut halves = self.halves.iter_mut();
        halves.find(|half| half.at == at && half.value == value)
    }
}

impl World {
    pub(super) fn send_half(&mut self) {
        let value = self.new_value();
        let op = self.invoke(self.producer, value, (SendKind::Transaction, 0), None);
        let born_us = self.wall_us();
        let sent = self.attempt(op, HALF, value);
        for &(offset, at) in &sent.copies {
            self.transactions.halves.push(Half {
                value,
                offset,
                at,
                born_us,
                round: 0,
                state: State::Open,
            });
        }
        // Who does not know that the half is stored does not run the local transaction.
        if let Some(&(_, at)) = sent.copies.last().filter(|_| sent.is_ok) {
            self.run_local(op, value, at);
        }
    }

    fn run_local(&mut self, op: OpId, value: u64, half: usize) {
        let ends = match self.rng.one_in(3) {
            true => TransactionState::Rollback,
            false => TransactionState::Commit,
        };
        if ends == TransactionState::Commit {
            let debit = Event::Effect {
                group: self.transactions.payers,
                value: Value(value),
                applied: true,
                amount: -5,
            };
            self.note(self.producer, debit);
        }
        let unsure = self.rng.below(12).saturating_sub(7);
        self.transactions.rows.insert(value, Row { ends, unsure });
        let state = match unsure {
            0 => ends,
            _ => TransactionState::Unknown,
        };
        // An end may be told twice.
        for _ in 0..1 + usize::from(self.rng.one_in(8)) {
            let told = Event::LocalTransaction {
                op,
                value: Value(value),
                state,
            };
            self.note(self.producer, told);
            self.tell(half, value, state);
        }
    }

    fn tell(&mut self, half: usize, value: u64, state: TransactionState) {
        if state != TransactionState::Unknown {
            self.post(Letter::End(half, value, state));
        }
    }

    fn post(&mut self, letter: Letter) {
        if self.loses(6) {
            return;
        }
        // An end may be late; a check that is late by more than a round is a fault.
        let delay = match letter {
            Letter::End(..) if self.loses(6) => self.rng.below(8_000_000),
            _ => self.rng.below(300_000),
        };
        let at = self.now + delay as u64;
        self.transactions.letters.push((at, letter));
    }

    pub(super) fn deliver_letters(&mut self) {
        let now = self.now;
        let letters = std::mem::take(&mut self.transactions.letters);
        let (due, later) = letters.into_iter().partition(|letter| letter.0 <= now);
        self.transactions.letters = later;
        let due: Vec<(u64, Letter)> = due;
        for (_, letter) in due {
            match letter {
                Letter::End(at, value, state) => self.end_half(at, value, state),
                Letter::Check(at, value, round) => self.answer(at, value, round),
            }
        }
    }

    /// The producer is asked. A transaction that it knows nothing of never ran.
    fn answer(&mut self, half: usize, value: u64, round: u16) {
        let state = match self.transactions.rows.get_mut(&value) {
            None => TransactionState::Rollback,
            Some(row) if row.unsure > 0 => {
                row.unsure -= 1;
                TransactionState::Unknown
            }
            Some(row) => row.ends,
        };
        let checked = Event::TransactionChecked {
            value: Value(value),
            round,
            state,
        };
        self.note(self.producer, checked);
        self.tell(half, value, state);
    }

    /// The broker keeps no final state: who commits twice delivers twice.
    fn end_half(&mut self, at: usize, value: u64, state: TransactionState) {
        let Some(&mut Half { offset, .. }) = self.transactions.half(at, value) else {
            return;
        };
        if state == TransactionState::Commit {
            self.append(value as usize % QUEUES, value, 0);
        }
        let (_, note) = self.append(OPS, 0, 0);
        let queue = self.queues.of(HALF);
        self.note(self.broker, Event::HalfEnded { queue, offset });
        if let Some(half) = self.transactions.half(at, value)
            && half.state == State::Open
        {
            half.state = State::Ended(note);
        }
    }

    /// A round of checks: each half message that is old enough is stored again and asked about.
    pub(super) fn check_halves(&mut self) {
        if self.now - self.transactions.last_round < INTERVAL_US {
            return;
        }
        self.transactions.last_round = self.now;
        let born_before = self.wall_us() - TIMEOUT_US as i64;
        for number in 0..self.transactions.halves.len() {
            let half = self.transactions.halves[number];
            if half.state != State::Open || half.born_us > born_before {
                continue;
            }
            let (value, round) = (half.value, half.round + 1);
            let state = if round > MAX_CHECKS {
                State::Ended(self.append(DISCARDED, value, 0).1)
            } else {
                let (offset, at) = self.append(HALF, value, 0);
                let state = State::Open;
                self.transactions.halves.push(Half {
                    offset,
                    at,
                    round,
                    state,
                    ..half
                });
                self.post(Letter::Check(at, value, round));
                State::Replaced(at, self.now)
            };
            self.transactions.halves[number].state = state;
        }
    }

    /// What is left of the log goes up to a place. Of what was stored again since offsets were
    /// persisted the broker may have forgotten so.
    pub(super) fn halves_after_crash(&mut self, left: usize) {
        self.transactions.halves.retain(|half| half.at < left);
        for half in &mut self.transactions.halves {
            let is_gone = match half.state {
                State::Open => false,
                State::Ended(note) => note >= left,
                State::Replaced(by, at) => {
                    by >= left || (at >= self.last_persist && self.rng.one_in(2))
                }
            };
            if is_gone {
                half.state = State::Open;
            }
        }
        let rng = &mut self.rng;
        self.transactions.letters.retain(|_| !rng.one_in(2));
    }
}
