//! The text form of Java's `Properties`, in which RocketMQ's configuration is written, sent and
//! answered.
//!
//! Left out: `\\uXXXX` escapes, and white space alone between key and value. No configuration of
//! RocketMQ needs them.

/// One `key=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The line at which it begins, counted from 1.
    pub line: usize,
    /// What stands before the first `=` or `:`.
    pub key: String,
    /// What stands behind it; none if there is neither, which Java takes for an empty value.
    pub value: Option<String>,
}

/// Reads lines of `key=value` or `key: value`. `#` and `!` begin a comment line, a backslash at the
/// end of a line continues it, and one elsewhere quotes the next character.
pub fn parse(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let mut logical = line.trim().to_owned();
        if logical.is_empty() || logical.starts_with(['#', '!']) {
            continue;
        }
        while ends_in_backslash(&logical) {
            logical.pop();
            match lines.next() {
                Some((_, more)) => logical.push_str(more.trim_start()),
                None => break,
            }
        }
        let (key, value) = match logical.split_once(['=', ':']) {
            Some((key, value)) => (key, Some(unquote(value.trim()))),
            None => (&logical[..], None),
        };
        entries.push(Entry {
            line: index + 1,
            key: unquote(key.trim()),
            value,
        });
    }
    entries
}

/// A value as it can be written behind `key=`, in one line.
pub fn escape(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for char in value.chars() {
        match char {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            other => text.push(other),
        }
    }
    text
}

fn ends_in_backslash(line: &str) -> bool {
    let backslashes = line.bytes().rev().take_while(|&byte| byte == b'\\').count();
    backslashes % 2 == 1
}

fn unquote(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        plain.push(match char {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some(quoted) => quoted,
                None => '\\',
            },
            _ => char,
        });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escaped_value_is_read_as_it_was() {
        for value in ["plain", "a\\b", "two\nlines\tand a tab", "ends in \\"] {
            let read = parse(&format!("key={}", escape(value)));
            assert_eq!(read[0].value.as_deref(), Some(value));
        }
    }

    fn read(text: &str) -> Vec<(usize, String, Option<String>)> {
        let entries = parse(text).into_iter();
        entries
            .map(|Entry { line, key, value }| (line, key, value))
            .collect()
    }

    fn entry(line: usize, key: &str, value: &str) -> (usize, String, Option<String>) {
        (line, key.to_owned(), Some(value.to_owned()))
    }

    #[test]
    fn comments_and_blanks_are_passed_over() {
        assert_eq!(
            read("# of 2024\r\n\r\n  key = some value \r\n!not=this\nport: 1"),
            [entry(3, "key", "some value"), entry(5, "port", "1")]
        );
    }

    #[test]
    fn a_line_without_a_separator_is_a_key_without_a_value() {
        assert_eq!(read("bare\n"), [(1, "bare".to_owned(), None)]);
        assert_eq!(read("empty="), [entry(1, "empty", "")]);
    }

    #[test]
    fn a_backslash_continues_a_line_and_quotes() {
        assert_eq!(
            read("name=bro\\\n   ker\\:z\nnext=a\\nb\nlast=c\\"),
            [
                entry(1, "name", "broker:z"),
                entry(3, "next", "a\nb"),
                entry(4, "last", "c")
            ]
        );
    }
}
