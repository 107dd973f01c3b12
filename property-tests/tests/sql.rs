//! SQL expressions against a second, direct interpretation: the tests below know what they have
//! written down as a tree and compute what it says of a message case by case, without grammar,
//! without compiled form and without flattened chains.

#![allow(clippy::unwrap_used, reason = "tests may fail")]

use std::collections::BTreeMap;

use hotfire_protocol::filter::sql::{MAX_LENGTH, Sql};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

/// True, false or unknown; an error makes the whole expression match nothing.
type Truth = Result<Option<bool>, ()>;
type Message = BTreeMap<&'static str, &'static str>;

const NAMES: [&str; 4] = ["a", "b", "price", "_x$1"];
const VALUES: [&str; 14] = [
    "5",
    "05",
    "-7",
    "5.0",
    "1e1",
    " 5",
    "3000000000",
    "abc",
    "b",
    "true",
    "FALSE",
    "it's",
    "10",
    "NaN",
];
const TEXTS: [&str; 6] = ["abc", "b", "it's", "", "5", "c"];
/// Numbers as they are written, with the type that they give to what is compared with them.
const NUMBERS: [(&str, Type); 8] = [
    ("5", Type::Integer),
    ("0", Type::Integer),
    ("10L", Type::Integer),
    ("2147483648", Type::Long),
    ("3000000000", Type::Long),
    ("5.0", Type::Double),
    (".25", Type::Double),
    ("1E1", Type::Double),
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Type {
    Integer,
    Long,
    Double,
}

/// What stands on a side of a comparison.
#[derive(Debug, Clone)]
enum Operand {
    Property(&'static str),
    Number(&'static str, Type, bool),
    Text(&'static str),
}

#[derive(Debug, Clone)]
enum Tree {
    Constant(Option<bool>),
    Property(&'static str),
    Equal(Operand, Operand, bool),
    Order(&'static str, Operand, Operand),
    Between(&'static str, Operand, Operand, bool),
    In(&'static str, Vec<&'static str>, bool),
    IsNull(&'static str, bool),
    Find(&'static str, &'static str, &'static str, bool),
    Is(Box<Tree>, bool),
    Not(Box<Tree>),
    And(Box<Tree>, Box<Tree>),
    Or(Box<Tree>, Box<Tree>),
}

fn operand(texts: bool) -> BoxedStrategy<Operand> {
    let property = select(&NAMES[..]).prop_map(Operand::Property);
    let number = (select(&NUMBERS[..]), any::<bool>())
        .prop_map(|((text, kind), negative)| Operand::Number(text, kind, negative));
    if texts {
        let text = select(&TEXTS[..]).prop_map(Operand::Text);
        prop_oneof![property, number, text].boxed()
    } else {
        prop_oneof![property, number].boxed()
    }
}

fn tree() -> impl Strategy<Value = Tree> {
    let name = || select(&NAMES[..]);
    let leaf = prop_oneof![
        option::of(any::<bool>()).prop_map(Tree::Constant),
        name().prop_map(Tree::Property),
        (operand(true), operand(true), any::<bool>())
            .prop_map(|(left, right, not)| Tree::Equal(left, right, not)),
        (
            select(vec!["<", "<=", ">", ">="]),
            operand(false),
            operand(false)
        )
            .prop_map(|(sign, left, right)| Tree::Order(sign, left, right)),
        (name(), operand(false), operand(false), any::<bool>())
            .prop_map(|(name, low, high, not)| Tree::Between(name, low, high, not)),
        (name(), vec(select(&TEXTS[..]), 1..7), any::<bool>())
            .prop_map(|(name, list, not)| Tree::In(name, list, not)),
        (name(), any::<bool>()).prop_map(|(name, not)| Tree::IsNull(name, not)),
        (
            name(),
            select(vec!["CONTAINS", "STARTSWITH", "ENDSWITH"]),
            select(&TEXTS[..]),
            any::<bool>()
        )
            .prop_map(|(name, word, text, not)| Tree::Find(name, word, text, not)),
    ];
    leaf.prop_recursive(5, 40, 2, |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        prop_oneof![
            (boxed(), any::<bool>()).prop_map(|(tree, truth)| Tree::Is(tree, truth)),
            boxed().prop_map(Tree::Not),
            (boxed(), boxed()).prop_map(|(left, right)| Tree::And(left, right)),
            (boxed(), boxed()).prop_map(|(left, right)| Tree::Or(left, right)),
        ]
    })
}

fn message() -> impl Strategy<Value = Message> {
    btree_map(select(&NAMES[..]), select(&VALUES[..]), 0..=NAMES.len())
}

// Writing down.

impl Operand {
    fn text(&self) -> String {
        match self {
            Self::Property(name) => (*name).to_owned(),
            Self::Number(text, _, false) => (*text).to_owned(),
            Self::Number(text, _, true) => format!("-{text}"),
            Self::Text(text) => quoted(text),
        }
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

impl Tree {
    fn text(&self) -> String {
        let not = |not: bool| if not { "NOT " } else { "" };
        match self {
            Self::Constant(None) => "NULL".to_owned(),
            Self::Constant(Some(truth)) => truth.to_string(),
            Self::Property(name) => (*name).to_owned(),
            Self::Equal(left, right, unequal) => {
                let sign = if *unequal { "<>" } else { "=" };
                format!("{} {sign} {}", left.text(), right.text())
            }
            Self::Order(sign, left, right) => format!("{}{sign}{}", left.text(), right.text()),
            Self::Between(name, low, high, negated) => {
                let (low, high) = (low.text(), high.text());
                format!("{name} {}BETWEEN {low} AND {high}", not(*negated))
            }
            Self::In(name, list, negated) => {
                let list: Vec<_> = list.iter().map(|text| quoted(text)).collect();
                format!("{name} {}in ({})", not(*negated), list.join(", "))
            }
            Self::IsNull(name, negated) => format!("{name} IS {}NULL", not(*negated)),
            Self::Find(name, word, text, negated) => {
                format!("{name} {}{word} {}", not(*negated), quoted(text))
            }
            Self::Is(tree, truth) => format!("({}) = {truth}", tree.text()),
            Self::Not(tree) => format!("NOT ({})", tree.text()),
            // An OR within an AND needs parentheses; chains do without where they can.
            Self::And(left, right) => format!("{} AND ({})", left.closed(), right.text()),
            Self::Or(left, right) => format!("{} OR {}", left.text(), right.closed()),
        }
    }

    fn closed(&self) -> String {
        match self {
            Self::Or(..) => format!("({})", self.text()),
            _ => self.text(),
        }
    }
}

// What it says.

fn double(text: &str) -> Result<f64, ()> {
    match text.trim() {
        "NaN" => Ok(f64::NAN),
        text => text.parse().map_err(|_| ()),
    }
}

/// A number as the value of the written type, widened for comparison.
fn number(text: &str, kind: Type) -> Result<f64, ()> {
    match kind {
        Type::Integer => text.parse::<i32>().map(f64::from).map_err(|_| ()),
        // No value here needs more than 53 bits.
        Type::Long => text
            .parse::<i64>()
            .map(|value| value as f64)
            .map_err(|_| ()),
        Type::Double => double(text),
    }
}

impl Operand {
    fn literal(text: &str, negative: bool) -> f64 {
        let value: f64 = text.trim_end_matches('L').parse().unwrap();
        // Only integers can be written as zero, and theirs has no sign.
        if negative && value != 0.0 {
            -value
        } else {
            value
        }
    }

    /// The two sides as numbers, `None` if one is missing. Two properties are compared as doubles.
    fn numbers(left: &Self, right: &Self, message: &Message) -> Result<Option<(f64, f64)>, ()> {
        let value = |operand: &Self, other: &Self| match *operand {
            Self::Number(text, _, negative) => Ok(Some(Self::literal(text, negative))),
            Self::Text(text) => number(text, other.kind()).map(Some),
            Self::Property(name) => match message.get(name) {
                None => Ok(None),
                Some(text) => number(text, other.kind()).map(Some),
            },
        };
        if left.is_missing(message) || right.is_missing(message) {
            return Ok(None);
        }
        Ok(value(left, right)?.zip(value(right, left)?))
    }

    /// The type that the other side must have.
    fn kind(&self) -> Type {
        match self {
            Self::Number(_, kind, _) => *kind,
            _ => Type::Double,
        }
    }

    fn is_missing(&self, message: &Message) -> bool {
        matches!(self, Self::Property(name) if !message.contains_key(name))
    }

    fn as_text(&self, message: &Message) -> Option<&'static str> {
        match self {
            Self::Property(name) => message.get(name).copied(),
            Self::Text(text) => Some(text),
            Self::Number(..) => None,
        }
    }

    fn is_number(&self) -> bool {
        matches!(self, Self::Number(..))
    }
}

/// Java's order of doubles.
fn equal_doubles(left: f64, right: f64) -> bool {
    (left.is_nan() && right.is_nan())
        || (left == right && left.is_sign_negative() == right.is_sign_negative())
}

fn less(left: f64, right: f64) -> bool {
    (right.is_nan() && !left.is_nan())
        || left < right
        || (left == right && left.is_sign_negative() && right.is_sign_positive())
}

fn ordered(sign: &str, left: &Operand, right: &Operand, message: &Message) -> Truth {
    let Some((left, right)) = Operand::numbers(left, right, message)? else {
        return Ok(None);
    };
    Ok(Some(match sign {
        "<" => less(left, right),
        ">=" => !less(left, right),
        ">" => less(right, left),
        _ => !less(right, left),
    }))
}

fn equal(left: &Operand, right: &Operand, message: &Message) -> Truth {
    match (left.is_missing(message), right.is_missing(message)) {
        (true, true) => return Ok(Some(true)),
        (true, false) => return Ok(None),
        (false, true) => return Ok(Some(false)),
        (false, false) => {}
    }
    if left.is_number() || right.is_number() {
        let numbers = Operand::numbers(left, right, message)?;
        return Ok(numbers.map(|(left, right)| equal_doubles(left, right)));
    }
    Ok(Some(left.as_text(message) == right.as_text(message)))
}

fn not(truth: Option<bool>) -> Option<bool> {
    truth.map(|truth| !truth)
}

impl Tree {
    fn of(&self, message: &Message) -> Truth {
        match self {
            Self::Constant(truth) => Ok(*truth),
            Self::Property(name) => Ok(message.get(name).map(|_| false)),
            Self::Equal(left, right, unequal) => {
                let truth = equal(left, right, message)?;
                Ok(if *unequal { not(truth) } else { truth })
            }
            Self::Order(sign, left, right) => ordered(sign, left, right, message),
            Self::Between(name, low, high, negated) => {
                let value = Operand::Property(name);
                let ends = if *negated { ("<", ">") } else { (">=", "<=") };
                let first = ordered(ends.0, &value, low, message)?;
                if first == Some(*negated) {
                    return Ok(Some(*negated));
                }
                let second = ordered(ends.1, &value, high, message)?;
                Ok(match (first, second) {
                    (_, Some(truth)) if truth == *negated => Some(truth),
                    (Some(_), Some(truth)) => Some(truth),
                    _ => None,
                })
            }
            Self::In(name, list, negated) => Ok(message
                .get(name)
                .map(|value| list.contains(value) != *negated)),
            Self::IsNull(name, negated) => Ok(Some(message.contains_key(name) == *negated)),
            Self::Find(name, word, text, negated) => {
                let Some(value) = message.get(name).filter(|_| !text.is_empty()) else {
                    return Ok(Some(false));
                };
                let found = match *word {
                    "CONTAINS" => value.contains(text),
                    "STARTSWITH" => value.starts_with(text),
                    _ => value.ends_with(text),
                };
                Ok(Some(found != *negated))
            }
            // Unknown on the left stays unknown.
            Self::Is(tree, wanted) => match (&**tree, tree.of(message)?) {
                (Self::Property(name), _) => Ok(message
                    .get(name)
                    .map(|value| value.eq_ignore_ascii_case("true") == *wanted)),
                (_, truth) => Ok(truth.map(|truth| truth == *wanted)),
            },
            Self::Not(tree) => Ok(not(tree.of(message)?)),
            Self::And(left, right) => match left.of(message)? {
                Some(false) => Ok(Some(false)),
                left => Ok(match (left, right.of(message)?) {
                    (_, Some(false)) => Some(false),
                    (Some(true), Some(true)) => Some(true),
                    _ => None,
                }),
            },
            Self::Or(left, right) => match left.of(message)? {
                Some(true) => Ok(Some(true)),
                left => Ok(match (left, right.of(message)?) {
                    (_, Some(true)) => Some(true),
                    (Some(false), Some(false)) => Some(false),
                    _ => None,
                }),
            },
        }
    }

    /// Whether something in it is refused before any message is seen.
    fn is_refused(&self) -> bool {
        let backwards = |low: &Operand, high: &Operand| match (low, high) {
            // Negated numbers are not looked at.
            (Operand::Number(low, _, false), Operand::Number(high, _, false)) => {
                Operand::literal(high, false) < Operand::literal(low, false)
            }
            _ => false,
        };
        match self {
            Self::Between(_, low, high, false) => backwards(low, high),
            Self::Is(tree, _) => matches!(**tree, Self::Constant(None)) || tree.is_refused(),
            Self::Not(tree) => tree.is_refused(),
            Self::And(left, right) | Self::Or(left, right) => {
                left.is_refused() || right.is_refused()
            }
            _ => false,
        }
    }
}

fn evaluate(text: &str, message: &Message) -> Result<Option<bool>, ()> {
    let sql = Sql::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    sql.evaluate(message.iter().map(|(name, value)| (*name, *value)))
        .map_err(|_| ())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn an_expression_says_of_a_message_what_a_direct_interpretation_says(
        tree in tree(),
        messages in vec(message(), 1..8),
    ) {
        let text = tree.text();
        if tree.is_refused() {
            prop_assert!(Sql::parse(&text).is_err(), "{}", text);
        } else {
            for message in &messages {
                prop_assert_eq!(evaluate(&text, message), tree.of(message), "{} of {:?}", text, message);
            }
        }
    }

    #[test]
    fn whatever_is_refused_is_refused_at_a_place_within(
        words in vec(
            select(vec![
                "a", "b", "5", "1.5", "'x'", "=", "<>", "<", ">=", "(", ")", ",", "AND", "OR", "NOT", "IN", "IS",
                "NULL", "BETWEEN", "CONTAINS", "TRUE", "-", "+", "--", "/*", "*/", "#", "\n", "'",
            ]),
            0..20,
        ),
    ) {
        let text = words.join(" ");
        if let Err(error) = Sql::parse(&text) {
            let line = text.lines().nth(error.line.saturating_sub(1) as usize).unwrap_or_default();
            prop_assert!(error.column as usize <= line.len() + 1, "{:?}: {}", text, error);
            let place = format!("column {}.", error.column);
            prop_assert!(error.remark().contains(&place), "{}", error);
        }
    }

    #[test]
    fn no_text_can_do_harm(text in ".{0,200}", nested in 0..3000_usize, value in ".{0,10}") {
        for text in [text.clone(), format!("{}{text}", "(".repeat(nested)), "NOT ".repeat(nested) + &text] {
            if let Ok(sql) = Sql::parse(&text) {
                let _ = sql.matches([("a", value.as_str())]);
            }
        }
        prop_assert!(Sql::parse(&"a".repeat(MAX_LENGTH + 1)).is_err());
    }
}
