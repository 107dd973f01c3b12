//! The layers of this crate, held against its sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The text of every module of the crate, by its name at the top; tests left out.
fn modules() -> BTreeMap<String, String> {
    let mut modules = BTreeMap::new();
    collect(
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")),
        None,
        &mut modules,
    );
    modules
}

#[allow(
    clippy::disallowed_methods,
    reason = "a test that reads the sources, not the stack"
)]
fn collect(folder: &Path, top: Option<&str>, modules: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let top = top.unwrap_or(&name);
        if path.is_dir() {
            collect(&path, Some(top), modules);
        } else {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            let lines = code
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            let module = modules.entry(top.to_owned()).or_default();
            lines.for_each(|line| *module += &format!("{line}\n"));
        }
    }
}

/// The modules that a text names.
fn named(text: &str, modules: &BTreeMap<String, String>) -> BTreeSet<String> {
    let names = modules.keys();
    // Several of them can stand in one braced list.
    let grouped = text.split("use crate::{").skip(1);
    let grouped: String = grouped.filter_map(|rest| rest.split(';').next()).collect();
    let is_named = |name: &&String| {
        text.contains(&format!("crate::{name}::"))
            || text.contains(&format!("crate::{name};"))
            || grouped
                .split(|c: char| !(c.is_alphanumeric() || c == '_'))
                .any(|word| word == *name)
    };
    names.filter(is_named).cloned().collect()
}

/// All that a module names, and what that names, and so on.
fn below(module: &str, modules: &BTreeMap<String, String>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![module.to_owned()];
    while let Some(next) = open.pop() {
        for name in named(&modules[&next], modules) {
            if found.insert(name.clone()) {
                open.push(name);
            }
        }
    }
    found
}

#[test]
fn nothing_that_the_state_names_names_the_state() {
    let modules = modules();
    let tables = below("state", &modules);
    for table in [
        "acl",
        "load_balance",
        "metrics",
        "pop",
        "topics",
        "table_files",
    ] {
        assert!(tables.contains(table), "{table} is a table");
    }
    for above in [
        "state",
        "access",
        "pop_service",
        "figures",
        "processor",
        "broker",
    ] {
        assert!(
            !tables.contains(above),
            "a table leads to `{above}`: {tables:?}"
        );
    }
}

#[test]
fn nothing_names_the_broker() {
    let modules = modules();
    let users = modules
        .keys()
        .filter(|name| named(&modules[*name], &modules).contains("broker"));
    assert_eq!(users.collect::<Vec<_>>(), Vec::<&String>::new());
}
