//! Owns that no two records of a source have the same value of a field with `unique`: a row with a value that another
//! record has is set aside.
//!
//! Batches of such a source follow each other in the order of rows, so what the table says holds until the batch is
//! stored. A value belongs to the record that had it first, until that has another one or is deleted. What is compared is
//! what records have, as they are kept: the table says the same of them, whatever became of the job file since.

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;

use super::{TaskContext, TaskError};
use crate::db::unique_values::{self, Owned, Shared};
use crate::domain::number::grouped;
use crate::domain::reject::{Defect, ReasonCode};
use crate::domain::remark::Remark;
use crate::domain::text::{MAX_QUOTED, cut, visible};
use crate::mapping::{Mapped, NotUnique, UniqueValue};

/// Which records have a value, by the field and the hash: the first of them is the one that it belongs to. There are
/// several where they had it before the field was unique.
type Owners = HashMap<(String, Vec<u8>), Vec<String>>;

/// The rows of the batch with values that other records have, by the order of rows. Records that are still deleted have
/// none.
pub(super) async fn conflicts(
    context: &TaskContext,
    mapped: &Mapped,
    still_deleted: &HashSet<String>,
) -> Result<NotUnique, TaskError> {
    if mapped.unique.is_empty() {
        return Ok(NotUnique::new());
    }
    let fields = fields_of(context);
    let hashes: Vec<Vec<u8>> = mapped.unique.iter().map(|value| value.hash.to_vec()).collect();
    let (pool, source) = (&context.pool, &context.source_name);
    let known = unique_values::known(pool, source, &keys_of(mapped), &hashes, &fields).await?;
    Ok(find(mapped, &fields, known, still_deleted))
}

fn find(
    mapped: &Mapped,
    fields: &[String],
    known: Vec<Owned>,
    still_deleted: &HashSet<String>,
) -> NotUnique {
    let mut owners = Owners::new();
    // What each record has: by the key and the field.
    let mut has: HashMap<(String, String), Vec<u8>> = HashMap::new();
    for Owned { field, hash, external_id } in known {
        has.insert((external_id.clone(), field.clone()), hash.clone());
        owners.entry((field, hash)).or_default().push(external_id);
    }
    let mut found = NotUnique::new();
    let mut values = mapped.unique.as_slice();
    for (at, record) in mapped.records.iter().enumerate() {
        let count = values.iter().take_while(|value| value.record == at).count();
        let (own, rest) = values.split_at(count);
        values = rest;
        let key = record.external_id();
        if still_deleted.contains(key) {
            continue;
        }
        let other = |value: &&UniqueValue| {
            let owner = owners.get(&(value.field.clone(), value.hash.to_vec()))?.first()?;
            (owner != key).then(|| defect(value, owner))
        };
        let defects: Vec<Defect> = own.iter().filter_map(|value| other(&value)).collect();
        if let (Some(first), false) = (own.first(), defects.is_empty()) {
            found.insert(first.row, defects);
            continue;
        }
        for field in fields {
            let hash = own.iter().find(|value| value.field == *field);
            let hash = hash.map(|value| value.hash.to_vec());
            let place = (key.to_owned(), field.clone());
            let before = match &hash {
                Some(hash) => has.insert(place, hash.clone()),
                None => has.remove(&place),
            };
            if before == hash {
                continue;
            }
            if let Some(before) = before
                && let Some(owners) = owners.get_mut(&(field.clone(), before))
            {
                owners.retain(|owner| owner != key);
            }
            if let Some(hash) = hash {
                owners.entry((field.clone(), hash)).or_default().push(key.to_owned());
            }
        }
    }
    found
}

fn defect(value: &UniqueValue, owner: &str) -> Defect {
    let UniqueValue { label, shown, .. } = value;
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
    let shared = unique_values::shared(transaction, source).await?;
    let remark = |Shared { field, records }: Shared| {
        Remark::degrading(format!(
            "{} records have a value of `{field}` that another of them has, and had it before the field was `unique`: \
             correct them at the source; of equal ones all rows but those of the oldest record are set aside when \
             they are read",
            grouped(records.unsigned_abs())
        ))
    };
    Ok(shared.into_iter().map(remark).collect())
}

/// The names of the fields that are unique, sorted.
fn fields_of(context: &TaskContext) -> Vec<String> {
    let fields = context.source.definition.fields.iter().filter(|field| field.unique);
    let mut names: Vec<String> = fields.map(|field| field.name.clone()).collect();
    names.sort_unstable();
    names
}

/// Notes the values that the records of the batch have now.
pub(super) async fn store(
    context: &TaskContext,
    transaction: &mut PgConnection,
    mapped: &Mapped,
) -> Result<(), TaskError> {
    if !context.source.definition.has_unique() || mapped.records.is_empty() {
        return Ok(());
    }
    // The last row of a key says what its record has.
    let last: HashMap<&str, usize> =
        mapped.records.iter().enumerate().map(|(at, record)| (record.external_id(), at)).collect();
    let counts = |value: &&UniqueValue| {
        last.get(mapped.records.get(value.record).external_id()) == Some(&value.record)
    };
    let owned = mapped.unique.iter().filter(counts).map(|value| Owned {
        field: value.field.clone(),
        hash: value.hash.to_vec(),
        external_id: mapped.records.get(value.record).external_id().to_owned(),
    });
    let owned: Vec<Owned> = owned.collect();
    let source = &context.source_name;
    unique_values::store(transaction, source, &keys_of(mapped), &owned).await?;
    Ok(())
}

fn keys_of(mapped: &Mapped) -> Vec<String> {
    let keys = mapped.records.iter().map(|record| record.external_id().to_owned());
    let mut keys: Vec<String> = keys.collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}
