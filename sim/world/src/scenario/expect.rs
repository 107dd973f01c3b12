//! What the verdict depends on.

use hotfire_check::InvariantId;

use super::keys::{self, Key, expect, top};
use super::problem::suggest;
use super::sheet::{At, Sheet};
use super::{Expect, Figure};

pub(super) fn expect(file: &Sheet<'_>) -> Expect {
    let Some(sheet) = file.table(&top::EXPECT, &keys::expect::SECTION) else {
        return Expect::default();
    };
    let holds = invariants(&sheet, &expect::HOLDS);
    let counts = invariants(&sheet, &expect::COUNTS);
    for At { value, span } in &counts {
        if holds.iter().any(|held| held.value == *value) {
            let message = format!("{value} cannot both hold and only be counted");
            sheet.problems.add(span.clone(), message, None);
        }
    }
    let ids = |list: Vec<At<InvariantId>>| list.into_iter().map(|at| at.value).collect();
    Expect {
        holds: ids(holds),
        counts: ids(counts),
        at_least: at_least(&sheet),
    }
}

fn invariants(sheet: &Sheet<'_>, key: &Key) -> Vec<At<InvariantId>> {
    let mut ids = Vec::new();
    for At { value, span } in sheet.texts(key) {
        match value.parse::<InvariantId>() {
            Ok(id) => ids.push(At { value: id, span }),
            Err(_) => {
                let message = format!("there is no invariant `{value}`");
                let known = InvariantId::ALL.iter().map(|id| id.name());
                let help = suggest(&value, known, "there are");
                sheet.problems.add(span, message, help);
            }
        }
    }
    ids
}

fn at_least(sheet: &Sheet<'_>) -> Vec<(Figure, u64)> {
    let mut figures = Vec::new();
    let Some(item) = sheet.item(&expect::AT_LEAST) else {
        return figures;
    };
    let Some(table) = item.as_table_like() else {
        let help = "for example at-least = { sent-ok = 1000, INV-ORDER = 10 }".to_owned();
        let span = item.span().unwrap_or_default();
        sheet
            .problems
            .add(span, "`at-least` must be a table", Some(help));
        return figures;
    };
    for (name, item) in table.iter() {
        let span = table
            .get_key_value(name)
            .and_then(|(key, _)| key.span())
            .unwrap_or_default();
        let named = Figure::NAMED.iter().find(|(known, _)| *known == name);
        let figure = named
            .map(|(_, figure)| *figure)
            .or_else(|| name.parse().ok().map(Figure::Exercised));
        if figure.is_none() {
            let names = Figure::NAMED.iter().map(|(known, _)| *known);
            let known = names.chain(InvariantId::ALL.iter().map(|id| id.name()));
            let help = suggest(name, known, "there are");
            sheet
                .problems
                .add(span, format!("there is no figure `{name}`"), help);
        }
        let least = item.as_integer().and_then(|n| u64::try_from(n).ok());
        if least.is_none() {
            let span = item.span().unwrap_or_default();
            sheet.problems.add(span, "expected a whole number", None);
        }
        figures.extend(figure.zip(least));
    }
    figures
}
