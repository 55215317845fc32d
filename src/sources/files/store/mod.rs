//! Where the bytes of files come from.
//!
//! A place where files are is one file here that implements [`Store`].

pub(super) mod local;

use std::fmt::Debug;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

pub(super) use self::local::leads_to;
use crate::domain::file::FileStamp;
use crate::sources::{FoundPaths, SourceError, SourceErrorKind};

/// A file as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileState {
    /// Its size and time.
    pub stamp: FileStamp,
    /// What tells it from another file of the same size and time, where the place has something of that kind.
    pub etag: Option<String>,
}

/// A place where files are. Blocking I/O.
pub(super) trait Store: Debug + Send + Sync {
    /// The files that the entries of `paths` lead to, in the order in which their rows count. Ends
    /// soon once `stopped` is set.
    ///
    /// # Errors
    /// When an entry leads nowhere, outside the allowed roots, or to more than is looked at.
    fn list(&self, entries: &[String], stopped: &AtomicBool) -> Result<FoundPaths, SourceError>;

    /// Whether what an entry writes out, up to its first wildcard, may be read; it need not be there.
    ///
    /// # Errors
    /// When it may not, or cannot be looked at.
    fn admit(&self, entry: &str) -> Result<(), SourceError>;

    /// Refuses what stands at an entry without wildcards and is no file.
    ///
    /// # Errors
    /// When it is none; nothing there is no error.
    fn refuse_no_file(&self, entry: &str) -> Result<(), SourceError>;

    /// What tells one state of a file from another without reading it.
    ///
    /// # Errors
    /// When it is missing, a directory or unreadable.
    fn stat(&self, path: &Path) -> Result<FileState, SourceError>;

    /// Opens a file to be read from its start to its end.
    ///
    /// # Errors
    /// When it is missing, outside the allowed roots or unreadable.
    fn open(&self, path: &Path) -> Result<Box<dyn Read + Send>, SourceError>;

    /// Reads these bytes of the file that was `planned`, which may have grown since: whether they are still the same is for
    /// the caller to see.
    ///
    /// # Errors
    /// When it cannot be read; permanent when it is not the file that was planned.
    fn read_range(
        &self,
        path: &Path,
        planned: &FileStamp,
        range: Range<u64>,
    ) -> Result<Vec<u8>, SourceError>;

    /// What an error means that came up while an opened file was read.
    fn failed(&self, path: &Path, error: io::Error) -> SourceError;
}

/// A file is not the one that was planned. Trying again cannot help: what was planned is gone, and
/// the next run plans anew.
pub(super) fn changed(path: &Path) -> SourceError {
    SourceError::new(
        SourceErrorKind::FileChanged,
        format!("{} changed while it was being read", path.display()),
    )
    .advise("the next run reads what it is now")
}

/// PostgreSQL keeps microseconds; a time that went through it must still be equal.
pub(super) fn whole_micros(time: SystemTime) -> SystemTime {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => {
            let micros = Duration::new(since.as_secs(), since.subsec_micros() * 1_000);
            SystemTime::UNIX_EPOCH + micros
        }
        Err(_) => SystemTime::UNIX_EPOCH,
    }
}

/// What a file is called in `source_files`: below the job file's folder relative to it, so that the folder can move.
pub(super) fn stored_name(base: &Path, path: &Path) -> String {
    path.strip_prefix(base).unwrap_or(path).to_string_lossy().into_owned()
}
