//! What an expression is once it is understood.

use std::fmt::{self, Write};

/// How two numbers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// How a text is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Search {
    Contains,
    StartsWith,
    EndsWith,
}

/// An expression. Nesting is bounded by [`MAX_DEPTH`](super::MAX_DEPTH), chains of `AND` and of `OR`
/// are flat: recursion over an expression cannot overflow the stack.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expr {
    Null,
    Boolean(bool),
    Integer(i32),
    Long(i64),
    Double(f64),
    Text(String),
    /// A property, by its number.
    Property {
        number: usize,
        name: String,
    },
    Negate(Box<Expr>),
    Not(Box<Expr>),
    /// A property where a truth is wanted.
    Cast(Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Equal(Box<Expr>, Box<Expr>),
    Compare(Order, Box<Expr>, Box<Expr>),
    In {
        property: usize,
        values: Vec<String>,
        negated: bool,
    },
    Find {
        search: Search,
        text: Box<Expr>,
        part: String,
        negated: bool,
    },
}

impl Expr {
    /// Whether it is written down rather than computed.
    pub(super) fn is_constant(&self) -> bool {
        self.is_boolean_constant() || self.is_number() || matches!(self, Self::Text(_))
    }

    pub(super) fn is_boolean_constant(&self) -> bool {
        matches!(self, Self::Null | Self::Boolean(_))
    }

    pub(super) fn is_number(&self) -> bool {
        matches!(self, Self::Integer(_) | Self::Long(_) | Self::Double(_))
    }

    /// Whether it gives a truth.
    pub(super) fn is_boolean(&self) -> bool {
        match self {
            Self::Null | Self::Boolean(_) | Self::Not(_) | Self::Cast(_) => true,
            Self::And(_) | Self::Or(_) | Self::Equal(..) | Self::Compare(..) => true,
            Self::In { .. } | Self::Find { .. } => true,
            Self::Integer(_) | Self::Long(_) | Self::Double(_) | Self::Text(_) => false,
            Self::Property { .. } | Self::Negate(_) => false,
        }
    }
}

/// As messages quote it; of computed ones only that they are.
impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Boolean(true) => f.write_str("TRUE"),
            Self::Boolean(false) => f.write_str("FALSE"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Long(value) => write!(f, "{value}"),
            Self::Double(value) => write!(f, "{value:?}"),
            Self::Text(text) => {
                f.write_char('\'')?;
                f.write_str(&text.replace('\'', "''"))?;
                f.write_char('\'')
            }
            Self::Property { name, .. } => f.write_str(name),
            Self::Negate(_) => f.write_str("a negation"),
            _ => f.write_str("a condition"),
        }
    }
}
