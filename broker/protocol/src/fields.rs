//! A small ordered map of strings: the `extFields` of a command, the properties of a message.

use std::borrow::Cow;

/// A small map from names to string values, in order of insertion. Commands and messages have at
/// most some twenty entries, so a scan beats hashing. Where [`Fields::push`] left two entries of
/// one name, the later one counts.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    fields: Vec<(Cow<'static, str>, String)>,
}

impl Fields {
    /// No fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// Room for `capacity` fields.
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            fields: Vec::with_capacity(capacity),
        }
    }

    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .rfind(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether there is such a field.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Sets a field, replacing an earlier value.
    pub fn set(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) {
        let (name, value) = (name.into(), value.into());
        match self.fields.iter_mut().rfind(|(key, _)| *key == name) {
            Some(field) => field.1 = value,
            None => self.fields.push((name, value)),
        }
    }

    /// Appends a field without looking for an earlier one of the same name: for writers that know
    /// that their names differ, and for decoders, where [`Fields::get`] then finds the last.
    pub fn push(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) {
        self.fields.push((name.into(), value.into()));
    }

    /// Removes a field and returns its value.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        let mut removed = None;
        self.fields.retain_mut(|(key, value)| {
            let keep = key != name;
            if !keep {
                removed = Some(std::mem::take(value));
            }
            keep
        });
        removed
    }

    /// All fields in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields
            .iter()
            .map(|(key, value)| (key.as_ref(), value.as_str()))
    }

    /// The number of fields.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}

/// Order does not matter: it is a map.
impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self
                .iter()
                .all(|(key, value)| other.get(key) == Some(value))
    }
}

impl Eq for Fields {}

impl<K: Into<Cow<'static, str>>, V: Into<String>> FromIterator<(K, V)> for Fields {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(fields: I) -> Self {
        let mut ext = Self::new();
        for (key, value) in fields {
            ext.set(key, value);
        }
        ext
    }
}

/// The custom header and free fields of a command.
pub type ExtFields = Fields;

/// The properties of a message: the user's own and RocketMQ's.
pub type Properties = Fields;

/// The name as a static string if it is one of the common header fields, so that decoding them
/// allocates only for their values.
pub(crate) fn interned(name: &str) -> Cow<'static, str> {
    macro_rules! known {
        ($($known:literal)+) => {
            match name {
                $($known => Cow::Borrowed($known),)+
                _ => Cow::Owned(name.to_owned()),
            }
        };
    }
    known! {
        "a" "b" "c" "d" "e" "f" "g" "h" "i" "j" "k" "l" "m" "n"
        "topic" "queueId" "queueOffset" "msgId" "transactionId" "MSG_REGION" "TRACE_ON"
        "consumerGroup" "maxMsgNums" "sysFlag" "commitOffset" "suspendTimeoutMillis"
        "subscription" "subVersion" "expressionType" "bname" "ReqT"
        "suggestWhichBrokerId" "nextBeginOffset" "minOffset" "maxOffset" "offset"
    }
}
