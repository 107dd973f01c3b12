//! What a command found out: a table for people, JSON for scripts, from the same rows.

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Map, Value};

/// The columns of a table: what people read, and what scripts do.
pub type Columns = &'static [(&'static str, &'static str)];

/// One thing that was found out.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// A table.
    Rows(Columns, Vec<Vec<Value>>),
    /// Names with their values.
    Fields(Vec<(String, Value)>),
    /// A sentence.
    Done(String),
}

/// Everything that a command found out, each under the name that scripts know it by.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    parts: Vec<(String, Content)>,
}

impl Report {
    /// One table.
    pub fn rows(columns: Columns, rows: Vec<Vec<Value>>) -> Self {
        Self::default().with("rows", Content::Rows(columns, rows))
    }

    /// A command that changed something has done it.
    pub fn done(what: impl Into<String>) -> Self {
        Self::default().with("done", Content::Done(what.into()))
    }

    /// With one more part.
    pub fn with(mut self, name: impl Into<String>, content: Content) -> Self {
        self.parts.push((name.into(), content));
        self
    }

    /// The JSON: of one part just its content, of several an object.
    pub fn to_json(&self) -> Value {
        match &self.parts[..] {
            [(_, content)] => content.to_json(),
            parts => {
                let parts = parts
                    .iter()
                    .map(|(name, part)| (name.clone(), part.to_json()));
                Value::Object(parts.collect())
            }
        }
    }

    /// The tables. Several have their names above them.
    pub fn to_text(&self) -> String {
        match &self.parts[..] {
            [(_, content)] => content.to_text(),
            parts => {
                let parts = parts
                    .iter()
                    .map(|(name, part)| format!("{name}:\n{}", part.to_text()));
                parts.collect::<Vec<_>>().join("\n\n")
            }
        }
    }
}

/// Names with their values, as one part of several.
pub fn content_of<N: Into<String>>(fields: impl IntoIterator<Item = (N, Value)>) -> Content {
    let fields = fields.into_iter();
    Content::Fields(fields.map(|(name, value)| (name.into(), value)).collect())
}

impl Content {
    fn to_json(&self) -> Value {
        match self {
            Self::Rows(columns, rows) => {
                let object = |row: &Vec<Value>| {
                    let names = columns.iter().map(|(_, name)| (*name).to_owned());
                    Value::Object(names.zip(row.iter().cloned()).collect())
                };
                rows.iter().map(object).collect()
            }
            Self::Fields(fields) => Value::Object(fields.iter().cloned().collect()),
            Self::Done(what) => {
                Value::Object(Map::from_iter([("done".to_owned(), what.clone().into())]))
            }
        }
    }

    fn to_text(&self) -> String {
        match self {
            Self::Rows(columns, rows) => {
                let mut table = plain();
                table.set_header(columns.iter().map(|(title, _)| format!("#{title}")));
                for row in rows {
                    table.add_row(row.iter().map(shown));
                }
                trimmed(&table)
            }
            Self::Fields(fields) => {
                let mut table = plain();
                for (name, value) in fields {
                    table.add_row([format!("{name}:"), shown(value)]);
                }
                trimmed(&table)
            }
            Self::Done(what) => what.clone(),
        }
    }
}

/// A table without lines, as wide as it has to be: what is cut off cannot be searched for.
fn plain() -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table
}

/// Without the spaces around each line.
fn trimmed(table: &Table) -> String {
    let lines = table.lines().map(|line| {
        let line = line.strip_prefix(' ').unwrap_or(&line).to_owned();
        line.trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) => format!("{float:.2}"),
            None => number.to_string(),
        },
        Value::Array(values) => values.iter().map(shown).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use serde_json::json;

    use super::*;

    const COLUMNS: Columns = &[("Topic", "topic"), ("QID", "queueId"), ("TPS", "tps")];

    fn report() -> Report {
        let rows = vec![
            vec![json!("orders"), json!(0), json!(1.5)],
            vec![json!("a"), json!(12), Value::Null],
        ];
        Report::rows(COLUMNS, rows)
    }

    #[test]
    fn people_get_a_table() {
        assert_snapshot!(report().to_text(), @r"
        #Topic  #QID  #TPS
        orders  0     1.50
        a       12    -
        ");
    }

    #[test]
    fn scripts_get_an_object_per_row() {
        assert_eq!(
            report().to_json(),
            json!([
                {"topic": "orders", "queueId": 0, "tps": 1.5},
                {"topic": "a", "queueId": 12, "tps": null},
            ])
        );
    }

    #[test]
    fn several_parts_have_names() {
        let report = report().with("sum", content_of([("diff", json!(3))]));
        assert_snapshot!(report.to_text(), @r"
        rows:
        #Topic  #QID  #TPS
        orders  0     1.50
        a       12    -

        sum:
        diff:  3
        ");
        assert_eq!(report.to_json()["sum"], json!({"diff": 3}));
    }

    #[test]
    fn what_was_done_is_said() {
        assert_eq!(Report::done("created").to_text(), "created");
        assert_eq!(
            Report::done("created").to_json(),
            json!({"done": "created"})
        );
    }
}
