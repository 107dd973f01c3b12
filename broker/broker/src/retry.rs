//! What becomes of a message that a consumer could not handle: retry or dead letter
//! (`AbstractSendMessageProcessor.consumerSendMsgBack`).

/// The delay level of the first retry: 10 s in the default table.
const FIRST_RETRY_LEVEL: i32 = 3;

/// What becomes of a failed message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It goes to the group's retry topic with this delay level.
    Again {
        /// The delay level; the schedule clamps it to its longest.
        delay_level: i32,
    },
    /// It goes to the group's dead-letter queue.
    DeadLetter,
}

/// Decides about a message that was sent back so many times before, of a group that allows
/// `max_reconsume_times`. The consumer asks for a delay level: 0 lets the broker choose one that
/// grows with the number of retries, a negative one asks for the dead-letter queue.
pub fn decide(reconsume_times: i32, max_reconsume_times: i32, delay_level: i32) -> Retry {
    if reconsume_times >= max_reconsume_times || delay_level < 0 {
        Retry::DeadLetter
    } else if delay_level == 0 {
        Retry::Again {
            delay_level: FIRST_RETRY_LEVEL.saturating_add(reconsume_times),
        }
    } else {
        Retry::Again { delay_level }
    }
}

/// Whether a message that a client itself sends to a retry topic has used up its retries
/// (`SendMessageProcessor.handleRetryAndDLQ` of 4.9).
pub fn is_exhausted(reconsume_times: i32, max_reconsume_times: i32) -> bool {
    reconsume_times >= max_reconsume_times
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_grows_with_every_retry() {
        let levels: Vec<_> = (0..16).map(|times| decide(times, 16, 0)).collect();
        let expected: Vec<_> = (3..=18)
            .map(|delay_level| Retry::Again { delay_level })
            .collect();
        assert_eq!(levels, expected);
    }

    #[test]
    fn the_consumer_may_choose_the_delay() {
        assert_eq!(decide(5, 16, 1), Retry::Again { delay_level: 1 });
    }

    #[test]
    fn the_sixteenth_retry_is_the_last() {
        assert_eq!(decide(15, 16, 0), Retry::Again { delay_level: 18 });
        assert_eq!(decide(16, 16, 0), Retry::DeadLetter);
    }

    #[test]
    fn a_negative_delay_level_asks_for_the_dead_letter_queue() {
        assert_eq!(decide(0, 16, -1), Retry::DeadLetter);
    }

    #[test]
    fn a_group_without_retries_sends_everything_to_the_dead_letter_queue() {
        assert_eq!(decide(0, 0, 0), Retry::DeadLetter);
    }
}
