//! The reader: a serde deserializer that converts scalars to what is asked for.

use std::borrow::Cow;

use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};

use super::JsonError;

/// The deepest nesting that is followed.
const DEPTH_MAX: usize = 100;
/// How much memory the entries of lists and maps may take, in bytes: so much for each byte of the
/// text, and so much whatever the text. What RocketMQ writes takes twice its text at most, because it
/// names all fields; `[{},{},{}…]` would take a hundred times.
const MEMORY_PER_BYTE: usize = 8;
const MEMORY_MIN: usize = 1 << 20;

type Result<T> = std::result::Result<T, JsonError>;

pub(super) struct Reader<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
    /// The memory that entries may still take.
    memory: usize,
}

/// A value that is neither object nor array.
enum Scalar<'t> {
    Quoted(Cow<'t, str>),
    Bare(&'t str),
}

impl<'t> Scalar<'t> {
    fn text(self) -> Cow<'t, str> {
        match self {
            Self::Quoted(text) => text,
            Self::Bare(text) => Cow::Borrowed(text),
        }
    }
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            text,
            at: 0,
            depth: 0,
            memory: text
                .len()
                .saturating_mul(MEMORY_PER_BYTE)
                .saturating_add(MEMORY_MIN),
        }
    }

    /// Another entry of a list or a map takes so many bytes.
    fn take(&mut self, bytes: usize) -> Result<()> {
        let left = self.memory.checked_sub(bytes);
        self.memory = left.ok_or_else(|| self.error("fewer entries that say so little"))?;
        Ok(())
    }

    /// Checks that nothing but whitespace is left.
    pub(super) fn end(&mut self) -> Result<()> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.error("the end")),
        }
    }

    /// The next byte that is not whitespace.
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    fn error(&self, expected: &str) -> JsonError {
        de::Error::custom(format_args!("expected {expected} at byte {}", self.at))
    }

    fn expect(&mut self, byte: u8, expected: &str) -> Result<()> {
        if self.peek() != Some(byte) {
            return Err(self.error(expected));
        }
        self.at += 1;
        Ok(())
    }

    fn enter(&mut self, bracket: u8, expected: &str) -> Result<()> {
        self.expect(bracket, expected)?;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.error("less nesting"));
        }
        Ok(())
    }

    /// Skips commas; true if the closing bracket follows, which is then consumed.
    fn closes(&mut self, bracket: u8) -> bool {
        while self.peek() == Some(b',') {
            self.at += 1;
        }
        let closes = self.peek() == Some(bracket);
        if closes {
            self.at += 1;
            self.depth -= 1;
        }
        closes
    }

    fn scalar(&mut self) -> Result<Scalar<'t>> {
        match self.peek() {
            Some(quote @ (b'"' | b'\'')) => self.quoted(quote).map(Scalar::Quoted),
            _ => self.bare().map(Scalar::Bare),
        }
    }

    fn bare(&mut self) -> Result<&'t str> {
        let rest = &self.text[self.at..];
        let delimiter = |c: char| {
            matches!(c, ',' | ':' | '{' | '}' | '[' | ']' | '"' | '\'') || c.is_ascii_whitespace()
        };
        let token = rest.split(delimiter).next().unwrap_or_default();
        if token.is_empty() {
            return Err(self.error("a value"));
        }
        self.at += token.len();
        Ok(token)
    }

    fn quoted(&mut self, quote: u8) -> Result<Cow<'t, str>> {
        self.at += 1;
        let bytes = self.text.as_bytes();
        let mut start = self.at;
        let mut owned = String::new();
        loop {
            match bytes.get(self.at) {
                None => return Err(self.error("the end of a string")),
                Some(&byte) if byte == quote => break,
                Some(b'\\') => {
                    owned.push_str(&self.text[start..self.at]);
                    self.at += 1;
                    owned.push(self.escape()?);
                    start = self.at;
                }
                Some(_) => self.at += 1,
            }
        }
        let tail = &self.text[start..self.at];
        self.at += 1;
        if owned.is_empty() {
            return Ok(Cow::Borrowed(tail));
        }
        owned.push_str(tail);
        Ok(Cow::Owned(owned))
    }

    /// Reads what follows a backslash.
    fn escape(&mut self) -> Result<char> {
        let byte = self.text.as_bytes().get(self.at).copied();
        self.at += 1;
        Ok(match byte {
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{C}',
            Some(b'v') => '\u{B}',
            Some(byte @ (b'"' | b'\'' | b'\\' | b'/')) => char::from(byte),
            Some(byte @ b'0'..=b'7') => char::from(byte - b'0'),
            Some(b'x') => self.hex(2).and_then(char::from_u32).unwrap_or_default(),
            Some(b'u') => return self.unicode(),
            _ => return Err(self.error("an escape")),
        })
    }

    /// Reads the digits of `\uXXXX`, and of the second half that may follow. A half without its
    /// other half is replaced.
    fn unicode(&mut self) -> Result<char> {
        let first = self.hex(4).ok_or_else(|| self.error("four digits"))?;
        if (0xD800..0xDC00).contains(&first) && self.text[self.at..].starts_with("\\u") {
            let back = self.at;
            self.at += 2;
            match self.hex(4) {
                Some(second @ 0xDC00..0xE000) => {
                    let code = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                    return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                _ => self.at = back,
            }
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex(&mut self, digits: usize) -> Option<u32> {
        let text = self.text.get(self.at..self.at + digits)?;
        if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        self.at += digits;
        u32::from_str_radix(text, 16).ok()
    }

    /// Skips one value of any kind.
    fn skip(&mut self) -> Result<()> {
        match self.peek() {
            Some(b'{') => {
                self.enter(b'{', "an object")?;
                while !self.closes(b'}') {
                    self.skip()?;
                    self.expect(b':', "a colon")?;
                    self.skip()?;
                }
            }
            Some(b'[') => {
                self.enter(b'[', "an array")?;
                while !self.closes(b']') {
                    self.skip()?;
                }
            }
            _ => {
                self.scalar()?;
            }
        }
        Ok(())
    }

    /// Consumes `null`, if that is the next value.
    fn null(&mut self) -> bool {
        if self.peek() != Some(b'n') {
            return false;
        }
        let back = self.at;
        let null = self.bare() == Ok("null");
        if !null {
            self.at = back;
        }
        null
    }

    /// Whether the next entry of an object has the value null; it is then consumed.
    fn null_entry(&mut self) -> Result<bool> {
        let back = self.at;
        self.skip()?;
        self.expect(b':', "a colon")?;
        if self.null() {
            return Ok(true);
        }
        self.at = back;
        Ok(false)
    }

    fn integer(&mut self) -> Result<i64> {
        let scalar = self.scalar()?.text();
        let digits = scalar.trim();
        if let Ok(value) = digits.parse() {
            return Ok(value);
        }
        match digits {
            "" | "null" | "false" => Ok(0),
            "true" => Ok(1),
            _ => match digits.parse::<f64>() {
                Ok(value) if value.is_finite() => Ok(value as i64),
                _ => Err(self.error("an integer")),
            },
        }
    }

    fn float(&mut self) -> Result<f64> {
        let scalar = self.scalar()?.text();
        match scalar.trim() {
            "" | "null" => Ok(0.0),
            digits => digits.parse().map_err(|_| self.error("a number")),
        }
    }

    fn boolean(&mut self) -> Result<bool> {
        let scalar = self.scalar()?.text();
        let text = scalar.trim();
        Ok(text.eq_ignore_ascii_case("true") || text == "1")
    }

    /// Text as it is, numbers and booleans as they are written, objects and arrays as their text.
    fn string(&mut self) -> Result<Cow<'t, str>> {
        match self.peek() {
            Some(b'{' | b'[') => {
                let start = self.at;
                self.skip()?;
                Ok(Cow::Borrowed(&self.text[start..self.at]))
            }
            _ => self.scalar().map(Scalar::text),
        }
    }
}

macro_rules! convert {
    ($($($method:ident)+ => $read:ident => $visit:ident;)+) => {$($(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            let value = self.$read()?;
            visitor.$visit(value)
        }
    )+)+};
}

impl<'de> Deserializer<'de> for &mut Reader<'_> {
    type Error = JsonError;

    convert! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 => integer => visit_i64;
        deserialize_f32 deserialize_f64 => float => visit_f64;
        deserialize_bool => boolean => visit_bool;
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.peek() {
            Some(b'{') => self.deserialize_map(visitor),
            Some(b'[') => self.deserialize_seq(visitor),
            _ => match self.scalar()? {
                Scalar::Quoted(text) => visitor.visit_str(&text),
                Scalar::Bare("null") => visitor.visit_unit(),
                Scalar::Bare("true") => visitor.visit_bool(true),
                Scalar::Bare("false") => visitor.visit_bool(false),
                Scalar::Bare(token) => match token.parse() {
                    Ok(number) => visitor.visit_i64(number),
                    Err(_) => match token.parse::<f64>() {
                        Ok(number) if number.is_finite() => visitor.visit_f64(number),
                        // An unquoted name, as keys may be.
                        _ => visitor.visit_str(token),
                    },
                },
            },
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.string()? {
            Cow::Borrowed(text) => visitor.visit_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if self.null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.skip()?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.enter(b'[', "an array")?;
        let depth = self.depth;
        let value = visitor.visit_seq(Elements(&mut *self))?;
        // A visitor of fixed length stops before the end.
        while self.depth == depth && !self.closes(b']') {
            self.skip()?;
        }
        Ok(value)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.enter(b'{', "an object")?;
        visitor.visit_map(Entries(self))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_enum(self.string()?.as_ref().into_deserializer())
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_unit(visitor)
    }

    serde::forward_to_deserialize_any! { bytes byte_buf }
}

struct Elements<'r, 't>(&'r mut Reader<'t>);

impl<'de> de::SeqAccess<'de> for Elements<'_, '_> {
    type Error = JsonError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        if self.0.closes(b']') {
            return Ok(None);
        }
        self.0.take(size_of::<T::Value>())?;
        seed.deserialize(&mut *self.0).map(Some)
    }
}

struct Entries<'r, 't>(&'r mut Reader<'t>);

impl<'de> de::MapAccess<'de> for Entries<'_, '_> {
    type Error = JsonError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        loop {
            if self.0.closes(b'}') {
                return Ok(None);
            }
            if !self.0.null_entry()? {
                self.0.take(size_of::<K::Value>())?;
                return seed.deserialize(&mut *self.0).map(Some);
            }
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        self.0.expect(b':', "a colon")?;
        self.0.take(size_of::<V::Value>())?;
        seed.deserialize(&mut *self.0)
    }
}
