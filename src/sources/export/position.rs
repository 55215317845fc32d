//! Owns where a task of an export stands, as it is stored in its payload. Addresses of files are never in it: they
//! may be as good as keys, and are good for a while only.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::slice::SliceId;
use crate::sources::files::landing::Landed;
use crate::sources::{SourceError, SourceErrorKind};

/// Where a task stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExportPosition {
    /// What is asked for, and of which job, in the words of `rest_api`.
    pub at: Value,
    /// The columns that all files of the last good run had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub had: Vec<String>,
    /// The job that was created; `None` as long as it is to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<CreatedJob>,
}

/// A job that was created.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreatedJob {
    /// The API's clock when it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<DateTime<Utc>>,
    /// The file that is being read; `None` before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileAt>,
}

/// A file of a job, and how far it was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileAt {
    /// Which one, from 0.
    pub number: usize,
    /// How many there are.
    pub of: usize,
    /// The slice that its first chunk becomes.
    pub begins: SliceId,
    /// How far it was read; `None`: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landed: Option<Landed>,
}

impl ExportPosition {
    /// Reads a stored position.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_json(json: &Value) -> Result<Self, SourceError> {
        Self::deserialize(json).map_err(|error| {
            let message = format!("{json} is no position of an export: {error}");
            SourceError::new(SourceErrorKind::InvalidState, message)
        })
    }

    /// The form to be stored.
    #[expect(clippy::expect_used, reason = "serde_json writes every number, text and object")]
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).expect("numbers and texts")
    }

    /// The same job, at this file.
    pub fn at_file(&self, file: FileAt) -> Self {
        let date = self.job.as_ref().and_then(|job| job.date);
        Self { job: Some(CreatedJob { date, file: Some(file) }), ..self.clone() }
    }
}
