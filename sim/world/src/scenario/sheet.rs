//! Reading one table of a scenario file: typed values, defaults, and a problem for everything that
//! does not fit. A value that is wrong reads as absent, so that reading goes on and finds the rest.

use std::ops::Range;
use std::time::Duration;

use toml_edit::{Item, TableLike, Value};

use super::keys::{Key, Need, SECTIONS, Section, Takes};
use super::problem::{Problems, nearest, suggest};
use super::units::{DURATIONS, Units, Wrong, micros};

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub value: T,
    pub span: Range<usize>,
}

/// A table being read.
#[derive(Clone)]
pub(super) struct Sheet<'a> {
    pub problems: &'a Problems,
    pub table: &'a dyn TableLike,
    /// Where the table stands, for what is missing in it.
    pub span: Range<usize>,
    section: &'static Section,
}

impl<'a> Sheet<'a> {
    /// Opens a table and reports the keys that the section does not have.
    pub fn open(
        problems: &'a Problems,
        table: &'a dyn TableLike,
        span: Range<usize>,
        section: &'static Section,
    ) -> Self {
        let sheet = Self::bare(problems, table, Some(span), section);
        for (name, item) in table.iter() {
            if !section.names().any(|known| known == name) {
                let span = sheet
                    .key_span(name)
                    .or_else(|| item.span())
                    .unwrap_or_default();
                let message = format!("unknown key `{name}` in {}", section.title);
                problems.add(span, message, elsewhere(name, section));
            }
        }
        sheet
    }

    /// A table whose unknown keys are not reported.
    pub fn bare(
        problems: &'a Problems,
        table: &'a dyn TableLike,
        span: Option<Range<usize>>,
        section: &'static Section,
    ) -> Self {
        Self {
            problems,
            table,
            span: span.unwrap_or_default(),
            section,
        }
    }

    /// Opens the table that a key of this one holds.
    pub fn table(&self, key: &Key, section: &'static Section) -> Option<Sheet<'a>> {
        let item = self.item(key)?;
        self.open_item(key.name, item, section)
    }

    /// Opens an item of this table as a table.
    pub fn open_item(
        &self,
        name: &str,
        item: &'a Item,
        section: &'static Section,
    ) -> Option<Sheet<'a>> {
        let span = item
            .span()
            .or_else(|| self.key_span(name))
            .unwrap_or_default();
        let Some(table) = item.as_table_like() else {
            let message = format!("`{name}` must be a table, not {}", describe(item));
            self.problems
                .add(span, message, Some(format!("see {}", section.title)));
            return None;
        };
        Some(Sheet::open(self.problems, table, span, section))
    }

    /// The item of a key. Reports a required one that is missing.
    pub fn item(&self, key: &Key) -> Option<&'a Item> {
        let item = self.table.get(key.name).filter(|item| !item.is_none());
        if item.is_none() && key.need == Need::Required {
            let message = format!("`{}` is missing in {}", key.name, self.section.title);
            self.problems
                .add(self.span.clone(), message, Some(key.doc.trim().to_owned()));
        }
        item
    }

    /// Where a key stands.
    pub fn key_span(&self, name: &str) -> Option<Range<usize>> {
        self.table
            .get_key_value(name)
            .and_then(|(key, _)| key.span())
    }

    pub fn text(&self, key: &Key) -> Option<At<String>> {
        self.read(key, |value| match value {
            Value::String(text) => Ok(text.value().clone()),
            other => Err(wrong_type("a text", "\"…\"", other)),
        })
    }

    pub fn flag(&self, key: &Key) -> Option<At<bool>> {
        self.read(key, |value| {
            value
                .as_bool()
                .ok_or_else(|| wrong_type("true or false", "true", value))
        })
    }

    pub fn count(&self, key: &Key) -> Option<At<u64>> {
        let Takes::Count(least, most) = key.takes else {
            return None;
        };
        self.read(key, |value| {
            let number = value
                .as_integer()
                .ok_or_else(|| wrong_type("a whole number", &least.to_string(), value))?;
            match u64::try_from(number) {
                Ok(number) if (least..=most).contains(&number) => Ok(number),
                _ => Err(Wrong {
                    message: format!(
                        "`{}` must be from {least} to {most}, not {number}",
                        key.name
                    ),
                    help: None,
                }),
            }
        })
    }

    /// A count whose bounds fit 32 bits.
    pub fn small(&self, key: &Key) -> Option<u32> {
        self.count(key).and_then(|at| u32::try_from(at.value).ok())
    }

    pub fn share(&self, key: &Key) -> Option<At<f64>> {
        self.read(key, |value| {
            let number = value
                .as_float()
                .or_else(|| value.as_integer().map(|n| n as f64));
            let number = number.ok_or_else(|| wrong_type("a share", "0.25", value))?;
            if (0.0..=1.0).contains(&number) {
                return Ok(number);
            }
            let help = (1.0..=100.0)
                .contains(&number)
                .then(|| format!("did you mean {number} percent? that is {}", number / 100.0));
            let message = format!("`{}` is a share from 0 to 1, not {number}", key.name);
            Err(Wrong { message, help })
        })
    }

    /// A quantity in the smallest unit of its family.
    pub fn quantity(&self, key: &Key) -> Option<At<u64>> {
        self.read(key, |value| read_quantity(key, value))
    }

    pub fn duration(&self, key: &Key) -> Option<At<Duration>> {
        let At { value, span } = self.quantity(key)?;
        Some(At {
            value: micros(value),
            span,
        })
    }

    /// A duration with an optional sign, in milliseconds.
    pub fn signed_ms(&self, key: &Key) -> Option<At<i64>> {
        self.read(key, |value| {
            let text = text_of(&DURATIONS, value)?;
            let (sign, rest) = match text.trim().strip_prefix('-') {
                Some(rest) => (-1, rest),
                None => (1, text.trim().trim_start_matches('+')),
            };
            let micros = DURATIONS.parse(rest)?;
            let ms = i64::try_from(micros / 1000).unwrap_or(i64::MAX);
            if micros % 1000 != 0 || ms == 0 || ms > 100 * 365 * 86_400_000 {
                let message = format!("`{text}` is not a jump of whole milliseconds");
                return Err(Wrong {
                    message,
                    help: None,
                });
            }
            Ok(sign * ms)
        })
    }

    /// One of the words that the key allows.
    pub fn one_of(&self, key: &Key) -> Option<&'static str> {
        let Takes::OneOf(words) = key.takes else {
            return None;
        };
        let read = self.read(key, |value| {
            let Value::String(text) = value else {
                return Err(wrong_type("a word", &format!("\"{}\"", words[0]), value));
            };
            words
                .iter()
                .copied()
                .find(|word| word == text.value())
                .ok_or_else(|| Wrong {
                    message: format!("`{}` cannot be \"{}\"", key.name, text.value()),
                    help: suggest(text.value(), words.iter().copied(), "it can be"),
                })
        });
        read.map(|at| at.value)
    }

    /// One text, or a list of texts; empty if the key is absent.
    pub fn texts(&self, key: &Key) -> Vec<At<String>> {
        let Some(item) = self.item(key) else {
            return Vec::new();
        };
        self.texts_of(key.name, item.as_value(), item.span())
    }

    /// One text, or a list of texts.
    pub fn texts_of(
        &self,
        name: &str,
        value: Option<&Value>,
        span: Option<Range<usize>>,
    ) -> Vec<At<String>> {
        let one = |value: &Value| match value {
            Value::String(text) => Some(At {
                value: text.value().clone(),
                span: value.span().unwrap_or_default(),
            }),
            other => {
                let wrong = wrong_type("a text", "\"…\"", other);
                self.problems
                    .add(other.span().unwrap_or_default(), wrong.message, wrong.help);
                None
            }
        };
        match value {
            Some(Value::Array(list)) => list.iter().filter_map(one).collect(),
            Some(value) => one(value).into_iter().collect(),
            None => {
                let message = format!("`{name}` must be a text or a list of texts");
                self.problems.add(span.unwrap_or_default(), message, None);
                Vec::new()
            }
        }
    }

    /// Reads the value of a key, or its default.
    pub fn read<T>(&self, key: &Key, read: impl Fn(&Value) -> Result<T, Wrong>) -> Option<At<T>> {
        let Some(item) = self.item(key) else {
            let Need::Default(default) = key.need else {
                return None;
            };
            // A test reads every default, so this is never silently absent.
            let value = default.parse::<Value>().ok()?;
            let span = self.span.clone();
            return read(&value).ok().map(|value| At { value, span });
        };
        let span = item
            .span()
            .or_else(|| self.key_span(key.name))
            .unwrap_or_default();
        let result = match item.as_value() {
            Some(value) => read(value),
            None => Err(Wrong {
                message: format!("`{}` must be a value, not {}", key.name, describe(item)),
                help: Some(key.doc.trim().to_owned()),
            }),
        };
        match result {
            Ok(value) => Some(At { value, span }),
            Err(wrong) => {
                self.problems.add(span, wrong.message, wrong.help);
                None
            }
        }
    }
}

/// Reads a quantity within the key's bounds.
pub(super) fn read_quantity(key: &Key, value: &Value) -> Result<u64, Wrong> {
    let Takes::Quantity(units, least, most) = key.takes else {
        return Err(Wrong {
            message: format!("`{}` is not a quantity", key.name),
            help: None,
        });
    };
    let quantity = units.parse(&text_of(units, value)?)?;
    if (least..=most).contains(&quantity) {
        return Ok(quantity);
    }
    let help = if quantity < least {
        format!("at least {}", units.show(least))
    } else {
        format!("at most {}", units.show(most))
    };
    Err(Wrong {
        message: format!("`{}` is out of bounds", key.name),
        help: Some(help),
    })
}

/// The text of a quantity; a bare number is the most common mistake and gets its own words.
fn text_of(units: &Units, value: &Value) -> Result<String, Wrong> {
    match value {
        Value::String(text) => Ok(text.value().clone()),
        Value::Integer(_) | Value::Float(_) => {
            let number = value.to_string().trim().to_owned();
            let wrong = units.parse(&number).err();
            Err(wrong.unwrap_or_else(|| wrong_type(units.what, units.example, value)))
        }
        other => Err(wrong_type(units.what, units.example, other)),
    }
}

fn wrong_type(expected: &str, example: &str, found: &Value) -> Wrong {
    Wrong {
        message: format!("expected {expected}, found {}", describe_value(found)),
        help: Some(format!("for example {example}")),
    }
}

/// What an item is, with its article.
pub(super) fn describe(item: &Item) -> &'static str {
    match item {
        Item::None => "nothing",
        Item::Value(value) => describe_value(value),
        Item::Table(_) => "a table",
        Item::ArrayOfTables(_) => "an array of tables",
    }
}

fn describe_value(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::InlineTable(_) => "a table",
    }
}

/// For an unknown key: the nearest of this section, or the section that has it.
fn elsewhere(name: &str, section: &Section) -> Option<String> {
    if let Some(near) = nearest(name, section.names()) {
        return Some(format!("did you mean `{near}`?"));
    }
    let other = SECTIONS
        .iter()
        .find(|other| other.names().any(|known| known == name));
    match other {
        Some(other) => Some(format!("`{name}` is a key of {}", other.title)),
        None => suggest(name, section.names(), "the keys are"),
    }
}
