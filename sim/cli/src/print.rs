//! What the command says. A reader that went away (`| head`) is no reason to panic.

use std::io::Write;

use serde::Serialize;

/// A line or several on stdout.
pub fn line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// A line or several on stderr.
pub fn error(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", text.trim_end());
}

/// One JSON object on one line of stdout.
pub fn json(value: &impl Serialize) {
    match serde_json::to_string(value) {
        Ok(text) => line(&text),
        Err(why) => error(&format!("cannot write JSON: {why}")),
    }
}
