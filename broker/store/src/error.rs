use std::io;

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("the store is in use by another process (lock file `{path}`)")]
    Locked {
        /// The lock file.
        path: String,
    },
    /// A value of the configuration that no store can work with.
    #[error("the store's configuration is wrong: {0}")]
    Config(String),
    /// A file has another length than the configuration says, and it is not the tail of a log.
    #[error(
        "`{path}` is {found} bytes long but the configuration says {expected}: \
         was the file size changed after the store was created?"
    )]
    FileSize {
        /// The file.
        path: String,
        /// Its length.
        found: u64,
        /// The configured length.
        expected: u64,
    },
    /// The commit log lacks a file in the middle.
    #[error(
        "`{dir}` has no file for offset {missing}, but has later ones. Nothing was changed. \
         Put the file `{missing:020}` back; or, to do without the messages in it, put a file of \
         zeros of the same size in its place; or, to do without what is behind it, move the \
         later files away"
    )]
    MissingFile {
        /// The folder.
        dir: String,
        /// Where the missing file would begin.
        missing: u64,
    },
    /// There is no commit log although there was one.
    #[error(
        "`{dir}` has no commit log, but {evidence}. Nothing was changed. Is the volume mounted? \
         To begin with an empty store, remove `{remove}`"
    )]
    MissingLog {
        /// The folder.
        dir: String,
        /// What says that there was one.
        evidence: String,
        /// What says so, and has to go.
        remove: String,
    },
    /// The disk refused.
    #[error("cannot {action} `{path}`: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: String,
        /// What the disk said.
        source: io::Error,
    },
}

impl StoreError {
    /// A function for `map_err` that says what was tried on which path.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<String>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
