//! Owns the mapping: a row's cells to one canonical record or to the defects that keep it out.
//! Pure; the loading path spends most of its own time here. What is compiled once is here, what is
//! done per row in `sheet`.

use std::collections::BTreeMap;

use super::Definition;
use super::contract::{self, Gone, RowContract, Watch};
use super::convert::Converter;
use super::field::{ExternalId, FieldDefinition, Target};
use super::gap_counter::GapCounter;
use super::json;
use super::row::Row;
use super::sheet::Sheet;
use crate::domain::hash::ContentHash;
use crate::domain::key_sieve;
use crate::domain::presence::{Gaps, Presence};
use crate::domain::raw::{RawRef, place};
use crate::domain::reason_tally::ReasonTally;
use crate::domain::record::{Column, RecordBatch};
use crate::domain::reject::{Defect, ReasonCode, Reject};
use crate::domain::rejects::Rejects;
use crate::domain::schema::Schema;

/// What mapping rows gave.
#[derive(Debug, Default)]
pub struct Mapped {
    /// The records, in row order.
    pub records: RecordBatch,
    /// The rows set aside, with the payload they are in.
    pub rejects: Rejects,
    /// Which fields the records have no values of.
    pub gaps: GapCounter,
}

impl Mapped {
    /// Why rows were set aside, the rejects before this one left out.
    pub fn reasons_from(&self, reject: usize) -> ReasonTally {
        ReasonTally::of(self.rejects.iter().skip(reject).map(|(_, reject)| reject))
    }

    /// What the records lack, those left out that were there `before`.
    pub fn gaps_since(&self, definition: &Definition, before: &Before) -> Gaps {
        let fields = definition.fields.iter().enumerate().filter_map(|(at, field)| {
            let gaps = self.gaps.without(at) - before.gaps.without(at);
            (gaps > 0).then(|| (field.name.clone(), gaps))
        });
        let records = (self.records.len() - before.records) as u64;
        Gaps { records, without: fields.collect() }
    }

    /// What there is now.
    pub fn so_far(&self) -> Before {
        Before { records: self.records.len(), rejects: self.rejects.len(), gaps: self.gaps.clone() }
    }
}

/// What mapping rows had given up to some row.
#[derive(Debug, Clone, Default)]
pub struct Before {
    /// The number of records.
    pub records: usize,
    /// The number of rejects.
    pub rejects: usize,
    gaps: GapCounter,
}

/// The contract says `freeze`, and a row does not fit the schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", place(&raw.to_string(), None, *raw_row))]
pub struct Frozen {
    /// The raw payload of the row.
    pub raw: RawRef,
    /// The row within it, from 1.
    pub raw_row: i64,
    /// Which field, and what the schema says of it.
    pub message: String,
}

/// A compiled mapping: the fields of a definition under the contract and the current schema.
#[derive(Debug)]
pub struct Mapping {
    pub(super) contract: RowContract,
    pub(super) key: Key,
    /// Fields with a column of their own, but for `attributes`.
    pub(super) columns: Vec<Field>,
    /// The field named `attributes`: the object that the others are added to.
    pub(super) base: Option<Field>,
    /// The other fields, sorted by name: the content hash must not depend on the file's order.
    pub(super) members: Vec<Field>,
}

#[derive(Debug)]
pub(super) struct Key {
    pub(super) external_id: ExternalId,
    pub(super) parts: Vec<Part>,
}

/// A locator as rows know it.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) locator: usize,
    pub(super) label: String,
    pub(super) watch: Option<Watch>,
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) part: Part,
    pub(super) target: Target,
    pub(super) converter: Converter,
    /// For the values of the job file itself.
    pub(super) plain: Converter,
    pub(super) constant: Option<String>,
    pub(super) default: Option<String>,
    pub(super) required: bool,
    /// `"name":`, for fields that become a key of `attributes`.
    pub(super) member: String,
    name: String,
}

impl Mapping {
    /// Compiles the mapping. `schema` is the current version, `None` before the first.
    pub fn new(definition: &Definition, schema: Option<&Schema>) -> Self {
        Self::guarding(definition, schema, &Gone::default())
    }

    /// The same, which sets rows aside that lack one of the fields that are `gone` from the source.
    pub fn guarding(definition: &Definition, schema: Option<&Schema>, gone: &Gone) -> Self {
        let contract = RowContract::new(definition.contract, schema, gone);
        let locators = definition.locators();
        let part = |locator: usize, name: &str| Part {
            locator,
            label: locators[locator].label().unwrap_or(name).to_owned(),
            watch: contract.watch(&locators[locator], schema),
        };
        let mut members = Vec::new();
        let mut columns = Vec::new();
        let mut base = None;
        for (i, definition) in definition.fields.iter().enumerate() {
            let field = Field::new(definition, part(i, &definition.name));
            match field.target {
                Target::Column(Column::Attributes) => base = Some(field),
                Target::Attribute => members.push(field),
                Target::Column(_) | Target::SourceUpdatedAt => columns.push(field),
            }
        }
        members.sort_by(|a, b| a.name.cmp(&b.name));
        let external_id = definition.external_id.clone();
        let first = definition.fields.len();
        let parts = (first..locators.len()).map(|locator| part(locator, "external_id")).collect();
        Self { contract, key: Key { external_id, parts }, columns, base, members }
    }

    /// A hash of all that [`Mapping::guarding`] is made of: with equal hashes, a row becomes the same
    /// record or reject.
    pub fn hash(definition: &Definition, schema: Option<&Schema>, gone: &Gone) -> ContentHash {
        let measures = definition.contract.measures_rows() || !gone.is_empty();
        let schema = schema.filter(|_| measures);
        let made_of = (env!("CARGO_PKG_VERSION"), definition.hash, schema, gone);
        ContentHash::of(format!("{made_of:?}").as_bytes())
    }

    /// The mapped fields that every row had: those that are missed when no row of a run has them.
    /// The schema tells of top-level fields, `known` of what stands within them.
    pub fn guarded(
        definition: &Definition,
        schema: Option<&Schema>,
        known: &BTreeMap<String, Presence>,
    ) -> Gone {
        contract::guarded(definition, schema, known)
    }

    /// A hash of the row's `external_id`; `None` when the row has none that could be stored.
    /// `scratch` is only memory.
    pub fn key_hash(&self, row: &dyn Row, scratch: &mut String) -> Option<u64> {
        scratch.clear();
        self.key.write(row, scratch).then(|| key_sieve::key_hash(scratch))
    }

    /// Maps one row and adds it to `out`, as a record or as the reject that `reject` makes of its
    /// defects (called only when there are any). The caller has called `out.records.enter_raw(raw)`.
    ///
    /// # Errors
    /// When the contract freezes the schema and the row does not fit it.
    pub fn map<R: Row>(
        &self,
        row: &R,
        raw: RawRef,
        raw_row: i64,
        out: &mut Mapped,
        reject: impl FnOnce(Vec<Defect>) -> Reject,
    ) -> Result<(), Frozen> {
        out.records.begin();
        let mut sheet = Sheet::new(self, row, &mut out.records, &mut out.gaps);
        let filled = sheet.fill();
        let mut defects = sheet.defects;
        if defects.is_empty() && !out.records.has_room() {
            let message = "the records that are written together have more than 1 GiB of text with \
                           this one; make max_response_bytes, the page or csv.chunk_size smaller";
            defects.push(Defect::without_value(None, ReasonCode::TooLong, message));
        }
        if filled.is_ok() && defects.is_empty() {
            out.records.commit(raw_row);
            out.gaps.close();
            return Ok(());
        }
        out.records.abandon();
        out.gaps.abandon();
        filled.map_err(|message| Frozen { raw, raw_row, message })?;
        out.rejects.push(raw, reject(defects));
        Ok(())
    }
}

impl Field {
    fn new(definition: &FieldDefinition, part: Part) -> Self {
        let plain = Converter::plain(definition);
        let mut member = String::new();
        // A name that JSON cannot hold was refused with the job file.
        let _ = json::write_string(&definition.name, &mut member);
        member.push(':');
        Self {
            part,
            target: Target::of(&definition.name),
            // So was a bad format; were it not, values would have to be in ISO 8601.
            converter: Converter::new(definition).unwrap_or_else(|_| plain.clone()),
            plain,
            constant: definition.constant.clone(),
            default: definition.default.clone(),
            required: definition.required,
            member,
            name: definition.name.clone(),
        }
    }
}

#[cfg(test)]
#[path = "mapping_tests.rs"]
mod tests;
