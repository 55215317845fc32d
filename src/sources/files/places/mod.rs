//! Where files come from that are read as streams.
//!
//! A place is one file here that implements [`Place`], and its arm in `all`. Files of this machine that can be
//! read in any order do not come this way: see `store`.
//!
//! Must not know: the database, runs, what stands in a file.

pub mod all;
mod buckets;
mod get;
mod glob;
pub mod going_on;
mod http;
pub mod incoming;
mod local;
pub mod params;
pub(super) mod problems;
pub(super) mod scheme;
#[cfg(feature = "sftp")]
mod sftp;
mod sftp_address;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::io::Read;
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use encoding_rs::Encoding;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::domain::upload::UploadOutcome;
use crate::sources::{SourceError, SourceErrorKind, Upload};

/// A file as a listing shows it, or as an answer says it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// What it is called, in messages and in `source_files`: without secrets, and without the query of an address that
    /// is signed.
    pub name: String,
    /// Its size in bytes, as it is kept there: packed, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Time of last modification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<SystemTime>,
    /// What the place gives another value when the file changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// The version, where a place keeps several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// What opening a file gives.
pub enum OpenedFile {
    /// It is what was known of it: never without that.
    Unchanged,
    /// Its bytes.
    Body(Body),
}

/// A file that was opened.
pub struct Body {
    /// What it is, as the answer says.
    pub file: Listed,
    /// Its bytes as they came. Blocks, so not for async threads. An error carries a [`SourceError`].
    pub bytes: Box<dyn Read + Send>,
    /// Whether it is told where the bytes end, so that they do not just stop.
    pub end_is_told: bool,
    /// What the answer says that its text is in.
    pub charset: Option<&'static Encoding>,
    /// Where the bytes begin: where they were asked for, or 0.
    pub from: u64,
    /// What was done to them for their way.
    pub coded: Coded,
    /// Whether the answer says that it is the file that was asked for, where that is told from all others.
    pub is_same: bool,
}

/// What was done to bytes for their way. An offset within them is one of what came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coded {
    /// Nothing.
    Not,
    /// They are packed with gzip.
    Gzip,
    /// It is said that they are packed, and they are not.
    SaidOnly,
}

/// A place where files are.
pub trait Place: Debug + Send + Sync {
    /// The files that an entry of `paths` leads to, without those that are excluded. All of them, or an error.
    ///
    /// # Errors
    /// When they cannot be listed to the end, or may not be read.
    fn list<'a>(&'a self, entry: &'a str) -> BoxFuture<'a, Result<Vec<Listed>, SourceError>>;

    /// Opens the file that was listed, from the offset `from` on if the place can do that. `known` is what is known of
    /// it from the last run.
    ///
    /// # Errors
    /// When it cannot be read; [`FileChanged`](crate::sources::SourceErrorKind::FileChanged) when it is another than
    /// was listed, also when it changes while its bytes are read.
    fn open<'a>(
        &'a self,
        file: &'a Listed,
        known: Option<&'a Listed>,
        from: u64,
    ) -> BoxFuture<'a, Result<OpenedFile, SourceError>>;

    /// Whether an entry of `paths` leads to a file, which need not be there yet.
    ///
    /// # Errors
    /// When one of them is no address of this place.
    fn leads_to(&self, entry: &str, address: &str) -> Result<bool, SourceError> {
        let _ = (entry, address);
        Ok(false)
    }

    /// Keeps a file; `None` where there is another one of its name, which is not to be replaced.
    ///
    /// # Errors
    /// When the place takes none, refuses this one, or does not answer.
    fn keep<'a>(
        &'a self,
        upload: &'a Upload,
    ) -> BoxFuture<'a, Result<Option<UploadOutcome>, SourceError>> {
        let message = format!("{} is not where files can be uploaded to", upload.address);
        let error = SourceError::new(SourceErrorKind::InvalidConfig, message);
        std::future::ready(Err(error)).boxed()
    }

    /// Whether what is known of a file, which was listed at this time, tells it from any other that could take its place:
    /// what is behind an offset is the rest of what was in front of it then.
    fn identifies(&self, file: &Listed, at: DateTime<Utc>) -> bool {
        let _ = (file, at);
        false
    }

    /// Whether two listings say that the file is the same, so that it need not be opened. `read_at` is when what is
    /// known was read.
    fn proves_unchanged(&self, known: &Listed, listed: &Listed, read_at: DateTime<Utc>) -> bool;
}
