//! Owns the `[files]` table of a job file, which all kinds share that read files.

use schemars::JsonSchema;
use serde::Deserialize;

use super::file_source::WhenGone;
use super::format::RowFormat;
use super::location::{Location, PATHS, Setting};
use super::unpack::Compression;
use crate::job_file::Inspection;

/// The table's name.
pub const TABLE: &str = "files";

/// Where the files are that are read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FilesParams {
    /// Files to read, in the order in which their rows count; `*`, `?`, `[a-z]` and `**` are
    /// patterns. Relative to the folder of the job file.
    #[schemars(with = "Vec<String>", skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<String>>,
    /// What a file that is gone means: `keep`, nothing; `tombstone`, with `[missing]`: the next run reads all files
    /// that are there, and records which none of them has are missing.
    pub when_gone: WhenGone,
    /// How the files of `[export]` are packed: `auto`, as their first bytes say; `gzip`; or `none`, taken as they come.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
}

/// Why a job file does not say where its files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unlocated {
    /// It says so nowhere.
    Nowhere,
    /// It says so in two tables.
    Twice,
}

impl FilesParams {
    /// Where the files of a format are: as this table says, or its own.
    pub(super) fn location<F: RowFormat>(&self, params: &F::Params) -> Result<Location, Unlocated> {
        let (table, entries) = match (&self.paths, F::own_paths(params)) {
            (Some(_), Some(_)) => return Err(Unlocated::Twice),
            (Some(entries), None) => (TABLE, entries.as_slice()),
            (None, Some(entries)) => (F::NAME, entries),
            (None, None) => return Err(Unlocated::Nowhere),
        };
        let setting = Setting { table, extension: F::NAME };
        Ok(Location { setting, entries: entries.to_vec() })
    }
}

impl Unlocated {
    /// What is wrong, and what to do.
    pub(super) fn message<F: RowFormat>(self) -> String {
        let name = F::NAME;
        match self {
            Self::Nowhere => {
                format!("missing: write [{TABLE}] and below it {PATHS} = [\"data/*.{name}\"]")
            }
            Self::Twice => format!(
                "`{TABLE}.{PATHS}` and `{name}.{PATHS}` both say where the files are: remove one of them"
            ),
        }
    }

    /// Says so of the job file.
    pub(super) fn tell<F: RowFormat>(self, job: &mut Inspection<'_>) {
        let (common, own) = ([TABLE, PATHS], [F::NAME, PATHS]);
        match self {
            Self::Nowhere if job.is_misspelt(&common) || job.is_misspelt(&own) => {}
            Self::Nowhere => {
                let in_own = F::TAKES_PATHS && job.has(&[F::NAME]) && !job.has(&[TABLE]);
                job.problem(if in_own { &own } else { &common }, self.message::<F>());
            }
            Self::Twice => {
                job.problem(&common, self.message::<F>());
                job.problem(&own, self.message::<F>());
            }
        }
    }
}
