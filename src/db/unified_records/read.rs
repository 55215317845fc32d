//! Owns reading records back, for people.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgExecutor;

/// A record, for people. Numbers are their digits.
#[derive(Debug, Clone)]
pub struct Record {
    /// Name of the source.
    pub source: String,
    /// Its key within the source.
    pub external_id: String,
    /// See the mapping.
    pub name: Option<String>,
    /// See the mapping.
    pub description: Option<String>,
    /// See the mapping.
    pub category: Option<String>,
    /// Digits of a decimal number.
    pub price: Option<String>,
    /// See the mapping.
    pub currency: Option<String>,
    /// Digits of a decimal number.
    pub quantity: Option<String>,
    /// See the mapping.
    pub url: Option<String>,
    /// When the source says it changed.
    pub source_updated_at: Option<DateTime<Utc>>,
    /// The mapped fields without a column of their own.
    pub attributes: Option<Value>,
    /// The raw payload it came from.
    pub raw_ref: String,
    /// The row within it.
    pub raw_row: i64,
    /// The run that inserted it.
    pub first_run_id: i64,
    /// The run that changed it last.
    pub last_run_id: i64,
    /// When it was inserted.
    pub created_at: DateTime<Utc>,
    /// When it was changed last.
    pub updated_at: DateTime<Utc>,
}

/// See [`fitting`].
#[derive(Debug, Clone, Copy)]
pub struct Fitting {
    /// The records that fit.
    pub rows: i64,
    /// Whether there are more below the limit of records.
    pub cut: bool,
}

/// Where a page of records starts: behind this key.
#[derive(Debug, Clone, Default)]
pub struct After {
    /// Name of the source.
    pub source: String,
    /// Key within it.
    pub external_id: String,
}

/// Whether a source has any record.
///
/// # Errors
/// Database errors.
pub async fn any(executor: impl PgExecutor<'_>, source: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select 1 from unified_records where source = $1) as "any!""#,
        source,
    )
    .fetch_one(executor)
    .await
}

/// How many of the records that [`list`] would give fit into an answer of `bytes`, one at least, and
/// whether any does not.
///
/// # Errors
/// Database errors.
pub async fn fitting(
    executor: impl PgExecutor<'_>,
    source: Option<&str>,
    after: &After,
    limit: i64,
    bytes: i64,
) -> Result<Fitting, sqlx::Error> {
    sqlx::query_file_as!(
        Fitting,
        "src/db/unified_records/fitting.sql",
        source,
        after.source,
        after.external_id,
        limit,
        bytes,
    )
    .fetch_one(executor)
    .await
}

/// Records in key order, behind `after`, of one source or of all.
///
/// # Errors
/// Database errors.
pub async fn list(
    executor: impl PgExecutor<'_>,
    source: Option<&str>,
    after: &After,
    limit: i64,
) -> Result<Vec<Record>, sqlx::Error> {
    match source {
        Some(source) => {
            sqlx::query_as!(
                Record,
                "select source, external_id, name, description, category, price::text, currency,
                        quantity::text, url, source_updated_at, attributes, raw_ref, raw_row,
                        first_run_id, last_run_id, created_at, updated_at
                 from unified_records
                 where source = $1 and external_id > $2
                 order by external_id limit $3",
                source,
                after.external_id,
                limit,
            )
            .fetch_all(executor)
            .await
        }
        None => {
            sqlx::query_as!(
                Record,
                "select source, external_id, name, description, category, price::text, currency,
                        quantity::text, url, source_updated_at, attributes, raw_ref, raw_row,
                        first_run_id, last_run_id, created_at, updated_at
                 from unified_records
                 where (source, external_id) > ($1, $2)
                 order by source, external_id limit $3",
                after.source,
                after.external_id,
                limit,
            )
            .fetch_all(executor)
            .await
        }
    }
}

/// One record.
///
/// # Errors
/// Database errors.
pub async fn get(
    executor: impl PgExecutor<'_>,
    source: &str,
    external_id: &str,
) -> Result<Option<Record>, sqlx::Error> {
    sqlx::query_as!(
        Record,
        "select source, external_id, name, description, category, price::text, currency,
                quantity::text, url, source_updated_at, attributes, raw_ref, raw_row,
                first_run_id, last_run_id, created_at, updated_at
         from unified_records where source = $1 and external_id = $2",
        source,
        external_id,
    )
    .fetch_optional(executor)
    .await
}
