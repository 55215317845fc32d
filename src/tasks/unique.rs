//! Owns that no two records of a source have the same value of a field with `unique`: a row with a value that another
//! record has is set aside.
//!
//! Batches of such a source follow each other in the order of rows, so what the table says holds until the batch is
//! stored. A value belongs to the record that had it first, until that has another one or is deleted. What is compared is
//! what records have, as they are kept: the table says the same of them, whatever became of the job file since.

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;

use super::{TaskContext, TaskError};
use crate::db::Transaction;
use crate::db::unified_records::StillDeleted;
use crate::db::unique_values::{self, DuplicatedValues, ValueOwner};
use crate::domain::bloom_filter::{KeyOrder, key_hash};
use crate::domain::number::grouped;
use crate::domain::raw::RawRef;
use crate::domain::reject::{Defect, ReasonCode, Reject};
use crate::domain::remark::Remark;
use crate::domain::text::{MAX_QUOTED, cut, visible};
use crate::mapping::{Mapped, NotUnique, UniqueValue};

/// The first bytes of a hash.
type Hash = [u8; 16];

/// The most bytes that a dry run remembers values in.
const MOST_BYTES: usize = 128 << 20;
/// About what an entry of each map takes, its part of the table that is free included, besides its key.
const OF_HAS: usize = 64;
const OF_TAKEN: usize = 80;
const OF_GIVEN_UP: usize = 160;

/// What the earlier batches of a dry run would have changed: fields are numbers, since every row may be in here.
#[derive(Debug)]
pub(super) struct EarlierValues {
    /// Which keys may come again: of others nobody asks what their records have.
    repeats: KeyOrder,
    /// What records have now, by the hash of the key and the field.
    has: HashMap<(u64, usize), Option<Hash>>,
    /// Which records have a value now that they have not in the table.
    taken: HashMap<(usize, Hash), Box<str>>,
    /// Which records have a value in the table that they have no more.
    given_up: HashMap<(usize, Hash), Vec<Box<str>>>,
    bytes: usize,
    most_bytes: usize,
    remembered: u64,
    /// How many changes came when there was no more room.
    forgotten: u64,
}

impl Default for EarlierValues {
    fn default() -> Self {
        Self::for_keys(KeyOrder::default())
    }
}

impl EarlierValues {
    /// Of rows whose keys repeat so.
    pub fn for_keys(repeats: KeyOrder) -> Self {
        Self {
            repeats,
            has: HashMap::new(),
            taken: HashMap::new(),
            given_up: HashMap::new(),
            bytes: 0,
            most_bytes: MOST_BYTES,
            remembered: 0,
            forgotten: 0,
        }
    }

    fn note(&mut self, key: &str, field: usize, before: Option<Hash>, now: Option<Hash>) {
        // What came later is not known either then, so that what is remembered is the beginning.
        let most = OF_HAS + OF_TAKEN + OF_GIVEN_UP + 2 * key.len();
        if self.forgotten > 0 || self.bytes + most > self.most_bytes {
            self.forgotten += 1;
            return;
        }
        self.remembered += 1;
        let hash = key_hash(key);
        let mut was_changed = false;
        if self.repeats.may_repeat(hash) {
            was_changed = self.has.insert((hash, field), now).is_some();
            self.bytes += if was_changed { 0 } else { OF_HAS };
        }
        if let Some(before) = before {
            let is_ours = self.taken.get(&(field, before)).is_some_and(|owner| **owner == *key);
            if is_ours {
                self.taken.remove(&(field, before));
                self.bytes -= OF_TAKEN + key.len();
            } else if !was_changed {
                self.given_up.entry((field, before)).or_default().push(key.into());
                self.bytes += OF_GIVEN_UP + key.len();
            }
        }
        if let Some(now) = now {
            self.bytes += OF_TAKEN + key.len();
            if let Some(owner) = self.taken.insert((field, now), key.into()) {
                self.bytes -= OF_TAKEN + owner.len();
            }
        }
    }

    /// What there is to say when there was not room for all.
    pub fn remark(&self) -> Option<Remark> {
        (self.forgotten > 0).then(|| {
            Remark::degrading(format!(
                "the values of `unique` fields were held against the table and the first {} values that this dry run \
                 would have changed, not against the {} that came later: {} MiB of memory have no room for more. A run \
                 compares all of them, and may set aside other rows",
                grouped(self.remembered),
                grouped(self.forgotten),
                self.most_bytes >> 20
            ))
        })
    }
}

/// Which records have which values: those of the batch, and of others the first that its values belong to.
#[derive(Default)]
struct Known<'k> {
    /// The owners of a value, by the field and the hash: the first of them is the one that it belongs to. There are
    /// several where they had it before the field was unique.
    owners: HashMap<(usize, Hash), Vec<&'k str>>,
    /// What each record has, by the key and the field.
    has: HashMap<(&'k str, usize), Hash>,
}

impl<'k> Known<'k> {
    fn of(fields: &[String], owners: &'k [ValueOwner]) -> Self {
        let mut known = Self::default();
        for ValueOwner { field, hash, external_id } in owners {
            if let (Ok(field), Ok(hash)) = (fields.binary_search(field), Hash::try_from(&hash[..]))
            {
                known.give(external_id, field, hash);
            }
        }
        known
    }

    /// The same with what the earlier batches would have changed of records with these keys, and of these values.
    fn changed_by(
        mut self,
        earlier: &'k EarlierValues,
        keys: &[&'k str],
        fields: usize,
        values: &[(usize, Hash)],
    ) -> Self {
        for key in keys {
            for field in 0..fields {
                match earlier.has.get(&(key_hash(key), field)) {
                    Some(Some(hash)) if self.has.get(&(*key, field)) != Some(hash) => {
                        self.take(key, field);
                        self.give(key, field, *hash);
                    }
                    Some(None) => {
                        self.take(key, field);
                    }
                    Some(Some(_)) | None => {}
                }
            }
        }
        for value in values {
            if let Some(owner) = earlier.taken.get(value)
                && !self.has.contains_key(&(&**owner, value.0))
            {
                self.give(owner, value.0, value.1);
            }
        }
        self
    }

    fn give(&mut self, key: &'k str, field: usize, hash: Hash) {
        self.has.insert((key, field), hash);
        self.owners.entry((field, hash)).or_default().push(key);
    }

    fn take(&mut self, key: &'k str, field: usize) -> Option<Hash> {
        let hash = self.has.remove(&(key, field))?;
        if let Some(owners) = self.owners.get_mut(&(field, hash)) {
            owners.retain(|owner| *owner != key);
        }
        Some(hash)
    }
}

/// The rows of the batch with values that other records have, by the order of rows. Records that are still deleted have
/// none. What the rows change is noted in `earlier`, where that is kept, and so are the changes of batches before.
pub(super) async fn conflicts(
    context: &TaskContext,
    mapped: &Mapped,
    still_deleted: &StillDeleted,
    earlier: Option<&mut EarlierValues>,
) -> Result<NotUnique, TaskError> {
    let without = mapped.unique.is_empty() && earlier.is_none();
    if without || !context.source.definition.has_unique() || mapped.records.is_empty() {
        return Ok(NotUnique::new());
    }
    let fields = fields_of(context);
    let number = |value: &UniqueValue| fields.binary_search(&value.field.name).ok();
    let values = mapped.unique.iter().filter_map(|value| Some((number(value)?, value.hash)));
    let mut values: Vec<(usize, Hash)> = values.collect();
    values.sort_unstable();
    values.dedup();
    let keys = keys_of(mapped);
    let left_out: Vec<&str> = match &earlier {
        Some(earlier) => {
            let given_up = values.iter().filter_map(|value| earlier.given_up.get(value));
            given_up.flatten().map(|key| &**key).collect()
        }
        None => Vec::new(),
    };
    let names: Vec<&str> = values.iter().map(|(field, _)| fields[*field].as_str()).collect();
    let hashes: Vec<&[u8]> = values.iter().map(|(_, hash)| &hash[..]).collect();
    // Only for settings that end with it.
    let mut transaction = Transaction::begin(&context.pool).await?;
    let source = &context.source_name;
    let owners =
        unique_values::owners(&mut transaction, source, &keys, (&names, &hashes), &left_out)
            .await?;
    transaction.rollback().await?;
    let known = Known::of(&fields, &owners);
    let Some(earlier) = earlier else {
        return Ok(find(mapped, &fields, known, still_deleted, |_, _, _, _| ()));
    };
    let mut changes = Vec::new();
    let known = known.changed_by(earlier, &keys, fields.len(), &values);
    let found = find(mapped, &fields, known, still_deleted, |key, field, before, now| {
        changes.push((key, field, before, now));
    });
    for (key, field, before, now) in changes {
        earlier.note(key, field, before, now);
    }
    Ok(found)
}

/// Goes through the records in the order of rows; `changed` is told the key, the field, and what its record had and has.
fn find<'k, 'm: 'k>(
    mapped: &'m Mapped,
    fields: &[String],
    mut known: Known<'k>,
    still_deleted: &StillDeleted,
    mut changed: impl FnMut(&'m str, usize, Option<Hash>, Option<Hash>),
) -> NotUnique {
    let mut found = NotUnique::new();
    let mut values = mapped.unique.as_slice();
    for (at, record) in mapped.records.iter().enumerate() {
        let count = values.iter().take_while(|value| value.record == at).count();
        let (own, rest) = values.split_at(count);
        values = rest;
        let key = record.external_id();
        if still_deleted.rows.contains(&at) {
            continue;
        }
        let other = |value: &UniqueValue| {
            let field = fields.binary_search(&value.field.name).ok()?;
            let owner = *known.owners.get(&(field, value.hash))?.first()?;
            (owner != key).then(|| defect(value, owner))
        };
        let defects: Vec<Defect> = own.iter().filter_map(other).collect();
        if let (Some(first), false) = (own.first(), defects.is_empty()) {
            found.insert(first.row, defects);
            continue;
        }
        for (field, name) in fields.iter().enumerate() {
            let now = own.iter().find(|value| value.field.name == *name).map(|value| value.hash);
            if known.has.get(&(key, field)).copied() == now {
                continue;
            }
            let before = known.take(key, field);
            if let Some(hash) = now {
                known.give(key, field, hash);
            }
            changed(key, field, before, now);
        }
    }
    found
}

/// Records that would be none, since others have their values.
#[derive(Debug, Default)]
pub(super) struct NotUniqueRecords {
    /// Which of those that were mapped.
    pub records: HashSet<usize>,
    /// Why, with their payloads.
    pub rejects: Vec<(RawRef, Reject)>,
}

/// The records of rows with values that other records have, for who does not map these rows once more.
pub(super) fn of_rows(mapped: &Mapped, not_unique: &NotUnique) -> NotUniqueRecords {
    let mut of_rows = NotUniqueRecords::default();
    for value in &mapped.unique {
        let Some(defects) = not_unique.get(&value.row) else { continue };
        if of_rows.records.insert(value.record) {
            let record = mapped.records.get(value.record);
            let reject = Reject {
                raw_row: record.raw_row(),
                line: None,
                byte_range: None,
                key: Some(record.external_id().to_owned()),
                raw: Vec::new(),
                defects: defects.clone(),
            };
            of_rows.rejects.push((record.raw(), reject));
        }
    }
    of_rows
}

fn defect(value: &UniqueValue, owner: &str) -> Defect {
    let (label, shown) = (&value.field.label, &value.shown);
    let owner = visible(&cut(owner, MAX_QUOTED)).into_owned();
    Defect {
        field: Some(label.clone()),
        reason: ReasonCode::NotUnique,
        message: format!(
            "{label}: {shown} is the value of another record, `{owner}` (expected a value of its own)"
        ),
        found: Some(shown.clone()),
    }
}

/// Makes sure that the values are known of all records and of the fields that are unique by now, whatever else of the
/// job file was edited: where these are others than before, the values are taken from the records. Says which records
/// share values already.
pub(super) async fn keep_fields(
    context: &TaskContext,
    transaction: &mut PgConnection,
) -> Result<Vec<Remark>, TaskError> {
    let (source, fields) = (&context.source_name, fields_of(context));
    if fields.is_empty() {
        unique_values::forget(transaction, source).await?;
        return Ok(Vec::new());
    }
    if !unique_values::note_fields(&mut *transaction, source, &fields).await? {
        return Ok(Vec::new());
    }
    unique_values::refill(transaction, source, &fields).await?;
    let duplicated = unique_values::duplicated(transaction, source).await?;
    let remark = |DuplicatedValues { field, records }: DuplicatedValues| {
        Remark::degrading(format!(
            "{} records have a value of `{field}` that another of them has, and had it before the field was `unique`: \
             correct them at the source; of equal ones all rows but those of the oldest record are set aside when \
             they are read",
            grouped(records.unsigned_abs())
        ))
    };
    Ok(duplicated.into_iter().map(remark).collect())
}

/// The names of the fields that are unique, sorted.
fn fields_of(context: &TaskContext) -> Vec<String> {
    let fields = context.source.definition.fields.iter().filter(|field| field.unique);
    let mut names: Vec<String> = fields.map(|field| field.name.clone()).collect();
    names.sort_unstable();
    names
}

/// Notes the values that the records of the batch have now. Those that are still deleted have none.
pub(super) async fn store(
    context: &TaskContext,
    transaction: &mut PgConnection,
    mapped: &Mapped,
    still_deleted: &StillDeleted,
) -> Result<(), TaskError> {
    if !context.source.definition.has_unique() || mapped.records.is_empty() {
        return Ok(());
    }
    // The last row of a key says what its record has.
    let records = mapped.records.iter().enumerate();
    let last: HashMap<&str, usize> =
        records.map(|(at, record)| (record.external_id(), at)).collect();
    let (mut fields, mut hashes, mut owners) = (Vec::new(), Vec::new(), Vec::new());
    for value in &mapped.unique {
        let owner = mapped.records.get(value.record).external_id();
        if last.get(owner) == Some(&value.record) && !still_deleted.keys.contains(owner) {
            fields.push(value.field.name.as_str());
            hashes.push(&value.hash[..]);
            owners.push(owner);
        }
    }
    let (source, keys) = (&context.source_name, keys_of(mapped));
    let values = (&fields[..], &hashes[..], &owners[..]);
    Ok(unique_values::store(transaction, source, &keys, values).await?)
}

fn keys_of(mapped: &Mapped) -> Vec<&str> {
    let mut keys: Vec<&str> = mapped.records.iter().map(|record| record.external_id()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(n: u64) -> Option<Hash> {
        Some(u128::from(n).to_le_bytes())
    }

    #[test]
    fn of_keys_that_do_not_come_again_nobody_remembers_what_they_have() {
        let twice = KeyOrder::Split(vec![key_hash("b")]);
        for (repeats, remembered) in [(KeyOrder::Distinct, 0), (twice, 1), (KeyOrder::Ordered, 3)] {
            let mut values = EarlierValues::for_keys(repeats);
            for (key, n) in [("a", 1), ("b", 2), ("c", 3)] {
                values.note(key, 0, None, value(n));
            }
            assert_eq!((values.has.len(), values.taken.len()), (remembered, 3));
        }
    }

    #[test]
    fn what_is_remembered_has_a_bound_and_what_is_not_is_told() {
        for repeats in [KeyOrder::Distinct, KeyOrder::Ordered] {
            let most_bytes = 1 << 20;
            let mut values = EarlierValues { most_bytes, ..EarlierValues::for_keys(repeats) };
            for n in 0..2_000 {
                values.note(&format!("key {n}"), 0, value(n + 50_000), value(n));
            }
            assert!(values.remark().is_none());
            for n in 2_000..40_000 {
                values.note(&format!("key {n}"), 0, value(n + 50_000), value(n));
            }
            let table = |entries: usize, bytes: usize| entries * 8 / 7 * (bytes + 1);
            let tables = table(values.has.capacity(), 40)
                + table(values.taken.capacity(), 40)
                + table(values.given_up.capacity(), 48);
            // Each given up has a list of four names.
            let kept = values.taken.len() * 32 + values.given_up.len() * (64 + 32);
            assert!(tables + kept < 2 * most_bytes, "{tables} {kept}");
            assert_eq!(values.remembered + values.forgotten, 40_000);
            let said = values.remark().unwrap();
            assert!(said.degrades && said.text.contains("1 MiB of memory"), "{}", said.text);
            assert!(said.text.contains(&grouped(values.forgotten)), "{}", said.text);
        }
    }

    #[test]
    fn what_is_taken_back_makes_room() {
        let mut values = EarlierValues::for_keys(KeyOrder::Ordered);
        values.note("a", 0, None, value(1));
        let bytes = values.bytes;
        for n in 1..1_000 {
            values.note("a", 0, value(n), value(n + 1));
        }
        assert_eq!((values.bytes, values.taken.len()), (bytes, 1));
        values.note("a", 0, value(1_000), None);
        assert_eq!(values.bytes, OF_HAS);
    }
}
