//! `load`, `orders` and `size`: what a producer group sends, and when.

use std::time::Duration;

use super::Run;
use super::keys::{
    self, Key, load, load_constant, load_double_11 as double_11, load_ramp, orders, producers, size,
};
use super::sheet::{Sheet, read_quantity};
use super::units::show;
use crate::workload::load::{Curve, DoubleEleven, Rate};
use crate::workload::mix::{Orders, Sizes, Spread};

/// The load curve; a constant 0 if it could not be read.
pub(super) fn curve(group: &Sheet<'_>, run: &Run) -> Curve {
    let nothing = Curve::constant(Rate::default());
    let Some(item) = group.item(&producers::LOAD) else {
        return nothing;
    };
    let shape = item.get(load::SHAPE.name).and_then(|shape| shape.as_str());
    let section = match shape {
        Some("constant") => &load_constant::SECTION,
        Some("ramp") => &load_ramp::SECTION,
        Some("double-11") => &double_11::SECTION,
        _ => {
            // The shape itself is what is wrong; what else is there cannot be judged.
            if let Some(table) = item.as_table_like() {
                let only_shape = Sheet::bare(group.problems, table, item.span(), &load::SECTION);
                only_shape.one_of(&load::SHAPE);
            } else {
                group.open_item(producers::LOAD.name, item, &load::SECTION);
            }
            return nothing;
        }
    };
    let Some(sheet) = group.open_item(producers::LOAD.name, item, section) else {
        return nothing;
    };
    match shape {
        Some("constant") => {
            let rate = rate(&sheet, &load_constant::RATE_);
            Curve::constant(rate.unwrap_or_default())
        }
        Some("ramp") => Curve::ramp(
            rate(&sheet, &load_ramp::FROM).unwrap_or_default(),
            rate(&sheet, &load_ramp::TO).unwrap_or_default(),
            duration(&sheet, &load_ramp::OVER),
        ),
        _ => read_double_11(&sheet, run),
    }
}

fn read_double_11(sheet: &Sheet<'_>, run: &Run) -> Curve {
    let quiet = rate(sheet, &double_11::QUIET).unwrap_or_default();
    let wall = rate(sheet, &double_11::WALL);
    let at = sheet.duration(&double_11::AT);
    if let Some(at) = &at
        && !run.duration.is_zero()
        && at.value >= run.duration
    {
        let (when, end) = (show(at.value), show(run.duration));
        let message = format!("midnight at {when} is not within the load phase of {end}");
        sheet.problems.add(
            at.span.clone(),
            message,
            Some("raise `duration` in [run]".to_owned()),
        );
    }
    if let Some(wall) = wall
        && wall < quiet
    {
        let span = sheet
            .key_span(double_11::WALL.name)
            .unwrap_or(sheet.span.clone());
        let help = "`wall` is the rate from midnight on, `quiet` the one before";
        sheet.problems.add(
            span,
            "the wall is lower than the quiet",
            Some(help.to_owned()),
        );
    }
    Curve::double_eleven(DoubleEleven {
        quiet,
        countdown: rate(sheet, &double_11::COUNTDOWN).unwrap_or(Rate(quiet.0.saturating_mul(5))),
        countdown_lasts: duration(sheet, &double_11::COUNTDOWN_LASTS),
        wall: wall.unwrap_or_default(),
        at: at.map(|at| at.value).unwrap_or_default(),
        wall_lasts: duration(sheet, &double_11::WALL_LASTS),
        halves_every: duration(sheet, &double_11::HALVES_EVERY),
    })
}

/// The orders, with ids from `first`; `None` if there are none.
pub(super) fn read_orders(group: &Sheet<'_>, first: u32) -> Option<Orders> {
    let sheet = group.table(&producers::ORDERS, &keys::orders::SECTION)?;
    let spread = match sheet.one_of(&orders::SPREAD) {
        Some("zipf") => Spread::Zipf,
        Some("hot") => Spread::Hot {
            orders: sheet.small(&orders::HOT_ORDERS).unwrap_or(1),
            share: sheet.share(&orders::HOT_SHARE).map_or(0.0, |at| at.value),
        },
        _ => Spread::Uniform,
    };
    for key in [&orders::HOT_ORDERS, &orders::HOT_SHARE] {
        if !matches!(spread, Spread::Hot { .. })
            && let Some(span) = sheet.key_span(key.name)
        {
            let message = format!("`{}` means nothing without spread = \"hot\"", key.name);
            sheet.problems.add(span, message, None);
        }
    }
    Some(Orders {
        first,
        count: sheet.small(&orders::COUNT).unwrap_or(1),
        spread,
    })
}

/// Body sizes: one, or a range.
pub(super) fn read_sizes(group: &Sheet<'_>) -> Sizes {
    let fixed = |size: u64| {
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        Sizes {
            from: size,
            to: size,
            by_magnitude: false,
        }
    };
    let item = group.item(&producers::SIZE);
    if let Some(item) = item
        && item.is_table_like()
        && let Some(sheet) = group.open_item(producers::SIZE.name, item, &size::SECTION)
    {
        let (from, to) = (sheet.quantity(&size::FROM), sheet.quantity(&size::TO));
        if let (Some(from), Some(to)) = (&from, &to)
            && from.value > to.value
        {
            sheet
                .problems
                .add(to.span.clone(), "`to` is less than `from`", None);
        }
        return Sizes {
            to: fixed(to.map_or(1, |at| at.value)).to,
            by_magnitude: sheet.one_of(&size::SPREAD) == Some("by-magnitude"),
            ..fixed(from.map_or(1, |at| at.value))
        };
    }
    fixed(group.either(&producers::SIZE, &size::FROM).unwrap_or(256))
}

fn rate(sheet: &Sheet<'_>, key: &Key) -> Option<Rate> {
    sheet.quantity(key).map(|at| Rate(at.value))
}

fn duration(sheet: &Sheet<'_>, key: &Key) -> Duration {
    sheet.duration(key).map(|at| at.value).unwrap_or_default()
}

impl Sheet<'_> {
    /// The quantity of a key that takes a quantity or a table; `like` is a key with its bounds.
    pub(super) fn either(&self, key: &Key, like: &Key) -> Option<u64> {
        self.read(key, |value| read_quantity(like, value))
            .map(|at| at.value)
    }
}
