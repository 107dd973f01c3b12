//! What means something only to some kinds of consumers: those that pop, and those that poll.

use super::keys::{Key, consumers};
use super::sheet::Sheet;
use super::{Consumers, Listener, Model};

/// Reports keys of a consumer group that its kind of members does not know.
pub(super) fn check(sheet: &Sheet<'_>, group: &Consumers) {
    let page = Page { sheet, group };
    if group.listener == Listener::Simple {
        page.pops();
    } else {
        let of_pops = [
            &consumers::INVISIBLE,
            &consumers::AWAIT,
            &consumers::LOSE_ACKS,
            &consumers::EXTEND,
            &consumers::IN_ORDER,
        ];
        page.belong(&of_pops, "simple");
    }
    if group.listener == Listener::LitePull {
        page.polls();
    } else {
        page.belong(&[&consumers::COMMIT], "lite-pull");
    }
}

struct Page<'a> {
    sheet: &'a Sheet<'a>,
    group: &'a Consumers,
}

impl Page<'_> {
    fn problem(&self, key: &Key, message: &str, help: &str) {
        let span = self.sheet.key_span(key.name);
        let span = span.unwrap_or(self.sheet.span.clone());
        let (message, help) = (message.to_owned(), Some(help.to_owned()));
        self.sheet.problems.add(span, message, help);
    }

    /// Refuses those keys that were given.
    fn refuse(&self, keys: &[&Key], reason: &str, help: &str) {
        for key in keys {
            if self.sheet.table.contains_key(key.name) {
                let message = format!("`{}` means nothing {reason}", key.name);
                self.problem(key, &message, help);
            }
        }
    }

    /// Refuses keys that belong to another kind of listener.
    fn belong(&self, keys: &[&Key], listener: &str) {
        let reason = format!("without listener = \"{listener}\"");
        let help = format!("add listener = \"{listener}\", or leave it out");
        self.refuse(keys, &reason, &help);
    }

    fn pops(&self) {
        if self.group.model == Model::Broadcasting {
            let message = "members that pop share the messages";
            self.problem(&consumers::MODEL, message, "use model = \"clustering\"");
        }
        if self.group.pops.in_order {
            let reason = "where messages are received in order";
            self.refuse(&[&consumers::BATCH_SIZE], reason, "leave it out");
            let gives_up = self.group.max_reconsume.is_some() || self.group.behaviour.poison > 0.0;
            if gives_up && self.group.pull_batch_size > 1 {
                let message = "what is received behind a message that keeps failing is given up \
                               with it";
                self.problem(&consumers::IN_ORDER, message, "add pull-batch-size = 1");
            }
        }
    }

    fn polls(&self) {
        let one_by_one = [&consumers::BATCH_SIZE, &consumers::THREADS];
        let reason = "to members that poll, and take one message after the other";
        self.refuse(&one_by_one, reason, "leave it out");
        let of_retries = [
            &consumers::FAIL_RATE,
            &consumers::FAIL_FIRST,
            &consumers::POISON,
            &consumers::MAX_RECONSUME,
        ];
        let reason = "to members that poll: RocketMQ brings them no message again";
        self.refuse(&of_retries, reason, "leave it out");
        let reason = "to members that poll: nothing but a listener replies";
        self.refuse(&[&consumers::REPLIES], reason, "leave it out");
        let tagged = self.group.topics.values().any(|tags| tags != "*");
        let key = match self.group.sql.is_empty() {
            true => &consumers::TOPICS,
            false => &consumers::SQL,
        };
        if tagged || !self.group.sql.is_empty() {
            // They commit up to the last message that they wanted.
            let message = "with a filter, members that poll never commit the end of a queue";
            self.problem(key, message, "subscribe to whole topics");
        }
    }
}
