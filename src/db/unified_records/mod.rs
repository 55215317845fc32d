//! Owns `unified_records`: the set-based upsert of a batch, and reading records back.
//!
//! New keys go straight into the table, by binary COPY unless they are few; changed ones and the few new
//! ones beside them are merged in one statement; unchanged ones are not touched: `on conflict … where false`
//! would still lock the row and write WAL.

mod groups;
mod probe;
mod read;
pub mod statements;
mod still_deleted;

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::pgcopy::{CopyBuffer, SMALL, copy_in};
use crate::domain::bloom_filter::{KeyOrder, key_hash};
use crate::domain::hash::ContentHash;
use crate::domain::raw::RawRef;
use crate::domain::record::{Column, ColumnType, RecordBatch, RecordView, Value};
use crate::domain::repeated_keys::{Place, RepeatedKeys};
use crate::domain::run::RunId;
use groups::{groups, sorted};
use probe::{Changed, Probed, probe};
pub use read::{After, Fitting, Record, Which, any, fitting, get, list};
use statements::{FIXED_COPIED, STATEMENTS};
pub use still_deleted::{StillDeleted, deleted_since};

/// How the rows of a batch met the table. The three numbers add up to that of the rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Upserted {
    /// Rows whose key was new.
    pub inserted: i64,
    /// Rows whose content differs from what the key had before them, of keys that are not left as the run found them.
    /// Below nothing, where a key is again as the run found it: earlier rows of it count as unchanged after all.
    pub updated: i64,
    /// Rows that say what the key had already, and all of a key that is left as the run found it.
    pub unchanged: i64,
    /// The rows that replaced what their keys had in the table.
    pub changed: Vec<usize>,
    /// The keys of which a row replaced what an earlier one of the run had said.
    pub repeated: RepeatedKeys,
    /// Rows that say what an earlier one of their payload has said under their key.
    pub equal: i64,
}

/// What the rows of a batch amount to: one record per key at most.
#[derive(Debug, Default)]
struct Plan {
    counts: Upserted,
    new: Vec<usize>,
    changed: Vec<usize>,
    /// Those of `changed` with which their keys have again what the run found.
    set_back: Vec<usize>,
    /// What the run has done to the key of each group, with these rows.
    of_run: Vec<Changed>,
    /// How many rows of the run have updated the key of a row that is written, if any.
    updates: HashMap<usize, i64>,
}

/// What is known of the keys of a batch before the table is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Anything,
    /// The source had no records, and keys hardly occur in several rows of the run: all are new, mostly.
    /// Then asking is a waste; where it is not so, it is found when they are inserted.
    NewKeys,
}

/// Which rows of a run must not differ under one key unnoticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Those of one payload: files of a source follow each other, and may bring news of a key.
    Payload,
    /// All: the pages of an API are one answer.
    Run,
}

/// What is to be noticed of rows that have a key in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeats {
    /// Which of them must not differ unnoticed.
    pub scope: Scope,
    /// Whether those are counted that say the same: where keys are made of all that rows hold, nothing else tells of them.
    pub counts_equal: bool,
}

/// Upserts a batch; rows of the batch with equal keys count in row order and the last one stays. Records of keys that are
/// still deleted stay so.
///
/// # Errors
/// Database errors; the transaction is then to be rolled back.
pub async fn upsert(
    connection: &mut PgConnection,
    source: &str,
    run: RunId,
    batch: &RecordBatch,
    expect: Expect,
    repeats: Repeats,
    still_deleted: &StillDeleted,
) -> Result<Upserted, sqlx::Error> {
    if batch.is_empty() {
        return Ok(Upserted::default());
    }
    let order = sorted(batch);
    if expect == Expect::NewKeys
        && insert_new(connection, source, run, batch, (&order, &HashMap::new())).await?
    {
        return Ok(Upserted { inserted: batch.len() as i64, ..Upserted::default() });
    }
    let also_equal = repeats.counts_equal;
    let probed =
        probe(&mut *connection, (source, run), batch, &order, also_equal, still_deleted).await?;
    let (repeated, equal) = repeated(batch, &order, &probed, repeats.scope);
    let mut plan = plan(batch, &order, &probed, still_deleted);
    let updates = std::mem::take(&mut plan.updates);
    let many_new = !are_few(batch, &plan.new);
    if many_new && !insert_new(connection, source, run, batch, (&plan.new, &updates)).await? {
        // A key appeared between probe and COPY; the merge resolves it.
        plan.changed.append(&mut plan.new);
    }
    let mut merged = plan.changed.clone();
    if !many_new {
        merged.append(&mut plan.new);
    }
    if !merged.is_empty() {
        let (deleted, others): (Vec<_>, Vec<_>) = merged
            .into_iter()
            .partition(|row| still_deleted.keys.contains(batch.get(*row).external_id()));
        for (statement, rows) in [(&STATEMENTS.merge, others), (&STATEMENTS.merge_deleted, deleted)]
        {
            if !rows.is_empty() {
                send_arrays(connection, statement, source, run, batch, (&rows, &updates)).await?;
            }
        }
    }
    Ok(Upserted { changed: plan.changed, repeated, equal, ..plan.counts })
}

/// What batches that were only compared would have written, by the hash of their keys.
#[derive(Debug, Default)]
pub struct Pending {
    written: HashMap<ContentHash, Written>,
    /// Which keys may come back in a later batch: of others there is nothing to remember.
    repeats: KeyOrder,
}

impl Pending {
    /// For rows whose keys repeat so.
    pub fn for_keys(repeats: KeyOrder) -> Self {
        Self { repeats, ..Self::default() }
    }
}

/// What a key would have, and the row it would come from.
#[derive(Debug, Clone, Copy)]
struct Written {
    hash: ContentHash,
    raw: RawRef,
    row: i64,
    /// Whether its record would still be deleted.
    deleted: bool,
    of_run: Changed,
}

/// What a batch would do to the table.
#[derive(Debug, Default)]
pub struct Compared {
    /// How its rows meet the table.
    pub counts: Upserted,
    /// The rows that would become records.
    pub new: Vec<usize>,
    /// The rows that would replace what their keys have, but for those of `set_back`.
    pub changed: Vec<usize>,
    /// The rows with which their keys would again have what the run found.
    pub set_back: Vec<usize>,
}

/// Compares a batch with the table as it would be if the batches before it had been written. To be
/// called in a transaction; writes nothing. Rows that are `left_out` are none.
///
/// # Errors
/// Database errors.
pub async fn compare(
    connection: &mut PgConnection,
    source: &str,
    run: RunId,
    batch: &RecordBatch,
    pending: &mut Pending,
    repeats: Repeats,
    (still_deleted, left_out): (&StillDeleted, &HashSet<usize>),
) -> Result<Compared, sqlx::Error> {
    if batch.is_empty() {
        return Ok(Compared::default());
    }
    let mut order = sorted(batch);
    order.retain(|row| !left_out.contains(row));
    let also_equal = repeats.counts_equal;
    let mut probed =
        probe(connection, (source, run), batch, &order, also_equal, still_deleted).await?;
    let Probed { stored, of_run, changed } = &mut probed;
    for (at, (group, stored)) in groups(batch, &order).zip(stored).enumerate() {
        let Some(last) = group.last().map(|row| batch.get(*row)) else { continue };
        let key = ContentHash::of(last.external_id().as_bytes());
        let is_deleted = group.first().is_some_and(|row| still_deleted.rows.contains(row));
        if let Some(Written { hash, raw, row, deleted, of_run: before }) = pending.written.get(&key)
        {
            let comes_back = *deleted && !is_deleted;
            *stored = Some(if comes_back { of_deleted(*hash) } else { *hash });
            // What is deleted keeps the run that marked it.
            if !deleted {
                of_run.insert(at, Place { raw: raw.to_string(), row: *row });
                changed.insert(at, *before);
            }
        }
    }
    let (repeated, equal) = repeated(batch, &order, &probed, repeats.scope);
    let plan = plan(batch, &order, &probed, still_deleted);
    let written = groups(batch, &order).zip(&probed.stored).zip(&plan.of_run);
    for ((group, stored), of_run) in written {
        let Some(last) = group.last().map(|row| batch.get(*row)) else { continue };
        if !pending.repeats.may_repeat(key_hash(last.external_id())) {
            continue;
        }
        let (hash, key) = (last.content_hash(), ContentHash::of(last.external_id().as_bytes()));
        if *stored != Some(hash) || pending.written.contains_key(&key) {
            let (raw, row) = (last.raw(), last.raw_row());
            let deleted = still_deleted.keys.contains(last.external_id());
            let written = Written { hash, raw, row, deleted, of_run: *of_run };
            pending.written.insert(key, written);
        }
    }
    let Plan { counts, new, mut changed, set_back, .. } = plan;
    let as_found: HashSet<usize> = set_back.iter().copied().collect();
    changed.retain(|row| !as_found.contains(row));
    Ok(Compared { counts: Upserted { repeated, equal, ..counts }, new, changed, set_back })
}

/// The keys of which a row says something else than an earlier one within the scope, in the batch or,
/// as `probed` tells by the groups, before it: of each the rows that changed what it says. And how many rows say
/// what the one in front of them in the same payload says.
fn repeated(
    batch: &RecordBatch,
    order: &[usize],
    probed: &Probed,
    scope: Scope,
) -> (RepeatedKeys, i64) {
    let (mut repeated, mut equal) = (RepeatedKeys::default(), 0);
    for (at, group) in groups(batch, order).enumerate() {
        let before = probed.of_run.get(&at);
        if group.len() == 1 && before.is_none() {
            continue;
        }
        let mut said = before.and_then(|place| Some((probed.stored[at]?, place.clone())));
        let mut in_front = said.clone();
        let mut places: Vec<Place> = said.iter().map(|(_, place)| place.clone()).collect();
        for row in group.iter().map(|row| batch.get(*row)) {
            let place = Place { raw: row.raw().to_string(), row: row.raw_row() };
            let hash = row.content_hash();
            let says_so = |(said, p): (_, Place)| said == hash && p.raw == place.raw && p != place;
            equal += i64::from(in_front.replace((hash, place.clone())).is_some_and(says_so));
            let known = said.as_ref();
            let elsewhere =
                scope == Scope::Payload && known.is_some_and(|(_, p)| p.raw != place.raw);
            // A row that is applied once more after a retry does not repeat itself.
            if !elsewhere && known.is_some_and(|(said, p)| *said == hash || *p == place) {
                continue;
            }
            if elsewhere && places.len() == 1 {
                places.clear();
            }
            if !elsewhere || places.is_empty() {
                places.push(place.clone());
            }
            said = Some((hash, place));
        }
        if places.len() > 1 {
            repeated.add(batch.get(group[0]).external_id(), places.into_iter());
        }
    }
    (repeated, equal)
}

/// A hash that no content has: a record that comes back is changed, whatever it says.
fn of_deleted(content: ContentHash) -> ContentHash {
    ContentHash::of(content.as_bytes())
}

/// Counts every row against what its key had before it, and keeps the last row of each key that
/// changed its content: what rows one by one would leave, however they are cut into batches. Rows of a key that is as
/// the run found it count as unchanged, those of earlier batches as well, but for records that are still deleted.
fn plan(
    batch: &RecordBatch,
    order: &[usize],
    probed: &Probed,
    still_deleted: &StillDeleted,
) -> Plan {
    let mut plan = Plan::default();
    for (at, (group, before)) in groups(batch, order).zip(&probed.stored).enumerate() {
        let known = probed.changed.get(&at).copied();
        let mut is_deleted = group.first().is_some_and(|row| still_deleted.rows.contains(row));
        let Changed { from, mut updates } = match known {
            _ if is_deleted => Changed { from: None, updates: 0 },
            Some(changed) => changed,
            None => Changed { from: *before, updates: 0 },
        };
        let mut current = *before;
        let mut last_change = None;
        for row in group {
            if is_deleted && !still_deleted.rows.contains(row) {
                current = current.map(of_deleted);
                is_deleted = false;
            }
            let hash = batch.get(*row).content_hash();
            match current.replace(hash) {
                Some(known) if known == hash => {
                    plan.counts.unchanged += 1;
                    continue;
                }
                Some(_) => {
                    plan.counts.updated += 1;
                    updates += 1;
                }
                None => plan.counts.inserted += 1,
            }
            if from.is_some() && from == current {
                plan.counts.unchanged += updates;
                plan.counts.updated -= updates;
                updates = 0;
            }
            last_change = Some(*row);
        }
        plan.of_run.push(Changed { from, updates });
        plan.updates.extend(last_change.filter(|_| updates > 0).map(|row| (row, updates)));
        match before {
            None => plan.new.extend(last_change),
            Some(_) => {
                plan.changed.extend(last_change);
                let is_as_found = from.is_some() && from == current;
                plan.set_back.extend(last_change.filter(|_| is_as_found));
            }
        }
    }
    plan
}

/// Whether these rows are few enough to be sent as arrays: for fewer than [`SMALL`] bytes a COPY may wait
/// longer than it takes. Beyond that it is 1.4 times as fast as an insert.
fn are_few(batch: &RecordBatch, rows: &[usize]) -> bool {
    /// Hash, lineage and what the encoding adds.
    const BESIDE: usize = 150;
    let text = batch.text_len() / batch.len().max(1);
    rows.len() * (text + BESIDE) < SMALL
}

/// `false` when a key turned out not to be new; nothing is written then.
async fn insert_new(
    connection: &mut PgConnection,
    source: &str,
    run: RunId,
    batch: &RecordBatch,
    (rows, updates): (&[usize], &HashMap<usize, i64>),
) -> Result<bool, sqlx::Error> {
    sqlx::raw_sql("savepoint new_records").execute(&mut *connection).await?;
    // A COPY does not ask the database what time it is.
    let inserted = match are_few(batch, rows) || batch.any_deleted() {
        true => {
            let statement = &STATEMENTS.insert;
            send_arrays(connection, statement, source, run, batch, (rows, updates)).await
        }
        false => copy_records(connection, source, run, batch, rows).await,
    };
    let (inserted, end) = match inserted {
        Ok(()) => (true, "release savepoint new_records"),
        Err(error) if is_conflict(&error) => (false, "rollback to savepoint new_records"),
        Err(error) => return Err(error),
    };
    sqlx::raw_sql(end).execute(connection).await?;
    Ok(inserted)
}

fn is_conflict(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|e| e.code());
    matches!(code.as_deref(), Some("23505" | "40P01"))
}

/// One statement that carries the rows: no table to stage them in, and one round trip.
async fn send_arrays(
    connection: &mut PgConnection,
    statement: &'static str,
    source: &str,
    run: RunId,
    batch: &RecordBatch,
    (rows, updates): (&[usize], &HashMap<usize, i64>),
) -> Result<(), sqlx::Error> {
    let records = || rows.iter().map(|row| batch.get(*row));
    let keys: Vec<_> = records().map(RecordView::external_id).collect();
    let hashes: Vec<_> = records().map(RecordView::content_hash).collect();
    let hashes: Vec<_> = hashes.iter().map(ContentHash::as_bytes).collect();
    let raw_refs: Vec<_> = records().map(|record| record.raw().to_string()).collect();
    let raw_rows: Vec<_> = records().map(RecordView::raw_row).collect();
    let mut query = sqlx::query(statement)
        .bind(source)
        .bind(run.0)
        .bind(keys)
        .bind(hashes)
        .bind(raw_refs)
        .bind(raw_rows);
    for column in Column::ALL {
        query = match column.spec().kind {
            ColumnType::Text | ColumnType::Numeric | ColumnType::Json => {
                query.bind(records().map(|record| record.column(column)).collect::<Vec<_>>())
            }
            // Every time that a job file can make is one of chrono's.
            ColumnType::Timestamp => query.bind(
                records()
                    .map(|record| {
                        record.time(column).and_then(DateTime::<Utc>::from_timestamp_micros)
                    })
                    .collect::<Vec<_>>(),
            ),
        };
    }
    let deleted: Vec<_> = records().map(RecordView::is_deleted).collect();
    let updates = rows.iter().map(|row| updates.get(row).map(|updates| *updates as i32));
    query.bind(deleted).bind(updates.collect::<Vec<_>>()).execute(connection).await?;
    Ok(())
}

async fn copy_records(
    connection: &mut PgConnection,
    source: &str,
    run: RunId,
    batch: &RecordBatch,
    rows: &[usize],
) -> Result<(), sqlx::Error> {
    let mut raw = None;
    let mut raw_ref = String::new();
    copy_in(connection, &STATEMENTS.copy, rows, |copy, row| {
        let record = batch.get(*row);
        if raw.replace(record.raw()) != Some(record.raw()) {
            raw_ref = record.raw().to_string();
        }
        encode_record(copy, source, run, record, &raw_ref);
    })
    .await?;
    Ok(())
}

/// Adds a record to a COPY of all its columns, in the order of [`statements::Statements::copy`]. `raw_ref` is
/// the text of the record's raw payload, which consecutive records share.
pub fn encode_record<'v>(
    copy: &mut CopyBuffer<'v>,
    source: &str,
    run: RunId,
    record: RecordView<'v>,
    raw_ref: &str,
) {
    let values = record.values();
    copy.row((FIXED_COPIED + values.len()) as i16);
    copy.text(Some(record.external_id()));
    copy.bytes(record.content_hash().as_bytes());
    copy.text(Some(raw_ref));
    copy.bigint(Some(record.raw_row()));
    copy.text(Some(source));
    copy.bigint(Some(run.0));
    copy.bigint(Some(run.0));
    for (spec, value) in values {
        encode_value(copy, spec.kind, value);
    }
}

/// Adds a value of a column.
pub fn encode_value<'v>(copy: &mut CopyBuffer<'v>, kind: ColumnType, value: Option<Value<'v>>) {
    match (value, kind) {
        (None, _) => copy.null(),
        (Some(Value::Time(micros)), _) => copy.timestamptz(Some(micros)),
        (Some(Value::Text(text)), ColumnType::Numeric) => copy.numeric(Some(text)),
        (Some(Value::Text(text)), ColumnType::Json) => copy.jsonb(text),
        (Some(Value::Text(text)), _) => copy.kept_bytes(text.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch_of(rows: &[(&str, &str)]) -> RecordBatch {
        let mut batch = RecordBatch::new();
        batch.enter_raw(RawRef::File(1));
        for (i, (id, name)) in rows.iter().enumerate() {
            batch.begin();
            let start = batch.arena().len();
            batch.arena().push_str(id);
            batch.close_id(start);
            batch.set(Column::Name, name);
            batch.commit(i as i64 + 1);
        }
        batch
    }

    fn planned(rows: &[(&str, &str)], stored: &[(&str, &str)]) -> Plan {
        let batch = batch_of(rows);
        let known = batch_of(stored);
        let order = sorted(&batch);
        let hashes: Vec<_> = groups(&batch, &order)
            .map(|group| {
                let key = batch.get(group[0]).external_id();
                known.iter().find(|r| r.external_id() == key).map(RecordView::content_hash)
            })
            .collect();
        let probed = Probed { stored: hashes, ..Probed::default() };
        plan(&batch, &order, &probed, &StillDeleted::default())
    }

    #[test]
    fn every_row_counts_against_what_its_key_had_before_it() {
        let plan = planned(&[("b", "1"), ("a", "1"), ("b", "2"), ("b", "2")], &[("a", "1")]);
        assert_eq!(
            plan.counts,
            Upserted { inserted: 1, updated: 1, unchanged: 2, ..Upserted::default() }
        );
        assert_eq!((plan.new, plan.changed), (vec![2], vec![]));
    }

    /// The note on the keys of a batch of which `before` was in the table, written by row 9 of the
    /// same run and file.
    fn said(rows: &[(&str, &str)], before: Option<&str>, scope: Scope) -> Option<String> {
        let batch = batch_of(rows);
        let order = sorted(&batch);
        let mut probed = Probed { stored: vec![None; rows.len()], ..Probed::default() };
        if let Some(before) = before {
            probed.stored[0] = Some(batch_of(&[("k", before)]).get(0).content_hash());
            probed.of_run.insert(0, Place { raw: "file/1".to_owned(), row: 9 });
        }
        repeated(&batch, &order, &probed, scope).0.sentence(true, str::to_owned)
    }

    #[test]
    fn a_key_is_named_when_a_row_of_it_says_what_an_earlier_one_of_the_file_did_not() {
        for (rows, before, places) in [
            (&[("k", "a"), ("l", "a"), ("k", "b")][..], None, Some("rows 1 and 3 of")),
            (&[("k", "a"), ("k", "a"), ("l", "b")], None, None),
            (&[("k", "a"), ("k", "a"), ("k", "b")], None, Some("rows 1 and 3 of")),
            (&[("k", "a")], Some("a"), None),
            (&[("k", "b")], Some("a"), Some("rows 9 and 1 of")),
            (&[("k", "a"), ("k", "b")], Some("a"), Some("rows 9 and 2 of")),
        ] {
            let said = said(rows, before, Scope::Payload);
            assert_eq!(said.is_some(), places.is_some(), "{rows:?} {said:?}");
            assert!(said.unwrap_or_default().contains(places.unwrap_or_default()), "{rows:?}");
        }
    }

    #[test]
    fn rows_of_several_files_repeat_each_other_only_when_all_is_one_answer() {
        let mut batch = RecordBatch::new();
        let rows = [(1, "a"), (2, "b"), (2, "b"), (3, "c"), (3, "d")];
        for ((file, name), row) in rows.into_iter().zip(1..) {
            batch.enter_raw(RawRef::File(file));
            batch.begin();
            let start = batch.arena().len();
            batch.arena().push('k');
            batch.close_id(start);
            batch.set(Column::Name, name);
            batch.commit(row);
        }
        let order = sorted(&batch);
        let probed = Probed { stored: vec![None], ..Probed::default() };
        let said = |rows: &[usize], scope| {
            repeated(&batch, rows, &probed, scope)
                .0
                .sentence(true, str::to_owned)
                .unwrap_or_default()
        };
        assert_eq!(said(&order[..4], Scope::Payload), "");
        assert!(
            said(&order[..4], Scope::Run).contains("row 1 of file/1, row 2 of file/2, row 4 of")
        );
        assert!(said(&order, Scope::Payload).contains("`k` in rows 4 and 5 of file/3"));
    }

    #[test]
    fn a_key_that_ends_where_it_began_is_unchanged_and_comes_from_the_row_that_set_it_back() {
        let plan = planned(&[("a", "2"), ("a", "1")], &[("a", "1")]);
        assert_eq!(
            plan.counts,
            Upserted { inserted: 0, updated: 0, unchanged: 2, ..Upserted::default() }
        );
        assert_eq!((plan.new, plan.changed, plan.set_back), (vec![], vec![1], vec![1]));
    }
}
