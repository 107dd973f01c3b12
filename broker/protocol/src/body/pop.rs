//! Pop consumption (5.x): check points and acknowledgements as the revive topic keeps them, and the
//! body of a batch acknowledgement (`PopCheckPoint`, `AckMsg`, `BatchAckMsg`, `BatchAck`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{body, json_methods};

body! {
    /// Messages of one queue that one pop has hidden from their group.
    #[derive(Default, Eq)]
    pub struct PopCheckPoint {
        /// Which of them are acknowledged; 0 in the log.
        bit_map: i32 = "bm",
        /// The broker group.
        #[serde(skip_serializing_if = "Option::is_none")]
        broker_name: Option<String> = "bn",
        /// The consumer group.
        group: String = "c",
        /// The distance of each message from the first offset.
        diffs: Vec<i32> = "d",
        /// How long they are hidden, in milliseconds.
        invisible_time: i64 = "it",
        /// How many they are.
        num: i8 = "n",
        /// When they were popped, in milliseconds since the epoch.
        pop_time: i64 = "pt",
        /// The queue.
        queue_id: i32 = "q",
        /// Where the check point is in the revive topic; 0 in the log.
        revive_offset: i64 = "ro",
        /// How often it was put off, because its messages could not be revived.
        #[serde(skip_serializing_if = "Option::is_none")]
        re_put_times: Option<String> = "rp",
        /// The queue offset that the pop began at.
        start_offset: i64 = "so",
        /// The topic.
        topic: String = "t",
    }

    /// One acknowledged message, or several of one check point (`AckMsg`, `BatchAckMsg`).
    #[derive(Default, Eq)]
    pub struct AckMsg {
        /// Its queue offset; -1 if they are several.
        ack_offset: i64 = "ao",
        /// Their queue offsets, if they are several.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        ack_offsets: Vec<i64> = "aol",
        /// The broker group.
        #[serde(skip_serializing_if = "Option::is_none")]
        broker_name: Option<String> = "bn",
        /// The consumer group.
        group: String = "c",
        /// The queue.
        queue_id: i32 = "q",
        /// When they were popped.
        pop_time: i64 = "pt",
        /// The first offset of their check point.
        start_offset: i64 = "so",
        /// The topic.
        topic: String = "t",
    }

    /// Acknowledges messages of several check points.
    #[derive(Default, Eq)]
    pub struct BatchAckMessageRequestBody {
        /// One for each check point.
        acks: Vec<BatchAck> = "acks",
        /// The broker group.
        #[serde(skip_serializing_if = "Option::is_none")]
        broker_name: Option<String> = "brokerName",
    }

    /// Acknowledges messages of one check point.
    #[derive(Default, Eq)]
    pub struct BatchAck {
        /// The distances from the first offset.
        bits: BitSet = "b",
        /// The consumer group.
        group: String = "c",
        /// How long they are hidden, in milliseconds.
        invisible_time: i64 = "it",
        /// When they were popped.
        pop_time: i64 = "pt",
        /// The queue.
        queue_id: i32 = "q",
        /// The kind of topic that they were popped from, see [`crate::pop::TopicKind`].
        retry: String = "r",
        /// The queue of the revive topic.
        revive_queue: i32 = "rq",
        /// The first offset of the check point.
        start_offset: i64 = "so",
        /// The topic that the group asked for.
        topic: String = "t",
    }
}

json_methods!(PopCheckPoint, AckMsg, BatchAckMessageRequestBody);

impl PopCheckPoint {
    /// The queue offsets of its messages. Without distances, as old brokers write it, they are
    /// consecutive.
    pub fn offsets(&self) -> Vec<i64> {
        if self.diffs.is_empty() {
            let next = |n| self.start_offset.saturating_add(n);
            return (0..i64::from(self.num)).map(next).collect();
        }
        let offset = |&diff: &i32| self.start_offset.saturating_add(i64::from(diff));
        self.diffs.iter().map(offset).collect()
    }
}

/// The largest distance that is written or read: a check point has 32 messages, but with a selective
/// filter they may lie far apart.
const BIT_MAX: i64 = 1 << 20;

/// A set of small numbers, written as Java's `BitSet`: bytes, the lowest bit first, in base 64.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BitSet(Vec<u8>);

impl BitSet {
    /// The numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = i64> + '_ {
        self.0.iter().zip(0i64..).flat_map(|(&byte, at)| {
            let set = move |bit: &i64| byte >> bit & 1 == 1;
            (0..8i64).filter(set).map(move |bit| at * 8 + bit)
        })
    }
}

/// Numbers below 0 or from 2^20 on are left out.
impl FromIterator<i64> for BitSet {
    fn from_iter<I: IntoIterator<Item = i64>>(numbers: I) -> Self {
        let mut bytes = Vec::new();
        for number in numbers {
            if (0..BIT_MAX).contains(&number) {
                let (byte, bit) = ((number / 8) as usize, number % 8);
                if bytes.len() <= byte {
                    bytes.resize(byte + 1, 0u8);
                }
                bytes[byte] |= 1 << bit;
            }
        }
        Self(bytes)
    }
}

impl Serialize for BitSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for BitSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(serde::de::Error::custom)?;
        if bytes.len() as i64 > BIT_MAX / 8 {
            return Err(serde::de::Error::custom(
                "a set of numbers that are too large",
            ));
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_point() -> PopCheckPoint {
        PopCheckPoint {
            broker_name: Some("broker-a".to_owned()),
            group: "g".to_owned(),
            diffs: vec![0, 1, 4],
            invisible_time: 60_000,
            num: 3,
            pop_time: 1_700_000_000_000,
            queue_id: 1,
            start_offset: 10,
            topic: "orders".to_owned(),
            ..PopCheckPoint::default()
        }
    }

    #[test]
    fn a_check_point_is_the_json_of_java() {
        let json = String::from_utf8(check_point().to_json()).unwrap();
        assert_eq!(
            json,
            "{\"bm\":0,\"bn\":\"broker-a\",\"c\":\"g\",\"d\":[0,1,4],\"it\":60000,\"n\":3,\
             \"pt\":1700000000000,\"q\":1,\"ro\":0,\"so\":10,\"t\":\"orders\"}"
        );
        let again = PopCheckPoint::from_json(json.as_bytes()).unwrap();
        assert_eq!(again, check_point());
        assert_eq!(again.offsets(), [10, 11, 14]);
    }

    #[test]
    fn a_check_point_of_an_old_broker_has_consecutive_offsets() {
        let old = PopCheckPoint {
            diffs: Vec::new(),
            ..check_point()
        };
        assert_eq!(old.offsets(), [10, 11, 12]);
    }

    #[test]
    fn acknowledgements_are_the_json_of_java() {
        let one = AckMsg {
            ack_offset: 10,
            group: "g".to_owned(),
            topic: "orders".to_owned(),
            ..AckMsg::default()
        };
        assert_eq!(
            String::from_utf8(one.to_json()).unwrap(),
            "{\"ao\":10,\"c\":\"g\",\"q\":0,\"pt\":0,\"so\":0,\"t\":\"orders\"}"
        );
        let several = AckMsg {
            ack_offset: -1,
            ack_offsets: vec![10, 12],
            ..one
        };
        let json = several.to_json();
        assert!(json.starts_with(b"{\"ao\":-1,\"aol\":[10,12],\"c\""));
        assert_eq!(AckMsg::from_json(&json), Ok(several));
    }

    #[test]
    fn a_batch_acknowledgement_has_a_bit_set_in_base_64() {
        let ack = BatchAck {
            bits: [9, 0, 2].into_iter().collect(),
            group: "g".to_owned(),
            retry: "0".to_owned(),
            topic: "orders".to_owned(),
            ..BatchAck::default()
        };
        let body = BatchAckMessageRequestBody {
            broker_name: Some("broker-a".to_owned()),
            acks: vec![ack],
        };
        let json = String::from_utf8(body.to_json()).unwrap();
        assert_eq!(
            json,
            "{\"acks\":[{\"b\":\"BQI=\",\"c\":\"g\",\"it\":0,\"pt\":0,\"q\":0,\"r\":\"0\",\
             \"rq\":0,\"so\":0,\"t\":\"orders\"}],\"brokerName\":\"broker-a\"}"
        );
        assert_eq!(
            BatchAckMessageRequestBody::from_json(json.as_bytes()),
            Ok(body)
        );
    }

    #[test]
    fn a_set_of_numbers_beyond_all_distances_is_refused() {
        let body = |bytes: usize| {
            let bits = STANDARD.encode(vec![0xFF; bytes]);
            format!("{{\"acks\":[{{\"b\":\"{bits}\"}}]}}")
        };
        let longest = (BIT_MAX / 8) as usize;
        assert!(BatchAckMessageRequestBody::from_json(body(longest).as_bytes()).is_ok());
        assert!(BatchAckMessageRequestBody::from_json(body(longest + 1).as_bytes()).is_err());
    }
}
