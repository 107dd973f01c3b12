//! From characters to tokens, one at a time and not before they are asked for: what stands behind a
//! complete expression is never looked at.

use super::error::{SqlError, SqlErrorKind};

/// Kinds of tokens, in the grammar's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Kind {
    End,
    Not,
    And,
    Or,
    Between,
    In,
    True,
    False,
    Null,
    Is,
    Contains,
    StartsWith,
    EndsWith,
    Decimal,
    Float,
    Text,
    Name,
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Open,
    Comma,
    Close,
    Plus,
    Minus,
}

/// The reserved words; case does not matter.
const WORDS: [(&str, Kind); 12] = [
    ("NOT", Kind::Not),
    ("AND", Kind::And),
    ("OR", Kind::Or),
    ("BETWEEN", Kind::Between),
    ("IN", Kind::In),
    ("TRUE", Kind::True),
    ("FALSE", Kind::False),
    ("NULL", Kind::Null),
    ("IS", Kind::Is),
    ("CONTAINS", Kind::Contains),
    ("STARTSWITH", Kind::StartsWith),
    ("ENDSWITH", Kind::EndsWith),
];

impl Kind {
    /// All kinds and the names that messages give them.
    pub(super) const ALL: [(Self, &'static str); 28] = [
        (Self::End, "<EOF>"),
        (Self::Not, "\"NOT\""),
        (Self::And, "\"AND\""),
        (Self::Or, "\"OR\""),
        (Self::Between, "\"BETWEEN\""),
        (Self::In, "\"IN\""),
        (Self::True, "\"TRUE\""),
        (Self::False, "\"FALSE\""),
        (Self::Null, "\"NULL\""),
        (Self::Is, "\"IS\""),
        (Self::Contains, "\"CONTAINS\""),
        (Self::StartsWith, "\"STARTSWITH\""),
        (Self::EndsWith, "\"ENDSWITH\""),
        (Self::Decimal, "<DECIMAL_LITERAL>"),
        (Self::Float, "<FLOATING_POINT_LITERAL>"),
        (Self::Text, "<STRING_LITERAL>"),
        (Self::Name, "<ID>"),
        (Self::Equal, "\"=\""),
        (Self::NotEqual, "\"<>\""),
        (Self::Greater, "\">\""),
        (Self::GreaterOrEqual, "\">=\""),
        (Self::Less, "\"<\""),
        (Self::LessOrEqual, "\"<=\""),
        (Self::Open, "\"(\""),
        (Self::Comma, "\",\""),
        (Self::Close, "\")\""),
        (Self::Plus, "\"+\""),
        (Self::Minus, "\"-\""),
    ];

    /// Its name in messages.
    pub(super) fn name(self) -> &'static str {
        Self::ALL.get(self as usize).map_or("", |(_, name)| name)
    }
}

/// Where a character stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: u32,
    pub(super) column: u32,
}

/// A token and where it begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'s> {
    pub(super) kind: Kind,
    pub(super) text: &'s str,
    pub(super) place: Place,
}

/// Reads tokens.
pub(super) struct Lexer<'s> {
    /// What has not been read.
    rest: &'s str,
    /// Of the last character that was read.
    place: Place,
    last: Option<char>,
}

impl<'s> Lexer<'s> {
    pub(super) fn new(text: &'s str) -> Self {
        Self {
            rest: text,
            place: Place { line: 0, column: 0 },
            last: None,
        }
    }

    /// The next token, or [`Kind::End`] at the place of the last character.
    pub(super) fn next(&mut self) -> Result<Token<'s>, SqlError> {
        self.skip();
        let Some(first) = self.rest.chars().next() else {
            return Ok(Token {
                kind: Kind::End,
                text: "",
                place: self.place,
            });
        };
        let (kind, len) = match first {
            '0'..='9' | '.' => self.number()?,
            '\'' => (Kind::Text, self.text_len()?),
            'a'..='z' | 'A'..='Z' | '_' | '$' => self.word(),
            _ => self.sign(first)?,
        };
        let text = self.rest.get(..len).unwrap_or(self.rest);
        let place = self.place_after(first);
        self.read(text.len());
        Ok(Token { kind, text, place })
    }

    /// Skips white space and comments.
    fn skip(&mut self) {
        loop {
            let blank = self
                .rest
                .find(|c| !matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0c'))
                .unwrap_or(self.rest.len());
            self.read(blank);
            let comment = if let Some(line) = self.rest.strip_prefix("--") {
                // Without a new line behind it, it is two minus signs.
                line.find(['\n', '\r']).map(|end| end + "--".len() + 1)
            } else if let Some(block) = self.rest.strip_prefix("/*") {
                block.find("*/").map(|end| end + "/**/".len())
            } else {
                None
            };
            match comment {
                Some(len) => self.read(len),
                None => return,
            }
        }
    }

    /// Integers have no leading zeros: `007` is three numbers.
    fn number(&self) -> Result<(Kind, usize), SqlError> {
        let digits = digits(self.rest);
        let behind = self.rest.get(digits..).unwrap_or_default();
        if let Some(fraction) = behind.strip_prefix('.') {
            let places = self::digits(fraction);
            if digits == 0 && places == 0 {
                return Err(self.lexical(1));
            }
            let exponent = exponent(fraction.get(places..).unwrap_or_default());
            return Ok((Kind::Float, digits + 1 + places + exponent));
        }
        match exponent(behind) {
            0 if self.rest.starts_with('0') => Ok((Kind::Decimal, 1)),
            0 => Ok((
                Kind::Decimal,
                digits + usize::from(behind.starts_with(['l', 'L'])),
            )),
            exponent => Ok((Kind::Float, digits + exponent)),
        }
    }

    /// A text ends at a quote that is not doubled.
    fn text_len(&self) -> Result<usize, SqlError> {
        let bytes = self.rest.as_bytes();
        let mut at = 1;
        loop {
            match bytes.get(at) {
                None => return Err(self.lexical(bytes.len())),
                Some(b'\'') if bytes.get(at + 1) == Some(&b'\'') => at += 2,
                Some(b'\'') => return Ok(at + 1),
                Some(_) => at += 1,
            }
        }
    }

    fn word(&self) -> (Kind, usize) {
        let end = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '$');
        let len = self.rest.find(end).unwrap_or(self.rest.len());
        let word = self.rest.get(..len).unwrap_or_default();
        let reserved = WORDS
            .iter()
            .find(|(text, _)| word.eq_ignore_ascii_case(text));
        (reserved.map_or(Kind::Name, |(_, kind)| *kind), len)
    }

    fn sign(&self, first: char) -> Result<(Kind, usize), SqlError> {
        let second = self.rest.chars().nth(1);
        Ok(match (first, second) {
            ('<', Some('>')) => (Kind::NotEqual, 2),
            ('<', Some('=')) => (Kind::LessOrEqual, 2),
            ('>', Some('=')) => (Kind::GreaterOrEqual, 2),
            ('<', _) => (Kind::Less, 1),
            ('>', _) => (Kind::Greater, 1),
            ('=', _) => (Kind::Equal, 1),
            ('(', _) => (Kind::Open, 1),
            (',', _) => (Kind::Comma, 1),
            (')', _) => (Kind::Close, 1),
            ('+', _) => (Kind::Plus, 1),
            ('-', _) => (Kind::Minus, 1),
            ('/', Some('*')) => return Err(self.lexical(self.rest.len())),
            ('/', _) => return Err(self.lexical(1)),
            _ => return Err(self.lexical(0)),
        })
    }

    /// What begins here is no token from its byte `good` on.
    fn lexical(&self, good: usize) -> SqlError {
        let (after, bad) = self.rest.split_at_checked(good).unwrap_or((self.rest, ""));
        let mut ahead = Self {
            rest: self.rest,
            ..*self
        };
        ahead.read(after.len());
        let encountered = bad.chars().next();
        let Place { line, column } = ahead.place_after(encountered.unwrap_or(' '));
        SqlError {
            line,
            column,
            kind: SqlErrorKind::Lexical {
                encountered,
                after: after.to_owned(),
            },
        }
    }

    /// Moves on.
    fn read(&mut self, len: usize) {
        let (read, rest) = self.rest.split_at_checked(len).unwrap_or((self.rest, ""));
        for found in read.chars() {
            self.place = self.place_after(found);
            self.last = Some(found);
        }
        self.rest = rest;
    }

    /// The place of `next` if it is the next character (`SimpleCharStream.UpdateLineColumn`).
    fn place_after(&self, next: char) -> Place {
        /// Where tabs go.
        const TAB: u32 = 8;
        let Place { line, column } = self.place;
        let new_line = match self.last {
            None | Some('\n') => true,
            Some('\r') => next != '\n',
            Some(_) => false,
        };
        let width = next.len_utf16() as u32;
        let (line, column) = if new_line {
            (line + 1, width)
        } else {
            (line, column + width)
        };
        let column = if next == '\t' {
            column - 1 + (TAB - (column - 1) % TAB)
        } else {
            column
        };
        Place { line, column }
    }
}

/// How many bytes at the beginning are digits.
fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// How many bytes at the beginning are an exponent.
fn exponent(text: &str) -> usize {
    let Some(behind) = text.strip_prefix(['e', 'E']) else {
        return 0;
    };
    let unsigned = behind.strip_prefix(['+', '-']).unwrap_or(behind);
    match digits(unsigned) {
        0 => 0,
        digits => text.len() - unsigned.len() + digits,
    }
}
