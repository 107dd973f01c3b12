//! Permissions (`Permission`).

use std::fmt;

/// What may be done with a topic or a group, or what an operation takes: bits as in `Permission`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Perm(u8);

impl Perm {
    /// Nothing, whatever other bits say.
    pub const DENY: Self = Self(1);
    /// Sending to a topic.
    pub const PUB: Self = Self(4);
    /// Consuming: from a topic, or in a group.
    pub const SUB: Self = Self(8);

    /// The permission that a text stands for; what makes no sense denies.
    pub fn parse(text: &str) -> Self {
        match text.trim() {
            "PUB" => Self::PUB,
            "SUB" => Self::SUB,
            "PUB|SUB" | "SUB|PUB" => Self(Self::PUB.0 | Self::SUB.0),
            _ => Self::DENY,
        }
    }

    /// Whether a text is one of those that RocketMQ lets administrators set.
    pub fn is_valid(text: &str) -> bool {
        Self::parse(text) != Self::DENY || text.trim() == "DENY"
    }

    /// Whether one who has this permission may do what takes `needed`.
    pub fn allows(self, needed: Self) -> bool {
        self.0 & Self::DENY.0 == 0 && self.0 & needed.0 != 0
    }
}

impl fmt::Display for Perm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::PUB => "PUB",
            Self::SUB => "SUB",
            Self(12) => "PUB|SUB",
            _ => "DENY",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permission_allows_what_it_names() {
        for (text, publishes, subscribes) in [
            ("PUB", true, false),
            (" SUB ", false, true),
            ("PUB|SUB", true, true),
            ("SUB|PUB", true, true),
            ("DENY", false, false),
        ] {
            let perm = Perm::parse(text);
            assert_eq!(perm.allows(Perm::PUB), publishes, "{text}");
            assert_eq!(perm.allows(Perm::SUB), subscribes, "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_denies() {
        for text in ["", "pub", "PUB,SUB", "PUB | SUB", "ANY"] {
            assert_eq!(Perm::parse(text), Perm::DENY);
            assert!(!Perm::is_valid(text));
        }
        assert!(Perm::is_valid("DENY"));
    }

    #[test]
    fn deny_outweighs_everything_else() {
        let contradictory = Perm(Perm::DENY.0 | Perm::PUB.0 | Perm::SUB.0);
        assert!(!contradictory.allows(Perm::PUB));
    }
}
