//! From what was written to what it means: the checks that an expression passes before any message
//! is looked at (`ComparisonExpression`, `ConstantExpression`, `LogicExpression`).

use std::cmp;

use super::MAX_DEPTH;
use super::ast::{Expr, Order};
use super::error::{SqlError, SqlErrorKind};
use super::evaluate::{Value, compare};
use super::lexer::{Place, Token};
use super::number;

/// An expression, where it begins and how deep it is.
pub(super) struct Node {
    pub(super) expr: Expr,
    pub(super) place: Place,
    depth: usize,
}

impl Node {
    /// One that contains no other.
    pub(super) fn leaf(expr: Expr, place: Place) -> Self {
        Self {
            expr,
            place,
            depth: 1,
        }
    }

    /// One around others, the deepest of which has this depth.
    fn around(expr: Expr, place: Place, inner: usize) -> Result<Self, SqlError> {
        if inner >= MAX_DEPTH {
            return Err(too_deep(place));
        }
        let depth = inner + 1;
        Ok(Self { expr, place, depth })
    }
}

pub(super) fn too_deep(place: Place) -> SqlError {
    let what = format!("The expression is nested deeper than {MAX_DEPTH} levels");
    error(place, SqlErrorKind::Limit(what))
}

fn error(Place { line, column }: Place, kind: SqlErrorKind) -> SqlError {
    SqlError { line, column, kind }
}

fn senseless(place: Place, what: String) -> SqlError {
    error(place, SqlErrorKind::Meaning(what))
}

/// An integer of 32 bits if it fits, else of 64.
pub(super) fn decimal(token: &Token<'_>) -> Result<Node, SqlError> {
    let digits = token.text.trim_end_matches(['l', 'L']);
    let value = number::long(digits).ok_or_else(|| {
        let what = format!("{} is greater than {}", token.text, i64::MAX);
        senseless(token.place, what)
    })?;
    let expr = i32::try_from(value).map_or(Expr::Long(value), Expr::Integer);
    Ok(Node::leaf(expr, token.place))
}

/// A positive fraction. Zero is refused, as being less than the least.
pub(super) fn float(token: &Token<'_>) -> Result<Node, SqlError> {
    /// `Double.MIN_VALUE`.
    const LEAST: f64 = f64::from_bits(1);
    let value = number::double(token.text).unwrap_or(f64::INFINITY);
    let text = token.text;
    if value > f64::MAX {
        let what = format!("{text} is greater than {:e}", f64::MAX);
        return Err(senseless(token.place, what));
    }
    if value < LEAST {
        let what = format!("{text} is less than {LEAST:e}");
        return Err(senseless(token.place, what));
    }
    Ok(Node::leaf(Expr::Double(value), token.place))
}

/// What a string literal says.
pub(super) fn unquoted(token: &Token<'_>) -> String {
    let inner = token.text.get(1..token.text.len().saturating_sub(1));
    inner.unwrap_or_default().replace("''", "'")
}

/// As a truth. A property alone is one for the grammar, but no value of it is.
pub(super) fn boolean(node: Node) -> Result<Node, SqlError> {
    match node.expr {
        Expr::Property { .. } => {
            Node::around(Expr::Cast(Box::new(node.expr)), node.place, node.depth)
        }
        ref expr if expr.is_boolean() => Ok(node),
        expr => Err(error(
            node.place,
            SqlErrorKind::NotBoolean(expr.to_string()),
        )),
    }
}

/// A chain of `AND` or `OR`.
pub(super) fn chain(
    first: Node,
    others: Vec<Node>,
    join: fn(Vec<Expr>) -> Expr,
) -> Result<Node, SqlError> {
    let place = first.place;
    let (mut terms, mut depth) = (Vec::with_capacity(others.len() + 1), 0);
    for node in std::iter::once(first).chain(others) {
        let node = boolean(node)?;
        depth = cmp::max(depth, node.depth);
        terms.push(node.expr);
    }
    Node::around(join(terms), place, depth)
}

pub(super) fn not(place: Place, node: Node) -> Result<Node, SqlError> {
    let node = boolean(node)?;
    Node::around(Expr::Not(Box::new(node.expr)), place, node.depth)
}

pub(super) fn negate(place: Place, node: Node) -> Result<Node, SqlError> {
    Node::around(Expr::Negate(Box::new(node.expr)), place, node.depth)
}

pub(super) fn equal(left: Node, right: Node) -> Result<Node, SqlError> {
    for node in [&left, &right] {
        if node.expr == Expr::Null {
            let what = "'NULL' cannot be compared".to_owned();
            return Err(senseless(node.place, what));
        }
    }
    let constants = left.expr.is_constant() && right.expr.is_constant();
    if constants && left.expr.is_boolean_constant() && !right.expr.is_boolean_constant() {
        let what = format!("'{}' cannot be compared with '{}'", left.expr, right.expr);
        return Err(senseless(right.place, what));
    }
    let depth = cmp::max(left.depth, right.depth);
    let expr = Expr::Equal(Box::new(left.expr), Box::new(right.expr));
    Node::around(expr, left.place, depth)
}

pub(super) fn is_null(left: Node) -> Result<Node, SqlError> {
    let expr = Expr::Equal(Box::new(left.expr), Box::new(Expr::Null));
    Node::around(expr, left.place, left.depth)
}

pub(super) fn order(order: Order, left: Node, right: Node) -> Result<Node, SqlError> {
    for node in [&left, &right] {
        let constant = node.expr.is_constant();
        if (constant && !node.expr.is_number()) || (!constant && node.expr.is_boolean()) {
            let what = format!("Value '{}' cannot be compared", node.expr);
            return Err(senseless(node.place, what));
        }
    }
    let depth = cmp::max(left.depth, right.depth);
    let expr = Expr::Compare(order, Box::new(left.expr), Box::new(right.expr));
    Node::around(expr, left.place, depth)
}

/// `value` occurs twice in what this gives. It cannot itself contain a `BETWEEN`, so that does not
/// multiply.
pub(super) fn between(value: Node, low: Node, high: Node, negated: bool) -> Result<Node, SqlError> {
    let again = Node {
        expr: value.expr.clone(),
        ..value
    };
    if negated {
        let below = order(Order::Less, value, low)?;
        let above = order(Order::Greater, again, high)?;
        return chain(below, vec![above], Expr::Or);
    }
    let (first, second) = (low.expr.clone(), high.expr.clone());
    let place = low.place;
    let above = order(Order::GreaterOrEqual, value, low)?;
    let below = order(Order::LessOrEqual, again, high)?;
    if let (Some(least), Some(most)) = (Value::of(&first), Value::of(&second))
        && compare(most, least).is_ok_and(cmp::Ordering::is_lt)
    {
        let what = format!(
            "Illegal values of between, left value({first}) must less than or equal to right \
             value({second})"
        );
        return Err(senseless(place, what));
    }
    chain(above, vec![below], Expr::And)
}

/// Only properties can be looked for in a list.
pub(super) fn property(node: Node) -> Result<(usize, Place), SqlError> {
    match node.expr {
        Expr::Property { number, .. } => Ok((number, node.place)),
        other => {
            let what = format!("Expected a property for In expression, got: {other}");
            Err(senseless(node.place, what))
        }
    }
}

pub(super) fn find(text: Node, with: impl FnOnce(Box<Expr>) -> Expr) -> Result<Node, SqlError> {
    Node::around(with(Box::new(text.expr)), text.place, text.depth)
}
