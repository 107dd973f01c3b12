//! The checkers catch what they are for: every planted defect makes its invariants fire, and without
//! defects the same scenario passes.

#![allow(clippy::unwrap_used, reason = "tests may panic")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests run the command as its users do, with files and processes"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

const SCENARIO: &str = include_str!("fixtures/defects.toml");

/// Every planted defect, and the invariants that must fire for it, on any seed.
const CAUGHT: &[(&str, &[&str])] = &[
    ("ack-before-append", &["INV-LOSS"]),
    ("skip-flush", &["INV-LOSS"]),
    ("garble-body", &["INV-PHANTOM"]),
    ("skip-suspended", &["INV-ORDER"]),
    ("wrong-queue-offset", &["INV-LOGID"]),
    ("append-twice", &["INV-LOGDUP"]),
    ("pull-skips", &["INV-SKIP", "INV-UNSEEN"]),
    ("pull-goes-back", &["INV-MONO"]),
    ("commit-before-consume", &["INV-OFFSAFE"]),
    ("commit-zero", &["INV-OFFMONO"]),
    ("consume-twice", &["INV-STEADYDUP"]),
    ("forget-offsets", &["INV-REDELIVER"]),
    ("orphan-queue", &["INV-UNSEEN"]),
    ("retry-at-once", &["INV-RETRY"]),
    ("drop-exhausted", &["INV-DLQ"]),
];

fn hotfire() -> Command {
    Command::new(env!("CARGO_BIN_EXE_hotfire"))
}

/// The violated invariants of each scenario in a folder.
fn violated(folder: &std::path::Path) -> BTreeMap<String, BTreeSet<String>> {
    let output = hotfire()
        .args(["run", "--json"])
        .arg(folder)
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let one = |line: &str| {
        let run: serde_json::Value = serde_json::from_str(line).unwrap();
        let name = run["scenario"]
            .as_str()
            .unwrap()
            .rsplit('/')
            .next()
            .unwrap()
            .to_owned();
        let invariants = run["invariants"].as_array().unwrap();
        let violated = invariants.iter().filter(|one| one["status"] == "violated");
        let ids = violated
            .map(|one| one["id"].as_str().unwrap().to_owned())
            .collect();
        (name, ids)
    };
    stdout.lines().map(one).collect()
}

#[test]
fn every_planted_defect_is_caught_and_nothing_is_without_one() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        std::fs::write(dir.path().join(format!("{name}.toml")), text).unwrap();
    };
    write("sound", SCENARIO.to_owned());
    for (defect, _) in CAUGHT {
        write(defect, format!("defects = [\"{defect}\"]\n{SCENARIO}"));
    }
    let violated = violated(dir.path());
    assert_eq!(violated["sound"], BTreeSet::new());
    for (defect, expected) in CAUGHT {
        for id in *expected {
            let found = &violated[*defect];
            assert!(
                found.contains(*id),
                "{defect}: {id} does not fire, but {found:?}"
            );
        }
    }
}

#[test]
fn the_list_above_has_every_planted_defect() {
    let output = hotfire().args(["list", "defects"]).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let listed = stdout
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    let listed: BTreeSet<&str> = listed.collect();
    let caught: BTreeSet<&str> = CAUGHT.iter().map(|(defect, _)| *defect).collect();
    assert_eq!(caught, listed);
}
