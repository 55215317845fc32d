//! Owns what the job file asks of files that are read as streams.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::patience::Awaiting;
use super::position::Before;
use crate::domain::hash::ContentHash;
use crate::job_file::Definition;
use crate::job_file::policy::{MissingAction, Policy};
use crate::sources::files::file_source::WhenGone;
use crate::sources::files::landing::Lands;
use crate::sources::files::params::FilesParams;
use crate::sources::files::unpack::Packing;
use crate::sources::{SourceError, SourceErrorKind};

/// What the files of a task are read by.
pub(super) struct Rules {
    /// Their format.
    pub files: Arc<dyn Lands>,
    /// How they are unpacked.
    pub packing: Packing,
    /// The largest of them.
    max_bytes: Option<u64>,
    /// Who waits for them.
    pub awaiting: Awaiting,
    /// Whether files may lose what they had.
    pub may_lose: bool,
    /// Whether records are missing that no file has.
    pub looks_for_missing: bool,
    guards: bool,
    /// The job file.
    pub definition: ContentHash,
    /// The mapped columns.
    mapped: Vec<String>,
    /// Those that one of the earlier files lacks; `None` where there were none.
    lacking_before: Option<BTreeSet<String>>,
}

/// Whether the records of files that are gone, and of members of archives, count as missing.
pub(super) fn looks_for_missing(definition: &Definition, when_gone: WhenGone) -> bool {
    definition.missing.action == MissingAction::Tombstone && when_gone == WhenGone::Tombstone
}

impl Rules {
    /// Those of a job file.
    pub fn new(
        files: Arc<dyn Lands>,
        params: &FilesParams,
        definition: &Definition,
        lacking_before: Option<BTreeSet<String>>,
        awaiting: Awaiting,
    ) -> Self {
        let locators = definition.locators();
        let mapped = locators.iter().filter_map(|locator| locator.label());
        Self {
            packing: files.packing().clone(),
            files,
            max_bytes: params.max_bytes.map(u64::from),
            awaiting,
            may_lose: definition.contract.missing_field == Policy::Evolve,
            looks_for_missing: looks_for_missing(definition, params.when_gone),
            guards: definition.contract.guards(),
            definition: ContentHash::of(definition.text.as_bytes()),
            mapped: mapped.map(str::to_owned).collect(),
            lacking_before,
        }
    }

    /// Refuses a file of so many bytes.
    ///
    /// # Errors
    /// When they are more than it may have.
    pub fn refuse_too_large(&self, name: &str, bytes: Option<u64>) -> Result<(), SourceError> {
        match self.max_bytes {
            Some(most) if bytes.is_some_and(|bytes| bytes > most) => {
                let message = format!("{name} has more than `files.max_bytes` = {most} bytes");
                Err(SourceError::new(SourceErrorKind::TooLarge, message).advise("raise it"))
            }
            _ => Ok(()),
        }
    }

    /// The columns that may be absent: those that were so before. `None` where all may be.
    pub fn lacking<'a>(&'a self, before: Option<&'a Before>) -> Option<&'a BTreeSet<String>> {
        match before {
            _ if !self.guards => None,
            Some(before) => before.lacking.as_ref(),
            None => self.lacking_before.as_ref(),
        }
    }

    /// The mapped columns that must be there.
    pub fn must_have(&self, before: Option<&Before>) -> Vec<String> {
        let Some(lacking) = self.lacking(before) else { return Vec::new() };
        self.mapped.iter().filter(|column| !lacking.contains(*column)).cloned().collect()
    }
}
