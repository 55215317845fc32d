//! Owns which files job files may lead to: those below the folder of the job file and below the
//! folders that the operator names, after symbolic links and `..` were followed.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::SourceError;
use crate::files;
use crate::sources::SourceErrorKind;

/// Folders below which files may be read, besides the job file's own.
#[derive(Debug, Clone, Default)]
pub struct AllowedRoots {
    roots: Arc<[PathBuf]>,
}

impl AllowedRoots {
    /// Files below these folders, and below that of the job file.
    ///
    /// # Errors
    /// The folder that is none, and why.
    pub fn new(roots: &[PathBuf]) -> Result<Self, (PathBuf, io::Error)> {
        let folder = |root: &PathBuf| {
            let real = std::fs::canonicalize(root).map_err(|error| (root.clone(), error))?;
            match real.is_dir() {
                true => Ok(real),
                false => Err((root.clone(), io::ErrorKind::NotADirectory.into())),
            }
        };
        Ok(Self { roots: roots.iter().map(folder).collect::<Result<_, _>>()? })
    }

    /// Opens a file for reading. `setting` names what led to it.
    ///
    /// # Errors
    /// Permanent when the file is outside the allowed roots; `failed` says what else may be wrong.
    pub fn open(
        &self,
        base_dir: &Path,
        path: &Path,
        setting: &str,
        failed: impl Fn(io::Error) -> SourceError,
    ) -> Result<File, SourceError> {
        self.admit(base_dir, &real_path(path).map_err(&failed)?, path, setting)?;
        let file = files::open(path).map_err(&failed)?;
        // A link may have been changed between the check and the opening: what counts is what
        // was opened, where the system tells.
        if let Some(opened) = path_of(&file) {
            self.admit(base_dir, &opened, path, setting)?;
        }
        Ok(file)
    }

    /// Whether a file or folder, which need not exist yet, is below the allowed roots.
    ///
    /// # Errors
    /// As of [`AllowedRoots::open`].
    pub fn check(
        &self,
        base_dir: &Path,
        path: &Path,
        setting: &str,
        failed: impl Fn(io::Error) -> SourceError,
    ) -> Result<(), SourceError> {
        self.admit(base_dir, &real_path(path).map_err(failed)?, path, setting)
    }

    /// The folders below which everything may be read, without links.
    pub fn folders(&self, base_dir: &Path) -> Vec<PathBuf> {
        let base_dir = if base_dir == Path::new("") { Path::new(".") } else { base_dir };
        std::fs::canonicalize(base_dir).into_iter().chain(self.roots.iter().cloned()).collect()
    }

    fn admit(
        &self,
        base_dir: &Path,
        real: &Path,
        named: &Path,
        setting: &str,
    ) -> Result<(), SourceError> {
        let folders = self.folders(base_dir);
        if folders.iter().any(|folder| real.starts_with(folder)) {
            return Ok(());
        }
        let leads = match real == named {
            true => String::new(),
            false => format!(", which leads to {},", real.display()),
        };
        let folders: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
        Err(SourceError::new(
            SourceErrorKind::OutOfReach,
            format!(
                "{setting}: {}{leads} is outside the folders that job files may read ({})",
                named.display(),
                folders.join(", ")
            ),
        )
        .advise("move it there, or add its folder to the setting `data_roots`"))
    }
}

/// The path without links and `..`, as far as it exists.
fn real_path(path: &Path) -> io::Result<PathBuf> {
    match std::fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            match (path.parent(), path.file_name()) {
                (Some(parent), Some(name)) => {
                    let parent = if parent == Path::new("") { Path::new(".") } else { parent };
                    Ok(real_path(parent)?.join(name))
                }
                // A path that ends in `..` behind something that is not there leads nowhere.
                _ => Err(error),
            }
        }
        other => other,
    }
}

#[cfg(target_os = "linux")]
fn path_of(file: &File) -> Option<PathBuf> {
    use std::os::fd::AsRawFd;
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()
}

#[cfg(not(target_os = "linux"))]
fn path_of(_: &File) -> Option<PathBuf> {
    None
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn failed(error: io::Error) -> SourceError {
        SourceError::new(SourceErrorKind::FileBusy, error.to_string())
    }

    struct Folders {
        all: tempfile::TempDir,
    }

    impl Folders {
        fn new() -> Self {
            let all = tempfile::tempdir().unwrap();
            for folder in ["jobs/data", "exports", "private"] {
                std::fs::create_dir_all(all.path().join(folder)).unwrap();
                std::fs::write(all.path().join(folder).join("a.csv"), "id\n1\n").unwrap();
            }
            Self { all }
        }

        fn path(&self, path: &str) -> PathBuf {
            self.all.path().join(path)
        }

        fn open(&self, allowed_roots: &AllowedRoots, path: &str) -> Result<File, SourceError> {
            allowed_roots.open(&self.path("jobs"), &self.path(path), "csv.paths", failed)
        }
    }

    #[test]
    fn files_below_the_job_files_folder_and_the_roots_are_read_and_no_others() {
        let folders = Folders::new();
        let own = AllowedRoots::default();
        let more = AllowedRoots::new(&[folders.path("exports")]).unwrap();
        assert!(folders.open(&own, "jobs/data/a.csv").is_ok());
        assert!(folders.open(&own, "jobs/data/../data/a.csv").is_ok());
        assert!(folders.open(&more, "exports/a.csv").is_ok());
        for path in ["exports/a.csv", "jobs/../private/a.csv", "jobs/data/../../private/a.csv"] {
            let error = folders.open(&own, path).unwrap_err();
            assert_eq!(error.class(), crate::domain::failure::FailureClass::Permanent);
            assert!(error.text().contains("data_roots"), "{}", error.text());
        }
        assert!(folders.open(&more, "private/a.csv").is_err());
    }

    #[test]
    fn links_are_followed_before_it_is_asked_where_a_file_is() {
        let folders = Folders::new();
        symlink(folders.path("private/a.csv"), folders.path("jobs/link.csv")).unwrap();
        symlink(folders.path("private"), folders.path("jobs/folder")).unwrap();
        symlink(folders.path("jobs/data"), folders.path("jobs/inner")).unwrap();
        assert!(folders.open(&AllowedRoots::default(), "jobs/inner/a.csv").is_ok());
        for path in ["jobs/link.csv", "jobs/folder/a.csv"] {
            let error = folders.open(&AllowedRoots::default(), path).unwrap_err();
            assert!(error.text().contains("which leads to"), "{}", error.text());
            assert!(error.text().contains("private/a.csv"), "{}", error.text());
        }
        let allowed = AllowedRoots::new(&[folders.path("private")]).unwrap();
        assert!(folders.open(&allowed, "jobs/link.csv").is_ok());
    }

    #[test]
    fn a_folder_with_a_similar_name_is_another_folder() {
        let folders = Folders::new();
        std::fs::create_dir(folders.path("jobs-of-others")).unwrap();
        std::fs::write(folders.path("jobs-of-others/a.csv"), "id\n").unwrap();
        assert!(folders.open(&AllowedRoots::default(), "jobs-of-others/a.csv").is_err());
    }

    #[test]
    fn what_is_not_there_yet_is_judged_by_where_it_would_be() {
        let folders = Folders::new();
        let check = |path: &str| {
            let (allowed_roots, base) = (AllowedRoots::default(), folders.path("jobs"));
            allowed_roots.check(&base, &folders.path(path), "rest_api.recording", failed)
        };
        assert!(check("jobs/recordings/coins").is_ok());
        assert!(check("recordings/coins").is_err());
        assert!(check("jobs/nothing/../../private/new").is_err());
        symlink(folders.path("private"), folders.path("jobs/out")).unwrap();
        assert!(check("jobs/out/new").is_err());
    }

    #[test]
    fn a_root_that_is_no_folder_is_refused_by_name() {
        let folders = Folders::new();
        let (named, _) = AllowedRoots::new(&[folders.path("nowhere")]).unwrap_err();
        assert_eq!(named, folders.path("nowhere"));
        assert!(AllowedRoots::new(&[folders.path("private/a.csv")]).is_err());
    }
}
