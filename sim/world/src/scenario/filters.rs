//! Properties of messages, SQL over them, and what the scenario itself says that the SQL means.

use indexmap::IndexMap;
use toml_edit::{Item, TableLike, Value};

use hotfire_protocol::filter::sql::Sql;
use hotfire_protocol::message::property;

use super::keys::{Key, consumers, producers};
use super::sheet::Sheet;
use super::{Choices, Consumers, Listener};

/// More combinations of values are not told apart by one draw.
const COMBINATIONS_MAX: u64 = 1 << 32;

/// The properties of a producer group's messages.
pub(super) fn properties(sheet: &Sheet<'_>) -> Choices {
    let Some(item) = sheet.item(&producers::PROPERTIES) else {
        return Choices::default();
    };
    let choices = choices(sheet, &producers::PROPERTIES, item.as_table_like(), item);
    let span = item.span().unwrap_or_default();
    let problem = |message: String, help: &str| {
        let help = Some(help.to_owned());
        sheet.problems.add(span.clone(), message, help);
    };
    for (name, values) in &choices {
        if property::SYSTEM.contains(&name.as_str()) || !is_name(name) {
            let message = format!("`{name}` cannot be the name of a property");
            problem(message, "use letters, digits and underscores");
        }
        if values.is_empty() {
            let message = format!("the property `{name}` has no value");
            problem(message, "\"\" stands for a message without it");
        }
    }
    let lens = choices.values().map(|values| values.len() as u64);
    if lens.fold(1, u64::saturating_mul) > COMBINATIONS_MAX {
        let message = "these are too many combinations of values".to_owned();
        problem(message, "use fewer properties, or fewer values");
    }
    choices
}

/// A name that an SQL expression can use.
fn is_name(name: &str) -> bool {
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    starts && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The SQL expressions of a consumer group, by topic.
pub(super) fn sql(sheet: &Sheet<'_>) -> IndexMap<String, String> {
    let mut expressions = IndexMap::new();
    let Some(item) = sheet.item(&consumers::SQL) else {
        return expressions;
    };
    let Some(table) = item.as_table_like() else {
        wrong(sheet, &consumers::SQL, item);
        return expressions;
    };
    for (topic, item) in table.iter() {
        for text in sheet.texts_of(topic, item.as_value(), item.span()) {
            if let Err(error) = Sql::parse(&text.value) {
                let message = format!("the expression cannot be read: {error}");
                sheet.problems.add(text.span, message, None);
            }
            expressions.insert(topic.to_owned(), text.value);
        }
    }
    expressions
}

/// Which messages a consumer group with SQL wants: those that one of these choices fits.
pub(super) fn wants(sheet: &Sheet<'_>) -> Vec<Choices> {
    let Some(item) = sheet.item(&consumers::WANTS) else {
        return Vec::new();
    };
    let key = &consumers::WANTS;
    match item {
        Item::Value(Value::Array(list)) => list
            .iter()
            .map(|value| {
                let table = value.as_inline_table().map(|table| table as &dyn TableLike);
                choices(sheet, key, table, item)
            })
            .collect(),
        Item::ArrayOfTables(list) => list
            .iter()
            .map(|table| choices(sheet, key, Some(table), item))
            .collect(),
        _ => vec![choices(sheet, key, item.as_table_like(), item)],
    }
}

fn choices(sheet: &Sheet<'_>, key: &Key, table: Option<&dyn TableLike>, item: &Item) -> Choices {
    let Some(table) = table else {
        wrong(sheet, key, item);
        return Choices::default();
    };
    let values = |(name, item): (&str, &Item)| {
        let texts = sheet.texts_of(name, item.as_value(), item.span());
        let texts = texts.into_iter().map(|at| at.value).collect();
        (name.to_owned(), texts)
    };
    table.iter().map(values).collect()
}

fn wrong(sheet: &Sheet<'_>, key: &Key, item: &Item) {
    let message = format!("`{}` must be a table", key.name);
    let help = Some(key.doc.trim().to_owned());
    let span = item.span().unwrap_or_default();
    sheet.problems.add(span, message, help);
}

/// What must fit together.
pub(super) fn check(sheet: &Sheet<'_>, group: &Consumers) {
    let problem = |key: &Key, message: String, help: &str| {
        let span = sheet.key_span(key.name).unwrap_or(sheet.span.clone());
        sheet.problems.add(span, message, Some(help.to_owned()));
    };
    for topic in group.sql.keys() {
        if !group.topics.contains_key(topic) {
            let message = format!("the group does not subscribe to `{topic}`");
            problem(&consumers::SQL, message, "add it to `topics`");
        }
    }
    if group.listener == Listener::Simple && !group.sql.is_empty() {
        let message = "members that pop subscribe by tags only".to_owned();
        problem(&consumers::SQL, message, "use listener = \"concurrent\"");
    }
    if group.sql.is_empty() != group.wants.is_empty() {
        let message = "`sql` and `wants` need each other".to_owned();
        let help = "`wants` says in other words what `sql` lets through";
        problem(&consumers::SQL, message, help);
    }
}
