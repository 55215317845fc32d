//! Owns files of this machine: listing them, and reading those within the folders that job files may
//! read.

mod error;
mod find;
mod leads_to;

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::{FileState, Store, changed, whole_micros};
use crate::domain::file::FileStamp;
use crate::files;
use crate::sources::files::location::{Setting, is_pattern};
use crate::sources::{AllowedRoots, FoundPaths, SourceError, SourceErrorKind};
use error::meaning;
use find::Finder;
pub(in super::super) use leads_to::leads_to;

/// The file system.
#[derive(Debug)]
pub(in super::super) struct LocalStore {
    /// Relative paths start here.
    base_dir: PathBuf,
    allowed_roots: AllowedRoots,
    setting: Setting,
}

impl LocalStore {
    /// Files below `base_dir` and within `reach`; `setting` names what leads to them.
    pub fn new(base_dir: PathBuf, allowed_roots: AllowedRoots, setting: Setting) -> Self {
        Self { base_dir, allowed_roots, setting }
    }

    fn finder<'a>(&'a self, stopped: &'a AtomicBool) -> Finder<'a> {
        Finder::new(&self.base_dir, &self.allowed_roots, self.setting, stopped)
    }

    fn open_file(&self, path: &Path) -> Result<File, SourceError> {
        let failed = |error| self.failed(path, error);
        self.allowed_roots.open(&self.base_dir, path, &self.setting.to_string(), failed)
    }

    fn stamp(&self, path: &Path, metadata: &Metadata) -> Result<FileStamp, SourceError> {
        if metadata.is_dir() {
            return Err(SourceError::new(
                SourceErrorKind::FileUnreadable,
                format!("{} is a directory", path.display()),
            )
            .advise(format!(
                "name its files, for example \"{}\"",
                path.join(format!("*.{}", self.setting.extension)).display()
            )));
        }
        files::refuse_no_file(metadata).map_err(|error| self.failed(path, error))?;
        let modified = metadata.modified().map_err(|error| self.failed(path, error))?;
        Ok(FileStamp { size: metadata.len(), modified: whole_micros(modified) })
    }
}

impl Store for LocalStore {
    fn list(&self, entries: &[String], stopped: &AtomicBool) -> Result<FoundPaths, SourceError> {
        let mut finder = self.finder(stopped);
        for entry in entries {
            finder.find(entry)?;
        }
        Ok(finder.found())
    }

    fn admit(&self, entry: &str) -> Result<(), SourceError> {
        let never = AtomicBool::new(false);
        self.finder(&never).check_named(entry)
    }

    fn refuse_no_file(&self, entry: &str) -> Result<(), SourceError> {
        let path = self.base_dir.join(entry);
        match path.metadata() {
            Ok(metadata) if !is_pattern(entry) => {
                files::refuse_no_file(&metadata).map_err(|error| self.failed(&path, error))
            }
            _ => Ok(()),
        }
    }

    fn stat(&self, path: &Path) -> Result<FileState, SourceError> {
        let metadata = std::fs::metadata(path).map_err(|error| self.failed(path, error))?;
        // Programs that replace a file can give the new one the size and time of the old, but not these.
        let (inode, seconds, nanos) = (metadata.ino(), metadata.ctime(), metadata.ctime_nsec());
        let etag = Some(format!("{inode:x}-{seconds:x}.{nanos:09}"));
        Ok(FileState { stamp: self.stamp(path, &metadata)?, etag })
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Read + Send>, SourceError> {
        Ok(Box::new(self.open_file(path)?))
    }

    fn read_range(
        &self,
        path: &Path,
        planned: &FileStamp,
        range: Range<u64>,
    ) -> Result<Vec<u8>, SourceError> {
        let mut file = self.open_file(path)?;
        let io = |error: io::Error| self.failed(path, error);
        let same = |file: &File| -> Result<bool, SourceError> {
            let now = self.stamp(path, &file.metadata().map_err(io)?)?;
            // What is behind the planned end is of no interest here.
            let grown = now.size > planned.size;
            Ok(grown || now.size == planned.size && now.modified == whole_micros(planned.modified))
        };
        if !same(&file)? {
            return Err(changed(path));
        }
        let length = range.end.saturating_sub(range.start);
        let mut bytes = Vec::with_capacity(length as usize);
        file.seek(SeekFrom::Start(range.start)).map_err(io)?;
        let read = (&file).take(length).read_to_end(&mut bytes).map_err(io)?;
        if read as u64 != length || !same(&file)? {
            return Err(changed(path));
        }
        Ok(bytes)
    }

    fn failed(&self, path: &Path, error: io::Error) -> SourceError {
        meaning(path, self.setting, error)
    }
}
