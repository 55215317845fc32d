//! Owns the `[files]` table of a job file, which all kinds share that read files.

use std::num::NonZeroU64;
use std::time::Duration;

use glob::Pattern;
use schemars::JsonSchema;
use serde::Deserialize;

use super::file_source::WhenGone;
use super::format::RowFormat;
use super::location::{Location, PATHS, ParamProblem, Setting};
use super::places::params::{AzParams, GsParams, HttpParams, S3Params, SftpParams};
use super::unpack::{Compression, Packing};
use crate::job_file::Inspection;

/// The table's name.
pub const TABLE: &str = "files";

/// Where the files are that are read.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FilesParams {
    /// Files to read, in the order in which their rows count; `*`, `?`, `[a-z]` and `**` are
    /// patterns. Relative to the folder of the job file.
    #[schemars(with = "Vec<String>", skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<String>>,
    /// What a file that is gone means: `keep`, nothing; `tombstone`, with `[missing]`: the next run reads all files
    /// that are there, and records which none of them has are missing.
    pub when_gone: WhenGone,
    /// How files are packed: `auto`, as their first bytes say; `gzip`, `zstd`, `xz`, `bzip2`, `zip` and nothing else; or
    /// `none`, taken as they come.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// Which members of ZIP archives are read: a pattern of their names, or, with a `/`, of their whole names within the
    /// archive. Without this key all but folders, and names that begin with a dot.
    #[schemars(with = "String", skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// Files that are not read although `paths` leads to them: patterns of their names, or, with a `/`, of their whole
    /// paths as they are shown. Without it patterns leave out `*.tmp`, `*.part`, `*.filepart` and `.*` of other machines.
    #[schemars(with = "Vec<String>", skip_serializing_if = "Option::is_none")]
    pub exclude: Option<Vec<String>>,
    /// The order in which the rows of files count: `name`, that of `paths`, and of the names of what a pattern
    /// matches; or `modified`, the oldest first.
    pub order: FileOrder,
    /// Files that were modified less long ago wait for the next run, since they may still be written: `"1m"`.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "Option<String>", skip_serializing_if = "Option::is_none")]
    pub min_age: Option<Duration>,
    /// The largest file that is read as a stream, in bytes after unpacking.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<NonZeroU64>,
    /// The most bytes that are put aside in the folder for temporary files to see whether a packed file has changed, or
    /// since it cannot be read otherwise: 4 GiB unless it says more or less.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub max_spool: Option<NonZeroU64>,
    /// Whether no files at all may be found where there were some before.
    pub allow_empty: bool,
    /// How http:// and https:// addresses are asked.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpParams>,
    /// How s3:// addresses are asked. Without keys and `credentials` what is public can be read.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Params>,
    /// How gs:// addresses are asked. Without `service_account` and `credentials` what is public can be read.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub gs: Option<GsParams>,
    /// How az:// addresses are asked. Without `key`, `sas` and `credentials` what is public can be read.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub az: Option<AzParams>,
    /// How sftp:// addresses are read.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub sftp: Option<SftpParams>,
}

/// The order in which the rows of files count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileOrder {
    /// That of `paths`, and of the names of what a pattern matches.
    #[default]
    Name,
    /// By the time of last modification, then by name.
    Modified,
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
    /// What is wrong with them, apart from where files are.
    pub(super) fn problems(&self) -> Vec<ParamProblem> {
        let exclude = self.exclude.iter().flatten().enumerate();
        let bad = exclude.filter_map(|(at, pattern)| {
            let error = Pattern::new(pattern).err()?;
            let message = format!("is no pattern: {}", error.msg);
            Some(ParamProblem { at: Some(at), ..ParamProblem::of("exclude", message) })
        });
        let member = self.member.as_ref().and_then(|pattern| {
            let error = Pattern::new(pattern).err()?;
            Some(ParamProblem::of("member", format!("is no pattern: {}", error.msg)))
        });
        bad.chain(member).collect()
    }

    /// How files of a format are unpacked.
    pub(in super::super) fn packing<F: RowFormat>(&self) -> Packing {
        Packing {
            compression: self.compression.unwrap_or_default(),
            member: self.member.iter().filter_map(|pattern| Pattern::new(pattern).ok()).collect(),
            own_archives: F::OWN_ARCHIVES,
            binary: F::BINARY,
            max_spool: self.max_spool.map_or(Packing::MAX_SPOOL, u64::from),
        }
    }

    /// Whether a file of this name is not to be read.
    pub(super) fn excludes(&self, name: &str) -> bool {
        let last = name.rsplit('/').next().unwrap_or(name);
        self.exclude.iter().flatten().any(|pattern| {
            let of = if pattern.contains('/') { name } else { last };
            Pattern::new(pattern).is_ok_and(|pattern| pattern.matches(of))
        })
    }

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
