//! Owns finding job files: a file's stem is its source's name, a folder holds the sources.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Definition;
use super::error::DefinitionError;
use super::inspection::KindRules;
use super::line::Place;
use crate::domain::source_name::SourceName;
use crate::files;

impl Definition {
    /// Reads a job file. `kinds` are the known kinds of sources.
    ///
    /// # Errors
    /// [`DefinitionError`].
    pub fn load<K: KindRules>(path: &Path, kinds: &[K]) -> Result<Self, DefinitionError> {
        if path.extension().is_none_or(|extension| extension != "toml") {
            return Err(DefinitionError::Extension { path: path.to_owned() });
        }
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let source = SourceName::try_from(stem)
            .map_err(|source| DefinitionError::Name { path: path.to_owned(), source })?;
        let bytes = files::read(path, files::MAX_JOB_FILE)
            .map_err(|source| DefinitionError::Unreadable { path: path.to_owned(), source })?;
        let text = text_of(path, bytes)?;
        Self::parse(source, path, text, kinds)
    }
}

/// The text of a job file: UTF-8.
fn text_of(path: &Path, bytes: Vec<u8>) -> Result<String, DefinitionError> {
    let refused = |offset: usize, message: &str| {
        let before = String::from_utf8_lossy(&bytes[..offset]);
        let problem = Place::of(&before, before.len()).problem(Vec::new(), message);
        DefinitionError::invalid(path, vec![problem])
    };
    if let [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, 0, _, ..] | [_, 0, _, 0, ..] = bytes[..] {
        return Err(refused(0, "not TOML: the file is UTF-16; save it as UTF-8"));
    }
    match std::str::from_utf8(&bytes).map_err(|error| error.valid_up_to()) {
        Ok(text) => Ok(text.to_owned()),
        Err(offset) => {
            let message = "not TOML: a byte here is no UTF-8; save the file as UTF-8";
            Err(refused(offset, message))
        }
    }
}

/// Reads every job file of a folder, sorted by name; files in folders beneath it are not job files.
/// A bad file does not keep the others from being read.
///
/// # Errors
/// When the folder cannot be read.
pub fn load_all<K: KindRules>(
    dir: &Path,
    kinds: &[K],
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
    pub fn load<K: KindRules>(
        &self,
        kinds: &[K],
    ) -> Result<Vec<Result<Definition, DefinitionError>>, DefinitionError> {
        load_all(&self.dir, kinds)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// What is in the folder and looks as if it were meant for a job file, but is not read as one; and
    /// why.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn strays(&self) -> Result<Vec<(PathBuf, String)>, DefinitionError> {
        strays(&self.dir)
            .map_err(|source| DefinitionError::Folder { path: self.dir.clone(), source })
    }

    /// The job file of one source.
    ///
    /// # Errors
    /// [`DefinitionError::UnknownSource`] with the sources there are, or what is wrong with the file.
    pub fn get<K: KindRules>(
        &self,
        source: &str,
        kinds: &[K],
    ) -> Result<Definition, DefinitionError> {
        let path = self.dir.join(format!("{source}.toml"));
        if source.parse::<SourceName>().is_ok() && path.exists() && !path.is_dir() {
            return Definition::load(&path, kinds);
        }
        Err(DefinitionError::UnknownSource { source_name: source.to_owned(), known: self.names()? })
    }

    /// The names of the sources, without a look into their files. A file may be called anything; what
    /// cannot be the name of a source is none.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn names(&self) -> Result<Vec<String>, DefinitionError> {
        let files = job_files(&self.dir)
            .map_err(|source| DefinitionError::Folder { path: self.dir.clone(), source })?;
        let stem = |path: &PathBuf| Some(path.file_stem()?.to_str()?.to_owned());
        let is_name = |stem: &String| stem.parse::<SourceName>().is_ok();
        Ok(files.iter().filter_map(stem).filter(is_name).collect())
    }
}

/// Reads the one file of a name; if there are more, which of them is meant is for people to say.
fn load_namesakes<K: KindRules>(
    paths: &[PathBuf],
    kinds: &[K],
) -> Vec<Result<Definition, DefinitionError>> {
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

fn strays(dir: &Path) -> io::Result<Vec<(PathBuf, String)>> {
    let mut strays = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        if name.starts_with('.') {
            continue;
        }
        let why = match name.rsplit('.').next().unwrap_or_default() {
            "yaml" | "yml" | "json" if !name.ends_with(".schema.json") && path.is_file() => {
                "is not read: a job file is TOML, and its name ends in `.toml`"
            }
            "toml" if path.is_dir() => "is not read: it is a folder",
            "txt" if name.ends_with(".toml.txt") => "is not read: its name does not end in `.toml`",
            _ => continue,
        };
        strays.push((path, why.to_owned()));
    }
    strays.sort();
    Ok(strays)
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

    use crate::domain::failure::chain;

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
    fn a_file_that_is_no_utf_8_is_refused_with_its_line() {
        let dir = folder(&[]);
        let said = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            fs::write(&path, bytes).unwrap();
            let error = Definition::load(&path, &["csv"]).unwrap_err().to_string();
            error.replace(&format!("{}/", dir.path().display()), "")
        };
        let utf_16: Vec<u8> = JOB.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let expected = "a.toml:1: not TOML: the file is UTF-16; save it as UTF-8";
        assert_eq!(said("a.toml", &utf_16), expected);
        assert_eq!(said("a.toml", &[&[0xff, 0xfe], &utf_16[..]].concat()), expected);
        assert_eq!(
            said("a.toml", b"kind = 'csv'\n# Gr\xfc\xdfe\n"),
            "a.toml:2: not TOML: a byte here is no UTF-8; save the file as UTF-8"
        );
        fs::write(dir.path().join("b.toml"), format!("\u{feff}{JOB}")).unwrap();
        assert!(
            Definition::load(&dir.path().join("b.toml"), &["csv"]).is_ok(),
            "a mark is no harm"
        );
    }

    #[test]
    fn what_was_probably_meant_for_a_job_file_is_named() {
        let dir = folder(&[
            ("a.toml", JOB),
            ("b.yaml", ""),
            ("c.json", ""),
            ("job.schema.json", ""),
            ("d.toml.txt", ""),
            ("notes.md", ""),
        ]);
        fs::create_dir(dir.path().join("e.toml")).unwrap();
        fs::create_dir(dir.path().join("data.json")).unwrap();
        let strays = JobsFolder::new(dir.path()).strays().unwrap();
        let names: Vec<_> =
            strays.iter().map(|(path, _)| path.file_name().unwrap().to_string_lossy()).collect();
        assert_eq!(names, ["b.yaml", "c.json", "d.toml.txt", "e.toml"]);
    }

    #[test]
    fn what_is_no_file_and_what_is_too_large_is_refused_by_name_and_hides_no_other() {
        let dir = folder(&[("a.toml", JOB), ("large.toml", &"#".repeat((1 << 20) + 1))]);
        nix::unistd::mkfifo(&dir.path().join("pipe.toml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::os::unix::fs::symlink("/dev/zero", dir.path().join("zero.toml")).unwrap();
        let loaded = load_all(dir.path(), &["csv"]).unwrap();
        let said: Vec<_> = loaded
            .iter()
            .map(|one| one.as_ref().map(|_| "good".to_owned()).unwrap_or_else(|e| chain(e)))
            .collect();
        for (said, expected) in said.iter().zip([
            "good",
            "large.toml: the job file cannot be read: it is larger than 1048576 bytes",
            "pipe.toml: the job file cannot be read: it is a named pipe, not a file",
            "zero.toml: the job file cannot be read: it is a device, not a file",
        ]) {
            assert!(said.contains(expected), "{said}");
        }
        let error = JobsFolder::new(dir.path()).get("pipe", &["csv"]).unwrap_err();
        assert!(chain(&error).ends_with("a named pipe, not a file"), "{error}");
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = load_all::<&str>(Path::new("/no/such/jobs"), &[]).unwrap_err();
        assert!(error.to_string().starts_with("/no/such/jobs: the folder of job files"));
    }
}
