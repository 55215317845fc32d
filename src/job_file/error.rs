//! Owns how a job file is refused: every message names the file and, within it, the line.
//!
//! Must not know what the messages are about.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::domain::source_name::InvalidSourceName;
use crate::domain::suggest;
use crate::domain::text::Shown;

/// One thing wrong in a job file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// The way to the value that is wrong, numbers being places in lists; empty for a text that is no
    /// TOML.
    pub keys: Vec<String>,
    /// What is wrong and what to do, in one sentence.
    pub message: String,
}

impl Problem {
    /// The problem with the file and the line in front. Nothing in a file is a line of our own.
    pub fn line_of(&self, path: &Path) -> String {
        let (path, problem) = (Shown(path.display()), Shown(self));
        format!("{path}:{}: {problem}", self.line)
    }

    /// The way to the value, as people write it: `csv.paths[0]`.
    pub fn key(&self) -> String {
        let mut shown = String::new();
        for key in &self.keys {
            let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
            if !key.is_empty() && key.bytes().all(|b| b.is_ascii_digit()) {
                shown += &format!("[{key}]");
                continue;
            }
            if !shown.is_empty() {
                shown.push('.');
            }
            match !key.is_empty() && key.chars().all(bare) {
                true => shown += key,
                false => shown += &format!("{key:?}"),
            }
        }
        shown
    }
}

impl fmt::Display for Problem {
    /// The key, if there is one, and the message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.keys.is_empty() {
            write!(f, "{}: ", self.key())?;
        }
        f.write_str(&self.message)
    }
}

/// Why a job file, or the folder of them, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// The file says something that it may not.
    #[error("{}", Listing { path, problems })]
    Invalid {
        /// The job file.
        path: PathBuf,
        /// At least one, in the order of the file.
        problems: Vec<Problem>,
    },
    /// The file's name cannot be the name of a source.
    #[error("{}: the file's name is the source's name, and {source}", Shown(path.display()))]
    Name {
        /// The job file.
        path: PathBuf,
        /// What is wrong with its stem.
        source: InvalidSourceName,
    },
    /// The file is called `.TOML` or the like, which some systems find under `.toml` and some not.
    #[error("{}: a job file's extension is written `.toml`, in small letters", Shown(path.display()))]
    Extension {
        /// The file.
        path: PathBuf,
    },
    /// Names that differ in capital letters only are one source.
    #[error(
        "{} and {}: two sources' files of one name; rename or remove one",
        Shown(first.display()),
        Shown(second.display())
    )]
    SameName {
        /// The file that comes first.
        first: PathBuf,
        /// The other one.
        second: PathBuf,
    },
    /// The file cannot be read.
    #[error("{}: the job file cannot be read", Shown(path.display()))]
    Unreadable {
        /// The job file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder of job files cannot be read.
    #[error(
        "{}: the folder of job files cannot be read; create it with a job file for each source, or \
         name another one with --jobs-dir",
        Shown(path.display())
    )]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No job file of that name.
    #[error("there is no source {source_name:?}{}", known_sources(source_name, known))]
    UnknownSource {
        /// The name asked for.
        source_name: String,
        /// The names there are.
        known: Vec<String>,
    },
}

/// The source that was perhaps meant, and all there are.
fn known_sources(name: &str, known: &[String]) -> String {
    if known.is_empty() {
        return ", and no job file in the folder; `--jobs-dir` names another folder".to_owned();
    }
    let near = suggest::nearest(name, known.iter().map(String::as_str));
    let near = near.map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default();
    format!("{near}{} known are {}", if near.is_empty() { ";" } else { "" }, known.join(", "))
}

impl DefinitionError {
    /// The file or folder that is refused; `None` when there is none of the name asked for.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Invalid { path, .. }
            | Self::Name { path, .. }
            | Self::Extension { path }
            | Self::SameName { first: path, .. }
            | Self::Unreadable { path, .. }
            | Self::Folder { path, .. } => Some(path),
            Self::UnknownSource { .. } => None,
        }
    }
}

impl DefinitionError {
    /// [`DefinitionError::Invalid`] with the problems in the order of the file.
    pub(super) fn invalid(path: &Path, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| (problem.line, problem.column));
        Self::Invalid { path: path.to_owned(), problems }
    }
}

struct Listing<'a> {
    path: &'a Path,
    problems: &'a [Problem],
}

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&problem.line_of(self.path))?;
        }
        Ok(())
    }
}
