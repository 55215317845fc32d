//! Owns that no two records of a source have the same value of a field with `unique`: a row with a value that another
//! record has is set aside.
//!
//! Batches of such a source follow each other in the order of rows, so what the table says holds until the batch is
//! stored. A value belongs to the record that had it first, until that has another one or is deleted.

use std::collections::HashMap;

use sqlx::PgConnection;

use super::{TaskContext, TaskError};
use crate::db::runs;
use crate::db::unique_values::{self, Owned};
use crate::domain::reject::{Defect, ReasonCode};
use crate::domain::text::{MAX_QUOTED, cut, visible};
use crate::mapping::{Mapped, NotUnique, UniqueValue};

/// Which record has a value: by the field and the hash.
type Owners = HashMap<(String, Vec<u8>), String>;

/// The rows of the batch with values that other records have, by the order of rows.
pub(super) async fn conflicts(
    context: &TaskContext,
    mapped: &Mapped,
) -> Result<NotUnique, TaskError> {
    if mapped.unique.is_empty() {
        return Ok(NotUnique::new());
    }
    let fields = &context.source.definition.fields;
    let fields: Vec<String> =
        fields.iter().filter(|field| field.unique).map(|field| field.name.clone()).collect();
    let hashes: Vec<Vec<u8>> = mapped.unique.iter().map(|value| value.hash.to_vec()).collect();
    let (pool, source) = (&context.pool, &context.source_name);
    let known = unique_values::known(pool, source, &keys_of(mapped), &hashes, &fields).await?;
    Ok(find(mapped, &fields, known))
}

fn find(mapped: &Mapped, fields: &[String], known: Vec<Owned>) -> NotUnique {
    let mut owners = Owners::new();
    // What each record has: by the key and the field.
    let mut has: HashMap<(String, String), Vec<u8>> = HashMap::new();
    for Owned { field, hash, external_id } in known {
        has.insert((external_id.clone(), field.clone()), hash.clone());
        owners.insert((field, hash), external_id);
    }
    let mut found = NotUnique::new();
    let mut values = mapped.unique.as_slice();
    for (at, record) in mapped.records.iter().enumerate() {
        let count = values.iter().take_while(|value| value.record == at).count();
        let (own, rest) = values.split_at(count);
        values = rest;
        let key = record.external_id();
        let other = |value: &&UniqueValue| {
            let owner = owners.get(&(value.field.clone(), value.hash.to_vec()))?;
            (owner != key).then(|| defect(value, owner))
        };
        let defects: Vec<Defect> = own.iter().filter_map(|value| other(&value)).collect();
        if !defects.is_empty() {
            found.insert((record.raw(), record.raw_row()), defects);
            continue;
        }
        for field in fields {
            let value = own.iter().find(|value| value.field == *field);
            let place = (key.to_owned(), field.clone());
            let before = match value {
                Some(value) => has.insert(place, value.hash.to_vec()),
                None => has.remove(&place),
            };
            if let Some(before) = before {
                owners.remove(&(field.clone(), before));
            }
            if let Some(value) = value {
                owners.insert((field.clone(), value.hash.to_vec()), key.to_owned());
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

/// What was noted under another job file need not be what records have now: such a run reads them anew.
pub(super) async fn forget_of_another_job_file(
    context: &TaskContext,
    transaction: &mut PgConnection,
) -> Result<(), TaskError> {
    if !context.source.definition.has_unique() {
        return Ok(());
    }
    let source = &context.source_name;
    let last = runs::last_reading(&mut *transaction, source, context.run).await?;
    if last.is_some_and(|last| last.config_hash != context.config_hash) {
        unique_values::forget(transaction, source).await?;
    }
    Ok(())
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
