//! Owns what the plan of a run leaves in the ledger.

use serde::{Deserialize, Serialize};

use super::TaskError;
use crate::db::source_files::{EvaluatedFile, ReadVersion, from_nanos, to_nanos};
use crate::domain::file::{CommittedFile, KnownFile, Layout, Progress};
use crate::domain::hash::StoredHash;
use crate::domain::remark::Remark;
use crate::sources::FileScan;

/// Files that are written with one statement: enough for their number not to count, few enough to hold.
pub(super) const FILES_AT_ONCE: usize = 1000;

/// What the plan of a run leaves in the ledger.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Planned {
    /// The files that the run reads, or that it found unchanged but touched.
    pub files: Vec<PlannedFile>,
    /// Whether the run reads all rows that the source has.
    #[serde(default)]
    pub everything: bool,
    /// How many files it reads as streams: whether they can be read was not known yet.
    #[serde(default)]
    pub landed: usize,
    /// Whether it has others besides, which it reads or has read before.
    #[serde(default)]
    pub others: bool,
    /// What there is to say about files that it does not read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<Remark>,
}

impl Planned {
    /// The form in the ledger.
    pub fn to_value(&self) -> Result<serde_json::Value, TaskError> {
        serde_json::to_value(self).map_err(|error| TaskError::Inconsistent(error.to_string()))
    }
}

/// A file of a run, and what is known of it once the run has succeeded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct PlannedFile {
    pub file_id: i64,
    pub appended: bool,
    /// `false` when only its time of modification is new.
    pub read: bool,
    /// Rows that were read before: with those behind them the run has to do.
    #[serde(default)]
    behind: i64,
    #[serde(default)]
    width: Option<u32>,
    #[serde(default)]
    etag: Option<String>,
    size: u64,
    modified_ns: i64,
    hash: StoredHash,
    layout: Layout,
    end: Progress,
}

impl PlannedFile {
    /// The file once the run has succeeded.
    pub fn version(&self) -> ReadVersion {
        let known = KnownFile {
            size: self.size,
            modified: from_nanos(self.modified_ns),
            hash: self.hash,
            layout: self.layout.clone(),
            end: self.end,
            width: self.width,
            etag: self.etag.clone(),
        };
        ReadVersion { id: self.file_id, known, appended: self.appended }
    }

    /// The rows of it that the run evaluates.
    pub fn evaluated(&self) -> EvaluatedFile {
        EvaluatedFile { id: self.file_id, behind: self.behind, rows: self.end.rows }
    }

    /// A file of which only the time of modification is news.
    pub fn touched(file_id: i64, known: KnownFile) -> Self {
        Self {
            file_id,
            appended: false,
            read: false,
            behind: 0,
            width: known.width,
            etag: known.etag,
            size: known.size,
            modified_ns: to_nanos(known.modified),
            hash: known.hash,
            layout: known.layout,
            end: known.end,
        }
    }

    /// A file of which all is read, or what is behind `before`.
    pub fn of_scan(file_id: i64, before: Option<&CommittedFile>, scan: &FileScan) -> Self {
        Self {
            file_id,
            appended: before.is_some(),
            read: true,
            behind: before.map_or(0, |before| before.known.end.rows),
            width: scan.widths.map(|widths| widths.all),
            etag: scan.etag.clone(),
            size: scan.size,
            modified_ns: to_nanos(scan.modified),
            hash: scan.hashes.content.into(),
            layout: scan.layout.clone(),
            end: scan.end,
        }
    }
}
