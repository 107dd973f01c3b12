//! The grammar, by recursive descent: one function per rule.

use super::ast::{Expr, Order, Search};
use super::build::{self, Node};
use super::error::{SqlError, SqlErrorKind};
use super::lexer::{Kind, Lexer, Place, Token};
use super::{MAX_DEPTH, MAX_LENGTH, Names, Sql};

/// What begins an operand. A plus sign does too; messages of JavaCC's parser do not mention it.
const OPERAND: [Kind; 10] = [
    Kind::Not,
    Kind::True,
    Kind::False,
    Kind::Null,
    Kind::Decimal,
    Kind::Float,
    Kind::Text,
    Kind::Name,
    Kind::Open,
    Kind::Minus,
];
/// What follows an operand in a comparison.
const COMPARISON: [Kind; 10] = [
    Kind::Not,
    Kind::Between,
    Kind::In,
    Kind::Contains,
    Kind::StartsWith,
    Kind::EndsWith,
    Kind::Greater,
    Kind::GreaterOrEqual,
    Kind::Less,
    Kind::LessOrEqual,
];
/// What follows `NOT` there.
const NEGATED: [Kind; 5] = [
    Kind::Between,
    Kind::In,
    Kind::Contains,
    Kind::StartsWith,
    Kind::EndsWith,
];

pub(super) fn parse(expression: &str) -> Result<Sql, SqlError> {
    if expression.len() > MAX_LENGTH {
        let what = format!("The expression is longer than {MAX_LENGTH} bytes");
        return Err(SqlError {
            line: 1,
            column: 1,
            kind: SqlErrorKind::Limit(what),
        });
    }
    let mut parser = Parser {
        lexer: Lexer::new(expression),
        ahead: None,
        expected: 0,
        names: Names::default(),
        depth: 0,
    };
    let root = build::boolean(parser.or()?)?.expr;
    Ok(Sql {
        root,
        names: parser.names,
    })
}

struct Parser<'s> {
    lexer: Lexer<'s>,
    /// The next token, once somebody has looked at it.
    ahead: Option<Token<'s>>,
    /// The kinds that could have stood where the next token stands, as far as asked for: one bit
    /// each.
    expected: u32,
    names: Names,
    /// How many operands we are within.
    depth: usize,
}

impl<'s> Parser<'s> {
    fn peek(&mut self) -> Result<Token<'s>, SqlError> {
        match self.ahead {
            Some(token) => Ok(token),
            None => Ok(*self.ahead.insert(self.lexer.next()?)),
        }
    }

    /// Takes the next token if it is one of these.
    fn accept(&mut self, kinds: &[Kind]) -> Result<Option<Token<'s>>, SqlError> {
        let token = self.peek()?;
        if kinds.contains(&token.kind) {
            self.ahead = None;
            self.expected = 0;
            return Ok(Some(token));
        }
        for &kind in kinds {
            self.expected |= 1 << kind as u32;
        }
        Ok(None)
    }

    fn expect(&mut self, kinds: &[Kind]) -> Result<Token<'s>, SqlError> {
        if let Some(token) = self.accept(kinds)? {
            return Ok(token);
        }
        let Token { kind, text, place } = self.peek()?;
        let expected = self.expected;
        let names = Kind::ALL.iter();
        Err(SqlError {
            line: place.line,
            column: place.column,
            kind: SqlErrorKind::Syntax {
                kind: kind.name(),
                encountered: (kind != Kind::End).then(|| text.to_owned()),
                expected: names
                    .filter(|(kind, _)| expected & (1 << *kind as u32) != 0)
                    .map(|(_, name)| *name)
                    .collect(),
            },
        })
    }

    fn or(&mut self) -> Result<Node, SqlError> {
        self.chain(Kind::Or, Self::and, Expr::Or)
    }

    fn and(&mut self) -> Result<Node, SqlError> {
        self.chain(Kind::And, Self::equality, Expr::And)
    }

    fn chain(
        &mut self,
        word: Kind,
        term: fn(&mut Self) -> Result<Node, SqlError>,
        join: fn(Vec<Expr>) -> Expr,
    ) -> Result<Node, SqlError> {
        let first = term(self)?;
        let mut others = Vec::new();
        while self.accept(&[word])?.is_some() {
            others.push(term(self)?);
        }
        if others.is_empty() {
            return Ok(first);
        }
        build::chain(first, others, join)
    }

    fn equality(&mut self) -> Result<Node, SqlError> {
        let mut left = self.comparison()?;
        while let Some(sign) = self.accept(&[Kind::Is, Kind::Equal, Kind::NotEqual])? {
            let place = left.place;
            left = match sign.kind {
                Kind::Is => {
                    let word = self.expect(&[Kind::Not, Kind::Null])?;
                    if word.kind == Kind::Not {
                        self.expect(&[Kind::Null])?;
                        build::not(place, build::is_null(left)?)?
                    } else {
                        build::is_null(left)?
                    }
                }
                Kind::Equal => build::equal(left, self.comparison()?)?,
                _ => build::not(place, build::equal(left, self.comparison()?)?)?,
            };
        }
        Ok(left)
    }

    fn comparison(&mut self) -> Result<Node, SqlError> {
        let mut left = self.unary()?;
        while let Some(mut sign) = self.accept(&COMPARISON)? {
            let negated = sign.kind == Kind::Not;
            if negated {
                sign = self.expect(&NEGATED)?;
            }
            let mut order = |order, left| build::order(order, left, self.unary()?);
            left = match sign.kind {
                Kind::Greater => order(Order::Greater, left)?,
                Kind::GreaterOrEqual => order(Order::GreaterOrEqual, left)?,
                Kind::Less => order(Order::Less, left)?,
                Kind::LessOrEqual => order(Order::LessOrEqual, left)?,
                Kind::Between => {
                    let low = self.unary()?;
                    self.expect(&[Kind::And])?;
                    build::between(left, low, self.unary()?, negated)?
                }
                Kind::In => self.list(left, negated)?,
                Kind::Contains => self.find(Search::Contains, left, negated)?,
                Kind::StartsWith => self.find(Search::StartsWith, left, negated)?,
                _ => self.find(Search::EndsWith, left, negated)?,
            };
        }
        Ok(left)
    }

    fn list(&mut self, left: Node, negated: bool) -> Result<Node, SqlError> {
        self.expect(&[Kind::Open])?;
        let mut values = Vec::new();
        loop {
            values.push(build::unquoted(&self.expect(&[Kind::Text])?));
            if self.expect(&[Kind::Comma, Kind::Close])?.kind == Kind::Close {
                break;
            }
        }
        values.sort_unstable();
        let (property, place) = build::property(left)?;
        let list = Expr::In {
            property,
            values,
            negated,
        };
        Ok(Node::leaf(list, place))
    }

    fn find(&mut self, search: Search, left: Node, negated: bool) -> Result<Node, SqlError> {
        let part = build::unquoted(&self.expect(&[Kind::Text])?);
        build::find(left, |text| Expr::Find {
            search,
            text,
            part,
            negated,
        })
    }

    fn unary(&mut self) -> Result<Node, SqlError> {
        let place = self.peek()?.place;
        if self.depth >= MAX_DEPTH {
            return Err(build::too_deep(place));
        }
        self.depth += 1;
        let node = self.operand(place);
        self.depth -= 1;
        node
    }

    fn operand(&mut self, place: Place) -> Result<Node, SqlError> {
        if self.peek()?.kind == Kind::Plus {
            self.ahead = None;
            self.expected = 0;
            return self.unary();
        }
        let token = self.expect(&OPERAND)?;
        match token.kind {
            Kind::Minus => build::negate(place, self.unary()?),
            Kind::Not => build::not(place, self.unary()?),
            Kind::Open => {
                let inner = self.or()?;
                self.expect(&[Kind::Close])?;
                Ok(inner)
            }
            Kind::Decimal => build::decimal(&token),
            Kind::Float => build::float(&token),
            Kind::Text => Ok(Node::leaf(Expr::Text(build::unquoted(&token)), place)),
            Kind::True => Ok(Node::leaf(Expr::Boolean(true), place)),
            Kind::False => Ok(Node::leaf(Expr::Boolean(false), place)),
            Kind::Null => Ok(Node::leaf(Expr::Null, place)),
            _ => {
                let name = token.text.to_owned();
                let number = self.names.number(&name);
                Ok(Node::leaf(Expr::Property { number, name }, place))
            }
        }
    }
}
