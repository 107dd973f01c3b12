//! The text form of Java's `Properties`: a line `key=value` each.

use std::collections::BTreeMap;

/// Reads properties. Lines that start with `#` or `!` are comments; a line without `=` or `:` is a
/// key with an empty value. Continued lines and escapes are not supported: no configuration of
/// RocketMQ needs them.
pub(crate) fn parse(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with(['#', '!']))
        .map(|line| line.split_once(['=', ':']).unwrap_or((line, "")))
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .collect()
}

/// Writes properties, sorted by key.
pub(crate) fn format(properties: &BTreeMap<String, String>) -> String {
    properties
        .iter()
        .map(|(key, value)| format!("{key}={value}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let text = "kvConfigPath=a/b.json\nlistenPort=9876\n";
        assert_eq!(format(&parse(text)), text);
    }

    #[test]
    fn comments_and_blanks_are_passed_over() {
        let read = parse("# of 2024\r\n\r\n  key = some value \r\n!not=this\nbare\n");
        let expected = [("bare", ""), ("key", "some value")];
        assert!(
            read.iter()
                .map(|(key, value)| (&key[..], &value[..]))
                .eq(expected)
        );
    }
}
