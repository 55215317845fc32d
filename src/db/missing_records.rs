//! Owns `seen_keys` and `missing_records`: which keys a run has seen, and which records no run shows any more.

use std::collections::HashSet;

use futures::TryStreamExt;
use sqlx::{PgConnection, PgExecutor};

use crate::domain::bloom_filter::key_hash;
use crate::domain::run::RunId;
use crate::domain::task::Rows;

/// Records that are looked at together.
const AT_ONCE: i64 = 10_000;
/// The most keys that are in memory at once, 8 bytes each.
const MOST_KEYS: u64 = 2 << 20;

/// The keys that a batch has seen, by their hashes.
#[derive(Debug, Default)]
pub struct SeenKeys {
    /// Sorted hashes, each once.
    pub keys: Vec<u64>,
    /// Rows whose keys another row of the batch had.
    pub repeats: i64,
    /// Rows that were set aside and have no key that could be read.
    pub without_key: i64,
}

/// Notes what a batch has seen.
///
/// # Errors
/// Database errors.
pub async fn note_seen(
    connection: &mut PgConnection,
    source: &str,
    run: RunId,
    (first_slice, rows): (i64, Rows),
    seen: &SeenKeys,
) -> Result<(), sqlx::Error> {
    let keys: Vec<u8> = seen.keys.iter().flat_map(|key| key.to_le_bytes()).collect();
    sqlx::query!(
        "insert into seen_keys (source, run_id, first_slice, rows, keys, repeats, without_key)
         values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (source, run_id, first_slice, rows) do update set
            keys = excluded.keys, repeats = excluded.repeats, without_key = excluded.without_key",
        source,
        run.0,
        first_slice,
        rows.as_str(),
        keys,
        seen.repeats,
        seen.without_key,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// How many keys a run has seen, some perhaps several times, and how many rows without one.
///
/// # Errors
/// Database errors.
pub async fn count_seen(
    executor: impl PgExecutor<'_>,
    source: &str,
    run: RunId,
) -> Result<(i64, i64), sqlx::Error> {
    let row = sqlx::query!(
        r#"select coalesce(sum(octet_length(keys) / 8), 0)::bigint as "keys!",
            coalesce(sum(without_key), 0)::bigint as "without_key!"
         from seen_keys where source = $1 and run_id = $2"#,
        source,
        run.0,
    )
    .fetch_one(executor)
    .await?;
    Ok((row.keys, row.without_key))
}

/// Whether runs of a source, as far as it is known, have set aside rows without a key.
///
/// # Errors
/// Database errors.
pub async fn any_without_key(
    executor: impl PgExecutor<'_>,
    source: &str,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (
            select 1 from seen_keys where source = $1 and without_key > 0
         ) as "any!""#,
        source,
    )
    .fetch_one(executor)
    .await
}

/// The seen keys of a run with `hash % parts = part`, sorted.
///
/// # Errors
/// Database errors.
pub async fn seen(
    connection: &mut PgConnection,
    source: &str,
    run: RunId,
    (part, parts): (u64, u64),
) -> Result<Vec<u64>, sqlx::Error> {
    let mut batches = sqlx::query_scalar!(
        "select keys from seen_keys where source = $1 and run_id = $2",
        source,
        run.0,
    )
    .fetch(connection);
    let mut keys = Vec::new();
    while let Some(batch) = batches.try_next().await? {
        let batch = batch.as_chunks().0.iter().map(|key| u64::from_le_bytes(*key));
        keys.extend(batch.filter(|key| key % parts == part));
    }
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

/// How many rows of a run have a key that another row of it has.
///
/// # Errors
/// Database errors.
pub async fn count_repeats(
    connection: &mut PgConnection,
    source: &str,
    run: RunId,
) -> Result<i64, sqlx::Error> {
    let (keys, _) = count_seen(&mut *connection, source, run).await?;
    let of_batches = sqlx::query_scalar!(
        r#"select coalesce(sum(repeats), 0)::bigint as "repeats!" from seen_keys where source = $1 and run_id = $2"#,
        source,
        run.0,
    )
    .fetch_one(&mut *connection)
    .await?;
    let parts = parts(keys);
    let mut distinct = 0;
    for part in 0..parts {
        distinct += seen(connection, source, run, (part, parts)).await?.len();
    }
    Ok(keys + of_batches - distinct as i64)
}

/// In how many parts so many keys are looked at, which are in memory at once.
pub fn parts(keys: i64) -> u64 {
    keys.unsigned_abs().div_ceil(MOST_KEYS).max(1)
}

/// Forgets what runs of a source have seen.
///
/// # Errors
/// Database errors.
pub async fn forget_seen(connection: &mut PgConnection, source: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from seen_keys where source = $1", source).execute(connection).await?;
    Ok(())
}

/// What comparing a part of the keys gave.
#[derive(Debug, Clone, Copy, Default)]
pub struct ComparedKeys {
    /// Records that are not deleted.
    pub records: i64,
    /// Those of them that the run has not seen.
    pub missing: i64,
}

/// Compares the records of a source that are not deleted, as far as `hash % parts = part`, with the `seen` keys
/// of that part; notes those that are missing.
///
/// # Errors
/// Database errors.
pub async fn compare(
    connection: &mut PgConnection,
    source: &str,
    run: RunId,
    (part, parts): (u64, u64),
    seen: &[u64],
) -> Result<ComparedKeys, sqlx::Error> {
    let mut compared = ComparedKeys::default();
    let mut after = String::new();
    loop {
        let keys = some_keys(connection, source, &after).await?;
        let Some(last) = keys.last() else { return Ok(compared) };
        after.clone_from(last);
        let of_part = |key: &&String| key_hash(key) % parts == part;
        compared.records += keys.iter().filter(of_part).count() as i64;
        let missing = keys.iter().filter(of_part);
        let missing = missing.filter(|key| seen.binary_search(&key_hash(key)).is_err());
        let missing: Vec<&str> = missing.map(String::as_str).collect();
        if !missing.is_empty() {
            compared.missing += missing.len() as i64;
            note_missing(connection, source, run, &missing).await?;
        }
    }
}

async fn note_missing(
    connection: &mut PgConnection,
    source: &str,
    run: RunId,
    keys: &[&str],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into missing_records as m (source, external_id, run_id)
         select $1, external_id, $2 from unnest($3::text[]) as missing (external_id)
         on conflict (source, external_id) do update set
            runs = m.runs + 1, run_id = excluded.run_id, held_back = false",
        source,
        run.0,
        keys as &[&str],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Complete runs in a row, for a record of which nobody has to wait for more.
pub const ENOUGH_RUNS: i32 = 1_000_000_000;

/// Looks for the records of a source with these keys, by their hashes, that are not deleted; notes them as missing
/// for good.
///
/// # Errors
/// Database errors.
pub async fn note_lost(
    connection: &mut PgConnection,
    source: &str,
    run: RunId,
    lost: &HashSet<u64>,
) -> Result<ComparedKeys, sqlx::Error> {
    sqlx::query!(
        "delete from missing_records where source = $1 and runs >= $2",
        source,
        ENOUGH_RUNS
    )
    .execute(&mut *connection)
    .await?;
    let mut compared = ComparedKeys::default();
    let mut after = String::new();
    loop {
        let keys = some_keys(connection, source, &after).await?;
        let Some(last) = keys.last() else { return Ok(compared) };
        after.clone_from(last);
        compared.records += keys.len() as i64;
        let missing = keys.iter().filter(|key| lost.contains(&key_hash(key)));
        let missing: Vec<&str> = missing.map(String::as_str).collect();
        compared.missing += missing.len() as i64;
        sqlx::query!(
            "insert into missing_records (source, external_id, run_id, runs)
             select $1, external_id, $2, $4 from unnest($3::text[]) as missing (external_id)
             on conflict (source, external_id) do update set
                runs = excluded.runs, run_id = excluded.run_id, held_back = false",
            source,
            run.0,
            &missing as &[&str],
            ENOUGH_RUNS,
        )
        .execute(&mut *connection)
        .await?;
    }
}

/// The keys of records that are not deleted, behind one.
async fn some_keys(
    connection: &mut PgConnection,
    source: &str,
    after: &str,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "select external_id from unified_records
         where source = $1 and external_id > $2 and deleted_at is null
         order by external_id limit $3",
        source,
        after,
        AT_ONCE,
    )
    .fetch_all(connection)
    .await
}

/// Forgets the records that were missing before and that this complete run has seen; counts those that are
/// missing in so many complete runs in a row.
///
/// # Errors
/// Database errors.
pub async fn due(
    connection: &mut PgConnection,
    source: &str,
    run: RunId,
    runs: i32,
) -> Result<i64, sqlx::Error> {
    sqlx::query!("delete from missing_records where source = $1 and run_id <> $2", source, run.0,)
        .execute(&mut *connection)
        .await?;
    sqlx::query_scalar!(
        r#"select count(*) as "due!" from missing_records where source = $1 and runs >= $2"#,
        source,
        runs,
    )
    .fetch_one(connection)
    .await
}

/// Holds those back that are due.
///
/// # Errors
/// Database errors.
pub async fn hold_back(
    connection: &mut PgConnection,
    source: &str,
    runs: i32,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update missing_records set held_back = true where source = $1 and runs >= $2",
        source,
        runs,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Makes those due that a run has held back; answers how many.
///
/// # Errors
/// Database errors.
pub async fn release(
    connection: &mut PgConnection,
    source: &str,
    run: RunId,
) -> Result<i64, sqlx::Error> {
    let released = sqlx::query!(
        "update missing_records set runs = 2147483647
         where source = $1 and run_id = $2 and held_back",
        source,
        run.0,
    )
    .execute(connection)
    .await?;
    Ok(released.rows_affected() as i64)
}

/// Marks the records as deleted that are missing in so many complete runs in a row, and answers the sorted hashes
/// of their keys. The hash of their content is another from then on: a record that comes back is changed,
/// whatever it says.
///
/// # Errors
/// Database errors.
pub async fn mark_deleted(
    connection: &mut PgConnection,
    source: &str,
    run: RunId,
    runs: i32,
) -> Result<Vec<u64>, sqlx::Error> {
    let mut marked = sqlx::query_scalar!(
        "with due as (
            delete from missing_records where source = $1 and runs >= $3 returning external_id
         ), marked as (
            update unified_records as u set
                deleted_at = now(), updated_at = now(), last_run_id = $2,
                content_hash = sha256(u.content_hash || 'deleted'::bytea)
            from due where u.source = $1 and u.external_id = due.external_id
            returning u.external_id
         ), values_given_up as (
            delete from unique_values
            where source = $1 and external_id in (select external_id from marked)
         )
         select external_id from marked",
        source,
        run.0,
        runs,
    )
    .fetch(connection);
    let mut keys = Vec::new();
    while let Some(key) = marked.try_next().await? {
        keys.push(key_hash(&key));
    }
    keys.sort_unstable();
    Ok(keys)
}
