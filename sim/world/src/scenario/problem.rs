use std::cell::RefCell;
use std::ops::Range;

use miette::{Diagnostic, LabeledSpan, NamedSource, Severity, SourceCode};

/// One thing that is wrong with a scenario file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, in bytes from the start of the file.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What was probably meant, or what is possible.
    pub help: Option<String>,
}

/// Why a scenario file was refused: everything that is wrong with it, in the order of the file.
#[derive(Debug, thiserror::Error)]
#[error("{path} is not a valid scenario: {}", count(.problems.len()))]
pub struct Refused {
    path: String,
    /// All of it.
    pub problems: Vec<Located>,
}

/// A problem together with the file it is in, as a diagnostic with a snippet.
#[derive(Debug, thiserror::Error)]
#[error("{}", .problem.message)]
pub struct Located {
    /// What is wrong, and where.
    pub problem: Problem,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    file: NamedSource<String>,
}

fn count(problems: usize) -> String {
    match problems {
        1 => "1 problem".to_owned(),
        n => format!("{n} problems"),
    }
}

impl Refused {
    pub(super) fn new(path: &str, text: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| (problem.span.start, problem.span.end));
        problems.dedup();
        let locate = |problem: Problem| {
            let (line, column) = line_and_column(text, problem.span.start);
            Located {
                problem,
                line,
                column,
                file: NamedSource::new(path, text.to_owned()).with_language("TOML"),
            }
        };
        Self {
            path: path.to_owned(),
            problems: problems.into_iter().map(locate).collect(),
        }
    }
}

impl Diagnostic for Refused {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.problems.iter().map(|p| p as &dyn Diagnostic)))
    }
}

impl Diagnostic for Located {
    fn severity(&self) -> Option<Severity> {
        Some(Severity::Error)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        let help = self.problem.help.as_ref()?;
        Some(Box::new(help))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.file)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = LabeledSpan::new_with_span(None, self.problem.span.clone());
        Some(Box::new(std::iter::once(label)))
    }
}

/// Line and column, both from 1, of a byte position.
fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    (line, before[line_start..].chars().count() + 1)
}

/// Collects problems while a file is read.
#[derive(Debug, Default)]
pub(super) struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    /// Adds a problem.
    pub fn add(&self, span: Range<usize>, message: impl Into<String>, help: Option<String>) {
        self.0.borrow_mut().push(Problem {
            span,
            message: message.into(),
            help,
        });
    }

    pub fn into_inner(self) -> Vec<Problem> {
        self.0.into_inner()
    }
}

/// `did you mean …?`, or the list of what is possible.
pub(super) fn suggest<'a>(
    wrong: &str,
    known: impl IntoIterator<Item = &'a str>,
    what: &str,
) -> Option<String> {
    let known: Vec<&str> = known.into_iter().collect();
    if let Some(nearest) = nearest(wrong, known.iter().copied()) {
        return Some(format!("did you mean `{nearest}`?"));
    }
    match known.len() {
        0 => None,
        1..=16 => Some(format!("{what}: {}", quoted(&known))),
        _ => Some(format!("{what}: {}, …", quoted(&known[..16]))),
    }
}

/// The known word that a misspelt one stands for, if one is near enough.
pub(super) fn nearest<'a>(
    wrong: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // Names of user input can be long; nothing that long is a misspelling.
    if wrong.len() > 64 {
        return None;
    }
    let fold = |text: &str| text.to_lowercase().replace(['_', ' '], "-");
    let wrong = fold(wrong);
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&wrong, &fold(word)), word))
        .filter(|(distance, word)| *distance <= (wrong.len().max(word.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

fn quoted(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_word_finds_its_neighbour() {
        let known = ["queues", "broker-groups", "flush"];
        assert_eq!(nearest("queue", known), Some("queues"));
        assert_eq!(nearest("broker_groups", known), Some("broker-groups"));
        assert_eq!(nearest("Flush", known), Some("flush"));
        assert_eq!(nearest("topology", known), None);
    }

    #[test]
    fn columns_count_characters_not_bytes() {
        assert_eq!(line_and_column("a = 1\nü = 2", 6), (2, 1));
        assert_eq!(line_and_column("a = 1\nü = 2", 8), (2, 2));
        assert_eq!(line_and_column("a", 100), (1, 2));
    }
}
