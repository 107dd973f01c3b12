//! The handle by which a message that waits for its time can be called back
//! (`RecallMessageHandle`): version, topic, broker, time and unique key with spaces in between, in
//! base64 for URLs.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const VERSION: &str = "v1";

/// Which message a handle is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecallHandle {
    /// The topic that the message is meant for.
    pub topic: String,
    /// The broker that has it.
    pub broker_name: String,
    /// When it is due, in milliseconds since the epoch, as text; any number will do that is rounded
    /// to the same tick.
    pub timestamp: String,
    /// Its unique key.
    pub message_id: String,
}

/// A text that is no handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("recall handle is invalid")]
pub struct BadRecallHandle;

impl RecallHandle {
    /// The handle as text.
    pub fn encode(&self) -> String {
        let Self {
            topic,
            broker_name,
            timestamp,
            message_id,
        } = self;
        URL_SAFE.encode(format!(
            "{VERSION} {topic} {broker_name} {timestamp} {message_id}"
        ))
    }

    /// Reads a handle, with or without the padding at its end.
    ///
    /// # Errors
    /// It is not one of this version.
    pub fn decode(text: &str) -> Result<Self, BadRecallHandle> {
        const LENIENT: GeneralPurpose = GeneralPurpose::new(
            &base64::alphabet::URL_SAFE,
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
        );
        let bytes = LENIENT.decode(text).map_err(|_| BadRecallHandle)?;
        let raw = String::from_utf8(bytes).map_err(|_| BadRecallHandle)?;
        let items: Vec<&str> = raw.split(' ').collect();
        match items[..] {
            [VERSION, topic, broker_name, timestamp, message_id, ..] => Ok(Self {
                topic: topic.to_owned(),
                broker_name: broker_name.to_owned(),
                timestamp: timestamp.to_owned(),
                message_id: message_id.to_owned(),
            }),
            _ => Err(BadRecallHandle),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle() -> RecallHandle {
        RecallHandle {
            topic: "orders".to_owned(),
            broker_name: "broker-a".to_owned(),
            timestamp: "1700000000001".to_owned(),
            message_id: "7F000001".to_owned(),
        }
    }

    #[test]
    fn a_handle_is_five_words_in_base64_for_urls() {
        let text = handle().encode();
        assert_eq!(
            text,
            "djEgb3JkZXJzIGJyb2tlci1hIDE3MDAwMDAwMDAwMDEgN0YwMDAwMDE="
        );
        assert_eq!(RecallHandle::decode(&text), Ok(handle()));
        assert_eq!(
            RecallHandle::decode(text.trim_end_matches('=')),
            Ok(handle())
        );
    }

    #[test]
    fn what_is_not_a_handle_is_refused() {
        for raw in ["", "v1 a b c", "v2 orders broker-a 1 id"] {
            let text = URL_SAFE.encode(raw);
            assert_eq!(RecallHandle::decode(&text), Err(BadRecallHandle), "{raw}");
        }
        assert_eq!(RecallHandle::decode("§"), Err(BadRecallHandle));
        assert_eq!(RecallHandle::decode("+/+/"), Err(BadRecallHandle));
    }
}
