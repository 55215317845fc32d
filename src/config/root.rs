//! Owns which folder is the project's: the nearest upwards that holds `kasparro.toml` or a folder `jobs`.
//!
//! The current folder counts whoever it belongs to. One above counts only if what marks it belongs to
//! the owner of the current folder, to this user or to root: in `/tmp/x`, say, a `/tmp/kasparro.toml`
//! that somebody else put there would name programs to start.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The settings file of a project.
pub const DEFAULT_FILE: &str = "kasparro.toml";

/// The folder of job files in a project that does not say otherwise.
pub(super) const JOBS: &str = "jobs";

/// The project's root as seen from a folder: empty when it is that folder, or when there is no project.
pub(super) fn from(here: &Path) -> PathBuf {
    if is_marked(here, |_| true) {
        return PathBuf::new();
    }
    let own = fs::metadata(here).map(|here| here.uid()).ok();
    let is_trusted =
        |uid: u32| uid == 0 || uid == nix::unistd::getuid().as_raw() || Some(uid) == own;
    let above = here.ancestors().skip(1).find(|folder| is_marked(folder, is_trusted));
    above.map(Path::to_owned).unwrap_or_default()
}

fn is_marked(folder: &Path, is_trusted: impl Fn(u32) -> bool) -> bool {
    // The link's owner, if it is one: that is who put it there.
    let trusted = |path: &Path| fs::symlink_metadata(path).is_ok_and(|mark| is_trusted(mark.uid()));
    let (file, jobs) = (folder.join(DEFAULT_FILE), folder.join(JOBS));
    (file.exists() && trusted(&file)) || (jobs.is_dir() && trusted(&jobs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_the_nearest_folder_upwards_with_settings_or_jobs() {
        let temporary = tempfile::tempdir().unwrap();
        let top = temporary.path().canonicalize().unwrap();
        for folder in ["shop/jobs/data", "shop/notes/old", "shop/farm/deep", "alone"] {
            fs::create_dir_all(top.join(folder)).unwrap();
        }
        fs::write(top.join("shop/farm/kasparro.toml"), "").unwrap();
        let found = |here: &str| from(&top.join(here));
        assert_eq!(found("shop"), Path::new(""), "here");
        for within in ["shop/jobs", "shop/jobs/data", "shop/notes/old"] {
            assert_eq!(found(within), top.join("shop"), "{within}");
        }
        assert_eq!(found("shop/farm"), Path::new(""), "a project within a project");
        assert_eq!(found("shop/farm/deep"), top.join("shop/farm"));
    }

    #[test]
    fn what_somebody_else_put_above_us_is_no_project() {
        let temporary = tempfile::tempdir().unwrap();
        let top = temporary.path().canonicalize().unwrap();
        fs::create_dir(top.join(JOBS)).unwrap();
        assert!(is_marked(&top, |_| true));
        let us = fs::metadata(&top).unwrap().uid();
        assert!(!is_marked(&top, |uid| uid != us));
    }
}
