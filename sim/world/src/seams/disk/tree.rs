use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::file::File;

/// The names on a disk: what processes see, and the changes that are not on the platter yet.
///
/// The file system keeps a journal: a change is durable when a folder it happened in is synced, or
/// when the journal is committed by itself; of those that are not, a power loss keeps a prefix. One
/// operation (a rename, say) is one change and never half done.
#[derive(Default)]
pub(crate) struct Tree {
    live: BTreeMap<String, Entry>,
    durable: BTreeMap<String, Entry>,
    journal: Vec<Change>,
}

/// What a name stands for.
#[derive(Clone)]
pub(crate) enum Entry {
    Folder,
    File(Arc<File>),
}

struct Change {
    at: Duration,
    edits: Vec<(String, Option<Entry>)>,
}

/// The folder that a path is in; the root is the empty path.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn apply(entries: &mut BTreeMap<String, Entry>, edits: &[(String, Option<Entry>)]) {
    for (path, entry) in edits {
        match entry {
            Some(entry) => entries.insert(path.clone(), entry.clone()),
            None => entries.remove(path),
        };
    }
}

impl Tree {
    pub(crate) fn get(&self, path: &str) -> Option<&Entry> {
        self.live.get(path)
    }

    pub(crate) fn file(&self, path: &str) -> Option<&Arc<File>> {
        match self.live.get(path) {
            Some(Entry::File(file)) => Some(file),
            _ => None,
        }
    }

    pub(crate) fn is_folder(&self, path: &str) -> bool {
        path.is_empty() || matches!(self.live.get(path), Some(Entry::Folder))
    }

    /// All files, each once, by path.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &Arc<File>)> {
        self.live.iter().filter_map(|(path, entry)| match entry {
            Entry::File(file) => Some((path.as_str(), file)),
            Entry::Folder => None,
        })
    }

    /// The names in a folder, sorted.
    pub(crate) fn children(&self, folder: &str) -> impl Iterator<Item = (&str, &Entry)> {
        let prefix = match folder {
            "" => String::new(),
            _ => format!("{folder}/"),
        };
        let from = prefix.clone();
        self.live
            .range(from..)
            .map_while(move |(path, entry)| Some((path.strip_prefix(&prefix)?, entry)))
            .filter(|(name, _)| !name.contains('/'))
    }

    /// Adds a file and the folders that it is in. False if a file stands in the way.
    pub(crate) fn add(&mut self, path: &str, file: Arc<File>, now: Duration) -> bool {
        let Some(mut edits) = self.missing_folders(path) else {
            return false;
        };
        if self.is_folder(path) {
            return false;
        }
        edits.push((path.to_owned(), Some(Entry::File(file))));
        self.change(edits, now);
        true
    }

    pub(crate) fn rename(&mut self, from: &str, to: &str, now: Duration) -> bool {
        let (Some(entry), Some(mut edits)) = (self.get(from).cloned(), self.missing_folders(to))
        else {
            return false;
        };
        edits.push((from.to_owned(), None));
        edits.push((to.to_owned(), Some(entry)));
        self.change(edits, now);
        true
    }

    /// Removes a file, or a folder with all that is in it. Returns the files.
    pub(crate) fn remove(&mut self, path: &str, now: Duration) -> Vec<Arc<File>> {
        let below = format!("{path}/");
        let gone: Vec<String> = self
            .live
            .range(path.to_owned()..)
            .map(|(name, _)| name)
            .take_while(|name| name.starts_with(path))
            .filter(|name| *name == path || name.starts_with(&below))
            .cloned()
            .collect();
        let files = gone
            .iter()
            .filter_map(|name| self.file(name).cloned())
            .collect();
        if !gone.is_empty() {
            self.change(gone.into_iter().map(|name| (name, None)).collect(), now);
        }
        files
    }

    fn missing_folders(&self, path: &str) -> Option<Vec<(String, Option<Entry>)>> {
        let mut missing = Vec::new();
        let mut folder = parent(path);
        while !self.is_folder(folder) {
            if self.live.contains_key(folder) {
                return None;
            }
            missing.push((folder.to_owned(), Some(Entry::Folder)));
            folder = parent(folder);
        }
        missing.reverse();
        Some(missing)
    }

    fn change(&mut self, edits: Vec<(String, Option<Entry>)>, now: Duration) {
        apply(&mut self.live, &edits);
        self.journal.push(Change { at: now, edits });
    }

    /// Makes the changes in a folder durable.
    pub(crate) fn sync(&mut self, folder: &str) {
        self.commit(|change| change.edits.iter().any(|(path, _)| parent(path) == folder));
    }

    /// Makes changes durable that are older than the journal's interval.
    pub(crate) fn commit_before(&mut self, limit: Duration) {
        if self
            .journal
            .first()
            .is_some_and(|change| change.at <= limit)
        {
            self.commit(|change| change.at <= limit);
        }
    }

    fn commit(&mut self, which: impl Fn(&Change) -> bool) {
        let journal = std::mem::take(&mut self.journal);
        let (done, open) = journal.into_iter().partition(|change| which(change));
        self.journal = open;
        let done: Vec<Change> = done;
        for change in done {
            apply(&mut self.durable, &change.edits);
        }
    }

    /// The machine loses power: as many of the open changes survive as `draw` says.
    pub(crate) fn lose_power(&mut self, draw: impl FnOnce(u64) -> u64) {
        let journal = std::mem::take(&mut self.journal);
        let kept = draw(journal.len() as u64 + 1) as usize;
        for change in journal.iter().take(kept) {
            apply(&mut self.durable, &change.edits);
        }
        self.live = self.durable.clone();
    }
}
