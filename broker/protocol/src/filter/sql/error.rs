//! Why an expression is refused, and where in it.

use std::fmt::{self, Write};

/// An expression was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlError {
    /// The line, from 1; 0 if there is no character at all.
    pub line: u32,
    /// The column in the line, from 1, in UTF-16 code units; a tab goes to the next multiple of 8.
    pub column: u32,
    /// Why.
    pub kind: SqlErrorKind,
}

impl std::error::Error for SqlError {}

/// Why an expression is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SqlErrorKind {
    /// No token continues like this.
    Lexical {
        /// What stands there; nothing at the end.
        encountered: Option<char>,
        /// The beginning of the token.
        after: String,
    },
    /// The token is not one of those that can stand there.
    Syntax {
        /// The name of the token's kind, as the grammar has it.
        kind: &'static str,
        /// The token; nothing at the end.
        encountered: Option<String>,
        /// The names of the kinds that could.
        expected: Vec<&'static str>,
    },
    /// A truth is wanted, and this is none.
    NotBoolean(String),
    /// It is well-formed but cannot have a meaning.
    Meaning(String),
    /// It is larger than anybody needs.
    Limit(String),
}

impl SqlError {
    /// What a broker tells the client, with the name of Java's class in front
    /// (`CHECK_CLIENT_CONFIG`).
    pub fn remark(&self) -> String {
        let class = match self.kind {
            SqlErrorKind::Lexical { .. } => "org.apache.rocketmq.filter.parser.TokenMgrError",
            SqlErrorKind::Syntax { .. } | SqlErrorKind::NotBoolean(_) => {
                "org.apache.rocketmq.filter.parser.ParseException"
            }
            SqlErrorKind::Meaning(_) | SqlErrorKind::Limit(_) => "java.lang.RuntimeException",
        };
        format!("{class}: {self}")
    }
}

/// In the words of JavaCC, as far as it has any: people know them.
impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, kind } = self;
        match kind {
            SqlErrorKind::Lexical { encountered, after } => {
                write!(
                    f,
                    "Lexical error at line {line}, column {column}.  Encountered: "
                )?;
                match encountered {
                    Some(found) => write!(
                        f,
                        "\"{}\" ({}), ",
                        Escaped(&found.to_string()),
                        u32::from(*found)
                    )?,
                    None => f.write_str("<EOF> ")?,
                }
                write!(f, "after : \"{}\"", Escaped(after))
            }
            SqlErrorKind::Syntax {
                kind,
                encountered,
                expected,
            } => {
                match encountered {
                    Some(text) => {
                        write!(f, "Encountered \" {kind} \"{} \"\"", Escaped(text))?;
                    }
                    None => write!(f, "Encountered \"{kind}\"")?,
                }
                let of = if expected.len() == 1 { "" } else { " one of" };
                write!(
                    f,
                    " at line {line}, column {column}.\nWas expecting{of}:\n    "
                )?;
                expected
                    .iter()
                    .try_for_each(|name| write!(f, "{name} ...\n    "))
            }
            SqlErrorKind::NotBoolean(what) => write!(
                f,
                "Expression will not result in a boolean value: {what} at line {line}, column \
                 {column}."
            ),
            SqlErrorKind::Meaning(what) | SqlErrorKind::Limit(what) => {
                write!(f, "{what} at line {line}, column {column}.")
            }
        }
    }
}

/// Text as Java would write it in a program.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for found in self.0.chars() {
            match found {
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                '"' | '\'' | '\\' => write!(f, "\\{found}")?,
                ' '..='~' => f.write_char(found)?,
                _ => {
                    let mut units = [0; 2];
                    for unit in found.encode_utf16(&mut units) {
                        write!(f, "\\u{unit:04x}")?;
                    }
                }
            }
        }
        Ok(())
    }
}
