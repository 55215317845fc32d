//! Owns finding job files: a file's stem is its source's name, a folder holds the sources.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Definition;
use super::error::DefinitionError;
use crate::domain::source_name::SourceName;

impl Definition {
    /// Reads a job file. `kinds` are the known kinds of sources.
    ///
    /// # Errors
    /// [`DefinitionError`].
    pub fn load(path: &Path, kinds: &[&str]) -> Result<Self, DefinitionError> {
        if path.extension().is_none_or(|extension| extension != "toml") {
            return Err(DefinitionError::Extension { path: path.to_owned() });
        }
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let source = SourceName::try_from(stem)
            .map_err(|source| DefinitionError::Name { path: path.to_owned(), source })?;
        let text = fs::read_to_string(path)
            .map_err(|source| DefinitionError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(source, path, text, kinds)
    }
}

/// Reads every job file of a folder, sorted by name; files in folders beneath it are not job files.
/// A bad file does not keep the others from being read.
///
/// # Errors
/// When the folder cannot be read.
pub fn load_all(
    dir: &Path,
    kinds: &[&str],
) -> Result<Vec<Result<Definition, DefinitionError>>, DefinitionError> {
    let paths = job_files(dir)
        .map_err(|source| DefinitionError::Folder { path: dir.to_owned(), source })?;
    let mut by_name: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for path in paths {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
        by_name.entry(stem).or_default().push(path);
    }
    Ok(by_name.into_values().flat_map(|paths| load_namesakes(&paths, kinds)).collect())
}

/// The folder of job files. It is read anew at each call: edits count for the next run.
#[derive(Debug, Clone)]
pub struct JobsFolder {
    dir: PathBuf,
}

impl JobsFolder {
    /// The folder at `dir`; nothing is read yet.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Every job file, as [`load_all`] reads them.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn load(
        &self,
        kinds: &[&str],
    ) -> Result<Vec<Result<Definition, DefinitionError>>, DefinitionError> {
        load_all(&self.dir, kinds)
    }

    /// The job file of one source.
    ///
    /// # Errors
    /// [`DefinitionError::UnknownSource`] with the sources there are, or what is wrong with the file.
    pub fn get(&self, source: &str, kinds: &[&str]) -> Result<Definition, DefinitionError> {
        let path = self.dir.join(format!("{source}.toml"));
        if source.parse::<SourceName>().is_ok() && path.is_file() {
            return Definition::load(&path, kinds);
        }
        let known = job_files(&self.dir)
            .map_err(|source| DefinitionError::Folder { path: self.dir.clone(), source })?
            .iter()
            .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
            .collect();
        Err(DefinitionError::UnknownSource { source_name: source.to_owned(), known })
    }
}

/// Reads the one file of a name; if there are more, which of them is meant is for people to say.
fn load_namesakes(paths: &[PathBuf], kinds: &[&str]) -> Vec<Result<Definition, DefinitionError>> {
    match paths {
        [path] => vec![Definition::load(path, kinds)],
        [first, others @ ..] => others
            .iter()
            .map(|second| {
                Err(DefinitionError::SameName { first: first.clone(), second: second.clone() })
            })
            .collect(),
        [] => Vec::new(),
    }
}

/// The files whose extension is `toml` in any spelling, but not those hidden by a dot, which
/// editors put beside the file they have open.
fn job_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let toml = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"));
        if toml && !hidden && !path.is_dir() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: &str = "kind = 'csv'\nprimary_key = ['id']\n[csv]\n";

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    /// Source names, and errors without the folder.
    fn loaded(files: &[(&str, &str)]) -> Vec<String> {
        let dir = folder(files);
        let prefix = format!("{}/", dir.path().display());
        let loaded = load_all(dir.path(), &["csv"]).unwrap();
        let shown = loaded.into_iter().map(|result| match result {
            Ok(definition) => definition.source.to_string(),
            Err(error) => error.to_string().replace(&prefix, ""),
        });
        shown.collect()
    }

    #[test]
    fn the_job_files_of_a_folder_come_by_name() {
        let dir = folder(&[("b.toml", JOB), ("a.toml", JOB), ("notes.md", ""), (".a.toml", "x")]);
        fs::create_dir(dir.path().join("c.toml")).unwrap();
        let loaded = load_all(dir.path(), &["csv"]).unwrap();
        let names: Vec<_> = loaded.into_iter().map(|d| d.unwrap().source.to_string()).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn a_bad_file_does_not_hide_the_good_ones() {
        assert_eq!(
            loaded(&[("a.toml", "kind = "), ("b.toml", JOB)])[0].split(':').next(),
            Some("a.toml")
        );
        assert_eq!(loaded(&[("a.toml", "kind = "), ("b.toml", JOB)])[1], "b");
    }

    #[test]
    fn names_that_differ_in_case_only_are_refused_with_both_files() {
        let same = "two sources' files of one name; rename or remove one";
        assert_eq!(
            loaded(&[("a.toml", JOB), ("A.toml", JOB), ("a.TOML", JOB)]),
            [format!("A.toml and a.TOML: {same}"), format!("A.toml and a.toml: {same}")]
        );
    }

    #[test]
    fn a_file_name_that_is_no_source_name_is_refused() {
        assert!(loaded(&[("9-x.toml", JOB)])[0].starts_with("9-x.toml: the file's name is"));
        assert_eq!(
            loaded(&[("a.TOML", JOB)]),
            ["a.TOML: a job file's extension is written `.toml`, in small letters"]
        );
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = load_all(Path::new("/no/such/jobs"), &[]).unwrap_err();
        assert!(error.to_string().starts_with("/no/such/jobs: the folder of job files"));
    }
}
