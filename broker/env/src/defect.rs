//! Planted defects: known bugs that a scenario can switch on, to prove that the checkers catch them.
//!
//! This file is the whole list. A defect point in the stack is one call of [`defect!`](crate::defect!),
//! which is `false` at compile time without the cargo feature `defects` of the crate it stands in.

use std::fmt;
use std::str::FromStr;

/// Whether a planted defect is switched on: `if defect!(env, AckBeforeAppend) { … }`.
///
/// The crate that uses it declares a feature `defects` which enables `hotfire-env/defects`.
#[macro_export]
macro_rules! defect {
    ($env:expr, $defect:ident) => {
        cfg!(feature = "defects") && $env.has_defect($crate::Defect::$defect)
    };
}

macro_rules! defects {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        /// A known bug that can be switched on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Defect {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Defect {
            /// Every defect, in the order of declaration.
            pub const ALL: &'static [Defect] = &[$(Defect::$name,)+];

            /// The name that scenarios use.
            pub const fn name(self) -> &'static str {
                match self { $(Defect::$name => $text,)+ }
            }

            /// What the bug is.
            pub const fn description(self) -> &'static str {
                match self { $(Defect::$name => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

defects! {
    /// The broker answers a send with success without having appended the message. INV-LOSS.
    AckBeforeAppend = "ack-before-append",
    /// A synchronous flush is reported done although nothing was flushed. INV-LOSS after power loss.
    SkipFlush = "skip-flush",
    /// The broker stores another message's number in some bodies. INV-PHANTOM.
    GarbleBody = "garble-body",
    /// The orderly consumer goes on with the next message when its listener asks to suspend. INV-ORDER.
    SkipSuspended = "skip-suspended",
    /// The broker reports a neighbour's queue offset in some send results. INV-LOGID.
    WrongQueueOffset = "wrong-queue-offset",
    /// Some messages are appended to the log twice. INV-LOGDUP.
    AppendTwice = "append-twice",
    /// Some pulls answer a next offset that is one too far. INV-SKIP.
    PullSkips = "pull-skips",
    /// Some pulls answer a next offset that was served before. INV-MONO.
    PullGoesBack = "pull-goes-back",
    /// The consumer commits what it has pulled, not what it has consumed. INV-OFFSAFE.
    CommitBeforeConsume = "commit-before-consume",
    /// The consumer commits offset 0 of a queue that it was just assigned. INV-OFFMONO.
    CommitZero = "commit-zero",
    /// The process queue hands some messages to the listener twice. INV-STEADYDUP.
    ConsumeTwice = "consume-twice",
    /// The broker forgets committed offsets when it restarts. INV-REDELIVER.
    ForgetOffsets = "forget-offsets",
    /// Rebalancing leaves the last queue without an owner. INV-UNSEEN.
    OrphanQueue = "orphan-queue",
    /// A member of a group takes every queue for its own. INV-ALLOC.
    TakeEveryQueue = "take-every-queue",
    /// The broker grants a queue lock that another member holds. INV-EXCL.
    GrantAnyLock = "grant-any-lock",
    /// A message that arrives wakes no pull that waits for it. INV-WAKE.
    WakeNobody = "wake-nobody",
    /// The consumer takes tags of one hash for one tag, as the broker does. INV-FILTER.
    LooseTags = "loose-tags",
    /// A client gives a reply to any of its requests that wait. INV-CORR.
    MixReplies = "mix-replies",
    /// A failed message is sent back with no delay. INV-RETRY.
    RetryAtOnce = "retry-at-once",
    /// A message that exhausted its retries is dropped instead of going to the dead-letter queue. INV-DLQ.
    DropExhausted = "drop-exhausted",
    /// A rollback delivers the half message to its real topic. INV-TXATOM.
    DeliverRolledBack = "deliver-rolled-back",
    /// The check service passes undecided half messages without asking about them. INV-TXTERM.
    ForgetHalf = "forget-half",
    /// The check service asks about half messages that are decided. INV-TXCHECK.
    CheckDecided = "check-decided",
    /// Messages for a time are delivered some seconds before it. INV-EARLY.
    TimerEarly = "timer-early",
    /// The timer wheel stands still at some slots for a minute. INV-LATE.
    TimerStalls = "timer-stalls",
    /// Some messages for a time are delivered twice. INV-ONCE.
    TimerTwice = "timer-twice",
    /// The broker revives popped messages before their invisible time is over. INV-INVIS.
    ReviveEarly = "revive-early",
    /// The broker confirms some acknowledgements of popped messages and forgets them. INV-HANDLE.
    ForgetAck = "forget-ack",
    /// An ordered pop goes on behind messages that nobody acknowledged. INV-ORDER.
    PassUnacked = "pass-unacked",
    /// The store leaves some messages out of its index. INV-INDEX.
    SkipIndex = "skip-index",
    /// A producer gives messages of the same second the same unique id. INV-IDUNIQ.
    RepeatIds = "repeat-ids",
    /// The books of an idempotent consumer take a duplicate for a new message. INV-LEDGER.
    BookTwice = "book-twice",
    /// Access control takes any signature of a known account for its own. INV-ACCESS.
    TrustSignatures = "trust-signatures",
    /// The broker refuses what access control forbids, and does it all the same. INV-PHANTOM.
    RefuseAndServe = "refuse-and-serve",
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Defect {
    type Err = UnknownDefect;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|defect| defect.name() == text)
            .ok_or_else(|| UnknownDefect(text.to_owned()))
    }
}

/// No defect has this name.
#[derive(Debug, thiserror::Error)]
#[error("there is no planted defect `{0}`")]
pub struct UnknownDefect(pub String);

/// A set of defects that are switched on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Defects(u64);

impl Defects {
    /// None: what production runs with.
    pub const NONE: Self = Self(0);

    /// Whether a defect is in the set.
    pub const fn has(self, defect: Defect) -> bool {
        self.0 & (1 << defect as u64) != 0
    }

    /// The set with one more defect.
    #[must_use]
    pub const fn with(self, defect: Defect) -> Self {
        Self(self.0 | (1 << defect as u64))
    }
}

impl FromIterator<Defect> for Defects {
    fn from_iter<I: IntoIterator<Item = Defect>>(defects: I) -> Self {
        defects.into_iter().fold(Self::NONE, Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_defect_is_found_by_its_name() {
        for &defect in Defect::ALL {
            assert_eq!(defect.name().parse::<Defect>().unwrap(), defect);
        }
        assert!("no-such-bug".parse::<Defect>().is_err());
    }

    #[test]
    fn a_set_holds_what_was_put_in() {
        let set: Defects = [Defect::SkipFlush, Defect::PullSkips].into_iter().collect();
        assert!(set.has(Defect::SkipFlush) && set.has(Defect::PullSkips));
        assert!(!set.has(Defect::AckBeforeAppend));
    }
}
