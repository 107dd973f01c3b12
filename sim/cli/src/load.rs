//! Scenarios from files: all of them are read before anything runs, and everything that is wrong
//! with any of them is told.

use std::fmt::Write;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

use hotfire_world::scenario::{Refused, Scenario};
use miette::{GraphicalReportHandler, GraphicalTheme};

use crate::files;

/// Reads all scenarios below the paths, or says what is wrong.
pub fn scenarios(paths: &[PathBuf]) -> Result<Vec<Arc<Scenario>>, String> {
    let mut scenarios = Vec::new();
    let mut wrong = Vec::new();
    for path in files::find(paths)? {
        let text = files::read(&path)?;
        match Scenario::parse(&path.to_string_lossy(), &text) {
            Ok(scenario) => scenarios.push(Arc::new(scenario)),
            Err(refused) => wrong.push(render(&refused)),
        }
    }
    if wrong.is_empty() {
        Ok(scenarios)
    } else {
        Err(wrong.join("\n"))
    }
}

/// A refusal with snippets: in colour on a terminal, in plain text otherwise.
fn render(refused: &Refused) -> String {
    let theme = if std::io::stderr().is_terminal() {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_links(false)
        .with_width(100);
    let mut out = String::new();
    if handler.render_report(&mut out, refused).is_err() {
        // The graphical handler gave up; the bare facts are better than nothing.
        let _ = writeln!(out, "{refused}");
        for located in &refused.problems {
            let _ = writeln!(out, "  {}:{} {located}", located.line, located.column);
        }
    }
    out
}
