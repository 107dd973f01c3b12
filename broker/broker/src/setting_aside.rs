//! Sets messages aside that can never be delivered; see [`crate::set_aside`].

use std::sync::Arc;

use hotfire_protocol::message::{property, sys_flag};
use hotfire_protocol::{MessageExt, Properties, topic};
use hotfire_store::MessageInner;

use crate::set_aside::Line;
use crate::state::State;

/// The property that says which line a message was taken from.
const LINE: &str = "SET_ASIDE_LINE";
/// The property that says why.
const REASON: &str = "SET_ASIDE_REASON";
/// The property with the topic of the record that could not be dealt with.
const TOPIC: &str = "SET_ASIDE_TOPIC";
/// The property with that record's offset in the commit log.
const OFFSET: &str = "SET_ASIDE_OFFSET";
impl State {
    /// Sets aside what can never be delivered: the message, if it can be read, and where its record
    /// is in the commit log. False if the store takes nothing at the moment: then nothing has
    /// happened, and it is to be tried again.
    pub(crate) fn set_aside(
        self: &Arc<Self>,
        line: Line,
        reason: &'static str,
        message: Option<MessageExt>,
        offset: i64,
    ) -> bool {
        let (origin, id) = match &message {
            Some(message) => (message.message.topic.clone(), message.msg_id()),
            None => (String::new(), String::new()),
        };
        let stored = match message {
            Some(message) => self.store_set_aside(line, reason, message, offset),
            None => Some(None),
        };
        let Some(stored_at) = stored else {
            return false;
        };
        self.set_aside.count(line, reason);
        if let Some(suppressed) = self.set_aside.may_log(self.env.now_ms()) {
            let line = line.name();
            tracing::error!(
                line,
                reason,
                origin,
                id,
                offset,
                stored_at,
                suppressed,
                "a message can never be delivered: it is set aside"
            );
        }
        true
    }

    /// Stores the copy, with as much of the message as fits; where it is, if it could be stored at
    /// all. `None` if the store takes nothing at the moment.
    fn store_set_aside(
        self: &Arc<Self>,
        line: Line,
        reason: &'static str,
        message: MessageExt,
        offset: i64,
    ) -> Option<Option<i64>> {
        let topic = topic::SET_ASIDE_TOPIC;
        if self.ensure_topic(topic, 1, false).is_none() {
            tracing::error!(topic, "the topic cannot be created");
            return Some(None);
        }
        let notes = [
            (LINE, line.name().to_owned()),
            (REASON, reason.to_owned()),
            (TOPIC, message.message.topic.clone()),
            (OFFSET, offset.to_string()),
        ];
        let mut copy = MessageInner::from(message);
        copy.message.topic = topic.to_owned();
        copy.queue_id = 0;
        copy.sys_flag = sys_flag::with_transaction_type(copy.sys_flag, 0);
        copy.prepared_transaction_offset = 0;
        let whole = copy.message.properties.clone();
        let note = |properties: &mut Properties| {
            for (name, value) in &notes {
                properties.set(*name, value.as_str());
            }
        };
        note(&mut copy.message.properties);
        // First with all that is in it, then without its properties, then without its body.
        let mut noted = Properties::new();
        if let Some(key) = whole.get(property::UNIQ_KEY).filter(|key| key.len() < 256) {
            noted.set(property::UNIQ_KEY, key);
        }
        note(&mut noted);
        let mut bare = copy.clone();
        bare.message.properties = noted;
        let mut empty = bare.clone();
        empty.message.body = bytes::Bytes::new();
        for form in [copy, bare, empty] {
            let put = self.store.append_accepted(form);
            match put.append {
                Some(append) => return Some(Some(append.physical_offset)),
                None if put.status.is_final() => {}
                None => return None,
            }
        }
        Some(None)
    }
}
