//! Owns what a validated job file means: the source, its schedule, its key, its fields and its rules.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::error::Problem;
use super::policy::{Checks, Contract, Freshness, Missing, Retention};
use super::schedule::Schedule;
use crate::domain::field_name;
use crate::domain::hash::ContentHash;
use crate::domain::source_name::SourceName;
use crate::values::field::{ExternalId, FieldDefinition, Locator};

/// A validated job file.
#[derive(Debug, Clone)]
pub struct Definition {
    /// The file's stem.
    pub source: SourceName,
    /// Where the file is; relative paths in it are relative to its folder.
    pub path: PathBuf,
    /// The file as written.
    pub text: String,
    /// Hash of the text: two runs with the same hash had the same definition.
    pub hash: ContentHash,
    /// The kind of source, which is also the name of the table with its parameters.
    pub kind: String,
    /// For people.
    pub description: Option<String>,
    /// When the source is due; on demand only when absent.
    pub schedule: Option<Schedule>,
    /// Whether it is due whenever its files have changed.
    pub on_change: bool,
    /// The sources whose runs this one's follow.
    pub after: Vec<SourceName>,
    /// How `external_id` is made.
    pub external_id: ExternalId,
    /// The mapping, in the order of the file.
    pub fields: Vec<FieldDefinition>,
    /// What to do when the source's schema changes.
    pub contract: Contract,
    /// What must hold at the end of a run.
    pub checks: Checks,
    /// What becomes of records that the source does not show any more.
    pub missing: Missing,
    /// How long what runs leave behind is kept.
    pub retention: Retention,
    /// How old what the source has loaded may be; by its schedule where the file does not say.
    pub freshness: Freshness,
    /// What may be meant, but hardly is.
    pub warnings: Vec<Problem>,
}

impl Definition {
    /// Everything that the mapping looks up in a row: the locators of the fields in order, then
    /// those of the key's parts, then what fields are put together of besides.
    /// [`crate::values::row::Row::cell`] takes positions in this list.
    pub fn locators(&self) -> Vec<Locator> {
        let fields = self.fields.iter().map(|field| &field.from);
        let also = self.fields.iter().flat_map(FieldDefinition::also);
        fields.chain(&self.external_id.parts).chain(also).cloned().collect()
    }

    /// The values that the fields are made of, in the order of the file: one of each, or several that it is put together of.
    pub fn values(&self) -> Vec<FieldValue<'_>> {
        let mut behind = self.fields.len() + self.external_id.parts.len();
        let mut values = Vec::new();
        for (at, field) in self.fields.iter().enumerate() {
            let is_part = field.concat.is_some();
            values.push(FieldValue { field, from: &field.from, at, is_part });
            for from in field.also() {
                values.push(FieldValue { field, from, at: behind, is_part });
                behind += 1;
            }
        }
        values
    }

    /// Whether there is a value that no two records may have: then rows count one behind the other.
    pub fn has_unique(&self) -> bool {
        self.fields.iter().any(|field| field.unique)
    }

    /// The folder that relative paths in the job file start from.
    pub fn base_dir(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }
}

/// A value that a field is made of.
#[derive(Debug, Clone, Copy)]
pub struct FieldValue<'d> {
    /// The field.
    pub field: &'d FieldDefinition,
    /// Where the value is.
    pub from: &'d Locator,
    /// Its place among [`Definition::locators`].
    pub at: usize,
    /// Whether the field is put together of several.
    is_part: bool,
}

impl FieldValue<'_> {
    /// What it is called where values are counted: like its field, of which a part has its place besides.
    pub fn counted_as(&self) -> Cow<'_, str> {
        let name = &self.field.name;
        match self.from.label().filter(|_| self.is_part) {
            // No name of a field has this character by accident.
            Some(label) => Cow::Owned(format!("{name}\u{1f}{}", field_name::kept(label))),
            None => Cow::Borrowed(name),
        }
    }
}
