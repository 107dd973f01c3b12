//! When messages ask to be delivered.

use std::time::Duration;

use super::keys::{self, deliver, producers};
use super::sheet::Sheet;
use super::units::micros;
use super::{Deliver, Producers, Send};

/// Reads when a group's messages ask to be delivered; none if they do not.
pub(super) fn read(sheet: &Sheet<'_>) -> Option<Deliver> {
    let item = sheet.item(&producers::DELIVER)?;
    if !item.is_table_like() {
        let after = micros(sheet.either(&producers::DELIVER, &deliver::FROM)?);
        return Some(Deliver::After(after, after));
    }
    let table = sheet.open_item(producers::DELIVER.name, item, &keys::deliver::SECTION)?;
    let at = table.duration(&deliver::AT);
    let (from, to) = (table.duration(&deliver::FROM), table.duration(&deliver::TO));
    let problem = |span, message: &str| {
        let help = "use { from = \"2s\", to = \"20s\" }, or { at = \"30s\" }".to_owned();
        sheet.problems.add(span, message.to_owned(), Some(help));
        None
    };
    match (at, from, to) {
        (Some(at), None, None) => Some(Deliver::At(at.value)),
        (None, Some(from), Some(to)) if from.value <= to.value => {
            Some(Deliver::After(from.value, to.value))
        }
        (None, Some(_), Some(to)) => problem(to.span, "`to` is less than `from`"),
        _ => problem(
            item.span().unwrap_or_default(),
            "`deliver` takes either `from` and `to`, or `at`",
        ),
    }
}

/// Reports what does not go with a time of delivery.
pub(super) fn check(sheet: &Sheet<'_>, group: &Producers) {
    let problem = |key: &keys::Key, message: &str, help: &str| {
        let span = sheet.key_span(key.name).unwrap_or(sheet.span.clone());
        sheet.problems.add(span, message, Some(help.to_owned()));
    };
    if group.deliver.is_none() {
        if group.recall > 0.0 {
            let message = "only messages that wait for a time can be called back";
            problem(&producers::RECALL, message, "add `deliver`");
        }
        return;
    }
    if group.delay_level > 0 {
        let message = "a message waits for a delay level or for a time, not for both";
        problem(&producers::DELIVER, message, "leave out one of them");
    }
    if matches!(group.send, Send::Batch(_)) {
        let message = "the messages of a batch cannot wait for a time";
        problem(&producers::DELIVER, message, "do not batch");
    }
    if group.send == Send::Oneway && group.recall > 0.0 {
        let message = "without an answer there is no handle to call a message back by";
        problem(&producers::RECALL, message, "use send = \"sync\"");
    }
}

impl Deliver {
    /// Between what a message's wait is drawn; none if all wait for one time.
    pub fn drawn(self) -> Option<(Duration, Duration)> {
        match self {
            Self::After(from, to) => Some((from, to)),
            Self::At(_) => None,
        }
    }
}
