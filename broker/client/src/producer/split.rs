//! Splitting messages into batches that a broker takes.

use hotfire_protocol::Message;
use hotfire_protocol::message::property;

use crate::{SendError, SendResult};

/// The bytes of a stored record beside its topic, body and properties, between IPv6 hosts.
const RECORD_OVERHEAD: usize = 91 + 24;
/// Room for the properties that are added on the way: the unique key, the cluster and `WAIT`.
const ADDED_PROPERTIES: usize = 256;

/// Why not all of several batches were sent.
#[derive(Debug, Clone, thiserror::Error)]
#[error("after {} batches: {source}", .sent.len())]
pub struct SplitError {
    /// What became of the batches before.
    pub sent: Vec<SendResult>,
    /// What became of the batch that ended it.
    pub source: SendError,
}

/// Splits messages, in their order, into batches whose stored records have `max_bytes` bytes at the
/// most: a broker counts the records, not the request (`MessageExtBatchEncoder`). A message that is
/// too large on its own is a batch of its own, for the broker to refuse.
pub fn split_batches(messages: Vec<Message>, max_bytes: usize) -> Vec<Vec<Message>> {
    let mut batches: Vec<Vec<Message>> = Vec::new();
    let mut room = 0;
    for message in messages {
        let size = stored_size(&message);
        match batches.last_mut() {
            Some(batch) if size <= room => {
                room -= size;
                batch.push(message);
            }
            _ => {
                room = max_bytes.saturating_sub(size);
                batches.push(vec![message]);
            }
        }
    }
    batches
}

/// An upper bound of the size of a message's record.
fn stored_size(message: &Message) -> usize {
    let properties = property::encode(&message.properties).len();
    let own = message.topic.len() + message.body.len() + properties;
    own + RECORD_OVERHEAD + ADDED_PROPERTIES
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_makes_no_batch() {
        assert!(split_batches(Vec::new(), 1000).is_empty());
    }

    #[test]
    fn a_message_that_is_too_large_stands_alone() {
        let messages = [10, 5000, 10].map(|size| Message::new("t", vec![0; size]));
        let lens: Vec<_> = split_batches(messages.to_vec(), 1000)
            .iter()
            .map(Vec::len)
            .collect();
        assert_eq!(lens, [1, 1, 1]);
    }

    proptest! {
        #[test]
        fn batches_keep_the_messages_in_order_and_within_the_limit(
            sizes in prop::collection::vec(1usize..2000, 0..50),
            max in 1000usize..10_000,
        ) {
            let messages: Vec<_> = sizes
                .iter()
                .enumerate()
                .map(|(at, &size)| Message::new("t", vec![at as u8; size]))
                .collect();
            let batches = split_batches(messages.clone(), max);
            for batch in &batches {
                let size: usize = batch.iter().map(stored_size).sum();
                prop_assert!(batch.len() == 1 || size <= max);
            }
            // No batch could have taken the message behind it as well.
            for pair in batches.windows(2) {
                let size: usize = pair[0].iter().chain(&pair[1][..1]).map(stored_size).sum();
                prop_assert!(size > max);
            }
            let joined: Vec<_> = batches.into_iter().flatten().collect();
            prop_assert_eq!(joined, messages);
        }
    }
}
