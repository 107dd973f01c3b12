//! What the check service does with a half message that is not decided
//! (`TransactionalMessageServiceImpl.check`).

use hotfire_protocol::MessageExt;
use hotfire_protocol::message::property;

use super::half;

/// The limits of the check service, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct CheckRules {
    /// How old a half message is when it is checked first (`transactionTimeOut`).
    pub timeout_ms: i64,
    /// How often it is checked at the most (`transactionCheckMax`).
    pub max_checks: i32,
    /// How old it is when it is given up (`fileReservedTime`).
    pub reserved_ms: i64,
}

/// What to do with a half message that is not decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was checked too often or is too old: it is given up.
    GiveUp,
    /// It is too young, and so are those behind it: the round ends.
    EndRound,
    /// It is immune for a time of its own: it is appended again, so that the round goes on.
    PassOver,
    /// Its producers are asked.
    Check,
}

impl CheckRules {
    /// The verdict at a time, in a round that began at `began_ms`.
    ///
    /// A half message that is born in the future says that a clock was set back: it is checked.
    pub fn judge(&self, message: &MessageExt, began_ms: i64, now_ms: i64) -> Verdict {
        let age_ms = now_ms.saturating_sub(message.born_timestamp);
        if half::check_times(message) >= self.max_checks || age_ms > self.reserved_ms {
            return Verdict::GiveUp;
        }
        if message.store_timestamp >= began_ms {
            return Verdict::EndRound;
        }
        match self.own_immunity_ms(message) {
            Some(immunity_ms) if age_ms < immunity_ms => Verdict::PassOver,
            None if (0..self.timeout_ms).contains(&age_ms) => Verdict::EndRound,
            _ => Verdict::Check,
        }
    }

    /// How long the sender wants a message to be left alone; the timeout if that is not a number.
    fn own_immunity_ms(&self, message: &MessageExt) -> Option<i64> {
        let properties = &message.message.properties;
        let seconds = properties.get(property::CHECK_IMMUNITY_TIME_IN_SECONDS)?;
        let seconds = seconds.parse::<i64>().ok().filter(|&seconds| seconds != -1);
        Some(seconds.map_or(self.timeout_ms, |seconds| seconds.saturating_mul(1_000)))
    }
}

#[cfg(test)]
mod tests {
    use hotfire_protocol::Message;

    use super::*;
    use crate::tests_support::stored;

    const RULES: CheckRules = CheckRules {
        timeout_ms: 6_000,
        max_checks: 15,
        reserved_ms: 72 * 3_600_000,
    };

    /// A half message that was born at 1 s and stored at `stored_ms`.
    fn half(stored_ms: i64, properties: &[(&'static str, &str)]) -> MessageExt {
        let mut message = Message::new("RMQ_SYS_TRANS_HALF_TOPIC", "body");
        for &(name, value) in properties {
            message = message.with_property(name, value);
        }
        MessageExt {
            born_timestamp: 1_000,
            store_timestamp: stored_ms,
            ..stored(message, 0)
        }
    }

    #[test]
    fn a_half_message_is_left_alone_until_its_timeout() {
        let half = half(1_001, &[]);
        assert_eq!(RULES.judge(&half, 6_999, 6_999), Verdict::EndRound);
        assert_eq!(RULES.judge(&half, 7_000, 7_000), Verdict::Check);
    }

    #[test]
    fn a_round_ends_at_what_was_stored_after_it_began() {
        assert_eq!(
            RULES.judge(&half(50_000, &[]), 50_000, 50_001),
            Verdict::EndRound
        );
        assert_eq!(
            RULES.judge(&half(49_999, &[]), 50_000, 50_001),
            Verdict::Check
        );
    }

    #[test]
    fn a_half_message_is_given_up_after_the_last_check() {
        let times = |times| half(1_001, &[("TRANSACTION_CHECK_TIMES", times)]);
        assert_eq!(RULES.judge(&times("14"), 90_000, 90_000), Verdict::Check);
        assert_eq!(RULES.judge(&times("15"), 90_000, 90_000), Verdict::GiveUp);
        assert_eq!(RULES.judge(&times("often"), 90_000, 90_000), Verdict::Check);
    }

    #[test]
    fn a_half_message_is_given_up_after_72_hours() {
        let half = half(1_001, &[]);
        let last = 1_000 + 72 * 3_600_000;
        assert_eq!(RULES.judge(&half, last, last), Verdict::Check);
        assert_eq!(RULES.judge(&half, last + 1, last + 1), Verdict::GiveUp);
    }

    #[test]
    fn immunity_of_its_own_lets_the_round_pass_over_a_half_message() {
        let half = half(1_001, &[("CHECK_IMMUNITY_TIME_IN_SECONDS", "60")]);
        assert_eq!(RULES.judge(&half, 60_999, 60_999), Verdict::PassOver);
        assert_eq!(RULES.judge(&half, 61_000, 61_000), Verdict::Check);
    }

    #[test]
    fn immunity_that_is_not_a_number_is_the_timeout() {
        for text in ["soon", "-1"] {
            let half = half(1_001, &[("CHECK_IMMUNITY_TIME_IN_SECONDS", text)]);
            assert_eq!(RULES.judge(&half, 6_999, 6_999), Verdict::PassOver);
            assert_eq!(RULES.judge(&half, 7_000, 7_000), Verdict::Check);
        }
    }

    #[test]
    fn a_half_message_from_the_future_is_checked() {
        assert_eq!(RULES.judge(&half(100, &[]), 500, 500), Verdict::Check);
    }
}
