//! Owns what mapping rows gives: records, rejects, and counts of what the records lack.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::gap_counter::GapCounter;
use crate::domain::presence::Gaps;
use crate::domain::raw::{RawRef, place};
use crate::domain::reason_tally::ReasonTally;
use crate::domain::record::RecordBatch;
use crate::domain::rejects::Rejects;
use crate::job_file::Definition;
use crate::values::convert;
use crate::values::row::Cell;

/// What mapping rows gave.
#[derive(Debug, Default)]
pub struct Mapped {
    /// What the file is called that rows come from.
    pub file: String,
    /// The records, in row order.
    pub records: RecordBatch,
    /// Values of the records that no other may have, in row order.
    pub unique: Vec<UniqueValue>,
    /// The rows set aside, with the payload they are in.
    pub rejects: Rejects,
    /// Which fields the records have no values of.
    pub gaps: GapCounter,
    /// The hashes of the keys of rows that were set aside and have one, if they are looked for.
    pub rejected_keys: Option<Vec<u64>>,
    /// How many rows were set aside since they lack what is gone from all of them.
    pub kept_out: u64,
}

impl Mapped {
    /// Why rows were set aside, the rejects before this one left out.
    pub fn reasons_from(&self, reject: usize) -> ReasonTally {
        ReasonTally::of(self.rejects.iter().skip(reject).map(|(_, reject)| reject))
    }

    /// What the records lack, those left out that were there `before`.
    pub fn gaps_since(&self, definition: &Definition, before: &Before) -> Gaps {
        let values = definition.values();
        let fields = values.iter().filter_map(|value| {
            let gaps = self.gaps.without(value.at) - before.gaps.without(value.at);
            (gaps > 0).then(|| (value.counted_as().into_owned(), gaps))
        });
        let deleted = self.gaps.deleted() - before.gaps.deleted();
        let records = (self.records.len() - before.records) as u64 - deleted;
        Gaps { records, deleted, without: fields.collect(), ..Gaps::default() }
    }

    /// What there is now.
    pub fn so_far(&self) -> Before {
        Before { records: self.records.len(), rejects: self.rejects.len(), gaps: self.gaps.clone() }
    }
}

/// A field of which no two records may have the same value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UniqueField {
    /// What the job file calls it.
    pub name: String,
    /// What the source calls it.
    pub label: String,
}

/// A value of a record that no other may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UniqueValue {
    /// Which record.
    pub record: usize,
    /// Which row of those that were mapped.
    pub row: usize,
    /// The field.
    pub field: Arc<UniqueField>,
    /// The first bytes of SHA-256 of the value as the database shows it as text: it can make the same of its records.
    pub hash: [u8; 16],
    /// The value, as messages show it.
    pub shown: String,
}

impl UniqueValue {
    /// A value of a row of which the place is not known yet.
    pub(super) fn of(field: &Arc<UniqueField>, value: &str) -> Self {
        let mut hash = [0; 16];
        hash.copy_from_slice(&Sha256::digest(value)[..16]);
        let shown = convert::shown(Cell::Text(value));
        Self { record: 0, row: 0, field: Arc::clone(field), hash, shown }
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
