//! SQL expressions of subscriptions: the dialect, the types and the truth of Apache RocketMQ
//! (`SelectorParser.jj` and the classes of `org.apache.rocketmq.filter.expression`).
//!
//! ```text
//! or         = and { OR and }
//! and        = equality { AND equality }
//! equality   = comparison { "=" comparison | "<>" comparison | IS [NOT] NULL }
//! comparison = unary { (">" | ">=" | "<" | "<=") unary | [NOT] BETWEEN unary AND unary
//!                    | [NOT] IN "(" string { "," string } ")"
//!                    | [NOT] (CONTAINS | STARTSWITH | ENDSWITH) string }
//! unary      = "+" unary | "-" unary | NOT unary | literal | name | "(" or ")"
//! ```
//!
//! Every property is a string, or null if the message does not have it. What follows from that, and
//! surprises, is kept as it is there:
//!
//! - What comes behind a complete expression is not looked at: `a = 1 b = 2` is `a = 1`.
//! - A comparison with a number converts the property to the number's type. `a > 5` needs an
//!   integer of 32 bits, `a > 5000000000` one of 64, `a > 5.0` a decimal fraction. A property that
//!   cannot be converted is an error, not "unknown": the whole expression then matches nothing, even
//!   if it says `OR TRUE` later.
//! - `missing = 5` is unknown but `5 = missing` is false, so that `5 <> missing` is true. Two
//!   missing properties are equal.
//! - A property alone is never true: `flag` is false even for the value `true`, and `NOT flag` is
//!   true. `flag = TRUE` is what was meant; `TRUE = flag` is an error. `NOT` binds closest:
//!   `NOT a = 1` compares a truth with a number and is false, `NOT (a = 1)` is what was meant.
//! - `-a` is unknown whatever `a` is; only numbers in the expression can be negated.
//! - `CONTAINS ''` and `NOT CONTAINS ''` are both false, and so are both for a missing property.
//! - `0.0` cannot be written: it is "less than the least double". A line comment must end in a new
//!   line.
//!
//! Left out: digits other than ASCII's and hexadecimal fractions as values of properties, which
//! Java would convert. Added, against hostile expressions: limits of length and depth.

mod ast;
mod build;
mod error;
mod evaluate;
mod lexer;
mod number;
mod parser;

use rustc_hash::FxHashMap;

use ast::Expr;
pub use error::{SqlError, SqlErrorKind};
pub use evaluate::EvaluationError;

/// The longest expression that is looked at, in bytes: a list of some thousand ids. A pull that
/// brings its expression along has it read each time, which takes some milliseconds at this length.
/// (Java's has no limit.)
pub const MAX_LENGTH: usize = 64 * 1024;
/// How deep expressions may be nested. (Java's parser overflows its stack at some thousands.)
pub const MAX_DEPTH: usize = 100;

/// An expression that makes sense.
#[derive(Debug, Clone, PartialEq)]
pub struct Sql {
    root: Expr,
    names: Names,
}

/// The properties that an expression reads, by number.
#[derive(Debug, Clone, Default, PartialEq)]
struct Names {
    numbers: FxHashMap<String, usize>,
}

impl Names {
    fn number(&mut self, name: &str) -> usize {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let number = self.numbers.len();
        self.numbers.insert(name.to_owned(), number);
        number
    }
}

impl Sql {
    /// Reads an expression.
    ///
    /// # Errors
    /// It is not one, or cannot have a meaning, or is too large.
    pub fn parse(expression: &str) -> Result<Self, SqlError> {
        parser::parse(expression)
    }

    /// What the expression says of a message with these properties; of several of one name the last
    /// counts. `None` is "unknown".
    ///
    /// # Errors
    /// It compares what cannot be compared: such a message does not match.
    pub fn evaluate<'p>(
        &'p self,
        properties: impl IntoIterator<Item = (&'p str, &'p str)>,
    ) -> Result<Option<bool>, EvaluationError> {
        let mut values = vec![None; self.names.numbers.len()];
        for (name, value) in properties {
            if let Some(&number) = self.names.numbers.get(name)
                && let Some(slot) = values.get_mut(number)
            {
                *slot = Some(value);
            }
        }
        self.root.truth(&values)
    }

    /// Whether a message with these properties matches: the expression is true of it, neither
    /// false, nor unknown, nor an error.
    pub fn matches<'p>(&'p self, properties: impl IntoIterator<Item = (&'p str, &'p str)>) -> bool {
        matches!(self.evaluate(properties), Ok(Some(true)))
    }
}

#[cfg(test)]
mod tests;
