//! Owns showing `schema_drift` to people, and what they say of it: who has looked at a change, when, and why that is
//! all right.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

/// A change of one field between two versions, for people.
#[derive(Debug, Clone)]
pub struct RecordedDrift {
    /// Its number.
    pub id: i64,
    /// Name of the source.
    pub source: String,
    /// Version before.
    pub from_version: i32,
    /// Version after.
    pub to_version: i32,
    /// The source's own name of the field.
    pub field: String,
    /// `added`, `removed` or `type_changed`.
    pub change: String,
    /// Type before.
    pub old_type: Option<String>,
    /// Type after.
    pub new_type: Option<String>,
    /// What the contract says of it.
    pub policy: String,
    /// `open` or `acknowledged`.
    pub status: String,
    /// Rows that the run read which saw it; `None` where an earlier version recorded it.
    pub rows_seen: Option<i64>,
    /// Those of them with a value in the field.
    pub rows_with_value: Option<i64>,
    /// The first raw payload that shows it.
    pub raw_ref: Option<String>,
    /// The row within it.
    pub raw_row: Option<i64>,
    /// The run that saw it.
    pub run_id: i64,
    /// When it was recorded.
    pub detected_at: DateTime<Utc>,
    /// When somebody said that it is known.
    pub acknowledged_at: Option<DateTime<Utc>>,
    /// Who did.
    pub acknowledged_by: Option<String>,
    /// What they said of it.
    pub note: Option<String>,
}

/// Which changes to list.
#[derive(Debug, Clone, Copy, Default)]
pub struct DriftFilter<'a> {
    /// Only of this source.
    pub source: Option<&'a str>,
    /// Only with this status.
    pub status: Option<&'a str>,
    /// Only those behind this one: its run, and its field.
    pub after: Option<(i64, &'a str)>,
}

/// Selects changes. The query macro takes one text.
macro_rules! select_drift {
    ($which:tt $(, $argument:expr)*) => {
        sqlx::query_as!(
            RecordedDrift,
            r#"select id, source, from_version, to_version, field, change, old_type, new_type, policy, status,
                rows_seen, rows_with_value, raw_ref, raw_row, run_id, detected_at, acknowledged_at,
                acknowledged_by, note
             from schema_drift "# + $which
            $(, $argument)*
        )
    };
}

/// Changes, those of the newest run first.
///
/// # Errors
/// Database errors.
pub async fn list(
    executor: impl PgExecutor<'_>,
    filter: DriftFilter<'_>,
    limit: i64,
) -> Result<Vec<RecordedDrift>, sqlx::Error> {
    // A run is of one source.
    let (run, field) = filter.after.unwrap_or((i64::MAX, ""));
    match (filter.source, filter.status) {
        (Some(source), status) => {
            select_drift!(
                "where source = $1 and ($2::text is null or status = $2)
                   and run_id <= $3 and (run_id < $3 or field > $4)
                 order by run_id desc, field limit $5",
                source,
                status,
                run,
                field,
                limit
            )
            .fetch_all(executor)
            .await
        }
        // In words of its own, so that the index of what is open serves it.
        (None, Some("open")) => {
            select_drift!(
                "where status = 'open'
                   and run_id <= $1 and (run_id < $1 or field > $2)
                 order by run_id desc, field limit $3",
                run,
                field,
                limit
            )
            .fetch_all(executor)
            .await
        }
        (None, status) => {
            select_drift!(
                "where ($1::text is null or status = $1)
                   and run_id <= $2 and (run_id < $2 or field > $3)
                 order by run_id desc, field limit $4",
                status,
                run,
                field,
                limit
            )
            .fetch_all(executor)
            .await
        }
    }
}

/// One change.
///
/// # Errors
/// Database errors.
pub async fn get(
    executor: impl PgExecutor<'_>,
    id: i64,
) -> Result<Option<RecordedDrift>, sqlx::Error> {
    select_drift!("where id = $1", id).fetch_optional(executor).await
}

/// Notes that somebody knows of a change; whether nobody had said so before.
///
/// # Errors
/// Database errors.
pub async fn acknowledge(
    executor: impl PgExecutor<'_>,
    id: i64,
    by: &str,
    note: Option<&str>,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update schema_drift
         set status = 'acknowledged', acknowledged_at = now(), acknowledged_by = $2, note = $3
         where id = $1 and status = 'open'",
        id,
        by,
        note,
    )
    .execute(executor)
    .await?;
    Ok(done.rows_affected() == 1)
}
