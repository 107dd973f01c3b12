//! The user's files: scenarios in, results out.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the command line works on the user's files; nothing of this runs inside a simulation"
)]

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use hotfire_check::History;
use hotfire_world::report::Run;

/// The scenario files that paths stand for: a file stands for itself, a folder for all `.toml`
/// files below it, sorted.
pub fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for path in paths {
        let before = found.len();
        if path.is_dir() {
            below(path, &mut found).map_err(|error| cannot("read", path, &error))?;
            if found.len() == before {
                return Err(format!(
                    "there are no scenarios (*.toml) below {}",
                    path.display()
                ));
            }
        } else if path.is_file() {
            found.push(path.clone());
        } else {
            return Err(format!("there is no file or folder {}", path.display()));
        }
    }
    Ok(found)
}

fn below(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let entries = fs::read_dir(folder)?;
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            below(&path, found)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            found.push(path);
        }
    }
    Ok(())
}

/// A file as text.
pub fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| cannot("read", path, &error))
}

/// Creates a folder for results.
pub fn create_folder(path: &Path) -> Result<(), String> {
    fs::create_dir_all(path).map_err(|error| cannot("create", path, &error))
}

/// Leaves `results.json` and `history.jsonl` of a run in a folder of its own below `out`.
pub fn leave(out: &Path, run: &Run, history: &History) -> Result<(), String> {
    let folder = out.join(&run.scenario).join(format!("seed-{}", run.seed));
    create_folder(&folder)?;
    let results = folder.join("results.json");
    write(&results, |file| {
        serde_json::to_writer_pretty(&mut *file, &run.json())?;
        file.write_all(b"\n")
    })?;
    write(&folder.join("history.jsonl"), |file| {
        history.write_jsonl(file)
    })
}

fn write(
    path: &Path,
    content: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), String> {
    let written = File::create(path).and_then(|file| {
        let mut file = BufWriter::new(file);
        content(&mut file)?;
        file.flush()
    });
    written.map_err(|error| cannot("write", path, &error))
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> String {
    format!("cannot {what} {}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_stands_for_the_scenarios_below_it() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["b.toml", "a/z.toml", "a/y.toml", "a/readme.md"] {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let found = find(&[dir.path().to_owned(), dir.path().join("b.toml")]).unwrap();
        let names: Vec<_> = found
            .iter()
            .map(|path| path.strip_prefix(dir.path()).unwrap())
            .collect();
        assert_eq!(
            names,
            ["a/y.toml", "a/z.toml", "b.toml", "b.toml"].map(Path::new)
        );
    }

    #[test]
    fn what_is_not_there_or_empty_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(
            find(&[dir.path().to_owned()])
                .unwrap_err()
                .contains("no scenarios")
        );
        assert!(
            find(&[dir.path().join("x.toml")])
                .unwrap_err()
                .contains("no file or folder")
        );
    }
}
