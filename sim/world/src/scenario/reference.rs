//! The reference of all keys, made of the table that the reader uses.

use std::fmt::Write;

use super::keys::{Key, Need, SECTIONS, Section, Takes};

/// Width of the text.
const WIDTH: usize = 96;

/// Every section and key of a scenario file: what it takes, its default, what it means.
pub fn reference() -> String {
    let mut out = String::from(
        "A scenario is a TOML file. Durations, rates and sizes carry units: \"800ms\", \"30s\", \
         \"200/s\", \"4KiB\".\n",
    );
    for section in SECTIONS {
        section_text(&mut out, section);
    }
    out
}

fn section_text(out: &mut String, section: &Section) {
    out.push('\n');
    out.push_str(section.title);
    out.push('\n');
    wrap(out, section.doc, "  ");
    for key in section.keys {
        out.push('\n');
        // Writing to a string cannot fail.
        let _ = writeln!(out, "  {} = {}{}", key.name, takes(key), need(key));
        wrap(out, key.doc, "      ");
    }
}

fn takes(key: &Key) -> String {
    match key.takes {
        Takes::Text => "a text".to_owned(),
        Takes::Flag => "true or false".to_owned(),
        Takes::Count(least, most) => format!("a whole number from {least} to {most}"),
        Takes::Share => "a share from 0 to 1".to_owned(),
        Takes::Quantity(units, ..) => format!("{} like {}", units.what, units.example),
        Takes::SignedDuration => "a duration like \"5s\" or \"-5s\"".to_owned(),
        Takes::OneOf(words) => {
            let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
            words.join(" | ")
        }
        Takes::Texts => "a text or a list of texts".to_owned(),
        Takes::Special(words) => words.to_owned(),
    }
}

fn need(key: &Key) -> String {
    match key.need {
        Need::Required => " (required)".to_owned(),
        Need::Default(default) => format!(" (default {default})"),
        Need::Optional => String::new(),
    }
}

fn wrap(out: &mut String, text: &str, indent: &str) {
    let mut line = String::from(indent);
    for word in text.split_whitespace() {
        if line.len() + word.len() >= WIDTH && line.len() > indent.len() {
            out.push_str(line.trim_end());
            out.push('\n');
            line.truncate(indent.len());
        }
        line.push_str(word);
        line.push(' ');
    }
    out.push_str(line.trim_end());
    out.push('\n');
}
