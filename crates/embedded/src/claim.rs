//! Whose cluster it is: the folder of job files that it was first used with.
//!
//! Problem: two projects that share a cluster overwrite each other's records, because a source is known
//! by its name only. Principle: the file `project` in the data folder names the one folder of job
//! files whose records are in the cluster; others are refused before anything is started. A folder is
//! known by its path and, where the file system tells, by when it was made: so another that stands at the
//! same path later is not mistaken for it.
//! It must not know how that folder was found.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::error::{EmbeddedError, OwnerNow};
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

/// Whom a cluster belongs to.
#[derive(Debug)]
pub(super) struct Owner {
    pub jobs: PathBuf,
    /// What [`made`] said. Records of earlier versions do not say it, nor do all file systems.
    made: Option<String>,
}

impl Owner {
    /// What has become of its folder; `None` when it is as it was.
    fn changed(&self) -> Option<OwnerNow> {
        if !self.jobs.is_dir() {
            return Some(OwnerNow::Gone);
        }
        let (then, now) = (self.made.as_ref()?, made(&self.jobs)?);
        (*then != now).then_some(OwnerNow::Another)
    }
}

/// When a folder was made, and its number: those of a copy, a clone or another folder differ. File systems
/// that do not know the time mostly do not keep the number either.
fn made(folder: &Path) -> Option<String> {
    let found = fs::metadata(folder).ok()?;
    let made = found.created().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(format!("{} {}", made.as_nanos(), found.ino()))
}

/// Refuses a cluster of another project. To be called under the folder's lock.
pub(super) fn check(folder: &DataFolder, project: &Project) -> Result<(), EmbeddedError> {
    let Some(owner) = owner(folder)? else { return Ok(()) };
    let now = match owner.changed() {
        Some(OwnerNow::Another) => OwnerNow::Another,
        _ if owner.jobs == project.jobs => return Ok(()),
        changed => changed.unwrap_or(OwnerNow::There),
    };
    Err(EmbeddedError::BelongsToAnother {
        data_dir: folder.root().to_owned(),
        owner: owner.jobs,
        jobs: project.jobs.clone(),
        now,
    })
}

/// The folder of job files that the cluster belongs to.
pub(super) fn owner(folder: &DataFolder) -> Result<Option<Owner>, EmbeddedError> {
    let record = folder.root().join(RECORD);
    if fs::symlink_metadata(&record).is_err() {
        return Ok(None);
    }
    let file = planted::open_file(&record, OpenOptions::new().read(true), folder.account())?;
    let mut text = Vec::new();
    file.take(LONGEST_PATH)
        .read_to_end(&mut text)
        .map_err(EmbeddedError::folder("read", &record))?;
    // No path holds a NUL.
    let mut parts = text.splitn(2, |byte| *byte == 0);
    let jobs = parts.next().filter(|jobs| !jobs.is_empty());
    let made = parts.next().map(|made| String::from_utf8_lossy(made).into_owned());
    let owner = |jobs: &[u8]| Owner { jobs: OsString::from_vec(jobs.to_vec()).into(), made };
    Ok(jobs.map(owner))
}

/// Makes the cluster this project's if it is nobody's, or notes when its folder was made if an earlier
/// version has not. To be called under the folder's lock.
pub(super) fn claim_if_free(folder: &DataFolder, project: &Project) -> Result<(), EmbeddedError> {
    match owner(folder)? {
        Some(owner) if owner.made.is_some() || made(&owner.jobs).is_none() => Ok(()),
        _ => claim(folder, &project.jobs),
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
    let mut text = jobs.as_os_str().as_bytes().to_vec();
    if let Some(made) = made(jobs) {
        text.push(0);
        text.extend(made.bytes());
    }
    file.write_all(&text)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&new, &record))
        .map_err(cannot)
}
