//! Which messages were acknowledged, for an operator who looks some of them up.

use std::time::Duration;

use parking_lot::Mutex;

/// A message that was acknowledged, and what it can be found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// When it was acknowledged, in simulated time.
    pub at: Duration,
    /// Its topic.
    pub topic: String,
    /// Its unique number; [`key`] makes the key of it.
    pub value: u64,
    /// The id that its producer gave it.
    pub unique_id: String,
    /// The id that says where it is stored.
    pub offset_id: String,
}

/// The key that a message is found by.
pub fn key(value: u64) -> String {
    format!("message-{value}")
}

/// The acknowledged messages of a run, in the order of their acknowledgements.
#[derive(Debug, Default)]
pub struct Album {
    sent: Mutex<Vec<Sent>>,
}

impl Album {
    /// Notes a message.
    pub fn note(&self, sent: Sent) {
        self.sent.lock().push(sent);
    }

    /// The messages of a topic that were acknowledged before a time.
    pub fn before(&self, topic: &str, time: Duration) -> Vec<Sent> {
        let sent = self.sent.lock();
        let wanted = sent
            .iter()
            .filter(|sent| sent.topic == topic && sent.at < time);
        wanted.cloned().collect()
    }
}
