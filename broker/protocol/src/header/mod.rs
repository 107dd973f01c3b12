//! Typed custom headers.
//!
//! A header is a struct whose fields travel as strings in a command's [`ExtFields`], under the
//! names that the Java header classes give them. Fields of type `Option` may be missing; unknown
//! fields are left alone.

pub mod acl;
pub mod admin;
pub mod client;
pub mod namesrv;
pub mod offset;
pub mod pop;
pub mod pull;
pub mod query;
pub mod recall;
pub mod send;
pub mod topic;
pub mod transaction;

use std::str::FromStr;

use crate::ExtFields;

/// A custom header.
pub trait Header: Sized {
    /// Adds the fields to a command.
    fn write(&self, ext: &mut ExtFields);

    /// Reads the fields of a command.
    ///
    /// # Errors
    /// A required field is missing or a value cannot be parsed.
    fn read(ext: &ExtFields) -> Result<Self, HeaderError>;
}

/// Why a custom header could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// A required field is not there.
    #[error("the custom field <{0}> is null")]
    Missing(&'static str),
    /// A value is not of the field's type.
    #[error("the custom field <{name}> has the value `{value}`, which is not {expected}")]
    Malformed {
        /// The field.
        name: &'static str,
        /// What it held.
        value: String,
        /// What it should hold.
        expected: &'static str,
    },
}

/// A type that a header field can have.
pub trait Field: Sized {
    /// Adds the field, if there is something to add.
    fn put(&self, name: &'static str, ext: &mut ExtFields);

    /// Reads the field.
    ///
    /// # Errors
    /// It is required and missing, or cannot be parsed.
    fn take(name: &'static str, ext: &ExtFields) -> Result<Self, HeaderError>;
}

fn parse<T: FromStr>(
    name: &'static str,
    value: &str,
    expected: &'static str,
) -> Result<T, HeaderError> {
    value.trim().parse().map_err(|_| HeaderError::Malformed {
        name,
        value: value.to_owned(),
        expected,
    })
}

macro_rules! parsed_field {
    ($($type:ty: $expected:literal),+) => {$(
        impl Field for $type {
            fn put(&self, name: &'static str, ext: &mut ExtFields) {
                ext.push(name, self.to_string());
            }

            fn take(name: &'static str, ext: &ExtFields) -> Result<Self, HeaderError> {
                parse(name, ext.get(name).ok_or(HeaderError::Missing(name))?, $expected)
            }
        }
    )+};
}

parsed_field!(i32: "a 32-bit integer", i64: "a 64-bit integer");

/// Java's `Boolean.parseBoolean`: "true" in any case, else false.
impl Field for bool {
    fn put(&self, name: &'static str, ext: &mut ExtFields) {
        ext.push(name, if *self { "true" } else { "false" });
    }

    fn take(name: &'static str, ext: &ExtFields) -> Result<Self, HeaderError> {
        let value = ext.get(name).ok_or(HeaderError::Missing(name))?;
        Ok(value.eq_ignore_ascii_case("true"))
    }
}

impl Field for String {
    fn put(&self, name: &'static str, ext: &mut ExtFields) {
        ext.push(name, self.as_str());
    }

    fn take(name: &'static str, ext: &ExtFields) -> Result<Self, HeaderError> {
        ext.get(name)
            .map(str::to_owned)
            .ok_or(HeaderError::Missing(name))
    }
}

impl<T: Field> Field for Option<T> {
    fn put(&self, name: &'static str, ext: &mut ExtFields) {
        if let Some(value) = self {
            value.put(name, ext);
        }
    }

    fn take(name: &'static str, ext: &ExtFields) -> Result<Self, HeaderError> {
        if ext.contains(name) {
            T::take(name, ext).map(Some)
        } else {
            Ok(None)
        }
    }
}

/// Declares custom headers:
/// `header! { /// Doc. pub struct Name { /// Doc. field: Type = "wireName", } }`.
#[macro_export]
macro_rules! header {
    ($(
        $(#[$meta:meta])*
        pub struct $type:ident { $($(#[$doc:meta])* $field:ident: $kind:ty = $name:literal,)* }
    )+) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct $type { $($(#[$doc])* pub $field: $kind,)* }

        impl $crate::Header for $type {
            fn write(&self, ext: &mut $crate::ExtFields) {
                $($crate::header::Field::put(&self.$field, $name, ext);)*
            }

            fn read(ext: &$crate::ExtFields) -> Result<Self, $crate::HeaderError> {
                Ok(Self { $($field: $crate::header::Field::take($name, ext)?,)* })
            }
        }
    )+};
}
