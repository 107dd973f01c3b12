use insta::assert_snapshot;

use super::*;
use crate::scenario::keys::{Need, SECTIONS, Takes};
use crate::scenario::sheet::read_quantity;

#[test]
fn a_refusal_shows_file_place_and_snippet() {
    let text = LEAST.replace("10s", "10").replace("topic =", "topics =");
    let refused = Scenario::parse("scenarios/test/this.toml", &text).unwrap_err();
    let mut out = String::new();
    miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::unicode_nocolor())
        .with_width(100)
        .render_report(&mut out, &refused)
        .unwrap();
    assert_snapshot!(out, @r#"
      × scenarios/test/this.toml is not a valid scenario: 3 problems

    Error: 
      × `10` has no unit
       ╭─[scenarios/test/this.toml:4:12]
     3 │ [run]
     4 │ duration = "10"
       ·            ────
     5 │ [topics.orders]
       ╰────
      help: did you mean "10s"? the units are `us`, `ms`, `s`, `m`, `h`

    Error: 
      × `topic` is missing in [producers.NAME]
       ╭─[scenarios/test/this.toml:6:1]
     5 │ [topics.orders]
     6 │ [producers.checkout]
       · ────────────────────
     7 │ topics = "orders"
       ╰────
      help: The topic it sends to.

    Error: 
      × unknown key `topics` in [producers.NAME]
       ╭─[scenarios/test/this.toml:7:1]
     6 │ [producers.checkout]
     7 │ topics = "orders"
       · ──────
     8 │ load = { shape = "constant", rate = "10/s" }
       ╰────
      help: did you mean `topic`?
    "#);
}

#[test]
fn every_default_fits_its_key() {
    for key in SECTIONS.iter().flat_map(|section| section.keys) {
        let Need::Default(default) = key.need else {
            continue;
        };
        let value: toml_edit::Value = default.parse().unwrap();
        let fits = match key.takes {
            Takes::Quantity(..) => read_quantity(key, &value).is_ok(),
            Takes::Count(least, most) => value
                .as_integer()
                .is_some_and(|n| (least..=most).contains(&(n as u64))),
            Takes::OneOf(words) => value.as_str().is_some_and(|word| words.contains(&word)),
            Takes::Flag => value.as_bool().is_some(),
            Takes::Share => value.as_float().is_some(),
            Takes::Text => value.as_str().is_some(),
            Takes::Special(_) => value.as_str().is_some(),
            Takes::Texts | Takes::SignedDuration => false,
        };
        assert!(fits, "{} = {default}", key.name);
    }
}

#[test]
fn the_reference_explains_every_key() {
    let reference = reference();
    for section in SECTIONS {
        assert!(reference.contains(section.title));
        for key in section.keys {
            assert!(
                reference.contains(&format!("  {} = ", key.name)),
                "{}",
                key.name
            );
            assert!(!key.doc.trim().is_empty());
        }
    }
    assert!(reference.lines().all(|line| line.len() <= 120));
}
