//! What an operator does, and when.

use indexmap::IndexMap;
use toml_edit::Value;

use super::faults::entries;
use super::groups::check_topic;
use super::keys::{self, actions as keys_of, query, reset, top};
use super::problem::suggest;
use super::sheet::Sheet;
use super::units::{DURATIONS, micros, show};
use super::{Consumers, Operation, OperationKind, ResetPoint, Run, Topic};

/// What actions can name.
struct Reader<'a> {
    run: &'a Run,
    topics: &'a IndexMap<String, Topic>,
    groups: &'a IndexMap<String, Consumers>,
}

pub(super) fn actions(
    file: &Sheet<'_>,
    run: &Run,
    topics: &IndexMap<String, Topic>,
    groups: &IndexMap<String, Consumers>,
) -> Vec<Operation> {
    let Some(item) = file.item(&top::ACTIONS) else {
        return Vec::new();
    };
    let reader = Reader {
        run,
        topics,
        groups,
    };
    let mut actions = Vec::new();
    for (table, span) in entries(file, &top::ACTIONS, item) {
        let sheet = Sheet::open(file.problems, table, span, &keys::actions::SECTION);
        actions.extend(reader.action(&sheet));
    }
    actions.sort_by_key(|action| action.at);
    actions
}

impl Reader<'_> {
    fn action(&self, sheet: &Sheet<'_>) -> Option<Operation> {
        let at = sheet.duration(&keys_of::AT);
        if let Some(at) = &at {
            let end = self.run.duration;
            if at.value >= end && !end.is_zero() {
                let message = format!("it is done at {}, after the load phase", show(at.value));
                let help = format!("the load phase ends at {}", show(end));
                sheet.problems.add(at.span.clone(), message, Some(help));
            }
        }
        let has = |key: &keys::Key| sheet.table.contains_key(key.name);
        let kind = match (has(&keys_of::RESET), has(&keys_of::QUERY)) {
            (true, false) => self.reset(&sheet.table(&keys_of::RESET, &reset::SECTION)?),
            (false, true) => self.query(&sheet.table(&keys_of::QUERY, &query::SECTION)?),
            _ => {
                let message = "an [[actions]] entry holds exactly one action";
                let help = "add one of `reset`, `query`".to_owned();
                sheet.problems.add(sheet.span.clone(), message, Some(help));
                None
            }
        }?;
        let at = at?.value;
        Some(Operation { at, kind })
    }

    fn topic(&self, sheet: &Sheet<'_>, key: &keys::Key) -> Option<String> {
        let topic = sheet.text(key)?;
        check_topic(sheet, &topic, self.topics, "named here");
        Some(topic.value)
    }

    fn reset(&self, sheet: &Sheet<'_>) -> Option<OperationKind> {
        let group = sheet.text(&reset::GROUP);
        if let Some(group) = &group
            && !self.groups.contains_key(&group.value)
        {
            let message = format!("there is no consumer group `{}`", group.value);
            let known = self.groups.keys().map(String::as_str);
            let help = suggest(&group.value, known, "there are");
            sheet.problems.add(group.span.clone(), message, help);
        }
        let topic = self.topic(sheet, &reset::TOPIC);
        let to = point(sheet);
        let force = sheet.flag(&reset::FORCE).is_some_and(|at| at.value);
        Some(OperationKind::Reset {
            group: group?.value,
            topic: topic?,
            to: to?,
            force,
        })
    }

    fn query(&self, sheet: &Sheet<'_>) -> Option<OperationKind> {
        let topic = self.topic(sheet, &query::TOPIC);
        let messages = sheet.count(&query::MESSAGES);
        Some(OperationKind::Query {
            topic: topic?,
            messages: messages?.value,
        })
    }
}

fn point(sheet: &Sheet<'_>) -> Option<ResetPoint> {
    let item = sheet.item(&reset::TO)?;
    let read = match item.as_value() {
        Some(Value::Integer(offset)) => Some(ResetPoint::Offset(*offset.value())),
        Some(Value::String(text)) => match text.value().as_str() {
            "begin" => Some(ResetPoint::Begin),
            "end" => Some(ResetPoint::End),
            time => DURATIONS.parse(time).ok().map(micros).map(ResetPoint::Time),
        },
        _ => None,
    };
    if read.is_none_or(|to| matches!(to, ResetPoint::Offset(..0))) {
        let message = format!("a group cannot be put at {}", item.to_string().trim());
        let help = "a time such as \"12s\", \"begin\", \"end\", or an offset".to_owned();
        let span = item.span().unwrap_or_default();
        sheet.problems.add(span, message, Some(help));
        return None;
    }
    read
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::scenario::Scenario;

    fn parse(actions: &str) -> Result<Vec<Operation>, Vec<String>> {
        let text = format!(
            "story = \"x\"\nrun = {{ duration = \"60s\" }}\ntopics.t = {{}}\n\
             consumers.g = {{ topics = \"t\" }}\n\
             producers.p = {{ topic = \"t\", load = {{ shape = \"constant\", rate = \"1/s\" }} }}\n\
             {actions}"
        );
        match Scenario::parse("x", &text) {
            Ok(scenario) => Ok(scenario.actions),
            Err(refused) => Err(refused
                .problems
                .iter()
                .map(|located| located.problem.message.clone())
                .collect()),
        }
    }

    fn reset(to: ResetPoint, force: bool) -> OperationKind {
        OperationKind::Reset {
            group: "g".to_owned(),
            topic: "t".to_owned(),
            to,
            force,
        }
    }

    #[test]
    fn actions_are_read_and_sorted_by_time() {
        let actions = parse(
            r#"actions = [
                { at = "40s", query = { topic = "t", messages = 7 } },
                { at = "20s", reset = { group = "g", topic = "t", to = "12s", force = false } },
                { at = "30s", reset = { group = "g", topic = "t", to = 5 } },
            ]"#,
        )
        .unwrap();
        let second = Duration::from_secs(1);
        assert_eq!(
            actions.iter().map(|action| action.at).collect::<Vec<_>>(),
            [20 * second, 30 * second, 40 * second]
        );
        assert_eq!(actions[0].kind, reset(ResetPoint::Time(12 * second), false));
        assert_eq!(actions[1].kind, reset(ResetPoint::Offset(5), true));
        let query = OperationKind::Query {
            topic: "t".to_owned(),
            messages: 7,
        };
        assert_eq!(actions[2].kind, query);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let to = |to: &str| {
            format!("at = \"1s\", reset = {{ group = \"g\", topic = \"t\", to = {to} }}")
        };
        for (action, expected) in [
            (to("\"yesterday\""), "a group cannot be put at"),
            (to("-1"), "a group cannot be put at"),
            (to("true"), "a group cannot be put at"),
            ("at = \"1s\"".to_owned(), "exactly one action"),
            (
                "at = \"60s\", query = { topic = \"t\" }".to_owned(),
                "after the load phase",
            ),
            (
                "at = \"1s\", query = { topic = \"u\" }".to_owned(),
                "the topic `u` is named here",
            ),
            (
                to("\"end\"").replace("\"g\"", "\"h\""),
                "there is no consumer group `h`",
            ),
        ] {
            let problems = parse(&format!("actions = [{{ {action} }}]")).unwrap_err();
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].contains(expected), "{problems:?}");
        }
    }
}
