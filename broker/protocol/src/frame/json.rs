//! The JSON header encoding, as lenient as Java's reader: clients send numbers and booleans as
//! field values, codes as text, any language, and leave out what has a default.

use std::borrow::Cow;
use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{FIELDS_MAX, FrameError};
use crate::body::fastjson;
use crate::{ExtFields, Language, RemotingCommand, SerializeType, fields, json};

/// Appends the header: keys in alphabetical order, no whitespace, nulls left out.
pub(super) fn encode(cmd: &RemotingCommand, out: &mut BytesMut) {
    out.put_slice(b"{\"code\":");
    json::put_int(out, i64::from(cmd.code));
    if !cmd.ext.is_empty() {
        out.put_slice(b",\"extFields\":{");
        for (at, (name, value)) in cmd.ext.iter().enumerate() {
            if at > 0 {
                out.put_u8(b',');
            }
            json::put_string(out, name);
            out.put_u8(b':');
            json::put_string(out, value);
        }
        out.put_u8(b'}');
    }
    out.put_slice(b",\"flag\":");
    json::put_int(out, i64::from(cmd.flag));
    out.put_slice(b",\"language\":\"");
    out.put_slice(cmd.language.name().as_bytes());
    out.put_slice(b"\",\"opaque\":");
    json::put_int(out, i64::from(cmd.opaque));
    if let Some(remark) = &cmd.remark {
        out.put_slice(b",\"remark\":");
        json::put_string(out, remark);
    }
    out.put_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    json::put_int(out, i64::from(cmd.version));
    out.put_u8(b'}');
}

/// Reads a header; the body of the result is empty. What is not quite JSON, fastjson may still
/// understand: control characters and broken UTF-8 in strings, keys without quotes.
pub(super) fn decode(header: &[u8]) -> Result<RemotingCommand, FrameError> {
    serde_json::from_slice::<CommandHeader>(header)
        .or_else(|_| fastjson::from_slice(header))
        .map(|header| header.0)
        .map_err(|error| FrameError::Json(error.to_string()))
}

struct CommandHeader(RemotingCommand);

impl<'de> Deserialize<'de> for CommandHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor).map(Self)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = RemotingCommand;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a command header")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RemotingCommand, A::Error> {
        let mut command = RemotingCommand {
            code: 0,
            language: Language::JAVA,
            version: 0,
            opaque: 0,
            flag: 0,
            remark: None,
            ext: ExtFields::new(),
            serialize: SerializeType::Json,
            body: Bytes::new(),
        };
        while let Some(key) = map.next_key_seed(Name)? {
            match key {
                HeaderKey::Code => command.code = map.next_value::<Int>()?.0,
                HeaderKey::Language => command.language = map.next_value::<LanguageName>()?.0,
                HeaderKey::Version => command.version = map.next_value::<Int>()?.0,
                HeaderKey::Opaque => command.opaque = map.next_value::<Int>()?.0,
                HeaderKey::Flag => command.flag = map.next_value::<Int>()?.0,
                HeaderKey::Remark => command.remark = map.next_value::<Text>()?.0,
                HeaderKey::ExtFields => command.ext = map.next_value::<Fields>()?.0,
                HeaderKey::Unknown => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(command)
    }
}

enum HeaderKey {
    Code,
    ExtFields,
    Flag,
    Language,
    Opaque,
    Remark,
    Version,
    Unknown,
}

struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = HeaderKey;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<HeaderKey, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = HeaderKey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<HeaderKey, E> {
        Ok(match name {
            "code" => HeaderKey::Code,
            "extFields" => HeaderKey::ExtFields,
            "flag" => HeaderKey::Flag,
            "language" => HeaderKey::Language,
            "opaque" => HeaderKey::Opaque,
            "remark" => HeaderKey::Remark,
            "version" => HeaderKey::Version,
            _ => HeaderKey::Unknown,
        })
    }
}

/// A map of anything to text; null values are left out.
struct Fields(ExtFields);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldsVisitor).map(Self)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = ExtFields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of text values")
    }

    fn visit_unit<E: de::Error>(self) -> Result<ExtFields, E> {
        Ok(ExtFields::new())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ExtFields, A::Error> {
        let mut ext = ExtFields::with_capacity(16);
        while let Some(name) = map.next_key_seed(FieldName)? {
            if let Some(value) = map.next_value::<Text>()?.0 {
                if ext.len() == FIELDS_MAX {
                    return Err(de::Error::custom("too many fields"));
                }
                ext.push(name, value);
            }
        }
        Ok(ext)
    }
}

struct FieldName;

impl<'de> DeserializeSeed<'de> for FieldName {
    type Value = Cow<'static, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for FieldName {
    type Value = Cow<'static, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(fields::interned(name))
    }
}

/// Any scalar as text, as fastjson gives it to a `String` property. Objects and arrays, which Java
/// would turn into their JSON, are taken for null: nobody sends them.
struct Text(Option<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor).map(Self)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Some(value.to_string()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Some(value.to_string()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Some(value.to_string()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Some(value.to_string()))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Some(value.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

/// A number, or one written as text. Like Java's `Number.intValue`, what does not fit is cut off.
struct Int(i32);

impl<'de> Deserialize<'de> for Int {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IntVisitor).map(Self)
    }
}

struct IntVisitor;

impl Visitor<'_> for IntVisitor {
    type Value = i32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer")
    }

    fn visit_unit<E: de::Error>(self) -> Result<i32, E> {
        Ok(0)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<i32, E> {
        Ok(value as i32)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<i32, E> {
        Ok(value as i32)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<i32, E> {
        Ok(value as i64 as i32)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<i32, E> {
        Ok(i32::from(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<i32, E> {
        match value.trim() {
            "" | "null" => Ok(0),
            digits => digits
                .parse::<i64>()
                .map(|value| value as i32)
                .map_err(|_| E::invalid_value(de::Unexpected::Str(value), &self)),
        }
    }
}

/// A language by name or number.
struct LanguageName(Language);

impl<'de> Deserialize<'de> for LanguageName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(deserializer)?.0.unwrap_or_default();
        Ok(Self(match text.parse() {
            Ok(number) => Language(number),
            Err(_) => Language::from_name(&text),
        }))
    }
}
