//! Owns reading the rows of `quarantined_rows` that fail alike: those that are there still first, then by place.

use sqlx::PgExecutor;

use super::quarantined_rows::{QuarantinedRow, SHOWN};

/// Rows that fail alike.
#[derive(Debug, Clone, Copy)]
pub struct Alike<'a> {
    /// Name of the source.
    pub source: &'a str,
    /// What they share.
    pub fingerprint: &'a [u8],
    /// Only those with this status.
    pub status: Option<&'a str>,
}

impl Alike<'_> {
    /// The statuses between which they are; the words of all are in front of the letter z.
    fn statuses(&self) -> (&str, &str) {
        self.status.map_or(("", "z"), |status| (status, status))
    }

    /// The status of the row that they begin behind: an index is entered where the row is, not where the status is.
    fn behind<'s>(&'s self, after: &'s AfterAlike) -> &'s str {
        self.statuses().0.max(&after.status)
    }
}

/// Where a page starts: behind this row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AfterAlike {
    /// See [`QuarantinedRow`].
    pub status: String,
    /// See [`QuarantinedRow`].
    pub raw_ref: String,
    /// See [`QuarantinedRow`].
    pub raw_row: i64,
    /// See [`QuarantinedRow`].
    pub field: String,
    /// See [`QuarantinedRow`].
    pub reason: String,
}

/// Rows that fail alike, behind `after`.
///
/// # Errors
/// Database errors.
pub async fn list(
    executor: impl PgExecutor<'_>,
    alike: Alike<'_>,
    after: &AfterAlike,
    limit: i64,
) -> Result<Vec<QuarantinedRow>, sqlx::Error> {
    let (first, last) = alike.statuses();
    sqlx::query_as!(
        QuarantinedRow,
        r#"select source, raw_ref, raw_row, field, reason, run_id, line, byte_start, byte_end,
                shown_error(message) as "message!", substring(raw for $11) as "raw!",
                octet_length(raw) as "raw_bytes!", fingerprint, status, created_at
         from quarantined_rows
         where source = $1 and fingerprint = $2 and status between $3 and $4
           and (status, raw_ref, raw_row, field, reason) > ($5, $6, $7, $8, $9)
         order by status, raw_ref, raw_row, field, reason
         limit $10"#,
        alike.source,
        alike.fingerprint,
        first,
        last,
        alike.behind(after),
        after.raw_ref,
        after.raw_row,
        after.field,
        after.reason,
        limit,
        SHOWN,
    )
    .fetch_all(executor)
    .await
}

/// The beginning of a row as it came.
#[derive(Debug, Clone)]
pub struct RowBeginning {
    /// The raw payload the row is in.
    pub raw_ref: String,
    /// Its first bytes.
    pub raw: Vec<u8>,
    /// Length of the whole row as it was kept.
    pub raw_bytes: i32,
}

/// The beginnings of the first rows that fail alike and are there still.
///
/// # Errors
/// Database errors.
pub async fn beginnings(
    executor: impl PgExecutor<'_>,
    source: &str,
    fingerprint: &[u8],
    limit: i64,
    bytes: i32,
) -> Result<Vec<RowBeginning>, sqlx::Error> {
    sqlx::query_as!(
        RowBeginning,
        r#"select raw_ref, substring(raw for $4) as "raw!", octet_length(raw) as "raw_bytes!"
         from quarantined_rows
         where source = $1 and fingerprint = $2 and status between 'open' and 'redriven'
         order by status, raw_ref, raw_row, field, reason
         limit $3"#,
        source,
        fingerprint,
        limit,
        bytes,
    )
    .fetch_all(executor)
    .await
}

/// A row as it came, and what comes behind it.
#[derive(Debug, Clone)]
pub struct RawRow {
    /// As much of it as is kept.
    pub raw: Vec<u8>,
    /// Where the next one starts.
    pub place: AfterAlike,
}

/// The next rows that fail alike as they came: all that is kept of each, beside whichever of its defects that is. As many
/// as have so many bytes together, one at least.
///
/// # Errors
/// Database errors.
pub async fn raws(
    executor: impl PgExecutor<'_>,
    alike: Alike<'_>,
    after: &AfterAlike,
    (limit, bytes): (i64, i64),
) -> Result<Vec<RawRow>, sqlx::Error> {
    let (first, last) = alike.statuses();
    let rows = sqlx::query!(
        r#"with alike as (
            select source, status, raw_ref, raw_row, field, reason from quarantined_rows
            where source = $1 and fingerprint = $2 and status between $3 and $4
              and (status, raw_ref, raw_row, field, reason) > ($5, $6, $7, $8, $9)
            order by status, raw_ref, raw_row, field, reason
            limit $10
         ), sized as (
            select alike.*, longest.raw, row_number() over in_order as place,
                   sum(octet_length(longest.raw)) over in_order as so_far
            from alike cross join lateral (
                select o.raw from quarantined_rows as o
                where o.source = alike.source and o.raw_ref = alike.raw_ref and o.raw_row = alike.raw_row
                order by octet_length(o.raw) desc limit 1
            ) as longest
            window in_order as (order by status, raw_ref, raw_row, field, reason)
         )
         select status, raw_ref, raw_row, field, reason, raw from sized
         where place = 1 or so_far <= $11::bigint
         order by status, raw_ref, raw_row, field, reason"#,
        alike.source,
        alike.fingerprint,
        first,
        last,
        alike.behind(after),
        after.raw_ref,
        after.raw_row,
        after.field,
        after.reason,
        limit,
        bytes,
    )
    .fetch_all(executor)
    .await?;
    let rows = rows.into_iter().map(|row| RawRow {
        raw: row.raw,
        place: AfterAlike {
            status: row.status,
            raw_ref: row.raw_ref,
            raw_row: row.raw_row,
            field: row.field,
            reason: row.reason,
        },
    });
    Ok(rows.collect())
}
