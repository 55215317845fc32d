//! Whose cluster it is: the folder of job files that it was first used with.
//!
//! Problem: two projects that share a cluster overwrite each other's records, because a source is known
//! by its name only. Principle: the file `project` in the data folder names the one folder of job
//! files whose records are in the cluster; others are refused before anything is started.
//! It must not know how that folder was found.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::error::EmbeddedError;
use super::folder::DataFolder;
use super::planted;

const RECORD: &str = "project";
/// Longer than any path that a system takes.
const LONGEST_PATH: u64 = 64 * 1024;

/// The project that wants to use a cluster.
#[derive(Debug, Clone)]
pub struct Project {
    /// The full path of its folder of job files, without links.
    pub jobs: PathBuf,
    /// Whether a cluster that belongs to nobody yet becomes this project's.
    pub may_claim: bool,
}

/// Refuses a cluster of another project. To be called under the folder's lock.
pub(super) fn check(folder: &DataFolder, project: &Project) -> Result<(), EmbeddedError> {
    match owner(folder)? {
        Some(owner) if owner != project.jobs => Err(EmbeddedError::BelongsToAnother {
            data_dir: folder.root().to_owned(),
            is_gone: !owner.is_dir(),
            owner,
            jobs: project.jobs.clone(),
        }),
        _ => Ok(()),
    }
}

/// The folder of job files that the cluster belongs to.
pub(super) fn owner(folder: &DataFolder) -> Result<Option<PathBuf>, EmbeddedError> {
    let record = folder.root().join(RECORD);
    if fs::symlink_metadata(&record).is_err() {
        return Ok(None);
    }
    let file = planted::open_file(&record, OpenOptions::new().read(true), folder.account())?;
    let mut owner = Vec::new();
    file.take(LONGEST_PATH)
        .read_to_end(&mut owner)
        .map_err(EmbeddedError::folder("read", &record))?;
    Ok((!owner.is_empty()).then(|| OsString::from_vec(owner).into()))
}

/// Makes the cluster this project's if it is nobody's. To be called under the folder's lock.
pub(super) fn claim_if_free(folder: &DataFolder, project: &Project) -> Result<(), EmbeddedError> {
    match owner(folder)? {
        Some(_) => Ok(()),
        None => claim(folder, &project.jobs),
    }
}

/// Makes the cluster this project's, whoever had it. To be called under the folder's lock.
pub(super) fn claim(folder: &DataFolder, jobs: &Path) -> Result<(), EmbeddedError> {
    let (record, new) = (folder.root().join(RECORD), folder.root().join("project.new"));
    let cannot = |error| EmbeddedError::folder("write", &record)(error);
    let options = &mut OpenOptions::new();
    // Renamed when it is whole, so that a record is never half of a path. What is there already was left
    // by somebody who was killed.
    let _ = fs::remove_file(&new);
    options.write(true).create_new(true);
    let mut file = planted::open_file(&new, options, folder.account())?;
    file.write_all(jobs.as_os_str().as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&new, &record))
        .map_err(cannot)
}
