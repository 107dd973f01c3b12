//! What an expression says of a message.

use std::cmp::Ordering;

use super::ast::{Expr, Order, Search};
use super::number;

/// Why an expression says nothing of a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// The property is compared with a number and is none of its type.
    #[error("`{0}` is not a number of the type that it is compared with")]
    NotANumber(String),
    /// Two texts are ordered that are not both numbers.
    #[error("it is illegal to compare texts by order: `{0}` and `{1}`")]
    TextOrder(String, String),
    /// A truth on the left is compared with a text on the right.
    #[error("a truth cannot be compared with the text `{0}`")]
    Truth(String),
    /// A truth is wanted where there is another value.
    #[error("a truth is wanted")]
    NotBoolean,
}

/// A value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'v> {
    Null,
    Boolean(bool),
    Integer(i32),
    Long(i64),
    Double(f64),
    Text(&'v str),
}

impl<'v> Value<'v> {
    /// The value of a constant.
    pub(super) fn of(constant: &'v Expr) -> Option<Self> {
        Some(match constant {
            Expr::Null => Self::Null,
            Expr::Boolean(value) => Self::Boolean(*value),
            Expr::Integer(value) => Self::Integer(*value),
            Expr::Long(value) => Self::Long(*value),
            Expr::Double(value) => Self::Double(*value),
            Expr::Text(text) => Self::Text(text),
            _ => return None,
        })
    }

    fn truth(self) -> Result<Option<bool>, EvaluationError> {
        match self {
            Self::Null => Ok(None),
            Self::Boolean(value) => Ok(Some(value)),
            _ => Err(EvaluationError::NotBoolean),
        }
    }

    fn of_truth(truth: Option<bool>) -> Self {
        truth.map_or(Self::Null, Self::Boolean)
    }
}

impl Expr {
    /// Whether it is true, given the properties by number; nothing if that is unknown.
    pub(super) fn truth(
        &self,
        properties: &[Option<&str>],
    ) -> Result<Option<bool>, EvaluationError> {
        self.value(properties)?.truth()
    }

    fn value<'v>(&'v self, properties: &[Option<&'v str>]) -> Result<Value<'v>, EvaluationError> {
        let property = |number: usize| properties.get(number).copied().flatten();
        if let Some(constant) = Value::of(self) {
            return Ok(constant);
        }
        let truth = match self {
            Self::Property { number, .. } => {
                return Ok(property(*number).map_or(Value::Null, Value::Text));
            }
            Self::Negate(inner) => return Ok(negated(inner.value(properties)?)),
            Self::Not(inner) => inner.truth(properties)?.map(|truth| !truth),
            Self::Cast(inner) => match inner.value(properties)? {
                Value::Null => None,
                value => Some(value == Value::Boolean(true)),
            },
            Self::And(terms) => chain(terms, properties, false)?,
            Self::Or(terms) => chain(terms, properties, true)?,
            Self::Equal(left, right) => equal(left.value(properties)?, right.value(properties)?)?,
            Self::Compare(order, left, right) => {
                ordered(*order, left.value(properties)?, right.value(properties)?)?
            }
            Self::In {
                property: number,
                values,
                negated,
            } => property(*number).map(|text| {
                let found = values.binary_search_by(|value| value.as_str().cmp(text));
                found.is_ok() != *negated
            }),
            Self::Find {
                search,
                text,
                part,
                negated,
            } => Some(match text.value(properties)? {
                Value::Text(text) if !part.is_empty() => found(*search, text, part) != *negated,
                _ => false,
            }),
            // The constants.
            _ => None,
        };
        Ok(Value::of_truth(truth))
    }
}

/// The terms in order, up to the first that decides.
fn chain(
    terms: &[Expr],
    properties: &[Option<&str>],
    decides: bool,
) -> Result<Option<bool>, EvaluationError> {
    let mut unknown = false;
    for term in terms {
        match term.truth(properties)? {
            Some(truth) if truth == decides => return Ok(Some(decides)),
            Some(_) => {}
            None => unknown = true,
        }
    }
    Ok((!unknown).then_some(!decides))
}

fn found(search: Search, text: &str, part: &str) -> bool {
    match search {
        Search::Contains => text.contains(part),
        Search::StartsWith => text.starts_with(part),
        Search::EndsWith => text.ends_with(part),
    }
}

fn negated(value: Value<'_>) -> Value<'_> {
    match value {
        Value::Integer(value) => Value::Integer(value.wrapping_neg()),
        Value::Long(value) => Value::Long(value.wrapping_neg()),
        Value::Double(value) => Value::Double(-value),
        _ => Value::Null,
    }
}

/// Null on the left makes it unknown; null on the right alone makes it false.
fn equal(left: Value<'_>, right: Value<'_>) -> Result<Option<bool>, EvaluationError> {
    match (left, right) {
        (Value::Null, Value::Null) => Ok(Some(true)),
        (Value::Null, _) => Ok(None),
        (_, Value::Null) => Ok(Some(false)),
        _ => Ok(Some(compare(left, right)?.is_eq())),
    }
}

fn ordered(
    order: Order,
    left: Value<'_>,
    right: Value<'_>,
) -> Result<Option<bool>, EvaluationError> {
    let ordering = match (left, right) {
        (Value::Null, _) | (_, Value::Null) => return Ok(None),
        (Value::Text(left), Value::Text(right)) => {
            match number::double(left).zip(number::double(right)) {
                Some((left, right)) => doubles(left, right),
                None => {
                    let texts = (left.to_owned(), right.to_owned());
                    return Err(EvaluationError::TextOrder(texts.0, texts.1));
                }
            }
        }
        _ => compare(left, right)?,
    };
    Ok(Some(match order {
        Order::Greater => ordering.is_gt(),
        Order::GreaterOrEqual => ordering.is_ge(),
        Order::Less => ordering.is_lt(),
        Order::LessOrEqual => ordering.is_le(),
    }))
}

/// Compares after conversion to the larger type of numbers, of a text to the type of the other
/// (`ComparisonExpression.__compare`). What does not go together counts as less.
pub(super) fn compare(left: Value<'_>, right: Value<'_>) -> Result<Ordering, EvaluationError> {
    use Value::{Boolean, Double, Integer, Long, Null, Text};
    Ok(match (left, right) {
        (Boolean(left), Boolean(right)) => left.cmp(&right),
        (Boolean(_), Text(right)) => return Err(EvaluationError::Truth(right.to_owned())),
        (Text(left), Boolean(right)) => left.eq_ignore_ascii_case("true").cmp(&right),
        (Text(left), Text(right)) => left.cmp(right),
        (Integer(left), Integer(right)) => left.cmp(&right),
        (Integer(left), Long(right)) => i64::from(left).cmp(&right),
        (Integer(left), Double(right)) => doubles(f64::from(left), right),
        (Integer(left), Text(right)) => left.cmp(&converted(number::integer, right)?),
        (Long(left), Integer(right)) => left.cmp(&i64::from(right)),
        (Long(left), Long(right)) => left.cmp(&right),
        (Long(left), Double(right)) => doubles(left as f64, right),
        (Long(left), Text(right)) => left.cmp(&converted(number::long, right)?),
        (Double(left), Integer(right)) => doubles(left, f64::from(right)),
        (Double(left), Long(right)) => doubles(left, right as f64),
        (Double(left), Double(right)) => doubles(left, right),
        (Double(left), Text(right)) => doubles(left, converted(number::double, right)?),
        (Text(left), Integer(right)) => converted(number::integer, left)?.cmp(&right),
        (Text(left), Long(right)) => converted(number::long, left)?.cmp(&right),
        (Text(left), Double(right)) => doubles(converted(number::double, left)?, right),
        (Boolean(_) | Null, _) | (_, Boolean(_) | Null) => Ordering::Less,
    })
}

/// Zero is greater than its negative, and what is no number is equal to itself and greatest
/// (`Double.compareTo`).
fn doubles(left: f64, right: f64) -> Ordering {
    left.total_cmp(&right)
}

fn converted<N>(convert: fn(&str) -> Option<N>, text: &str) -> Result<N, EvaluationError> {
    convert(text).ok_or_else(|| EvaluationError::NotANumber(text.to_owned()))
}
