//! Owns where the files of a source are, as its job file says it: the entries of `paths`, and the
//! setting that they stand in, which messages name.

use std::fmt;

use crate::sources::{SourceError, SourceErrorKind};

/// The folder of files that are still being uploaded: no wildcard leads into it.
pub const INCOMING: &str = ".kasparro-incoming";
/// The key that leads to files.
pub const PATHS: &str = "paths";

/// The setting that leads to the files of a source; it is shown as messages name it: `csv.paths`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// The table of the job file.
    pub table: &'static str,
    /// What the names of such files mostly end in, without a dot.
    pub extension: &'static str,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{PATHS}", self.table)
    }
}

/// Where the files of a source are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// What the job file calls it.
    pub setting: Setting,
    /// Paths and patterns, in the order in which their rows count.
    pub entries: Vec<String>,
}

impl Location {
    /// Everything that is wrong with the entries without a look at a file.
    pub fn problems(&self) -> Vec<ParamProblem> {
        if self.entries.is_empty() {
            return vec![ParamProblem::of(PATHS, "is empty: name at least one file")];
        }
        let problem = |(at, path): (usize, &String)| {
            let message = if path.trim().is_empty() {
                let extension = self.setting.extension;
                format!("is empty: name a file, such as \"data/*.{extension}\"")
            } else if path.starts_with("~/") {
                "`~` is not the home folder here: write the whole path".to_owned()
            } else {
                return None;
            };
            Some(ParamProblem { at: Some(at), ..ParamProblem::of(PATHS, message) })
        };
        self.entries.iter().enumerate().filter_map(problem).collect()
    }
}

/// What is wrong with a value of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamProblem {
    /// The key within its table.
    pub key: &'static str,
    /// The place within the list, when it is one.
    pub at: Option<usize>,
    /// What is wrong, and what to do.
    pub message: String,
}

impl ParamProblem {
    /// What is wrong with the value of a key.
    pub fn of(key: &'static str, message: impl Into<String>) -> Self {
        Self { key, at: None, message: message.into() }
    }

    /// The error of whoever opens the source all the same.
    pub fn of_table(self, table: &str) -> SourceError {
        SourceError::new(
            SourceErrorKind::InvalidConfig,
            format!("{table}.{}: {}", self.key, self.message),
        )
    }
}

/// Whether an entry of `paths` is a pattern.
pub fn is_pattern(entry: &str) -> bool {
    entry.contains(['*', '?', '['])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_that_are_no_paths_are_refused_one_by_one() {
        let setting = Setting { table: "files", extension: "csv" };
        let entries = ["a.csv", " ", "https://example.com/~/b.csv", "~/c.csv"];
        let entries = entries.map(str::to_owned).to_vec();
        let problems = Location { setting, entries }.problems();
        assert_eq!(problems.iter().map(|problem| problem.at).collect::<Vec<_>>(), [1, 3].map(Some));
        assert!(problems[0].message.ends_with("such as \"data/*.csv\""), "{problems:?}");
        assert_eq!(Location { setting, entries: Vec::new() }.problems()[0].at, None);
        assert_eq!(setting.to_string(), "files.paths");
    }
}
