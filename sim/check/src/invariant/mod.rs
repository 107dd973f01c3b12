//! The invariants, one file each: what it says, why, under which faults Apache RocketMQ promises
//! it, and the check itself.
//!
//! A check reads the `Facts` of a history and fills `Findings`. It must be sound first (an
//! alarm on legal behaviour costs as much as a miss), deterministic, and at most O(n log n).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::facts::Facts;
pub(crate) use findings::Findings;

mod accounts;
mod findings;
mod popped;

macro_rules! invariants {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal in $file:ident,)+) => {
        $(mod $file;)+

        /// The invariants that can be checked.
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
        )]
        pub enum InvariantId {
            $($(#[doc = $doc])+ #[serde(rename = $text)] $name,)+
        }

        impl InvariantId {
            /// Every invariant, in the order of declaration.
            pub const ALL: &'static [InvariantId] = &[$(InvariantId::$name,)+];

            /// The id that scenarios and reports use, such as `INV-LOSS`.
            pub const fn name(self) -> &'static str {
                match self { $(InvariantId::$name => $text,)+ }
            }

            /// What it says, in one sentence.
            pub const fn statement(self) -> &'static str {
                self.spec().statement
            }

            /// What it means, how it is judged, what Apache RocketMQ promises, and what is legal.
            pub const fn explanation(self) -> &'static str {
                self.spec().explanation
            }

            const fn spec(self) -> &'static Invariant {
                match self { $(InvariantId::$name => &$file::INVARIANT,)+ }
            }
        }
    };
}

/// An invariant: what it says and how it is checked.
pub(crate) struct Invariant {
    statement: &'static str,
    explanation: &'static str,
    check: fn(&Facts<'_>, &mut Findings),
}

impl InvariantId {
    pub(crate) fn check(self, facts: &Facts<'_>) -> Findings {
        let mut findings = Findings::default();
        (self.spec().check)(facts, &mut findings);
        findings
    }
}

impl fmt::Display for InvariantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// No invariant has this id.
#[derive(Debug, thiserror::Error)]
#[error("there is no invariant `{0}`")]
pub struct UnknownInvariant(pub String);

impl FromStr for InvariantId {
    type Err = UnknownInvariant;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|id| id.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownInvariant(text.to_owned()))
    }
}

invariants! {
    /// No acknowledged message is lost from the log.
    Loss = "INV-LOSS" in loss,
    /// Nothing is delivered that was not sent.
    Phantom = "INV-PHANTOM" in phantom,
    /// Messages of one order id are consumed one after the other, in the order they were sent.
    Order = "INV-ORDER" in order,
    /// A queue offset stands for one message.
    LogId = "INV-LOGID" in log_id,
    /// A message is stored no more often than it was sent.
    LogDup = "INV-LOGDUP" in log_dup,
    /// A consumer does not jump over messages.
    Skip = "INV-SKIP" in skip,
    /// A consumer's position does not go back.
    Mono = "INV-MONO" in mono,
    /// A committed offset covers finished messages only.
    OffSafe = "INV-OFFSAFE" in off_safe,
    /// A group's offset at the broker does not go back.
    OffMono = "INV-OFFMONO" in off_mono,
    /// No duplicates while nothing happens that explains them.
    SteadyDup = "INV-STEADYDUP" in steady_dup,
    /// What was committed is not delivered again.
    Redeliver = "INV-REDELIVER" in redeliver,
    /// In the end everything acknowledged was delivered.
    Unseen = "INV-UNSEEN" in unseen,
    /// Failed messages come back, one count and one delay level at a time.
    Retry = "INV-RETRY" in retry,
    /// Messages that exhausted their retries end in the dead-letter queue, once.
    Dlq = "INV-DLQ" in dlq,
    /// The de-duplicating ledger of an idempotent group balances.
    Ledger = "INV-LEDGER" in ledger,
    /// A group gets what its filter lets through, and nothing else.
    Filter = "INV-FILTER" in filter,
    /// Two members of an orderly group never process one queue at the same time.
    Excl = "INV-EXCL" in excl,
    /// Every queue has one owner once the members agree.
    Alloc = "INV-ALLOC" in alloc,
    /// A message that arrives wakes the pull that waits for it.
    Wake = "INV-WAKE" in wake,
    /// A popped message is hidden for its time, and comes again after it.
    Invis = "INV-INVIS" in invis,
    /// An acknowledgement counts if its handle is valid.
    Handle = "INV-HANDLE" in handle,
    /// No two messages have one id.
    IdUniq = "INV-IDUNIQ" in id_uniq,
    /// A reply belongs to its request.
    Corr = "INV-CORR" in corr,
    /// What is stored can be looked up.
    Index = "INV-INDEX" in index,
    /// No message is visible before its time.
    Early = "INV-EARLY" in early,
    /// No message is late for its time.
    Late = "INV-LATE" in late,
    /// A message for a time comes once.
    Once = "INV-ONCE" in once,
    /// A transactional message is visible if and only if it was committed.
    TxAtom = "INV-TXATOM" in tx_atom,
    /// Every half message comes to an end.
    TxTerm = "INV-TXTERM" in tx_term,
    /// The broker asks about a transaction by its schedule.
    TxCheck = "INV-TXCHECK" in tx_check,
    /// What access control forbids has no effect.
    Access = "INV-ACCESS" in access,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invariant_is_found_by_its_id() {
        for &id in InvariantId::ALL {
            assert_eq!(id.name().parse::<InvariantId>().unwrap(), id);
        }
        assert!("INV-NOTHING".parse::<InvariantId>().is_err());
    }

    #[test]
    fn every_invariant_has_a_statement_and_says_what_is_promised() {
        for &id in InvariantId::ALL {
            assert!(id.statement().ends_with('.'), "{id}");
            let explanation = id.explanation();
            for heading in ["Judged by", "Promised", "Legal"] {
                assert!(
                    explanation.contains(heading),
                    "{id} does not say `{heading}`"
                );
            }
            assert!(
                explanation.lines().all(|line| line.len() <= 100),
                "{id} has a long line"
            );
        }
    }
}
