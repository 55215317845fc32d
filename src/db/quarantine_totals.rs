//! Owns `quarantine_totals` and `quarantine_days`: what defects that are alike add up to, so that nobody counts the
//! big table. Triggers keep them.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgExecutor;

/// Defects that are alike.
#[derive(Debug, Clone)]
pub struct QuarantineGroup {
    /// Name of the source.
    pub source: String,
    /// The field, empty when the rows as a whole are bad.
    pub field: String,
    /// Reason code.
    pub reason: String,
    /// What they share.
    pub fingerprint: Vec<u8>,
    /// How many are open or redriven.
    pub rows: i64,
    /// How many are stored, whatever became of them.
    pub stored: i64,
    /// The first run that found one.
    pub first_run_id: i64,
    /// The last run that found one that was not known before.
    pub last_run_id: i64,
    /// How many that run found.
    pub last_run_rows: i64,
    /// When the first was found.
    pub first_seen_at: DateTime<Utc>,
    /// When the last was found.
    pub last_seen_at: DateTime<Utc>,
    /// The message of one of them.
    pub example: String,
}

/// Which groups to list.
#[derive(Debug, Clone, Copy, Default)]
pub struct GroupFilter<'a> {
    /// Only of this source.
    pub source: Option<&'a str>,
    /// Only with this reason code.
    pub reason: Option<&'a str>,
    /// Only of this field; empty for rows that are bad as a whole.
    pub field: Option<&'a str>,
}

/// Selects groups. The query macro takes one text.
macro_rules! select_groups {
    ($which:tt $(, $argument:expr)*) => {
        sqlx::query_as!(
            QuarantineGroup,
            r#"select source, field, reason, fingerprint, unresolved as "rows!", stored, first_run_id, last_run_id,
                last_run_rows, first_seen_at, last_seen_at, shown_error(example) as "example!"
             from quarantine_totals "# + $which
            $(, $argument)*
        )
    };
}

/// Groups with defects that are open or redriven, the most frequent first.
///
/// # Errors
/// Database errors.
pub async fn groups(
    executor: impl PgExecutor<'_>,
    filter: GroupFilter<'_>,
    limit: i64,
) -> Result<Vec<QuarantineGroup>, sqlx::Error> {
    select_groups!(
        "where unresolved > 0
           and ($1::text is null or source = $1)
           and ($2::text is null or reason = $2)
           and ($3::text is null or field = $3)
         order by unresolved desc, source, field, reason
         limit $4",
        filter.source,
        filter.reason,
        filter.field,
        limit
    )
    .fetch_all(executor)
    .await
}

/// Groups with defects that are open or redriven and were first found after that time, the newest first.
///
/// # Errors
/// Database errors.
pub async fn first_seen_since(
    executor: impl PgExecutor<'_>,
    since: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<QuarantineGroup>, sqlx::Error> {
    select_groups!(
        "where unresolved > 0 and first_seen_at > $1 order by first_seen_at desc, source, field, reason limit $2",
        since,
        limit
    )
    .fetch_all(executor)
    .await
}

/// The groups of that fingerprint: one, unless two sources have it by chance.
///
/// # Errors
/// Database errors.
pub async fn of_fingerprint(
    executor: impl PgExecutor<'_>,
    fingerprint: &[u8],
) -> Result<Vec<QuarantineGroup>, sqlx::Error> {
    select_groups!("where fingerprint = $1 order by source", fingerprint).fetch_all(executor).await
}

/// How many of each group were found on a day.
#[derive(Debug, Clone)]
pub struct FoundOnDay {
    /// Name of the source.
    pub source: String,
    /// What they share.
    pub fingerprint: Vec<u8>,
    /// The day, in UTC.
    pub day: NaiveDate,
    /// How many that were not known before.
    pub rows: i64,
}

/// What the last `days` days found of these groups.
///
/// # Errors
/// Database errors.
pub async fn last_days(
    executor: impl PgExecutor<'_>,
    groups: &[QuarantineGroup],
    days: i32,
) -> Result<Vec<FoundOnDay>, sqlx::Error> {
    let sources: Vec<&str> = groups.iter().map(|group| group.source.as_str()).collect();
    let fingerprints: Vec<&[u8]> = groups.iter().map(|group| &*group.fingerprint).collect();
    sqlx::query_as!(
        FoundOnDay,
        "select d.source, d.fingerprint, d.day, d.rows
         from unnest($1::text[], $2::bytea[]) as g (source, fingerprint)
         join quarantine_days as d on d.source = g.source and d.fingerprint = g.fingerprint
         where d.day > (now() at time zone 'UTC')::date - $3::integer",
        &sources as &[&str],
        &fingerprints as &[&[u8]],
        days,
    )
    .fetch_all(executor)
    .await
}

/// How many defects of each source are open or redriven; sources without any are left out.
///
/// # Errors
/// Database errors.
pub async fn unresolved_by_source(
    executor: impl PgExecutor<'_>,
) -> Result<Vec<(String, i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select source, sum(unresolved)::bigint as "rows!" from quarantine_totals
         where unresolved > 0 group by source"#
    )
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(|row| (row.source, row.rows)).collect())
}
