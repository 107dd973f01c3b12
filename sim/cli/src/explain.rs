//! `hotfire list` and `hotfire explain`.

use std::fmt::Write;
use std::path::Path;

use hotfire_check::InvariantId;
use hotfire_env::Defect;
use hotfire_world::scenario::{Scenario, reference};

use crate::load;

/// The scenarios below a folder, with their stories.
pub fn scenarios(folder: &Path) -> Result<String, String> {
    let mut out = String::new();
    for scenario in load::scenarios(&[folder.to_owned()])? {
        let Scenario { path, story, .. } = &*scenario;
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{path}");
        for line in story.lines() {
            let _ = writeln!(out, "    {}", line.trim());
        }
    }
    Ok(out)
}

/// All invariants, with what they say.
pub fn invariants() -> String {
    let line = |id: &InvariantId| format!("{:<14} {}\n", id.name(), id.statement());
    InvariantId::ALL.iter().map(line).collect()
}

/// All planted defects.
pub fn defects() -> String {
    let line = |defect: &Defect| format!("{:<22} {}\n", defect.name(), defect.description());
    Defect::ALL.iter().map(line).collect()
}

/// What an id means: an invariant, a planted defect, or `scenario` for all keys of scenario files.
pub fn explain(what: &str) -> Result<String, String> {
    if what.eq_ignore_ascii_case("scenario") {
        return Ok(reference());
    }
    if let Ok(id) = what.parse::<InvariantId>() {
        return Ok(format!(
            "{id}: {}\n\n{}\n",
            id.statement(),
            id.explanation().trim_end()
        ));
    }
    if let Ok(defect) = what.parse::<Defect>() {
        return Ok(format!("{defect}: {}\n", defect.description()));
    }
    let ids: Vec<&str> = InvariantId::ALL.iter().map(|id| id.name()).collect();
    Err(format!(
        "there is nothing called `{what}` to explain; there are `scenario` (the keys of scenario \
         files), the planted defects of `hotfire list defects`, and the invariants {}",
        ids.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_invariant_and_defect_is_listed_and_explained() {
        for id in InvariantId::ALL {
            assert!(invariants().contains(id.name()));
            assert!(explain(id.name()).unwrap().contains(id.statement()));
        }
        for defect in Defect::ALL {
            assert!(defects().contains(defect.name()));
            assert!(
                explain(defect.name())
                    .unwrap()
                    .contains(defect.description())
            );
        }
    }

    #[test]
    fn the_keys_of_scenario_files_are_explained() {
        assert!(explain("scenario").unwrap().contains("restart-after"));
    }

    #[test]
    fn what_does_not_exist_says_what_does() {
        assert!(explain("INV-NOTHING").unwrap_err().contains("INV-LOSS"));
    }
}
