//! Planning: what a source is told of earlier runs, and what it decides to read.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{Access, FilePlan, NextSlice};
use crate::domain::bloom_filter::KeyOrder;
use crate::domain::file::CommittedFile;
use crate::domain::file_note::UnreadableFile;
use crate::domain::parent::PlannedParents;
use crate::domain::remark::Remark;
use crate::domain::run::{Mode, ReadRange, RunId};

/// The files that runs have read to their end, by name: the last version of each.
pub type CommittedFiles = BTreeMap<String, Arc<CommittedFile>>;

/// What a source is told when it plans: where the last good run left off.
#[derive(Debug, Clone)]
pub struct PlanRequest {
    /// The run.
    pub run: RunId,
    /// When it is planned, by the database's clock.
    pub now: DateTime<Utc>,
    /// How much the run reads.
    pub mode: Mode,
    /// Where API pages come from.
    pub access: Access,
    /// What [`super::Source::advance`] made of the last good run; null before the first.
    pub state: Value,
    /// The run that `state` is of.
    pub state_of: Option<RunId>,
    /// The files that runs have read to their end, by name: the last version of each.
    pub files: CommittedFiles,
    /// The newest run that changed records and was not finished.
    pub broken_off: Option<RunId>,
    /// The files that earlier runs could not read, or not to their ends, by name.
    pub unreadable: BTreeMap<String, UnreadableFile>,
}

/// What a backfill is asked to read, as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskedRange<'a> {
    /// From where on.
    pub from: &'a str,
    /// Up to where.
    pub to: Option<&'a str>,
}

impl<'a> AskedRange<'a> {
    /// A range that was understood.
    pub fn of(range: &'a ReadRange) -> Self {
        Self { from: &range.from, to: range.to.as_deref() }
    }
}

/// What to read.
#[derive(Debug)]
pub struct Plan {
    /// The first slices, in the source's own words.
    pub slices: Vec<NextSlice>,
    /// The files that were planned and may be read, in the order in which their rows count: each chunk becomes a slice.
    pub files: Vec<FoundFile>,
    /// How many files are read as streams, by `slices`: nobody knows yet whether they can be.
    pub landed: usize,
    /// Whether these are all rows that the source has now: a record that none of them is of is missing.
    pub everything: bool,
    /// Whether the run reads again what is in front of the position: see [`super::Source::restarted`].
    pub restarts: bool,
    /// What is there, unless nobody can tell.
    pub found: Option<FilesThere>,
    /// Of [`PlanRequest::unreadable`] those that are as they were, and are not read: what is wrong with them is in `remarks`.
    pub still_unreadable: Vec<String>,
    /// What there is to say.
    pub remarks: Vec<Remark>,
    /// In which order the rows are applied.
    pub order: KeyOrder,
    /// What the keys of the rows allow, which may be more.
    pub repeats: KeyOrder,
    /// The parents for whose children is asked, a lane of slices for one or several of them. A slice is not read
    /// whose lane has none.
    pub parents: Option<PlannedParents>,
}

impl Plan {
    /// Slices that follow each other, of a source without files.
    pub fn of_slices(slices: Vec<NextSlice>) -> Self {
        Self {
            slices,
            files: Vec::new(),
            landed: 0,
            everything: false,
            restarts: false,
            found: None,
            still_unreadable: Vec::new(),
            remarks: Vec::new(),
            order: KeyOrder::Ordered,
            repeats: KeyOrder::Ordered,
            parents: None,
        }
    }
}

/// What of the files that runs have read is there.
#[derive(Debug, Default)]
pub struct FilesThere {
    /// The names of all files that are there.
    pub names: Vec<String>,
    /// The versions (`source_files.id`) of members that their archives have no more.
    pub gone_members: Vec<i64>,
}

/// A file, and what is to be read of it.
#[derive(Debug)]
pub struct FoundFile {
    /// The lane of its chunks.
    pub lane: u32,
    /// Its name: the path relative to the job file's folder, if it is below it.
    pub url: String,
    /// What was read of it before.
    pub committed: Option<Arc<CommittedFile>>,
    /// What is to be read now.
    pub plan: FilePlan,
}
