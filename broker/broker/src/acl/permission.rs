//! What a request takes (`PlainAccessResource`).

use std::borrow::Cow;

use hotfire_protocol::RemotingCommand;
use hotfire_protocol::topic::{self, REPLY_POSTFIX, retry_topic};

use super::perm::Perm;

/// A topic, or the retry topic of a group, which stands for the group.
pub(crate) type Resource<'a> = Cow<'a, str>;

/// Resources, each with the permission that it takes, or why they cannot be told.
pub(crate) type Needs<'a> = Result<Vec<(Resource<'a>, Perm)>, String>;

/// What the requests of one code take, beside a valid signature.
pub(crate) enum Permission {
    /// Nothing: they tell of the broker and change nothing.
    Signed,
    /// That the account is an administrator.
    Administrator,
    /// What these fields of the header name.
    Header(&'static [Need]),
    /// What the body names. The body is read when the signature is known to be right.
    Body(fn(&[u8]) -> Needs<'static>),
}

/// What a field of a header asks for. One that is missing asks for nothing: whoever serves the
/// request refuses it, or does nothing for want of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Sending to this topic. To a retry topic it takes the group: that is what consumers do with
    /// messages that they failed.
    Publish(&'static str),
    /// Consuming from this topic.
    Subscribe(&'static str),
    /// Being a member of this group.
    Group(&'static str),
    /// Answering through this topic: nothing if it is one of replies, since whoever was asked may
    /// answer; else as for sending.
    Reply(&'static str),
}

impl Permission {
    /// The resources that a request touches, each with the permission that it takes.
    ///
    /// # Errors
    /// The body cannot be read.
    pub fn needs<'a>(&self, request: &'a RemotingCommand) -> Needs<'a> {
        match self {
            Self::Signed | Self::Administrator => Ok(Vec::new()),
            Self::Header(needs) => Ok(needs.iter().filter_map(|need| need.of(request)).collect()),
            Self::Body(read) => read(&request.body),
        }
    }
}

impl Need {
    fn of(self, request: &RemotingCommand) -> Option<(Resource<'_>, Perm)> {
        let field = |name| request.ext.get(name);
        match self {
            Self::Publish(name) => field(name).map(publishing),
            Self::Reply(name) => field(name)
                .filter(|topic| !topic.ends_with(REPLY_POSTFIX))
                .map(publishing),
            Self::Subscribe(name) => field(name).map(|topic| (topic.into(), Perm::SUB)),
            Self::Group(name) => field(name).map(|name| (group(name), Perm::SUB)),
        }
    }
}

fn publishing(topic: &str) -> (Resource<'_>, Perm) {
    let needed = if is_group(topic) {
        Perm::SUB
    } else {
        Perm::PUB
    };
    (topic.into(), needed)
}

/// A group as a resource.
pub(super) fn group(name: &str) -> Resource<'static> {
    retry_topic(name).into()
}

/// Whether a resource is a group.
pub(super) fn is_group(resource: &str) -> bool {
    topic::retry_group(resource).is_some()
}
