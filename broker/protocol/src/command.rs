//! The command: what every frame carries, request or response.

use std::fmt;

use bytes::Bytes;

use crate::{ExtFields, Header, HeaderError, RequestCode, ResponseCode, version};

/// Set in `flag` of a response (`RemotingCommand.RPC_TYPE`).
const FLAG_RESPONSE: i32 = 1;
/// Set in `flag` of a request that wants no response (`RemotingCommand.RPC_ONEWAY`).
const FLAG_ONEWAY: i32 = 2;

/// A request or a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemotingCommand {
    /// A [`RequestCode`] or, in a response, a [`ResponseCode`].
    pub code: i32,
    /// The language of the sender.
    pub language: Language,
    /// The protocol version of the sender, an ordinal of `MQVersion`.
    pub version: i32,
    /// Correlates a response with its request, per connection and direction.
    pub opaque: i32,
    /// Bit 0: response. Bit 1: one-way.
    pub flag: i32,
    /// Human-readable text, of errors mostly.
    pub remark: Option<String>,
    /// The custom header and free fields.
    pub ext: ExtFields,
    /// The header encoding it came in or is to go out in.
    pub serialize: SerializeType,
    /// The body; empty and absent are the same on the wire.
    pub body: Bytes,
}

impl RemotingCommand {
    /// A request with an empty custom header. The opaque is assigned when it is sent.
    pub fn request(code: RequestCode) -> Self {
        Self {
            code: code.0,
            language: Language::JAVA,
            version: version::CURRENT,
            opaque: 0,
            flag: 0,
            remark: None,
            ext: ExtFields::new(),
            serialize: SerializeType::Json,
            body: Bytes::new(),
        }
    }

    /// A request with a custom header.
    pub fn request_with<H: Header>(code: RequestCode, header: &H) -> Self {
        let mut command = Self::request(code);
        header.write(&mut command.ext);
        command
    }

    /// An answer to this request: same opaque and header encoding.
    pub fn response(&self, code: ResponseCode) -> Self {
        Self {
            code: code.0,
            language: Language::JAVA,
            version: version::CURRENT,
            opaque: self.opaque,
            flag: FLAG_RESPONSE,
            remark: None,
            ext: ExtFields::new(),
            serialize: self.serialize,
            body: Bytes::new(),
        }
    }

    /// An answer with a remark.
    pub fn response_error(&self, code: ResponseCode, remark: impl Into<String>) -> Self {
        self.response(code).with_remark(remark)
    }

    /// An answer with a custom header.
    pub fn response_with<H: Header>(&self, code: ResponseCode, header: &H) -> Self {
        let mut command = self.response(code);
        header.write(&mut command.ext);
        command
    }

    /// The same with a remark.
    #[must_use]
    pub fn with_remark(mut self, remark: impl Into<String>) -> Self {
        self.remark = Some(remark.into());
        self
    }

    /// The same with a body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// The same, wanting no response.
    #[must_use]
    pub fn oneway(mut self) -> Self {
        self.flag |= FLAG_ONEWAY;
        self
    }

    /// Whether it is a response.
    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    /// Whether it is a request that wants no response.
    pub fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
    }

    /// Whether it is a response with code 0.
    pub fn is_success(&self) -> bool {
        self.code == ResponseCode::SUCCESS.0
    }

    /// The custom header.
    ///
    /// # Errors
    /// A required field is missing or a value cannot be parsed.
    pub fn header<H: Header>(&self) -> Result<H, HeaderError> {
        H::read(&self.ext)
    }
}

/// The encoding of a command's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SerializeType {
    /// Type byte 0: JSON text.
    #[default]
    Json,
    /// Type byte 1: RocketMQ's own binary layout (`RocketMQSerializable`).
    RocketMq,
}

/// The implementation language that a command declares (`LanguageCode`).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Language(pub u8);

impl Language {
    /// What Java peers declare, and we too: older peers do not know `RUST`.
    pub const JAVA: Self = Self(0);
    /// The C++ client.
    pub const CPP: Self = Self(1);
    /// Anything that has no code of its own.
    pub const OTHER: Self = Self(7);
    /// The Go client.
    pub const GO: Self = Self(9);
    /// Rust clients.
    pub const RUST: Self = Self(12);

    const NAMES: [&'static str; 14] = [
        "JAVA", "CPP", "DOTNET", "PYTHON", "DELPHI", "ERLANG", "RUBY", "OTHER", "HTTP", "GO",
        "PHP", "OMS", "RUST", "NODE_JS",
    ];

    /// The name that JSON headers carry; `OTHER` for a code without a name.
    pub fn name(self) -> &'static str {
        Self::NAMES
            .get(usize::from(self.0))
            .copied()
            .unwrap_or("OTHER")
    }

    /// The language of a name; [`Language::OTHER`] for an unknown one.
    pub fn from_name(name: &str) -> Self {
        Self::NAMES
            .iter()
            .position(|known| known.eq_ignore_ascii_case(name))
            .map_or(Self::OTHER, |at| Self(at as u8))
    }
}

impl fmt::Debug for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
