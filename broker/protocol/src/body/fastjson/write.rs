//! The writer: a serde serializer.
//!
//! `None` writes nothing at all, so that the container around it can leave the entry out.

use serde::ser::{self, Serialize};

use super::JsonError;
use crate::json::{put_int, put_string, put_string_ascii};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Compact,
    Strict,
    Pretty,
}

pub(super) fn write<T: Serialize + ?Sized>(value: &T, style: Style) -> Result<Vec<u8>, JsonError> {
    let mut writer = Writer {
        out: Vec::new(),
        style,
        depth: 0,
    };
    writer.put_or_null(value)?;
    Ok(writer.out)
}

struct Writer {
    out: Vec<u8>,
    style: Style,
    depth: usize,
}

impl Writer {
    fn put_or_null<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
        let start = self.out.len();
        value.serialize(&mut *self)?;
        if self.out.len() == start {
            self.out.extend_from_slice(b"null");
        }
        Ok(())
    }

    fn open(&mut self, bracket: u8) -> Container<'_> {
        self.out.push(bracket);
        self.depth += 1;
        Container {
            writer: self,
            empty: true,
            entry: 0,
        }
    }

    fn line_break(&self) -> Vec<u8> {
        let mut text = vec![b'\t'; self.depth + 1];
        text[0] = b'\n';
        text
    }
}

/// An open object or array.
struct Container<'a> {
    writer: &'a mut Writer,
    empty: bool,
    /// Where the current entry begins, its comma included.
    entry: usize,
}

impl Container<'_> {
    fn comma(&mut self) {
        self.entry = self.writer.out.len();
        if !self.empty {
            self.writer.out.push(b',');
        }
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
        self.comma();
        self.empty = false;
        self.writer.put_or_null(value)
    }

    fn key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), JsonError> {
        self.comma();
        let start = self.writer.out.len();
        key.serialize(&mut *self.writer)?;
        let text = self.writer.out.get(start) == Some(&b'"');
        let object = self.writer.out.get(start) == Some(&b'{');
        if self.writer.style == Style::Pretty && text {
            let line_break = self.writer.line_break();
            self.writer.out.splice(start..start, line_break);
        }
        if self.writer.style == Style::Strict && !text && !object {
            self.writer.out.insert(start, b'"');
            self.writer.out.push(b'"');
        }
        self.writer.out.push(b':');
        Ok(())
    }

    /// Writes the value of the key before, or takes the key back if there is nothing to write.
    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
        let start = self.writer.out.len();
        value.serialize(&mut *self.writer)?;
        if self.writer.out.len() == start {
            self.writer.out.truncate(self.entry);
        } else {
            self.empty = false;
        }
        Ok(())
    }

    fn close(self, bracket: u8) {
        self.writer.depth -= 1;
        if self.writer.style == Style::Pretty && bracket == b'}' && !self.empty {
            let line_break = self.writer.line_break();
            self.writer.out.extend_from_slice(&line_break);
        }
        self.writer.out.push(bracket);
    }
}

macro_rules! integers {
    ($($method:ident: $type:ty),+) => {$(
        fn $method(self, value: $type) -> Result<(), JsonError> {
            put_int(&mut self.out, i64::from(value));
            Ok(())
        }
    )+};
}

impl<'a> ser::Serializer for &'a mut Writer {
    type Ok = ();
    type Error = JsonError;
    type SerializeSeq = Container<'a>;
    type SerializeTuple = Container<'a>;
    type SerializeTupleStruct = Container<'a>;
    type SerializeTupleVariant = ser::Impossible<(), JsonError>;
    type SerializeMap = Container<'a>;
    type SerializeStruct = Container<'a>;
    type SerializeStructVariant = ser::Impossible<(), JsonError>;

    integers!(
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32
    );

    fn serialize_u64(self, value: u64) -> Result<(), JsonError> {
        self.out.extend_from_slice(value.to_string().as_bytes());
        Ok(())
    }

    fn serialize_bool(self, value: bool) -> Result<(), JsonError> {
        self.out
            .extend_from_slice(if value { b"true" } else { b"false" });
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<(), JsonError> {
        self.serialize_f64(f64::from(value))
    }

    /// Not a number and infinity are null, as in fastjson.
    fn serialize_f64(self, value: f64) -> Result<(), JsonError> {
        if value.is_finite() {
            self.out.extend_from_slice(format!("{value:?}").as_bytes());
        }
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), JsonError> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), JsonError> {
        match self.style {
            Style::Strict => put_string_ascii(&mut self.out, value),
            _ => put_string(&mut self.out, value),
        }
        Ok(())
    }

    /// Base64 in fastjson; nothing here has bytes.
    fn serialize_bytes(self, _: &[u8]) -> Result<(), JsonError> {
        Err(ser::Error::custom("bytes have no JSON form"))
    }

    fn serialize_none(self) -> Result<(), JsonError> {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), JsonError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), JsonError> {
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), JsonError> {
        Ok(())
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), JsonError> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), JsonError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), JsonError> {
        Err(ser::Error::custom("enums with data have no JSON form"))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Container<'a>, JsonError> {
        Ok(self.open(b'['))
    }

    fn serialize_tuple(self, _: usize) -> Result<Container<'a>, JsonError> {
        Ok(self.open(b'['))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Container<'a>, JsonError> {
        Ok(self.open(b'['))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, JsonError> {
        Err(ser::Error::custom("enums with data have no JSON form"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Container<'a>, JsonError> {
        Ok(self.open(b'{'))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Container<'a>, JsonError> {
        Ok(self.open(b'{'))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, JsonError> {
        Err(ser::Error::custom("enums with data have no JSON form"))
    }
}

macro_rules! arrays {
    ($($kind:ident::$method:ident),+) => {$(
        impl ser::$kind for Container<'_> {
            type Ok = ();
            type Error = JsonError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
                self.element(value)
            }

            fn end(self) -> Result<(), JsonError> {
                self.close(b']');
                Ok(())
            }
        }
    )+};
}

arrays!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field
);

impl ser::SerializeMap for Container<'_> {
    type Ok = ();
    type Error = JsonError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), JsonError> {
        self.key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
        self.value(value)
    }

    fn end(self) -> Result<(), JsonError> {
        self.close(b'}');
        Ok(())
    }
}

impl ser::SerializeStruct for Container<'_> {
    type Ok = ();
    type Error = JsonError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), JsonError> {
        self.key(key)?;
        self.value(value)
    }

    fn end(self) -> Result<(), JsonError> {
        self.close(b'}');
        Ok(())
    }
}
