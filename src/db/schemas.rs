//! Owns `schema_snapshots` and `schema_drift`: the versions of a source's schema.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};

use crate::domain::hash::ContentHash;
use crate::domain::run::RunId;
use crate::domain::schema::{Drift, Schema};

/// The current version of a source's schema.
#[derive(Debug, Clone)]
pub struct CurrentSchema {
    /// Its number, from 1.
    pub version: i32,
    /// What was seen.
    pub observed: Schema,
    /// What the contract measures rows by.
    pub accepted: Schema,
}

/// The newest version, if there is one.
///
/// # Errors
/// Database errors.
pub async fn current(
    executor: impl PgExecutor<'_>,
    source: &str,
) -> Result<Option<CurrentSchema>, sqlx::Error> {
    let row = sqlx::query!(
        "select version, schema_signature, accepted from schema_snapshots
         where source = $1 order by version desc limit 1",
        source,
    )
    .fetch_optional(executor)
    .await?;
    row.map(|row| {
        Ok(CurrentSchema {
            version: row.version,
            observed: decode(row.schema_signature)?,
            accepted: decode(row.accepted)?,
        })
    })
    .transpose()
}

/// What the contract measures the rows of a run by; `None` before the first version.
///
/// # Errors
/// Database errors.
pub async fn accepted_for(
    executor: impl PgExecutor<'_>,
    run: RunId,
) -> Result<Option<Schema>, sqlx::Error> {
    let accepted = sqlx::query_scalar!(
        "select s.accepted from etl_runs r
         join schema_snapshots s on s.source = r.source and s.version = r.schema_version
         where r.id = $1",
        run.0,
    )
    .fetch_optional(executor)
    .await?;
    accepted.map(decode).transpose()
}

/// Adds a version.
///
/// # Errors
/// Database errors.
pub async fn insert(
    connection: &mut PgConnection,
    source: &str,
    schema: &CurrentSchema,
    run: RunId,
) -> Result<(), sqlx::Error> {
    let observed = encode(&schema.observed)?;
    let fingerprint = ContentHash::of(observed.to_string().as_bytes());
    sqlx::query!(
        "insert into schema_snapshots (source, version, schema_signature, accepted, fingerprint, run_id)
         values ($1, $2, $3, $4, $5, $6)",
        source,
        schema.version,
        observed,
        encode(&schema.accepted)?,
        fingerprint.as_bytes(),
        run.0,
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn encode(schema: &Schema) -> Result<Value, sqlx::Error> {
    serde_json::to_value(schema).map_err(|error| sqlx::Error::Encode(error.into()))
}

fn decode(signature: Value) -> Result<Schema, sqlx::Error> {
    serde_json::from_value(signature).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// A change to be recorded.
#[derive(Debug, Clone)]
pub struct NewDrift {
    /// What changed.
    pub drift: Drift,
    /// How the contract treats it.
    pub policy: &'static str,
    /// Rows of the run with a value in the field.
    pub rows_with_value: u64,
}

/// Records what changed between version `to - 1` and version `to`, seen in so many rows of a run.
///
/// # Errors
/// Database errors.
pub async fn insert_drift(
    connection: &mut PgConnection,
    source: &str,
    to: i32,
    new: &[NewDrift],
    (run, rows_seen): (RunId, u64),
) -> Result<(), sqlx::Error> {
    let drift = || new.iter().map(|new| &new.drift);
    let text = |schema: &Option<crate::domain::schema::FieldSchema>| {
        schema.as_ref().map(ToString::to_string)
    };
    let fields: Vec<_> = drift().map(|d| d.field.clone()).collect();
    let changes: Vec<_> = drift().map(|d| d.change.as_str().to_owned()).collect();
    let olds: Vec<_> = drift().map(|d| text(&d.old)).collect();
    let news: Vec<_> = drift().map(|d| text(&d.new)).collect();
    let policies: Vec<_> = new.iter().map(|new| new.policy.to_owned()).collect();
    let refs: Vec<_> = drift().map(|d| d.first.as_ref().map(|p| p.raw_ref.clone())).collect();
    let rows: Vec<_> = drift().map(|d| d.first.as_ref().map(|p| p.row)).collect();
    let rows_seen = i64::try_from(rows_seen).unwrap_or(i64::MAX);
    let with_value: Vec<_> = new
        .iter()
        .map(|new| i64::try_from(new.rows_with_value).unwrap_or(i64::MAX).min(rows_seen))
        .collect();
    sqlx::query!(
        "insert into schema_drift (source, from_version, to_version, run_id, rows_seen, field, change,
                                   old_type, new_type, policy, raw_ref, raw_row, rows_with_value)
         select $1, $2::integer - 1, $2, $3, $4, *
         from unnest($5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[],
                     $11::bigint[], $12::bigint[])",
        source,
        to,
        run.0,
        rows_seen,
        &fields,
        &changes,
        &olds as &[Option<String>],
        &news as &[Option<String>],
        &policies,
        &refs as &[Option<String>],
        &rows as &[Option<i64>],
        &with_value,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A version, for people.
#[derive(Debug, Clone)]
pub struct SchemaVersion {
    /// Its number, from 1.
    pub version: i32,
    /// Field name to type.
    pub schema_signature: Value,
    /// The run that saw it first.
    pub run_id: i64,
    /// When that was recorded.
    pub first_seen_at: DateTime<Utc>,
}

/// The versions of a source, newest first, as far as their signatures fit into `bytes`: one at least.
///
/// # Errors
/// Database errors.
pub async fn versions(
    executor: impl PgExecutor<'_>,
    source: &str,
    limit: i64,
    bytes: i64,
) -> Result<Vec<SchemaVersion>, sqlx::Error> {
    sqlx::query_as!(
        SchemaVersion,
        "select version, schema_signature, run_id, first_seen_at
         from schema_snapshots
         where source = $1 and version in (
            select version from (
                select version, (sum(octet_length(schema_signature::text))
                                    over (order by version desc))::bigint as so_far,
                       row_number() over (order by version desc) as place
                from (
                    select version, schema_signature from schema_snapshots
                    where source = $1 order by version desc limit $2
                ) as newest
            ) as running where place = 1 or so_far <= $3::bigint
         )
         order by version desc",
        source,
        limit,
        bytes,
    )
    .fetch_all(executor)
    .await
}

/// Changes of a source's schema that nobody has acknowledged.
#[derive(Debug, Clone)]
pub struct OpenDrift {
    /// Name of the source.
    pub source: String,
    /// How many.
    pub changes: i64,
    /// The fields, the first few of them.
    pub fields: String,
    /// Since when the oldest is there.
    pub since: DateTime<Utc>,
}

/// Changes that nobody has acknowledged, by source.
///
/// # Errors
/// Database errors.
pub async fn open_drift(executor: impl PgExecutor<'_>) -> Result<Vec<OpenDrift>, sqlx::Error> {
    sqlx::query_as!(
        OpenDrift,
        r#"select source, count(*) as "changes!", min(detected_at) as "since!",
                string_agg(left(field, 100), ', ' order by field) filter (where place <= 5)
                    || case when count(*) > 5 then ' …' else '' end as "fields!"
         from (
            select source, field, detected_at,
                   row_number() over (partition by source order by field) as place
            from schema_drift where status = 'open'
         ) as open
         group by source order by source"#
    )
    .fetch_all(executor)
    .await
}
