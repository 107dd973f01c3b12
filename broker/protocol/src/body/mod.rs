//! Bodies: what commands carry beside their headers, as fastjson JSON (see [`fastjson`]).
//!
//! Fields are declared in alphabetical order of their names on the wire, because that is the order
//! in which Apache RocketMQ writes them. Whatever is missing in a text has its default.

pub mod acl;
pub mod assignment;
pub mod connection;
pub mod fastjson;
pub mod group;
pub mod heartbeat;
pub mod lock;
pub mod name;
pub mod offset;
pub mod pop;
pub mod register;
pub mod route;
pub mod running;
pub mod stats;
pub mod timer;
pub mod topic;

pub use acl::*;
pub use assignment::*;
pub use connection::*;
pub use fastjson::JsonError;
pub use group::*;
pub use heartbeat::*;
pub use lock::*;
pub use name::*;
pub use offset::*;
pub use pop::*;
pub use register::*;
pub use route::*;
pub use running::*;
pub use stats::*;
pub use timer::*;
pub use topic::*;

/// Declares the structs of bodies, with the names that their fields have on the wire.
macro_rules! body {
    ($(
        $(#[$meta:meta])*
        pub struct $type:ident { $($(#[$attr:meta])* $field:ident: $kind:ty = $name:literal,)* }
    )+) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        pub struct $type { $($(#[$attr])* #[serde(rename = $name)] pub $field: $kind,)* }
    )+};
}

/// Gives bodies their two ways between value and bytes.
macro_rules! json_methods {
    ($($type:ident),+ $(,)?) => {$(
        impl $type {
            /// The bytes that travel.
            pub fn to_json(&self) -> Vec<u8> {
                $crate::body::written($crate::body::fastjson::to_vec(self))
            }

            /// Reads the bytes that travelled.
            ///
            /// # Errors
            /// They are no such body.
            pub fn from_json(bytes: &[u8]) -> Result<Self, $crate::body::JsonError> {
                $crate::body::fastjson::from_slice(bytes)
            }
        }
    )+};
}

/// Declares an enum that travels by the names of its values.
macro_rules! names {
    ($(
        $(#[$meta:meta])*
        pub enum $type:ident { $($(#[$attr:meta])* $value:ident = $name:literal,)+ }
    )+) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $type { $($(#[$attr])* $value,)+ }

        impl $type {
            /// All values; Java's ordinal numbers are the positions.
            pub const ALL: &[Self] = &[$(Self::$value,)+];

            /// The name on the wire.
            pub fn name(self) -> &'static str {
                match self { $(Self::$value => $name,)+ }
            }

            /// The value of a name, or of an ordinal number, which C++ clients send.
            pub fn from_name(name: &str) -> Option<Self> {
                let named = Self::ALL.iter().find(|value| value.name() == name);
                let numbered = || Self::ALL.get(name.parse::<usize>().ok()?);
                named.or_else(numbered).copied()
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        /// An unknown name is the default.
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
                let name = String::deserialize(reader)?;
                Ok(Self::from_name(&name).unwrap_or_default())
            }
        }
    )+};
}

pub(crate) use {body, json_methods, names};

/// The bytes of a body. Bodies are plain data with derived `Serialize` and no enum with fields, so
/// the writer finds nothing to refuse.
#[allow(clippy::expect_used, reason = "see above")]
fn written(result: Result<Vec<u8>, JsonError>) -> Vec<u8> {
    result.expect("a body can always be written")
}
